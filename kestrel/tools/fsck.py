"""``kestrel-fsck``: what a start of the server would find in a spool, and change there. Only reads."""

import argparse
import os

from kestrel.clock import Clock
from kestrel.disk import Disk, lock_owner
from kestrel.journal import names
from kestrel.journal.record import END, IMPOSSIBLE, LAST, TORN
from kestrel.journal.recovery import DISPENSABLE
from kestrel.tools.console import Progress, printable, run_command
from kestrel.tools.walk import Walk, open_journal

CLEAN, CHANGES, UNUSABLE = 0, 1, 2


def main():
    """The command line; ends the process with CLEAN, CHANGES (a start would change something) or UNUSABLE."""
    run_command(run)


def run(arguments, console, clock=None):
    """Do what the words of the command line say; -> exit code."""
    parser = argparse.ArgumentParser(
        prog='kestrel-fsck', description='Check a spool without changing anything: every file, and what a '
        'start of the server would do. Exit code 0: nothing; 1: it would change something; 2: the spool '
        'cannot be used.')
    parser.add_argument('spool', metavar='SPOOL', help='the folder, queue_path of the configuration')
    path = os.fsencode(parser.parse_args(arguments).spool)
    try:
        spool = names.Spool(path, Disk(None).list(path))
        holder = owner(path)
    except OSError as error:
        console.error('kestrel-fsck: %s: %s' % (printable(path), error.strerror))
        return UNUSABLE
    return _Check(spool, console, (clock or Clock()).now_ms()).run(holder)


def owner(path):
    """The pid of the server that holds the spool, None if the system shows none. Takes no lock itself."""
    status = os.stat(path)
    try:
        with open('/proc/locks', encoding='ascii', errors='replace') as file:
            return lock_owner(file.read(), status.st_dev, status.st_ino)
    except FileNotFoundError:
        return None


class _Check:

    def __init__(self, spool, console, now_ms):
        self.spool = spool
        self.console = console
        self.now = now_ms
        self.changes = 0
        self.obstacles = 0

    def run(self, owner):
        """Say everything; -> exit code."""
        if owner is not None:
            self.console.line('in use by a running server (pid %d), so no other can start; it may '
                              'change files while they are read here' % owner)
        if not os.access(self.spool.path, os.W_OK):
            self._fail(b'.', 'this user cannot write to the spool')
        for file_name in self.spool.strays:
            self._say(file_name, 'not a journal file, left alone')
        for file_name in self.spool.temporary:
            self._change(file_name, 'temporary file, would be deleted')
        for _, files in sorted(self.spool.queues.items()):
            self._queue(files)
        return self._verdict()

    def _say(self, file_name, text):
        self.console.line('%s: %s' % (printable(file_name), text))

    def _change(self, file_name, text):
        self.changes += 1
        self._say(file_name, text)

    def _fail(self, file_name, text):
        self.obstacles += 1
        self._say(file_name, text + '; a start would fail')

    def _queue(self, files):
        on_disk = self._packs(files)
        in_order = [file_name for _, file_name in files.archived]
        if files.has_current:
            in_order.append(files.current)
        walk = Walk(self.now)
        opened = []
        before = self.obstacles
        try:
            for file_name in in_order:
                self._file(files, on_disk.get(file_name, file_name), file_name, walk, opened)
        finally:
            for file in opened:
                file.close()
        if not files.has_current:
            self._missing(files)
        if self.obstacles == before:
            self._state(files, walk)

    def _packs(self, files):
        """Plan for the packed files; -> {name a file would have: its name now}."""
        on_disk = {}
        while files.packs:
            replaced, old_name, new_name = files.put_pack_in_place()
            for file_name in replaced:
                self._change(on_disk.pop(file_name, file_name),
                             'would be deleted, %s replaces it' % printable(old_name))
            if os.path.isdir(files.path(new_name)):
                self._fail(old_name, 'packed file, cannot become %s, which is a folder' % printable(new_name))
            else:
                self._change(old_name, 'packed file, would become %s' % printable(new_name))
            on_disk[new_name] = old_name
        return on_disk

    def _missing(self, files):
        path = files.path(files.current)
        # A link to nowhere is followed: the file would be created there.
        target = os.path.realpath(path)
        if os.path.lexists(target) or not os.path.isdir(os.path.dirname(target)):
            self._fail(files.current, 'there is something else in the place of the current file')
        else:
            self._change(files.current, 'the current file is missing, would be created')

    def _file(self, files, file_name, name_then, walk, opened):
        """Do the records of one file and say what it is."""
        operations = walk.operations
        progress = Progress(self.console, 'Checking: %-6s')
        path = files.path(file_name)
        try:
            file = open_journal(path)
            opened.append(file)
            size = file.size
            walk.run(file, lambda op: progress.show(walk.reader.offset))
        except OSError as error:
            self._fail(file_name, 'cannot be read: %s' % error.strerror)
            return
        if progress.was_shown():
            self.console.progress(' ' * 16 + '\r')
        text = '%d bytes, %d records' % (size, walk.operations - operations)
        is_current = name_then == files.current
        if (is_current or walk.answer != END) and not os.access(path, os.W_OK):
            self._fail(file_name, text + ', this user cannot write to it')
        elif walk.answer == END:
            self._say(file_name, text + ', good')
        else:
            self._broken(file_name, name_then, text, walk, size, is_current)

    def _broken(self, file_name, name_then, text, walk, size, is_current):
        offset = walk.reader.offset
        lost = size - offset
        text += ', %s at offset %d: ' % (_kind(walk), offset)
        if self._can_save():
            text += '%d bytes would be cut off and saved as %s/%s.%d.<time>' % (
                lost, names.CORRUPT_FOLDER.decode(), printable(name_then), offset)
        elif walk.answer == TORN and is_current and lost <= DISPENSABLE:
            text += '%d bytes would be cut off without a copy: %s is no folder to write to' % (
                lost, names.CORRUPT_FOLDER.decode())
        else:
            self._fail(file_name, text + '%d bytes cannot be saved: %s is no folder to write to' % (
                lost, names.CORRUPT_FOLDER.decode()))
            return
        if not is_current:
            text += '; removals in later files may hit the wrong items then'
        self._change(file_name, text)

    def _can_save(self):
        """Could what is cut off be copied to the folder for it, if there is room?"""
        folder = self.spool.path + b'/' + names.CORRUPT_FOLDER
        if os.path.lexists(folder):
            return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)
        return os.access(self.spool.path, os.W_OK)

    def _state(self, files, walk):
        lent = len(walk.open_reads())
        text = 'queue %s: %d items, %d bytes' % (printable(files.current), walk.items(), walk.bytes())
        if lent:
            self.changes += 1
            text += '; %d open reads would be put back' % lent
        self.console.line(text)

    def _verdict(self):
        if self.obstacles:
            self.console.line('unusable: a start would fail, %d findings' % self.obstacles)
            return UNUSABLE
        if self.changes:
            self.console.line('a start would change something: %d findings' % self.changes)
            return CHANGES
        self.console.line('clean')
        return CLEAN


def _kind(walk):
    """What is wrong with the record that ended a file."""
    if walk.answer == TORN:
        return 'incomplete last record'
    if walk.answer == IMPOSSIBLE and walk.reader.op() > LAST:
        return 'broken record (op %d: from a newer kestrel?)' % walk.reader.op()
    return 'broken record'
