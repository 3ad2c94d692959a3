"""Who is fsynced when, by how many threads, and what the log says if it fails (spec journal 2, D63)."""

import errno
import itertools
import os
import unittest

import gevent.event

from kestrel.clock import Clock
from kestrel.item import Item
from kestrel.journal.sync import AT_ONCE, Syncer
from support.clock import THEN
from support.spool import MovedLoop, SpoolTest

PERIOD = 100000


def item(data=b'a'):
    return Item(data, THEN)


def descriptors(folder):
    """How many descriptors of this process are open on the files of a folder."""
    count = 0
    for name in os.listdir('/proc/self/fd'):
        try:
            count += os.path.dirname(os.readlink('/proc/self/fd/' + name)) == str(folder)
        except FileNotFoundError:
            continue    # that of the listing itself
    return count


class CrowdLoop(MovedLoop):
    """Of timers due at the same moment the one that was set first fires first."""

    def __init__(self, clock):
        super().__init__(clock)
        self.numbers = itertools.count()

    def call_later(self, seconds, function, *arguments):
        self.timers.append((self.clock.seconds + seconds, next(self.numbers), function, arguments))


class LoopTest(SpoolTest):
    """A test with a loop of its own kind, ``LOOP``."""

    LOOP = CrowdLoop

    def setUp(self):
        super().setUp()
        self.loop = self.LOOP(self.clock)
        self.syncer = Syncer(self.clock, self.logger, self.fsyncs.append, self.delays.append,
                             self.fsync_errors.append, self.loop)


class CrowdTest(LoopTest):
    """More queues are due at once than there are threads."""

    def crowd(self, count):
        journals = [self.journal(b'q%d' % number, PERIOD) for number in range(count)]
        for journal in journals:
            journal.add(item())
        return journals

    def jobs_of(self):
        """The numbers of the queues whose fsync is under way."""
        return [int(job[2][0].name[1:]) for job in self.loop.jobs]

    def test_only_a_few_at_a_time_and_the_longest_waiting_first(self):
        self.crowd(AT_ONCE * 3 + 1)
        self.loop.advance(0.1)
        order = []
        while self.loop.jobs:
            self.assertLessEqual(len(self.loop.jobs), AT_ONCE)
            order += self.jobs_of()
            self.loop.finish()
        self.assertEqual(order, list(range(AT_ONCE * 3 + 1)))
        self.loop.advance(10)
        self.assertEqual((self.loop.timers, self.loop.jobs, len(self.fsyncs)), ([], [], AT_ONCE * 3 + 1))

    def test_who_comes_again_stands_behind_who_waits(self):
        journals = self.crowd(AT_ONCE + 2)
        self.loop.advance(0.1)
        journals[0].add(item())
        self.loop.advance(0.2)
        self.loop.finish()
        self.loop.advance(0)
        self.assertEqual(self.jobs_of(), [AT_ONCE, AT_ONCE + 1, 0])

    def test_waiting_takes_no_descriptors(self):
        journals = self.crowd(AT_ONCE * 5)
        before = descriptors(self.folder)
        self.loop.advance(0.1)
        self.assertEqual(descriptors(self.folder), before + AT_ONCE)
        while self.loop.finish():
            pass
        self.assertEqual(descriptors(self.folder), before)
        for journal in journals:
            journal.close()

    def test_the_delay_counts_the_time_in_line(self):
        self.crowd(AT_ONCE + 1)
        self.loop.advance(0.1)
        self.clock.advance(0.5)
        self.loop.finish()
        self.clock.advance(0.25)
        self.loop.finish()
        self.assertEqual(self.delays, [500000] * AT_ONCE + [750000])

    def test_what_was_deleted_or_closed_in_line_is_passed_over(self):
        journals = self.crowd(AT_ONCE + 3)
        self.loop.advance(0.1)
        journals[AT_ONCE].delete()
        journals[AT_ONCE + 1].close()
        self.loop.finish()
        self.assertEqual(self.jobs_of(), [AT_ONCE + 2])

    def test_a_failure_makes_room_for_the_next(self):
        self.crowd(AT_ONCE + 1)
        self.loop.advance(0.1)
        self.system.faults['fsync'] = errno.EIO
        self.loop.finish()
        self.system.faults.clear()
        self.assertEqual(self.jobs_of(), [AT_ONCE])
        self.loop.finish()
        self.loop.advance(0.1)
        self.loop.finish()
        self.loop.advance(1)
        self.assertEqual((len(self.fsyncs), self.loop.timers, self.loop.jobs), (AT_ONCE + 1, [], []))


class NoThreadLoop(CrowdLoop):
    """No thread can be had while ``refusal`` is an exception; ``keep`` is the last job refused."""

    refusal = None
    keep = None

    def run_in_thread(self, job, done, *arguments):
        if self.refusal is not None:
            self.keep = job
            raise self.refusal
        super().run_in_thread(job, done, *arguments)


