"""One queue: its waiting items, its open reads and the journal of both.

No method here switches greenlets: each is one atomic step on the hub, which is what lets plain blocking-style code
share queues without locks. Long work (sweeping or freeing a million items) is offered in slices; whoever calls lets
others run between them. Rewriting and packing run beside it, see ``compactor.py``.

Journal first, memory second, reply last (D9): a put whose record cannot be written changes nothing.

Where the items are, in memory or not, is the business of ``queue_items.py``.
"""

from collections import deque

from kestrel.deadlines import Deadlines
from kestrel.item import Item, new_item
from kestrel.journal import state_work
from kestrel.journal.xids import LAST_XID, next_xid
from kestrel.queue_items import QueueItems
from kestrel.shown import shown_queue

SLICE = 1000                # items a sweep takes in one step (D37), and a put that discards
UNLIMITED = 9223372036854775807
JOINED = 16384              # bytes: items from here on are written one by one, which spares a copy
ADDX_HEAD = 21              # bytes that a record has besides the data (spec journal 1)
# What ``_heads_in_the_way`` says besides their number.
NO_WAY = -1
LATER = -3


class PersistentQueue(QueueItems):
    """Spec queues 2-5 and 10.

    name      bytes
    settings  config.QueueSettings, see ``configure``
    journal   journal.Journal, or None for a queue that lives in memory alone
    recovered journal.recovery.Recovered, or None for a new queue
    clock     clock.Clock
    waiters   waiters.Waiters: clients that waited for the name before the queue existed go on waiting (D14)
    stats     stats.QueueStats, owned by the queue
    compactor compactor.Compactor of the queue, set by whoever makes it; None without a journal
    hub       hub.Hub, for the timer of its open reads
    mover     mover.Mover, set by whoever makes the queue; needed where items are to be moved
    late_reads        ration.Ration of the lines about reads that are ended too late, set likewise; None: nobody is told

    deadlines         deadlines.Deadlines of the open reads, None as long as there was no ``open_transaction_timeout``
    """

    def __init__(self, name, settings, journal, recovered, clock, waiters, stats, hub=None):
        super().__init__(journal, recovered, clock)
        self.name = name
        self.hub = hub
        self.waiters = waiters
        self.stats = stats
        self.created = clock.now_ms()
        self.deadlines = None
        self.mover = None
        self.late_reads = None
        self.swept = 0              # by the put that comes back
        self.opened = {}
        self.xid = 0 if recovered is None else recovered.counter
        # the add time of the item taken out last, ms; 0 before the first (D42)
        self.last_taken = 0
        # puts that were accepted and not stored (fanout_only): a use that nothing else shows (D24)
        self.passed_on = 0
        self.last_state = None
        if recovered is not None:
            self.opened = recovered.opened
        self.settings = None
        self.configure(settings)
        if journal is not None:
            journal.queue = self

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
        self.moves_expired = settings.expire_to_queue is not None
        self.max_deliveries = settings.max_deliveries or 0
        self.discards = settings.discard_old_when_full
        # without effect on a child (spec queues 7)
        self.fanout_only = settings.fanout_only and b'+' not in self.name
        self.traces = settings.enable_trace
        if self.journal is not None:
            self.journal.keep_deliveries = settings.max_deliveries is not None
        self.max_memory_size = UNLIMITED if self.journal is None else settings.max_memory_size
        # with less in the journal there is nothing to compact
        self.compact_from = UNLIMITED if self.journal is None else min(
            settings.default_journal_size, settings.max_journal_size + 1, settings.max_memory_size + 1)
        if self.deadlines is None and settings.open_transaction_timeout is not None:
            self.deadlines = Deadlines(self, self.hub, self.clock)
        if self.deadlines is not None:
            self.deadlines.timeout = settings.open_transaction_timeout
        if self.compactor is not None:
            self.compactor.configure(settings)

    # -- putting ---------------------------------------------------------------------------------------------------

    def put(self, data, flags, expiry, durable):
        """Append an item. -> true; false if the queue refuses it (closed, too large, full); or a Commit, if it enters
        the queue only when that is done: then it was refused if the Commit has an error. With ``fanout_only``
        an item is accepted and not stored. None: more must be discarded, or has expired, than one step may take out;
        a part of that is, and the caller comes back when others have had their turn.

        expiry   int, ms since 1970, 0 = never; cut to ``max_age``
        durable  its fsync is to be waited for, whatever ``sync_journal`` says (D22)

        Raises JournalError, with the queue as it was but for expired items, when the record cannot be written.
        """
        size = len(data)
        if self.closed or size > self.max_item_size:
            return False
        if self.fanout_only:
            self.passed_on += 1
            return True
        now = self.clock.now_ms()
        if not self.discards and self._full():
            return False
        if self.items and self.stale(now):
            if self._sweep_for_put(now):
                return None
        elif self.swept:
            self.swept = 0
        discarded = 0
        if self._full():
            discarded = self._heads_in_the_way()
            if discarded < 0:
                return False if discarded == NO_WAY else None
        if self.ages:
            latest = now + self.max_age
            if expiry == 0 or expiry > latest:
                expiry = latest
        item = new_item(data, now, expiry, flags)
        journal = self.journal
        if journal is not None:
            if journal.total() >= self.compact_from:
                self.compactor.look()
            if self.bytes + self.tail_bytes >= self.max_memory_size and self.reader is None:
                self._begin_read_behind()
            journal.make_room()
            file = journal.file
            offset = file.size + discarded
            commit = journal.add(item, durable, discarded)
            if discarded:
                self._discard(discarded)
            if commit is not None or self.tail:
                return self._put_behind_an_fsync(item, size, commit, file, offset)
        elif discarded:
            self._discard(discarded)
        self._enter(item, size)
        return True

    def put_many(self, data, expiry):
        """As ``put`` of the first of these, a list of bytes, and of as many more as go into the same write.
        -> (how many, Commit or None); 0: the first is refused; -1: come back later, as ``put`` says with None.
        Raises JournalError: none of them is stored.
        """
        size = len(data[0])
        now = self.clock.now_ms()
        # each put sweeps before it stores (spec queues 5): one that has expired already goes before the next is put
        if (self.discards or self.fanout_only or self.closed or size >= JOINED or size > self.max_item_size
                or self._full() or 0 < expiry < now):
            stored = self.put(data[0], 0, expiry, False)
            if stored is None:
                return -1, None
            if stored is False:
                return 0, None
            return 1, None if stored is True else stored
        if self.items and self.stale(now):
            if self._sweep_for_put(now):
                return -1, None
            if self.items and self.stale(now) and not (self.moves_expired and self.mover.stuck):
                # the next put sweeps, too
                data = data[:1]
        elif self.swept:
            self.swept = 0
        if self.ages and (expiry == 0 or expiry > now + self.max_age):
            expiry = now + self.max_age
        journal = self.journal
        if journal is not None:
            if journal.total() >= self.compact_from:
                self.compactor.look()
            if self.bytes + self.tail_bytes >= self.max_memory_size and self.reader is None:
                self._begin_read_behind()
        items = []
        unchecked = self._until_next_look()
        room = self.max_items - self.count - len(self.tail)
        total = self.bytes + self.tail_bytes
        limit = self.max_size if self.reader is not None else min(self.max_size, self.max_memory_size)
        for word in data:
            size = len(word)
            if size > self.max_item_size or size >= JOINED or room <= 0 or total >= limit or unchecked < 0:
                break
            items.append(new_item(word, now, expiry, 0))
            room -= 1
            total += size
            unchecked -= ADDX_HEAD + size
        if not items:
            return 0, None
        commit = None
        if journal is not None:
            journal.make_room()
            file = journal.file
            offsets = []
            commit = journal.add_many(items, offsets)
            if commit is not None or self.tail:
                for item, offset in zip(items, offsets):
                    self._put_behind_an_fsync(item, len(item.data), commit, file, offset)
                return len(items), commit
        for item in items:
            self._enter(item, len(item.data))
        return len(items), commit

    def _until_next_look(self):
        """How many bytes the journal may grow by before its size is to be looked at anew: each put looks (D13). When it is
        larger than a limit now, the look that has just been makes do."""
        if self.journal is None:
            return UNLIMITED
        settings = self.settings
        room = UNLIMITED
        if self.journal.size <= settings.max_memory_size:
            room = settings.max_memory_size - self.journal.size
        total = self.journal.total()
        if total <= settings.max_journal_size:
            room = min(room, settings.max_journal_size - total)
        return room

    def _enter(self, item, size):
        """An item is in the queue now. ``item`` is None if it is left on disk."""
        self.count += 1
        self.bytes += size
        if self.reader is None:
            self.items.append(item)
            self.mem_bytes += size
        else:
            self.behind += 1
            if not self.items:
                self._move_up()
        stats = self.stats
        stats.put_items += 1
        stats.put_bytes += size
        stats.request_size.add(size)
        self._sample()
        self.waiters.wake_one()

    def refuses_size(self, size):
        """True if no item of that many bytes can enter."""
        return size > self.max_item_size

    def _full(self):
        return self.count + len(self.tail) >= self.max_items or self.bytes + self.tail_bytes >= self.max_size

    def _heads_in_the_way(self):
        """How many items must leave at the head until one can enter (D38), NO_WAY if that is not possible.

        It takes a lowered limit that more is in the way than what is in memory: that leaves, and those on disk move up.
        LATER: so have a slice of them, and the rest is for the next step. Raises JournalError, and then none has left.
        """
        if (len(self.tail) >= self.max_items or self.tail_bytes >= self.max_size or self._is_choked()
                or self.moves_expired and self.mover.stuck and self.stale(self.clock.now_ms())):
            return NO_WAY
        gone = 0
        while gone < SLICE:
            count = self.count + len(self.tail)
            size = self.bytes + self.tail_bytes
            heads = 0
            for item in self.items:
                if count - heads < self.max_items and size < self.max_size:
                    return heads
                if item.data is None:
                    return heads if heads else NO_WAY
                if gone + heads == SLICE:
                    break
                size -= len(item.data)
                heads += 1
            else:
                if count - heads < self.max_items and size < self.max_size:
                    return heads
                if not heads or not self.behind:
                    return NO_WAY
            if self.journal is not None:
                self.journal.make_room()
                self.journal.remove(heads)
            self._discard(heads)
            gone += heads
        return LATER

    def _discard(self, count):
        for _ in range(count):
            self.pop_head()
        self.stats.discarded += count

    def _sample(self):
        stats = self.stats
        stats.tx_map_size.add(len(self.opened))
        stats.tx_expire_list_size.add(0 if self.deadlines is None else len(self.deadlines))
        stats.queue_size.add(len(self.items) - self.voids)

    # -- taking ----------------------------------------------------------------------------------------------------

    def stale(self, now):
        """True if the head is expired. ``sweep`` it away, in slices, before ``take`` or ``head`` (D37)."""
        if self.closed or not self.items:
            return False
        item = self.items[0]
        return self._expired(item, now) and not self._is_choked()

    def take(self, opening, now, before=b''):
        """Take the head out, for good or as an open read under a new xid. -> Item, or None if there is none.

        The caller has swept: the head is not expired. ``before``: records that are written in front of that of the read.
        """
        if self.closed or not self.items or self._is_choked():
            return None
        item = self.items.popleft()
        size = len(item.data)
        self.count -= 1
        self.bytes -= size
        self.mem_bytes -= size
        self.last_taken = item.add_time
        journal = self.journal
        if opening:
            self.stats.transactions += 1
            xid = self.xid
            if 0 <= xid < LAST_XID and xid + 1 not in self.opened:
                # nearly always; spared the call
                xid += 1
            else:
                xid = next_xid(xid, self.opened)
            if self.deadlines is not None:
                while xid in self.deadlines.overdue:
                    xid = next_xid(xid, self.opened)
                self.deadlines.add(xid)
            self.xid = item.xid = xid
            self.opened[xid] = item
            if journal is not None:
                journal.remove_tentative(xid, before)
        elif journal is not None:
            journal.remove(1)
        if self.checkpoint is not None:
            self.checkpoint.take(item, opening)
        if self.reader is not None or self.voids:
            self._move_up()
        if journal is not None and journal.total() >= self.compact_from:
            self.compactor.look()
        self.stats.delivery_latency_msec.add(now - item.add_time)
        self._sample()
        return item

    def take_next(self, xid, now):
        """Confirm an open read and open the next item, by one write. -> Item; None: nothing was done, and the one is to be
        done after the other."""
        journal = self.journal
        if (self.closed or self.deadlines is not None or not self.items or self.stale(now) or self._is_choked()
                or xid not in self.opened):
            return None
        record = b'' if journal is None else journal.confirm_record(xid)
        if record is None:
            return None
        done = self.opened.pop(xid)
        if self.checkpoint is not None:
            self.checkpoint.confirm(done)
        return self.take(True, now, record)

    def hold_head(self):
        """The head leaves as an open read of nobody's, until it is confirmed or put back. -> its xid."""
        xid = next_xid(self.xid, self.opened)
        while self.deadlines is not None and xid in self.deadlines.overdue:
            xid = next_xid(xid, self.opened)
        item = self.items[0]
        if self.journal is not None:
            self.journal.remove_tentative(xid)
        self.pop_head(True)
        self.xid = item.xid = xid
        self.opened[xid] = item
        return xid

    def head(self):
        """The first item, or None. It stays."""
        return self.items[0] if self.items and not self.closed else None

    def _is_choked(self):
        """Memory holds so many records that found no room on the disk that nothing may leave (D10)."""
        return self.journal is not None and self.journal.is_choked()

    # -- open reads ------------------------------------------------------------------------------------------------

    def confirm(self, xid):
        """An open read is done: the item is gone for good. -> the Commit that the answer has to wait for (D63), or None.
        An xid that is not open (any more) is passed over."""
        if self.deadlines is not None and self._is_late(xid):
            return None
        if self.closed or xid not in self.opened:
            return None
        item = self.opened.pop(xid)
        journal = self.journal
        if journal is None:
            return None
        if self.checkpoint is not None:
            self.checkpoint.confirm(item)
        commit = journal.confirm(xid)
        if journal.total() >= self.compact_from:
            self.compactor.look()
        return commit

    def unremove(self, xid):
        """Put an open read back at the head and wake one waiter. -> false if that xid is not open (any more)."""
        if self.deadlines is not None and self._is_late(xid):
            return False
        if self.closed or xid not in self.opened:
            return False
        if self.max_deliveries:
            return self.unremove_many([xid]) == 1
        item = self.opened.pop(xid)
        again = _counted(item)
        size = len(item.data)
        journal = self.journal
        if journal is not None:
            journal.unremove(xid)
        self.items.appendleft(again)
        self.count += 1
        self.bytes += size
        self.mem_bytes += size
        if self.checkpoint is not None:
            self.checkpoint.put_back(item, again)
        self.stats.canceled_transactions += 1
        self.waiters.wake_one()
        if journal is not None and journal.total() >= self.compact_from:
            self.compactor.look()
        return True

    def confirm_many(self, xids):
        """As ``confirm``, with one write for all. A hundred thousand take 50 to 80 ms so; with a write for each it was 400."""
        return self.let_go(self.still_open(xids))

    def let_go(self, xids):
        """Those of the xids that are open are gone for good. -> as ``confirm``."""
        items = [(xid, self.opened.pop(xid)) for xid in xids if xid in self.opened]
        journal = self.journal
        if journal is None or not items:
            return None
        if self.checkpoint is not None:
            for _, item in items:
                self.checkpoint.confirm(item)
        commit = journal.confirm_many([xid for xid, _ in items])
        if journal.total() >= self.compact_from:
            self.compactor.look()
        return commit

    def unremove_many(self, xids):
        """As ``unremove`` of each, in this order, with one write for all. -> how many were open."""
        xids = self.still_open(xids)
        for _ in self.return_in_steps(xids):
            pass
        return len(xids)

    def still_open(self, xids):
        """Those of the reads that are open and have not gone back by themselves; none of these does any more."""
        if self.closed:
            return []
        if self.deadlines is not None:
            xids = [xid for xid in xids if not self._is_late(xid)]
        return [xid for xid in xids if xid in self.opened]

    def _is_late(self, xid):
        """The owner of a read is done with it. -> true if it has gone back by itself before; that is logged (spec queues 10)."""
        if not self.deadlines.forget(xid):
            return False
        if self.late_reads is not None:
            self.late_reads.warning('queue %s: the open read with xid %d is ended too late: open_transaction_timeout was over'
                                    ' before', shown_queue(self.name), xid)
        return True

    def return_in_steps(self, xids):
        """Open reads, the newest first, go back or, of ``max_deliveries``, to where poison goes (D18). To be run to its end;
        it stops where others may have their turn."""
        self.stats.canceled_transactions += len(xids)
        if xids and self.max_deliveries:
            xids = yield from self.mover.bury(xids)
        self.put_back(xids)

    def put_back(self, xids):
        """Those of the xids that are open go back to the head. -> how many."""
        items = [(xid, self.opened.pop(xid)) for xid in xids if xid in self.opened]
        if not items:
            return 0
        journal = self.journal
        if journal is not None:
            journal.unremove_many([xid for xid, _ in items])
        size = 0
        for _, item in items:
            size += len(item.data)
            again = _counted(item)
            self.items.appendleft(again)
            if self.checkpoint is not None:
                self.checkpoint.put_back(item, again)
        self.count += len(items)
        self.bytes += size
        self.mem_bytes += size
        self.wake(len(items))
        if journal is not None and journal.total() >= self.compact_from:
            self.compactor.look()
        return len(items)

    def wake(self, count):
        """There are so many items more for those who wait."""
        for _ in range(min(count, len(self.waiters))):
            self.waiters.wake_one()

    def unchoked(self):
        """The journal has written its pending records: items can be handed out again."""
        self.wake(len(self.items))

    # -- expiry, flush ---------------------------------------------------------------------------------------------

    def _expired(self, item, now):
        """Past the expiry in force: that of the put, or ``max_age`` as configured now (spec queues 5)."""
        return (item.expiry != 0 and item.expiry < now) or (self.ages and item.add_time < now - self.max_age)

    def sweep(self, limit, run=0):
        """Drop expired items from the head, or move them (D51), at most ``limit`` and at most one slice. -> how many.
        None, though the head is stale: it cannot be moved now.

        run  when the sweep of several queues began, ms since 1970: what has expired since stays until the next
        """
        if self.closed:
            return 0
        now = self.clock.now_ms()
        dropped = self._sweep(run if 0 < run < now else now, min(limit, SLICE))
        if dropped and self.journal is not None and self.journal.total() >= self.compact_from:
            self.compactor.look()
        return dropped

    def _sweep_for_put(self, now):
        """What each put does before it stores (spec queues 5), a slice of it. -> true: there is more, come back later."""
        dropped = self._sweep(now, min(SLICE, self.max_sweep - self.swept))
        self.swept += dropped
        if (dropped and self.swept < self.max_sweep and self.items and self.stale(now)
                and not (self.mover is not None and self.mover.receiving)):
            return True
        self.swept = 0
        return False

    def _sweep(self, now, limit):
        if self.moves_expired:
            return self.mover.move_expired(now, limit)
        dropped = 0
        while dropped < limit and self.stale(now):
            self.pop_head()
            dropped += 1
        if dropped:
            self.stats.expired_items += dropped
            if self.journal is not None:
                self.journal.remove(dropped)
        return dropped

    def flush(self):
        """Remove the items that wait now; open reads stay open, and puts that wait for their fsync come later (D57, D9).
        -> the deque of them, see ``delete``."""
        removed = len(self.items) + self.behind
        if not removed or self.closed:
            return None
        if self.voids_left_out is not None:
            self.compactor.give_up_rewrite()
        items, self.items = self.items, deque()
        self.count = self.bytes = self.mem_bytes = self.behind = self.voids = 0
        journal = self.journal
        if journal is not None:
            journal.remove_all(removed)
            self.checkpoint = None
            self.voids_behind.clear()
            if self.tail_behind:
                first = self.tail[len(self.tail) - self.tail_behind]
                self.reader.move_to(first.file, first.offset)
            elif self.reader is not None:
                self._end_read_behind()
            if journal.total() >= self.compact_from:
                self.compactor.look()
        return items

    def pop_head(self, opening=False):
        """The head, whose record is written, leaves: for good, or ``opening`` as an open read."""
        item = self.items.popleft()
        size = len(item.data)
        self.count -= 1
        self.bytes -= size
        self.mem_bytes -= size
        if self.checkpoint is not None:
            self.checkpoint.take(item, opening)
        if self.reader is not None or self.voids:
            self._move_up()

    # -- the end ---------------------------------------------------------------------------------------------------

    def close(self):
        """The server stops: nothing goes in or out any more; the journal is synced and closed.

        Unlike all other methods this one may run in a thread, once nobody waits any more and no job runs.
        """
        self.closed = True
        self.waiters.dismiss_all()
        self.compactor = None
        journal = self.journal
        if journal is not None:
            if journal.total() >= state_work.LEAST:
                self.last_state = state_work.capture(self, journal, list(self.opened.items()))
            journal.close()
            journal.queue = None

    def write_state(self, until):
        """Write down for the next start what the queue was when it was closed, if that can be done ``until`` then,
        monotonic seconds; may run in a thread."""
        work, self.last_state = self.last_state, None
        if work is None or self.journal.suspect is not None:
            return
        work.until = until
        try:
            work()
        except (OSError, state_work.GivenUp) as error:
            state_work.tell(self.journal, error)

    def delete(self):
        """Remove the queue with its journal files. Its waiters get "no item", its open reads are void (D53).

        -> the deque of its items: freeing a million of them takes long, so the caller does that in slices.
        """
        self.closed = True
        self.waiters.dismiss_all()
        items, self.items = self.items, deque()
        self.count = self.bytes = self.mem_bytes = self.behind = self.voids = 0
        self.tail.clear()
        self.opened = {}
        self.reader = None
        self.checkpoint = None
        self.mover = None           # it knows the queue
        if self.deadlines is not None:
            self.deadlines.close()
            self.deadlines = None
        if self.journal is not None:
            # both know the queue: a circle that the collector would have to find
            compactor, self.compactor = self.compactor, None
            self.journal.delete([] if compactor is None else compactor.abandon())
            self.journal.queue = None
        return items


def _counted(item):
    """An item that is put back, with that counted. A copy: a rewrite under way and a checkpoint go on holding the item
    with the count it had, because the UNREMOVE stands behind what they write."""
    again = Item(item.data, item.add_time, item.expiry, item.flags, item.deliveries + 1)
    again.xid = item.xid
    return again
