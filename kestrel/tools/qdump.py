"""``qdump``: describe journal files, each on its own (spec tools 1)."""

import argparse
import json
import os

from kestrel.clock import Clock
from kestrel.disk import Disk
from kestrel.journal import names
from kestrel.journal.record import (
    ADD, ADD_FLAGS, ADD_XID, ADDX, CONFIRM_REMOVE, CONTINUE, END, REMOVE, REMOVE_TENTATIVE,
    REMOVE_TENTATIVE_XID, SAVE_XID, UNREMOVE)
from kestrel.tools.console import Progress, run_command
from kestrel.tools.walk import ADDITIONS, Walk, open_journal

WORDS = {REMOVE_TENTATIVE: 'RSV', REMOVE_TENTATIVE_XID: 'RSV', SAVE_XID: 'XID', UNREMOVE: 'CAN',
         CONFIRM_REMOVE: 'ACK'}
NAMES = {ADD: 'ADD', REMOVE: 'REMOVE', ADDX: 'ADDX', REMOVE_TENTATIVE: 'REMOVE_TENTATIVE',
         SAVE_XID: 'SAVE_XID', UNREMOVE: 'UNREMOVE',
         CONFIRM_REMOVE: 'CONFIRM_REMOVE', ADD_XID: 'ADD_XID', CONTINUE: 'CONTINUE',
         REMOVE_TENTATIVE_XID: 'REMOVE_TENTATIVE_XID', ADD_FLAGS: 'ADD_FLAGS'}
TIME_UNITS = ((86400000, 'days'), (3600000, 'hours'), (60000, 'minutes'), (1000, 'seconds'),
              (1, 'milliseconds'))


def main():
    """The command line; ends the process with 0, or 1 if a file could not be read to its end."""
    run_command(run)


def run(arguments, console, clock=None):
    """Do what the words of the command line say; -> exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not options.files:
        console.write(parser.format_help().encode())
        return 0
    dump = _Dump(options, console, clock or Clock())
    code = 0
    for path in options.files:
        code = max(code, dump.files(path))
    return code


def time_left(ms):
    """A span in ms for people, as the original's library writes it: ``2.minutes+500.milliseconds``, ``0.seconds``."""
    parts = []
    for unit, name in TIME_UNITS:
        count, ms = divmod(ms, unit)
        if count:
            parts.append('%d.%s' % (count, name))
    return '+'.join(parts) or '0.seconds'


def journal_files(folder):
    """Paths, str, of the journal files in a spool, queue by queue, in the order in which a start reads them.

    A packed file comes behind those that it is going to replace. Raises OSError.
    """
    spool = names.Spool(os.fsencode(folder), Disk(None).list(os.fsencode(folder)))
    paths = []
    for _, files in sorted(spool.queues.items()):
        in_order = [file_name for _, file_name in sorted(files.archived + files.packs)]
        if files.has_current:
            in_order.append(files.current)
        paths += [os.path.join(folder, os.fsdecode(file_name)) for file_name in in_order]
    return paths


def _parser():
    parser = argparse.ArgumentParser(
        prog='qdump', usage='%(prog)s [options] <journal file or spool folder>...',
        description='Describe journal files, each on its own.')
    parser.add_argument('files', nargs='*', help=argparse.SUPPRESS)
    parser.add_argument('-q', dest='quiet', action='store_true', help='the summary only')
    parser.add_argument('-d', dest='data', action='store_true',
                        help='after each addition the data of the item')
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument('-A', dest='raw', action='store_true',
                       help='the raw data of all additions and nothing else')
    modes.add_argument('-Q', dest='remaining', action='store_true',
                       help='the summary, then the data of the items still waiting at the end, one per line')
    modes.add_argument('--json', action='store_true',
                       help='one JSON object a record and nothing else; with -d the data, bytes as Latin-1')
    return parser


