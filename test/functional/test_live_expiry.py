"""Expiry in a real process, with real ages of a few milliseconds (spec queues 5)."""

import time
import unittest

from functional.records import records
from functional.waiting import eventually, stats
from support.server import Server, start_server

TIMED = {
    'server': {'expiration_timer_frequency': '50ms'},
    'queues': {
        'aged': {'max_age': '20ms'},
    },
}


class BackgroundTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.server = Server(TIMED)
        cls.addClassCleanup(cls.server.close)
        cls.server.start()

    def setUp(self):
        self.client = self.server.client()
        self.addCleanup(self.client.close)

    def stat(self, key):
        return stats(self.client).get(key)

    def test_items_go_without_anybody_looking(self):
        self.client.expect(b'set aged 0 0 1\r\na\r\nset aged 0 0 1\r\nb\r\n', b'STORED\r\nSTORED\r\n')
        eventually(self, 'both swept', lambda: self.stat('queue_aged_expired_items') == '2')
        self.assertEqual(self.stat('queue_aged_items'), '0')
        self.assertEqual(records((self.server.spool / 'aged').read_bytes()), ['add a', 'add b', 'remove', 'remove'])

    def test_short_expiry_of_the_client(self):
        self.client.expect(b'set brief 0 1 1\r\na\r\nset brief 0 0 1\r\nb\r\n', b'STORED\r\nSTORED\r\n')
        self.client.expect(b'get brief/peek\r\n', b'VALUE brief 0 1\r\na\r\nEND\r\n')
        eventually(self, 'swept after its second', lambda: self.stat('queue_brief_expired_items') == '1')
        self.client.expect(b'get brief\r\n', b'VALUE brief 0 1\r\nb\r\nEND\r\n')


class MovingTest(unittest.TestCase):
    """``expire_to_queue`` (D51)."""

    def move(self, server, count):
        with server.client() as client:
            client.send(b'set old 7 0 1 noreply\r\na\r\n' * count)
            eventually(self, 'moved', lambda: stats(client).get('queue_new_total_items') == str(count))
            found = stats(client)
            self.assertEqual((found['queue_old_items'], found['queue_old_expired_items']), ('0', str(count)))
            self.assertEqual(found['total_items'], str(count))
            client.expect(b'get new\r\n', b'VALUE new 7 1\r\na\r\nEND\r\n')

    def test_in_the_background(self):
        server = start_server(self, {'server': {'expiration_timer_frequency': '20ms'},
                                     'queues': {'old': {'max_age': '1ms', 'expire_to_queue': 'new'}}})
        self.move(server, 3000)
        self.assertEqual(records((server.spool / 'new').read_bytes()), ['add a flags 7'] * 3000 + ['remove'])
        server.kill9()
        server.start()
        with server.client() as client:
            found = stats(client)
            self.assertEqual((found['queue_old_items'], found['queue_new_items']), ('0', '2999'))

    def test_into_a_queue_that_fsyncs_each(self):
        server = start_server(self, {'server': {'expiration_timer_frequency': '20ms'}, 'queues': {
            'old': {'max_age': '1ms', 'expire_to_queue': 'new'}, 'new': {'sync_journal': '0'}}})
        self.move(server, 300)
        with server.client() as client:
            self.assertEqual(stats(client)['queue_old_open_transactions'], '0')

    def test_at_a_get(self):
        server = start_server(self, {'queues': {'old': {'expire_to_queue': 'new'}}})
        with server.client() as client:
            client.expect(b'set old 0 -1 1\r\na\r\nget old\r\n', b'STORED\r\nEND\r\n')
            client.expect(b'get new\r\n', b'VALUE new 0 1\r\na\r\nEND\r\n')


class QueueAgeTest(unittest.TestCase):

    def test_unused_queues_are_deleted(self):
        server = start_server(self, {'server': {'expiration_timer_frequency': '20ms'},
                                     'queues': {'old': {'max_queue_age': '100ms'}}})
        with server.client() as client, server.client() as waiter:
            self.assertIn('queue_kept_items', stats_after(client, b'set kept 0 0 1\r\na\r\n'))
            eventually(self, 'deleted', lambda: stats(client)['queue_expires'] == '1')
            found = stats(client)
            self.assertEqual((found['queue_deletes'], found.get('queue_old_items')), ('1', None))
            self.assertFalse((server.spool / 'old').exists())
            self.assertIn('queue_old_items', stats_after(client, b'set old 0 0 1\r\na\r\n'))
            client.expect(b'get old/open\r\n', b'VALUE old 0 1\r\na\r\nEND\r\n')
            waiter.send(b'get old/t=20000\r\n')
            eventually(self, 'it waits', lambda: stats(client)['queue_old_waiters'] == '1')
            client.expect(b'get old/close\r\n', b'END\r\n')
            over = time.monotonic() + 0.5
            eventually(self, 'time has passed', lambda: time.monotonic() > over)
            self.assertIn('queue_old_items', stats_after(client, b'set old 0 0 1\r\nb\r\n'))
            self.assertEqual(waiter.recv_until(b'END\r\n'), b'VALUE old 0 1\r\nb\r\nEND\r\n')
            eventually(self, 'deleted again', lambda: stats(client)['queue_expires'] == '2')


