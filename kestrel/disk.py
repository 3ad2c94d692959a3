"""The only writer of files (and, for the journal, their reader).

Everything that changes the spool goes through a Disk, so that a test can hand in an operating system that
fails. Paths are bytes. What the system refuses comes out as OSError, unless said otherwise.
"""

import fcntl
import os
import resource

from kestrel.append_file import ALWAYS, FILE_MODE, AppendFile
from kestrel.clock import Clock
from kestrel.errors import StartError
from kestrel.ration import Ration
from kestrel.shown import shown_path

FOLDER_MODE = 0o750
COPY_BLOCK = 1 << 20
SLOW = 1.0              # seconds: an fsync that takes longer is told, SLOW_LINES of them a minute
SLOW_LINES = 10


def as_path(path):
    """A path as bytes, whatever the locale. ``path``: str or bytes."""
    return path if isinstance(path, bytes) else path.encode('utf-8', 'surrogateescape')


def lock_owner(locks, device, inode):
    """The pid that holds a flock on a file, int, or None where the system does not show it.

    ``locks`` is the text of /proc/locks, a line of which reads
    ``1: FLOCK  ADVISORY  WRITE 4711 fe:00:131073 0 EOF``: pid, then major:minor in hexadecimal and the inode.
    """
    wanted = '%02x:%02x:%d' % (os.major(device), os.minor(device), inode)
    for line in locks.splitlines():
        words = line.split()
        if len(words) > 5 and words[1] == 'FLOCK' and words[5] == wanted and words[4].isdigit():
            return int(words[4]) or None
    return None


def _is_file(entry):
    """Is an os.DirEntry a regular file or a symlink to one?"""
    try:
        return entry.is_file()
    except OSError:
        # A symlink to itself, into a folder of others, or too long: nothing that holds a queue can be meant.
        return False


