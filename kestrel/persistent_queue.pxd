cimport cython

from kestrel.append_file cimport AppendFile
from kestrel.clock cimport Clock
from kestrel.item cimport Item, new_item
from kestrel.journal.journal cimport Journal
from kestrel.queue_items cimport QueueItems
from kestrel.stats cimport QueueStats
from kestrel.waiters cimport Waiters

cdef int LAST_XID
cdef long long SLICE
cdef long long NO_WAY
cdef long long LATER
cdef Py_ssize_t JOINED
cdef long long ADDX_HEAD


cdef class PersistentQueue(QueueItems):
    cdef public bytes name
    cdef public Waiters waiters
    cdef public object settings
    cdef public object hub
    cdef public object deadlines
    cdef public object mover
    cdef public object late_reads
    cdef object last_state
    cdef public dict opened
    cdef public long long created
    cdef public int xid
    cdef public long long last_taken
    cdef public long long passed_on
    cdef public long long max_items
    cdef public long long max_size
    cdef public long long max_item_size
    cdef public long long max_age
    cdef public long long max_sweep
    cdef public long long max_deliveries
    cdef public long long compact_from
    cdef public bint ages
    cdef public bint discards
    cdef public bint moves_expired
    cdef public bint fanout_only
    cdef public bint traces
    cdef long long swept
    cdef bint _sweep_for_put(self, long long now) except -1

    @cython.locals(size=Py_ssize_t, now='long long', latest='long long', discarded='long long', item=Item,
                   journal=Journal, file=AppendFile, offset='long long')
    cpdef put(self, bytes data, unsigned int flags, long long expiry, bint durable)
    @cython.locals(size=Py_ssize_t, now='long long', room='long long', total='long long', limit='long long', unchecked='long long',
                   items=list, item=Item, journal=Journal, file=AppendFile, word=bytes)
    cpdef put_many(self, list data, long long expiry)
    cdef long long _until_next_look(self) except -1
    @cython.locals(stats=QueueStats)
    cdef _enter(self, Item item, long long size)
    cpdef wake(self, long long count)
    cdef bint _full(self)
    cdef long long _heads_in_the_way(self) except -2
    cdef _discard(self, long long count)
    @cython.locals(stats=QueueStats)
    cdef _sample(self)
    @cython.locals(item=Item)
    cpdef bint stale(self, long long now) except -1
    @cython.locals(item=Item, journal=Journal, xid=int, size='long long')
    cpdef Item take(self, bint opening, long long now, bytes before=*)
    @cython.locals(journal=Journal)
    cpdef Item take_next(self, int xid, long long now)
    cpdef head(self)
    cdef bint _is_choked(self) except -1
    @cython.locals(journal=Journal, item=Item)
    cpdef confirm(self, int xid)
    @cython.locals(journal=Journal, item=Item, size='long long')
    cpdef unremove(self, int xid)
    cpdef list still_open(self, list xids)
    cdef bint _is_late(self, xid) except -1
    cdef bint _expired(self, Item item, long long now)
    cpdef confirm_many(self, list xids)
    @cython.locals(item=Item)
    cpdef let_go(self, list xids)
    cpdef unremove_many(self, list xids)
    @cython.locals(item=Item, size='long long')
    cpdef put_back(self, list xids)
    @cython.locals(item=Item, xid=int)
    cpdef hold_head(self)
    @cython.locals(now='long long', dropped='long long')
    cpdef sweep(self, long long limit, long long run=*)
    @cython.locals(dropped='long long')
    cdef _sweep(self, long long now, long long limit)
    cpdef flush(self)
    @cython.locals(item=Item, size='long long')
    cpdef pop_head(self, bint opening=*)
