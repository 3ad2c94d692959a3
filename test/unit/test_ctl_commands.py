"""kestrelctl: its words, what it shows, what it asks, and what it says of servers that are none (kestrelctl(1))."""

import contextlib
import io
import json
import re
import signal
import tempfile
import unittest
from unittest import mock

from kestrel.server_sets import member_data
from kestrel.tools.ctl import arguments, cluster, main
from kestrel.tools.ctl.screen import Screen, harmless, size, span, table
from support.clock import MovedClock
from support.scripted import Run, ScriptedServer, Terminal, http_answer as http

DUMP = (b"queue 'work' {\r\n  items=3\r\n  bytes=2048\r\n  total_items=9\r\n  head_msec=65000\r\n  waiters=1\r\n"
        b"  open_transactions=2\r\n}\r\nqueue 'x\x1b[2J\xff' {\r\n  items=20\r\n  bytes=5\r\n  total_items=20\r\n"
        b"  head_msec=1\r\n  waiters=0\r\n  open_transactions=0\r\n}\r\nqueue 'al' {\r\n  put_items=1\r\n}\r\nEND\r\n")
OLD = b"queue 'q' {\r\n  items=1\r\n  bytes=1\r\n  age=0\r\n}\r\nEND\r\n"      # as Kestrel 2.4 answers


def conversation(words, *script, more=(), **given):
    with ScriptedServer(list(script), *more) as server:
        return Run('--port', server.port, '--timeout', '5', *words.split(), **given)


class WordsTest(unittest.TestCase):

    def parse(self, *words):
        return arguments.parser().parse_args(words)

    def test_options_stand_anywhere(self):
        for words in ('--json --port 5 queues', 'queues --json --port 5', '--json queues --port 5'):
            options = self.parse(*words.split())
            self.assertEqual((options.json, options.port, options.host, options.admin_port, options.timeout),
                             (True, 5, None, 2223, 10.0))

    def test_hosts(self):
        self.assertEqual(self.parse('--host', 'a', 'queues').host, ['a'])
        self.assertEqual(self.parse('queues', '--host', 'a', '--host', 'b').host, ['a', 'b'])
        for text, found in (('a', ('a', [])), ('a:1', ('a', [1])), ('a:1:2', ('a', [1, 2])), ('::1', ('::1', [])),
                            ('[::1]:1:2', ('::1', [1, 2]))):
            self.assertEqual(arguments.instance(text), found)

    def test_wrong_words(self):
        for words in ('', 'nonsense', 'queues --sort age --nonsense', 'queue', 'queue a/open', 'put a\rb', 'get a\nb',
                      'status down', '--port 0 queues', '--port x queues', '--timeout 0 queues', 'get q --count 0',
                      'get q --wait -1', 'get q --wait 1e9', 'peek q --count 101', 'move a', 'dead-letters',
                      'move a b --to [::1', '--host a:1:2:3 queues', '--host a:0 queues', '--host a:x queues', '--host : queues', 'delete', 'put q --flags x', 'queues --lim 3'):
            with self.subTest(words), contextlib.redirect_stderr(io.StringIO()) as err:
                with self.assertRaises(SystemExit) as caught:
                    self.parse(*words.split(' ') if words else ())
                self.assertEqual(caught.exception.code, 2)
                self.assertIn('kestrelctl', err.getvalue())
        with self.assertRaises(arguments.argparse.ArgumentTypeError):
            arguments.queue_name('a b')

    def test_names_are_bytes(self):
        self.assertEqual(self.parse('queue', 'a\udcffé').name, b'a\xff\xc3\xa9')

    def test_servers(self):
        for text, found in (('h', ('h', 22133)), ('h:5', ('h', 5)), ('[::1]:5', ('::1', 5)), ('[::1]', ('::1', 22133)),
                            ('::1', ('::1', 22133))):
            self.assertEqual(arguments.server(text), found)

    def test_every_command_is_done_by_something(self):
        parser = arguments.parser()
        commands = next(action for action in parser._actions if action.dest == 'command')
        self.assertEqual(set(commands.choices), set(main.COMMANDS))


