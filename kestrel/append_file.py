"""One journal file: appended to by whole records, read back at any place, fsynced by itself or in a thread.

Made by ``disk.Disk``, which knows the folders; paths are bytes, what the system refuses comes out as OSError.
"""

import errno
import os
import stat

from kestrel.shown import shown_path

FILE_MODE = 0o640
# Without O_NONBLOCK, which says nothing to regular files, opening a FIFO would wait for whoever has its other
# end, and the whole server with it.
ALWAYS = os.O_CLOEXEC | os.O_NONBLOCK

# The compiled module has its own write(2), from file_calls.pxd; written like this, Cython sees no second definition. Where
# a test's system writes, that one is called.
SYSTEM_WRITE = os.write
globals()['write'] = os.write


class AppendFile:
    """A file that is only appended to, each time by whole records.

    ``size`` is the length up to which it is good, in bytes. After a failed append nothing of it is left: what
    was written is cut off again, at once or, where that fails too, before anything else is written.
    ``archived``: nothing is appended any more; such a file is never created.
    """

    __slots__ = ('path', 'size', 'archived', '_disk', '_system', '_write', '_descriptor', '_torn', '_name')

    def __init__(self, disk, path, size, archived=False):
        self.path = path
        self.size = size
        self.archived = archived
        self._disk = disk
        self._system = disk.system
        self._write = disk.system.write
        self._descriptor = -1
        self._torn = False
        self._name = 0

    # --- appending

    def append(self, data):
        """Write ``data``, bytes, by one call of write(2). Raises OSError, the file being as before."""
        length = len(data)
        if self._descriptor < 0 or self._torn:
            self.open()
        try:
            if self._write is SYSTEM_WRITE:
                written = write(self._descriptor, data)
            else:
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

    def cut(self, size):
        """Take the last records off again, down to ``size``; never raises."""
        self.size = size
        self._cut()

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
                shown_path(self.path), self.size, error.strerror)

    # --- reading

    def read_at(self, count, offset):
        """At most ``count`` bytes from ``offset`` on."""
        if self._descriptor < 0:
            self.hold()
        return self._system.pread(self._descriptor, count, offset)

    def will_need(self, count, offset):
        """Have the kernel read ahead, without waiting for it."""
        self._system.posix_fadvise(self._descriptor, offset, count, os.POSIX_FADV_WILLNEED)

    def expect(self, size):
        """The file, which is closed, has ``size`` bytes."""
        self.size = size

    # --- its descriptor

    def open(self):
        """Take a descriptor if there is none, creating the file if it is missing; cut off a torn record."""
        if self._descriptor < 0:
            self._open()
        if self._torn:
            self._system.ftruncate(self._descriptor, self.size)
            self._torn = False

    def hold(self):
        """Have a descriptor: what is open can be read although somebody removes or renames the file."""
        if self._descriptor >= 0:
            return
        if self.archived:
            self._descriptor = self._system.open(self.path, os.O_RDONLY | ALWAYS)
        else:
            self.open()

    def create(self):
        """Make the file, which must not be there."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | ALWAYS
        self._descriptor = self._system.open(self.path, flags, FILE_MODE)
        self._name = self._disk.name_changed(self.path)

    def close(self):
        """Give the descriptor back. Whatever needs one next takes one again."""
        if self._descriptor >= 0:
            descriptor = self._descriptor
            self._descriptor = -1
            self._system.close(descriptor)

    def descriptor(self):
        """Its number, -1 if there is none."""
        return self._descriptor

    def is_open(self):
        return self._descriptor >= 0

    def length(self):
        """Bytes in the open file. Less than ``size`` if somebody else has cut it."""
        return self._system.fstat(self._descriptor).st_size

    def inode(self):
        """The number of the open file."""
        return self._system.fstat(self._descriptor).st_ino

    def is_in_place(self):
        """Is there a file of its name, whole and, if it is open, is it this one? Raises OSError."""
        try:
            there = self._system.stat(self.path)
        except FileNotFoundError:
            return False
        if self.archived and there.st_size < self.size:
            return False
        return self._descriptor < 0 or os.path.samestat(there, self._system.fstat(self._descriptor))

    # --- its name

    def rename(self, path):
        """Give the file another name in its folder; durable once the folder is fsynced."""
        self._system.rename(self.path, path)
        self.path = path
        self._name = self._disk.name_changed(path)

    def unlink(self):
        """Remove the name. Closing the file is what takes long then (a gigabyte: 250 ms): do that in a thread."""
        if self._descriptor < 0:
            try:
                self._descriptor = self._system.open(self.path, os.O_RDONLY | ALWAYS)
            except OSError:
                # Removed by somebody, or no descriptor is left: then unlink tells, or takes as long as it takes.
                self._descriptor = -1
        self._system.unlink(self.path)
        self._disk.name_changed(self.path)

    # --- durability

    def fsync(self):
        """Make everything appended durable, and the name of the file too if it is new (D63)."""
        if self._descriptor < 0:
            if self.archived:
                self._disk.fsync_path(self.path)
            return
        self._disk.fsync(self._descriptor, self.path)
        if self.name_is_new():
            self._disk.fsync_dir(os.path.dirname(self.path))

    def fsync_content(self):
        """Make everything appended durable, but not the file's name."""
        self._disk.fsync(self._descriptor, self.path)

    def name_is_new(self):
        """Has the folder not been fsynced since this file got its name?"""
        return self._name > 0 and not self._disk.is_name_durable(self.path, self._name)

    def duplicate(self):
        """A second descriptor of the same open file, -1 if there is none: for an fsync in a thread, which may go on
        while this one is closed. It shares the kernel's note of a failed write-back, so none is overlooked."""
        return -1 if self._descriptor < 0 else self._system.dup(self._descriptor)

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
        flags = os.O_RDWR | os.O_APPEND | ALWAYS
        try:
            return self._system.open(self.path, flags), False
        except FileNotFoundError:
            return self._system.open(self.path, flags | os.O_CREAT, FILE_MODE), True
        except OSError as error:
            if error.errno == errno.ENXIO:      # a socket, or a FIFO that nobody reads
                raise _not_regular() from None
            raise


