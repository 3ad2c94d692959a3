"""What a power loss would leave of a folder."""

import os
import stat


class Durable:
    """The names and the bytes of a folder's files as of their last fsync. Told of each call that has worked.

    After an fsync that failed the kernel may have dropped what it could not write, so no later fsync of that
    file makes anything more durable.
    """

    def __init__(self, folder):
        self.folder = folder
        self._names = {}        # name -> inode
        self._contents = {}     # inode -> bytes
        self._doubtful = set()  # inodes

    def created(self, descriptor):
        inode = os.fstat(descriptor).st_ino
        self._contents[inode] = b''
        self._doubtful.discard(inode)

    def synced(self, descriptor):
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            if os.path.samestat(status, os.stat(self.folder)):
                self._names = self._present()
        elif status.st_ino not in self._doubtful:
            # not by the descriptor itself, which may be for writing alone
            with open('/proc/self/fd/%d' % descriptor, 'rb') as file:
                self._contents[status.st_ino] = file.read()

    def not_synced(self, descriptor):
        """The fsync failed."""
        status = os.fstat(descriptor)
        if not stat.S_ISDIR(status.st_mode):
            self._doubtful.add(status.st_ino)

    def is_doubtful(self):
        """Has the fsync of a file failed whose name a power loss would leave?"""
        return any(inode in self._doubtful for inode in self._names.values())

    def write_back(self):
        """The kernel has had time to write all back. Another process cannot know what failed before."""
        self._doubtful.clear()
        self._names = self._present()
        for name, inode in self._names.items():
            with open(os.path.join(self.folder, os.fsencode(name)), 'rb') as file:
                self._contents[inode] = file.read()

    def _present(self):
        with os.scandir(self.folder) as entries:
            return {entry.name: entry.inode() for entry in entries if entry.is_file()}

    def leave(self, target, all_names):
        """Write to the folder ``target`` what is left. ``all_names``: every change of names has reached the
        disk by itself, which may happen; else only those before the last fsync of the folder."""
        names = self._present() if all_names else self._names
        for name, inode in names.items():
            with open(os.path.join(target, name), 'wb') as file:
                file.write(self._contents.get(inode, b''))