class ShownTest(unittest.TestCase):

    def test_spans(self):
        shown = [span(ms) for ms in (0, 1, 999, 1000, 59999, 60000, 3599000, 3600000, 86399000, 90000000)]
        self.assertEqual(shown, ['0', '1ms', '999ms', '1s', '59s', '1m 0s', '59m 59s', '1h 0m', '23h 59m', '1d 1h'])

    def test_sizes(self):
        self.assertEqual([size(count) for count in (0, 1023, 1024, 5 << 20)], ['0', '1023', '1.0K', '5.0M'])

    def test_tables(self):
        self.assertEqual(table(('-NAME', 'N'), [('a', 10), ('long', 5)]), ['NAME   N', 'a     10', 'long   5'])

    def test_terminal(self):
        self.assertEqual(harmless(b'a\tb\n\x1b[31m\xff\xe2\x80\xae\xc3\xa9'), 'a\tb\n\\x1b[31m\\xff\\u202eé')

    def test_an_item_on_a_terminal_is_harmless_and_in_a_file_itself(self):
        for terminal, shown in ((True, b'\\x1b[2J\n'), (False, b'\x1b[2J\n')):
            out = io.BytesIO()
            out.isatty = lambda: terminal
            Screen(out, io.StringIO(), None).item(b'q', mock.Mock(data=b'\x1b[2J'))
            self.assertEqual(out.getvalue(), shown)

    def test_a_bar_only_where_somebody_watches(self):
        for err in (io.StringIO(), Terminal()):
            Screen(io.BytesIO(), err, None).bar('work', 50, 200)
            self.assertEqual(err.getvalue(), '\rwork' + ' ' * 27 + '[######' + ' ' * 18 + ']  25 %  50 items'
                             if err.isatty() else '')


class QueuesTest(unittest.TestCase):

    def queues(self, words, dump=DUMP):
        ran = conversation('queues ' + words, (b'dump_stats\r\n', dump))
        self.assertEqual((ran.code, ran.err), (0, ''))
        return ran.out.decode()

    def test_list(self):
        self.assertEqual(self.queues('').splitlines(), [
            'QUEUE         ITEMS  BYTES  OPEN  WAITERS    AGE  TOTAL',
            'work              3   2.0K     2        1  1m 5s      9',
            'x\\x1b[2J\\xff     20      5     0        0    1ms     20'])

    def test_json(self):
        self.assertEqual(json.loads(self.queues('--json --filter \udcff')), [
            {'name': 'x\x1b[2J\xff', 'items': 20, 'bytes': 5, 'open': 0, 'waiters': 0, 'age_msec': 1,
             'total_items': 20}])

    def test_choice(self):
        for words, names in (('', ['work', 'x']), ('--reverse', ['x', 'work']), ('--sort items', ['x', 'work']),
                             ('--sort age', ['work', 'x']), ('--sort items --reverse', ['work', 'x']),
                             ('--sort bytes --limit 1', ['work']), ('--filter or', ['work']), ('--filter *or', []),
                             ('--filter w*', ['work']), ('--filter [xy]*', ['x'])):
            with self.subTest(words):
                self.assertEqual([row['name'][:4].partition('\x1b')[0] for row in json.loads(
                    self.queues(words + ' --json'))], names)

    def test_kestrel_24(self):
        self.assertIn('AGE', self.queues('', OLD))
        self.assertEqual(json.loads(self.queues('--json', OLD))[0]['age_msec'], None)

    def test_queue(self):
        ran = conversation('queue q --json', (b'dump_stats q\r\n', OLD), (
            b'dump_config q\r\n', b"queue 'q' {\r\n  max_items=5\r\n}\r\nEND\r\n"))
        self.assertEqual(json.loads(ran.out), {'name': 'q', 'figures': {'items': 1, 'bytes': 1, 'age': 0},
                                               'settings': {'max_items': '5'}, 'reads': [], 'waiting': []})

    def test_queue_of_kestrel_24_which_closes(self):
        ran = conversation('queue q', (b'dump_stats q\r\n', OLD), (b'dump_config q\r\n', b'CLIENT_ERROR\r\n'))
        self.assertEqual((ran.code, ran.out.splitlines()[0]), (0, b'queue q'))

    def test_no_queue(self):
        ran = conversation('queue q', (b'dump_stats q\r\n', b"queue 'q' {\r\n  \r\n}\r\nEND\r\n"))
        self.assertEqual((ran.code, ran.err), (4, 'kestrelctl: there is no queue q\n'))

    def test_top(self):
        later = DUMP.replace(b'items=3\r\n  bytes=2048\r\n  total_items=9',
                             b'items=4\r\n  bytes=2048\r\n  total_items=29')
        head = [(b'stats\r\n', b'STAT uptime 5\r\nSTAT curr_items 23\r\nSTAT bytes 9\r\nEND\r\n'),
                (b'status\r\n', b'UP\r\n')]
        clock = MovedClock()
        clock.rest = clock.advance
        ran = conversation('top --rounds 2 --interval 2 --json', (b'dump_stats\r\n', DUMP), *head,
                           (b'dump_stats\r\n', later), *head, clock=clock)
        first, second = map(json.loads, ran.out.splitlines())
        self.assertEqual([(row['in'], row['out']) for row in first['queues']], [(None, None)] * 2)
        self.assertEqual([(row['in'], row['out']) for row in second['queues']], [(10.0, 9.5), (0.0, 0.0)])


