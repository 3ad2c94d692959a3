"""One queue: its waiting items, its open reads and the journal of both.

No method here switches greenlets: each is one atomic step on the hub, which is what lets plain blocking-style code
share queues without locks. Long work (sweeping or freeing a million items) is offered in slices; whoever calls lets
others run between them. Rewriting and packing run beside it, see ``compactor.py``.

Journal first, memory second, reply last (D9): a put whose record cannot be written changes nothing.

The items of a queue, in the order of its journal:

    items       in memory, from the head on
    behind      left on disk (read-behind), read back when there is room in memory; ``reader`` stands at the first
    tail        puts that wait for an fsync, and those behind them: not in the queue yet (D9)
"""

from collections import deque

from kestrel.deadlines import Deadlines
from kestrel.hub import ONE_TURN
from kestrel.item import Item
from kestrel.journal.read_behind import ReadBehind
from kestrel.journal.xids import next_xid

SLICE = 1000                # items a sweep takes in one step (D37)
UNLIMITED = 9223372036854775807
# What one step reads back at most, unless memory is empty: only a raised max_memory_size needs more.
REFILL_ITEMS = 1000
REFILL_BYTES = 4194304
# How often a file that cannot be read back is tried again, seconds.
READ_AGAIN = 1.0


class Put:
    """A put that is not in the queue yet: it waits for ``commit``, or (None) stands behind one that does.

    item    Item, or None if it is left on disk; ``size``: its data bytes
    file, offset  where its record begins, for one that must be taken back
    """

    __slots__ = ('item', 'size', 'commit', 'file', 'offset')

    def __init__(self, item, size, commit, file, offset):
        self.item = item
        self.size = size
        self.commit = commit
        self.file = file
        self.offset = offset


