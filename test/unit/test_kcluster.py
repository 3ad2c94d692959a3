"""kcluster: the list of servers, the questions, the reports (spec tools 4, D59)."""

import errno
import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import types
import unittest
from unittest import mock

from kestrel.clock import Clock
from kestrel.tools.cluster import command, report, servers
from kestrel.tools.cluster.servers import Server, Statistics, Unable, parse_list
from kestrel.tools.console import Console
from kestrel.tools.parallel import AT_A_TIME, LATE, ask_all
from support.clock import MovedClock
from support.environment import process_environment

HOSTS = 'Really use these hosts? (yes/no) '

# What three servers say in /stats.json, of their queues.
FIRST = {'work': (3, 30, 20, 500), 'work+a': (5, 50, 50, 400), 'jobs': (1, 7, 7, 0)}
SECOND = {'work': (4, 40, 40, 90), 'jobs': (9, 90, 90, 800)}
THIRD = {'other': (8, 2 ** 40, 0, 1)}


def statistics(queues, totals=()):
    """{queue: (items, bytes, mem_bytes, age)} -> Statistics. ``totals``: {queue: total_items}."""
    gauges = {'items': 1, 'status/readable': 1}
    for queue, values in queues.items():
        for name, value in zip(('items', 'bytes', 'mem_bytes', 'age_msec'), values):
            gauges[f'q/{queue}/{name}'] = value
    return Statistics(gauges, {f'q/{queue}/total_items': total for queue, total in dict(totals).items()})


class ListTest(unittest.TestCase):

    def test_lines(self):
        self.assertEqual(parse_list('a\n\n# b\n  10.0.0.1:80 \nc:80:81\n[::1]\n[fd00::1]:5\na\n', 2223, 22133, 'f'), [
            Server('a', 'a', 2223, 22133), Server('10.0.0.1:80', '10.0.0.1', 80, 22133), Server('c:80:81', 'c', 80, 81),
            Server('[::1]', '::1', 2223, 22133), Server('[fd00::1]:5', 'fd00::1', 5, 22133)])

    def test_bad_lines(self):
        for line in ('a b', 'a:', 'a:x', 'a:0', 'a:65536', 'a:1:2:3', '-x', 'a/b', '::1', 'a:1:0', 'é', 'a\tb'):
            with self.subTest(line), self.assertRaisesRegex(ValueError, '^f line 2: .* is not host, host:port or '):
                parse_list(f'good\n{line}\n', 1, 2, 'f')
        with self.assertRaisesRegex(ValueError, '^f: no server is in it$'):
            parse_list('\n# a\n', 1, 2, 'f')


