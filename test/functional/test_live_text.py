"""The text port of a real server: one-liners of a shell, foreign and oversized input, clients that do not read, and
random input, beside clients of the memcache port."""

import os
import random
import shutil
import subprocess
import threading
import time
import unittest

from functional.waiting import eventually, memory_peak, stats
from support.server import Server

MB = 1 << 20
LONG = os.environ.get('KESTREL_LONG') == '1'
CONFIG = {'server': {'max_open_transactions': 10, 'max_request_size': '4MB', 'max_buffered_requests': '8MB',
                     'remote_admin': False}}


class TextTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.server = Server(CONFIG, protocols=['text'])
        cls.addClassCleanup(cls.server.close)
        cls.server.start()

    def setUp(self):
        self.client = self.connect()
        self.other = self.server.client()
        self.addCleanup(self.other.close)

    def connect(self):
        client = self.server.client(protocol='text')
        self.addCleanup(client.close)
        return client

    def assert_grew_less(self, bytes_before, limit):
        self.assertLess(memory_peak(self.server.pid) - bytes_before, limit)


class ShellTest(TextTest):

    def setUp(self):
        super().setUp()
        if shutil.which('nc') is None:
            self.skipTest('no nc: apt install netcat-openbsd')

    def shell(self, command):
        command = command.replace('PORT', str(self.server.ports['text']))
        done = subprocess.run(['bash', '-c', command], stdin=subprocess.DEVNULL, capture_output=True, timeout=20)
        self.assertEqual((done.returncode, done.stderr), (0, b''))
        return done.stdout

    def test_one_liners(self):
        # D61: what is piped into nc -N is answered before the connection ends
        self.assertEqual(self.shell(r"printf 'put sh:\nhello world\n\n' | nc -N 127.0.0.1 PORT"), b'+1\n')
        self.assertEqual(self.shell(r"(echo put sh:; printf '%s\n' a b c; echo) | nc -N 127.0.0.1 PORT"), b'+3\n')
        self.assertEqual(self.shell("printf 'peek sh\n' | nc -N 127.0.0.1 PORT"), b':hello world\n')
        # the get is confirmed by the next one
        self.assertEqual(self.shell(r"printf 'get sh\nget sh\nconfirm sh 1\n' | nc -N 127.0.0.1 PORT"),
                         b':hello world\n:a\n+1\n')
        self.assertEqual(self.shell(r"printf 'get sh\nquit\n' | nc 127.0.0.1 PORT"), b':b\n+0\n')
        eventually(self, 'it is back', lambda: stats(self.other)['queue_sh_items'] == '2')

    def test_a_line_that_has_no_end(self):
        self.assertEqual(self.shell("printf 'put none:\nhello\n' | nc -N 127.0.0.1 PORT"), b'')
        self.assertEqual(self.shell("printf 'get none 10000\n' | nc -N 127.0.0.1 PORT"), b'*\n')


class TwoPortsTest(TextTest):

    def test_the_log_names_both_ports(self):
        ready = 'memcache on 127.0.0.1:%d, text on 127.0.0.1:%d' % (self.server.port, self.server.ports['text'])
        self.assertIn(ready, self.server.log())

    def test_binary_items_both_ways(self):
        dice = random.Random(19)
        for _ in range(20):
            data = dice.randbytes(dice.randrange(1, 3000)).replace(b'\n', b'.')
            self.other.expect(b'set bin 3 0 %d\r\n%s\r\n' % (len(data), data), b'STORED\r\n')
            self.client.expect(b'get bin\n', b':%s\n' % data)
            data = data.rstrip(b'\r') or b'x'
            self.client.expect(b'put bin:\n%s\n\n' % data, b'+1\n')
            self.other.expect(b'get bin\r\n', b'VALUE bin 0 %d\r\n%s\r\nEND\r\n' % (len(data), data))
        self.client.expect(b'get bin\n', b'*\n')

    def test_open_reads_go_back_when_the_server_stops(self):
        server = Server({'queues': {'other': {}}}, protocols=['text'])
        self.addCleanup(server.close)
        server.start()
        with server.client(protocol='text') as client:
            client.expect(b'put q:\none\ntwo\n\nget q\n', b'+2\n:one\n')
            waiting = server.client(protocol='text')
            self.addCleanup(waiting.close)
            waiting.send(b'get other 60000\n')
            with server.client() as other:
                eventually(self, 'it waits', lambda: stats(other)['queue_other_waiters'] == '1')
            server.restart()
            self.assertEqual((client.recv_all(), waiting.recv_all()), (b'', b'*\n'))
        with server.client(protocol='text') as client:
            client.expect(b'get q\nget q\n', b':one\n:two\n')
        server.stop()

    def test_durable_items_share_an_fsync(self):
        server = Server({'default': {'sync_journal': 0}}, protocols=['text'])
        self.addCleanup(server.close)
        server.start()
        with server.client(protocol='text') as client:
            client.expect(b'put q:\n' + b'item\n' * 1000 + b'\n', b'+1000\n')
        server.kill9()
        server.start()
        with server.client() as other:
            self.assertEqual(stats(other)['queue_q_items'], '1000')
        server.stop()


