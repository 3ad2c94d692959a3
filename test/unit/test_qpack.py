"""qpack: files of one queue become one (spec tools 2, D4, D59)."""

import errno

from kestrel.journal import recovery
from kestrel.journal.record import CONTINUE, xid_record
from kestrel.tools import qpack
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
                         'A[a] F0/2[b] A[c]', 'op 10 only for items that need it (D4)')

    def test_a_start_finds_the_same(self):
        self.pack(EXAMPLE)
        files = recovery.scan(self.disk, self.spool, self.logger)
        before = recovery.recover(self.disk, self.clock, self.logger, files[b'in0'])
        after = recovery.recover(self.disk, self.clock, self.logger, files[b'new'])
        self.assertEqual([item.data for item in before.items], [item.data for item in after.items])

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
        self.assertTrue(self.err.getvalue().startswith('\rPacking: 1.0M   0     '), self.err.getvalue())
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
