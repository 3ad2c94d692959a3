"""The only writer of files (and, for the journal, their reader).

Everything that changes the spool goes through a Disk, so that a test can hand in an operating system that
fails. Paths are bytes. What the system refuses comes out as OSError, unless said otherwise.
"""

import errno
import fcntl
import os
import stat

from kestrel.errors import StartError

FILE_MODE = 0o640
FOLDER_MODE = 0o750
COPY_BLOCK = 1 << 20
# Without O_NONBLOCK, which says nothing to regular files, opening a FIFO would wait for whoever has its other
# end, and the whole server with it.
ALWAYS = os.O_CLOEXEC | os.O_NONBLOCK


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
    """The files of one server. ``log`` is a logging.Logger, ``system`` stands in for os in tests."""

    def __init__(self, log, system=os):
        self.log = log
        self.system = system
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
            self._make_spool(path)
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

    def _make_spool(self, path):
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
            self.system.fsync(descriptor)
        finally:
            self.system.close(descriptor)
        self._durable[path] = max(number, self._durable.get(path, 0))

    # --- files

    def open_append(self, path, size=None):
        """-> AppendFile. With ``size`` None it is created now (if it is missing) and open; else it is known
        to be there with so many bytes, and takes a descriptor at the first append."""
        file = AppendFile(self, path, size or 0)
        if size is None:
            file.open()
        return file

    def open_read(self, path, writable=False):
        """-> ReadFile. ``writable``: fail now if it could not be appended to later."""
        return ReadFile(self.system, path, os.O_RDWR if writable else os.O_RDONLY)

    def truncate(self, path, size):
        """Cut a file to ``size`` bytes, durably."""
        descriptor = self.system.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            self.system.ftruncate(descriptor, size)
            self.system.fsync(descriptor)
        finally:
            self.system.close(descriptor)

    def save_tail(self, path, offset, dest):
        """Copy what ``path`` holds from ``offset`` on to the new file ``dest``, durably (but for its name).

        FileExistsError if ``dest`` is there. After any failure nothing is left of it.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        target = self.system.open(dest, flags, FILE_MODE)
        try:
            try:
                self._copy(path, offset, target)
                self.system.fsync(target)
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
    """A file read from its beginning. ``size``: its length in bytes when it was opened."""

    def __init__(self, system, path, flags):
        self._system = system
        self._descriptor = system.open(path, flags | os.O_CLOEXEC)
        self.size = system.fstat(self._descriptor).st_size

    def read(self, count):
        """The next bytes, at most ``count``; none at the end."""
        return self._system.read(self._descriptor, count)

    def close(self):
        self._system.close(self._descriptor)


class BackgroundSync:
    """An fsync of a file and, where it is new, of its name; to be called in a thread.

    It has a descriptor of its own: the file may be closed or deleted meanwhile, and the kernel reports a
    failed write-back once to each open file, so that this fsync cannot swallow the error of another one.
    """

    def __init__(self, disk, path, name_is_new):
        self._disk = disk
        self._folder = os.path.dirname(path) if name_is_new else None
        # In a list, because pop is one step for all threads: the descriptor has one taker, even if the thread
        # pool failed to start this and begins it all the same.
        self._held = [disk.system.open(path, os.O_RDONLY | ALWAYS)]

    def __call__(self):
        """Do it. Raises OSError. Nothing is done after ``close``."""
        descriptor = self._take()
        if descriptor < 0:
            return
        try:
            self._disk.system.fsync(descriptor)
        finally:
            self._disk.system.close(descriptor)
        if self._folder is not None:
            self._disk.fsync_dir(self._folder)

    def close(self):
        """Give it up before it is called; as often as you like."""
        descriptor = self._take()
        if descriptor >= 0:
            self._disk.system.close(descriptor)

    def _take(self):
        try:
            return self._held.pop()
        except IndexError:
            return -1


class AppendFile:
    """A file that is only appended to, each time by whole records.

    ``size`` is the length up to which it is good, in bytes. After a failed append nothing of it is left: what
    was written is cut off again, at once or, where that fails too, before anything else is written.
    """

    __slots__ = ('path', 'size', '_disk', '_system', '_write', '_descriptor', '_torn', '_name')

    def __init__(self, disk, path, size):
        self.path = path
        self.size = size
        self._disk = disk
        self._system = disk.system
        self._write = disk.system.write
        self._descriptor = -1
        self._torn = False
        self._name = 0

    def append(self, data):
        """Write ``data``, bytes, by one call of write(2). Raises OSError, the file being as before."""
        length = len(data)
        if self._descriptor < 0 or self._torn:
            self.open()
        try:
            written = self._write(self._descriptor, data)
            if written != length:
                self._write_rest(memoryview(data)[written:])
        except OSError:
            self._cut()
            raise
        self.size += length

    def append2(self, header, data):
        """As ``append`` of header + data, without making one piece of them."""
        length = len(header) + len(data)
        if self._descriptor < 0 or self._torn:
            self.open()
        try:
            written = self._system.writev(self._descriptor, (header, data))
            if written < len(header):
                self._write_rest(memoryview(header)[written:])
                written = len(header)
            if written != length:
                self._write_rest(memoryview(data)[written - len(header):])
        except OSError:
            self._cut()
            raise
        self.size += length

    def open(self):
        """Take a descriptor if there is none, creating the file if it is missing; cut off a torn record."""
        if self._descriptor < 0:
            self._open()
        if self._torn:
            self._system.ftruncate(self._descriptor, self.size)
            self._torn = False

    def cut(self, size):
        """Take the last record off again, down to ``size``; never raises."""
        self.size = size
        self._cut()

    def fsync(self):
        """Make everything appended durable, and the name of the file too if it is new (D63)."""
        if self._descriptor < 0:
            return
        self._system.fsync(self._descriptor)
        if self._name_is_new():
            self._disk.fsync_dir(os.path.dirname(self.path))

    def background_sync(self):
        """-> BackgroundSync of all that has been appended so far."""
        return BackgroundSync(self._disk, self.path, self._name_is_new())

    def close(self):
        """Give the descriptor back. The next append takes one again."""
        if self._descriptor >= 0:
            descriptor = self._descriptor
            self._descriptor = -1
            self._system.close(descriptor)

    def is_open(self):
        return self._descriptor >= 0

    def _name_is_new(self):
        return self._name > 0 and not self._disk.is_name_durable(self.path, self._name)

    def _open(self):
        descriptor, created = self._find_or_create()
        try:
            status = self._system.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise _not_regular()
        except OSError:
            self._system.close(descriptor)
            raise
        self._descriptor = descriptor
        if created:
            self._name = self._disk.name_changed(self.path)
        found = status.st_size
        if not self._torn or found < self.size:
            # Somebody removed or changed it while it was closed: go on with what is there.
            self.size = found

    def _find_or_create(self):
        """-> (descriptor, was it created). Never waits, whatever is there under that name."""
        flags = os.O_WRONLY | os.O_APPEND | ALWAYS
        try:
            return self._system.open(self.path, flags), False
        except FileNotFoundError:
            return self._system.open(self.path, flags | os.O_CREAT, FILE_MODE), True
        except OSError as error:
            if error.errno == errno.ENXIO:      # a socket, or a FIFO that nobody reads
                raise _not_regular() from None
            raise

    def _write_rest(self, rest):
        while rest:
            written = self._write(self._descriptor, rest)
            if written <= 0:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            rest = rest[written:]

    def _cut(self):
        try:
            self._system.ftruncate(self._descriptor, self.size)
        except OSError as error:
            self._torn = True
            self._disk.log.error(
                '%s: cannot cut off an incomplete record at %d: %s; it is cut off before the next write',
                self.path.decode('utf-8', 'replace'), self.size, error.strerror)


def _not_regular():
    return OSError(errno.EINVAL, 'not a regular file')
