"""When journals are fsynced (spec journal 2)."""

# The least pause before a failed fsync is tried again, seconds.
RETRY = 0.1


class HubLoop:
    """gevent's hub as the Syncer needs it: timers, and threads for what takes long."""

    def __init__(self):
        from gevent import get_hub      # here, so that tools and unit tests do without gevent
        self._hub = get_hub()

    def call_later(self, seconds, function, *arguments):
        """Call ``function`` on the hub, once. The hub's loop keeps the timer alive until then."""
        timer = self._hub.loop.timer(seconds)
        timer.start(self._fire, timer, function, arguments)

    def run_in_thread(self, job, done, *arguments):
        """Call ``job()``, which must not raise, in a thread, then ``done(*arguments, result)`` on the hub."""
        waiting = self._hub.threadpool.spawn(job)
        waiting.rawlink(lambda finished: done(*arguments, finished.value))

    @staticmethod
    def _fire(timer, function, arguments):
        timer.close()
        function(*arguments)


class TimedSync:
    """A disk.BackgroundSync that measures itself; -> (seconds it took, OSError or None)."""

    def __init__(self, job, clock):
        self._job = job
        self._clock = clock

    def __call__(self):
        begun = self._clock.monotonic()
        try:
            self._job()
        except OSError as error:
            return self._clock.monotonic() - begun, error
        return self._clock.monotonic() - begun, None


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

    def _later(self, journal, due):
        self._loop.call_later(max(0.0, due - self._clock.monotonic()), self._begin, journal, due)

    def _begin(self, journal, due):
        begun = self._clock.monotonic()
        try:
            job = journal.begin_sync()
        except OSError as error:
            self._done(journal, due, begun, (0.0, error))
            return
        if job is not None:
            self._loop.run_in_thread(TimedSync(job, self._clock), self._done, journal, due, begun)

    def _done(self, journal, due, begun, result):
        took, error = result
        if error is None:
            self._on_fsync(_usec(took))
            self._on_fsync_delay(_usec(max(0.0, self._clock.monotonic() - due)))
        self._note(journal, error)
        if journal.end_sync(error is None):
            self._later(journal, begun + (journal.period if error is None else max(journal.period, RETRY)))

    def _note(self, journal, error):
        """Count a failed fsync; log the first of a row, and the first that works again."""
        if error is not None:
            self._on_fsync_error(type(error).__name__)
            if not journal.sync_failing:
                self._log.error('journal of queue %s: fsync failed: %s', journal.shown_name(), error.strerror)
        elif journal.sync_failing:
            self._log.warning('journal of queue %s: fsync works again', journal.shown_name())
        journal.sync_failing = error is not None


def _usec(seconds):
    return round(seconds * 1000000)
