cimport cython

from kestrel.item cimport Item
from kestrel.journal.record cimport RecordReader


cdef class Replay:
    cdef readonly object items
    cdef readonly long long bytes
    cdef readonly dict opened
    cdef readonly dict displaced
    cdef readonly object counter

    @cython.locals(op=int, item=Item)
    cpdef int run(self, RecordReader reader) except -9
    cdef _open_without_xid(self)
    @cython.locals(item=Item)
    cdef _open(self, xid)
    @cython.locals(item=Item)
    cdef _unremove(self, xid)
