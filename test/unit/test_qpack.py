"""qpack: files of one queue become one (spec tools 2, D4, D59)."""

import errno
import os
from unittest import mock

from kestrel.journal.record import CONTINUE, xid_record
from kestrel.tools import qpack, walk
from support.golden import ENDS, GOLDEN, case
from support.strict_reader import read_spool
from test_qdump import EXAMPLE, Terminal, ToolTest, add, flagged, with_xid


class QpackTest(ToolTest):

    tool = qpack

    def pack(self, *files, **more):
        """-> exit code; the given files, bytes, are written to the spool first."""
        paths = []
        for number, data in enumerate(files):
            self.write('in%d' % number, data)
            paths.append(self.path('in%d' % number))
        return self.run_tool('-f', self.path('new'), *paths, disk=self.disk, **more)

    def packed(self, *files):
        self.assertEqual(self.pack(*files), 0)
        self.assertEqual(self.err.getvalue(), '')
        return self.records('new')

    def test_the_example(self):
        self.assertEqual(self.packed(EXAMPLE), 'A[a] T1 A[d]')
        self.assertEqual(self.out.getvalue(), b'Packing journals...\nDone. New journal size: 49\n')

    def test_one_series_in_the_order_given(self):
        self.assertEqual(self.packed(add(b'a') + add(b'b') + xid_record(9, 1), add(b'c') + b'\x01',
                                     xid_record(5, 1) + add(b'd')), 'A[a] A[c] A[d]')

    def test_open_reads_the_highest_xid_first(self):
        data = add(b'A') + add(b'B') + add(b'C') + xid_record(9, 6) + xid_record(9, 7) + xid_record(9, 8) + add(b'D')
        self.assertEqual(self.packed(data), 'A[C] T8 A[B] T7 A[A] T6 A[D]')

    def test_times_stay(self):
        self.pack(add(b'cat', 1384870005000) + xid_record(9, 3))
        self.assertEqual(self.read('new'), add(b'cat', 1384870005000) + xid_record(9, 3))

    def test_continue(self):
        self.assertEqual(self.packed(add(b'a') + add(b'b') + xid_record(9, 1) + with_xid(CONTINUE, 1, b'dog')),
                         'A[b] A[dog]')

    def test_flags_and_deliveries(self):
        back = xid_record(9, 1) + xid_record(5, 1)
        self.assertEqual(self.packed(flagged(b'a', 32) + back), 'F32/1[a]')
        (self.folder / 'new').unlink()
        self.assertEqual(self.packed(add(b'a') + back, flagged(b'b', 0, 2), flagged(b'c', 0, 0)),
                         'F0/1[a] F0/2[b] A[c]', 'where deliveries are counted (D18)')

    def test_a_start_finds_the_same(self):
        self.pack(EXAMPLE)
        queues = self.start().queues
        self.assertEqual([item.data for item in self.drain(queues[b'in0'])], [b'a', b'd'])
        self.assertEqual([item.data for item in self.drain(queues[b'new'])], [b'a', b'd'])

    def test_spools_of_the_original(self):
        """The new file alone comes to what the original found in the files it replaces."""
        for name in ('open_at_end', 'rewrite_compact', 'rotation', 'pack'):
            for end in ENDS:
                with self.subTest(name, end=end):
                    source = GOLDEN / name / end / 'journal'
                    paths = sorted(source.glob('q*'), key=lambda path: (path.name == 'q', path.name))
                    self.assertEqual(self.run_tool('-f', self.path('q'), *map(str, paths), disk=self.disk), 0)
                    after = case(name)[end]['after_restart']
                    packed, original = read_spool(self.folder)[b'q'], read_spool(source)[b'q']
                    self.assertEqual([item.data.decode('latin-1') for item in packed.after_start()],
                                     after['drain']['q'])
                    self.assertEqual([(item.add_time, item.expiry) for item in packed.waiting],
                                     [(item.add_time, item.expiry) for item in original.waiting])
                    self.assertEqual({xid: item.data for xid, item in packed.open.items()},
                                     {xid: item.data for xid, item in original.open.items()})
                    self.assertEqual(packed.odd, [])
                    (self.folder / 'q').unlink()

    def test_more_than_it_keeps_in_memory(self):
        files = [b''.join(add(b'%d-%d ' % (number, item) + bytes(50)) for item in range(40)) for number in range(3)]
        files.append(b'\x01' * 5 + xid_record(9, 1) + xid_record(9, 2) + xid_record(5, 1) + b'\x01' * 50)
        with mock.patch.object(walk, 'MEMORY', 1000):
            self.assertEqual(self.pack(*files), 0)
        texts = [b'%d-%d ' % (number, item) + bytes(50) for number in range(3) for item in range(40)]
        packed = read_spool(self.folder)[b'new']
        # the head was opened as 1 and 2, 1 was put back and removed
        self.assertEqual([item.data for item in packed.open.values()], [texts[6]])
        self.assertEqual([item.data for item in packed.waiting], texts[56:])

    def test_folders_and_pipes(self):
        os.mkfifo(self.path('pipe'))
        for path in (str(self.folder), self.path('pipe')):
            self.assertEqual(self.run_tool('-f', self.path('new'), path, disk=self.disk), 1)
            self.assertEqual(self.err.getvalue(), "Can't open journal file: %s\n" % path)
            self.assertEqual(self.files(), ['pipe'])

    def test_nothing_left(self):
        self.assertEqual(self.packed(add(b'a') + b'\x01'), '')
        self.assertIn(b'New journal size: 0\n', self.out.getvalue())

    def test_usage(self):
        for words in ((), ('-f', 'new'), ('work',), ('-q',)):
            self.assertEqual(self.run_tool(*words), 0)
            self.assertTrue(self.out.getvalue().startswith(b'usage: qpack -f <new file> <journal file>...'))

    def test_progress_on_a_terminal(self):
        big = add(b'x' * (1 << 20))
        self.assertEqual(self.pack(big + big, b'\x01' + big, err=Terminal()), 0)
        self.assertTrue(self.err.getvalue().startswith('\rPacking: 1.0M   1.0M  '), self.err.getvalue())
        self.assertTrue(self.err.getvalue().endswith(
            '\rWriting new journal...' + ' ' * 40 + '\r' + ' ' * 40 + '\r'), self.err.getvalue())

    def test_missing_and_broken_files(self):
        self.assertEqual(self.run_tool('-f', self.path('new'), self.path('no'), disk=self.disk), 1)
        self.assertEqual(self.err.getvalue(), "Can't open journal file: %s\n" % self.path('no'))
        self.assertEqual(self.files(), [])
        self.assertEqual(self.pack(add(b'a') + b'\x0b', add(b'b')), 1)
        self.assertEqual(self.err.getvalue(), 'Exception reading journal file: %s\n' % self.path('in0'))
        self.assertEqual(self.records('new'), 'A[a] A[b]', 'as a start of the server')

    def test_an_existing_file_is_not_overwritten(self):
        self.write('new', b'precious')
        self.assertEqual(self.pack(add(b'a')), 1)
        self.assertEqual(self.read('new'), b'precious')
        self.assertIn('it is there already', self.err.getvalue())

    def test_failing_disk_leaves_nothing(self):
        for call in ('write', 'fsync', 'rename'):
            self.system.faults = {call: errno.ENOSPC}
            with self.subTest(call):
                self.assertEqual(self.pack(add(b'a')), 1)
                self.assertEqual(self.err.getvalue(), "Can't write journal file: %s: No space left on device\n"
                                 % self.path('new'))
                self.assertEqual(self.files(), ['in0'])