class SeveralServersTest(unittest.TestCase):

    def test_one_after_the_other(self):
        """The second is not there on that port: the others are shown, and the code tells."""
        script = [(b'dump_stats\r\n', OLD)]
        for words in ('queues', 'queues --json'):
            ran = conversation('--host 127.0.0.1 --host no.such.host.invalid --host 127.0.0.1 ' + words, *script,
                               more=[script])
            self.assertEqual(ran.code, 3)
            self.assertIn('no.such.host.invalid:', ran.err)
            if 'json' in words:
                found = [json.loads(line) for line in ran.out.splitlines()]
                self.assertEqual([(one['server'], one['result'][0]['name']) for one in found], [('127.0.0.1', 'q')] * 2)
            else:
                self.assertEqual([line for line in ran.out.splitlines() if line.startswith(b'==')],
                                 [b'== 127.0.0.1', b'== no.such.host.invalid', b'== 127.0.0.1'])

    def test_several_servers_of_one_machine(self):
        """Each with its ports; --port and --admin-port are of those that name none."""
        with ScriptedServer([(b'dump_stats\r\n', OLD)]) as first, ScriptedServer([(b'dump_stats\r\n', OLD)]) as second:
            names = '127.0.0.1', '127.0.0.1:%d:9' % second.port
            ran = Run('--host', names[0], '--host', names[1], '--port', first.port, 'queues', '--json')
        self.assertEqual((ran.code, ran.err), (0, ''))
        found = [json.loads(line) for line in ran.out.splitlines()]
        self.assertEqual([(one['server'], one['result'][0]['name']) for one in found], [(name, 'q') for name in names])
        with ScriptedServer([('GET /api/overview', None)]) as admin:
            ran = Run('--host', '127.0.0.1:1:%d' % admin.port, '--admin-port', 1, '--timeout', 0.05, 'connections')
        self.assertEqual((ran.code, ran.err), (3, 'kestrelctl: 127.0.0.1:%d does not answer within 0.05 s\n' % admin.port))

    def test_what_changes_something_is_for_one(self):
        for words in ('get q', 'status up', 'shutdown --yes', 'top'):
            for servers in (('--host', 'a', '--host', 'b'), ('--cluster', '/no/such/list')):
                ran = Run(*servers, *words.split())
                self.assertEqual((ran.code, ran.out), (2, b''), words)
                self.assertIn('is for one server', ran.err)


