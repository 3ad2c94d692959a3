"""/metrics: the text format of Prometheus (D62). Names, units and endings follow its conventions: seconds, bytes, _total.

The one label is ``queue``. The global times are histograms of a few buckets, those of a queue only count and sum: with
every bucket of every queue a server with thousands of queues could not be scraped.
"""

import os

from kestrel import __version__
from kestrel.admin import scopes
from kestrel.admin.turns import Turns
from kestrel.stats import THRESHOLDS

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
SERVER_COUNTERS = (
    ('connections', 'total_connections', 'Connections made.'),
    ('put_items', 'total_items', 'Items added, each copy counts.'),
    ('put_requests', 'cmd_set', 'Puts.'),
    ('get_requests', 'cmd_get', 'Gets.'),
    ('peek_requests', 'cmd_peek', 'Peeks.'),
    ('monitor_requests', 'cmd_monitor', 'Monitors, and gets of several items.'),
    ('monitor_gets', 'cmd_monitor_get', 'Single fetches of monitors.'),
    ('get_hits', 'get_hits', 'Fetches with an item.'),
    ('get_misses', 'get_misses', 'Fetches without an item.'),
    ('received_bytes', 'bytes_read', 'Bytes received from clients.'),
    ('sent_bytes', 'bytes_written', 'Bytes sent to clients.'),
    ('queue_creates', 'queue_creates', 'Queues set up.'),
    ('queue_deletes', 'queue_deletes', 'Queues deleted.'),
    ('queue_expires', 'queue_expires', 'Queues deleted because nobody used them.'),
    ('dropped_reads', 'cmd_get_open_dropped', 'Open reads put back because their connection ended.'),
    ('dropped_waiters', 'waiters_aborted', 'Waits that ended with their connection.'),
    ('journal_errors', 'journal_errors', 'Records that could not be written or made durable.'),
)
SERVER_TIMES = (
    ('put_latency_seconds', 1000000, 'set_latency_usec', 'Time of a put.'),
    ('get_latency_seconds', 1000000, 'get_hit_latency_usec', 'Time of a get that had an item at once.'),
    ('get_miss_latency_seconds', 1000000, 'get_miss_latency_usec', 'Time of a get without an item that did not wait.'),
    ('get_timeout_seconds', 1000, 'get_timeout_msec', 'Time waited by gets that timed out.'),
    ('delivery_latency_seconds', 1000, 'delivery_latency_msec', 'Age of items when they are taken out.'),
    ('fsync_latency_seconds', 1000000, 'fsync_delay_usec', 'Time of an fsync.'),
    ('fsync_delay_seconds', 1000000, 'item_fsync_delay_usec', 'How much later than sync_journal a record was synced.'),
)


def _bounds():
    """Numbers of the buckets behind which a cumulative bucket ends: about 1, 2, 5, 10, ... of their unit.

    A figure is a time cut to whole units: up to a threshold means less than it.
    """
    found = []
    for power in range(1, 8):
        for step in (1, 2, 5):
            found.append(max(at for at, bound in enumerate(THRESHOLDS) if bound <= step * 10 ** power))
    return found


BOUNDS = _bounds()


def label(name):
    """A queue's name (bytes) as the text of a label's value."""
    return name.decode('latin-1').translate(_LABEL)


def _seconds(value, unit):
    return repr(value / unit)


class Family:
    """One family of samples, collected in pieces."""

    def __init__(self, name, kind, text):
        self.name = name
        self.head = '# HELP %s %s\n# TYPE %s %s\n' % (name, text, name, kind)
        self.samples = []

    def text(self):
        return (self.head + ''.join(self.samples)).encode('utf-8') if self.samples else b''


class QueueFamilies:
    """The samples of queues. ``add`` each that is shown by name, ``add_others`` the rest of them as one."""

    def __init__(self):
        scope = scopes.QueueScope
        self._counters = self._families(QUEUE_COUNTERS, scope.counter_names, 'counter', '_total')
        self._gauges = self._families(QUEUE_GAUGES, scope.gauge_names, 'gauge', '')
        self._times = self._families(QUEUE_TIMES, scope.metric_names, 'summary', '')

    @staticmethod
    def _families(table, names, kind, ending):
        return [(Family('kestrel_queue_%s%s' % (name, ending), kind, text), names.index(figure), unit)
                for name, unit, figure, text in table]

    def add(self, shown, counters, gauges, counts_and_sums):
        queue = '{queue="%s"} ' % shown
        for family, at, _ in self._counters:
            family.samples.append('%s%s%d\n' % (family.name, queue, counters[at]))
        for family, at, unit in self._gauges:
            value = gauges[at]
            family.samples.append('%s%s%s\n' % (family.name, queue, value if unit == 1 else _seconds(value, unit)))
        for family, at, unit in self._times:
            count, total = counts_and_sums[at]
            if count:
                family.samples.append('%s_count%s%d\n%s_sum%s%s\n' % (family.name, queue, count, family.name, queue,
                                                                     _seconds(total, unit)))

    def families(self):
        return [family for family, _, _ in (*self._counters, *self._gauges, *self._times)]


class Others:
    """The sum of queues that are not shown by name; of ages and times of set-up the largest and the earliest."""

    LARGEST = ('head_msec', 'age_msec')
    EARLIEST = ('create_time',)

    def __init__(self):
        self.queues = 0

    def add(self, scope):
        counters = scope.counters()
        gauges = scope.gauges()
        times = [(found.count, found.sum) for found in scope.histograms()]
        if self.queues == 0:
            self.counters, self.gauges, self.times = counters, gauges, times
        else:
            self.counters = [one + other for one, other in zip(self.counters, counters)]
            self.gauges = [self._together(name, one, other)
                           for name, one, other in zip(scope.gauge_names, self.gauges, gauges)]
            self.times = [(one[0] + other[0], one[1] + other[1]) for one, other in zip(self.times, times)]
        self.queues += 1

    def _together(self, name, one, other):
        if name in self.LARGEST:
            return max(one, other)
        return min(one, other) if name in self.EARLIEST else one + other


