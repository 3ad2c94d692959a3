"""Queues longer than memory (spec journal 9, D45, D57)."""

import re

from functional.journaled import ADDX, END, STORED, SharedServerTest, items_of, request
from functional.records import REMOVE, add, confirmed, opened
from functional.waiting import eventually, files

# The example of spec journal 9: 8 items of 128 bytes fill the memory.
EXAMPLE = {'max_memory_size': 1024, 'default_journal_size': '1MB', 'max_journal_size': '1MB'}
SIZE = 128


class ReadBehindTest(SharedServerTest):

    def setUp(self):
        self.items = items_of(40, SIZE)

    def start_with(self, count, **settings):
        """A server whose queue q has so many items."""
        self.begin({'queues': {'q': {**EXAMPLE, **settings}}})
        self.put('q', *self.items[:count])

    def assert_memory(self, items, mem_items):
        """Numbers of waiting items: all of them, and those in memory; and of their bytes."""
        self.assert_numbers('q', items=items, bytes=items * SIZE,
                            mem_items=mem_items, mem_bytes=mem_items * SIZE)


class NumbersTest(ReadBehindTest):

    def test_example(self):
        self.start_with(8)
        self.assert_memory(8, 8)
        self.put('q', self.items[8])
        self.assert_memory(9, 8)
        self.put('q', self.items[9])
        self.assert_memory(10, 8)
        self.assertEqual(self.take('q/peek'), self.items[0])
        self.assert_memory(10, 8)
        for left in range(9, -1, -1):
            self.assertEqual(self.take('q'), self.items[9 - left])
            self.assert_memory(left, min(left, 8))
        self.assertIsNone(self.take('q'))
        self.put('q', self.items[0])
        self.assert_memory(1, 1)

    def test_begins_and_ends_again_and_again(self):
        self.start_with(0)
        for _ in range(5):
            self.put('q', *self.items[:12])
            self.assert_memory(12, 8)
            self.assertEqual(self.take_many('q', 6), self.items[:6])
            self.assert_memory(6, 6)
            self.assertEqual(self.drain('q'), self.items[6:12])

    def test_puts_and_gets_by_turns(self):
        self.start_with(20)
        for number in range(20):
            self.assertEqual(self.take('q'), self.items[number])
            self.put('q', self.items[20 + number])
            self.assert_memory(20, 8)
        self.assertEqual(self.drain('q'), self.items[20:])

    def test_one_item_larger_than_memory(self):
        self.start_with(0)
        large = b'L' * 5000
        self.put('q', large, b'small', large, b'last')
        self.assert_numbers('q', items=4, bytes=10009, mem_items=1, mem_bytes=5000)
        self.assertEqual(self.take('q'), large)
        self.assert_numbers('q', items=3, mem_items=2, mem_bytes=5005)      # one too small, the next too large
        self.assertEqual(self.drain('q'), [b'small', large, b'last'])

    def test_memory_of_nothing(self):
        for size in 0, 1:
            with self.subTest(size):
                self.start_with(10, max_memory_size=size)
                items, = self.numbers('q', 'items')
                held, = self.numbers('q', 'mem_items')
                self.assertEqual(items, 10)
                self.assertLessEqual(held, 1)
                other = self.another()
                self.assertEqual(self.take('q/open', other), self.items[0])
                other.expect(b'get q/abort\r\n', END)
                self.assertEqual(self.take('q/peek'), self.items[0])
                self.put('q', b'')
                self.assertEqual(self.drain('q'), self.items[:10] + [b''])
                self.put('q', b'again')
                self.crash_and_start()
                self.assertEqual(self.drain('q'), [b'again'])

    def test_empty_items(self):
        self.start_with(8)
        self.put('q', b'', b'', self.items[8], b'')
        self.assert_numbers('q', items=12, bytes=9 * SIZE, mem_items=8)
        self.assertEqual(self.drain('q'), self.items[:8] + [b'', b'', self.items[8], b''])

    def test_reload_of_max_memory_size(self):
        self.start_with(20)
        self.server.reload_config({'queues': {'q': {**EXAMPLE, 'max_memory_size': 2048}}})
        self.assertEqual(self.take('q'), self.items[0])
        self.assert_memory(19, 16)
        self.server.reload_config({'queues': {'q': {**EXAMPLE, 'max_memory_size': 512}}})
        self.put('q', self.items[20])
        self.assert_memory(20, 16)                      # what is in memory stays there
        for taken in range(1, 17):
            self.assertEqual(self.take('q'), self.items[taken])
            self.assert_memory(20 - taken, min(max(16 - taken, 4), 20 - taken))
        self.assertEqual(self.drain('q'), self.items[17:21])

    def test_queue_without_a_journal_stays_in_memory(self):
        self.begin({'queues': {'q': {**EXAMPLE, 'keep_journal': False}}})
        self.put('q', *self.items[:20])
        self.assert_memory(20, 20)
        self.assertEqual(self.drain('q'), self.items[:20])


