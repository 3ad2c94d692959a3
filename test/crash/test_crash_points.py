"""Every crash point: what a crash anywhere in a workload leaves is recovered and keeps what was promised.

Clients do everything at once with queues of all kinds whose files are tiny; the log of what that did to the
spool is cut at each of its places, and the spools that a process crash or a power loss may leave there are
recovered, as are those of crashes during such a recovery.

KESTREL_CRASH_POINTS_SEED   the seed that a failure names, to have the same again
KESTREL_LONG                1: every place and every spool, of several seeds, which are others each time
"""

import collections
import os
import random
import tempfile
import unittest

from crash.points import Points
from crash.rebuild import queue_of
from crash.recorder import Create, Rename, Unlink
from crash.workload import Workload

LONG = bool(os.environ.get('KESTREL_LONG'))
SEED = os.environ.get('KESTREL_CRASH_POINTS_SEED')
SEEDS = [int(SEED)] if SEED else [random.randrange(10 ** 9) for _ in range(4)] if LONG else [1, 2, 3]
USUAL_STEPS = 2000
STEPS = 800 if LONG else USUAL_STEPS        # some minutes for each seed
SHOWN = 5

# What is looked at, see Points: all, or a sample.
ALL = {'share': 1.0, 'near': 1.0, 'placing': 1.0, 'most': None, 'deep': 0.01}
SAMPLE = {'share': 0.02, 'near': 0.06, 'placing': 0.3, 'most': 7, 'deep': 0.06}

# How often each must have been done by one workload of the usual length, so that it means something (in 150
# workloads the least was twice as much), and by all together.
LEAST = {'put': 100, 'sync put': 8, 'flags': 20, 'get': 25, 'open': 50, 'close': 10, 'abort': 4, 'rotate': 30,
         'rewrite': 6, 'expiry': 4, 'shared fsync': 10, 'read-behind': 25, 'start': 3, 'stop': 1, 'kill': 1,
         'settle': 2}
LEAST_OF_ALL = {'pack': 3, 'delete': 1, 'flush': 2, 'hang-up': 3, 'discard': 5}


def count_names(log, counts):
    """What the changed names tell."""
    names = set()
    for entry in log:
        if isinstance(entry, Rename):
            queue = queue_of(entry.old)
            if b'~' in entry.old:
                # a rewrite has moved the current file away before
                counts['pack' if queue in names else 'rewrite'] += 1
            elif entry.old == queue:
                counts['rotate'] += 1
            names.discard(entry.old)
            names.add(entry.new)
        elif isinstance(entry, Create):
            names.add(entry.name)
        elif isinstance(entry, Unlink):
            names.discard(entry.name)


class CrashPointsTest(unittest.TestCase):

    def setUp(self):
        shared = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None     # 2 s of 20 faster
        self.folder = tempfile.TemporaryDirectory(dir=shared)
        self.addCleanup(self.folder.cleanup)
        self.counts = collections.Counter()
        self.places = self.spools = self.deeper = 0

    def check(self, seed):
        with self.subTest(KESTREL_CRASH_POINTS_SEED=seed):
            workload = Workload(random.Random(seed))
            try:
                workload.do_all(STEPS)
            finally:
                workload.close()
            count_names(workload.recorder.log, workload.counts)
            self.counts.update(workload.counts)
            self.assert_done(workload.counts, LEAST)
            points = Points(os.fsencode(self.folder.name) + b'/spool', random.Random(seed), workload.recorder,
                            **(ALL if LONG else SAMPLE))
            points.check_all()
            self.places += points.places
            self.spools += points.spools
            self.deeper += points.deeper
            if points.complaints:
                self.fail('%d of %d spools are wrong:\n%s' % (len(points.complaints), points.spools,
                                                              '\n'.join(points.complaints[:SHOWN])))

    def assert_done(self, counts, least):
        few = {what: counts[what] for what, number in least.items()
               if counts[what] < number * STEPS // USUAL_STEPS}
        self.assertEqual(few, {}, 'was done too seldom')

    def test_each_crash_is_recovered(self):
        for seed in SEEDS:
            self.check(seed)
        if not SEED:
            self.assert_done(self.counts, LEAST_OF_ALL)
            self.assertGreater(self.places, 100 * len(SEEDS))
            self.assertGreater(self.spools, 800 * len(SEEDS))
            self.assertGreater(self.deeper, 50 * len(SEEDS))
