cimport cython

from kestrel.protocol.parser cimport Parser

cdef frozenset STORAGE


cdef class MemcacheParser(Parser):
    cdef public long long max_block
    cdef object refuses
    cdef bint begun
    cdef public bytes verb
    cdef public bytes data
    cdef public bint refused
    cdef public bint noreply
    cdef long long missing

    cpdef feed(self, bytes data)
    @cython.locals(buffer=bytes, words=list, last=bytes, verb=bytes, word=bytes, start=Py_ssize_t, eol=Py_ssize_t,
                   end=Py_ssize_t, begin=Py_ssize_t, size='long long')
    cpdef bint next(self) except -1
    @cython.locals(buffer=bytes, found=list, line=bytes, word=bytes, start=Py_ssize_t, eol=Py_ssize_t, end=Py_ssize_t,
                   begin=Py_ssize_t, size='long long')
    cpdef list like_this(self, Py_ssize_t most)
    cdef bint _begin_block(self, long long size) except -1
    @cython.locals(buffer=bytes, available=Py_ssize_t, taken=Py_ssize_t)
    cdef bint _continue_block(self) except -1
    cpdef long long wants(self)