class ClusterTest(unittest.TestCase):

    def listed(self, text, *words):
        with tempfile.NamedTemporaryFile('w') as file:
            file.write(text)
            file.flush()
            ran = Run('--cluster', file.name, *words)
            return ran.code, ran.out, ran.err.replace(file.name, 'FILE')

    def test_a_list(self):
        """Each with its own ports; what is not there, or is no kestrel, is told and the others are shown."""
        script = [(b'dump_stats\r\n', OLD)]
        with ScriptedServer(script) as one, ScriptedServer([(b'dump_stats\r\n', b'nonsense\r\n')]) as two, \
                ScriptedServer(script) as three:
            names = [f'127.0.0.1:1:{server.port}' for server in (one, two)] + ['127.0.0.1']
            code, out, err = self.listed('# a site\n\n' + '\n'.join(names), '--json', '--port', three.port, 'queues')
        self.assertEqual(code, 3)
        self.assertEqual([(found['server'], found['result'][0]['name']) for found in map(json.loads, out.splitlines())],
                         [(names[0], 'q'), (names[2], 'q')])
        self.assertEqual(err, f'kestrelctl: 127.0.0.1:{two.port} closed the connection\n')

    def test_a_list_of_one_is_shown_as_a_list(self):
        with ScriptedServer([(b'dump_stats\r\n', OLD)]) as server:
            code, out, err = self.listed('127.0.0.1\n', '--port', server.port, 'queues')
        self.assertEqual((code, out.splitlines()[0], err), (0, b'== 127.0.0.1', ''))

    def test_the_admin_port_of_a_list(self):
        overview = [('GET /api/overview', http(404, b'no such command\n'))]
        with ScriptedServer(overview) as listed, ScriptedServer(overview) as given:
            code, _, err = self.listed(f'127.0.0.1:{listed.port}\n127.0.0.1', '--admin-port', given.port, 'connections')
        self.assertEqual(code, 3)
        self.assertEqual(re.findall(r'127.0.0.1:(\d+) has no', err), [str(listed.port), str(given.port)])

    def test_lists_that_are_none(self):
        for text, why in (('', 'FILE: no server is in it'), ('# a\n', 'FILE: no server is in it'),
                          ('a\nb c\n', "FILE line 2: 'b c' is not host, host:port or host:port:memcache-port"),
                          ('a:0\n', "FILE line 1: 'a:0' is not")):
            code, out, err = self.listed(text, 'queues')
            self.assertEqual((code, out), (2, b''))
            self.assertIn('kestrelctl: --cluster ' + why, err)
        ran = Run('--cluster', '/no/such', 'status')
        self.assertEqual((ran.code, ran.err), (2, 'kestrelctl: --cluster /no/such: No such file or directory\n'))

    def test_words(self):
        self.assertEqual(Run('--cluster', '/dev/null', '--host', 'a', 'status').code, 2)
        for where in ('', 'zk:', 'zk:host', 'zk:host:2181'):
            with contextlib.redirect_stderr(io.StringIO()), self.assertRaises(SystemExit) as caught:
                Run('--cluster', where, 'status')
            self.assertEqual(caught.exception.code, 2)

    def test_without_kazoo(self):
        with mock.patch.dict('sys.modules', {'kestrel.tools.ctl.zookeeper': None, 'kazoo': None}):
            ran = Run('--cluster', 'zk:/k', 'status')
        self.assertEqual((ran.code, ran.err), (2, 'kestrelctl: --cluster zk: needs kazoo: apt install python3-kazoo, or '
                                                  'pip install kazoo\n'))

    def test_members(self):
        point = {'host': '10.0.0.5', 'port': 22133}
        other = {'host': '10.0.0.5', 'port': 2229}
        for said in ({'serviceEndpoint': point, 'additionalEndpoints': {}, 'status': 'ALIVE'},
                     {'serviceEndpoint': other, 'additionalEndpoints': {'thrift': other, 'memcache': point}, 'shard': 1},
                     json.loads(member_data('10.0.0.5', {'memcache': 22133, 'text': 2222}))):
            self.assertEqual(cluster.endpoint(json.dumps(said).encode()), ('10.0.0.5', 22133))
        for data, why in ((member_data('10.0.0.5', {'thrift': 2229}), 'no memcache port'), (b'', 'not JSON'),
                          (b'\x0c\x00\x01\xff', 'not JSON'), (b'[' * 100000, 'not JSON')):
            with self.assertRaisesRegex(cluster.NoMember, why):
                cluster.endpoint(data)
        for said in ([], None, 5, {}, {'serviceEndpoint': None}, {'serviceEndpoint': {'host': 'a'}}, {'additionalEndpoints': [1]},
                     {'serviceEndpoint': {'host': 5, 'port': 5}}, {'serviceEndpoint': {'host': 'a', 'port': True}},
                     {'serviceEndpoint': {'host': 'a', 'port': 65536}}, {'serviceEndpoint': {'host': '', 'port': 1}}):
            with self.subTest(said), self.assertRaisesRegex(cluster.NoMember, 'does not name its server|no memcache port'):
                cluster.endpoint(json.dumps(said).encode())


