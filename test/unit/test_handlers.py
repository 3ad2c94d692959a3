"""The commands of the memcache port, without a socket (spec memcache 3, 4, 5, D1, D3, D4, D16, D23, D33)."""

import errno
import os
import unittest

from kestrel import __version__
from kestrel.disk import Disk
from kestrel.errors import JournalError
from kestrel.journal.sync import Commit
from support.clock import THEN
from support.fakes import FakeConfig, World
from support.spool import FaultySystem

END = b'END\r\n'
STORED = b'STORED\r\n'
NAME_REQUIRED = b'CLIENT_ERROR queue name required\r\n'
BAD_NAME = b'CLIENT_ERROR bad queue name\r\n'
BAD_TIMEOUT = b'CLIENT_ERROR bad timeout\r\n'
BAD_NUMBER = b'CLIENT_ERROR bad number\r\n'
CANNOT_COMBINE = b'CLIENT_ERROR cannot combine open, close, peek and abort\r\n'
TOO_MANY_CONNECTIONS = b'SERVER_ERROR too many connections (limit 1)\r\n'
UNKNOWN = b'CLIENT_ERROR unknown command\r\n'
NOW = THEN // 1000


def value(data, name=b'q', flags=0):
    return b'VALUE %b %d %d\r\n%b\r\n' % (name, flags, len(data), data)


def only(data, name=b'q', flags=0):
    return value(data, name, flags) + END


class HandlerTest(unittest.TestCase):

    def setUp(self):
        self.world_of()

    def world_of(self, config=None, **server):
        self.world = World(config, **server)
        self.addCleanup(self.world.hub.close)
        self.client = self.world.client()

    def put(self, *data, name=b'q', expiry=0):
        queue = self.world.collection.need(name)
        for word in data:
            self.assertTrue(queue.put(word, 0, expiry, False))

    def set(self, line, data=b'data', client=None):
        return (client or self.client).ask(b'set %b %d\r\n%b\r\n' % (line, len(data), data))

    def ask(self, line, client=None):
        return (client or self.client).ask(line + b'\r\n')

    def stays(self, line, reply):
        """The request gets this reply and the connection stays open."""
        client = self.world.client()
        self.assertEqual(self.ask(line, client), reply)
        self.assertTrue(client.open, 'it closed')

    def closes(self, line, reply):
        client = self.world.client()
        self.assertEqual(client.ask(line + b'\r\nversion\r\n'), reply)
        self.assertFalse(client.open, 'it stays open')


