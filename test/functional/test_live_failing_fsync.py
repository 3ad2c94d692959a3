"""Fsyncs that fail, and what an fsync covers (spec D9, D63)."""

import errno

from functional.durable import EIO, DurabilityTest
from functional.journaled import END, REFUSED, STORED, items_of, name_changes, request
from functional.records import records
from functional.waiting import eventually


class FailingTest(DurabilityTest):

    def test_refused_puts_are_cut_off_and_the_queue_is_rewritten(self):
        self.put('each', b'before')
        with self.server.failing('fsync', errno.EIO):
            self.put('each', b'lost', reply=EIO)
            self.assert_numbers('each', items=1, total_items=1)
            self.assertEqual(records(self.read('each')), ['add before'])
            self.assertEqual(self.take('each/peek'), b'before')
        self.assertIn('Input/output error', self.server.log())     # a minute's failures have one line
        self.server.noted()
        self.put('each', b'after')
        self.assert_rewritten('each', 1)
        noted = self.noted_at_the_end()
        self.assertEqual(name_changes(noted), [
            'rename each each.MS', 'rename each~~MS each.MS.pack', 'unlink each.MS',
            'rename each.MS.pack each'])
        self.assert_synced_between(noted)
        # the answer came when the new file had a durable name
        named = next(number for number, line in enumerate(noted) if line.endswith('.pack'))
        self.assertIn('fsync .', noted[named:noted.index('send')])
        self.assertEqual(records(self.read('each')), ['add before', 'add after'])
        self.put('each', b'again')
        self.crash_and_start()
        self.assertEqual(self.drain('each'), [b'before', b'after', b'again'])

    def test_accepted_again_as_soon_as_the_disk_works(self):
        """A put that needs the rewrite is refused if that fails, not because an earlier one failed."""
        self.put('each', b'before')
        with self.server.failing('fsync', errno.EIO):
            self.put('each', b'lost', b'lost too', b'and this one', reply=EIO)
        self.put('each', b'after')
        self.crash_and_start()
        self.assertEqual(self.drain('each'), [b'before', b'after'])

    def test_refused_while_the_rewrite_fails(self):
        for call, error, why in (('fsync', errno.EIO, b'Input/output error'),
                                 ('rename', errno.EIO, b'Input/output error'),
                                 ('create', errno.EMFILE, b'Too many open files')):
            queue = 'each' + call
            with self.subTest(call):
                self.put(queue + '/sync', b'before')
                with self.server.failing('fsync', errno.EIO, queue + '*'):
                    self.put(queue + '/sync', b'lost', reply=EIO)
                with self.server.failing(call, error, queue + '[.~]*'):
                    reply = self.answer(queue + '/sync', b'lost too')
                    self.assertIn(reply, (EIO, REFUSED + why + b'\r\n'))
                    self.put('other', b'not concerned')
                self.assertEqual(self.take(queue), b'before')
                self.until_stored(queue + '/sync', b'after', EIO)
                self.assertEqual(self.drain(queue), [b'after'])
                self.put(queue + '/sync', b'last')
        self.crash_and_start()
        for queue in 'eachfsync', 'eachrename', 'eachcreate':
            self.assertEqual(self.drain(queue), [b'last'], queue)

    def test_no_waiter_gets_it(self):
        self.put('each', b'first')
        self.take('each')
        consumer = self.another()
        consumer.send(b'get each/t=10000\r\n')
        eventually(self, 'it waits', lambda: self.numbers('each', 'waiters') == [1])
        with self.server.failing('fsync', errno.EIO):
            self.put('each', b'lost', reply=EIO)
        self.put('each', b'kept')
        consumer.expect(b'', b'VALUE each 0 4\r\nkept\r\nEND\r\n')

    def test_limits_forget_it(self):
        with self.server.failing('fsync', errno.EIO):
            self.put('few', b'lost', reply=EIO)
        self.put('few', b'kept')
        self.put('few', b'too many', reply=b'NOT_STORED\r\n')
        self.assertEqual(self.drain('few'), [b'kept'])

    def test_all_that_waited_are_refused_and_later_ones_are_true(self):
        """Two wait: the fsync of one has begun, that of the other not; the first fails."""
        self.put('each', b'before')
        self.server.faults('hold-fsync 0 each')
        early, late = self.another(), self.another()
        self.send_and_hang('each', request('each', b'early'), early)
        late.send(request('each', b'late'))
        self.written('each', 2)
        self.server.faults(f'fsync {errno.EIO} each')       # the rewrite's own file would be synced
        early.expect(b'', EIO)
        reply = late.recv_until(b'\r\n')
        self.assertIn(reply, (STORED, EIO))
        self.server.faults()
        expected = [b'before'] + [b'late'] * (reply == STORED)
        self.put('each', b'after')
        self.assert_numbers('each', items=len(expected) + 1, total_items=len(expected) + 1)
        self.crash_and_start()
        self.assertEqual(self.drain('each'), expected + [b'after'])

    def fail_with_answered_behind(self, *behind):
        """A durable put to ``never`` fails when others that needed no fsync stand behind it."""
        self.server.faults('hold-fsync 0 never')
        producer = self.send_and_hang('never', request('never/sync', b'void'))
        self.put('never', *behind)
        self.server.faults(f'fsync {errno.EIO} never*')
        producer.expect(b'', EIO)
        eventually(self, 'those behind are in',
                   lambda: self.numbers('never', 'items', 'total_items') == [len(behind)] * 2)

    def test_void_item_is_taken_off_when_its_turn_comes(self):
        self.fail_with_answered_behind(b'a', b'b', b'c')
        self.assertEqual(self.take('never/peek'), b'a')
        self.assertEqual(self.take('never'), b'a')
        self.assertEqual(self.take('never/open'), b'b')
        self.assertEqual(records(self.read('never')),
                         ['add void', 'add a', 'add b', 'add c', 'remove', 'remove', 'open 1'])
        self.client.expect(b'get never/abort\r\n', END)
        self.crash_and_start()
        self.assertEqual(self.drain('never'), [b'b', b'c'])

    def test_void_item_and_flush(self):
        self.fail_with_answered_behind(b'a', b'b')
        self.client.expect(b'flush never\r\n', END)
        self.assert_numbers('never', items=0, bytes=0)
        self.put('never', b'after')
        self.crash_and_start()
        self.assertEqual(self.drain('never'), [b'after'])

    def test_answered_items_are_never_cut(self):
        self.fail_with_answered_behind(b'a', b'b')
        self.crash_and_start()
        self.assertIn(self.drain('never'), ([b'a', b'b'], [b'void', b'a', b'b']))

    def test_next_durable_put_rewrites_without_it(self):
        self.fail_with_answered_behind(b'a')
        self.server.faults()
        self.put('never/sync', b'b')
        self.settled_sizes('never')
        self.assertEqual(records(self.read('never')), ['add a', 'add b'])
        self.crash_and_start()
        self.assertEqual(self.drain('never'), [b'a', b'b'])

    def test_in_read_behind(self):
        """No rewrite there: nothing refused is handed out, nothing answered is lost."""
        items = items_of(20, 128)
        self.put('behind', *items[:12])
        with self.server.failing('fsync', errno.EIO, 'behind*'):
            self.put('behind', b'lost', reply=EIO)
            self.assertEqual(self.take('behind'), items[0])
        self.assert_numbers('behind', items=11, total_items=12)
        reply = self.answer('behind', items[12])
        stored = items[1:12] + [items[12]] * (reply == STORED)
        self.assertEqual(self.take_many('behind', 10), stored[:10])
        self.until_stored('behind', items[13], EIO)     # out of read-behind: the rewrite can be made
        self.crash_and_start()
        self.assertEqual(self.drain('behind'), stored[10:] + [items[13]])


