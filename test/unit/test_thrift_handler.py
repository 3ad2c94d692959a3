"""The thrift port's methods, ids and errors (spec thrift 2-5, 7, D1, D14, D30, D34, D55, D70)."""

import subprocess
import sys
import unittest
from unittest import mock

from thrift.Thrift import TMessageType

from kestrel import __version__, server
from kestrel.errors import JournalError, StartError
from kestrel.handlers.thrift import _encode_slowly, encode
from kestrel.journal.sync import Commit
from kestrel.thrift_gen import Kestrel
from kestrel.thrift_gen.ttypes import Item, QueueInfo, Status
from support.environment import process_environment
from support.fakes import FakeConfig, World
from support.thrift_calls import UPGRADE, UPGRADED, Failure, call, framed, header, message, result, split

UNKNOWN_METHOD, INTERNAL_ERROR, PROTOCOL_ERROR = 1, 6, 7


class ThriftTest(unittest.TestCase):

    def world_of(self, config=None, **server):
        self.world = World(config, **{'max_open_transactions': 100, **server})
        self.addCleanup(self.world.hub.close)
        self.world.collection.configure(self.world.config)
        self.stats = self.world.stats
        self.client = self.world.thrift_client()

    def setUp(self):
        self.world_of()

    def ask(self, method, client=None, **arguments):
        """The result of a call. Raises Failure."""
        reply, = split((client or self.client).ask(call(method, **arguments)))
        return result(reply, method)

    def put(self, *items, name='q', client=None, **more):
        return self.ask('put', client, queue_name=name, items=list(items), **more)

    def get(self, most, name='q', client=None, **more):
        """-> [(data, id)]"""
        return [(item.data, item.id) for item in self.ask('get', client, queue_name=name, max_items=most, **more)]

    def begin(self, most, timeout_msec, client=None, name='q', **more):
        """Start a get that waits; its data and ids come from ``replied``."""
        ended = (client or self.client).begin(call('get', queue_name=name, max_items=most, timeout_msec=timeout_msec, **more))
        self.assertEqual(ended, [])

    def replied(self, client=None):
        """-> [(data, id)] of the get that has ended, None while it waits."""
        replies = split((client or self.client).connection.replies())
        return [(item.data, item.id) for item in result(replies[0], 'get')] if replies else None

    def fails(self, expected, method, text=None, client=None, **arguments):
        with self.assertRaises(Failure) as caught:
            self.ask(method, client, **arguments)
        self.assertEqual(caught.exception.kind, expected)
        if text is not None:
            self.assertEqual(caught.exception.text, text)

    def held(self, name=b'q'):
        return sorted(item.data for item in self.world.queue(name).opened.values())


