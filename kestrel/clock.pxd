cimport cython


cdef class Clock:
    @cython.locals(nanoseconds='long long')
    cpdef long long now_ms(self)
    cpdef double monotonic(self)
    cpdef double thread_cpu(self)
