"""What the statistics are about: the server, each queue, each alias; their names and where the figures come from
(spec admin 7)."""

import gc
import os
import resource
import threading
from operator import attrgetter

from kestrel import __version__
from kestrel.admin import distribution, queue_figures

_SERVER_COUNTERS = {
    'bytes_read': 'bytes_read', 'bytes_written': 'bytes_written', 'cmd_get': 'cmd_get',
    'cmd_get_open_dropped': 'cmd_get_open_dropped', 'cmd_get_timeout_dropped': 'waiters_aborted',
    'cmd_monitor': 'cmd_monitor', 'cmd_monitor_get': 'cmd_monitor_get', 'cmd_peek': 'cmd_peek', 'cmd_set': 'cmd_set',
    'get_hits': 'get_hits', 'get_misses': 'get_misses', 'journal_errors': 'journal_errors',
    'queue_creates': 'queue_creates', 'queue_deletes': 'queue_deletes', 'queue_expires': 'queue_expires',
    'total_connections': 'total_connections', 'total_items': 'total_items', 'waiters_aborted': 'waiters_aborted',
}
_BOTH_METRICS = ('delivery_latency_msec', 'get_hit_latency_usec', 'get_miss_latency_usec', 'get_timeout_msec',
                 'set_latency_usec')
_SERVER_METRICS = ('fsync_delay_usec', 'item_fsync_delay_usec')
# counters by our names; the network library of the original has two names for the end of a connection
_TRANSPORT_COUNTERS = {'closechans': 'closes', 'closed': 'closes', 'closes': 'closes', 'connects': 'connects',
                       'received_bytes': 'received_bytes', 'requests': 'requests', 'sent_bytes': 'sent_bytes',
                       'success': 'success'}
_TRANSPORT_METRICS = ('connection_duration', 'connection_received_bytes', 'connection_sent_bytes', 'request_latency_ms')


class Snapshot:
    """The figures of one scope at one moment, in the order of its names.

    counters, gauges  tuples of numbers; metrics  tuple of distribution.Distribution
    """

    __slots__ = ('counters', 'gauges', 'metrics')

    def __init__(self, counters, gauges, metrics):
        self.counters = counters
        self.gauges = gauges
        self.metrics = metrics


class Scope:
    """Something that has statistics.

    prefix    str, what its names begin with: '' or 'q/<name>/'
    kept      dict that goes when it goes (D26)
    queue     its PersistentQueue, if it is one
    counter_names, gauge_names, metric_names  tuples of str, sorted unless ``sparse``
    sparse    a counter appears when it is first used
    """

    prefix = ''
    queue = None
    sparse = False
    counter_names = gauge_names = metric_names = ()

    def counters(self):
        """-> tuple of int, since the start, in the order of ``counter_names``."""
        return ()

    def gauges(self):
        """-> tuple of numbers in the order of ``gauge_names``."""
        return ()

    def histograms(self):
        """-> tuple of stats.Histogram in the order of ``metric_names``."""
        return ()

    def snapshot(self, previous=None):
        """-> Snapshot. What has not changed since ``previous`` is the same object: idle queues cost next to nothing."""
        counters = self.counters()
        gauges = self.gauges()
        if previous is None:
            return Snapshot(counters, gauges, tuple([distribution.of(found) for found in self.histograms()]))
        metrics = self._metrics(previous.metrics)
        if counters == previous.counters:
            counters = previous.counters
        if gauges == previous.gauges:
            gauges = previous.gauges
        if counters is previous.counters and gauges is previous.gauges and metrics is previous.metrics:
            return previous
        return Snapshot(counters, gauges, metrics)

    def _metrics(self, previous):
        """-> tuple of distribution.Distribution; names may have been added since ``previous``."""
        found = self.histograms()
        previous += (None,) * (len(found) - len(previous))
        return tuple([distribution.of(histogram, before) for histogram, before in zip(found, previous)])


def _prefix(name):
    return 'q/%s/' % name.decode('latin-1')


class QueueScope(Scope):
    """A queue. Made anew whenever it is looked at: what is to stay is in the queue's stats."""

    counter_names = queue_figures.COUNTERS
    gauge_names = queue_figures.GAUGES
    metric_names = queue_figures.METRICS

    def __init__(self, queue):
        self.queue = queue
        self.prefix = _prefix(queue.name)

    @property
    def kept(self):
        stats = self.queue.stats
        if stats.kept is None:
            stats.kept = {}
        return stats.kept

    def counters(self):
        return queue_figures.counters(self.queue)

    def gauges(self):
        return queue_figures.gauges(self.queue)

    def histograms(self):
        return queue_figures.histograms(self.queue)

    def _metrics(self, previous):
        return previous if queue_figures.unchanged(self.queue, previous) else super()._metrics(previous)


