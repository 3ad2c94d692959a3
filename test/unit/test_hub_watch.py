"""A blocked hub is told, with the cause and how long it took."""

import logging
import os
import re
import sys
import time
import types
import unittest
from unittest import mock

import gevent
from kestrel import clock, hub_watch

from support.spool import LogLines

LINE = r'^WARNING hub blocked for (\d+\.\d\d) s \((\d+\.\d\d) s of it computing\) by the server itself: %s \('


def doze(seconds):
    time.sleep(seconds)


def compute(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


class HubWatchTest(unittest.TestCase):

    def setUp(self):
        self.log = LogLines()
        logger = logging.Logger('test')
        logger.addHandler(self.log)
        watch = hub_watch.HubWatch(gevent.get_hub().loop, logger, clock.Clock())
        watch.start()
        self.addCleanup(watch.stop)
        gevent.sleep(0.01)

    def lines_about(self, function):
        """A busy machine may add lines of its own."""
        gevent.sleep(hub_watch.BEAT + 0.02)
        return [line for line in self.log.lines if function in line]

    def blocked_by(self, function):
        """-> how many seconds, and how many of them it was computing, as the one line says"""
        line, = self.lines_about(function)
        self.assertRegex(line, LINE % function)
        return map(float, re.match(LINE % function, line).groups())

    def test_one_that_waits(self):
        doze(0.2)
        took, computing = self.blocked_by('doze')
        self.assertGreaterEqual(took, 0.19)
        self.assertLess(computing, 0.1)

    def test_one_that_computes(self):
        compute(0.2)
        took, computing = self.blocked_by('compute')
        self.assertGreaterEqual(took, 0.19)
        self.assertGreater(computing, 0)

    def test_after_many_quick_turns(self):
        for _ in range(2 * hub_watch.QUICK):
            gevent.sleep(0.001)
        doze(0.16)
        took, _ = self.blocked_by('doze')
        self.assertGreaterEqual(took, 0.15)

    def test_short_ones_are_not_told(self):
        for _ in range(3):
            doze(0.05)
            gevent.sleep(0.001)
        self.assertEqual(self.lines_about('doze'), [])

    def test_one_that_does_not_end(self):
        with mock.patch.object(hub_watch, 'STILL', 0.15):
            doze(0.25)
        first, last = self.lines_about('doze')
        self.assertRegex(first, r'^WARNING hub blocked for 0\.\d\d s, and still is, by the server itself: doze \(')
        self.assertRegex(last, LINE % 'doze')


class WhoseTest(unittest.TestCase):
    """Whom a stack works for: by the local variables of functions that are ours and not compiled."""

    def frames(self, **known):
        """Those below a function of ours with these local variables."""
        path = os.path.join(os.path.dirname(hub_watch.__file__), 'server.py')
        parameters = ', '.join(known)
        space = {'stack': self.stack}
        exec(compile('def run(%s):\n    return stack()' % parameters, path, 'exec'), space)
        return space['run'](**known)

    @staticmethod
    def stack():
        found = []
        frame = sys._getframe()
        while frame is not None:
            found.append(frame)
            frame = frame.f_back
        return found

    def whose(self, **known):
        shown = hub_watch.whose(self.frames(**known))
        return str(shown), shown.queue

    def client(self, words):
        return {'connection': types.SimpleNamespace(address=('127.0.0.1', 4711)), 'protocol': 'memcache',
                'handler': types.SimpleNamespace(parser=types.SimpleNamespace(words=words))}

    def test_a_client_and_its_queue(self):
        self.assertEqual(self.whose(**self.client([b'get', b'orders/t=5/open', b'other'])),
                         ('memcache client 127.0.0.1:4711, get orders/t=5/open', 'orders'))

    def test_a_client_that_asks_for_no_queue(self):
        for words in ([b'stats'], []):
            self.assertEqual(self.whose(**self.client(words))[1], None)

    def test_a_queue_in_the_background(self):
        queue = types.SimpleNamespace(name=b'caf\xe9')
        self.assertEqual(self.whose(queue=queue), ('the server itself', 'caf\xe9'))
        self.assertEqual(self.whose(journal=queue), ('the server itself', 'caf\xe9'))

    def test_nobody_in_particular(self):
        self.assertEqual(self.whose(protocol='memcache', queue=None), ('the server itself', None))
