"""The only writer of files, and what becomes of a record that the system does not take."""

import errno
import fcntl
import os
import subprocess
import sys

from kestrel.append_file import SyncJob
from kestrel.disk import Disk, lock_owner
from kestrel.errors import StartError
from support.clock import MovedClock
from support.spool import SpoolTest


class AppendTest(SpoolTest):

    def setUp(self):
        super().setUp()
        self.path = self.spool + b'/f'

    def opened(self, data=b'good'):
        file = self.disk.open_append(self.path)
        file.append(data)
        self.system.calls.clear()
        return file

    def test_one_write_each(self):
        file = self.opened()
        file.append(b'a' * 1000)
        file.append2(b'head', b'b' * 70000)
        self.assertEqual([call[0] for call in self.system.calls], ['write', 'writev'])
        self.assertEqual(self.read('f'), b'good' + b'a' * 1000 + b'head' + b'b' * 70000)
        self.assertEqual(file.size, len(self.read('f')))

    def test_a_new_file_is_there_at_once(self):
        self.disk.open_append(self.path)
        self.assertEqual(self.read('f'), b'')
        self.assertEqual((self.folder / 'f').stat().st_mode & 0o777, 0o640)

    def test_a_known_file_takes_no_descriptor_before_its_first_append(self):
        self.write('f', b'123')
        file = self.disk.open_append(self.path, 3)
        self.assertEqual(self.system.count('open'), 0)
        self.assertFalse(file.is_open())
        file.append(b'4')
        self.assertEqual(self.read('f'), b'1234')
        self.assertEqual(file.size, 4)

    def test_a_known_file_that_is_gone_is_created(self):
        file = self.disk.open_append(self.path, 3)
        file.append(b'4')
        self.assertEqual(self.read('f'), b'4')
        self.assertEqual(file.size, 1)

    def test_closed_and_opened_again(self):
        file = self.opened()
        file.close()
        file.close()
        file.append(b'2')
        self.assertEqual(self.read('f'), b'good2')

    def test_short_writes_go_on(self):
        data = bytes(range(256)) * 300
        for most in (7, 21, 22, 5000):
            for method, pieces in [('append', (data,)), ('append2', (data[:21], data[21:])),
                                   ('append2', (data[:-3], data[-3:]))]:
                with self.subTest(method, first=len(pieces[0]), most=most):
                    file = self.opened()
                    size = file.size
                    self.system.most = most
                    getattr(file, method)(*pieces)
                    self.system.most = None
                    self.assertTrue(self.read('f')[size:] == data)
                    self.assertEqual(file.size, size + len(data))
                    file.close()

    def test_disk_full_leaves_no_torn_record(self):
        for room in (0, 1, 5, 21, 22, 99):
            for method, pieces in [('append', (b'x' * 100,)), ('append2', (b'h' * 21, b'x' * 79))]:
                with self.subTest(method, room=room):
                    file = self.opened()
                    size = file.size
                    self.system.room = room
                    with self.assertRaises(OSError) as caught:
                        getattr(file, method)(*pieces)
                    self.assertEqual(caught.exception.errno, errno.ENOSPC)
                    self.assertEqual((file.size, len(self.read('f'))), (size, size))
                    self.system.room = None
                    file.append(b'next')
                    self.assertEqual(self.read('f')[size:], b'next')
                    file.close()

    def test_io_error(self):
        file = self.opened()
        self.system.faults['write'] = errno.EIO
        with self.assertRaises(OSError) as caught:
            file.append(b'x')
        self.assertEqual(caught.exception.errno, errno.EIO)
        del self.system.faults['write']
        file.append(b'y')
        self.assertEqual(self.read('f'), b'goody')

    def test_a_torn_record_that_cannot_be_cut_off_is_cut_off_first_thing_later(self):
        file = self.opened()
        self.system.room = 3
        self.system.faults['ftruncate'] = errno.EIO
        with self.assertRaises(OSError):
            file.append(b'torn record')
        self.assertEqual(self.read('f'), b'goodtor')
        self.assertEqual(self.log.lines, [
            'ERROR %s: cannot cut off an incomplete record at 4: Input/output error; it is cut off before the'
            ' next write' % self.path.decode()])
        self.system.room = None
        with self.assertRaises(OSError):
            file.append(b'refused')
        self.assertEqual(self.read('f'), b'goodtor')
        del self.system.faults['ftruncate']
        file.append(b'!')
        self.assertEqual(self.read('f'), b'good!')
        self.assertEqual(file.size, 5)

    def test_a_torn_record_is_cut_off_although_the_file_was_closed_meanwhile(self):
        file = self.opened()
        self.system.room = 3
        self.system.faults['ftruncate'] = errno.EIO
        with self.assertRaises(OSError):
            file.append(b'torn record')
        self.system.room = None
        self.system.faults.clear()
        file.close()
        file.append(b'!')
        self.assertEqual(self.read('f'), b'good!')

    def test_cut_takes_the_last_record_off(self):
        file = self.opened()
        file.append(b'last')
        file.cut(4)
        self.assertEqual((file.size, self.read('f')), (4, b'good'))

    def test_what_is_no_regular_file_is_refused_at_once(self):
        """Opening a FIFO for writing would wait for a reader, and with it the whole server."""
        os.mkfifo(self.path)
        reader = None
        for why in ('nobody reads', 'somebody reads'):
            with self.subTest(why):
                before = len(os.listdir('/proc/self/fd'))
                for size in (None, 3):
                    with self.assertRaises(OSError) as caught:
                        self.disk.open_append(self.path, size).append(b'x')
                    self.assertEqual(caught.exception.strerror, 'not a regular file')
                self.assertEqual(len(os.listdir('/proc/self/fd')), before)
                if reader is None:
                    reader = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
                    self.addCleanup(os.close, reader)
        with self.assertRaises(OSError) as caught:
            self.disk.open_append(b'/dev/null')
        self.assertEqual(caught.exception.strerror, 'not a regular file')

    def test_a_symlink_is_followed(self):
        self.write('there', b'1')
        (self.folder / 'f').symlink_to('there')
        self.disk.open_append(self.path).append(b'2')
        self.assertEqual(self.read('there'), b'12')

    def test_no_descriptors_left(self):
        self.write('f', b'123')
        file = self.disk.open_append(self.path, 3)
        self.system.faults['open'] = errno.EMFILE
        with self.assertRaises(OSError) as caught:
            file.append(b'4')
        self.assertEqual(caught.exception.errno, errno.EMFILE)
        del self.system.faults['open']
        file.append(b'5')
        self.assertEqual(self.read('f'), b'1235')