class PutTest(ThriftTest):

    def test_how_many_were_added(self):
        self.assertEqual(self.put(b'a', b'', b'c'), 3)
        self.assertEqual(self.world.items(), [b'a', b'', b'c'])
        self.assertEqual(self.put(), 0)
        self.assertEqual(self.ask('put', queue_name='q'), 0)

    def test_each_has_its_latency(self):
        self.put(b'a', b'b', b'c')
        self.assertEqual([sum(stats.set_latency_usec.counts()) for stats in (self.stats, self.world.queue().stats)], [3, 3])

    def test_it_stops_at_the_first_that_is_refused(self):
        self.world_of(FakeConfig({b'q': {'max_items': 3}, b'small': {'max_item_size': 2}, b'bytes': {'max_size': 4}}))
        self.assertEqual(self.put(b'a', b'b', b'c', b'd', b'e'), 3)
        self.assertEqual(self.put(b'f'), 0)
        self.assertEqual(self.put(b'a', b'abc', b'd', name='small'), 1)
        self.assertEqual(self.put(b'abc', b'def', b'g', name='bytes'), 2)
        self.assertEqual(self.world.items(b'small'), [b'a'])
        # each item that was looked at
        self.assertEqual((self.stats.cmd_set, self.stats.total_items), (4 + 1 + 2 + 3, 3 + 1 + 2))

    def test_discard_old_when_full(self):
        self.world_of(FakeConfig({b'q': {'max_items': 2, 'discard_old_when_full': True}}))
        self.assertEqual(self.put(b'a', b'b', b'c', b'd'), 4)
        self.assertEqual(self.world.items(), [b'c', b'd'])

    def test_expiry(self):
        now = self.world.clock.now_ms()
        for milliseconds, expiry in ((0, 0), (1, now + 1), (5000, now + 5000), (-1, now - 1), (-2147483648, now - 2147483648)):
            self.put(b'x', name='e%d' % milliseconds, expiration_msec=milliseconds)
            item, = self.world.queue(b'e%d' % milliseconds).items
            self.assertEqual(item.expiry, expiry)
        self.assertEqual(self.get(1, 'e-1'), [])

    def test_max_age_is_put_on_each(self):
        self.world_of(FakeConfig(max_age=1000000))
        self.put(b'a', b'b', expiration_msec=5000)
        self.put(b'c', expiration_msec=500)
        now = self.world.clock.now_ms()
        self.assertEqual([item.expiry for item in self.world.queue().items], [now + 1000, now + 1000, now + 500])

    def test_one_write_for_all(self):
        journal = self.world.journaled()
        writes = []
        add_many = journal.add_many
        journal.add_many = lambda items, offsets: writes.append(len(items)) or add_many(items, offsets)
        self.put(*[b'x'] * 250)
        self.assertEqual(writes, [250])
        self.put(*[b'x'] * 2500)
        self.assertEqual(writes, [250, 1000, 1000, 500])

    def test_large_items_are_written_one_by_one(self):
        journal = self.world.journaled()
        self.assertEqual(self.put(b'a', b'x' * 20000, b'b' * 20000, b'c'), 4)
        self.assertEqual([record[:5] for record in journal.records], ['add(1', 'add(2', 'add(2', 'add(1'])

    def test_read_behind_begins_where_it_would(self):
        self.world_of(FakeConfig(max_memory_size=10))
        self.assertEqual(self.put(*[b'123456'] * 5), 5)
        self.assertEqual(self.world.queue().count, 5)

    def test_waiters_get_one_each(self):
        a, b = self.world.thrift_client(), self.world.client()
        self.begin(1, 1000, a)
        got = b.get(timeout=1000)
        self.put(b'1', b'2', b'3')
        self.world.hub.turn()
        self.assertEqual(self.replied(a), [(b'1', 0)])
        self.assertEqual(got[0].data, b'2')

    def test_a_failed_write_is_an_error(self):
        journal = self.world.journaled()
        journal.failure = JournalError('No space left on device', True)
        self.fails(INTERNAL_ERROR, 'put', 'out of disk space', queue_name='q', items=[b'a', b'b'])
        journal.failure = JournalError('Input/output error')
        self.fails(INTERNAL_ERROR, 'put', 'journal write failed: Input/output error', queue_name='q', items=[b'a'])
        self.assertEqual(self.world.items(), [])

    def test_all_wait_for_one_fsync(self):
        journal = self.world.journaled()
        journal.next_commit = Commit()
        self.assertEqual(self.client.begin(call('put', queue_name='q', items=[b'a', b'b'])), [])
        self.assertEqual((self.world.items(), self.stats.total_items), ([], 0))
        journal.end_commit()
        self.assertEqual(result(split(self.client.connection.replies())[0], 'put'), 2)
        self.assertEqual((self.world.items(), self.stats.total_items), ([b'a', b'b'], 2))

    def test_a_failed_fsync(self):
        journal = self.world.journaled()
        journal.next_commit = Commit()
        self.client.begin(call('put', queue_name='q', items=[b'a', b'b']))
        journal.end_commit(JournalError('Input/output error'))
        with self.assertRaises(Failure):
            result(split(self.client.connection.replies())[0], 'put')
        self.assertEqual((self.world.queue().count, self.stats.total_items), (0, 0))

    def test_writes_that_are_blocked_meanwhile(self):
        # thrift 5: the error is reported, the items before it stay stored
        def block():
            self.world.services.writes_blocked = True
        self.client.connection.on_pause = block
        self.fails(INTERNAL_ERROR, 'put', 'queue q is read-only', queue_name='q', items=[b'a'] * 1001)
        self.assertEqual(len(self.world.items()), 1000)

    def test_the_stop_refuses(self):
        self.world.services.stopping = True
        self.assertEqual(self.put(b'a'), 0)

    def test_fanout_and_fanout_only(self):
        self.world_of(FakeConfig({b'only': {'fanout_only': True}}))
        self.put(b'0', name='p+c')
        self.assertEqual(self.put(b'a', b'b', name='p'), 2)
        self.assertEqual((self.world.items(b'p'), self.world.items(b'p+c')), ([b'a', b'b'], [b'0', b'a', b'b']))
        self.assertEqual(self.put(b'a', b'b', name='only'), 2)
        self.assertEqual(self.world.items(b'only'), [])

    def test_an_alias_stops_if_one_destination_refuses(self):
        self.world_of(FakeConfig({b'small': {'max_items': 1}}, {b'both': [b'small', b'big']}))
        self.assertEqual(self.put(b'a', b'b', b'c', name='both'), 1)
        self.assertEqual(self.world.items(b'big'), [b'a', b'b'])


