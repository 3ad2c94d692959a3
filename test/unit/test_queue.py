"""One queue: limits, order, expiry, open reads, flush, its journal's line (spec queues 3, 4, 5, 10)."""

import unittest
from collections import deque
from types import SimpleNamespace

from kestrel.errors import JournalError
from kestrel.item import Item
from kestrel.journal.sync import Commit
from kestrel.waiters import Waiter, Waiters
from support.clock import THEN, MovedClock
from support.fakes import LineJournal, Owner, make_queue, queue_settings

SLICE = 1000
SECOND = 1000               # ms
MICROSECONDS = 1000000      # durations of the configuration


class QueueTest(unittest.TestCase):

    def setUp(self):
        self.clock = MovedClock()
        self.journal = LineJournal()
        self.told = []

    def make(self, *data, recovered=None, waiters=None, **settings):
        """A queue with these items; the journal's line begins after them."""
        queue = make_queue(self.clock, self.journal, b'q', recovered, waiters, **settings)
        for word in data:
            self.put(queue, word)
        self.journal.records.clear()
        return queue

    def put(self, queue, data, flags=0, expiry=0, durable=False):
        return queue.put(data, flags, expiry, durable)

    def take(self, queue, opening=False):
        """As a session does it; -> data or None."""
        now = self.clock.now_ms()
        while queue.stale(now):
            queue.sweep(queue.max_sweep)
        item = queue.take(opening, now)
        return None if item is None else item.data

    def open(self, queue):
        return queue.take(True, self.clock.now_ms()).xid

    def waiting(self, queue):
        """The data that wait; the bytes must agree with them."""
        data = [item.data for item in queue.items]
        self.assertEqual((queue.count, queue.bytes), (len(data), sum(map(len, data))))
        self.assertEqual(queue.mem_bytes, queue.bytes)
        return data

    def join(self, queue, *names):
        waiters = [Waiter(Owner(name, self.told)) for name in names]
        for waiter in waiters:
            queue.waiters.join(waiter)
        return waiters

    def line(self):
        line = self.journal.line()
        self.journal.records.clear()
        return line


class OrderTest(QueueTest):

    def test_first_in_first_out(self):
        queue = self.make()
        for word in (b'first', b'', b'third'):
            self.assertTrue(self.put(queue, word))
        self.assertEqual([self.take(queue) for _ in range(4)], [b'first', b'', b'third', None])
        self.assertEqual(self.line(), 'add(5:0:first), add(0:0:), add(5:0:third), remove, remove, remove')

    def test_item_as_it_was_put(self):
        queue = self.make()
        self.put(queue, b'a\0b', flags=4294967295, expiry=THEN + 5)
        item = queue.head()
        self.assertEqual((item.data, item.flags, item.expiry, item.add_time, item.deliveries),
                         (b'a\0b', 4294967295, THEN + 5, THEN, 0))
        self.assertIs(queue.take(False, self.clock.now_ms()), item)

    def test_head_stays(self):
        queue = self.make(b'1', b'2')
        self.assertEqual((queue.head().data, queue.head().data), (b'1', b'1'))
        self.assertEqual((self.waiting(queue), self.line()), ([b'1', b'2'], ''))

    def test_nothing_there(self):
        queue = self.make()
        self.assertIsNone(queue.head())
        self.assertIsNone(queue.take(False, THEN))
        self.assertIsNone(queue.take(True, THEN))
        self.assertEqual((self.line(), queue.xid), ('', 0))

    def test_durable(self):
        queue = self.make()
        self.put(queue, b'a', durable=True)
        self.put(queue, b'b')
        self.assertEqual(self.line(), 'add(1:0:a)/sync, add(1:0:b)')

    def test_without_a_journal(self):
        queue = make_queue(self.clock)
        self.put(queue, b'1', durable=True)
        self.put(queue, b'2')
        self.put(queue, b'3', expiry=THEN - 1)
        xid = self.open(queue)
        queue.unremove(xid)
        queue.confirm(self.open(queue))
        self.assertEqual((self.take(queue), self.take(queue)), (b'2', None))
        queue.flush()
        queue.close()
        queue.delete()

    def test_what_recovery_found(self):
        items = deque([Item(b'one', THEN - 5, 0, 7), Item(b'two', THEN - 4)])
        queue = self.make(recovered=SimpleNamespace(items=items, count=2, bytes=6, mem_bytes=6, counter=41, opened={},
                                                    reader=None, behind=0))
        self.assertEqual(self.waiting(queue), [b'one', b'two'])
        self.assertEqual(queue.count, 2)
        self.assertEqual(queue.head().flags, 7)
        self.assertEqual(self.open(queue), 42)
        # D41, D42: what the statistics count begins now
        self.assertEqual((queue.stats.put_items, queue.stats.put_bytes, queue.last_taken), (0, 0, THEN - 5))