class EventsTest(ReadBehindTest):

    def test_open_confirm_and_put_back(self):
        self.start_with(20)
        self.assertEqual([self.take('q/open') for _ in range(3)], self.items[:3])
        self.assert_memory(17, 8)
        self.client.expect(b'get q/abort\r\n', END)
        self.assert_memory(18, 9)                       # to the head, in memory, above the limit
        self.client.expect(b'get q/close\r\n', END)     # item 2
        self.client.expect(b'get q/abort\r\n', END)     # item 3
        self.assert_memory(19, 10)
        other = self.another()
        left = [self.items[2], self.items[0]] + self.items[3:20]
        for number in range(3):
            self.assertEqual(self.take('q', other), left[number])
            self.assert_memory(18 - number, max(9 - number, 8))
        self.crash_and_start()
        self.assertEqual(self.drain('q'), left[3:])

    def test_disconnect(self):
        self.start_with(20)
        reader = self.another()
        for number in range(5):
            self.assertEqual(self.take('q/open', reader), self.items[number])
        reader.close()
        eventually(self, 'they are back', lambda: self.numbers('q', 'items') == [20])
        self.assert_memory(20, 13)
        self.assertEqual(self.drain('q'), self.items[:20])

    def test_put_back_of_more_than_is_left(self):
        """The queue is empty and out of read-behind when they come back."""
        self.start_with(12)
        reader = self.another()
        for number in range(12):
            self.assertEqual(self.take('q/open', reader), self.items[number])
        self.assert_memory(0, 0)
        reader.close()
        eventually(self, 'they are back', lambda: self.numbers('q', 'items') == [12])
        self.put('q', *self.items[12:14])
        self.assertEqual(self.numbers('q', 'items', 'mem_items'), [14, 12])
        self.assertEqual(self.drain('q'), self.items[:14])

    def test_restart(self):
        for way in 'stop', 'kill9':
            with self.subTest(way):
                self.start_with(20)
                self.take_many('q', 2)
                self.take('q/open')
                getattr(self.server, way)()
                self.start()
                self.assertEqual(self.numbers('q', 'items', 'bytes'), [18, 18 * SIZE])
                held, = self.numbers('q', 'mem_items')
                self.assertLessEqual(held, 9)           # eight, and the one that was open
                self.put('q', b'later')
                self.assertEqual(self.drain('q'), self.items[2:20] + [b'later'])

    def test_start_with_removals_behind_the_items(self):
        """The reader placed during replay passes the records that its items were removed by."""
        self.prepare({'queues': {'q': EXAMPLE}})
        adds = [add(item) for item in self.items]
        older = adds[:20] + [REMOVE] * 3 + [opened(1), opened(2), confirmed(2)]
        (self.server.spool / 'q.1000').write_bytes(b''.join(older))
        (self.server.spool / 'q').write_bytes(b''.join([REMOVE] + adds[20:30] + [REMOVE]))
        self.start()
        left = [self.items[3]] + self.items[7:30]
        self.assertEqual(self.numbers('q', 'items', 'bytes'), [24, 24 * SIZE])
        self.assertEqual(self.drain('q'), left)

    def test_expiry(self):
        self.start_with(0)
        self.put('q', *self.items[:4], words='0 -1')
        self.put('q', self.items[4])
        self.put('q', *self.items[5:9], words='0 -1')
        self.put('q', *self.items[9:12])
        # each put sweeps the head before it stores
        self.assertEqual(self.take('q'), self.items[4])
        self.assertEqual(self.drain('q'), self.items[9:12])
        self.assert_numbers('q', expired_items=8)

    def test_expiry_far_behind_memory(self):
        self.start_with(12)
        self.put('q', *self.items[12:16], words='0 -1')
        self.put('q', *self.items[16:20])
        self.assert_memory(20, 8)
        self.assertEqual(self.drain('q'), self.items[:12] + self.items[16:20])
        self.assert_numbers('q', expired_items=4, items=0, bytes=0, mem_items=0, mem_bytes=0)

    def test_flags_and_expiry_come_back_from_disk(self):
        self.start_with(10)
        self.put('q', b'flagged', words='77 0')
        self.put('q', b'far', words='4294967295 1000')
        self.take_many('q', 10)
        self.client.expect(b'get q\r\nget q\r\n', b'VALUE q 77 7\r\nflagged\r\nEND\r\n'
                           b'VALUE q 4294967295 3\r\nfar\r\nEND\r\n')

    def test_discard_old_when_full(self):
        self.start_with(30, max_items=12, discard_old_when_full=True)
        self.assert_memory(12, 8)
        self.assert_numbers('q', discarded=18)
        self.crash_and_start()
        self.assertEqual(self.drain('q'), self.items[18:30])

    def test_max_items_counts_what_is_on_disk(self):
        self.start_with(12, max_items=12)
        self.put('q', b'no', reply=b'NOT_STORED\r\n')
        self.take('q')
        self.put('q', self.items[12])
        self.assertEqual(self.drain('q'), self.items[1:13])

    def test_flush(self):
        """D57."""
        self.start_with(30)
        self.take('q/open')
        self.client.expect(b'flush q\r\n', END)
        self.assert_memory(0, 0)
        self.assert_numbers('q', total_items=30, total_flushes=1, open_transactions=1)
        self.put('q', *self.items[30:40])
        self.assert_memory(10, 8)
        self.client.expect(b'get q/abort\r\n', END)
        self.crash_and_start()
        self.assertEqual(self.drain('q'), [self.items[0]] + self.items[30:40])

    def test_delete(self):
        self.start_with(30)
        self.assertGreater(len(self.sizes('q')), 1)
        self.client.expect(b'delete q\r\n', b'DELETED\r\n')
        eventually(self, 'its files are gone', lambda: not files(self.server.spool))
        self.put('q', *self.items[:10])
        self.assert_memory(10, 8)
        self.crash_and_start()
        self.assertEqual(self.drain('q'), self.items[:10])

    def test_waiting_gets(self):
        self.start_with(12)
        self.drain('q')
        waiting = self.another()
        waiting.send(b'get q/t=10000\r\n')
        eventually(self, 'it waits', lambda: self.numbers('q', 'waiters') == [1])
        self.put('q', b'x')
        waiting.expect(b'', b'VALUE q 0 1\r\nx\r\nEND\r\n')


