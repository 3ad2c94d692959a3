"""The load programs against a real server, and against servers that do what they should not (spec tools 5, D59)."""

import contextlib
import io
import random
import re
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
import unittest
from unittest import mock

from kestrel.clock import Clock
from kestrel.load import leaky_reader, program
from kestrel.load.flood import Flood
from kestrel.load.leaky_reader import LeakyReader
from kestrel.load.many_clients import ManyClients
from kestrel.load.packing import Packing
from kestrel.load.put_many import PutMany
from kestrel.tools.console import Console
from support.environment import process_environment
from support.server import PortLease, Server

DISTRIBUTION = r'Distribution in usec: min=\d+ max=\d+ p50=\d+ p75=\d+ p90=\d+ p95=\d+ p99=\d+ p999=\d+ p9999=\d+\n'
FINISHED = r'Finished in \d+ msec \(\d+\.\d usec/put throughput\)\.\n'
CONFIG = {
    'server': {'max_open_transactions': 100},
    'queues': {'spam-thrift': {'white_list_client_id_for_enqueue': 'load-test',
                               'white_list_client_id_for_dequeue': 'load-test'},
               'closed': {'white_list_client_id_for_enqueue': 'somebody'}},
}


class FastClock(Clock):
    """Hundreds of seconds in one, for what does not answer."""

    def monotonic(self):
        return time.monotonic() * 300


class CountingClock(Clock):
    """Time passes only where it is looked at, so a slow machine is in no hurry."""

    def __init__(self):
        self.seconds = 1000.0

    def monotonic(self):
        self.seconds += 0.005
        return self.seconds

    def rest(self, seconds):
        self.seconds += seconds


class Terminal(io.StringIO):

    def isatty(self):
        return True


class LoadTest(unittest.TestCase):

    maxDiff = None

    def run_program(self, made, *words, err=None, clock=None):
        """Run a program in this process. -> exit code, standard output, standard error"""
        out, err = io.BytesIO(), err or io.StringIO()
        code = made(Console(out, err), clock).run([str(word) for word in words])
        return code, out.getvalue().decode(), err.getvalue()

    def good(self, made, *words):
        """Run it; all must be well. -> standard output"""
        code, out, err = self.run_program(made, '-h', '127.0.0.1', *words)
        self.assertEqual((code, err), (0, ''), out)
        return out


