"""A server between which and the disk a shim stands: it tells what is written and fsynced, and makes that fail."""

import contextlib
import fcntl
import pathlib
import shutil
import subprocess
import unittest
import zlib

from support.environment import CHECKOUT
from support.server import Server

SOURCE = pathlib.Path(__file__).resolve().parent / 'shim' / 'shim.c'
BUILT = CHECKOUT / 'build' / 'shim'


def built_shim():
    """The compiled shim, made once for each content of its source. SkipTest without a compiler."""
    if shutil.which('gcc') is None:
        raise unittest.SkipTest('gcc is missing: apt install gcc libc6-dev')
    BUILT.mkdir(parents=True, exist_ok=True)
    library = BUILT / f'shim-{zlib.crc32(SOURCE.read_bytes())}.so'
    with open(BUILT / 'lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not library.exists():
            unfinished = library.with_suffix('.new')
            subprocess.run(['gcc', '-shared', '-fPIC', '-O1', '-o', unfinished, SOURCE], check=True)
            unfinished.rename(library)
    return library


class WatchedServer(Server):
    """A kestrel whose writes, fsyncs and sends can be read, and can be made to fail."""

    def __init__(self, config=None):
        super().__init__(config)
        self._noted = self.dir / 'noted'
        self._fault = self.dir / 'fault'
        self._env = {
            'LD_PRELOAD': str(built_shim()),
            'KESTREL_SHIM_FOLDER': str(self.spool),
            'KESTREL_SHIM_LOG': str(self._noted),
            'KESTREL_SHIM_FAULT': str(self._fault),
        }

    def noted(self):
        """All calls since the last look, such as ``['write q', 'fsync q', 'send']``."""
        if not self._noted.exists():
            return []
        with open(self._noted) as lines:
            found = lines.read().splitlines()
        self._noted.unlink()
        return found

    @contextlib.contextmanager
    def failing(self, what, error):
        """While in it, ``write`` or ``fsync`` fails with that errno; ``tear``: after half of what was to be written."""
        unfinished = self._fault.with_suffix('.new')
        unfinished.write_text(f'{what} {error}')
        unfinished.rename(self._fault)
        try:
            yield
        finally:
            self._fault.unlink()
