cimport cython

from kestrel.reads cimport OpenReads


cdef class Held:
    cdef bytes name
    cdef readonly object queue
    cdef readonly set ids
    cdef dict owner

    cdef discard(self, number)


cdef class Batch:
    cdef readonly list ids
    cdef readonly long long left
    cdef public bint timed


cdef class ReadIds:
    cdef object hub
    cdef object clock
    cdef public object log
    cdef object unknown
    cdef readonly long long last
    cdef readonly dict by_id
    cdef long long look_at
    cdef readonly list timed
    cdef readonly long long over
    cdef long long started
    cdef object fires_at
    cdef long long timer

    @cython.locals(number='long long')
    cpdef register(self, Held held, int xid, Batch batch)
    @cython.locals(held=Held, batch=Batch)
    cpdef forget(self, number)


cdef class SharedReads(OpenReads):
    cdef readonly ReadIds ids
    cdef public Batch batch

    @cython.locals(held=Held)
    cpdef add(self, bytes name, queue, int xid)
    @cython.locals(held=Held)
    cpdef long long count(self, bytes name)
    cpdef abort_all(self, pause)
