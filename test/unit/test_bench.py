"""make bench says what is wrong and ends: bad arguments, and servers that refuse, hang, close or answer wrongly."""

import contextlib
import importlib
import io
import json
import pathlib
import socket
import shutil
import subprocess
import sys
import tempfile
import threading
import types
import unittest
import unittest.mock
import xml.etree.ElementTree

from support.environment import CHECKOUT
from support.scripted import ScriptedServer

BENCH = CHECKOUT / 'test' / 'bench'


def module(name):
    """A module of test/bench, which is no package."""
    if str(BENCH) not in sys.path:
        sys.path.append(str(BENCH))
    return importlib.import_module(name)


class Arguments(unittest.TestCase):
    def refused(self, *arguments, program='bench'):
        """What is said on standard error; the exit code is 2."""
        said = io.StringIO()
        with contextlib.redirect_stderr(said), self.assertRaises(SystemExit) as ended:
            module(program).parse_arguments(arguments)
        self.assertEqual(ended.exception.code, 2)
        self.assertIn(f'usage: {program}.py', said.getvalue())
        return said.getvalue()

    def test_what_makes_no_sense_is_refused_with_usage(self):
        for arguments, word in ((('--rows', 'nope'), "no row is called 'nope'"), (('--rounds', '0'), '--rounds'),
                                (('--rounds', 'x'), '--rounds'), (('--cycles', '1'), '--cycles'),
                                (('--waiting', '9999'), '--waiting'), (('--waiting', '10000001'), '--waiting'),
                                (('--deadline', '0'), '--deadline'), (('--compiled', '/nowhere'), '/nowhere'),
                                (('--base', '/nowhere'), '/nowhere'), (('--without-pure',), '--compiled'),
                                (('--python', '/nowhere/python'), 'no such program'),
                                (('--base-python', sys.executable), '--base'),
                                (('--base', str(CHECKOUT), '--rows', 'put,idle'), 'idle'),
                                (('--base', str(CHECKOUT), '--rounds', '1'), '--rounds')):
            with self.subTest(arguments):
                self.assertIn(word, self.refused(*arguments))

    def test_those_of_the_other_programs(self):
        tree = str(CHECKOUT)
        for program, arguments, word in (
                ('soak', ('/nowhere',), '/nowhere'), ('soak', (tree, '--minutes', '0'), '--minutes'),
                ('soak', (tree, '--minutes', 'x'), '--minutes'), ('soak', (tree, '--minutes', '1441'), '--minutes'),
                ('soak', (tree, '--minutes', 'nan'), '--minutes'), ('soak', (tree, '--step', '0.5'), '--step'),
                ('soak', (tree, '--step', '61'), '--step'), ('soak', (), 'tree'),
                ('loadtest', ('--tree', '/nowhere'), '/nowhere'), ('loadtest', (), '--tree'),
                ('loadtest', ('--tree', tree, '--port', '0'), '--port 0'),
                ('loadtest', ('--tree', tree, '--thrift-port', 'x'), '--thrift-port x'),
                ('drive', ('--tree', '/nowhere'), '/nowhere'), ('drive', ('--tree', tree, '--rounds', '0'), '--rounds'),
                ('flame', ('/nowhere',), '/nowhere'), ('flame', (tree, '--seconds', '0'), '--seconds'),
                ('flame', (tree, '--spy', '/nowhere/py-spy'), 'pip install py-spy')):
            with self.subTest(program, arguments=arguments):
                self.assertIn(word, self.refused(*arguments, program=program))

    def test_all_rows_without_a_choice(self):
        options = module('bench').parse_arguments([])
        self.assertEqual(options.rows, module('bench').ALL_NAMES)
        self.assertEqual(module('bench').parse_arguments(['--base', str(CHECKOUT)]).rows,
                         module('bench').SPEED_NAMES)


