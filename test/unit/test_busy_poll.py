"""[server] busy_poll (spec config 3)."""

import unittest

from kestrel.busy_poll import BusyPoll
from kestrel.stats import Traffic
from support.clock import MovedClock


class Watcher:
    """Of a loop that the test turns: its callback, None while it is not active."""

    def __init__(self):
        self.callback = None

    def start(self, callback):
        self.callback = callback

    def stop(self):
        self.callback = None

    close = stop


class Loop:

    def __init__(self):
        self.watchers = {'idle': Watcher(), 'check': Watcher()}

    def idle(self, ref):
        return self.watchers['idle']

    def check(self, ref):
        return self.watchers['check']

    def sleeps(self):
        """Would the loop wait for an event now?"""
        return self.watchers['idle'].callback is None

    def turn(self):
        """Something has woken the loop, or it does not sleep."""
        for kind in ('check', 'idle'):
            callback = self.watchers[kind].callback
            if callback is not None:
                callback()


class BusyPollTest(unittest.TestCase):

    def setUp(self):
        self.clock = MovedClock()
        self.loop = Loop()
        self.traffic = [Traffic(), Traffic()]
        self.poll = BusyPoll(self.loop, self.clock, self.traffic, 0.001)

    def spins_for(self):
        """-> microseconds until it sleeps"""
        began = self.clock.monotonic()
        while not self.loop.sleeps():
            self.clock.advance(0.0001)
            self.loop.turn()
        return round((self.clock.monotonic() - began) * 1e6)

    def test_sleeps_when_nothing_comes(self):
        self.assertIn(self.spins_for(), range(900, 1101))

    def test_each_request_counts_anew(self):
        for traffic in self.traffic * 5:
            self.clock.advance(0.0009)
            traffic.bytes_read += 10
            self.loop.turn()
            self.assertFalse(self.loop.sleeps())
        self.assertIn(self.spins_for(), range(900, 1101))

    def test_spins_again_when_it_was_woken(self):
        for _ in range(3):
            self.spins_for()
            self.clock.advance(60)
            self.assertTrue(self.loop.sleeps())
            self.loop.turn()
            self.assertIn(self.spins_for(), range(900, 1101))

    def test_stop(self):
        self.poll.stop()
        self.loop.turn()
        self.assertTrue(self.loop.sleeps())
