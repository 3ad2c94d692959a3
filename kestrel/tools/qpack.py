"""``qpack``: journal files of one queue -> one file with what they come to (spec tools 2)."""

import argparse
import logging
import os

from kestrel.clock import Clock
from kestrel.disk import Disk
from kestrel.journal.record import END, REMOVE_TENTATIVE_XID, addition, xid_record
from kestrel.tools.console import Progress, run_command
from kestrel.tools.walk import Walk, open_journal

WRITE_BLOCK = 1 << 20


def main():
    """The command line; ends the process with 0, or 1 after an error."""
    run_command(run)


def run(arguments, console, clock=None, disk=None):
    """Do what the words of the command line say; -> exit code."""
    parser = argparse.ArgumentParser(
        prog='qpack', usage='%(prog)s -f <new file> <journal file>...',
        description='Replay journal files as one series, in the order given, and write one file with the '
        'result.')
    parser.add_argument('files', nargs='*', help=argparse.SUPPRESS)
    parser.add_argument('-f', dest='new_file', metavar='<new file>',
                        help='where to write; must not hold anything yet')
    parser.add_argument('-q', dest='quiet', action='store_true', help='changes nothing, kept for old scripts')
    options = parser.parse_args(arguments)
    if not options.new_file or not options.files:
        console.write(parser.format_help().encode())
        return 0
    disk = disk or Disk(logging.getLogger('kestrel.qpack'))
    return _Pack(console, clock or Clock(), disk).run(options.new_file, options.files)


class _Pack:

    def __init__(self, console, clock, disk):
        self.console = console
        self.clock = clock
        self.disk = disk
        self.walk = Walk(clock.now_ms())
        self.progress = Progress(console, 'Packing: %-6s %-6s')

    def run(self, new_file, paths):
        self.console.line('Packing journals...')
        files = []
        try:
            for path in paths:
                files.append(self._open(path))
            if None in files:
                return 1
            read = [self._replay(path, file) for path, file in zip(paths, files)]
            if None in read:
                return 1
            size = self._write_new(new_file)
            if size is None:
                return 1
            self.console.line('Done. New journal size: %d' % size)
            return 0 if all(read) else 1
        finally:
            for file in files:
                if file is not None:
                    file.close()

    def _open(self, path):
        try:
            return open_journal(path)
        except OSError:
            self.console.error("Can't open journal file: %s" % path)
            return None

    def _replay(self, path, file):
        """Do the records of one file; -> was it whole; None if it cannot be read.

        A broken record ends it, as at a start of the server (spec journal 7).
        """
        walk = self.walk
        before = walk.size
        try:
            walk.run(file, lambda op: self.progress.show(before + walk.reader.offset, walk.read_again))
        except OSError:
            self.console.error('Exception reading journal file: %s' % path)
            return None
        if walk.answer != END:
            self.console.error('Exception reading journal file: %s' % path)
            return False
        return True

    def _write_new(self, new_file):
        """-> the new file's size, None after an error, which leaves nothing behind."""
        path = os.path.abspath(os.fsencode(new_file))
        # named as a temporary file of the server: should it be left in a spool, the next start deletes it
        temporary = b'%b~~%d' % (path, self.clock.now_ms())
        self.console.progress('Writing new journal...' + ' ' * 40)
        try:
            if os.path.lexists(temporary) or os.path.lexists(path) and os.path.getsize(path):
                self.console.error("Can't write journal file: %s: it is there already" % new_file)
                return None
            try:
                size = self._write(temporary)
                self.disk.rename(temporary, path)
            except OSError:
                if os.path.lexists(temporary):
                    self.disk.unlink(temporary)
                raise
            self.disk.fsync_dir(os.path.dirname(path))
        except OSError as error:
            self.console.error("Can't write journal file: %s: %s" % (new_file, error.strerror))
            return None
        self.console.progress(' ' * 40 + '\r')
        return size

    def _write(self, path):
        file = self.disk.open_append(path)
        try:
            pieces, length = [], 0
            for piece in self._records():
                pieces.append(piece)
                length += len(piece)
                if length >= WRITE_BLOCK:
                    file.append(b''.join(pieces))
                    pieces, length = [], 0
            file.append(b''.join(pieces))
            file.fsync()
            return file.size
        finally:
            file.close()

    def _records(self):
        """The new file in pieces: each open read, then each waiting item, as a rewrite by the server has them."""
        keep_deliveries = self.walk.counts_deliveries
        for xid, item in self.walk.open_reads():
            yield addition(item, keep_deliveries)
            yield xid_record(REMOVE_TENTATIVE_XID, xid)
        for item in self.walk.take_all():
            yield addition(item, keep_deliveries)
