"""Long work in steps: threads and the hub take turns."""

import unittest

from kestrel.journal.job import Job
from support.clock import MovedClock
from support.spool import MovedHub


class Work:
    """``done`` says what has happened; ``plan(work)`` is the generator of its steps."""

    only_reads = False

    def __init__(self, plan):
        self.cancelled = False
        self.done = []
        self.steps = lambda: plan(self)

    def note(self, *words):
        self.done.append(' '.join(str(word) for word in words))


class NoThreadHub(MovedHub):
    """The system gives no thread; ``refusals`` says how often."""

    refusals = 1

    def run_job(self, job, done):
        if self.refusals:
            self.refusals -= 1
            raise RuntimeError("can't start new thread")
        super().run_job(job, done)


def two_steps(work):
    try:
        work.note('hub')
        result = yield lambda: work.note('thread') or 7
        work.note('hub', result)
        yield 2.5
        work.note('later')
    finally:
        work.note('closed')


class JobCase(unittest.TestCase):

    def setUp(self):
        self.hub = MovedHub(MovedClock())
        self.ended = []

    def begin(self, plan):
        self.work = Work(plan)
        job = Job(self.hub, self.work, self.ended.append)
        job.start()
        return job


class JobTest(JobCase):

    def test_hub_and_thread_take_turns(self):
        self.begin(two_steps)
        self.assertEqual(self.work.done, ['hub'])
        self.hub.finish()
        self.assertEqual(self.work.done, ['hub', 'thread', 'hub 7'])
        self.hub.advance(2.4)
        self.assertEqual((self.work.done[-1], self.ended), ('hub 7', []))
        self.hub.advance(0.2)
        self.assertEqual((self.work.done[-2:], self.ended), (['later', 'closed'], [None]))

    def test_one_without_a_pause_ends_before_start_returns(self):
        def plan(work):
            work.note('all')
            return
            yield

        self.begin(plan)
        self.assertEqual((self.work.done, self.ended), (['all'], [None]))

    def test_an_exception_of_the_thread_comes_back_to_the_steps(self):
        def plan(work):
            try:
                yield lambda: 1 // 0
            except ZeroDivisionError:
                work.note('caught')
            yield lambda: work.note('next')

        self.begin(plan)
        self.hub.finish_all()
        self.assertEqual((self.work.done, self.ended), (['caught', 'next'], [None]))

    def test_an_exception_that_nobody_catches_ends_it(self):
        failure = OSError(5, 'Input/output error')

        def plan(work):
            yield lambda: work.note('thread')
            raise failure

        self.begin(plan)
        self.hub.finish_all()
        self.assertEqual(self.ended, [failure])

    def test_a_thread_that_cannot_be_had(self):
        self.hub = NoThreadHub(MovedClock())

        def plan(work):
            try:
                yield lambda: work.note('thread')
            except RuntimeError:
                work.note('refused')
                yield lambda: work.note('again')

        self.begin(plan)
        self.hub.finish_all()
        self.assertEqual((self.work.done, self.ended), (['refused', 'again'], [None]))

    def test_a_thread_that_cannot_be_had_ends_who_does_not_care(self):
        self.hub = NoThreadHub(MovedClock())
        self.begin(two_steps)
        self.assertEqual(self.work.done, ['hub', 'closed'])
        self.assertEqual([type(error) for error in self.ended], [RuntimeError])


class CancelTest(JobCase):

    def test_while_a_thread_is_at_it(self):
        job = self.begin(two_steps)
        self.assertTrue(job.cancel())
        self.assertTrue(self.work.cancelled, 'the thread may see it')
        self.assertEqual(self.work.done, ['hub'], 'its file is still in use')
        self.hub.finish()
        self.assertEqual((self.work.done, self.ended), (['hub', 'thread', 'closed'], []))
        self.assertFalse(job.cancel())

    def test_while_it_waits(self):
        job = self.begin(two_steps)
        self.hub.finish()
        self.assertFalse(job.cancel())
        self.assertEqual((self.work.done[-1], self.ended), ('closed', []))
        self.hub.advance(10)
        self.assertEqual((self.work.done[-1], self.ended), ('closed', []), 'its timer finds nothing to do')

    def test_when_the_thread_fails_after_it(self):
        def plan(work):
            try:
                yield lambda: 1 // 0
            except ZeroDivisionError:
                work.note('told')
            finally:
                work.note('closed')

        job = self.begin(plan)
        job.cancel()
        self.hub.finish()
        self.assertEqual((self.work.done, self.ended), (['closed'], []))
