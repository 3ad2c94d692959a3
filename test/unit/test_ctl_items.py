"""kestrelctl put, get, peek, tail: every item is accounted for (spec memcache 4, kestrelctl(1))."""

import json
import os
import unittest
import unittest.mock

from kestrel.tools.ctl import items
from support.scripted import Run, ScriptedServer


def sets(*data, name='q', flags=0, expires=0):
    return b''.join([b'set %b %d %d %d\r\n%b\r\n' % (name.encode(), flags, expires, len(each), each) for each in data])


class ItemsTest(unittest.TestCase):

    def run_ctl(self, words, *script, more=(), **given):
        """Against one connection with this script, and ``more`` of them."""
        with ScriptedServer(list(script), *more) as server:
            return Run('--port', server.port, '--timeout', '5', *words.split(), **given)


class PutTest(ItemsTest):

    def test_a_line_is_an_item(self):
        ran = self.run_ctl('put q', (sets(b'a', b'', b'c\r'), b'STORED\r\n' * 3), (sets(b'last'), b'STORED\r\n'),
                           source=b'a\n\nc\r\nlast')
        self.assertEqual((ran.code, ran.out, ran.err), (0, b'', ''))

    def test_lines_that_come_in_pieces(self):
        with unittest.mock.patch.object(items, 'READ_AT_ONCE', 3):
            ran = self.run_ctl('put q --json', (sets(b'abcde'), b'STORED\r\n'), (sets(b'f'), b'STORED\r\n'),
                               source=b'abcde\nf')
        self.assertEqual((ran.code, json.loads(ran.out)), (0, {'put': 2, 'refused': 0}))

    def test_many_lines_wait_for_their_answers(self):
        """More than the answers' buffers hold must not be sent at once."""
        first, second = [b'x'] * items.SENT_AT_ONCE, [b'y'] * 2
        ran = self.run_ctl('put q', (sets(*first), b'STORED\r\n' * len(first)), (sets(*second), b'STORED\r\n' * 2),
                           source=b'\n'.join(first + second) + b'\n')
        self.assertEqual((ran.code, ran.err), (0, ''))

    def test_whole(self):
        ran = self.run_ctl('put q --whole --flags 7 --expires 60 --sync',
                           (sets(b'a\nb\n', name='q/sync', flags=7, expires=60), b'STORED\r\n'), source=b'a\nb\n')
        self.assertEqual(ran.code, 0)
        self.assertEqual(self.run_ctl('put q --whole', (sets(b''), b'STORED\r\n'), source=b'').code, 0)

    def test_nothing(self):
        self.assertEqual(self.run_ctl('put q', source=b'').code, 0)

    def test_refusals_are_named(self):
        ran = self.run_ctl('put q', (sets(b'a', b'b', b'c', b'd'), b'STORED\r\nNOT_STORED\r\nSTORED\r\n'
                                     b'SERVER_ERROR out of disk space\r\n'), source=b'a\nb\nc\nd\ne')
        self.assertEqual(ran.code, 1)
        self.assertIn('2 put, 2 refused: line 2 4\n', ran.err)
        self.assertIn('it is full', ran.err)

    def test_a_server_that_goes_away(self):
        ran = self.run_ctl('put q', (sets(b'a', b'b', b'c'), b'STORED\r\n'), source=b'a\nb\nc\n')
        self.assertEqual(ran.code, 3)
        self.assertIn('1 put, 2 sent without an answer: they may be in the queue or not', ran.err)
        self.assertIn('closed the connection', ran.err)

    def test_nonsense(self):
        ran = self.run_ctl('put q', (sets(b'a'), b'OK\r\n'), source=b'a\n')
        self.assertEqual(ran.code, 3)
        self.assertIn('what no kestrel does: OK', ran.err)


