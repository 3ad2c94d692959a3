"""Disks that fail, and spools that somebody has changed (spec D9, D10, D40, D43, D64, D68)."""

import errno
import re
import time

from functional.journaled import ADDX, FULL, LARGE, REFUSED, STORED, SharedServerTest, items_of
from functional.records import records
from functional.waiting import eventually


class FaultTest(SharedServerTest):
    """The shim says that the disk is full or broken."""

    def test_each_reason_of_a_refusal(self):
        self.begin()
        rows = [('write', errno.ENOSPC, FULL), ('write', errno.EDQUOT, FULL),
                ('write', errno.EROFS, REFUSED + b'Read-only file system\r\n'),
                ('write', errno.EFBIG, REFUSED + b'File too large\r\n'),
                ('tear', errno.ENOSPC, FULL),
                ('create', errno.ENOSPC, FULL), ('create', errno.EDQUOT, FULL),
                ('create', errno.EMFILE, REFUSED + b'Too many open files\r\n'),         # D68
                ('create', errno.ENFILE, REFUSED + b'Too many open files in system\r\n'),
                ('create', errno.EACCES, REFUSED + b'Permission denied\r\n')]
        self.put('old', b'first')
        kept = [b'first']
        for number, (call, error, reply) in enumerate(rows):
            queue = 'old' if call != 'create' else f'new{number}'
            with self.subTest(call, error=error):
                with self.server.failing(call, error, queue):
                    for data in b'lost', b'.' * 20000:
                        self.put(queue, data, reply=reply)
                    self.put('unharmed', b'x')
                self.put(queue, b'kept%d' % number)
                if queue == 'old':
                    kept.append(b'kept%d' % number)
                else:
                    self.assertEqual(self.drain(queue), [b'kept%d' % number])
        self.crash_and_start()
        self.assertEqual(self.drain('old'), kept)
        self.assertFalse((self.server.spool / '.corrupt').exists())
        self.assertIn('No space left on device', self.log())

    def test_short_writes(self):
        self.begin({'default': {'sync_journal': '0'}})
        items = [bytes([65 + number]) * size for number, size in enumerate(
            [0, 1, 7, 100, 4000, 16383, 16384, 20000, 100000])]
        with self.server.failing('short', 1):
            self.put('q', *items)
            self.put('q', *items, words='5 0')
            self.assertEqual(self.take_many('q', 3), items[:3])
            self.assertEqual(self.take('q/open'), items[3])
        self.assertEqual(len(records(self.read('q'))), 18 + 3 + 1)
        self.crash_and_start()
        self.assertEqual(self.drain('q'), items[3:] + items)

    def test_reason_changes_while_records_are_pending(self):
        """D64: a put first tries to write them, and is refused with the cause of today."""
        self.begin()
        self.put('q', b'a', b'b', b'c')
        with self.server.failing('write', errno.EIO):
            self.assertEqual(self.take('q'), b'a')
            self.put('q', b'lost', reply=REFUSED + b'Input/output error\r\n')
        with self.server.failing('write', errno.EDQUOT):
            self.assertEqual(self.take('q'), b'b')
            self.put('q', b'lost', reply=FULL)
        self.put('q', b'd')
        self.assertEqual(records(self.read('q')), ['add a', 'add b', 'add c', 'remove', 'remove', 'add d'])

    def test_service_returns_without_a_put(self):
        """Pending records are written by themselves; then a crash loses none of them."""
        self.begin()
        items = items_of(50, 10)
        self.put('q', *items)
        with self.server.failing('write', errno.ENOSPC):
            self.assertEqual(self.take_many('q', 20), items[:20])
            self.assertEqual(self.take('q/open'), items[20])
        eventually(self, 'they are written', lambda: len(records(self.read('q'))) == 50 + 21)
        self.crash_and_start()
        self.assertEqual(self.drain('q'), items[20:])

    def test_emptied_queue_is_rewritten_with_records_pending(self):
        """D64: that frees space, and makes them void."""
        self.begin({'default': {**LARGE, 'default_journal_size': 500}})
        items = items_of(10, 100)
        self.put('q', *items)
        with self.server.failing('write', errno.ENOSPC, 'q'):
            self.assertEqual(self.drain('q'), items)
            self.assert_rewritten('q', 1)
            self.assertEqual(self.settled_sizes('q'), {'q': 0})
        self.put('q', b'new')
        self.assertEqual(records(self.read('q')), ['add new'])
        self.crash_and_start()
        self.assertEqual(self.drain('q'), [b'new'])


# Where a rewrite or a rotation of the queue of that name fails: (call, error, pattern of file names).
STEPS = {
    'written': ('write', errno.ENOSPC, 'written~~*'),
    'synced': ('fsync', errno.EIO, 'synced~~*'),
    'created': ('create', errno.EMFILE, 'created~~*'),
    'turned-away': ('rename', errno.EIO, 'turned-away.*[0-9]'),
    'made-a-pack': ('rename', errno.ENOSPC, 'made-a-pack.*.pack'),
    'cleaned-up': ('unlink', errno.EIO, 'cleaned-up.*[0-9]'),
    'put-in-place': ('rename', errno.EACCES, 'put-in-place'),
}