class WakingTest(QueueTest):

    def test_each_put_wakes_one(self):
        queue = self.make()
        self.join(queue, 'a', 'b', 'c')
        self.put(queue, b'1')
        self.assertEqual(self.told, ['a'])
        self.put(queue, b'2')
        self.assertEqual(self.told, ['a', 'b'])

    def test_each_put_back_wakes_one(self):
        queue = self.make(b'1', b'2')
        xids = [self.open(queue), self.open(queue)]
        self.join(queue, 'a', 'b', 'c')
        for xid in xids:
            queue.unremove(xid)
        self.assertEqual(self.told, ['a', 'b'])

    def test_nothing_else_wakes(self):
        queue = self.make(b'1', b'2', max_items=2)
        xid = self.open(queue)
        self.put(queue, b'3')
        self.join(queue, 'a')
        self.assertFalse(self.put(queue, b'refused'))
        self.take(queue)
        queue.confirm(xid)
        queue.unremove(xid)
        queue.sweep(10)
        queue.flush()
        queue.configure(queue_settings(max_items=7))
        self.assertEqual(self.told, [])

    def test_no_one_is_woken_by_a_put_that_failed(self):
        queue = self.make()
        self.join(queue, 'a')
        self.journal.failure = JournalError('it broke')
        with self.assertRaises(JournalError):
            self.put(queue, b'1')
        self.assertEqual((self.told, len(queue.waiters)), ([], 1))

    def test_item_is_there_when_the_waiter_is_told(self):
        queue = self.make()
        seen = []
        owner = SimpleNamespace(resume_soon=lambda: seen.append(self.waiting(queue)))
        queue.waiters.join(Waiter(owner))
        self.put(queue, b'1')
        self.assertEqual(seen, [[b'1']])

    def test_waiters_of_the_name_before_it_was_a_queue(self):
        line = Waiters()
        line.join(Waiter(Owner('early', self.told)))
        queue = self.make(waiters=line)
        self.put(queue, b'1')
        self.assertEqual(self.told, ['early'])

    def test_delete_and_close_dismiss(self):
        for end in ('delete', 'close'):
            queue = self.make()
            waiter, = self.join(queue, end)
            getattr(queue, end)()
            self.assertEqual((waiter.dismissed, waiter.woken), (True, False))
        self.assertEqual(self.told, ['delete', 'close'])


class LimitsTest(QueueTest):

    def test_item_size(self):
        queue = self.make(max_item_size=3)
        self.assertTrue(self.put(queue, b'abc'))
        self.assertFalse(self.put(queue, b'abcd'))
        self.assertEqual((queue.refuses_size(3), queue.refuses_size(4)), (False, True))
        self.assertEqual(self.line(), 'add(3:0:abc)')

    def test_items(self):
        queue = self.make(max_items=2)
        self.assertEqual([self.put(queue, b'x') for _ in range(3)], [True, True, False])
        self.assertEqual(queue.stats.put_items, 2)
        self.take(queue)
        self.assertTrue(self.put(queue, b'x'))

    def test_size_may_be_exceeded_by_one_item(self):
        queue = self.make(max_size=4)
        self.assertEqual([self.put(queue, word) for word in (b'abc', b'defghi', b'')], [True, True, False])
        self.assertEqual(queue.bytes, 9)

    def test_size_that_is_reached(self):
        queue = self.make(max_size=4)
        self.assertEqual([self.put(queue, word) for word in (b'abcd', b'e')], [True, False])

    def test_max_size_0(self):
        self.assertFalse(self.put(self.make(max_size=0), b''))

    def test_none_is_no_limit(self):
        queue = self.make(max_items=None, max_size=None, max_item_size=None)
        self.assertTrue(self.put(queue, b'x' * 100))
        self.assertFalse(queue.refuses_size(2 ** 62))

    def test_open_reads_do_not_count(self):
        queue = self.make(b'1', b'2', max_items=2)
        xids = [self.open(queue), self.open(queue)]
        self.assertEqual([self.put(queue, word) for word in (b'3', b'4', b'5')], [True, True, False])
        for xid in reversed(xids):
            queue.unremove(xid)
        self.assertEqual(self.waiting(queue), [b'1', b'2', b'3', b'4'])

    def test_too_large_comes_before_full_and_discards_nothing(self):
        queue = self.make(b'1', max_items=1, max_item_size=1, discard_old_when_full=True)
        self.assertFalse(self.put(queue, b'22'))
        self.assertEqual((self.waiting(queue), self.line()), ([b'1'], ''))

    def test_full_is_refused_before_it_looks_for_expired_items(self):
        queue = self.make(max_items=1)
        self.put(queue, b'old', expiry=THEN + 1)
        self.clock.advance(5)
        self.assertFalse(self.put(queue, b'new'))
        self.assertEqual((self.waiting(queue), queue.stats.expired_items), ([b'old'], 0))

    def test_sizes_are_not_enforced_on_items_already_there(self):
        queue = self.make(b'1', b'2', b'3')
        queue.configure(queue_settings(max_items=1))
        self.assertEqual(self.waiting(queue), [b'1', b'2', b'3'])
        self.assertFalse(self.put(queue, b'4'))

    def test_refused_changes_nothing(self):
        queue = self.make(b'1', max_items=1)
        self.assertFalse(self.put(queue, b'2'))
        self.assertEqual((self.waiting(queue), self.line(), queue.stats.put_items, queue.stats.put_bytes),
                         ([b'1'], '', 1, 1))


