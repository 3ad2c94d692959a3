"""A server whose spool is a file system of its own with room for little."""

import os
import pathlib
import subprocess
import unittest
from unittest import mock

from functional.watched import WatchedServer
from support.environment import kestrel_command

HOW = ('a small file system cannot be mounted here: run the tests as root with CAP_SYS_ADMIN, or allow user '
       'namespaces (sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000)')
MOUNT = 'mount -t tmpfs -o "$2" tmpfs "$1" && echo mounted && exec cat'


class SmallDisk:
    """A tmpfs on a folder that is seen only by processes started with ``inside``, and through ``path``.

    A process holds it in a mount namespace; it goes when that process and all inside have ended, so nothing
    stays mounted, however a test ends. ``options`` as of mount(8), for example ``size=512k,nr_inodes=20``.
    SkipTest where that is not allowed.
    """

    def __init__(self, folder, options):
        self._folder = folder
        root = os.geteuid() == 0
        for unshare, self._words in [(['unshare', '-m'], ['-m'])] * root + [
                (['unshare', '-r', '-m'], ['-U', '--preserve-credentials', '-m'])]:
            self._holder = subprocess.Popen(
                [*unshare, 'sh', '-c', MOUNT, 'sh', folder, options],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            if self._holder.stdout.readline() == b'mounted\n':
                self.path = pathlib.Path(f'/proc/{self._holder.pid}/root{folder}')
                return
            self.close()
        raise unittest.SkipTest(HOW)

    def inside(self, *words):
        """The argument list of a command that sees the file system."""
        return ['nsenter', *self._words, '-t', str(self._holder.pid), *map(str, words)]

    def remount(self, options):
        subprocess.run(self.inside('mount', '-o', f'remount,{options}', self._folder), check=True)

    def close(self):
        self._holder.communicate()


class SmallDiskServer(WatchedServer):
    """A WatchedServer on a SmallDisk, ``disk``; ``spool`` is where the test sees its files."""

    def __init__(self, config=None, options='size=512k', **more):
        super().__init__(config, **more)
        self.spool.mkdir()
        try:
            self.disk = SmallDisk(self.spool, options)
        except unittest.SkipTest:
            super().close()
            raise
        self.spool = self.disk.path

    def write_config(self, config):
        server = {'queue_path': self.dir / 'spool', **config.get('server', {})}
        super().write_config({**config, 'server': server})

    def start(self):
        def inside(*words):
            return self.disk.inside(*kestrel_command(*words))
        with mock.patch('support.server.kestrel_command', inside):
            return super().start()

    def close(self):
        if self.running:
            self.kill9()
        self.disk.close()
        super().close()

    def fill(self, leave=0):
        """Write a stray file until at most ``leave`` bytes, and no whole page more, are free."""
        page = 4096
        with open(self.spool / 'ballast.bin', 'wb') as file:
            state = os.statvfs(self.spool)
            file.write(bytes(max(0, state.f_bavail * state.f_frsize - leave) // page * page))

    def make_room(self):
        """Remove what ``fill`` wrote."""
        (self.spool / 'ballast.bin').unlink()
