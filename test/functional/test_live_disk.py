"""What is on disk when an answer is sent, and what is answered when the disk fails (spec journal 2, D9, D22)."""

import errno
import unittest

from functional.records import records
from functional.watched import WatchedServer
from functional.waiting import eventually, stats

SYNCED = {'queues': {'each': {'sync_journal': '0'}, 'period': {'sync_journal': '200ms'},
                     'never': {'sync_journal': 'never'}}}


class DiskTest(unittest.TestCase):

    def setUp(self):
        self.server = WatchedServer(SYNCED)
        self.addCleanup(self.server.close)
        self.server.start()
        self.client = self.server.client()
        self.addCleanup(self.client.close)

    def put(self, queue, data=b'x', reply=b'STORED\r\n'):
        self.client.expect(b'set %s 0 0 %d\r\n%s\r\n' % (queue, len(data), data), reply)

    def records(self, queue):
        return records((self.server.spool / queue).read_bytes())


class SyncTest(DiskTest):

    def setUp(self):
        super().setUp()
        for queue in b'each', b'period', b'never':
            self.put(queue)
        eventually(self, 'the first period is over', lambda: 'fsync period' in self.server.noted())

    def test_after_each_record(self):
        for _ in range(5):
            self.put(b'each')
        self.assertEqual(self.server.noted(), ['write each', 'fsync each', 'send'] * 5)

    def test_a_pipeline_is_answered_after_all_of_it_is_durable(self):
        self.client.expect(b'set each 0 0 1\r\na\r\n' * 20, b'STORED\r\n' * 20)
        noted = self.server.noted()
        last = len(noted) - 1 - noted[::-1].index('write each')
        self.assertLess(last, len(noted) - 1 - noted[::-1].index('fsync each'))
        self.assertEqual(noted[-1], 'send')
        # what has come at once is written at once
        self.assertLess(noted.count('write each'), 20)

    def test_never(self):
        for _ in range(5):
            self.put(b'never')
        self.assertEqual(self.server.noted(), ['write never', 'send'] * 5)

    def test_set_sync_whatever_the_queue_says(self):
        for queue in b'never', b'period':
            self.put(queue + b'/sync')
            name = queue.decode()
            self.assertEqual(self.server.noted(), [f'write {name}', f'fsync {name}', 'send'])
        self.client.expect(b'get never\r\n', b'VALUE never 0 1\r\nx\r\nEND\r\n')

    def test_name_of_a_new_file_is_durable_too(self):
        self.put(b'new/sync')
        noted = self.server.noted()
        self.assertIn('fsync .', noted[:noted.index('send')])       # D63
        self.assertIn('fsync new', noted[:noted.index('send')])

    def test_period(self):
        for _ in range(5):
            self.put(b'period')
        noted = self.server.noted()
        self.assertEqual([line for line in noted if line != 'fsync period'], ['write period', 'send'] * 5)
        self.assertLessEqual(noted.count('fsync period'), 1)
        if 'fsync period' not in noted:
            eventually(self, 'an fsync behind the last record', lambda: 'fsync period' in self.server.noted())

    def test_nothing_unsynced_no_fsync(self):
        self.put(b'period')
        eventually(self, 'its fsync', lambda: 'fsync period' in self.server.noted())
        self.client.expect(b'get other/t=500\r\n', b'END\r\n')
        self.assertEqual(self.server.noted(), ['send'])

    def test_stop_syncs_what_is_not(self):
        self.put(b'never')
        self.server.noted()
        self.server.stop()
        self.assertIn('fsync never', self.server.noted())


class FailingDiskTest(DiskTest):

    FAILED = b'SERVER_ERROR journal write failed: Input/output error\r\n'

    def test_failed_write_changes_nothing(self):
        self.put(b'q', b'before')
        before = self.records('q')
        with self.server.failing('write', errno.EIO):
            for _ in range(3):
                self.put(b'q', b'lost', self.FAILED)
        self.assertEqual(self.records('q'), before)
        self.assertEqual(stats(self.client)['queue_q_items'], '1')
        self.put(b'q', b'after')
        self.server.kill9()
        self.server.start()
        with self.server.client() as client:
            client.expect(b'get q\r\nget q\r\nget q\r\n',
                          b'VALUE q 0 6\r\nbefore\r\nEND\r\nVALUE q 0 5\r\nafter\r\nEND\r\nEND\r\n')

    def test_half_a_record_is_cut_off(self):
        self.put(b'q', b'before')
        with self.server.failing('tear', errno.EIO):
            self.put(b'q', b'lost', self.FAILED)
        self.put(b'q', b'after')
        self.assertEqual(self.records('q'), ['add before', 'add after'])
        self.client.expect(b'get q\r\nget q\r\n', b'VALUE q 0 6\r\nbefore\r\nEND\r\nVALUE q 0 5\r\nafter\r\nEND\r\n')

    def test_no_waiter_gets_what_was_not_written(self):
        self.put(b'q')
        self.client.expect(b'get q\r\n', b'VALUE q 0 1\r\nx\r\nEND\r\n')
        with self.server.client() as waiting:
            waiting.send(b'get q/t=10000\r\n')
            eventually(self, 'it waits', lambda: stats(self.client)['queue_q_waiters'] == '1')
            with self.server.failing('write', errno.EIO):
                self.put(b'q', b'lost', self.FAILED)
            self.put(b'q', b'kept')
            waiting.expect(b'', b'VALUE q 0 4\r\nkept\r\nEND\r\n')

    def test_failed_fsync_is_not_answered_stored(self):
        self.put(b'each', b'before')
        with self.server.failing('fsync', errno.EIO):
            self.client.send(b'set each 0 0 4\r\nlost\r\n')
            reply = self.client.recv_until(b'\r\n')
        self.assertTrue(reply.startswith(b'SERVER_ERROR '), reply)
        self.assertEqual(stats(self.client)['queue_each_items'], '1')
        self.client.expect(b'get each\r\nget each\r\n', b'VALUE each 0 6\r\nbefore\r\nEND\r\nEND\r\n')
        self.put(b'each', b'after')
        self.client.expect(b'get each\r\n', b'VALUE each 0 5\r\nafter\r\nEND\r\n')

    def test_gets_go_on_while_the_disk_fails(self):
        for data in b'a', b'b', b'c':
            self.put(b'q', data)
        with self.server.failing('write', errno.EIO):
            self.client.expect(b'get q\r\n', b'VALUE q 0 1\r\na\r\nEND\r\n')
            self.client.expect(b'get q/open\r\n', b'VALUE q 0 1\r\nb\r\nEND\r\n')
            self.client.expect(b'get q/close\r\n', b'END\r\n')
        self.put(b'q', b'd')
        # their records were written, in order, before anything else (D10)
        self.assertEqual(self.records('q'), ['add a', 'add b', 'add c', 'remove', 'open 1', 'confirm 1', 'add d'])

    def test_queue_that_cannot_be_made(self):
        with self.server.failing('write', errno.EIO):
            self.put(b'new', b'lost', self.FAILED)
        self.client.expect(b'get new\r\n', b'END\r\n')
        self.put(b'new', b'kept')
        self.client.expect(b'get new\r\n', b'VALUE new 0 4\r\nkept\r\nEND\r\n')