class AliasScope(Scope):

    counter_names = ('put_bytes', 'put_items')
    gauge_names = ('create_time',)

    def __init__(self, name, alias):
        self.alias = alias
        self.prefix = _prefix(name)
        self.kept = alias.kept

    def counters(self):
        return self.alias.put_bytes, self.alias.put_items

    def gauges(self):
        return (self.alias.create_time,)


class ServerScope(Scope):

    sparse = True
    _read_counters = staticmethod(attrgetter(*_SERVER_COUNTERS.values()))
    _own_metrics = tuple(sorted([*_BOTH_METRICS, *_SERVER_METRICS]))
    _read_histograms = staticmethod(attrgetter(*_own_metrics))
    _read_transport_counters = staticmethod(attrgetter(*_TRANSPORT_COUNTERS.values()))
    _read_transport_histograms = staticmethod(attrgetter(*_TRANSPORT_METRICS))

    def __init__(self, services):
        self.services = services
        self.kept = services.stats.kept

    @property
    def counter_names(self):
        """What comes later stands at the end: fsync errors by class."""
        stats = self.services.stats
        transports = ['kestrel-%s/%s' % (protocol, name)
                      for protocol in stats.transports for name in _TRANSPORT_COUNTERS]
        errors = ['fsync_error_' + kind for kind in stats.fsync_errors]
        return (*_SERVER_COUNTERS, 'jvm_gc_cycles', *transports, *errors)

    def counters(self):
        stats = self.services.stats
        transports = [value for transport in stats.transports.values()
                      for value in self._read_transport_counters(transport)]
        cycles = sum([generation['collections'] for generation in gc.get_stats()])
        return (*self._read_counters(stats), cycles, *transports, *stats.fsync_errors.values())

    @property
    def metric_names(self):
        return (*self._own_metrics, *['kestrel-%s/%s' % (protocol, name) for protocol in self.services.stats.transports
                                      for name in _TRANSPORT_METRICS])

    def histograms(self):
        stats = self.services.stats
        return (*self._read_histograms(stats), *[histogram for transport in stats.transports.values()
                                                 for histogram in self._read_transport_histograms(transport)])

    @property
    def gauge_names(self):
        return ('bytes', 'connections', 'items', *process_gauges(self.services), 'reserved_memory_ratio',
                'status/readable', 'status/writeable',
                *['kestrel-%s/connections' % protocol for protocol in self.services.stats.transports])

    def gauges(self):
        services = self.services
        stats = services.stats
        items = size = reserved = 0
        for queue in services.collection.queues.values():
            items += queue.count
            size += queue.bytes
            reserved += queue.settings.max_memory_size
        status = services.control.server_status.announced
        return (size, stats.connections, items, *process_gauges(services).values(),
                reserved / services.memory_limit, int(not status.blocks_reads), int(not status.blocks_writes),
                *[transport.connections for transport in stats.transports.values()])

    def labels(self):
        return {'status': self.services.control.server_status.announced.name, 'version': __version__}


def process_gauges(services):
    """What is left of the figures of the original's process (D52). -> dict"""
    uptime = int((services.clock.monotonic() - services.began) * 1000)
    return {
        'jvm_fd_count': open_files(),
        'jvm_fd_limit': resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        'jvm_heap_max': services.memory_limit,
        'jvm_heap_used': resident_bytes(),
        'jvm_num_cpus': len(os.sched_getaffinity(0)),
        'jvm_start_time': services.began_ms,
        'jvm_thread_count': threading.active_count(),
        'jvm_uptime': uptime,
    }


def open_files():
    """How many descriptors the process has open."""
    # Linux tells since 6.2 (fs/proc/fd.c). To list them takes 10 ms with 10 000 journals.
    return os.stat('/proc/self/fd').st_size or len(os.listdir('/proc/self/fd')) - 1


def resident_bytes():
    """Memory of the process that is in use, bytes."""
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def names(collection):
    """-> list of bytes: all queues and aliases, in the order of their figures: the name is followed by a slash."""
    return sorted({*collection.queues, *collection.aliases}, key=lambda name: name + b'/')


def named(collection, name):
    """-> Scope of the alias or queue of that name, None if there is none (any more). An alias hides a queue."""
    alias = collection.aliases.get(name)
    if alias is not None:
        return AliasScope(name, alias)
    queue = collection.lookup(name)
    return None if queue is None else QueueScope(queue)
