"""From records to the state of a queue (spec journal 3 and 9)."""

import errno
from collections import deque

from kestrel.journal.read_behind import ReadBehind
from kestrel.journal.record import (
    ADD, ADD_FLAGS, ADD_XID, ADDX, CONFIRM_REMOVE, CONTINUE, REMOVE, REMOVE_TENTATIVE, REMOVE_TENTATIVE_XID,
    SAVE_XID, UNREMOVE)
from kestrel.journal.xids import next_xid


class Replay:
    """The state of a queue while the records of its files are done, one file after the other.

    items      deque of Item, waiting and in memory
    count      int, items waiting, those left on disk included; ``bytes``: int, their data bytes
    mem_bytes  int, data bytes of ``items``
    reader     ReadBehind where the items left on disk begin, or None; ``behind``: int, how many they are
    opened     {xid: Item}
    displaced  {xid: Item}: opened earlier under an xid that was used once more while it was open. Only
               damaged files do that. Such an item stays open under a free xid (D65); an UNREMOVE of that puts
               it back, as the one written at an earlier start must, but no CONFIRM_REMOVE drops it: that was
               meant for another.
    counter    int, the last xid used
    flagged    int, op 10 records done; ``without_xid``: items opened by a REMOVE_TENTATIVE; ``collisions``: items opened
               under an xid that was open. These are what the original reads otherwise (D4, D39, D65).

    max_memory_size  of the queue, bytes; with that much waiting read-behind begins
    at_first   bytes, or None: it begins with less already, and no more than that is read back
    log        logging.Logger

    Nothing is looked at for expiry: removals are positional.
    """

    def __init__(self, max_memory_size, log, at_first=None):
        self.items = deque()
        self.count = 0
        self.bytes = 0
        self.mem_bytes = 0
        self.reader = None
        self.behind = 0
        self.opened = {}
        self.displaced = {}
        self.counter = 0
        self.flagged = 0
        self.without_xid = 0
        self.collisions = 0
        self._max_memory_size = max_memory_size
        self._memory = max_memory_size if at_first is None else min(at_first, max_memory_size)
        self._log = log

    def run(self, reader, files, now_ms):
        """Do all records of a RecordReader; -> its last answer: END, TORN or IMPOSSIBLE. Raises OSError.

        files   list of AppendFile: those done before and, last, the one that is read, from which items left on
                disk are read back when their turn comes
        now_ms  int, the add time of what ADD records bring
        """
        while True:
            if self.reader is None:
                op = reader.next()
            else:
                op = reader.skim()
                self.behind += reader.skimmed
                self.count += reader.skimmed
                self.bytes += reader.skimmed_bytes
            if op == ADDX or op == ADD_XID or op == ADD:
                self._add(reader, files, now_ms)
            elif op == ADD_FLAGS:
                self.flagged += 1
                self._add(reader, files, now_ms)
            elif op == REMOVE:
                if self.items:
                    self._drop()
            elif op == REMOVE_TENTATIVE_XID:
                self.counter = reader.xid
                if self.items:
                    self._open(reader.xid)
            elif op == CONFIRM_REMOVE:
                self.opened.pop(reader.xid, None)
            elif op == UNREMOVE:
                self._unremove(reader.xid)
            elif op == CONTINUE:
                self.opened.pop(reader.xid, None)
                self._add(reader, files, now_ms)
            elif op == SAVE_XID:
                self.counter = reader.xid
            elif op == REMOVE_TENTATIVE:
                if self.items:
                    self._open_without_xid()
            else:
                return op

    def resume(self, reader, found):
        """Begin with a State instead of the first record. Raises OSError.

        reader  ReadBehind at its place
        """
        self.items.extend(found.heads)
        self.mem_bytes = sum([len(item.data) for item in found.heads])
        self.count = found.count
        self.bytes = found.bytes
        self.behind = found.behind
        self.reader = reader
        self.opened.update(found.opened)
        self.counter = found.counter
        self._refill()

    def back_out(self, max_deliveries=None):
        """Put back everything that is still open, the highest xid first; -> the xids in that order.

        With ``max_deliveries`` those stay open that would have been put back so often (D18).
        """
        xids = sorted([*[xid for xid, item in self.opened.items()
                         if max_deliveries is None or item.deliveries + 1 < max_deliveries],
                       *self.displaced], reverse=True)
        for xid in xids:
            self._unremove(xid)
        return xids

    def _add(self, reader, files, now_ms):
        item = reader.item
        size = len(item.data)
        self.count += 1
        self.bytes += size
        if self.reader is not None:
            self.behind += 1
            return
        self.items.append(item)
        self.mem_bytes += size
        if self.bytes >= self._memory:
            self.reader = ReadBehind(files, files[-1], reader.place(), self._max_memory_size, now_ms, self._log)

    def _drop(self):
        """Take the head out; -> it. While there is room what is left on disk moves up."""
        item = self.items.popleft()
        size = len(item.data)
        self.count -= 1
        self.bytes -= size
        self.mem_bytes -= size
        if self.reader is not None:
            self._refill()
        return item

    def _refill(self):
        while self.mem_bytes < self._memory or not self.items:
            if self.behind == 0:
                self.reader = None
                return
            item = self.reader.next()
            if item is not None:
                self.behind -= 1
                self.items.append(item)
                self.mem_bytes += len(item.data)
            elif self.reader.broken or self.reader.left is None and not self.reader.busy:
                raise OSError(errno.EIO, 'the file changed while it was read')

    def _open_without_xid(self):
        """REMOVE_TENTATIVE: the item's own xid if it came with one, else the next one (D39)."""
        self.without_xid += 1
        xid = self.items[0].xid
        if xid == 0:
            xid = self.counter = next_xid(self.counter, self._taken())
        self._open(xid)

    def _open(self, xid):
        item = self._drop()
        earlier = self.opened.pop(xid, None) or self.displaced.pop(xid, None)
        self.opened[xid] = item
        if earlier is not None:
            self.collisions += 1
            self.displaced[next_xid(self.counter, self._taken())] = earlier

    def _unremove(self, xid):
        item = self.opened.pop(xid, None) or self.displaced.pop(xid, None)
        if item is not None:
            item.deliveries += 1
            self.items.appendleft(item)
            self.count += 1
            self.bytes += len(item.data)
            self.mem_bytes += len(item.data)

    def _taken(self):
        return self.opened.keys() | self.displaced.keys() if self.displaced else self.opened
