"""What a start may begin with instead of the journal's first record: the state of a queue at the end of one of its files.

It stands in ``<spool>/.state~~/<q>``, a name that neither server takes for a queue's. The journal stays the only truth: a
state counts only while the files it speaks of are the very same that they were, and without it everything is replayed.

The file is one line, ``kestrel-state 1 <SHA-256 of the rest>``, then a line of JSON, then an op 10 record for each item:
the open reads in the order of the JSON, then those at the head.
"""

import hashlib
import json
import zlib

from kestrel.journal import names
from kestrel.journal.record import ADD_FLAGS, RecordReader, flags_header
from kestrel.shown import shown_path, shown_queue

FIRST_WORDS = b'kestrel-state 1 '
# So much of each end of a journal file is compared, bytes.
END_OF_FILE = 4096
# A state is not larger, bytes: put back and open items are in it with their data.
LARGEST = 16 << 20


class State:
    """Of one queue, at the end of the last of ``marks``.

    name      bytes, the queue
    marks     [mark(...)] of the files in which what waits stands, oldest first
    offset    where in the first of them: all additions from there on wait
    behind, behind_bytes  int: how many they are, and their data bytes
    counter   int, the last xid used
    opened    {xid: Item}, open reads
    heads     [Item] that wait before all others: they were put back
    """

    def __init__(self, name, marks, offset, behind, behind_bytes, counter, opened, heads):
        self.name = name
        self.marks = marks
        self.offset = offset
        self.behind = behind
        self.behind_bytes = behind_bytes
        self.counter = counter
        self.opened = opened
        self.heads = heads

    @property
    def count(self):
        return self.behind + len(self.heads)

    @property
    def bytes(self):
        return self.behind_bytes + sum([len(item.data) for item in self.heads])

    def encode(self):
        head = json.dumps({'queue': self.name.decode('latin-1'), 'files': self.marks, 'offset': self.offset,
                           'behind': self.behind, 'bytes': self.behind_bytes, 'counter': self.counter,
                           'open': list(self.opened)})
        pieces = [head.encode('ascii'), b'\n']
        for item in [*self.opened.values(), *self.heads]:
            pieces += [flags_header(item), item.data]
        rest = b''.join(pieces)
        return FIRST_WORDS + hashlib.sha256(rest).hexdigest().encode('ascii') + b'\n' + rest


def decode(data):
    """-> State, or None: of another version, torn, or anything else but whole."""
    first, _, rest = data.partition(b'\n')
    if first != FIRST_WORDS + hashlib.sha256(rest).hexdigest().encode('ascii'):
        return None
    head, _, records = rest.partition(b'\n')
    values = json.loads(head)
    reader = RecordReader(_Bytes(records), 0)
    items = []
    while reader.next() == ADD_FLAGS:
        items.append(reader.item)
    xids = values['open']
    return State(values['queue'].encode('latin-1'), values['files'], values['offset'], values['behind'], values['bytes'],
                 values['counter'], dict(zip(xids, items)), items[len(xids):])


class _Bytes:
    """Bytes, as RecordReader reads them."""

    def __init__(self, data):
        self.size = len(data)
        self._data = data

    def read_at(self, count, offset):
        return self._data[offset:offset + count]


def path_of(spool, name):
    """The file of the state of a queue. All bytes."""
    return b'%b/%b/%b' % (spool, names.STATE_FOLDER, names.current(name))


def mark(disk, path):
    """What tells whether a journal file is the one that it was, as JSON keeps it. Raises OSError.

    Nobody can change a file without the system noting when (ctime); a copy is another inode.
    """
    file = disk.open_read(path)
    try:
        ends = zlib.crc32(file.read_at(END_OF_FILE, max(0, file.size - END_OF_FILE)),
                          zlib.crc32(file.read_at(END_OF_FILE, 0)))
        return [path.rpartition(b'/')[2].decode('latin-1'), file.size, *_stamp(file), ends]
    finally:
        file.close()


def _stamp(file):
    status = file.status
    return [status.st_ino, status.st_mtime_ns, status.st_ctime_ns]


def find(disk, log, files):
    """-> the State that a start on ``files``, names.QueueFiles, may begin with, and how many of ``files.all()`` stand
    before its first one; or (None, 0): then all is replayed."""
    path = path_of(files.spool, files.name)
    try:
        file = disk.open_read(path)
        try:
            found = decode(file.read_at(file.size, 0)) if file.size <= LARGEST else None
        finally:
            file.close()
        if found is None or found.name != files.name:
            log.info('queue %s: %s is not whole: the journal is replayed', shown_queue(files.name), shown_path(path))
            return None, 0
        return found, _fits(disk, files, found)
    except FileNotFoundError:
        return None, 0
    except _Changed as error:
        log.info('queue %s: %s has changed since %s was written: the journal is replayed', shown_queue(files.name),
                 shown_path(error.args[0]), shown_path(path))
    except OSError as error:
        log.info('queue %s: %s cannot be used: %s: the journal is replayed', shown_queue(files.name), shown_path(path),
                 error.strerror)
    return None, 0


class _Changed(Exception):
    """A journal file, its path."""


def _fits(disk, files, state):
    """-> how many files stand before those of the state. Raises _Changed, OSError."""
    there = files.all()
    marked = [entry[0].encode('latin-1') for entry in state.marks]
    first = there.index(marked[0]) if marked[0] in there else 0
    if there[first:first + len(marked)] != marked:
        raise _Changed(files.path(marked[0]))
    for file_name, entry in zip(marked, state.marks):
        if mark(disk, files.path(file_name)) != entry:
            raise _Changed(files.path(file_name))
    return first


def forget(disk, path):
    """Delete the file of a state, if it is there. Raises OSError."""
    try:
        disk.unlink(path)
    except FileNotFoundError:
        pass        # somebody was faster
