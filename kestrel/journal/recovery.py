"""What a start makes of the spool (spec journal 6 and 7)."""

import errno
import os

from kestrel.disk import as_path
from kestrel.errors import StartError
from kestrel.journal import names, record, state
from kestrel.journal.read_behind import ReadBehind
from kestrel.journal.record import RecordReader
from kestrel.journal.replay import Replay
from kestrel.journal.state_work import COMPARED
from kestrel.shown import shown_path, shown_queue

# How much of an incomplete last record may be cut off although no copy of it can be written (D12).
DISPENSABLE = 1 << 20
# So much of a queue is in memory at first, bytes: the rest is read back when the server is ready. Of 10 000 000 items of
# 100 bytes, 128 MB of them in memory, making objects took 1.0 of 1.2 s of the replay, stepping over the others 0.2 s.
AT_FIRST = 16 << 20


class Recovered:
    """What the files of a queue came to.

    items, mem_bytes  deque of Item, head first, and their data bytes: what is in memory
    count, bytes   int, items waiting, those left on disk included, and their data bytes
    reader         ReadBehind where the items left on disk begin, or None; ``behind``: how many they are
    counter        int, the last xid used
    files          list of AppendFile in the order of their replay, the last one is the current file
    last_ms        int, the highest timestamp of a file name, 0 if there is none (D44)
    opened         {xid: Item}: put back so often that they do not go back any more (D18)
    pending        bytes: back-out records there was no room for (D64); the Journal writes them before
                   anything else
    begun          None, or what the replay began with: (State, [(AppendFile, size, inode)] up to its end, [data of
                   the first items])
    """

    def __init__(self, replay, files, last_ms, pending, begun=None):
        self.items = replay.items
        self.mem_bytes = replay.mem_bytes
        self.count = replay.count
        self.bytes = replay.bytes
        self.reader = replay.reader
        self.behind = replay.behind
        self.counter = replay.counter
        self.opened = replay.opened
        self.files = files
        self.last_ms = last_ms
        self.pending = pending
        self.begun = begun


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
    if found.has_states:
        _find_states(disk, log, found)
    return found.queues


def _find_states(disk, log, spool):
    """Note which queues have a file of their state, and delete the others."""
    folder = spool.path + b'/' + names.STATE_FOLDER
    try:
        for file_name, _ in disk.list(folder):
            files = spool.queues.get(names.queue_of(file_name))
            if files is None:
                disk.unlink(folder + b'/' + file_name)
            else:
                files.has_state = True
    except OSError as error:
        log.warning('cannot tidy up %s: %s', _text(folder), error.strerror)


def recover(disk, clock, log, files, max_memory_size, max_deliveries=None, on_read=None, starts=False):
    """Read the files of one queue; -> Recovered. ``files``: names.QueueFiles; ``max_memory_size``: bytes;
    ``max_deliveries``: see Replay.back_out; ``on_read``: called for each block with its bytes, int.

    ``starts``: for a server that will serve, and that has the memory of the queue filled then (QueueItems.fill): begin with
    the state that the queue had at the end of one of its files, if it was written down and still counts, and have
    AT_FIRST bytes in memory.

    Packed files are put in place, broken files are cut (D12), open reads are put back, which is written to
    the current file; that file exists afterwards, if there is room on the disk. Raises StartError.
    """
    put_packs_in_place(disk, files)
    at_first = AT_FIRST if starts else None
    if starts and files.has_state:
        found, before = state.find(disk, log, files)
        if found is not None:
            series = []
            try:
                return _recover(disk, clock, log, files, series, max_memory_size, at_first, max_deliveries, on_read, found,
                                before)
            except StartError as error:
                for file in series:
                    file.close()
                log.warning('queue %s: its state does not agree with its journal: %s; the journal is replayed',
                            shown_queue(files.name), error)
    return _recover(disk, clock, log, files, [], max_memory_size, at_first, max_deliveries, on_read)


def _recover(disk, clock, log, files, series, max_memory_size, at_first, max_deliveries, on_read, found=None, before=0):
    """``series``: list that gets the AppendFiles; ``found``: the State to begin with, or None; so many files stand
    ``before`` its first."""
    begun = None
    done = offset = 0
    replay = Replay(max_memory_size, log, at_first)
    if found is not None:
        done = before + len(found.marks)
        begun = _resume(disk, clock, log, files, max_memory_size, replay, series, found, before, done)
    for _, file_name in files.archived[done:]:
        series.append(disk.open_archived(files.path(file_name), 0))
        _replay_file(disk, clock, log, files, file_name, replay, series, on_read)
    if done <= len(files.archived):
        series.append(disk.open_append(files.path(files.current), 0))
    else:
        offset = series[-1].size
    current = series[-1]
    if files.has_current:
        _replay_file(disk, clock, log, files, files.current, replay, series, on_read, offset)
    xids = replay.back_out(max_deliveries)
    records = b''.join([record.xid_record(record.UNREMOVE, xid) for xid in xids])
    pending = _append(log, current, records, files.has_current, len(series) == 1)
    last_ms = files.archived[-1][0] if files.archived else 0
    return Recovered(replay, series, last_ms, pending, begun)


