"""How fast items come and go: what the dashboard shows of each queue while somebody looks at it."""

from kestrel.admin.listeners import MINUTE, OF_MINUTE
from kestrel.admin.scopes import QueueScope

KEY = 'rates'               # in QueueStats.kept, as long as the queue lives
LEAST = 1.0                 # seconds, below which a rate says nothing
WINDOW = 5.0                # seconds: a rate is that of the last one or two of these
FORGOTTEN = 60.0            # seconds after which nobody has looked
_PUT = QueueScope.counter_names.index('put_items')
_TAKEN = QueueScope.metric_names.index('delivery_latency_msec')


def rates(queue, now):
    """-> (items put, items taken) a second, floats; None if that is not known yet. ``now``: monotonic, seconds.

    From one look to the next; those of the last minute, if nobody has looked before.
    """
    stats = queue.stats
    if stats.kept is None:
        stats.kept = {}
    kept = stats.kept
    put = stats.put_items
    taken = stats.delivery_latency_msec.count
    known = kept.get(KEY)
    if known is None or now - known[0] > FORGOTTEN:
        kept[KEY] = (now, put, taken, now, put, taken)
        return _of_minute(kept)
    at, put_at, taken_at, began, put_before, taken_before = known
    if now - at >= WINDOW:
        kept[KEY] = (now, put, taken, at, put_at, taken_at)
    seconds = now - began
    if seconds < LEAST:
        return _of_minute(kept)
    return (put - put_before) / seconds, (taken - taken_before) / seconds


def untouched(queue):
    """Has nothing been taken for a minute, at the least?"""
    older, _ = (queue.stats.kept or {}).get(OF_MINUTE, (None, None))
    return older is not None and older.metrics[_TAKEN].count == queue.stats.delivery_latency_msec.count


def _of_minute(kept):
    older, newer = kept.get(OF_MINUTE, (None, None))
    if older is None:
        return None
    return ((newer.counters[_PUT] - older.counters[_PUT]) / MINUTE,
            (newer.metrics[_TAKEN].count - older.metrics[_TAKEN].count) / MINUTE)
