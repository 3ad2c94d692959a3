"""pymemcache, Debian's 3.5 and PyPI's (spec clients)."""

import os
import subprocess
import sys
import time
import unittest

import pymemcache
from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheClientError, MemcacheUnexpectedCloseError
from pymemcache.serde import pickle_serde

from functional.waiting import eventually, stats
from support.server import Server, start_server

BINARY = [b'', b'\r\n', b'\r\nEND\r\n', bytes(range(256)), b'\xff' * 100000, b'VALUE q 0 5\r\n']

CONFIG = {'server': {'max_open_transactions': 10}, 'queues': {'tiny': {'max_item_size': 3}}}

CONSUMER = """
import sys
from test_client_pymemcache import QueueClient
client = QueueClient(('127.0.0.1', int(sys.argv[1])))
print(client.get(sys.argv[2]).decode(), flush=True)
sys.stdin.read()
"""


class QueueClient(Client):
    """pymemcache with the one change that lets options follow the name: an answer names the queue alone.

    ``_extract_value`` is there to be overridden, says its docstring.
    """

    def _extract_value(self, expect_cas, line, buf, remapped_keys, prefixed_keys):
        names = {words.partition(b'/')[0]: key for words, key in remapped_keys.items()}
        return super()._extract_value(expect_cas, line, buf, names, prefixed_keys)


class PymemcacheTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.server = Server(CONFIG)
        cls.addClassCleanup(cls.server.close)
        cls.server.start()

    def setUp(self):
        self.q = self.id().rpartition('.')[2]       # a queue for each test
        self.client = self.connect(default_noreply=False)

    def connect(self, kind=QueueClient, **options):
        client = kind(('127.0.0.1', self.server.port), connect_timeout=5, timeout=10, **options)
        self.addCleanup(client.close)
        return client

    def test_fifo_of_binary_items(self):
        for data in BINARY:
            self.assertIs(self.client.set(self.q, data), True)
        self.assertEqual([self.client.get(self.q) for _ in BINARY], BINARY)
        self.assertIsNone(self.client.get(self.q))

    def test_noreply_is_its_default(self):
        client = self.connect()
        for number in range(200):
            client.set(self.q, b'%d' % number)
        client.delete('other')
        self.assertEqual([client.get(self.q) for _ in range(200)], [b'%d' % number for number in range(200)])
        client.set(self.q, b'x')
        client.flush_all()
        self.assertIsNone(client.get(self.q))
        self.assertRegex(client.version(), rb'^\d+\.\d+\.\d+$')

    def test_noreply_that_fails_closes(self):
        client = self.connect()
        client.set(self.q, b'x', flags=1 << 40)
        with self.assertRaises((OSError, MemcacheUnexpectedCloseError)):
            client.get(self.q)
        self.assertIsNone(client.get(self.q))       # it connects again

    def test_flags(self):
        client = self.connect(serde=pickle_serde, default_noreply=False)
        values = ['text', 5, 2 ** 70, {'a': [1, None]}, b'bytes']
        for value in values:
            client.set(self.q, value)
        self.assertEqual([client.get(self.q) for _ in values], values)

    def test_blocking_get(self):
        began = time.monotonic()
        self.assertIsNone(self.client.get(f'{self.q}/t=200'))
        self.assertGreaterEqual(time.monotonic() - began, 0.2)
        with self.server.client() as other:
            other.send(b'get %s/t=5000\r\n' % self.q.encode())
            self.client.set(self.q, b'late')
            other.expect(b'', b'VALUE %s 0 4\r\nlate\r\nEND\r\n' % self.q.encode())

    def test_reliable_read(self):
        for data in b'one', b'two', b'three':
            self.client.set(self.q, data)
        self.assertEqual(self.client.get(f'{self.q}/open'), b'one')
        self.assertIsNone(self.client.get(f'{self.q}/abort'))
        self.assertEqual(self.client.get(f'{self.q}/open'), b'one')
        self.assertEqual(self.client.get(f'{self.q}/close/open'), b'two')
        self.client.close()
        again = self.connect()
        self.assertEqual(again.get(f'{self.q}/t=2000'), b'two')
        self.assertEqual(again.get(self.q), b'three')

    def test_raw_command(self):
        """What versions from 4 on have for requests with options; what it returns ends before the end token."""
        if not hasattr(Client, 'raw_command'):
            self.assertLess(pymemcache.__version__, '4')
            return
        self.client.set(self.q, b'one')
        self.assertEqual(self.client.raw_command(f'get {self.q}/t=500/open', end_tokens='END\r\n'),
                         b'VALUE %s 0 3\r\none\r\n' % self.q.encode())
        self.assertEqual(self.client.raw_command(f'get {self.q}/close', end_tokens='END\r\n'), b'')
        self.assertEqual(self.client.raw_command('status'), b'UP')

    def test_killed_consumer(self):
        self.client.set(self.q, b'precious')
        command = [sys.executable, '-c', CONSUMER, str(self.server.port), f'{self.q}/t=5000/open']
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              env={'PYTHONPATH': os.pathsep.join(sys.path)}) as consumer:
            try:
                self.assertEqual(consumer.stdout.readline(), b'precious\n')
                self.assertIsNone(self.client.get(self.q))
            finally:
                consumer.kill()
        self.assertEqual(self.client.get(f'{self.q}/t=5000'), b'precious')

    def test_option_in_a_key_loses_nothing_but_the_answer(self):
        self.client.set(self.q, b'x')
        plain = self.connect(Client)
        with self.assertRaises(KeyError):
            plain.get(f'{self.q}/open')
        plain.close()
        with self.server.client() as watch:
            eventually(self, 'it is back', lambda: stats(watch)[f'queue_{self.q}_items'] == '1')

    def test_several_keys(self):
        one, two, three = (f'{self.q}{number}' for number in range(3))
        self.assertEqual(self.client.set_many({one: b'1', two: b'2', three: b'3'}), [])
        self.assertEqual(self.client.get_many([one, three, 'empty']), {one: b'1', three: b'3'})
        self.assertEqual(self.client.get_many([one, two, three]), {two: b'2'})

    def test_gets(self):
        self.client.set(self.q, b'x')
        self.assertEqual(self.client.gets(self.q), (b'x', b'0'))
        self.assertEqual(self.client.gets(self.q), (None, None))

    def test_refusals(self):
        self.assertIs(self.client.set('tiny', b'xyz'), True)
        self.assertIs(self.client.set('tiny', b'four'), False)
        with self.assertRaises(MemcacheClientError):
            self.client.add(self.q, b'x')
        self.assertIs(self.client.delete('tiny'), True)

    def test_stats(self):
        self.client.set(self.q, b'xyz')
        found = self.client.stats()
        self.assertGreaterEqual(found[b'curr_items'], 1)
        self.assertEqual(found[b'pid'], self.server.pid)
        self.assertEqual(found[f'queue_{self.q}_bytes'.encode()], 3)


class RestartTest(unittest.TestCase):

    def test_flags_survive_a_crash(self):
        server = start_server(self)
        address = ('127.0.0.1', server.port)
        values = ['text', 5, {'a': [1, None]}]
        client = Client(address, serde=pickle_serde, default_noreply=False)
        for value in values:
            client.set('q', value)
        client.close()
        server.kill9()
        server.start()
        client = Client(address, serde=pickle_serde)
        self.addCleanup(client.close)
        self.assertEqual([client.get('q') for _ in values], values)
