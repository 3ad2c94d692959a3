"""Every crash point: what a crash at any place of a workload leaves is recovered, and keeps what was promised.

Clients do everything at once with queues of all kinds whose files are tiny; the log of what that did to the spool is
cut at each of its places, and the spools that a process crash or a power loss may leave there are recovered, as are
those of crashes during such a recovery.

KESTREL_CRASH_POINTS_SEED   the seed that a failure names, to have the same again
KESTREL_LONG                1: every place and every spool, of several seeds
"""

import collections
import os
import random
import tempfile
import unittest

from crash.points import Points
from crash.workload import Workload

LONG = bool(os.environ.get('KESTREL_LONG'))
SEED = os.environ.get('KESTREL_CRASH_POINTS_SEED')
SEEDS = [int(SEED)] if SEED else [random.randrange(10 ** 9) for _ in range(6 if LONG else 3)]
STEPS = 2000
SHOWN = 5

# What is looked at, see Points: all, or a sample.
ALL = {'share': 1.0, 'near': 1.0, 'placing': 1.0, 'most': None, 'deep': 0.05}
SAMPLE = {'share': 0.02, 'near': 0.06, 'placing': 0.3, 'most': 8, 'deep': 0.08}

# How often each must have been done by one workload, so that it means something.
LEAST = {'put': 150, 'sync put': 8, 'flags': 20, 'get': 20, 'open': 40, 'close': 5, 'abort': 10, 'hang-up': 5,
         'rotate': 20, 'rewrite': 3, 'expiry': 3, 'discard': 3, 'shared fsync': 5, 'start': 2}
# ... and by all together.
LEAST_OF_ALL = {'pack': 2, 'stop': 4, 'kill': 4, 'delete': 2, 'flush': 2, 'settle': 4, 'read-behind': 50, 'rewrite': 20,
                'discard': 30, 'expiry': 30, 'close': 40}


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
                for _ in range(STEPS):
                    workload.step()
            finally:
                workload.close()
            workload.count_names()
            self.counts.update(workload.counts)
            few = {what: workload.counts[what] for what, least in LEAST.items() if workload.counts[what] < least}
            self.assertEqual(few, {}, 'was done too seldom')
            points = Points(os.fsencode(self.folder.name) + b'/spool', random.Random(seed), workload.recorder,
                            **(ALL if LONG else SAMPLE))
            points.check_all()
            self.places += points.places
            self.spools += points.spools
            self.deeper += points.deeper
            if points.complaints:
                self.fail('%d of %d spools are wrong:\n%s' % (len(points.complaints), points.spools,
                                                              '\n'.join(points.complaints[:SHOWN])))

    def test_each_crash_is_recovered(self):
        for seed in SEEDS:
            self.check(seed)
        if not SEED:
            few = {what: self.counts[what] for what, least in LEAST_OF_ALL.items() if self.counts[what] < least}
            self.assertEqual(few, {}, 'was done too seldom')
            self.assertGreater(self.places, 100 * len(SEEDS))
            self.assertGreater(self.spools, 800 * len(SEEDS))
            self.assertGreater(self.deeper, 50 * len(SEEDS))
