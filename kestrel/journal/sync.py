"""When journals are fsynced (spec journal 2)."""

from collections import deque

# The least pause before a failed fsync is tried again, seconds.
RETRY = 0.1
# How many fsyncs run in threads at a time; the others wait in line. More would hardly be faster, the file
# system commits one after the other, and each takes a second descriptor of its file.
AT_ONCE = 4
# How often the log says that fsyncs fail for the same reason, seconds.
TOLD_EVERY = 60


class HubLoop:
    """gevent's hub as the Syncer needs it: timers, and threads for what takes long."""

    def __init__(self):
        from gevent import get_hub      # here, so that tools and unit tests do without gevent
        from gevent.threadpool import ThreadPool
        self._hub = get_hub()
        # Not the hub's own pool: whoever else filled that would keep the fsyncs out.
        self._threads = ThreadPool(AT_ONCE)

    def call_later(self, seconds, function, *arguments):
        """Call ``function`` on the hub, once. The hub's loop keeps the timer alive until then."""
        timer = self._hub.loop.timer(seconds)
        timer.start(self._fire, timer, function, arguments)

    def run_in_thread(self, job, done, *arguments):
        """Call ``job()``, which must not raise, in a thread, then ``done(*arguments, result)`` on the hub.

        Raises what gevent or the system says if no thread can be had: with all of them busy the hub cannot
        wait for one, and none may be left to be started. The job may yet be called later, being in a line.
        """
        waiting = self._threads.spawn(job)
        waiting.rawlink(lambda finished: done(*arguments, finished.value))

    @staticmethod
    def _fire(timer, function, arguments):
        timer.close()
        function(*arguments)


class TimedSync:
    """A disk.BackgroundSync that measures itself; -> (seconds it took, the exception it raised or None)."""

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
    """The fsyncs of one server: at once where a reply waits for it, else after the period and off the hub.

    clock           clock.Clock
    log             logging.Logger
    on_fsync        called with the duration of each fsync, int, microseconds
    on_fsync_delay  called with how much later than ``sync_journal`` says a record was synced, int,
                    microseconds
    on_fsync_error  called with the class name of the error of each failed fsync, str
    loop            a test's stand-in for the HubLoop of this thread
    """

    def __init__(self, clock, log, on_fsync, on_fsync_delay, on_fsync_error, loop=None):
        self._clock = clock
        self._loop = HubLoop() if loop is None else loop
        self._log = log
        self._on_fsync = on_fsync
        self._on_fsync_delay = on_fsync_delay
        self._on_fsync_error = on_fsync_error
        # Those whose fsync is due, (journal, when), the longest waiting first; and how many have a thread.
        self._due = deque()
        self._running = 0
        # The journals whose last fsync failed; for each reason when the log said it last, monotonic seconds;
        # is there a failure in the log that no line takes back yet.
        self._failing = set()
        self._told = {}
        self._is_told = False

    def sync_now(self, journal, file):
        """Fsync a journal's disk.AppendFile before returning. Raises OSError."""
        begun = self._clock.monotonic()
        try:
            file.fsync()
        except OSError as error:
            self._note(journal, error)
            raise
        self._note(journal, None)
        took = _usec(self._clock.monotonic() - begun)
        self._on_fsync(took)
        self._on_fsync_delay(took)

    def call_later(self, seconds, function):
        """Call ``function()`` on the hub, once."""
        self._loop.call_later(seconds, function)

    def first_unsynced(self, journal):
        """A journal wrote its first unsynced record: fsync it a period from now, and every period from then
        on while it has unsynced ones.
        """
        self._later(journal, self._clock.monotonic() + journal.period)

    def forget(self, journal):
        """A journal was deleted: nobody waits for its fsync to work again."""
        self._failing.discard(journal)

    def _later(self, journal, due):
        self._loop.call_later(max(0.0, due - self._clock.monotonic()), self._enter, journal, due)

    def _enter(self, journal, due):
        self._due.append((journal, due))
        self._begin()

    def _begin(self):
        """Start fsyncs that are due, as many as there are threads left."""
        while self._due and self._running < AT_ONCE:
            journal, due = self._due.popleft()
            begun = self._clock.monotonic()
            try:
                job = journal.begin_sync()
                if job is not None:
                    self._run(job, journal, due, begun)
            except Exception as error:
                # Whatever it was: only _done can see to it that the journal is synced later.
                self._done(journal, due, begun, error)

    def _run(self, job, journal, due, begun):
        self._running += 1
        try:
            self._loop.run_in_thread(TimedSync(job, self._clock), self._ended, journal, due, begun)
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
        if journal.end_sync(error is None):
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
