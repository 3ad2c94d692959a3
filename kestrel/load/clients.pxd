cimport cython

from kestrel.load.dialect cimport Dialect
from kestrel.load.engine cimport Client
from kestrel.load.items cimport Ledger


cdef class Tally:
    cdef public long long put
    cdef public long long got
    cdef public long long misses
    cdef public long long producing
    cdef public double last_at
    cdef public double got_at
    cdef readonly object times
    cdef readonly dict troubles


cdef class Producer(Client):
    cdef Tally tally
    cdef object items
    cdef list queues
    cdef Py_ssize_t turn
    cdef readonly long long number
    cdef readonly long long end
    cdef long long burst
    cdef long long sending

    cpdef first(self, double now)
    cpdef replied(self, double now)
    cpdef count(self, double now)
    @cython.locals(number='long long', queue=bytes)
    cpdef next_put(self)
    cpdef ended(self, trouble)


cdef class Consumer(Client):
    cdef Tally tally
    cdef Ledger ledger
    cdef list queues
    cdef Py_ssize_t turn
    cdef public list latest
    cdef long long left
    cdef long long batch
    cdef long long wait_ms
    cdef bint must
    cdef long long owed
    cdef bint confirming

    cpdef first(self, double now)
    cdef _ask(self)
    @cython.locals(items=list, tally=Tally, count='long long', item=bytes, latest=dict)
    cpdef replied(self, double now)
    cdef _next(self)
    cdef _missed(self, double now)
    cpdef ended(self, trouble)
