"""A server that gets its port from a service manager: clients wait while it is away."""

import socket
import subprocess
import unittest
from functools import partial
from unittest import mock

from functional.waiting import WrappedServer
from support.server import Client

# what systemd does between fork and exec
HAND_OVER = 'exec 3<&$0; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=kestrel.socket exec "$@"'


class PassedServer(WrappedServer):

    def __init__(self):
        self.listener = socket.socket()
        super().__init__(['sh', '-c', HAND_OVER, str(self.listener.fileno())])
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(('127.0.0.1', self.port))
        self.listener.listen()

    def start(self):
        handed = partial(subprocess.Popen, pass_fds=[self.listener.fileno()])
        with mock.patch('support.server.subprocess.Popen', handed):
            return super().start()

    def close(self):
        self.listener.close()
        super().close()


class PassedSocketTest(unittest.TestCase):

    def test_clients_wait_while_it_is_away(self):
        server = PassedServer()
        self.addCleanup(server.close)
        early = Client(server.port)
        self.addCleanup(early.socket.close)
        early.send(b'set q 0 0 1\r\na\r\n')
        server.start()
        self.assertEqual(early.recv_until(b'\r\n'), b'STORED\r\n')
        server.stop()
        meanwhile = Client(server.port)
        self.addCleanup(meanwhile.socket.close)
        meanwhile.send(b'get q\r\n')
        server.start()
        self.assertEqual(meanwhile.recv_until(b'END\r\n'), b'VALUE q 0 1\r\na\r\nEND\r\n')
        server.stop()

    def test_a_port_of_its_own_configuration_is_demanded(self):
        server = PassedServer()
        self.addCleanup(server.close)
        server.write_config({'server': {'memcache_listen_port': None}})
        with self.assertRaises(AssertionError):
            # its port listens already
            server.start()
            server.wait()
        self.assertEqual(server.exit_code, 1)
        self.assertIn(f"a socket 'kestrel.socket' on 127.0.0.1 port {server.port}, which is no port", server.log())
        self.assertEqual(server.log().count('\n'), 1)


if __name__ == '__main__':
    unittest.main()
