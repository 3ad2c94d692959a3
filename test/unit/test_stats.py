"""Histograms and counters (spec admin 5 and 7)."""

import os
import pathlib
import tempfile
import tracemalloc
import unittest

from kestrel.report import memory_limit
from kestrel.stats import (
    BUCKETS, LARGEST, NARROW, TABLED, THRESHOLDS, Histogram, QueueStats, ServerStats, TransportStats)

# As the specification prints them.
FIRST = [int(word) for word in '''
    1 2 3 4 5 6 7 8 9 10 12 13 14 15 17 19 21 23 25 28 31 34 37 41 45 50 55 61 67 74 82 91 100 111 122 135
    150 165 183 202 223 246 272 301 332 367 406 449 496 548 606 669 740 817 903 999 1104'''.split()]
LAST = [1639559122, 1812144292, 2002896323]


def buckets(*values):
    """{bucket: how many} of the values."""
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return {bucket: count for bucket, count in enumerate(histogram.counts()) if count}


class ThresholdsTest(unittest.TestCase):

    def test_as_printed(self):
        self.assertEqual(len(THRESHOLDS), 201)
        self.assertEqual(list(THRESHOLDS[:len(FIRST)]), FIRST)
        self.assertEqual(list(THRESHOLDS[-3:]), LAST)

    def test_rising(self):
        self.assertTrue(all(low < high for low, high in zip(THRESHOLDS, THRESHOLDS[1:])))