class ReportTest(unittest.TestCase):

    GAUGES = [statistics(queues).gauges for queues in (FIRST, SECOND, THIRD)]

    def test_each_figure(self):
        for name, expected in {
                'items': {'work': 7, 'work+a': 5, 'jobs': 10, 'other': 8},
                'bytes': {'work': 70, 'work+a': 50, 'jobs': 97, 'other': 2 ** 40},
                'mem_bytes': {'work': 60, 'work+a': 50, 'jobs': 97, 'other': 0},
                'min_age': {'work': 90, 'work+a': 400, 'jobs': 0, 'other': 1},
                'max_age': {'work': 500, 'work+a': 400, 'jobs': 800, 'other': 1}}.items():
            with self.subTest(name):
                self.assertEqual(report.table(self.GAUGES, name), expected)

    def test_rollup(self):
        self.assertEqual(report.table(self.GAUGES, 'items', True), {'work': 12, 'jobs': 10, 'other': 8})
        self.assertEqual(report.table(self.GAUGES, 'min_age', True)['work'], 90)
        self.assertEqual(report.table(self.GAUGES[:1], 'min_age', True)['work'], 400)

    def test_lines(self):
        values = {'b': 5, 'c': 10 ** 15, 'a': 5, 'd': 0}
        self.assertEqual(list(report.lines('items', 'queue', values)), [
            '', '         items queue', '  ============ ====================', '             0 d', '             5 a',
            '             5 b', '1000000000000000 c'])
        self.assertEqual(list(report.lines('items', 'queue', values, 2))[3:], ['             0 d', '             5 a'])
        self.assertEqual([line.split()[1] for line in list(report.lines('items', 'queue', values, 3, True))[3:]],
                         ['c', 'b', 'a'])

    def test_by_host(self):
        gauges = dict(zip(('one', 'two:80', 'three'), self.GAUGES))
        values = report.by_host(gauges, 'items', 'work')
        self.assertEqual(list(report.lines('items', 'host', values, reverse=True)), [
            '', '         items host', '  ============ ====================', '             4 two:80',
            '             3 one',
            '           n/a three'])
        self.assertEqual(report.by_host(gauges, 'items', 'work', True), {'one': 8, 'two:80': 4, 'three': None})

    def test_numbers_only(self):
        for value in ('"5"', 'true', 'null', '1e999', 'NaN', str(10 ** 30), '[]', '{}'):
            with self.subTest(value), self.assertRaisesRegex(ValueError, 'q/w/items is not a number'):
                Statistics({'q/w/items': json.loads(value)}, {})

    def test_unchanged(self):
        def look(items, total, other=3):
            return {'s': statistics({'w': (items,), 'o': (other,), 'idle': (2,)}, {'w': total, 'o': 5, 'idle': 9}),
                    't': statistics({'w': (1,), 'fresh': (0,)}, {'w': 1})}
        self.assertEqual(report.unchanged([look(5, 7), look(5, 7), look(5, 7)]),
                         {'w': (8, 6), 'o': (5, 3), 'idle': (9, 2), 'fresh': (0, 0)})
        self.assertNotIn('w', report.unchanged([look(5, 7), look(5, 8), look(5, 7)]))
        self.assertNotIn('w', report.unchanged([look(5, 7), look(4, 7)]))
        self.assertNotIn('o', report.unchanged([look(5, 7), look(5, 7, other=2)]))
        self.assertEqual(report.unchanged([look(5, 7), {'s': look(5, 7)['s']}])['w'], (7, 5), 'of s alone')
        self.assertEqual(report.unchanged([look(5, 7), {'t': look(5, 7)['t']}]), {'w': (1, 1), 'fresh': (0, 0)})


class ParallelTest(unittest.TestCase):

    def test_order_and_errors(self):
        gate = threading.Event()

        def ask(thing):
            if thing == 0:
                gate.wait(10)       # the first is the last to answer
            if thing == 5:
                gate.set()
                raise KeyError(thing)
            return thing * 2
        answers = list(ask_all(range(6), ask, 10, Clock()))
        self.assertEqual(answers[:5], [(thing, thing * 2) for thing in range(5)])
        self.assertIsInstance(answers[5][1], KeyError)

    def test_many_but_not_all_at_once(self):
        busy, most, lock, all_there = [0], [0], threading.Lock(), threading.Barrier(AT_A_TIME)

        def ask(thing):
            with lock:
                busy[0] += 1
                most[0] = max(most[0], busy[0])
            all_there.wait(10)
            with lock:
                busy[0] -= 1
        self.assertEqual({answer for _, answer in ask_all(range(2 * AT_A_TIME), ask, 10, Clock())}, {None})
        self.assertEqual(most[0], AT_A_TIME)

    def test_nobody_waits_for_the_late(self):
        gate = threading.Event()
        self.addCleanup(gate.set)
        answers = dict(ask_all('ab', lambda thing: thing == 'b' or gate.wait(10), 0.05, Clock()))
        self.assertEqual(answers, {'a': LATE, 'b': True})
        self.assertEqual(list(ask_all([], None, 1, Clock())), [])


class CommandTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.home = pathlib.Path(folder.name)
        (self.home / '.kestrel_cluster').write_text('one\ntwo\n')
        self.asked, self.sent, self.rests = [], [], []
        self.answers = {'one': statistics(FIRST), 'two': statistics(SECOND)}
        self.replies = {}
        self.reply = b'DELETED'
        self.clock = MovedClock()
        self.clock.rest = self.rests.append

    def fetch(self, server, path, patience):
        self.asked.append((server.host, server.port, path))
        if isinstance(self.answers[server.host], Exception):
            raise self.answers[server.host]
        return self.answers[server.host]

    def send(self, server, line, patience):
        self.sent.append((server.host, server.memcache_port, line))
        reply = self.replies.get(server.host, self.reply)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def run_tool(self, *words, code=0, stdin='', terminal=None):
        """-> lines of standard output; standard error is in ``err``."""
        out, self.err = io.BytesIO(), io.StringIO()
        console = Console(out, self.err)
        with mock.patch.object(command, 'fetch', self.fetch), mock.patch.object(command, 'command', self.send):
            ended = command.run(list(words), console, self.clock, str(self.home), io.StringIO(stdin), terminal)
        self.assertEqual(ended, code)
        console.flush()
        return out.getvalue().decode().splitlines()

    def test_reports(self):
        self.assertEqual(self.run_tool('items'), [
            '', '         items queue', '  ============ ====================', '             5 work+a',
            '             7 work', '            10 jobs'])
        self.assertEqual(sorted(self.asked), [(host, 2223, '/stats.json?period=60') for host in ('one', 'two')])
        self.assertEqual([line.split()[0] for line in self.run_tool('all') if line.endswith(' queue')],
                         ['items', 'bytes', 'mem_bytes', 'min_age', 'max_age'])
        self.assertEqual(self.run_tool('mem', '-c', '1')[1:], [
            '     mem_bytes queue', '  ============ ====================', '            50 work+a'])
        self.assertEqual(self.run_tool('MAX_AGE', '-R', '-F')[3:], ['           800 jobs', '           500 work'])
        self.assertEqual(self.run_tool('-b', 'work+a', 'items')[3:], ['             5 one', '           n/a two'])
        self.assertEqual(self.sent, [])

    def test_a_server_that_gives_none(self):
        self.answers['one'] = Unable('Unable to connect to', 'one', 2223, 'why\x1b')
        self.assertEqual(self.run_tool('items')[3:], ['             4 work', '             9 jobs'])
        self.assertEqual(self.err.getvalue(), 'WARNING: Unable to connect to one:2223\n  why\\x1b\n')
        self.assertEqual(self.run_tool('items', '-b', 'jobs')[3:], ['             9 two'])
        self.answers['two'] = Unable('Unable to fetch stats for', 'two', 2223, 'why')
        self.assertEqual(self.run_tool('items', code=1), [])
        self.assertTrue(self.err.getvalue().endswith('ERROR: no server has answered\n'))
        with mock.patch.object(command, 'ask_all', lambda things, *_: [(server, LATE) for server in things]):
            self.run_tool('version', code=1)
        self.assertIn('WARNING: No answer from one:22133\n  no answer in time\n', self.err.getvalue())

    def test_broadcast(self):
        self.replies['two'] = b'SERVER_ERROR server is read-only'
        self.assertEqual(self.run_tool('-s', 'delete', 'a+b', '-m', '5', code=1), [
            '--- one:5 ... DELETED', '--- two:5 ... SERVER_ERROR server is read-only', 'Done.'])
        self.assertEqual(sorted(self.sent), [('one', 5, b'delete a+b'), ('two', 5, b'delete a+b')])
        self.replies['two'] = Unable('Unable to connect to', 'two', 22133, 'refused')
        self.assertEqual(self.run_tool('-s', 'delete', 'q', code=1), ['--- one:22133 ... DELETED', 'Done.'])
        self.assertEqual(self.err.getvalue(), 'WARNING: Unable to connect to two:22133\n  refused\n')
        self.replies['two'] = b'HTTP/1.1 400 \x1b[2J'
        self.assertEqual(self.run_tool('-s', 'delete', 'q', code=1)[1], '--- two:22133 ... HTTP/1.1 400 \\x1b[2J')
        self.assertEqual(self.err.getvalue().splitlines()[0], 'WARNING: Unexpected reply from two:22133')
        self.replies, self.reply = {}, b'END'
        self.assertEqual(self.run_tool('-s', 'flush', 'caf\xe9')[2], 'Done.')
        self.assertEqual(self.sent[-1][2], b'flush caf\xe9')
        self.run_tool('-s', 'status', 'ReadOnly')
        self.assertEqual(self.sent[-1][2], b'status ReadOnly')
        self.reply = b'READONLY'
        self.assertEqual(self.run_tool('status'), ['--- one:22133 ... READONLY', '--- two:22133 ... READONLY', 'Done.'])

    def test_version(self):
        self.reply = b'VERSION 3.0.0'
        self.assertEqual(self.run_tool('version'), ['one: 3.0.0', 'two: 3.0.0'])
        self.replies['one'] = b'what?'
        self.assertEqual(self.run_tool('version', code=1), ['two: 3.0.0'])
        self.assertEqual(self.err.getvalue(), 'WARNING: Unexpected reply from one:22133\n  what?\n')

    def test_questions(self):
        done = ['--- one:22133 ... DELETED', '--- two:22133 ... DELETED', 'Done.']
        self.assertEqual(self.run_tool('delete', 'q', stdin='yes\nyes\n'), [
            'one', 'two', HOSTS + 'Really delete q? (yes/no) ' + done[0], *done[1:]])
        self.reply = b'END'
        self.assertEqual(self.run_tool('flush', 'q', stdin='yes\nyes\n')[2],
                         HOSTS + 'Really flush q? (yes/no) --- one:22133 ... END')
        self.assertEqual(self.run_tool('status', 'up', stdin='yes\n')[2], HOSTS + '--- one:22133 ... END')
        self.assertEqual(self.run_tool('items', '-v', stdin='yes\n')[:3], ['one', 'two', HOSTS])
        self.assertEqual(self.run_tool('items', '-v', '-s')[:3], ['one', 'two', ''])

    def test_only_yes_goes_on(self):
        for words, answers in ((('delete', 'q'), 'yes\ny\n'), (('delete', 'q'), 'YES\n'), (('flush', 'q'), 'no\nyes\n'),
                               (('status', 'up'), ''), (('items', '-v'), ' yes\n'), (('delete', 'q'), 'yes\n')):
            with self.subTest(words=words, answers=answers):
                self.run_tool(*words, stdin=answers, code=1)
                self.assertEqual(self.err.getvalue(), 'nothing was done\n')
        self.assertEqual((self.sent, self.asked), ([], []))

    def test_list_from_standard_input(self):
        self.assertEqual(self.run_tool('-f', '-', '-s', 'delete', 'q', stdin='two\n')[0], '--- two:22133 ... DELETED')
        self.assertEqual(self.run_tool('-f', '-', 'delete', 'q', stdin='two\n',
                                       terminal=lambda: io.StringIO('yes\nyes\n'))[1],
                         HOSTS + 'Really delete q? (yes/no) --- two:22133 ... DELETED')

        def none():
            raise OSError(errno.ENXIO, 'No such device or address')
        self.run_tool('-f', '-', 'delete', 'q', stdin='two\n', terminal=none, code=1)
        self.assertEqual(self.err.getvalue(), 'ERROR: there is no terminal to ask on (No such device or address); '
                                              '-s asks no questions\n')

    def test_one_server(self):
        self.run_tool('-H', 'two', '-p', '80', 'items')
        self.assertEqual(self.asked, [('two', 80, '/stats.json?period=60')])

    def test_stale(self):
        self.answers = {'one': statistics(FIRST, {'work': 70, 'jobs': 1}),
                        'two': statistics(SECOND, {'work': 8, 'jobs': 99})}
        self.assertEqual(self.run_tool('stale'), ['Check %d...' % number for number in range(1, 6)] + [
            '', 'stale queue prediction', '======================', 'total_items       items queue',
            '----------- ----------- --------------------', '        100          10 jobs',
            '         78           7 work',
            '          0           5 work+a'])
        self.assertEqual(self.rests, [5] * 4)
        self.assertEqual({path for _, _, path in self.asked}, {'/stats.json'})
        self.assertEqual(self.run_tool('stale', '1')[0:2], ['Check 1...', ''])

    def test_usage(self):
        for words in ((), ('colour',), ('delete',), ('flush',), ('delete', 'a', 'b'), ('items', 'x'), ('mem_bytes',)):
            with self.subTest(words):
                self.assertIn('usage: kcluster [options] <command>', self.run_tool(*words, code=1))
        with mock.patch('sys.stderr', io.StringIO()) as err, self.assertRaises(SystemExit) as ended:
            self.run_tool('--colour', 'items')
        self.assertEqual(ended.exception.code, 1)
        self.assertIn('usage: kcluster', err.getvalue())

    def test_what_cannot_be_asked_for(self):
        (self.home / 'bad').write_text('one\ntwo!\n')
        for words, message in {
                ('stale', '0'): "'0' is not a number of rounds", ('stale', 'x'): "'x' is not a number",
                ('-s', 'delete', 'a\r\nflush_all'): 'no queue can have this name', ('-s', 'delete', ''): 'no queue',
                ('-s', 'flush', 'a b'): "'a b': no queue", ('-s', 'delete', '\u0100'): 'no queue can have this name',
                ('-f', str(self.home / 'no'), 'items'): 'no: No such file or directory; name the servers there',
                ('-f', str(self.home / 'bad'), 'items'): "bad line 2: 'two!' is not host",
                ('-H', 'a b', 'items'): "--host line 1: 'a b' is not host"}.items():
            with self.subTest(words):
                self.assertEqual(self.run_tool(*words, code=1), [])
                self.assertTrue(self.err.getvalue().startswith('ERROR: '))
                self.assertIn(message, self.err.getvalue())
        self.assertEqual((self.sent, self.asked), ([], []))


