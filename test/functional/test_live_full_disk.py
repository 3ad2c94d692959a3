"""Full disks, real ones (spec D10, D64)."""

import re
import subprocess

from functional.journaled import ADDX, END, FULL, LARGE, STORED, SharedServerTest, items_of, request
from functional.records import records
from functional.small_disk import SmallDiskServer
from functional.waiting import eventually, memory_peak
from support.environment import kestrel_command, process_environment


class SmallDiskTest(SharedServerTest):
    """The spool is a tmpfs."""

    options = 'size=512k'
    server_settings = {'max_open_transactions': 100}

    @classmethod
    def make_server(cls):
        return SmallDiskServer(options=cls.options)

    def put_until_full(self, queue, size, most=500):
        """Put items until one is refused, which must be for want of room; -> those that were stored."""
        stored = []
        for data in items_of(most, size):
            reply = self.answer(queue, data)
            if reply != STORED:
                self.assertEqual(reply, FULL)
                return stored
            stored.append(data)
        self.fail(f'{most} items had room')

    def fill_to_the_last_byte(self, queue):
        """-> the items that were stored; then there is no room for a record of 21 bytes."""
        self.server.fill()
        return [data for size in (1000, 100, 10, 1) for data in self.put_until_full(queue, size)]


class FullTest(SmallDiskTest):

    def test_consumers_free_the_space(self):
        self.begin({'default': {**LARGE, 'default_journal_size': '64KB'},
                    'queues': {'memory': {'keep_journal': False}}})
        stored = self.put_until_full('q', 4000)
        self.assertGreater(len(stored), 100)
        self.put('memory', b'not concerned')
        self.put('q', b'.' * 4000, b'.' * 4000, reply=FULL)
        for item in stored:
            self.assertEqual(self.take('q/open'), item)
            self.client.expect(b'get q/close\r\n', END)
        self.until_stored('q', b'n' * 5000, FULL)
        eventually(self, 'the files are small', lambda: sum(self.sizes('q').values()) < 10000)
        self.crash_and_start()
        self.assertEqual(self.drain('q'), [b'n' * 5000])

    def test_read_behind_goes_on(self):
        self.begin({'default': {'default_journal_size': '32KB', 'max_memory_size': '32KB',
                                'max_journal_size': '128KB'}})
        stored = self.put_until_full('q', 4000)
        self.assertGreater(len(stored), 60)
        self.assertLess(self.numbers('q', 'mem_items')[0], 12)
        self.assertEqual(self.take_many('q', len(stored)), stored)
        self.until_stored('q', b'new', FULL)
        self.crash_and_start()
        self.assertEqual(self.drain('q'), [b'new'])

    def test_durable_puts(self):
        self.begin({'default': {**LARGE, 'sync_journal': '0', 'default_journal_size': '64KB'}})
        stored = self.put_until_full('q', 4000)
        self.put('other/sync', b'.' * 9000, reply=FULL)
        self.crash_and_start()
        self.assertEqual(self.take_many('q', len(stored)), stored)
        self.assertIsNone(self.take('q'))
        self.until_stored('q', b'new', FULL)

    def test_no_torn_record_is_left(self):
        self.begin({'default': LARGE})
        stored = self.put_until_full('q', 5000)
        self.assertEqual(self.sizes('q'), {'q': len(stored) * (5000 + ADDX)})
        self.crash_and_start()
        self.assertFalse((self.server.spool / '.corrupt').exists())
        self.assertEqual(self.drain('q'), stored)

    def test_records_of_consumers_are_written_when_there_is_room(self):
        """Of gets, opens, confirms and put-backs; by itself, without any further request."""
        self.begin({'default': LARGE})
        self.put('q', *items_of(60, 50, 1001))
        stored = items_of(60, 50, 1001) + self.fill_to_the_last_byte('q')
        self.assertEqual(self.take_many('q', 40), stored[:40])
        for item in stored[40:44]:
            self.assertEqual(self.take('q/open'), item)
        self.client.expect(b'confirm q 2\r\n', END)
        self.client.expect(b'get q/abort\r\n', END)         # the 43rd is at the head again
        other = self.another()
        self.assertEqual(self.take('q', other), stored[42])
        before = records(self.read('q'))
        expected = ([f'add {item.decode()}' for item in stored] + ['remove'] * 40
                    + [f'open {xid}' for xid in (1, 2, 3, 4)]
                    + ['confirm 1', 'confirm 2', 'unremove 3', 'remove'])
        self.assertEqual(before, expected[:len(before)])
        self.assertLess(len(before), len(expected), 'nothing is pending, so this test tests nothing')
        self.server.make_room()
        eventually(self, 'all records are written', lambda: records(self.read('q')) == expected)
        self.put('q', b'new')
        self.crash_and_start()
        self.assertEqual(self.drain('q'), stored[43:] + [b'new'])

    def test_crash_with_records_pending(self):
        """What they removed may come again; nothing else changes."""
        self.begin({'default': LARGE})
        self.put('q', *items_of(60, 50, 1001))
        stored = items_of(60, 50, 1001) + self.fill_to_the_last_byte('q')
        self.assertEqual(self.take_many('q', 40), stored[:40])
        self.server.kill9()
        self.start()                    # on the full disk
        found = self.take_many('q', self.numbers('q', 'items')[0])
        self.assertGreaterEqual(len(found), len(stored) - 40)
        self.assertEqual(found, stored[len(stored) - len(found):])

    def test_start_on_a_full_disk(self):
        """D64: open reads are backed out, the records of that wait for room."""
        self.begin({'default': LARGE})
        self.put('q', *items_of(8, 50, 1001))
        reader = self.another()
        for _ in range(8):
            self.assertIsNotNone(self.take('q/open', reader))
        stored = items_of(8, 50, 1001) + self.fill_to_the_last_byte('q')
        for _ in range(2):
            self.server.kill9()
            self.start()
            self.assert_numbers('q', items=len(stored), open_transactions=0)
            self.put('q', b'.' * 100, reply=FULL)
            self.assertEqual(self.take('q/peek'), stored[0])
        self.assertEqual(self.take_many('q', 10), stored[:10])
        self.server.make_room()
        self.until_stored('q', b'new', FULL)
        self.crash_and_start()
        self.assertEqual(self.drain('q'), stored[10:] + [b'new'])

    def test_stop_on_a_full_disk(self):
        self.begin({'default': LARGE})
        self.put('q', *items_of(60, 50, 1001))
        stored = items_of(60, 50, 1001) + self.fill_to_the_last_byte('q')
        self.take_many('q', 40)
        self.server.stop()              # exit code 0
        self.assertIn('could not be written', self.log())
        self.start()
        found = self.take_many('q', self.numbers('q', 'items')[0])
        self.assertEqual(found, stored[len(stored) - len(found):])
        self.assertGreaterEqual(len(found), len(stored) - 40)

    def test_rewrite_without_room_for_it(self):
        """The old files stay in use, and nothing of the attempt stays in the way."""
        self.begin({'default': {**LARGE, 'max_journal_size': '200KB', 'min_journal_compact_delay': None}})
        items = items_of(90, 4000)
        # more than half of the disk; an attempt takes the room of puts while it lasts
        for item in items:
            self.until_stored('q', item, FULL)
        self.assertEqual(self.take_many('q', 8), items[:8])
        eventually(self, 'an attempt has failed', lambda: re.search(r'ERROR.*\bq\b', self.log()))
        self.assertGreater(sum(self.settled_sizes('q').values()), 300 << 10)
        self.crash_and_start()
        self.assertEqual(self.take_many('q', 60), items[8:68])
        left = items[68:]
        while self.numbers('q', 'journal_rewrites') == [0] and len(left) > 2:      # now there is room for it
            self.until_stored('q', b'x', FULL)
            left.append(b'x')
            self.assertEqual(self.take('q'), left.pop(0))
            self.pause(100)
        self.assertGreater(self.numbers('q', 'journal_rewrites')[0], 0)
        eventually(self, 'the file is small', lambda: sum(self.sizes('q').values()) < 200 << 10)
        self.crash_and_start()
        self.assertEqual(self.drain('q'), left)

    def test_memory_does_not_grow_with_what_is_refused(self):
        self.begin({'default': LARGE})
        self.server.fill()
        self.put_until_full('q', 100)
        data = request('q', b'.' * 60000)
        self.client.send(data * 20)
        self.client.expect(b'', FULL * 20)
        before = memory_peak(self.server.pid)
        for _ in range(25):
            self.client.send(data * 40)
            self.client.expect(b'', FULL * 40)
        self.assertLess(memory_peak(self.server.pid) - before, 8 << 20, 'after 60 MB of refused puts')

    def test_read_only_spool(self):
        self.begin({'default': LARGE})
        self.put('q', b'x')
        self.server.stop()
        self.server.disk.remount('ro')
        command = self.server.disk.inside(*kestrel_command('-f', self.server.config_path))
        ended = subprocess.run(command, cwd='/', env=process_environment(), timeout=20,
                               stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.assertGreater(ended.returncode, 0)
        self.assertIn('Read-only file system', ended.stderr.splitlines()[-1])
        self.server.disk.remount('rw')
        self.start()
        self.assertEqual(self.drain('q'), [b'x'])


class FewFilesTest(SmallDiskTest):

    options = 'size=512k,nr_inodes=8'

    def test_no_room_for_further_files(self):
        self.begin({'default': LARGE})
        refused = [number for number in range(10) if self.answer(f'q{number}', b'x') == FULL]
        self.assertTrue(refused)
        stored = [number for number in range(10) if number not in refused]
        self.assertTrue(stored)
        self.assertIsNone(self.take(f'q{refused[0]}'))
        self.put(f'q{stored[0]}', b'y')
        self.client.expect(b'delete q%d\r\n' % stored[0], b'DELETED\r\n')
        self.until_stored(f'q{refused[0]}', b'z', FULL)
        self.crash_and_start()
        self.assertEqual(self.drain(f'q{refused[0]}'), [b'z'])
        self.assertEqual(self.drain(f'q{stored[1]}'), [b'x'])
