cimport cython


cdef class Family:
    cdef readonly str name
    cdef readonly list samples
    cdef str _head
    cdef list _pieces

    cpdef flush(self)
    cpdef bytes text(self)


cdef class QueueFamilies:
    cdef readonly list families
    cdef list _counters
    cdef list _gauges
    cdef list _times
    cdef Py_ssize_t _added

    @cython.locals(queue=str, zero=str, samples=list, both=tuple, family=Family, at=Py_ssize_t, unit='long long', value='long long',
                   count='long long', total='long long')
    cpdef add(self, str shown, tuple counters, tuple gauges, list counts_and_sums)
