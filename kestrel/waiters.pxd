cdef class Waiter:
    cdef public object owner
    cdef public bint woken
    cdef public bint dismissed


cdef class Waiters:
    cdef object line
    cdef public long long woken

    cpdef join(self, Waiter waiter)
    cpdef leave(self, Waiter waiter)
    cpdef wake_one(self)
    cpdef dismiss_all(self)