class SyncTest(SpoolTest):

    def syncs(self):
        return self.system.count('fsync')

    def test_a_new_name_costs_one_sync_of_the_folder(self):
        file = self.disk.open_append(self.spool + b'/f')
        other = self.disk.open_append(self.spool + b'/g')
        file.append(b'1')
        file.fsync()
        self.assertEqual(self.syncs(), 2)
        file.fsync()
        self.assertEqual(self.syncs(), 3)
        other.append(b'1')
        other.fsync()
        self.assertEqual(self.syncs(), 4, 'the sync of the folder has covered the other name too')

    def test_a_failed_sync_of_the_folder_is_done_again(self):
        file = self.disk.open_append(self.spool + b'/f')
        self.system.faults['fsync'] = errno.EIO
        with self.assertRaises(OSError):
            self.disk.fsync_dir(self.spool)
        del self.system.faults['fsync']
        self.system.calls.clear()
        file.fsync()
        self.assertEqual(self.syncs(), 2)

    def test_a_known_file_needs_no_sync_of_the_folder(self):
        self.write('f', b'123')
        file = self.disk.open_append(self.spool + b'/f', 3)
        file.fsync()
        self.assertEqual(self.syncs(), 0, 'nothing was written')
        file.append(b'4')
        file.fsync()
        self.assertEqual(self.syncs(), 1)

    def test_background_sync_survives_the_end_of_the_file(self):
        file = self.disk.open_append(self.spool + b'/f')
        file.append(b'1')
        job = SyncJob(self.disk, [file])
        file.close()
        self.disk.unlink(self.spool + b'/f')
        self.system.calls.clear()
        job()
        self.assertEqual(self.syncs(), 2)

    def test_a_name_is_new_after_a_rename_too(self):
        self.write('f', b'123')
        file = self.disk.open_append(self.spool + b'/f', 3)
        file.append(b'4')
        self.assertFalse(file.name_is_new())
        file.rename(self.spool + b'/g')
        self.assertTrue(file.name_is_new())
        file.fsync_content()
        self.assertEqual((self.syncs(), file.name_is_new()), (1, True))
        file.fsync()
        self.assertEqual((self.syncs(), file.name_is_new()), (3, False))

    def test_a_name_that_changes_during_the_fsync_of_the_folder_is_new(self):
        file = self.disk.open_append(self.spool + b'/f')
        fsync = self.system.fsync

        def renamed_meanwhile(descriptor):
            fsync(descriptor)
            file.rename(self.spool + b'/g')
        self.system.fsync = renamed_meanwhile
        self.disk.fsync_dir(self.spool)
        self.assertTrue(file.name_is_new())


