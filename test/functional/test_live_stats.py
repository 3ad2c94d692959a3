"""Statistics: every key in its place, and what a few operations do to the figures (spec memcache 4.6, 4.7)."""

import re
import time
import unittest

from functional.records import records
from functional.waiting import eventually, stats
from support.server import start_server

GLOBAL = """uptime time version curr_items total_items bytes reserved_memory_ratio curr_connections total_connections
cmd_get cmd_set cmd_peek get_hits get_misses bytes_read bytes_written queue_creates queue_deletes queue_expires
pid pointer_size threads curr_time""".split()

OF_A_QUEUE = """items bytes total_items logsize expired_items mem_items mem_bytes age head_msec discarded waiters
open_transactions transactions canceled_transactions total_flushes journal_rewrites journal_rotations
dead_letters""".split()

SETTINGS = """max_items max_size max_item_size max_age default_journal_size max_memory_size max_journal_size
min_journal_compact_delay discard_old_when_full keep_journal sync_journal expire_to_queue max_expire_sweep fanout_only
max_queue_age enable_trace disable_aggressive_rewrites open_transaction_timeout white_list_client_id_for_dequeue
white_list_client_id_for_enqueue max_deliveries dead_letter_queue""".split()


def timeless(lines):
    """The lines but for those that grow by themselves."""
    return [line for line in lines if not line.startswith(('  age=', '  head_msec='))]


