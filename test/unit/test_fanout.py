"""Fanout: what is put to a parent reaches its children (spec queues 7, D9, D14, D25)."""

import errno
import unittest

from kestrel.errors import BadName, JournalError
from kestrel.journal.sync import Commit
from kestrel.queue_collection import QueueCollection
from kestrel.stats import ServerStats
from kestrel.waiters import Waiter
from support.clock import MovedClock
from support.fakes import FakeConfig, Owner, World
from support.spool import SpoolTest

EIO = b'SERVER_ERROR journal write failed: Input/output error\r\n'


class FanoutTest(unittest.TestCase):

    def world_of(self, queues=None, **server):
        self.world = World(FakeConfig(queues), **server)
        self.addCleanup(self.world.hub.close)
        self.collection = self.world.collection
        self.stats = self.world.stats
        self.client = self.world.client()

    def setUp(self):
        self.world_of()

    def subscribe(self, *names):
        for name in names:
            self.assertEqual(self.client.get(name), [None])

    def put(self, *data, name=b'q', **how):
        return [self.client.put(word, name, **how) for word in data]

    def waiting(self, *names):
        return [self.world.items(name) for name in names]

    def ask(self, request):
        return self.client.ask(request)


class PutTest(FanoutTest):

    def test_each_child_gets_its_own_copy(self):
        self.subscribe(b'q+a', b'q+b')
        self.assertEqual(self.put(b'1', b'2', flags=7), [True, True])
        self.assertEqual(self.waiting(b'q', b'q+a', b'q+b'), [[b'1', b'2']] * 3)
        items = [self.world.queue(name).items[0] for name in (b'q', b'q+a', b'q+b')]
        self.assertEqual(len({id(item) for item in items}), 3)
        self.assertEqual([item.flags for item in items], [7, 7, 7])     # D4
        self.client.get(b'q+a')
        self.assertEqual(self.waiting(b'q', b'q+a', b'q+b'), [[b'1', b'2'], [b'2'], [b'1', b'2']])

    def test_children_first_then_the_parent(self):
        self.subscribe(b'q+b', b'q+a')
        self.put(b'1')
        told = []
        for name in (b'q', b'q+a', b'q+b'):
            self.collection.line_for(name).join(Waiter(Owner(name, told)))
        self.put(b'2')
        self.assertEqual(told, [b'q+a', b'q+b', b'q'])

    def test_items_already_in_the_parent_are_not_copied(self):
        self.put(b'before')
        self.subscribe(b'q+a')
        self.put(b'after')
        self.assertEqual(self.waiting(b'q', b'q+a'), [[b'before', b'after'], [b'after']])

    def test_the_parent_need_not_exist(self):
        self.subscribe(b'q+a')
        self.assertIsNone(self.world.queue())
        self.assertEqual(self.put(b'1'), [True])
        self.assertEqual(self.waiting(b'q', b'q+a'), [[b'1'], [b'1']])

    def test_put_to_a_child_is_for_that_child(self):
        self.subscribe(b'q+a', b'q+b')
        self.put(b'1', name=b'q+a')
        self.assertEqual(self.waiting(b'q', b'q+a', b'q+b'), [None, [b'1'], []])

    def test_parent_is_what_stands_before_the_first_plus(self):
        self.subscribe(b'a+b+c', b'a+b')
        self.put(b'1', name=b'a')
        self.put(b'2', name=b'a+b')
        self.assertEqual(self.waiting(b'a', b'a+b', b'a+b+c'), [[b'1'], [b'1', b'2'], [b'1']])

    def test_a_child_that_refuses_is_ignored(self):
        self.world_of({b'q+full': {'max_items': 1}, b'q+tiny': {'max_item_size': 0}})
        self.subscribe(b'q+full', b'q+tiny')
        self.assertEqual(self.put(b'1', b'2'), [True, True])
        self.assertEqual(self.waiting(b'q', b'q+full', b'q+tiny'), [[b'1', b'2'], [b'1'], []])
        self.assertEqual(self.stats.total_items, 3)

    def test_a_full_parent_still_feeds_its_children(self):
        self.world_of({b'q': {'max_items': 1}, b'q+a': {'max_items': 5}})
        self.subscribe(b'q+a')
        self.assertEqual(self.put(b'1', b'2'), [True, False])
        self.assertEqual(self.waiting(b'q', b'q+a'), [[b'1'], [b'1', b'2']])

    def test_expiry_is_cut_by_each_by_its_own_rule(self):
        self.world_of({b'q+short': {'max_age': 1000000}})
        self.subscribe(b'q+short', b'q+long')
        now = self.world.clock.now_ms()
        self.put(b'1', expiry=now + 60000)
        names = (b'q', b'q+short', b'q+long')
        self.assertEqual([self.world.queue(name).items[0].expiry - now for name in names],
                         [60000, 1000, 60000])

    def test_one_set_and_each_copy_counts(self):
        self.subscribe(b'q+a', b'q+b')
        self.put(b'1')
        self.assertEqual((self.stats.cmd_set, self.stats.total_items), (1, 3))
        names = (b'q', b'q+a', b'q+b')
        self.assertEqual([self.world.queue(name).stats.put_items for name in names], [1, 1, 1])
        self.assertEqual(sum(self.stats.set_latency_usec.counts()), 1)

    def test_nothing_is_stored_while_the_server_stops(self):
        self.subscribe(b'q+a')
        self.world.services.stopping = True
        self.assertEqual(self.put(b'1'), [False])
        self.assertEqual(self.waiting(b'q+a'), [[]])

    def test_waiting_client_of_a_child(self):
        result = self.world.client().get(b'q+a', timeout=1000)
        self.put(b'1')
        self.world.hub.turn()
        self.assertEqual([item.data for item in result], [b'1'])


