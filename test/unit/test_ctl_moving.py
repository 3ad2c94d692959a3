"""kestrelctl move and drain by reliable reads: nothing lost, and what may be doubled is counted."""

import json
import signal
import unittest

from kestrel.tools.ctl.failures import Ended
from kestrel.tools.ctl.transfer import Stop
from support.scripted import Run, ScriptedServer


def dump(**items):
    return (b''.join([b"queue '%b' {\r\n  items=%d\r\n  open_transactions=%d\r\n}\r\n" % (name.encode(), *held)
                      for name, held in items.items()]) or b'\r\n') + b'END\r\n'


def waiting(count, name='q'):
    return b'dump_stats %b\r\n' % name.encode(), dump(**{name: (count, 0)})


def monitored(*data, name=b'q', flags=0):
    return (b'monitor %b 1 %d\r\n' % (name, len(data)),
            b''.join([b'VALUE %b %d %d\r\n%b\r\nEND\r\n' % (name, flags, len(each), each) for each in data])
            + b'END\r\n')


def put(*data, name=b'q', flags=0, answers=None):
    return (b''.join([b'set %b %d 0 %d\r\n%b\r\n' % (name, flags, len(each), each) for each in data]),
            b'STORED\r\n' * len(data) if answers is None else answers)


def confirmed(count):
    return b'confirm q %d\r\n' % count, b'END\r\n'


ABORTED = b'get q/abort\r\n', b'END\r\n'
NOT_STORED = b'NOT_STORED\r\n'
STORED = b'STORED\r\n'


class MoveTest(unittest.TestCase):

    def move(self, here, there, to='other'):
        """-> the run, and what it says in JSON."""
        with ScriptedServer(here) as source, ScriptedServer(there) as target:
            ran = Run('--port', source.port, 'move', 'q', to, '--to', '127.0.0.1:%d' % target.port, '--json')
        return ran, json.loads(ran.out)

    def test_in_batches(self):
        ran, said = self.move(
            [waiting(2), monitored(b'a', b'b', flags=9), confirmed(2), waiting(1), monitored(b'c'), confirmed(1),
             waiting(0)],
            [put(b'a', b'b', name=b'other', flags=9), put(b'c', name=b'other')])
        self.assertEqual((ran.code, said, ran.err), (0, {'moved': 3, 'doubled': 0}, ''))

    def test_a_queue_that_is_not_there(self):
        for body, why in ((b'', 'there is no queue q'), (b'put_items=1', 'it is an alias')):
            ran, said = self.move([(b'dump_stats q\r\n', b"queue 'q' {\r\n  %b\r\n}\r\nEND\r\n" % body)], [])
            self.assertEqual((ran.code, said), (4, {'moved': 0, 'doubled': 0}))
            self.assertIn(why, ran.err)

    def test_what_is_refused_at_the_end_goes_back_with_the_connection(self):
        """In their order (D7), which aborts would reverse."""
        ran, said = self.move([waiting(3), monitored(b'a', b'b', b'c'), confirmed(1)],
                              [put(b'a', b'b', b'c', name=b'other', answers=STORED + NOT_STORED * 2)])
        self.assertEqual((ran.code, said), (1, {'moved': 1, 'doubled': 0}))
        self.assertIn('queue other: NOT_STORED: it is full', ran.err)

    def test_what_is_refused_before_something_stored_is_put_back(self):
        ran, said = self.move(
            [waiting(4), monitored(b'a', b'b', b'c', b'd'), confirmed(1), ABORTED, confirmed(1)],
            [put(b'a', b'b', b'c', b'd', name=b'other', answers=STORED + NOT_STORED + STORED + NOT_STORED)])
        self.assertEqual((ran.code, said), (1, {'moved': 2, 'doubled': 0}))

    def test_the_other_server_dies(self):
        """What it answered is confirmed; the rest may be there or not."""
        ran, said = self.move([waiting(3), monitored(b'a', b'b', b'c'), confirmed(1)],
                              [put(b'a', b'b', b'c', name=b'other', answers=STORED)])
        self.assertEqual((ran.code, said), (3, {'moved': 1, 'doubled': 2}))
        self.assertIn('up to 2 items may be in both queues', ran.err)

    def test_this_server_dies(self):
        ran, said = self.move([waiting(2), monitored(b'a', b'b'), (b'confirm q 2\r\n', b'')],
                              [put(b'a', b'b', name=b'other')])
        self.assertEqual((ran.code, said), (3, {'moved': 0, 'doubled': 2}))

    def test_reads_that_have_timed_out(self):
        ran, said = self.move([waiting(1), monitored(b'a'),
                               (b'confirm q 1\r\n', b'ERROR not that many open reads (0 open)\r\n')],
                              [put(b'a', name=b'other')])
        self.assertEqual((ran.code, said), (1, {'moved': 0, 'doubled': 1}))

    def test_a_queue_that_hands_out_nothing(self):
        nothing = b'monitor q 1 5\r\n', b'END\r\n'
        ran, said = self.move([step for _ in range(3) for step in (waiting(5), nothing)], [])
        self.assertEqual((ran.code, said['moved']), (1, 0))
        self.assertIn('5 items wait, and hands out none', ran.err)

    def test_the_same_queue(self):
        with ScriptedServer([], []) as server:
            ran = Run('--port', server.port, 'move', 'q', 'q', '--to', '127.0.0.1:%d' % server.port)
        self.assertEqual(ran.code, 2)
        # no server is asked
        self.assertEqual(Run('move', 'q', 'q').code, 2)


