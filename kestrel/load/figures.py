"""The figures that the load programs print."""

from collections import Counter

# (key, numerator, denominator)
PERCENTILES = (('p50', 50, 100), ('p75', 75, 100), ('p90', 90, 100), ('p95', 95, 100), ('p99', 99, 100),
               ('p999', 999, 1000), ('p9999', 9999, 10000))


def usec_each(msec, count):
    """``msec`` for ``count`` items -> us for one, str with one decimal, half a tenth rounded up."""
    tenths = (msec * 20000 + count) // (2 * count)
    return '%d.%d' % divmod(tenths, 10)


def distribution(times):
    """The line about these times, ints in us; there must be some.

    A percentile is the least of the times that so many of them do not exceed.
    """
    counted = sorted(Counter(times).items())
    found = ['min=%d' % counted[0][0], 'max=%d' % counted[-1][0]]
    pairs = iter(counted)
    value, total = 0, 0
    for key, above, below in PERCENTILES:
        while total * below < above * len(times):
            value, many = next(pairs)
            total += many
        found.append('%s=%d' % (key, value))
    return 'Distribution in usec: ' + ' '.join(found)