class SyncJob:
    """Fsyncs of files, the oldest first, and of their folder where a name is new; to be called in a thread.

    It holds descriptors of its own, so the files may be closed or deleted meanwhile; archived files that are closed
    are opened when their turn comes. Raises OSError when it is made (no descriptor left) and when it is called.
    """

    def __init__(self, disk, files):
        self._disk = disk
        self._folder = None
        # (descriptor, path). Popped one by one, because that is one step for all threads: each descriptor has one taker.
        self._held = []
        self._paths = []
        try:
            for file in files:
                descriptor = file.duplicate()
                if descriptor >= 0:
                    self._held.append((descriptor, file.path))
                elif file.archived:
                    self._paths.append(file.path)
                if file.name_is_new():
                    self._folder = os.path.dirname(file.path)
        except OSError:
            self.close()
            raise
        self._held.reverse()
        self._paths.reverse()

    def __call__(self):
        """Do it. Nothing is done after ``close``."""
        system = self._disk.system
        while self._paths:
            try:
                self._disk.fsync_path(self._paths.pop())
            except OSError:
                self.close()
                raise
        while self._held:
            descriptor, path = self._held.pop()
            try:
                self._disk.fsync(descriptor, path)
            except OSError:
                self.close()
                raise
            finally:
                system.close(descriptor)
        if self._folder is not None:
            self._disk.fsync_dir(self._folder)

    def close(self):
        """Give it up; as often as you like."""
        self._folder = None
        self._paths.clear()
        while self._held:
            self._disk.system.close(self._held.pop()[0])


def _not_regular():
    return OSError(errno.EINVAL, 'not a regular file')
