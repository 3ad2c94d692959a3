from kestrel.clock cimport Clock
from kestrel.queue_collection cimport QueueCollection
from kestrel.read_ids cimport ReadIds
from kestrel.stats cimport ServerStats


cdef class Services:
    cdef public QueueCollection collection
    cdef public ServerStats stats
    cdef public Clock clock
    cdef public object settings
    cdef public object control
    cdef public object log
    cdef public long long memory_limit
    cdef public ReadIds read_ids
    cdef public double began
    cdef public long long began_ms
    cdef public bint stopping
    cdef public bint reads_blocked
    cdef public bint writes_blocked
