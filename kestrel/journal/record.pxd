cimport cython

from kestrel.byte_calls cimport addx, pack_xid
from kestrel.item cimport Item, new_item

cdef object _pack_addx
cdef object _pack_flags
cdef object _unpack_xid
cdef object _unpack_times
cdef object _unpack_flags

cpdef bytes addx_header(Item item)
@cython.locals(data=bytes)
cpdef bytes addx_record(Item item)
cpdef bytes flags_header(Item item)
cpdef bytes xid_record(int op, int xid)


cdef class RecordReader:
    cdef readonly long long size
    cdef readonly long long offset
    cdef readonly int xid
    cdef readonly Item item
    cdef readonly long long skimmed
    cdef readonly long long skimmed_bytes
    cdef object _read_at
    cdef object _now
    cdef long long _block_size
    cdef bytes _block
    cdef Py_ssize_t _limit
    cdef Py_ssize_t _position
    cdef long long _base

    cpdef long long place(self)
    cpdef resize(self, long long size)
    # letters: the block, whose bytes are C's even with Cython 0.29
    @cython.locals(letters='const unsigned char *', position=Py_ssize_t, left=Py_ssize_t, end=Py_ssize_t, op=int,
                   add_time='long long', expiry='long long')
    cpdef int next(self) except -9
    @cython.locals(letters='const unsigned char *', position='long long', limit='long long', left='long long', size='long long')
    cpdef int skim(self, long long most=*) except -9
    @cython.locals(position=Py_ssize_t, end=Py_ssize_t)
    cdef int _rare(self, int op) except -9
    @cython.locals(block=bytes, position=Py_ssize_t, size='long long')
    cdef Py_ssize_t _end(self, Py_ssize_t before, long long least) except -9
    @cython.locals(have=Py_ssize_t, base='long long', wanted='long long')
    cdef _fill(self, long long count)


cpdef bytes addition(Item item, bint keep_deliveries)
