cimport cython

from kestrel.byte_calls cimport cut, find_byte, words_of
from kestrel.protocol.parser cimport Parser

cdef int CR
cdef int LF
cdef int COLON


cdef class TextParser(Parser):
    cdef public long long max_item
    cdef public long long max_request
    cdef public bytes verb
    cdef public list items
    cdef bint in_items
    cdef long long line
    cdef bytes why_not

    @cython.locals(buffer=bytes, words=list, last=bytes, verb=bytes, start=Py_ssize_t, eol=Py_ssize_t, end=Py_ssize_t,
                   colon=bint)
    cpdef bint next(self) except -1
    @cython.locals(buffer=bytes, item=bytes, size=Py_ssize_t, pos=Py_ssize_t, eol=Py_ssize_t)
    cdef bint _take_items(self) except -1
    @cython.locals(why_not=bytes)
    cdef bint _end_items(self) except -1
    cdef _add(self, bytes item)
    cdef _keep_line(self, bytes piece)
    cdef _throw_away(self, bytes why)
    cpdef long long wants(self)
