"""Percentiles and differences of histograms (spec admin 5)."""

import random
import unittest

from kestrel.admin import distribution
from kestrel.admin.distribution import EMPTY, FIGURES, MIDPOINTS
from kestrel.stats import Histogram

# (values, count, sum, average, minimum, p25, p50, p75, p90 and above, maximum)
CHECK_VALUES = [
    ((10, 20), 2, 30, 15, 10, 10, 10, 19, 19, 19),
    ((1, 2, 3, 4, 5, 6), 6, 21, 3, 1, 2, 3, 5, 6, 6),
    ((5, 10, 15, 20), 4, 50, 12, 5, 5, 10, 15, 19, 19),
    ((95,), 1, 95, 95, 95, 95, 95, 95, 95, 95),
]


def filled(*values):
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


class DistributionTest(unittest.TestCase):

    def test_check_values(self):
        for values, count, total, average, minimum, p25, p50, p75, above, maximum in CHECK_VALUES:
            with self.subTest(values):
                figures = dict(zip(FIGURES, distribution.of(filled(*values)).figures()))
                self.assertEqual(figures, {
                    'average': average, 'count': count, 'maximum': maximum, 'minimum': minimum, 'p25': p25, 'p50': p50,
                    'p75': p75, 'p90': above, 'p95': above, 'p99': above, 'p999': above, 'p9999': above, 'sum': total})

    def test_midpoints(self):
        self.assertEqual(len(MIDPOINTS), 202)
        self.assertEqual((MIDPOINTS[0], MIDPOINTS[1], MIDPOINTS[16], MIDPOINTS[201]), (0, 1, 19, 2147483647))

    def test_extremes(self):
        figures = dict(zip(FIGURES, distribution.of(filled(0, 2147483647)).figures()))
        self.assertEqual((figures['minimum'], figures['p50'], figures['maximum']), (0, 0, 2147483647))

    def test_percentile_is_reached_exactly(self):
        """The total is at least p * count: 0.95 of 20 is 19, which no rounding makes 19.000000000000004."""
        found = distribution.of(filled(*[1] * 19, 100)).figures()
        self.assertEqual(found[FIGURES.index('p95')], 1)
        self.assertEqual(found[FIGURES.index('p99')], 105)

    def test_against_a_plain_walk(self):
        chance = random.Random(5)
        for _ in range(20):
            histogram = filled(*[int(chance.expovariate(1 / 500)) for _ in range(chance.randrange(1, 400))])
            counts = histogram.counts()
            for (key, above, below), bucket in zip(distribution.PERCENTILES,
                                                   distribution.of(histogram).percentile_buckets()):
                walked = next(at for at in range(202) if sum(counts[:at + 1]) * below >= above * sum(counts))
                self.assertEqual(bucket, walked, key)

    def test_minus(self):
        histogram = filled(1, 5000)
        older = distribution.of(histogram)
        for value in (5000, 7):
            histogram.add(value)
        change = distribution.of(histogram, older).minus(older)
        self.assertEqual((change.count, change.sum), (2, 5007))
        self.assertEqual(change.pairs(), filled(7, 5000).pairs())
        self.assertEqual(distribution.of(histogram).minus(None).count, 4)

    def test_minus_is_never_below_zero(self):
        later = distribution.Distribution(2, 20, [(1, 1), (5, 1)])
        earlier = distribution.Distribution(3, 30, [(1, 3)])
        self.assertEqual((later.minus(earlier).pairs(), later.minus(earlier).count), ([(5, 1)], 1))

    def test_what_has_not_changed_is_the_same_object(self):
        histogram = filled(3)
        first = distribution.of(histogram)
        self.assertIs(distribution.of(histogram, first), first)
        histogram.add(3)
        self.assertIsNot(distribution.of(histogram, first), first)
        self.assertIs(distribution.of(Histogram()), EMPTY)

    def test_large_counts_are_kept(self):
        self.assertEqual(distribution.Distribution(1 << 40, 5, [(3, 1 << 40)]).pairs(), [(3, 1 << 40)])


if __name__ == '__main__':
    unittest.main()
