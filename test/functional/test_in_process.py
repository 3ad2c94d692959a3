"""Servers inside the test's process: what cannot be seen from outside, and that two of them get along."""

import gc
import io
import os
import socket
import tempfile
import unittest

import gevent
import gevent.socket
from kestrel import config, log
from kestrel.server import PROTOCOLS, KestrelServer

CONFIG = """[server]
queue_path = %s
status_file = %s
"""


class InProcessTest(unittest.TestCase):

    def server(self, number):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = os.path.join(folder.name, 'kestrel.conf')
        with open(path, 'w') as file:
            file.write(CONFIG % tuple(os.path.join(folder.name, name) for name in ('spool', 'status')))
        loaded = config.load(path)
        for protocol, _ in PROTOCOLS:
            # the system chooses
            setattr(loaded.server, protocol + '_listen_port', 0)
        handle = log.setup(loaded.logging, io.StringIO(), '.in_process_%d' % number)
        server = KestrelServer(loaded, handle)
        server.start()
        self.addCleanup(handle.close)
        self.addCleanup(server.stop)
        return server, server.ports[0].address[1]

    def ask(self, port, request, end=b'\r\n'):
        client = gevent.socket.create_connection(('127.0.0.1', port), timeout=5)
        self.addCleanup(client.close)
        client.sendall(request)
        reply = b''
        while not reply.endswith(end):
            data = client.recv(65536)
            self.assertTrue(data, 'closed after %r' % reply)
            reply += data
        return reply

    def test_two_servers_know_nothing_of_each_other(self):
        first, second = self.server(1), self.server(2)
        self.assertEqual(self.ask(first[1], b'set q 0 0 1\r\na\r\n'), b'STORED\r\n')
        self.assertEqual(self.ask(second[1], b'get q\r\n'), b'END\r\n')
        self.assertEqual((first[0].stats.cmd_set, second[0].stats.cmd_set), (1, 0))
        first[0].stop()
        self.assertEqual(self.ask(second[1], b'version\r\n')[:8], b'VERSION ')

    def test_options_of_accepted_sockets(self):
        """memcache.md, D67: inherited from the listening socket."""
        server, port = self.server(1)
        self.ask(port, b'version\r\n')
        connection, = server.connections
        expected = {
            (socket.IPPROTO_TCP, socket.TCP_NODELAY): 1,
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE): 1,
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE): 60,
            (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL): 15,
            (socket.IPPROTO_TCP, socket.TCP_KEEPCNT): 4,
            (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT): 120000,
        }
        self.assertEqual({key: connection.sock.getsockopt(*key) for key in expected}, expected)

    def test_a_connection_leaves_no_cycle_behind(self):
        """The collector does not look at what has grown old, so nothing may need it."""
        server, port = self.server(1)
        for request in (b'version\r\n', b'get q/t=10\r\n'):
            self.ask(port, request)
        self.addCleanup(gc.enable)
        gc.collect()
        gc.disable()
        before = sum(type(thing).__name__ in ('Session', 'Connection') for thing in gc.get_objects())
        for _ in range(20):
            with gevent.socket.create_connection(('127.0.0.1', port), timeout=5) as client:
                client.sendall(b'set q 0 0 1\r\na\r\nget q/open\r\nget q/t=10/close\r\n')
                client.recv(100)
        gevent.sleep(0.1)
        after = sum(type(thing).__name__ in ('Session', 'Connection') for thing in gc.get_objects())
        self.assertEqual(after, before)


if __name__ == '__main__':
    unittest.main()
