"""Open reads that go back by themselves (D8)."""

import logging
import unittest

from kestrel.ration import Ration
from kestrel.reads import OpenReads
from kestrel.waiters import Waiter
from support.clock import MovedClock
from support.fakes import LineJournal, Owner, make_queue, queue_settings
from support.spool import MovedHub

SECOND = 1000000            # of the configuration
LATE = 0.1                  # seconds that a read may go back late


class DeadlinesTest(unittest.TestCase):

    def setUp(self):
        self.clock = MovedClock()
        self.hub = MovedHub(self.clock)
        self.journal = LineJournal()
        self.told = []
        self.reads = OpenReads(logging.Logger('test'), ('127.0.0.1', 40001))
        self.q = self.make()

    def make(self, journal=None, timeout=SECOND):
        return make_queue(self.clock, journal or self.journal, hub=self.hub, open_transaction_timeout=timeout)

    def put(self, *data):
        for word in data:
            self.q.put(word, 0, 0, False)

    def open(self, *data):
        """Put the items and open them, as a session does; -> their xids."""
        self.put(*data)
        xids = []
        for _ in data:
            item = self.q.take(True, self.clock.now_ms())
            self.reads.add(b'q', self.q, item.xid)
            xids.append(item.xid)
        return xids

    def waiting(self):
        return [item.data for item in self.q.items]

    def line(self):
        line = self.journal.line()
        self.journal.records.clear()
        return line

    def configure(self, timeout):
        self.q.configure(queue_settings(open_transaction_timeout=timeout))

    def test_goes_back_in_time_though_nobody_looks(self):
        self.open(b'a')
        self.line()
        self.hub.advance(1)
        self.assertEqual((self.waiting(), self.line()), ([], ''))
        self.hub.advance(LATE)
        self.assertEqual((self.waiting(), self.line()), ([b'a'], 'unremove(1)'))
        self.assertEqual(self.q.stats.canceled_transactions, 1)
        self.assertEqual((self.q.count, self.q.bytes, self.q.opened), (1, 1, {}))

    def test_wall_clock_does_not_matter(self):
        # D69
        self.open(b'a')
        self.clock.ms -= 3600000
        self.hub.advance(1 + LATE)
        self.assertEqual(self.waiting(), [b'a'])

    def test_several_keep_their_order(self):
        self.open(b'1', b'2', b'3')
        self.put(b'4')
        self.line()
        self.hub.advance(1 + LATE)
        self.assertEqual(self.waiting(), [b'1', b'2', b'3', b'4'])
        self.assertEqual(self.line(), 'unremove(3), unremove(2), unremove(1)')
        self.assertEqual(self.q.stats.canceled_transactions, 3)

    def test_each_has_its_own_time(self):
        self.open(b'1')
        self.hub.advance(0.5)
        self.open(b'2')
        self.hub.advance(0.5 + LATE)
        self.assertEqual((self.waiting(), list(self.q.opened)), ([b'1'], [2]))
        self.q.take(False, self.clock.now_ms())
        self.hub.advance(0.5)
        self.assertEqual(self.waiting(), [b'2'])
        self.assertEqual(self.hub.timers, [])

    def test_waiters_are_woken(self):
        self.open(b'1', b'2')
        for name in 'abc':
            self.q.waiters.join(Waiter(Owner(name, self.told)))
        self.hub.advance(1 + LATE)
        self.assertEqual(self.told, ['a', 'b'])

    def test_one_timer_whatever_is_open(self):
        self.open(*[b'%d' % number for number in range(100)])
        self.assertEqual(len(self.hub.timers), 1)
        self.hub.advance(1 + LATE)
        self.assertEqual((len(self.waiting()), self.hub.timers), (100, []))

    def test_what_was_confirmed_or_put_back_does_not_go_back_again(self):
        self.open(b'1', b'2', b'3', b'4')
        self.reads.confirm_oldest(b'q', 1)
        self.reads.abort_oldest(b'q')
        self.reads.confirm_oldest(b'q', 2)
        self.line()
        self.hub.advance(1 + LATE)
        self.assertEqual((self.waiting(), self.line()), ([b'2'], ''))
        self.assertEqual((len(self.q.deadlines), self.q.deadlines.overdue), (0, set()))

    def test_owner_keeps_its_place_and_can_do_nothing(self):
        self.open(b'1', b'2', b'3', b'4')
        self.hub.advance(1 + LATE)
        self.assertEqual(self.reads.count(b'q'), 4)
        self.line()
        self.assertIsNone(self.reads.confirm_oldest(b'q', 1))
        self.reads.abort_oldest(b'q')
        self.assertIsNone(self.reads.confirm_oldest(b'q', 1))
        self.assertEqual(self.reads.abort_all(None), 0)
        self.assertEqual((self.waiting(), self.line()), ([b'1', b'2', b'3', b'4'], ''))
        self.assertEqual(self.q.stats.canceled_transactions, 4)

    def test_what_is_ended_too_late_is_logged(self):
        # spec queues 10
        logger = logging.Logger('test')
        self.q.late_reads = Ration(logger, self.clock, 3)
        self.open(b'1', b'2', b'3', b'4')
        self.reads.confirm_oldest(b'q', 1)
        self.hub.advance(1 + LATE)
        with self.assertLogs(logger) as caught:
            self.reads.confirm_oldest(b'q', 1)
            self.reads.abort_oldest(b'q')
            self.reads.abort_all(None)
        self.assertEqual(caught.output, [
            'WARNING:test:queue q: the open read with xid %d is ended too late: open_transaction_timeout was over before'
            % xid for xid in (2, 3, 4)])

    def test_the_next_opening_of_the_item_is_another(self):
        self.open(b'1')
        self.hub.advance(1 + LATE)
        again = self.q.take(True, self.clock.now_ms())
        self.reads.confirm_oldest(b'q', 1)
        self.assertEqual(list(self.q.opened), [again.xid])

    def test_number_is_not_used_again_before_its_owner_lets_go(self):
        self.open(b'1', b'2')
        self.hub.advance(1 + LATE)
        self.q.xid = -1     # the numbers have gone round
        first, second = [self.q.take(True, self.clock.now_ms()).xid for _ in range(2)]
        self.assertEqual((first, second), (3, 4))
        self.assertIsNone(self.reads.confirm_oldest(b'q', 2))
        self.assertEqual(list(self.q.opened), [3, 4])
        self.put(b'3')
        self.q.xid = -1
        self.assertEqual(self.q.take(True, self.clock.now_ms()).xid, 1)
        self.q.confirm(1)
        self.assertEqual(list(self.q.opened), [3, 4])

    def test_reload_is_for_reads_opened_after_it(self):
        self.open(b'long')
        self.configure(SECOND // 10)
        self.open(b'short')
        self.configure(None)
        self.open(b'for ever')
        self.hub.advance(0.1 + LATE)
        self.assertEqual(self.waiting(), [b'short'])
        self.hub.advance(0.7)
        self.assertEqual(self.waiting(), [b'short'])
        self.hub.advance(LATE + 0.1)
        self.assertEqual(self.waiting(), [b'long', b'short'])
        self.hub.advance(100)
        self.assertEqual((list(self.q.opened), self.hub.timers), ([3], []))

    def test_reads_of_two_timeouts_that_are_due_together(self):
        self.open(b'1')
        self.hub.advance(0.5)
        self.configure(SECOND // 2)
        self.open(b'2')
        self.line()
        self.hub.advance(0.5 + LATE)
        self.assertEqual((self.waiting(), self.line()), ([b'1', b'2'], 'unremove(2), unremove(1)'))

    def test_set_by_a_reload(self):
        self.q = self.make(timeout=None)
        self.open(b'before')
        self.assertIsNone(self.q.deadlines)
        self.configure(SECOND)
        self.open(b'after')
        self.hub.advance(1 + LATE)
        self.assertEqual((self.waiting(), list(self.q.opened)), ([b'after'], [1]))

    def test_deleted_queue_is_left_alone(self):
        self.open(b'1')
        self.q.delete()
        self.line()
        self.hub.advance(1 + LATE)
        self.assertEqual((self.line(), self.hub.timers), ('', []))
        self.assertIsNone(self.reads.confirm_oldest(b'q', 1))

    def test_peeks_and_plain_gets_have_no_deadline(self):
        self.put(b'1')
        self.q.head()
        self.q.take(False, self.clock.now_ms())
        self.assertEqual(self.hub.timers, [])

    def test_sampled(self):
        self.open(b'1', b'2')
        self.assertEqual(self.q.stats.tx_expire_list_size.sum, 0 + 0 + 1 + 2)