class ChangesTest(unittest.TestCase):

    KNOWN = b'dump_stats q\r\n', OLD

    def test_nothing_is_done_unasked(self):
        """Without a terminal and --yes."""
        for words, *script in (('flush q', self.KNOWN), ('delete q', self.KNOWN), ('flush --all',), ('shutdown',)):
            with self.subTest(words):
                ran = conversation(words, *script)
                self.assertEqual((ran.code, ran.out), (2, b''))
                self.assertIn('say --yes', ran.err)

    def test_on_a_terminal_it_is_asked(self):
        for answer, code, *done in ((b'y\n', 0, (b'flush q\r\n', b'END\r\n')), (b'n\n', 1), (b'', 1)):
            with self.subTest(answer):
                ran = self.answered('flush q', answer, self.KNOWN, *done)
                self.assertEqual(ran.code, code)
                self.assertIn('remove 1 items of q? [y/N]', ran.err)

    @staticmethod
    def answered(words, answer, *script):
        class Keyboard(io.BytesIO):
            def isatty(self):
                return True
        with mock.patch('support.scripted.io.BufferedReader', lambda source: Keyboard(source.read())):
            return conversation(words, *script, source=answer, err=Terminal())

    def test_flush_delete_expire(self):
        self.assertEqual(conversation('flush q --yes', self.KNOWN, (b'flush q\r\n', b'END\r\n')).code, 0)
        self.assertEqual(conversation('flush --all --yes', (b'flush_all\r\n', b'Flushed all queues.\r\n')).code, 0)
        self.assertEqual(conversation('delete q --yes', self.KNOWN, (b'delete q\r\n', b'DELETED\r\n')).code, 0)
        ran = conversation('expire a b', (b'flush_expired a\r\n', b'3\r\n'), (b'flush_expired b\r\n', b'0\r\n'))
        self.assertEqual(ran.out, b'queue a: 3 items expired\nqueue b: 0 items expired\n')
        ran = conversation('expire --all --json', (b'flush_all_expired\r\n', b'5\r\n'))
        self.assertEqual(json.loads(ran.out), {'expired': 5})

    def test_all_or_names(self):
        for words in ('flush --yes', 'flush q --all --yes', 'expire', 'expire q --all'):
            self.assertEqual(conversation(words).code, 2, words)

    def test_delete_of_nothing(self):
        unknown = b'dump_stats x\r\n', b"queue 'x' {\r\n  \r\n}\r\nEND\r\n"
        self.assertEqual(conversation('delete x --yes', unknown).code, 4)

    def test_status(self):
        change = b'status readonly\r\n', b'END\r\n'
        self.assertEqual(conversation('status READONLY', change, (b'status\r\n', b'READONLY\r\n')).code, 0)
        ran = conversation('status readonly', change, (b'status\r\n', b'QUIESCENT\r\n'))
        self.assertEqual(ran.code, 1)
        self.assertIn('stays quiescent: another change is pending', ran.err)
        self.assertEqual(conversation('status', (b'status\r\n', b'FINE\r\n')).code, 3)

    def test_server_sets(self):
        """Shown if the admin port is that of this server, and tells."""
        sets = {'state': 'member of read\x1b', 'reachable': True, 'refusal': None, 'joined': ['read'], 'new': 1}
        told = {'state': 'member of read\x1b', 'reachable': True, 'refusal': None, 'joined': ['read']}
        for answer, found, line in (
                (http(200, {'pid': 7, 'server_sets': sets}), told, [b'server sets  member of read\\x1b']),
                (http(200, {'pid': 7, 'server_sets': None}), None, []),
                (http(200, {'pid': 8, 'server_sets': sets}), 'absent', []), (http(200, {'pid': 7}), 'absent', []),
                (http(404, b'no such command\n'), 'absent', []), (b'', 'absent', [])):
            for words in 'status', 'status --json':
                with self.subTest(answer, words=words), ScriptedServer([('GET /api/overview', answer)]) as admin:
                    ran = conversation(f'{words} --admin-port {admin.port}', (b'status\r\n', b'UP\r\n'), (
                        b'stats\r\n', b'STAT pid 7\r\nSTAT uptime 1\r\nEND\r\n'))
                    self.assertEqual((ran.code, ran.err), (0, ''))
                    if 'json' in words:
                        self.assertEqual(ran.json().get('server_sets', 'absent'), found)
                    else:
                        self.assertEqual(ran.out.splitlines()[7:], line)
        with ScriptedServer([('GET /api/overview', http(200, {'pid': 7, 'server_sets': []}))]) as admin:
            ran = conversation(f'status --admin-port {admin.port}', (b'status\r\n', b'UP\r\n'), (
                b'stats\r\n', b'STAT pid 7\r\nEND\r\n'))
        self.assertEqual(ran.code, 3)
        self.assertIn('in a way that is not known here', ran.err)

    def test_reload(self):
        self.assertEqual(conversation('reload', (b'reload\r\n', b'Reloaded config.\r\n')).code, 0)
        ran = conversation('reload', (b'reload\r\n', b'SERVER_ERROR k.conf: line 3: no\r\n'))
        self.assertEqual(ran.code, 1)
        self.assertIn('k.conf: line 3: no', ran.err)

    def test_shutdown(self):
        self.assertEqual(conversation('shutdown --yes', (b'shutdown\r\n', b'')).code, 0)
        refused = conversation('shutdown --yes', (b'shutdown\r\n', b'CLIENT_ERROR admin commands are disabled\r\n'))
        self.assertEqual(refused.code, 1)


