cimport cython

from kestrel.clock cimport Clock
from kestrel.socket_calls cimport channel_of, receive, send
from kestrel.stats cimport Traffic, TransportStats
from kestrel.waiters cimport Waiter

cdef int RUNNING
cdef int READING
cdef int PARKED
cdef int WRITING
cdef int COMMITTING
cdef long long RECEIVE
cdef long long LARGEST_RECEIVE
cdef Py_ssize_t SEND_AT
cdef Py_ssize_t KEPT_MEANWHILE


cdef class Connection:
    cdef public object sock
    cdef public object address
    cdef Traffic traffic
    cdef TransportStats transport
    cdef readonly long long received_bytes
    cdef readonly long long sent_bytes
    cdef Clock clock
    cdef object budget
    cdef double idle_limit
    cdef object hub
    cdef object loop
    cdef readonly object greenlet
    cdef object to_hub
    cdef object to_client
    cdef int channel
    cdef int state
    cdef bint input_ended
    cdef public bint leaving
    cdef public bint gone
    cdef public bint lingers
    cdef bytes kept
    cdef long long block
    cdef double began
    cdef bytes reply
    cdef list out
    cdef Py_ssize_t out_size
    cdef object reader
    cdef bint reading
    cdef object alarm
    cdef double alarm_at
    cdef object idle_timer
    cdef double idle_since

    @cython.locals(size='long long')
    cpdef read(self, long long wanted, bint large)
    cdef _take_kept(self)
    cpdef hold(self, long long block, long long held, bint large)
    cpdef block_is_whole(self)
    cdef _receive(self, long long size)
    cdef _count_received(self, Py_ssize_t size)
    cdef _count_sent(self, Py_ssize_t size)
    @cython.locals(latency='long long')
    cpdef count_requests(self, long long count, long long failed)
    cpdef _readable(self)
    cpdef _end_input(self)
    cdef _lose(self)
    cdef _start_reader(self)
    cdef _stop_reader(self)
    @cython.locals(now=double, until=double)
    cpdef park(self, Waiter waiter, double deadline)
    cpdef wait_for(self, commit)
    cpdef committed(self)
    cdef _set_alarm(self, double until, double now)
    cpdef _alarmed(self)
    cpdef resume_soon(self)
    cpdef _resume(self)
    cpdef write(self, bytes data)
    @cython.locals(data=bytes, sent=Py_ssize_t)
    cpdef flush(self)
