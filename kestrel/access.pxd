from kestrel.queue_collection cimport QueueCollection
from kestrel.services cimport Services


cdef class Access:
    cdef public Services services
    cdef public QueueCollection collection
    cdef public bint reads_refused
    cdef public bint writes_refused
    cdef public object client_id
