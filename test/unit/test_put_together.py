"""Pipelined sets that are run together do what they would do one by one (spec memcache 4.2)."""

import random
import unittest

from kestrel import report
from kestrel.errors import JournalError
from kestrel.handlers.memcache import MemcacheHandler
from kestrel.handlers.text import TextHandler
from kestrel.journal.sync import Commit
from kestrel.protocol.memcache import MemcacheParser
from support.fakes import FakeConfig, World

STORED = b'STORED\r\n'
NOT_STORED = b'NOT_STORED\r\n'


def a_set(data, name=b'q', rest=b'0 0'):
    return b'set %b %b %d\r\n%b\r\n' % (name, rest, len(data), data)


class LikeThisTest(unittest.TestCase):
    """What the parser takes for requests of one kind."""

    def together(self, requests, most=100):
        """-> (the data of the first and of those taken with it, the words of the next request)"""
        parser = MemcacheParser(1000, lambda name, size: False)
        parser.feed(requests)
        self.assertTrue(parser.next())
        found = [parser.data, *parser.like_this(most)]
        self.assertEqual(parser.together, len(found) - 1)
        return found, parser.words if parser.next() else None

    def test_all_that_is_there(self):
        self.assertEqual(self.together(a_set(b'1') + a_set(b'') + a_set(b'\r\n3') + b'get q\r\n'),
                         ([b'1', b'', b'\r\n3'], [b'get', b'q']))

    def test_bare_line_feeds(self):
        self.assertEqual(self.together(b'set q 0 0 1\n1\r\nset q 0 0 1\n2\r\n'), ([b'1', b'2'], None))

    def test_no_more_than_asked_for(self):
        self.assertEqual(self.together(a_set(b'1') * 4, most=2), ([b'1'] * 3, b'set q 0 0 1'.split()))

    def test_one_that_is_not_whole(self):
        second = a_set(b'234')
        for end in range(len(second)):
            self.assertEqual(self.together(a_set(b'1') + second[:end])[0], [b'1'], end)

    def test_others(self):
        for other in (a_set(b'2', b'qq'), a_set(b'2', b'Q'), a_set(b'2', rest=b'1 0'), a_set(b'2', rest=b'0 60'),
                      b'set q 0 0 1 noreply\r\n2\r\n', b'set q 0 0 1 \r\n2\r\n',
                      b'SET q 0 0 1\r\n2\r\n', b'set q 0 0 +1\r\n2\r\n', b'set q 0 0 0000000001\r\n2\r\n',
                      b'add q 0 0 1\r\n2\r\n', b'set q/sync 0 0 1\r\n2\r\n'):
            first = a_set(b'1')
            found, words = self.together(first + other + first)
            self.assertEqual(found, [b'1'], other)
            self.assertEqual(words[:1], other.split()[:1], other)

    def test_a_block_that_is_refused(self):
        for block in (b'set q 0 0 1\r\n2xx', a_set(b'x' * 1001)):
            parser = MemcacheParser(1000, lambda name, size: False)
            parser.feed(a_set(b'1') + block)
            parser.next()
            self.assertEqual(parser.like_this(9), [])


