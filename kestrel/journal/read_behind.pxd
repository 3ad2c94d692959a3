cimport cython

from kestrel.append_file cimport AppendFile
from kestrel.journal.record cimport RecordReader

cdef int ADD
cdef int ADD_FLAGS
cdef int ADD_XID
cdef int ADDX
cdef int CONTINUE
cdef int END
cdef int IMPOSSIBLE
cdef int TORN
cdef int PASSED_AT_ONCE
cdef long long AHEAD


cdef class ReadBehind:
    cdef public list files
    cdef public AppendFile file
    cdef public AppendFile left
    cdef public bint busy
    cdef public bint broken
    cdef object _log
    cdef object _now
    cdef long long _block
    cdef long long _asked
    cdef RecordReader _reader

    @cython.locals(reader=RecordReader, op=int, passed=int)
    cpdef next(self)
    cpdef place(self)
    cpdef begin(self)
