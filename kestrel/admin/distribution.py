"""What a histogram held at some moment, and the figures that are made of it (spec admin 5)."""

from array import array

from kestrel.stats import LARGEST, THRESHOLDS

# What stands for the values of each bucket.
MIDPOINTS = [0, *[(low + high - 1) // 2 for low, high in zip(THRESHOLDS, THRESHOLDS[1:])], LARGEST]
# (key, numerator, denominator) of the percentiles, in the order of /graph_data.
PERCENTILES = (('p25', 1, 4), ('p50', 1, 2), ('p75', 3, 4), ('p90', 9, 10), ('p95', 19, 20), ('p99', 99, 100),
               ('p999', 999, 1000), ('p9999', 9999, 10000))
# The keys of a metric object, sorted.
FIGURES = ('average', 'count', 'maximum', 'minimum', *[key for key, _, _ in PERCENTILES], 'sum')


class Distribution:
    """Immutable. Only the buckets that are not empty are kept, because a listener keeps many of these.

    count, sum  int, of all values
    packed      bytes: what has the same and the same sum has the same figures
    """

    __slots__ = ('count', 'sum', 'packed', '_percentiles')

    def __init__(self, count, total, pairs):
        """``pairs``: list of (bucket, how many values), ascending, none empty."""
        self.count = count
        self.sum = total
        self.packed = bytes([bucket for bucket, _ in pairs]) + array('q', [many for _, many in pairs]).tobytes()
        self._percentiles = None

    def pairs(self):
        """-> list of (bucket, how many values), ascending, none empty."""
        used = len(self.packed) // 9
        return list(zip(self.packed[:used], array('q', self.packed[used:])))

    def minus(self, older):
        """-> Distribution of what has come since ``older``, which may be None: per bucket, never below 0."""
        if older is None:
            return self
        if older.count == self.count:
            return EMPTY
        before = dict(older.pairs())
        pairs = [(bucket, many - before.get(bucket, 0)) for bucket, many in self.pairs()
                 if many > before.get(bucket, 0)]
        return Distribution(sum([many for _, many in pairs]), self.sum - older.sum, pairs)

    def percentile_buckets(self):
        """-> bytes, the 8 buckets where the percentiles lie; 0 for each without values."""
        if self._percentiles is None:
            used = len(self.packed) // 9
            self._percentiles = self.packed[:1] * len(PERCENTILES) if used == 1 else bytes(self._find_percentiles())
        return self._percentiles

    def _find_percentiles(self):
        found = []
        pairs = iter(self.pairs())
        total = 0
        bucket = 0
        for _, above, below in PERCENTILES:
            # whole numbers: 0.95 * 20 is less than 19 in floating point
            while total * below < above * self.count:
                bucket, many = next(pairs)
                total += many
            found.append(bucket)
        return found

    def figures(self):
        """-> tuple of int, the values of FIGURES; there must be values."""
        packed = self.packed
        if len(packed) == 9:
            # one bucket, as with most queues
            value = MIDPOINTS[packed[0]]
            return (self.sum // self.count, self.count, *[value] * (len(PERCENTILES) + 2), self.sum)
        return (self.sum // self.count, self.count, MIDPOINTS[packed[len(packed) // 9 - 1]], MIDPOINTS[packed[0]],
                *[MIDPOINTS[bucket] for bucket in self.percentile_buckets()], self.sum)


EMPTY = Distribution(0, 0, [])


def of(histogram, previous=None):
    """-> Distribution of what a stats.Histogram holds, ``previous`` (or None) if nothing has come since that."""
    if not histogram.count:
        return EMPTY
    if previous is not None and previous.count == histogram.count:
        return previous
    return Distribution(histogram.count, histogram.sum, histogram.pairs())