class GetTest(ThriftTest):

    def test_for_good(self):
        self.put(b'a', b'b', b'c')
        self.assertEqual(self.get(2), [(b'a', 0), (b'b', 0)])
        self.assertEqual(self.get(2, auto_abort_msec=-5), [(b'c', 0)])
        self.assertEqual(self.get(2), [])
        self.assertEqual(self.world.queue().opened, {})

    def test_max_items(self):
        self.put(b'a', b'b', b'c')
        self.assertEqual(self.get(0), [])
        self.assertEqual(self.get(0, timeout_msec=1000), [])
        self.assertEqual([data for data, _ in self.get(-1)], [b'a', b'b', b'c'])
        # absent: 0
        self.assertEqual(self.ask('get', queue_name='q'), [])

    def test_a_negative_timeout_takes_nothing(self):
        self.put(b'a')
        self.assertEqual(self.get(1, timeout_msec=-1), [])
        self.assertEqual(self.world.items(), [b'a'])

    def test_it_goes_on_until_all_are_there(self):
        self.put(b'a')
        self.begin(3, 1000)
        self.world.hub.advance(0.5)
        producer = self.world.client()
        producer.put(b'b')
        self.world.hub.turn()
        self.assertIsNone(self.replied())
        producer.put(b'c')
        self.world.hub.turn()
        self.assertEqual([data for data, _ in self.replied()], [b'a', b'b', b'c'])

    def test_it_ends_with_what_it_has_when_the_time_is_over(self):
        self.put(b'a')
        self.begin(3, 1000, auto_abort_msec=1000)
        self.world.hub.advance(0.999)
        self.assertIsNone(self.replied())
        self.world.hub.advance(0.002)
        self.assertEqual(self.replied(), [(b'a', 1)])

    def test_the_limit_of_open_reads_ends_it(self):
        self.world_of(max_open_transactions=3)
        self.put(*b'a b c d e'.split())
        self.assertEqual(self.get(2, auto_abort_msec=1000), [(b'a', 1), (b'b', 2)])
        self.assertEqual(self.get(9, auto_abort_msec=1000, timeout_msec=9000), [(b'c', 3)])
        # also of gets for good
        self.assertEqual(self.get(9), [])
        other = self.world.thrift_client()
        self.assertEqual(self.get(1, client=other), [(b'd', 0)])
        self.assertEqual(self.ask('confirm', other, queue_name='', ids={2}), 1)
        # counted for the connection that opened it
        self.assertEqual(self.get(9, auto_abort_msec=1000), [(b'e', 4)])

    def test_max_open_transactions_0(self):
        self.world_of(max_open_transactions=0)
        self.put(b'a')
        self.assertEqual((self.get(1), self.get(1, auto_abort_msec=1)), ([], []))

    def test_reads_that_become_blocked_end_it(self):
        self.put(b'a')
        self.begin(3, 1000)
        producer = self.world.client()
        self.world.services.reads_blocked = True
        producer.put(b'b')
        self.world.hub.turn()
        self.assertEqual([data for data, _ in self.replied()], [b'a', b'b'])
        self.fails(INTERNAL_ERROR, 'get', 'queue q is not available', queue_name='q', max_items=1)

    def test_unknown_queues(self):
        self.assertEqual(self.get(1), [])
        self.assertIsNone(self.world.queue())
        self.begin(1, 1000, name='late')
        self.put(b'x', name='late')
        self.world.hub.turn()
        self.assertEqual(self.replied(), [(b'x', 0)])
        # with + it is how a consumer subscribes (D14)
        self.assertEqual(self.get(1, 'p+c'), [])
        self.assertIsNotNone(self.world.queue(b'p+c'))

    def test_an_alias_has_nothing(self):
        self.world_of(FakeConfig(aliases={b'both': [b'a']}))
        self.assertEqual(self.get(1, 'both', timeout_msec=5000), [])

    def test_deletion_ends_it(self):
        self.put(b'a')
        self.begin(2, 5000)
        self.ask('delete_queue', self.world.thrift_client(), queue_name='q')
        self.world.hub.turn()
        self.assertEqual(self.replied(), [(b'a', 0)])

    def test_the_stop_ends_it(self):
        self.begin(2, 5000)
        self.world.services.stopping = True
        self.world.collection.dismiss_waiters()
        self.world.hub.turn()
        self.assertEqual(self.replied(), [])

    def test_a_client_that_ends_its_input_has_gone(self):
        # on the memcache port it may still read (D61)
        self.begin(1, 5000)
        self.client.connection.leave()
        self.assertEqual((self.stats.waiters_aborted, self.stats.get_misses, sum(self.stats.get_timeout_msec.counts())),
                         (1, 0, 0))
        other = self.world.client()
        other.get(timeout=5000)
        other.connection.leave()
        self.assertEqual((self.stats.waiters_aborted, self.stats.get_misses, sum(self.stats.get_timeout_msec.counts())),
                         (1, 1, 1))

    def test_a_reply_is_no_larger_than_a_request(self):
        self.world_of(max_request_size=1000)
        self.put(*[b'x' * 400] * 5)
        self.assertEqual([len(self.get(-1)) for _ in range(3)], [3, 2, 0])
        self.put(b'y' * 5000)
        self.assertEqual(len(self.get(5)), 1)

    def test_many_items_come_in_order(self):
        words = [b'%d' % number for number in range(1000)]
        self.put(*words)
        got = self.get(-1, auto_abort_msec=1000)
        # 100 at most may be open
        self.assertEqual(got, [(word, number + 1) for number, word in enumerate(words[:100])])
        other = self.world.thrift_client()
        self.assertEqual([data for data, _ in self.get(900, client=other)], words[100:])

    def test_counters(self):
        self.put(b'a', b'b')
        self.get(5)
        self.get(0)
        self.ask('peek', queue_name='q')
        self.assertEqual((self.stats.cmd_monitor, self.stats.cmd_monitor_get, self.stats.cmd_get), (2, 3, 0))
        self.assertEqual((self.stats.get_hits, self.stats.get_misses, self.stats.cmd_peek), (2, 2, 1))


