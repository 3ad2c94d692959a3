from kestrel.append_file cimport AppendFile


cdef class Series:
    cdef public list files
    cdef public long long archived_size
    cdef public list unsynced
    cdef public AppendFile pinned
    cdef readonly bytes spool
    cdef object _disk
    cdef object _clock
    cdef bytes _path
    cdef long long _last_ms
    cdef AppendFile _reading
