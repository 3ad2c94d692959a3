"""The files of one queue: names, rotation, which of them stay open, and which an fsync has to reach."""

import errno
import os

from kestrel.append_file import SyncJob
from kestrel.disk import Disk
from kestrel.errors import JournalError
from kestrel.item import Item
from kestrel.journal import series
from kestrel.journal.record import addition
from kestrel.journal.series import Series
from support.clock import THEN
from support.compacted import CompactedTest, ToldSystem
from support.spool import SpoolTest

RECORD = addition(Item(b'one', THEN), False)


class SeriesCase(SpoolTest):

    def setUp(self):
        super().setUp()
        self.system = ToldSystem()
        self.disk = Disk(self.logger, self.system)

    def begin(self, name=b'q'):
        return Series(self.disk, self.clock, self.spool, name, None)

    def rotated(self, count):
        """A series with so many archived files of one record each, all of them fsynced and closed."""
        files = self.begin()
        for _ in range(count):
            files.current.append(RECORD)
            files.rotate(files.archived_path(files.new_ms()))
        files.synced(files.all())
        return files

    @staticmethod
    def open_ones(files):
        return [number for number, file in enumerate(files.files) if file.is_open()]


class NamesTest(SeriesCase):

    def test_a_new_queue_has_an_empty_file(self):
        files = self.begin()
        self.assertEqual((self.files(), len(files.files), files.archived_size), (['q'], 1, 0))
        self.assertIs(files.current, files.files[0])

    def test_names(self):
        files = self.begin(b'f\xe9')
        path = self.spool + b'/f\xc3\xa9'
        self.assertEqual((files.current_path(), files.archived_path(7)), (path, path + b'.7'))
        self.assertEqual((files.pack_path(7), files.temporary_path(7)), (path + b'.7.pack', path + b'~~7'))

    def test_the_time_in_a_name(self):
        files = self.rotated(2)
        self.assertEqual([files.ms_of(file) for file in files.files[:-1]], [THEN, THEN + 1])

    def test_each_time_is_later_than_all_before(self):
        files = self.begin()
        times = []
        for moved in (0, 0, -100, 50, 1000):
            self.clock.ms += moved
            times.append(files.new_ms() - THEN)
        self.assertEqual(times, [0, 1, 2, 3, 950])


class RotateTest(SeriesCase):

    def test_the_current_file_is_archived(self):
        files = self.rotated(1)
        old, new = files.files
        self.assertEqual((old.archived, new.archived, new.size), (True, False, 0))
        self.assertEqual(files.archived_size, len(RECORD))
        self.assertEqual(self.files(), ['q', 'q.%d' % THEN])
        self.assertEqual(self.system.told[-2:], ['rename q q.%d' % THEN, 'create q'])

    def test_until_it_is_fsynced_it_stays_open_and_is_remembered(self):
        files = self.begin()
        old = files.current
        files.rotate(files.archived_path(files.new_ms()))
        self.assertEqual((files.unsynced, old.is_open()), ([old], True))
        files.synced([old])
        self.assertEqual((files.unsynced, old.is_open()), ([], False))

    def test_whatever_fails_all_is_as_before(self):
        for number, words in enumerate(('rename', 'create')):
            with self.subTest(words):
                files = self.begin(b'q%d' % number)
                files.current.append(RECORD)
                self.system.failing = (len(self.system.told) + number,)
                with self.assertRaises(OSError):
                    files.rotate(files.archived_path(files.new_ms()))
                self.assertIn(words, self.system.told[-2 if words == 'create' else -1])
                self.assertEqual((len(files.files), files.unsynced, files.archived_size), (1, [], 0))
                self.assertEqual(files.current.path, self.spool + b'/q%d' % number)
                files.current.append(RECORD)
                self.assertEqual(self.read('q%d' % number), RECORD * 2)
        self.assertEqual(self.files(), ['q0', 'q1'])

    def test_one_whose_name_cannot_be_given_back_goes_on_under_the_new_one(self):
        files = self.begin()
        told = len(self.system.told)
        self.system.failing = (told + 1, told + 2)
        with self.assertRaises(OSError):
            files.rotate(files.archived_path(files.new_ms()))
        files.current.append(RECORD)
        self.assertEqual((self.files(), self.read('q.%d' % THEN)), (['q.%d' % THEN], RECORD))

    def test_no_file_for_a_new_queue(self):
        self.system.faults['open'] = errno.EMFILE
        with self.assertRaises(JournalError):
            self.journal()


class ReplaceTest(SeriesCase):

    def test_the_oldest_files_become_one(self):
        files = self.rotated(3)
        files.unsynced = files.files[:-1]
        new = self.disk.create(files.temporary_path(1))
        new.append(RECORD + RECORD + RECORD)
        rest = files.files[2:]
        same = files.files
        files.replace(files.files[:2], new)
        self.assertIs(files.files, same, 'a reader goes along this list')
        self.assertEqual(files.files, [new, *rest])
        self.assertEqual(files.archived_size, 4 * len(RECORD))
        self.assertEqual(files.unsynced, rest[:1])

    def test_all_files_become_one(self):
        files = self.rotated(2)
        new = self.disk.create(files.temporary_path(1))
        files.replace(files.all(), new)
        self.assertEqual((files.files, files.current, files.archived_size), ([new], new, 0))


class HoldTest(SeriesCase):
    """What is about to be read back stays open, so that it is not lost if somebody removes it."""

    def test_only_the_current_one_without_a_reader(self):
        files = self.rotated(3)
        self.assertEqual(self.open_ones(files), [3])

    def test_from_the_reader_on(self):
        files = self.rotated(4)
        files.hold(files.files[2])
        self.assertTrue({2, 3, 4} <= set(self.open_ones(files)))
        files.hold(None)
        self.assertEqual(self.open_ones(files), [4])

    def test_not_more_than_so_many(self):
        files = self.rotated(series.HELD + 10)
        files.hold(files.files[5])
        held = self.open_ones(files)
        self.assertEqual(held[0], 5)
        self.assertEqual(held[-1], series.HELD + 10)
        self.assertTrue(series.HELD <= len(held) <= series.HELD + 1, len(held))

    def test_a_file_that_is_rotated_behind_the_reader(self):
        files = self.rotated(1)
        files.hold(files.files[0])
        files.rotate(files.archived_path(files.new_ms()))
        files.synced(files.all())
        self.assertEqual(self.open_ones(files), [0, 1, 2])

    def test_no_descriptor_left(self):
        files = self.rotated(2)
        self.system.faults['open'] = errno.EMFILE
        files.hold(files.files[0])
        self.assertEqual(self.open_ones(files), [2], 'whoever reads it meets the same and tells')


class SyncTest(CompactedTest):
    """Rotated files that are not fsynced yet."""

    def test_no_descriptor_is_left_open_by_one_that_fails(self):
        self.begin()
        self.put(b'one')
        self.rotate()
        self.hub.finish_all()
        archived, current = self.queue.journal.files.files
        self.put(b'two')
        self.assertEqual((archived.is_open(), current.is_open()), (False, True))
        before = sorted(os.listdir('/proc/self/fd'))
        for call, kind in (('open', OSError), ('fsync', OSError)):
            with self.subTest(call):
                job = SyncJob(self.disk, [archived, current])
                self.system.faults[call] = errno.EIO
                self.assertRaises(kind, job)
                self.system.faults.clear()
                self.assertEqual(sorted(os.listdir('/proc/self/fd')), before)
