"""kcluster with real servers, and with some that are none (spec tools 4)."""

import io
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from unittest import mock

from kestrel.clock import Clock
from kestrel.tools.cluster import command, servers
from kestrel.tools.cluster.servers import Patience
from kestrel.tools.console import Console
from support.environment import process_environment
from support.server import PortLease, Server

HASTY = Patience(0.5, 0.5)


class Impostor:
    """A port where something else answers every connection: with ``answer``, then it closes, or with ``hold`` waits.

    ``drip``: one byte of it every 0.1 s, without end.
    """

    def __init__(self, answer=b'', hold=False, drip=False):
        self.answer, self.hold, self.drip = answer, hold, drip
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        self.over = threading.Event()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.answer_one, args=(client,), daemon=True).start()

    def answer_one(self, client):
        with client:
            try:
                client.recv(4096)
                client.sendall(self.answer)
                while self.drip and not self.over.wait(0.1):
                    client.sendall(b'x')
                if self.hold:
                    self.over.wait(30)
            except OSError:
                pass

    def close(self):
        self.over.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class KclusterTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.servers, cls.lines = [], []
        for number in range(2):
            lease = PortLease()
            cls.addClassCleanup(lease.release)
            server = Server({'admin': {'http_port': lease.port}, 'default': {'keep_journal': False}})
            cls.addClassCleanup(server.close)
            cls.servers.append(server.start())
            cls.lines.append(f'127.0.0.1:{lease.port}:{server.port}')
        lease = PortLease()
        cls.addClassCleanup(lease.release)
        cls.closed = lease.port
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.list = pathlib.Path(folder.name, '.kestrel_cluster')

    def setUp(self):
        self.list.write_text('\n'.join(self.lines) + '\n')
        for server, puts in zip(self.servers, ((b'work', b'work', b'work+x', b'jobs'), (b'work', b'idle'))):
            with server.client() as client:
                client.expect(b'flush_all\r\n', b'Flushed all queues.\r\n')
                client.expect(b'get work+x\r\n', b'END\r\n')
                for queue in puts:
                    client.expect(b'set %b 0 0 4\r\nitem\r\n' % queue, b'STORED\r\n')

    def kcluster(self, *words, answers='', code=0):
        """The command -> lines of standard output."""
        out, err = io.BytesIO(), io.StringIO()
        ended = command.run(['-f', str(self.list), *words], Console(out, err), stdin=io.StringIO(answers))
        self.assertEqual(ended, code)
        self.assertEqual(err.getvalue(), '')
        return out.getvalue().decode().splitlines()

    def process(self, *words, answers='', code=0):
        """The same in a process of its own."""
        ended = subprocess.run(
            [sys.executable, '-c', 'from kestrel.tools.cluster.command import main; main()', '-f', self.list, *words],
            input=answers, capture_output=True, text=True, timeout=20, cwd='/', env=process_environment())
        self.assertEqual((ended.returncode, ended.stderr), (code, ''))
        return ended.stdout.splitlines()

    def hastily(self, *lines, words=('items',), code=0):
        """The command with little patience and further servers in the list -> lines of both outputs."""
        self.list.write_text('\n'.join([*lines, *self.lines]))
        out, err = io.BytesIO(), io.StringIO()
        console = Console(out, err)
        began = time.monotonic()
        self.assertEqual(command.run(['-f', str(self.list), *words], console, patience=HASTY), code)
        self.assertLess(time.monotonic() - began, 8, 'all at once, and each only as long as that')
        return out.getvalue().decode().splitlines(), err.getvalue().splitlines()

    def ask(self, request, reply):
        for server in self.servers:
            with server.client() as client:
                client.expect(request, reply)

    def test_stale(self):
        class Traffic(Clock):
            """While kcluster waits for the next round, something happens to one queue."""

            def rest(clock, seconds):
                with self.servers[0].client() as client:
                    client.expect(b'set jobs 0 0 1\r\nx\r\n', b'STORED\r\n')
                    client.expect(b'get jobs\r\n', b'VALUE jobs 0 4\r\nitem\r\nEND\r\n' if not self.rests
                                  else b'VALUE jobs 0 1\r\nx\r\nEND\r\n')
                self.rests.append(seconds)
        self.rests = []
        out = io.BytesIO()
        self.assertEqual(command.run(['-f', str(self.list), 'stale'], Console(out, sys.stderr), Traffic()), 0)
        found = {line.split()[-1]: line.split()[1] for line in out.getvalue().decode().splitlines()
                 if re.match(r' +\d', line)}
        self.assertEqual(self.rests, [5] * 4)
        self.assertNotIn('jobs', found, 'its items are as many as before, its total_items are not')
        self.assertEqual((found['work'], found['work+x'], found['idle']), ('3', '4', '1'))

    def figures(self, *words):
        """A report with figures of the last second instead of the last minute."""
        def fetch(server, path, patience):
            self.assertEqual(path, '/stats.json?period=60')
            return servers.fetch(server, '/stats.json?period=1', patience)
        with mock.patch.object(command, 'fetch', fetch):
            return self.kcluster(*words)

    def test_reports(self):
        expected = ['', '         items queue', '  ============ ====================', '             1 idle',
                    '             1 jobs', '             3 work', '             4 work+x']
        deadline = time.monotonic() + 5
        while self.figures('items') != expected and time.monotonic() < deadline:
            time.sleep(0.1)
        self.assertEqual(self.figures('items'), expected)
        self.assertEqual(self.figures('bytes', '-F', '-R', '-c', '2')[3:],
                         ['            28 work', '             4 jobs'])
        self.assertEqual(self.figures('mem', '-b', 'jobs')[3:], ['             4 ' + self.lines[0],
                                                                 '           n/a ' + self.lines[1]])
        self.assertEqual([line for line in self.figures('all') if line.endswith(' queue')], [
            '%14s queue' % name for name in ('items', 'bytes', 'mem_bytes', 'min_age', 'max_age')])

    def test_broadcasts(self):
        names = [f'--- 127.0.0.1:{server.port} ... ' for server in self.servers]
        question = 'Really use these hosts? (yes/no) '
        self.assertEqual(self.kcluster('status'), [names[0] + 'UP', names[1] + 'UP', 'Done.'])
        self.assertEqual(self.process('status', 'readonly', answers='yes\n'), [
            *self.lines, question + names[0] + 'END', names[1] + 'END', 'Done.'])
        self.ask(b'status\r\n', b'READONLY\r\n')
        self.assertEqual(self.process('flush', 'work', '-s', code=1)[0],
                         names[0] + 'SERVER_ERROR queue work is read-only')
        self.assertEqual(self.kcluster('-s', 'status', 'up')[-1], 'Done.')
        self.assertEqual(self.kcluster('flush', 'work', answers='yes\nyes\n')[2:], [
            question + 'Really flush work? (yes/no) ' + names[0] + 'END', names[1] + 'END', 'Done.'])
        self.ask(b'get work\r\n', b'END\r\n')
        self.ask(b'get work+x\r\n', b'VALUE work+x 0 4\r\nitem\r\nEND\r\n')
        self.assertEqual(self.kcluster('-s', 'delete', 'idle')[:2], [names[0] + 'DELETED', names[1] + 'DELETED'])
        self.ask(b'dump_stats idle\r\n', b"queue 'idle' {\r\n  \r\n}\r\nEND\r\n")
        self.assertRegex('\n'.join(self.kcluster('version')), r'^127.0.0.1: \d+\.\d+\.\d+\n127.0.0.1: \d+\.\d+\.\d+$')

    def test_servers_that_are_none(self):
        http = b'HTTP/1.1 200 OK\r\n\r\n'
        reasons = {'it closed the connection without an answer': Impostor(),
                   'its answer is not HTTP': Impostor(b'END\r\n'),
                   'no answer in time': Impostor(hold=True), 'its answer is not JSON': Impostor(http + b'<html>'),
                   'it answers 404 Not Found': Impostor(b'HTTP/1.1 404 Not Found\r\n\r\n'),
                   'its answer has no gauges and counters: this is no admin port of kestrel':
                   Impostor(http + b'{"gauges":{}}')}
        dripping = Impostor(http, drip=True)
        for impostor in (*reasons.values(), dripping):
            self.addCleanup(impostor.close)
        out, err = self.hastily(*[f'127.0.0.1:{impostor.port}' for impostor in (*reasons.values(), dripping)],
                                f'127.0.0.1:{self.closed}')
        self.assertEqual(out[:2], ['', '         items queue'])
        expected = []
        for reason, impostor in reasons.items():
            expected += [f'WARNING: Unable to fetch stats for 127.0.0.1:{impostor.port}', '  ' + reason]
        self.assertEqual(err[:12], expected)
        self.assertEqual(err[12:], [
            f'WARNING: No answer from 127.0.0.1:{dripping.port}', '  no answer in time',
            f'WARNING: Unable to connect to 127.0.0.1:{self.closed}', '  Connection refused'])

    def test_broadcast_to_servers_that_are_none(self):
        silent, hanging, odd = Impostor(), Impostor(hold=True), Impostor(b'HTTP/1.1 400 Bad Request\r\n')
        for impostor in (silent, hanging, odd):
            self.addCleanup(impostor.close)
        out, err = self.hastily(*[f'127.0.0.1:1:{port}' for port in (silent.port, hanging.port, odd.port, self.closed)],
                                words=('-s', 'flush', 'jobs'), code=1)
        self.assertEqual(out, [f'--- 127.0.0.1:{odd.port} ... HTTP/1.1 400 Bad Request', *[
            f'--- 127.0.0.1:{server.port} ... END' for server in self.servers], 'Done.'])
        self.assertEqual(err, [
            f'WARNING: No reply from 127.0.0.1:{silent.port}', '  it sent 0 bytes and no line',
            f'WARNING: No reply from 127.0.0.1:{hanging.port}', '  no answer in time',
            f'WARNING: Unexpected reply from 127.0.0.1:{odd.port}', '  HTTP/1.1 400 Bad Request',
            f'WARNING: Unable to connect to 127.0.0.1:{self.closed}', '  Connection refused'])
        self.ask(b'get jobs\r\n', b'END\r\n')


if __name__ == '__main__':
    unittest.main()
