cimport cython

cdef frozenset STORAGE


cdef class MemcacheParser:
    cdef public long long max_block
    cdef object refuses
    cdef bytes buffer
    cdef Py_ssize_t pos
    cdef bint begun
    cdef public list words
    cdef public bytes verb
    cdef public bytes data
    cdef public bint refused
    cdef public bint noreply
    cdef public long long block
    cdef public long long size
    cdef long long missing
    cdef list chunks
    cdef public long long held

    cpdef feed(self, bytes data)
    @cython.locals(buffer=bytes, words=list, last=bytes, verb=bytes, word=bytes, start=Py_ssize_t, eol=Py_ssize_t,
                   end=Py_ssize_t, begin=Py_ssize_t, size='long long')
    cpdef bint next(self) except -1
    cdef bint _begin_block(self, long long size) except -1
    @cython.locals(buffer=bytes, available=Py_ssize_t, taken=Py_ssize_t)
    cdef bint _continue_block(self) except -1
    cdef _keep(self, bytes piece)
    cdef bint _starve(self)
    cpdef long long wants(self)
