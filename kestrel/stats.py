"""Counters and histograms: what the server counts while it works.

A queue owns its ``QueueStats``; when the queue goes, they go (D26). Nothing here reads a clock or formats a reply.
"""

from bisect import bisect_right

# The compiled module has these from cells.pxd; written like this, Cython sees no second definition.
globals()['no_cells'] = None
globals()['cells_of'] = list
globals()['more_cells'] = lambda cells, have, wanted: (cells or []) + [0] * (wanted - have)
globals()['free_cells'] = lambda cells: None

BUCKETS = 202
LARGEST = 2147483647


def _thresholds():
    """The 201 lower bounds of the buckets 1..201 (spec admin 5)."""
    factor = 1.05 / 0.95
    bounds = [1]
    power = factor
    while int(power) < LARGEST:
        if int(power) + 1 != bounds[-1]:
            bounds.append(int(power) + 1)
        power *= factor
    return bounds


THRESHOLDS = _thresholds()

# Three tables instead of a search: the bucket of each value below TABLED, and of each larger one the bucket of the
# next smaller multiple of 2**MIDDLE, from MIDDLE_END on of 2**UPPER. From there it is three steps at most.
TABLED = 4096
MIDDLE = 9
MIDDLE_END = TABLED << MIDDLE
UPPER = 19


def _bucket_of(value):
    return bisect_right(THRESHOLDS, value)


_TABLE, _MIDDLE_TABLE, _UPPER_TABLE = [bytes([_bucket_of(step << bits) for step in range(TABLED)])
                                       for bits in (0, MIDDLE, UPPER)]
# the same, in C a pointer to their bytes
_BUCKET_OF, _MIDDLE_FROM, _UPPER_FROM = _TABLE, _MIDDLE_TABLE, _UPPER_TABLE
# Where each bucket ends.
_ENDS = cells_of([*THRESHOLDS, LARGEST + 1])

# Nearly all values are below TABLED (a latency in us, a size in bytes): a histogram has the buckets of those first, and
# all when the first larger one comes.
NARROW = _TABLE[-1] + 1

# the same as C integers (stats.pxd)
_BUCKETS, _LARGEST, _TABLED, _NARROW = BUCKETS, LARGEST, TABLED, NARROW


class Histogram:
    """Distribution of non-negative i32 values in 202 buckets (spec admin 5).

    The buckets are made at the first value: most histograms of most queues never see one. Compiled they are C's: as a list
    they were half of the cost of counting. (With a typed memoryview every compiled module that knows this class would hold
    all of Cython's memoryviews, 100 KB each.)

    count, sum  of all values
    dropped     how many were negative
    """

    __slots__ = ('buckets', 'count', 'sum', 'size', 'dropped')

    def __init__(self):
        self.buckets = no_cells
        self.count = 0
        self.sum = 0
        self.size = 0       # how many buckets there are
        self.dropped = 0

    def add(self, value):
        """Count one value; negative ones are dropped, larger ones count as 2**31-1."""
        if value < 0:
            self.dropped += 1
            return
        if value < _TABLED:
            if self.size == 0:
                self.buckets = more_cells(self.buckets, 0, _NARROW)
                self.size = _NARROW
            self.buckets[_BUCKET_OF[value]] += 1
        else:
            if self.size < _BUCKETS:
                self._widen()
            if value > _LARGEST:
                value = _LARGEST
            if value < MIDDLE_END:
                bucket = _MIDDLE_FROM[value >> MIDDLE]
            else:
                bucket = _UPPER_FROM[value >> UPPER]
            while value >= _ENDS[bucket]:
                bucket += 1
            self.buckets[bucket] += 1
        self.count += 1
        self.sum += value

    def _widen(self):
        self.buckets = more_cells(self.buckets, self.size, _BUCKETS)
        self.size = _BUCKETS

    def __dealloc__(self):
        # called by Cython alone: a list goes by itself
        free_cells(self.buckets)

    def pairs(self):
        """-> list of (bucket, how many values) of the buckets that are not empty, ascending."""
        found = []
        for bucket in range(self.size):
            if self.buckets[bucket]:
                found.append((bucket, self.buckets[bucket]))
        return found

    def counts(self):
        """-> list of 202 ints: how many values fell into each bucket."""
        return [self.buckets[bucket] for bucket in range(self.size)] + [0] * (_BUCKETS - self.size)


class TransportStats:
    """What the connections of one client port came to (spec admin 7); counted when one begins and ends, and with each
    receive: bytes, and the requests that were complete then, each with the time until all of them were done. Those that did
    not end in an internal error are ``success``."""

    def __init__(self):
        self.connections = 0
        self.connects = 0
        self.closes = 0
        self.received_bytes = 0
        self.sent_bytes = 0
        self.requests = 0
        self.success = 0
        self.connection_duration = Histogram()
        self.connection_received_bytes = Histogram()
        self.connection_sent_bytes = Histogram()
        self.request_latency_ms = Histogram()


class Traffic:
    """Bytes that came from clients and went to them."""

    def __init__(self):
        self.bytes_read = 0
        self.bytes_written = 0


class ServerStats(Traffic):
    """Counters since the start of the server; names as in spec admin 7.

    thrift        the Traffic of the thrift port, which is not in ``bytes_read`` and ``bytes_written``
    fsync_errors  {error class: how often}
    transports    {name of a protocol: TransportStats}
    kept          dict: what the admin port keeps about them, such as the last latch of each listener
    """

    def __init__(self):
        super().__init__()
        self.thrift = Traffic()
        self.connections = 0
        self.total_connections = 0
        self.total_items = 0
        self.cmd_get = 0
        self.cmd_set = 0
        self.cmd_peek = 0
        self.cmd_monitor = 0
        self.cmd_monitor_get = 0
        self.get_hits = 0
        self.get_misses = 0
        self.queue_creates = 0
        self.queue_deletes = 0
        self.queue_expires = 0
        self.cmd_get_open_dropped = 0
        self.waiters_aborted = 0
        self.journal_errors = 0
        self.fsync_errors = {}
        self.transports = {}
        self.kept = {}
        self.set_latency_usec = Histogram()
        self.get_hit_latency_usec = Histogram()
        self.get_miss_latency_usec = Histogram()
        self.get_timeout_msec = Histogram()
        self.delivery_latency_msec = Histogram()
        self.fsync_delay_usec = Histogram()
        self.item_fsync_delay_usec = Histogram()

    def count_fsync_error(self, error_class):
        self.fsync_errors[error_class] = self.fsync_errors.get(error_class, 0) + 1


class QueueStats:
    """What one queue counts since it was set up in this process (D41).

    kept  dict, or None: what the admin port keeps about the queue. It is here so that it goes with the queue (D26).
    """

    def __init__(self):
        self.put_items = 0
        self.put_bytes = 0
        self.get_items_hit = 0
        self.get_items_miss = 0
        self.expired_items = 0
        self.discarded = 0
        self.transactions = 0
        self.canceled_transactions = 0
        self.total_flushes = 0
        self.journal_rewrites = 0
        self.journal_rotations = 0
        self.dead_letters = 0
        self.set_latency_usec = Histogram()
        self.get_hit_latency_usec = Histogram()
        self.get_miss_latency_usec = Histogram()
        self.get_timeout_msec = Histogram()
        self.delivery_latency_msec = Histogram()
        self.tx_map_size = Histogram()
        self.tx_expire_list_size = Histogram()
        self.queue_size = Histogram()
        self.request_size = Histogram()
        self.journal_rewrite_usec = Histogram()
        self.journal_rotation_usec = Histogram()
        self.fill_readbehind_usec = Histogram()
        self.kept = None
