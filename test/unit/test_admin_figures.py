"""All figures of a queue stand where their names do (spec admin 7)."""

import unittest

from kestrel.admin import distribution, queue_figures
from support.admin import AdminWorld

# What a queue's stats call it, where that is not the name of the statistics.
ATTRIBUTES = {'total_items': 'put_items'}
GAUGES = {'bytes': 'bytes', 'items': 'count', 'max_bytes': 'max_size', 'max_items': 'max_items', 'mem_bytes': 'mem_bytes'}


class QueueFiguresTest(unittest.TestCase):

    def setUp(self):
        self.queue = AdminWorld().collection.need(b'q')

    def test_names_are_sorted(self):
        for names in queue_figures.COUNTERS, queue_figures.GAUGES, queue_figures.METRICS:
            self.assertEqual(list(names), sorted(set(names)))

    def test_each_counter_is_the_one_of_its_name(self):
        stats = self.queue.stats
        for at, name in enumerate(queue_figures.COUNTERS):
            before = queue_figures.counters(self.queue)
            attribute = ATTRIBUTES.get(name, name)
            setattr(stats, attribute, getattr(stats, attribute) + at + 1)
            after = queue_figures.counters(self.queue)
            self.assertEqual(after[at] - before[at], at + 1, name)
            changed = {name for name, one, other in zip(queue_figures.COUNTERS, before, after) if one != other}
            self.assertLessEqual(changed, {name, 'total_items', 'put_items'})

    def test_each_gauge_is_the_one_of_its_name(self):
        for value, (name, attribute) in enumerate(GAUGES.items(), 100):
            setattr(self.queue, attribute, value)
            self.assertEqual(queue_figures.gauges(self.queue)[queue_figures.GAUGES.index(name)], value, name)

    def test_each_histogram_is_the_one_of_its_name(self):
        for at, (name, found) in enumerate(zip(queue_figures.METRICS, queue_figures.histograms(self.queue)), 1):
            self.assertIs(found, getattr(self.queue.stats, name))
            for _ in range(at):
                found.add(at)
        self.assertEqual(queue_figures.counts_and_sums(self.queue), [(at, at * at) for at in range(1, 13)])

    def test_unchanged(self):
        histograms = queue_figures.histograms(self.queue)
        for changed in histograms:
            known = tuple([distribution.of(found) for found in histograms])
            self.assertTrue(queue_figures.unchanged(self.queue, known))
            changed.add(1)
            self.assertFalse(queue_figures.unchanged(self.queue, known))