class JournalFailureTest(FanoutTest):
    """D9: one record that cannot be written refuses the put; the others get theirs."""

    def setUp(self):
        super().setUp()
        self.journals = {name: self.world.journaled(name) for name in (b'q', b'q+a', b'q+b')}

    def counts(self):
        return {name: len(self.world.items(name)) for name in self.journals}

    def test_of_each_target(self):
        for name in (b'q', b'q+a', b'q+b'):
            with self.subTest(name):
                before = self.counts()
                self.journals[name].failure = JournalError('No space left on device', True)
                self.assertEqual(self.ask(b'set q 0 0 1\r\nx\r\n'), b'SERVER_ERROR out of disk space\r\n')
                self.journals[name].failure = None
                after = self.counts()
                self.assertEqual({other: after[other] - before[other] for other in after},
                                 {other: int(other != name) for other in after})

    def test_the_first_failure_is_told(self):
        self.journals[b'q+a'].failure = JournalError('Input/output error')
        self.journals[b'q'].failure = JournalError('No space left on device', True)
        self.assertEqual(self.ask(b'set q 0 0 1\r\nx\r\n'), EIO)
        self.assertEqual((self.stats.cmd_set, self.stats.total_items), (1, 1))

    def test_with_noreply(self):
        self.journals[b'q+a'].failure = JournalError('Input/output error')
        self.assertEqual(self.ask(b'set q 0 0 1 noreply\r\nx\r\n'), b'')
        self.assertFalse(self.client.open)

    def test_a_refusal_by_a_limit_is_no_failure(self):
        self.world.queue(b'q').max_items = 0
        self.journals[b'q+a'].failure = JournalError('Input/output error')
        self.assertEqual(self.ask(b'set q 0 0 1\r\nx\r\n'), EIO)