class GetTest(HandlerTest):
    """The rows of memcache 4.1."""

    def test_row_1_no_key(self):
        for line in (b'get', b'gets', b'get  ', b'GET'):
            with self.subTest(line):
                self.stays(line, NAME_REQUIRED)

    def test_row_2_slashes_only(self):
        for line in (b'get /', b'get ///', b'gets /'):
            with self.subTest(line):
                self.stays(line, NAME_REQUIRED)

    def test_row_3_timeout(self):
        for word in (b'', b'x', b'1x', b'1.5', b'2147483648', b'-2147483649', b'9' * 30, b'1_0', b'0x1'):
            with self.subTest(word):
                self.stays(b'get q/t=' + word, BAD_TIMEOUT)
                self.stays(b'get q/peek/open/t=' + word, BAD_TIMEOUT)
                self.stays(b'get /t=' + word, BAD_TIMEOUT)

    def test_row_3_numbers_that_are_right(self):
        for word in (b'0', b'-1', b'-2147483648', b'2147483647', b'+5', b'007'):
            with self.subTest(word):
                self.put(b'1')
                self.stays(b'get q/t=' + word, only(b'1'))

    def test_row_4_empty_name(self):
        for line in (b'get /open', b'get  q', b'gets /t=5', b'get //peek'):
            with self.subTest(line):
                self.closes(line, NAME_REQUIRED)

    def test_row_4_combinations(self):
        for options in (b'peek/open', b'peek/close', b'peek/abort', b'abort/open', b'abort/close',
                        b'open/abort', b'close/t=5/peek', b'open/close/abort', b'abort//peek'):
            with self.subTest(options):
                self.put(b'1')
                self.closes(b'get q/' + options, CANNOT_COMBINE)

    def test_row_5_abort(self):
        self.put(b'1', b'2')
        self.ask(b'get q/open')
        self.assertEqual(self.ask(b'get q/abort/t=1000'), END)
        self.assertEqual(self.world.items(), [b'1', b'2'])
        self.assertEqual(self.ask(b'get q/abort'), END)
        self.assertEqual(self.ask(b'get unknown/abort'), END)
        self.assertIsNone(self.world.queue(b'unknown'))

    def test_row_6_close_and_open(self):
        self.put(b'1', b'2')
        self.assertEqual(self.ask(b'get q/close/open'), only(b'1'))
        self.assertEqual(self.ask(b'get q/t=500/close/open'), only(b'2'))
        self.assertEqual(self.ask(b'get q/open/close'), END)
        self.assertEqual((len(self.world.queue().opened), self.client.session.open_count(b'q')), (0, 0))

    def test_row_7_close(self):
        self.put(b'1', b'2')
        self.ask(b'get q/open')
        for _ in range(2):
            self.assertEqual(self.ask(b'get q/close/t=1000'), END)
        self.assertEqual((self.world.items(), len(self.world.queue().opened)), ([b'2'], 0))
        self.assertEqual(self.ask(b'get unknown/close'), END)

    def test_row_8_open_read_in_progress(self):
        for line in (b'get q', b'gets q', b'get q/t=1000', b'get q/'):
            with self.subTest(line):
                self.world_of()
                self.put(b'1', b'2')
                self.ask(b'get q/open')
                self.assertEqual(self.ask(line), b'ERROR open read in progress on queue q\r\n')
                self.assertFalse(self.client.open)
                self.client.session.close()
                self.assertEqual(self.world.items(), [b'1', b'2'])

    def test_row_8_other_queue_other_client_and_peek(self):
        self.put(b'1', b'2')
        self.put(b'x', name=b'other')
        self.ask(b'get q/open')
        self.assertEqual(self.ask(b'get other'), only(b'x', b'other'))
        self.assertEqual(self.ask(b'get q/peek'), only(b'2'))
        self.assertEqual(self.ask(b'get q', self.world.client()), only(b'2'))

    def test_row_9_reads_refused(self):
        self.world_of(connection_limit_refuse_reads=1)
        self.put(b'1')
        for line in (b'get q', b'get q/open', b'gets q', b'get q/peek', b'get q/close/open', b'get q/t=5',
                     b'get q a', b'monitor q 1'):
            with self.subTest(line):
                self.closes(line, TOO_MANY_CONNECTIONS)
        for line in (b'get q/close', b'get q/abort'):
            with self.subTest(line):
                self.stays(line, END)
        self.assertEqual(self.world.items(), [b'1'])
        self.assertEqual(self.ask(b'get q'), only(b'1'))

    def test_row_9_status(self):
        # the status in force blocks reads (queues 11), the name in the error is that without options
        self.world_of(max_open_transactions=2)
        self.put(b'1', b'2')
        holder = self.world.client()
        self.ask(b'get q/open', holder)
        self.ask(b'get q/open', holder)
        self.world.services.reads_blocked = self.world.services.writes_blocked = True
        for line in (b'get q', b'get q/open', b'gets q', b'get q/peek', b'get q/close/open', b'get q/t=5',
                     b'get q a', b'get a.b', b'monitor q 1', b'monitor q 0', b'get q/close q',
                     b'get q/peek/t=99999'):
            with self.subTest(line):
                name = b'a.b' if b'a.b' in line else b'q'
                self.closes(line, b'SERVER_ERROR queue %b is not available\r\n' % name)
        # rows 1 to 8 come before it, row 10 behind it
        for line, reply in ((b'get', NAME_REQUIRED), (b'get q/t=x', BAD_TIMEOUT), (b'get q/abort', END),
                            (b'get q/close', END), (b'monitor q x', BAD_NUMBER)):
            with self.subTest(line):
                self.stays(line, reply)
        self.closes(b'get q/peek/open', CANNOT_COMBINE)
        other = self.world.client()
        other.session.reads = holder.session.reads
        self.assertEqual(self.ask(b'get q', other), b'ERROR open read in progress on queue q\r\n')
        self.assertEqual(self.ask(b'get q/open', holder), b'SERVER_ERROR queue q is not available\r\n')

    def test_close_is_done_before_the_status_is_looked_at(self):
        self.put(b'1', b'2')
        self.ask(b'get q/open')
        self.world.services.reads_blocked = True
        self.assertEqual(self.ask(b'get q/close/open'), b'SERVER_ERROR queue q is not available\r\n')
        self.assertEqual((self.world.items(), self.world.queue().opened), ([b'2'], {}))

    def test_a_get_that_waits_goes_on_when_the_status_changes(self):
        # memcache 3
        self.client.begin(b'get q/t=1000\r\n')
        self.world.services.reads_blocked = True
        self.put(b'1')
        self.world.hub.turn()
        self.assertEqual(self.client.connection.replies(), only(b'1'))

    def test_row_10_limit_of_open_reads(self):
        self.world_of(max_open_transactions=2)
        self.put(b'1', b'2', b'3')
        self.ask(b'get q/open')
        self.assertEqual(self.ask(b'get q/open'), only(b'2'))
        self.assertEqual(self.ask(b'get q/open'), b'ERROR too many open reads (limit 2)\r\n')
        self.assertFalse(self.client.open)

    def test_row_10_counts_by_queue(self):
        self.put(b'1')
        self.put(b'x', name=b'other')
        self.ask(b'get q/open')
        self.assertEqual(self.ask(b'get other/open'), only(b'x', b'other'))
        self.assertEqual(self.ask(b'get q/close/open'), END)

    def test_row_10_limit_0(self):
        self.world_of(max_open_transactions=0)
        self.closes(b'get q/open', b'ERROR too many open reads (limit 0)\r\n')

    def test_row_12_unknown_queue(self):
        for line in (b'get q', b'get q/open', b'get q/peek', b'gets q'):
            with self.subTest(line):
                self.stays(line, END)
        self.assertEqual(self.world.collection.queues, {})

    def test_row_12_illegal_name(self):
        for name in (b'a.b', b'a~b', b'a\0b', b'+', b'a+', b'+a'):
            for options in (b'', b'/open', b'/peek', b'/t=5', b'/close/open'):
                with self.subTest(name + options):
                    self.stays(b'get ' + name + options, BAD_NAME)
        self.stays(b'get ' + b'a' * 237, b'CLIENT_ERROR queue name too long\r\n')

    def test_row_12_cr_inside_a_name(self):
        self.stays(b'get a\rb', BAD_NAME)
        self.stays(b'get a\r', BAD_NAME)

    def test_row_14_item(self):
        self.put(b'one', b'', b'a\r\nEND\r\n')
        self.assertEqual(self.ask(b'get q'), b'VALUE q 0 3\r\none\r\nEND\r\n')
        self.assertEqual(self.ask(b'get q'), b'VALUE q 0 0\r\n\r\nEND\r\n')
        self.assertEqual(self.ask(b'get q'), b'VALUE q 0 8\r\na\r\nEND\r\n\r\nEND\r\n')

    def test_row_14_name_without_options(self):
        self.put(b'1', b'2', b'3')
        self.assertEqual(self.ask(b'get q/'), only(b'1'))
        self.assertEqual(self.ask(b'get q//unknown/OPEN/t=5'), only(b'2'))
        self.assertEqual(self.client.session.open_count(b'q'), 0)
        self.assertEqual(self.ask(b'get q/x/open/open'), only(b'3'))
        self.assertEqual(self.client.session.open_count(b'q'), 1)

    def test_row_14_the_last_timeout_counts(self):
        self.assertEqual(self.ask(b'get q/t=5000/t=0'), END)

    def test_row_15_nothing_there(self):
        for options in (b'', b'/t=0', b'/t=-5', b'/peek', b'/open', b'/peek/t=0'):
            with self.subTest(options):
                self.stays(b'get q' + options, END)

    def test_row_15_server_stops(self):
        self.put(b'1')
        self.world.services.stopping = True
        self.assertEqual(self.ask(b'get q/t=1000'), only(b'1'))
        self.assertEqual(self.ask(b'get q/t=1000'), END)

    def test_row_16_waits_for_an_item(self):
        for options, opened in ((b't=500', 0), (b't=500/open', 1), (b'open/t=500', 1), (b'peek/t=500', 0)):
            with self.subTest(options):
                self.world_of()
                ended = self.client.begin(b'get q/' + options + b'\r\n')
                self.assertEqual((ended, self.client.connection.replies()), ([], b''))
                self.put(b'1')
                self.world.hub.turn()
                self.assertEqual(self.client.connection.replies(), only(b'1'))
                self.assertEqual(self.client.session.open_count(b'q'), opened)

    def test_row_16_time_is_over(self):
        self.client.begin(b'get q/t=500\r\nversion\r\n')
        self.world.hub.advance(0.499)
        self.assertEqual(self.client.connection.replies(), b'')
        self.world.hub.advance(0.002)
        self.assertEqual(self.client.connection.replies(), END + b'VERSION %b\r\n' % __version__.encode())

    def test_row_16_queue_is_deleted(self):
        self.client.begin(b'get q/t=500\r\n')
        self.ask(b'delete q', self.world.client())
        self.world.hub.turn()
        self.assertEqual(self.client.connection.replies(), END)

    def test_replies_before_a_wait_are_there(self):
        self.put(b'1')
        self.client.begin(b'get q\r\nget q/t=500\r\n')
        self.assertEqual(self.client.connection.replies(), only(b'1'))

    def test_gets(self):
        # D60
        self.put(b'1', b'2')
        self.assertEqual(self.ask(b'gets q'), b'VALUE q 0 1 0\r\n1\r\nEND\r\n')
        self.assertEqual(self.ask(b'GETS q/open'), b'VALUE q 0 1 0\r\n2\r\nEND\r\n')

    def test_no_expired_item(self):
        self.put(b'dead', expiry=1)
        self.put(b'live')
        self.assertEqual(self.ask(b'get q'), only(b'live'))


