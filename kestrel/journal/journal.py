"""The journal of one queue, as its queue sees it (spec journal 2, D9, D10)."""

import errno
import threading

from kestrel.append_file import SyncJob
from kestrel.disk import as_path
from kestrel.errors import JournalError
from kestrel.journal import state
from kestrel.journal.outage import Outage
from kestrel.journal.pending import Pending
from kestrel.journal.record import (
    CONFIRM_REMOVE, LONGEST_DATA, REMOVE_RECORD, REMOVE_TENTATIVE_XID, UNREMOVE, addition, addx_header, addx_record,
    flags_header, xid_record)
from kestrel.journal.series import Series
from kestrel.journal.sync import Commit
from kestrel.shown import shown_path, shown_queue

# Data shorter than this is copied behind its header, from here on writev spares the copy (measured: no
# difference from 8 to 32 KB).
JOINED = 16384
# How many REMOVE records are written at once.
FLUSHED = 1 << 20
# How often records that found no room are tried again, seconds.
RETRY = 0.1


class Journal:
    """Writes the records of one queue to its current file, each before its effect in memory.

    disk          disk.Disk
    clock         clock.Clock
    hub           hub.Hub
    syncer        sync.Syncer
    spool         the folder, str or bytes
    name          bytes
    sync_journal  microseconds: None = no fsync, 0 = after each record, else the period
    recovered     recovery.Recovered, or None for a new queue, whose file is created now
    on_error      called with nothing for each record that could not be written or made durable
    keep_deliveries  true: items with a delivery count use op 10 (D18)

    ``period`` is sync_journal in seconds; ``files`` the queue's Series. ``queue``, set by the queue itself, is told
    ``settle()`` when an fsync that puts wait for has ended, and ``rewrite_for_commit()`` when one cannot be trusted.
    ``suspect``: the OSError of a failed fsync since the current file began, else None: a later fsync of that file
    proves nothing (D9). Raises JournalError when the file of a new queue cannot be created.
    """

    def __init__(self, disk, clock, hub, syncer, spool, name, sync_journal, recovered=None, on_error=None,
                 keep_deliveries=False):
        self.name = name
        self.period = 0.0 if sync_journal is None else sync_journal / 1000000
        self.disk = disk
        self.hub = hub
        self.keep_deliveries = keep_deliveries
        self.queue = None
        self.suspect = None
        self.clock = clock
        self._syncer = syncer
        self._on_error = on_error
        self._each = sync_journal == 0
        self._syncs = sync_journal is not None
        # True: the next record is the first unsynced one, the syncer must hear of it. Never true without
        # fsyncs.
        self._synced = self._syncs
        # Is a timer of the syncer under way for this journal; does it stand in the line of those somebody waits
        # for; is a thread at it.
        self._scheduled = False
        self._queued = False
        self._syncing = False
        # The fsync that is to come, which puts may join, and the one under way.
        self._next = None
        self._running = None
        # What the fsync under way covers, and which of these files were rotated when it began; the fsync that a
        # deleted queue still owes.
        self._covered = []
        self._covered_rotated = []
        self._covered_size = 0
        self._last_job = None
        self._outage = None
        self._closed = False
        # Counts the current files there have been.
        self.serial = 1
        # How far the current file holds records whose requests are answered, bytes: nothing before is cut off.
        self.answered = 0
        # The new file of a rewrite, which gets every record too while it is about to take the place of the others.
        self.twin = None
        # The file of the queue's state (state.py), None as long as there is none.
        self.state = None
        try:
            self.files = Series(disk, clock, as_path(spool), name, recovered)
        except OSError as error:
            raise self._failure(error) from None
        self.file = self.files.current
        self._pending = Pending(b'' if recovered is None else recovered.pending)
        # Held while pending records are written where two threads may: close runs in one at the server's stop,
        # and a timer of the hub may just be at it.
        self._pending_lock = threading.Lock()
        self._is_pending = self._pending.size > 0
        if self._is_pending:
            self._outage = Outage(disk.log, clock, self.shown_name(), hub.call_later)
            hub.call_later(RETRY, self._retry)

    @property
    def size(self):
        """Bytes in the current file."""
        return self.file.size

    def total(self):
        """Bytes in all files."""
        return self.file.size + self.files.archived_size

    # --- records

    def add(self, item, durable=False, discarded=0):
        """A put. Raises JournalError, nothing being changed, if the record cannot be written.

        ``discarded`` items leave the head to make room for it: their REMOVEs stand before its record in the same
        write, so that a put that fails has cost the queue nothing.
        With ``durable`` or sync_journal = 0 -> Commit, to be waited for: the fsync of the record and of the file's
        name (D9, D63). Else -> None.
        """
        self.make_room()
        data = item.data
        file = self.file
        if len(data) < JOINED:
            header = addition(item, self.keep_deliveries)
            data = b''
        elif len(data) > LONGEST_DATA:
            raise self._failure(OSError(errno.EFBIG, 'item too large for a journal record'))
        elif item.flags == 0 and (not self.keep_deliveries or item.deliveries == 0):
            header = addx_header(item)
        else:
            header = flags_header(item)
        if discarded:
            header = REMOVE_RECORD * discarded + header
        try:
            if data:
                file.append2(header, data)
            else:
                file.append(header)
        except OSError as error:
            self._begin_outage(error)
            raise self._failure(error) from None
        if self.twin is not None:
            self._append_to_twin(header + data)
        if self._outage is not None:
            self._outage.worked()
        if durable or self._each:
            if discarded:
                self.answered = file.size - len(header) - len(data) + discarded
            return self.commit()
        self.answered = file.size
        if self._synced:
            self._first_unsynced()
        return None

    def add_many(self, items, offsets):
        """Puts of items without flags, in one write, as ``add``: all of them or none. -> Commit or None.

        offsets  list that gets where in the current file their records begin
        """
        self.make_room()
        file = self.file
        offset = file.size
        parts = []
        for item in items:
            offsets.append(offset)
            record = addx_record(item)
            parts.append(record)
            offset += len(record)
        records = b''.join(parts)
        try:
            file.append(records)
        except OSError as error:
            self._begin_outage(error)
            raise self._failure(error) from None
        if self.twin is not None:
            self._append_to_twin(records)
        if self._outage is not None:
            self._outage.worked()
        if self._each:
            return self.commit()
        self.answered = file.size
        if self._synced:
            self._first_unsynced()
        return None

    def remove(self, count=1):
        """``count`` items left at the head for good. Like all below it never raises (D10)."""
        self._write(REMOVE_RECORD if count == 1 else REMOVE_RECORD * count)

    def remove_all(self, count):
        """A flush: as ``remove``, in pieces, because a long queue may have more items than one write can have bytes."""
        while count > 0:
            self.remove(min(count, FLUSHED))
            count -= FLUSHED

    def remove_tentative(self, xid, before=b''):
        """The head was opened as ``xid``. ``before``: what is written in front of that, see ``confirm_record``."""
        self._write(before + xid_record(REMOVE_TENTATIVE_XID, xid))

    def unremove(self, xid):
        """An open read went back to the head."""
        self._write(xid_record(UNREMOVE, xid))

    def confirm(self, xid):
        """An open read was confirmed. -> the Commit its answer waits for with sync_journal = 0, else None (D63)."""
        self._write(xid_record(CONFIRM_REMOVE, xid))
        return self.commit() if self._each and not self._is_pending else None

    def confirm_record(self, xid):
        """-> what ``confirm`` would write, for one that writes more with it. None: its fsync must be waited for (D63)."""
        return None if self._each else xid_record(CONFIRM_REMOVE, xid)

    def unremove_many(self, xids):
        """As ``unremove`` of each."""
        self._write(b''.join([xid_record(UNREMOVE, xid) for xid in xids]))

    def confirm_many(self, xids):
        """As ``confirm`` of each; one Commit for all."""
        self._write(b''.join([xid_record(CONFIRM_REMOVE, xid) for xid in xids]))
        return self.commit() if self._each and not self._is_pending else None

    def _write(self, record):
        if self._is_pending:
            self._keep(record)
            return
        file = self.file
        try:
            file.append(record)
        except OSError as error:
            self._begin_outage(error)
            self._keep(record)
            self.hub.call_later(RETRY, self._retry)
            return
        self.answered = file.size
        if self.twin is not None:
            self._append_to_twin(record)
        if self._synced:
            self._first_unsynced()
        if self._outage is not None:
            self._outage.worked()

    # --- records that found no room

    def is_choked(self):
        """So much is pending that memory must not be filled further: nothing may be handed out (D10)."""
        return self._is_pending and self._pending.is_full()

    def is_pending(self):
        return self._is_pending

    def hold_pending(self):
        """A rewrite of an empty queue begins, which will make the pending records void: until it has ended none of
        them is tried. -> how many bytes they are."""
        self._pending.held += 1
        return self._pending.size

    def release_pending(self, void):
        """The rewrite has ended and made the first ``void`` bytes of them void."""
        self._pending.held -= 1
        self._pending.drop(void)
        self._is_pending = self._pending.size > 0

    def _keep(self, record):
        self._pending.keep(record)
        self._is_pending = True
        self._count_error()

    def make_room(self):
        """Write what is pending before a put. Raises JournalError if it still cannot be written (D64)."""
        if not self._is_pending:
            return
        try:
            self._write_pending()
        except OSError as error:
            raise self._failure(error) from None

    def _retry(self):
        with self._pending_lock:
            if self._closed or not self._is_pending:
                return
            try:
                self._write_pending()
            except OSError:
                # The outage is in the log already.
                self.hub.call_later(RETRY, self._retry)

    def _write_pending(self):
        """Write as many pending records as there is room for. Raises OSError if some are left."""
        was_full = self._pending.is_full()
        try:
            self._pending.write(self._append_pending)
        finally:
            if was_full and not self._pending.is_full() and not self._closed:
                self.hub.soon(self.queue.unchoked)
        self._is_pending = False
        if self._outage is not None:
            self._outage.worked()

    def _append_pending(self, records):
        self.file.append(records)
        self.answered = self.file.size
        if self.twin is not None:
            self._append_to_twin(records)
        if self._synced:
            self._first_unsynced()

    def _begin_outage(self, error):
        if self._outage is None or self._outage.over:
            self._outage = Outage(self.disk.log, self.clock, self.shown_name(), self.hub.call_later)
            self._outage.tell(error)
        self._outage.failed()

    def _failure(self, error):
        """Count a failed put; -> its JournalError."""
        self._count_error()
        return as_journal_error(error)

    def _count_error(self):
        if self._on_error is not None:
            self._on_error()

    def cut(self, size):
        """Take refused puts off the end of the current file, which then has ``size`` bytes (D9)."""
        self.file.cut(size)

    # --- the new file of a rewrite

    def _append_to_twin(self, data):
        try:
            self.twin.append(data)
        except OSError:
            # The rewrite looks whether its twin is still there before it goes on.
            self.twin = None

    def replace_file(self, file):
        """Another file is appended to from now on, every byte of it written by a rewrite or a rotation."""
        self.file = file
        self.twin = None
        # What a rewrite put there, or copied, may be answered.
        self.answered = file.size
        self.serial += 1

    # --- syncing

    def commit(self):
        """-> the Commit that covers all that has been written."""
        self._synced = False
        if self._next is None:
            self._next = Commit()
            self._hurry()
        return self._next

    def _hurry(self):
        if not self._queued and not self._syncing:
            self._queued = True
            self._syncer.soon(self)

    def _first_unsynced(self):
        self._synced = False
        if self._closed:
            return
        if self._each:
            self._hurry()
        elif not self._scheduled and not self._syncing:
            self._scheduled = True
            self._syncer.first_unsynced(self)

    def sync_rotated(self):
        """A file was rotated: see to it that it is fsynced (D63)."""
        if self._syncs:
            self._first_unsynced()
        else:
            self._syncer.in_background(self)

    def begin_sync(self, timed):
        """For the syncer: -> the SyncJob to be run in a thread, None if there is nothing to do. Raises OSError.

        ``timed``: it is due by the period, not because somebody waits.
        """
        if timed:
            self._scheduled = False
        else:
            self._queued = False
        if self._syncing:
            return None
        if self._closed:
            return self._begin_last()
        unsynced = self._syncs and not self._synced
        if self._next is None and not unsynced and not self.files.unsynced:
            return None
        awaited = self._next is not None
        if self.suspect is not None and (awaited or self._syncs) and self.queue.rewrite_for_commit(awaited):
            return None
        if self.suspect is not None:
            self.refuse_commit(self.suspect)
        self._covered_rotated = list(self.files.unsynced)
        covered = list(self.files.unsynced)
        if self._next is not None or unsynced:
            covered.append(self.file)
            if self.twin is not None:
                covered.append(self.twin)
        self._running, self._next = self._next, None
        self._syncing = True
        job = SyncJob(self.disk, covered)
        self._covered = covered
        self._covered_size = self.file.size
        self._synced = self._syncs
        return job

    def _begin_last(self):
        job, self._last_job = self._last_job, None
        self._running, self._next = self._next, None
        self._syncing = job is not None
        return job

    def end_sync(self, error):
        """For the syncer: that fsync has ended, ``error`` being an exception or None; -> must there be another one a
        period later?"""
        self._syncing = False
        covered, self._covered = self._covered, []
        if error is None:
            if not self._closed:
                # One that was rotated since may hold records that were written since, too.
                self.files.synced(self._covered_rotated)
        else:
            self._synced = False
            if any([file in self.files.files for file in covered]):
                # not only those that a rewrite has replaced meanwhile
                self.suspect = error
            if self.twin in covered:
                self.twin = None
        running, self._running = self._running, None
        if running is not None:
            if error is None and self.file in covered:
                self.answered = max(self.answered, self._covered_size)
            self._settle(running, error)
            running.finish()
        if self._next is not None or self._each and not self._synced and error is None and not self._closed:
            self._hurry()
        elif not self._scheduled and not self._closed and (self._syncs and not self._synced or self.files.unsynced):
            # also for a file that was rotated while this fsync was under way
            self._scheduled = True
            return True
        return False

    def rewritten(self, error):
        """The rewrite that ``begin_sync`` asked for has ended: fsync the new file for those who wait, or refuse them.
        """
        if error is not None:
            self.refuse_commit(error)
        if self._next is not None or self._each:
            self._hurry()
        elif self._syncs and not self._synced:
            self._first_unsynced()

    def refuse_commit(self, error):
        """No fsync can be trusted: those who wait for the next one are refused (D9)."""
        refused, self._next = self._next, None
        if refused is not None:
            self._settle(refused, error)
            # this may be a client's greenlet, those who wait are switched to by the hub alone
            self.hub.soon(refused.finish)

    def _settle(self, commit, error):
        """What waited for it enters the queue, or is refused, before anybody goes on."""
        if error is not None:
            error = self._failure(error)
        commit.done = True
        commit.error = error
        if not self._closed:
            self.queue.settle()

    # --- the end

    def close(self):
        """Write what is pending, if that works, fsync, and close the files (D63); never raises.

        The only method that may run in a thread, once nothing else is called: it leaves the hub alone.
        """
        with self._pending_lock:
            self._closed = True
            if self._is_pending:
                self._write_last()
        if self._outage is not None:
            self._outage.close()
        self._sync_last()
        for file in self.files.all():
            self._close_file(file)

    def _write_last(self):
        try:
            self._write_pending()
        except OSError as error:
            self.disk.log.error(
                'journal of queue %s: %d bytes of records could not be written: %s; what they removed comes'
                ' again', self.shown_name(), self._pending.size, error.strerror)

    def _sync_last(self):
        if not any([file.is_open() for file in [*self.files.unsynced, self.file]]):
            return      # nothing was written since the start
        try:
            self._syncer.sync_now(self, self._fsync_all)
        except OSError:
            # counted and logged by the syncer
            self._synced = False

    def _fsync_all(self):
        for file in [*self.files.unsynced, self.file]:
            file.fsync()

    def _close_file(self, file):
        try:
            file.close()
        except OSError as error:
            # The descriptor is gone all the same, and what matters was fsynced before.
            self.disk.log.error('journal of queue %s: closing its file failed: %s', self.shown_name(),
                                error.strerror)

    def delete(self, others=()):
        """Remove all files (spec journal 11). A crash in between leaves all of the queue or nothing.

        others  AppendFiles that belong to the queue too: the temporary ones of a job under way
        Puts that wait for their fsync get it all the same (D9). What takes long is left to a thread.
        """
        if self._next is not None and self.suspect is not None:
            # The rewrite that could answer them does not come any more.
            self.refuse_commit(self.suspect)
        elif self._next is not None:
            self._prepare_last_job()
        self._closed = True
        self._pending.clear()
        self._is_pending = False
        self._syncer.forget(self)
        files = [*others, *self._replace_all()]
        for file in files:
            try:
                file.unlink()
            except OSError as error:
                self.disk.log.error('cannot delete %s: %s', shown_path(file.path), error.strerror)
        self.forget_state()
        self.hub.run_job(lambda: [self._close_file(file) for file in files], _nothing_more)

    def forget_state(self):
        """Delete the file of the queue's state, if there is one."""
        if self.state is not None:
            try:
                state.forget(self.disk, self.state)
            except OSError as error:
                self.disk.log.warning('cannot tidy up %s: %s', shown_path(self.state), error.strerror)
            self.state = None

    def _replace_all(self):
        """-> the AppendFiles of the queue, in the order in which they are to go.

        Without the oldest of several files the records of the others would hit other items, and put removed ones back.
        So an empty file is made first that replaces all of them, and goes last (spec journal 6).
        """
        files = self.files.all()
        if len(files) == 1:
            return files
        ms = self.disk.deleted_ms = max(self.files.new_ms(), self.disk.deleted_ms)
        try:
            self.file.rename(self.files.archived_path(ms))
            return [*files, self.disk.create(self.files.pack_path(ms))]
        except OSError as error:
            self.disk.log.error('journal of queue %s: its files cannot be deleted in one step: %s', self.shown_name(),
                                error.strerror)
            return files

    def _prepare_last_job(self):
        try:
            self._last_job = SyncJob(self.disk, [*self.files.unsynced, self.file])
        except OSError as error:
            self.refuse_commit(error)

    def shown_name(self):
        """The queue's name for people, str."""
        return shown_queue(self.name)


def as_journal_error(error):
    """What a put is refused with for an OSError (or another exception of a thread)."""
    if isinstance(error, JournalError):
        return error
    why = getattr(error, 'strerror', None) or str(error) or type(error).__name__
    return JournalError(why, getattr(error, 'errno', None) in (errno.ENOSPC, errno.EDQUOT))


def _nothing_more(result, error):
    """Closing deleted files ended: who would want to know?"""
