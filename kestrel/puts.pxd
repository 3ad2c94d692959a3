cimport cython

from kestrel.access cimport Access
from kestrel.clock cimport Clock
from kestrel.persistent_queue cimport PersistentQueue
from kestrel.queue_collection cimport QueueCollection
from kestrel.stats cimport ServerStats


cdef class Puts(Access):
    cdef public object connection
    cdef public ServerStats stats
    cdef public Clock clock
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
                   began=double, stored='long long',
                   count='long long')
    cdef _put_some(self, bytes name, list items, long long expiry, list commits)
    @cython.locals(collection=QueueCollection, clock=Clock, queue=PersistentQueue, began=double, stored='long long',
                   count='long long')
    cpdef put_until_refused(self, bytes name, list items, long long expiry, list commits)
    @cython.locals(collection=QueueCollection)
    cpdef bint may_put_together(self, bytes name) except -1
    @cython.locals(stats=ServerStats, queue=PersistentQueue, answers=list, commits=list, began=double,
                   done=Py_ssize_t, step=tuple, count='long long')
    cpdef list put_together(self, bytes name, list items)
    cdef tuple _put_next(self, PersistentQueue queue, list items, long long expiry, list commits)
    @cython.locals(count='long long')
    cdef tuple _put_step(self, PersistentQueue queue, list items, long long expiry, list commits)
    cdef _wait_for_those_before(self, list commits)
    @cython.locals(stats=ServerStats, spent='long long')
    cdef _count_puts(self, PersistentQueue queue, double began, long long count)
    cpdef wait_for_all(self, list commits, error)
    @cython.locals(stats=ServerStats, spent='long long')
    cdef _count_put(self, PersistentQueue queue, double began, long long stored)