class SeveralKeysTest(HandlerTest):
    """D23."""

    def setUp(self):
        self.world_of(max_open_transactions=2)
        self.put(b'a1', b'a2', b'a3', name=b'a')
        self.put(b'b1', name=b'b')

    def items(self):
        return self.world.items(b'a') + self.world.items(b'b')

    def test_one_value_each(self):
        self.assertEqual(self.ask(b'get a b/open none a/peek'),
                         value(b'a1', b'a') + value(b'b1', b'b') + value(b'a2', b'a') + END)

    def test_of_gets(self):
        self.assertEqual(self.ask(b'gets a b'), b'VALUE a 0 2 0\r\na1\r\nVALUE b 0 2 0\r\nb1\r\nEND\r\n')

    def test_nothing_found(self):
        self.assertEqual(self.ask(b'get x y'), END)

    def test_same_key_twice(self):
        self.assertEqual(self.ask(b'get a a'), value(b'a1', b'a') + value(b'a2', b'a') + END)

    def test_trailing_space_is_no_key(self):
        self.assertEqual(self.ask(b'get a '), only(b'a1', b'a'))

    def test_each_with_its_own_waiting_time(self):
        ended = self.client.begin(b'get a x/t=500 b y/t=250\r\n')
        self.world.hub.advance(0.6)
        self.assertEqual(ended, [])
        self.world.hub.advance(0.2)
        self.assertEqual(self.client.connection.replies(), value(b'a1', b'a') + value(b'b1', b'b') + END)
        self.assertTrue(ended)

    def test_an_error_is_answered_alone_and_nothing_is_taken(self):
        everything = self.items()
        for keys, reply, stays in [
                (b'a /', NAME_REQUIRED, True),
                (b'a  b', NAME_REQUIRED, False),
                (b'a b/t=x', BAD_TIMEOUT, True),
                (b'a b/open/peek', CANNOT_COMBINE, False),
                (b'a b.c', BAD_NAME, True),
                (b'a ' + b'x' * 237, b'CLIENT_ERROR queue name too long\r\n', True),
                (b'a/open a/open a/open', b'ERROR too many open reads (limit 2)\r\n', False),
                (b'a/open a', b'ERROR open read in progress on queue a\r\n', False)]:
            with self.subTest(keys):
                (self.stays if stays else self.closes)(b'get ' + keys, reply)
                self.assertEqual(self.items(), everything)

    def test_a_child_that_cannot_be_set_up(self):
        # D14: the get subscribes
        self.world_of(FakeConfig({b'b+new': {'keep_journal': True}}))
        self.put(b'a1', name=b'a')
        system = FaultySystem()
        system.faults['open'] = errno.ENOSPC
        self.world.collection.disk = Disk(self.world.logger, system)
        self.world.collection.spool = b'/spool'
        self.stays(b'get a b+new', b'SERVER_ERROR out of disk space\r\n')
        self.assertEqual((self.world.items(b'a'), self.world.queue(b'b+new')), ([b'a1'], None))

    def test_an_alias_has_no_open_reads(self):
        self.world_of(max_open_transactions=1)
        self.world.collection.configure(FakeConfig(aliases={b'al': [b'a']}))
        for keys in b'al/open al/open', b'al/open al', b'al/open al/peek al/open':
            with self.subTest(keys):
                self.stays(b'get ' + keys, END)

    def test_close_and_abort_make_room(self):
        self.assertEqual(self.ask(b'get a/open a/open'), value(b'a1', b'a') + value(b'a2', b'a') + END)
        self.assertEqual(self.ask(b'get a/close/open a/close/open'), value(b'a3', b'a') + END)
        self.assertEqual(self.client.session.open_count(b'a'), 1)
        self.assertEqual(self.ask(b'get a/abort a'), value(b'a3', b'a') + END)

    def test_checks_begin_with_what_is_open_already(self):
        self.ask(b'get a/open')
        self.assertEqual(self.ask(b'get b a'), b'ERROR open read in progress on queue a\r\n')
        self.assertFalse(self.client.open)
        self.assertEqual(self.items(), [b'a2', b'a3', b'b1'])


