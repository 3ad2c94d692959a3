"""Who is fsynced when, by how many threads, and what the log says if it fails (spec journal 2, D63)."""

import errno
import os
import unittest

import gevent.event

from kestrel.clock import Clock
from kestrel.item import Item
from kestrel.hub import SYNC_THREADS
from kestrel.journal.sync import PERIODIC_AT_ONCE, Commit, Syncer
from support.clock import THEN
from support.spool import MovedHub, SpoolTest

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


class CrowdCase(SpoolTest):
    """More queues are due at once than there are threads."""

    def crowd(self, count):
        journals = [self.journal(b'q%d' % number, PERIOD) for number in range(count)]
        for journal in journals:
            journal.add(item())
        return journals

    def finish(self):
        """Let the fsyncs under way end; -> the numbers of their queues, the one that began first in front."""
        numbers = []
        fsync = self.system.fsync

        def note(descriptor):
            fsync(descriptor)
            name = os.path.basename(os.readlink('/proc/self/fd/%d' % descriptor)).split()[0]
            if name != self.folder.name:
                numbers.append(int(name[1:]))
        self.system.fsync = note
        self.hub.finish()
        self.system.fsync = fsync
        return numbers


class CrowdTest(CrowdCase):

    def test_only_a_few_at_a_time_and_the_longest_waiting_first(self):
        self.crowd(PERIODIC_AT_ONCE * 3 + 1)
        self.hub.advance(0.1)
        order = []
        while self.hub.jobs:
            self.assertLessEqual(len(self.hub.jobs), PERIODIC_AT_ONCE)
            order += self.finish()
        self.assertEqual(order, list(range(PERIODIC_AT_ONCE * 3 + 1)))
        self.hub.advance(10)
        self.assertEqual((self.hub.timers, self.hub.jobs), ([], []))
        self.assertEqual(len(self.fsyncs), PERIODIC_AT_ONCE * 3 + 1)

    def test_who_comes_again_stands_behind_who_waits(self):
        journals = self.crowd(PERIODIC_AT_ONCE + 2)
        self.hub.advance(0.1)
        journals[0].add(item())
        self.hub.advance(0.2)
        self.hub.finish()
        self.hub.advance(0)
        self.assertEqual(self.finish(), [PERIODIC_AT_ONCE, PERIODIC_AT_ONCE + 1, 0])

    def test_waiting_takes_no_descriptors(self):
        journals = self.crowd(PERIODIC_AT_ONCE * 5)
        before = descriptors(self.folder)
        self.hub.advance(0.1)
        self.assertEqual(descriptors(self.folder), before + PERIODIC_AT_ONCE)
        while self.hub.finish():
            pass
        self.assertEqual(descriptors(self.folder), before)
        for journal in journals:
            journal.close()

    def test_the_delay_counts_the_time_in_line(self):
        self.crowd(PERIODIC_AT_ONCE + 1)
        self.hub.advance(0.1)
        self.clock.advance(0.5)
        self.hub.finish()
        self.clock.advance(0.25)
        self.hub.finish()
        self.assertEqual(self.delays, [500000] * PERIODIC_AT_ONCE + [750000])

    def test_what_was_deleted_or_closed_in_line_is_passed_over(self):
        journals = self.crowd(PERIODIC_AT_ONCE + 3)
        self.hub.advance(0.1)
        journals[PERIODIC_AT_ONCE].delete()
        journals[PERIODIC_AT_ONCE + 1].close()
        self.hub.finish()
        self.assertEqual(self.finish(), [PERIODIC_AT_ONCE + 2])

    def test_a_failure_makes_room_for_the_next(self):
        self.crowd(PERIODIC_AT_ONCE + 1)
        self.hub.advance(0.1)
        self.system.faults['fsync'] = errno.EIO
        self.hub.finish()
        self.system.faults.clear()
        self.assertEqual(self.finish(), [PERIODIC_AT_ONCE])
        self.hub.advance(0.1)
        self.hub.finish()
        self.hub.advance(1)
        self.assertEqual((len(self.fsyncs), self.hub.timers, self.hub.jobs), (PERIODIC_AT_ONCE + 1, [], []))


