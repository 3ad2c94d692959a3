cimport cython

from kestrel.file_calls cimport write

cdef object SYSTEM_WRITE


cdef class AppendFile:
    cdef readonly bytes path
    cdef readonly long long size
    cdef public bint archived
    cdef object _disk
    cdef object _system
    cdef object _write
    cdef int _descriptor
    cdef bint _torn
    cdef long long _name

    @cython.locals(length=Py_ssize_t, written=Py_ssize_t)
    cpdef append(self, bytes data)
    @cython.locals(length=Py_ssize_t, written=Py_ssize_t)
    cpdef append2(self, bytes header, bytes data)
    cpdef cut(self, long long size)
    cdef _write_rest(self, rest)
    cdef _cut(self)
    cpdef read_at(self, count, offset)
    cpdef open(self)
    cpdef hold(self)
    cdef _open(self)
    cdef _find_or_create(self)
    cpdef bint name_is_new(self) except -1
