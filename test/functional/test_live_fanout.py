"""Fanout in a real server: children live through restarts, and a put is answered when all its targets have it
(spec queues 7, D9, D22, D25)."""

import errno

from functional.durable import EIO
from functional.journaled import FULL, REFUSED, STORED, JournaledTest, request
from functional.waiting import eventually, stats

NEVER = {'sync_journal': 'never'}


class RestartTest(JournaledTest):

    def check_children(self):
        self.put('q', b'new')
        self.assertEqual([self.drain(name) for name in ('q', 'q+a', 'q+b')],
                         [[b'old', b'new'], [b'new'], [b'old', b'new']])
        self.assertEqual(stats(self.client)['queue_q_children'], 'q+a,q+b')

    def before(self):
        self.begin()
        self.take('q+a')
        self.take('q+b')
        self.put('q', b'old')
        self.assertEqual(self.take('q+a'), b'old')

    def test_children_live_through_a_stop(self):
        self.before()
        self.server.stop()
        self.start()
        self.check_children()

    def test_children_live_through_a_crash(self):
        self.before()
        self.crash_and_start()
        self.check_children()

    def test_a_child_without_its_parent_in_the_spool(self):
        self.prepare()
        (self.server.spool / 'q+a').write_bytes(b'')
        self.start()
        self.assertNotIn('queue_q_items', stats(self.client))
        self.put('q', b'1')
        self.assertEqual((self.take('q'), self.take('q+a')), (b'1', b'1'))
        self.assertEqual(self.server.warnings(), [])

    def test_a_deleted_child_stays_away(self):
        self.before()
        self.client.expect(b'delete q+a\r\n', b'DELETED\r\n')
        self.crash_and_start()
        self.put('q', b'new')
        self.assertIsNone(self.take('q+a'))

    def test_configured_children(self):
        self.begin({'queues': {'q+a': {'max_items': 1}}})
        self.put('q', b'1', b'2')
        self.assertEqual((self.drain('q'), self.drain('q+a')), ([b'1', b'2'], [b'1']))
        self.server.reload_config({'queues': {'q': {'fanout_only': True}, 'q+b': {}}})
        self.put('q', b'3', b'4')
        self.assertEqual([self.drain(name) for name in ('q', 'q+a', 'q+b')], [[], [b'3', b'4'], [b'3', b'4']])


class FailureTest(JournaledTest):
    """A target whose record cannot be written: SERVER_ERROR; the others have theirs, after a crash too."""

    def setUp(self):
        self.begin({'queues': {name: NEVER for name in ('q', 'q+a', 'q+b')}})
        self.put('q', b'first')

    def check(self, failed, number, reply):
        with self.server.failing('write', number, failed):
            self.client.expect(request('q', b'second'), reply)
        self.put('q', b'third')
        self.crash_and_start()
        for name in ('q', 'q+a', 'q+b'):
            expected = [b'first', b'third'] if name == failed else [b'first', b'second', b'third']
            self.assertEqual(self.drain(name), expected, name)

    def test_of_the_first_child(self):
        self.check('q+a', errno.EIO, EIO)

    def test_of_the_last_child(self):
        self.check('q+b', errno.ENOSPC, FULL)

    def test_of_the_parent(self):
        self.check('q', errno.EIO, EIO)

    def test_parent_that_cannot_be_created(self):
        self.server.reload_config({})
        for name in ('q', 'q+b'):
            self.client.expect(b'delete %s\r\n' % name.encode(), b'DELETED\r\n')
        (self.server.spool / 'q').mkdir()
        reply = self.answer('q', b'second')
        self.assertTrue(reply.startswith(REFUSED), reply)
        self.assertEqual(self.drain('q+a'), [b'first', b'second'])
        (self.server.spool / 'q').rmdir()


class FsyncTest(JournaledTest):
    """One target with sync_journal = 0 is enough for the put to wait (D9)."""

    def setUp(self):
        self.begin({'queues': {'q': NEVER, 'q+a': {'sync_journal': '0'}, 'q+b': {'sync_journal': '0'}}},
                   all_calls=True)
        self.put('q', b'first')

    def test_waits_for_all(self):
        producer = self.another()
        with self.server.holding('fsync', 'q+b'):
            producer.send(request('q', b'second'))
            eventually(self, 'the others have it',
                       lambda: self.numbers('q', 'items') + self.numbers('q+a', 'items') == [2, 2])
            self.assert_numbers('q+b', items=1)
            producer.socket.settimeout(0.1)
            with self.assertRaises(TimeoutError):
                producer.socket.recv(1)
            producer.socket.settimeout(10)
        producer.expect(b'', STORED)
        self.assertEqual(self.drain('q+b'), [b'first', b'second'])

    def test_an_fsync_that_fails(self):
        with self.server.failing('fsync', errno.EIO, 'q+b*'):
            self.client.expect(request('q', b'second'), EIO)
            self.assertEqual([self.drain(name) for name in ('q', 'q+a', 'q+b')],
                             [[b'first', b'second'], [b'first', b'second'], [b'first']])
        self.put('q', b'third')
        self.assertEqual([self.drain(name) for name in ('q', 'q+a', 'q+b')], [[b'third']] * 3)

    def test_sync_reaches_every_target(self):
        self.server.reload_config({'queues': {name: NEVER for name in ('p', 'p+a', 'p+b')}})
        self.put('p', b'1')
        self.server.noted()
        self.put('p/sync', b'2')
        synced = {line for line in self.server.noted() if line.startswith('fsync ')}
        self.assertLessEqual({'fsync p', 'fsync p+a', 'fsync p+b'}, synced)
