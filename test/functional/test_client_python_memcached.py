"""python-memcached, Debian's and PyPI's (spec clients). It does not look at the key of an answer."""

import subprocess
import sys
import time
import unittest

import memcache

from support.server import Server

CONSUMER = """
import sys, memcache
client = memcache.Client(['127.0.0.1:' + sys.argv[1]])
print(client.get(sys.argv[2]), flush=True)
sys.stdin.read()
"""


class PythonMemcachedTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.server = Server({'server': {'max_open_transactions': 10}})
        cls.addClassCleanup(cls.server.close)
        cls.server.start()

    def setUp(self):
        self.q = self.id().rpartition('.')[2]       # a queue for each test
        self.client = memcache.Client([f'127.0.0.1:{self.server.port}'], socket_timeout=10,
                                      server_max_value_length=1 << 24)
        self.addCleanup(self.client.disconnect_all)

    def test_fifo_of_binary_items(self):
        items = [b'\r\nEND\r\n', bytes(range(256)), b'\xff' * 2000000, b'']
        for data in items:
            self.assertTrue(self.client.set(self.q, data))
        self.assertEqual([self.client.get(self.q) for _ in items], items)
        self.assertIsNone(self.client.get(self.q))

    def test_flags_carry_types(self):
        values = ['text', 'k\u00e4se', 42, {'a': [1, None]}, True]
        for value in values:
            self.assertTrue(self.client.set(self.q, value))
        self.assertTrue(self.client.set(self.q, 'long ' * 1000, min_compress_len=100))
        self.assertEqual([self.client.get(self.q) for _ in values], values)
        self.assertEqual(self.client.get(self.q), 'long ' * 1000)

    def test_noreply(self):
        """It sends ``noreply`` with a trailing space."""
        for number in range(100):
            self.client.set(self.q, str(number), noreply=True)
        self.assertEqual([self.client.get(self.q) for _ in range(100)], [str(number) for number in range(100)])
        self.client.set(self.q, 'x')
        self.client.delete(self.q, noreply=True)
        self.assertIsNone(self.client.get(self.q))

    def test_blocking_get(self):
        began = time.monotonic()
        self.assertIsNone(self.client.get(f'{self.q}/t=200'))
        self.assertGreaterEqual(time.monotonic() - began, 0.2)

    def test_reliable_read(self):
        for data in 'one', 'two':
            self.client.set(self.q, data)
        self.assertEqual(self.client.get(f'{self.q}/open'), 'one')
        self.assertIsNone(self.client.get(f'{self.q}/abort'))
        self.assertEqual(self.client.get(f'{self.q}/open'), 'one')
        self.assertEqual(self.client.get(f'{self.q}/close/open'), 'two')
        self.assertIsNone(self.client.get(f'{self.q}/close'))
        self.assertIsNone(self.client.get(self.q))

    def test_killed_consumer(self):
        self.client.set(self.q, 'precious')
        command = [sys.executable, '-c', CONSUMER, str(self.server.port), f'{self.q}/t=2000/open']
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as consumer:
            try:
                self.assertEqual(consumer.stdout.readline(), b'precious\n')
                self.assertIsNone(self.client.get(self.q))
            finally:
                consumer.kill()
        self.assertEqual(self.client.get(f'{self.q}/t=5000'), 'precious')

    def test_several_keys(self):
        items = {f'{self.q}1': 'x', f'{self.q}2': 'y'}
        self.assertEqual(self.client.set_multi(items), [])
        self.assertEqual(self.client.get_multi([*items, 'empty']), items)

    def test_delete_and_flush(self):
        self.client.set(self.q, 'x')
        self.assertTrue(self.client.delete(self.q))
        self.assertIsNone(self.client.get(self.q))

    def test_stats(self):
        self.client.set(self.q, 'xyz')
        (_, found), = self.client.get_stats()
        self.assertEqual((found['pid'], found[f'queue_{self.q}_bytes']), (str(self.server.pid), '3'))
        self.assertRegex(found['version'], r'^\d+\.\d+\.\d+$')
