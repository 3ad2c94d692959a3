"""Answers that wait for an fsync, and many of them for one (spec journal 2, D9, D22, D63)."""

import errno
import os
import signal

from functional.durable import EIO, DurabilityTest
from functional.journaled import END, STORED, items_of, request
from functional.waiting import eventually, files
from support.server import listens


class WaitingTest(DurabilityTest):

    def test_put_waits_and_is_not_there_until_then(self):
        self.put('each', b'first')
        with self.server.holding('fsync', 'each'):
            producer = self.send_and_hang('each', request('each', b'second'))
            self.assertEqual(self.take('each/peek'), b'first')
            self.assert_numbers('each', items=1, bytes=5, total_items=1, mem_items=1)
            self.assertEqual(self.take('each'), b'first')
            self.assertIsNone(self.take('each'))
            self.assertIsNone(self.take('each/peek'))
            self.assertIsNone(self.take('each/open'))
            self.assert_numbers('each', items=0, bytes=0, total_items=1)
            self.assert_silent(producer)
        producer.expect(b'', STORED)
        self.assert_numbers('each', items=1, total_items=2)
        self.assertEqual(self.take('each'), b'second')
        self.crash_and_start()
        self.assertIsNone(self.take('each'))

    def test_it_wakes_a_waiter_only_then(self):
        self.put('each', b'first')
        self.take('each')
        consumer = self.another()
        consumer.send(b'get each/t=10000\r\n')
        eventually(self, 'it waits', lambda: self.numbers('each', 'waiters') == [1])
        with self.server.holding('fsync', 'each'):
            producer = self.send_and_hang('each', request('each', b'second'))
            self.assert_silent(producer, consumer)
            self.assert_numbers('each', waiters=1)
        producer.expect(b'', STORED)
        consumer.expect(b'', b'VALUE each 0 6\r\nsecond\r\nEND\r\n')

    def test_those_behind_it_wait_with_it_but_are_answered(self):
        self.put('never', b'first')
        with self.server.holding('fsync', 'never'):
            producer = self.send_and_hang('never', request('never/sync', b'second'))
            self.put('never', b'third', b'fourth')      # STORED: they need no fsync
            self.assert_numbers('never', items=1, total_items=1)
            self.assertEqual(self.take('never'), b'first')
            self.assertIsNone(self.take('never'))
            self.assert_silent(producer)
        producer.expect(b'', STORED)
        self.assert_numbers('never', items=3, total_items=4)
        self.assertEqual(self.drain('never'), [b'second', b'third', b'fourth'])

    def test_limits_count_it_from_the_start(self):
        with self.server.holding('fsync', 'few'):
            producer = self.send_and_hang('few', request('few', b'one'))
            self.put('few', b'two', reply=b'NOT_STORED\r\n')
        producer.expect(b'', STORED)
        self.put('few', b'two', reply=b'NOT_STORED\r\n')
        self.assertEqual(self.drain('few'), [b'one'])
        self.put('few', b'two')

    def test_period_and_never_do_not_wait(self):
        with self.server.holding('fsync'):
            for queue in 'period', 'never':
                items = items_of(5, 100)
                self.put(queue, *items)
                self.pause(50)              # the period is over: its fsync hangs
                self.put(queue, b'last')
                self.assertEqual(self.drain(queue), items + [b'last'])

    def test_without_a_journal_nothing_waits(self):
        with self.server.holding('fsync'):
            self.put('memory', b'one')
            self.put('memory/sync', b'two')
            self.assertEqual(self.drain('memory'), [b'one', b'two'])

    def test_other_queues_and_clients_go_on(self):
        self.put('each', b'first', b'second')
        self.put('other', b'x')
        with self.server.holding('fsync', 'each'):
            producer = self.send_and_hang('each', request('each', b'third'))
            for queue in 'other', 'period', 'never', 'few', 'fresh/sync':
                self.put(queue, b'goes on')
            self.assertEqual(self.take('each'), b'first')
            self.assertEqual(self.take('each/open'), b'second')
            self.client.expect(b'get each/abort\r\n', END)
            self.assertEqual(self.take('other/open'), b'x')
            self.client.expect(b'get other/close\r\n', END)
            self.assert_silent(producer)
        producer.expect(b'', STORED)
        self.assertEqual(self.drain('each'), [b'second', b'third'])

    def test_flush_does_not_see_it(self):
        self.put('each', b'first')
        with self.server.holding('fsync', 'each'):
            producer = self.send_and_hang('each', request('each', b'second'))
            self.client.expect(b'flush each\r\n', END)
            self.assert_silent(producer)
        producer.expect(b'', STORED)
        self.assert_numbers('each', items=1, total_flushes=1)
        self.crash_and_start()
        self.assertEqual(self.drain('each'), [b'second'])

    def test_delete_takes_it_along(self):
        for ending, reply in ((), STORED), ((f'fsync {errno.EIO} each*',), EIO):
            with self.subTest(reply):
                self.put('each', b'first')
                self.server.faults('hold-fsync 0 each*')
                producer = self.send_and_hang('each', request('each', b'second'))
                deleting = self.another()
                deleting.send(b'delete each\r\n')
                self.put('other', b'goes on')
                self.server.faults(*ending)
                deleting.expect(b'', b'DELETED\r\n')
                producer.expect(b'', reply)
                self.server.faults()
                eventually(self, 'its files are gone',
                           lambda: not [name for name in files(self.server.spool) if name.startswith('each')])
                self.put('each', b'third')
                self.assertEqual(self.drain('each'), [b'third'])

    def test_stop_waits_for_it(self):
        self.put('each', b'first')
        self.server.faults('hold-fsync 0 each')
        producer = self.send_and_hang('each', request('each', b'second'))
        os.kill(self.server.pid, signal.SIGTERM)
        eventually(self, 'the port is closed', lambda: not listens(self.server.port))
        self.server.faults()
        producer.expect_close(b'', STORED)
        self.server.wait()
        self.start()
        self.assertEqual(self.drain('each'), [b'first', b'second'])

    def test_crash_while_it_waits(self):
        self.put('each', b'first')
        with self.server.holding('fsync', 'each'):
            producer = self.send_and_hang('each', request('each', b'second'))
            self.server.kill9()
            producer.expect_close(b'', b'')
        self.start()
        self.assertIn(self.drain('each'), ([b'first'], [b'first', b'second']))

    def test_producer_that_leaves(self):
        with self.server.holding('fsync', 'each'):
            self.send_and_hang('each', request('each', b'first')).close()
            self.pause()
        eventually(self, 'it is there', lambda: self.numbers('each', 'items') == [1])
        self.assertEqual(self.drain('each'), [b'first'])


