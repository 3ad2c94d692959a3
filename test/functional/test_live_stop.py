"""The stop (D46): by SIGTERM, SIGINT and ``shutdown`` alike."""

import os
import signal
import time
import unittest

from functional.records import records
from functional.waiting import eventually, stats
from support.server import listens, start_server


def by_signal(sign):
    def ask(server):
        server.stop(sign=sign)
    return ask


def by_command(server):
    with server.client() as client:
        client.expect_close(b'shutdown\r\n')
        server.wait()


WAYS = {'SIGTERM': by_signal(signal.SIGTERM), 'SIGINT': by_signal(signal.SIGINT), 'shutdown': by_command}


class StopTest(unittest.TestCase):

    def test_every_way(self):
        for name, ask in WAYS.items():
            with self.subTest(name):
                self.stop_a_busy_server(ask)

    def stop_a_busy_server(self, ask):
        server = start_server(self, {'server': {'max_open_transactions': 10}})
        owner, other, waiting, monitoring, peeking, idle = (server.client() for _ in range(6))
        for data in b'abcd':
            owner.expect(b'set q 0 0 1\r\n%c\r\n' % data, b'STORED\r\n')
        owner.expect(b'get q/open\r\n', b'VALUE q 0 1\r\na\r\nEND\r\n')
        owner.expect(b'get q/open\r\n', b'VALUE q 0 1\r\nb\r\nEND\r\n')
        other.expect(b'get q/open\r\n', b'VALUE q 0 1\r\nc\r\nEND\r\n')
        owner.expect(b'set w 0 0 1\r\nx\r\nget w\r\n', b'STORED\r\nVALUE w 0 1\r\nx\r\nEND\r\n')
        waiting.send(b'get w/t=60000/open\r\n')
        monitoring.send(b'monitor w 60\r\n')
        peeking.send(b'get w/peek/t=60000\r\n')
        eventually(self, 'three waiters', lambda: stats(idle)['queue_w_waiters'] == '3')

        began = time.monotonic()
        ask(server)
        self.assertLess(time.monotonic() - began, 4)
        self.assertEqual(server.exit_code, 0)

        for client in waiting, monitoring, peeking:
            client.expect_close(b'', b'END\r\n')
        for client in owner, other, idle:
            client.expect_close()
        found = records((server.spool / 'q').read_bytes())
        self.assertEqual(found[:7], ['add a', 'add b', 'add c', 'add d', 'open 1', 'open 2', 'open 3'])
        # the newest of one connection first; which connection goes first is free
        self.assertEqual(sorted(found[7:]), ['unremove 1', 'unremove 2', 'unremove 3'])
        self.assertLess(found.index('unremove 2'), found.index('unremove 1'))
        self.assertEqual(records((server.spool / 'w').read_bytes()), ['add x', 'remove'])

    def test_what_was_open_comes_back_in_order(self):
        server = start_server(self, {'server': {'max_open_transactions': 10}})
        with server.client() as client:
            for data in b'abcd':
                client.expect(b'set q 5 0 1\r\n%c\r\n' % data, b'STORED\r\n')
            client.expect(b'monitor q 1 3\r\n', b''.join(
                b'VALUE q 5 1\r\n%c\r\nEND\r\n' % data for data in b'abc') + b'END\r\n')
            server.restart()
        with server.client() as client:
            for data in b'abcd':
                client.expect(b'get q\r\n', b'VALUE q 5 1\r\n%c\r\nEND\r\n' % data)
            client.expect(b'get q\r\n', b'END\r\n')

    def test_half_a_request_has_no_effect(self):
        server = start_server(self)
        with server.client() as client:
            client.expect(b'set q 0 0 1\r\na\r\n', b'STORED\r\n')
            client.send(b'set q 0 0 5\r\nabc')
            began = time.monotonic()
            server.stop()
            self.assertLess(time.monotonic() - began, 4)
            client.expect_close()
        self.assertEqual(records((server.spool / 'q').read_bytes()), ['add a'])

    def test_shutdown_answers_what_was_asked_before(self):
        server = start_server(self)
        with server.client() as client:
            client.expect_close(b'set q 0 0 1\r\na\r\nshutdown\r\nset q 0 0 1\r\nb\r\n', b'STORED\r\n')
        server.wait()
        self.assertEqual(records((server.spool / 'q').read_bytes()), ['add a'])

    def test_second_signal_ends_at_once(self):
        server = start_server(self)
        with server.client() as client:
            size = 8 << 20
            client.expect(b'set q 0 0 %d\r\n%s\r\n' % (size, bytes(size)), b'STORED\r\n')
            # a request that cannot be finished: its answer is not read
            client.send(b'get q/peek\r\n' * 8)
            client.recv_exactly(10)
            began = time.monotonic()
            os.kill(server.pid, signal.SIGTERM)
            eventually(self, 'the port is closed', lambda: not listens(server.port))
            server.stop(exit_code=None)
            self.assertNotEqual(server.exit_code, 0)
            self.assertLess(time.monotonic() - began, 3)
        server.start()
        self.assertEqual(stats(server.client())['queue_q_items'], '1')

    def test_client_that_does_not_read_delays_the_stop_by_five_seconds_at_most(self):
        server = start_server(self)
        with server.client() as client:
            size = 8 << 20
            client.expect(b'set q 0 0 %d\r\n%s\r\n' % (size, bytes(size)), b'STORED\r\n')
            client.send(b'get q/peek\r\n' * 8)
            client.recv_exactly(10)
            began = time.monotonic()
            server.stop()
            self.assertLess(time.monotonic() - began, 7.5)

    def test_remote_admin_off(self):
        server = start_server(self, {'server': {'remote_admin': False}})
        refusal = b'CLIENT_ERROR admin commands are disabled\r\n'
        with server.client() as client:
            client.expect(b'set q 0 0 1\r\na\r\n', b'STORED\r\n')
            for command in b'shutdown', b'reload', b'flush_all', b'delete q':
                client.expect(command + b'\r\n', refusal)
            client.expect(b'get q\r\n', b'VALUE q 0 1\r\na\r\nEND\r\n')
        self.assertTrue(server.running)