class SetTest(HandlerTest):

    def test_stored(self):
        self.assertEqual(self.set(b'q 0 0'), STORED)
        self.assertEqual(self.world.items(), [b'data'])

    def test_0_bytes(self):
        self.assertEqual(self.set(b'q 0 0', b''), STORED)
        self.assertEqual(self.ask(b'get q'), only(b''))

    def test_flags(self):
        # D4: 32 bits, returned as an unsigned decimal
        for word, flags in ((b'0', 0), (b'1', 1), (b'32', 32), (b'2147483648', 2147483648),
                            (b'4294967295', 4294967295), (b'-1', 4294967295), (b'-2147483648', 2147483648),
                            (b'007', 7)):
            with self.subTest(word):
                self.assertEqual(self.set(b'q %b 0' % word), STORED)
                self.assertEqual(self.ask(b'get q'), only(b'data', flags=flags))

    def test_bad_flags(self):
        for word in (b'x', b'', b'4294967296', b'-2147483649', b'1.5', b'9' * 50, b'1_0'):
            with self.subTest(word):
                client = self.world.client()
                line = b'q %b 0' % word
                self.assertEqual(self.set(line, client=client), b'CLIENT_ERROR bad flags\r\n')
                self.assertTrue(client.open)
        self.assertIsNone(self.world.queue())

    def test_expiry(self):
        # D16: any i64; absolute times beyond 2**63-1 ms are never
        for word, expiry in (
                (b'0', 0), (b'1', THEN + 1000), (b'999999', THEN + 999999000), (b'1000000', 1000000000),
                (b'%d' % (NOW + 7), THEN + 7000), (b'4000000000', 4000000000000),
                (b'9223372036854775', 9223372036854775000), (b'9223372036854776', 0),
                (b'9223372036854775807', 0), (b'-1', THEN - 1000), (b'-9223372036854775808', 1),
                (b'-%d' % NOW, 1), (b'000', 0), (b'+5', THEN + 5000)):
            with self.subTest(word):
                self.assertEqual(self.set(b'q 0 ' + word), STORED)
                self.assertEqual(self.world.queue().items.pop().expiry, expiry)

    def test_negative_is_stored_and_dropped_at_the_next_look(self):
        self.assertEqual(self.set(b'q 0 -1'), STORED)
        self.assertEqual(self.world.items(), [b'data'])
        self.assertEqual(self.ask(b'get q'), END)
        self.assertEqual(self.world.queue().stats.expired_items, 1)

    def test_bad_expiration(self):
        for word in (b'x', b'', b'9223372036854775808', b'-9223372036854775809', b'1.5', b'1e3'):
            with self.subTest(word):
                client = self.world.client()
                self.assertEqual(self.set(b'q 0 ' + word, client=client), b'CLIENT_ERROR bad expiration\r\n')
                self.assertTrue(client.open)
        self.assertIsNone(self.world.queue())

    def test_order_of_the_checks(self):
        self.world_of(connection_limit_refuse_writes=1)
        late = self.world.client
        for line, reply, stays in [(b'a.b x x', b'CLIENT_ERROR bad expiration\r\n', True),
                                   (b'a.b x 0', b'CLIENT_ERROR bad flags\r\n', True),
                                   (b'a.b 0 0', TOO_MANY_CONNECTIONS, False),
                                   (b'q 0 0', TOO_MANY_CONNECTIONS, False)]:
            client = late()
            self.assertEqual((self.set(line, client=client), client.open), (reply, stays))
        self.assertEqual(self.set(b'a.b 0 0'), BAD_NAME)
        self.assertEqual(self.set(b'q 0 0'), STORED)

    def test_names(self):
        for name in (b'a.b', b'a~b', b'a\0b', b'', b'+', b'a+', b'+a', b'a\rb'):
            with self.subTest(name):
                client = self.world.client()
                self.assertEqual((self.set(name + b' 0 0', client=client), client.open), (BAD_NAME, True))
        self.assertEqual(self.set(b'x' * 237 + b' 0 0'), b'CLIENT_ERROR queue name too long\r\n')
        self.assertEqual(self.set(b'x' * 236 + b' 0 0'), STORED)

    def test_sync(self):
        # D22
        journal = self.world.journaled()
        self.assertEqual(self.set(b'q/sync 0 0'), STORED)
        self.assertEqual(self.set(b'q 0 0'), STORED)
        self.assertEqual(journal.line(), 'add(4:0:data)/sync, add(4:0:data)')
        for key in (b'q/', b'q/Sync', b'q/sync/', b'q/sync/sync', b'q/open', b'/sync', b'/', b'q//sync'):
            with self.subTest(key):
                client = self.world.client()
                self.assertEqual((self.set(key + b' 0 0', client=client), client.open), (BAD_NAME, True))
        self.assertEqual(len(journal.records), 2)

    def test_sync_without_a_journal(self):
        self.assertEqual(self.set(b'q/sync 0 0'), STORED)

    def test_refused(self):
        self.world_of(FakeConfig({b'small': {'max_item_size': 3}, b'full': {'max_items': 1},
                                  b'ring': {'max_items': 1, 'discard_old_when_full': True}}))
        self.assertEqual(self.set(b'small 0 0'), b'NOT_STORED\r\n')
        self.assertEqual([self.set(b'full 0 0') for _ in range(2)], [STORED, b'NOT_STORED\r\n'])
        self.assertEqual([self.set(b'ring 0 0') for _ in range(2)], [STORED, STORED])
        self.world.services.stopping = True
        self.assertEqual(self.set(b'q 0 0'), b'NOT_STORED\r\n')

    def test_large_block_that_no_queue_takes(self):
        # D6: thrown away unread, NOT_STORED, and the connection goes on
        self.world_of(FakeConfig(max_item_size=100), max_request_size=200000)
        for size, reply in ((100000, b'NOT_STORED\r\n'), (200000, b'NOT_STORED\r\n'),
                            (200001, b'SERVER_ERROR object too large for queue\r\n')):
            with self.subTest(size):
                self.client.ask(b'set q/sync 0 0 %d\r\n' % size)
                for _ in range(0, size, 50000):
                    self.assertEqual(self.client.handler.parser.held, 0)
                    self.client.ask(b'x' * min(50000, self.client.handler.parser.wants() - 2))
                self.assertEqual(self.client.ask(b'\r\nget q\r\n'), reply + END)
        self.assertEqual(self.ask(b'version'), b'VERSION %b\r\n' % __version__.encode())

    def test_large_block_of_a_line_with_an_error(self):
        self.world_of(FakeConfig(max_item_size=100))
        for line, reply in ((b'q x 0', b'CLIENT_ERROR bad flags\r\n'), (b'a.b 0 0', BAD_NAME),
                            (b' 0 0', BAD_NAME)):
            with self.subTest(line):
                self.client.ask(b'set %b 70000\r\n' % line)
                self.client.ask(b'x' * 60000)
                self.assertEqual(self.client.ask(b'x' * 10000 + b'\r\n'), reply)

    def test_journal_fails(self):
        journal = self.world.journaled()
        for failure, reply in ((JournalError('No space left on device', True),
                                b'SERVER_ERROR out of disk space\r\n'),
                               (JournalError('Input/output error'),
                                b'SERVER_ERROR journal write failed: Input/output error\r\n')):
            journal.failure = failure
            self.assertEqual(self.set(b'q 0 0'), reply)
            self.assertTrue(self.client.open)
        self.assertEqual(self.world.items(), [])
        self.assertEqual(self.world.stats.total_items, 0)


    def test_answers_come_when_the_fsync_has_ended(self):
        # D9, D63: and in the order of the requests
        journal = self.world.journaled()
        requests = b'set q/sync 0 0 1\r\n1\r\nget q\r\nset q/sync 0 0 1\r\n2\r\nversion\r\n'
        for failure, reply in ((None, STORED), (JournalError('it broke'),
                                                b'SERVER_ERROR journal write failed: it broke\r\n')):
            journal.next_commit = Commit()
            ended = self.client.begin(requests)
            self.assertEqual((ended, self.client.connection.replies()), ([], b''))
            journal.end_commit(failure)
            self.assertEqual((ended, self.client.connection.replies()), (
                [True], reply + (END if failure else b'VALUE q 0 1\r\n1\r\nEND\r\n') + STORED +
                b'VERSION %b\r\n' % __version__.encode()))
            self.assertEqual(self.ask(b'get q')[:5], b'VALUE')


