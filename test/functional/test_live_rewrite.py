"""How journals are rewritten and packed, and the disk they take (spec journal 8, 10, 11, D40, D43)."""

import re

from functional.journaled import (
    ADDX, END, LARGE, STORED, SharedServerTest, items_of, name_changes, request)
from functional.records import REMOVE, add, records, starling_add
from functional.waiting import eventually, files

RECORD = 100 + ADDX     # an item of these tests on disk


class RewriteTest(SharedServerTest):
    """D43, and what a rewrite keeps."""

    def test_steps(self):
        for sync in 'never', '0', '10ms':
            with self.subTest(sync):
                settings = {**LARGE, 'default_journal_size': RECORD + 1, 'sync_journal': sync}
                self.begin({'queues': {'q': settings}})
                self.put('q', b'.' * 100)
                self.server.noted()
                self.take('q')
                self.assert_rewritten('q', 1, 0)
                noted = self.noted_at_the_end()
                self.assertEqual(name_changes(noted), [
                    'rename q q.MS', 'rename q~~MS q.MS.pack', 'unlink q.MS', 'rename q.MS.pack q'])
                self.assert_synced_between(noted)
                temporary = re.search(r'q~~\d+', ' '.join(noted))[0]
                writing, syncing = f'write {temporary}', f'fsync {temporary}'
                on_temporary = [line for line in noted if line in (writing, syncing)]
                self.assertEqual(on_temporary[-1:], [syncing])
                first = next(number for number, line in enumerate(noted) if line.startswith('rename '))
                if sync != '10ms':      # a period may be over at any time
                    self.assertNotIn(syncing, noted[first:])
                stamps = re.findall(r'q\.(\d+)', ' '.join(noted))
                self.assertEqual(len(set(stamps)), 1, 'the rotated file and the new one have the same time')

    def test_rotated_files_are_removed_and_the_new_one_comes_last(self):
        self.prepare({'queues': {'q': {**LARGE, 'default_journal_size': 100}}})
        for name in 'q.1000', 'q.2000':
            (self.server.spool / name).write_bytes((add(b'.' * 100) + REMOVE) * 2)
        self.start()
        self.put('q', b'x')
        self.assert_rewritten('q', 1, ADDX + 1)
        noted = self.noted_at_the_end()
        self.assertEqual(sorted(set(name_changes(noted))), sorted({
            'rename q q.MS', 'rename q~~MS q.MS.pack', 'unlink q.MS', 'rename q.MS.pack q'}))
        self.assertIn('unlink q.1000', noted)
        self.assertIn('unlink q.2000', noted)
        self.assert_synced_between(noted)

    def test_open_reads_come_first_highest_xid_first(self):
        """The example of spec journal 8."""
        self.begin({'queues': {'q': {**LARGE, 'max_journal_size': 4 * 22 + 15}}})
        self.put('q', *[b'A', b'B', b'C', b'D'])
        for _ in range(3):
            self.take('q/open')
        self.put('q', b'E')         # not above max_journal_size before it
        self.take('q/peek')
        self.pause()
        self.assert_numbers('q', journal_rewrites=0)
        self.put('q', b'F')
        self.assert_rewritten('q', 1)
        self.assertEqual(records(self.read('q')), [
            'add C', 'open 3', 'add B', 'open 2', 'add A', 'open 1', 'add D', 'add E', 'add F'])
        self.client.expect(b'confirm q 1\r\n', END)
        self.crash_and_start()
        self.assertEqual(self.drain('q'), [b'B', b'C', b'D', b'E', b'F'])

    def test_add_times_expiry_and_flags_stay(self):
        self.prepare({'queues': {'q': {**LARGE, 'max_journal_size': 200}}})
        kept = [add(b'one', added=1384870000123), add(b'two', added=1384870000456, expiry=4102444800789),
                b'\x0a' + (29).to_bytes(4, 'little') + (77).to_bytes(4, 'little') + bytes(4)
                + (1384870000999).to_bytes(8, 'little') + bytes(8) + b'three']
        (self.server.spool / 'q').write_bytes(add(b'.' * 200) + b''.join(kept))
        self.start()
        self.take('q')
        self.assert_rewritten('q', 1, sum(map(len, kept)))
        self.assertEqual(self.read('q'), b''.join(kept))

    def test_old_records_are_written_anew_as_adds(self):
        """A starling file is converted by a rewrite (spec journal 6)."""
        self.prepare({'queues': {'q': {**LARGE, 'max_journal_size': 200}}})
        (self.server.spool / 'q').write_bytes(add(b'.' * 200) + starling_add(b'old'))
        self.start()
        self.take('q')
        self.assert_rewritten('q', 1)
        data = self.read('q')
        self.assertEqual((data[0], records(data)), (2, ['add old']))

    def test_puts_and_gets_go_on_meanwhile(self):
        self.begin({'queues': {'q': {**LARGE, 'max_journal_size': 5 * RECORD}}})
        items = items_of(12, 100)
        self.put('q', *items[:5])
        with self.server.holding('fsync', 'q~~*'):
            self.assertEqual(self.take('q/open'), items[0])
            eventually(self, 'a rewrite', self.is_replacing)
            self.client.expect(b'get q/close\r\n', END)
            self.put('q', *items[5:])
            self.assertEqual(self.take('q'), items[1])
            self.assert_numbers('q', items=10, journal_rewrites=0)
        self.assert_rewritten('q', 1)
        self.assertEqual(list(self.settled_sizes('q')), ['q'])
        self.put('q', b'last')
        self.crash_and_start()
        self.assertEqual(self.drain('q'), items[2:] + [b'last'])

    def test_crash_meanwhile(self):
        self.begin({'queues': {'q': {**LARGE, 'max_journal_size': 5 * RECORD}}})
        items = items_of(8, 100)
        self.put('q', *items[:5])
        with self.server.holding('fsync', 'q~~*'):
            self.take('q')
            eventually(self, 'a rewrite', self.is_replacing)
            self.put('q', *items[5:])
            self.server.kill9()
        self.assertTrue([name for name in self.sizes('q') if '~~' in name])
        self.start()
        self.assertEqual(list(self.sizes('q')), ['q'])
        self.assertEqual(self.drain('q'), items[1:])

    def test_delete_meanwhile(self):
        self.begin({'queues': {'q': {**LARGE, 'max_journal_size': 5 * RECORD}}})
        self.put('q', *items_of(5, 100))
        other = self.another()
        with self.server.holding('fsync', 'q~~*'):
            self.take('q')
            eventually(self, 'a rewrite', self.is_replacing)
            other.send(b'delete q\r\n')
            self.put('elsewhere', b'goes on')
        other.expect(b'', b'DELETED\r\n')
        eventually(self, 'its files are gone', lambda: list(files(self.server.spool)) == ['elsewhere'])
        self.put('q', b'new')
        self.crash_and_start()
        self.assertEqual(self.drain('q'), [b'new'])