class Disk:
    """The files of one server. ``log`` is a logging.Logger, ``system`` and ``clock`` stand in for the real ones in tests.
    """

    def __init__(self, log, system=os, clock=None):
        self.log = log
        self.system = system
        self._clock = clock or Clock()
        self._slow = Ration(log, self._clock, SLOW_LINES)
        # The number of descriptors the process may have, see ``is_scarce``.
        self._files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        # The highest timestamp in the names of files of queues that were deleted. A queue of the same name takes later
        # ones: nothing that a power loss leaves of the old one may replace its files, or be taken for one of them.
        self.deleted_ms = 0
        self._lock = -1
        # For each folder the number of names changed in it so far, and how many of these an fsync of the
        # folder has made durable (D63).
        self._changes = {}
        self._durable = {}

    # --- the spool as a whole

    def lock_spool(self, path):
        """Make ``path`` (str or bytes) this server's own until ``unlock_spool``; -> its absolute path, bytes.

        The folder is created if it is missing. The lock is a flock on the folder's own descriptor, because a
        lock file would keep the original from starting on the spool. It belongs to the process that took it
        and to its forks: take it after the last fork. Raises StartError.
        """
        path = os.path.abspath(as_path(path))
        shown = path.decode('utf-8', 'replace')
        try:
            self._make_folder(path)
            descriptor = self.system.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except NotADirectoryError:
            raise StartError('queue_path %s is not a directory: name a directory' % shown) from None
        except OSError as error:
            raise StartError('queue_path %s cannot be used: %s: create it for the user the server runs as'
                             % (shown, error.strerror)) from None
        try:
            self._check_writable(path, shown)
            self._take_lock(descriptor, shown)
        except StartError:
            self.system.close(descriptor)
            raise
        self._lock = descriptor
        return path

    def unlock_spool(self):
        """Give the spool back to whoever wants it next."""
        if self._lock >= 0:
            self.system.close(self._lock)
            self._lock = -1

    def _make_folder(self, path):
        if self.system.path.exists(path):
            return
        self.system.makedirs(path, FOLDER_MODE, exist_ok=True)
        try:
            self.fsync_dir(os.path.dirname(path))
        except OSError as error:
            # A folder above that may be entered but not read. Only a power loss right now could matter.
            self.log.warning('cannot fsync the folder above %s: %s', path.decode('utf-8', 'replace'),
                             error.strerror)

    def _check_writable(self, path, shown):
        if self.system.access(path, os.R_OK | os.W_OK | os.X_OK):
            return
        if self.system.statvfs(path).f_flag & os.ST_RDONLY:
            raise StartError('queue_path %s is not writable: Read-only file system: remount it read-write'
                             % shown)
        raise StartError('queue_path %s is not writable: Permission denied: give it to the user the server'
                         ' runs as' % shown)

    def _take_lock(self, descriptor, shown):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = self._lock_owner(descriptor)
            raise StartError('queue_path %s is in use by another kestrel%s: stop it or set another queue_path'
                             % (shown, ' (pid %d)' % pid if pid else '')) from None
        except OSError as error:
            raise StartError('queue_path %s cannot be locked: %s: put it on a file system with flock'
                             % (shown, error.strerror)) from None

    def _lock_owner(self, descriptor):
        try:
            with open('/proc/locks', encoding='ascii', errors='replace') as file:
                locks = file.read()
        except OSError:
            return None
        status = self.system.fstat(descriptor)
        return lock_owner(locks, status.st_dev, status.st_ino)

    def list(self, path):
        """The content of a folder: [(name, bytes; is it a regular file, bool)] in no order.

        A symlink to a regular file is one, as for the original: whoever moves a large queue to another disk
        may leave a link in its place.
        """
        with self.system.scandir(path) as entries:
            return [(entry.name, _is_file(entry)) for entry in entries]

    def fsync(self, descriptor, path):
        """fsync(2), of a file or a folder, and a line in the log if that took long. ``path``: what it is called, a
        folder with a slash behind. May be called in a thread."""
        begun = self._clock.monotonic()
        try:
            self.system.fsync(descriptor)
        finally:
            took = self._clock.monotonic() - begun
            if took > SLOW:
                self._tell_slow(path, took)

    def _tell_slow(self, path, seconds):
        shown = shown_path(path)
        if shown.queue is None:
            self._slow.warning('fsync of %s took %.1f s', shown, seconds)
        else:
            self._slow.warning('journal of queue %s: fsync of %s took %.1f s', shown.queue, shown, seconds)

    # --- names

    def make_dir(self, path):
        """Create a folder unless it is there."""
        try:
            self.system.mkdir(path, FOLDER_MODE)
        except FileExistsError:
            return
        self.name_changed(path)

    def rename(self, old, new):
        self.system.rename(old, new)
        self.name_changed(new)

    def unlink(self, path):
        self.system.unlink(path)
        self.name_changed(path)

    def name_changed(self, path):
        """Count a changed name in the folder of ``path``; -> its number for ``is_name_durable``, int."""
        folder = os.path.dirname(path)
        number = self._changes.get(folder, 0) + 1
        self._changes[folder] = number
        return number

    def is_name_durable(self, path, number):
        """Has the folder of ``path`` been fsynced since the change of a name with this number?"""
        return number <= self._durable.get(os.path.dirname(path), 0)

    def fsync_dir(self, path):
        """Make all names in the folder ``path`` durable."""
        number = self._changes.get(path, 0)
        descriptor = self.system.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.fsync(descriptor, path + b'/')
        finally:
            self.system.close(descriptor)
        self._durable[path] = max(number, self._durable.get(path, 0))

    # --- files

    def is_scarce(self, descriptor):
        """Are half of all descriptors in use, as the number of this new one shows? Then what could do without one gives
        it back: it would be missing to other queues and to clients (D68)."""
        return descriptor >= self._files // 2

    def stat(self, path):
        """Of a file, as os.stat."""
        return self.system.stat(path)

    def fsync_path(self, path):
        """Make a file durable that is closed, if it is there still."""
        try:
            descriptor = self.system.open(path, os.O_RDONLY | ALWAYS)
        except FileNotFoundError:
            return      # what a rewrite or a pack replaced it by is durable
        try:
            self.fsync(descriptor, path)
        finally:
            self.system.close(descriptor)

    def open_append(self, path, size=None):
        """-> AppendFile. With ``size`` None it is created now (if it is missing) and open; else it is known
        to be there with so many bytes, and takes a descriptor at the first append."""
        file = AppendFile(self, path, size or 0)
        if size is None:
            file.open()
        return file

    def open_archived(self, path, size):
        """-> AppendFile that is only read; ``size`` as ``open_append``."""
        return AppendFile(self, path, size, True)

    def create(self, path):
        """-> AppendFile, new, empty and open. FileExistsError if there is something of that name."""
        file = AppendFile(self, path, 0)
        file.create()
        return file

    def open_read(self, path, writable=False, on_read=None):
        """-> ReadFile. ``writable``: fail now if it could not be appended to later. ``on_read``: see ReadFile."""
        return ReadFile(self.system, path, os.O_RDWR if writable else os.O_RDONLY, on_read)

    def truncate(self, path, size):
        """Cut a file to ``size`` bytes, durably."""
        descriptor = self.system.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            self.system.ftruncate(descriptor, size)
            self.fsync(descriptor, path)
        finally:
            self.system.close(descriptor)

    def may_replace(self, path):
        """Would ``replace`` find a folder that it may change, or one to create it in?"""
        folder = os.path.dirname(path)
        while not self.system.path.exists(folder):
            folder = os.path.dirname(folder)
        return self.system.path.isdir(folder) and self.system.access(folder, os.W_OK | os.X_OK)

    def replace(self, path, data):
        """Give the file ``path`` (absolute) the content ``data``, durably; its folder is created if it is
        missing. Whatever happens it has the old content or the new one. May be called in a thread."""
        folder = os.path.dirname(path)
        self._make_folder(folder)
        temporary = path + b'.tmp'
        try:
            self.system.unlink(temporary)
        except FileNotFoundError:
            pass        # the rule: no crash has left one
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        target = self.system.open(temporary, flags, FILE_MODE)
        try:
            try:
                while data:
                    data = data[self.system.write(target, data):]
                self.fsync(target, temporary)
            finally:
                self.system.close(target)
            self.system.rename(temporary, path)
        except OSError:
            self.system.unlink(temporary)
            raise
        self.fsync_dir(folder)

    def save_tail(self, path, offset, dest):
        """Copy what ``path`` holds from ``offset`` on to the new file ``dest``, durably (but for its name).

        FileExistsError if ``dest`` is there. After any failure nothing is left of it.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        target = self.system.open(dest, flags, FILE_MODE)
        try:
            try:
                self._copy(path, offset, target)
                self.fsync(target, dest)
            finally:
                self.system.close(target)
        except OSError:
            self.system.unlink(dest)
            raise
        self.name_changed(dest)

    def _copy(self, path, offset, target):
        source = self.system.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.system.lseek(source, offset, os.SEEK_SET)
            while True:
                block = self.system.read(source, COPY_BLOCK)
                if not block:
                    return
                while block:
                    block = block[self.system.write(target, block):]
        finally:
            self.system.close(source)


class ReadFile:
    """A file that is read. ``status``: its fstat when it was opened; ``size``: its length in bytes then.

    on_read  called with the number of bytes after each reading, or None
    """

    def __init__(self, system, path, flags, on_read=None):
        self._on_read = on_read
        self._system = system
        self._descriptor = system.open(path, flags | os.O_CLOEXEC)
        self.status = system.fstat(self._descriptor)
        self.size = self.status.st_size

    def read_at(self, count, offset):
        """At most ``count`` bytes from ``offset`` on; none at the end."""
        data = self._system.pread(self._descriptor, count, offset)
        if self._on_read is not None:
            self._on_read(len(data))
        return data

    def close(self):
        self._system.close(self._descriptor)
