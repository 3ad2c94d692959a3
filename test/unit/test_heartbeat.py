"""What a running server shows of itself; the hub, the server and the service manager are stand-ins."""

import types
import unittest
from unittest import mock

from kestrel import heartbeat
from kestrel.heartbeat import Heartbeat, grouped


class Manager:
    """Stands in for a Notifier; ``heard`` is what was said to it."""

    def __init__(self, watchdog=None):
        self.watchdog = watchdog
        self.heard = []

    def __getattr__(self, name):
        return lambda *words: self.heard.append((name, *words))


class Server:
    """Stands in for a KestrelServer with one queue; ``timers`` is what its hub was asked to call later."""

    def __init__(self):
        self.config = types.SimpleNamespace(path='/etc/kestrel/main.conf')
        self.queue = types.SimpleNamespace(count=1234)
        self.collection = types.SimpleNamespace(queues={b'q': self.queue})
        self.stats = types.SimpleNamespace(connections=5)
        self.hub = self
        self.timers = []
        self.why = None

    def status(self):
        return 'ReadOnly'

    def reload(self):
        return self.why

    def call_later(self, seconds, function):
        self.timers.append((seconds, function))


class HeartbeatTest(unittest.TestCase):

    def setUp(self):
        title = mock.patch.object(heartbeat, 'setproctitle')
        self.title = title.start()
        self.addCleanup(title.stop)
        self.server = Server()
        self.manager = Manager()

    def test_ready_then_beats(self):
        beating = Heartbeat(self.server, self.manager)
        beating.begin()
        said = 'readonly, 1 234 items in 1 queues, 5 connections'
        self.assertEqual(self.manager.heard, [('ready', said)])
        self.title.assert_called_with('kestrel: main.conf readonly 1 234 items')
        self.server.queue.count = 7
        (seconds, beat), = self.server.timers
        self.assertEqual(seconds, 5.0)
        beat()
        self.assertEqual(self.manager.heard[1], ('beat', said.replace('1 234', '7')))
        self.title.assert_called_with('kestrel: main.conf readonly 7 items')
        self.assertEqual(len(self.server.timers), 2)

    def test_beats_three_times_in_what_the_watchdog_allows(self):
        Heartbeat(self.server, Manager(watchdog=3.0)).begin()
        self.assertEqual(self.server.timers[0][0], 1.0)

    def test_ends(self):
        beating = Heartbeat(self.server, self.manager)
        beating.begin()
        beating.end()
        self.server.timers[0][1]()
        self.assertEqual((len(self.manager.heard), len(self.server.timers)), (1, 1))

    def test_reload(self):
        beating = Heartbeat(self.server, self.manager)
        beating.reload()
        self.server.why = 'line 3: bad'
        beating.reload()
        self.assertEqual(self.manager.heard, [
            ('reloading',), ('ready', beating.status()), ('reloading',), ('ready', 'not reloaded: line 3: bad')])

    def test_grouped(self):
        self.assertEqual([grouped(number) for number in (0, 999, 1000, 1234567)], ['0', '999', '1 000', '1 234 567'])


if __name__ == '__main__':
    unittest.main()
