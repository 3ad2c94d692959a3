"""Spools for unit tests: a clock and timers that are moved, a system that fails, readable journals."""

import errno
import itertools
import logging
import os
import pathlib
import shutil
import tempfile
import threading
import unittest

from kestrel.disk import Disk
from kestrel.hub import Hub
from kestrel.journal import record
from kestrel.journal.journal import Journal
from kestrel.journal.sync import Syncer
from support.clock import MovedClock


class MovedHub:
    """hub.Hub without gevent. Timers fire in ``advance``, what was to be called soon in ``turn``, jobs of
    threads wait for ``finish``."""

    def __init__(self, clock):
        self.clock = clock
        self.timers = []
        self.numbers = itertools.count()
        self.called_soon = []
        self.jobs = []

    def call_later(self, seconds, function, *arguments):
        self.timers.append((self.clock.seconds + seconds, next(self.numbers), function, arguments))

    def soon(self, function):
        self.called_soon.append(function)

    def run_sync(self, job, done):
        self.jobs.append((job, done))

    run_job = run_reading = run_sync

    def turn(self):
        """The hub has worked off what was ready."""
        while self.called_soon:
            self.called_soon.pop(0)()

    def finish(self):
        """Let all threads do their jobs and the hub hear of it; -> how many."""
        self.turn()
        jobs, self.jobs = self.jobs, []
        for job, done in jobs:
            try:
                result, error = job(), None
            except Exception as failure:
                result, error = None, failure
            done(result, error)
        self.turn()
        return len(jobs)

    def finish_all(self):
        """... until none is left."""
        while self.finish():
            pass

    def advance(self, seconds):
        """Let time pass, stopping at each timer on the way."""
        end = self.clock.seconds + seconds
        self.turn()
        while True:
            due = [timer for timer in self.timers if timer[0] <= end + 1e-9]
            if not due:
                break
            timer = min(due)
            self.timers.remove(timer)
            self.clock.advance(max(0.0, timer[0] - self.clock.seconds))
            timer[2](*timer[3])
            self.turn()
        self.clock.advance(end - self.clock.seconds)


class FaultySystem:
    """The module os with faults.

    calls     [(name, ...)] of every call that changes or syncs something
    faults    {name: errno}: every call of that name fails, until it is taken out
    room      bytes that can still be written, None = no limit: a write that has only room for a part of its
              data is short, the next fails with ENOSPC
    most      how many bytes one write takes, None = all
    """

    WATCHED = ('write', 'writev', 'ftruncate', 'fsync', 'rename', 'unlink', 'open', 'read', 'pread', 'dup')
    path = os.path

    def __init__(self):
        self.calls = []
        self.faults = {}
        self.room = None
        self.most = None
        for name in self.WATCHED:
            setattr(self, name, self._watched(name))

    def __getattr__(self, name):
        return getattr(os, name)

    def count(self, name):
        return sum(1 for call in self.calls if call[0] == name)

    def _watched(self, name):
        def call(*arguments):
            self.calls.append((name, *arguments))
            if name in self.faults:
                raise OSError(self.faults[name], os.strerror(self.faults[name]))
            if name == 'write':
                return os.write(arguments[0], self._fit(arguments[1]))
            if name == 'writev':
                return os.write(arguments[0], self._fit(b''.join(arguments[1])))
            if name == 'ftruncate' and self.room is not None:
                self.room += max(0, os.fstat(arguments[0]).st_size - arguments[1])
            if name == 'fsync':
                os.fstat(*arguments)    # the descriptor must be good, but no test waits for the disk
                return None
            return getattr(os, name)(*arguments)
        return call

    def _fit(self, data):
        data = bytes(data)[:self.most]
        if self.room is None:
            return data
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fitting = data[:self.room]
        self.room -= len(fitting)
        return fitting


class KillableSystem(FaultySystem):
    """... of a process that may be killed: then its descriptors are closed, and it changes nothing any more.

    held  the descriptors that are open
    """

    def __init__(self):
        self.held = set()
        self.killed = False
        super().__init__()

    def close(self, descriptor):
        if not self.killed:
            self.held.discard(descriptor)
            os.close(descriptor)

    def kill(self):
        """The process ends. The collector may close its generators at any time later: they find nothing."""
        self.killed = True
        while self.held:
            os.close(self.held.pop())

    def _watched(self, name):
        call = super()._watched(name)

        def call_of_the_living(*arguments):
            if self.killed:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            answer = call(*arguments)
            if name in ('open', 'dup'):
                self.held.add(answer)
            return answer
        return call_of_the_living