class RotationTest(ReadBehindTest):
    """The files turn while they are read: every 8 puts (8 x 149 bytes > 1024)."""

    def test_reader_follows_its_file(self):
        self.start_with(40)
        self.assertGreaterEqual(len(self.sizes('q')), 5)
        self.assert_memory(40, 8)
        for number in range(40):
            self.assertEqual(self.take('q'), self.items[number])
            self.assert_memory(39 - number, min(39 - number, 8))

    def test_all_that_happens_at_once(self):
        """Order through rotations and packs with puts, gets, opens, put-backs and restarts in between."""
        self.start_with(0, max_journal_size=3000, min_journal_compact_delay=None)
        expected, produced = [], 0
        for cycle in range(24):
            more = items_of(7, SIZE, produced + 1)
            produced += 7
            self.put('q', *more)
            expected += more
            for number in range(6 if cycle % 3 else 4):
                kind = (cycle + number) % 4
                if kind == 0:
                    self.assertEqual(self.take('q/open'), expected[0])
                    self.client.expect(b'get q/abort\r\n', END)
                elif kind == 1:
                    self.assertEqual(self.take('q/open'), expected.pop(0))
                    self.client.expect(b'get q/close\r\n', END)
                else:
                    self.assertEqual(self.take('q'), expected.pop(0))
            if cycle % 8 == 7:
                self.crash_and_start()
            self.assertEqual(self.numbers('q', 'items'), [len(expected)])
        self.assertEqual(self.drain('q'), expected)

    def test_files_of_the_queue_removed_by_hand(self):
        """Files being read stay open (the reader is in the second of three)."""
        self.start_with(30, max_memory_size=2048)
        held = [name for name in self.sizes('q') if name != 'q']
        self.assertEqual(len(held), 2)
        self.assertEqual(self.take('q'), self.items[0])
        (self.server.spool / held[0]).unlink()
        (self.server.spool / held[1]).rename(self.server.spool / 'elsewhere.bak')
        self.assertEqual(self.drain('q'), self.items[1:30])
        self.put('q', b'goes on')
        self.assertEqual(self.drain('q'), [b'goes on'])

    def test_current_file_renamed_by_hand_while_it_is_read(self):
        self.start_with(10, max_memory_size='64KB')
        self.put('q', *[b'.' * 60000, b'.' * 60000])
        self.put('q', *self.items[10:20])
        self.assertEqual(self.numbers('q', 'items', 'mem_items'), [22, 12])
        (self.server.spool / 'q').rename(self.server.spool / 'elsewhere.bak')
        self.assertEqual(self.take_many('q', 10), self.items[:10])
        self.assertEqual([len(item) for item in self.take_many('q', 2)], [60000, 60000])
        self.assertEqual(self.drain('q'), self.items[10:20])