class PutTogetherTest(unittest.TestCase):

    def world_of(self, config=None, **server):
        world = World(config, **server)
        self.addCleanup(world.hub.close)
        return world

    def test_as_one_by_one(self):
        for seed in range(150):
            with self.subTest(seed=seed):
                self.compare(random.Random(seed))

    def compare(self, dice):
        requests = [self.request(dice) for _ in range(dice.randrange(2, 30))]
        queues = {b'small': {'max_items': 3}, b'tiny': {'max_item_size': 2},
                  b'rolling': {'max_items': 2, 'discard_old_when_full': True}, b'parent': {}, b'parent+child': {}}
        found = []
        for pieces in (requests, [b''.join(requests)]):
            world = self.world_of(FakeConfig(queues=queues))
            journals = [world.journaled(name) for name in (b'q', b'small', b'tiny', b'rolling')]
            world.collection.need(b'parent+child')
            client = world.client()
            replies = b''.join([client.ask(piece) for piece in pieces if client.open])
            found.append((replies, client.open, [journal.line() for journal in journals],
                          [report.stats_text(world.collection, name) for name in world.collection.names_with_aliases()],
                          [histogram.count for histogram in (
                              world.stats.set_latency_usec, world.queue().stats.set_latency_usec,
                              world.queue().stats.request_size)],
                          world.stats.cmd_set, world.stats.total_items))
        self.assertEqual(*found)

    @staticmethod
    def request(dice):
        name = dice.choice([b'q', b'q', b'q', b'q', b'small', b'tiny', b'rolling', b'parent'])
        data = b'x' * dice.choice([0, 1, 2, 3, 20000])
        return dice.choice([a_set(data, name)] * 20 + [
            a_set(data, name, b'7 0'), a_set(data, name, b'0 -1'), a_set(data, name, b'0 60'), b'get %b\r\n' % name,
            b'set %b 0 0 1 noreply\r\nn\r\n' % name, a_set(data, name + b'/sync'), b'add %b 0 0 1\r\na\r\n' % name,
            b'bogus\r\n', b'set %b x 0 1\r\nx\r\n' % name])

    def test_one_write(self):
        world = self.world_of()
        journal = world.journaled()
        writes = []
        journal.add_many = lambda items, offsets: writes.append([item.data for item in items])
        client = world.client()
        self.assertEqual(client.ask(a_set(b'1') + a_set(b'2') + a_set(b'3')), STORED * 3)
        self.assertEqual(writes, [[b'1', b'2', b'3']])

    def test_each_sync_is_kept(self):
        # D22
        world = self.world_of()
        journal = world.journaled()
        self.assertEqual(world.client().ask(a_set(b'1', b'q/sync') + a_set(b'2', b'q/sync')), STORED * 2)
        self.assertEqual(journal.line(), 'add(1:0:1)/sync, add(1:0:2)/sync')

    def test_behind_a_large_block_that_is_thrown_away(self):
        # D6: it has no data
        world = self.world_of(FakeConfig(max_item_size=10))
        world.collection.need(b'q')
        client = world.client()
        client.ask(b'set q 0 0 70000\r\n' + b'x' * 60000)
        self.assertEqual(client.ask(b'x' * 10000 + b'\r\n' + a_set(b'1')), NOT_STORED + STORED)
        self.assertEqual(world.items(), [b'1'])

    def test_each_sweeps(self):
        # queues 5
        world = self.world_of(FakeConfig(max_expire_sweep=1))
        queue = world.collection.need(b'q')
        for _ in range(5):
            queue.put(b'old', 0, world.clock.now_ms() + 10, False)
        world.clock.advance(1)
        self.assertEqual(world.client().ask(a_set(b'1') + a_set(b'2') + a_set(b'3')), STORED * 3)
        self.assertEqual((world.items(), queue.stats.expired_items), ([b'old', b'old', b'1', b'2', b'3'], 3))

    def test_a_failed_write_is_told_to_each(self):
        world = self.world_of()
        journal = world.journaled()
        journal.failure = JournalError('it broke')
        client = world.client()
        self.assertEqual(client.ask(a_set(b'1') + a_set(b'2') + b'version\r\n').count(
            b'SERVER_ERROR journal write failed: it broke\r\n'), 2)
        self.assertEqual((world.items(), world.stats.cmd_set, world.stats.total_items), ([], 2, 0))

    def test_answers_come_when_the_fsync_has_ended(self):
        # D9: one for all of them
        world = self.world_of()
        journal = world.journaled()
        for failure, reply in ((None, STORED), (JournalError('it broke'),
                                                b'SERVER_ERROR journal write failed: it broke\r\n')):
            client = world.client()
            journal.next_commit = Commit()
            ended = client.begin(a_set(b'1') + a_set(b'2'))
            self.assertEqual((ended, client.connection.replies()), ([], b''))
            journal.end_commit(failure)
            self.assertEqual((ended, client.connection.replies()), ([True], reply * 2))
        self.assertEqual(world.items(), [b'1', b'2'])
        self.assertEqual((world.stats.cmd_set, world.stats.total_items), (4, 2))

    def test_what_is_refused_is_tried_again_when_those_before_it_are_in(self):
        # memcache 1: one after the other. What waits for its fsync counts for the limits and cannot be discarded yet
        for handler, request, reply in (
                (MemcacheHandler, a_set(b'1') + a_set(b'2') + a_set(b'3'), STORED * 3),
                (TextHandler, b'put q:\n1\n2\n3\n\n', b'+3\n')):
            world = self.world_of(FakeConfig(queues={b'q': {'max_items': 2, 'discard_old_when_full': True}}),
                                  max_buffered_requests=1000)
            journal = world.journaled()
            client = world.client(handler)
            journal.next_commit = Commit()
            ended = client.begin(request)
            self.assertEqual((ended, [put.item.data for put in world.queue().tail]), ([], [b'1', b'2']))
            journal.end_commit()
            self.assertEqual((ended, client.connection.replies()), ([True], reply))
            self.assertEqual((world.items(), world.queue().stats.discarded), ([b'2', b'3'], 1))
            self.assertEqual((world.stats.cmd_set, world.stats.total_items), (3, 3))

    def begin_three(self):
        """Begin three sets, of which the second waits until the first can be discarded. -> world, journal, client, what
        ``begin`` returns"""
        world = self.world_of(FakeConfig(queues={b'q': {'max_items': 1, 'discard_old_when_full': True},
                                                 b'q+c': {'max_items': 9}}))
        journal = world.journaled()
        client = world.client()
        journal.next_commit = Commit()
        ended = client.begin(a_set(b'1') + a_set(b'2') + a_set(b'3'))
        self.assertEqual((ended, [put.item.data for put in world.queue().tail]), ([], [b'1']))
        return world, journal, client, ended

    def test_a_queue_that_is_deleted_meanwhile(self):
        # the others create it anew, if nobody has
        for anew in (False, True):
            world, journal, client, ended = self.begin_three()
            commit = journal.next_commit
            world.client().session.delete(b'q')
            if anew:
                world.collection.need(b'q')
            commit.done = True
            commit.finish()
            self.assertEqual((ended, client.connection.replies()), ([True], STORED * 3))
            self.assertEqual((world.items(), world.stats.cmd_set, client.connection.requests), ([b'3'], 3, 3))

    def test_writes_that_are_blocked_meanwhile(self):
        # queues 11
        world, journal, client, ended = self.begin_three()
        world.services.writes_blocked = True
        journal.end_commit()
        self.assertEqual((ended, client.connection.replies()),
                         ([True], STORED + b'SERVER_ERROR queue q is read-only\r\n'))
        self.assertEqual((client.open, world.items()), (False, [b'1']))

    def test_a_child_that_is_created_meanwhile(self):
        # queues 7: it gets what is put from then on
        world, journal, client, ended = self.begin_three()
        world.client().ask(b'get q+c\r\n')
        journal.end_commit()
        self.assertEqual((ended, client.connection.replies()), ([True], STORED * 3))
        self.assertEqual((world.items(), world.items(b'q+c')), ([b'3'], [b'2', b'3']))

    def test_others_get_their_turn_as_often(self):
        world = self.world_of()
        world.collection.need(b'q')
        client = world.client()
        client.ask(a_set(b'x') * 64 * 10)
        self.assertGreaterEqual(client.connection.pauses, 8)
        self.assertLessEqual(client.connection.pauses, 10)
        self.assertEqual(client.connection.requests, 640)

    def test_the_server_stops(self):
        world = self.world_of()
        world.collection.need(b'q')
        world.services.stopping = True
        self.assertEqual(world.client().ask(a_set(b'1') + a_set(b'2')), NOT_STORED * 2)
        self.assertEqual(world.items(), [])