class SyncJobTest(SpoolTest):
    """Fsyncs for a thread."""

    def setUp(self):
        super().setUp()
        self.before = self.descriptors()
        self.old, self.new = [self.disk.open_append(self.spool + b'/' + name) for name in (b'old', b'new')]
        for file in (self.old, self.new):
            file.append(b'1')
        self.synced = []
        self.system.fsync = self.note

    @staticmethod
    def descriptors():
        return len(os.listdir('/proc/self/fd'))

    def note(self, descriptor):
        name = os.path.basename(os.readlink('/proc/self/fd/%d' % descriptor))
        self.synced.append('folder' if name == self.folder.name else name)

    def test_the_oldest_first_then_the_folder_once(self):
        SyncJob(self.disk, [self.old, self.new])()
        self.assertEqual(self.synced, ['old', 'new', 'folder'])
        self.assertFalse(self.old.name_is_new() or self.new.name_is_new())
        SyncJob(self.disk, [self.new])()
        self.assertEqual(self.synced[3:], ['new'])

    def test_its_descriptors_are_its_own(self):
        job = SyncJob(self.disk, [self.old, self.new])
        self.old.close()
        self.old.unlink()
        self.old.close()
        job()
        self.assertEqual([name.split()[0] for name in self.synced], ['old', 'new', 'folder'])
        self.new.close()
        self.assertEqual(self.descriptors(), self.before)

    def test_a_file_that_is_closed_was_fsynced(self):
        self.old.close()
        SyncJob(self.disk, [self.old, self.new])()
        self.assertEqual(self.synced, ['new', 'folder'])

    def test_what_fails_ends_it(self):
        def failing(descriptor):
            self.note(descriptor)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.system.fsync = failing
        job = SyncJob(self.disk, [self.old, self.new])
        with self.assertRaises(OSError):
            job()
        self.assertEqual(self.synced, ['old'])
        self.assertEqual(self.descriptors(), self.before + 2)
        self.assertTrue(self.new.name_is_new())

    def test_a_folder_that_cannot_be_fsynced(self):
        def failing(descriptor):
            self.note(descriptor)
            if self.synced[-1] == 'folder':
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.system.fsync = failing
        with self.assertRaises(OSError):
            SyncJob(self.disk, [self.new])()
        self.assertTrue(self.new.name_is_new())
        self.assertEqual(self.descriptors(), self.before + 2)

    def test_no_descriptor_left(self):
        dup, held = self.system.dup, []

        def scarce(descriptor):
            if held:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            held.append(dup(descriptor))
            return held[0]
        self.system.dup = scarce
        with self.assertRaises(OSError) as caught:
            SyncJob(self.disk, [self.old, self.new])
        self.assertEqual(caught.exception.errno, errno.EMFILE)
        self.assertEqual(self.descriptors(), self.before + 2)

    def test_given_up(self):
        job = SyncJob(self.disk, [self.old])
        job.close()
        job.close()
        self.assertEqual(self.descriptors(), self.before + 2)

    def test_it_opens_no_file_anew(self):
        # Only descriptors of one open file share the kernel's note of a write-back that failed before.
        self.system.calls.clear()
        job = SyncJob(self.disk, [self.old, self.new])
        self.assertEqual([call[0] for call in self.system.calls], ['dup', 'dup'])
        job.close()


