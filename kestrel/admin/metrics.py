"""/metrics: the text format of Prometheus (D62). Names, units and endings follow its conventions: seconds, bytes, _total.

The one label is ``queue``. The global times are histograms of a few buckets, those of a queue only count and sum: with
every bucket of every queue a server with thousands of queues could not be scraped.
"""

import os

from kestrel import __version__
from kestrel.admin import queue_figures, scopes
from kestrel.admin.queue_metrics import OTHERS, Family, Others, QueueFamilies, label, seconds
from kestrel.admin.turns import Turns
from kestrel.stats import THRESHOLDS

# (family, figure, help); of times (family, units of the figure in a second, figure, help)
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
            queues.add(label(name), queue_figures.counters(queue), queue_figures.gauges(queue),
                       queue_figures.counts_and_sums(queue))
        turns.next()
    _add_others(collection, queues, set(shown), turns)
    answer = [family.text() for family in _server_families(services, ready)]
    for family in queues.families:
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
            others.add(queue)
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
    name, brace, labels = name.partition('{')
    family = Family(name, kind, text)
    family.samples.append('%s%s %s\n' % (brace, labels, value))
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
        family.samples.append('_bucket{le="%s"} %d\n' % (seconds(THRESHOLDS[at], unit), total))
    family.samples.extend(['_bucket{le="+Inf"} %d\n' % histogram.count, '_count %d\n' % histogram.count,
                           '_sum %s\n' % seconds(histogram.sum, unit)])
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
