"""From records to the state of a queue (spec journal 3)."""

from collections import deque

from kestrel.journal.record import (
    ADD, ADD_FLAGS, ADD_XID, ADDX, CONFIRM_REMOVE, CONTINUE, REMOVE, REMOVE_TENTATIVE, REMOVE_TENTATIVE_XID,
    SAVE_XID, UNREMOVE)
from kestrel.journal.xids import next_xid


class Replay:
    """The state of a queue while the records of its files are done, one file after the other.

    items      deque of Item, waiting
    bytes      int, data bytes waiting
    opened     {xid: Item}
    displaced  {xid: Item}: opened earlier under an xid that was used once more while it was open. Only
               damaged files do that. Such an item stays open under a free xid (D65); an UNREMOVE of that puts
               it back, as the one written at an earlier start must, but no CONFIRM_REMOVE drops it: that was
               meant for another.
    counter    int, the last xid used

    Nothing is looked at for expiry: removals are positional.
    """

    def __init__(self):
        self.items = deque()
        self.bytes = 0
        self.opened = {}
        self.displaced = {}
        self.counter = 0

    def run(self, reader):
        """Do all records of a RecordReader; -> its last answer: END, TORN or IMPOSSIBLE. Raises OSError."""
        items = self.items
        while True:
            op = reader.next()
            if op == ADDX or op == ADD_FLAGS or op == ADD_XID or op == ADD:
                item = reader.item
                items.append(item)
                self.bytes += len(item.data)
            elif op == REMOVE:
                if items:
                    self.bytes -= len(items.popleft().data)
            elif op == REMOVE_TENTATIVE_XID:
                self.counter = reader.xid
                if items:
                    self._open(reader.xid)
            elif op == CONFIRM_REMOVE:
                self.opened.pop(reader.xid, None)
            elif op == UNREMOVE:
                self._unremove(reader.xid)
            elif op == CONTINUE:
                self.opened.pop(reader.xid, None)
                items.append(reader.item)
                self.bytes += len(reader.item.data)
            elif op == SAVE_XID:
                self.counter = reader.xid
            elif op == REMOVE_TENTATIVE:
                if items:
                    self._open_without_xid()
            else:
                return op

    def back_out(self):
        """Put back everything that is still open, the highest xid first; -> the xids in that order."""
        xids = sorted([*self.opened, *self.displaced], reverse=True)
        for xid in xids:
            self._unremove(xid)
        return xids

    def _open_without_xid(self):
        """REMOVE_TENTATIVE: the item's own xid if it came with one, else the next one (D39)."""
        xid = self.items[0].xid
        if xid == 0:
            xid = self.counter = next_xid(self.counter, self._taken())
        self._open(xid)

    def _open(self, xid):
        item = self.items.popleft()
        self.bytes -= len(item.data)
        earlier = self.opened.pop(xid, None) or self.displaced.pop(xid, None)
        self.opened[xid] = item
        if earlier is not None:
            self.displaced[next_xid(self.counter, self._taken())] = earlier

    def _unremove(self, xid):
        item = self.opened.pop(xid, None) or self.displaced.pop(xid, None)
        if item is not None:
            item.deliveries += 1
            self.items.appendleft(item)
            self.bytes += len(item.data)

    def _taken(self):
        return self.opened.keys() | self.displaced.keys() if self.displaced else self.opened