class ReadTest(SpoolTest):
    """What is appended to is read back too; what is archived is read alone."""

    def test_read_at(self):
        file = self.disk.open_append(self.spool + b'/f')
        file.append(b'0123456789')
        self.assertEqual([file.read_at(3, 2), file.read_at(100, 8), file.read_at(5, 10)],
                         [b'234', b'89', b''])
        file.append(b'ab')
        self.assertEqual((file.read_at(5, 9), self.read('f')), (b'9ab', b'0123456789ab'))
        file.will_need(1 << 22, 0)

    def test_what_is_held_can_be_read_although_it_is_removed_or_renamed(self):
        for change in (lambda path: path.unlink(), lambda path: path.rename(self.folder / 'elsewhere')):
            self.write('f', b'123')
            file = self.disk.open_archived(self.spool + b'/f', 3)
            self.assertFalse(file.is_open())
            file.hold()
            file.hold()
            self.assertEqual((file.is_open(), self.system.count('open')), (True, 1))
            change(self.folder / 'f')
            self.assertEqual(file.read_at(9, 1), b'23')
            file.close()
            with self.assertRaises(FileNotFoundError):
                file.read_at(9, 1)
            self.system.calls.clear()

    def test_an_archived_file_is_never_created(self):
        file = self.disk.open_archived(self.spool + b'/f', 3)
        with self.assertRaises(FileNotFoundError):
            file.hold()
        self.assertEqual(self.files(), [])

    def test_a_fifo_in_place_of_it_is_not_waited_for(self):
        os.mkfifo(self.folder / 'f')
        file = self.disk.open_archived(self.spool + b'/f', 3)
        with self.assertRaises(OSError):
            file.read_at(3, 0)


class NameTest(SpoolTest):

    def test_create(self):
        file = self.disk.create(self.spool + b'/f')
        self.assertEqual((file.size, file.is_open(), file.name_is_new()), (0, True, True))
        self.assertEqual((self.folder / 'f').stat().st_mode & 0o777, 0o640)
        file.append(b'1')
        with self.assertRaises(FileExistsError):
            self.disk.create(self.spool + b'/f')
        self.assertEqual(self.read('f'), b'1')

    def test_rename(self):
        file = self.disk.create(self.spool + b'/f')
        file.append(b'1')
        file.rename(self.spool + b'/g')
        file.append(b'2')
        self.assertEqual((self.files(), self.read('g'), file.path), (['g'], b'12', self.spool + b'/g'))
        self.system.faults['rename'] = errno.EIO
        with self.assertRaises(OSError):
            file.rename(self.spool + b'/h')
        self.assertEqual((file.path, self.files()), (self.spool + b'/g', ['g']))

    def test_unlink_leaves_freeing_the_blocks_to_the_close(self):
        self.write('f', b'123')
        path = self.spool + b'/f'
        for file in (self.disk.open_append(path, 3), self.disk.open_archived(path, 3)):
            self.write('f', b'123')
            file.unlink()
            self.assertEqual((self.files(), file.is_open()), ([], True))
            file.close()

    def test_unlink_without_a_descriptor(self):
        self.write('f', b'123')
        file = self.disk.open_archived(self.spool + b'/f', 3)
        self.system.faults['open'] = errno.EMFILE
        file.unlink()
        self.assertEqual((self.files(), file.is_open()), ([], False))
        del self.system.faults['open']
        with self.assertRaises(FileNotFoundError):
            file.unlink()