class UrgentTest(CrowdCase):
    """Of what somebody waits for a thread is kept free, and it goes before all that is due by a period."""

    def test_a_thread_is_left(self):
        self.crowd(PERIODIC_AT_ONCE + 5)
        self.hub.advance(0.1)
        journal = self.journal(b'q99', 0)
        commit = journal.add(item())
        self.hub.turn()
        self.assertEqual(len(self.hub.jobs), SYNC_THREADS)
        self.assertEqual(self.finish()[-1], 99)
        self.assertTrue(commit.done)

    def test_it_goes_first(self):
        self.crowd(PERIODIC_AT_ONCE + 5)
        self.hub.advance(0.1)
        journals = [self.journal(b'q%d' % number, 0) for number in range(100, 100 + SYNC_THREADS)]
        commits = [journal.add(item()) for journal in journals]
        self.hub.turn()
        self.finish()
        self.assertEqual(self.finish()[:SYNC_THREADS - 1], list(range(101, 100 + SYNC_THREADS)))
        self.assertTrue(all(commit.done for commit in commits))
        self.hub.finish_all()
        self.assertEqual(len(self.fsyncs), PERIODIC_AT_ONCE + 5 + SYNC_THREADS)

    def test_those_of_one_turn_share_it_and_their_delay_is_told(self):
        journal = self.journal(sync_journal=0)
        for _ in range(3):
            journal.add(item())
        self.clock.advance(0.002)
        self.hub.turn()
        self.clock.advance(0.004)
        self.hub.finish()
        self.assertEqual((len(self.fsyncs), self.delays), (1, [6000]))

    def test_who_is_refused_a_thread_is_told(self):
        journal = self.journal(sync_journal=0)
        commit = journal.add(item())
        self.system.faults['dup'] = errno.EMFILE
        self.hub.finish()
        self.assertEqual((commit.done, commit.error.why), (True, 'Too many open files'))


class CommitTest(unittest.TestCase):

    def test_each_client_is_told_once(self):
        commit, told = Commit(), []

        class Client:
            def committed(self):
                told.append(self)
        clients = [Client(), Client()]
        for client in clients:
            commit.join(client)
        self.assertEqual((commit.done, commit.error, told), (False, None, []))
        commit.finish()
        commit.finish()
        self.assertEqual(told, clients)


class NoThreadHub(MovedHub):
    """No thread can be had while ``refusal`` is an exception; ``keep`` is the last job refused."""

    refusal = None
    keep = None

    def run_sync(self, job, done):
        if self.refusal is not None:
            self.keep = job
            raise self.refusal
        super().run_sync(job, done)


class NoThreadTest(SpoolTest):

    def setUp(self):
        super().setUp()
        self.hub = NoThreadHub(self.clock)
        self.syncer = Syncer(self.clock, self.logger, self.fsyncs.append, self.delays.append,
                             self.fsync_errors.append, self.hub)
        self.q = self.journal(sync_journal=PERIOD)
        self.q.add(item())

    def test_it_is_a_failure_like_another_and_tried_again(self):
        for refusal in (RuntimeError("can't start new thread"), AssertionError('switch in the hub'),
                        OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)), MemoryError()):
            with self.subTest(refusal=refusal):
                self.fsync_errors.clear()
                before = descriptors(self.folder)
                self.hub.refusal = refusal
                self.hub.advance(0.35)
                self.assertEqual(self.fsync_errors, [type(refusal).__name__] * 3)
                self.assertEqual(descriptors(self.folder), before)
                self.assertEqual(len(self.hub.timers), 1, 'it stays scheduled')
                self.hub.refusal = None
                self.hub.advance(0.1)
                self.assertEqual(self.hub.finish(), 1)
                self.q.add(item())
        self.assertIn("fsync failed: can't start new thread", self.log.lines[0])

    def test_a_job_that_was_given_up_touches_no_descriptor_any_more(self):
        self.hub.refusal = RuntimeError("can't start new thread")
        self.hub.advance(0.1)
        stranger = os.open(self.folder, os.O_RDONLY)    # likely has the number that became free
        self.addCleanup(os.close, stranger)
        self.system.calls.clear()
        self.hub.keep()
        os.fstat(stranger)
        self.assertEqual(self.system.count('fsync'), 0)

    def test_refusals_do_not_eat_up_the_threads(self):
        self.hub.refusal = RuntimeError("can't start new thread")
        self.hub.advance(PERIODIC_AT_ONCE + 2)
        self.hub.refusal = None
        self.hub.advance(0.1)
        self.assertEqual(self.hub.finish(), 1)

    def test_any_error_in_the_thread_reaches_the_journal(self):
        def broken(descriptor):
            raise MemoryError
        self.system.fsync, fsync = broken, self.system.fsync
        before = descriptors(self.folder)
        self.hub.advance(0.1)
        self.hub.finish()
        self.system.fsync = fsync
        self.assertEqual((self.fsync_errors, descriptors(self.folder)), (['MemoryError'], before))
        self.hub.advance(0.1)
        self.assertEqual(self.hub.finish(), 1)


