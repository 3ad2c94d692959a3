"""A stand-in for the module os that notes, in order, what changes a spool and what makes it durable.

``Disk(log, Recorder(spool))`` works on the real folder; ``log`` is a list of what was done, which ``rebuild.py``
turns into the spools that a crash at any of its places may leave behind. Files are numbers in it, because names come
and go; names are bytes, counted from the spool. What clients know stands between: ``note``.
"""

import fcntl
import os
import threading
from typing import NamedTuple

# Calls that would change a spool without being noted: whoever begins to use one teaches it to the recorder.
NOT_KNOWN = frozenset((
    'copy_file_range', 'fallocate', 'link', 'posix_fallocate', 'pwritev', 'remove', 'removedirs', 'renames', 'rmdir',
    'sendfile', 'splice', 'symlink', 'truncate'))


class Create(NamedTuple):
    """A name came into being, with a new and empty file."""

    name: bytes
    file: int


class Write(NamedTuple):
    file: int
    offset: int
    data: bytes


class Cut(NamedTuple):
    """A file was made ``size`` bytes long."""

    file: int
    size: int


class Rename(NamedTuple):
    old: bytes
    new: bytes


class Unlink(NamedTuple):
    name: bytes


class MakeFolder(NamedTuple):
    name: bytes


class Synced(NamedTuple):
    """An fsync of a file succeeded: what stands in the log before ``covers`` is durable. It began there."""

    file: int
    covers: int


class FolderSynced(NamedTuple):
    """Likewise the names in a folder; b'' is the spool."""

    folder: bytes
    covers: int


class Note(NamedTuple):
    """What a client did or learnt: ``what`` is 'begin' or 'end' of an ``operation``, or a word of the test."""

    what: str
    operation: object


class Recorder:
    """The module os, as far as Disk needs it; used from several threads.

    folder  bytes, absolute: the spool. What happens elsewhere is done but not noted.
    fsync   what is called with a descriptor to fsync it: something else in tests in which only the log counts

    ``files`` {number: content} and ``names`` {name: number} are what was there before.
    """

    path = os.path

    def __init__(self, folder, fsync=os.fsync):
        self.log = []
        self.folder = folder
        self._fsync = fsync
        self._lock = threading.Lock()
        self._next = 0
        self._now = {}          # name: file, at present
        self._open = {}         # descriptor: file, or the name of a folder
        self.files = {}
        self.names = {}
        for name, content in read_spool(folder).items():
            number = self._now[name] = self.names[name] = self._new_file()
            self.files[number] = content

    def __getattr__(self, name):
        if name in NOT_KNOWN:
            raise AssertionError('test/crash/recorder.py does not know os.%s' % name)
        return getattr(os, name)

    def note(self, what, operation=None):
        """Put a Note into the log; -> its place there."""
        with self._lock:
            self.log.append(Note(what, operation))
            return len(self.log) - 1

    def _new_file(self):
        self._next += 1
        return self._next

    def _name(self, path):
        """The name in the spool of a path, b'' for the spool itself, or None for one outside of it."""
        path = os.fsencode(path)
        if path == self.folder:
            return b''
        return path[len(self.folder) + 1:] if path.startswith(self.folder + b'/') else None

    # --- descriptors

    def open(self, path, flags, mode=0o777, **more):
        if more:
            raise AssertionError('test/crash/recorder.py does not know os.open with %r' % more)
        with self._lock:
            name = self._name(path)
            if name is None:
                return os.open(path, flags, mode)
            is_new = not os.path.exists(path)
            descriptor = os.open(path, flags, mode)
            if os.path.isdir(path):
                self._open[descriptor] = name
            elif is_new:
                file = self._open[descriptor] = self._now[name] = self._new_file()
                self.log.append(Create(name, file))
            else:
                self._open[descriptor] = self._now[name]
                if flags & os.O_TRUNC:
                    self.log.append(Cut(self._now[name], 0))
            return descriptor

    def dup(self, descriptor):
        with self._lock:
            other = os.dup(descriptor)
            if descriptor in self._open:
                self._open[other] = self._open[descriptor]
            return other

    def close(self, descriptor):
        with self._lock:
            self._open.pop(descriptor, None)
            os.close(descriptor)

    def close_all(self):
        """What the end of the process does."""
        for descriptor in list(self._open):
            self.close(descriptor)

    # --- contents

    def write(self, descriptor, data):
        return self._write(descriptor, bytes(data), None)

    def writev(self, descriptor, pieces):
        return self._write(descriptor, b''.join(pieces), None)

    def pwrite(self, descriptor, data, offset):
        return self._write(descriptor, bytes(data), offset)

    def _write(self, descriptor, data, offset):
        with self._lock:
            if offset is not None:
                written = os.pwrite(descriptor, data, offset)
            else:
                if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND:
                    offset = os.fstat(descriptor).st_size
                else:
                    offset = os.lseek(descriptor, 0, os.SEEK_CUR)
                written = os.write(descriptor, data)
            if descriptor in self._open:
                self.log.append(Write(self._open[descriptor], offset, data[:written]))
            return written

    def ftruncate(self, descriptor, size):
        with self._lock:
            os.ftruncate(descriptor, size)
            if descriptor in self._open:
                self.log.append(Cut(self._open[descriptor], size))

    # --- names

    def rename(self, old, new):
        with self._lock:
            os.rename(old, new)
            old, new = self._name(old), self._name(new)
            self._now[new] = self._now.pop(old)
            self.log.append(Rename(old, new))

    replace = rename

    def unlink(self, path):
        with self._lock:
            os.unlink(path)
            name = self._name(path)
            del self._now[name]
            self.log.append(Unlink(name))

    def mkdir(self, path, mode=0o777):
        with self._lock:
            os.mkdir(path, mode)
            self.log.append(MakeFolder(self._name(path)))

    def makedirs(self, path, mode=0o777, exist_ok=False):
        """One that is there, or in a folder that is there."""
        if not os.path.isdir(path):
            self.mkdir(path, mode)

    # --- durability

    def fsync(self, descriptor):
        with self._lock:
            target = self._open.get(descriptor)
            covers = len(self.log)
        self._fsync(descriptor)
        if target is None:
            return
        with self._lock:
            self.log.append((FolderSynced if isinstance(target, bytes) else Synced)(target, covers))

    fdatasync = fsync


def read_spool(folder):
    """{name: content} of all files in a folder and in the folders in it, but for those in its way up."""
    content = {}
    for where, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(where, name)
            with open(path, 'rb') as file:
                content[path[len(folder) + 1:]] = file.read()
    return content


def write_spool(folder, files):
    """Make a folder of {name: content}."""
    os.makedirs(folder, exist_ok=True)
    for name, content in files.items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'wb') as file:
            file.write(content)
