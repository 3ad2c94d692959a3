"""Items that go to another queue: expired ones (D51)."""

import logging
import unittest

from kestrel.errors import JournalError
from kestrel.journal.sync import Commit
from kestrel.queue_collection import QueueCollection
from kestrel.reads import OpenReads
from kestrel.stats import ServerStats
from kestrel.waiters import Waiter
from support.clock import THEN, MovedClock
from support.fakes import FakeConfig, LineJournal, Owner
from support.spool import LogLines, MovedHub

SECOND = 1000               # ms


class Records(list):
    """Those of one journal; each goes into the line of all journals too."""

    def __init__(self, name, line):
        super().__init__()
        self.name = name
        self.line = line

    def append(self, record):
        super().append(record)
        self.line.append('%s: %s' % (self.name, record))

    def extend(self, records):
        for record in records:
            self.append(record)


class MoverTest(unittest.TestCase):

    SOURCE = {'expire_to_queue': b't'}

    def setUp(self):
        self.clock = MovedClock()
        self.hub = MovedHub(self.clock)
        self.log = LogLines()
        self.logger = logging.Logger('test')
        self.logger.addHandler(self.log)
        self.line = []
        self.told = []
        self.build({b'q': self.SOURCE})

    def build(self, queues):
        self.stats = ServerStats()
        self.config = FakeConfig(queues)
        self.collection = QueueCollection(None, self.hub, None, self.clock, self.stats, self.config, self.logger)
        self.q = self.journaled(b'q')

    def journaled(self, name):
        queue = self.collection.need(name)
        journal = queue.journal = LineJournal()
        journal.records = Records(name.decode(), self.line)
        journal.queue = queue
        return queue

    def put(self, *data, expiry=THEN + SECOND, flags=0):
        for word in data:
            self.q.put(word, flags, expiry, False)
        self.line.clear()

    def expire(self):
        self.clock.advance(1.001)

    def items(self, name):
        queue = self.collection.lookup(name)
        return None if queue is None else [item.data for item in queue.items]

    def written(self):
        line = ', '.join(self.line)
        self.line.clear()
        return line

    def wait(self, queue, name):
        queue.waiters.join(Waiter(Owner(name, self.told)))


