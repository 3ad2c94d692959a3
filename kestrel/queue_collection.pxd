from kestrel.persistent_queue cimport PersistentQueue
from kestrel.stats cimport ServerStats
from kestrel.waiters cimport Waiters


cdef class QueueCollection:
    cdef public bytes spool
    cdef public object disk
    cdef public object hub
    cdef public object syncer
    cdef public object clock
    cdef public ServerStats stats
    cdef public object config
    cdef public object log
    cdef public dict queues
    cdef public dict aliases
    cdef public dict children
    cdef public set routed
    cdef public bint white_lists
    cdef set left_alone
    cdef dict expected
    cdef object late_reads

    cpdef lookup(self, bytes name)
    cpdef PersistentQueue need(self, bytes name)
    cpdef line_for(self, bytes name)
    cpdef forget_line(self, bytes name)
