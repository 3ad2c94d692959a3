"""When journals are fsynced, and how many share an fsync (spec journal 2, D9, D63)."""

from collections import deque

from kestrel.hub import SYNC_THREADS

# The least pause before a failed fsync is tried again, seconds.
RETRY = 0.1
# So many fsyncs of periods run at a time: one thread is left for those that an answer waits for.
PERIODIC_AT_ONCE = SYNC_THREADS - 1
# How often the log says that fsyncs fail for the same reason, seconds.
TOLD_EVERY = 60


class Commit:
    """An fsync to come, and who waits for it: group commit. All that was written before it begins shares it.

    done   bool: it has ended; ``error``: JournalError if it failed, else None
    """

    def __init__(self):
        self.done = False
        self.error = None
        self._waiting = []

    def join(self, client):
        """``client.committed()`` is called on the hub when it is done; that may switch greenlets."""
        self._waiting.append(client)

    def finish(self):
        """Let those go on who wait."""
        waiting, self._waiting = self._waiting, []
        for client in waiting:
            client.committed()


class TimedSync:
    """A SyncJob that measures itself; -> (seconds it took, the exception it raised or None)."""

    def __init__(self, job, clock):
        self._job = job
        self._clock = clock

    def __call__(self):
        begun = self._clock.monotonic()
        failure = None
        try:
            self._job()
        except Exception as error:
            # Whatever it was: if the Syncer did not hear of it, the queue would never be synced again.
            failure = error
        return self._clock.monotonic() - begun, failure


class Syncer:
    """The fsyncs of one server, all of them in threads: at once where an answer waits for it, else after the period.

    clock           clock.Clock
    log             logging.Logger
    on_fsync        called with the duration of each fsync, int, microseconds
    on_fsync_delay  called with how much later than ``sync_journal`` says a record was synced, int,
                    microseconds
    on_fsync_error  called with the class name of the error of each failed fsync, str
    hub             hub.Hub
    """

    def __init__(self, clock, log, on_fsync, on_fsync_delay, on_fsync_error, hub):
        self._clock = clock
        self._hub = hub
        self._log = log
        self._on_fsync = on_fsync
        self._on_fsync_delay = on_fsync_delay
        self._on_fsync_error = on_fsync_error
        # Those whose fsync is due, (journal, when), the longest waiting first; and how many have a thread.
        self._urgent = deque()
        self._due = deque()
        self._running = 0
        # The journals whose last fsync failed; for each reason when the log said it last, monotonic seconds;
        # is there a failure in the log that no line takes back yet.
        self._failing = set()
        self._told = {}
        self._is_told = False

    def soon(self, journal):
        """Fsync a journal at the end of this turn of the hub: all who put in this turn share it."""
        self._urgent.append((journal, self._clock.monotonic()))
        if len(self._urgent) == 1:
            self._hub.soon(self._begin)

    def first_unsynced(self, journal):
        """A journal wrote its first unsynced record: fsync it a period from now, and every period from then
        on while it has unsynced ones.
        """
        self._later(journal, self._clock.monotonic() + journal.period)

    def in_background(self, journal):
        """Fsync a journal when there is a thread for it: a file of it was rotated."""
        self._enter(journal, self._clock.monotonic())

    def forget(self, journal):
        """A journal was deleted or closed: nobody waits for its fsync to work again."""
        if journal in self._failing:
            self._failing.discard(journal)
            self._tell_end()

    def sync_now(self, journal, job):
        """Call ``job()``, which fsyncs the files of a journal, before returning: at the stop, in a thread of its own.
        Raises OSError."""
        begun = self._clock.monotonic()
        try:
            job()
        except OSError as error:
            self._note(journal, error)
            raise
        self._note(journal, None)
        self._on_fsync(_usec(self._clock.monotonic() - begun))

    def _later(self, journal, due):
        self._hub.call_later(max(0.0, due - self._clock.monotonic()), self._enter, journal, due)

    def _enter(self, journal, due):
        self._due.append((journal, due))
        self._begin()

    def _begin(self):
        """Start fsyncs that are due, as many as there are threads left."""
        while self._urgent and self._running < SYNC_THREADS:
            self._start(*self._urgent.popleft(), False)
        while self._due and self._running < PERIODIC_AT_ONCE:
            self._start(*self._due.popleft(), True)

    def _start(self, journal, due, timed):
        begun = self._clock.monotonic()
        try:
            job = journal.begin_sync(timed)
            if job is not None:
                self._run(job, journal, due, begun)
        except Exception as error:
            # Whatever it was: only _done can see to it that the journal is synced later.
            self._done(journal, due, begun, error)

    def _run(self, job, journal, due, begun):
        def ended(result, error):
            self._ended(journal, due, begun, result)
        self._running += 1
        try:
            self._hub.run_sync(TimedSync(job, self._clock), ended)
        except Exception:
            self._running -= 1
            job.close()
            raise

    def _ended(self, journal, due, begun, result):
        self._running -= 1
        took, error = result
        if error is None:
            self._on_fsync(_usec(took))
            self._on_fsync_delay(_usec(max(0.0, self._clock.monotonic() - due)))
        self._done(journal, due, begun, error)
        self._begin()

    def _done(self, journal, due, begun, error):
        """Note how it went, and come back if the journal has unsynced records."""
        self._note(journal, error)
        if journal.end_sync(error):
            self._later(journal, begun + (journal.period if error is None else max(journal.period, RETRY)))

    def _note(self, journal, error):
        """Count a failed fsync and keep the log up to date: a line a minute for each reason, whichever queues
        it hits (a server without descriptors would fill the disk with them), and one when all work again.
        """
        if error is None:
            if journal in self._failing:
                self._failing.discard(journal)
                self._tell_end()
            return
        self._on_fsync_error(type(error).__name__)
        self._failing.add(journal)
        now = self._clock.monotonic()
        reason = getattr(error, 'strerror', None) or str(error) or type(error).__name__
        if now - self._told.get(reason, now - TOLD_EVERY) >= TOLD_EVERY:
            self._told[reason] = now
            self._is_told = True
            many = len(self._failing)
            self._log.error('journal of queue %s: fsync failed: %s%s', journal.shown_name(), reason,
                            ' (%d queues)' % many if many > 1 else '')

    def _tell_end(self):
        if self._is_told and not self._failing:
            self._is_told = False
            self._log.warning('fsync of all journals works again')


def _usec(seconds):
    return round(seconds * 1000000)
