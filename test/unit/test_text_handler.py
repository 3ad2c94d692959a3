"""The commands of the text port, without a socket (spec text 3, D19, D30, D34, D48, D49); test/wire/text*.wire has the
tables row by row."""

import unittest

from kestrel.errors import JournalError
from kestrel.handlers.text import TextHandler
from kestrel.journal.sync import Commit
from support.fakes import FakeConfig, World


class TextHandlerTest(unittest.TestCase):

    def setUp(self):
        self.world_of()

    def world_of(self, config=None, **server):
        self.world = World(config, **{'max_open_transactions': 10, 'max_buffered_requests': 1 << 30, **server})
        self.addCleanup(self.world.hub.close)
        self.client = self.world.client(TextHandler)

    def answers(self, request, reply):
        self.assertEqual(self.client.ask(request), reply)
        self.assertTrue(self.client.open)

    def test_items_are_put_as_they_are(self):
        self.answers(b'put q:\n\xff\x00\n b\r\n\n', b'+2\n')
        self.assertEqual(self.world.items(), [b'\xff\x00', b' b'])

    def test_expiry_counts_from_now(self):
        # text 3: 0 and negative are expired, absent is never
        now = self.world.clock.now_ms()
        self.answers(b'put q 500:\na\nb\n\nput q 0:\nc\n\nput q -7:\nd\n\nput q:\ne\n\n', b'+2\n+1\n+1\n+1\n')
        expiries = [item.expiry for item in self.world.queue().items]
        self.assertEqual(expiries[-1], 0)
        self.assertNotIn(0, expiries[:-1])
        self.assertTrue(all(expiry <= now + 500 for expiry in expiries[:-1]), expiries)

    def test_what_expires_now_is_never_handed_out(self):
        # text 3: 0 is already expired; the clock stands still meanwhile
        self.answers(b'put q 0:\na\n\nget q\nput q 0:\nb\nc\n\npeek q\nput q 1:\nd\n\nget q\n',
                     b'+1\n*\n+2\n*\n+1\n:d\n')

    def test_a_cr_in_a_name_is_bad_without_items_too(self):
        # D34
        self.answers(b'put a\rb\nput a\rb:\n\nput a\rb:\nx\n\n', b'-Bad queue name.\n' * 3)

    def test_expiry_before_1970(self):
        self.world.clock.wall = 0
        self.client.ask(b'put q -2147483648:\na\n\n')
        self.assertNotEqual([item.expiry for item in self.world.queue().items], [0])

    def test_writes_that_are_blocked_meanwhile(self):
        # text 3: items before the block stay stored
        def block():
            self.world.services.writes_blocked = True
        self.client.connection.on_pause = block
        self.answers(b'put q:\n' + b'a\n' * 100 + b'\n', b'-Server not available for operation setItem\n')
        self.assertEqual(len(self.world.items()), 64)

    def test_others_get_their_turn_between_many_items(self):
        self.answers(b'put q:\n' + b'a\n' * 640 + b'\n', b'+640\n')
        self.assertEqual(self.client.connection.pauses, 9)

    def test_a_queue_that_is_deleted_meanwhile(self):
        self.client.connection.on_pause = lambda: self.world.client().session.delete(b'q')
        self.answers(b'put q:\n' + b'a\n' * 70 + b'\n', b'+70\n')
        self.assertEqual(len(self.world.items()), 6)

    def test_a_server_that_stops(self):
        self.world.services.stopping = True
        self.answers(b'put q:\na\n\nput q:\na\nb\n\n', b'+0\n+0\n')
        self.assertEqual(self.world.stats.cmd_set, 3)

    def test_counters(self):
        self.client.ask(b'put q:\na\nbc\nd\n\n')
        self.assertEqual((self.world.stats.cmd_set, self.world.stats.total_items), (3, 3))
        queue = self.world.queue().stats
        self.assertEqual((queue.put_items, queue.put_bytes), (3, 4))
        self.assertEqual((sum(queue.set_latency_usec.counts()), sum(self.world.stats.set_latency_usec.counts())), (3, 3))

    def test_a_journal_that_cannot_be_written(self):
        for failure, reply in ((JournalError('No space left on device', True), b'-Out of disk space.\n'),
                               (JournalError('Input/output error'), b'-Journal write failed: Input/output error.\n')):
            self.world.journaled().failure = failure
            self.answers(b'put q:\na\n\n', reply)
            self.answers(b'put q:\na\nb\n\n', reply)
        self.assertEqual(self.world.items(), [])

    def test_an_answer_waits_for_one_fsync_of_all(self):
        # D9: all records are written before it
        journal = self.world.journaled()
        commit = journal.next_commit = Commit()
        ended = self.client.begin(b'put q:\na\nb\nc\n\n')
        self.assertEqual((ended, len(self.world.queue().tail), self.world.stats.total_items), ([], 3, 0))
        self.assertIs(journal.next_commit, commit)
        journal.end_commit()
        self.assertEqual((ended, self.client.connection.replies()), ([True], b'+3\n'))
        self.assertEqual((self.world.items(), self.world.stats.total_items), ([b'a', b'b', b'c'], 3))
        self.assertEqual(sum(self.world.stats.set_latency_usec.counts()), 3)

    def test_an_fsync_that_fails(self):
        journal = self.world.journaled()
        journal.next_commit = Commit()
        ended = self.client.begin(b'put q:\na\nb\n\n')
        journal.end_commit(JournalError('it broke'))
        self.assertEqual((ended, self.client.connection.replies()), ([True], b'-Journal write failed: it broke.\n'))
        self.assertEqual(self.world.stats.total_items, 0)

    def test_a_get_waits_for_its_confirms(self):
        # D63
        self.client.ask(b'put q:\na\nb\n\n')
        journal = self.world.journaled()
        self.client.ask(b'get q\n')
        journal.next_commit = Commit()
        ended = self.client.begin(b'get q\n')
        self.assertEqual((ended, self.world.items()), ([], [b'b']))
        journal.end_commit()
        self.assertEqual((ended, self.client.connection.replies()), ([True], b':b\n'))

    def test_put_to_a_parent_and_to_an_alias(self):
        config = FakeConfig()
        config.aliases = {b'both': [b'q', b'other']}
        self.world_of(config)
        self.world.collection.configure(config)
        self.world.collection.need(b'q+x')
        self.answers(b'put both:\na\nb\n\n', b'+2\n')
        self.assertEqual([self.world.items(name) for name in (b'q', b'q+x', b'other')], [[b'a', b'b']] * 3)
        self.assertEqual((self.world.stats.cmd_set, self.world.stats.total_items), (2, 6))
        alias = self.world.collection.aliases[b'both']
        self.assertEqual((alias.put_items, alias.put_bytes), (2, 2))

    def test_put_to_a_parent_with_a_journal_that_fails(self):
        self.world.collection.need(b'q+x')
        self.world.journaled(b'q+x').failure = JournalError('it broke')
        self.answers(b'put q:\na\nb\n\n', b'-Journal write failed: it broke.\n')
        self.assertEqual((self.world.items(), self.world.items(b'q+x')), ([b'a'], []))

    def test_put_to_a_parent_waits_for_all(self):
        self.world.collection.need(b'q+x')
        journals = [self.world.journaled(name) for name in (b'q+x', b'q')]
        for journal in journals:
            journal.next_commit = Commit()
        ended = self.client.begin(b'put q:\na\nb\n\n')
        journals[0].end_commit()
        self.assertEqual(ended, [])
        journals[1].end_commit()
        self.assertEqual((ended, self.client.connection.replies()), ([True], b'+2\n'))
        self.assertEqual((self.world.stats.total_items, sum(self.world.stats.set_latency_usec.counts())), (4, 2))

    def test_put_to_a_parent_whose_items_discard_each_other(self):
        # text 3: one after the other. What waits for its fsync cannot be discarded yet
        self.world_of(FakeConfig({b'q': {'max_items': 1, 'discard_old_when_full': True}, b'q+x': {'max_items': 9}}))
        self.world.collection.need(b'q+x')
        journal = self.world.journaled()
        journal.next_commit = Commit()
        ended = self.client.begin(b'put q:\n1\n2\n3\n\n')
        self.assertEqual((ended, [put.item.data for put in self.world.queue().tail]), ([], [b'1']))
        journal.end_commit()
        self.assertEqual((ended, self.client.connection.replies()), ([True], b'+3\n'))
        self.assertEqual((self.world.items(), self.world.items(b'q+x')), ([b'3'], [b'1', b'2', b'3']))
        self.assertEqual((self.world.queue().stats.discarded, self.world.stats.total_items), (2, 6))

    def test_get_opens_and_confirms(self):
        self.client.ask(b'put q:\na\nb\n\n')
        journal = self.world.journaled()
        self.answers(b'get q\n', b':a\n')
        self.answers(b'get q\n', b':b\n')
        self.answers(b'get q\n', b'*\n')
        self.assertEqual(self.world.queue().opened, {})
        self.assertEqual(len([line for line in journal.records if 'confirm' in line]), 2)

    def test_the_words_of_an_error(self):
        self.world_of(remote_admin=False)
        self.answers(b'delete q\n', b'-Admin commands are disabled.\n')
        self.answers(b'status up\n', b'-Admin commands are disabled.\n')
        self.answers(b'shutdown\n', b'-Admin commands are disabled.\n')
        self.assertEqual(self.world.control.calls, [])
        self.answers(b'get a.b\n', b'-Bad queue name.\n')
        self.answers(b'get %b\n' % (b'x' * 237), b'-Queue name too long.\n')

    def test_status(self):
        self.answers(b'status\nstatus Up\nSTATUS readonly\n', b':UP\n+0\n+0\n')
        self.assertEqual(self.world.control.calls, ['status up', 'status readonly'])
        self.world.control.why_not = 'cannot write the status file: No space left on device'
        self.answers(b'status up\n', b'-Status change failed: cannot write the status file: No space left on device.\n')

    def test_shutdown(self):
        self.answers(b'shutdown\n', b'+0\n')
        self.assertEqual(self.world.control.calls, ['shutdown'])

    def test_quit(self):
        self.assertEqual(self.client.ask(b'quit\nput q:\na\n\n'), b'+0\n')
        self.assertFalse(self.client.open)
        self.assertIsNone(self.world.items())

    def test_an_internal_failure(self):
        # D49: the connection stays open
        def broken():
            raise ZeroDivisionError
        self.world.control.status = broken
        self.answers(b'status\n', b'-Internal error.\n')
        self.answers(b'put q:\na\n\n', b'+1\n')

    def test_requests_that_the_parser_refuses_are_counted(self):
        self.world_of(max_request_size=10)
        self.answers(b'put q:\n' + b'x' * 11 + b'\n\nput q x:\na\n\nget q\n',
                     b'-Item too large; limit=10\n-Error parsing expiration time.\n*\n')
        self.assertEqual(self.client.connection.requests, 3)

    def test_pipelined_requests_give_others_their_turn(self):
        self.answers(b'version\n' * 130, self.client.ask(b'version\n') * 130)
        self.assertEqual(self.client.connection.pauses, 2)

    def test_a_client_that_is_gone_gets_nothing(self):
        self.client.ask(b'put q:\na\n\n')
        self.client.connection.gone = True
        self.client.ask(b'get q\n')
        self.assertFalse(self.client.open)
        self.assertEqual(self.world.items(), [b'a'])

    def test_monitor_gives_way_to_a_status(self):
        # spec memcache 3: it looks at the status before each item; the one it waits for already it still gets
        self.client.ask(b'put q:\na\nb\n\n')
        ended = self.client.begin(b'monitor q 5000\n')
        self.world.services.reads_blocked = True
        self.assertEqual((ended, self.client.connection.replies()), ([], b':a\n:b\n'))
        self.world.client(TextHandler).ask(b'put q:\nc\nd\n\n')
        self.world.hub.turn()
        self.assertEqual((ended, self.client.connection.replies()), ([True], b':c\n*\n'))


if __name__ == '__main__':
    unittest.main()
