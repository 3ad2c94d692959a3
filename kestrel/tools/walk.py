"""Journal files record by record, and the state of their queue: the server's own Replay, looked at while it runs.

Like the server it keeps MEMORY bytes of a long queue and reads the rest again when its turn comes (spec journal 9), so
that files of any size need little memory: what grows is only with what is open or was put back, and with one item.
"""

import errno
import logging
import os
import stat

from kestrel.disk import Disk
from kestrel.journal.record import ADD, ADD_FLAGS, ADD_XID, ADDX, CONTINUE, END, MANY, REMOVE_TENTATIVE, RecordReader
from kestrel.journal.replay import Replay
from kestrel.journal.xids import next_xid

MEMORY = 1 << 20
ADDITIONS = frozenset((ADD, ADDX, ADD_XID, CONTINUE, ADD_FLAGS))
# Says nothing of its own: what is to be said of a file is the command's to say.
SILENT = logging.Logger('kestrel.tools', logging.CRITICAL + 1)


def open_journal(path):
    """-> AppendFile that is only read; its size stays what it is now. ``path``: str or bytes. Raises OSError.

    What is no regular file is refused: a folder has no records, a FIFO might never end.
    """
    path = os.fsencode(path)
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, 'not a regular file')
    file = Disk(SILENT).open_archived(path, status.st_size)
    file.hold()
    return file


class Walk:
    """The state after the records done so far, over any number of files.

    replay     Replay
    reader     RecordReader of the present file, standing on a record that is about to be done
    operations int, records read; ``size``: bytes in the files already left, up to a broken record in each
    answer     how the last file ended: END, TORN or IMPOSSIBLE
    counts_deliveries  was there an op 10 for nothing but the deliveries of its item, as is written where
               ``max_deliveries`` is set (D18)
    """

    def __init__(self, now_ms):
        self.replay = Replay(MEMORY, SILENT)
        self.reader = None
        self.operations = 0
        self.size = 0
        self.answer = END
        self.counts_deliveries = False
        self._now = now_ms
        self._files = []

    def run(self, file, on_record):
        """Do the records of the next file of ``open_journal``. Raises OSError.

        ``on_record(op)`` is called before each is done. The file must stay open as long as this Walk is used.
        """
        def note(op):
            self.operations += 1
            if op == ADD_FLAGS and self.reader.item.flags == 0 and self.reader.item.deliveries:
                self.counts_deliveries = True
            on_record(op)
        self._files.append(file)
        self.reader = _WatchedReader(file, self._now, note)
        self.answer = self.replay.run(self.reader, self._files, self._now)
        self.size += self.reader.offset
        file.expect(self.reader.offset)     # nobody goes on into a broken record

    def xid(self, op):
        """The xid of the record that is about to be done: of a REMOVE_TENTATIVE the one it will get (D39)."""
        if op != REMOVE_TENTATIVE:
            return self.reader.xid
        replay = self.replay
        own = replay.items[0].xid if replay.items else 0
        return own or next_xid(replay.counter, replay.opened.keys() | replay.displaced.keys())

    def items(self):
        """How many there are, waiting or open."""
        return self.replay.count + len(self.replay.opened) + len(self.replay.displaced)

    def bytes(self):
        """Of their data."""
        return self.replay.bytes + sum([len(item.data) for _, item in self.open_reads()])

    def open_reads(self):
        """[(xid, Item)], the highest xid first."""
        both = [*self.replay.opened.items(), *self.replay.displaced.items()]
        return sorted(both, key=lambda entry: entry[0], reverse=True)

    def read_again(self):
        """Bytes of all files together before the place from which items are read a second time."""
        if self.replay.reader is None:
            return self.size
        place, offset = self.replay.reader.place()
        total = 0
        for file in self._files:
            if file is place:
                break
            total += file.size
        return total + offset

    def take_all(self):
        """Yield the waiting items, head first; once. Raises OSError."""
        replay = self.replay
        while replay.items:
            yield replay.items.popleft()
        left = replay.behind
        while left:
            item = replay.reader.next()
            if item is not None:
                left -= 1
                yield item
            elif replay.reader.left is None and not replay.reader.busy:
                raise OSError(errno.EIO, 'the file changed while it was read')


class _WatchedReader(RecordReader):
    """Tells of each record before it hands it out."""

    __slots__ = ('_note',)

    def __init__(self, file, now_ms, note):
        super().__init__(file, now_ms)
        self._note = note

    def next(self):
        op = super().next()
        if op >= 0:
            self._note(op)
        return op

    def skim(self, most=MANY):
        """One by one: each record is to be told of."""
        return self.next()
