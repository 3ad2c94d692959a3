"""The greenlets that clients are served in."""

import unittest

import gevent

from kestrel import ports


class SpawnTest(unittest.TestCase):

    def setUp(self):
        hub = gevent.get_hub()
        self.told = []
        hub.handle_error = lambda context, kind, error, trace: self.told.append((kind, str(error)))
        self.addCleanup(lambda: delattr(hub, 'handle_error'))

    def test_an_error_stays_in_its_greenlet(self):
        """Whoever wakes several clients in a row goes on with the next when one of them ends with an error."""
        waiting, done = [], []

        def serve(name):
            waiting.append(gevent.getcurrent())
            gevent.get_hub().switch()
            if name == 'second':
                raise ValueError('what ' + name + ' met')
            done.append(name)

        def wake():
            for greenlet in waiting:
                greenlet.switch()
            done.append('all woken')

        for name in 'first', 'second', 'third':
            ports.spawn(serve, name)
        gevent.sleep(0.001)
        self.assertEqual(len(waiting), 3)
        gevent.get_hub().loop.run_callback(wake)
        gevent.sleep(0.001)
        self.assertEqual(done, ['first', 'third', 'all woken'])
        self.assertEqual(self.told, [(ValueError, 'what second met')])


if __name__ == '__main__':
    unittest.main()
