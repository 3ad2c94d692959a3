cimport cython


cdef class Items:
    cdef readonly Py_ssize_t size
    cdef readonly bint numbered
    cdef list _padding

    @cython.locals(digits=bytes)
    cpdef bytes make(self, long long number)
    @cython.locals(end=Py_ssize_t, digits=bytes)
    cpdef long long number(self, bytes item) except -1


cdef class Ledger:
    cdef readonly long long came
    cdef readonly long long doubled
    cdef readonly long long reordered
    cdef readonly long long foreign
    cdef Items _items
    cdef bytearray _seen
    cdef long long _total
    cdef long long _each
    cdef long long _before
    cdef bint _ordered

    @cython.locals(number='long long', producer='long long')
    cpdef note(self, bytes item, dict latest)
