"""One queue: its waiting items, its open reads and the journal of both.

No method here switches greenlets: each is one atomic step on the hub, which is what lets plain blocking-style code
share queues without locks. Long work (sweeping or freeing a million items) is offered in slices; whoever calls lets
others run between them.

Journal first, memory second, reply last (D9): a put whose record cannot be written changes nothing.
"""

from collections import deque

from kestrel.item import Item
from kestrel.journal.xids import next_xid

SLICE = 1000                # items a sweep takes in one step (D37)
UNLIMITED = 9223372036854775807


class PersistentQueue:
    """Spec queues 2-5 and 10.

    name      bytes
    settings  config.QueueSettings, see ``configure``
    journal   journal.Journal, or None for a queue that lives in memory alone
    recovered journal.recovery.Recovered, or None for a new queue
    clock     clock.Clock
    waiters   waiters.Waiters: clients that waited for the name before the queue existed go on waiting (D14)
    stats     stats.QueueStats, owned by the queue
    """

    def __init__(self, name, settings, journal, recovered, clock, waiters, stats):
        self.name = name
        self.journal = journal
        self.clock = clock
        self.waiters = waiters
        self.stats = stats
        self.created = clock.now_ms()
        self.closed = False
        self.items = deque()
        self.bytes = 0
        self.opened = {}
        self.xid = 0
        # the add time of the item taken out last, ms; 0 before the first (D42)
        self.last_taken = 0
        if recovered is not None:
            self.items = recovered.items
            self.bytes = recovered.bytes
            self.xid = recovered.counter
        self.settings = None
        self.configure(settings)

    def configure(self, settings):
        """Take new settings (at set-up and at reload); they count from the next operation on (spec config 6).

        ``keep_journal`` and ``sync_journal`` stay as they were at set-up.
        """
        if self.settings is not None:
            settings = settings.replaced(keep_journal=self.settings.keep_journal,
                                         sync_journal=self.settings.sync_journal)
        self.settings = settings
        self.max_items = UNLIMITED if settings.max_items is None else settings.max_items
        self.max_size = UNLIMITED if settings.max_size is None else settings.max_size
        self.max_item_size = UNLIMITED if settings.max_item_size is None else settings.max_item_size
        self.max_age = 0 if settings.max_age is None else settings.max_age // 1000
        self.ages = settings.max_age is not None
        self.max_sweep = UNLIMITED if settings.max_expire_sweep is None else settings.max_expire_sweep
        self.discards = settings.discard_old_when_full
        self.traces = settings.enable_trace

    # -- putting ---------------------------------------------------------------------------------------------------

    def put(self, data, flags, expiry, durable):
        """Append an item. -> false if the queue refuses it (closed, too large, full).

        expiry   int, ms since 1970, 0 = never; cut to ``max_age``
        durable  fsync the record before returning, whatever ``sync_journal`` says (D22)

        Raises JournalError, with the queue as it was but for expired items, when the record cannot be written.
        """
        size = len(data)
        if self.closed or size > self.max_item_size:
            return False
        now = self.clock.now_ms()
        if not self.discards and self._full():
            return False
        if self.items and self._expired(self.items[0], now):
            self._sweep(now, min(SLICE, self.max_sweep))
        discarded = 0
        if self._full():
            discarded = self._heads_in_the_way()
            if discarded < 0:
                return False
        if self.ages:
            latest = now + self.max_age
            if expiry == 0 or expiry > latest:
                expiry = latest
        item = Item(data, now, expiry, flags)
        if self.journal is not None:
            self.journal.add(item, durable, discarded)
        for _ in range(discarded):
            self._pop_head()
        self.stats.discarded += discarded
        self.items.append(item)
        self.bytes += size
        stats = self.stats
        stats.put_items += 1
        stats.put_bytes += size
        stats.request_size.add(size)
        self._sample()
        self.waiters.wake_one()
        return True

    def refuses_size(self, size):
        """True if no item of that many bytes can enter."""
        return size > self.max_item_size

    def _full(self):
        return len(self.items) >= self.max_items or self.bytes >= self.max_size

    def _heads_in_the_way(self):
        """How many items must leave at the head until one can enter (D38), -1 if even an empty queue is full."""
        count = len(self.items)
        size = self.bytes
        heads = 0
        for item in self.items:
            if count - heads < self.max_items and size < self.max_size:
                return heads
            size -= len(item.data)
            heads += 1
        return heads if self.max_items > 0 and self.max_size > 0 else -1

    def _sample(self):
        stats = self.stats
        stats.tx_map_size.add(len(self.opened))
        stats.tx_expire_list_size.add(0)
        stats.queue_size.add(len(self.items))

    # -- taking ----------------------------------------------------------------------------------------------------

    def stale(self, now):
        """True if the head is expired. ``sweep`` it away, in slices, before ``take`` or ``head`` (D37)."""
        return not self.closed and bool(self.items) and self._expired(self.items[0], now)

    def take(self, opening, now):
        """Take the head out, for good or as an open read under a new xid. -> Item, or None if there is none.

        The caller has swept: the head is not expired.
        """
        if self.closed or not self.items:
            return None
        item = self.items.popleft()
        self.bytes -= len(item.data)
        self.last_taken = item.add_time
        journal = self.journal
        if opening:
            self.stats.transactions += 1
            xid = self.xid = item.xid = next_xid(self.xid, self.opened)
            self.opened[xid] = item
            if journal is not None:
                journal.remove_tentative(xid)
        elif journal is not None:
            journal.remove(1)
        self.stats.delivery_latency_msec.add(now - item.add_time)
        self._sample()
        return item

    def head(self):
        """The first item, or None. It stays."""
        return self.items[0] if self.items and not self.closed else None

    # -- open reads ------------------------------------------------------------------------------------------------

    def confirm(self, xid, last=True):
        """An open read is done: the item is gone for good. -> false if that xid is not open (any more).

        ``last``: no further confirm follows that could be synced together with this one.
        """
        if self.closed or xid not in self.opened:
            return False
        del self.opened[xid]
        if self.journal is not None:
            self.journal.confirm(xid, last)
        return True

    def unremove(self, xid):
        """Put an open read back at the head and wake one waiter. -> false if that xid is not open (any more)."""
        if self.closed or xid not in self.opened:
            return False
        item = self.opened.pop(xid)
        if self.journal is not None:
            self.journal.unremove(xid)
        self.items.appendleft(item)
        self.bytes += len(item.data)
        self.stats.canceled_transactions += 1
        self.waiters.wake_one()
        return True

    # -- expiry, flush ---------------------------------------------------------------------------------------------

    def _expired(self, item, now):
        """Past the expiry in force: that of the put, or ``max_age`` as configured now (spec queues 5)."""
        return (item.expiry != 0 and item.expiry < now) or (self.ages and item.add_time < now - self.max_age)

    def sweep(self, limit):
        """Drop expired items from the head, at most ``limit`` and at most one slice. -> how many."""
        if self.closed:
            return 0
        return self._sweep(self.clock.now_ms(), min(limit, SLICE))

    def _sweep(self, now, limit):
        dropped = 0
        while dropped < limit and self.items and self._expired(self.items[0], now):
            self._pop_head()
            dropped += 1
        if dropped:
            self.stats.expired_items += dropped
            if self.journal is not None:
                self.journal.remove(dropped)
        return dropped

    def flush(self):
        """Remove the items that wait now; open reads stay open (D57). -> the deque of them, see ``delete``."""
        if not self.items or self.closed:
            return None
        items, self.items = self.items, deque()
        self.bytes = 0
        if self.journal is not None:
            self.journal.remove(len(items))
        return items

    def _pop_head(self):
        item = self.items.popleft()
        self.bytes -= len(item.data)

    # -- the end ---------------------------------------------------------------------------------------------------

    def close(self):
        """The server stops: nothing goes in or out any more; the journal is synced and closed.

        Unlike all other methods this one may run in a thread, once nobody waits any more.
        """
        self.closed = True
        self.waiters.dismiss_all()
        if self.journal is not None:
            self.journal.close()

    def delete(self):
        """Remove the queue with its journal files. Its waiters get "no item", its open reads are void (D53).

        -> the deque of its items: freeing a million of them takes long, so the caller does that in slices.
        """
        self.closed = True
        self.waiters.dismiss_all()
        items, self.items = self.items, deque()
        self.bytes = 0
        self.opened = {}
        if self.journal is not None:
            self.journal.delete()
        return items
