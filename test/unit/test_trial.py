"""Random operations on a real queue with its journal, beside a plain model; a kill at every moment.

Environment: KESTREL_TRIAL_SEED repeats one seed. The usual run takes always the same seeds, as many as there is
time for: a seed that fails is for KESTREL_LONG=1 to find, which takes many others, not for whoever changes a comment.
"""

import errno
import os
import random
import time
import traceback
import unittest

from support.queues import Trial

LONG = os.environ.get('KESTREL_LONG') == '1'
# How long one test goes on with new seeds, seconds.
SECONDS = 120 if LONG else 2.5
LEAST = 3           # seeds, however slow the machine is
STEPS = 150
SEED = os.environ.get('KESTREL_TRIAL_SEED')
NEVER_FULL = 2147483647
ODDS = ('write', 'writev', 'fsync', 'rename', 'unlink', 'open', 'ftruncate', 'pread', 'dup')


def settings_of(chance):
    """Limits so small that a few puts reach them."""
    return {
        'max_memory_size': chance.choice((1, 200, 400, 1000, 1 << 20)),
        'max_journal_size': chance.choice((0, 500, 1500, 4000, 1 << 20)),
        'default_journal_size': chance.choice((0, 100, 600, 2000)),
        'min_journal_compact_delay': chance.choice((None, 50000, 1000000, 60000000)),
        'discard_old_when_full': chance.random() < 0.3,
        'max_items': chance.choice((3, 12, NEVER_FULL, NEVER_FULL)),
    }


def odds_of(chance, names):
    """Each of the calls takes part in half of the trials, in all of its outages or in some."""
    return {name: chance.choice((0.3, 1)) for name in names if chance.random() < 0.5}


class TrialTest(unittest.TestCase):

    def run_one(self, seed, names, reasons, sync_journal):
        chance = random.Random('settings of %d' % seed)
        reason = chance.choice(reasons)
        with Trial(seed, odds_of(chance, names), reason, sync_journal=chance.choice(sync_journal),
                   **settings_of(chance)) as trial:
            try:
                for _ in range(STEPS):
                    trial.step()
                trial.drain()
                trial.end()
            except AssertionError:
                raise
            except Exception:
                raise AssertionError(trial.report(traceback.format_exc())) from None

    def run_many(self, *kind):
        if SEED is not None:
            self.run_one(int(SEED), *kind)
            return
        first = random.SystemRandom().randrange(1 << 30) if LONG else 0
        ends = time.monotonic() + SECONDS
        done = 0
        while done < LEAST or time.monotonic() < ends:
            self.run_one(first + done, *kind)
            done += 1

    def test_a_system_that_works(self):
        self.run_many((), (errno.EIO,), (None, 0, 20000))

    def test_a_disk_that_fills(self):
        self.run_many(('write', 'writev', 'open', 'rename'), (errno.ENOSPC, errno.EDQUOT), (None, 0, 20000))

    def test_any_call_fails(self):
        self.run_many(ODDS, (errno.EIO, errno.ENOSPC), (None, 20000))

    def test_any_call_fails_and_puts_wait_for_their_fsync(self):
        self.run_many(ODDS, (errno.EIO, errno.ENOSPC), (0,))
