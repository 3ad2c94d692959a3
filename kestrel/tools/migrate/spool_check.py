"""What is in a spool, what taking it over would recover, and what Kestrel 2.4 would have made of it. Only reads."""

import os
import struct

from kestrel.disk import Disk
from kestrel.journal import names
from kestrel.journal.record import ADD, BLOCK, END, IMPOSSIBLE, LAST, REMOVE_RECORD, TORN, RecordReader
from kestrel.journal.replay import Replay
from kestrel.tools import fsck
from kestrel.tools.console import Progress, human, printable
from kestrel.tools.walk import SILENT

# Of a long queue so much is kept in memory while it is read, bytes.
MEMORY = 32 << 20


class CannotMigrate(Exception):
    """str() is a line that says why, and what to do."""


class File:
    """A journal file as it was read: ``name``, bytes, now; ``name_then``: once packed files are in place; ``size``,
    bytes; ``answer`` (END, TORN, IMPOSSIBLE) with which it ended; ``good``: bytes up to there."""

    def __init__(self, name, name_then, size, answer, good):
        self.name = name
        self.name_then = name_then
        self.size = size
        self.answer = answer
        self.good = good


class Queue:
    """What the files of a queue come to.

    name      bytes; ``shown``: str                files    [File] in the order of their reading
    replaced  names of files that a packed one replaces, bytes
    items, bytes   int, open reads included        xids     of open reads, in the order in which they go back
    has_current    is there a current file         flagged, without_xid, collisions   see Replay
    """

    def __init__(self, name, files, replaced, has_current, replay):
        self.name = name
        self.shown = printable(names.current(name))
        self.files = files
        self.replaced = replaced
        self.has_current = has_current
        self.flagged = replay.flagged
        self.without_xid = replay.without_xid
        self.collisions = replay.collisions
        self.xids = replay.back_out()
        self.items = replay.count
        self.bytes = replay.bytes

    def is_changed(self):
        """Would taking it over change something?"""
        return bool(self.replaced or self.xids or not self.has_current
                    or any([file.answer != END or file.name != file.name_then for file in self.files]))

    def is_foreign(self):
        """Would Kestrel 2.4 read something else?"""
        return bool(self.flagged or self.without_xid or self.collisions)


class State:
    """A spool: ``path``, bytes; ``spool``, names.Spool; ``queues``, [Queue]; ``findings``, what taking over changes, and
    ``differences`` from Kestrel 2.4, lines; ``size``: bytes that were read."""

    def __init__(self, path, spool):
        self.path = path
        self.spool = spool
        self.queues = []
        self.findings = []
        self.differences = []
        self.size = 0


def refuse_if_in_use(path, proc='/proc'):
    """Raise CannotMigrate if a server works in the folder ``path``, bytes, OSError if there is none.

    A kestrel holds a lock; Kestrel 2.4 and starling do not, so whoever has a file open for writing counts, too, as far
    as this user may see it.
    """
    pid = fsck.owner(path)
    if pid is None:
        pid = _writer(os.path.realpath(path), os.fsencode(proc))
    if pid is not None:
        raise CannotMigrate('%s: in use by a running server (pid %d): stop it first' % (printable(path), pid))


def _writer(path, proc):
    for entry in os.listdir(proc):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        folder = os.path.join(proc, entry, b'fd')
        try:
            for descriptor in os.listdir(folder):
                if os.path.dirname(os.readlink(os.path.join(folder, descriptor))) == path and \
                        _is_for_writing(os.path.join(proc, entry, b'fdinfo', descriptor)):
                    return int(entry)
        except OSError:
            continue        # of another user, or it has just ended
    return None


def _is_for_writing(fdinfo):
    with open(fdinfo, encoding='ascii', errors='replace') as file:
        for line in file:
            if line.startswith('flags:'):
                return bool(int(line.split()[1], 8) & (os.O_WRONLY | os.O_RDWR))
    return False


def check(path, clock, console):
    """Read the spool in the folder ``path``, bytes; -> State. Raises OSError, CannotMigrate."""
    return _Check(path, clock, console).run()