class RealServerTest(LoadTest):

    @classmethod
    def setUpClass(cls):
        cls.server = Server(CONFIG, protocols=('thrift',))
        cls.addClassCleanup(cls.server.close)
        cls.server.start()
        cls.port, cls.thrift = cls.server.port, cls.server.ports['thrift']

    def items(self, queue):
        """How many wait in a queue; None: there is no such queue."""
        with self.server.client() as client:
            client.send(b'stats\r\n')
            found = re.search(rf'STAT queue_{re.escape(queue)}_items (\d+)', client.recv_until(b'\r\nEND\r\n').decode())
            return found and int(found[1])

    def test_put_many(self):
        out = self.good(PutMany, '-p', self.port, '-n', 205, '-c', 10, '-b', 20, '-q', 'pm')
        self.assertRegex(out, r'^Flushing queues first\.\n'
                         rf'Put 205 items of 20 bytes in bursts of 1 to 127\.0\.0\.1:{self.port} in 1 queues named pm using '
                         rf'10 clients\.\n{FINISHED}{DISTRIBUTION}$')
        self.assertEqual(self.items('pm'), 200, 'the whole part for each client')
        self.good(PutMany, '-p', self.port, '-n', 200, '-c', 10, '-b', 2, '-q', 'pm')
        self.assertEqual(self.items('pm'), 200, 'flushed')
        out = self.good(PutMany, '-p', self.port, '-n', 200, '-c', 10, '-q', 'pm', '-F')
        self.assertNotIn('Flushing', out)
        self.assertEqual(self.items('pm'), 400)

    def test_put_many_into_several_queues_and_back(self):
        """With -Q > 1 really into the numbered queues (D59)."""
        words = ('-n', 60, '-c', 3, '-Q', 4, '-b', 30, '-q', 'many')
        self.good(PutMany, '-p', self.port, *words)
        self.assertEqual([self.items('many%d' % number) for number in range(4)], [15] * 4)
        self.assertIsNone(self.items('many'))
        for more in ((), ('-r', 7), ('--thrift',), ('--thrift', '-r', 7)):
            with self.subTest(more):
                out = self.good(PutMany, '-p', self.thrift if more[:1] == ('--thrift',) else self.port, *words, '-g', *more)
                self.assertRegex(out, rf'{FINISHED}{DISTRIBUTION}Get 60 items of 30 bytes in batches of '
                                 rf'{7 if "-r" in more else 1} from 127\.0\.0\.1:\d+ in 4 queues named many using 3 '
                                 rf'clients\.\n{FINISHED}{DISTRIBUTION}$')
                self.assertEqual([self.items('many%d' % number) for number in range(4)], [0] * 4)

    def test_many_clients(self):
        out = self.good(ManyClients, '-p', self.port, '-n', 12, '-c', 3, '-s', 90, '-q', 'mc', '-M')
        self.assertRegex(out, r'^many-clients: 12 items to 127\.0\.0\.1 using 3 clients, kill rate 0%, at 90 msec/item\n'
                         r'Flushing queues first\.\n'
                         r'mc: items=\d+ total_items=1\d \(1\d\) bytes=\d+ mem_items=\d+ mem_bytes=\d+ journal_bytes=\d+\n'
                         r'(mc: .*\n)?Received 12 items in [12]\d\d\d msec\.\n$')

    def test_many_clients_that_are_killed(self):
        """What a killed client had comes to another one; nothing is left open or behind."""
        with mock.patch.object(ManyClients, 'random', lambda self: random.Random(7)):
            out = self.good(ManyClients, '-p', self.port, '-n', 40, '-c', 4, '-s', 0, '-k', 50, '-q', 'kill')
        self.assertRegex(out, r'kill rate 50%, at 0 msec/item\nFlushing queues first\.\nReceived 40 items in \d+ msec\.\n$')
        self.assertEqual(self.items('kill'), 0)
        with self.server.client() as client:
            client.send(b'dump_stats kill\r\n')
            figures = client.recv_until(b'END\r\n').decode()
        self.assertIn('\n  open_transactions=0\r\n', figures)
        self.assertGreater(int(re.search(r'canceled_transactions=(\d+)', figures)[1]), 5)

    def test_flood(self):
        for protocol in ('memcache', 'thrift'):
            with self.subTest(protocol):
                words = ('--thrift',) if protocol == 'thrift' else ()
                out = self.good(Flood, '-p', self.server.ports[protocol], '-q', 'f', '-n', 30, '-P', 10, '-R', 2, '-C', 2,
                                '-r', 4, '-B', *words)
                self.assertRegex(out, r'^Flushing queues first\.\nprefill: 10 items of 1kB\n'
                                 r'flood: producers=2 each sending 16 items \(in chunks of 4\) of 1kB to f\n'
                                 r'flood: consumers=2 each reading 16 items \(in chunks of 4\) from f\n'
                                 rf'{FINISHED}Consumer\(s\) spun \d+ times in misses\.\n$')
                self.assertEqual(self.items('f'), 10)
        out = self.good(Flood, '-p', self.port, '-q', 'f', '-n', 30)
        self.assertRegex(out, r'^Flushing queues first\.\nflood: producers=1 each sending 30 items \(in chunks of 1\) ')

    def test_packing(self):
        for protocol in ('memcache', 'thrift'):
            with self.subTest(protocol):
                words = ('--thrift',) if protocol == 'thrift' else ()
                out = self.good(Packing, '-p', self.server.ports[protocol], '-q', 'pk', '-n', 20, '-c', 2, '-t', 0, *words)
                read = r'Read 20 items in \d+ msec\. Consumer spun \d+ times in misses\.\n'
                self.assertRegex(out, r'^packing: 20 items of 1kB with 0 second pauses\nFlushing queues first\.\n'
                                 r'Wrote 20 items starting at 0\.\ncycle: 1\nWrote 20 items starting at 20\.\n'
                                 rf'{read}cycle: 2\nWrote 20 items starting at 40\.\n{read}{read}$')
                self.assertEqual(self.items('pk'), 0)

    def test_leaky_reader(self):
        """What was not confirmed comes again, when the time for it is over."""
        with mock.patch.object(leaky_reader, 'AUTO_ABORT_MS', 200), \
                mock.patch.object(LeakyReader, 'random', lambda self: random.Random(3)):
            out = self.good(LeakyReader, '-p', self.thrift, '-n', 30, '-t', 2, '-d', 0.2, '-v')
        self.assertRegex(out, r'^leaky-reader: 2 threads each sending 30 items through spam-thrift\n'
                         r'Flushing queues first\.\n(\d+: (open [0-9a-f]{16} = [0-9a-f]{8}|confirm [0-9a-f]{16})\n)+'
                         rf'{FINISHED}Completed all reads\n$')
        opened = re.findall(r'open (\w+) = (\w+)', out)
        confirmed = re.findall(r'confirm (\w+)', out)
        self.assertEqual(sorted(item for number, item in opened if number in confirmed),
                         ['%08x' % number for number in range(30)])
        self.assertGreater(len(opened), 30)

    def test_leaky_reader_tells_each_thousand(self):
        with mock.patch.object(leaky_reader, 'TOLD', 10):
            out = self.good(LeakyReader, '-p', self.thrift, '-n', 25, '-d', 0)
        self.assertRegex(out, rf'first\.\n10\n20\n{FINISHED}Completed all reads\n$')

    def test_several_servers_at_once(self):
        """Each gets the whole work; the figures are those of all, then those of each."""
        with Server(CONFIG, protocols=('thrift',)) as other:
            names = ['127.0.0.1:%d' % port for port in (self.port, other.port)]
            thrift = ['127.0.0.1:%d' % port for port in (self.thrift, other.ports['thrift'])]
            both = 'each of %s' % re.escape(', '.join(names))

            def each(count, where=names):
                return ''.join([rf'{re.escape(name)}: {count} items in \d+ msec \(\d+\.\d usec/put throughput\)\.\n'
                                for name in where])

            def run(made, *words, where=names):
                code, out, err = self.run_program(made, '-h', ','.join(where), *words)
                self.assertEqual((code, err), (0, ''), out)
                return out

            self.assertRegex(run(PutMany, '-n', 20, '-c', 2, '-q', 'two', '-g'), rf'^Flushing queues first\.\n'
                             rf'Put 20 items of 1024 bytes in bursts of 1 to {both} in 1 queues named two using 2 clients\.\n'
                             rf'{FINISHED}{each(20)}{DISTRIBUTION}Get 20 .* from {both} in .*\n{FINISHED}'
                             rf'{each(20)}{DISTRIBUTION}$')
            self.assertRegex(run(Flood, '-n', 20, '-P', 5, '-q', 'two'), rf'\n{FINISHED}{each(20)}Consumer')
            with other.client() as client:
                client.send(b'dump_stats two\r\n')
                figures = client.recv_until(b'END\r\n').decode()
            self.assertRegex(figures, r'\n  items=5\r\n(.*\r\n)*  total_items=45\r\n')
            self.assertRegex(run(ManyClients, '-n', 4, '-c', 2, '-s', 0, '-q', 'two'),
                             rf'^many-clients: 4 items to {both} using 2 clients.*\n.*\nReceived 8 items in \d+ msec\.\n')
            self.assertRegex(run(Packing, '-n', 5, '-c', 1, '-t', 0, '-q', 'two'),
                             rf'cycle: 1\nWrote 10 items starting at 5\.\nRead 10 items in \d+ msec\. Consumer spun \d+ times '
                             rf'in misses\.\n{each(5)}Read 10 ')
            self.assertRegex(run(LeakyReader, '-n', 5, '-d', 0, where=thrift),
                             rf'\n{FINISHED}{each(5, thrift)}Completed all reads\n$')

    def test_refusals_of_the_server(self):
        code, out, err = self.run_program(Flood, '-h', '127.0.0.1', '-p', self.port, '-q', 'closed', '-n', 10,
                                          clock=CountingClock())
        self.assertEqual(code, 1)
        self.assertRegex(out, r'\nEnded early: put 0 of 10 and got 0 of 10 items in \d+ msec\.\n')
        self.assertIn("kestrel-flood: 1 of 2 clients ended early: wrong reply: 'SERVER_ERROR ", err)
        code, out, err = self.run_program(PutMany, '-h', '127.0.0.1', '-p', self.thrift, '--thrift', '-q', 'closed', '-n', 10,
                                          '-c', 2)
        self.assertEqual(code, 1)
        self.assertRegex(out, r'\nEnded early: 0 of 10 items in \d+ msec\.\n$')
        self.assertRegex(err, '^kestrel-put-many: 2 of 2 clients ended early: wrong reply to put: ')

    def test_the_wrong_port(self):
        for words in (('-p', self.thrift), ('-p', self.port, '--thrift')):
            with self.subTest(words):
                code, out, err = self.run_program(PutMany, '-h', '127.0.0.1', '-n', 10, '-c', 2, *words,
                                                  clock=FastClock())
                self.assertEqual((code, out), (1, 'Flushing queues first.\n'))
                self.assertIn('kestrel-put-many: the queue was not flushed: ', err)

    def test_progress_on_a_terminal_alone(self):
        code, _, err = self.run_program(ManyClients, '-h', '127.0.0.1', '-p', self.port, '-n', 3, '-c', 1, '-s', 0, '-q', 't',
                                        err=Terminal())
        self.assertEqual(code, 0)
        self.assertIn('\rreceived 0 of 3 items, 0 s ', err)
        self.assertTrue(err.endswith(' \r'), err)

    def test_the_command(self):
        ended = subprocess.run([sys.executable, '-m', 'kestrel.load.flood', '-h', '127.0.0.1', '-p', str(self.port), '-n', '10',
                                '-q', 'c'], cwd='/', env=process_environment(), capture_output=True, text=True, timeout=30)
        self.assertEqual((ended.returncode, ended.stderr), (0, ''))
        self.assertIn('\nConsumer(s) spun ', ended.stdout)

    def command(self, module, *words):
        """Start a program in a process of its own that has more to do than it will get done."""
        process = subprocess.Popen([sys.executable, '-m', 'kestrel.load.' + module, '-h', '127.0.0.1', *map(str, words)],
                                   cwd='/', env=process_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True)
        self.addCleanup(process.kill)
        return process

    def wait_for_items(self, server, queue, count):
        deadline = time.monotonic() + 20
        with server.client() as client:
            while time.monotonic() < deadline:
                client.send(b'dump_stats %b\r\n' % queue)
                total = re.search(rb'total_items=(\d+)', client.recv_until(b'END\r\n'))
                if total and int(total[1]) >= count:
                    return
                time.sleep(0.02)
        self.fail('the program puts nothing')

    def test_an_interrupted_run_tells_how_far_it_came(self):
        for sign, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            with self.subTest(sign):
                process = self.command('put_many', '-p', self.port, '-n', 10000000, '-c', 5, '-b', 10, '-q', 'int')
                with self.server.client() as client:
                    client.expect(b'delete int\r\n', b'DELETED\r\n')
                self.wait_for_items(self.server, b'int', 500)
                process.send_signal(sign)
                out, err = process.communicate(timeout=20)
                self.assertEqual((process.returncode, err), (code, ''))
                done = re.search(r'\nEnded early: (\d+) of 10000000 items in \d+ msec \(\d+\.\d usec/put throughput\)\.\n'
                                 rf'{DISTRIBUTION}$', out)
                self.assertTrue(done, out)
                self.assertLessEqual(int(done[1]), self.items('int'))
                self.assertGreaterEqual(int(done[1]), self.items('int') - 5, 'one that was not answered for each client')

    def test_a_server_that_is_killed_in_the_middle_and_starts_again(self):
        """The connections are gone: what was done until then is said."""
        with Server(CONFIG) as server:
            process = self.command('flood', '-p', server.port, '-n', 10000000, '-q', 'k')
            self.wait_for_items(server, b'k', 200)
            server.kill9()
            server.start()
            out, err = process.communicate(timeout=20)
        self.assertEqual(process.returncode, 1)
        self.assertRegex(out, r'\nEnded early: put \d+ of 10000000 and got \d+ of 10000000 items in \d+ msec\.\n')
        self.assertRegex(err, r'kestrel-flood: \d of 2 clients ended early: (the server closed the connection|connection lost)')


