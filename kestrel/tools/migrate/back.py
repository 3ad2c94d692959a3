"""A spool given back to Kestrel 2.4: what that would not read, or read otherwise, is written anew."""

import os

from kestrel.journal import names, recovery
from kestrel.journal.record import REMOVE_TENTATIVE_XID, addition, xid_record
from kestrel.tools.console import printable
from kestrel.tools.migrate.spool_check import CannotMigrate
from kestrel.tools.walk import Walk, open_journal

WRITE_BLOCK = 1 << 20


class Losses:
    """What Kestrel 2.4 cannot keep of a queue: items with flags, and with a count of deliveries."""

    def __init__(self):
        self.flags = 0
        self.deliveries = 0
        self.counts = True      # are deliveries counted in this queue (D18)?

    def note(self, item):
        self.flags += item.flags != 0
        self.deliveries += self.counts and item.deliveries != 0

    def __str__(self):
        counts = [(self.flags, 'the flags of %d items'), (self.deliveries, 'the delivery counts of %d items')]
        return 'lost: ' + ' and '.join([text % count for count, text in counts if count] or ['nothing'])


def lines(state, losses):
    """What giving the spool back means, [str]. ``losses``: {queue name: Losses}."""
    said = []
    for queue in state.queues:
        lost = losses.get(queue.name)
        if lost is not None:
            said.append('%s: is written anew; %s' % (queue.shown, lost))
        if not queue.name.isascii():
            said.append('%s: Kestrel 2.4 finds it only with a UTF-8 locale (-Dfile.encoding=UTF-8)' % queue.shown)
    said += ['%s: Kestrel 2.4 does not start with it, is moved aside' % printable(name) for name in in_the_way(state)]
    return said


def in_the_way(state):
    """Names in the spool that keep Kestrel 2.4 from starting, bytes."""
    found = [name for name in state.spool.strays if b'~~' not in name and name != b'lost+found']
    if os.path.lexists(state.path + b'/' + names.CORRUPT_FOLDER):
        found.append(names.CORRUPT_FOLDER)
    return found


def losses(state, clock):
    """-> {name of each queue that must be written anew: Losses}. Reads these queues. Raises OSError."""
    found = {}
    for queue in state.queues:
        if queue.is_foreign():
            found[queue.name] = Losses()
            for _ in _Rewritten(state.path, queue, clock.now_ms()).records(found[queue.name]):
                pass
    return found


def give_back(state, disk, clock):
    """Make the spool one of Kestrel 2.4's. It has been taken over in place, and the caller holds its lock. Raises
    CannotMigrate, OSError. -> the folder to which was moved what is in the way, bytes, or None.

    The new file of a queue is whole before a name is changed; a start of either server recovers it from there (D43).
    """
    written = []
    try:
        for queue in state.queues:
            if queue.is_foreign():
                path = state.path + b'/' + names.current(queue.name) + b'~~%d' % _later(queue, clock)
                written.append((queue, path))
                _write(path, _Rewritten(state.path, queue, clock.now_ms()), disk)
        aside = _move_aside(state, disk, clock)
    except OSError as error:
        for _, path in written:
            if os.path.lexists(path):
                disk.unlink(path)
        raise CannotMigrate('%s: %s; nothing was changed' % (printable(error.filename or state.path),
                                                            error.strerror)) from None
    for queue, path in written:
        _put_in_place(state.path, queue, path, disk)
    return aside


def _later(queue, clock):
    """A timestamp later than all of the queue's files (D44)."""
    current = names.current(queue.name)
    stamps = [int(file.name_then[len(current) + 1:]) for file in queue.files if file.name_then != current]
    return max([clock.now_ms(), *[stamp + 1 for stamp in stamps]])


class _Rewritten:
    """A queue, out of its files as they are after the take-over, in records that Kestrel 2.4 knows."""

    def __init__(self, path, queue, now_ms):
        found = [file.name if os.path.lexists(path + b'/' + file.name) else file.name_then for file in queue.files]
        current = names.current(queue.name)
        if not queue.has_current and os.path.lexists(path + b'/' + current):
            found.append(current)       # the take-over has made it
        self.paths = [path + b'/' + name for name in found]
        self.now = now_ms

    def records(self, losses=None):
        """Yield them, bytes: open reads first, then what waits."""
        walk = Walk(self.now)
        files = []
        try:
            for path in self.paths:
                files.append(open_journal(path))
                walk.run(files[-1], lambda op: None)
            if losses is not None and not walk.counts_deliveries:
                losses.counts = False
            for xid, item in walk.open_reads():
                yield self._addition(item, losses) + xid_record(REMOVE_TENTATIVE_XID, xid)
            for item in walk.take_all():
                yield self._addition(item, losses)
        finally:
            for file in files:
                file.close()

    @staticmethod
    def _addition(item, losses):
        if losses is not None:
            losses.note(item)
        item.flags = 0
        return addition(item, False)


def _write(path, rewritten, disk):
    file = disk.create(path)
    try:
        pieces, length = [], 0
        for piece in rewritten.records():
            pieces.append(piece)
            length += len(piece)
            if length >= WRITE_BLOCK:
                file.append(b''.join(pieces))
                pieces, length = [], 0
        file.append(b''.join(pieces))
        file.fsync()
    finally:
        file.close()


def _put_in_place(folder, queue, temporary, disk):
    """The steps 2 to 5 of D43."""
    current = folder + b'/' + names.current(queue.name)
    archived = current + b'.' + temporary.rpartition(b'~~')[2]
    disk.rename(current, archived)
    disk.fsync_dir(folder)
    disk.rename(temporary, archived + b'.pack')
    disk.fsync_dir(folder)
    recovery.put_packs_in_place(disk, names.Spool(folder, disk.list(folder)).queues[queue.name])
    disk.rename(archived, current)
    disk.fsync_dir(folder)


def _move_aside(state, disk, clock):
    """Move what is in the way into a folder beside the spool; -> its path, bytes, or None."""
    found = in_the_way(state)
    if not found:
        return None
    aside = b'%b.aside-%d' % (os.path.realpath(state.path), clock.now_ms())
    disk.make_dir(aside)
    for name in found:
        disk.rename(state.path + b'/' + name, aside + b'/' + name)
    disk.fsync_dir(aside)
    disk.fsync_dir(state.path)
    return aside
