"""A spool made ready for the server, in place or as a copy: what a start would recover is done, as ``State`` says."""

import errno
import os

from kestrel.errors import StartError
from kestrel.journal import recovery
from kestrel.journal.record import END, TORN, UNREMOVE, xid_record
from kestrel.tools.console import human, printable
from kestrel.tools.migrate.spool_check import CannotMigrate, refuse_if_in_use


def in_place(state, disk, clock, log):
    """Recover the spool that was checked. The caller holds its lock. Raises CannotMigrate, OSError.

    Each step leaves a spool that any start, or another run, finishes: nothing is read a second time.
    """
    try:
        for queue in state.queues:
            _refuse_unwritable(state, queue)
        queues = recovery.scan(disk, state.path, log)
        for queue in state.queues:
            _recover(queue, queues[queue.name], disk, clock, log)
        disk.fsync_dir(state.path)
    except StartError as error:
        raise CannotMigrate(str(error)) from None


def _refuse_unwritable(state, queue):
    """Before anything is changed."""
    for file in queue.files:
        path = state.path + b'/' + file.name
        if not os.access(path, os.W_OK):
            raise CannotMigrate('%s: this user cannot write to it: run kestrel-migrate as the user that the server '
                                'runs as' % printable(path))


def _recover(queue, files, disk, clock, log):
    recovery.put_packs_in_place(disk, files)
    for file in queue.files:
        if file.answer == END:
            continue
        lost = file.size - file.good
        dispensable = file.answer == TORN and file.name_then == files.current and lost <= recovery.DISPENSABLE
        recovery.save_tail(disk, clock, files, file.name_then, file.good, dispensable)
        disk.truncate(files.path(file.name_then), file.good)
    if queue.xids or not queue.has_current:
        current = disk.open_append(files.path(files.current))
        try:
            if queue.xids:
                current.append(b''.join([xid_record(UNREMOVE, xid) for xid in queue.xids]))
            current.fsync()
        finally:
            current.close()


def copy(state, target, disk, console):
    """Copy the journal files of the spool that was checked into the folder ``target``, bytes, which is empty or not there
    and whose lock the caller holds. Raises CannotMigrate; then nothing is left there but the folder.

    Until all of it is there the files have names of temporary ones, which a start would delete.
    """
    sizes = _sizes(state)
    refuse_target(state, target, disk)
    done = []       # [(temporary path, path)]
    try:
        copied = 0
        for number, name in enumerate(sizes):
            console.progress('Copying: %s of %s ' % (human(copied), human(sum(sizes.values()))))
            temporary = target + b'/copy~~%d' % number
            disk.save_tail(state.path + b'/' + name, 0, temporary)
            done.append((temporary, target + b'/' + name))
            copied += sizes[name]
            if os.stat(temporary).st_size != sizes[name]:
                raise CannotMigrate('%s changed while it was copied: stop the server that uses the spool' % printable(name))
        console.progress(' ' * 30 + '\r')
        refuse_if_in_use(state.path)
    except (OSError, CannotMigrate) as error:
        for temporary, _ in done:
            disk.unlink(temporary)
        if isinstance(error, CannotMigrate):
            raise
        why = 'not enough room' if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
        raise CannotMigrate('%s: %s; nothing was copied' % (printable(target), why)) from None
    for temporary, path in done:
        disk.rename(temporary, path)
    disk.fsync_dir(target)


def refuse_target(state, target, disk):
    """Raise CannotMigrate if the spool cannot be copied into the folder ``target``, bytes, OSError if that is no folder."""
    folder = target
    if os.path.lexists(target):
        there = [name for name, _ in disk.list(target) if name != b'lost+found']
        if there:
            raise CannotMigrate('%s: not empty (%s): name a folder that is empty or not there yet' % (
                printable(target), printable(sorted(there)[0])))
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    room = disk.system.statvfs(folder)
    needed, free = sum(_sizes(state).values()), room.f_bavail * room.f_frsize
    if needed > free:
        raise CannotMigrate('%s: not enough room: %s are needed, %s are free' % (
            printable(target), human(needed), human(free)))


def _sizes(state):
    """{name of each journal file: its bytes}"""
    names = [file.name for queue in state.queues for file in queue.files]
    names += [name for queue in state.queues for name in queue.replaced]
    return {name: os.stat(state.path + b'/' + name).st_size for name in names}