class NoreplyTest(HandlerTest):
    """D3."""

    def silent(self, request, client=None):
        client = client or self.world.client()
        self.assertEqual(client.ask(request + b'version\r\n'), b'VERSION %b\r\n' % __version__.encode())

    def silently_closes(self, request):
        client = self.world.client()
        self.assertEqual(client.ask(request + b'version\r\n'), b'')
        self.assertFalse(client.open)

    def test_set(self):
        self.silent(b'set q 0 0 1 noreply\r\na\r\n')
        self.silent(b'set q 0 0 1 noreply \r\nb\r\n')
        self.silent(b'set q 0 0 1 x noreply\r\nc\r\n')
        self.assertEqual(self.world.items(), [b'a', b'b', b'c'])

    def test_not_stored(self):
        self.world_of(FakeConfig(max_item_size=1))
        self.silent(b'set q 0 0 2 noreply\r\nab\r\n')

    def test_errors_close_without_a_byte(self):
        for request in (b'set q x 0 1 noreply\r\na\r\n', b'set q 0 x 1 noreply\r\na\r\n',
                        b'set a.b 0 0 1 noreply\r\na\r\n', b'set q/x 0 0 1 noreply\r\na\r\n',
                        b'set q 0 0 x noreply\r\n', b'set q 0 0 -1 noreply\r\n',
                        b'set q 0 0 1 noreply\r\nab\r\n'):
            with self.subTest(request):
                self.silently_closes(request)
        self.assertIsNone(self.world.queue())

    def test_word_4_is_never_taken_for_it(self):
        self.closes(b'set q 0 0 noreply', b'CLIENT_ERROR bad command line format\r\n')

    def test_too_large(self):
        self.world_of(max_request_size=5)
        self.silently_closes(b'set q 0 0 6 noreply\r\n123456\r\n')

    def test_journal_fails(self):
        self.world.journaled().failure = JournalError('it broke')
        self.silently_closes(b'set q 0 0 1 noreply\r\na\r\n')

    def test_writes_refused(self):
        self.world_of(connection_limit_refuse_writes=0)
        for request in (b'set q 0 0 1 noreply\r\na\r\n', b'delete q noreply\r\n', b'flush q noreply\r\n',
                        b'flush_all noreply\r\n'):
            with self.subTest(request):
                self.silently_closes(request)

    def test_admin_disabled(self):
        self.world_of(remote_admin=False)
        for request in (b'delete q 0 noreply\r\n', b'flush_all noreply\r\n'):
            self.silently_closes(request)
        self.silent(b'flush q noreply\r\n')

    def test_delete_and_flush(self):
        for request in (b'delete q noreply\r\n', b'delete q 0 noreply\r\n', b'flush q noreply\r\n',
                        b'flush q 0 noreply \r\n', b'flush_all noreply\r\n', b'flush_all 0 noreply\r\n'):
            with self.subTest(request):
                self.put(b'1')
                self.silent(request)
                self.assertIn(self.world.items(), (None, []))

    def test_the_name_is_never_taken_for_it(self):
        self.put(b'1', name=b'noreply')
        self.stays(b'flush noreply', END)
        self.assertEqual(self.world.items(b'noreply'), [])
        self.stays(b'delete noreply', b'DELETED\r\n')
        self.assertIsNone(self.world.items(b'noreply'))
        self.silent(b'delete noreply noreply\r\n')

    def test_elsewhere_it_has_no_meaning(self):
        self.put(b'1')
        self.assertEqual(self.ask(b'get q noreply'), only(b'1'))
        self.assertEqual(self.ask(b'version noreply'), b'VERSION %b\r\n' % __version__.encode())
        self.assertEqual(self.ask(b'flush_expired q noreply'), b'0\r\n')
        self.assertEqual(self.ask(b'flush_all_expired noreply'), b'0\r\n')
        self.assertEqual(self.client.ask(b'add q 0 0 1 noreply\r\na\r\n'), UNKNOWN)

    def test_the_next_request_is_answered(self):
        for request in (b'set q 0 0 1 noreply\r\na\r\n', b'delete q noreply\r\n', b'flush_all noreply\r\n'):
            for following, reply in ((b'nonsense\r\n', UNKNOWN), (b'get\r\n', NAME_REQUIRED),
                                     (b'set q 0 0 x\r\n', b'CLIENT_ERROR bad command line format\r\n'),
                                     (b'GET / HTTP/1.1\r\n', UNKNOWN),
                                     (b'x' * 9000, b'CLIENT_ERROR line too long\r\n')):
                with self.subTest(request + following[:20]):
                    self.assertEqual(self.world.client().ask(request + following), reply)


class MonitorTest(HandlerTest):

    def setUp(self):
        self.world_of(max_open_transactions=3)

    def test_errors(self):
        for words, reply in ((b'', NAME_REQUIRED),
                             (b' q', b'CLIENT_ERROR queue name and seconds required\r\n'),
                             (b' q x', BAD_NUMBER), (b' q 5 x', BAD_NUMBER), (b' q 2147483648', BAD_NUMBER),
                             (b' q 5 -2147483649', BAD_NUMBER), (b' q  5', BAD_NUMBER), (b' a.b 5', BAD_NAME),
                             (b' q/open 5', BAD_NAME), (b'  5 5', BAD_NAME)):
            with self.subTest(words):
                self.stays(b'monitor' + words, reply)

    def test_as_many_as_asked_for(self):
        self.put(b'one', b'two', b'three')
        self.assertEqual(self.ask(b'monitor q 10 2'), only(b'one') + only(b'two') + END)
        self.assertEqual(self.client.session.open_count(b'q'), 2)
        self.assertEqual(self.ask(b'confirm q 2'), END)
        self.assertEqual((self.world.items(), len(self.world.queue().opened)), ([b'three'], 0))

    def test_it_ends_when_the_status_blocks_reads(self):
        # looked at before each item: the one it waits for may still come
        self.client.begin(b'monitor q 100\r\n')
        self.world.services.reads_blocked = True
        self.put(b'1', b'2')
        self.world.hub.turn()
        self.assertEqual(self.client.connection.replies(), only(b'1') + END)
        self.assertTrue(self.client.open)
        self.assertEqual(self.world.items(), [b'2'])

    def test_max_open_transactions_by_default(self):
        self.put(b'1', b'2', b'3', b'4')
        for line in (b'monitor q 10', b'monitor q 10 50', b'monitor q 10 -1'):
            with self.subTest(line):
                client = self.world.client()
                self.assertEqual(self.ask(line, client), only(b'1') + only(b'2') + only(b'3') + END)
                client.session.close()

    def test_counts_reads_that_are_open_already(self):
        self.put(b'1', b'2', b'3', b'4')
        self.ask(b'get q/open')
        self.assertEqual(self.ask(b'monitor q 10'), only(b'2') + only(b'3') + END)
        self.assertEqual(self.ask(b'monitor q 10'), END)

    def test_no_item_or_no_time(self):
        self.put(b'1')
        for words in (b'5 0', b'0', b'-1', b'0 5', b'-2147483648 -1'):
            with self.subTest(words):
                self.stays(b'monitor q ' + words, END)
        self.assertEqual(self.world.items(), [b'1'])

    def test_waits(self):
        self.put(b'1')
        ended = self.client.begin(b'monitor q 2 5\r\n')
        self.assertEqual(self.client.connection.replies(), only(b'1'))
        self.world.hub.advance(1.5)
        self.put(b'2')
        self.world.hub.turn()
        self.assertEqual(self.client.connection.replies(), only(b'2'))
        self.world.hub.advance(0.499)
        self.assertEqual(ended, [])
        self.world.hub.advance(0.002)
        self.assertEqual((self.client.connection.replies(), ended), (END, [True]))

    def test_later_commands_wait(self):
        self.client.begin(b'monitor q 1\r\nversion\r\n')
        self.assertEqual(self.client.connection.replies(), b'')
        self.world.hub.advance(1.01)
        self.assertEqual(self.client.connection.replies(), END + b'VERSION %b\r\n' % __version__.encode())

    def test_ends_when_the_queue_is_deleted(self):
        self.put(b'1')
        self.client.begin(b'monitor q 100\r\n')
        self.ask(b'delete q', self.world.client())
        self.world.hub.turn()
        self.assertEqual(self.client.connection.replies(), only(b'1') + END)

    def test_ends_when_the_server_stops(self):
        self.client.begin(b'monitor q 100\r\n')
        self.world.services.stopping = True
        self.world.collection.dismiss_waiters()
        self.world.hub.turn()
        self.assertEqual(self.client.connection.replies(), END)

    def test_fin(self):
        # D61: ends at once, the requests behind it are still answered
        self.client.begin(b'monitor q 100\r\nversion\r\n')
        self.client.connection.leave()
        self.assertEqual(self.client.connection.replies(), END + b'VERSION %b\r\n' % __version__.encode())

    def test_rst(self):
        self.client.begin(b'monitor q 100\r\nflush_all\r\n')
        self.put(b'1')
        self.client.connection.leave(gone=True)
        self.assertFalse(self.client.open)
        self.assertEqual(self.world.items(), [b'1'])

    def test_unknown_queue(self):
        self.client.begin(b'monitor q 1\r\n')
        self.assertIsNone(self.world.queue())

    def test_counted(self):
        self.put(b'1', b'2')
        self.ask(b'monitor q 5 2')
        stats = self.world.stats
        self.assertEqual((stats.cmd_monitor, stats.cmd_monitor_get, stats.cmd_get), (1, 2, 0))
        self.assertEqual(stats.get_hits, 2)


