cimport cython

from kestrel.item cimport Item
from kestrel.journal.read_behind cimport ReadBehind
from kestrel.journal.record cimport RecordReader

cdef int ADD
cdef int ADD_FLAGS
cdef int ADD_XID
cdef int ADDX
cdef int CONFIRM_REMOVE
cdef int CONTINUE
cdef int REMOVE
cdef int REMOVE_TENTATIVE
cdef int REMOVE_TENTATIVE_XID
cdef int SAVE_XID
cdef int UNREMOVE


cdef class Replay:
    cdef readonly object items
    cdef readonly long long count
    cdef readonly long long bytes
    cdef readonly long long mem_bytes
    cdef readonly ReadBehind reader
    cdef readonly long long behind
    cdef readonly dict opened
    cdef readonly dict displaced
    cdef readonly object counter
    cdef readonly long long flagged
    cdef readonly long long without_xid
    cdef readonly long long collisions
    cdef long long _max_memory_size
    cdef long long _memory
    cdef object _log

    @cython.locals(op=int)
    cpdef int run(self, RecordReader reader, list files, now_ms) except -9
    cpdef resume(self, ReadBehind reader, found)
    @cython.locals(item=Item, size='long long')
    cdef _add(self, RecordReader reader, list files, now_ms)
    @cython.locals(item=Item, size='long long')
    cdef Item _drop(self)
    @cython.locals(item=Item)
    cdef _refill(self)
    cdef _open_without_xid(self)
    @cython.locals(item=Item)
    cdef _open(self, xid)
    @cython.locals(item=Item)
    cdef _unremove(self, xid)
