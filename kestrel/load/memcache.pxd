cimport cython

from kestrel.load.dialect cimport Dialect

cdef int FIXED
cdef int ITEM
cdef int ITEMS
cdef int LINES
cdef bytes END
cdef bytes ITEM_END


cdef class Memcache(Dialect):
    cdef int kind
    cdef bytes queue
    cdef bytes head
    cdef Py_ssize_t stored
    cdef Py_ssize_t pos

    @cython.locals(item=bytes)
    cpdef bytes put(self, bytes queue, list items)
    cpdef bytes get(self, bytes queue, long long wait_ms)
    cpdef bytes get_many(self, bytes queue, long long count, long long wait_ms)
    cpdef bytes confirm(self, bytes queue, long long count)
    cdef bytes _fixed(self, bytes request, bytes reply)
    cdef _expect(self, int kind, bytes queue)
    cpdef bint feed(self, bytes data) except -1
    @cython.locals(end=Py_ssize_t)
    cdef bint _feed_item(self, bytes data) except -1
    @cython.locals(pos=Py_ssize_t, end=Py_ssize_t)
    cdef bint _feed_items(self, bytes data) except -1
    @cython.locals(head=bytes, size=Py_ssize_t, line_end=Py_ssize_t, end=Py_ssize_t, digits=bytes)
    cdef Py_ssize_t _end_of_item(self, bytes data, Py_ssize_t pos) except -1
    cdef bytes _item(self, bytes data, Py_ssize_t pos, Py_ssize_t end)
    cdef bint _feed_lines(self, bytes data) except -1