class _Dump:
    """Describes files; ``options`` are those of the command line."""

    def __init__(self, options, console, clock):
        self.console = console
        self.clock = clock
        self.raw = options.raw
        self.json = options.json
        self.remaining = options.remaining
        self.quiet = options.quiet or options.raw or options.remaining
        self.data = options.data

    def files(self, path):
        """Describe a file, or all in a folder; -> 0, or 1 after an error."""
        try:
            paths = journal_files(path) if os.path.isdir(path) else [path]
        except OSError:
            self.console.error("Can't open journal file: %s" % path)
            return 1
        # a list, not a generator: one broken file does not hide the others
        return max([self._file(one) for one in paths], default=0)

    def _file(self, path):
        if not self.quiet and not self.json:
            self.console.line('Queue: %s' % path)
        try:
            file = open_journal(path)
        except OSError:
            self.console.error("Can't open journal file: %s" % path)
            return 1
        try:
            return self._describe(path, file)
        except OSError:
            self.console.error('Exception reading journal file: %s' % path)
            return 1
        finally:
            file.close()

    def _describe(self, path, file):
        walk = Walk(self.clock.now_ms())
        walk.run(file, self._describer(path, walk))
        code = 0
        if walk.answer != END:
            self.console.error('Exception reading journal file: %s' % path)
            code = 1
        if not self.raw and not self.json:
            self._summary(walk)
        return code

    def _describer(self, path, walk):
        """What is done with each record."""
        if self.json:
            return lambda op: self._object(path, op, walk)
        if self.raw:
            return lambda op: self._raw_data(op, walk)
        if not self.quiet:
            return lambda op: self._line(op, walk)
        progress = Progress(self.console, 'Reading journal: %-6s')

        return lambda op: progress.show(walk.reader.offset)

    def _raw_data(self, op, walk):
        if op in ADDITIONS:
            self.console.write(walk.reader.item.data)

    def _data_line(self, op, walk):
        if op in ADDITIONS:
            self.console.write(b'    ' + walk.reader.item.data + b'\n')

    def _line(self, op, walk):
        text = '%08x  ' % (walk.reader.offset & 0xffffffff)
        if op == REMOVE:
            text += 'REM'
        elif op in WORDS:
            text += '%s %d' % (WORDS[op], walk.xid(op))
        else:
            text += self._addition(op, walk.reader)
        self.console.line(text)
        if self.data:
            self._data_line(op, walk)

    def _addition(self, op, reader):
        item = reader.item
        text = '%s %-6d' % ('CON' if op == CONTINUE else 'ADD', len(item.data))
        xid = reader.xid if op == CONTINUE else item.xid
        if xid:
            text += ' xid=%d' % xid
        if item.expiry:
            left = item.expiry - self.clock.now_ms()
            text += ' exp=%s' % time_left(left) if left >= 0 else ' expired'
        return text

    def _object(self, path, op, walk):
        reader = walk.reader
        record = {'file': path, 'offset': reader.offset, 'op': op, 'name': NAMES[op]}
        if op in WORDS or op in (ADD_XID, CONTINUE):
            record['xid'] = walk.xid(op)
        if op in ADDITIONS:
            item = reader.item
            record['bytes'] = len(item.data)
            if op != ADD:
                record['add_time'] = item.add_time
            record['expiry'] = item.expiry
            if op == ADD_FLAGS:
                record.update(flags=item.flags, deliveries=item.deliveries)
            if self.data:
                record['data'] = item.data.decode('latin-1')
        self.console.line(json.dumps(record))

    def _summary(self, walk):
        if self.quiet:
            self.console.progress(' ' * 30)
        self.console.line('\nJournal size: %d bytes, with %d operations.' % (walk.size, walk.operations))
        self.console.line('%d items totalling %d bytes.' % (walk.items(), walk.bytes()))
        if self.remaining:
            for item in walk.take_all():
                self.console.write(item.data + b'\n')