class ConfirmTest(HandlerTest):

    def setUp(self):
        self.world_of(max_open_transactions=5)
        self.put(b'1', b'2', b'3')
        for _ in range(3):
            self.ask(b'get q/open')

    def test_oldest(self):
        self.assertEqual(self.ask(b'confirm q 2'), END)
        self.assertEqual([item.data for item in self.world.queue().opened.values()], [b'3'])

    def test_not_that_many(self):
        for word in (b'4', b'0', b'-1', b'2147483647', b'-2147483648'):
            with self.subTest(word):
                self.assertEqual(self.ask(b'confirm q ' + word),
                                 b'ERROR not that many open reads (3 open)\r\n')
        self.assertEqual(len(self.world.queue().opened), 3)
        self.assertEqual(self.ask(b'confirm other 1'), b'ERROR not that many open reads (0 open)\r\n')
        self.assertTrue(self.client.open)

    def test_errors(self):
        for words, reply in ((b'', NAME_REQUIRED), (b' q', b'CLIENT_ERROR queue name and count required\r\n'),
                             (b' q x', BAD_NUMBER), (b' q 2147483648', BAD_NUMBER), (b' q  1', BAD_NUMBER)):
            with self.subTest(words):
                self.stays(b'confirm' + words, reply)

    def test_after_a_deletion(self):
        # memcache 5: answers as usual and does nothing
        self.ask(b'delete q', self.world.client())
        self.assertEqual(self.ask(b'confirm q 1'), END)
        self.assertEqual(self.ask(b'get q/close'), END)
        self.assertEqual(self.ask(b'get q/abort'), END)
        self.assertIsNone(self.world.queue())


class DeleteFlushTest(HandlerTest):

    def test_delete(self):
        self.put(b'1')
        for line in (b'delete q', b'delete q', b'DELETE unknown 0', b'delete a.b'):
            with self.subTest(line):
                self.stays(line, b'DELETED\r\n')
        self.assertIsNone(self.world.queue())
        self.assertEqual(self.world.stats.queue_deletes, 1)

    def test_flush(self):
        self.put(b'1', b'2')
        self.ask(b'get q/open')
        self.stays(b'flush q', END)
        self.stays(b'flush unknown', END)
        self.assertEqual((self.world.items(), len(self.world.queue().opened)), ([], 1))
        self.assertIsNone(self.world.queue(b'unknown'))
        self.assertEqual(self.world.queue().stats.total_flushes, 1)

    def test_flush_all(self):
        self.put(b'1')
        self.put(b'2', name=b'other')
        self.stays(b'FLUSH_ALL 5 words', b'Flushed all queues.\r\n')
        self.assertEqual([self.world.items(name) for name in (b'q', b'other')], [[], []])

    def test_flush_expired(self):
        self.put(b'1', b'2', expiry=THEN)
        self.put(b'3', name=b'other', expiry=THEN)
        self.put(b'live', name=b'other')
        self.world.clock.advance(1)
        self.stays(b'flush_expired q', b'2\r\n')
        self.stays(b'flush_expired q', b'0\r\n')
        self.stays(b'flush_expired unknown', b'0\r\n')
        self.stays(b'flush_all_expired', b'1\r\n')
        self.assertIsNone(self.world.queue(b'unknown'))

    def test_without_a_name(self):
        for line in (b'delete', b'flush', b'flush_expired', b'delete ', b'flush  '):
            with self.subTest(line):
                self.stays(line, NAME_REQUIRED)

    def test_writes_refused(self):
        self.world_of(connection_limit_refuse_writes=1)
        self.put(b'1')
        for line in (b'delete q', b'flush q', b'flush_all', b'flush_expired q'):
            with self.subTest(line):
                self.closes(line, TOO_MANY_CONNECTIONS)
        self.assertEqual(self.world.items(), [b'1'])
        for line in (b'flush_all_expired', b'confirm q 1', b'stats', b'version', b'status', b'reload',
                     b'get q/close'):
            client = self.world.client()
            self.ask(line, client)
            self.assertTrue(client.open, line)

    def test_blocked_by_the_status(self):
        # D1, queues 11
        for reads, what in ((False, b'read-only'), (True, b'not available')):
            self.world_of()
            self.put(b'1')
            self.world.services.reads_blocked, self.world.services.writes_blocked = reads, True
            queue = b'SERVER_ERROR queue q is %b\r\n' % what
            for line, reply in ((b'delete q', queue), (b'flush q', queue), (b'flush_expired q', queue),
                                (b'flush_all', b'SERVER_ERROR server is %b\r\n' % what)):
                with self.subTest(line):
                    self.closes(line, reply)
                    self.stays(b'delete', NAME_REQUIRED)
            for name, shown in ((b'q', b'q'), (b'q/sync', b'q'), (b'a.b', b'a.b'), (b'q/x', b'q/x')):
                with self.subTest(name):
                    client = self.world.client()
                    self.assertEqual(self.set(name + b' 0 0', client=client),
                                     b'SERVER_ERROR queue %b is %b\r\n' % (shown, what))
                    self.assertFalse(client.open)
            self.assertEqual(self.set(b'q x 0'), b'CLIENT_ERROR bad flags\r\n')
            self.assertEqual(self.set(b'q 0 x'), b'CLIENT_ERROR bad expiration\r\n')
            self.assertEqual(self.world.items(), [b'1'])
            for line in (b'flush_all_expired', b'confirm q 1', b'stats', b'dump_stats', b'version', b'status',
                         b'status up', b'reload', b'get q/close', b'get q/abort'):
                client = self.world.client()
                self.ask(line, client)
                self.assertTrue(client.open, line)

    def test_a_carriage_return_in_a_name_comes_before_the_status(self):
        # D34: no line of an answer may be forged
        self.world.services.reads_blocked = self.world.services.writes_blocked = True
        for line in (b'get a\rb', b'get a\rb/open', b'get q a\rb', b'monitor a\rb 1', b'monitor a\rb 1 1'):
            with self.subTest(line):
                self.stays(line, BAD_NAME)

    def test_blocked_by_the_status_with_noreply(self):
        # D3
        self.world.services.writes_blocked = True
        for request in (b'set q 0 0 1 noreply\r\na\r\n', b'delete q noreply\r\n', b'flush_all noreply\r\n'):
            client = self.world.client()
            self.assertEqual(client.ask(request), b'')
            self.assertFalse(client.open)

    def test_an_item_of_any_size_is_refused_by_the_status_first(self):
        self.world_of(FakeConfig(max_item_size=1))
        self.world.services.writes_blocked = True
        self.client.ask(b'set q 0 0 100000\r\n')
        self.assertEqual(self.client.ask(b'x' * 100000 + b'\r\n'), b'SERVER_ERROR queue q is read-only\r\n')

    def test_admin_disabled(self):
        # D30
        self.world_of(remote_admin=False)
        self.put(b'1')
        for line in (b'delete q', b'flush_all', b'reload', b'shutdown', b'status readonly', b'status up'):
            with self.subTest(line):
                self.stays(line, b'CLIENT_ERROR admin commands are disabled\r\n')
        self.assertEqual((self.world.items(), self.world.control.calls), ([b'1'], []))
        self.stays(b'status', b'UP\r\n')
        self.stays(b'flush q', END)