class IdsTest(ThriftTest):

    def setUp(self):
        super().setUp()
        self.other = self.world.thrift_client()

    def test_unique_in_the_server(self):
        self.put(b'a', b'b', name='one')
        self.put(b'c', name='two')
        self.assertEqual(self.get(1, 'one', auto_abort_msec=9), [(b'a', 1)])
        self.assertEqual(self.get(1, 'two', self.other, auto_abort_msec=9), [(b'c', 2)])
        self.assertEqual(self.ask('abort', queue_name='', ids={1}), 1)
        self.assertEqual(self.get(2, 'one', auto_abort_msec=9), [(b'a', 3), (b'b', 4)])

    def test_any_connection_may_confirm_or_abort(self):
        self.put(b'a', b'b', b'c')
        self.get(3, auto_abort_msec=1000)
        self.assertEqual(self.ask('confirm', self.other, queue_name='another', ids={1, 3, 77, -1}), 2)
        self.assertEqual(self.ask('confirm', queue_name='q', ids={1}), 0)
        self.assertEqual(self.ask('abort', self.other, queue_name='a.b/c', ids={2, 3}), 1)
        self.assertEqual(self.world.items(), [b'b'])
        self.assertEqual(self.world.queue().opened, {})
        self.assertEqual(self.ask('confirm', queue_name='q'), 0)

    def test_aborted_reads_have_their_order_again(self):
        self.put(*b'a b c d e'.split())
        self.get(4, auto_abort_msec=1000)
        self.assertEqual(self.ask('abort', queue_name='q', ids={1, 2, 4}), 3)
        self.assertEqual(self.world.items(), [b'a', b'b', b'd', b'e'])
        self.assertEqual(self.world.queue().stats.canceled_transactions, 3)

    def test_ids_of_several_queues(self):
        for name in ('one', 'two'):
            self.put(b'a', b'b', name=name)
            self.get(2, name, auto_abort_msec=1000)
        self.assertEqual(self.ask('abort', queue_name='', ids={1, 2, 3, 4}), 4)
        self.assertEqual((self.world.items(b'one'), self.world.items(b'two')), ([b'a', b'b'], [b'a', b'b']))

    def test_auto_abort(self):
        self.put(*b'a b c'.split())
        self.get(3, auto_abort_msec=500)
        self.ask('confirm', queue_name='q', ids={2})
        self.world.hub.advance(0.49)
        self.assertEqual(self.world.items(), [])
        self.world.hub.advance(0.1)
        self.assertEqual(self.world.items(), [b'a', b'c'])
        self.assertEqual(self.ask('confirm', queue_name='q', ids={1, 2, 3}), 0)

    def test_the_time_runs_from_the_reply(self):
        self.put(b'a')
        self.begin(2, 1000, auto_abort_msec=100)
        self.world.hub.advance(1.05)
        self.assertEqual(self.replied(), [(b'a', 1)])
        self.world.hub.advance(0.04)
        self.assertEqual(self.held(), [b'a'])
        self.world.hub.advance(0.1)
        self.assertEqual(self.world.items(), [b'a'])

    def test_reads_of_several_gets_go_back_in_order(self):
        self.put(*b'a b c'.split())
        for _ in range(3):
            self.get(1, auto_abort_msec=500)
        self.world.hub.advance(0.6)
        self.assertEqual(self.world.items(), [b'a', b'b', b'c'])

    def test_a_later_timer_is_not_forgotten(self):
        self.put(*b'a b c'.split())
        for milliseconds in (120000, 50, 70000):
            self.get(1, auto_abort_msec=milliseconds)
        self.world.hub.advance(0.1)
        self.assertEqual(self.world.items(), [b'b'])
        self.world.hub.advance(69)
        self.assertEqual(self.world.items(), [b'b'])
        self.world.hub.advance(1)
        self.assertEqual(self.world.items(), [b'c', b'b'])
        self.world.hub.advance(51)
        self.assertEqual(self.world.items(), [b'a', b'c', b'b'])
        self.assertEqual(self.world.hub.timers, [])

    def test_confirmed_reads_leave_nothing(self):
        ids = self.world.services.read_ids
        for number in range(1, 1001):
            self.put(b'x')
            self.get(1, auto_abort_msec=2147483647)
            self.ask('confirm', queue_name='q', ids={number})
        self.assertEqual((len(ids.by_id), self.client.session.reads.count(b'q')), (0, 0))
        self.assertLess(len(ids.timed), 210)
        self.assertLessEqual(len(self.world.hub.timers), 1)

    def test_deleted_queues_leave_nothing(self):
        ids = self.world.services.read_ids
        self.put(b'kept')
        self.get(1, auto_abort_msec=2147483647)
        for number in range(1000):
            name = 'q%d' % number
            self.put(b'x', name=name)
            self.get(1, name, auto_abort_msec=2147483647)
            self.ask('delete_queue', queue_name=name)
        self.assertLess(len(ids.by_id), 110)
        self.assertEqual(self.ask('confirm', self.other, queue_name='q', ids=set(range(1, 1001))), 1)

    def test_trace(self):
        self.world_of(FakeConfig(enable_trace=True))
        logged = self.world.services.log = self.world.services.read_ids.log = mock.Mock()
        self.client = self.world.thrift_client()
        self.put(b'a', b'b', b'c')
        self.get(3, auto_abort_msec=1000)
        self.ask('confirm', queue_name='q', ids={1})
        self.ask('abort', queue_name='q', ids={2})
        self.world.hub.advance(2)
        who = '127.0.0.1:%d' % self.client.connection.address[1]
        self.assertEqual([call.args[0] % call.args[1:] for call in logged.info.call_args_list], [
            who + ': open queue q xid 1', who + ': open queue q xid 2', who + ': open queue q xid 3',
            who + ': confirm queue q xid 1', who + ': abort queue q xid 2', 'auto_abort_msec: abort queue q xid 3'])

    def test_ids_that_are_not_open_are_logged(self):
        # spec queues 10
        self.put(b'a', b'b', b'c')
        self.get(3, auto_abort_msec=1000)
        self.ask('confirm', queue_name='q', ids={1})
        self.world.hub.advance(2)
        with self.assertLogs(self.world.services.log) as caught:
            self.ask('confirm', queue_name='q', ids={1})
            self.ask('abort', queue_name='q', ids={3, 77})
        who = 'WARNING:test:127.0.0.1:%d' % self.client.connection.address[1]
        self.assertEqual(sorted(caught.output), [
            who + ': %s of id %d, which is not open, or not any more' % words
            for words in (('abort', 3), ('abort', 77), ('confirm', 1))])

    def test_ids_that_are_not_open_do_not_fill_the_log(self):
        with self.assertLogs(self.world.services.log) as caught:
            self.ask('confirm', queue_name='q', ids=set(range(1, 1001)))
            self.ask('abort', queue_name='q', ids=set(range(1, 1001)))
            self.world.clock.advance(60)
            self.ask('confirm', queue_name='q', ids={1})
        self.assertEqual(len(caught.output), 11)
        self.assertIn('(1990 such lines were left out before)', caught.output[-1])

    def test_closing_puts_nothing_back(self):
        self.put(b'a')
        self.get(1, auto_abort_msec=1000)
        self.client.session.close()
        self.assertEqual((self.world.items(), self.held()), ([], [b'a']))
        self.assertEqual(self.ask('confirm', self.other, queue_name='q', ids={1}), 1)

    def test_a_get_whose_client_goes_puts_back_at_once(self):
        for gone in (False, True):
            with self.subTest(gone=gone):
                client = self.world.thrift_client()
                self.put(b'a', b'b')
                self.begin(3, 5000, client, auto_abort_msec=60000)
                self.assertEqual(self.world.items(), [])
                client.connection.leave(gone)
                self.assertEqual(self.world.items(), [b'a', b'b'])
                self.assertEqual(self.get(2), [(b'a', 0), (b'b', 0)])
        self.assertEqual(self.stats.cmd_get_open_dropped, 4)

    def test_a_get_whose_client_has_gone_already(self):
        # the end stands unread behind the request
        self.put(b'a', b'b')
        client = self.world.thrift_client()
        client.connection.ended = True
        client.begin(call('get', queue_name='q', max_items=2, auto_abort_msec=60000))
        self.assertEqual((self.world.items(), self.held()), ([b'a', b'b'], []))

    def test_a_reply_that_cannot_be_written(self):
        self.put(b'a')
        connection = self.client.connection

        def lose(data):
            connection.gone = True
        connection.on_write = lose
        self.client.begin(call('get', queue_name='q', max_items=1, auto_abort_msec=60000))
        self.assertEqual(self.world.items(), [b'a'])
        self.assertEqual(self.ask('confirm', self.other, queue_name='q', ids={1}), 0)

    def test_deleted_queues(self):
        self.world_of(max_open_transactions=1)
        self.put(b'a')
        self.get(1, auto_abort_msec=500)
        self.ask('delete_queue', queue_name='q')
        self.put(b'b')
        # the old read counts no longer, nor can it hit the new queue (D53)
        self.assertEqual(self.get(1, auto_abort_msec=500), [(b'b', 2)])
        self.assertEqual(self.ask('abort', queue_name='q', ids={1}), 0)
        self.assertEqual(self.held(), [b'b'])
        self.world.hub.advance(1)
        self.assertEqual(self.world.items(), [b'b'])

    def test_open_transaction_timeout(self):
        self.world_of(FakeConfig(open_transaction_timeout=100000), max_open_transactions=1)
        self.put(b'a')
        self.get(1, auto_abort_msec=60000)
        self.world.hub.advance(0.2)
        self.assertEqual(self.world.items(), [b'a'])
        # its id is unknown, and it counts no longer (D8, D55)
        self.assertEqual(self.get(1, auto_abort_msec=60000), [(b'a', 2)])
        self.assertEqual(self.ask('confirm', queue_name='q', ids={1}), 0)
        self.assertEqual(self.held(), [b'a'])
        self.world.hub.advance(0.2)
        self.assertEqual(self.ask('abort', queue_name='q', ids={2}), 0)
        self.assertEqual(self.world.items(), [b'a'])

    def test_flush_leaves_open_reads(self):
        self.put(b'a', b'b')
        self.get(1, auto_abort_msec=1000)
        self.ask('flush_queue', queue_name='q')
        self.assertEqual(self.ask('abort', queue_name='q', ids={1}), 1)
        self.assertEqual(self.world.items(), [b'a'])

    def test_confirm_waits_for_its_fsync(self):
        journal = self.world.journaled()
        self.put(b'a')
        self.get(1, auto_abort_msec=1000)
        journal.next_commit = Commit()
        self.assertEqual(self.client.begin(call('confirm', queue_name='q', ids={1})), [])
        journal.end_commit()
        self.assertEqual(result(split(self.client.connection.replies())[0], 'confirm'), 1)

    def test_more_ids_than_one_slice(self):
        self.put(*[b'%d' % number for number in range(100)])
        self.get(100, auto_abort_msec=1000)
        self.assertEqual(self.ask('abort', queue_name='q', ids=set(range(-1000, 1000))), 100)
        self.assertEqual(self.world.items(), [b'%d' % number for number in range(100)])
        self.get(100, auto_abort_msec=1000)
        self.assertEqual(self.ask('confirm', queue_name='q', ids=set(range(-1000, 1000))), 100)