def busiest(collection, most):
    """-> list of names (bytes), sorted: the ``most`` queues with the most puts and gets, None: all."""
    queues = list(collection.queues)
    if most is not None and most < len(queues):
        def traffic(name):
            stats = collection.queues[name].stats
            return -(stats.put_items + stats.get_items_hit), name
        queues = sorted(queues, key=traffic)[:most]
    return sorted(queues)


def render(services, most, ready):
    """The whole answer. -> list of bytes

    most   how many queues are shown by name, None: all
    ready  bool: what /ready says
    """
    turns = Turns(services.clock)
    collection = services.collection
    shown = busiest(collection, most)
    queues = QueueFamilies()
    for name in shown:
        queue = collection.lookup(name)
        if queue is not None:
            scope = scopes.QueueScope(queue)
            queues.add(label(name), scope.counters(), scope.gauges(),
                       [(found.count, found.sum) for found in scope.histograms()])
        turns.next()
    _add_others(collection, queues, set(shown), turns)
    answer = [family.text() for family in _server_families(services, ready)]
    for family in queues.families():
        answer.append(family.text())
        turns.next()
    return answer


def _add_others(collection, queues, shown, turns):
    if len(shown) == len(collection.queues):
        return
    others = Others()
    for name in list(collection.queues):
        queue = None if name in shown else collection.lookup(name)
        if queue is not None:
            others.add(scopes.QueueScope(queue))
        turns.next()
    if others.queues:
        queues.add(OTHERS, others.counters, others.gauges, others.times)


def _server_families(services, ready):
    server = scopes.ServerScope(services)
    counters = dict(zip(server.counter_names, server.counters()))
    gauges = dict(zip(server.gauge_names, server.gauges()))
    disk = _disk(services.collection)
    for name, kind, value, text in (
            ('build_info{version="%s"}' % __version__, 'gauge', 1, 'The version that runs.'),
            ('ready', 'gauge', int(ready), '1 while reads and writes are served, as /ready says.'),
            ('start_time_seconds', 'gauge', services.began_ms / 1000, 'When the server started.'),
            ('queues', 'gauge', len(services.collection.queues), 'Queues.'),
            ('items', 'gauge', gauges['items'], 'Items waiting in all queues.'),
            ('bytes', 'gauge', gauges['bytes'], 'Data bytes waiting in all queues.'),
            ('open_connections', 'gauge', gauges['connections'], 'Open client connections.'),
            ('reserved_memory_ratio', 'gauge', gauges['reserved_memory_ratio'],
             'max_memory_size of all queues by the memory there is.'),
            ('resident_memory_bytes', 'gauge', gauges['jvm_heap_used'], 'Resident memory of the process.'),
            ('open_fds', 'gauge', gauges['jvm_fd_count'], 'Open files of the process.'),
            ('max_fds', 'gauge', gauges['jvm_fd_limit'], 'Files that the process may have open.'),
            ('fsync_errors_total', 'counter', sum(services.stats.fsync_errors.values()), 'Failed fsyncs.'),
            *disk, *_server_sets(services.control.server_sets)):
        yield _single('kestrel_' + name, kind, value, text)
    for name, figure, text in SERVER_COUNTERS:
        yield _single('kestrel_%s_total' % name, 'counter', counters[figure], text)
    for name, unit, figure, text in SERVER_TIMES:
        yield _histogram('kestrel_' + name, unit, getattr(services.stats, figure), text)


def _server_sets(sets):
    """Is the server where clients look for it? Nothing if it should not be."""
    if sets is None:
        return []
    joined = sets.joined
    return [('zookeeper_connected', 'gauge', int(sets.reachable), '1 while there is a session with ZooKeeper.'),
            ('zookeeper_refused', 'gauge', int(sets.refusal is not None), '1 while ZooKeeper refuses what it is asked.'),
            ('read_set_member', 'gauge', int('read' in joined), '1 while clients find the server to read from it.'),
            ('write_set_member', 'gauge', int('write' in joined), '1 while clients find the server to write to it.')]


def _single(name, kind, value, text):
    family = Family(name.partition('{')[0], kind, text)
    family.samples.append('%s %s\n' % (name, value))
    return family


def _histogram(name, unit, histogram, text):
    family = Family(name, 'histogram', text)
    counts = histogram.counts()
    total = 0
    done = 0
    for at in BOUNDS:
        # bucket ``at`` + 1 is the first of values that reach the threshold
        total += sum(counts[done:at + 1])
        done = at + 1
        family.samples.append('%s_bucket{le="%s"} %d\n' % (name, _seconds(THRESHOLDS[at], unit), total))
    family.samples.append('%s_bucket{le="+Inf"} %d\n%s_count %d\n%s_sum %s\n' % (
        name, histogram.count, name, histogram.count, name, _seconds(histogram.sum, unit)))
    return family


def _disk(collection):
    """Room on the disk of the spool, once it is there."""
    if collection.spool is None:
        return []
    try:
        found = os.statvfs(collection.spool)
    except OSError:
        # the alert is for its absence
        return []
    return [('spool_free_bytes', 'gauge', found.f_bavail * found.f_frsize, 'Room on the disk of the spool.'),
            ('spool_size_bytes', 'gauge', found.f_blocks * found.f_frsize, 'Size of the disk of the spool.')]