class Odd(socketserver.StreamRequestHandler):
    """Serves set, get and flush of one queue, as the test's ``answer(queue, word)`` likes: what it returns is sent instead,
    None: nothing, ever; b'': the connection is closed."""

    def handle(self):
        server = self.server
        while True:
            line = self.rfile.readline()
            if not line:
                return
            words = line.split()
            data = self.rfile.read(int(words[4]) + 2)[:-2] if words[0] == b'set' else b''
            with server.lock:
                reply = server.reply(words, data)
            if reply == b'':
                return
            self.wfile.write(reply or b'')


class OddServer(socketserver.ThreadingTCPServer):

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, odd):
        super().__init__(('127.0.0.1', 0), Odd)
        self.lock = threading.Lock()
        self.queue = []
        self.puts = 0
        self.odd = odd

    def reply(self, words, data):
        usual = self.usual(words, data)
        return usual if self.odd is None else self.odd(self, words[0], usual)

    def usual(self, words, data):
        if words[0] == b'set':
            self.puts += 1
            self.queue.append(data)
            return b'STORED\r\n'
        if words[0] == b'get' and self.queue:
            item = self.queue.pop(0)
            return b'VALUE spam 0 %d\r\n%b\r\nEND\r\n' % (len(item), item)
        return b'END\r\n'

    def handle_error(self, request, client_address):
        """A client that has gone is what is tested."""


