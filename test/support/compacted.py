"""A queue whose journal is compacted: every system call readable, and what a start would bring."""

import errno
import os
import pathlib
import shutil
import tempfile

from kestrel.disk import Disk
from kestrel.journal import recovery
from support.fakes import make_queue
from support.queues import read_all
from support.spool import FaultySystem, SpoolTest

# What an ADDX has in front of its data, bytes.
HEADER = 21
LARGE = 1 << 30
NEVER_COMPACTED = {'default_journal_size': LARGE, 'max_journal_size': LARGE, 'max_memory_size': LARGE}


class ToldSystem(FaultySystem):
    """Tells what it is asked to do.

    told     what changes or syncs something: 'create q~~1', 'write q~~1', 'fsync .', 'rename q q.1',
             'unlink q.1', 'cut q'
    failing  these numbers of ``told``, counted from 0, fail with EIO
    after    called after each of them that has worked, or None
    """

    def __init__(self):
        self.told = []
        self.failing = ()
        self.after = None
        super().__init__()

    def _watched(self, name):
        call = super()._watched(name)

        def told(*arguments):
            words = _words(name, arguments)
            if not words:
                return call(*arguments)
            number = len(self.told)
            self.told.append(words)
            if number in self.failing:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            answer = call(*arguments)
            if self.after is not None:
                self.after()
            return answer
        return told


def _words(name, arguments):
    if name in ('write', 'writev'):
        return 'write ' + _file_of(arguments[0])
    if name == 'fsync':
        return 'fsync ' + _file_of(arguments[0])
    if name == 'ftruncate':
        return 'cut ' + _file_of(arguments[0])
    if name in ('rename', 'unlink'):
        return ' '.join([name, *(os.path.basename(path).decode() for path in arguments)])
    if name == 'open' and arguments[1] & os.O_CREAT:
        return 'create ' + os.path.basename(arguments[0]).decode()
    return ''


def _file_of(descriptor):
    """The name of what is open: a folder is ``.``."""
    path = os.readlink('/proc/self/fd/%d' % descriptor)
    return '.' if os.path.isdir(path) else os.path.basename(path)


class CompactedTest(SpoolTest):
    """``queue`` and its ``compactor`` from ``begin`` on. Nothing is compacted unless a setting says so."""

    def setUp(self):
        super().setUp()
        self.system = ToldSystem()
        self.disk = Disk(self.logger, self.system)
        self.queue = self.compactor = None

    def begin(self, recovered=None, sync_journal=None, **settings):
        """A new queue, or what was found in the spool."""
        settings = {**NEVER_COMPACTED, **settings}
        self.disk.deleted_ms = 0        # files are to have the same names in each round of a test
        journal = self.journal(sync_journal=sync_journal, recovered=recovered)
        self.queue = make_queue(self.clock, journal, recovered=recovered, keep_journal=True,
                                sync_journal=sync_journal, **settings)
        self.compactor = self.queue.compactor
        return self.queue

    def begin_again(self, **settings):
        """As another process does with the same spool."""
        files = recovery.scan(self.disk, self.spool, self.logger)[b'q']
        memory = settings.get('max_memory_size', LARGE)
        return self.begin(recovery.recover(self.disk, self.clock, self.logger, files, memory), **settings)

    def change(self, **settings):
        """As a reload does."""
        self.queue.configure(self.queue.settings.replaced(**settings))

    def compact_no_more(self):
        """What is under way goes on, and read-behind stays as it is."""
        self.compactor.configure(self.queue.settings.replaced(**NEVER_COMPACTED))

    def put(self, *datas, flags=0):
        """-> the answer to the last one."""
        for data in datas:
            answer = self.queue.put(data, flags, 0, False)
        return answer

    def get(self, count=1):
        """-> their data."""
        return [self.queue.take(False, self.clock.now_ms()).data for _ in range(count)]

    def open(self, count=1):
        """-> the xid of the last one."""
        for _ in range(count):
            self.queue.take(True, self.clock.now_ms())
        return self.queue.xid

    def in_memory(self):
        """The data of all items, in the order in which a start must find them."""
        return [data for data, _, _, _ in self._entries_in_memory()]

    def _entries_in_memory(self):
        opened = [self.queue.opened[xid] for xid in sorted(self.queue.opened)]
        return [_entry(item) for item in [*opened, *self.queue.items]]

    def after_a_start(self, max_memory_size=LARGE):
        """The data of all items that a start would find, if the process ended now."""
        return [data for data, _, _, _ in self._entries_after_a_start(max_memory_size)]

    def _entries_after_a_start(self, max_memory_size=LARGE):
        copy = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, copy, ignore_errors=True)
        for path in self.folder.iterdir():
            (copy / path.name).write_bytes(path.read_bytes())
        disk = Disk(self.logger, FaultySystem())
        files = recovery.scan(disk, os.fsencode(copy), self.logger)[b'q']
        recovered = recovery.recover(disk, self.clock, self.logger, files, max_memory_size)
        entries = read_all(recovered)
        for file in recovered.files:
            file.close()
        shutil.rmtree(copy)
        return entries

    def check_start(self, message=None):
        """What a start would find is what is in memory."""
        self.assertEqual(self._entries_after_a_start(), self._entries_in_memory(), message)

    def rotate(self):
        """Begin a new file; -> the name of the rotated one."""
        settings = self.queue.settings
        before = set(self.files())
        self.compactor.configure(settings.replaced(max_memory_size=self.queue.journal.size - 1))
        self.compactor.look()
        self.compactor.configure(settings)
        new, = set(self.files()) - before
        return new

    def rewrite(self):
        """Begin a rewrite, now."""
        settings = self.queue.settings
        self.compactor.configure(settings.replaced(max_journal_size=-1, min_journal_compact_delay=None))
        self.compactor.look()
        self.compactor.configure(settings)
        self.assertTrue(self.compactor.rewriting or 'could not be rewritten' in self.log.lines[-1])

    def settle(self):
        """All threads and timers do what they have to."""
        for _ in range(4):
            self.hub.finish_all()
            self.hub.advance(1.1)
        self.hub.finish_all()


def _entry(item):
    return item.data, item.flags, item.add_time, item.expiry
