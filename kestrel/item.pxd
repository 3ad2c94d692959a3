cimport cython


@cython.final
@cython.no_gc
cdef class Item:
    cdef public bytes data
    cdef public long long add_time
    cdef public long long expiry
    cdef public unsigned int flags
    cdef public int deliveries
    cdef public int xid
