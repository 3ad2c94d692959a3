cimport cython

from kestrel.clock cimport Clock
from kestrel.item cimport Item
from kestrel.journal.journal cimport Journal
from kestrel.stats cimport QueueStats
from kestrel.waiters cimport Waiters


cdef class PersistentQueue:
    cdef public bytes name
    cdef public Journal journal
    cdef public Clock clock
    cdef public Waiters waiters
    cdef public QueueStats stats
    cdef public object settings
    cdef public object items
    cdef public dict opened
    cdef public long long created
    cdef public bint closed
    cdef public long long bytes
    cdef public int xid
    cdef public long long last_taken
    cdef public long long max_items
    cdef public long long max_size
    cdef public long long max_item_size
    cdef public long long max_age
    cdef public long long max_sweep
    cdef public bint ages
    cdef public bint discards
    cdef public bint traces

    @cython.locals(size=Py_ssize_t, now='long long', latest='long long', discarded='long long', item=Item,
                   stats=QueueStats)
    cpdef put(self, bytes data, unsigned int flags, long long expiry, bint durable)
    cdef bint _full(self)
    cdef long long _heads_in_the_way(self)
    @cython.locals(stats=QueueStats)
    cdef _sample(self)
    cpdef bint stale(self, long long now)
    @cython.locals(item=Item, journal=Journal, xid=int)
    cpdef Item take(self, bint opening, long long now)
    cpdef head(self)
    cpdef confirm(self, int xid, bint last=*)
    cpdef unremove(self, int xid)
    cdef bint _expired(self, Item item, long long now)
    cpdef sweep(self, long long limit)
    @cython.locals(dropped='long long')
    cdef _sweep(self, long long now, long long limit)
    cpdef flush(self)
    @cython.locals(item=Item)
    cdef _pop_head(self)
