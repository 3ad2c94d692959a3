"""The limits of HTTP on the admin port (D62): slow clients, too many of them, too much that is not sent."""

import logging
import time
import unittest
from unittest import mock

import gevent
from gevent import socket
from kestrel.admin import http
from kestrel.admin.answers import Answer

from support.spool import LogLines

ENOUGH = 5              # seconds that something may take before the test fails
LARGE = 8 << 20         # more than the buffers of a socket hold


class HttpTest(unittest.TestCase):

    def setUp(self):
        self.log = LogLines()
        logger = logging.Logger('test')
        logger.addHandler(self.log)
        self.server = http.HttpServer(self.answer, logger)
        self.clients = []
        self.addCleanup(lambda: [client.close() for client in self.clients])

    @staticmethod
    def answer(request):
        return Answer('200 OK', 'text/plain', [bytes(LARGE) if request.path == '/large' else b'OK\n'])

    def limit(self, **limits):
        for name, value in limits.items():
            self.enterContext(mock.patch.object(http, name, value))

    def client(self, data=b''):
        """A client that has sent these bytes; the server's side runs when this one waits."""
        client, ours = socket.socketpair()
        client.settimeout(ENOUGH)
        self.clients.append(client)
        self.served = gevent.spawn(self.server.serve, ours, ('127.0.0.1', len(self.clients)))
        client.sendall(data)
        gevent.sleep(0)
        return client

    @staticmethod
    def received(client, most=1 << 30):
        """Everything until the end."""
        found = b''
        while len(found) < most:
            try:
                piece = client.recv(65536)
            except ConnectionResetError:
                break
            if not piece:
                break
            found += piece
        return found

    def check_in_time(self, seconds, data, status):
        """The connection is closed after that time, with that status (None: without a word)."""
        began = time.monotonic()
        answer = self.received(self.client(data))
        self.assertGreaterEqual(time.monotonic() - began, seconds * 0.9)
        self.assertEqual(answer[:13], b'' if status is None else b'HTTP/1.1 %d ' % status)

    def test_targets(self):
        asked = []

        def answer(request):
            asked.append((request.path, request.query))
            return self.answer(request)
        self.server = http.HttpServer(answer, logging.Logger('test'))
        client = self.client(b''.join(b'GET %b HTTP/1.1\r\n\r\n' % target for target in (
            b'/stats.json?u=http://dash&period=60', b'/stats?namespace=http://a', b'http://host/ping', b'HTTPS://h:1?a=b')))
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(self.received(client).count(b'HTTP/1.1 200 OK'), 4)
        self.assertEqual(asked, [('/stats.json', {'u': 'http://dash', 'period': '60'}), ('/stats', {'namespace': 'http://a'}),
                                 ('/ping', {}), ('/', {'a': 'b'})])

    def test_a_request_that_does_not_arrive(self):
        self.limit(MAY_ARRIVE=0.05)
        self.check_in_time(0.05, b'', None)
        self.check_in_time(0.05, b'GET /pi', None)
        self.check_in_time(0.05, b'GET /ping HTTP/1.1\r\nHost: a\r\n', 408)
        self.check_in_time(0.05, b'POST /ping HTTP/1.1\r\nContent-Length: 3\r\n\r\nab', 408)

    def test_a_byte_now_and_then_is_not_enough(self):
        self.limit(MAY_ARRIVE=0.1)
        client = self.client(b'GET /ping HTTP/1.1\r\nX: ')
        for _ in range(7):
            client.sendall(b'a')
            gevent.sleep(0.02)
        self.assertIn(b'HTTP/1.1 408 ', self.received(client))

    def test_a_client_that_leaves_before_it_is_refused(self):
        self.client(b'nonsense').close()
        self.served.join(ENOUGH)
        self.assertTrue(self.served.ready())
        self.assertIsNone(self.served.exception)

    def test_an_idle_connection_closes_without_a_word(self):
        self.limit(MAY_ARRIVE=0.1)
        client = self.client(b'GET /ping HTTP/1.1\r\n\r\n')
        answer = self.received(client)
        self.assertEqual((answer.count(b'HTTP/1.1 200 OK'), answer.count(b'HTTP/1.1')), (1, 1))

    def test_a_reader_that_takes_nothing(self):
        self.limit(MAY_STALL=0.1)
        client = self.client(b'GET /large HTTP/1.1\r\n\r\n')
        gevent.sleep(0.2)
        self.assertEqual(self.server.clients.greenlets(), [])
        self.assertLess(len(self.received(client)), LARGE)

    def test_a_slow_reader_gets_all_of_it(self):
        self.limit(MAY_STALL=0.1)
        client = self.client(b'GET /large HTTP/1.0\r\n\r\n')
        found = b''
        for _ in range(8):
            found += self.received(client, 1 << 20)
            gevent.sleep(0.03)
        found += self.received(client)
        self.assertEqual(len(found.partition(b'\r\n\r\n')[2]), LARGE)

    def test_too_much_that_is_not_sent(self):
        self.limit(MOST_UNSENT=3 * LARGE)
        slow = [self.client(b'GET /large HTTP/1.1\r\n\r\n') for _ in range(3)]
        gevent.sleep(0.05)
        self.assertEqual(len(self.server.clients.greenlets()), 3)
        slow[0].recv(1 << 20)
        gevent.sleep(0.05)
        last = self.client(b'GET /large HTTP/1.0\r\n\r\n')
        # the first has just taken something: the second made no progress for longest
        self.assertEqual(len(self.received(last).partition(b'\r\n\r\n')[2]), LARGE)
        self.assertLess(len(self.received(slow[1])), LARGE)
        self.assertEqual([name for name, _ in self.server.clients.greenlets()], ['admin 127.0.0.1:3', 'admin 127.0.0.1:1'])

    def test_too_many_connections(self):
        idle = [self.client(b'GET /ping HTTP/1.1\r\n') for _ in range(http.MOST_CONNECTIONS)]
        self.client(b'GET /ping HTTP/1.1\r\n\r\n')
        self.assertEqual(len(self.server.clients.greenlets()), http.MOST_CONNECTIONS)
        self.assertEqual(self.received(idle[0]), b'')
        idle[1].sendall(b'Connection: close\r\n\r\n')
        self.assertIn(b'200 OK', self.received(idle[1]))
        self.assertIn(b'200 OK', self.clients[-1].recv(1000))


if __name__ == '__main__':
    unittest.main()