class ToldQueue:
    """The queue of a journal, as far as the journal sees it.

    settled   how often it was told that an fsync has ended
    asked     how often it was asked for a rewrite before the next fsync; ``rewrites``: what it answers
    """

    def __init__(self):
        self.settled = 0
        self.asked = 0
        self.rewrites = False

    def settle(self):
        self.settled += 1

    def unchoked(self):
        pass

    def rewrite_for_commit(self, awaited):
        self.asked += 1
        return self.rewrites


class LogLines(logging.Handler):
    """Keeps what is logged: ``lines`` ['ERROR text', ...]."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, entry):
        self.lines.append('%s %s' % (entry.levelname, entry.getMessage()))


class Bytes:
    """A file for a RecordReader, in memory; ``most``: how much one read brings at most."""

    def __init__(self, data, most=None):
        self.data = data
        self.size = len(data)
        self.most = most or len(data)

    def read_at(self, count, offset):
        return self.data[offset:offset + min(count, self.most)]


def readable(data):
    """A journal as one line, for example ``A[one] T1 U1 R``; ends with ``torn`` or ``impossible``."""
    reader = record.RecordReader(Bytes(data), 0)
    words = []
    while True:
        op = reader.next()
        if op == record.END:
            return ' '.join(words)
        if op < 0:
            return ' '.join(words + ['torn' if op == record.TORN else 'impossible'])
        words.append(_word(op, reader))


def _word(op, reader):
    letter = {record.ADD: 'a', record.ADDX: 'A', record.REMOVE: 'R', record.REMOVE_TENTATIVE: 'T',
              record.REMOVE_TENTATIVE_XID: 'T', record.UNREMOVE: 'U', record.CONFIRM_REMOVE: 'C',
              record.SAVE_XID: 'S', record.ADD_XID: 'AX', record.CONTINUE: 'N', record.ADD_FLAGS: 'F'}[op]
    if op in (record.REMOVE, record.REMOVE_TENTATIVE):
        return letter
    number = ''
    if op == record.ADD_FLAGS:
        number = '%d/%d' % (reader.item.flags, reader.item.deliveries)
    elif op not in (record.ADD, record.ADDX):
        number = str(reader.xid)
    if op not in (record.ADD, record.ADDX, record.ADD_XID, record.CONTINUE, record.ADD_FLAGS):
        return letter + number
    data = reader.item.data
    return '%s%s[%s]' % (letter, number, data.decode('latin-1') if len(data) < 40 else '#%d' % len(data))


class SpoolTest(unittest.TestCase):
    """A test with a spool of its own: ``spool`` (bytes), ``disk`` on a FaultySystem ``system``, ``clock``,
    ``hub``, ``syncer`` whose callbacks fill ``fsyncs``, ``delays`` and ``fsync_errors``; ``log.lines``."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.addCleanup(self.close_files)
        self.spool = os.fsencode(self.folder)
        self.log = LogLines()
        self.logger = logging.Logger('test')
        self.logger.addHandler(self.log)
        self.system = FaultySystem()
        self.disk = Disk(self.logger, self.system)
        self.clock = MovedClock()
        self.hub = MovedHub(self.clock)
        self.fsyncs, self.delays, self.fsync_errors, self.journal_errors = [], [], [], []
        self.syncer = Syncer(self.clock, self.logger, self.fsyncs.append, self.delays.append,
                             self.fsync_errors.append, self.hub)

    def use_real_hub(self):
        """gevent's hub, and threads: what one of them closed after the test could be a file of the next test, under the same
        number, so the test ends when they have."""
        before = threading.enumerate()
        self.hub = Hub()

        def end():
            self.hub.close()
            for thread in threading.enumerate():
                if thread not in before:
                    thread.join(60)
        self.addCleanup(end)

    def close_files(self):
        """Close what the test's queues have open: all tests together would need more than the usual 1024."""
        for descriptor in os.listdir('/proc/self/fd'):
            try:
                if os.readlink('/proc/self/fd/' + descriptor).startswith(str(self.folder)):
                    os.close(int(descriptor))
            except FileNotFoundError:
                continue        # that of the listing itself

    def journal(self, name=b'q', sync_journal=None, recovered=None, **more):
        """-> Journal, with a ToldQueue until a real one is made for it."""
        journal = Journal(self.disk, self.clock, self.hub, self.syncer, self.spool, name, sync_journal,
                          recovered, on_error=lambda: self.journal_errors.append(1), **more)
        journal.queue = ToldQueue()
        return journal

    def write(self, name, data):
        (self.folder / name).write_bytes(data)

    def read(self, name='q'):
        return (self.folder / name).read_bytes()

    def records(self, name='q'):
        return readable(self.read(name))

    def files(self):
        """The names in the spool, sorted, str."""
        return sorted(path.name for path in self.folder.iterdir())
