"""Sockets of a service manager: which port one is for, and what is refused (sd_listen_fds(3))."""

import contextlib
import fcntl
import os
import socket
import unittest

from kestrel.errors import StartError
from kestrel.passed_sockets import PassedSockets
from kestrel.ports import ClientPort

FIRST = 300         # beyond what the tests have open


def listening(family=socket.AF_INET, host='127.0.0.1'):
    sock = socket.socket(family)
    sock.bind((host, 0))
    sock.listen()
    return sock


class PassedSocketsTest(unittest.TestCase):

    def passed(self, *named, pid=None):
        """PassedSockets of (name, socket), handed over as a service manager does; the sockets here are closed."""
        for number, (_, sock) in enumerate(named):
            descriptor = fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD, FIRST + number)
            self.assertEqual(descriptor, FIRST + number)
            self.addCleanup(self.close_descriptor, descriptor)
            os.set_inheritable(descriptor, True)
            sock.close()
        environ = {'LISTEN_PID': str(pid or os.getpid()), 'LISTEN_FDS': str(len(named)),
                   'LISTEN_FDNAMES': ':'.join(name for name, _ in named)}
        passed = PassedSockets(environ, FIRST)
        self.addCleanup(passed.close)
        return passed

    @staticmethod
    def close_descriptor(descriptor):
        with contextlib.suppress(OSError):
            os.close(descriptor)

    def test_nothing_is_passed(self):
        for environ in ({}, {'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '0'}, {'LISTEN_FDS': '1'},
                        {'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': 'x'}):
            with self.subTest(environ):
                passed = PassedSockets(environ)
                self.assertIsNone(passed.take('memcache', ('127.0.0.1', 22133)))
                passed.check_taken()

    def test_those_of_another_process_are_left_alone(self):
        sock = listening()
        address = sock.getsockname()
        self.assertIsNone(self.passed(('memcache', sock), pid=os.getpid() + 1).take('memcache', address))

    def test_by_name(self):
        text, memcache = listening(), listening()
        addresses = memcache.getsockname(), text.getsockname()
        passed = self.passed(('text', text), ('memcache', memcache))
        # the name wins over the address
        self.assertEqual(passed.take('memcache', addresses[1]).getsockname(), addresses[0])
        self.assertEqual(passed.take('text', ('127.0.0.1', 1)).getsockname(), addresses[1])
        self.assertIsNone(passed.take('text', addresses[1]))
        passed.check_taken()

    def test_by_address(self):
        four, six = listening(), listening(socket.AF_INET6, '::1')
        addresses = four.getsockname(), six.getsockname()
        passed = self.passed(('kestrel.socket', four), ('kestrel.socket', six))
        self.assertEqual(passed.take('memcache', addresses[1]).getsockname(), addresses[1])
        self.assertIsNone(passed.take('thrift', ('127.0.0.2', addresses[0][1])))
        self.assertEqual(passed.take('text', addresses[0]).getsockname(), addresses[0])

    def test_a_port_without_a_name(self):
        sock = listening()
        address = sock.getsockname()
        fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD, FIRST)
        self.addCleanup(self.close_descriptor, FIRST)
        sock.close()
        passed = PassedSockets({'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '1'}, FIRST)
        self.addCleanup(passed.close)
        taken = passed.take('memcache', address)
        self.addCleanup(taken.close)
        self.assertEqual(taken.fileno(), FIRST)
        # no other program that is started gets it
        self.assertFalse(taken.get_inheritable())

    def test_one_that_no_port_takes(self):
        one, two = listening(), listening()
        port = two.getsockname()[1]
        passed = self.passed(('memcache', one), ('memcache', two))
        self.addCleanup(passed.take('memcache', ('127.0.0.1', 1)).close)
        with self.assertRaisesRegex(StartError, rf"'memcache' on 127\.0\.0\.1 port {port}, .*FileDescriptorName=.* once"):
            passed.check_taken()

    def test_what_is_no_listening_socket(self):
        quiet = socket.socket()
        quiet.bind(('127.0.0.1', 0))
        local = socket.socket(socket.AF_UNIX)
        local.bind('\0kestrel-test-%d' % os.getpid())
        local.listen()
        datagrams = socket.socket(type=socket.SOCK_DGRAM)
        datagrams.bind(('127.0.0.1', 0))
        for sock in quiet, local, datagrams:
            with self.subTest(sock), self.assertRaisesRegex(StartError, "'x.socket'.*TCP.*ListenStream="):
                self.passed(('x.socket', sock))
        with self.subTest('a file'), open(os.devnull) as file, \
                self.assertRaisesRegex(StartError, "'memcache'.* is no socket: .*LISTEN_FDS"):
            self.passed(('memcache', file))

    def test_a_port_serves_it(self):
        sock = listening()
        address = sock.getsockname()
        port = ClientPort('memcache', '127.0.0.1', 1, self.passed(('memcache', sock)))
        self.assertEqual(port.address, address)
        self.assertEqual(port.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), 1)
        port.close()


if __name__ == '__main__':
    unittest.main()