class StatsTest(unittest.TestCase):

    def setUp(self):
        self.server = start_server(self, {'server': {'max_open_transactions': 10}})
        self.client = self.server.client()
        self.addCleanup(self.client.close)

    def lines(self, request):
        self.client.send(request + b'\r\n')
        reply = self.client.recv_until(b'END\r\n')
        self.assertNotIn(b'\n', reply.replace(b'\r\n', b''))
        return reply.decode('latin-1').split('\r\n')[:-2]

    def put(self, queue, data):
        self.client.expect(b'set %s 0 0 %d\r\n%s\r\n' % (queue, len(data), data), b'STORED\r\n')

    def test_keys_and_their_order(self):
        for queue in b'work', b'a:b', b'Zoo':
            self.put(queue, b'x')
        for request in b'stats', b'STATS', b'stats items':
            keys = [line.split(' ')[1] for line in self.lines(request)]
            self.assertEqual(keys, GLOBAL + [f'queue_{queue}_{key}' for queue in ('Zoo', 'a:b', 'work')
                                             for key in OF_A_QUEUE])

    def test_form_of_the_values(self):
        self.put(b'q', b'x')
        for line in self.lines(b'stats'):
            word, key, value = line.split(' ')
            self.assertEqual(word, 'STAT')
            form = {'version': r'\d+\.\d+\.\d+', 'reserved_memory_ratio': r'\d+\.\d{3}'}.get(key, r'\d+')
            self.assertTrue(re.fullmatch(form, value), line)
        found = stats(self.client)
        self.assertEqual(found['pid'], str(self.server.pid))
        self.assertEqual((found['pointer_size'], found['threads']), ('64', '1'))
        self.assertEqual(found['time'], found['curr_time'])
        self.assertLess(abs(int(found['time']) - time.time()), 3)

    def test_what_operations_do(self):
        before = stats(self.client)
        other = self.server.client()
        self.addCleanup(other.close)
        for data in b'one', b'three', b'seven..':
            self.put(b'q', data)
        self.client.expect(b'get q\r\nget q/peek\r\nget q/open\r\nget nothing\r\nget nothing/peek\r\n',
                           b'VALUE q 0 3\r\none\r\nEND\r\nVALUE q 0 5\r\nthree\r\nEND\r\n'
                           b'VALUE q 0 5\r\nthree\r\nEND\r\nEND\r\nEND\r\n')
        self.client.expect(b'monitor q 1 1\r\n', b'VALUE q 0 7\r\nseven..\r\nEND\r\nEND\r\n')
        self.client.expect(b'confirm q 1\r\nget q/abort\r\n', b'END\r\nEND\r\n')
        after = stats(self.client)
        grown = {key: int(after[key]) - int(before[key]) for key in GLOBAL
                 if key not in ('version', 'reserved_memory_ratio', 'uptime', 'time', 'curr_time')}
        self.assertGreater(grown.pop('bytes_read'), 100)
        self.assertGreater(grown.pop('bytes_written'), 100)
        # hits: get, peek, open, monitor step; misses: get, peek
        self.assertEqual(grown, {
            'curr_items': 1, 'total_items': 3, 'bytes': 7, 'curr_connections': 1, 'total_connections': 1,
            'cmd_get': 3, 'cmd_set': 3, 'cmd_peek': 2, 'get_hits': 4, 'get_misses': 2, 'queue_creates': 1,
            'queue_deletes': 0, 'queue_expires': 0, 'pid': 0, 'pointer_size': 0, 'threads': 0})
        size = (self.server.spool / 'q').stat().st_size
        own = {key: after[f'queue_q_{key}'] for key in OF_A_QUEUE}
        self.assertGreaterEqual(int(own.pop('head_msec')), 0)
        self.assertLess(int(own.pop('age')), 10000)
        self.assertEqual(own, {
            'items': '1', 'bytes': '7', 'total_items': '3', 'logsize': str(size), 'expired_items': '0',
            'mem_items': '1', 'mem_bytes': '7', 'discarded': '0', 'waiters': '0', 'open_transactions': '0',
            'transactions': '2', 'canceled_transactions': '1', 'total_flushes': '0', 'journal_rewrites': '0',
            'journal_rotations': '0', 'dead_letters': '0'})

    def test_flush_and_delete(self):
        for data in b'a', b'b', b'c':
            self.put(b'q', data)
        self.client.expect(b'get q/open\r\nflush q\r\n', b'VALUE q 0 1\r\na\r\nEND\r\nEND\r\n')
        found = stats(self.client)
        self.assertEqual([found[f'queue_q_{key}'] for key in ('items', 'bytes', 'open_transactions', 'total_flushes')],
                         ['0', '0', '1', '1'])
        self.assertEqual(found['cmd_get'], '1')         # D57: a flush is no get
        self.assertEqual(records((self.server.spool / 'q').read_bytes())[3:], ['open 1', 'remove', 'remove'])
        self.client.expect(b'delete q\r\n', b'DELETED\r\n')
        found = stats(self.client)
        self.assertNotIn('queue_q_items', found)
        self.assertEqual(found['queue_deletes'], '1')

    def test_age_and_head(self):
        self.put(b'q', b'a')
        self.put(b'q', b'b')
        self.assertEqual(stats(self.client)['queue_q_age'], '0')    # D42: nothing was taken yet
        self.client.expect(b'get q/t=1\r\nget q\r\n', b'VALUE q 0 1\r\na\r\nEND\r\nVALUE q 0 1\r\nb\r\nEND\r\n')
        found = stats(self.client)
        self.assertEqual((found['queue_q_age'], found['queue_q_head_msec']), ('0', '0'))

    def test_connections(self):
        clients = [self.server.client() for _ in range(5)]
        for client in clients:
            client.expect(b'version\r\n', b'VERSION')
        found = stats(self.client)
        self.assertEqual((found['curr_connections'], found['total_connections']), ('6', '6'))
        for client in clients:
            client.recv_until(b'\n')
            client.expect_close(b'quit\r\n')
            client.close()
        eventually(self, 'the others are gone', lambda: stats(self.client)['curr_connections'] == '1')
        self.assertEqual(stats(self.client)['total_connections'], '6')

    def test_dump_stats(self):
        self.client.expect(b'dump_stats\r\n', b'\r\nEND\r\n')       # no queues at all
        self.put(b'b', b'x')
        self.put(b'a', b'xyz')
        lines = self.lines(b'dump_stats')
        self.assertEqual([line.partition('=')[0] for line in lines],
                         [line for queue in 'ab'
                          for line in (f"queue '{queue}' {{", *(f'  {key}' for key in OF_A_QUEUE), '}')])
        self.assertIn('  bytes=3', lines)
        self.assertEqual(timeless(self.lines(b'dump_stats b')), timeless(lines[len(lines) // 2:]))
        self.client.expect(b'dump_stats x\r\n', b"queue 'x' {\r\n  \r\n}\r\nEND\r\n")
        both = self.lines(b'dump_stats b x')
        self.assertEqual(timeless(both), timeless([*lines[len(lines) // 2:], "queue 'x' {", '  ', '}']))

    def test_dump_config(self):
        config = {
            'default': {'max_items': 7, 'sync_journal': '100ms'},
            'queues': {'q': {'max_age': '90s', 'max_memory_size': '16MB', 'discard_old_when_full': True,
                             'min_journal_compact_delay': None}},
        }
        self.server.reload_config(config)
        self.put(b'other', b'x')
        lines = self.lines(b'dump_config q other')
        self.assertEqual([line.partition('=')[0] for line in lines],
                         [line for queue in ('q', 'other')
                          for line in (f"queue '{queue}' {{", *(f'  {key}' for key in SETTINGS), '}')])
        self.client.expect(b'dump_config x\r\n', b"queue 'x' {\r\n  \r\n}\r\nEND\r\n")
        own = dict(line[2:].split('=') for line in lines[1:len(SETTINGS) + 1])
        self.assertEqual(own['max_items'], '7')
        self.assertEqual(own['max_age'], '90s')
        self.assertEqual(own['discard_old_when_full'], 'true')
        self.assertEqual(own['fanout_only'], 'false')
        self.assertEqual(own['min_journal_compact_delay'], 'none')
        self.assertEqual(own['max_queue_age'], 'none')
        # what it says is configuration syntax: read back, it says the same
        self.server.reload_config({'queues': {'q': own}})
        self.assertEqual(self.lines(b'dump_config q'), lines[:len(SETTINGS) + 2])