class OthersTest(ThriftTest):

    def test_peek(self):
        self.world.journaled()
        self.put(b'one', b'three')
        self.get(1, auto_abort_msec=1000)
        self.world.clock.advance(1.5)
        info = self.ask('peek', queue_name='q')
        self.assertEqual((info.head_item, info.items, info.bytes, info.journal_bytes, info.age, info.waiters,
                          info.open_transactions), (b'three', 1, 5, self.world.queue().journal.size, 1500, 0, 1))
        self.begin(1, 1000, self.world.thrift_client(), name='w')
        self.put(name='w')
        self.get(1)
        self.assertIsNone(self.ask('peek', queue_name='q').head_item)

    def test_peek_shows_waiters(self):
        self.put(b'x')
        self.get(1)
        self.begin(1, 1000, self.world.thrift_client())
        self.assertEqual(self.ask('peek', queue_name='q').waiters, 1)

    def test_peek_of_what_is_no_queue(self):
        self.world_of(FakeConfig(aliases={b'both': [b'a']}))
        for name in ('none', 'both'):
            info = self.ask('peek', queue_name=name)
            self.assertEqual((info.head_item, info.items, info.bytes, info.journal_bytes, info.age, info.waiters,
                              info.open_transactions), (None, 0, 0, 0, 0, 0, 0))
        self.assertIsNone(self.world.queue(b'none'))
        self.assertEqual(self.stats.cmd_peek, 2)

    def test_flush_and_delete(self):
        self.put(b'a')
        self.put(b'b', name='r')
        for method in ('flush_queue', 'delete_queue'):
            for name in ('unknown', 'a.b', '', 'x y', '\u20ac'):
                self.assertIsNone(self.ask(method, queue_name=name))
        self.ask('flush_queue', queue_name='q')
        self.assertEqual((self.world.items(), self.world.items(b'r')), ([], [b'b']))
        self.ask('flush_all_queues')
        self.assertEqual(self.world.items(b'r'), [])
        self.ask('delete_queue', queue_name='q')
        self.assertIsNone(self.world.queue())

    def test_status(self):
        for announced, status in (('Up', Status.UP), ('ReadOnly', Status.READ_ONLY), ('Quiescent', Status.QUIESCENT),
                                  ('WriteAvoid', Status.NOT_CONFIGURED), ('Down', Status.NOT_CONFIGURED)):
            self.world.control.announced = announced
            self.assertEqual(self.ask('current_status'), status)
        for status in (Status.UP, Status.READ_ONLY, Status.QUIESCENT):
            self.assertIsNone(self.ask('set_status', status=status))
        self.assertEqual(self.world.control.calls, ['status up', 'status readonly', 'status quiescent'])
        for status in (Status.NOT_CONFIGURED, 4, -1, None):
            self.fails(INTERNAL_ERROR, 'set_status', 'unknown status', status=status)
        self.world.control.why_not = 'cannot write'
        self.fails(INTERNAL_ERROR, 'set_status', 'status change failed: cannot write', status=Status.UP)

    def test_version(self):
        self.assertEqual(self.ask('get_version'), __version__)