class EndTest(ReadBehindTest):
    """D45: reaching the written end of the current file ends read-behind."""

    def test_removals_behind_the_last_item(self):
        self.start_with(10)
        other = self.another()
        for number in range(9):
            self.assertEqual(self.take('q/open', other), self.items[number])
        other.expect(b'confirm q 9\r\n', END)
        self.put('q', *self.items[10:30])
        self.assertEqual(self.drain('q'), self.items[9:30])
        self.assertIsNone(self.take('q'))
        self.put('q', *self.items[:20])
        self.assert_memory(20, 8)
        self.assertEqual(self.drain('q'), self.items[:20])

    def test_current_file_cut_by_hand(self):
        """The reader comes to the end of the file sooner than it should: service goes on, the log says why."""
        self.start_with(0, max_memory_size='64KB')
        items = items_of(40, 4000)
        self.put('q', *items)       # 17 in each of two rotated files, 6 in the current one
        self.assert_numbers('q', items=40, mem_items=17, journal_rotations=2)
        with open(self.server.spool / 'q', 'r+b') as file:
            file.truncate(2 * (4000 + ADDX) + 100)
        before = self.log()
        found = self.drain('q')
        self.assertIn(len(found), (34, 35, 36))
        self.assertEqual(found, items[:len(found)])
        self.assertNotEqual(self.log(), before)
        self.put('q', b'goes on')
        self.assertEqual(self.take('q'), b'goes on')
        self.assert_numbers('q', items=0, bytes=0, mem_items=0, mem_bytes=0)


class ReadsTest(ReadBehindTest):
    """Reading ahead happens in batches."""

    def reads(self):
        """Sizes of all reads of files of q."""
        return [int(found[1]) for line in self.server.noted()
                if (found := re.fullmatch(r'read q\S* (\d+)', line))]

    def test_no_read_per_record(self):
        self.start_with(0, max_memory_size='64KB')
        items = items_of(4000, 100)
        self.client.send(b''.join(request('q', item) for item in items))
        self.client.expect(b'', STORED * len(items))
        self.assert_numbers('q', items=4000, mem_items=656)     # 65600 bytes
        self.server.noted()
        self.client.send(b'get q\r\n' * 4000)
        for item in items:
            self.client.expect(b'', b'VALUE q 0 100\r\n%s\r\nEND\r\n' % item)
        reads = self.reads()
        self.assertLess(len(reads), 60, 'for 3344 items of 121 bytes')

    def test_items_larger_than_a_block(self):
        self.start_with(0, max_memory_size='256KB')
        items = [b'%d' % number * (1 << 20) for number in range(8)]
        self.put('q', *items)
        self.assert_numbers('q', items=8, mem_items=1)
        self.server.noted()
        for item in items:
            self.assertEqual(self.take('q'), item)
        self.assertLess(len(self.reads()), 7 * 40)

    def test_items_of_all_sizes(self):
        self.start_with(0, max_memory_size='100KB')
        items = [bytes([number % 256]) * ((number * 7919) % 70000) for number in range(60)]
        self.put('q', *items)
        held, bytes_held = self.numbers('q', 'mem_items', 'mem_bytes')
        self.assertLess(held, 30)
        self.assertLessEqual(bytes_held, 102400 + 70000)
        self.assertEqual(self.drain('q'), items)
        self.put('q', *items)
        self.crash_and_start()
        self.assertEqual(self.drain('q'), items)


class QuickStartTest(ReadBehindTest):
    """A long queue begins where it was; its journal is not read again."""

    def test_after_a_stop_and_after_a_crash(self):
        self.start_with(0, max_memory_size='4MB', max_journal_size='1GB', default_journal_size='1GB')
        items = items_of(19, 1 << 20)
        self.put('q', *items)
        self.assertEqual(self.take_many('q', 2), items[:2])
        self.server.stop()
        self.assertEqual(files(self.server.spool / '.state~~').keys(), {'q'})
        self.start()
        self.assertIn('17 items are as they were at the end of', self.log())
        self.assert_numbers('q', items=17, bytes=17 << 20)
        self.assertEqual(self.take('q/open'), items[2])
        eventually(self, 'memory is filled', lambda: self.numbers('q', 'mem_items') == [4])
        before = files(self.server.spool / '.state~~')
        more = []

        def has_new_state():
            """... which is written after a rotation."""
            more.extend(items_of(1, 1 << 20, 100 + len(more)))
            self.put('q', more[-1])
            now = files(self.server.spool / '.state~~')
            return now != before and now.keys() == {'q'}
        eventually(self, 'a new state', has_new_state)
        self.put('q', b'last')
        self.crash_and_start()
        self.assertEqual(self.log().count('items are as they were at the end of'), 2)
        self.assertEqual(self.drain('q'), items[2:] + more + [b'last'])
        self.assertNotIn('ERROR', self.log())