class NoThreadTest(LoopTest):

    LOOP = NoThreadLoop

    def setUp(self):
        super().setUp()
        self.q = self.journal(sync_journal=PERIOD)
        self.q.add(item())

    def test_it_is_a_failure_like_another_and_tried_again(self):
        for refusal in (RuntimeError("can't start new thread"), AssertionError('switch in the hub'),
                        OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)), MemoryError()):
            with self.subTest(refusal=refusal):
                self.fsync_errors.clear()
                before = descriptors(self.folder)
                self.loop.refusal = refusal
                self.loop.advance(0.35)
                self.assertEqual(self.fsync_errors, [type(refusal).__name__] * 3)
                self.assertEqual(descriptors(self.folder), before)
                self.assertEqual(len(self.loop.timers), 1, 'it stays scheduled')
                self.loop.refusal = None
                self.loop.advance(0.1)
                self.assertEqual(self.loop.finish(), 1)
                self.q.add(item())
        self.assertIn("fsync failed: can't start new thread", self.log.lines[0])

    def test_a_job_that_was_given_up_touches_no_descriptor_any_more(self):
        self.loop.refusal = RuntimeError("can't start new thread")
        self.loop.advance(0.1)
        stranger = os.open(self.folder, os.O_RDONLY)    # likely has the number that became free
        self.addCleanup(os.close, stranger)
        self.system.calls.clear()
        self.loop.keep()
        os.fstat(stranger)
        self.assertEqual(self.system.count('fsync'), 0)

    def test_refusals_do_not_eat_up_the_threads(self):
        self.loop.refusal = RuntimeError("can't start new thread")
        self.loop.advance(AT_ONCE + 2)
        self.loop.refusal = None
        self.loop.advance(0.1)
        self.assertEqual(self.loop.finish(), 1)

    def test_any_error_in_the_thread_reaches_the_journal(self):
        def broken(descriptor):
            raise MemoryError
        self.system.fsync, fsync = broken, self.system.fsync
        before = descriptors(self.folder)
        self.loop.advance(0.1)
        self.loop.finish()
        self.system.fsync = fsync
        self.assertEqual((self.fsync_errors, descriptors(self.folder)), (['MemoryError'], before))
        self.loop.advance(0.1)
        self.assertEqual(self.loop.finish(), 1)


class LogTest(LoopTest):
    """One line a minute for each cause, however many queues it hits."""

    FILES = 'ERROR journal of queue q0: fsync failed: Too many open files'

    def setUp(self):
        super().setUp()
        self.journals = [self.journal(b'q%d' % number, PERIOD) for number in range(20)]

    def write(self):
        for journal in self.journals:
            journal.add(item())

    def run_for(self, seconds):
        for _ in range(round(seconds * 10)):
            self.loop.advance(0.1)
            self.loop.finish()

    def test_many_queues_one_line_a_minute(self):
        self.write()
        self.system.faults['open'] = errno.EMFILE
        self.run_for(59)
        self.assertEqual(self.log.lines, [self.FILES])
        self.run_for(60)
        self.assertEqual(len(self.log.lines), 2)
        self.assertRegex(self.log.lines[1], r'Too many open files \(20 queues\)$')
        self.assertGreater(len(self.fsync_errors), 20 * 1000)
        self.system.faults.clear()
        self.log.lines.clear()
        while not self.log.lines:
            self.run_for(0.1)
        self.run_for(1)
        self.assertEqual((len(self.fsyncs), self.loop.timers), (20, []), 'nothing was forgotten')
        self.assertEqual(self.log.lines, ['WARNING fsync of all journals works again'])

    def test_another_cause_has_a_line_of_its_own(self):
        self.write()
        self.system.faults['open'] = errno.EMFILE
        self.run_for(1)
        self.system.faults = {'fsync': errno.EIO}
        self.run_for(1)
        self.assertEqual(len(self.log.lines), 2)
        self.assertIn('Input/output error', self.log.lines[1])

    def test_a_deleted_queue_is_not_waited_for(self):
        self.journals[0].add(item())
        self.journals[1].add(item())
        self.system.faults['open'] = errno.EMFILE
        self.run_for(1)
        self.system.faults.clear()
        self.journals[0].delete()
        self.run_for(1)
        self.assertEqual(self.log.lines, [self.FILES, 'WARNING fsync of all journals works again'])

    def test_the_last_failing_queue_is_deleted(self):
        self.journals[0].add(item())
        self.system.faults['open'] = errno.EMFILE
        self.run_for(1)
        self.system.faults.clear()
        self.journals[0].delete()
        self.run_for(61)
        self.assertEqual(self.log.lines, [self.FILES])
        self.system.faults['open'] = errno.EMFILE
        self.journals[1].add(item())
        self.run_for(1)
        self.assertEqual(self.log.lines[1:], [self.FILES.replace('q0', 'q1')])

    def test_a_flapping_disk(self):
        self.system.faults['fsync'] = errno.EIO
        for _ in range(1000):
            self.journals[0].sync()
            self.system.faults.clear()
            self.journals[0].sync()
            self.system.faults['fsync'] = errno.EIO
        self.assertEqual(len(self.log.lines), 2)


class HubTest(SpoolTest):
    """On gevent's own hub, whose pool raises if a callback has to wait for a thread."""

    def test_forty_queues_due_at_once(self):
        done = gevent.event.Event()
        self.syncer = Syncer(Clock(), self.logger, self.fsyncs.append, self.delays.append,
                             self.fsync_errors.append)
        self.syncer._on_fsync = lambda took: (self.fsyncs.append(took), len(self.fsyncs) == 40 and done.set())
        journals = [self.journal(b'q%d' % number, 1000) for number in range(40)]
        before = descriptors(self.folder)
        for journal in journals:
            journal.add(item())
        self.assertTrue(done.wait(timeout=10), len(self.fsyncs))
        self.assertEqual((self.fsync_errors, self.log.lines), ([], []))
        self.assertEqual(descriptors(self.folder), before)
        for journal in journals:
            journal.close()


if __name__ == '__main__':
    unittest.main()