class NamesTest(ThriftTest):

    BAD = ('', '+', '+x', 'a+', 'a.b', 'a/b', 'a~b', 'a b', 'a\r', 'a\n', 'a\0', 'a\x1f', 'a\x7f', '\u0100', '\u20ac')

    def test_bad_names(self):
        for name in self.BAD:
            with self.subTest(name):
                self.fails(INTERNAL_ERROR, 'put', 'bad queue name', queue_name=name, items=[b'x'])
                self.fails(INTERNAL_ERROR, 'put', 'bad queue name', queue_name=name)
                self.fails(INTERNAL_ERROR, 'get', 'bad queue name', queue_name=name, max_items=1)
                self.fails(INTERNAL_ERROR, 'get', 'bad queue name', queue_name=name, max_items=1, timeout_msec=-1)
                self.fails(INTERNAL_ERROR, 'peek', 'bad queue name', queue_name=name)
        self.fails(INTERNAL_ERROR, 'put', 'bad queue name', items=[b'x'])
        for method in ('flush_queue', 'delete_queue'):
            self.fails(INTERNAL_ERROR, method, 'bad queue name', queue_name='a\rb')

    def test_invalid_utf8(self):
        body = bytes.fromhex('0b0001 00000002 ff61 00')
        self.fails(INTERNAL_ERROR, 'peek', 'bad queue name', body=body)

    def test_length(self):
        self.assertEqual(self.put(b'x', name='x' * 236), 1)
        self.fails(INTERNAL_ERROR, 'put', 'queue name too long', queue_name='x' * 237, items=[b'x'])
        self.fails(INTERNAL_ERROR, 'put', 'queue name too long', queue_name='\u00e9' * 119, items=[b'x'])

    def test_utf8_is_the_latin1_of_memcache(self):
        self.put(b'x', name='caf\u00e9')
        self.assertEqual(self.world.client().ask(b'get caf\xe9\r\n'), b'VALUE caf\xe9 0 1\r\nx\r\nEND\r\n')
        self.world.services.writes_blocked = True
        self.fails(INTERNAL_ERROR, 'put', 'queue caf\u00e9 is read-only', queue_name='caf\u00e9', items=[b'x'])