def _resume(disk, clock, log, files, max_memory_size, replay, series, found, before, done):
    """Put the first ``done`` files into ``series`` and have the replay begin behind them; -> Recovered.begun. Raises
    StartError."""
    path = files.path(files.all()[before])
    covered = []
    try:
        for file_name in files.all()[:done]:
            path = files.path(file_name)
            status = disk.stat(path)
            if file_name == files.current:
                series.append(disk.open_append(path, status.st_size))
            else:
                series.append(disk.open_archived(path, status.st_size))
            covered.append((series[-1], status.st_size, status.st_ino))
        replay.resume(ReadBehind(series, series[before], found.offset, max_memory_size, clock.now_ms(), log), found)
    except OSError as error:
        raise _cannot('read', path, error) from None
    heads = [item.data for _, item in zip(range(COMPARED), replay.items)]
    log.info('queue %s: %d items are as they were at the end of %s, the records behind it are replayed',
             shown_queue(files.name), found.count, _text(path))
    return found, covered, heads


def put_packs_in_place(disk, files):
    """Let packed files take the place of those they replace (spec journal 6 step 4). Raises StartError."""
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


def _replay_file(disk, clock, log, files, file_name, replay, series, on_read, offset=0):
    """Do the records of one file from ``offset`` on, the last of ``series``, cutting it where it is broken."""
    path = files.path(file_name)
    is_current = file_name == files.current
    now_ms = clock.now_ms()
    try:
        file = disk.open_read(path, writable=is_current, on_read=on_read)
        try:
            series[-1].expect(file.size)
            reader = RecordReader(file, now_ms, offset)
            answer = replay.run(reader, series, now_ms)
        finally:
            file.close()
    except OSError as error:
        raise _cannot('read', path, error) from None
    if answer == record.END:
        return
    lost = reader.size - reader.offset
    dispensable = answer == record.TORN and is_current and lost <= DISPENSABLE
    copy = save_tail(disk, clock, files, file_name, reader.offset, dispensable)
    try:
        disk.truncate(path, reader.offset)
    except OSError as error:
        raise _cannot('cut', path, error) from None
    series[-1].expect(reader.offset)
    if replay.reader is not None:
        replay.reader.cut(series[-1], reader.offset)
    log.error('%s: broken record at offset %d%s, %d bytes cut off%s%s', _shown(files.spool, file_name),
              reader.offset, _newer(reader) if answer == record.IMPOSSIBLE else '', lost, copy, '' if is_current else
              '; later files are replayed, but their removals may hit the wrong items now')


def _newer(reader):
    """What to say of an op that is none of ours."""
    op = reader.op()
    return ' (op %d, which this version does not know: was it written by a newer one?)' % op if op > record.LAST else ''


def save_tail(disk, clock, files, file_name, offset, dispensable):
    """Copy what is going to be cut off to .corrupt; -> how to say so in the log. Raises StartError (D12).

    ``dispensable``: it may be cut off even if it cannot be copied.
    """
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


def _append(log, current, records, is_there, is_alone):
    """Write the back-out records, creating the current file if it is missing; -> those that found no room.

    With archived files before it, which may not be durable, it must not become durable (D63): all of them are
    fsynced when the first record is, and until then a start writes the same once more.
    """
    if is_there and not records:
        return b''
    try:
        current.open()
        if records:
            current.append(records)
            if is_alone:
                current.fsync()
        return b''
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise _cannot('write to', current.path, error) from None
        log.error('%s: %s: %d records of open reads put back are kept until there is room', _text(current.path),
                  error.strerror, len(records) // 5)
        return records
    finally:
        current.close()


def _cannot(what, path, error):
    remedy = 'mount the file system of the spool read-write' if error.errno == errno.EROFS else \
        'check the permissions and the disk of the spool'
    reason = error.strerror or os.strerror(error.errno)
    return StartError('cannot %s %s: %s: %s' % (what, _text(path), reason, remedy))


def _shown(spool, file_name):
    return _text(spool + b'/' + file_name)


def _text(path):
    return shown_path(path)
