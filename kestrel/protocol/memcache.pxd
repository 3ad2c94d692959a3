cimport cython

from kestrel.byte_calls cimport cut, find_byte, short_number, words_of
from kestrel.protocol.parser cimport Parser

cdef frozenset STORAGE
cdef dict USUAL
cdef Py_ssize_t MAX_LINE
cdef int CR
cdef int LF


cdef class MemcacheParser(Parser):
    cdef public long long max_block
    cdef object refuses
    cdef bint begun
    cdef bytes name
    cdef public bytes verb
    cdef public bytes data
    cdef public bint refused
    cdef public bint noreply
    cdef long long missing

    cpdef feed(self, bytes data)
    # letters: the buffer again, whose bytes are C's even with Cython 0.29
    @cython.locals(buffer=bytes, letters='const unsigned char *', words=list, last=bytes, verb=bytes, word=bytes,
                   start=Py_ssize_t, eol=Py_ssize_t, end=Py_ssize_t, begin=Py_ssize_t, size='long long', storage=bint)
    cpdef bint next(self) except -1
    @cython.locals(buffer=bytes, letters='const unsigned char *', found=list, line=bytes, start=Py_ssize_t,
                   eol=Py_ssize_t, end=Py_ssize_t, begin=Py_ssize_t, size='long long')
    cpdef list like_this(self, Py_ssize_t most)
    cdef bint _begin_block(self, long long size) except -1
    @cython.locals(buffer=bytes, available=Py_ssize_t, taken=Py_ssize_t)
    cdef bint _continue_block(self) except -1
    cpdef long long wants(self)
