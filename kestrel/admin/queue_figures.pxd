cimport cython

from kestrel.item cimport Item
from kestrel.journal.journal cimport Journal
from kestrel.persistent_queue cimport PersistentQueue
from kestrel.stats cimport Histogram, QueueStats

cdef tuple NOTHING


@cython.locals(stats=QueueStats)
cpdef tuple counters(PersistentQueue queue)

@cython.locals(now='long long', head=Item, journal=Journal)
cpdef tuple gauges(PersistentQueue queue)

@cython.locals(stats=QueueStats)
cpdef tuple histograms(PersistentQueue queue)

@cython.locals(histogram=Histogram)
cpdef list counts_and_sums(PersistentQueue queue)

@cython.locals(histogram=Histogram)
cpdef bint unchanged(PersistentQueue queue, tuple distributions) except -1
