cimport cython

from kestrel.clock cimport Clock
from kestrel.load.dialect cimport Dialect


cdef class Client:
    cdef public Dialect dialect
    cdef readonly bint background
    cdef public bint doomed
    cdef public object dial
    cdef object sock
    cdef int fd
    cdef object receive
    cdef object send
    cdef bytes unsent
    cdef bint waits
    cdef readonly double asked_at

    cpdef first(self, double now)
    cpdef replied(self, double now)
    cpdef resumed(self, double now)
    cpdef ended(self, trouble)


cdef class Engine:
    cdef readonly Clock clock
    cdef public bint stopping
    cdef double _reply_seconds
    cdef dict _clients
    cdef Py_ssize_t _working
    cdef list _timers
    cdef long long _number
    cdef object _epoll
    cdef double _until

    @cython.locals(client=Client)
    cpdef run(self, clients, double seconds=*)
    cpdef resume(self, Client client)
    @cython.locals(clock=Clock, client=Client, event=int)
    cdef _loop(self, poll)
    cdef double _sleep(self) except -1
    cdef _call_timers(self)
    cdef bint _connect(self, Client client) except -1
    cdef _start(self, Client client, double now)
    cdef _connect_again(self, Client client)
    @cython.locals(data=bytes, now=double)
    cdef _receive(self, Client client)
    cdef _go_on(self, Client client, request, double now)
    @cython.locals(sent=Py_ssize_t)
    cdef _send(self, Client client, bytes data)
    cdef _end(self, Client client, trouble)
    cdef _forget(self, Client client)
    @cython.locals(client=Client)
    cpdef _look_for_silence(self)
