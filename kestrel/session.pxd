cimport cython

from kestrel.clock cimport Clock
from kestrel.item cimport Item
from kestrel.persistent_queue cimport PersistentQueue
from kestrel.puts cimport Puts
from kestrel.queue_collection cimport QueueCollection
from kestrel.reads cimport OpenReads
from kestrel.services cimport Services
from kestrel.stats cimport ServerStats
from kestrel.waiters cimport Waiter, Waiters


cdef class Session(Puts):
    cdef public OpenReads reads
    cdef public long long max_open
    cdef public bint half_closes

    cpdef get(self, bytes name, long long timeout, bint opening, bint allowed=*)
    @cython.locals(clock=Clock, collection=QueueCollection, services=Services, queue=PersistentQueue, stats=ServerStats,
                   began=double, spent='long long', now='long long', item=Item)
    cpdef get_next(self, bytes name)
    cpdef peek(self, bytes name, long long timeout)
    cpdef monitor_step(self, bytes name, double timeout, bint opening=*)
    @cython.locals(clock=Clock, collection=QueueCollection, queue=PersistentQueue, stats=ServerStats,
                   began=double, spent='long long')
    cdef _obtain(self, bytes name, double timeout, bint opening, bint peek, bint timed, bint allowed)
    cdef bint _let_them_look(self, Waiters line) except -1
    @cython.locals(item=Item, now='long long')
    cdef _fetch(self, PersistentQueue queue, bint opening, bint peek)
    @cython.locals(deadline=double, line=Waiters, waiter=Waiter, queue=PersistentQueue, item=Item)
    cdef _wait(self, bytes name, double began, double timeout, bint opening, bint peek)
    cdef _count_wait_without_item(self, bytes name, double began, bint dismissed)
    cpdef long long open_count(self, bytes name)
