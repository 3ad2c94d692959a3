cimport cython

from kestrel.clock cimport Clock
from kestrel.item cimport Item
from kestrel.persistent_queue cimport PersistentQueue
from kestrel.queue_collection cimport QueueCollection
from kestrel.read_ids cimport ReadIds
from kestrel.reads cimport OpenReads
from kestrel.stats cimport ServerStats
from kestrel.waiters cimport Waiter, Waiters


cdef class Services:
    cdef public QueueCollection collection
    cdef public ServerStats stats
    cdef public Clock clock
    cdef public object settings
    cdef public object control
    cdef public object log
    cdef public long long memory_limit
    cdef public ReadIds read_ids
    cdef public double began
    cdef public bint stopping
    cdef public bint reads_blocked
    cdef public bint writes_blocked


cdef class Session:
    cdef public Services services
    cdef public object connection
    cdef public QueueCollection collection
    cdef public ServerStats stats
    cdef public Clock clock
    cdef public OpenReads reads
    cdef public long long max_open
    cdef public bint reads_refused
    cdef public bint writes_refused
    cdef public object client_id
    cdef long long unread

    @cython.locals(clock=Clock, collection=QueueCollection, queue=PersistentQueue, stats=ServerStats,
                   began=double)
    cpdef put(self, bytes name, bytes data, unsigned int flags, long long expiry, bint durable)
    @cython.locals(commits=list)
    cdef _put_to_several(self, bytes name, bytes data, unsigned int flags, long long expiry, bint durable,
                         double began)
    cdef _put_in_steps(self, PersistentQueue queue, bytes data, unsigned int flags, long long expiry, bint durable)
    @cython.locals(queue=PersistentQueue, stats=ServerStats, accepted=bint, put='long long')
    cdef _put_to_targets(self, bytes name, bytes data, unsigned int flags, long long expiry, bint durable,
                         double began, list commits)
    @cython.locals(commits=list)
    cpdef put_many(self, bytes name, list items, long long expiry)
    @cython.locals(collection=QueueCollection, clock=Clock, queue=PersistentQueue, routed=bint, data=bytes,
                   began=double, stored='long long')
    cdef _put_some(self, bytes name, list items, long long expiry, list commits)
    @cython.locals(collection=QueueCollection, clock=Clock, queue=PersistentQueue, began=double, stored='long long',
                   count='long long')
    cpdef put_until_refused(self, bytes name, list items, long long expiry, list commits)
    cpdef wait_for_all(self, list commits, error)
    @cython.locals(stats=ServerStats, spent='long long')
    cdef _count_put(self, PersistentQueue queue, double began, long long stored)
    cpdef get(self, bytes name, long long timeout, bint opening)
    @cython.locals(clock=Clock, collection=QueueCollection, services=Services, queue=PersistentQueue, stats=ServerStats,
                   began=double, spent='long long', now='long long', item=Item)
    cpdef get_next(self, bytes name)
    cpdef peek(self, bytes name, long long timeout)
    cpdef monitor_step(self, bytes name, double timeout, bint opening=*)
    @cython.locals(clock=Clock, collection=QueueCollection, queue=PersistentQueue, stats=ServerStats,
                   began=double, spent='long long')
    cdef _obtain(self, bytes name, double timeout, bint opening, bint peek, bint timed)
    @cython.locals(item=Item, now='long long')
    cdef _fetch(self, PersistentQueue queue, bint opening, bint peek)
    @cython.locals(deadline=double, line=Waiters, waiter=Waiter, queue=PersistentQueue, item=Item)
    cdef _wait(self, bytes name, double began, double timeout, bint opening, bint peek)
    cdef _count_wait_without_item(self, bytes name, double began, bint dismissed)
    cpdef long long open_count(self, bytes name)
