"""What a start makes of the spool (spec journal 6 and 7)."""

import errno
import os

from kestrel.disk import as_path
from kestrel.errors import StartError
from kestrel.journal import names, record
from kestrel.journal.record import RecordReader
from kestrel.journal.replay import Replay

# How much of an incomplete last record may be cut off although no copy of it can be written (D12).
DISPENSABLE = 1 << 20


class Recovered:
    """What the files of a queue came to.

    items          deque of Item, head first
    bytes          int, data bytes waiting
    counter        int, the last xid used
    size           int, bytes in the current file
    archived       [file name, bytes], in the order of their replay; ``archived_size``: bytes in them
    pending        bytes: back-out records there was no room for (D64); the Journal writes them before
                   anything else
    """

    def __init__(self, replay, size, archived, archived_size, pending):
        self.items = replay.items
        self.bytes = replay.bytes
        self.counter = replay.counter
        self.size = size
        self.archived = archived
        self.archived_size = archived_size
        self.pending = pending


def scan(disk, spool, log):
    """Look through the spool (its path, str or bytes); -> {queue name, bytes: names.QueueFiles}.

    Temporary files are deleted; every file and folder that is no journal file is left alone with one warning
    (D11). The names of all files are made durable: the last server may have ended before it could. Raises
    StartError.
    """
    spool = as_path(spool)
    try:
        found = names.Spool(spool, disk.list(spool))
        for file_name in found.strays:
            log.warning('%s is not a journal file, it is left alone', _shown(spool, file_name))
        for file_name in found.temporary:
            disk.unlink(spool + b'/' + file_name)
        disk.fsync_dir(spool)
    except OSError as error:
        raise _cannot('read the spool', error.filename or spool, error) from None
    return found.queues


def recover(disk, clock, log, files):
    """Read the files of one queue; -> Recovered. ``files``: names.QueueFiles.

    Packed files are put in place, broken files are cut (D12), open reads are put back, which is written to
    the current file; that file exists afterwards, if there is room on the disk. Raises StartError.
    """
    _put_packs_in_place(disk, files)
    replay = Replay()
    archived_size = 0
    for _, file_name in files.archived:
        archived_size += _replay_file(disk, clock, log, files, file_name, replay)
    size = _replay_file(disk, clock, log, files, files.current, replay) if files.has_current else None
    xids = replay.back_out()
    records = b''.join([record.xid_record(record.UNREMOVE, xid) for xid in xids])
    size, pending = _append(disk, log, files, size, records)
    archived = [file_name for _, file_name in files.archived]
    return Recovered(replay, size, archived, archived_size, pending)


def _put_packs_in_place(disk, files):
    while files.packs:
        replaced, old_name, new_name = files.put_pack_in_place()
        try:
            for file_name in replaced:
                disk.unlink(files.path(file_name))
            disk.fsync_dir(files.spool)
            disk.rename(files.path(old_name), files.path(new_name))
            disk.fsync_dir(files.spool)
        except OSError as error:
            raise _cannot('put in place the packed file', files.path(old_name), error) from None


def _replay_file(disk, clock, log, files, file_name, replay):
    """Do the records of one file, cutting it where it is broken; -> its size then."""
    path = files.path(file_name)
    is_current = file_name == files.current
    try:
        file = disk.open_read(path, writable=is_current)
        try:
            reader = RecordReader(file, clock.now_ms())
            answer = replay.run(reader)
        finally:
            file.close()
    except OSError as error:
        raise _cannot('read', path, error) from None
    if answer == record.END:
        return reader.size
    lost = reader.size - reader.offset
    dispensable = answer == record.TORN and is_current and lost <= DISPENSABLE
    copy = _save_tail(disk, clock, files, file_name, reader.offset, dispensable)
    try:
        disk.truncate(path, reader.offset)
    except OSError as error:
        raise _cannot('cut', path, error) from None
    log.error('%s: broken record at offset %d, %d bytes cut off%s%s', _shown(files.spool, file_name),
              reader.offset, lost, copy, '' if is_current else
              '; later files are replayed, but their removals may hit the wrong items now')
    return reader.offset


def _save_tail(disk, clock, files, file_name, offset, dispensable):
    """Copy what is going to be cut off to .corrupt; -> how to say so in the log. Raises StartError (D12)."""
    folder = files.path(names.CORRUPT_FOLDER)
    path = files.path(file_name)
    ms = clock.now_ms()
    try:
        disk.make_dir(folder)
        while True:
            dest = folder + b'/%b.%d.%d' % (file_name, offset, ms)
            try:
                disk.save_tail(path, offset, dest)
                break
            except FileExistsError:
                ms += 1
        disk.fsync_dir(folder)
        disk.fsync_dir(files.spool)
    except OSError as error:
        if dispensable:
            return ' without a copy (%s): an incomplete last record, never acknowledged' % error.strerror
        raise _cannot('save the broken end of %s to' % _text(path), folder, error) from None
    return ', saved to %s' % _text(dest)


def _append(disk, log, files, size, records):
    """Write the back-out records, creating the current file if it is missing (``size`` None).

    -> (size of the file, the records that found no room).
    """
    if size is not None and not records:
        return size, b''
    path = files.path(files.current)
    file = None
    try:
        file = disk.open_append(path, size)
        if records:
            file.append(records)
            file.fsync()
        return file.size, b''
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise _cannot('write to', path, error) from None
        log.error('%s: %s: %d records of open reads put back are kept until there is room', _text(path),
                  error.strerror, len(records) // 5)
        return (0 if file is None else file.size), records
    finally:
        if file is not None:
            file.close()


def _cannot(what, path, error):
    remedy = 'mount the file system of the spool read-write' if error.errno == errno.EROFS else \
        'check the permissions and the disk of the spool'
    reason = error.strerror or os.strerror(error.errno)
    return StartError('cannot %s %s: %s: %s' % (what, _text(path), reason, remedy))


def _shown(spool, file_name):
    return _text(spool + b'/' + file_name)


def _text(path):
    return path.decode('utf-8', 'backslashreplace')