class NamesTest(DurabilityTest):
    """D63: the name of the file that holds a record."""

    def test_folder_that_cannot_be_synced(self):
        with self.server.failing('fsync', errno.EIO, '.'):
            self.put('fresh/sync', b'lost', reply=EIO)
            self.put('fresh', b'needs no fsync')
        self.put('fresh/sync', b'kept')
        self.assertEqual(self.drain('fresh'), [b'needs no fsync', b'kept'])

    def test_rotation(self):
        items = items_of(20, 100)
        self.put('turning', *items[:9])
        self.server.noted()
        self.assertEqual(self.take('turning'), items[0])            # 9 x 121 + 1 > 1000
        eventually(self, 'a rotation', lambda: self.numbers('turning', 'journal_rotations') == [1])
        self.put('turning', items[9])
        noted = self.server.noted()
        until = noted[:len(noted) - noted[::-1].index('send')]
        old, = [name for name in self.sizes('turning') if name != 'turning']
        turned = until.index(f'rename turning {old}')
        removed = until.index('write turning')
        self.assertLess(removed, turned)
        self.assertTrue('fsync turning' in until[removed:turned] or f'fsync {old}' in until[turned:], until)
        self.assertIn('fsync .', until[turned:])
        stored = len(until) - 1 - until[::-1].index('write turning')
        self.assertGreater(stored, turned)
        self.assertIn('fsync turning', until[stored:])

    def test_rotation_without_fsyncs_is_synced_in_the_background(self):
        items = items_of(30, 100)
        with self.server.holding('fsync', 'turning-never*'):
            self.put('turning-never', *items)
            self.assertEqual(self.take_many('turning-never', 10), items[:10])
            self.assertGreaterEqual(self.numbers('turning-never', 'journal_rotations')[0], 3)
        rotated = [name for name in self.sizes('turning-never') if name != 'turning-never']
        self.assertEqual(len(rotated), 3)
        noted = self.server.noted

        def all_synced():
            seen.update(line for line in noted() if line.startswith('fsync '))
            return all(f'fsync {name}' in seen for name in rotated)
        seen = set()
        eventually(self, 'rotated files are synced', all_synced)
        self.assertEqual(self.drain('turning-never'), items[10:])