class OthersTest(HandlerTest):

    def test_unknown_stays_open(self):
        for line in (b'', b'   ', b' get q', b'nonsense', b'touch q 1', b'incr q 1', b'verbosity 1',
                     b'get\tq'):
            with self.subTest(line):
                self.stays(line, UNKNOWN)

    def test_storage_commands_take_their_block(self):
        # D33
        for verb in (b'add', b'replace', b'append', b'prepend', b'ADD'):
            client = self.world.client()
            self.assertEqual(client.ask(verb + b' q 0 0 9\r\nflush_all\r\n'), UNKNOWN)
            self.assertTrue(client.open)
        self.assertEqual(self.client.ask(b'cas q 0 0 1 7\r\na\r\n'), UNKNOWN)
        self.assertIsNone(self.world.queue())

    def test_storage_commands_do_not_mind_the_limits_of_queues(self):
        self.world_of(FakeConfig(max_item_size=1), max_request_size=100000)
        for size, reply in ((70000, UNKNOWN), (100001, b'SERVER_ERROR object too large for queue\r\n')):
            self.client.ask(b'add q 0 0 %d\r\n' % size)
            self.assertEqual(self.client.ask(b'x' * size + b'\r\n'), reply)

    def test_http(self):
        # D61
        for line in (b'GET / HTTP/1.1', b'POST /x HTTP/1.1', b'POST', b'post x', b'Host: a', b'HOST:',
                     b'set q 0 0 5 HTTP/1.1', b'put HTTP/1.0'):
            with self.subTest(line):
                self.closes(line, UNKNOWN)
        self.stays(b'Host', UNKNOWN)
        self.stays(b'x POST', UNKNOWN)

    def test_other_protocols(self):
        for first in (b'\x80', b'\x16\x03\x01'):
            client = self.world.client()
            self.assertEqual((client.ask(first), client.open), (b'', False))
        self.assertEqual(len(self.world.control.calls), 2)
        self.assertEqual({call[0] for call in self.world.control.calls}, {'127.0.0.1'})

    def test_version(self):
        self.stays(b'version', b'VERSION %b\r\n' % __version__.encode())
        self.assertRegex(__version__, r'^\d+\.\d+\.\d+$')

    def test_quit_and_shutdown(self):
        self.closes(b'quit', b'')
        self.assertEqual(self.world.control.calls, [])
        self.closes(b'SHUTDOWN', b'')
        self.assertEqual(self.world.control.calls, ['shutdown'])

    def test_reload(self):
        self.stays(b'reload', b'Reloaded config.\r\n')
        self.world.control.why_not = 'kestrel.conf: line 3: it is wrong'
        self.stays(b'reload', b'SERVER_ERROR kestrel.conf: line 3: it is wrong\r\n')

    def test_status(self):
        self.stays(b'status', b'UP\r\n')
        self.closes(b'status down', b'CLIENT_ERROR status not allowed\r\n')
        self.closes(b'status DOWN', b'CLIENT_ERROR status not allowed\r\n')
        self.closes(b'status sideways', b'CLIENT_ERROR unknown status\r\n')
        self.closes(b'status  up', b'CLIENT_ERROR unknown status\r\n')
        self.closes(b'status \xe9', b'CLIENT_ERROR unknown status\r\n')
        self.assertEqual(self.world.control.calls, [])
        for word in (b'up', b'UP', b'WriteAvoid', b'readonly', b'Quiescent now'):
            self.stays(b'status ' + word, END)
        self.assertEqual(self.world.control.calls, ['status up', 'status up', 'status writeavoid',
                                                    'status readonly', 'status quiescent'])
        for name in 'Up', 'WriteAvoid', 'ReadOnly', 'Quiescent', 'Down':
            self.world.control.announced = name
            self.stays(b'STATUS', name.upper().encode() + b'\r\n')

    def test_status_that_cannot_be_changed(self):
        self.world.control.why_not = 'cannot write the status file: No space left on device'
        self.closes(b'status up', b'CLIENT_ERROR status change failed: cannot write the status file:'
                                  b' No space left on device\r\n')

    def test_internal_error(self):
        def broken():
            raise ZeroDivisionError
        self.world.control.reload = broken
        self.closes(b'reload', b'SERVER_ERROR internal error\r\n')

    def test_requests_are_counted(self):
        def broken():
            raise ZeroDivisionError
        self.world.control.reload = broken
        connection = self.client.connection
        self.client.ask(b'get q\r\nnosuch\r\nset q 0 0 1\r\na\r\nset q 0 0 1')
        self.assertEqual((connection.requests, connection.failed), (3, 0))
        self.client.ask(b'\r\nb\r\nversion\r\nreload\r\nversion\r\n')
        self.assertEqual((connection.requests, connection.failed), (6, 1))

    def test_requests_that_the_parser_refuses_are_counted(self):
        self.world_of(max_request_size=10)
        self.assertEqual(self.client.ask(b'set q 0 0 11\r\n' + b'x' * 11 + b'\r\nset q 0 x 1\r\na\r\nget q\r\n'),
                         b'SERVER_ERROR object too large for queue\r\nCLIENT_ERROR bad expiration\r\n' + END)
        self.assertEqual(self.client.connection.requests, 3)

    def test_requests_behind_a_client_that_is_gone(self):
        self.client.begin(b'get q/t=1000\r\nset q 0 0 1\r\na\r\n')
        self.client.connection.leave(gone=True)
        self.assertFalse(self.client.open)
        self.assertIsNone(self.world.queue())


