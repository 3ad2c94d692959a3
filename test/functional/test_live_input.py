"""Foreign, oversized and broken input, and clients that hang up or do not read: bounded memory, nothing lost."""

import os
import socket
import struct
import threading
import time
import unittest

from functional.waiting import eventually, memory_peak, stats
from support.server import Client, Server

MB = 1 << 20
CONFIG = {
    'server': {'max_open_transactions': 10, 'max_request_size': '4MB'},
    'queues': {'small': {'max_item_size': '1KB'}},
}


def reset(client):
    """End the connection by RST."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    client.close()


class InputTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.server = Server(CONFIG)
        cls.addClassCleanup(cls.server.close)
        cls.server.start()

    def setUp(self):
        self.client = self.connect()

    def connect(self):
        client = self.server.client()
        self.addCleanup(client.close)
        return client

    def assert_grew_less(self, bytes_before, limit):
        self.assertLess(memory_peak(self.server.pid) - bytes_before, limit)


class OversizedTest(InputTest):

    def pour(self, key, size):
        """Announce and send an item of ``size`` bytes piece by piece."""
        self.client.send(b'set %s 0 0 %d\r\n' % (key, size))
        piece = os.urandom(MB)
        for _ in range(size // MB):
            self.client.send(piece)
        self.client.send(b'\r\n')

    def test_larger_than_a_request_may_be(self):
        before = memory_peak(self.server.pid)
        self.pour(b'q', 128 * MB)
        self.client.expect(b'', b'SERVER_ERROR object too large for queue\r\n')
        self.assert_grew_less(before, 16 * MB)
        self.client.expect(b'set q 0 0 1\r\na\r\nget q\r\n', b'STORED\r\nVALUE q 0 1\r\na\r\nEND\r\n')

    def test_larger_than_the_queue_takes(self):
        before = memory_peak(self.server.pid)
        for _ in range(32):
            self.pour(b'small', 3 * MB)
            self.client.expect(b'', b'NOT_STORED\r\n')
        self.assert_grew_less(before, 16 * MB)
        self.client.expect(b'get small\r\n', b'END\r\n')

    def test_line_without_an_end(self):
        before = memory_peak(self.server.pid)
        self.client.send(b'get ' + b'q' * 8192)
        self.assertEqual(self.client.recv_all(), b'CLIENT_ERROR line too long\r\n')
        with self.assertRaises(OSError):
            for _ in range(1000):
                self.client.send(b'q' * MB)
        self.assert_grew_less(before, 8 * MB)

    def test_many_unfinished_items(self):
        before = memory_peak(self.server.pid)
        clients = [self.connect() for _ in range(50)]
        for client in clients:
            client.send(b'set q 0 0 4000000\r\nonly the beginning')
        self.client.expect(b'get q\r\n', b'END\r\n')
        self.assert_grew_less(before, 8 * MB)       # a buffer grows with what has arrived


class BufferedRequestsTest(unittest.TestCase):

    def test_unfinished_items_of_all_clients_are_bounded(self):
        """``max_buffered_requests``: over it nothing more is read, but the oldest goes on and all end well."""
        server = Server({'server': {'max_buffered_requests': '8MB'}})
        self.addCleanup(server.close)
        server.start()
        size, count = 4 * MB, 20
        item = os.urandom(size)
        before = memory_peak(server.pid)
        clients = [server.client(timeout=30) for _ in range(count)]
        for client in clients:
            self.addCleanup(client.close)
            client.send(b'set q 0 0 %d\r\n' % size)
        finish = threading.Event()

        def send(client):
            client.send(item[:-1])
            finish.wait()
            client.send(item[-1:] + b'\r\n')

        senders = [threading.Thread(target=send, args=[client]) for client in clients]
        for sender in senders:
            sender.start()
        with server.client() as other:      # whom that does not delay
            for _ in range(50):
                other.expect(b'set small 0 0 1\r\na\r\nget small\r\n',
                             b'STORED\r\nVALUE small 0 1\r\na\r\nEND\r\n')
        self.assertLess(memory_peak(server.pid) - before, 8 * MB + 16 * MB)
        finish.set()
        for client, sender in zip(clients, senders):
            client.expect(b'', b'STORED\r\n')
            sender.join()
        with server.client() as other:
            self.assertEqual(stats(other)['queue_q_bytes'], str(size * count))
        server.stop()


    def test_client_that_leaves_behind_a_full_budget_costs_no_time(self):
        """Its end is known, its last bytes have no room: they must be taken or waited for, not looked at for ever."""
        server = Server({'server': {'max_buffered_requests': '2MB'}})
        self.addCleanup(server.close)
        server.start()
        oldest = server.client()
        self.addCleanup(oldest.close)
        oldest.send(b'set q 0 0 %d\r\n' % (4 * MB) + bytes(2 * MB))
        eventually(self, 'the budget is full', lambda: stats_of(server)['bytes_read'] > 2 * MB)
        leaving = server.client()
        leaving.send(b'set q 0 0 %d\r\n' % (4 * MB) + bytes(MB // 8))
        eventually(self, 'it waits for room', lambda: stats_of(server)['bytes_read'] > 2 * MB + 65536)
        leaving.close()
        time.sleep(0.2)
        before = processor_seconds(server.pid)
        time.sleep(0.5)
        self.assertLess(processor_seconds(server.pid) - before, 0.25)


def stats_of(server):
    with server.client() as other:
        return {key: int(value) for key, value in stats(other).items() if value.isdigit()}


def processor_seconds(pid):
    with open(f'/proc/{pid}/stat') as file:
        words = file.read().rpartition(')')[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf('SC_CLK_TCK')


class NotReadingTest(InputTest):

    def test_client_that_does_not_read(self):
        item = os.urandom(MB)
        self.client.expect(b'set big 0 0 %d\r\n%s\r\n' % (MB, item), b'STORED\r\n')
        before = memory_peak(self.server.pid)
        lazy = self.connect()
        lazy.send(b'get big/peek\r\n' * 150)
        slowest = 0
        for _ in range(200):
            began = time.monotonic()
            self.client.expect(b'set q 0 0 1\r\na\r\nget q\r\n', b'STORED\r\nVALUE q 0 1\r\na\r\nEND\r\n')
            slowest = max(slowest, time.monotonic() - began)
        self.assertLess(slowest, 0.5)
        self.assert_grew_less(before, 8 * MB)
        reply = b'VALUE big 0 %d\r\n%s\r\nEND\r\n' % (MB, item)
        for _ in range(150):
            self.assertEqual(lazy.recv_exactly(len(reply)), reply)
        self.client.expect(b'get big\r\n', reply)

    def test_gets_behind_an_unread_answer_are_not_run(self):
        """What a client does not read must not be taken out of the queue for it without end (D6)."""
        count = 400
        data = os.urandom(100000)
        for _ in range(count):
            self.client.send(b'set heap 0 0 %d\r\n%s\r\n' % (len(data), data))
            self.client.expect(b'', b'STORED\r\n')
        lazy = self.connect()
        lazy.send(b'get heap\r\n' * count)
        lazy.recv_exactly(1)
        eventually(self, 'no more is taken', lambda: self.standing_still('queue_heap_items'))
        self.assertGreater(int(stats(self.client)['queue_heap_items']), count // 2)
        lazy.close()
        self.client.expect(b'flush heap\r\n', b'END\r\n')

    def standing_still(self, key):
        looks = set()
        for _ in range(20):
            looks.add(stats(self.client)[key])
        return len(looks) == 1


class ForeignTest(InputTest):

    def test_binary_protocol_and_tls(self):
        hellos = {'binary': bytes.fromhex('800b00000000000000000000000000000000000000000000'),
                  'tls': bytes.fromhex('16030100c8010000c40303')}
        for name, hello in hellos.items():
            for _ in range(3):
                with self.subTest(name):
                    self.connect().expect_close(hello)
        # one line per address and minute, whether that is for each protocol or for both together
        said = [line for line in self.server.log().splitlines() if '127.0.0.1' in line]
        self.assertIn(len(said), (1, 2), said)

    def test_first_byte_only(self):
        self.client.expect(b'bogus\r\n', b'CLIENT_ERROR unknown command\r\n')
        self.client.expect(b'\x80\r\n', b'CLIENT_ERROR unknown command\r\n')

    def test_http(self):
        for request in (b'GET / HTTP/1.1\r\nHost: x\r\n\r\n',
                        b'POST /x HTTP/1.0\r\nContent-Length: 11\r\n\r\nflush_all\r\n',
                        b'post /\r\n',
                        b'Host: x\r\nset q 0 0 1\r\na\r\n',
                        b'set q 0 0 1 HTTP/1.1\r\na\r\n'):
            with self.subTest(request):
                self.connect().expect_close(request, b'CLIENT_ERROR unknown command\r\n')
        self.client.expect(b'get q\r\n', b'END\r\n')


class EndOfInputTest(InputTest):
    """D61: people pipe requests into ``nc -N``."""

    def test_everything_before_the_end_is_answered(self):
        self.client.send(b'set nc 0 0 1\r\na\r\nset nc 0 0 1\r\nb\r\nget nc\r\nget nc\r\nget nc\r\nstatus\r\n')
        self.client.half_close()
        self.client.expect_close(b'', b'STORED\r\nSTORED\r\nVALUE nc 0 1\r\na\r\nEND\r\n'
                                      b'VALUE nc 0 1\r\nb\r\nEND\r\nEND\r\nUP\r\n')

    def test_incomplete_request_has_no_effect(self):
        for request in b'set nc 0 0 5\r\nabc', b'set nc 0 0 3\r\nabc', b'flush nc':
            client = self.connect()
            client.send(b'version\r\n' + request)
            client.half_close()
            self.assertRegex(client.recv_all(), rb'^VERSION [0-9.]+\r\n$')
        self.client.expect(b'get nc\r\n', b'END\r\n')

    def test_waiting_ends(self):
        before = int(stats(self.client)['get_misses'])
        for request in b'get none/t=60000', b'monitor none 60', b'get none/peek/t=60000', b'get none/t=60000/open':
            with self.subTest(request):
                client = self.connect()
                client.send(request + b'\r\nget none/t=60000\r\nstatus\r\n')
                began = time.monotonic()
                client.half_close()
                client.expect_close(b'', b'END\r\nEND\r\nUP\r\n')
                self.assertLess(time.monotonic() - began, 2)
        self.assertEqual(int(stats(self.client)['get_misses']) - before, 8)

    def test_waiting_ends_when_the_end_comes_later(self):
        self.client.expect(b'set later 0 0 0\r\n\r\nflush later\r\n', b'STORED\r\nEND\r\n')
        client = self.connect()
        client.send(b'get later/t=60000\r\n')
        eventually(self, 'it waits', lambda: stats(self.client)['queue_later_waiters'] == '1')
        client.half_close()
        client.expect_close(b'', b'END\r\n')

    def test_open_reads_go_back(self):
        self.client.expect(b'set back 0 0 1\r\na\r\nset back 0 0 1\r\nb\r\n', b'STORED\r\nSTORED\r\n')
        client = self.connect()
        client.send(b'get back/open\r\nget back/open\r\n')
        client.half_close()
        client.expect_close(b'', b'VALUE back 0 1\r\na\r\nEND\r\nVALUE back 0 1\r\nb\r\nEND\r\n')
        self.client.expect(b'get back/t=2000\r\nget back/t=2000\r\n',
                           b'VALUE back 0 1\r\na\r\nEND\r\nVALUE back 0 1\r\nb\r\nEND\r\n')


class HangUpTest(InputTest):
    """D32: no item goes to somebody who is not there any more."""

    ROUNDS = 10

    def setUp(self):
        super().setUp()
        # queues that exist, so that their waiters can be counted
        for queue in b'gone', b'many':
            self.client.expect(b'set %s 0 0 0\r\n\r\nflush %s\r\n' % (queue, queue), b'STORED\r\nEND\r\n')

    def wait_for_waiters(self, queue, count):
        eventually(self, f'{count} waiters', lambda: stats(self.client)[f'queue_{queue}_waiters'] == str(count))

    def hang_up_while_waiting(self, request, leave):
        """Wait, hang up, and in the same moment put: the item must be there for the next one."""
        for _ in range(self.ROUNDS):
            waiting = self.connect()
            waiting.send(request + b'\r\n')
            self.wait_for_waiters('gone', 1)
            leave(waiting)
            self.client.expect(b'set gone 0 0 1\r\na\r\n', b'STORED\r\n')
            self.client.expect(b'get gone/t=3000\r\n', b'VALUE gone 0 1\r\na\r\nEND\r\n')

    def test_every_kind_of_waiting(self):
        for request in b'get gone/t=60000', b'get gone/t=60000/open', b'monitor gone 60', b'get gone/peek/t=60000':
            for leave in reset, Client.close:
                with self.subTest(request=request, leave=leave.__name__):
                    self.hang_up_while_waiting(request, leave)

    def test_hang_up_behind_more_input_than_is_kept(self):
        """Of what arrives behind a waiting request 64 KB are read; the end of the connection counts all the same.

        Not more than fits into the kernel's receive buffer besides: a FIN behind what does not fit has not arrived.
        """
        for leave in reset, Client.close:
            with self.subTest(leave.__name__):
                self.client = self.connect()
                waiting = self.connect()
                waiting.send(b'get gone/t=60000\r\n')
                self.wait_for_waiters('gone', 1)
                waiting.send(b'version\r\n' * 10000)
                leave(waiting)
                self.client.expect(b'set gone 0 0 1\r\na\r\n', b'STORED\r\n')
                self.client.expect(b'get gone/t=3000\r\n', b'VALUE gone 0 1\r\na\r\nEND\r\n')
                self.wait_for_waiters('gone', 0)

    def test_waiters_are_dropped(self):
        waiting = [self.connect() for _ in range(20)]
        for number, client in enumerate(waiting, 1):
            client.send(b'get many/t=60000/open\r\n')
            self.wait_for_waiters('many', number)
        for client in waiting[::2]:
            reset(client)
        for client in waiting[1::4]:
            client.close()
        self.wait_for_waiters('many', 5)
        for number in range(5):
            self.client.expect(b'set many 0 0 1\r\n%d\r\n' % number, b'STORED\r\n')
        for number, client in enumerate(waiting[3::4]):
            client.expect(b'', b'VALUE many 0 1\r\n%d\r\nEND\r\n' % number)      # in the order in which they came

    def test_reads_of_a_reset_connection_go_back_in_order(self):
        for data in b'abcd':
            self.client.expect(b'set order 0 0 1\r\n%c\r\n' % data, b'STORED\r\n')
        owner = self.connect()
        for data in b'abc':
            owner.expect(b'get order/open\r\n', b'VALUE order 0 1\r\n%c\r\nEND\r\n' % data)
        reset(owner)
        eventually(self, 'all back', lambda: stats(self.client)['queue_order_items'] == '4')
        for data in b'abcd':
            self.client.expect(b'get order\r\n', b'VALUE order 0 1\r\n%c\r\nEND\r\n' % data)

    def test_pipeline_behind_a_waiting_get(self):
        waiting = self.connect()
        waiting.send(b'get piped/t=60000\r\nset other 0 0 1\r\nx\r\n')
        self.client.expect(b'get other\r\n', b'END\r\n')
        self.client.expect(b'set piped 0 0 1\r\na\r\n', b'STORED\r\n')
        waiting.expect(b'', b'VALUE piped 0 1\r\na\r\nEND\r\nSTORED\r\n')
        self.client.expect(b'get other\r\n', b'VALUE other 0 1\r\nx\r\nEND\r\n')

    def test_much_input_behind_a_waiting_get(self):
        before = memory_peak(self.server.pid)
        waiting = self.connect()
        waiting.socket.settimeout(0.3)
        waiting.send(b'get flood/t=60000\r\n')
        block = b'set flooded 0 0 1\r\nx\r\n' * 50000
        with self.assertRaises(socket.timeout):
            for _ in range(64):
                waiting.send(block)
        self.assert_grew_less(before, 4 * MB)       # at most 64 KB are kept
