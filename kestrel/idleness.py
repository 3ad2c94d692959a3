"""For how long queues have not been used (``max_queue_age``, D24)."""


class Idleness:
    """Looked at now and then it knows which queues nobody has used since.

    The way of a request is not touched: a queue that was used has counted something, and one with items, open
    reads or waiters is in use while it is looked at. So a use is noticed at the next look, never too early.
    """

    def __init__(self, clock):
        self.clock = clock
        self.known = {}             # queue -> (what it had counted, since when it counts nothing more, seconds)

    def overdue(self, queues):
        """-> those of the queues that nobody has used for their ``max_queue_age``."""
        now = self.clock.monotonic()
        known, self.known = self.known, {}
        found = []
        for queue in queues:
            age = queue.settings.max_queue_age
            if age is None:
                continue
            uses = None if in_use(queue) else counted(queue)
            before, since = known.get(queue, (None, now))
            if uses is None or uses != before:
                since = now
            self.known[queue] = uses, since
            if uses is not None and now - since >= age / 1000000 and uses == before:
                found.append(queue)
        return found

    def still_overdue(self, queue):
        """One of those: nobody has used it since that look."""
        return not queue.closed and not in_use(queue) and self.known[queue][0] == counted(queue)


def in_use(queue):
    return bool(queue.count or queue.opened or queue.tail or queue.voids or len(queue.waiters))


def counted(queue):
    """What changes with each put, get, peek and fetch of a monitor, open read and put-back."""
    stats = queue.stats
    return (stats.put_items, queue.passed_on, stats.get_items_hit, stats.get_items_miss, stats.transactions,
            stats.canceled_transactions)
