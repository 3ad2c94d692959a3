cimport cython

from kestrel.clock_calls cimport monotonic, time_ns


cdef class Clock:
    @cython.locals(nanoseconds='long long')
    cpdef long long now_ms(self)
    cpdef double monotonic(self)
    cpdef double thread_cpu(self)
