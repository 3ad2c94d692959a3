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


@cython.locals(item=Item)
cpdef Item new_item(bytes data, long long add_time, long long expiry, unsigned int flags)