class InputTest(TextTest):

    def pour(self, size):
        piece = b'x' * MB
        for _ in range(size // MB):
            self.client.send(piece)

    def test_an_item_without_an_end(self):
        before = memory_peak(self.server.pid)
        self.client.send(b'put q:\nsmall\n')
        self.pour(64 * MB)
        self.other.expect(b'get q\r\n', b'END\r\n')
        self.client.expect(b'\n\n', b'-Item too large; limit=4194304\n')
        self.assert_grew_less(before, 16 * MB)
        self.client.expect(b'get q\n', b'*\n')

    def test_items_without_an_end(self):
        before = memory_peak(self.server.pid)
        self.client.send(b'put q:\n')
        for _ in range(40):
            self.client.send(b'y' * 3 * MB + b'\n')
        self.client.expect(b'\n', b'-Request too large; limit=8388608\n')
        self.assert_grew_less(before, 24 * MB)

    def test_a_command_without_an_end(self):
        self.client.send(b'get ' + b'q' * 8192)
        self.assertEqual(self.client.recv_all(), b'-Line too long.\n')

    def test_unfinished_puts_of_all_clients_are_bounded(self):
        # D6: over max_buffered_requests nothing more is read, but the oldest goes on and all end well
        item = b'z' * (2 * MB)
        before = memory_peak(self.server.pid)
        clients = [self.connect() for _ in range(20)]
        finish = threading.Event()

        def send(client):
            client.send(b'put bounded:\n' + item)
            finish.wait()
            client.send(b'\n\n')

        senders = [threading.Thread(target=send, args=[client]) for client in clients]
        for sender in senders:
            sender.start()
        for _ in range(20):     # whom that does not delay
            self.other.expect(b'set small 0 0 1\r\na\r\nget small\r\n', b'STORED\r\nVALUE small 0 1\r\na\r\nEND\r\n')
        self.assert_grew_less(before, 8 * MB + 16 * MB)
        finish.set()
        for client, sender in zip(clients, senders):
            client.expect(b'', b'+1\n')
            sender.join()
        self.other.expect(b'flush bounded\r\n', b'END\r\n')

    def test_other_protocols(self):
        for request, first in ((b'GET / HTTP/1.1\r\nHost: x\r\n\r\n', b'-Unknown command: get\n'),
                               (b'POST /x HTTP/1.0\r\n\r\nput q:\na\n\n', b'-Unknown command: post\n'),
                               (b'Host: x\r\nput q:\na\n\n', b'-Unknown command: host:\n')):
            with self.subTest(request):
                self.connect().expect_close(request, first)
        binary = bytes.fromhex('800b00000000000000000000000000000000000000000000')
        for request in (b'set q 0 0 1\r\na\r\n', b'*1\r\n$4\r\nPING\r\n', binary + b'\n',
                        bytes.fromhex('16030100c8010000c40303') + b'\n', b'\x80\x01\x00\x01\x00\x00\x00\x03get\n'):
            with self.subTest(request):
                client = self.connect()
                client.send(request)
                self.assertEqual(client.recv_until(b'\n')[:18], b'-Unknown command: ')
        self.client.expect(b'get q\n', b'*\n')

    def test_client_that_does_not_read(self):
        item = b'i' * MB
        self.client.expect(b'put big:\n%s\n\n' % item, b'+1\n')
        before = memory_peak(self.server.pid)
        lazy = self.connect()
        lazy.send(b'peek big\n' * 100)
        slowest = 0
        for _ in range(100):
            began = time.monotonic()
            self.client.expect(b'put q:\na\n\nget q\nget q\n', b'+1\n:a\n*\n')
            slowest = max(slowest, time.monotonic() - began)
        self.assertLess(slowest, 0.5)
        self.assert_grew_less(before, 8 * MB)
        for _ in range(100):
            self.assertEqual(lazy.recv_exactly(MB + 2), b':%s\n' % item)
        self.client.expect(b'flush big\n', b'+0\n')


WORDS = [b'put', b'get', b'peek', b'monitor', b'confirm', b'flush', b'delete', b'status', b'version', b'quit', b'PUT',
         b'q', b'q+x', b'r', b'a.b', b'+', b'', b'', b'0', b'1', b'2', b'-1', b'5', b'2147483648', b'x' * 300, b'up',
         b'down', b'shutdown', b'nothing', b'\xff\x00', b'ns:q']
ENDS = [b'\n', b'\n', b'\n', b'\r\n', b':\n', b':\n', b':\r\n', b'\r', b'']


def random_input(dice):
    """Some requests and what is nearly one, bytes."""
    lines = []
    for _ in range(dice.randrange(1, 12)):
        kind = dice.random()
        if kind < 0.3:
            items = [dice.randbytes(dice.choice((1, 3, 3, 30))) for _ in range(dice.randrange(4))]
            lines.append(b'put %b:\n%b\n' % (dice.choice((b'q', b'r', b'q+x')), b''.join([i + b'\n' for i in items])))
        elif kind < 0.5:
            lines.append(b'get q\n')
        elif kind < 0.95:
            lines.append(b' '.join(dice.choices(WORDS, k=dice.randrange(1, 4))) + dice.choice(ENDS))
        else:
            lines.append(dice.randbytes(dice.randrange(1, 200)))
    data = bytearray(b''.join(lines))
    while data and dice.random() < 0.2:
        where = dice.randrange(len(data))
        if dice.random() < 0.5:
            del data[where:where + dice.randrange(1, 5)]
        else:
            data[where] = dice.randrange(256)
    return bytes(data)


class RandomInputTest(TextTest):
    """Nothing that comes in ends the server, stays open, or holds up another client."""

    def test_random_input(self):
        cases = 20000 if LONG else 300
        seed = random.SystemRandom().randrange(10 ** 9) if LONG else 2222
        dice = random.Random(seed)
        slowest = 0
        for number in range(cases):
            data = random_input(dice)
            with self.subTest(seed=seed, number=number), self.server.client(protocol='text') as client:
                self.run_case(client, data, dice)
            if number % 20 == 0:
                began = time.monotonic()
                self.other.expect(b'set fine 0 0 1\r\na\r\nget fine\r\n', b'STORED\r\nVALUE fine 0 1\r\na\r\nEND\r\n')
                slowest = max(slowest, time.monotonic() - began)
            if number == cases // 2:
                before = memory_peak(self.server.pid)
        self.assertLess(slowest, 1)
        self.assert_grew_less(before, 8 * MB)
        self.assertNotIn('request failed', self.server.log())
        eventually(self, 'all have gone', lambda: stats(self.other)['curr_connections'] == '2')
        left = {key: value for key, value in stats(self.other).items()
                if key.endswith(('_open_transactions', '_waiters')) and value != '0'}
        self.assertEqual(left, {})

    def run_case(self, client, data, dice):
        if dice.random() < 0.3:
            where = dice.randrange(len(data) + 1)
            client.send(data[:where])
            data = data[where:]
        try:
            client.send(data)
            if dice.random() < 0.1:
                return      # it leaves without reading
            client.half_close()
        except (BrokenPipeError, ConnectionResetError, OSError):
            return          # it was closed before, for one of the errors that close
        replies = client.recv_all()
        for line in replies.split(b'\n')[:-1]:
            self.assertIn(line[:1], (b'+', b'-', b':', b'*'), (data, replies))
        self.assertTrue(replies.endswith(b'\n') or not replies, (data, replies))


if __name__ == '__main__':
    unittest.main()
