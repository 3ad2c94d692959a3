"""The journal of one queue, as its queue sees it (spec journal 2, D9, D10)."""

import errno
import threading

from kestrel.disk import as_path
from kestrel.errors import JournalError
from kestrel.journal import names
from kestrel.journal.record import (
    CONFIRM_REMOVE, LONGEST_DATA, REMOVE, REMOVE_RECORD, REMOVE_TENTATIVE_XID, UNREMOVE, addx_header,
    flags_header, xid_record)

# Data shorter than this is copied behind its header, from here on writev spares the copy (measured: no
# difference from 8 to 32 KB).
JOINED = 16384
# How often records that found no room are tried again, seconds; and how many bytes of them at once.
RETRY = 0.1
PIECE = 65536
# How long writing must have worked for an outage to be over, seconds: a disk with room for small records
# alone fails and works with every other request.
SETTLED = 1.0


class Journal:
    """Writes the records of one queue to its current file, each before its effect in memory.

    disk          disk.Disk
    clock         clock.Clock
    syncer        sync.Syncer
    spool         the folder, str or bytes
    name          bytes
    sync_journal  microseconds: None = no fsync, 0 = after each record, else the period
    recovered     recovery.Recovered, or None for a new queue, whose file is created now
    on_error      called with nothing for each record that could not be written or made durable
    keep_deliveries  true: items with a delivery count use op 10 (D18)

    ``period`` is sync_journal in seconds. Raises JournalError when the file of a new queue cannot be created.
    """

    __slots__ = ('name', 'period', '_disk', '_clock', '_syncer', '_spool', '_file', '_archived',
                 '_on_error', '_keep_deliveries', '_each', '_synced', '_scheduled', '_pending',
                 '_pending_lock', '_outage', '_works_since', '_settling', '_closed')

    def __init__(self, disk, clock, syncer, spool, name, sync_journal, recovered=None, on_error=None,
                 keep_deliveries=False):
        self.name = name
        self.period = 0.0 if sync_journal is None else sync_journal / 1000000
        self._disk = disk
        self._clock = clock
        self._syncer = syncer
        self._spool = as_path(spool)
        self._on_error = on_error
        self._keep_deliveries = keep_deliveries
        self._each = sync_journal == 0
        # True: the next record is the first unsynced one, the syncer must hear of it. Never true without
        # fsyncs.
        self._synced = sync_journal is not None
        # True: a timer or a thread of the syncer is under way for this journal.
        self._scheduled = False
        # Records that could not be written, whole and in order (D10).
        self._pending = bytearray() if recovered is None else bytearray(recovered.pending)
        # Held while they are written where two threads may: close runs in one at the server's stop, and a
        # timer of the hub may just be at it.
        self._pending_lock = threading.Lock()
        # When writing stopped to work, monotonic seconds, or None; since when it has worked again, or None;
        # is there a timer that looks whether this lasts.
        self._outage = None
        self._works_since = None
        self._settling = False
        self._closed = False
        self._archived = [] if recovered is None else recovered.archived
        try:
            self._file = disk.open_append(self._spool + b'/' + names.current(name),
                                          None if recovered is None else recovered.size)
        except OSError as error:
            raise self._failure(error) from None
        if self._pending:
            self._outage = clock.monotonic()
            syncer.call_later(RETRY, self._retry)

    @property
    def size(self):
        """Bytes in the current file."""
        return self._file.size

    # --- records

    def add(self, item, durable=False, discarded=0):
        """A put. Raises JournalError, nothing being changed, if the record cannot be written.

        ``discarded`` items leave the head to make room for it: their REMOVEs stand before its record in the same
        write, so that a put that fails has cost the queue nothing.
        With ``durable`` or sync_journal = 0 the record and the file's name are fsynced on return (D9, D63).
        """
        if self._pending:
            self._need_room()
        data = item.data
        if item.flags == 0 and (not self._keep_deliveries or item.deliveries == 0):
            header = addx_header(item)
        else:
            header = flags_header(item)
        if discarded:
            header = REMOVE_RECORD * discarded + header
        file = self._file
        try:
            if len(data) < JOINED:
                file.append(header + data)
            else:
                if len(data) > LONGEST_DATA:
                    raise self._failure(OSError(errno.EFBIG, 'item too large for a journal record'))
                file.append2(header, data)
        except OSError as error:
            self._begin_outage(error)
            raise self._failure(error) from None
        if durable or self._each:
            try:
                self._sync()
            except OSError as error:
                file.cut(file.size - len(header) - len(data))
                raise self._failure(error) from None
        elif self._synced:
            self._first_unsynced()
        if self._outage is not None:
            self._note_success()

    def remove(self, count=1):
        """``count`` items left at the head for good. Like all below it never raises (D10)."""
        self._write(REMOVE_RECORD if count == 1 else REMOVE_RECORD * count)

    def remove_tentative(self, xid):
        """The head was opened as ``xid``."""
        self._write(xid_record(REMOVE_TENTATIVE_XID, xid))

    def unremove(self, xid):
        """An open read went back to the head."""
        self._write(xid_record(UNREMOVE, xid))

    def confirm(self, xid, last=True):
        """An open read was confirmed. With sync_journal = 0 this is durable on return, if it can be (D63).

        Of several confirms in a row only the ``last`` is synced, and those before with it.
        """
        self._write(xid_record(CONFIRM_REMOVE, xid))
        if last and self._each and not self._pending:
            self.sync()

    def _write(self, record):
        if self._pending:
            self._keep(record)
            return
        try:
            self._file.append(record)
        except OSError as error:
            self._begin_outage(error)
            self._keep(record)
            self._syncer.call_later(RETRY, self._retry)
            return
        if self._synced:
            self._first_unsynced()
        if self._outage is not None:
            self._note_success()

    # --- records that found no room

    def _keep(self, record):
        self._pending += record
        self._count_error()

    def _need_room(self):
        """Write what is pending before a put. Raises JournalError if it still cannot be written (D64)."""
        try:
            self._write_pending()
        except OSError as error:
            raise self._failure(error) from None

    def _retry(self):
        with self._pending_lock:
            if self._closed or not self._pending:
                return
            try:
                self._write_pending()
            except OSError:
                # The outage is in the log already.
                self._syncer.call_later(RETRY, self._retry)

    def _write_pending(self):
        """Write as many pending records as there is room for. Raises OSError if some are left."""
        pending = self._pending
        most = PIECE
        while pending:
            piece = _whole_records(pending, most)
            try:
                self._file.append(piece)
            except OSError:
                if len(piece) <= 5:
                    raise
                most = len(piece) // 2
                continue
            del pending[:len(piece)]
            if self._synced:
                self._first_unsynced()
        self._note_success()

    def _begin_outage(self, error):
        self._works_since = None
        if self._outage is None:
            self._outage = self._clock.monotonic()
            self._disk.log.error(
                'journal of queue %s: writing failed: %s; until it works again puts are refused and other'
                ' records are kept in memory', self.shown_name(), error.strerror)

    def _note_success(self):
        """Something was written although there is an outage: it may be over."""
        if self._works_since is None:
            self._works_since = self._clock.monotonic()
        if not self._settling and not self._closed:
            self._settling = True
            self._syncer.call_later(SETTLED, self._settle)

    def _settle(self):
        self._settling = False
        if self._closed or self._works_since is None:
            return
        left = self._works_since + SETTLED - self._clock.monotonic()
        if left > 0.001:
            self._settling = True
            self._syncer.call_later(left, self._settle)
            return
        self._end_outage()

    def _end_outage(self):
        self._disk.log.warning('journal of queue %s: writing works again after %.1f s', self.shown_name(),
                               self._works_since - self._outage)
        self._outage = None
        self._works_since = None

    def _failure(self, error):
        """Count a failed put; -> its JournalError."""
        self._count_error()
        return JournalError(error.strerror, error.errno in (errno.ENOSPC, errno.EDQUOT))

    def _count_error(self):
        if self._on_error is not None:
            self._on_error()

    # --- syncing

    def sync(self):
        """Fsync what has been written. -> false if that failed, which is counted and logged."""
        try:
            self._sync()
        except OSError:
            return False
        return True

    def _sync(self):
        self._syncer.sync_now(self, self._file)
        if self._scheduled:
            # The syncer finds nothing to do when its timer fires.
            self._synced = True

    def _first_unsynced(self):
        self._synced = False
        if not self._scheduled and not self._closed:
            self._scheduled = True
            self._syncer.first_unsynced(self)

    def begin_sync(self):
        """For the syncer: -> the fsync to be run in a thread, None if there is nothing to do. Raises OSError.
        """
        if self._closed or self._synced:
            self._scheduled = False
            return None
        job = self._file.background_sync()
        self._synced = True
        return job

    def end_sync(self, done):
        """For the syncer: that fsync has ended; -> must there be another one?"""
        if not done:
            self._synced = False
        self._scheduled = not (self._closed or self._synced)
        return self._scheduled

    # --- the end

    def close(self):
        """Write what is pending, if that works, fsync, and close the file (D63); never raises.

        The only method that may run in a thread, once nothing else is called: it leaves the hub alone.
        """
        with self._pending_lock:
            self._closed = True
            if self._pending:
                self._write_last()
        if self._works_since is not None:
            self._end_outage()
        if self._file.is_open():
            self.sync()
        self._close_file()

    def _write_last(self):
        try:
            self._write_pending()
        except OSError as error:
            self._disk.log.error(
                'journal of queue %s: %d bytes of records could not be written: %s; what they removed comes'
                ' again', self.shown_name(), len(self._pending), error.strerror)

    def _close_file(self):
        try:
            self._file.close()
        except OSError as error:
            # The descriptor is gone all the same, and what matters was fsynced before.
            self._disk.log.error('journal of queue %s: closing its file failed: %s', self.shown_name(),
                                 error.strerror)

    def delete(self):
        """Remove all files, the oldest first, so that no removed item can come back (spec journal 11)."""
        self._closed = True
        self._pending.clear()
        self._syncer.forget(self)
        self._close_file()
        for file_name in [*self._archived, names.current(self.name)]:
            path = self._spool + b'/' + file_name
            try:
                self._disk.unlink(path)
            except OSError as error:
                self._disk.log.error('cannot delete %s: %s', path.decode('utf-8', 'replace'), error.strerror)

    def shown_name(self):
        """The queue's name for people, str."""
        return self.name.decode('latin-1')


def _whole_records(pending, most):
    """As many whole records from the front of ``pending`` as have at most ``most`` bytes, but at least one.

    Only ops 1 (one byte) and 5, 6, 9 (five bytes) are ever pending.
    """
    end = 0
    while end < len(pending):
        following = end + (1 if pending[end] == REMOVE else 5)
        if following > most and end > 0:
            break
        end = following
    return bytes(pending[:end])
