"""gevent's hub as the journals need it: timers, and threads for what takes long."""

import threading
from collections import deque
from queue import SimpleQueue

# Sleeping so long lets everybody run whose turn it is, those too whose input has just come. gevent.sleep(0) does not: all
# who sleep so go on before the hub looks for input again, so that slices of 1000 items added up to pauses of 7 ms.
ONE_TURN = 0.000001

# Fsyncs that somebody may wait for have threads of their own; rewriting, packing and deleting share others, so
# that a long one never delays an answer. More fsyncs at a time would hardly be faster, the file system commits
# one after the other.
SYNC_THREADS = 4
JOB_THREADS = 2
# What only reads the journal and may take minutes keeps nobody waiting but its like.
READING_THREADS = 1


class Threads:
    """At most ``most`` threads, started when there is work for them; results come back on the hub.

    gevent's own pool takes 680-1000 us for an fsync of 260-400 us, this one 340-380 us: nothing but a queue, a thread
    and a watcher that wakes the hub stand between.
    """

    def __init__(self, loop, most):
        self._most = most
        self._jobs = SimpleQueue()
        self._results = deque()
        self._started = 0
        self._under_way = 0
        self._bell = loop.async_()

    def run(self, job, done):
        """Call ``job()`` in a thread, then ``done(result, None)`` or ``done(None, exception)`` on the hub.

        Raises RuntimeError if there is no thread and the system gives none.
        """
        if self._started < self._most and self._started <= self._under_way:
            self._start(needed=self._started == 0)
        if not self._under_way:
            self._bell.start(self._finish)
        self._under_way += 1
        self._jobs.put((job, done))

    def _start(self, needed):
        try:
            threading.Thread(target=self._work, daemon=True).start()
        except RuntimeError:
            if needed:
                raise
            return
        self._started += 1

    def _work(self):
        while True:
            job, done = self._jobs.get()
            if job is None:
                return
            try:
                result = job(), None
            except BaseException as error:
                # Whatever it was: whoever waits for this job must hear of it.
                result = None, error
            self._results.append((done, *result))
            job = done = result = None
            self._bell.send()

    def _finish(self):
        while self._results:
            done, result, error = self._results.popleft()
            self._under_way -= 1
            if not self._under_way:
                # An active watcher would keep the loop from ending.
                self._bell.stop()
            done(result, error)

    def close(self):
        """Let the threads end once they have nothing to do."""
        for _ in range(self._started):
            self._jobs.put((None, None))
        self._started = 0


class Hub:
    """The hub of the thread that makes it."""

    def __init__(self):
        from gevent import get_hub      # here, so that tools and unit tests do without gevent
        self._loop = get_hub().loop
        self._syncs = Threads(self._loop, SYNC_THREADS)
        self._jobs = Threads(self._loop, JOB_THREADS)
        self._readings = Threads(self._loop, READING_THREADS)

    def call_later(self, seconds, function, *arguments):
        """Call ``function`` on the hub, once. The hub's loop keeps the timer alive until then."""
        timer = self._loop.timer(seconds)
        timer.start(self._fire, timer, function, arguments)

    def soon(self, function):
        """Call ``function`` when the hub has worked off what is ready now."""
        self._loop.run_callback(function)

    def run_sync(self, job, done):
        """See ``Threads.run``: for what an answer may wait for."""
        self._syncs.run(job, done)

    def run_job(self, job, done):
        """See ``Threads.run``: for what may take long."""
        self._jobs.run(job, done)

    def run_reading(self, job, done):
        """See ``Threads.run``: for what takes long and nobody waits for."""
        self._readings.run(job, done)

    def close(self):
        self._syncs.close()
        self._jobs.close()
        self._readings.close()

    @staticmethod
    def _fire(timer, function, arguments):
        timer.close()
        function(*arguments)