class DiscardTest(QueueTest):
    """D38."""

    def test_oldest_goes(self):
        queue = self.make(b'1', b'2', max_items=2, discard_old_when_full=True)
        self.assertTrue(self.put(queue, b'3'))
        self.assertEqual(self.waiting(queue), [b'2', b'3'])
        self.assertEqual(self.line(), 'remove, add(1:0:3)')
        self.assertEqual((queue.stats.discarded, queue.stats.expired_items), (1, 0))

    def test_as_many_as_needed(self):
        queue = self.make(b'aa', b'bb', b'cc', max_size=6, discard_old_when_full=True)
        queue.configure(queue_settings(max_size=3, discard_old_when_full=True))
        self.assertTrue(self.put(queue, b'dd'))
        self.assertEqual((self.waiting(queue), self.line()), ([b'cc', b'dd'], 'remove, remove, add(2:0:dd)'))
        self.assertEqual(queue.stats.discarded, 2)

    def lowered(self, count):
        queue = self.make(*[b'x'] * count, discard_old_when_full=True)
        queue.configure(queue_settings(max_items=2, discard_old_when_full=True))
        return queue

    def test_many_go_in_steps(self):
        queue = self.lowered(2500)
        self.assertEqual([self.put(queue, b'y') for _ in range(3)], [None, None, True])
        self.assertEqual((self.waiting(queue), queue.stats.discarded, queue.stats.put_items), ([b'x', b'y'], 2499, 2501))
        self.assertEqual(self.line(), ', '.join(['remove'] * 2499 + ['add(1:0:y)']))

    def test_a_step_is_all_it_takes(self):
        queue = self.lowered(1001)
        self.assertTrue(self.put(queue, b'y'))
        self.assertEqual(queue.stats.discarded, 1000)

    def test_nothing_goes_for_puts_that_wait_for_their_fsync(self):
        queue = self.make(*[b'x'] * 1500, discard_old_when_full=True)
        self.journal.next_commit = Commit()
        for _ in range(2):
            self.put(queue, b'y')
        queue.configure(queue_settings(max_items=2, discard_old_when_full=True))
        self.assertIs(self.put(queue, b'z'), False)
        self.assertEqual((queue.count, queue.stats.discarded), (1500, 0))

    def test_expired_ones_make_room_first(self):
        queue = self.make(max_items=2, discard_old_when_full=True)
        self.put(queue, b'old', expiry=THEN + 1)
        self.put(queue, b'live')
        self.clock.advance(1)
        self.journal.records.clear()
        self.assertTrue(self.put(queue, b'new'))
        self.assertEqual((self.waiting(queue), self.line()), ([b'live', b'new'], 'remove, add(3:0:new)'))
        self.assertEqual((queue.stats.discarded, queue.stats.expired_items), (0, 1))

    def test_empty_and_still_full_is_refused(self):
        queue = self.make(max_size=0, discard_old_when_full=True)
        self.assertFalse(self.put(queue, b'x'))
        self.assertEqual((self.line(), queue.stats.discarded), ('', 0))

    def test_nothing_goes_if_an_empty_queue_would_be_full_too(self):
        queue = self.make(b'1', b'2', discard_old_when_full=True)
        queue.configure(queue_settings(max_size=0, discard_old_when_full=True))
        self.assertFalse(self.put(queue, b'3'))
        self.assertEqual((self.waiting(queue), self.line()), ([b'1', b'2'], ''))

    def test_by_size_as_many_as_needed_and_not_more(self):
        queue = self.make(b'aaaa', b'', b'b', b'cc', max_size=8, discard_old_when_full=True)
        queue.configure(queue_settings(max_size=4, discard_old_when_full=True))
        self.put(queue, b'dd')
        self.assertEqual(self.waiting(queue), [b'', b'b', b'cc', b'dd'])

    def test_open_reads_are_not_discarded(self):
        queue = self.make(b'1', b'2', max_items=1, discard_old_when_full=True)
        xid = self.open(queue)
        self.put(queue, b'3')
        queue.unremove(xid)
        self.assertEqual(self.waiting(queue), [b'2', b'3'])

    def test_closed_queue_discards_nothing(self):
        queue = self.make(b'1', max_items=1, discard_old_when_full=True)
        queue.close()
        self.assertFalse(self.put(queue, b'2'))
        self.assertEqual(self.waiting(queue), [b'1'])


