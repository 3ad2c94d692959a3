"""What the service manager hears (sd_notify(3)), on a socket like its own."""

import os
import socket
import tempfile
import unittest

from kestrel.notify import Notifier

from support.clock import MovedClock


class NotifierTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, 'notify')
        self.clock = MovedClock()

    def manager(self, address):
        """A service manager's socket at that address, and who speaks to it."""
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(manager.close)
        manager.bind(address.replace('@', '\0'))
        manager.setblocking(False)
        return manager, Notifier({'NOTIFY_SOCKET': address}, self.clock)

    def heard(self, manager):
        try:
            return dict(line.split('=', 1) for line in manager.recv(4096).decode().split('\n'))
        except BlockingIOError:
            return None

    def test_ready(self):
        manager, notifier = self.manager(self.path)
        notifier.ready('up, 0 items')
        self.assertEqual(self.heard(manager), {'READY': '1', 'STATUS': 'up, 0 items'})

    def test_abstract_socket(self):
        manager, notifier = self.manager('@kestrel-test-%d' % os.getpid())
        notifier.beat('up')
        self.assertEqual(self.heard(manager), {'WATCHDOG': '1', 'STATUS': 'up'})

    def test_reloading_says_when(self):
        manager, notifier = self.manager(self.path)
        self.clock.advance(12.5)
        notifier.reloading()
        self.assertEqual(self.heard(manager), {
            'RELOADING': '1', 'MONOTONIC_USEC': str(int(self.clock.monotonic() * 1000000))})

    def test_replay_asks_for_time_at_most_once_a_second(self):
        manager, notifier = self.manager(self.path)
        notifier.replaying(1, 3, 5 << 20)
        heard = self.heard(manager)
        self.assertEqual(heard['STATUS'], 'replaying queue 1 of 3, 5 MB read')
        self.assertGreater(int(heard['EXTEND_TIMEOUT_USEC']), 30000000)
        self.clock.advance(0.9)
        notifier.replaying(2, 3, 1 << 20)
        self.assertIsNone(self.heard(manager))
        self.clock.advance(0.2)
        notifier.replaying(2, 3, 1 << 20)
        self.assertEqual(self.heard(manager)['STATUS'], 'replaying queue 2 of 3, 7 MB read')

    def test_stopping_asks_for_time(self):
        manager, notifier = self.manager(self.path)
        notifier.stopping()
        heard = self.heard(manager)
        self.assertEqual(heard['STOPPING'], '1')
        self.assertGreater(int(heard['EXTEND_TIMEOUT_USEC']), 30000000)
        notifier.stopping()
        self.assertIsNone(self.heard(manager))

    def test_a_manager_that_is_gone_disturbs_nobody(self):
        manager, notifier = self.manager(self.path)
        manager.close()
        notifier.ready('up')
        os.unlink(self.path)
        notifier.ready('up')

    def test_a_manager_that_does_not_listen_blocks_nobody(self):
        manager, notifier = self.manager(self.path)
        for number in range(5000):
            notifier.beat('up %d' % number)
        self.assertEqual(self.heard(manager)['STATUS'], 'up 0')

    def test_without_a_manager(self):
        notifier = Notifier({}, self.clock)
        notifier.ready('up')
        self.assertIsNone(notifier.watchdog)

    def test_watchdog(self):
        self.assertEqual(Notifier({'WATCHDOG_USEC': '30000000'}, self.clock).watchdog, 30.0)
        own = {'WATCHDOG_USEC': '1500000', 'WATCHDOG_PID': str(os.getpid())}
        self.assertEqual(Notifier(own, self.clock).watchdog, 1.5)
        for environ in ({'WATCHDOG_USEC': '30000000', 'WATCHDOG_PID': '1'}, {'WATCHDOG_USEC': '0'},
                        {'WATCHDOG_USEC': 'x'}):
            with self.subTest(environ):
                self.assertIsNone(Notifier(environ, self.clock).watchdog)


if __name__ == '__main__':
    unittest.main()
