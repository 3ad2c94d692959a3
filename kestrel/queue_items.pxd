cimport cython

from kestrel.append_file cimport AppendFile
from kestrel.clock cimport Clock
from kestrel.item cimport Item
from kestrel.journal.journal cimport Journal
from kestrel.journal.read_behind cimport ReadBehind
from kestrel.stats cimport QueueStats

cdef long long REFILL_ITEMS
cdef long long REFILL_BYTES


cdef class QueueItems:
    cdef public Journal journal
    cdef public Clock clock
    cdef public QueueStats stats
    cdef public object compactor
    cdef public object items
    cdef public long long count
    cdef public long long bytes
    cdef public long long mem_bytes
    cdef public ReadBehind reader
    cdef public long long behind
    cdef bint unreadable
    cdef object trouble
    cdef bint reading_on
    cdef public bint filling
    cdef public object tail
    cdef public long long tail_bytes
    cdef long long tail_behind
    cdef public long long voids
    cdef public object voids_left_out
    cdef readonly set voids_behind
    cdef public object checkpoint
    cdef public bint closed
    cdef public long long max_memory_size

    cdef _enter(self, Item item, long long size)
    cpdef wake(self, long long count)
    cdef _begin_read_behind(self)
    cdef _end_read_behind(self)
    cdef _move_up(self)
    @cython.locals(began=double, before='long long')
    cdef _refill(self)
    @cython.locals(items='long long', size='long long', item=Item)
    cdef _read_back(self)
    cdef _put_behind_an_fsync(self, Item item, long long size, object commit, AppendFile file, long long offset)