class JournalFailureTest(QueueTest):
    """D9: a failed write changes nothing."""

    FAILURE = JournalError('Input/output error')

    def state(self, queue):
        stats = queue.stats
        return (self.waiting(queue), sorted(queue.opened), queue.xid, queue.last_taken,
                stats.put_items, stats.put_bytes, stats.discarded, sum(stats.request_size.counts()),
                sum(stats.queue_size.counts()), self.journal.line())

    def check_failure(self, queue, **how):
        before = self.state(queue)
        self.journal.failure = self.FAILURE
        with self.assertRaises(JournalError) as raised:
            self.put(queue, b'new', **how)
        self.assertIs(raised.exception, self.FAILURE)
        self.assertEqual(self.state(queue), before)
        self.journal.failure = None
        self.assertTrue(self.put(queue, b'later'))

    def test_put(self):
        queue = self.make(b'1', b'2', b'3')
        self.open(queue)
        self.take(queue)
        self.check_failure(queue)
        self.assertEqual(self.waiting(queue), [b'3', b'later'])

    def test_durable_put(self):
        self.check_failure(self.make(), durable=True)

    def test_put_that_would_discard(self):
        # a refused put must not cost an item that was acknowledged
        self.check_failure(self.make(b'1', b'2', max_items=2, discard_old_when_full=True))

    def test_put_that_would_discard_expired_ones(self):
        # these may go whether or not the put succeeds
        queue = self.make(max_items=1, discard_old_when_full=True)
        self.put(queue, b'old', expiry=THEN)
        self.clock.advance(1)
        self.journal.failure = self.FAILURE
        with self.assertRaises(JournalError):
            self.put(queue, b'new')
        self.assertEqual((queue.stats.discarded, queue.stats.put_items), (0, 1))

    def test_record_is_written_before_the_item_is_there(self):
        seen = []
        self.journal = WatchedJournal()
        queue = self.make(b'1')
        self.journal.look = lambda: seen.append(self.waiting(queue))
        self.put(queue, b'2')
        self.assertEqual(seen, [[b'1']])


class WatchedJournal(LineJournal):
    """Calls a function before each put's record."""

    def __init__(self):
        super().__init__()
        self.look = lambda: None

    def add(self, item, durable=False, discarded=0):
        self.look()
        return super().add(item, durable, discarded)