class GetTest(ItemsTest):

    OPENED = b'get q/open\r\n', b'VALUE q 5 3\r\na\xffb\r\nEND\r\n'
    CLOSED = b'get q/close\r\n', b'END\r\n'
    NOTHING = b'get q/open\r\n', b'END\r\n'

    def test_written_and_confirmed(self):
        ran = self.run_ctl('get q', self.OPENED, self.CLOSED)
        self.assertEqual((ran.code, ran.out, ran.err), (0, b'a\xffb\n', ''))

    def test_json(self):
        ran = self.run_ctl('get q --json', self.OPENED, self.CLOSED)
        self.assertEqual(json.loads(ran.out), {'queue': 'q', 'flags': 5, 'data': 'a\xffb'})

    def test_nothing_there(self):
        ran = self.run_ctl('get q', self.NOTHING)
        self.assertEqual((ran.code, ran.out, ran.err), (4, b'', ''))

    def test_count_ends_with_the_last_item(self):
        ran = self.run_ctl('get q --count 5', self.OPENED, self.CLOSED, self.NOTHING)
        self.assertEqual((ran.code, ran.out), (0, b'a\xffb\n'))

    def test_wait(self):
        self.assertEqual(self.run_ctl('get q --wait 1.5', (b'get q/open/t=1500\r\n', b'END\r\n')).code, 4)

    def test_a_confirm_without_an_answer(self):
        ran = self.run_ctl('get q', self.OPENED, (b'get q/close\r\n', b''))
        self.assertEqual((ran.code, ran.out), (3, b'a\xffb\n'))
        self.assertIn('it may come again', ran.err)

    def test_what_cannot_be_written_is_not_confirmed(self):
        class Full(unittest.mock.Mock):
            def write(self, data):
                raise OSError(28, 'No space left on device')
        with ScriptedServer([self.OPENED]) as server, unittest.mock.patch('support.scripted.io.BytesIO') as stream:
            stream.return_value = Full(isatty=lambda: False, getvalue=lambda: b'')
            with unittest.mock.patch('support.scripted.io.BufferedReader'):
                ran = Run('--port', server.port, 'get', 'q')
        self.assertEqual(ran.code, 1)
        self.assertIn('No space left', ran.err)

    def execute(self, command, *script):
        with ScriptedServer(list(script)) as server:
            return Run('--port', server.port, 'get', 'q', '--exec', command)

    def test_exec(self):
        ran = self.execute('test "$(cat | od -An -tx1)" = " 61 ff 62" && test $KESTREL_QUEUE$KESTREL_FLAGS = q5',
                           self.OPENED, self.CLOSED)
        self.assertEqual((ran.code, ran.err), (0, ''))

    def test_exec_that_does_not_read(self):
        self.assertEqual(self.execute('exec true <&-', self.OPENED, self.CLOSED).code, 0)

    def test_exec_that_fails(self):
        ran = self.execute('exit 9', self.OPENED, (b'get q/abort\r\n', b'END\r\n'))
        self.assertEqual(ran.code, 1)
        self.assertIn('ended with 9: the item is back', ran.err)

    def test_the_connection_is_kept_awake(self):
        with unittest.mock.patch.object(items, 'STAY_AWAKE', 0.05):
            ran = self.execute('sleep 0.08', self.OPENED, (b'version\r\n', b'VERSION 3.0.0\r\n'), self.CLOSED)
        self.assertEqual((ran.code, ran.err), (0, ''))

    def test_a_server_that_is_gone_meanwhile(self):
        """The command is not disturbed, and what it made of the item is told."""
        with unittest.mock.patch.object(items, 'STAY_AWAKE', 0.03):
            ran = self.execute('sleep 0.1', self.OPENED)
        self.assertEqual(ran.code, 3)
        self.assertIn('it ended with 0): the item is in the queue again', ran.err)


class PeekTest(ItemsTest):

    def test_peek(self):
        ran = self.run_ctl('peek q', (b'get q/peek\r\n', b'VALUE q 0 1\r\na\r\nEND\r\n'))
        self.assertEqual((ran.code, ran.out), (0, b'a\n'))
        ran = self.run_ctl('peek q', (b'get q/peek\r\n', b'END\r\n'))
        self.assertEqual((ran.code, ran.err), (4, 'kestrelctl: queue q: nothing there\n'))


class TailTest(ItemsTest):

    CHILD = b'q+kestrelctl-tail-1384870000000-%d' % os.getpid()
    BEGIN = [(b'dump_stats q\r\n', b"queue 'q' {\r\n  items=1\r\n}\r\nEND\r\n"),
             (b'delete %b\r\n' % CHILD, b'DELETED\r\n'), (b'get %b\r\n' % CHILD, b'END\r\n')]
    END = [(b'delete %b\r\n' % CHILD, b'DELETED\r\n')]

    def test_tail(self):
        ran = self.run_ctl('tail q --count 2', *self.BEGIN,
                           (b'monitor %b 1 2\r\n' % self.CHILD, b'VALUE q 0 1\r\na\r\nEND\r\nEND\r\n'),
                           (b'confirm %b 1\r\n' % self.CHILD, b'END\r\n'),
                           (b'monitor %b 1 1\r\n' % self.CHILD, b'END\r\n'),
                           (b'monitor %b 1 1\r\n' % self.CHILD, b'VALUE q 0 1\r\nb\r\nEND\r\nEND\r\n'),
                           (b'confirm %b 1\r\n' % self.CHILD, b'END\r\n'), more=[self.END])
        self.assertEqual((ran.code, ran.out, ran.err), (0, b'a\nb\n', ''))

    def test_its_queue_goes_when_something_breaks(self):
        ran = self.run_ctl('tail q', *self.BEGIN, (b'monitor %b 1 100\r\n' % self.CHILD, b'VALUE q 0 5\r\na'),
                           more=[self.END])
        self.assertEqual(ran.code, 3)

    def test_a_queue_that_stays_is_named(self):
        ran = self.run_ctl('tail q', *self.BEGIN, (b'monitor %b 1 100\r\n' % self.CHILD, b'END\r\n'))
        self.assertEqual(ran.code, 3)
        self.assertIn('delete the queue ' + self.CHILD.decode(), ran.err)

    def test_where_deleting_is_not_allowed_nothing_is_made(self):
        ran = self.run_ctl('tail q', self.BEGIN[0], (b'delete %b\r\n' % self.CHILD,
                                                     b'CLIENT_ERROR admin commands are disabled\r\n'))
        self.assertEqual(ran.code, 1)
        self.assertIn('admin commands are disabled', ran.err)

    def test_what_has_no_children(self):
        ran = self.run_ctl('tail q', (b'dump_stats q\r\n', b"queue 'q' {\r\n  put_items=1\r\n  children=a,b\r\n}\r\n"
                                      b'END\r\n'))
        self.assertEqual(ran.code, 2)
        self.assertIn('a,b', ran.err)
        self.assertEqual(Run('tail', 'q+x').code, 2)


if __name__ == '__main__':
    unittest.main()