class GroupTest(DurabilityTest):
    """One fsync answers everything that was written before it began."""

    def test_puts_of_many_clients(self):
        clients = [self.another() for _ in range(40)]
        self.put('each', b'warm')
        with self.server.holding('fsync', 'each'):
            self.send_and_hang('each', request('each', b'0'), clients[0])
            for number, client in enumerate(clients[1:], 1):
                client.send(request('each', b'%d' % number))
            self.written('each', 40)
            self.assert_silent(*clients)
            self.assertEqual(self.server.noted_so_far().count('fsyncing each'), 1)
        for client in clients:
            client.expect(b'', STORED)
        self.assertIn(self.server.noted().count('fsync each'), (2, 3))
        self.assertEqual(sorted(map(int, self.drain('each')[1:])), list(range(40)))

    def test_no_answer_from_an_fsync_that_began_before(self):
        early, late = self.another(), self.another()
        self.put('each', b'warm')
        with self.server.holding('fsync', 'each'):
            self.send_and_hang('each', request('each', b'early'), early)
            late.send(request('each', b'late'))
            self.written('each', 2)
        early.expect(b'', STORED)
        late.expect(b'', STORED)
        noted = self.server.noted()
        second = [number for number, line in enumerate(noted) if line == 'write each'][1]
        self.assertIn('fsyncing each', noted[second:], 'an fsync that begins after the second write')

    def test_confirms_of_many_clients(self):
        clients = [self.another() for _ in range(20)]
        self.put('each', *items_of(21, 10))
        for client in clients:
            self.assertIsNotNone(self.take('each/open', client))
        with self.server.holding('fsync', 'each'):
            self.send_and_hang('each', b'get each/close\r\n', clients[0])
            for client in clients[1:]:
                client.send(b'confirm each 1\r\n')
            self.written('each', 20)
            self.assert_silent(*clients)
        for client in clients:
            client.expect(b'', END)
        self.assertIn(self.server.noted().count('fsync each'), (2, 3))
        self.crash_and_start()
        self.assertEqual(self.drain('each'), items_of(1, 10, 21))


class ConfirmTest(DurabilityTest):

    def test_each_way_to_confirm_waits(self):
        for words, reply in (b'get each/close', END), (b'confirm each 1', END), (
                b'get each/close/open', b'VALUE each 0 6\r\nbehind\r\nEND\r\n'):
            with self.subTest(words):
                self.put('each', b'opened', b'behind')
                consumer = self.another()
                self.assertEqual(self.take('each/open', consumer), b'opened')
                with self.server.holding('fsync', 'each'):
                    self.send_and_hang('each', words + b'\r\n', consumer)
                    self.assert_silent(consumer)
                consumer.expect(b'', reply)
                consumer.close()
                eventually(self, 'nothing is open', lambda: self.numbers('each', 'open_transactions') == [0])
                self.assertEqual(self.drain('each'), [b'behind'])

    def test_gets_opens_and_aborts_do_not(self):
        self.put('each', b'first', b'second')
        with self.server.holding('fsync'):
            self.assertEqual(self.take('each/open'), b'first')
            self.client.expect(b'get each/abort\r\n', END)
            self.assertEqual(self.drain('each'), [b'first', b'second'])

    def test_failing_fsync_is_no_answer(self):
        self.put('each', b'first', b'second')
        self.take('each/open')
        with self.server.failing('fsync', errno.EIO):
            self.client.expect(b'get each/close\r\n', END)
        self.assertIn('Input/output error', self.server.log())     # a minute's failures have one line
        self.assert_numbers('each', open_transactions=0, items=1)
        self.until_stored('each', b'third', EIO)
        self.crash_and_start()
        self.assertEqual(self.drain('each'), [b'second', b'third'])
