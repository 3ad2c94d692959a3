"""Aliases: names that pass what is put into them on to other queues (spec queues 8, D9, D20, D50)."""

import unittest

from kestrel.errors import JournalError
from kestrel.journal.sync import Commit
from kestrel.queue_collection import QueueCollection
from kestrel.stats import ServerStats
from support.clock import MovedClock
from support.fakes import FakeConfig, World
from support.spool import SpoolTest

EIO = b'SERVER_ERROR journal write failed: Input/output error\r\n'
MASKED = 'queue name(s) masked by alias(es): '


class AliasTest(unittest.TestCase):

    def world_of(self, aliases, queues=None, **server):
        self.world = World(FakeConfig(queues), **server)
        self.addCleanup(self.world.hub.close)
        self.collection = self.world.collection
        self.stats = self.world.stats
        self.client = self.world.client()
        self.configure(aliases, queues)

    def configure(self, aliases, queues=None):
        self.collection.configure(FakeConfig(queues, aliases))

    def setUp(self):
        self.world_of({b'both': [b'x', b'y'], b'drop': []})

    def put(self, *data, name=b'both', **how):
        return [self.client.put(word, name, **how) for word in data]

    def waiting(self, *names):
        return [self.world.items(name) for name in names]

    def ask(self, request):
        return self.client.ask(request)

    def lines(self, prefix):
        lines = self.ask(b'stats\r\n').split(b'\r\n')
        return [line for line in lines if line.startswith(b'STAT queue_' + prefix)]


