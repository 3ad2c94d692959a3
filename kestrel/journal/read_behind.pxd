from kestrel.append_file cimport AppendFile
from kestrel.journal.record cimport RecordReader


cdef class ReadBehind:
    cdef public list files
    cdef public AppendFile file
    cdef public AppendFile left
    cdef object _log
    cdef object _now
    cdef long long _block
    cdef long long _asked
    cdef RecordReader _reader

    cpdef next(self)
    cpdef place(self)