class GoneTest(unittest.TestCase):
    """Who reads no more ends the command; a server that is gone does not."""

    def end(self, lines):
        """The exit code of a process whose standard output nobody reads, and its standard error."""
        code = ['import os, sys', 'from kestrel.tools.console import run_command',
                'def run(arguments, console):', *['    ' + line for line in lines], 'run_command(run, has_peers=True)']
        reader, writer = os.pipe()
        os.close(reader)
        try:
            ended = subprocess.run([sys.executable, '-c', '\n'.join(code)], stdout=writer, stderr=subprocess.PIPE,
                                   timeout=20, cwd='/', env=process_environment())
        finally:
            os.close(writer)
        return ended.returncode, ended.stderr

    def test_output(self):
        for lines in (['console.line("x")'], ['for i in range(10000): console.line("x" * 100)']):
            self.assertEqual(self.end(lines), (-signal.SIGPIPE, b''))

    def test_peer(self):
        self.assertEqual(self.end(['try: os.write(1, b"x")', 'except BrokenPipeError: return 7']), (7, b''))


class AnswerTest(unittest.TestCase):
    """What an admin port may answer."""

    def test_nonsense(self):
        def answer(body, status=200):
            return servers._statistics(
                types.SimpleNamespace(status=status, reason='Why', read=lambda limit: body[:limit]))
        good = b'{"counters":{},"gauges":{"q/w/items":5,"q/w/x/y":"?","a":"b"},"labels":{},"metrics":{}}'
        self.assertEqual(answer(good).gauges, {'w': {'items': 5}})
        for body, message in {
                b'{}': 'no gauges', b'[]': 'no gauges', b'5': 'no gauges', b'{"counters":5,"gauges":[]}': 'no gauges',
                b'{"counters":{},"gauges":{"q/w/items":"5"}}': 'q/w/items is not a number',
                b'<html>': 'Expecting value', b'': 'Expecting value', b'\xff\xfe{': ''}.items():
            with self.subTest(body), self.assertRaisesRegex(ValueError, message):
                answer(body)
        with self.assertRaisesRegex(ValueError, 'it answers 503 Why'):
            answer(good, 503)
        with mock.patch.object(servers, 'LARGEST', 10), self.assertRaisesRegex(ValueError, 'more than 10 bytes'):
            answer(good)


if __name__ == '__main__':
    unittest.main()
