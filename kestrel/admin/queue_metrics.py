"""The samples of queues in the text format of Prometheus (see metrics.py).

Compiled, because there are a quarter of a million of them with 10 000 queues.
"""

from kestrel.admin import queue_figures

# So many queues have their samples made into one piece of each family.
AT_ONCE = 64
# No queue can have this name (spec queues 1).
OTHERS = '~others'

# Control characters would steer the terminal of whoever looks at the answer. They become characters that no name has,
# which is Latin-1: so two queues never become one.
_LABEL = {char: chr(0x2400 + char) for char in range(0x20)}
_LABEL.update({0x7f: '\u2421', **{char: chr(0xe000 + char) for char in range(0x80, 0xa0)}})
_LABEL.update({ord('\\'): '\\\\', ord('"'): '\\"'})

# (family, unit of the figure in that of the family, figure, help). A unit of 1000: ms are shown as seconds.
QUEUE_COUNTERS = (
    ('put_items', 1, 'put_items', 'Items added to the queue.'),
    ('put_bytes', 1, 'put_bytes', 'Data bytes added to the queue.'),
    ('get_hits', 1, 'get_items_hit', 'Fetches and peeks with an item.'),
    ('get_misses', 1, 'get_items_miss', 'Fetches and peeks without an item.'),
    ('open_reads', 1, 'transactions', 'Open reads tried while the queue was not empty.'),
    ('canceled_reads', 1, 'canceled_transactions', 'Open reads put back: aborted, timed out, or their client left.'),
    ('expired_items', 1, 'expired_items', 'Items dropped or moved because they expired.'),
    ('discarded_items', 1, 'discarded', 'Items dropped because the queue was full, or as poison without a queue for it.'),
    ('dead_letters', 1, 'dead_letters', 'Items taken out because they were put back too often.'),
    ('flushes', 1, 'total_flushes', 'Flushes.'),
    ('journal_rewrites', 1, 'journal_rewrites', 'Rewrites of the journal.'),
    ('journal_rotations', 1, 'journal_rotations', 'Rotations of the journal.'),
)
QUEUE_GAUGES = (
    ('items', 1, 'items', 'Items waiting.'),
    ('bytes', 1, 'bytes', 'Data bytes waiting.'),
    ('memory_items', 1, 'mem_items', 'Items waiting that are in memory.'),
    ('memory_bytes', 1, 'mem_bytes', 'Data bytes waiting that are in memory.'),
    ('journal_bytes', 1, 'journal_size', 'Bytes in all journal files.'),
    ('oldest_item_age_seconds', 1000, 'head_msec', 'Age of the oldest item waiting, 0 without one.'),
    ('delivery_age_seconds', 1000, 'age_msec', 'Time since the item taken out last was added, 0 while nothing waits.'),
    ('waiters', 1, 'waiters', 'Clients waiting for an item.'),
    ('open_transactions', 1, 'open_transactions', 'Open reads: items handed out and not confirmed.'),
    ('created_timestamp_seconds', 1, 'create_time', 'When the queue was set up.'),
)
# summaries without quantiles
QUEUE_TIMES = (
    ('put_latency_seconds', 1000000, 'set_latency_usec', 'Time of a put.'),
    ('get_latency_seconds', 1000000, 'get_hit_latency_usec', 'Time of a get that had an item at once.'),
    ('get_timeout_seconds', 1000, 'get_timeout_msec', 'Time waited by gets that timed out.'),
    ('delivery_latency_seconds', 1000, 'delivery_latency_msec', 'Age of items when they are taken out.'),
    ('read_behind_seconds', 1000000, 'fill_readbehind_usec', 'Time of reading items back from the journal.'),
    ('journal_rewrite_seconds', 1000000, 'journal_rewrite_usec', 'Time of a rewrite of the journal.'),
)

def label(name):
    """A queue's name (bytes) as the text of a label's value."""
    return name.decode('latin-1').translate(_LABEL)


def seconds(value, unit):
    """A time as a sample shows it; ``unit``: how many of its units are a second."""
    return repr(value / unit)


class Family:
    """One family. ``samples``: list of str, what stands behind its name in each of their lines."""

    def __init__(self, name, kind, text):
        self.name = name
        self._head = '# HELP %s %s\n# TYPE %s %s\n' % (name, text, name, kind)
        self.samples = []
        self._pieces = []

    def flush(self):
        """Make one piece of the samples there are: a quarter of a million small strings would take longer to find room."""
        if self.samples:
            self._pieces.append((self.name + self.name.join(self.samples)).encode('utf-8'))
            self.samples.clear()

    def text(self):
        self.flush()
        return b''.join([self._head.encode('utf-8'), *self._pieces]) if self._pieces else b''


class QueueFamilies:
    """The samples of queues: ``add`` each that is shown by name, and the ``Others`` as one.

    families  list of Family, filled by that
    """

    def __init__(self):
        counters = self._families(QUEUE_COUNTERS, queue_figures.COUNTERS, 'counter', '_total')
        gauges = self._families(QUEUE_GAUGES, queue_figures.GAUGES, 'gauge', '')
        self._times = self._families(QUEUE_TIMES, queue_figures.METRICS, 'summary', '')
        self._added = 0
        self.families = [family for family, _, _ in (*counters, *gauges, *self._times)]
        self._counters = [(family.samples, at) for family, at, _ in counters]
        self._gauges = [(family.samples, at, unit) for family, at, unit in gauges]

    @staticmethod
    def _families(table, names, kind, ending):
        return [(Family('kestrel_queue_%s%s' % (name, ending), kind, text), names.index(figure), unit)
                for name, unit, figure, text in table]

    def add(self, shown, counters, gauges, counts_and_sums):
        """``shown``: str, a label; the others as queue_figures gives them."""
        self._added += 1
        if self._added % AT_ONCE == 0:
            for family in self.families:
                family.flush()
        queue = '{queue="%s"} ' % shown
        # most figures of most queues are this one: so it is made once
        zero = queue + '0\n'
        for samples, at in self._counters:
            value = counters[at]
            samples.append(f'{queue}{value}\n' if value else zero)
        for samples, at, unit in self._gauges:
            value = gauges[at]
            if value == 0:
                samples.append(zero)
            elif unit == 1:
                samples.append(f'{queue}{value}\n')
            else:
                samples.append(f'{queue}{seconds(value, unit)}\n')
        for family, at, unit in self._times:
            both = counts_and_sums[at]
            count = both[0]
            if count:
                total = both[1]
                family.samples.append(f'_count{queue}{count}\n{family.name}_sum{queue}{seconds(total, unit)}\n')


class Others:
    """The sum of queues that are not shown by name; of ages and times of set-up the largest and the earliest."""

    LARGEST = ('head_msec', 'age_msec')
    EARLIEST = ('create_time',)

    def __init__(self):
        self.queues = 0

    def add(self, queue):
        counters = queue_figures.counters(queue)
        gauges = queue_figures.gauges(queue)
        times = queue_figures.counts_and_sums(queue)
        if self.queues == 0:
            self.counters, self.gauges, self.times = counters, gauges, times
        else:
            self.counters = tuple([one + other for one, other in zip(self.counters, counters)])
            self.gauges = tuple([self._together(name, one, other)
                                 for name, one, other in zip(queue_figures.GAUGES, self.gauges, gauges)])
            self.times = [(one[0] + other[0], one[1] + other[1]) for one, other in zip(self.times, times)]
        self.queues += 1

    def _together(self, name, one, other):
        if name in self.LARGEST:
            return max(one, other)
        return min(one, other) if name in self.EARLIEST else one + other