class CommitTest(FanoutTest):
    """With sync_journal = 0, or /sync, on any target the put waits for all (D9, D22)."""

    def setUp(self):
        super().setUp()
        self.journals = {name: self.world.journaled(name) for name in (b'q', b'q+a', b'q+b')}

    def commits_of(self, *names):
        for name in names:
            self.journals[name].next_commit = Commit()

    def begin(self, request=b'set q 0 0 1\r\nx\r\n'):
        return self.client.begin(request)

    def replies(self):
        return self.client.connection.replies()

    def test_waits_for_all_in_any_order(self):
        self.commits_of(*self.journals)
        ended = self.begin()
        written = [len(journal.records) for journal in self.journals.values()]
        self.assertEqual(written, [1, 1, 1], 'before the first fsync has ended')
        for name in (b'q', b'q+b'):
            self.journals[name].end_commit()
            self.assertEqual(ended, [])
        self.assertEqual(self.waiting(b'q', b'q+a', b'q+b'), [[b'x'], [], [b'x']])
        self.journals[b'q+a'].end_commit()
        self.assertEqual((ended, self.replies()), ([True], b'STORED\r\n'))
        self.assertEqual(self.stats.total_items, 3)

    def test_a_child_alone(self):
        self.commits_of(b'q+a')
        ended = self.begin()
        self.assertEqual((ended, self.waiting(b'q', b'q+b')), ([], [[b'x'], [b'x']]))
        self.journals[b'q+a'].end_commit()
        self.assertEqual(self.replies(), b'STORED\r\n')

    def test_an_error_of_any_refuses(self):
        for name in self.journals:
            with self.subTest(name):
                self.commits_of(*self.journals)
                stored = self.stats.total_items
                ended = self.begin()
                for other, journal in self.journals.items():
                    journal.end_commit(JournalError('Input/output error') if other == name else None)
                self.assertEqual(ended, [True])
                self.assertEqual(self.replies(), EIO)
                self.assertEqual(self.stats.total_items, stored + 2)

    def test_a_full_parent_waits_for_its_children(self):
        self.world.queue().max_items = 0
        self.commits_of(b'q+a')
        ended = self.begin()
        self.assertEqual(ended, [])
        self.journals[b'q+a'].end_commit()
        self.assertEqual(self.replies(), b'NOT_STORED\r\n')

    def test_sync_reaches_every_target(self):
        self.begin(b'set q/sync 0 0 1\r\nx\r\n')
        self.assertEqual({journal.line() for journal in self.journals.values()}, {'add(1:0:x)/sync'})


class FanoutOnlyTest(FanoutTest):

    def setUp(self):
        self.world_of({b'only': {'fanout_only': True}})

    def test_nothing_is_stored_in_the_parent(self):
        self.subscribe(b'only+a')
        self.assertEqual(self.put(b'1', name=b'only'), [True])
        self.assertEqual(self.waiting(b'only', b'only+a'), [[], [b'1']])
        self.assertEqual(self.stats.total_items, 2)         # the parent's counts too
        self.assertEqual(self.world.queue(b'only').stats.put_items, 0)

    def test_without_children_the_items_vanish(self):
        self.assertEqual(self.ask(b'set only 0 0 1\r\nx\r\n'), b'STORED\r\n')
        self.assertEqual((self.waiting(b'only'), self.stats.total_items), ([[]], 1))

    def test_no_effect_on_a_child(self):
        # the child inherits the setting
        self.assertTrue(self.collection.config.queue(b'only+a').fanout_only)
        self.put(b'1', name=b'only+a')
        self.assertEqual(self.waiting(b'only+a'), [[b'1']])

    def test_too_large_is_refused_and_full_is_not(self):
        self.world_of({b'only': {'fanout_only': True, 'max_item_size': 1, 'max_items': 0}})
        self.assertEqual(self.put(b'xx', b'x', name=b'only'), [False, True])

    def test_what_it_holds_from_earlier_can_be_read(self):
        self.put(b'1')
        self.collection.configure(FakeConfig({b'q': {'fanout_only': True}}))
        self.put(b'2')
        self.assertEqual([self.client.get()[0].data, self.client.get()[0]], [b'1', None])
        self.collection.configure(FakeConfig())
        self.put(b'3')
        self.assertEqual(self.waiting(b'q'), [[b'3']])


class SizeTest(FanoutTest):
    """D6: a block is thrown away unread only if every target refuses it."""

    def refuses(self, queues, subscribed, size=100, name=b'q'):
        self.world_of(queues)
        self.subscribe(*subscribed)
        return self.client.session.refuses_size(name, size)

    def test_every_target(self):
        small, large = {'max_item_size': 99}, {'max_item_size': 100}
        self.assertTrue(self.refuses({b'q': small}, ()))
        self.assertTrue(self.refuses({b'q': small}, (b'q+a', b'q+b')))
        self.assertFalse(self.refuses({b'q': small, b'q+b': large}, (b'q+a', b'q+b')))
        self.assertFalse(self.refuses({b'q': large, b'q+a': small}, (b'q+a',)))
        self.assertTrue(self.refuses({b'q': large, b'q+a': small}, (b'q+a',), name=b'q+a'))
        # a child that is not there yet gets nothing
        self.assertTrue(self.refuses({b'q': small, b'q+b': large}, (b'q+a',)))

    def test_large_block(self):
        self.world_of({b'q': {'max_item_size': 100}, b'q+a': {'max_item_size': 100}})
        self.subscribe(b'q+a')
        self.assertEqual(self.ask(b'set q 0 0 70000\r\n' + b'x' * 70000 + b'\r\n'), b'NOT_STORED\r\n')
        self.world.queue(b'q+a').max_item_size = 70000
        self.assertEqual(self.ask(b'set q 0 0 70000\r\n' + b'x' * 70000 + b'\r\n'), b'NOT_STORED\r\n')
        self.assertEqual([len(data) for data in self.world.items(b'q+a')], [70000])


