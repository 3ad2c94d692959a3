cdef class Parser:
    cdef readonly bytes buffer
    cdef readonly Py_ssize_t pos
    cdef public list words
    cdef public long long block
    cdef public long long size
    cdef public long long held
    cdef public Py_ssize_t together
    cdef list chunks

    cpdef feed(self, bytes data)
    cpdef bint next(self) except -1
    cpdef long long wants(self)
    cdef _keep(self, bytes piece)
    cdef bint _starve(self)