class FilesTest(SpoolTest):

    def test_list(self):
        self.write('q', b'')
        (self.folder / 'd').mkdir()
        (self.folder / 'link').symlink_to('q')
        (self.folder / 'broken').symlink_to('nothing')
        (self.folder / 'loop').symlink_to('loop')
        (self.folder / 'long').symlink_to('x' * 300)
        os.mkfifo(self.folder / 'fifo')
        self.assertEqual(sorted(self.disk.list(self.spool)), [
            (b'broken', False), (b'd', False), (b'fifo', False), (b'link', True), (b'long', False),
            (b'loop', False), (b'q', True)])

    def test_truncate(self):
        self.write('q', b'12345')
        self.disk.truncate(self.spool + b'/q', 2)
        self.assertEqual(self.read(), b'12')

    def test_rename_and_unlink(self):
        self.write('a', b'1')
        self.disk.rename(self.spool + b'/a', self.spool + b'/b')
        self.assertEqual(self.files(), ['b'])
        self.disk.unlink(self.spool + b'/b')
        self.assertEqual(self.files(), [])

    def test_make_dir(self):
        self.disk.make_dir(self.spool + b'/d')
        self.disk.make_dir(self.spool + b'/d')
        self.assertEqual((self.folder / 'd').stat().st_mode & 0o777, 0o750)

    def test_save_tail(self):
        data = os.urandom(3000000)
        self.write('q', data)
        self.disk.save_tail(self.spool + b'/q', 1000, self.spool + b'/copy')
        self.assertTrue(self.read('copy') == data[1000:])
        self.assertTrue(self.read() == data)
        with self.assertRaises(FileExistsError):
            self.disk.save_tail(self.spool + b'/q', 1000, self.spool + b'/copy')

    def test_save_tail_without_room_leaves_nothing(self):
        self.write('q', b'12345')
        self.system.room = 2
        with self.assertRaises(OSError):
            self.disk.save_tail(self.spool + b'/q', 1, self.spool + b'/copy')
        self.assertEqual(self.files(), ['q'])


