"""The file that names the process of a daemon; it is right, because the process holds a lock on it."""

import fcntl
import os

from kestrel.errors import StartError


class PidFile:
    """A pid file. A lock (flock) on it says that its process lives: a number alone may be that of a stranger.

    ``path``: str. The lock goes with the process, however that ends, so a file left behind is never in the way.
    """

    def __init__(self, path):
        self.path = path
        self.descriptor = -1

    def take(self):
        """Lock it for this process and its forks, and empty it. Raises StartError, naming who has it."""
        while self.descriptor < 0:
            try:
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            except OSError as error:
                raise StartError('cannot write the pid file %s: %s: make its directory, or name another file with'
                                 ' --pid-file' % (self.path, error.strerror)) from None
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = os.pread(descriptor, 20, 0).decode('ascii', 'replace').strip()
                os.close(descriptor)
                raise StartError('kestrel runs already%s: stop it, or name another file than %s with --pid-file'
                                 % (' as process %s' % owner if owner else '', self.path)) from None
            if self._is_in_place(descriptor):
                self.descriptor = descriptor
            else:
                # who had it removed it between our open and our lock
                os.close(descriptor)
        os.ftruncate(self.descriptor, 0)

    def _is_in_place(self, descriptor):
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self.path, follow_symlinks=False))
        except FileNotFoundError:
            return False

    def write(self, pid):
        """Name the process."""
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, b'%d\n' % pid, 0)

    def leave(self):
        """Close it in a process that only forked the one that keeps it; the lock stays with that."""
        os.close(self.descriptor)
        self.descriptor = -1

    def remove(self):
        """The process ends."""
        try:
            os.unlink(self.path)
        except OSError:
            # the folder is not ours; an empty file names nobody
            os.ftruncate(self.descriptor, 0)
        self.leave()