class FailingStepTest(SharedServerTest):
    """A rewrite, a rotation or a pack that fails at any of its steps: what was answered stays true."""

    def begin_steps(self, **settings):
        self.begin({'default': {**LARGE, 'min_journal_compact_delay': None, **settings}})
        self.items = items_of(9, 100)
        self.expected = {}
        for queue in STEPS:
            self.put(queue, *self.items[:5])

    def faults(self):
        self.server.faults(*(f'{call} {error} {pattern}' for call, error, pattern in STEPS.values()))

    def work(self, queue):
        """Puts that may be refused, and gets; notes what must be left."""
        left = list(self.expected[queue])
        for data in self.items[5:]:
            reply = self.answer(queue, data)
            if reply == STORED:
                left.append(data)
            else:
                self.assertRegex(reply, b'^SERVER_ERROR (journal write failed: |out of disk space)')
            if left:
                self.assertEqual(self.take(queue), left.pop(0))
        self.expected[queue] = left

    def assert_told(self, queue):
        eventually(self, f'a line in the log about {queue}',
                   lambda: re.search(rf'(WARNING|ERROR|FATAL|CRITICAL).*\b{queue}\b', self.log()))

    def fail_all(self):
        """Each queue comes to its compaction, which fails, and works on."""
        self.faults()
        for queue in STEPS:
            self.expected[queue] = self.items[1:5]
            self.assertEqual(self.take(queue), self.items[0])
        for queue in STEPS:
            self.assert_told(queue)
            self.work(queue)

    def test_rewrite_fails_and_then_the_server_dies(self):
        self.begin_steps(max_journal_size=5 * (100 + ADDX))
        self.fail_all()
        self.server.kill9()
        self.server.faults()
        self.start()
        for queue in STEPS:
            with self.subTest(queue):
                self.assertEqual(self.drain(queue), self.expected[queue])

    def test_rewrite_fails_and_later_works(self):
        self.begin_steps(max_journal_size=5 * (100 + ADDX))
        self.fail_all()
        self.server.faults()
        for queue in STEPS:
            with self.subTest(queue):
                expected = self.expected[queue] + items_of(6, 100, 10)
                self.put(queue, *items_of(6, 100, 10))

                def is_rewritten():
                    self.put(queue, b'.')
                    expected.append(b'.')
                    self.assertEqual(self.take(queue), expected.pop(0))
                    return self.numbers(queue, 'journal_rewrites') != [0] and list(self.sizes(queue)) == [queue]
                eventually(self, 'a rewrite', is_rewritten)
                self.expected[queue] = expected
        self.crash_and_start()
        for queue in STEPS:
            with self.subTest(queue):
                self.assertEqual(self.drain(queue), self.expected[queue])

    def test_attempt_leaves_no_temporary_file(self):
        self.begin_steps(max_journal_size=5 * (100 + ADDX))
        self.fail_all()
        for queue in 'written', 'synced', 'created':
            with self.subTest(queue):
                eventually(self, 'it is removed', lambda: list(self.sizes(queue)) == [queue])

    def test_rotation_fails(self):
        for call, error, pattern in ('rename', errno.EIO, 'q.*'), ('create', errno.EMFILE, 'q'), (
                'create', errno.ENOSPC, 'q'):
            for way in 'crash_and_start', 'pause':
                with self.subTest(call, error=error, way=way):
                    queue = 'q'
                    self.begin({'default': {**LARGE, 'max_memory_size': 500}})
                    self.items = items_of(9, 100)
                    self.put(queue, *self.items[:5])
                    self.expected = {queue: self.items[1:5]}
                    with self.server.failing(call, error, pattern):
                        self.assertEqual(self.take(queue), self.items[0])
                        self.work(queue)
                        self.assert_told(queue)
                    getattr(self, way)()
                    self.put(queue, b'last')
                    self.assertEqual(self.drain(queue), self.expected[queue] + [b'last'])

    def test_pack_fails(self):
        """D40: logged, its temporary file removed, and it never blocks a stop."""
        items = items_of(30, 128)
        for call, error in ('write', errno.ENOSPC), ('fsync', errno.EIO), ('create', errno.EMFILE):
            with self.subTest(call):
                self.begin({'queues': {'packed': {**LARGE, 'max_memory_size': 1024, 'max_journal_size': 2000}}})
                self.put('packed', *items[:16])
                with self.server.failing(call, error, 'packed~~*'):
                    self.assertEqual(self.take_many('packed', 7), items[:7])
                    self.assert_told('packed')
                    eventually(self, 'no temporary file',
                               lambda: not any('~~' in name for name in self.sizes('packed')))
                    self.put('packed', *items[16:18])
                    self.assertEqual(self.take('packed'), items[7])
                    began = time.monotonic()
                    self.server.stop()
                    self.assertLess(time.monotonic() - began, 5)
                self.start()
                self.assertEqual(self.drain('packed'), items[8:18])

    def test_hanging_pack_and_stop(self):
        """A stop waits for it, or leaves it; the files are right in any case."""
        self.begin({'queues': {'packed': {**LARGE, 'max_memory_size': 1024, 'max_journal_size': 2000}}})
        items = items_of(16, 128)
        self.put('packed', *items)
        self.server.faults('hold-fsync 0 packed~~*')
        self.assertEqual(self.take_many('packed', 7), items[:7])
        eventually(self, 'the pack', self.is_replacing)
        self.client.expect_close(b'shutdown\r\n')
        self.server.faults()
        self.server.wait()
        self.start()
        self.assertEqual(self.drain('packed'), items[7:])


