"""Threads beside gevent's hub: who waits for what they do hears of it on the hub."""

import threading
import unittest
from unittest import mock

import gevent
import gevent.event

from kestrel.hub import Hub, Threads

PATIENCE = 60       # seconds, for what takes none


class ThreadsTest(unittest.TestCase):

    def setUp(self):
        self.loop = gevent.get_hub().loop
        self.results = []
        self.heard = gevent.event.Event()
        self.before = set(threading.enumerate())

    def make(self, most):
        threads = Threads(self.loop, most)
        self.addCleanup(self.close, threads)
        return threads

    def close(self, threads):
        threads.close()
        for thread in self.new_threads():
            thread.join(PATIENCE)
        self.assertEqual(self.new_threads(), [])

    def new_threads(self):
        return [thread for thread in threading.enumerate() if thread not in self.before]

    def done(self, result, error):
        self.results.append((result, error, threading.current_thread()))
        self.heard.set()

    def wait(self, count):
        while len(self.results) < count:
            self.heard.clear()
            self.assertTrue(self.heard.wait(PATIENCE), self.results)

    def test_the_job_runs_in_a_thread_and_the_result_comes_on_the_hub(self):
        self.make(2).run(threading.current_thread, self.done)
        self.assertEqual(self.results, [])
        self.wait(1)
        (worker, error, hub), = self.results
        self.assertIn(worker, self.new_threads())
        self.assertIsNone(error)
        self.assertIs(hub, threading.current_thread())

    def test_any_exception_comes_back(self):
        threads = self.make(1)
        for failure in (OSError(28, 'No space left on device'), ValueError('x'), SystemExit(3)):
            with self.subTest(failure):
                self.results.clear()
                threads.run(mock.Mock(side_effect=failure), self.done)
                self.wait(1)
                self.assertEqual(self.results[0][:2], (None, failure))

    def test_not_more_than_so_many_at_a_time_and_only_when_they_are_needed(self):
        threads = self.make(3)
        for count in range(1, 4):
            threads.run(int, self.done)
            self.wait(count)
        self.assertEqual(len(self.new_threads()), 1, 'one after the other needs one thread')
        gate = threading.Event()
        running = threading.Semaphore(0)
        self.results.clear()

        def work():
            running.release()
            gate.wait(PATIENCE)

        for _ in range(7):
            threads.run(work, self.done)
        for _ in range(3):
            self.assertTrue(running.acquire(timeout=PATIENCE))
        self.assertEqual(len(self.new_threads()), 3)
        self.assertFalse(running.acquire(blocking=False), 'the others stand in line')
        gate.set()
        self.wait(7)
        self.assertEqual([result[:2] for result in self.results], [(None, None)] * 7)

    def test_the_first_in_line_is_the_first_to_run(self):
        threads = self.make(1)
        for number in range(20):
            threads.run(lambda number=number: number, self.done)
        self.wait(20)
        self.assertEqual([result for result, _, _ in self.results], list(range(20)))

    def test_done_may_give_the_next_job(self):
        threads = self.make(1)

        def again(result, error):
            if result < 5:
                threads.run(lambda: result + 1, again)
            else:
                self.done(result, error)

        threads.run(lambda: 0, again)
        self.wait(1)
        self.assertEqual(self.results[0][0], 5)

    def test_the_loop_is_not_kept_when_nothing_is_under_way(self):
        threads = self.make(1)
        self.assertFalse(threads._bell.active)
        threads.run(int, self.done)
        self.assertTrue(threads._bell.active)
        self.wait(1)
        self.assertFalse(threads._bell.active)

    def test_no_thread_at_all(self):
        threads = self.make(2)
        with mock.patch('threading.Thread.start', side_effect=RuntimeError("can't start new thread")):
            with self.assertRaises(RuntimeError):
                threads.run(int, self.done)
        self.assertFalse(threads._bell.active)
        threads.run(int, self.done)
        self.wait(1)
        self.assertEqual(self.results[0][:2], (0, None), 'the refused job is forgotten, the next one runs')

    def test_no_second_thread(self):
        """The one there is does all the work."""
        threads = self.make(2)
        gate = threading.Event()
        threads.run(lambda: gate.wait(PATIENCE), self.done)
        with mock.patch('threading.Thread.start', side_effect=RuntimeError("can't start new thread")):
            threads.run(int, self.done)
        gate.set()
        self.wait(2)
        self.assertEqual([result for result, _, _ in self.results], [True, 0])

    def test_close_lets_them_end_when_all_is_done(self):
        threads = self.make(1)
        for number in range(5):
            threads.run(lambda number=number: number, self.done)
        threads.close()
        self.wait(5)
        self.close(threads)


class HubTest(unittest.TestCase):

    def setUp(self):
        self.hub = Hub()
        self.addCleanup(self.hub.close)
        self.called = []
        self.event = gevent.event.Event()

    def note(self, *what):
        self.called.append(what)
        self.event.set()

    def test_call_later_calls_once(self):
        self.hub.call_later(0.0, self.note, 'a', 1)
        self.assertEqual(self.called, [])
        self.assertTrue(self.event.wait(PATIENCE))
        gevent.idle()
        self.assertEqual(self.called, [('a', 1)])

    def test_soon_is_behind_what_is_ready_now(self):
        first = gevent.spawn(self.note, 'greenlet')
        self.hub.soon(lambda: self.note('soon'))
        self.note('now')
        first.join(PATIENCE)
        gevent.idle()
        self.assertEqual(self.called, [('now',), ('greenlet',), ('soon',)])

    def test_a_long_job_does_not_hold_up_an_fsync(self):
        gate = threading.Event()
        self.addCleanup(gate.set)
        for _ in range(5):
            self.hub.run_job(lambda: gate.wait(PATIENCE), lambda result, error: None)
        self.hub.run_sync(lambda: 'synced', self.note)
        self.assertTrue(self.event.wait(PATIENCE))
        self.assertEqual(self.called, [('synced', None)])
