"""The figures of a queue, read in the order of their names (spec admin 7).

A page of statistics reads all of every queue. Compiled, this takes a quarter of the time of attribute names in Python.
"""

COUNTERS = ('canceled_transactions', 'dead_letters', 'discarded', 'expired_items', 'get_items_hit', 'get_items_miss',
            'journal_rewrites', 'journal_rotations', 'put_bytes', 'put_items', 'total_flushes', 'total_items',
            'transactions')
GAUGES = ('age_msec', 'bytes', 'create_time', 'head_msec', 'items', 'journal_size', 'max_bytes', 'max_items',
          'mem_bytes', 'mem_items', 'open_transactions', 'waiters')
METRICS = ('delivery_latency_msec', 'fill_readbehind_usec', 'get_hit_latency_usec', 'get_miss_latency_usec',
           'get_timeout_msec', 'journal_rewrite_usec', 'journal_rotation_usec', 'queue_size', 'request_size',
           'set_latency_usec', 'tx_expire_list_size', 'tx_map_size')

NOTHING = (0, 0)


def counters(queue):
    """-> tuple of int, since the queue was set up."""
    stats = queue.stats
    return (stats.canceled_transactions, stats.dead_letters, stats.discarded, stats.expired_items,
            stats.get_items_hit, stats.get_items_miss, stats.journal_rewrites, stats.journal_rotations,
            stats.put_bytes, stats.put_items, stats.total_flushes, stats.put_items, stats.transactions)


def gauges(queue):
    """-> tuple of int, as they are now."""
    now = queue.clock.now_ms()
    head = queue.head()
    journal = queue.journal
    return (
        # 0 while no data waits, and before the first removal (D42)
        now - queue.last_taken if queue.bytes and queue.last_taken else 0,
        queue.bytes,
        queue.created // 1000,
        0 if head is None else now - head.add_time,
        queue.count,
        0 if journal is None else journal.total(),
        queue.max_size,
        queue.max_items,
        queue.mem_bytes,
        len(queue.items) - queue.voids,
        len(queue.opened),
        len(queue.waiters),
    )


def histograms(queue):
    """-> tuple of stats.Histogram."""
    stats = queue.stats
    return (stats.delivery_latency_msec, stats.fill_readbehind_usec, stats.get_hit_latency_usec,
            stats.get_miss_latency_usec, stats.get_timeout_msec, stats.journal_rewrite_usec,
            stats.journal_rotation_usec, stats.queue_size, stats.request_size, stats.set_latency_usec,
            stats.tx_expire_list_size, stats.tx_map_size)


def counts_and_sums(queue):
    """-> list of (count, sum) of the histograms."""
    found = []
    for histogram in histograms(queue):
        found.append((histogram.count, histogram.sum) if histogram.count else NOTHING)
    return found


def unchanged(queue, distributions):
    """Has nothing come to the histograms since these were made of them?"""
    for histogram, known in zip(histograms(queue), distributions):
        if histogram.count != known.count:
            return False
    return True