class ErrorsTest(ThriftTest):

    WRITES = ({'queue_name': 'q'}, 'queue q'), ({'queue_name': 'q'}, 'queue q'), ({'queue_name': 'q'}, 'queue q'), ({}, 'server')

    def writes(self):
        return zip(('put', 'flush_queue', 'delete_queue', 'flush_all_queues'), self.WRITES)

    def test_blocked(self):
        self.world.services.writes_blocked = True
        for method, (arguments, what) in self.writes():
            self.fails(INTERNAL_ERROR, method, what + ' is read-only', **arguments)
        self.assertEqual(self.get(1), [])
        self.world.services.reads_blocked = True
        for method, (arguments, what) in self.writes():
            self.fails(INTERNAL_ERROR, method, what + ' is not available', **arguments)
        self.fails(INTERNAL_ERROR, 'get', 'queue q is not available', queue_name='q', max_items=0)
        self.fails(INTERNAL_ERROR, 'peek', 'queue q is not available', queue_name='q')
        # never blocked
        self.assertEqual(self.ask('confirm', queue_name='q', ids={1}), 0)
        self.assertEqual(self.ask('abort', queue_name='q', ids={1}), 0)
        self.assertEqual(self.ask('current_status'), Status.UP)
        self.assertIsNone(self.ask('set_status', status=Status.UP))
        self.ask('get_version')

    def test_blocked_with_a_name_that_no_queue_can_have(self):
        self.world.services.writes_blocked = True
        for method in ('flush_queue', 'delete_queue'):
            for name in ('a b', 'a\0b'):
                self.fails(INTERNAL_ERROR, method, 'queue %s is read-only' % name, queue_name=name)

    def test_connection_limits(self):
        self.world_of(connection_limit_refuse_reads=1, connection_limit_refuse_writes=1)
        late = self.world.thrift_client()
        self.fails(INTERNAL_ERROR, 'put', 'too many connections (limit 1)', late, queue_name='q', items=[b'x'])
        self.fails(INTERNAL_ERROR, 'get', 'too many connections (limit 1)', late, queue_name='q', max_items=1)
        self.fails(INTERNAL_ERROR, 'peek', 'too many connections (limit 1)', late, queue_name='q')
        self.assertEqual(self.ask('confirm', late, queue_name='q', ids={1}), 0)

    def test_remote_admin(self):
        self.world_of(remote_admin=False)
        for method, arguments in (('delete_queue', {'queue_name': 'q'}), ('flush_all_queues', {}), ('set_status', {'status': 3})):
            self.fails(INTERNAL_ERROR, method, 'admin commands are disabled', **arguments)
        self.assertIsNone(self.ask('flush_queue', queue_name='q'))
        self.assertEqual(self.ask('current_status'), Status.UP)

    def test_unknown_methods(self):
        for method in ('caf\u00e9', '\u20ac', '', 'Put', 'put ', '__can__twitter__trace__v3__', 'x' * 8192):
            with self.assertRaises(Failure) as caught:
                result(split(self.client.ask(call(method, body=b'\0')))[0], method)
            self.assertEqual((caught.exception.kind, caught.exception.text),
                             (UNKNOWN_METHOD, "Invalid method name: '%s'" % method))
        self.ask('get_version')

    def test_what_is_not_a_call(self):
        for kind in (0, TMessageType.REPLY, TMessageType.EXCEPTION, TMessageType.ONEWAY, 255):
            self.fails(PROTOCOL_ERROR, 'put', 'bad request: this is not a call', kind=kind, queue_name='q', items=[b'x'])
        self.assertIsNone(self.world.queue())

    def test_arguments_that_cannot_be_parsed(self):
        whole = message('put', queue_name='q', items=[b'x', b'y'])
        begin = len(message('put', body=b''))
        for size in range(begin, len(whole)):
            self.fails(PROTOCOL_ERROR, 'put', body=whole[begin:size])
        self.fails(PROTOCOL_ERROR, 'put', body=bytes.fromhex('0b0001 00000001 71 0f0002 08 00000001 00000000 00'))
        self.fails(PROTOCOL_ERROR, 'confirm', body=bytes.fromhex('0e0002 08 00000001 00000001 00'))
        self.fails(PROTOCOL_ERROR, 'get', body=bytes.fromhex('0b0001 ffffffff'))
        self.fails(PROTOCOL_ERROR, 'nobody', body=bytes.fromhex('0b0001 ffffffff'))
        self.fails(PROTOCOL_ERROR, 'get', body=b'\x0c\0\1' * 200000)
        self.assertIsNone(self.world.queue())
        self.ask('get_version')

    def test_fields_of_other_ids_and_types_are_passed_over(self):
        self.put(b'x')
        body = (b'\x0f\x00\x01\x0b\0\0\0\0' b'\x0b\0\1\0\0\0\1q' b'\x0a\0\2' + bytes(8) + b'\x08\0\2\0\0\0\1'
                + b'\x0c\0\x63\x0c\0\1\0\0' b'\x0b\0\4\0\0\0\1x' b'\0')
        self.assertEqual([item.data for item in self.ask('get', body=body + b'behind')], [b'x'])

    def test_a_method_that_cannot_be_read_closes(self):
        for content in (b'x', b'\x82\x21\1\3get\0', b'GET / HTTP/1.1\r\n\r\n', bytes(4), b'\x80\2\0\1' + bytes(20)):
            client = self.world.thrift_client()
            self.assertEqual(client.ask(framed(content)), b'')
            self.assertFalse(client.open)
        self.assertEqual(self.world.control.calls[0], ('127.0.0.1', 'frames without a message of the binary protocol'))

    def test_a_failure_of_our_own_is_logged_and_answered(self):
        def fail():
            raise ZeroDivisionError
        self.world.control.status = fail
        with self.assertLogs(self.world.logger, 'ERROR') as caught:
            self.fails(INTERNAL_ERROR, 'current_status', 'internal error')
        self.assertIn("b'current_status'", caught.output[0])
        self.assertEqual((self.client.connection.requests, self.client.connection.failed), (1, 1))
        self.ask('get_version')

    def test_lenient_requests_get_strict_replies(self):
        reply = self.client.ask(call('get_version', strict=False, seqid=9))
        self.assertEqual(reply[4:8], bytes.fromhex('80010002'))
        self.assertEqual(result(split(reply)[0], 'get_version', 9), __version__)


