cimport cython

from kestrel.clock cimport Clock
from kestrel.journal.compaction cimport verdict
from kestrel.journal.journal cimport Journal
from kestrel.persistent_queue cimport PersistentQueue

cdef class Compactor:
    cdef PersistentQueue queue
    cdef Journal journal
    cdef Clock clock
    cdef public object job
    cdef object next_pack
    cdef public bint rewriting
    cdef bint rewriting_empty
    cdef readonly bint placing
    cdef double began
    cdef bint missed
    cdef bint wanted
    cdef double barred_empty_until
    cdef double barred_until
    cdef double paused_until
    cdef double lost_until
    cdef set lost_told
    cdef object told
    cdef double told_until
    cdef double delay
    cdef double state_from
    cdef double began_reading
    cdef long long default_journal_size
    cdef long long max_journal_size
    cdef long long max_memory_size

    @cython.locals(queue=PersistentQueue, journal=Journal, items='long long', current='long long',
                   total='long long', now=double, what=int)
    cpdef look(self)