class StatsTest(HandlerTest):

    GLOBAL = (b'uptime time version curr_items total_items bytes reserved_memory_ratio curr_connections'
              b' total_connections cmd_get cmd_set cmd_peek get_hits get_misses bytes_read bytes_written'
              b' queue_creates queue_deletes queue_expires pid pointer_size threads curr_time').split()
    QUEUE = (b'items bytes total_items logsize expired_items mem_items mem_bytes age head_msec discarded'
             b' waiters open_transactions transactions canceled_transactions total_flushes journal_rewrites'
             b' journal_rotations dead_letters').split()

    def stats(self, line=b'stats'):
        """[(key, value)] of stats."""
        lines = self.ask(line).split(b'\r\n')
        self.assertEqual(lines[-2:], [b'END', b''])
        words = [line.split(b' ', 2) for line in lines[:-2]]
        self.assertEqual({word[0] for word in words}, {b'STAT'})
        return [(key, value) for _, key, value in words]

    def of_queue(self, name=b'q'):
        prefix = b'queue_' + name + b'_'
        return {key[len(prefix):].decode(): int(number)
                for key, number in self.stats() if key.startswith(prefix)}

    def test_keys_and_their_order(self):
        self.put(b'1', name=b'b')
        self.put(b'2', name=b'a')
        expected = self.GLOBAL + [b'queue_%b_%b' % (name, key) for name in (b'a', b'b') for key in self.QUEUE]
        self.assertEqual([key for key, _ in self.stats(b'STATS items')], expected)

    def test_global_values(self):
        self.world_of(FakeConfig(max_memory_size=1 << 27))
        self.world.clock.advance(7.9)
        self.set(b'q 0 0', b'abc')
        self.set(b'q 0 0', b'de')
        self.set(b'other 0 0', b'f')
        for line in (b'get q', b'get other', b'get other', b'get q/peek'):
            self.ask(line)
        self.ask(b'delete other')
        found = dict(self.stats())
        expected = {'uptime': 7, 'time': NOW + 7, 'curr_items': 1, 'total_items': 3, 'bytes': 2, 'cmd_get': 3,
                    'cmd_set': 3, 'cmd_peek': 1, 'get_hits': 3, 'get_misses': 1, 'queue_creates': 2,
                    'queue_deletes': 1, 'queue_expires': 0, 'pid': os.getpid(), 'pointer_size': 64,
                    'threads': 1, 'curr_time': NOW + 7}
        self.assertEqual({key: int(found[key.encode()]) for key in expected}, expected)
        self.assertEqual(found[b'version'], __version__.encode())
        self.assertEqual(found[b'reserved_memory_ratio'], b'0.125')

    def test_queue_values(self):
        journal = self.world.journaled()
        self.put(b'dead', expiry=1)
        self.put(b'1', b'22', b'333')
        self.world.clock.advance(2)
        self.ask(b'get q/open')
        self.ask(b'get q/abort')
        self.ask(b'get q/open')
        self.assertEqual(self.of_queue(), {
            'items': 2, 'bytes': 5, 'total_items': 4, 'logsize': journal.size, 'expired_items': 1,
            'mem_items': 2, 'mem_bytes': 5, 'age': 2000, 'head_msec': 2000, 'discarded': 0, 'waiters': 0,
            'open_transactions': 1, 'transactions': 2, 'canceled_transactions': 1, 'total_flushes': 0,
            'journal_rewrites': 0, 'journal_rotations': 0, 'dead_letters': 0})

    def test_age(self):
        self.put(b'1', b'2')
        self.world.clock.advance(2)
        self.assertEqual((self.of_queue()['age'], self.of_queue()['head_msec']), (0, 2000))
        self.ask(b'get q')
        self.assertEqual(self.of_queue()['age'], 2000)
        self.ask(b'get q')
        self.assertEqual((self.of_queue()['age'], self.of_queue()['head_msec']), (0, 0))

    def test_waiters(self):
        self.put(b'1')
        self.ask(b'get q')
        self.world.client().begin(b'get q/t=1000\r\n')
        self.world.client().begin(b'monitor q 5\r\n')
        self.assertEqual(self.of_queue()['waiters'], 2)

    def test_dump_stats(self):
        self.put(b'1', name=b'a')
        self.put(b'2', name=b'b')
        for line, names in ((b'dump_stats', [b'a', b'b']), (b'DUMP_STATS b', [b'b']),
                            (b'dump_stats b a', [b'b', b'a'])):
            with self.subTest(line):
                blocks = [b"queue '%b' {\r\n" % name + b''.join(
                    [b'  %b=%d\r\n' % (key.encode(), number)
                     for key, number in self.of_queue(name).items()])
                    + b'}\r\n' for name in names]
                self.assertEqual(self.ask(line), b''.join(blocks) + END)

    def test_a_name_with_a_carriage_return_forges_no_line(self):
        # D34: bad everywhere
        for line in (b'dump_stats a\rb', b'dump_config q a\rb'):
            self.assertEqual(self.ask(line), b'CLIENT_ERROR bad queue name\r\n', line)

    def test_dump_stats_of_nothing(self):
        self.assertEqual(self.ask(b'dump_stats'), b'\r\nEND\r\n')
        self.assertEqual(self.ask(b'dump_stats x'), b"queue 'x' {\r\n  \r\n}\r\nEND\r\n")

    def test_dump_config(self):
        self.put(b'1', name=b'a')
        self.assertEqual(self.ask(b'dump_config'),
                         b"queue 'a' {\r\n  max_items=2147483647\r\n  max_age=none\r\n}\r\nEND\r\n")
        self.assertEqual(self.ask(b'dump_config x'), b"queue 'x' {\r\n  \r\n}\r\nEND\r\n")


class TurnsTest(HandlerTest):
    """Pipelines of one client: others get their turn, and nothing is done for a client that is lost."""

    def test_others_get_their_turn(self):
        for request in (b'get q\r\n', b'\n', b'confirm q 1\r\n', b'set q 0 x 0\r\n\r\n'):
            with self.subTest(request):
                client = self.world.client()
                client.ask(request * 640)
                self.assertGreaterEqual(client.connection.pauses, 9)
                self.assertEqual(client.connection.requests, 640)

    def test_monitor_gives_way(self):
        self.world_of(max_open_transactions=1000)
        self.put(*[b'x'] * 640)
        self.ask(b'monitor q 10 640')
        self.assertGreaterEqual(self.client.connection.pauses, 9)

    def test_nothing_more_is_run_for_a_client_that_is_lost(self):
        # D61
        self.put(*[b'%d' % number for number in range(200)])
        self.client.connection.on_pause = lambda: self.client.connection.leave(gone=True)
        self.client.ask(b'get q\r\n' * 200)
        self.assertEqual(len(self.world.items()), 200 - 63)

    def test_keys_behind_the_loss_take_nothing(self):
        # D61, D23: the first key waits; the client is lost meanwhile
        self.put(b'kept', name=b'b')
        ended = self.client.begin(b'get a/t=1000 b\r\n')
        self.assertFalse(ended)
        self.client.connection.leave(gone=True)
        self.assertTrue(ended)
        self.assertEqual([item.data for item in self.world.collection.lookup(b'b').items], [b'kept'])

    def test_keys_behind_one_that_waits_are_checked_when_the_request_comes(self):
        # D23, memcache 3: what begins to wait before the status changes goes on
        self.put(b'1', name=b'b')
        ended = self.client.begin(b'get a/t=1000 b b/peek\r\n')
        self.world.services.reads_blocked = True
        self.world.hub.advance(1)
        self.assertTrue(ended)
        self.assertEqual(self.client.connection.replies(), only(b'1', b'b'))
        self.assertTrue(self.client.open)


class BlockTest(HandlerTest):
    """D6: a block that has come in pieces gives its room back before its request, or one behind it, can wait."""

    def test_room_is_given_back_first(self):
        told = []
        self.client.connection.block_is_whole = lambda: told.append(self.client.session.stats.cmd_set)
        self.client.ask(b'set q 0 0 3\r\nab')
        self.client.ask(b'c\r\nset q 0 0 1\r\nx\r\n')
        self.assertEqual(told, [0])


if __name__ == '__main__':
    unittest.main()