class CommitTest(QueueTest):
    """D9: who waits for an fsync, and who stands behind."""

    def make(self, *data, **settings):
        queue = super().make(*data, **settings)
        self.commit = self.journal.next_commit = Commit()
        return queue

    def test_it_enters_when_the_fsync_has_succeeded(self):
        queue = self.make(b'1')
        self.join(queue, 'a', 'b')
        self.assertIs(self.put(queue, b'22'), self.commit)
        stats = queue.stats
        self.assertEqual((self.waiting(queue), self.line(), self.told), ([b'1'], 'add(2:0:22)', []))
        self.assertEqual((stats.put_items, stats.put_bytes, stats.request_size.sum), (1, 1, 1))
        self.journal.end_commit()
        self.assertEqual((self.waiting(queue), self.line(), self.told), ([b'1', b'22'], '', ['a']))
        self.assertEqual((stats.put_items, stats.put_bytes, stats.request_size.sum), (2, 3, 3))

    def test_what_is_put_behind_it_waits_too_but_not_its_client(self):
        queue = self.make()
        self.put(queue, b'durable')
        self.journal.next_commit = None
        self.assertIs(self.put(queue, b'other'), True)
        self.assertEqual((self.waiting(queue), self.take(queue), queue.head()), ([], None, None))
        self.journal.next_commit = self.commit
        self.journal.end_commit()
        self.assertEqual(self.waiting(queue), [b'durable', b'other'])

    def test_each_fsync_lets_in_its_own(self):
        queue = self.make()
        self.put(queue, b'1')
        first, second = self.commit, Commit()
        self.journal.next_commit = second
        self.put(queue, b'2')
        self.journal.next_commit = first
        self.journal.end_commit()
        self.assertEqual(self.waiting(queue), [b'1'])
        self.journal.next_commit = second
        self.journal.end_commit()
        self.assertEqual(self.waiting(queue), [b'1', b'2'])

    def test_limits_count_them_from_the_start(self):
        for settings in ({'max_items': 2}, {'max_size': 2}):
            queue = self.make(b'1', **settings)
            self.assertIs(self.put(queue, b'2'), self.commit)
            self.assertIs(self.put(queue, b'3'), False)
            self.assertEqual(self.line(), 'add(1:0:2)')
            self.journal.end_commit()
            self.assertIs(self.put(queue, b'3'), False)

    def test_what_is_discarded_for_it_has_left_at_once(self):
        queue = self.make(b'1', b'2', max_items=2, discard_old_when_full=True)
        self.put(queue, b'3')
        self.assertEqual((self.waiting(queue), queue.stats.discarded), ([b'2'], 1))
        self.put(queue, b'4')
        self.assertEqual((self.waiting(queue), queue.stats.discarded), ([], 2))
        # nothing is left that could make room
        self.assertIs(self.put(queue, b'5'), False)
        self.journal.end_commit()
        self.assertEqual(self.waiting(queue), [b'3', b'4'])

    def test_a_flush_does_not_see_them(self):
        queue = self.make(b'1')
        self.put(queue, b'2')
        self.assertEqual([item.data for item in queue.flush()], [b'1'])
        self.assertIsNone(queue.flush())
        self.journal.end_commit()
        self.assertEqual(self.waiting(queue), [b'2'])

    def test_a_delete_takes_them_along(self):
        queue = self.make(b'1')
        self.put(queue, b'2')
        queue.delete()
        self.assertIsNone(queue.journal.queue)
        queue.settle()
        self.assertEqual((self.waiting(queue), queue.stats.put_items, len(queue.tail)), ([], 1, 0))

    def test_put_back_goes_before_them(self):
        queue = self.make(b'1')
        xid = self.open(queue)
        self.put(queue, b'2')
        queue.unremove(xid)
        self.journal.end_commit()
        self.assertEqual(self.waiting(queue), [b'1', b'2'])

    def test_refused_ones_never_enter(self):
        queue = self.make(b'1')
        self.join(queue, 'a')
        self.put(queue, b'2')
        self.put(queue, b'3')
        self.journal.end_commit(JournalError('Input/output error'))
        self.assertEqual((self.waiting(queue), self.told, queue.stats.put_items), ([b'1'], [], 1))
        self.assertEqual(self.line(), 'add(1:0:2), add(1:0:3), cut')
        self.assertTrue(self.put(queue, b'4'))
        self.assertEqual([self.take(queue), self.take(queue), self.take(queue)], [b'1', b'4', None])

    def test_a_confirm(self):
        # D63
        queue = self.make(b'1')
        self.assertIs(queue.confirm(self.open(queue)), self.commit)
        self.assertIsNone(queue.confirm(1))


class ChokedTest(QueueTest):
    """D10: so much found no room on the disk that nothing may be handed out; what is open may end."""

    def make(self, *data, **settings):
        queue = super().make(*data, **settings)
        self.xid = self.open(queue)
        self.other = self.open(queue)
        self.journal.records.clear()
        self.journal.choked = True
        return queue

    def test_nothing_is_handed_out_and_it_ends(self):
        queue = self.make(b'1', b'2', b'3')
        self.assertEqual((self.take(queue), self.take(queue, True), self.line()), (None, None, ''))
        queue.confirm(self.xid)
        self.assertTrue(queue.unremove(self.other))
        self.assertEqual((self.take(queue), self.line()), (None, 'confirm-remove(1), unremove(2)'))
        self.journal.choked = False
        self.assertEqual([self.take(queue), self.take(queue)], [b'2', b'3'])

    def test_nothing_expires(self):
        queue = self.make(b'1', b'2')
        self.put(queue, b'dead', expiry=1)
        self.journal.records.clear()
        self.assertFalse(queue.stale(THEN))
        self.assertEqual((queue.sweep(10), self.line(), queue.stats.expired_items), (0, '', 0))

    def test_nothing_is_discarded(self):
        queue = self.make(b'1', b'2', b'3', max_items=3, discard_old_when_full=True)
        self.put(queue, b'4')
        self.put(queue, b'5')
        self.journal.records.clear()
        self.assertIs(self.put(queue, b'6'), False)
        self.assertEqual((self.waiting(queue), self.line()), ([b'3', b'4', b'5'], ''))