class PutTest(AliasTest):

    def test_every_destination_gets_it(self):
        self.assertEqual(self.put(b'1', b'2', flags=7), [True, True])
        self.assertEqual(self.waiting(b'x', b'y', b'both'), [[b'1', b'2'], [b'1', b'2'], None])
        self.assertEqual([self.world.queue(name).items[0].flags for name in (b'x', b'y')], [7, 7])      # D4

    def test_in_order(self):
        self.world_of({b'a': [b'y', b'x', b'y']})
        self.put(b'1', name=b'a')
        self.assertEqual(list(self.collection.queues), [b'y', b'x'])
        self.assertEqual(self.waiting(b'y', b'x'), [[b'1', b'1'], [b'1']])

    def test_stored_if_all_accept(self):
        for full in (b'x', b'y'):
            self.world_of({b'both': [b'x', b'y']}, {full: {'max_items': 0}})
            self.assertEqual(self.ask(b'set both 0 0 1\r\nx\r\n'), b'NOT_STORED\r\n')
            other = b'y' if full == b'x' else b'x'
            self.assertEqual(self.waiting(full, other), [[], [b'x']])

    def test_an_empty_list_accepts_and_drops(self):
        self.assertEqual(self.ask(b'set drop 0 0 1\r\nx\r\n'), b'STORED\r\n')
        self.assertEqual((self.collection.queues, self.stats.total_items, self.stats.cmd_set), ({}, 0, 1))

    def test_fanout_of_a_destination(self):
        self.client.get(b'x+a')
        self.assertEqual(self.put(b'1'), [True])
        self.assertEqual(self.waiting(b'x', b'x+a', b'y'), [[b'1'], [b'1'], [b'1']])
        # a child's refusal is ignored, a parent's is not
        self.world.queue(b'x+a').max_items = 1
        self.assertEqual(self.put(b'2'), [True])
        self.world.queue(b'x').max_items = 1
        self.assertEqual(self.put(b'3'), [False])
        self.assertEqual(self.waiting(b'x+a', b'y'), [[b'1'], [b'1', b'2', b'3']])

    def test_nested(self):
        self.world_of({b'outer': [b'both', b'x', b'drop'], b'both': [b'x', b'y'], b'drop': []})
        self.assertEqual(self.put(b'1', name=b'outer'), [True])
        self.assertEqual(self.waiting(b'x', b'y'), [[b'1', b'1'], [b'1']])
        self.assertEqual(self.lines(b'outer') + self.lines(b'both') + self.lines(b'drop'), [
            b'STAT queue_outer_put_items 1', b'STAT queue_outer_put_bytes 1',
            b'STAT queue_outer_children both,x,drop',
            b'STAT queue_both_put_items 1', b'STAT queue_both_put_bytes 1', b'STAT queue_both_children x,y',
            b'STAT queue_drop_put_items 1', b'STAT queue_drop_put_bytes 1', b'STAT queue_drop_children '])
        self.world.queue(b'y').max_items = 0
        self.assertEqual(self.put(b'2', name=b'outer'), [False])

    def test_one_set_and_each_item_counts(self):
        self.put(b'1')
        self.assertEqual((self.stats.cmd_set, self.stats.total_items), (1, 2))
        self.assertEqual(sum(self.stats.set_latency_usec.counts()), 1)

    def test_refused_ones_are_counted_too(self):
        self.world.collection.need(b'x').max_items = 0
        self.put(b'123', b'45')
        self.assertEqual(self.lines(b'both')[:2],
                         [b'STAT queue_both_put_items 2', b'STAT queue_both_put_bytes 5'])

    def test_children_of_the_alias_get_nothing(self):
        # spec memcache 4.2: row 5 comes before row 6
        self.client.get(b'both+a')
        self.put(b'1')
        self.assertEqual(self.waiting(b'both+a', b'x'), [[], [b'1']])

    def test_copies_for_a_child_that_an_alias_hides(self):
        self.world_of({b'q+a': [b'q']})
        self.collection.need(b'q+a')
        self.put(b'1', name=b'q')
        self.assertEqual(self.waiting(b'q', b'q+a'), [[b'1'], [b'1']])
        self.put(b'2', name=b'q+a')
        self.assertEqual(self.waiting(b'q', b'q+a'), [[b'1', b'2'], [b'1', b'2']])

    def test_a_record_that_cannot_be_written(self):
        # D9: the others still get theirs
        journal = self.world.journaled(b'x')
        journal.failure = JournalError('Input/output error')
        self.assertEqual(self.ask(b'set both 0 0 1\r\nx\r\n'), EIO)
        self.assertEqual(self.waiting(b'x', b'y'), [[], [b'x']])

    def test_waits_for_the_fsyncs_of_all(self):
        # D9, D22
        journals = [self.world.journaled(name) for name in (b'x', b'y')]
        for journal in journals:
            journal.next_commit = Commit()
        ended = self.client.begin(b'set both/sync 0 0 1\r\nx\r\n')
        self.assertEqual([journal.line() for journal in journals], ['add(1:0:x)/sync'] * 2)
        journals[1].end_commit()
        self.assertEqual(ended, [])
        journals[0].end_commit(JournalError('Input/output error'))
        self.assertEqual(self.client.connection.replies(), EIO)
        self.assertEqual(self.waiting(b'x', b'y'), [[], [b'x']])

    def test_large_block(self):
        # D6: thrown away unread if no destination takes it; put_bytes counts it all the same
        block = b'set %s 0 0 70000\r\n' + b'x' * 70000 + b'\r\n'
        for limits, reply, kept in (((100, 100), b'NOT_STORED\r\n', [0, 0]),
                                    ((100, 70000), b'NOT_STORED\r\n', [0, 1]),
                                    ((70000, 70000), b'STORED\r\n', [1, 1])):
            with self.subTest(limits):
                queues = {name: {'max_item_size': limit} for name, limit in zip((b'x', b'y'), limits)}
                self.world_of({b'both': [b'x', b'y'], b'drop': []}, queues)
                self.assertEqual(self.client.session.refuses_size(b'both', 70000), not any(kept))
                self.assertEqual(self.ask(block.replace(b'%s', b'both')), reply)
                self.assertEqual([len(items) for items in self.waiting(b'x', b'y')], kept)
                self.assertEqual(self.lines(b'both')[1], b'STAT queue_both_put_bytes 70000')
                self.assertEqual(self.ask(block.replace(b'%s', b'drop')), b'STORED\r\n')


