cdef class Clock:
    cpdef long long now_ms(self)
    cpdef double monotonic(self)