class DrainTest(unittest.TestCase):

    ALL = b'dump_stats\r\n'
    STATS = b'stats\r\n'

    @staticmethod
    def stats(pid):
        return b'STAT uptime 5\r\nSTAT time 1000\r\nSTAT pid %d\r\nEND\r\n' % pid

    def drain(self, here, there, *words):
        here = [[(self.STATS, self.stats(1)), *here[0]], *here[1:]]
        there = [[(self.STATS, self.stats(2)), *there[0]], *there[1:]]
        with ScriptedServer(*here) as source, ScriptedServer(*there) as target:
            return Run('--port', source.port, 'drain', '127.0.0.1:%d' % target.port, '--json', *words)

    def test_all_queues_parents_first(self):
        child = dump(**{'q+x': (1, 0), 'q': (1, 0), 'empty': (0, 0)})
        ran = self.drain(
            [[(self.ALL, child)], [waiting(1), monitored(b'a'), confirmed(1), waiting(0)],
             [waiting(1, 'q+x'), monitored(b'b', name=b'q+x'), (b'confirm q+x 1\r\n', b'END\r\n'), waiting(0, 'q+x')],
             [(self.ALL, dump())]],
            [[(self.ALL, dump())], [put(b'a')], [put(b'b', name=b'q+x')]], '--yes')
        self.assertEqual((ran.code, ran.err), (0, ''))
        self.assertEqual(json.loads(ran.out), {'moved': {'q': 1, 'q+x': 1}, 'doubled': 0, 'failed': {}, 'left': {}})

    def test_what_stays_is_named(self):
        there = (b"queue 'q+x' {\r\n  items=0\r\n}\r\nqueue 'al' {\r\n  put_items=0\r\n}\r\nEND\r\n")
        held = dump(q=(1, 0), al=(1, 0), open=(0, 2))
        ran = self.drain([[(self.ALL, held)], [(self.ALL, held)]], [[(self.ALL, there)]], '--yes')
        self.assertEqual(ran.code, 1)
        said = json.loads(ran.out)
        self.assertEqual(set(said['failed']), {'q', 'al'})
        self.assertEqual(said['left']['open'], {'items': 0, 'open': 2})
        self.assertIn('fanout children there', ran.err)
        self.assertIn('queue open still has 0 items and 2 open reads', ran.err)

    def test_a_queue_that_fails_does_not_hold_up_the_others(self):
        refused = b'monitor p 1 1\r\n', b'SERVER_ERROR client id required for queue p\r\n'
        ran = self.drain(
            [[(self.ALL, dump(p=(1, 0), q=(1, 0)))], [waiting(1, 'p'), refused],
             [waiting(1), monitored(b'a'), confirmed(1), waiting(0)], [(self.ALL, dump(p=(1, 0)))]],
            [[(self.ALL, dump())], [], [put(b'a')]], '--yes')
        self.assertEqual(ran.code, 1)
        self.assertEqual(json.loads(ran.out)['moved'], {'p': 0, 'q': 1})
        self.assertIn('client id required', ran.err)

    def test_it_is_asked_for(self):
        ran = self.drain([[(self.ALL, dump(q=(1, 0)))]], [[(self.ALL, dump())]])
        self.assertEqual(ran.code, 2)
        self.assertIn('move 1 items of 1 queues', ran.err)
        self.assertIn('say --yes', ran.err)

    def test_a_server_under_two_addresses(self):
        """Then it would never be empty."""
        script = [(self.STATS, self.stats(7))]
        with ScriptedServer(script) as source, ScriptedServer(script) as target:
            ran = Run('--port', source.port, 'drain', '127.0.0.1:%d' % target.port, '--yes')
        self.assertEqual(ran.code, 2)
        self.assertIn('is the server that is to be emptied', ran.err)


class StopTest(unittest.TestCase):

    def test_the_first_signal_asks_and_the_second_ends(self):
        before = signal.getsignal(signal.SIGINT)
        with Stop() as stop:
            stop.check()
            signal.raise_signal(signal.SIGINT)
            with self.assertRaises(Ended) as caught:
                stop.check()
            self.assertEqual(caught.exception.number, signal.SIGINT)
            with self.assertRaises(Ended):
                signal.raise_signal(signal.SIGTERM)
        self.assertEqual(signal.getsignal(signal.SIGINT), before)


if __name__ == '__main__':
    unittest.main()