class ReadTest(AliasTest):

    def test_no_item_at_once(self):
        for request in (b'get both', b'gets both', b'get both/t=1000', b'get both/open',
                        b'get both/t=1000/open', b'get both/peek', b'get both/t=1000/peek', b'get both/close',
                        b'get both/abort',
                        b'monitor both 10', b'monitor both 10 5', b'get both drop'):
            with self.subTest(request):
                self.assertEqual(self.ask(request + b'\r\n'), b'END\r\n')
        stats = self.stats
        self.assertEqual((stats.get_hits, stats.get_misses, sum(stats.get_timeout_msec.counts())), (0, 0, 0))
        self.assertEqual((stats.cmd_get, stats.cmd_peek, stats.cmd_monitor), (7, 2, 2))
        self.assertEqual(self.collection.queues, {})

    def test_beside_other_keys(self):
        self.put(b'1')
        self.assertEqual(self.ask(b'get both x\r\n'), b'VALUE x 0 1\r\n1\r\nEND\r\n')

    def test_nothing_happens(self):
        for request, reply in ((b'flush both', b'END'), (b'delete both', b'DELETED'),
                               (b'flush_expired both', b'0'),
                               (b'confirm both 1', b'ERROR not that many open reads (0 open)')):
            with self.subTest(request):
                self.put(b'1')
                self.assertEqual(self.ask(request + b'\r\n'), reply + b'\r\n')
        self.assertEqual(self.waiting(b'x', b'y'), [[b'1'] * 4] * 2)
        self.assertEqual((self.stats.queue_deletes, sorted(self.collection.aliases)), (0, [b'both', b'drop']))


class MaskedTest(AliasTest):
    """A queue of the name of an alias."""

    def setUp(self):
        self.world_of({b'both': [b'x', b'y']})
        self.collection.need(b'both').put(b'hidden', 0, 0, False)

    def test_is_hidden_from_puts_and_gets(self):
        self.put(b'1')
        for option in (b'', b'/peek', b'/open', b'/t=1000'):
            self.assertEqual(self.ask(b'get both' + option + b'\r\n'), b'END\r\n')
        self.assertEqual(self.waiting(b'both', b'x'), [[b'hidden'], [b'1']])

    def test_keeps_its_items(self):
        self.ask(b'flush both\r\ndelete both\r\nflush_expired both\r\nflush_all\r\nflush_all_expired\r\n')
        self.assertEqual(self.waiting(b'both'), [[b'hidden']])
        self.configure({})
        self.assertEqual(self.ask(b'get both\r\n'), b'VALUE both 0 6\r\nhidden\r\nEND\r\n')

    def test_the_alias_is_shown_in_its_place(self):
        self.assertEqual(self.lines(b'both'), [
            b'STAT queue_both_put_items 0', b'STAT queue_both_put_bytes 0', b'STAT queue_both_children x,y'])
        self.assertIn(b'STAT curr_items 1\r\n', self.ask(b'stats\r\n'))

    def test_open_reads_of_it_can_be_confirmed(self):
        self.configure({})
        self.assertEqual(self.ask(b'get both/open\r\n'), b'VALUE both 0 6\r\nhidden\r\nEND\r\n')
        self.configure({b'both': [b'x']})
        self.assertEqual(self.ask(b'confirm both 1\r\n'), b'END\r\n')
        self.assertEqual(self.world.queue(b'both').opened, {})