BEHIND = {'default_journal_size': '1MB', 'max_memory_size': 1024, 'max_journal_size': 2000}


class PackTest(SharedServerTest):
    """Spec journal 10, D40. 16 items of 128 bytes: the first rotation is before the 8th put, read-behind
    begins with the 9th, the checkpoint is set before the 15th, and its file is left behind when seven are
    taken."""

    def fill(self):
        self.begin({'queues': {'q': BEHIND}})
        self.items = items_of(16, 128)
        self.put('q', *self.items)
        self.assert_numbers('q', journal_rotations=2, items=16, mem_items=8)
        self.before = self.sizes('q')
        self.assertEqual(list(self.before.values()), [7 * 149, 7 * 149, 2 * 149])
        self.server.noted()

    def packed(self):
        """Wait for the pack; -> the records of the packed file."""
        first, second, current = self.before
        eventually(self, 'the pack', lambda: list(self.sizes('q')) == [second, current])
        return records(self.read(second))

    def assert_packed(self, found, gone):
        """Placeholders for what was taken out at the time of the pack, then the others."""
        expected = [f'add {item.decode()}' for item in self.items[:14]]
        taken = found.count('add ')
        self.assertIn(taken, (gone - 1, gone))
        self.assertEqual(found, ['add '] * taken + expected[taken:])

    def test_content(self):
        self.fill()
        self.assertEqual(self.take_many('q', 7), self.items[:7])
        self.assert_packed(self.packed(), 7)
        self.assert_numbers('q', journal_rewrites=0, items=9)
        self.crash_and_start()
        self.assertEqual(self.drain('q'), self.items[7:])

    def test_steps(self):
        self.fill()
        first, second, current = self.before
        self.take_many('q', 7)
        self.packed()
        noted = self.noted_at_the_end()
        self.assertEqual(name_changes(noted), [
            'rename q~~MS q.MS.pack', 'unlink q.MS', 'unlink q.MS', 'rename q.MS.pack q.MS'])
        self.assertIn(f'rename {second}.pack {second}', noted)
        self.assert_synced_between(noted)
        renamed = next(number for number, line in enumerate(noted) if line.startswith('rename '))
        temporary = noted[renamed].split()[1]
        self.assertIn(f'fsync {temporary}', noted[:renamed])
        # the removals that it relies on, at least six, are durable before
        removals = [number for number, line in enumerate(noted) if line == f'write {current}']
        self.assertIn(f'fsync {current}', noted[removals[5]:renamed])

    def test_gets_and_opens_in_turn(self):
        """The original loses data here (D40)."""
        self.fill()
        reader = self.another()
        for number, kind in enumerate(['', '/open', '', '/open', '', '/open', '/open']):
            self.assertEqual(self.take('q' + kind, reader if kind else None), self.items[number])
        reader.expect(b'get q/close\r\n', END)
        found = self.packed()
        self.assertEqual(len(found), 14)
        self.server.kill9()
        self.start()
        self.assertEqual(self.drain('q'), [self.items[number] for number in (3, 5, 6)] + self.items[7:])

    def test_reads_that_were_open_at_the_checkpoint(self):
        self.begin({'queues': {'q': BEHIND}})
        items = items_of(24, 128)
        self.put('q', *items[:10])
        early = self.another()
        for number in range(3):
            self.assertEqual(self.take('q/open', early), items[number])
        early.expect(b'get q/close\r\n', END)
        self.put('q', *items[10:])
        rotations = self.numbers('q', 'journal_rotations')[0]
        self.assertGreaterEqual(rotations, 2)
        waiting = items[3:]
        noted = []

        def is_packed():
            noted.extend(self.server.noted())
            return any(re.fullmatch(r'rename q\.\d+\.pack q\.\d+', line) for line in noted)
        while not is_packed() and len(waiting) > 8:
            self.assertEqual(self.take('q'), waiting.pop(0))
        eventually(self, 'the pack', is_packed)
        self.server.kill9()
        self.start()
        self.assertEqual(self.drain('q'), items[1:3] + waiting)

    def test_put_back_after_the_pack(self):
        self.fill()
        reader = self.another()
        self.assertEqual(self.take('q/open', reader), self.items[0])
        self.take_many('q', 6)
        self.packed()
        reader.expect(b'get q/abort\r\n', END)
        self.crash_and_start()
        self.assertEqual(self.drain('q'), [self.items[0]] + self.items[7:])

    def test_crash_before_the_files_are_exchanged(self):
        for pattern, reached in ('q~~*', 'fsyncing q~~'), ('.', 'fsyncing .'):
            with self.subTest(pattern):
                self.fill()
                with self.server.holding('fsync', pattern):
                    self.take_many('q', 7)
                    eventually(self, 'the pack has begun',
                               lambda: reached in '\n'.join(self.server.noted_so_far()))
                    self.put('q', b'late')
                    self.server.kill9()
                self.start()
                self.assertEqual(self.drain('q'), self.items[7:] + [b'late'])

    def test_delete_meanwhile(self):
        self.fill()
        other = self.another()
        with self.server.holding('fsync', 'q~~*'):
            self.take_many('q', 7)
            eventually(self, 'a pack', self.is_replacing)
            other.send(b'delete q\r\n')
            self.put('elsewhere', b'goes on')
        other.expect(b'', b'DELETED\r\n')
        eventually(self, 'its files are gone', lambda: list(files(self.server.spool)) == ['elsewhere'])
        self.put('q', b'new')
        self.crash_and_start()
        self.assertEqual(self.drain('q'), [b'new'])

    def test_flush_ends_it_all(self):
        self.fill()
        self.client.expect(b'flush q\r\n', END)
        self.put('q', b'new')       # before it: much in the files, nothing waiting, no read-behind
        self.assert_rewritten('q', 1, ADDX + 3)
        self.crash_and_start()
        self.assertEqual(self.drain('q'), [b'new'])


