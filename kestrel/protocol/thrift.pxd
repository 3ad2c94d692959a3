cimport cython

from kestrel.protocol.parser cimport Parser

cdef int STOP
cdef int STRING
cdef int STRUCT
cdef int MAP
cdef int DEEPEST
cdef tuple _WIDTH
cdef tuple _LEAST
cdef object _length
cdef object _head
cdef object _seqid


cdef class ThriftParser(Parser):
    cdef public long long max_frame
    cdef public bytes frame
    cdef long long missing

    @cython.locals(buffer=bytes, start=Py_ssize_t, available=Py_ssize_t, size='long long')
    cpdef bint next(self) except -1
    cpdef take(self)
    @cython.locals(buffer=bytes, available=Py_ssize_t, taken=Py_ssize_t)
    cdef bint _continue_frame(self) except -1
    cpdef long long wants(self)


cdef class Message:
    cdef readonly bytes name
    cdef readonly int kind
    cdef readonly int seqid
    cdef readonly Py_ssize_t end


cdef class StructWalk:
    cdef bytes frame
    cdef Py_ssize_t pos
    cdef readonly dict fields
    cdef readonly Py_ssize_t end
    cdef long long left
    cdef int first
    cdef int second
    cdef list outer

    @cython.locals(data='const unsigned char[::1]', stop=Py_ssize_t, pos=Py_ssize_t, kind=int, number=int)
    cpdef bint go_on(self, long long steps) except -1
    @cython.locals(stop=Py_ssize_t, width=int, size='long long', count='long long', first=int)
    cdef Py_ssize_t _pass_value(self, const unsigned char[::1] data, int kind, Py_ssize_t pos) except -1
    @cython.locals(first=int, second=int, count='long long')
    cdef Py_ssize_t _pass_map(self, const unsigned char[::1] data, Py_ssize_t pos, Py_ssize_t stop) except -1
    cdef _check_room(self, long long count, int kind, long long room)
    cdef _enter(self, long long left, int first, int second)
    cdef long long _size(self, const unsigned char[::1] data, Py_ssize_t pos, Py_ssize_t stop) except -1


cdef class Strings:
    cdef bytes frame
    cdef Py_ssize_t pos
    cdef readonly long long left

    @cython.locals(frame=bytes, data='const unsigned char[::1]', pos=Py_ssize_t, count='long long', size='long long',
                   found=list)
    cpdef list take(self, long long most, long long most_bytes)


cdef class Numbers:
    cdef bytes frame
    cdef Py_ssize_t pos
    cdef readonly long long left

    cpdef tuple take(self, long long most)
