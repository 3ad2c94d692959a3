"""Queues that nobody uses (D24)."""

import unittest

from kestrel.idleness import Idleness
from kestrel.journal.sync import Commit
from kestrel.waiters import Waiter
from support.clock import MovedClock
from support.fakes import LineJournal, Owner, make_queue, queue_settings

AGE = 60                    # seconds
SETTING = AGE * 1000000


class IdlenessTest(unittest.TestCase):

    def setUp(self):
        self.clock = MovedClock()
        self.idleness = Idleness(self.clock)
        self.journal = LineJournal()
        self.q = make_queue(self.clock, self.journal, max_queue_age=SETTING)

    def look(self):
        return self.idleness.overdue([self.q])

    def assert_used_by(self, use):
        """A use in the last moment begins the time anew."""
        self.look()
        self.clock.advance(AGE - 1)
        use()
        self.clock.advance(1)
        self.assertEqual(self.look(), [])
        self.clock.advance(AGE - 1)
        self.assertEqual(self.look(), [])
        self.clock.advance(1)
        self.assertEqual(self.look(), [self.q])

    def take(self, opening):
        self.q.put(b'a', 0, 0, False)
        return self.q.take(opening, self.clock.now_ms())

    def test_unused_from_the_start_on(self):
        self.assertEqual(self.look(), [])
        self.clock.advance(AGE - 1)
        self.assertEqual(self.look(), [])
        self.clock.advance(1)
        self.assertEqual(self.look(), [self.q])
        self.assertTrue(self.idleness.still_overdue(self.q))

    def test_without_the_setting(self):
        self.q.configure(queue_settings())
        self.look()
        self.clock.advance(1000 * AGE)
        self.assertEqual(self.look(), [])

    def test_wall_clock_does_not_matter(self):
        self.look()
        self.clock.ms += 1000000000
        self.assertEqual(self.look(), [])

    def test_put_and_get(self):
        self.assert_used_by(lambda: self.take(False))

    def test_put_that_only_children_get(self):
        self.q.configure(queue_settings(max_queue_age=SETTING, fanout_only=True))
        self.assert_used_by(lambda: self.assertIs(self.q.put(b'a', 0, 0, False), True))
        self.assertEqual(self.q.count, 0)

    def test_put_and_flush(self):
        def use():
            self.q.put(b'a', 0, 0, False)
            self.q.flush()
        self.assert_used_by(use)

    def test_open_read_and_confirm(self):
        self.assert_used_by(lambda: self.q.confirm(self.take(True).xid))

    def test_confirm_of_what_was_opened_long_ago(self):
        xid = self.take(True).xid
        self.look()
        self.clock.advance(2 * AGE)
        self.assertEqual(self.look(), [])
        self.assert_used_by(lambda: self.q.confirm(xid))

    def test_put_back(self):
        xid = self.take(True).xid

        def use():
            self.q.unremove(xid)
            self.q.take(False, self.clock.now_ms())
        self.assert_used_by(use)

    def test_get_and_peek_of_the_empty_queue(self):
        # counted by the session
        for name in ('get_items_miss', 'get_items_hit'):
            with self.subTest(name):
                self.setUp()
                self.assert_used_by(
                    lambda name=name: setattr(self.q.stats, name, getattr(self.q.stats, name) + 1))

    def assert_in_use(self):
        self.look()
        self.clock.advance(2 * AGE)
        self.assertEqual(self.look(), [])
        self.clock.advance(2 * AGE)
        self.assertEqual(self.look(), [])

    def test_items(self):
        self.q.put(b'a', 0, 0, False)
        self.assert_in_use()

    def test_open_reads(self):
        self.take(True)
        self.assert_in_use()

    def test_waiters(self):
        self.q.waiters.join(Waiter(Owner('a', [])))
        self.assert_in_use()

    def test_puts_that_wait_for_their_fsync(self):
        self.journal.next_commit = Commit()
        self.q.put(b'a', 0, 0, False)
        self.assert_in_use()

    def test_used_between_the_look_and_the_deletion(self):
        self.look()
        self.clock.advance(AGE)
        self.assertEqual(self.look(), [self.q])
        self.take(False)
        self.assertFalse(self.idleness.still_overdue(self.q))

    def test_deleted_in_between(self):
        self.look()
        self.clock.advance(AGE)
        self.look()
        self.q.delete()
        self.assertFalse(self.idleness.still_overdue(self.q))

    def test_forgets_queues_that_are_gone(self):
        self.look()
        self.idleness.overdue([])
        self.assertEqual(self.idleness.known, {})