class ExpiryTest(QueueTest):

    def test_expired_is_strictly_later(self):
        queue = self.make()
        self.put(queue, b'a', expiry=THEN + 1000)
        self.clock.advance(1)
        self.assertFalse(queue.stale(self.clock.now_ms()))
        self.assertEqual(queue.sweep(10), 0)
        self.clock.advance(0.001)
        self.assertTrue(queue.stale(self.clock.now_ms()))
        self.assertIsNone(self.take(queue))

    def test_never(self):
        queue = self.make(b'a')
        self.clock.advance(10 ** 9)
        self.assertEqual(self.take(queue), b'a')

    def test_already_expired_is_stored(self):
        queue = self.make()
        self.assertTrue(self.put(queue, b'a', expiry=1))
        self.assertEqual(self.line(), 'add(1:1:a)')
        self.assertIsNone(self.take(queue))
        self.assertEqual((self.line(), queue.stats.expired_items), ('remove', 1))

    def test_max_age_cuts_the_expiry_at_put(self):
        queue = self.make(max_age=10 * MICROSECONDS)
        for expiry in (0, THEN + 5000, THEN + 10000, THEN + 10001, 2 ** 63 - 1):
            self.put(queue, b'a', expiry=expiry)
        self.assertEqual([item.expiry - THEN for item in queue.items], [10000, 5000, 10000, 10000, 10000])
        self.assertIn('add(1:%d:a)' % (THEN + 10000), self.line())

    def test_max_age_below_a_millisecond(self):
        queue = self.make(max_age=300)
        self.put(queue, b'a')
        self.assertEqual(self.take(queue), b'a')
        self.put(queue, b'a')
        self.clock.advance(0.002)
        self.assertIsNone(self.take(queue))

    def test_max_age_as_configured_now_counts(self):
        queue = self.make(b'a', b'b')
        self.clock.advance(20)
        queue.configure(queue_settings(max_age=20 * MICROSECONDS))
        self.assertFalse(queue.stale(self.clock.now_ms()))
        queue.configure(queue_settings(max_age=19 * MICROSECONDS))
        self.assertIsNone(self.take(queue))
        self.assertEqual(queue.stats.expired_items, 2)

    def test_a_longer_max_age_does_not_lengthen_the_expiry_of_the_put(self):
        queue = self.make(max_age=10 * MICROSECONDS)
        self.put(queue, b'a')
        queue.configure(queue_settings(max_age=None))
        self.clock.advance(10.001)
        self.assertIsNone(self.take(queue))

    def test_items_behind_a_live_head_are_not_looked_at(self):
        queue = self.make()
        self.put(queue, b'live')
        self.put(queue, b'dead', expiry=1)
        self.assertEqual(queue.sweep(10), 0)
        self.assertEqual(self.waiting(queue), [b'live', b'dead'])
        self.take(queue)
        self.assertEqual(queue.sweep(10), 1)

    def dead(self, count, **settings):
        queue = self.make(**settings)
        for number in range(count):
            self.put(queue, b'%d' % number, expiry=THEN)
        self.put(queue, b'live')
        self.journal.records.clear()
        self.clock.advance(1)
        return queue

    def test_sweep_keeps_its_limit(self):
        queue = self.dead(5)
        self.assertEqual(queue.sweep(3), 3)
        self.assertEqual((self.line(), queue.stats.expired_items), ('remove, remove, remove', 3))
        self.assertEqual(queue.sweep(3), 2)
        self.assertEqual(self.waiting(queue), [b'live'])
        self.assertEqual(queue.sweep(3), 0)

    def test_sweep_is_at_most_one_slice(self):
        queue = self.dead(SLICE + 5)
        self.assertEqual(queue.sweep(10 ** 6), SLICE)
        self.assertEqual(queue.sweep(10 ** 6), 5)

    def test_put_sweeps(self):
        queue = self.dead(3)
        self.put(queue, b'x')
        self.assertEqual(self.waiting(queue), [b'live', b'x'])
        self.assertEqual(self.line(), 'remove, remove, remove, add(1:0:x)')

    def test_put_sweeps_max_expire_sweep_at_most(self):
        queue = self.dead(3, max_expire_sweep=2)
        self.journal.records.clear()
        self.put(queue, b'x')
        self.assertEqual(self.line(), 'remove, remove, add(1:0:x)')

    def test_put_that_is_refused_for_its_size_does_not_sweep(self):
        queue = self.dead(3, max_item_size=5)
        self.put(queue, b'too large')
        self.assertEqual(self.line(), '')

    def test_sweep_of_an_empty_or_closed_queue(self):
        queue = self.make()
        self.assertEqual(queue.sweep(10), 0)
        queue = self.dead(3)
        queue.close()
        self.assertEqual((queue.sweep(10), len(queue.items)), (0, 4))


