"""Open reads that go back by themselves, in a real process (D8)."""

import time
import unittest

from functional.records import records
from functional.waiting import eventually, stats
from support.server import start_server

TIMED = {'server': {'max_open_transactions': 2}, 'queues': {'q': {'open_transaction_timeout': '200ms'}}}


class TimeoutTest(unittest.TestCase):

    def setUp(self):
        self.server = start_server(self, TIMED)
        self.owner = self.server.client()
        self.addCleanup(self.owner.close)
        self.other = self.server.client()
        self.addCleanup(self.other.close)

    def open_one(self):
        self.owner.expect(b'set q 0 0 1\r\na\r\nget q/open\r\n', b'STORED\r\nVALUE q 0 1\r\na\r\nEND\r\n')

    def test_a_waiting_client_gets_it(self):
        self.open_one()
        began = time.monotonic()
        self.other.expect(b'get q/t=10000\r\n', b'VALUE q 0 1\r\na\r\nEND\r\n')
        self.assertLess(time.monotonic() - began, 5)
        found = stats(self.other)
        self.assertEqual(found['queue_q_canceled_transactions'], '1')
        self.assertEqual(found['queue_q_open_transactions'], '0')
        self.owner.expect(b'get q/close\r\n', b'END\r\n')
        self.assertEqual(records((self.server.spool / 'q').read_bytes()),
                         ['add a', 'open 1', 'unremove 1', 'remove'])

    def test_owner_has_its_place_until_it_lets_go(self):
        self.open_one()
        eventually(self, 'back', lambda: stats(self.other)['queue_q_items'] == '1')
        self.other.expect(b'get q/open\r\n', b'VALUE q 0 1\r\na\r\nEND\r\n')
        self.owner.expect(b'confirm q 1\r\n', b'END\r\n')
        self.owner.expect(b'confirm q 1\r\n', b'ERROR not that many open reads (0 open)\r\n')
        self.owner.close()
        self.assertEqual(stats(self.other)['queue_q_open_transactions'], '1')
        self.other.expect(b'get q/close\r\nget q\r\n', b'END\r\nEND\r\n')

    def test_reload(self):
        self.server.reload_config({'server': {'max_open_transactions': 2}})
        self.open_one()
        self.server.reload_config(TIMED)
        self.owner.expect(b'set q 0 0 1\r\nb\r\nget q/open\r\n', b'STORED\r\nVALUE q 0 1\r\nb\r\nEND\r\n')
        self.other.expect(b'get q/t=10000\r\nget q\r\n', b'VALUE q 0 1\r\nb\r\nEND\r\nEND\r\n')
