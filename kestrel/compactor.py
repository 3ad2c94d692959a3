"""Keeps the journal of one queue small: carries out what ``journal.compaction`` decides (D13, D40, D43)."""

from kestrel.journal import state, state_work
from kestrel.journal.checkpoint import Checkpoint
from kestrel.journal.compaction import (
    NOTHING, REWRITE, REWRITE_EMPTY, ROTATE_AND_CHECKPOINT, verdict)
from kestrel.journal.job import Job
from kestrel.journal.replacement import Pack, Restore, Rewrite
from kestrel.shown import shown_path

NEVER = float('inf')
# After a rotation or a rewrite that failed the next one is not tried for so long, seconds.
PAUSE = 1.0
# The same trouble is told of so often, seconds.
TOLD_EVERY = 60.0
# The state of a queue is written at most so often, seconds: looking for its head takes 0.1 s of a thread.
STATE_EVERY = 10.0


class Compactor:
    """Of one PersistentQueue. At most one rewrite or pack runs at a time; rotations go on beside a pack."""

    def __init__(self, queue, journal, clock):
        self.queue = queue
        self.journal = journal
        self.clock = clock
        self.job = None
        self.next_pack = None
        # A rewrite runs; that of a queue where nothing waits; its file is the current one already; since when.
        self.rewriting = False
        self.rewriting_empty = False
        self.placing = False
        self.began = 0.0
        # An operation was done while a job kept its check from being made.
        self.missed = False
        # Somebody waits for an fsync that can only be trusted after a rewrite (D9).
        self.wanted = False
        self.barred_empty_until = -NEVER
        self.barred_until = -NEVER
        self.paused_until = 0.0
        self.lost_until = 0.0
        self.lost_told = set()
        self.told = None
        self.told_until = 0.0
        self.delay = 0.0
        self.state_from = self.began_reading = 0.0
        self.configure(queue.settings)

    def configure(self, settings):
        self.default_journal_size = settings.default_journal_size
        self.max_journal_size = settings.max_journal_size
        self.max_memory_size = settings.max_memory_size
        delay = settings.min_journal_compact_delay
        delay = 0.0 if delay is None else delay / 1000000
        # what is barred is so from the same moment on, for as long as it is now
        self.barred_until += delay - self.delay
        self.barred_empty_until += delay - self.delay
        self.delay = delay

    def look(self):
        """Check whether something is to be done: before each put, and after all that removed or put back."""
        if self.rewriting:
            self.missed = True
            return
        queue = self.queue
        journal = self.journal
        items = queue.count + len(queue.tail)
        current = journal.file.size
        total = journal.total()
        now = 0.0
        if items == 0 or total > self.max_journal_size or current > self.max_memory_size:
            now = self.clock.monotonic()
            if now < self.paused_until:
                return
        what = verdict(items, queue.bytes + queue.tail_bytes, queue.reader is not None, current, total,
                       now < self.barred_empty_until, now < self.barred_until, self.default_journal_size,
                       self.max_journal_size, self.max_memory_size)
        if what != NOTHING:
            self._act(what, now)

    def look_if_empty(self):
        """A rewrite of an emptied queue may have been barred when the last operation was done: nobody may ever come back
        to it, and the files of what is gone would stay."""
        if self.queue.count == 0 and not self.queue.opened and self.journal.total() >= self.default_journal_size:
            self.look()

    def _act(self, what, now):
        queue = self.queue
        if what == REWRITE_EMPTY or what == REWRITE:
            self._give_way(False)
            if self.job is not None or queue.reader is not None:
                self.missed = True
            elif what == REWRITE_EMPTY or not self.journal.is_pending():
                self._rewrite(what == REWRITE_EMPTY)
        elif not self.journal.is_pending():
            self._rotate(what == ROTATE_AND_CHECKPOINT)

    # -- rotation --------------------------------------------------------------------------------------------------

    def _rotate(self, checkpoint):
        files = self.journal.files
        began = self.clock.monotonic()
        old = files.current
        try:
            if old.is_open() and self.queue.reader is not None and self._is_cut():
                self.queue.reader.mend_cut(old)
            if old.is_open() and (not old.is_in_place() or self._is_cut()):
                # Somebody put another file in its place, or cut it.
                self.missed = True
                self.paused_until = began + PAUSE
                self.look_for_lost_files()
                return
            new = files.rotate(files.archived_path(files.new_ms()))
        except OSError as error:
            self.paused_until = began + PAUSE
            self._failed('rotate its file', error)
            return
        self.journal.replace_file(new)
        self.journal.sync_rotated()
        stats = self.queue.stats
        stats.journal_rotations += 1
        stats.journal_rotation_usec.add(int((self.clock.monotonic() - began) * 1000000))
        if checkpoint and self.queue.checkpoint is None:
            self.queue.checkpoint = Checkpoint(old, self._opened())
        self._write_state()

    def _opened(self):
        """The open reads, the highest xid first."""
        return sorted(self.queue.opened.items(), key=_xid_of, reverse=True)

    # -- the queue's state -----------------------------------------------------------------------------------------

    def _write_state(self):
        """A file was rotated: what is known of the queue now is what the files come to."""
        now = self.clock.monotonic()
        if self.job is None and now >= self.state_from and self.journal.total() >= state_work.LEAST:
            self.state_from = now + STATE_EVERY
            work = state_work.capture(self.queue, self.journal, self._opened())
            if work is not None:
                self.journal.state = work.path
                self.began_reading = now
                self._start(work, self._state_written)

    def _state_written(self, error):
        if isinstance(error, (OSError, state_work.GivenUp)):
            state_work.tell(self.journal, error)
        elif error is not None:
            self._failed('have its state written', error)
        self._rewrite_if_wanted()

    def check_state(self, begun):
        """The start began with the queue's state (recovery.Recovered.begun): compare it with the journal."""
        found, files, heads = begun
        self.journal.state = state.path_of(self.journal.files.spool, self.journal.name)
        self.began_reading = self.clock.monotonic()
        self._start(state_work.CheckState(self.journal, files, found, heads), self._state_checked)

    def _state_checked(self, error):
        work, log, name = self.job.work, self.journal.disk.log, self.journal.shown_name()
        if error is not None:
            log.warning('journal of queue %s: the state that the start began with cannot be checked: %s', name,
                        getattr(error, 'strerror', None) or error)
        elif work.broken is not None:
            log.error('journal of queue %s: %s: what cannot be read is left out when its turn comes', name, work.broken)
        elif work.wrong is not None:
            log.error('journal of queue %s: %s: the queue goes on with what the start began with, and the next start replays'
                      ' the whole journal', name, work.wrong)
            self.journal.forget_state()
        self._rewrite_if_wanted()

    def _reads_only(self):
        return self.job is not None and self.job.work.only_reads

    def _give_way(self, at_once=True):
        """End what only reads, or let it have its time: there is something else to be done."""
        if self._reads_only() and (at_once or self.clock.monotonic() >= self.began_reading + self.job.work.patience):
            job, self.job = self.job, None
            job.cancel()

    # -- rewriting -------------------------------------------------------------------------------------------------

    def _rewrite(self, empty):
        """``empty``: by rule 1, nothing waits."""
        queue = self.queue
        items = [item for item in queue.items if item.data is not None] if queue.voids else list(queue.items)
        items += [put.item for put in queue.tail]
        self.rewriting = True
        self.next_pack = None
        self.rewriting_empty = empty
        self.began = self.clock.monotonic()
        queue.leave_out_voids()
        self._start(Rewrite(self.journal, self._opened(), items, self._switched), self._rewrite_ended)

    def _switched(self, old, begin, new, difference):
        """The rewritten file is the current one."""
        self.placing = True
        self.lost_told.clear()
        now = self.clock.monotonic()
        stats = self.queue.stats
        stats.journal_rewrites += 1
        stats.journal_rewrite_usec.add(int((now - self.began) * 1000000))
        if not self.rewriting_empty:
            self.barred_until = now + self.delay
        elif new.size >= self.default_journal_size // 2:
            self.barred_empty_until = self.barred_until = now + self.delay
        self.queue.file_replaced(old, begin, new, difference)
        self._answer_wanted(None)

    def _rewrite_ended(self, error):
        self.rewriting = self.placing = False
        if error is not None:
            self.queue.keep_voids()
            self.paused_until = self.lost_until = self.clock.monotonic() + PAUSE
            self._failed('be rewritten', error)
            self._answer_wanted(error)
        self._job_ended()

    def rewrite_for_commit(self, awaited):
        """An fsync can only be trusted after a rewrite. -> true if there will be one: then ``Journal.rewritten`` is
        called at its end. ``awaited``: somebody waits for that fsync, so it is tried although the last one has just
        failed."""
        if self.placing or self.queue.reader is not None:
            return False
        if not awaited and self.clock.monotonic() < self.paused_until:
            return False
        self.wanted = True
        self._give_way()
        if self.job is None:
            self._rewrite(False)
        return True

    def _answer_wanted(self, error):
        if self.wanted:
            self.wanted = False
            self.journal.rewritten(error)

    def rewrite_emptied(self):
        """Begin a rewrite if nothing waits and the files hold something all the same: for a graceful stop.
        Nothing is begun beside another job. -> true if it was begun."""
        queue = self.queue
        self._give_way()
        if self.job is not None or queue.count or queue.tail or queue.reader is not None:
            return False
        if not self.journal.total():
            return False
        self._rewrite(True)
        return self.job is not None

    def give_up_rewrite(self):
        """The rewrite under way is about to become wrong: a void item that it leaves out gets its REMOVE, or records that
        it copied are cut off. Nothing of it is in use yet; if somebody waits for it, the next one begins after that.
        """
        if self.rewriting and not self.placing:
            job, self.job = self.job, None
            self.rewriting = False
            job.cancel()
            self.queue.keep_voids()
            self.journal.hub.soon(self._go_on)

    def _go_on(self):
        if self.job is None and not self.queue.closed:
            self.missed = True
            self._rewrite_if_wanted()

    # -- packing ---------------------------------------------------------------------------------------------------

    def pack(self):
        """The reader has left the file of the checkpoint."""
        queue = self.queue
        checkpoint, queue.checkpoint = queue.checkpoint, None
        if self.journal.is_pending():
            return
        self._give_way(False)
        work = Pack(self.journal, checkpoint.file, checkpoint.content(queue.items), self.clock.now_ms())
        if self.job is None:
            self._start(work, self._pack_ended)
        elif not self.rewriting:
            # The last one is still under way, on a slow disk; what it replaces is a part of what this one does.
            self.next_pack = work

    def _pack_ended(self, error):
        if error is not None:
            self._failed('be packed', error)
        self._rewrite_if_wanted()

    # -- files that vanish -----------------------------------------------------------------------------------------

    def look_for_lost_files(self):
        """Somebody may have removed or renamed files of the queue: begin to write them again, from memory or from what
        is still open. -> true if that has begun. Raises OSError if the folder cannot be looked at."""
        now = self.clock.monotonic()
        if self.job is not None and not self._reads_only() or self.journal.is_pending() or now < self.lost_until:
            return False
        if self.queue.reader is not None:
            for file in self.journal.files.files:
                if file.is_open() and file.length() < file.size:
                    self.queue.reader.mend_cut(file)
                    self.journal.files.measure()
        lost = [file for file in self.journal.files.files if not file.is_in_place()]
        if self.queue.reader is None and self._is_cut():
            lost.append(self.journal.file)
        if not lost:
            return False
        self._give_way()
        in_memory = self.queue.reader is None
        for file in lost:
            if file in self.lost_told:
                continue
            self.lost_told.add(file)
            self.journal.disk.log.error(
                '%s was removed, renamed or cut by somebody: %s', shown_path(file.path),
                'the queue is written anew' if in_memory else 'it is written anew' if file.is_open() else
                'what it holds is gone, later removals may hit the wrong items at the next start')
        held = next((file for file in lost if file.is_open()), None)
        if in_memory:
            self._rewrite(False)
        elif held is not None:
            self.rewriting = True
            self.next_pack = None
            self._start(Restore(self.journal, held, self.queue.file_restored), self._restored)
        else:
            self.lost_until = now + TOLD_EVERY
            self.lost_told.clear()
        return self.job is not None

    def written(self):
        """Bytes in the new file of the job under way: how far it is."""
        file = None if self.job is None else self.job.work.temporary
        return 0 if file is None else file.size

    def _is_cut(self):
        file = self.journal.file
        return file.is_open() and file.length() < file.size

    def _restored(self, error):
        self.rewriting = False
        if error is not None:
            self.lost_until = self.clock.monotonic() + PAUSE
            self._failed('be restored', error)
        self._rewrite_if_wanted()
        if error is None and not self.queue.closed:
            self._look_for_the_next()

    def _look_for_the_next(self):
        try:
            self.look_for_lost_files()
        except OSError as error:
            self._failed('look at its files', error)

    # -- jobs ------------------------------------------------------------------------------------------------------

    def _start(self, work, ended):
        self.job = Job(self.journal.hub, work, ended)
        self.job.start()

    def _rewrite_if_wanted(self):
        """A job that kept a rewrite from beginning has ended."""
        if self.wanted:
            self.job = None
            if self.queue.reader is None:
                self._rewrite(False)
                return
            self._answer_wanted(self.journal.suspect)
        self._job_ended()

    def _job_ended(self):
        self.job = None
        work, self.next_pack = self.next_pack, None
        if work is not None and not self.queue.closed:
            self._start(work, self._pack_ended)
        elif self.missed and not self.queue.closed:
            self.missed = False
            self.look()

    def _failed(self, what, error):
        """Say so, the same thing once a minute: while fsyncs fail every durable put asks for a rewrite (D9)."""
        why = getattr(error, 'strerror', None) or str(error)
        now = self.clock.monotonic()
        if (what, why) != self.told or now >= self.told_until:
            self.told, self.told_until = (what, why), now + TOLD_EVERY
            self.journal.disk.log.error('journal of queue %s could not %s: %s', self.journal.shown_name(), what, why)

    def stop(self):
        """End the job under way. -> AppendFiles that are left of it and belong to the queue, the oldest first; None
        while a thread is still at it: then ask again."""
        job = self.job
        if job is None:
            return []
        busy = job.cancel()
        return None if busy else job.work.remains(False)

    def abandon(self):
        """The queue is deleted: end the job under way, and let a thread that is still at it find out for itself.
        -> AppendFiles that are left of it, the oldest first."""
        job, self.job = self.job, None
        self.next_pack = None
        if job is None:
            return []
        busy = job.cancel()
        return job.work.remains(busy)


def _xid_of(opened):
    return opened[0]