class OpenReadsTest(QueueTest):

    def test_open_and_confirm(self):
        queue = self.make(b'first', b'second')
        xid = self.open(queue)
        self.assertEqual((xid, self.waiting(queue), list(queue.opened)), (1, [b'second'], [1]))
        self.assertIsNone(queue.confirm(xid))
        self.assertEqual((self.waiting(queue), list(queue.opened)), ([b'second'], []))
        self.assertEqual(self.line(), 'remove-tentative(1), confirm-remove(1)')

    def test_open_and_put_back(self):
        queue = self.make()
        self.put(queue, b'first')
        self.put(queue, b'house')
        self.open(queue)
        self.open(queue)
        self.assertTrue(queue.unremove(2))
        self.assertEqual(self.line(), 'add(5:0:first), add(5:0:house), remove-tentative(1),'
                                      ' remove-tentative(2), unremove(2)')
        self.assertEqual(self.waiting(queue), [b'house'])
        self.put(queue, b'third')
        self.assertTrue(queue.unremove(1))
        self.assertEqual(self.waiting(queue), [b'first', b'house', b'third'])
        self.assertEqual(queue.stats.canceled_transactions, 2)

    def test_unknown_xid(self):
        queue = self.make(b'1')
        for xid in (0, 1, -1, 2147483647):
            self.assertIsNone(queue.confirm(xid))
            self.assertFalse(queue.unremove(xid))
        xid = self.open(queue)
        queue.confirm(xid)
        self.journal.next_commit = Commit()
        self.assertIsNone(queue.confirm(xid))
        self.assertFalse(queue.unremove(xid))
        self.assertEqual(self.line(), 'remove-tentative(1), confirm-remove(1)')
        self.assertEqual(queue.stats.canceled_transactions, 0)

    def test_put_back_keeps_add_time_expiry_and_flags(self):
        queue = self.make()
        self.put(queue, b'a', flags=9, expiry=THEN + 5000)
        self.clock.advance(2)
        queue.unremove(self.open(queue))
        item = queue.head()
        self.assertEqual((item.add_time, item.expiry, item.flags), (THEN, THEN + 5000, 9))

    def test_put_back_item_may_be_expired(self):
        queue = self.make(b'2')
        queue.flush()
        self.put(queue, b'1', expiry=THEN + 1000)
        xid = self.open(queue)
        self.clock.advance(2)
        queue.unremove(xid)
        self.assertEqual(self.waiting(queue), [b'1'])
        self.assertIsNone(self.take(queue))
        self.assertEqual(queue.stats.expired_items, 1)

    def test_xids_skip_open_ones_and_zero(self):
        queue = self.make(b'1', b'2', b'3', b'4')
        queue.xid = 2147483646
        self.assertEqual([self.open(queue), self.open(queue)], [2147483647, -2147483648])
        queue.xid = -2
        self.assertEqual([self.open(queue), self.open(queue)], [-1, 1])
        queue.unremove(-1)
        queue.xid = 2147483646
        self.assertEqual(self.open(queue), -2147483647)
        self.assertEqual(sorted(queue.opened), [-2147483648, -2147483647, 1, 2147483647])

    def test_reopened_item_gets_a_new_xid(self):
        queue = self.make(b'1')
        queue.unremove(self.open(queue))
        self.assertEqual(self.open(queue), 2)
        self.assertEqual(self.line(), 'remove-tentative(1), unremove(1), remove-tentative(2)')

    def test_flush_leaves_them_open(self):
        queue = self.make(b'1', b'2')
        xid = self.open(queue)
        queue.flush()
        self.assertEqual(self.waiting(queue), [])
        self.assertTrue(queue.unremove(xid))
        self.assertEqual(self.waiting(queue), [b'1'])

    def test_transactions_counts_tries_on_a_queue_with_items(self):
        queue = self.make(b'1')
        self.open(queue)
        queue.take(True, THEN)
        self.put(queue, b'2')
        queue.take(False, THEN)
        self.assertEqual(queue.stats.transactions, 1)

    def test_void_after_deletion(self):
        # D53
        queue = self.make(b'1', b'2')
        xid = self.open(queue)
        queue.delete()
        self.journal.records.clear()
        self.assertIsNone(queue.confirm(xid))
        self.assertFalse(queue.unremove(xid))
        self.assertEqual((self.line(), self.waiting(queue)), ('', []))
        self.assertEqual(queue.stats.canceled_transactions, 0)


