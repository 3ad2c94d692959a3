"""Limits on connections, idle connections, many of them, and running out of files (spec queues 12, D17, D67, D68)."""

import os
import resource
import time
import unittest

from functional.waiting import WrappedServer, eventually, stats
from support.server import start_server

MANY = 3000


def limits(pid):
    """Soft and hard limit of open files of a process."""
    with open(f'/proc/{pid}/limits') as lines:
        for line in lines:
            if line.startswith('Max open files'):
                return tuple(map(int, line.split()[3:5]))
    raise AssertionError('no limit of open files')


class RefusedOperationsTest(unittest.TestCase):

    def setUp(self):
        self.server = start_server(self, {'server': {
            'connection_limit_refuse_writes': 2, 'connection_limit_refuse_reads': 3, 'max_open_transactions': 2}})

    def connect(self, count):
        """Connections of which the server knows, in the order of their numbers."""
        clients = []
        for _ in range(count):
            client = self.server.client()
            self.addCleanup(client.close)
            client.expect(b'version\r\n', b'VERSION')
            client.recv_until(b'\n')
            clients.append(client)
        return clients

    def test_writes_then_reads_are_refused(self):
        first, second, third, fourth = self.connect(4)
        second.expect(b'set q 0 0 1\r\na\r\n', b'STORED\r\n')
        third.expect(b'get q/peek\r\n', b'VALUE q 0 1\r\na\r\nEND\r\n')
        third.expect(b'stats\r\n', b'STAT uptime')
        fourth.expect(b'status\r\n', b'UP\r\n')
        first.expect(b'get q\r\n', b'VALUE q 0 1\r\na\r\nEND\r\n')

    def test_every_write(self):
        for request in (b'set q 0 0 1\r\na', b'delete q', b'flush q', b'flush_all', b'flush_expired q'):
            with self.subTest(request):
                *others, third = self.connect(3)
                third.expect_close(request + b'\r\n', b'SERVER_ERROR too many connections (limit 2)\r\n')
                self.leave(others)

    def test_every_read(self):
        for request in b'get q', b'gets q', b'get q/peek', b'get q/t=100/open', b'monitor q 1':
            with self.subTest(request):
                *others, fourth = self.connect(4)
                fourth.expect_close(request + b'\r\n', b'SERVER_ERROR too many connections (limit 3)\r\n')
                self.leave(others)

    def test_what_is_never_refused(self):
        clients = self.connect(5)
        fifth = clients[-1]
        for request, reply in ((b'flush_all_expired', b'0\r\n'),
                               (b'get q/close', b'END\r\n'), (b'get q/abort', b'END\r\n'),
                               (b'confirm q 1', b'ERROR not that many open reads (0 open)\r\n'),
                               (b'reload', b'Reloaded config.\r\n'), (b'status', b'UP\r\n')):
            fifth.expect(request + b'\r\n', reply)

    def test_number_holds_for_life_and_is_free_again(self):
        first, second, third = self.connect(3)
        self.leave([first, second])
        third.expect_close(b'set q 0 0 1\r\na\r\n', b'SERVER_ERROR too many connections (limit 2)\r\n')
        new, = self.connect(1)
        new.expect(b'set q 0 0 1\r\na\r\n', b'STORED\r\n')

    def leave(self, clients):
        for client in clients:
            client.expect_close(b'quit\r\n')
            client.close()

    def test_max_open_transactions_is_per_queue_and_connection(self):
        one, two = self.connect(2)
        for number in range(6):
            one.expect(b'set q 0 0 1\r\n%d\r\n' % number, b'STORED\r\n')
        one.expect(b'set other 0 0 1\r\na\r\n', b'STORED\r\n')
        for number in range(2):
            one.expect(b'get q/open\r\n', b'VALUE q 0 1\r\n%d\r\nEND\r\n' % number)
        one.expect(b'get other/open\r\n', b'VALUE other 0 1\r\na\r\nEND\r\n')
        two.expect(b'get q/open\r\n', b'VALUE q 0 1\r\n2\r\nEND\r\n')
        one.expect(b'monitor q 5\r\n', b'END\r\n')
        one.expect(b'get q/close/open\r\n', b'VALUE q 0 1\r\n3\r\nEND\r\n')
        one.expect_close(b'get q/open\r\n', b'ERROR too many open reads (limit 2)\r\n')
        for number in 1, 3, 4:      # went back when it was closed
            two.expect(b'get q/close/open\r\n', b'VALUE q 0 1\r\n%d\r\nEND\r\n' % number)


class IdleTest(unittest.TestCase):

    def setUp(self):
        self.server = start_server(self, {'server': {'client_timeout': '250ms'}})

    def test_idle_connection_is_closed(self):
        began = time.monotonic()
        with self.server.client() as client:
            client.expect(b'set q 0 0 1\r\na\r\nget q/open\r\n', b'STORED\r\nVALUE q 0 1\r\na\r\nEND\r\n')
            client.expect_close()
        self.assertTrue(0.25 <= time.monotonic() - began < 1.5)
        with self.server.client() as client:
            client.expect(b'get q/t=100\r\n', b'VALUE q 0 1\r\na\r\nEND\r\n')

    def test_waiting_is_not_idle(self):
        for request, reply, wait in ((b'get q/t=600', b'END\r\n', 0.6), (b'monitor q 1', b'END\r\n', 1)):
            with self.subTest(request), self.server.client() as client:
                began = time.monotonic()
                client.expect(request + b'\r\n', reply)
                self.assertGreaterEqual(time.monotonic() - began, wait)
                client.expect_close()
                # the idle time starts when the reply has been sent (D17)
                self.assertTrue(wait + 0.25 <= time.monotonic() - began < wait + 1.5)

    def test_busy_connection_stays(self):
        with self.server.client() as client:
            began = time.monotonic()
            while time.monotonic() - began < 0.6:
                client.expect(b'get q/t=50\r\n', b'END\r\n')


