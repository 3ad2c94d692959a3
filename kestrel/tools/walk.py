"""The state of a queue record by record, in memory that does not grow with its files.

It is the state of journal.replay.Replay, which keeps all waiting items. Here two readers go through the
files: one does the records, the other follows and stands where the next item to be taken from the head lies.
Kept are only the places of what is open and of what was put back.
"""

import errno
import os

from kestrel.disk import ReadFile
from kestrel.journal.record import (
    ADD, ADD_FLAGS, ADD_XID, ADDX, CONFIRM_REMOVE, CONTINUE, REMOVE, REMOVE_TENTATIVE, REMOVE_TENTATIVE_XID,
    SAVE_XID, UNREMOVE, RecordReader)
from kestrel.journal.xids import next_xid

# The additions, and how many bytes of such a record stand before its data.
HEADERS = {ADD: 9, ADDX: 21, ADD_XID: 25, CONTINUE: 25, ADD_FLAGS: 29}


class JournalFile(ReadFile):
    """A journal file, open for any number of readers; its size stays what it is now. Raises OSError."""

    def __init__(self, path):
        super().__init__(os, path, os.O_RDONLY | os.O_NONBLOCK)

    def reader(self, now_ms, begin=0, end=None):
        """-> RecordReader of the bytes from ``begin`` to ``end``; its offsets count from ``begin``."""
        return RecordReader(_Part(self._descriptor, begin, self.size if end is None else end), now_ms)


class _Part:
    """A part of a file, for one reader."""

    def __init__(self, descriptor, begin, end):
        self.size = end - begin
        self._descriptor = descriptor
        self._position = begin

    def read(self, count):
        block = os.pread(self._descriptor, count, self._position)
        self._position += len(block)
        return block


class Place:
    """Where an item lies: in ``file`` from ``begin`` to ``end``; ``length`` of its data, ``xid`` it came
    with, ``returns``: how often it was put back."""

    __slots__ = ('file', 'begin', 'end', 'length', 'xid', 'returns')

    def __init__(self, file, reader, op):
        self.file = file
        self.begin = reader.offset
        self.length = len(reader.item.data)
        self.end = self.begin + HEADERS[op] + self.length
        self.xid = reader.item.xid
        self.returns = 0

    def item(self, now_ms):
        """Read it again; -> Item. Raises OSError."""
        reader = self.file.reader(now_ms, self.begin, self.end)
        if reader.next() < 0:
            raise OSError(errno.EIO, 'the file changed while it was read')
        return reader.item


class Walk:
    """The state after the records done so far, over any number of files.

    waiting    int, items; ``bytes``: of their data
    opened     {xid: Place}; ``displaced`` likewise, see Replay
    counter    int, the last xid used
    operations int, records done; ``size``: bytes in the files already left, up to a broken record in each
    reader     RecordReader of the present file, standing on the record just done
    xid        int, of the record just done: for a REMOVE_TENTATIVE the one it gets (D39)
    answer     how the last file ended: END, TORN or IMPOSSIBLE
    """

    def __init__(self, now_ms):
        self.waiting = 0
        self.bytes = 0
        self.opened = {}
        self.displaced = {}
        self.counter = 0
        self.operations = 0
        self.size = 0
        self.reader = None
        self.xid = 0
        self.answer = None
        self._now = now_ms
        self._head_base = 0         # bytes in the files that the second reader has left
        self._returned = []         # Places, the head of the queue last
        self._files = []
        self._head_file = 0         # which of them the second reader is in
        self._head_reader = None
        self._head_op = None

    def records(self, file):
        """Do the records of the next JournalFile; yields the op of each after it is done. Raises OSError.

        The file must stay open as long as this Walk is used.
        """
        self._files.append(file)
        reader = self.reader = file.reader(self._now)
        while True:
            op = reader.next()
            if op < 0:
                break
            self.xid = reader.xid
            self._do(op)
            self.operations += 1
            yield op
        self.answer = op
        self.size += reader.offset

    def head_bytes(self):
        """How far the second reader is, bytes in all files together."""
        return self._head_base + (self._head_reader.offset if self._head_reader else 0)

    def open_reads(self):
        """Yields (xid, Place) of what is open, the highest xid first."""
        yield from sorted([*self.opened.items(), *self.displaced.items()], reverse=True,
                          key=lambda entry: entry[0])

    def open_bytes(self):
        return sum(place.length for _, place in self.open_reads())

    def take_all(self):
        """Take the waiting items out, head first; yield (Item, how often it was put back). Raises OSError."""
        while self.waiting:
            if self._returned:
                place = self._returned.pop()
                item, returns = place.item(self._now), place.returns
            else:
                self._find_head()
                item, returns = self._head_reader.item, 0
            self.waiting -= 1
            self.bytes -= len(item.data)
            yield item, returns

    def _do(self, op):
        if op in HEADERS:
            if op == CONTINUE:
                self.opened.pop(self.xid, None)
            self.waiting += 1
            self.bytes += len(self.reader.item.data)
        elif op == REMOVE:
            if self.waiting:
                self._take()
        elif op == REMOVE_TENTATIVE_XID:
            self.counter = self.xid
            if self.waiting:
                self._open(self._take(), self.xid)
        elif op == CONFIRM_REMOVE:
            self.opened.pop(self.xid, None)
        elif op == UNREMOVE:
            self._unremove()
        elif op == SAVE_XID:
            self.counter = self.xid
        elif op == REMOVE_TENTATIVE:
            self._open_without_xid()

    def _open_without_xid(self):
        place = self._take() if self.waiting else None
        if place is not None and place.xid:
            self.xid = place.xid
        else:
            self.xid = next_xid(self.counter, self._used())
        if place is not None:
            if not place.xid:
                self.counter = self.xid
            self._open(place, self.xid)

    def _open(self, place, xid):
        earlier = self.opened.pop(xid, None) or self.displaced.pop(xid, None)
        self.opened[xid] = place
        if earlier is not None:
            self.displaced[next_xid(self.counter, self._used())] = earlier

    def _unremove(self):
        place = self.opened.pop(self.xid, None) or self.displaced.pop(self.xid, None)
        if place is not None:
            place.returns += 1
            self._returned.append(place)
            self.waiting += 1
            self.bytes += place.length

    def _used(self):
        return self.opened.keys() | self.displaced.keys()

    def _take(self):
        """Take the head out; -> its Place."""
        if self._returned:
            place = self._returned.pop()
        else:
            self._find_head()
            place = Place(self._files[self._head_file], self._head_reader, self._head_op)
        self.waiting -= 1
        self.bytes -= place.length
        return place

    def _find_head(self):
        """Have the second reader stand on the next addition. There is one: not all are taken."""
        if self._head_reader is None:
            self._head_reader = self._files[0].reader(self._now)
        while True:
            op = self._head_reader.next()
            if op in HEADERS:
                self._head_op = op
                return
            if op < 0:
                self._head_base += self._head_reader.offset
                self._head_file += 1
                self._head_reader = self._files[self._head_file].reader(self._now)
