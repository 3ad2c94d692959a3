"""Counters and histograms: what the server counts while it works.

A queue owns its ``QueueStats``; when the queue goes, they go (D26). Nothing here reads a clock or formats a reply.
"""

from array import array
from bisect import bisect_right

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

# Nearly all values are small (a latency in us, a size in bytes); for these one look replaces the search.
TABLED = 4096
_BUCKET_OF = bytes(bisect_right(THRESHOLDS, value) for value in range(TABLED))
_EMPTY = bytes(8 * BUCKETS)


class Histogram:
    """Distribution of non-negative i32 values in 202 buckets (spec admin 5).

    The buckets are made at the first value: most histograms of most queues never see one.
    """

    __slots__ = ('buckets', 'sum', 'used')

    def __init__(self):
        self.buckets = None
        self.sum = 0
        self.used = False

    def add(self, value):
        """Count one value; negative ones are dropped, larger ones count as 2**31-1."""
        if value < 0:
            return
        if not self.used:
            self.buckets = array('q', _EMPTY)
            self.used = True
        if value < TABLED:
            self.buckets[_BUCKET_OF[value]] += 1
        else:
            if value > LARGEST:
                value = LARGEST
            self.buckets[bisect_right(THRESHOLDS, value)] += 1
        self.sum += value

    def counts(self):
        """-> list of 202 ints: how many values fell into each bucket."""
        return list(self.buckets) if self.used else [0] * BUCKETS


class Traffic:
    """Bytes that came from clients and went to them."""

    def __init__(self):
        self.bytes_read = 0
        self.bytes_written = 0


class ServerStats(Traffic):
    """Counters since the start of the server; names as in spec admin 7.

    thrift  the Traffic of the thrift port, which is not in ``bytes_read`` and ``bytes_written``
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
    """What one queue counts since it was set up in this process (D41)."""

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