class ReloadTest(AliasTest):

    def test_added_changed_removed(self):
        # D50
        self.put(b'1')
        self.configure({b'both': [b'y'], b'new': [b'x']})
        self.put(b'2')
        self.put(b'3', name=b'new')
        self.put(b'4', name=b'drop')
        self.assertEqual(self.waiting(b'x', b'y', b'drop'), [[b'1', b'3'], [b'1', b'2'], [b'4']])
        self.assertEqual(self.lines(b'both'), [
            b'STAT queue_both_put_items 2', b'STAT queue_both_put_bytes 2', b'STAT queue_both_children y'])
        self.configure({})
        self.assertEqual((self.collection.aliases, self.collection.routed), ({}, set()))

    def test_an_alias_that_was_a_parent(self):
        self.client.get(b'q+a')
        self.configure({b'q': [b'x']})
        self.put(b'1', name=b'q')
        self.configure({})
        self.put(b'2', name=b'q')
        self.assertEqual(self.waiting(b'q', b'q+a', b'x'), [[b'2'], [b'2'], [b'1']])

    def test_create_time(self):
        then = self.world.clock.now_ms() // 1000
        self.world.clock.advance(60)
        self.configure({b'both': [b'y'], b'new': []})
        self.assertEqual([self.collection.aliases[name].create_time - then for name in (b'both', b'new')],
                         [0, 60])

    def test_waits_for_a_name_that_becomes_an_alias_end(self):
        self.collection.need(b'there')
        names = (b'there', b'there', b'q', b'other')
        results = [self.world.client().get(name, timeout=60000) for name in names]
        self.configure({b'there': [b'x'], b'q': []})
        self.world.hub.turn()
        self.assertEqual(results, [[None], [None], [None], []])
        self.assertEqual((self.stats.get_misses, sum(self.stats.get_timeout_msec.counts())), (3, 0))
        self.assertEqual(len(self.world.queue(b'there').waiters), 0)

    def test_woken_when_the_name_becomes_an_alias(self):
        result = self.world.client().get(b'q', timeout=60000)
        self.collection.need(b'q').waiters.wake_one()
        self.configure({b'q': [b'x']})
        self.world.hub.turn()
        self.assertEqual((result, len(self.world.queue(b'q').waiters)), ([None], 0))

    def test_names_are_shown_in_order(self):
        self.configure({b'b': [b'x'], b'd': []}, {b'a': {}, b'c': {}})
        shown = [line for line in self.ask(b'dump_stats\r\n').split(b'\r\n') if line.startswith(b'queue')]
        self.assertEqual(shown, [b"queue '%b' {" % name for name in (b'a', b'b', b'c', b'd')])
        self.assertEqual(self.ask(b'dump_stats b d\r\n'),
                         b"queue 'b' {\r\n  put_items=0\r\n  put_bytes=0\r\n  children=x\r\n}\r\n"
                         b"queue 'd' {\r\n  put_items=0\r\n  put_bytes=0\r\n  children=\r\n}\r\nEND\r\n")

    def test_dump_config(self):
        # D20
        self.configure({b'b': [b'x', b'y'], b'd': []}, {b'c': {}})
        self.assertEqual(self.ask(b'dump_config\r\n'),
                         b"alias 'b' {\r\n  destination_queues=x,y\r\n}\r\n"
                         b"queue 'c' {\r\n  max_items=2147483647\r\n  max_age=none\r\n}\r\n"
                         b"alias 'd' {\r\n  destination_queues=none\r\n}\r\nEND\r\n")
        self.assertEqual(self.ask(b'dump_config d none\r\n'),
                         b"alias 'd' {\r\n  destination_queues=none\r\n}\r\n"
                         b"queue 'none' {\r\n  \r\n}\r\nEND\r\n")


class SpoolAliasTest(SpoolTest):

    def collection(self, aliases, queues=None):
        return QueueCollection(self.disk, self.hub, self.syncer, MovedClock(), ServerStats(),
                               FakeConfig(queues, aliases, keep_journal=True), self.logger)

    def warnings(self):
        return [line.partition(MASKED)[2] for line in self.log.lines if MASKED in line and 'WARNING' in line]

    def test_masked_queues_are_warned_of(self):
        self.write('c', b'')
        self.write('d', b'')
        collection = self.collection({b'c': [b'd'], b'a': [b'd'], b'b': []}, {b'a': {}})
        collection.load(self.spool)
        self.assertEqual(self.warnings(), ['a, c'])
        # D25: configured ones are set up all the same
        self.assertEqual(sorted(collection.queues), [b'a', b'c', b'd'])
        collection.configure(FakeConfig(None, {b'd': []}, keep_journal=True))
        self.assertEqual(self.warnings(), ['a, c', 'd'])
        collection.configure(FakeConfig(keep_journal=True))
        self.assertEqual(len(self.warnings()), 2)

    def test_an_alias_has_no_file(self):
        collection = self.collection({b'a': [b'x']})
        collection.load(self.spool)
        self.assertEqual((self.files(), collection.queues), ([], {}))


if __name__ == '__main__':
    unittest.main()