class HistogramTest(unittest.TestCase):

    def test_bucket_is_the_number_of_thresholds_up_to_the_value(self):
        # both ends of each step of the tables, too
        steps = [bound << shift for shift in (9, 19) for bound in (8, 9, 4095, 4096) if bound << shift <= LARGEST]
        for value in [0, 1, 2, 9, 10, 11, 12, 999, 1000, 1103, 1104, LARGEST] + [
                bound + step for bound in [*THRESHOLDS, *steps] for step in (-1, 0, 1)]:
            with self.subTest(value):
                self.assertEqual(buckets(value), {sum(1 for bound in THRESHOLDS if bound <= value): 1})

    def test_both_ends(self):
        self.assertEqual(buckets(0), {0: 1})
        self.assertEqual(buckets(2002896322), {200: 1})
        self.assertEqual(buckets(2002896323), {201: 1})
        self.assertEqual(buckets(2147483647), {201: 1})

    def test_check_values(self):
        # midpoints 10 and 19; 1..6; 5 10 15 19; 95
        self.assertEqual(buckets(10, 20), {10: 1, 16: 1})
        self.assertEqual(buckets(1, 2, 3, 4, 5, 6), {1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 1})
        self.assertEqual(buckets(5, 10, 15, 20), {5: 1, 10: 1, 14: 1, 16: 1})
        self.assertEqual(buckets(95), {32: 1})
        for bucket, middle in ((10, 10), (16, 19), (14, 15), (32, 95)):
            self.assertEqual((THRESHOLDS[bucket - 1] + THRESHOLDS[bucket] - 1) // 2, middle)

    def test_sum_is_exact(self):
        histogram = Histogram()
        for value in (1000000007, 3, 0, 1000000009):
            histogram.add(value)
        self.assertEqual(histogram.sum, 2000000019)
        self.assertEqual((histogram.count, sum(histogram.counts())), (4, 4))

    def test_small_values_stay_when_a_large_one_comes(self):
        self.assertEqual(buckets(7, 4095, 4096, 7), {7: 2, sum(1 for bound in THRESHOLDS if bound <= 4095): 2})

    def test_negative_values_are_dropped(self):
        histogram = Histogram()
        histogram.add(-1)
        histogram.add(-2 ** 62)
        self.assertEqual((histogram.sum, sum(histogram.counts())), (0, 0))

    def test_larger_than_i32_counts_as_the_largest(self):
        for value in (2 ** 31, 2 ** 40):
            histogram = Histogram()
            histogram.add(value)
            self.assertEqual((histogram.sum, histogram.counts()[201]), (2147483647, 1))

    def test_counts_of_an_unused_one(self):
        self.assertEqual(Histogram().counts(), [0] * BUCKETS)

    def test_counts_are_a_copy(self):
        histogram = Histogram()
        histogram.add(1)
        histogram.counts()[1] = 9
        self.assertEqual(histogram.counts()[1], 1)

    def test_independent_of_each_other(self):
        one, other = Histogram(), Histogram()
        one.add(5)
        other.add(7)
        self.assertEqual((one.counts()[5], one.counts()[7], other.counts()[5]), (1, 0, 0))

    def test_buckets_are_made_with_the_first_value(self):
        used = Histogram()
        used.add(1)     # what is made once for all is made
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before = tracemalloc.get_traced_memory()[0]
        kept = [Histogram() for _ in range(1000)]
        idle = tracemalloc.get_traced_memory()[0] - before
        for histogram in kept:
            histogram.add(-1)
        self.assertLess(tracemalloc.get_traced_memory()[0] - before, idle + 50000)
        for histogram in kept:
            histogram.add(1)
        busy = tracemalloc.get_traced_memory()[0] - before
        self.assertLess(idle, 300 * 1000)
        self.assertGreater(busy - idle, 8 * NARROW * 1000)
        # all of them only when a large value comes
        self.assertLess(busy - idle, 8 * BUCKETS * 1000)
        for histogram in kept:
            histogram.add(TABLED)
        wide = tracemalloc.get_traced_memory()[0] - before
        self.assertGreater(wide - idle, 8 * BUCKETS * 1000)


class CountersTest(unittest.TestCase):

    def test_server_starts_at_zero(self):
        stats = ServerStats()
        for name in ('connections total_connections total_items cmd_get cmd_set cmd_peek cmd_monitor'
                     ' cmd_monitor_get get_hits get_misses bytes_read bytes_written queue_creates'
                     ' queue_deletes queue_expires cmd_get_open_dropped waiters_aborted'
                     ' journal_errors').split():
            with self.subTest(name):
                self.assertEqual(getattr(stats, name), 0)

    def test_metrics(self):
        both = ('set_latency_usec get_hit_latency_usec get_miss_latency_usec get_timeout_msec'
                ' delivery_latency_msec').split()
        for stats, names in ((ServerStats(), both + ['fsync_delay_usec', 'item_fsync_delay_usec']),
                             (QueueStats(), both + ['tx_map_size', 'tx_expire_list_size', 'queue_size',
                                                    'request_size', 'journal_rewrite_usec',
                                                    'journal_rotation_usec', 'fill_readbehind_usec']),
                             (TransportStats(), ['connection_duration', 'connection_received_bytes',
                                                 'connection_sent_bytes', 'request_latency_ms'])):
            self.assertEqual(len({id(getattr(stats, name)) for name in names}), len(names))
            for name in names:
                with self.subTest(name):
                    self.assertIsInstance(getattr(stats, name), Histogram)

    def test_queue_starts_at_zero(self):
        stats = QueueStats()
        for name in ('put_items put_bytes get_items_hit get_items_miss expired_items discarded transactions'
                     ' canceled_transactions total_flushes journal_rewrites journal_rotations'
                     ' dead_letters').split():
            with self.subTest(name):
                self.assertEqual(getattr(stats, name), 0)

    def test_fsync_errors_by_class(self):
        stats = ServerStats()
        for name in ('OSError', 'TimeoutError', 'OSError'):
            stats.count_fsync_error(name)
        self.assertEqual(stats.fsync_errors, {'OSError': 2, 'TimeoutError': 1})
        self.assertEqual(ServerStats().fsync_errors, {})


class MemoryLimitTest(unittest.TestCase):
    """D52: the memory that the process may use, by a control group or because there is no more."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.groups = self.folder / 'groups'

    def limit(self, groups, files):
        self.groups.write_text(groups)
        for path, text in files.items():
            path = self.folder / path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return memory_limit(str(self.groups), str(self.folder))

    def test_of_the_group_and_those_it_is_in(self):
        service = 'system.slice/kestrel.service/memory.max'
        for own, above, limit in (('5000\n', 'max\n', 5000), ('5000\n', '4000\n', 4000), ('max\n', '4000\n', 4000)):
            self.assertEqual(self.limit('0::/system.slice/kestrel.service\n',
                                        {service: own, 'system.slice/memory.max': above}), limit)

    def test_version_1(self):
        self.assertEqual(self.limit('9:cpu:/a\n4:hugetlb,memory:/a/b\n0::/\n', {
            'memory/a/b/memory.limit_in_bytes': '9223372036854771712\n', 'memory/a/memory.limit_in_bytes': '7000\n'}), 7000)

    def test_of_a_container(self):
        self.assertEqual(self.limit('0::/\n', {'memory.max': '6000\n'}), 6000)
        self.assertEqual(self.limit('4:memory:/docker/1\n', {'memory/memory.limit_in_bytes': '3000\n'}), 3000)

    def test_of_the_machine(self):
        machine = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
        self.assertEqual(self.limit('0::/a\n', {'a/memory.max': 'max\n'}), machine)
        self.assertEqual(memory_limit('/no/such/file', str(self.folder)), machine)