def stats_after(client, put):
    client.expect(put, b'STORED\r\n')
    return stats(client)


class ForegroundTest(unittest.TestCase):
    """Without the timer nothing goes until somebody looks."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server({'queues': {'small': {'max_items': 2, 'discard_old_when_full': True},
                                        'swept': {'max_expire_sweep': 2}, 'heads': {'max_expire_sweep': 2}}})
        cls.addClassCleanup(cls.server.close)
        cls.server.start()

    def setUp(self):
        self.client = self.server.client()
        self.addCleanup(self.client.close)

    def put(self, queue, data, expiry=0):
        self.client.expect(b'set %s 0 %d %d\r\n%s\r\n' % (queue, expiry, len(data), data), b'STORED\r\n')

    def wait_a_second(self):
        """Until all that was put before with an expiry of 1 is dead."""
        over = time.monotonic() + 1.01
        eventually(self, 'a second is over', lambda: time.monotonic() > over)

    def test_at_get(self):
        for words, reply in ((b'g/peek', b'END\r\n'), (b'g', b'END\r\n'), (b'g/open', b'END\r\n')):
            self.put(b'g', b'dead', -1)
            self.client.expect(b'get %s\r\n' % words, reply)
        self.put(b'g', b'past', -int(time.time()))
        self.put(b'g', b'live')
        self.client.expect(b'get g\r\n', b'VALUE g 0 4\r\nlive\r\nEND\r\n')
        self.assertEqual(stats(self.client)['queue_g_expired_items'], '4')
        self.assertEqual(records((self.server.spool / 'g').read_bytes()),
                         ['add dead', 'remove'] * 3 + ['add past', 'remove', 'add live', 'remove'])

    def test_at_put(self):
        self.put(b'p', b'dead', -1)
        self.assertEqual(stats(self.client)['queue_p_items'], '1')
        self.put(b'p', b'live')
        found = stats(self.client)
        self.assertEqual((found['queue_p_items'], found['queue_p_expired_items']), ('1', '1'))
        self.assertEqual(records((self.server.spool / 'p').read_bytes()), ['add dead', 'remove', 'add live'])

    def test_behind_a_live_head(self):
        self.put(b'h', b'live')
        self.put(b'h', b'dead', -1)
        self.client.expect(b'flush_expired h\r\n', b'0\r\n')
        self.client.expect(b'get h\r\nflush_expired h\r\n', b'VALUE h 0 4\r\nlive\r\nEND\r\n1\r\n')

    def test_sweep_has_a_limit(self):
        for _ in range(5):
            self.put(b'swept', b'dead', 1)
        self.wait_a_second()
        self.client.expect(b'flush_expired swept\r\n' * 4, b'2\r\n2\r\n1\r\n0\r\n')

    def test_get_goes_on_until_a_live_one(self):
        for _ in range(5):
            self.put(b'heads', b'dead', 1)
        self.put(b'heads', b'live')
        self.wait_a_second()
        self.client.expect(b'get heads\r\n', b'VALUE heads 0 4\r\nlive\r\nEND\r\n')     # D37
        self.client.expect(b'get heads\r\n', b'END\r\n')

    def test_open_read_that_expired_is_not_put_back_for_long(self):
        self.put(b'o', b'brief', 1)
        self.client.expect(b'get o/open\r\n', b'VALUE o 0 5\r\nbrief\r\nEND\r\n')
        self.wait_a_second()
        self.client.expect(b'get o/abort\r\nget o\r\n', b'END\r\nEND\r\n')
        self.assertEqual(records((self.server.spool / 'o').read_bytes()),
                         ['add brief', 'open 1', 'unremove 1', 'remove'])

    def test_full_queue_makes_room_by_its_expired_first(self):
        self.put(b'small', b'dead', 1)
        self.put(b'small', b'one')
        self.wait_a_second()
        self.put(b'small', b'two')
        found = stats(self.client)
        self.assertEqual(found['queue_small_discarded'], '0')       # D38
        self.client.expect(b'get small\r\nget small\r\n',
                           b'VALUE small 0 3\r\none\r\nEND\r\nVALUE small 0 3\r\ntwo\r\nEND\r\n')


class RestartTest(unittest.TestCase):

    def test_expiry_survives_a_restart(self):
        server = start_server(self)
        soon = int(time.time()) + 3
        with server.client() as client:
            client.expect(b'set q 3 %d 4\r\nsoon\r\n' % soon, b'STORED\r\n')
            client.expect(b'set q 4 1000 5\r\nlater\r\n', b'STORED\r\n')
        server.kill9()
        server.start()
        with server.client() as client:
            self.assertEqual(stats(client)['queue_q_items'], '2')
            eventually(self, 'it is over', lambda: time.time() > soon + 0.01)
            client.expect(b'get q\r\n', b'VALUE q 4 5\r\nlater\r\nEND\r\n')
            self.assertEqual(stats(client)['queue_q_expired_items'], '1')
