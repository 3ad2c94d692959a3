"""What a long queue left on disk is read back, record by record (spec journal 9, D45)."""

import errno
import os

from kestrel.item import Item
from kestrel.journal.read_behind import ReadBehind
from kestrel.journal.record import CONTINUE, REMOVE_RECORD, UNREMOVE, addition, xid_record
from support.clock import THEN
from support.spool import SpoolTest

LARGE = 1 << 20


def add(data, flags=0):
    return addition(Item(data, THEN, 0, flags), False)


class ReadBehindTest(SpoolTest):

    def begin(self, *contents, place=0, offset=0, memory=LARGE):
        """A reader on files with these contents; the last one is the current file."""
        self.series = []
        for number, data in enumerate(contents):
            self.write('q.%d' % number if number < len(contents) - 1 else 'q', data)
        for number, data in enumerate(contents[:-1]):
            self.series.append(self.disk.open_archived(self.spool + b'/q.%d' % number, len(data)))
        self.series.append(self.disk.open_append(self.spool + b'/q', len(contents[-1])))
        self.reader = ReadBehind(self.series, self.series[place], offset, memory, 77, self.logger)
        return self.reader

    def read(self):
        """All items up to the written end, a ``|`` for each file that was left."""
        found = []
        while True:
            item = self.reader.next()
            if item is not None:
                found.append(item.data.decode())
            elif self.reader.left is None:
                return ' '.join(found)
            else:
                found.append('|')

    def test_additions_alone(self):
        starling = bytes([0]) + (5).to_bytes(4, 'little') + (9).to_bytes(4, 'little') + b'f'
        self.begin(b''.join([
            add(b'a'), REMOVE_RECORD, xid_record(9, 1), add(b'b', 32), xid_record(UNREMOVE, 1), add(b'c'),
            xid_record(6, 1), xid_record(CONTINUE, 5), add(b'd')[1:], xid_record(7, 5), add(b'e')[1:],
            starling, REMOVE_RECORD]))
        self.assertEqual(self.read(), 'a b c d e f')

    def test_items_come_back_as_they_were(self):
        self.begin(addition(Item(b'one', THEN, THEN + 5, 7, 2), True))
        item = self.reader.next()
        self.assertEqual((item.data, item.add_time, item.expiry, item.flags, item.deliveries),
                         (b'one', THEN, THEN + 5, 7, 2))

    def test_from_a_place_on(self):
        self.begin(add(b'a') + add(b'b'), add(b'c'), add(b'd'), place=0, offset=len(add(b'a')))
        self.assertEqual(self.read(), 'b | c | d')

    def test_from_file_to_file(self):
        self.begin(add(b'a'), b'', REMOVE_RECORD, add(b'b'))
        self.assertEqual(self.read(), 'a | | | b')

    def test_the_file_it_left_is_told(self):
        self.begin(add(b'a'), add(b'b'))
        self.reader.next()
        self.assertIsNone(self.reader.next())
        self.assertIs(self.reader.left, self.series[0])
        self.assertIs(self.reader.file, self.series[1])

    def test_the_written_end_may_be_asked_again_when_more_was_written(self):
        self.begin(add(b'a'))
        self.assertEqual(self.read(), 'a')
        self.assertEqual(self.read(), '')
        self.series[-1].append(add(b'b'))
        self.assertEqual(self.read(), 'b')

    def test_the_current_file_is_rotated_under_it(self):
        self.begin(add(b'a'))
        self.read()
        old = self.series[0]
        old.append(add(b'b'))
        old.rename(self.spool + b'/q.5')
        self.series.append(self.disk.create(self.spool + b'/q'))
        self.series[-1].append(add(b'c'))
        self.assertEqual(self.read(), 'b | c')

    def test_the_place_of_what_was_read(self):
        self.begin(REMOVE_RECORD + add(b'a') + add(b'b'))
        self.reader.next()
        self.assertEqual(self.reader.place(), (self.series[0], 1))
        self.reader.next()
        self.assertEqual(self.reader.place(), (self.series[0], 1 + len(add(b'a'))))

    def test_records_longer_than_what_is_read_at_once(self):
        large = [b'%d' % number + b'x' * 40000 for number in range(4)]
        self.begin(b''.join(add(data) for data in large), memory=1)
        self.assertEqual(self.read().split(' '), [data.decode() for data in large])

    # --- what goes wrong

    def test_a_read_that_failed_is_tried_again_and_nothing_comes_twice(self):
        """At every place where the file is read."""
        contents = b''.join(add(b'%d' % number + b'.' * 3000) for number in range(20))
        self.begin(contents, memory=1)
        self.read()
        reads = self.system.count('pread')
        self.assertTrue(reads > 3)
        for failing in range(reads):
            with self.subTest(failing=failing):
                self.begin(contents, memory=1)
                found = []
                before = self.system.count('pread')
                failed = 0
                while len(found) < 20:
                    if self.system.count('pread') == before + failing and not failed:
                        self.system.faults['pread'] = errno.EIO
                    try:
                        found.append(int(self.reader.next().data.split(b'.')[0]))
                    except OSError:
                        failed += 1
                        self.system.faults.clear()
                self.assertEqual((found, failed), (list(range(20)), 1))

    def test_a_broken_record_ends_its_file(self):
        for broken in (b'\x7f', add(b'torn')[:-1], b'\x02\xff\xff\xff\x7f' + bytes(30)):
            with self.subTest(broken=broken):
                self.log.lines.clear()
                self.begin(add(b'a') + broken, add(b'b'))
                self.assertEqual(self.read(), 'a | b')
                self.assertEqual(self.log.lines, [
                    'ERROR %s/q.0: broken record at offset %d met while it was read back: the rest of this'
                    ' file is left out' % (self.folder, len(add(b'a')))])

    def test_a_file_that_somebody_cut_is_read_to_its_last_whole_record(self):
        whole = add(b'x' * 20000)
        for number in (0, 1):
            with self.subTest('archived' if number == 0 else 'current'):
                self.begin(whole + whole, whole + whole, memory=1)
                file = self.series[number]
                file.hold()
                os.truncate(file.path, len(whole) + 500)
                self.assertEqual(self.read().split(' ').count('x' * 20000), 3, 'one of four is gone')
                self.assertEqual(file.size, len(whole))
                self.assertIn('was cut by somebody else', self.log.lines[-1])
        file.append(add(b'later'))
        self.assertEqual(self.read(), 'later')

    def test_a_file_that_is_gone_is_skipped_on_demand(self):
        self.begin(add(b'a'), add(b'b'), add(b'c'))
        self.reader.next()
        os.unlink(self.series[1].path)
        self.assertIsNone(self.reader.next())
        with self.assertRaises(FileNotFoundError):
            self.reader.next()
        self.reader.skip_file()
        self.assertEqual(self.read(), 'c')

    # --- files that change under it

    def test_a_rewritten_file_goes_on_further_back(self):
        self.begin(add(b'a') + add(b'b') + add(b'c'))
        self.reader.next()
        new = self.disk.create(self.spool + b'/q~~1')
        new.append(add(b'rewritten') + add(b'b') + add(b'c'))
        old, self.series[0] = self.series[0], new
        self.reader.shift(old, new, len(add(b'rewritten')) - len(add(b'a')))
        self.assertEqual(self.read(), 'b c')

    def test_a_shift_of_another_file_is_not_its_business(self):
        self.begin(add(b'a'), add(b'b'))
        self.reader.shift(self.series[1], self.series[1], 5)
        self.assertEqual(self.read(), 'a | b')

    def test_what_is_cut_off_is_not_read_although_it_was_in_the_buffer(self):
        self.begin(add(b'a') + add(b'b') + add(b'refused'))
        self.reader.next()
        size = len(add(b'a') + add(b'b'))
        self.series[0].cut(size)
        self.reader.cut(self.series[0], size)
        self.series[0].append(add(b'c'))
        self.assertEqual(self.read(), 'b c')

    def test_a_cut_before_the_place_where_it_began(self):
        """It was to read a put that was refused, and what follows on that place it must not pass over."""
        self.begin(add(b'a') + add(b'refused') + add(b'refused too'), offset=len(add(b'a') + add(b'refused')))
        size = len(add(b'a'))
        self.series[0].cut(size)
        self.reader.cut(self.series[0], size)
        self.assertEqual(self.read(), '')
        self.series[0].append(add(b'b') + add(b'c'))
        self.assertEqual(self.read(), 'b c')
