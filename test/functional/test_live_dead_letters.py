"""Items that were put back too often, in a real process (D18)."""

import unittest

from functional.records import records
from functional.waiting import eventually, stats
from support.server import start_server


def config(most=3, **changed):
    return {'server': {'max_open_transactions': 10},
            'queues': {'q': {'max_deliveries': most, 'dead_letter_queue': 'dead', **changed}}}


class DeadLetterTest(unittest.TestCase):

    def start(self, settings):
        self.server = start_server(self, settings)

    def open(self, client):
        client.expect(b'get q/open\r\n', b'VALUE q 5 6\r\npoison\r\nEND\r\n')

    def put(self, client):
        client.expect(b'set q 5 0 6\r\npoison\r\n', b'STORED\r\n')

    def stat(self, key):
        with self.server.client() as client:
            return stats(client).get(key)

    def assert_dead(self):
        eventually(self, 'moved', lambda: self.stat('queue_q_dead_letters') == '1')
        with self.server.client() as client:
            client.expect(b'get q\r\nget dead\r\n', b'END\r\nVALUE dead 5 6\r\npoison\r\nEND\r\n')
            self.assertEqual(stats(client)['queue_q_open_transactions'], '0')

    def restart(self):
        self.server.kill9()
        self.server.start()

    def test_abort_disconnect_and_restart_count(self):
        self.start(config())
        with self.server.client() as client:
            self.put(client)
            self.open(client)
            client.expect(b'get q/abort\r\n', b'END\r\n')
            self.open(client)
            self.restart()
        self.assertEqual(self.stat('queue_q_items'), '1')
        with self.server.client() as client:
            self.open(client)
        self.assert_dead()
        self.assertEqual(records((self.server.spool / 'q').read_bytes()), [
            'add poison flags 5', 'open 1', 'unremove 1', 'open 2', 'unremove 2', 'open 3', 'confirm 3'])

    def test_backed_out_at_the_start_for_the_last_time(self):
        for changed in ({}, {'sync_journal': '0'}):
            with self.subTest(changed):
                self.start(config(1, **changed))
                with self.server.client() as client:
                    self.put(client)
                    self.open(client)
                    self.restart()
                self.assertEqual(self.stat('queue_q_items'), '0')
                self.assert_dead()
                self.restart()
                self.assertEqual(self.stat('queue_q_items'), '0')

    def test_put_back_by_the_stop(self):
        self.start(config(1, sync_journal='0'))
        with self.server.client() as client:
            self.put(client)
            self.open(client)
            self.server.stop()
        self.server.start()
        self.assertEqual(self.stat('queue_dead_items'), '1')
        self.assertEqual(self.stat('queue_q_dead_letters'), '0')

    def test_counts_survive_a_rewrite(self):
        self.start(config(2, default_journal_size='1KB', max_journal_size='1KB', min_journal_compact_delay='none'))
        with self.server.client() as client:
            self.put(client)
            self.open(client)
            client.expect(b'get q/abort\r\n', b'END\r\n')
            for _ in range(30):
                client.expect(b'set q 0 0 100\r\n' + b'x' * 100 + b'\r\n', b'STORED\r\n')
            eventually(self, 'rewritten', lambda: stats(client)['queue_q_journal_rewrites'] != '0')
            self.restart()
        with self.server.client() as client:
            self.open(client)
        eventually(self, 'moved', lambda: self.stat('queue_q_dead_letters') == '1')

    def test_without_a_dead_letter_queue(self):
        self.start({'queues': {'q': {'max_deliveries': 1}}})
        with self.server.client() as client:
            self.put(client)
            self.open(client)
            client.expect(b'get q/abort\r\nget q\r\n', b'END\r\nEND\r\n')
            found = stats(client)
            self.assertEqual((found['queue_q_discarded'], found['queue_q_dead_letters']), ('1', '1'))