class _Check:

    def __init__(self, path, clock, console):
        self.disk = Disk(SILENT)
        self.now = clock.now_ms()
        self.console = console
        self.progress = Progress(console, 'Checking: %-6s')
        self.state = State(path, names.Spool(path, self.disk.list(path)))

    def run(self):
        for file_name in self.state.spool.temporary:
            self._finding('%s: temporary file, is deleted' % printable(file_name))
        for file_name in self.state.spool.strays:
            self._stray(file_name)
        for _, files in sorted(self.state.spool.queues.items()):
            self.state.queues.append(self._queue(files))
        if self.progress.was_shown():
            self.console.progress(' ' * 20 + '\r')
        return self.state

    def _finding(self, text):
        self.state.findings.append(text)

    def _difference(self, text):
        self.state.differences.append(text)

    def _stray(self, file_name):
        queue = file_name.partition(b'.')[0]
        if b'~~' in file_name or not os.path.isfile(self.state.path + b'/' + file_name):
            return
        if queue and names.queue_of(queue) is None:
            self._difference('%s: no queue can have this name here, so it is left alone; Kestrel 2.4 makes a queue of it'
                             % printable(file_name))
        else:
            self._difference('%s: not a journal file, left alone; Kestrel 2.4 does not start with it (D11)'
                             % printable(file_name))

    def _queue(self, files):
        on_disk, replaced = self._packs(files)
        in_order = [file_name for _, file_name in files.archived] + [files.current] * files.has_current
        replay = Replay(MEMORY, SILENT)
        series, found = [], []
        try:
            for name_then in in_order:
                found.append(self._file(files, on_disk.get(name_then, name_then), name_then, replay, series))
        finally:
            for file in series:
                file.close()
        queue = Queue(files.name, found, replaced, files.has_current, replay)
        self._tell(queue)
        return queue

    def _packs(self, files):
        """Plan for the packed files; -> ({name a file would have: its name now}, [names of those they replace])."""
        on_disk, all_replaced = {}, []
        while files.packs:
            replaced, old_name, new_name = files.put_pack_in_place()
            all_replaced += [on_disk.pop(name, name) for name in replaced]
            on_disk[new_name] = old_name
            self._finding('%s: packed file, takes the place of %d others' % (printable(old_name), len(replaced)))
        return on_disk, all_replaced

    def _file(self, files, name, name_then, replay, series):
        """Do the records of one file; -> File."""
        path = files.path(name)
        before = self.state.size

        def on_read(count):
            self.state.size += count
            self.progress.show(self.state.size)
        # both, as at a start: what is left on disk is read again by the second
        series.append(self.disk.open_archived(path, 0))
        series[-1].hold()
        source = self.disk.open_read(path, on_read=on_read)
        try:
            series[-1].expect(source.size)
            reader = RecordReader(source, self.now)
            answer = replay.run(reader, series, self.now)
            if answer != END:
                self._broken(path, name, source, reader, answer, name_then == files.current)
        finally:
            source.close()
        self.state.size = before + source.size
        series[-1].expect(reader.offset)
        if replay.reader is not None and answer != END:
            replay.reader.cut(series[-1], reader.offset)
        return File(name, name_then, source.size, answer, reader.offset)

    def _broken(self, path, name, source, reader, answer, is_current):
        if _is_big_endian(source, reader.offset):
            raise CannotMigrate('%s: written by a starling on a machine of the other byte order, which cannot be read'
                                % printable(path))
        kind = 'incomplete last record' if answer == TORN else 'broken record'
        if answer == IMPOSSIBLE and reader.op() > LAST:
            kind += ' (op %d: from a newer kestrel?)' % reader.op()
        self._finding('%s: %s at offset %d, %d bytes are cut off and kept in %s' % (
            printable(name), kind, reader.offset, source.size - reader.offset, names.CORRUPT_FOLDER.decode()))
        if not is_current:
            self._difference('%s: Kestrel 2.4 would not cut this file but the current one, at %d; removals in later files '
                             'may hit the wrong items in both (D12)' % (printable(name), reader.offset))
        elif answer == IMPOSSIBLE and reader.op() <= LAST:
            self._difference('%s: Kestrel 2.4 would not start, if the size in this record is negative (D12)'
                             % printable(name))

    def _tell(self, queue):
        if not queue.has_current:
            self._finding('%s: there is no current file, it is created' % queue.shown)
        if queue.xids:
            self._finding('%s: %d open reads are put back' % (queue.shown, len(queue.xids)))
        if queue.flagged:
            self._difference('%s: %d records with flags or delivery counts; Kestrel 2.4 would cut the file at the first '
                             'one (D4)' % (queue.shown, queue.flagged))
        if queue.without_xid:
            self._difference('%s: %d reads were opened without a number, by an old Kestrel; Kestrel 2.4 keeps them all '
                             'under number 0 and may lose items (D39)' % (queue.shown, queue.without_xid))
        if queue.collisions:
            self._difference('%s: %d times a read was opened under a number in use; Kestrel 2.4 forgets the earlier item '
                             '(D65)' % (queue.shown, queue.collisions))


def _is_big_endian(source, offset):
    """Does the first ADD of a starling's file begin here, with its size in the other byte order?"""
    head = source.read_at(9, offset)
    if len(head) < 9 or head[0] != ADD or offset > BLOCK or source.read_at(offset, 0).strip(REMOVE_RECORD):
        return False
    size, = struct.unpack('>i', head[1:5])
    return 4 <= size <= source.size - offset - 5


def lines(state):
    """All there is to say of a spool, [str]."""
    said = ['queue %s: %d items, %d bytes in %d files' % (
        queue.shown, queue.items, queue.bytes, len(queue.files) + len(queue.replaced)) for queue in state.queues]
    said.append('%d queues, %d items, %s read' % (
        len(state.queues), sum([queue.items for queue in state.queues]), human(state.size)))
    said += ['recovered: ' + text for text in state.findings]
    said += ['differs: ' + text for text in state.differences]
    return said