class DeadPeerTest(unittest.TestCase):

    def test_keepalive_begins_after_a_minute(self):
        server = start_server(self)
        with server.client() as client:
            client.expect(b'get q\r\n', b'END\r\n')
            mine = client.socket.getsockname()[1]
            _, ticks = eventually(self, 'the timer of keepalive', lambda: self.timer(server.port, mine))
            self.assertLessEqual(ticks, 60 * os.sysconf('SC_CLK_TCK'))      # the system's default: two hours

    @staticmethod
    def timer(local, remote):
        """Kind (2: keepalive) and ticks left of the timer of an established connection, None if it has none."""
        with open('/proc/net/tcp') as lines:
            for line in lines:
                words = line.split()
                if words[1].endswith(f':{local:04X}') and words[2].endswith(f':{remote:04X}'):
                    kind, ticks = (int(word, 16) for word in words[5].split(':'))
                    return (kind, ticks) if kind == 2 else None
        return None


class ManyTest(unittest.TestCase):

    def setUp(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < MANY + 200:
            self.fail(f'this test needs {MANY} connections, but the hard limit of open files is {hard}')
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, MANY + 200), hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))

    def test_thousands_of_connections(self):
        server = start_server(self)
        busy = server.client()
        self.addCleanup(busy.close)
        crowd = [server.client() for _ in range(MANY)]
        for client in crowd:
            self.addCleanup(client.close)
        eventually(self, 'all are connected', lambda: stats(busy)['curr_connections'] == str(MANY + 1))
        for client in crowd[::2]:
            client.send(b'get q/t=60000/open\r\n')
        busy.expect(b'set q 0 0 5\r\nfirst\r\n', b'STORED\r\n')
        busy.send(b'set q 0 0 1\r\nx\r\n' * (MANY // 2 - 1))
        busy.expect(b'', b'STORED\r\n' * (MANY // 2 - 1))
        answers = (b'VALUE q 0 5\r\nfirst\r\nEND\r\n', b'VALUE q 0 1\r\nx\r\nEND\r\n')
        for client in crowd[::2]:
            self.assertIn(client.recv_until(b'END\r\n'), answers)
        for client in crowd:
            client.close()
        eventually(self, 'all are gone', lambda: stats(busy)['curr_connections'] == '1')
        found = stats(busy)
        self.assertEqual((found['queue_q_items'], found['queue_q_open_transactions']), (str(MANY // 2), '0'))
        busy.send(b'get q\r\n' * (MANY // 2))
        came = [busy.recv_until(b'END\r\n') for _ in range(MANY // 2)]
        self.assertEqual(came.count(b'VALUE q 0 5\r\nfirst\r\nEND\r\n'), 1)
        self.assertEqual(came.count(b'VALUE q 0 1\r\nx\r\nEND\r\n'), MANY // 2 - 1)


class OpenFilesTest(unittest.TestCase):

    def start(self, shell):
        server = WrappedServer(['/bin/sh', '-c', f'{shell} && exec "$@"', 'sh'])
        self.addCleanup(server.close)
        server.start()
        self.addCleanup(lambda: server.running and server.stop())
        return server

    def test_soft_limit_is_raised(self):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        server = self.start('ulimit -Sn 100')
        self.assertEqual(limits(server.pid), (hard, hard))

    def test_connections_are_refused_before_queues_run_out_of_files(self):
        server = self.start('ulimit -n 200')
        self.assertEqual(limits(server.pid), (200, 200))
        first = server.client()
        self.addCleanup(first.close)
        first.expect(b'set q0 0 0 1\r\na\r\n', b'STORED\r\n')
        crowd = [server.client() for _ in range(250)]
        for client in crowd:
            self.addCleanup(client.close)
        accepted = refused = 0
        for client in crowd:
            if self.is_served(client):
                accepted += 1
            else:
                refused += 1
        self.assertGreater(refused, 100)            # 64 of 200 are kept back
        self.assertGreater(accepted, 50)
        for number in range(1, 31):
            first.expect(b'set q%d 0 0 1\r\na\r\n' % number, b'STORED\r\n')
        said = [line for line in server.log().lower().splitlines() if 'refused' in line or 'open files' in line]
        self.assertEqual(len(said), 1, server.log())
        for client in crowd:
            client.close()
        eventually(self, 'there is room again', lambda: stats(first)['curr_connections'] == '1')
        with server.client() as late:
            late.expect(b'get q1\r\n', b'VALUE q1 0 1\r\na\r\nEND\r\n')

    def is_served(self, client):
        try:
            client.send(b'version\r\n')
        except OSError:
            return False
        try:
            return client.recv_until(b'\r\n').startswith(b'VERSION')
        except AssertionError:      # closed
            return False

    def test_accepting_never_spins(self):
        server = self.start('ulimit -n 200')
        crowd = [server.client() for _ in range(250)]
        for client in crowd:
            self.addCleanup(client.close)
        used = self.cpu_seconds(server.pid)
        began = time.monotonic()
        eventually(self, 'half a second is over', lambda: time.monotonic() - began > 0.5)
        self.assertLess(self.cpu_seconds(server.pid) - used, 0.25)

    @staticmethod
    def cpu_seconds(pid):
        with open(f'/proc/{pid}/stat') as line:
            words = line.read().rpartition(')')[2].split()
        return (int(words[11]) + int(words[12])) / 100
