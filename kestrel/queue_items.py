"""The items of one queue, wherever they are: in memory, left on disk, or waiting for an fsync.

In the order of the journal:

    items       in memory, from the head on
    behind      left on disk (read-behind), read back when there is room in memory; ``reader`` stands at the first
    tail        puts that wait for an fsync, and those behind them: not in the queue yet (D9)
"""

from collections import deque

from kestrel.hub import ONE_TURN
from kestrel.item import Item
from kestrel.journal.read_behind import ReadBehind
from kestrel.shown import shown_path

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


class QueueItems:
    """What a PersistentQueue is made of; the queue itself says ``_enter`` and ``wake``.

    count, bytes      waiting items, those left on disk included, and their data bytes
    mem_bytes         data bytes of ``items``
    voids             how many of ``items`` are void: their puts were refused after their records were written, and a
                      REMOVE takes them off when their turn comes (D9). Such an Item has no data (None); its ``add_time``
                      is the offset of its record in the current file number ``xid`` (Journal.serial), or -1. None of
                      them ever stands at the head.
    """

    def __init__(self, journal, recovered, clock):
        self.journal = journal
        self.clock = clock
        self.closed = False
        self.items = deque()
        self.count = 0
        self.bytes = 0
        self.mem_bytes = 0
        self.reader = None
        self.behind = 0
        self.unreadable = False     # is a timer under way that tries again
        self.trouble = None         # what the log says of that: (path, errno)
        self.reading_on = False
        self.filling = False        # reading back although nothing leaves
        self.tail = deque()
        self.tail_bytes = 0
        self.tail_behind = 0        # how many of the tail are left on disk
        self.voids = 0
        self.voids_left_out = None  # those that the rewrite under way does not write
        self.voids_behind = set()   # (file, offset) of void records that are left on disk
        self.checkpoint = None
        self.compactor = None
        if recovered is not None:
            self.items = recovered.items
            self.count = recovered.count
            self.bytes = recovered.bytes
            self.mem_bytes = recovered.mem_bytes
            self.reader = recovered.reader
            self.behind = recovered.behind

    def _enter(self, item, size):
        """An item of the tail is in the queue now; None if it is left on disk."""
        raise NotImplementedError

    def wake(self, count):
        """There are so many items more for those who wait."""
        raise NotImplementedError

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
        began = self.clock.monotonic()
        before = self.behind
        self._read_back()
        if self.behind != before:
            self.stats.fill_readbehind_usec.add(int((self.clock.monotonic() - began) * 1000000))

    def _read_back(self):
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
        if self.filling:
            self.fill()

    def fill(self):
        """Read back what there is room for, a slice in each turn of the hub: a start may have left it on disk."""
        self.filling = (self.reader is not None and self.mem_bytes < self.max_memory_size and not self.unreadable
                        and not self.closed)
        if self.filling:
            self._read_on_soon()

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
        trouble = reader.file.path, error.errno
        if trouble != self.trouble:
            self.trouble = trouble
            self.journal.disk.log.error('journal of queue %s: %s cannot be read back: %s', self.journal.shown_name(),
                                        shown_path(reader.file.path), error.strerror)
        if isinstance(error, FileNotFoundError):
            reader.skip_file()
            if reader.left is not None:
                self._reader_left_a_file()
        if not self.unreadable:
            self.unreadable = True
            self.journal.hub.call_later(READ_AGAIN, self._read_again)

    def _read_again(self):
        if self.closed or not self.unreadable:
            return
        self.unreadable = False
        had_none = not self.items
        if self.reader is not None:
            self._move_up()
        if not self.unreadable:
            self.trouble = None
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


def _offset_of(place):
    return place[1]