class ClientIdTest(ThriftTest):

    def setUp(self):
        self.world_of(FakeConfig({
            b'in': {'white_list_client_id_for_enqueue': 'loader'}, b'out': {'white_list_client_id_for_dequeue': 'loader'},
            b'in+child': {}}, {b'alias': [b'free', b'in']}))

    def upgrade(self):
        self.assertEqual(self.client.ask(call(UPGRADE, seqid=0, body=b'\0')), UPGRADED)

    def ask(self, method, client=None, client_id=None, **arguments):
        client = client or self.client
        if not client.handler.upgraded:
            return super().ask(method, client, **arguments)
        reply, = split(client.ask(framed(header(client_id) + message(method, **arguments))))
        self.assertEqual(reply[:1], b'\0')
        return result(reply[1:], method)

    def test_plain_connections_have_none(self):
        self.fails(INTERNAL_ERROR, 'put', 'client id required for queue in', queue_name='in', items=[b'x'])
        self.fails(INTERNAL_ERROR, 'put', 'client id required for queue alias', queue_name='alias', items=[b'x'])
        self.assertIsNone(self.world.queue(b'free'))
        self.put(b'x', name='out')
        self.fails(INTERNAL_ERROR, 'get', 'client id required for queue out', queue_name='out', max_items=1)
        self.fails(INTERNAL_ERROR, 'get', 'client id required for queue out', queue_name='out', max_items=0)
        self.fails(INTERNAL_ERROR, 'flush_queue', 'client id required for queue out', queue_name='out')
        self.assertEqual(self.ask('peek', queue_name='out').head_item, b'x')
        # children are exempt
        self.assertEqual(self.put(b'x', name='in+child'), 1)

    def test_each_request_has_its_own(self):
        self.upgrade()
        self.assertEqual(self.put(b'x', name='in', client_id='loader'), 1)
        self.assertEqual(self.put(b'x', name='alias', client_id='loader'), 1)
        for client_id in (None, '', 'Loader', 'loader2', '\u00e9'):
            self.fails(INTERNAL_ERROR, 'put', queue_name='in', items=[b'x'], client_id=client_id)
        self.put(b'y', name='out')
        self.fails(INTERNAL_ERROR, 'get', queue_name='out', max_items=1)
        self.assertEqual(self.get(1, 'out', client_id='loader'), [(b'y', 0)])
        self.assertIsNone(self.ask('flush_queue', queue_name='out', client_id='loader'))

    def test_the_client_id_of_a_waiting_get_is_its_own(self):
        self.upgrade()
        self.client.begin(framed(header('loader') + message('get', queue_name='out', max_items=1, timeout_msec=1000)))
        self.world.client().put(b'x', b'out')
        self.world.hub.turn()
        reply, = split(self.client.connection.replies())
        self.assertEqual([item.data for item in result(reply[1:], 'get')], [b'x'])

    def test_a_second_upgrade_is_unknown(self):
        self.upgrade()
        with self.assertRaises(Failure) as caught:
            self.ask(UPGRADE, body=b'\0')
        self.assertEqual(caught.exception.kind, UNKNOWN_METHOD)

    def test_the_body_of_an_upgrade(self):
        self.fails(PROTOCOL_ERROR, UPGRADE, body=b'')
        self.fails(PROTOCOL_ERROR, UPGRADE, kind=TMessageType.ONEWAY, body=b'\0')
        self.assertFalse(self.client.handler.upgraded)
        self.assertEqual(self.client.ask(call(UPGRADE, seqid=0, body=b'\x0c\0\1\0\0')), UPGRADED)

    def test_headers_of_all_kinds(self):
        self.upgrade()
        for content in (b'\x0a\0\1' + bytes(8) + header('loader'), b'\x0b\0\6\0\0\0\1x' + header('loader'),
                        header('other')[:-1] + header('loader'), b'\x0c\0\6\x08\0\1\0\0\0\0\x0b\0\2\0\0\0\0\0' + header('loader')):
            reply, = split(self.client.ask(framed(content + message('put', queue_name='in', items=[b'x']))))
            self.assertEqual(result(reply[1:], 'put'), 1)

    def test_a_header_that_cannot_be_read_closes(self):
        for content in (b'', b'\x0c\0\6', b'\x0c\0\1' * 200000, b'\0'):
            self.client = self.world.thrift_client()
            self.upgrade()
            self.assertEqual(self.client.ask(framed(content + (b'x' if content == b'\0' else b''))), b'')
            self.assertFalse(self.client.open)


class CodecTest(unittest.TestCase):

    def test_with_and_without_the_c_module(self):
        for struct in (Item(b'a\0\xff', 2 ** 62), Item(b'', 0), Kestrel.put_result(-1), Kestrel.get_version_result('3.0.0'),
                       Kestrel.peek_result(QueueInfo(None, 1, 2, 3, 4, 5, 6)), Kestrel.peek_result(QueueInfo(b'x', 1, 2, 3, 4, 5, 6)),
                       Kestrel.current_status_result(Status.UP)):
            self.assertEqual(encode(struct), _encode_slowly(struct))


class LibraryTest(unittest.TestCase):

    def test_it_is_not_imported_before_the_port_needs_it(self):
        code = 'import sys, kestrel.server; print([name for name in sys.modules if name.startswith("thrift")])'
        done = subprocess.run([sys.executable, '-P', '-c', code], env=process_environment(), cwd='/', capture_output=True, text=True)
        self.assertEqual(done.stdout, '[]\n', done.stderr)

    def test_without_it_the_start_fails_and_says_how_to_get_it(self):
        with mock.patch.dict(sys.modules, {'kestrel.handlers.thrift': None}):
            with self.assertRaises(StartError) as caught:
                server._thrift()
        self.assertIn('thrift_listen_port', str(caught.exception))
        self.assertIn('apt install python3-thrift', str(caught.exception))


if __name__ == '__main__':
    unittest.main()
