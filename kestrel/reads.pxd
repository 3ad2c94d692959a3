cimport cython

from kestrel.item cimport Item
from kestrel.persistent_queue cimport PersistentQueue


cdef class OpenReads:
    cdef object log
    cdef object who
    cdef dict by_name

    cpdef add(self, bytes name, queue, int xid)
    cpdef long long count(self, bytes name)
    cpdef confirm_oldest(self, bytes name, long long count)
    @cython.locals(item=Item, entry=tuple)
    cpdef Item take_next(self, bytes name, PersistentQueue queue, long long now)
    cpdef abort_oldest(self, bytes name)
    cpdef abort_all(self, pause)
    cdef _pop_oldest(self, bytes name)