class ExpiredTest(MoverTest):

    def test_moved_in_order(self):
        t = self.journaled(b't')
        self.put(b'1', b'2')
        self.put(b'3', expiry=0)
        self.assertEqual(self.q.sweep(10), 0)
        self.expire()
        self.assertEqual(self.q.sweep(10), 2)
        self.assertEqual((self.items(b't'), self.items(b'q')), ([b'1', b'2'], [b'3']))
        # the record of the target is the first
        self.assertEqual(self.written(), 't: add(1:0:1), t: add(1:0:2), q: remove, q: remove')
        self.assertEqual((self.q.stats.expired_items, t.stats.put_items, self.stats.total_items), (2, 2, 0))
        self.assertEqual((self.q.count, self.q.bytes, self.q.opened), (1, 1, {}))

    def test_new_add_time_no_expiry_same_flags(self):
        self.put(b'1', flags=0x80000001)
        self.expire()
        self.q.sweep(10)
        item = self.collection.lookup(b't').items[0]
        self.assertEqual((item.add_time, item.expiry, item.flags), (self.clock.ms, 0, 0x80000001))

    def test_age_of_the_target(self):
        self.build({b'q': self.SOURCE, b't': {'max_age': 5 * SECOND * 1000}})
        self.put(b'1')
        self.expire()
        self.q.sweep(10)
        self.assertEqual(self.collection.lookup(b't').items[0].expiry, self.clock.ms + 5 * SECOND)

    def test_target_is_looked_up_each_time(self):
        self.put(b'1', b'2', b'3')
        self.expire()
        self.q.sweep(1)
        self.config.queues[b'q'] = {'expire_to_queue': b'u'}
        self.collection.configure(self.config)
        self.q.sweep(1)
        self.config.queues[b'q'] = {}
        self.collection.configure(self.config)
        self.q.sweep(1)
        self.assertEqual((self.items(b't'), self.items(b'u'), self.items(b'q')), ([b'1'], [b'2'], []))

    def test_no_target_is_made_for_nothing(self):
        self.put(b'1')
        self.assertEqual(self.q.sweep(1000), 0)
        self.assertIsNone(self.items(b't'))
        self.expire()
        self.assertEqual((self.q.sweep(1000), self.items(b't')), (1, [b'1']))

    def test_deleted_target_is_made_again(self):
        self.journaled(b't')
        self.collection.delete(b't')
        self.put(b'1')
        self.expire()
        self.q.sweep(1)
        self.assertEqual(self.items(b't'), [b'1'])

    def test_waiters_of_the_target_are_woken(self):
        self.wait(self.collection.need(b't'), 'a')
        self.put(b'1')
        self.expire()
        self.q.sweep(1)
        self.assertEqual(self.told, ['a'])

    def test_a_put_moves_too(self):
        self.put(b'1')
        self.expire()
        self.q.put(b'2', 0, 0, False)
        self.assertEqual((self.items(b't'), self.items(b'q')), ([b'1'], [b'2']))

    def test_one_step_is_short(self):
        self.put(*[b'x'] * 1000)
        self.expire()
        self.assertEqual(self.q.sweep(10 ** 6), 100)

    def test_large_items_are_few(self):
        self.put(*[bytes(300000)] * 10)
        self.expire()
        self.assertEqual(self.q.sweep(10 ** 6), 4)

    def test_limit(self):
        self.put(b'1', b'2', b'3')
        self.expire()
        self.assertEqual(self.q.sweep(2), 2)

    def test_arrived_in_this_run(self):
        self.build({b'q': self.SOURCE, b't': {'max_age': 0, 'expire_to_queue': b'u'}})
        self.put(b'1')
        self.expire()
        run = self.clock.now_ms()
        self.q.sweep(10, run)
        self.clock.advance(0.5)
        t = self.collection.lookup(b't')
        self.assertEqual((t.sweep(10, run), self.items(b't')), (0, [b'1']))
        self.assertEqual((t.sweep(10), self.items(b'u')), (1, [b'1']))

    def test_two_that_expire_into_each_other(self):
        self.build({b'q': self.SOURCE, b't': {'expire_to_queue': b'q', 'max_age': 0}})
        t = self.collection.need(b't')
        self.put(b'1')
        t.put(b'2', 0, 0, False)
        self.expire()
        self.assertEqual(self.q.sweep(10), 1)
        self.assertEqual((self.items(b'q'), self.items(b't')), ([], [b'2', b'1']))
        self.expire()
        self.assertEqual(t.sweep(10), 2)
        self.assertEqual((self.items(b'q'), self.items(b't')), ([b'2', b'1'], []))

    # -- refused by a limit

    def test_refused_items_are_dropped_and_logged(self):
        self.build({b'q': self.SOURCE, b't': {'max_items': 1}})
        self.put(b'1', b'2', b'3')
        self.expire()
        self.assertEqual(self.q.sweep(10), 3)
        self.assertEqual((self.items(b't'), self.items(b'q')), ([b'1'], []))
        self.assertEqual(self.written(), 'q: remove, q: remove, q: remove')
        self.assertEqual(len(self.log.lines), 1)
        self.assertIn('queue q: 1 expired items are dropped, queue t refuses them', self.log.lines[0])
        self.hub.advance(60)
        self.assertIn('queue q: 1 expired items are dropped', self.log.lines[1])
        self.hub.advance(120)
        self.assertEqual((len(self.log.lines), self.hub.timers), (2, []))

    def test_too_large(self):
        self.build({b'q': self.SOURCE, b't': {'max_item_size': 1}})
        self.put(b'11', b'2')
        self.expire()
        self.q.sweep(10)
        self.assertEqual(self.items(b't'), [b'2'])

    def test_target_that_discards(self):
        self.build({b'q': self.SOURCE, b't': {'max_items': 1, 'discard_old_when_full': True}})
        self.put(b'1', b'2')
        self.expire()
        self.q.sweep(10)
        self.assertEqual((self.items(b't'), self.log.lines), ([b'2'], []))

    # -- cannot be written

    def test_stays_at_the_head(self):
        t = self.journaled(b't')
        self.put(b'1', b'2')
        self.put(b'3', expiry=0)
        self.expire()
        t.journal.failure = JournalError('broken')
        self.assertEqual(self.q.sweep(10), 0)
        self.assertEqual((self.items(b'q'), self.written()), ([b'1', b'2', b'3'], ''))
        self.assertTrue(self.q.stale(self.clock.ms))
        self.assertEqual(self.q.sweep(10), 0)
        self.assertEqual(len(self.log.lines), 1)
        self.assertIn('queue q: expired items cannot be moved to queue t: broken', self.log.lines[0])
        self.wait(self.q, 'a')
        t.journal.failure = None
        self.assertEqual(self.q.sweep(10), 2)
        self.assertEqual((self.items(b't'), self.items(b'q')), ([b'1', b'2'], [b'3']))
        self.assertEqual(self.told, ['a'])

    def test_what_was_moved_before_the_failure(self):
        t = self.journaled(b't')
        self.put(b'1', b'2')
        self.expire()

        class Once(LineJournal):
            def add(self, *arguments):
                self.failure = JournalError('broken') if self.records else None
                return LineJournal.add(self, *arguments)
        t.journal = Once()
        self.assertEqual(self.q.sweep(10), 1)
        self.assertEqual((self.items(b't'), self.items(b'q'), self.written()), ([b'1'], [b'2'], 'q: remove'))

    def test_a_put_that_would_have_to_discard_is_refused(self):
        self.build({b'q': {**self.SOURCE, 'max_items': 1, 'discard_old_when_full': True}})
        t = self.journaled(b't')
        self.put(b'1')
        self.expire()
        t.journal.failure = JournalError('broken')
        self.assertFalse(self.q.put(b'2', 0, 0, False))
        self.assertEqual(self.items(b'q'), [b'1'])
        t.journal.failure = None
        self.assertTrue(self.q.put(b'2', 0, 0, False))
        self.assertEqual((self.items(b't'), self.items(b'q')), ([b'1'], [b'2']))

    def test_it_is_accepted_again_once_nothing_stands_in_its_way(self):
        self.build({b'q': {**self.SOURCE, 'max_items': 1, 'discard_old_when_full': True}})
        t = self.journaled(b't')
        self.put(b'1')
        self.expire()
        t.journal.failure = JournalError('broken')
        self.assertFalse(self.q.put(b'2', 0, 0, False))
        self.q.flush()
        self.assertTrue(self.q.put(b'3', 0, 0, False))
        self.assertTrue(self.q.put(b'4', 0, 0, False))
        self.assertEqual(self.items(b'q'), [b'4'])

    def test_name_that_cannot_be(self):
        self.build({b'q': {'expire_to_queue': b'a/b'}})
        self.put(b'1')
        self.expire()
        self.assertEqual((self.q.sweep(10), self.items(b'q')), (0, [b'1']))
        self.assertIn('bad queue name', self.log.lines[0])

    # -- a target that waits for an fsync

    def synced(self):
        t = self.journaled(b't')
        t.journal.next_commit = Commit()
        return t

    def test_leaves_for_good_after_the_fsync(self):
        t = self.synced()
        self.put(b'1', b'2')
        self.expire()
        self.assertEqual(self.q.sweep(10), 2)
        self.assertEqual((self.items(b'q'), self.items(b't'), self.q.count), ([], [], 0))
        self.assertEqual(self.written(),
                         't: add(1:0:1), q: remove-tentative(1), t: add(1:0:2), q: remove-tentative(2)')
        t.journal.end_commit()
        self.assertEqual((self.items(b't'), self.q.opened), ([b'1', b'2'], {}))
        self.assertEqual(self.written(), 'q: confirm-remove(1), q: confirm-remove(2)')
        self.assertEqual((self.q.stats.expired_items, self.q.stats.canceled_transactions), (2, 0))

    def test_goes_back_when_the_fsync_fails(self):
        t = self.synced()
        self.put(b'1', b'2')
        self.expire()
        self.q.sweep(10)
        self.written()
        t.journal.end_commit(JournalError('broken'))
        self.assertEqual((self.items(b'q'), self.q.opened), ([b'1', b'2'], {}))
        self.assertEqual(self.written(), 't: cut, q: unremove(2), q: unremove(1)')
        self.assertEqual((self.q.stats.expired_items, self.q.stats.canceled_transactions), (0, 0))
        # not at once: that ends the sweep
        self.assertEqual(self.q.sweep(10), 0)
        self.assertEqual(self.q.sweep(10), 2)

    def test_removals_before_a_held_one_are_written_before_it(self):
        self.build({b'q': self.SOURCE, b't': {'max_item_size': 1}})
        self.synced()
        self.put(b'too large', b'2')
        self.expire()
        self.q.sweep(10)
        self.assertEqual(self.written(), 't: add(1:0:2), q: remove, q: remove-tentative(1)')

    def test_source_deleted_meanwhile(self):
        t = self.synced()
        self.put(b'1')
        self.expire()
        self.q.sweep(10)
        self.collection.delete(b'q')
        self.written()
        t.journal.end_commit()
        self.assertEqual((self.items(b't'), self.written()), ([b'1'], ''))

    def test_not_too_many_are_held(self):
        self.synced()
        self.put(*[b'x'] * 10100)
        self.expire()
        while self.q.sweep(10 ** 6):
            pass
        self.assertEqual((len(self.q.opened), self.q.count), (10000, 100))