class ReadyTest(unittest.TestCase):

    def wait(self, *scripts, admin=()):
        clock = MovedClock()
        clock.rest = clock.advance
        with ScriptedServer(*scripts) as server, ScriptedServer(*admin) as port:
            return Run('--port', server.port, '--admin-port', port.port, 'wait-ready', '--within', '1', clock=clock)

    def test_ready_when_the_status_says_so(self):
        ran = self.wait([(b'status\r\n', b'QUIESCENT\r\n')], [(b'status\r\n', b'READONLY\r\n')],
                        [(b'status\r\n', b'UP\r\n')])
        self.assertEqual((ran.code, ran.err), (0, ''))

    def test_not_in_time(self):
        ran = self.wait(*[[(b'status\r\n', b'READONLY\r\n')]] * 6)
        self.assertEqual((ran.code, ran.err), (4, 'kestrelctl: not ready within 1 s: the status is readonly\n'))

    def test_the_admin_port_says_why(self):
        with ScriptedServer() as nobody:
            closed = nobody.port
        with ScriptedServer(*[[('GET /ready', http(503, b'replaying: 40 %\n', 'text/plain'))]]) as port:
            ran = Run('--port', closed, '--admin-port', port.port, 'wait-ready', '--within', '0.001',
                      clock=mock.Mock(monotonic=mock.Mock(side_effect=[0, 1])))
        self.assertEqual((ran.code, ran.err), (4, 'kestrelctl: not ready within 0.001 s: replaying: 40 %\n'))


class AdminPortTest(unittest.TestCase):
    """Servers whose admin port is none, is another one's, or is that of Kestrel 2.4."""

    def connections(self, *answers, pid=b'7'):
        scripts = [[(path, answer)] for path, answer in zip(
            ('GET /api/overview', 'GET /api/connections?offset=0&limit=100'), answers)]
        stats = [(b'stats\r\n', b'STAT pid %b\r\nEND\r\n' % pid)]
        with ScriptedServer(*scripts) as admin, ScriptedServer(*[stats] * (answers[0] == self.OVERVIEW)) as server:
            return Run('--port', server.port, '--admin-port', admin.port, '--timeout', '0.5', 'connections')

    OVERVIEW = http(200, {'pid': 7})

    def test_connections(self):
        row = {'peer': '10.0.0.5:1\x1b', 'protocol': 'memcache', 'age_ms': 5000, 'client_id': None,
               'waits_for': 'q\xff', 'open_reads': 2, 'holds': [], 'received_bytes': 10, 'sent_bytes': 20}
        ran = self.connections(self.OVERVIEW, http(200, {'total': 1, 'connections': [row]}))
        self.assertEqual(ran.out.decode().splitlines()[1],
                         '10.0.0.5:1\\x1b  memcache     5s     2  q\\xff            10    20')

    def test_what_answers_otherwise(self):
        old = http(404, b'no such command\n', 'text/html')
        for answers, code, why in (
                ([old], 3, 'needs kestrel 3.0'), ([b'+OK\r\n'], 3, 'does not answer in HTTP'), ([b''], 3, ''),
                ([None], 3, 'does not answer within 0.5 s'), ([http(200, b'<html>\x1b')], 3, 'no JSON: <html>\\x1b'),
                ([http(200, [])], 3, 'what no kestrel says'), ([http(403, {'error': 'read_only'})], 1, 'read_only'),
                ([http(500, b'oops\n')], 1, '500 oops'),
                ([self.OVERVIEW, http(200, {'total': 1, 'connections': [{}]})], 3, 'not known here')):
            with self.subTest(answers):
                ran = self.connections(*answers)
                self.assertEqual(ran.code, code)
                self.assertIn(why, ran.err)
                self.assertTrue(ran.err.strip().isprintable())

    def test_the_admin_port_of_another_server(self):
        ran = self.connections(self.OVERVIEW, pid=b'8')
        self.assertEqual(ran.code, 2)
        self.assertIn('say --admin-port', ran.err)