class OddSpoolTest(SharedServerTest):
    """Files that vanish, and things that are no files."""

    def test_current_file_removed_by_hand(self):
        """Memory still holds what waits: the next rewrite writes it down again."""
        self.begin({'default': {**LARGE, 'max_journal_size': 5 * (100 + ADDX)}})
        items = items_of(12, 100)
        self.put('q', *items[:5])
        (self.server.spool / 'q').unlink()
        self.assertEqual(self.take('q'), items[0])              # above max_journal_size
        eventually(self, 'a rewrite', lambda: self.numbers('q', 'journal_rewrites') == [1])
        self.put('q', *items[5:])
        self.crash_and_start()
        self.assertEqual(self.drain('q'), items[1:])

    def test_files_removed_by_hand_are_back_after_a_stop(self):
        self.begin({'default': LARGE, 'queues': {'behind': {'max_memory_size': 1000}}})
        items = items_of(20, 100)
        self.put('q', *items)
        self.put('behind', *items)
        for path in self.server.spool.iterdir():
            path.unlink()
        self.server.stop()
        self.start()
        self.assertEqual(self.drain('q'), items)
        self.assertEqual(self.drain('behind'), items)
        self.assertIn('was removed, renamed or cut by somebody', self.log())

    def test_current_file_removed_by_hand_before_a_rotation(self):
        self.begin({'default': {**LARGE, 'max_memory_size': 600}})
        items = items_of(20, 100)
        self.put('q', *items[:4])
        (self.server.spool / 'q').unlink()
        for item in items[4:]:
            reply = self.answer('q', item)
            self.assertTrue(reply == STORED or reply.startswith(REFUSED), reply)
        self.assertEqual(self.take_many('q', 4), items[:4])
        self.assertTrue(self.server.running)
        eventually(self, 'a line in the log', lambda: re.search(r'(WARNING|ERROR).*\bq\b', self.log()))

    def test_rotated_file_removed_by_hand(self):
        self.begin({'default': {**LARGE, 'max_memory_size': 500, 'default_journal_size': 2000}})
        items = items_of(4, 100)
        for item in items:
            self.put('q', item, item)
            self.assertEqual(self.take_many('q', 2), [item, item])
        rotated = [name for name in self.sizes('q') if name != 'q']
        self.assertTrue(rotated)
        (self.server.spool / rotated[0]).unlink()
        for _ in range(12):
            self.put('q', items[0])
            self.assertEqual(self.take('q'), items[0])
        eventually(self, 'a rewrite', lambda: self.numbers('q', 'journal_rewrites')[0] >= 1)
        self.put('q', b'last')
        self.crash_and_start()
        self.assertEqual(self.drain('q'), [b'last'])

    def test_folder_where_a_file_should_be(self):
        self.prepare()
        (self.server.spool / 'q').mkdir()
        (self.server.spool / 'q' / 'inside').write_bytes(b'kept')
        (self.server.spool / 'p.1000').mkdir()
        self.start()
        self.put('q', b'lost', reply=REFUSED + b'Is a directory\r\n')
        self.assertIsNone(self.take('q'))
        self.put('p', b'x')
        self.assertEqual(self.drain('p'), [b'x'])
        self.client.expect(b'delete q\r\n', b'DELETED\r\n')
        self.assertEqual((self.server.spool / 'q' / 'inside').read_bytes(), b'kept')

    def test_spool_without_write_permission(self):
        """The folder becomes unusable for new files while the server runs: queues that have files go on."""
        self.begin({'default': LARGE})
        self.put('q', b'a')
        with self.server.failing('create', errno.EACCES):
            self.put('new', b'lost', reply=REFUSED + b'Permission denied\r\n')
            self.put('q', b'b')
        self.put('new', b'x')
        self.assertEqual(self.drain('q'), [b'a', b'b'])

    def test_file_descriptors_of_all_queues(self):
        """D68: with files refused everywhere gets of what is in memory go on."""
        self.begin({'default': {**LARGE, 'max_journal_size': 5 * (100 + ADDX)}})
        items = items_of(6, 100)
        self.put('q', *items)
        self.server.faults(f'create {errno.EMFILE}', f'open {errno.EMFILE}')
        self.assertEqual(self.take_many('q', 3), items[:3])
        self.put('fresh', b'x', reply=REFUSED + b'Too many open files\r\n')
        self.put('q', b'seventh')
        self.server.faults()
        self.put('fresh', b'x')
        self.crash_and_start()
        self.assertEqual(self.drain('q'), items[3:] + [b'seventh'])
