"""Journal files that somebody removes or renames under the server: nothing is lost that memory or the disk still holds."""

import os

from kestrel.disk import Disk
from kestrel.journal import recovery
from support.fakes import make_queue
from support.spool import SpoolTest

LARGE = 1 << 30


class LostFilesTest(SpoolTest):

    def queue(self, **settings):
        sizes = {'default_journal_size': LARGE, 'max_journal_size': LARGE, 'max_memory_size': LARGE, **settings}
        return make_queue(self.clock, self.journal(), keep_journal=True, **sizes)

    @staticmethod
    def rotate_above(queue, size):
        """For its journal alone, not for what it keeps in memory."""
        queue.compactor.configure(queue.settings.replaced(max_memory_size=size))

    def put(self, queue, first, last):
        for number in range(first, last):
            self.assertIs(queue.put(b'%03d' % number + b'.' * 97, 0, 0, False), True)

    def restore(self, queue):
        self.assertTrue(queue.compactor.look_for_lost_files())
        self.hub.finish_all()
        self.assertFalse(queue.compactor.look_for_lost_files(), 'nothing is lost any more')

    def after_a_crash(self):
        """The numbers of the items that a start would find."""
        disk = Disk(self.logger)
        recovered = recovery.recover(disk, self.clock, self.logger, recovery.scan(disk, self.spool, self.logger)[b'q'],
                                     LARGE)
        return [int(item.data[:3]) for item in recovered.items]

    @staticmethod
    def taken(queue, count):
        return [int(queue.take(False, 0).data[:3]) for _ in range(count)]

    def test_nothing_is_lost(self):
        queue = self.queue()
        self.put(queue, 0, 3)
        self.assertFalse(queue.compactor.look_for_lost_files())
        self.assertEqual(self.log.lines, [])

    def test_the_current_file_is_written_anew_from_memory(self):
        for remove in (os.unlink, lambda path: os.rename(path, path + b'.bak'), _replace_by_an_empty_file):
            with self.subTest(remove=remove):
                queue = self.queue()
                self.put(queue, 0, 4)
                queue.take(True, 0)
                remove(self.spool + b'/q')
                self.assertTrue(queue.compactor.look_for_lost_files())
                self.put(queue, 4, 5)       # while it is being written
                self.hub.finish_all()
                self.put(queue, 5, 6)
                self.assertFalse(queue.compactor.look_for_lost_files())
                self.assertEqual(self.after_a_crash(), [0, 1, 2, 3, 4, 5])
                self.assertIn('ERROR %s/q was removed, renamed or cut by somebody: the queue is written anew' % self.folder,
                              self.log.lines)
                self.log.lines.clear()
                queue.delete()
                self.hub.finish_all()
                for path in self.folder.iterdir():
                    path.unlink()

    def test_an_archived_file_that_is_not_open(self):
        queue = self.queue(max_memory_size=800)
        self.put(queue, 0, 7)
        queue.max_memory_size = LARGE
        self.rotate_above(queue, 300)
        self.put(queue, 7, 8)               # rotates
        self.rotate_above(queue, LARGE)
        archived, = [name for name in self.files() if name != 'q']
        self.hub.finish_all()
        self.assertEqual(self.taken(queue, 3), [0, 1, 2])
        os.unlink(self.folder / archived)
        self.restore(queue)
        self.assertEqual(self.files(), ['q'])
        self.assertEqual(self.after_a_crash(), [3, 4, 5, 6, 7])

    def test_the_current_file_in_read_behind_is_copied_from_what_is_open(self):
        queue = self.queue(max_memory_size=400)
        self.rotate_above(queue, LARGE)
        self.put(queue, 0, 20)
        self.assertEqual(queue.behind, 16)
        before = self.read()
        os.unlink(self.folder / 'q')
        self.assertTrue(queue.compactor.look_for_lost_files())
        self.hub.finish()
        self.put(queue, 20, 21)
        self.hub.finish_all()
        self.put(queue, 21, 22)
        self.assertTrue(self.read().startswith(before))
        self.assertEqual(self.after_a_crash(), list(range(22)))
        self.assertEqual(self.taken(queue, 22), list(range(22)), 'the reader goes on in the new file')
        self.assertEqual(self.after_a_crash(), [])
        self.assertIn('it is written anew', self.log.lines[0])

    def test_archived_files_in_read_behind(self):
        queue = self.queue(max_memory_size=400)
        self.put(queue, 0, 30)
        archived = [name for name in self.files() if name != 'q']
        self.assertGreater(len(archived), 3)
        self.hub.finish_all()
        for name in archived[-2:]:
            os.unlink(self.folder / name)
        self.restore(queue)                 # one after the other
        self.assertEqual(len(self.log.lines), 2)
        self.assertEqual(self.after_a_crash(), list(range(30)))
        self.put(queue, 30, 40)
        self.assertEqual(self.taken(queue, 40), list(range(40)))
        self.assertEqual(self.after_a_crash(), [])

    def test_what_nobody_has_open_is_told_of_once_a_minute(self):
        queue = self.queue(max_memory_size=400)
        self.put(queue, 0, 30)
        archived = [name for name in self.files() if name != 'q']
        self.hub.finish_all()
        os.unlink(self.folder / archived[0])
        self.log.lines.clear()
        for file in queue.journal.files.files[:1]:
            file.close()
        for seconds, lines in ((0, 1), (30, 1), (30, 2)):
            self.clock.advance(seconds)
            self.assertFalse(queue.compactor.look_for_lost_files())
            self.assertEqual(len(self.log.lines), lines)
        self.assertIn('what it holds is gone', self.log.lines[0])

    def test_a_rotation_finds_out_at_once(self):
        queue = self.queue(max_memory_size=400)
        self.put(queue, 0, 3)
        os.unlink(self.folder / 'q')
        self.put(queue, 3, 6)               # a rotation was due
        self.hub.finish_all()
        self.assertEqual(self.after_a_crash(), [0, 1, 2, 3, 4, 5])
        self.assertEqual(self.taken(queue, 6), [0, 1, 2, 3, 4, 5])

    def test_a_rotation_does_not_take_another_file_for_its_own(self):
        for change in (_replace_by_an_empty_file, lambda path: os.truncate(path, 100)):
            with self.subTest(change=change):
                queue = self.queue(max_memory_size=400)
                self.put(queue, 0, 3)
                change(self.spool + b'/q')
                self.put(queue, 3, 6)       # a rotation was due
                self.hub.finish_all()
                self.assertEqual(self.after_a_crash(), [0, 1, 2, 3, 4, 5])
                self.assertEqual(self.taken(queue, 6), [0, 1, 2, 3, 4, 5])
                queue.delete()
                self.hub.finish_all()

    def test_files_cut_in_read_behind_lose_what_was_cut_off_and_no_more(self):
        queue = self.queue(max_memory_size=400)
        self.rotate_above(queue, 1200)
        self.put(queue, 0, 25)              # ten in each rotated file, five in the current one
        archived = [name for name in self.files() if name != 'q']
        self.assertEqual([len(self.read(name)) for name in archived], [1210, 1210])
        os.truncate(self.folder / archived[1], 1207)
        os.truncate(self.folder / 'q', 3 * 121 + 50)
        self.rotate_above(queue, 300)
        self.put(queue, 25, 30)             # rotates at once: what is behind the cut stands at wrong places
        self.hub.finish_all()
        self.assertEqual(self.taken(queue, 27), [*range(19), *range(20, 23), *range(25, 30)])
        self.assertIsNone(queue.take(False, 0))
        self.assertEqual(len([line for line in self.log.lines if 'was cut by somebody else' in line]), 2)
        self.assertEqual(self.after_a_crash(), [])

    def test_an_archived_file_cut_while_all_is_in_memory(self):
        queue = self.queue()
        queue.compact_from = 0
        self.rotate_above(queue, 1200)
        self.put(queue, 0, 12)
        self.rotate_above(queue, LARGE)
        archived, = [name for name in self.files() if name != 'q']
        self.hub.finish_all()
        os.truncate(self.folder / archived, 300)
        self.restore(queue)
        self.assertEqual(self.after_a_crash(), list(range(12)))

    def test_delete_does_not_close_what_a_thread_writes_to(self):
        queue = self.queue()
        self.put(queue, 0, 10)
        os.unlink(self.folder / 'q')
        self.assertTrue(queue.compactor.look_for_lost_files())
        temporary = queue.compactor.job.work.temporary
        queue.delete()
        (job, done), *others = self.hub.jobs
        self.hub.jobs = []
        for other, other_done in others:
            other_done(other(), None)
        self.assertTrue(temporary.is_open(), 'the thread is not back yet')
        with self.assertRaises(Exception) as caught:
            job()
        done(None, caught.exception)
        self.hub.finish_all()
        self.assertFalse(temporary.is_open())
        self.assertEqual(self.files(), [])

    def test_it_cannot_be_restored_now(self):
        queue = self.queue(max_memory_size=400)
        self.rotate_above(queue, LARGE)
        self.put(queue, 0, 10)
        os.unlink(self.folder / 'q')
        self.system.room = 100
        queue.compactor.look_for_lost_files()
        self.hub.finish_all()
        self.assertEqual(self.files(), [], 'no temporary file is left')
        self.assertIn('could not be restored', self.log.lines[-1])
        self.system.room = None
        self.clock.advance(1)
        self.restore(queue)
        self.assertEqual(self.after_a_crash(), list(range(10)))


def _replace_by_an_empty_file(path):
    os.unlink(path)
    with open(path, 'wb'):
        pass
