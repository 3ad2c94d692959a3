"""Starts that begin with a queue's state (docs/journal-format.md): whatever a crash leaves, they find what a replay finds.

The workloads and crash points are those of test_crash_points, but the state of each queue is written at each rotation and
stop, however short its journal is.

KESTREL_CRASH_STATES_SEED   the seed that a failure names, to have the same again
KESTREL_LONG                1: more places and seeds, which are others each time
"""

import os
import random
import shutil
import tempfile
import unittest
import zlib
from unittest import mock

from crash.points import Points, Unsynced
from crash.recorder import Rename
from crash.workload import Workload
from kestrel import compactor
from kestrel.disk import Disk
from kestrel.journal import recovery, state, state_work
from support.queues import read_all

LONG = bool(os.environ.get('KESTREL_LONG'))
SEED = os.environ.get('KESTREL_CRASH_STATES_SEED')
SEEDS = [int(SEED)] if SEED else [random.randrange(10 ** 9) for _ in range(4)] if LONG else [1, 2]
STEPS = 1200
SHOWN = 5
ALL = {'share': 0.05, 'near': 0.3, 'placing': 1.0, 'most': 40, 'deep': 0.01}
SAMPLE = {'share': 0.01, 'near': 0.03, 'placing': 0.15, 'most': 6, 'deep': 0.03}


def content_of(file):
    """Instead of inode and times, which differ in every copy of a spool: they are the same as long as the content is."""
    return [zlib.crc32(file.read_at(file.size, 0))]


class CrashStatesTest(unittest.TestCase):

    def setUp(self):
        shared = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None
        self.folder = tempfile.TemporaryDirectory(dir=shared)
        self.addCleanup(self.folder.cleanup)
        self.enterContext(mock.patch.object(state_work, 'LEAST', 0))
        self.enterContext(mock.patch.object(recovery, 'AT_FIRST', 64))
        self.enterContext(mock.patch.object(compactor, 'STATE_EVERY', 0.0))
        self.begun = self.starts = 0

    def work(self, seed):
        workload = Workload(random.Random(seed))
        try:
            workload.do_all(STEPS)
        finally:
            workload.close()
        return workload

    def compared(self, recover):
        """recovery.recover, and on a copy of the spool without its states before that."""
        def both(disk, clock, log, files, max_memory_size, max_deliveries=None, on_read=None, starts=False):
            copy = os.fsencode(self.folder.name) + b'/copy'
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(files.spool, copy)
            shutil.rmtree(copy + b'/.state~~', ignore_errors=True)
            beside = Disk(log, Unsynced())
            copied = recovery.scan(beside, copy, log)[files.name]
            replayed = recover(beside, clock, log, copied, max_memory_size, max_deliveries)
            found = recover(disk, clock, log, files, max_memory_size, max_deliveries, on_read, starts)
            self.starts += 1
            self.begun += found.begun is not None
            # but for the last xid, which falls back with a rewrite and a replay
            self.assertEqual((found.count, found.bytes, found.pending),
                             (replayed.count, replayed.bytes, replayed.pending))
            self.assertEqual([file.size for file in found.files], [file.size for file in replayed.files])
            files = recovery.scan(beside, files.spool, log)[files.name]
            again = recover(beside, clock, log, files, max_memory_size, max_deliveries, None, starts)
            self.assertEqual(read_all(again), read_all(replayed))
            for file in [*again.files, *replayed.files]:
                file.close()
            return found
        return both

    def test_starts_find_what_a_replay_finds(self):
        for seed in SEEDS:
            with self.subTest(KESTREL_CRASH_STATES_SEED=seed), \
                    mock.patch.object(recovery, 'recover', self.compared(recovery.recover)):
                self.work(seed)
        self.assertGreater(self.begun, 4 * len(SEEDS))

    def test_each_crash_is_recovered(self):
        with mock.patch.object(state, '_stamp', content_of):
            for seed in SEEDS:
                with self.subTest(KESTREL_CRASH_STATES_SEED=seed):
                    workload = self.work(seed)
                    written = sum(isinstance(entry, Rename) and entry.new.startswith(b'.state~~/')
                                  for entry in workload.recorder.log)
                    self.assertGreater(written, 10)
                    points = Points(os.fsencode(self.folder.name) + b'/spool', random.Random(seed), workload.recorder,
                                    **(ALL if LONG else SAMPLE))
                    points.check_all()
                    self.assertGreater(points.spools, 100)
                    if points.complaints:
                        self.fail('%d of %d spools are wrong:\n%s' % (len(points.complaints), points.spools,
                                                                      '\n'.join(points.complaints[:SHOWN])))