class LogTest(SpoolTest):
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
            self.hub.advance(0.1)
            self.hub.finish()

    def test_many_queues_one_line_a_minute(self):
        self.write()
        self.system.faults['dup'] = errno.EMFILE
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
        self.assertEqual((len(self.fsyncs), self.hub.timers), (20, []), 'nothing was forgotten')
        self.assertEqual(self.log.lines, ['WARNING fsync of all journals works again'])

    def test_another_cause_has_a_line_of_its_own(self):
        self.write()
        self.system.faults['dup'] = errno.EMFILE
        self.run_for(1)
        self.system.faults = {'fsync': errno.EIO}
        self.run_for(1)
        self.assertEqual(len(self.log.lines), 2)
        self.assertIn('Input/output error', self.log.lines[1])

    def test_a_deleted_queue_is_not_waited_for(self):
        self.journals[0].add(item())
        self.journals[1].add(item())
        self.system.faults['dup'] = errno.EMFILE
        self.run_for(1)
        self.system.faults.clear()
        self.journals[0].delete()
        self.run_for(1)
        self.assertEqual(self.log.lines, [self.FILES, 'WARNING fsync of all journals works again'])

    def test_the_last_failing_queue_is_deleted(self):
        self.journals[0].add(item())
        self.system.faults['dup'] = errno.EMFILE
        self.run_for(1)
        self.system.faults.clear()
        self.journals[0].delete()
        self.run_for(61)
        self.assertEqual(self.log.lines, [self.FILES, 'WARNING fsync of all journals works again'])
        self.system.faults['dup'] = errno.EMFILE
        self.journals[1].add(item())
        self.run_for(1)
        self.assertEqual(self.log.lines[2:], [self.FILES.replace('q0', 'q1')])

    def test_a_flapping_disk(self):
        for _ in range(250):
            self.journals[0].add(item())
            self.system.faults['fsync'] = errno.EIO
            self.run_for(0.1)
            self.system.faults.clear()
            self.run_for(0.1)
        self.assertEqual((len(self.fsync_errors), len(self.log.lines)), (250, 2))


class HubTest(SpoolTest):
    """On gevent's own hub."""

    def test_forty_queues_due_at_once(self):
        done = gevent.event.Event()
        self.use_real_hub()
        self.syncer = Syncer(Clock(), self.logger, self.fsyncs.append, self.delays.append,
                             self.fsync_errors.append, self.hub)
        self.syncer._on_fsync = lambda took: (self.fsyncs.append(took), len(self.fsyncs) == 40 and done.set())
        journals = [self.journal(b'q%d' % number, 1000) for number in range(40)]
        before = descriptors(self.folder)
        for journal in journals:
            journal.add(item())
        self.assertTrue(done.wait(timeout=60), len(self.fsyncs))
        self.assertEqual((self.fsync_errors, self.log.lines), ([], []))
        self.assertEqual(descriptors(self.folder), before)
        for journal in journals:
            journal.close()


if __name__ == '__main__':
    unittest.main()
