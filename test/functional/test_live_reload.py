"""``reload``: what takes effect, and that a file with a fault changes nothing (D27)."""

import re
import unittest

from functional.waiting import eventually, files, stats
from support.server import start_server


class ReloadTest(unittest.TestCase):

    def setUp(self):
        self.server = start_server(self, {'queues': {'q': {'max_items': 2}}})
        self.client = self.server.client()
        self.addCleanup(self.client.close)

    def put(self, reply, data=b'x', queue=b'q'):
        self.client.expect(b'set %s 0 0 %d\r\n%s\r\n' % (queue, len(data), data), reply + b'\r\n')

    def test_takes_effect_with_the_next_operation(self):
        self.put(b'STORED')
        self.put(b'STORED')
        self.put(b'NOT_STORED')
        self.server.reload_config({'queues': {'q': {'max_items': 3}}})
        self.put(b'STORED')
        self.put(b'NOT_STORED')

    def test_sizes_are_not_enforced_on_what_is_there(self):
        self.put(b'STORED')
        self.put(b'STORED')
        self.server.reload_config({'queues': {'q': {'max_items': 1, 'max_item_size': 0}}})
        self.assertEqual(stats(self.client)['queue_q_items'], '2')
        self.put(b'NOT_STORED')
        self.client.expect(b'get q\r\nget q\r\n', b'VALUE q 0 1\r\nx\r\nEND\r\n' * 2)
        self.put(b'NOT_STORED')     # an item of one byte is too large now

    def test_default_reaches_queues_without_a_section(self):
        self.put(b'STORED', queue=b'other')
        self.server.reload_config({'default': {'max_item_size': 3}})
        self.put(b'NOT_STORED', b'four', b'other')
        self.put(b'NOT_STORED', b'four', b'new')
        self.put(b'STORED', b'xyz', b'other')

    def test_discard_old_when_full(self):
        for data in b'a', b'b':
            self.put(b'STORED', data)
        self.server.reload_config({'queues': {'q': {'max_items': 2, 'discard_old_when_full': True}}})
        self.put(b'STORED', b'c')
        self.client.expect(b'get q\r\n', b'VALUE q 0 1\r\nb\r\nEND\r\n')
        self.assertEqual(stats(self.client)['queue_q_discarded'], '1')

    def test_max_age_reaches_items_already_queued(self):
        self.put(b'STORED', b'old')
        self.client.expect(b'set q 0 0 3\r\nnew\r\n', b'STORED\r\n')
        self.server.reload_config({'queues': {'q': {'max_age': '1ms'}}})
        eventually(self, 'both are too old', lambda: self.client.expect(b'get q\r\n', b'END\r\n') is None)
        self.assertEqual(stats(self.client)['queue_q_expired_items'], '2')

    def test_queue_that_is_new_in_the_file_exists_at_once(self):
        self.assertNotIn('queue_fresh_items', stats(self.client))
        self.server.reload_config({'queues': {'q': {}, 'fresh': {}}})
        self.assertEqual(stats(self.client)['queue_fresh_items'], '0')      # D25
        self.assertEqual((self.server.spool / 'fresh').read_bytes(), b'')

    def test_any_case_and_further_words(self):
        self.client.expect(b'RELOAD\r\n', b'Reloaded config.\r\n')
        self.client.expect(b'reload now\r\n', b'Reloaded config.\r\n')

    def test_fault_in_the_file(self):
        self.put(b'STORED')
        before = files(self.server.spool)
        for text, key in (
            ('[default]\nmax_items = 1\n[queues]\n[[q]]\nmax_item = 3\n', b'max_item'),
            ('[default]\nmax_items = many\n', b'max_items'),
            ('[default\n', b'kestrel.conf'),
        ):
            with self.subTest(text):
                self.server.write_config(text)
                self.client.send(b'reload\r\n')
                reply = self.client.recv_until(b'\r\n')
                self.assertTrue(re.fullmatch(rb'SERVER_ERROR [^\r\n]+\r\n', reply), reply)
                self.assertIn(key, reply)
                self.client.expect(b'version\r\n', b'VERSION ')     # one line it was, and the connection is open
                self.client.recv_until(b'\r\n')
        self.put(b'STORED')
        self.put(b'NOT_STORED')         # the old limit of 2
        self.put(b'STORED', queue=b'other')
        self.put(b'STORED', queue=b'other')
        self.assertEqual({**files(self.server.spool), **before}.keys(), before.keys() | {'other'})

    def test_missing_file(self):
        self.server.config_path.unlink()
        self.client.send(b'reload\r\n')
        reply = self.client.recv_until(b'\r\n')
        self.assertTrue(reply.startswith(b'SERVER_ERROR '), reply)
        self.put(b'STORED')

    def test_server_settings_wait_for_a_restart(self):
        self.server.reload_config({'server': {'max_open_transactions': 5}, 'queues': {'q': {}}})
        self.put(b'STORED')
        self.put(b'STORED')
        self.client.expect(b'get q/open\r\n', b'VALUE q 0 1\r\nx\r\nEND\r\n')
        self.client.expect_close(b'get q/open\r\n', b'ERROR too many open reads (limit 1)\r\n')
        self.assertIn('[server] is read at the start only: restart kestrel to apply max_open_transactions\n',
                      self.server.log())
        self.server.restart()
        with self.server.client() as client:
            client.expect(b'get q/open\r\nget q/open\r\n', b'VALUE q 0 1\r\nx\r\nEND\r\n' * 2)