class BoundTest(SharedServerTest):
    """The disk that a queue takes: the larger of max_journal_size and what waits, one backlog, and twice
    max_memory_size."""

    SIZE = 200 + ADDX

    def bound(self, backlog):
        return max(50000, backlog * self.SIZE) + backlog * self.SIZE + 2 * 20000

    def test_behind_for_ever(self):
        self.begin({'queues': {'q': {'default_journal_size': 20000, 'max_memory_size': 20000,
                                     'max_journal_size': 50000, 'min_journal_compact_delay': None}}})
        backlog, cycle = 400, 100
        items = items_of(backlog + 25 * cycle, 200)
        self.send_all(items[:backlog])
        for taken in range(0, 25 * cycle, cycle):
            self.send_all(items[backlog + taken:backlog + taken + cycle])
            self.client.send(b'get q\r\n' * cycle)
            for item in items[taken:taken + cycle]:
                self.client.expect(b'', b'VALUE q 0 200\r\n%s\r\nEND\r\n' % item)
            eventually(self, 'the disk is bounded', lambda: self.total() <= self.bound(backlog + cycle))
            self.assertLessEqual(self.numbers('q', 'mem_bytes')[0], 20000 + 200)
        self.crash_and_start()
        self.assertEqual(self.drain('q'), items[25 * cycle:])

    def test_put_and_get(self):
        """With nobody behind a queue takes max_journal_size and its slack, however long it runs."""
        self.begin({'queues': {'q': {'default_journal_size': 20000, 'max_memory_size': 20000,
                                     'max_journal_size': 50000, 'min_journal_compact_delay': None}}})
        self.put('q', *items_of(20, 200))
        self.assertIsNotNone(self.take('q/open', self.another()))
        for _ in range(15):
            self.send_all(items_of(40, 200))
            self.client.send(b'get q\r\n' * 40)
            for _ in range(40):
                self.client.recv_until(b'\r\nEND\r\n')
            eventually(self, 'the disk is bounded', lambda: self.total() <= self.bound(60))
        self.assert_numbers('q', items=19, open_transactions=1)
        self.assertGreaterEqual(self.numbers('q', 'journal_rewrites')[0], 1)

    def send_all(self, items):
        self.client.send(b''.join(request('q', item) for item in items))
        self.client.expect(b'', STORED * len(items))

    def total(self):
        return sum(size for name, size in self.sizes('q').items() if '~~' not in name)