class LifeTest(FanoutTest):

    def test_created_by_put_get_peek_and_monitor(self):
        # D14
        for number, request in enumerate((b'set %s 0 0 1\r\nx\r\n', b'get %s\r\n', b'get %s/open\r\n',
                                          b'get %s/peek\r\n', b'gets %s\r\n', b'monitor %s 1 0\r\nget %s\r\n',
                                          b'get other %s\r\n')):
            name = b'q+%d' % number
            with self.subTest(request):
                self.ask(request.replace(b'%s', name))
                self.assertIsNotNone(self.world.queue(name))
        self.client.begin(b'monitor q+m 1\r\n')
        self.assertIsNotNone(self.world.queue(b'q+m'))
        self.assertEqual(self.stats.queue_creates, len(self.collection.queues))

    def test_not_created_by_the_others(self):
        self.ask(b'delete q+a\r\nflush q+a\r\nflush_expired q+a\r\nconfirm q+a 1\r\nget q+a/close\r\n'
                 b'get q+a/abort\r\nmonitor q+a 0\r\nstats\r\ndump_stats q+a\r\ndump_config q+a\r\n')
        self.assertEqual((self.collection.queues, self.collection.children), ({}, {}))

    def test_bad_names_are_no_children(self):
        for name in (b'+', b'+x', b'a+', b'a+b.c', b'a' * 300 + b'+x'):
            with self.subTest(name), self.assertRaises(BadName):
                self.client.session.get(name, 0, False)
        self.assertEqual(self.collection.children, {})

    def test_deleting_a_child_ends_its_supply(self):
        self.subscribe(b'q+a', b'q+b')
        self.client.session.delete(b'q+a')
        self.put(b'1')
        self.assertEqual(self.waiting(b'q', b'q+a', b'q+b'), [[b'1'], None, [b'1']])
        self.subscribe(b'q+a')
        self.put(b'2')
        self.assertEqual(self.waiting(b'q+a'), [[b'2']])

    def test_a_child_that_is_deleted_while_a_put_pauses_stays_so(self):
        self.subscribe(b'q+a', b'q+b')
        for _ in range(1500):
            self.world.queue(b'q+a').put(b'x', 0, self.world.clock.now_ms() + 1, False)
        self.world.clock.advance(1)
        other = self.world.client()
        told = []

        def delete():
            self.client.connection.on_pause = None
            told.append(other.ask(b'delete q+b\r\n'))
        self.client.connection.on_pause = delete
        self.assertEqual(self.put(b'1'), [True])
        self.assertEqual((told, self.waiting(b'q+a', b'q')), ([b'DELETED\r\n'], [[b'1'], [b'1']]))
        self.assertIsNone(self.world.queue(b'q+b'))

    def test_deleting_or_flushing_the_parent_leaves_the_children(self):
        self.subscribe(b'q+a')
        self.put(b'1')
        self.client.session.flush(b'q')
        self.assertEqual(self.waiting(b'q', b'q+a'), [[], [b'1']])
        self.client.session.delete(b'q')
        self.assertEqual(self.waiting(b'q', b'q+a'), [None, [b'1']])
        self.put(b'2')
        self.assertEqual(self.waiting(b'q', b'q+a'), [[b'2'], [b'1', b'2']])

    def test_configured_children_exist(self):
        # D25
        self.collection.configure(FakeConfig({b'q+a': {}}))
        self.put(b'1')
        self.assertEqual(self.waiting(b'q', b'q+a'), [[b'1'], [b'1']])

    def test_a_plain_queue_is_not_routed(self):
        self.subscribe(b'q+a')
        self.assertEqual(self.collection.routed, {b'q'})
        self.client.session.delete(b'q+a')
        self.assertEqual(self.collection.routed, set())