class LockTest(SpoolTest):

    def refusal(self, path):
        with self.assertRaises(StartError) as caught:
            Disk(self.logger, self.system).lock_spool(path)
        return str(caught.exception)

    def test_creates_the_folder(self):
        path = self.folder / 'a' / 'spool'
        self.assertEqual(self.disk.lock_spool(str(path)), os.fsencode(path))
        self.addCleanup(self.disk.unlock_spool)
        self.assertEqual(path.stat().st_mode & 0o777, 0o750)
        self.assertEqual(list(path.iterdir()), [], 'no file of ours may keep the original from starting')

    def test_one_at_a_time(self):
        self.disk.lock_spool(self.spool)
        self.assertRegex(self.refusal(self.spool), r'^queue_path \S+ is in use by another kestrel'
                         r'( \(pid %d\))?: stop it or set another queue_path$' % os.getpid())
        self.disk.unlock_spool()
        other = Disk(self.logger)
        other.lock_spool(self.spool)
        other.unlock_spool()

    def test_another_process(self):
        code = ('import fcntl, os, sys\n'
                'fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)\n'
                'print(flush=True); sys.stdin.read()')
        with subprocess.Popen([sys.executable, '-c', code, self.folder], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as holder:
            holder.stdout.readline()
            message = self.refusal(self.spool)
            with open('/proc/locks') as file:
                shown = ' %d ' % holder.pid in file.read()
            holder.stdin.close()
        self.assertEqual('(pid %d)' % holder.pid in message, shown, message)
        self.disk.lock_spool(self.spool)
        self.disk.unlock_spool()

    def test_not_a_folder(self):
        self.write('file', b'')
        path = str(self.folder / 'file')
        self.assertEqual(self.refusal(path), 'queue_path %s is not a directory: name a directory' % path)

    def test_cannot_be_created(self):
        self.write('file', b'')
        self.assertIn('not a directory', self.refusal(str(self.folder / 'file' / 'spool')).lower())
        self.system.makedirs = self.fail_with(errno.EROFS)
        self.assertIn('Read-only file system', self.refusal(str(self.folder / 'new')))

    def test_not_writable(self):
        self.system.access = lambda path, mode: False
        self.assertEqual(self.refusal(self.spool), 'queue_path %s is not writable: Permission denied: give'
                         ' it to the user the server runs as' % self.folder)
        self.system.statvfs = lambda path: type('', (), {'f_flag': os.ST_RDONLY})
        self.assertIn('Read-only file system: remount it read-write', self.refusal(self.spool))

    def test_is_free_after_a_refusal(self):
        self.system.access = lambda path, mode: False
        self.refusal(self.spool)
        descriptor = os.open(self.spool, os.O_RDONLY)
        self.addCleanup(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def test_lock_owner(self):
        locks = ('1: POSIX  ADVISORY  WRITE 1 fe:00:77 0 EOF\n'
                 '2: FLOCK  ADVISORY  WRITE 4711 fe:01:77 0 EOF\n'
                 '3: FLOCK  ADVISORY  WRITE 12 fe:00:77 0 EOF\n'
                 '3: -> FLOCK  ADVISORY  WRITE 13 fe:00:77 0 EOF\n'
                 '4: FLOCK  ADVISORY  WRITE 0 fe:00:78 0 EOF\n')
        self.assertEqual(lock_owner(locks, os.makedev(0xfe, 0), 77), 12)
        self.assertEqual(lock_owner(locks, os.makedev(0xfe, 1), 77), 4711)
        self.assertIsNone(lock_owner(locks, os.makedev(0xfe, 0), 78))
        self.assertIsNone(lock_owner(locks, os.makedev(0xfe, 0), 79))

    @staticmethod
    def fail_with(number):
        def call(*arguments, **more):
            raise OSError(number, os.strerror(number))
        return call


class SlowFsyncTest(SpoolTest):
    """An fsync that takes more than a second is told, with its file and its queue."""

    def setUp(self):
        super().setUp()
        clock = MovedClock()
        fsync = self.system.fsync
        self.takes = 1.5

        def slow(descriptor):
            clock.advance(self.takes)
            fsync(descriptor)
        self.system.fsync = slow
        self.disk = Disk(self.logger, self.system, clock)
        self.shown = self.spool.decode()

    def told(self):
        lines, self.log.lines[:] = list(self.log.lines), []
        return lines

    def test_of_a_journal_and_of_its_folder(self):
        file = self.disk.open_append(self.spool + b'/caf\xc3\xa9.123')
        file.append(b'1')
        slow_file = 'WARNING journal of queue caf\xe9: fsync of %s/caf\xe9.123 took 1.5 s' % self.shown
        slow_folder = 'WARNING fsync of %s/ took 1.5 s' % self.shown
        file.fsync()
        self.assertEqual(self.told(), [slow_file, slow_folder])
        file.fsync_content()
        self.assertEqual(self.told(), [slow_file])
        SyncJob(self.disk, [file])()
        self.assertEqual(self.told(), [slow_file])
        self.disk.fsync_path(file.path)
        self.assertEqual(self.told(), [slow_file])
        self.disk.truncate(file.path, 0)
        self.assertEqual(self.told(), [slow_file])

    def test_of_the_status_file(self):
        self.disk.replace(self.spool + b'/status', b'up')
        self.assertEqual(self.told(), ['WARNING fsync of %s/status.tmp took 1.5 s' % self.shown,
                                       'WARNING fsync of %s/ took 1.5 s' % self.shown])

    def test_one_that_fails_late(self):
        self.system.faults['fsync'] = errno.EIO
        with self.assertRaises(OSError):
            self.disk.fsync_dir(self.spool)
        self.assertEqual(self.told(), ['WARNING fsync of %s/ took 1.5 s' % self.shown])

    def test_a_second_is_not_told(self):
        self.takes = 1.0
        self.disk.fsync_dir(self.spool)
        self.assertEqual(self.told(), [])

    def test_not_without_end(self):
        self.takes = 1.01
        for _ in range(30):
            self.disk.fsync_dir(self.spool)
        self.assertEqual(len(self.told()), 10)