class JobTest(unittest.TestCase):
    """A move that the server does by itself."""

    MOVE = 'POST /api/action {"action": "move", "names": ["q\\u00ff"], "to": "r"}'
    STOP = 'POST /api/action {"action": "stop", "job": 3}'

    @staticmethod
    def job(done, running=True, error=None, number=3):
        return {'job': number, 'running': running, 'done': done, 'total': 10,
                'results': [] if running else [{'name': 'q\xff', 'done': done, 'error': error}]}

    def move(self, *answers, clock=None):
        scripts = [[('GET /api/overview', http(200, {'pid': 7}))], *[[answer] for answer in answers]]
        there = b"queue 'q\xff' {\r\n  items=10\r\n}\r\nEND\r\n"
        with ScriptedServer(*scripts) as admin, ScriptedServer(
                [(b'stats\r\n', b'STAT pid 7\r\nEND\r\n')], [(b'dump_stats q\xff\r\n', there)]) as server:
            return Run('--port', server.port, '--admin-port', admin.port, 'move', 'q\udcff', 'r', '--json', clock=clock)

    def look(self, *jobs):
        return 'GET /api/overview', http(200, {'pid': 7, 'jobs': jobs})

    def test_at_once(self):
        ran = self.move((self.MOVE, http(200, self.job(10, False))))
        self.assertEqual((ran.code, json.loads(ran.out), ran.err), (0, {'moved': 10, 'ended': True}, ''))

    def test_watched_until_it_has_ended(self):
        ran = self.move((self.MOVE, http(202, self.job(1))), self.look(self.job(4), self.job(5, number=2)),
                        self.look(self.job(9, False, 'queue r is full')))
        self.assertEqual((ran.code, json.loads(ran.out)), (1, {'moved': 9, 'ended': True}))
        self.assertEqual(ran.err, 'kestrelctl: queue q\\xff: queue r is full\n')

    def test_refused(self):
        ran = self.move((self.MOVE, http(409, {'error': 'status ReadOnly is in force'})))
        self.assertEqual((ran.code, ran.out), (1, b''))
        self.assertIn('ReadOnly is in force', ran.err)

    def test_a_server_that_goes_away(self):
        for answer in self.look(), ('GET /api/overview', b''):
            with self.subTest(answer):
                ran = self.move((self.MOVE, http(202, self.job(1))), answer)
                self.assertEqual((ran.code, json.loads(ran.out)), (3, {'moved': 1, 'ended': False}))

    def test_ctrl_c_stops_it(self):
        clock = MovedClock()
        clock.rest = lambda seconds: signal.raise_signal(signal.SIGINT)
        ran = self.move((self.MOVE, http(202, self.job(1))), (self.STOP, http(200, self.job(2, False, 'stopped'))),
                        clock=clock)
        self.assertEqual((ran.code, json.loads(ran.out)), (130, {'moved': 2, 'ended': True}))

    def test_without_an_api_it_is_done_by_reliable_reads(self):
        with ScriptedServer([('GET /api/overview', http(404, b'no such command\n'))]) as admin, \
                ScriptedServer([(b'dump_stats q\r\n', b"queue 'q' {\r\n  items=0\r\n}\r\nEND\r\n")], []) as server:
            ran = Run('--port', server.port, '--admin-port', admin.port, 'move', 'q', 'r', '--json')
        self.assertEqual((ran.code, json.loads(ran.out)), (0, {'moved': 0, 'doubled': 0}))
        self.assertIn('by reliable reads, which keep no expiry', ran.err)


if __name__ == '__main__':
    unittest.main()