class FlushTest(QueueTest):
    """D57."""

    def test_all_that_wait_with_one_remove_each(self):
        queue = self.make(b'1', b'2', b'3')
        self.assertEqual([item.data for item in queue.flush()], [b'1', b'2', b'3'])
        self.assertEqual((self.waiting(queue), self.line()), ([], 'remove, remove, remove'))

    def test_nothing_there(self):
        queue = self.make()
        self.assertFalse(queue.flush())
        self.assertEqual(self.line(), '')

    def test_queue_goes_on(self):
        queue = self.make(b'1', max_items=1)
        self.open(queue)
        self.put(queue, b'2')
        queue.flush()
        self.assertTrue(self.put(queue, b'3'))
        queue.unremove(1)
        self.assertEqual([self.take(queue) for _ in range(3)], [b'1', b'3', None])

    def test_get_statistics_are_not_touched(self):
        queue = self.make(b'1', b'2')
        before = queue.last_taken
        queue.flush()
        stats = queue.stats
        self.assertEqual((stats.get_items_hit, stats.get_items_miss, stats.expired_items, stats.discarded,
                          stats.transactions, sum(stats.delivery_latency_msec.counts()), queue.last_taken),
                         (0, 0, 0, 0, 0, 0, before))


class ClosedTest(QueueTest):
    """From the close on puts are refused and gets find nothing (spec queues 13)."""

    def closed(self):
        queue = self.make(b'1', b'2')
        self.xid = self.open(queue)
        queue.close()
        self.assertEqual(self.journal.records[-1], 'close')
        self.journal.records.clear()
        return queue

    def test_put_is_refused(self):
        queue = self.closed()
        self.assertFalse(self.put(queue, b'x'))
        self.assertEqual(self.line(), '')

    def test_get_finds_nothing(self):
        queue = self.closed()
        self.assertIsNone(queue.take(False, THEN))
        self.assertIsNone(queue.take(True, THEN))
        self.assertEqual(self.line(), '')

    def test_peek_finds_nothing(self):
        self.assertIsNone(self.closed().head())

    def test_expired_head_is_not_waited_for(self):
        # sweep() drops nothing of a closed queue, so stale() must not send anybody into it again and again
        queue = self.make()
        self.put(queue, b'a', expiry=1)
        queue.close()
        self.assertFalse(queue.stale(THEN))

    def test_flush_removes_nothing(self):
        queue = self.closed()
        self.assertFalse(queue.flush())
        self.assertEqual(len(queue.items), 1)
        self.assertEqual(self.line(), '')

    def test_open_reads_stay_as_they_are(self):
        queue = self.closed()
        self.assertIsNone(queue.confirm(self.xid))
        self.assertFalse(queue.unremove(self.xid))
        self.assertEqual(self.line(), '')

    def test_delete(self):
        queue = self.make(b'1', b'2')
        items = queue.delete()
        self.assertEqual([item.data for item in items], [b'1', b'2'])
        self.assertEqual(self.line(), 'delete')
        self.assertEqual((queue.bytes, len(queue.items), queue.closed), (0, 0, True))
        self.assertFalse(self.put(queue, b'x'))
        self.assertIsNone(queue.take(False, THEN))


class FiguresTest(QueueTest):

    def test_last_taken_is_the_add_time_of_the_item(self):
        queue = self.make(b'1')
        self.assertEqual(queue.last_taken, 0)
        self.clock.advance(3)
        self.take(queue)
        self.assertEqual(queue.last_taken, THEN)

    def test_puts(self):
        queue = self.make()
        self.put(queue, b'abc')
        self.put(queue, b'de')
        self.assertEqual((queue.stats.put_items, queue.stats.put_bytes), (2, 5))
        self.assertEqual(queue.stats.request_size.sum, 5)

    def test_sampled_at_each_put_and_get(self):
        queue = self.make(b'1', b'2')
        self.take(queue, True)
        self.take(queue)
        self.take(queue)
        stats = queue.stats
        for histogram in (stats.tx_map_size, stats.tx_expire_list_size, stats.queue_size):
            self.assertEqual(sum(histogram.counts()), 4)
        self.assertEqual((stats.queue_size.sum, stats.tx_map_size.sum), (4, 2))
        self.assertEqual(stats.tx_expire_list_size.sum, 0)

    def test_delivery_latency(self):
        queue = self.make(b'1', b'2')
        self.clock.advance(0.25)
        self.take(queue)
        self.take(queue, True)
        histogram = queue.stats.delivery_latency_msec
        self.assertEqual((histogram.sum, sum(histogram.counts())), (500, 2))

    def test_created(self):
        self.assertEqual(self.make().created, THEN)