@contextlib.contextmanager
def odd_server(odd=None):
    with OddServer(odd) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class BadServerTest(LoadTest):
    """It says so with numbers, and ends."""

    def bad(self, made, odd, *words, clock=None):
        """-> standard output and standard error of a program whose server is odd; the exit code must be 1."""
        with odd_server(odd) as server:
            code, out, err = self.run_program(made, '-h', '127.0.0.1', '-p', server.server_address[1], *words,
                                              clock=clock)
        self.assertEqual(code, 1, out + err)
        return out, err

    def test_it_refuses_connections(self):
        lease = PortLease()
        self.addCleanup(lease.release)
        for made in (PutMany, ManyClients, Flood, Packing, LeakyReader):
            with self.subTest(made.name), mock.patch.object(program.Dial, 'connect', dial_for(0.05)):
                code, out, err = self.run_program(made, '-h', '127.0.0.1', '-p', lease.port)
                self.assertEqual(code, 1)
                self.assertTrue(out.endswith('Flushing queues first.\n'), out)
                self.assertRegex(err, rf'^{made.name}: cannot connect to 127\.0\.0\.1:{lease.port}: Connection refused; gave up '
                                 r'after \d+ attempts in 0 seconds\n$')

    def test_each_thousand_failures_are_told(self):
        lease = PortLease()
        self.addCleanup(lease.release)
        code, _, err = self.run_program(PutMany, '-h', '127.0.0.1', '-p', lease.port, '-F',
                                        clock=CountingClock())
        self.assertEqual(code, 1)
        self.assertRegex(err, r'^Failed to connect after 1000 attempts\nFailed to connect after 2000 attempts\n'
                         r'(Failed to connect after 3000 attempts\n)?kestrel-put-many: cannot connect to .*; gave up after '
                         r'[23]\d\d\d attempts in 30 seconds\n$')

    def test_a_server_that_comes_late_is_found(self):
        with odd_server() as server:
            before = program.Dial._open
            left = [3]

            def fails_first(*arguments):
                if left[0]:
                    left[0] -= 1
                    raise ConnectionRefusedError(111, 'Connection refused')
                return before(*arguments)

            with mock.patch.object(program.Dial, '_open', staticmethod(fails_first)):
                code, out, err = self.run_program(PutMany, '-h', '127.0.0.1', '-p', server.server_address[1], '-n', 4, '-c', 2,
                                                  '-F')
        self.assertEqual((code, err), (0, ''))
        self.assertRegex(out, r'throughput\)\.\nHad to retry 3 times to make all connections\.\nDistribution ')

    def test_an_unknown_host(self):
        with mock.patch.object(socket, 'getaddrinfo', side_effect=socket.gaierror(-2, 'Name or service not known')):
            code, _, err = self.run_program(PutMany, '-h', 'no.such.host')
        self.assertEqual((code, err), (1, 'kestrel-put-many: cannot find no.such.host: Name or service not known\n'))

    def test_it_hangs(self):
        for made, words, said in ((PutMany, ('-n', 10, '-c', 5), '5 of 5 clients ended early: no reply within 30 seconds'),
                                  (ManyClients, ('-n', 10, '-c', 5), '6 of 6 clients ended early: no reply within 30'),
                                  (Flood, ('-n', 10), '2 of 2 clients ended early: no reply within 30 seconds'),
                                  (Packing, ('-n', 10), '1 of 1 clients ended early: no reply within 30 seconds')):
            with self.subTest(made.name):
                _, err = self.bad(made, lambda server, word, usual: None, *words, '-F', clock=FastClock())
                self.assertIn(said, err)
        _, err = self.bad(PutMany, lambda server, word, usual: None, clock=FastClock())
        self.assertEqual(err, 'kestrel-put-many: the queue was not flushed: no reply within 30 seconds\n')

    def test_it_closes(self):
        def closes(server, word, usual):
            return usual if server.puts < 7 else b''
        out, err = self.bad(PutMany, closes, '-n', 20, '-c', 2)
        self.assertRegex(out, r'\nEnded early: 6 of 20 items in \d+ msec \(\d+\.\d usec/put throughput\)\.\nDistribution ')
        self.assertEqual(err, 'kestrel-put-many: 2 of 2 clients ended early: the server closed the connection\n')

    def test_it_answers_wrongly(self):
        def full(server, word, usual):
            return usual if server.puts <= 3 or word != b'set' else b'NOT_STORED\r\n'
        out, err = self.bad(Packing, full, '-n', 5, '-t', 0)
        self.assertIn('\nWrote 3 items starting at 0.\n', out)
        self.assertIn("kestrel-packing: 1 of 1 clients ended early: wrong reply: 'NOT_STORED' instead of 'STORED'\n", err)

        def rubbish(server, word, usual):
            return b'<html>\r\n' if word == b'get' else usual
        out, err = self.bad(ManyClients, rubbish, '-n', 5, '-c', 3, '-s', 0)
        self.assertIn('\nReceived 0 items in ', out)
        self.assertIn("3 of 4 clients ended early: wrong reply: '<html>' instead of VALUE or END", err)

        def altered(server, word, usual):
            return usual.replace(b'xxx', b'xyx')
        _, err = self.bad(Flood, altered, '-n', 5)
        self.assertIn("1 of 2 clients ended early: an item came that was not put: b'0xyx", err)

    def test_it_loses_doubles_and_reorders(self):
        def loses(server, word, usual):
            if word == b'set' and server.puts == 3:
                server.queue.pop()
            return usual

        def doubles(server, word, usual):
            if word == b'set' and server.puts == 3:
                server.queue.append(server.queue[-1])
            return usual

        def reorders(server, word, usual):
            if word == b'set' and server.puts == 4:
                server.queue[-2:] = reversed(server.queue[-2:])
            return usual

        def checked(made, odd, *words):
            return self.bad(made, odd, *words, clock=CountingClock())[1].splitlines()[-1].partition(': ')[2]

        for made, words in ((PutMany, ('-n', 9, '-c', 1, '-g')), (Packing, ('-n', 9, '-c', 1, '-t', 0))):
            with self.subTest(made.name):
                self.assertEqual(checked(made, reorders, *words), '0 items lost, 0 doubled, 1 out of order, 0 that were not put')
        self.assertRegex(checked(PutMany, loses, '-n', 9, '-c', 1, '-g'), '^1 items lost, 0 doubled, 0 out of order')
        self.assertRegex(checked(PutMany, doubles, '-n', 9, '-c', 1, '-g'), '^1 items lost, 1 doubled, 0 out of order')
        self.assertRegex(checked(Packing, doubles, '-n', 9, '-c', 1, '-t', 0), '^0 items lost, 1 doubled, 0 out of order')
        self.assertRegex(checked(ManyClients, loses, '-n', 9, '-c', 1, '-s', 0), '^1 items lost, 0 doubled')
        self.assertRegex(checked(ManyClients, doubles, '-n', 9, '-c', 1, '-s', 0), '^0 items lost, 1 doubled')
        self.assertRegex(checked(Flood, loses, '-n', 9), '^1 items lost, 0 doubled, 0 out of order')
        self.assertRegex(checked(Flood, doubles, '-n', 9), '^0 items lost, 1 doubled, 0 out of order')

    def test_one_of_several_servers_is_odd(self):
        """It alone is complained of; what the others lack is theirs."""
        def doubles(server, word, usual):
            if word == b'set' and server.puts == 3:
                server.queue.append(server.queue[-1])
            return usual

        def closes(server, word, usual):
            return usual if server.puts < 3 else b''

        with odd_server() as good, odd_server(doubles) as bad, odd_server(closes) as gone:
            names = ['127.0.0.1:%d' % server.server_address[1] for server in (good, bad, gone)]
            code, out, err = self.run_program(Packing, '-h', ','.join(names[:2]), '-n', 9, '-c', 1, '-t', 0,
                                              clock=CountingClock())
            self.assertEqual((code, err), (1, 'kestrel-packing: %s: 0 items lost, 1 doubled, 0 out of order, 0 that were not '
                                              'put\n' % names[1]))
            self.assertIn('\nWrote 18 items starting at 9.\nRead 18 items in ', out)
            code, out, err = self.run_program(PutMany, '-h', names[0], '-h', names[2], '-n', 9, '-c', 1)
        self.assertEqual((code, err), (1, 'kestrel-put-many: %s: 1 of 1 clients ended early: the server closed the '
                                          'connection\n' % names[2]))
        self.assertRegex(out, rf'\nEnded early: 11 of 18 items in .*\n{names[0]}: 9 items in .*\n{names[2]}: 2 items in ')
        lease = PortLease()
        self.addCleanup(lease.release)
        with odd_server() as good, mock.patch.object(program.Dial, 'connect', dial_for(0.05)):
            code, out, err = self.run_program(PutMany, '-h', '127.0.0.1:%d,127.0.0.1:%d' % (
                good.server_address[1], lease.port), '-n', 1, '-c', 1, '-F')
        self.assertEqual(code, 1)
        self.assertRegex(err, rf'^kestrel-put-many: cannot connect to 127\.0\.0\.1:{lease.port}: Connection refused')

    def test_it_gives_nothing(self):
        def nothing(server, word, usual):
            return b'END\r\n' if word == b'get' else usual
        _, err = self.bad(Flood, nothing, '-n', 5, clock=CountingClock())
        self.assertIn('1 of 2 clients ended early: no item for 10 seconds, and nobody puts any more\n', err)
        _, err = self.bad(PutMany, nothing, '-n', 5, '-c', 1, '-g')
        self.assertIn('1 of 1 clients ended early: the queue is empty\n', err)

    def test_the_monitor_may_fail_without_the_others(self):
        def no_stats(server, word, usual):
            return b'ERROR\r\n' if word == b'stats' else usual
        with odd_server(no_stats) as server:
            code, out, err = self.run_program(Flood, '-h', '127.0.0.1', '-p', server.server_address[1], '-n', 2000, '-M')
        self.assertEqual((code, err), (0, "-M ends: wrong reply: 'ERROR' instead of STAT or END\n"))
        self.assertIn('\nFinished in ', out)


def dial_for(seconds):
    """Dial.connect that gives up after so long."""
    connect = program.Dial.connect

    def shorter(self):
        self._give_up = seconds
        return connect(self)
    return shorter


if __name__ == '__main__':
    unittest.main()