class StatsTest(FanoutTest):

    def lines(self, key=b'children'):
        return [line for line in self.ask(b'stats\r\n').split(b'\r\n') if line.split(b' ')[1:2]
                and line.split(b' ')[1].endswith(b'_' + key)]

    def test_children(self):
        self.put(b'1')
        self.assertEqual(self.lines(), [])
        self.subscribe(b'q+b', b'q+a')
        self.assertEqual(self.lines(), [b'STAT queue_q_children q+a,q+b'])
        self.client.session.delete(b'q+a')
        self.assertEqual(self.lines(), [b'STAT queue_q_children q+b'])
        self.client.session.delete(b'q+b')
        self.assertEqual(self.lines(), [b'STAT queue_q_children '])
        # D26
        self.client.session.delete(b'q')
        self.put(b'1')
        self.assertEqual(self.lines(), [])

    def test_the_last_line_of_its_queue(self):
        self.subscribe(b'q+a')
        self.put(b'1')
        text = self.ask(b'stats\r\n')
        self.assertRegex(text, b'STAT queue_q_dead_letters 0\r\nSTAT queue_q_children q[+]a\r\n'
                               b'STAT queue_q[+]a_items 1\r\n')
        self.assertIn(b'  dead_letters=0\r\n  children=q+a\r\n}\r\n', self.ask(b'dump_stats q\r\n'))

    def test_children_that_went_with_their_parent_away_leave_nothing(self):
        for order in ((b'q', b'q+a'), (b'q+a', b'q')):
            self.subscribe(b'q+a')
            self.put(b'1')
            for name in order:
                self.client.session.delete(name)
            self.assertEqual((self.collection.children, self.collection.routed), ({}, set()))


class SpoolFanoutTest(SpoolTest):

    def loaded(self, queues=None, **default):
        self.stats = ServerStats()
        collection = QueueCollection(self.disk, self.hub, self.syncer, MovedClock(), self.stats,
                                     FakeConfig(queues, keep_journal=True, **default), self.logger)
        collection.load(self.spool)
        return collection

    def test_children_in_the_spool(self):
        self.write('q+b', b'')
        self.write('q+a', b'')
        collection = self.loaded({b'q': {}})
        self.assertEqual(collection.children, {b'q': [b'q+a', b'q+b']})
        self.assertEqual(collection.targets(b'q'), [(b'q+a', False), (b'q+b', False), (b'q', True)])
        self.assertEqual(self.log.lines, [])

    def test_settings_of_a_child_in_the_spool(self):
        self.write('q+a', b'')
        self.assertEqual(self.loaded({b'q': {'max_items': 3}}).lookup(b'q+a').max_items, 3)

    def test_reload_that_cannot_set_up_a_queue_leaves_no_child(self):
        collection = self.loaded()
        self.system.faults['open'] = errno.EACCES
        with self.assertRaises(JournalError):
            collection.configure(FakeConfig({b'm+a': {'keep_journal': False}, b'q': {}}, keep_journal=True))
        self.assertEqual((collection.queues, collection.children, collection.routed), ({}, {}, set()))

    def test_reload_that_cannot_set_up_a_child_keeps_the_one_before(self):
        collection = self.loaded()
        collection.need(b'q')
        collection.need(b'q+a')
        collection.delete(b'q+a')
        self.system.faults['open'] = errno.EACCES
        with self.assertRaises(JournalError):
            collection.configure(FakeConfig({b'q+b': {'keep_journal': False}, b'z': {}}, keep_journal=True))
        self.assertEqual(collection.children, {b'q': []})

    def test_parent_whose_file_cannot_be_created(self):
        # D9
        collection = self.loaded()
        collection.need(b'q+a')
        self.system.faults['open'] = errno.EMFILE
        with self.assertRaises(JournalError):
            collection.need(b'q')
        del self.system.faults['open']
        self.assertEqual(list(collection.queues), [b'q+a'])


if __name__ == '__main__':
    unittest.main()