class DeadLetterTest(MoverTest):

    SOURCE = {'max_deliveries': 2, 'dead_letter_queue': b'd'}

    def open(self, *data):
        """Put the items and open them; -> their xids."""
        self.put(*data)
        xids = [self.q.take(True, self.clock.now_ms()).xid for _ in data]
        self.line.clear()
        return xids

    def again(self):
        """The head is opened once more; -> its xid."""
        xid = self.q.take(True, self.clock.now_ms()).xid
        self.line.clear()
        return xid

    def counts(self):
        stats = self.q.stats
        return stats.canceled_transactions, stats.dead_letters, stats.discarded

    def test_moved_at_the_last_time(self):
        self.journaled(b'd')
        xid, = self.open(b'1')
        self.assertTrue(self.q.unremove(xid))
        self.assertEqual((self.items(b'q'), self.written()), ([b'1'], 'q: unremove(1)'))
        xid = self.again()
        self.assertTrue(self.q.unremove(xid))
        self.assertEqual((self.items(b'q'), self.items(b'd'), self.q.opened), ([], [b'1'], {}))
        # the record of the dead letter queue is the first
        self.assertEqual(self.written(), 'd: add(1:0:1), q: confirm-remove(2)')
        self.assertEqual(self.counts(), (2, 1, 0))

    def test_as_by_a_put_without_expiry(self):
        self.put(b'1', flags=7)
        for _ in range(2):
            self.q.unremove(self.again())
        item = self.collection.lookup(b'd').items[0]
        self.assertEqual((item.flags, item.expiry, item.deliveries, item.add_time), (7, 0, 0, self.clock.ms))
        self.assertEqual(self.stats.total_items, 0)

    def test_only_those_that_are_poison(self):
        self.q.unremove(self.open(b'1')[0])
        xids = [self.again(), *self.open(b'2', b'3')]
        self.assertEqual(self.q.unremove_many(list(reversed(xids))), 3)
        self.assertEqual((self.items(b'd'), self.items(b'q')), ([b'1'], [b'2', b'3']))
        self.assertEqual(self.counts(), (4, 1, 0))

    def test_several_keep_their_order(self):
        xids = self.open(b'1', b'2', b'3')
        self.q.unremove_many(list(reversed(xids)))
        xids = [self.again() for _ in range(3)]
        self.q.unremove_many(list(reversed(xids)))
        self.assertEqual(self.items(b'd'), [b'1', b'2', b'3'])

    def test_without_a_dead_letter_queue(self):
        self.build({b'q': {'max_deliveries': 1}})
        self.assertTrue(self.q.unremove(self.open(b'1')[0]))
        self.assertEqual((self.items(b'q'), self.written(), self.counts()), ([], 'q: confirm-remove(1)', (1, 1, 1)))

    def test_confirmed_ones_are_no_poison(self):
        self.q.unremove(self.open(b'1')[0])
        self.q.confirm(self.again())
        self.assertEqual((self.items(b'd'), self.counts()), (None, (1, 0, 0)))

    def test_timeout(self):
        self.build({b'q': {**self.SOURCE, 'max_deliveries': 1, 'open_transaction_timeout': 1000000}})
        d = self.journaled(b'd')
        commit = d.journal.next_commit = Commit()
        xid, = self.open(b'1')
        self.hub.advance(1.1)
        self.assertFalse(commit.done)
        self.assertIsNone(self.q.confirm(xid))      # its owner comes too late
        self.assertEqual((list(self.q.opened), self.written()), ([xid], 'd: add(1:0:1)'))
        d.journal.end_commit()
        self.assertEqual((self.items(b'd'), self.q.opened, self.counts()), ([b'1'], {}, (1, 1, 0)))

    def test_timeout_of_one_whose_owner_stays_away(self):
        self.build({b'q': {**self.SOURCE, 'max_deliveries': 1, 'open_transaction_timeout': 1000000}})
        d = self.journaled(b'd')
        d.journal.next_commit = Commit()
        xid, = self.open(b'1')
        self.hub.advance(1.1)
        d.journal.end_commit()
        self.assertEqual(self.written(), 'd: add(1:0:1), q: confirm-remove(1)')
        self.assertEqual((self.items(b'd'), self.q.opened, self.counts()), ([b'1'], {}, (1, 1, 0)))
        self.assertFalse(self.q.unremove(xid))      # it hangs up
        self.assertEqual((self.items(b'd'), self.items(b'q')), ([b'1'], []))

    def test_many_in_steps(self):
        self.build({b'q': {**self.SOURCE, 'max_deliveries': 1}, b'd': {'max_items': 220}})
        d = self.journaled(b'd')
        data = [b'%d' % number for number in range(250)]
        reads = OpenReads(self.logger, ('127.0.0.1', 40001))
        for xid in self.open(*data):
            reads.add(b'q', self.q, xid)
        seen = []
        self.assertEqual(reads.abort_all(lambda: seen.append((d.count, len(self.q.opened)))), 250)
        self.assertEqual(seen, [(100, 150), (200, 50)])
        self.assertEqual((self.items(b'd'), self.items(b'q'), self.counts()), (data[:220], data[220:], (250, 220, 0)))

    def test_deleted_between_the_steps(self):
        self.build({b'q': {**self.SOURCE, 'max_deliveries': 1}})
        reads = OpenReads(self.logger, ('127.0.0.1', 40001))
        for xid in self.open(*[b'x'] * 150):
            reads.add(b'q', self.q, xid)
        reads.abort_all(lambda: self.collection.delete(b'q'))
        self.assertEqual((self.collection.lookup(b'd').count, self.q.count), (100, 0))
        self.assertEqual(self.q.unremove_many([1, 2]), 0)

    def test_many_that_time_out_go_in_steps(self):
        self.build({b'q': {**self.SOURCE, 'max_deliveries': 1, 'open_transaction_timeout': 1000000}})
        xids = self.open(*[b'x'] * 250)
        d = self.collection.need(b'd')
        seen = []
        call_later = self.hub.call_later

        def noted(*arguments):
            seen.append((d.count, self.q.confirm(xids[-1]) if d.count == 100 else None))
            call_later(*arguments)
        self.hub.call_later = noted
        self.hub.advance(1.1)
        # the owner of the last one, whose turn has not come, is too late all the same
        self.assertEqual(seen, [(100, None), (200, None)])
        self.assertEqual((d.count, self.q.opened, self.counts()), (250, {}, (250, 250, 0)))

    def test_refused_ones_go_back(self):
        self.build({b'q': {**self.SOURCE, 'max_deliveries': 1}, b'd': {'max_items': 1}})
        xids = self.open(b'1', b'2', b'3')
        self.q.unremove_many(list(reversed(xids)))
        self.assertEqual((self.items(b'd'), self.items(b'q')), ([b'1'], [b'2', b'3']))
        self.assertEqual((self.counts(), len(self.log.lines)), ((3, 1, 0), 1))
        self.assertIn('queue q: items of too many deliveries go back, queue d refuses them', self.log.lines[0])
        self.collection.lookup(b'd').flush()
        self.q.unremove(self.again())
        self.assertEqual((self.items(b'd'), self.items(b'q')), ([b'2'], [b'3']))

    def test_a_queue_that_stores_nothing_refuses_them(self):
        self.build({b'q': {**self.SOURCE, 'max_deliveries': 1}, b'd': {'fanout_only': True}})
        self.q.unremove(self.open(b'1')[0])
        self.assertEqual((self.items(b'q'), self.counts()), ([b'1'], (1, 0, 0)))
        self.assertIn('queue d refuses them: it is fanout_only and stores nothing', self.log.lines[0])

    def test_goes_back_if_the_record_cannot_be_written(self):
        d = self.journaled(b'd')
        d.journal.failure = JournalError('broken')
        self.q.unremove(self.open(b'1')[0])
        self.assertTrue(self.q.unremove(self.again()))
        self.assertEqual((self.items(b'q'), self.written(), self.counts()), ([b'1'], 'q: unremove(2)', (2, 0, 0)))
        self.assertIn('broken', self.log.lines[0])

    def test_source_that_fsyncs_each(self):
        self.build({b'q': {**self.SOURCE, 'max_deliveries': 1, 'sync_journal': 0}})
        d = self.journaled(b'd')
        d.journal.next_commit = Commit()
        self.q.unremove_many(list(reversed(self.open(b'1', b'2'))))
        self.assertEqual(self.written(), 'd: add(1:0:1)/sync, d: add(1:0:2)/sync')
        self.assertEqual((sorted(self.q.opened), self.counts()), ([1, 2], (2, 0, 0)))
        d.journal.end_commit()
        self.assertEqual(self.written(), 'q: confirm-remove(1), q: confirm-remove(2)')
        self.assertEqual((self.items(b'd'), self.q.opened, self.counts()), ([b'1', b'2'], {}, (2, 2, 0)))

    def test_failed_fsync_puts_them_back(self):
        self.build({b'q': {**self.SOURCE, 'max_deliveries': 1}})
        d = self.journaled(b'd')
        d.journal.next_commit = Commit()
        self.q.unremove_many(list(reversed(self.open(b'1', b'2'))))
        d.journal.end_commit(JournalError('broken'))
        self.assertEqual((self.items(b'q'), self.q.opened, self.counts()), ([b'1', b'2'], {}, (2, 0, 0)))

    def test_found_open_at_the_start(self):
        self.open(b'1', b'2')
        self.q.mover.bury_found()
        self.assertEqual((self.items(b'q'), self.counts()), ([b'1', b'2'], (0, 0, 0)))
        self.again()
        self.again()
        self.q.mover.bury_found()
        self.assertEqual((self.items(b'd'), self.counts()), ([b'1', b'2'], (0, 2, 0)))

    def test_found_open_at_the_start_without_a_dead_letter_queue(self):
        # D18: what is dropped then is no dead letter
        self.build({b'q': {'max_deliveries': 1}})
        self.open(b'1')
        self.q.mover.bury_found()
        self.assertEqual((self.items(b'q'), self.q.opened, self.counts()), ([], {}, (0, 0, 1)))
        self.q.unremove(self.open(b'2')[0])
        self.assertEqual(self.counts(), (1, 1, 2))

    def test_counts_are_kept_by_the_journal(self):
        self.assertTrue(self.q.journal is not None)
        self.collection.configure(self.config)
        self.assertTrue(self.q.journal.keep_deliveries)
        self.config.queues[b'q'] = {}
        self.collection.configure(self.config)
        self.assertFalse(self.q.journal.keep_deliveries)

    def test_reload(self):
        self.config.queues[b'q'] = {}
        self.collection.configure(self.config)
        self.q.unremove(self.open(b'1')[0])
        self.config.queues[b'q'] = self.SOURCE
        self.collection.configure(self.config)
        self.q.unremove(self.again())
        self.assertEqual(self.items(b'd'), [b'1'])