class PersistentQueue:
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

    count, bytes      waiting items, those left on disk included, and their data bytes
    mem_bytes         data bytes of ``items``
    voids             how many of ``items`` are void: their puts were refused after their records were written, and a
                      REMOVE takes them off when their turn comes (D9). Such an Item has no data (None); its ``add_time``
                      is the offset of its record in the current file number ``xid`` (Journal.serial), or -1. None of
                      them ever stands at the head.
    deadlines         deadlines.Deadlines of the open reads, None as long as there was no ``open_transaction_timeout``
    """

    def __init__(self, name, settings, journal, recovered, clock, waiters, stats, hub=None):
        self.name = name
        self.journal = journal
        self.hub = hub
        self.clock = clock
        self.waiters = waiters
        self.stats = stats
        self.created = clock.now_ms()
        self.closed = False
        self.items = deque()
        self.count = 0
        self.bytes = 0
        self.mem_bytes = 0
        self.reader = None
        self.behind = 0
        self.unreadable = False
        self.reading_on = False
        self.tail = deque()
        self.tail_bytes = 0
        self.tail_behind = 0        # how many of the tail are left on disk
        self.voids = 0
        self.voids_left_out = None  # those that the rewrite under way does not write
        self.voids_behind = set()   # (file, offset) of void records that are left on disk
        self.checkpoint = None
        self.compactor = None
        self.deadlines = None
        self.mover = None
        self.opened = {}
        self.xid = 0
        # the add time of the item taken out last, ms; 0 before the first (D42)
        self.last_taken = 0
        if recovered is not None:
            self.items = recovered.items
            self.count = recovered.count
            self.bytes = recovered.bytes
            self.mem_bytes = recovered.mem_bytes
            self.reader = recovered.reader
            self.behind = recovered.behind
            self.xid = recovered.counter
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
        the queue only when that is done: then it was refused if the Commit has an error.

        expiry   int, ms since 1970, 0 = never; cut to ``max_age``
        durable  its fsync is to be waited for, whatever ``sync_journal`` says (D22)

        Raises JournalError, with the queue as it was but for expired items, when the record cannot be written.
        """
        size = len(data)
        if self.closed or size > self.max_item_size:
            return False
        now = self.clock.now_ms()
        if not self.discards and self._full():
            return False
        if self.items and self.stale(now):
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
        """How many items must leave at the head until one can enter (D38), -1 if that is not possible.

        Only those in memory are counted. If they are not enough they leave at once and those behind them move up; it
        takes a lowered limit to come to that.
        """
        if (self.max_items <= 0 or self.max_size <= 0 or self._is_choked()
                or self.moves_expired and self.mover.stuck):
            return -1
        while True:
            count = self.count + len(self.tail)
            size = self.bytes + self.tail_bytes
            heads = 0
            for item in self.items:
                if count - heads < self.max_items and size < self.max_size or item.data is None:
                    return heads if heads else -1
                size -= len(item.data)
                heads += 1
            if count - heads < self.max_items and size < self.max_size:
                return heads
            if not heads or not self.behind:
                return -1
            self.journal.remove(heads)
            self._discard(heads)
            if not self._full():
                return 0

    def _discard(self, count):
        for _ in range(count):
            self.pop_head()
        self.stats.discarded += count

    def _sample(self):
        stats = self.stats
        stats.tx_map_size.add(len(self.opened))
        stats.tx_expire_list_size.add(0 if self.deadlines is None else len(self.deadlines))
        stats.queue_size.add(self.count)

    # -- taking ----------------------------------------------------------------------------------------------------

    def stale(self, now):
        """True if the head is expired. ``sweep`` it away, in slices, before ``take`` or ``head`` (D37)."""
        if self.closed or not self.items:
            return False
        item = self.items[0]
        return self._expired(item, now) and not self._is_choked()

    def take(self, opening, now):
        """Take the head out, for good or as an open read under a new xid. -> Item, or None if there is none.

        The caller has swept: the head is not expired.
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
            xid = next_xid(self.xid, self.opened)
            if self.deadlines is not None:
                while xid in self.deadlines.overdue:
                    xid = next_xid(xid, self.opened)
                self.deadlines.add(xid)
            self.xid = item.xid = xid
            self.opened[xid] = item
            if journal is not None:
                journal.remove_tentative(xid)
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
        if self.deadlines is not None and self.deadlines.forget(xid):
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
        if self.deadlines is not None and self.deadlines.forget(xid):
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
        """As ``confirm``, with one write for all. A hundred thousand take 40 ms so; with a write for each it was 400."""
        if self.closed:
            return None
        xids = self._still_open(xids)
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
        if self.closed:
            return 0
        xids = [xid for xid in self._still_open(xids) if xid in self.opened]
        self.stats.canceled_transactions += len(xids)
        self.put_back(self.mover.bury(xids) if self.max_deliveries else xids)
        return len(xids)

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

    def _still_open(self, xids):
        """Without those that went back by themselves."""
        if self.deadlines is None:
            return xids
        return [xid for xid in xids if not self.deadlines.forget(xid)]

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

    # -- read-behind (spec journal 9) ------------------------------------------------------------------------------

    def _begin_read_behind(self):
        """What is put from now on is left on disk."""
        journal = self.journal
        self.reader = ReadBehind(journal.files.files, journal.file, journal.file.size, self.max_memory_size,
                                 self.clock.now_ms(), journal.disk.log)
        journal.files.hold(journal.file)

    def _end_read_behind(self):
        self.reader = None
        self.checkpoint = None
        self.voids_behind.clear()
        self.journal.files.hold(None)

    def _move_up(self):
        """Something has left at the head: read back what there is room for, take void items off the head."""
        if self.reader is not None:
            self._refill()
        while self.voids and self.items and self.items[0].data is None:
            if self.voids_left_out is not None:
                self.compactor.give_up_rewrite()
            self.journal.remove(1)
            void = self.items.popleft()
            self.voids -= 1
            if self.checkpoint is not None:
                self.checkpoint.take(void, False)
            if self.reader is not None:
                self._refill()

    def _refill(self):
        items = 0
        size = 0
        while (self.mem_bytes < self.max_memory_size and items < REFILL_ITEMS and size < REFILL_BYTES
               or not self.items):
            if self.behind == 0:
                if self.tail_behind == 0:
                    self._end_read_behind()
                return
            try:
                item = self.reader.next()
            except OSError as error:
                self._cannot_read(error)
                return
            if item is None:
                if self.reader.busy:
                    if not self.items:
                        continue
                    self._read_on_soon()
                    return
                if self._reader_left_a_file():
                    continue
                return
            self.behind -= 1
            items += 1
            if self.voids_behind and self.reader.place() in self.voids_behind:
                self.voids_behind.discard(self.reader.place())
                item = self._void(-1)
            else:
                size += len(item.data)
                self.mem_bytes += len(item.data)
            self.items.append(item)

    def _read_on_soon(self):
        if not self.reading_on:
            self.reading_on = True
            self.journal.hub.call_later(ONE_TURN, self._read_on)

    def _read_on(self):
        self.reading_on = False
        if self.reader is not None and not self.closed:
            self._move_up()

    def _reader_left_a_file(self):
        """-> false if that was the written end of the last one, which ends read-behind in any case (D45)."""
        reader = self.reader
        files = self.journal.files
        if reader.left is None:
            self.journal.disk.log.error(
                'journal of queue %s: %d items that should be on disk are not there, %d bytes', self.journal.shown_name(),
                self.behind, self.bytes - self.mem_bytes)
            self.behind = 0
            self.count = len(self.items) - self.voids
            self.bytes = self.mem_bytes
            if self.tail_behind == 0:
                self._end_read_behind()
            return False
        files.hold(reader.file)
        if self.checkpoint is not None and self.checkpoint.file is reader.left:
            self.compactor.pack()
        return True

    def _cannot_read(self, error):
        """What waits on disk stays there; it is tried again until it works, or skipped if the file is gone."""
        reader = self.reader
        if not self.unreadable:
            self.unreadable = True
            self.journal.disk.log.error('journal of queue %s: %s cannot be read back: %s', self.journal.shown_name(),
                                        reader.file.path.decode('utf-8', 'replace'), error.strerror)
        if isinstance(error, FileNotFoundError):
            reader.skip_file()
        self.journal.hub.call_later(READ_AGAIN, self._read_again)

    def _read_again(self):
        if self.closed or not self.unreadable:
            return
        self.unreadable = False
        had_none = not self.items
        if self.reader is not None:
            self._move_up()
        if had_none:
            self.wake(len(self.items))

    # -- puts that wait for an fsync (D9) --------------------------------------------------------------------------

    def _put_behind_an_fsync(self, item, size, commit, file, offset):
        if self.reader is not None:
            item = None
            self.tail_behind += 1
        self.tail.append(Put(item, size, commit, file, offset))
        self.tail_bytes += size
        return True if commit is None else commit

    def settle(self):
        """An fsync has ended: what it was awaited for enters the queue, or is refused, and so on until the next."""
        refused = False
        while self.tail:
            put = self.tail[0]
            commit = put.commit
            if commit is not None and not commit.done:
                break
            self.tail.popleft()
            self.tail_bytes -= put.size
            if put.item is None:
                self.tail_behind -= 1
            if commit is not None and commit.error is not None:
                refused = True
                self._make_void(put)
            else:
                self._enter_from_tail(put)
        if refused and not self.tail:
            self._cut_voids()
        if self.reader is not None or self.voids:
            self._move_up()

    def _enter_from_tail(self, put):
        # Whether it is in memory was decided when it was put: read-behind may have begun, but not ended, since.
        reader = self.reader
        if put.item is not None:
            self.reader = None
        self._enter(put.item, put.size)
        self.reader = reader

    def _void(self, offset):
        void = Item(None, offset)
        void.xid = self.journal.serial
        self.voids += 1
        return void

    def _make_void(self, put):
        """Its record stands in the journal, but it never enters."""
        if put.item is None:
            self.behind += 1
            self.voids_behind.add((put.file, put.offset))
        elif put.file is self.journal.file:
            self.items.append(self._void(put.offset))
        else:
            self.items.append(self._void(-1))

    def _cut_voids(self):
        """Take the records of refused puts off the end of the file, as far as nothing answered stands behind them."""
        journal = self.journal
        answered = journal.answered
        cut_at = -1
        for file, offset in sorted(self.voids_behind, key=_offset_of, reverse=True):
            if file is journal.file and offset >= answered:
                cut_at = offset
                self.voids_behind.discard((file, offset))
                self.behind -= 1
        if self.behind == 0:
            serial = journal.serial
            while (self.voids and self.items and self.items[-1].data is None and self.items[-1].xid == serial
                   and self.items[-1].add_time >= answered):
                cut_at = self.items.pop().add_time
                self.voids -= 1
        if cut_at >= 0:
            if self.compactor is not None:
                # it may have copied what is cut off
                self.compactor.give_up_rewrite()
            journal.cut(cut_at)
            if self.reader is not None:
                self.reader.cut(journal.file, cut_at)

    # -- rewriting -------------------------------------------------------------------------------------------------

    def rewrite_for_commit(self, awaited):
        """See Compactor."""
        return self.compactor.rewrite_for_commit(awaited)

    def leave_out_voids(self):
        """A rewrite begins that does not write the void items of now."""
        if self.voids:
            self.voids_left_out = {item for item in self.items if item.data is None}

    def keep_voids(self):
        """It was in vain."""
        self.voids_left_out = None

    def file_replaced(self, old, begin, new, difference):
        """The rewritten file is the current one; what stood in the old one from ``begin`` on is ``difference`` bytes
        further back in it."""
        if self.voids_left_out is not None:
            left_out, self.voids_left_out = self.voids_left_out, None
            self.items = deque([item for item in self.items if item not in left_out])
            self.voids -= len(left_out)
        for put in self.tail:
            put.file = new if put.file is old and put.offset >= begin else None
            put.offset += difference
        self.voids_behind = {(new, offset + difference) for file, offset in self.voids_behind}
        if self.reader is not None:
            self.reader.shift(old, new, difference)

    def file_restored(self, old, new):
        """A file that somebody had removed has been written again, byte by byte, as ``new``."""
        for put in self.tail:
            if put.file is old:
                put.file = new
        self.voids_behind = {(new if file is old else file, offset) for file, offset in self.voids_behind}
        if self.checkpoint is not None and self.checkpoint.file is old:
            self.checkpoint.file = new
        if self.reader is not None:
            self.reader.shift(old, new, 0)

    # -- the end ---------------------------------------------------------------------------------------------------

    def close(self):
        """The server stops: nothing goes in or out any more; the journal is synced and closed.

        Unlike all other methods this one may run in a thread, once nobody waits any more and no job runs.
        """
        self.closed = True
        self.waiters.dismiss_all()
        self.compactor = None
        if self.journal is not None:
            self.journal.close()
            self.journal.queue = None

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


def _offset_of(place):
    return place[1]
