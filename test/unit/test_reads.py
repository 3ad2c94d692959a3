"""The open reads of a session (spec memcache 5, D7, D53)."""

import logging
import unittest

from kestrel.journal.sync import Commit
from kestrel.reads import OpenReads
from support.clock import MovedClock
from support.fakes import LineJournal, make_queue, queue_settings
from support.spool import LogLines


class ReadsTest(unittest.TestCase):

    def setUp(self):
        self.clock = MovedClock()
        self.log = LogLines()
        logger = logging.Logger('test')
        logger.addHandler(self.log)
        self.reads = OpenReads(logger, ('127.0.0.1', 40001))
        self.journal = LineJournal()
        self.q = self.queue(b'q', self.journal)

    def queue(self, name, journal=None, **settings):
        return make_queue(self.clock, journal, name, **settings)

    def open(self, queue, *data):
        """Put the items into the queue and open all of them; -> their xids."""
        xids = []
        for word in data:
            queue.put(word, 0, 0, False)
        for _ in data:
            item = queue.take(True, self.clock.now_ms())
            self.reads.add(queue.name, queue, item.xid)
            xids.append(item.xid)
        return xids

    def waiting(self, queue):
        return [item.data for item in queue.items]

    def test_counts_by_name(self):
        other = self.queue(b'other')
        self.open(self.q, b'1', b'2')
        self.open(other, b'x')
        self.assertEqual([self.reads.count(name) for name in (b'q', b'other', b'none')], [2, 1, 0])

    def test_confirming_and_opening_the_next_is_one_write(self):
        xids = self.open(self.q, b'1', b'2')
        self.q.put(b'3', 0, 0, False)
        del self.journal.records[:]
        item = self.reads.take_next(b'q', self.q, self.clock.now_ms())
        self.assertEqual((item.data, self.journal.line()), (b'3', 'confirm-remove(1)+remove-tentative(3)'))
        self.assertEqual((list(self.q.opened), self.reads.count(b'q')), ([xids[1], item.xid], 2))
        # the newest of them goes back first
        self.reads.abort_all(None)
        self.assertEqual(self.waiting(self.q), [b'2', b'3'])

    def test_nothing_is_done_where_the_two_have_to_be_done_by_themselves(self):
        def result(queue):
            return self.reads.take_next(b'q', queue, self.clock.now_ms())
        self.assertIsNone(result(self.q))                       # nothing open
        xid, = self.open(self.q, b'1')
        self.assertIsNone(result(self.q))                       # nothing waits
        self.q.put(b'2', 0, self.clock.now_ms() + 5, False)
        self.clock.advance(1)
        self.assertIsNone(result(self.q))                       # the head has expired
        self.q.flush()
        self.q.put(b'3', 0, 0, False)
        self.assertIsNone(result(self.queue(b'q')))             # another queue has the name now (D53)
        self.journal.next_commit = Commit()
        self.assertIsNone(result(self.q))                       # the confirm is to be waited for (D63)
        self.journal.next_commit = None
        self.journal.choked = True
        self.assertIsNone(result(self.q))                       # nothing may be handed out (D10)
        self.journal.choked = False
        self.q.configure(queue_settings(enable_trace=True))
        self.assertIsNone(result(self.q))                       # both are logged
        self.q.configure(queue_settings())
        self.assertEqual((list(self.q.opened), self.reads.count(b'q')), ([xid], 1))
        self.assertEqual(result(self.q).data, b'3')
        self.q.delete()
        self.assertIsNone(result(self.q))

    def test_oldest_is_confirmed_first(self):
        xids = self.open(self.q, b'1', b'2', b'3')
        self.reads.confirm_oldest(b'q', 2)
        self.assertEqual(list(self.q.opened), xids[2:])
        self.assertEqual(self.reads.count(b'q'), 1)

    def test_confirming_more_than_there_are(self):
        self.open(self.q, b'1')
        self.journal.records.clear()
        for name in (b'q', b'q', b'none'):
            self.assertIsNone(self.reads.confirm_oldest(name, 5))
        self.assertEqual((list(self.q.opened), self.journal.line()), ([], 'confirm-remove(1)'))

    def test_confirming_none(self):
        self.open(self.q, b'1')
        self.reads.confirm_oldest(b'q', 0)
        self.assertEqual((self.reads.count(b'q'), list(self.q.opened)), (1, [1]))

    def test_what_an_answer_has_to_wait_for(self):
        # D63: the fsync that the last of them joined is behind the records of all
        self.open(self.q, b'1', b'2', b'3', b'4')
        self.assertIsNone(self.reads.confirm_oldest(b'q', 1))
        commit = self.journal.next_commit = Commit()
        self.assertIs(self.reads.confirm_oldest(b'q', 2), commit)
        self.assertIsNone(self.reads.confirm_oldest(b'none', 1))

    def test_a_confirm_that_waits_for_nothing_hides_no_other(self):
        # one connection holds reads of two queues of that name; the one without a journal stands last
        self.open(self.q, b'1', b'2')
        commit = self.journal.next_commit = Commit()
        self.open(self.queue(b'q'), b'3')
        self.assertIs(self.reads.confirm_oldest(b'q', 3), commit)

    def test_oldest_is_put_back(self):
        self.open(self.q, b'1', b'2')
        self.reads.abort_oldest(b'q')
        self.assertEqual(self.waiting(self.q), [b'1'])
        self.assertEqual(self.reads.count(b'q'), 1)
        self.reads.abort_oldest(b'q')
        self.reads.abort_oldest(b'q')
        self.assertEqual(self.waiting(self.q), [b'2', b'1'])

    def test_all_go_back_so_that_the_order_is_the_old_one(self):
        self.q.put(b'0', 0, 0, False)
        self.q.take(False, self.clock.now_ms())
        self.open(self.q, b'1', b'2', b'3')
        self.q.put(b'4', 0, 0, False)
        self.journal.records.clear()
        self.assertEqual(self.reads.abort_all(None), 3)
        self.assertEqual(self.waiting(self.q), [b'1', b'2', b'3', b'4'])
        self.assertEqual(self.journal.line(), 'unremove(3), unremove(2), unremove(1)')

    def test_all_queues_go_back(self):
        other = self.queue(b'other')
        self.q.put(b'1', 0, 0, False)
        other.put(b'x', 0, 0, False)
        self.q.put(b'2', 0, 0, False)
        for queue in (self.q, other, self.q):
            self.reads.add(queue.name, queue, queue.take(True, self.clock.now_ms()).xid)
        self.assertEqual(self.reads.abort_all(None), 3)
        self.assertEqual((self.waiting(self.q), self.waiting(other)), ([b'1', b'2'], [b'x']))
        self.assertEqual([self.reads.count(name) for name in (b'q', b'other')], [0, 0])
        self.assertEqual(self.reads.abort_all(None), 0)

    def test_what_was_confirmed_does_not_go_back(self):
        self.open(self.q, b'1', b'2', b'3')
        self.reads.confirm_oldest(b'q', 1)
        self.assertEqual(self.reads.abort_all(None), 2)
        self.assertEqual(self.waiting(self.q), [b'2', b'3'])

    def test_belongs_to_one_queue_instance(self):
        # D53: the same name and the same xid, another queue
        self.open(self.q, b'old1', b'old2', b'old3')
        self.q.delete()
        new = self.queue(b'q')
        new.put(b'new', 0, 0, False)
        self.assertEqual(new.take(True, self.clock.now_ms()).xid, 1)
        self.assertEqual(self.reads.count(b'q'), 3)
        self.assertIsNone(self.reads.confirm_oldest(b'q', 1))       # answers as usual
        self.reads.abort_oldest(b'q')
        self.assertEqual(self.reads.abort_all(None), 0)                 # and does nothing
        self.assertEqual((list(new.opened), list(new.items)), ([1], []))
        self.assertEqual(new.stats.canceled_transactions, 0)

    def test_old_and_new_instance_under_one_name(self):
        self.open(self.q, b'old')
        self.q.delete()
        new = self.queue(b'q')
        self.open(new, b'new')
        self.reads.confirm_oldest(b'q', 1)
        self.assertEqual(list(new.opened), [1])
        self.reads.confirm_oldest(b'q', 1)
        self.assertEqual(list(new.opened), [])

    def test_names_without_open_reads_are_forgotten_and_come_again(self):
        for _ in range(3):
            self.open(self.q, b'1')
            self.reads.confirm_oldest(b'q', 1)
            self.assertEqual(self.reads.count(b'q'), 0)

    def test_trace(self):
        self.q.configure(make_queue(self.clock, enable_trace=True).settings)
        self.open(self.q, b'1', b'2', b'3')
        self.reads.confirm_oldest(b'q', 1)
        self.reads.abort_oldest(b'q')
        self.reads.abort_all(None)
        self.assertEqual(len(self.log.lines), 6)
        expected = ['open 1', 'open 2', 'open 3', 'confirm 1', 'abort 2', 'abort 3']
        for line, words in zip(self.log.lines, expected):
            verb, xid = words.split()
            self.assertIn(verb, line)
            self.assertIn('40001', line)
            self.assertTrue(line.endswith('queue q xid ' + xid), line)

    def test_no_trace_without_the_setting(self):
        self.open(self.q, b'1')
        self.reads.abort_all(None)
        self.assertEqual(self.log.lines, [])
