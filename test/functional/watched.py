"""A server between which and the disk a shim stands: it tells what is written and fsynced, and makes that fail."""

import contextlib
import fcntl
import os
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
    """A kestrel whose writes, fsyncs and sends can be read, and can be made to fail.

    all_calls  note also what is created, renamed, unlinked and read, and when an fsync begins
    clock      its wall clock can be moved
    """

    def __init__(self, config=None, all_calls=False, clock=False):
        super().__init__(config)
        self._noted = self.dir / 'noted'
        self._fault = self.dir / 'fault'
        self._clock = self.dir / 'clock'
        self._seen = 0
        self._before = 0
        self._env = {
            'LD_PRELOAD': str(built_shim()),
            'KESTREL_SHIM_FOLDER': str(self.spool),
            'KESTREL_SHIM_LOG': str(self._noted),
            'KESTREL_SHIM_FAULT': str(self._fault),
        }
        if all_calls:
            self._env['KESTREL_SHIM_ALL'] = '1'
        if clock:
            self._env['KESTREL_SHIM_CLOCK'] = str(self._clock)

    def start(self):
        self._before = self._noted.stat().st_size if self._noted.exists() else 0
        return super().start()

    def noted(self):
        """All calls since the last look, such as ``['write q', 'fsync q', 'send']``."""
        found = self.noted_so_far()
        self._seen += sum(len(os.fsencode(line)) + 1 for line in found)
        return found

    def noted_so_far(self):
        """As ``noted``, but the next look sees them again."""
        return self._lines(self._seen)

    def _lines(self, offset):
        if not self._noted.exists():
            return []
        with open(self._noted, 'rb') as lines:
            lines.seek(offset)
            whole = lines.read().rpartition(b'\n')[0]
        return os.fsdecode(whole).splitlines()

    def hangs(self, name):
        """Is an fsync of that file under way (with ``all_calls``)?"""
        lines = self._lines(self._before)
        ended = lines.count(f'fsync {name}') + lines.count(f'unsynced {name}')
        return lines.count(f'fsyncing {name}') > ended

    @contextlib.contextmanager
    def failing(self, what, error, pattern='*'):
        """While in it, ``write`` or ``fsync`` fails with that errno; ``tear``: after half of what was to be
        written.

        The shim's source lists all that can be said here; ``pattern`` chooses the files by name.
        """
        self.faults(f'{what} {error} {pattern}')
        try:
            yield
        finally:
            self.faults()

    @contextlib.contextmanager
    def holding(self, what, pattern='*'):
        """While in it, such calls do not return."""
        with self.failing(f'hold-{what}', 0, pattern):
            yield

    def faults(self, *lines):
        """From now on just these, in the words of the shim."""
        _write(self._fault, '\n'.join(lines))

    def move_clock(self, ms):
        """From now on the wall clock is so much later than the real one, earlier if negative."""
        _write(self._clock, str(ms))


def _write(path, text):
    unfinished = path.with_suffix('.new')
    unfinished.write_text(text)
    unfinished.rename(path)