class Servers(unittest.TestCase):
    """The load generator against servers that do not do what they should."""

    @classmethod
    def setUpClass(cls):
        compiler = module('load').compiler()
        if shutil.which(compiler[0]) is None:
            raise unittest.SkipTest('there is no C compiler: apt install gcc libc6-dev')
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.binary = cls.folder.name + '/loadgen'
        # not as make bench does: it need not be fast, compiling must
        subprocess.run([*compiler, '-O0', '-Wall', '-Wextra', '-Werror', '-o', cls.binary,
                        BENCH / 'loadgen.c'], check=True, timeout=60)

    def load(self, port, *options):
        return subprocess.run([self.binary, '--port', str(port), '--deadline', '1', '--mode', 'put', '--count', '3',
                               '--size', '8', *options], capture_output=True, text=True, timeout=30,
                              stdin=subprocess.DEVNULL)

    def serve(self, replies, *options):
        """Loads a server of one connection that answers each request with the next of `replies`, then closes;
        None: it goes on without a word."""
        with socket.create_server(('127.0.0.1', 0)) as listener, contextlib.ExitStack() as stack:
            def answer():
                connection, _ = listener.accept()
                stack.callback(connection.close)
                for reply in replies:
                    connection.recv(65536)
                    if reply is not None:
                        connection.sendall(reply)
                if replies[-1] is not None:
                    connection.shutdown(socket.SHUT_RDWR)
            thread = threading.Thread(target=answer)
            thread.start()
            done = self.load(listener.getsockname()[1], *options)
            thread.join(10)
        return done

    def failed(self, done, *words):
        self.assertEqual(done.returncode, 1, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def test_refuses(self):
        with socket.socket() as bound:      # a port that nobody listens on, and that nobody else gets meanwhile
            bound.bind(('127.0.0.1', 0))
            self.failed(self.load(bound.getsockname()[1], '--proto', 'kestrel'), 'Connection refused')

    def test_hangs(self):
        self.failed(self.serve([b'VERSION 1\r\n', b'STORED\r\n', None], '--proto', 'kestrel'),
                    'not done after 1 s: 1 stored', 'of 3')

    def test_closes_in_the_middle(self):
        self.failed(self.serve([b'VERSION 1\r\n', b'STORED\r\n', b'STO'], '--proto', 'kestrel'),
                    'lost with 1 requests unanswered, after 1 items stored', 'closed by the server')

    def test_answers_wrongly(self):
        self.failed(self.serve([b'VERSION 1\r\n', b'STORED\r\n', b'ERROR\r\n'], '--proto', 'kestrel'),
                    'wrong reply "ERROR\\r\\n" to put 1; due was "STORED\\r\\n"')
        self.failed(self.serve([b'USING default\r\n', b'INSERTED 1\r\n', b'BURIED 2\r\n'], '--proto', 'beanstalkd'),
                    'wrong reply "BURIED 2\\r\\n" to put 1')

    def test_beanstalkd_in_pieces(self):
        done = self.serve([b'USING default\r\n', b'INSERTED 1\r\n', b'INSERTED 22\r\n', b'INSERTED 3\r\n'],
                          '--proto', 'beanstalkd')
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        self.assertEqual(json.loads(done.stdout)['stored'], 3)

    def test_items_without_bytes(self):
        item = b'VALUE bench 0 0\r\n\r\nEND\r\n'
        done = self.serve([b'VERSION 1\r\n', item, item, item, b''], '--proto', 'kestrel', '--size', '0', '--mode',
                          'get', '--confirm')
        self.assertEqual((done.returncode, done.stderr), (0, ''))

    def test_monitor(self):
        item = b'VALUE bench 0 0\r\n\r\nEND\r\n'
        options = ('--proto', 'kestrel', '--size', '0', '--mode', 'get', '--count', '4', '--batch', '2')
        done = self.serve([b'VERSION 1\r\n', item * 2 + b'END\r\n', b'END\r\n' + item * 2 + b'END\r\n'], *options)
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        self.failed(self.serve([b'VERSION 1\r\n', item + b'END\r\n'], *options), 'nothing there', '1 of 4')

    def test_usage(self):
        for options in (('--size', '5'), ('--count', 'x'), ('--proto', 'beanstalkd', '--queues', '2'),
                        ('--proto', 'memcached', '--confirm'), ('--batch', '2'), ('--rate', '5', '--pipeline', '2')):
            with self.subTest(options):
                done = self.load(1, *options)
                self.assertEqual(done.returncode, 2)
                self.assertIn('usage: loadgen', done.stderr)


class Starts(unittest.TestCase):
    """Servers that are to be measured and cannot be."""

    def start(self, *command, seconds=60, answer=60):
        """-> what is said of a server that is this command and does not start."""
        servers = module('servers')

        class Odd(servers.Server):
            def command(self):
                return [word.replace('PORT', str(self.port)) for word in command]
        with tempfile.TemporaryDirectory() as folder, unittest.mock.patch.multiple(
                servers, START_SECONDS=seconds, ANSWER_SECONDS=answer):
            server = Odd('odd', folder + '/odd')
            self.addCleanup(server.stop)
            with self.assertRaises(servers.BenchError) as raised:
                server.start()
            server.stop()
        return str(raised.exception)

    def listening(self, then):
        return (sys.executable, '-c', 'import socket\nserver = socket.create_server(("127.0.0.1", PORT))\n'
                'server.accept()\nconnection = server.accept()[0]\n' + then)

    def test_it_ends_at_once(self):
        self.assertRegex(self.start('sh', '-c', 'echo no room; exit 3'), '(?s)^odd ended with exit code 3.*no room')

    def test_it_never_listens(self):
        self.assertIn('odd does not listen after 0.05 s; its log is empty', self.start('sleep', '60', seconds=0.05))

    def test_it_answers_wrongly_or_not_at_all(self):
        self.assertIn("odd: wrong reply b'HTTP/1.1 400\\n' to b'version\\r\\n'",
                      self.start(*self.listening('connection.sendall(b"HTTP/1.1 400\\n")\nserver.accept()')))
        self.assertIn('was answered b\'\', then: timed out', self.start(*self.listening('server.accept()'), answer=0.1))

    def test_what_is_not_installed_is_named(self):
        with unittest.mock.patch.dict('os.environ', PATH='/nowhere'):
            with self.assertRaisesRegex(module('servers').BenchError, 'memcached is not installed.*apt-get install memcached'):
                module('bench').need_others()


class Soak(unittest.TestCase):
    """What says whether a long run was flat, and the client that looks for lost items."""

    def talk(self, act, *script):
        """-> what is wrong after `act(talk)` with a server that plays a script, or ''."""
        with ScriptedServer(script) as server:
            shown = types.SimpleNamespace(name='kestrel', port=server.port, check_alive=lambda: None)
            with contextlib.closing(module('soak').Talk(shown)) as talk:
                try:
                    act(talk)
                except module('servers').BenchError as error:
                    return str(error)
        return ''

    def test_what_comes_is_compared(self):
        put, get = b'set q 0 0 1\r\na\r\nset q 0 0 1\r\nb\r\n', b'get q\r\nget q\r\n'
        self.assertEqual(self.talk(lambda talk: talk.put(b'q', [b'a', b'b']), (put, b'STORED\r\nSTORED\r\n')), '')
        self.assertIn("due was b'STORED", self.talk(lambda talk: talk.put(b'q', [b'a', b'b']),
                                                    (put, b'STORED\r\nSERVER_ERROR x\r\n')))
        a, b, nothing = b'VALUE q 0 1\r\na\r\nEND\r\n', b'VALUE q 0 1\r\nb\r\nEND\r\n', b'END\r\n'
        self.assertEqual(self.talk(lambda talk: talk.get(b'q', [b'a', b'b']), (get, a + b)), '')
        for reply in (b + a, a + a, a + nothing, a):
            with self.subTest(reply):
                self.assertIn('an item is lost, doubled or out of order',
                              self.talk(lambda talk: talk.get(b'q', [b'a', b'b']), (get, reply)))
        self.assertIn('lost, doubled', self.talk(lambda talk: talk.empty(b'q'), (b'get q\r\n', a)))

    def verdicts(self, **last):
        """{figure: met} of nine steps; those that are named are different in the last third."""
        flat = {'memory': 40.0, 'disk': 20.0, 'files': 30, 'p99': 5.0}
        samples = [{**flat, **(last if at > 5 else {}), 'rewrites': at, 'rotations': at} for at in range(9)]
        samples = [{**one, **{name: last[name] for name in ('rewrites', 'rotations') if name in last}} for one in samples]
        size = module('size')
        found = [size.judge(one, 'compiled') for one in module('soak').findings_of(samples, 10)]
        self.assertTrue(all(one['chart']['lines'] for one in found if 'chart' in one))
        return {one['name'].partition(':')[0]: one['met'] for one in found}

    def test_flat_or_not(self):
        good = dict.fromkeys(('memory', 'disk', 'files', 'p99', 'rewrites', 'rotations'), True)
        self.assertEqual(self.verdicts(), good)
        self.assertEqual(self.verdicts(memory=43.9, disk=25.9, files=34, p99=8.2), good)
        for name, value in (('memory', 44.1), ('disk', 26.1), ('files', 35), ('p99', 8.3), ('rewrites', 3),
                            ('rotations', 3)):
            with self.subTest(name):
                self.assertEqual(self.verdicts(**{name: value}), {**good, name: False})


class Profile(unittest.TestCase):

    def test_a_profiler_that_may_not_trace(self):
        generator, server = unittest.mock.MagicMock(), unittest.mock.MagicMock()
        generator.run.return_value = {'rate': 1}
        with tempfile.TemporaryDirectory() as folder, unittest.mock.patch.object(module('flame').time, 'sleep'):
            with self.assertRaisesRegex(module('servers').BenchError, '^false ended with 1: .*\n.*ptrace_scope=0'):
                module('flame').profile(generator, server, folder, 1, 'false')


class Report(unittest.TestCase):
    REPORT = {
        'started': '2026-01-02T03:04:05+0000', 'git': {'commit': 'abc', 'changed': False},
        'options': {'quick': True, 'rounds': 1},
        'machine': {'processor': 'A', 'processors': 2, 'memory_bytes': 2 ** 30, 'system': 'Linux', 'kernel': '6',
                    'load_before': [1, 2, 3]},
        'versions': {'libraries': {'python': '3.11'}, 'memcached': 'memcached 1', 'redis': None},
        'speed': {'disturbance': 0.5, 'summary': [
            {'row': 'put', 'work': 'put, 100 clients', 'server': 'kestrel', 'median': 10.0, 'unit': '/s', 'ratio': 0.5,
             'ratios': [0.5], 'server_us': 1.0, 'target': 0.6, 'smaller_is_better': False, 'met': False}]},
        'size': {'findings': [
            {'row': 'sizes', 'server': 'kestrel', 'name': 'puts | 1', 'value': 7, 'unit': '/s', 'target': None,
             'met': None, 'chart': {'title': 'a <b>', 'x': 'x', 'y': 'y', 'log': True, 'ticks': ['1', '2'],
                                    'lines': {'kestrel': [[0, 5], [1, 50]]}}}]},
        'failures': [{'row': 'idle', 'server': 'redis', 'error': 'gone\nlog'}]}

    def test_document_and_plots(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            (folder / 'run.json').write_text(json.dumps(self.REPORT))
            with contextlib.redirect_stdout(io.StringIO()):
                module('report').main([str(folder / 'run.json'), str(folder / 'b.md'), str(folder / 'plots')])
            text = (folder / 'b.md').read_text()
            for words in ('report.py build/bench/run.json', '| commit | abc |', 'other processes used 0.50',
                          '| kestrel | 10 /s | 1.0 us | 0.50 (0.50 to 0.50) | >= 0.60 | NOT MET |', 'puts \\| 1',
                          '| idle | redis | gone |', '`--quick`'):
                self.assertIn(words.lower(), text.lower())
            plots = list((folder / 'plots').iterdir())
            self.assertEqual(len(plots), 3)
            for plot in plots:
                self.assertIn(f'(plots/{plot.name})', text)
                xml.etree.ElementTree.parse(plot)

    def test_several_runs(self):
        """The head is of the first; a plot of the same row does not take the place of the other one."""
        soak = {**self.REPORT, 'command': 'make soak MINUTES=1', 'started': '2026-02-02', 'git': {'commit': 'def'}}
        with tempfile.TemporaryDirectory() as name:
            paths = [pathlib.Path(name, 'run.json'), pathlib.Path(name, 'soak.json')]
            for path, report in zip(paths, (self.REPORT, soak)):
                path.write_text(json.dumps(report))
            with contextlib.redirect_stdout(io.StringIO()):
                module('report').main([*map(str, paths), name + '/b.md', name + '/plots'])
            text = pathlib.Path(name, 'b.md').read_text()
            for words in ('    make bench\n    make soak MINUTES=1\n', 'build/bench/run.json build/bench/soak.json docs',
                          '## make soak MINUTES=1, 2026-02-02', '| commit | abc |', '| commit | def |'):
                self.assertIn(words, text)
            self.assertEqual(sorted(f'(plots/{plot.name})' in text for plot in pathlib.Path(name, 'plots').iterdir()),
                             [True] * 6)

    def test_not_a_report(self):
        with tempfile.TemporaryDirectory() as name, contextlib.redirect_stderr(io.StringIO()) as said:
            path = pathlib.Path(name, 'run.json')
            for text in ('{}', '[]', '{'):
                path.write_text(text)
                with self.assertRaises(SystemExit):
                    module('report').main([str(path), name + '/b.md', name + '/plots'])
            self.assertIn('is not what bench.py keeps', said.getvalue())

    def test_history(self):
        with tempfile.TemporaryDirectory() as name:
            for _ in range(2):
                module('history').append(name, self.REPORT, 'run.json')
            lines = pathlib.Path(name, 'history.jsonl').read_text().splitlines()
            self.assertEqual(len(lines), 2)
            entry = json.loads(lines[0])
            self.assertEqual(entry['speed'], {'put': {'kestrel': {'median': 10.0, 'unit': '/s', 'ratio': 0.5,
                                                                  'met': False}}})
            self.assertEqual(entry['git']['commit'], 'abc')
