"""One server process without sockets: it ends where a test says so, and its threads pause there.

It consists of the real parts, as ``server.py`` connects them; its files are those of a Recorder.
"""

import errno
import math
import types
from collections import deque
from functools import partial

from greenlet import getcurrent, greenlet

from kestrel.disk import Disk
from kestrel.hub import JOB_THREADS, READING_THREADS, SYNC_THREADS
from kestrel.journal.sync import Syncer
from kestrel.queue_collection import QueueCollection
from kestrel.services import Services
from kestrel.session import Session
from kestrel.stats import ServerStats
from support.fakes import SERVER_DEFAULTS, FakeConnection, FakeControl
from support.spool import MovedHub

MOST_THREADS = {'syncs': SYNC_THREADS, 'jobs': JOB_THREADS, 'readings': READING_THREADS}
CALLS = ('open', 'close', 'dup', 'write', 'writev', 'pwrite', 'ftruncate', 'rename', 'replace', 'unlink',
         'mkdir', 'fsync', 'fdatasync')


class Thread(greenlet):
    """A thread of the process."""


def pause(descriptor=None):
    """Let others run for a while, if this is a thread.

    With it as its ``fsync`` a Recorder has fsyncs during which others go on.
    """
    current = getcurrent()
    if isinstance(current, Thread):
        current.parent.switch()


class System:
    """The module os of one process: threads pause before each call; once it has ended nothing is done."""

    def __init__(self, recorder):
        self.ended = False
        self.path = recorder.path
        self._recorder = recorder
        for name in CALLS:
            setattr(self, name, self._until_the_end(getattr(recorder, name)))

    def __getattr__(self, name):
        return getattr(self._recorder, name)

    def _until_the_end(self, function):
        def call(*arguments):
            if not self.ended:
                pause()
            if self.ended:
                raise OSError(errno.EIO, 'the process has ended')
            return function(*arguments)
        return call


class ThreadedHub(MovedHub):
    """A hub with Threads; in ``work`` one of them goes on by one call of the system, or the hub hears of its
    result."""

    def __init__(self, clock, chance):
        super().__init__(clock)
        self.chance = chance
        self.ready = []             # connections that are to look again
        self.waiting = {kind: deque() for kind in MOST_THREADS}
        self.running = {kind: [] for kind in MOST_THREADS}
        self.results = deque()

    def run_sync(self, job, done):
        self.waiting['syncs'].append((job, done))

    def run_job(self, job, done):
        self.waiting['jobs'].append((job, done))

    def run_reading(self, job, done):
        self.waiting['readings'].append((job, done))

    def turn(self):
        while self.called_soon or self.ready:
            super().turn()
            if self.ready:
                self.ready.pop(0).resume()

    def work(self):
        """A thread goes on, or the hub hears of what one has done; -> false if there was nothing to do."""
        self.turn()
        steps = [(self._hear,)] if self.results else []
        for kind, waiting in self.waiting.items():
            running = self.running[kind]
            steps += [(self._go_on, running, thread) for thread in running]
            if waiting and len(running) < MOST_THREADS[kind]:
                steps.append((self._start, waiting, running))
        if not steps:
            return False
        step, *arguments = self.chance.choice(steps)
        step(*arguments)
        self.turn()
        return True

    def finish_all(self):
        while self.work():
            pass

    def _start(self, waiting, running):
        thread = Thread(self._do)
        running.append(thread)
        thread.switch(*waiting.popleft())
        self._look_at(running, thread)

    def _go_on(self, running, thread):
        thread.switch()
        self._look_at(running, thread)

    @staticmethod
    def _look_at(running, thread):
        if thread.dead:
            running.remove(thread)

    def _do(self, job, done):
        try:
            self.results.append((done, job(), None))
        except Exception as failure:
            self.results.append((done, None, failure))

    def _hear(self):
        done, result, error = self.results.popleft()
        done(result, error)

    def end_threads(self):
        for running in self.running.values():
            for thread in running:
                thread.throw()


class Process:
    """A server on the spool of a Recorder, from its start on.

    config  support.fakes.FakeConfig
    """

    def __init__(self, recorder, clock, config, logger, chance):
        self.recorder = recorder
        self.clock = clock
        self.system = System(recorder)
        self.hub = ThreadedHub(clock, chance)
        self.disk = Disk(logger, self.system)
        self.connections = []
        self.requests = []
        ignore = [].append
        syncer = Syncer(clock, logger, ignore, ignore, ignore, self.hub)
        self.stats = ServerStats()
        self.collection = QueueCollection(self.disk, self.hub, syncer, clock, self.stats, config, logger)
        settings = types.SimpleNamespace(**{**SERVER_DEFAULTS, 'max_open_transactions': 100})
        self.services = Services(self.collection, self.stats, clock, settings, FakeControl(), logger, 1 << 30)
        self.collection.load(self.disk.lock_spool(recorder.folder))

    def client(self):
        """-> Session of a new client."""
        connection = FakeConnection(self.hub, len(self.connections))
        self.connections.append(connection)
        return Session(self.services, connection, 1)

    def request(self, function, *arguments):
        """Begin a request of a client, which may have to wait; -> its greenlet."""
        request = greenlet(function)
        self.requests.append(request)
        request.switch(*arguments)
        return request

    def advance(self, seconds):
        """Let time pass; whoever has waited long enough for an item goes on."""
        self.hub.advance(seconds)
        for connection in self.connections:
            if connection.parked is not None and connection.parked[1] <= self.clock.monotonic():
                connection.resume()
        self.hub.turn()

    def stop(self):
        """As ``server.py`` does it, from the point on where all clients are gone."""
        queues = list(self.collection.queues.values())
        for queue in queues:
            while queue.compactor.stop() is None:
                self.hub.work()
        self._do_all([queue.close for queue in queues])
        self._do_all([partial(queue.write_state, math.inf) for queue in queues])
        self.disk.unlock_spool()

    def _do_all(self, jobs):
        """In threads, at once."""
        done = []
        for job in jobs:
            self.hub.run_job(job, lambda result, error: done.append(error))
        while len(done) < len(jobs):
            self.hub.work()
        if any(done):
            raise AssertionError(done)

    def end(self):
        """The process is gone, wherever it was."""
        self.system.ended = True
        self.hub.end_threads()
        for request in self.requests:
            if not request.dead:
                request.throw()
        self.recorder.close_all()
