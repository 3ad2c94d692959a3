cdef class Dialect:
    cdef public list items
    cdef public bytes kept
    cdef public bytes expected

    cpdef bint feed(self, bytes data) except -1
    cpdef bytes put(self, bytes queue, list items)
    cpdef bytes get(self, bytes queue, long long wait_ms)
    cpdef bytes get_many(self, bytes queue, long long count, long long wait_ms)
    cpdef bytes confirm(self, bytes queue, long long count)
    cdef bint _feed_expected(self, bytes data) except -1
