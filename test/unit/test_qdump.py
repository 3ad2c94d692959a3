"""qdump: what it says of journal files (spec tools 1, D59), and the walk through files behind all tools."""

import io
import json
import os
import random
import signal
import subprocess
import sys

from kestrel.disk import ReadFile
from kestrel.item import Item
from kestrel.journal.record import (
    ADD_XID, CONTINUE, REMOVE_TENTATIVE, RecordReader, addx_header, flags_header, xid_record)
from kestrel.journal.replay import Replay
from kestrel.tools import qdump
from kestrel.tools.console import Console, human
from kestrel.tools.walk import JournalFile, Walk
from support.environment import process_environment
from support.clock import THEN
from support.spool import SpoolTest

EXAMPLE = bytes.fromhex("""
    02 11 00 00 00 80 35 af 70 42 01 00 00 00 00 00 00 00 00 00 00 61
    02 12 00 00 00 81 35 af 70 42 01 00 00 00 00 00 00 00 00 00 00 62 62
    09 01 00 00 00  09 02 00 00 00  06 02 00 00 00
    02 13 00 00 00 82 35 af 70 42 01 00 00 00 00 00 00 00 00 00 00 63 63 63
    01
    02 11 00 00 00 83 35 af 70 42 01 00 00 00 00 00 00 00 00 00 00 64
""")
LINES = """
00000000  ADD 1     
00000016  ADD 2     
0000002d  RSV 1
00000032  RSV 2
00000037  ACK 2
0000003c  ADD 3     
00000054  REM
00000055  ADD 1     
"""[1:]
SUMMARY = """
Journal size: 107 bytes, with 8 operations.
2 items totalling 2 bytes.
"""


def add(text, expiry=0):
    return addx_header(Item(text, THEN, expiry)) + text


def flagged(text, flags, deliveries=0):
    return flags_header(Item(text, THEN, 0, flags, deliveries)) + text


def with_xid(op, xid, text):
    """The record of op 7 or 8."""
    return bytes([op]) + xid_record(0, xid)[1:] + add(text)[1:]


class Terminal(io.StringIO):
    """A standard error that somebody watches."""

    def isatty(self):
        return True


class ToolTest(SpoolTest):
    """Runs a command in this process."""

    tool = qdump

    def path(self, name='work'):
        return str(self.folder / name)

    def run_tool(self, *words, err=None, **more):
        self.out = io.BytesIO()
        self.err = err or io.StringIO()
        console = Console(self.out, self.err)
        code = self.tool.run(list(words), console, clock=self.clock, **more)
        console.flush()
        return code

    def says(self, *words):
        """Standard output of a run without errors, str of Latin-1."""
        self.assertEqual(self.run_tool(*words), 0)
        self.assertEqual(self.err.getvalue(), '')
        return self.out.getvalue().decode('latin-1')


class OutputTest(ToolTest):

    def test_the_example(self):
        self.write('work', EXAMPLE)
        path = self.path()
        self.assertEqual(self.says(path), 'Queue: %s\n' % path + LINES + SUMMARY)

    def test_several_files_each_on_its_own(self):
        self.write('work', EXAMPLE)
        self.write('other', b'\x01')
        other = 'Queue: %s\n00000000  REM\n\nJournal size: 1 bytes, with 1 operations.\n' \
                '0 items totalling 0 bytes.\n' % self.path('other')
        self.assertEqual(self.says(self.path('other'), self.path(), self.path('other')),
                         other + 'Queue: %s\n' % self.path() + LINES + SUMMARY + other)

    def test_empty_file(self):
        self.write('work', b'')
        self.assertEqual(self.says('-q', self.path()), '\nJournal size: 0 bytes, with 0 operations.\n'
                                                       '0 items totalling 0 bytes.\n')

    def test_quiet(self):
        self.write('work', EXAMPLE)
        self.assertEqual(self.says('-q', self.path()), SUMMARY)

    def test_data(self):
        self.write('work', add(b'a\xe9') + b'\x01')
        self.assertEqual(self.says('-d', self.path()).splitlines()[1:4],
                         ['00000000  ADD 2     ', '    a\xe9', '00000017  REM'])

    def test_raw_data(self):
        self.write('work', EXAMPLE + add(b'\r\n\0'))
        self.assertEqual(self.says('-A', self.path()), 'abbcccd\r\n\0')

    def test_what_is_left(self):
        self.write('work', EXAMPLE)
        self.assertEqual(self.says('-Q', self.path()), SUMMARY + 'd\n')

    def test_what_is_left_begins_with_what_was_put_back(self):
        self.write('work', add(b'a') + add(b'b') + add(b'c') + xid_record(9, 1) + xid_record(9, 2)
                   + xid_record(5, 2) + xid_record(5, 1))
        self.assertEqual(self.says('-Q', self.path()).splitlines()[-3:], ['a', 'b', 'c'])

    def test_every_record(self):
        old_add = b'\0\x07\0\0\0' + (THEN // 1000 + 90).to_bytes(4, 'little') + b'cat'
        self.write('work', b''.join([
            old_add, add(b'', THEN - 1), add(b'x' * 1234567, THEN + 1500), with_xid(ADD_XID, 7, b'cat'),
            flagged(b'f', 32), b'\x01', xid_record(4, 20), b'\x03', b'\x03', b'\x03', xid_record(5, 22),
            with_xid(CONTINUE, 21, b'dog')]))
        self.assertEqual([line[10:] for line in self.says(self.path()).splitlines()[1:]], [
            'ADD 3      exp=1.minutes+30.seconds', 'ADD 0      expired', 'ADD 1234567 exp=1.seconds+500.milliseconds',
            'ADD 3      xid=7', 'ADD 1     ', 'REM', 'XID 20', 'RSV 21', 'RSV 22', 'RSV 7', 'CAN 22',
            'CON 3      xid=21', '',
            'ze: %d bytes, with 12 operations.' % os.path.getsize(self.path()), 'talling 1234574 bytes.'])

    def test_usage(self):
        self.assertTrue(self.says().startswith('usage: qdump [options] <journal file'))

    def test_human_sizes(self):
        sizes = {0: '0', 1: '0.0K', 512: '0.5K', 1024: '1.0K', 99 << 10: '99.0K', 150 << 10: '150K', 972 << 10: '972K',
                 973 << 10: '1.0M', 1 << 20: '1.0M', 150 << 20: '150M', 1 << 30: '1.0G', 1 << 40: '1024G'}
        self.assertEqual({size: human(size) for size in sizes}, sizes)


class JsonTest(ToolTest):

    def objects(self, *words):
        return [json.loads(line) for line in self.says('--json', *words).splitlines()]

    def test_one_object_a_record(self):
        self.write('work', add(b'a', THEN + 5) + flagged(b'\xe9', 32, 2) + b'\x03' + with_xid(CONTINUE, 1, b'') + b'\x01')
        path = self.path()
        self.assertEqual(self.objects('-d', path), [
            {'file': path, 'offset': 0, 'op': 2, 'name': 'ADDX', 'bytes': 1, 'add_time': THEN, 'expiry': THEN + 5,
             'data': 'a'},
            {'file': path, 'offset': 22, 'op': 10, 'name': 'ADD_FLAGS', 'bytes': 1, 'add_time': THEN, 'expiry': 0,
             'flags': 32, 'deliveries': 2, 'data': '\xe9'},
            {'file': path, 'offset': 52, 'op': 3, 'name': 'REMOVE_TENTATIVE', 'xid': 1},
            {'file': path, 'offset': 53, 'op': 8, 'name': 'CONTINUE', 'xid': 1, 'bytes': 0, 'add_time': THEN,
             'expiry': 0, 'data': ''},
            {'file': path, 'offset': 78, 'op': 1, 'name': 'REMOVE'}])

    def test_data_only_when_asked_for(self):
        self.write('work', add(b'a'))
        self.assertNotIn('data', self.objects(self.path())[0])


class SpoolFolderTest(ToolTest):

    def test_all_journal_files_in_the_order_of_their_replay(self):
        for name in ('work', 'work.9', 'work.10', 'work.10.pack', 'b', 'a.5', 'work~~5', 'stray.bak'):
            self.write(name, b'')
        found = [line for line in self.says(str(self.folder)).splitlines() if line.startswith('Queue')]
        self.assertEqual(found, ['Queue: ' + self.path(name) for name in
                                 ('a.5', 'b', 'work.9', 'work.10', 'work.10.pack', 'work')])


class ErrorTest(ToolTest):

    def test_missing(self):
        self.write('work', EXAMPLE)
        self.assertEqual(self.run_tool('-q', self.path('no'), self.path()), 1)
        self.assertEqual(self.err.getvalue(), "Can't open journal file: %s\n" % self.path('no'))
        self.assertEqual(self.out.getvalue().decode(), SUMMARY)

    def test_broken_records(self):
        for tail in (add(b'hello')[:12], b'\x0b', b'\x02\xff\xff\xff\xff', b'\x02\x0f\0\0\0' + bytes(40)):
            with self.subTest(tail):
                self.write('work', EXAMPLE + tail)
                self.assertEqual(self.run_tool(self.path()), 1)
                self.assertEqual(self.err.getvalue(), 'Exception reading journal file: %s\n' % self.path())
                self.assertEqual(self.out.getvalue().decode(), 'Queue: %s\n' % self.path() + LINES + SUMMARY)

    def test_progress_only_on_a_terminal(self):
        self.write('work', add(b'x' * (1 << 20)) * 3)
        self.assertEqual(self.run_tool('-q', self.path(), err=Terminal()), 0)
        self.assertEqual(self.err.getvalue(), '\rReading journal: 1.0M  \rReading journal: 2.0M  \r' + ' ' * 30)
        self.assertEqual(self.run_tool('-A', self.path(), err=Terminal()), 0)
        self.assertEqual(self.err.getvalue(), '')
        self.says('-q', self.path())


class ProcessTest(ToolTest):

    def start(self, *words, **more):
        return subprocess.Popen([sys.executable, '-c', 'from kestrel.tools.qdump import main; main()', *words],
                                env=process_environment(), cwd='/', **more)

    def test_name_that_is_no_utf8(self):
        path = os.fsencode(self.path()) + b'\xff'
        with open(path, 'wb') as file:
            file.write(EXAMPLE)
        with self.start(path, stdout=subprocess.PIPE) as process:
            out = process.stdout.read()
        self.assertEqual(out, b'Queue: ' + path + b'\n' + (LINES + SUMMARY).encode())
        self.assertEqual(process.returncode, 0)

    def test_nobody_reads_on(self):
        self.write('work', add(b'') * 50000)
        with self.start(self.path(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.stdout.close()
            self.assertEqual(process.stderr.read(), b'')
        self.assertEqual(process.returncode, -signal.SIGPIPE)

    def test_memory_does_not_grow_with_the_file(self):
        self.write('work', (add(b'x' * 4000) * 8 + xid_record(9, 1) + xid_record(6, 1)) * 1500)
        measure = 'import resource, sys; from kestrel.tools import qdump, console; import io\n' \
                  'before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n' \
                  'qdump.run(["-q", sys.argv[1]], console.Console(io.BytesIO(), io.StringIO()))\n' \
                  'print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)'
        grown = subprocess.run([sys.executable, '-c', measure, self.path()], env=process_environment(), cwd='/',
                               capture_output=True, check=True).stdout
        self.assertLess(int(grown), 16 << 10, 'KiB, for a file of 46 MiB with 10500 items waiting')


class WalkTest(SpoolTest):
    """The walk and Replay, which share no code, come to the same."""

    def replayed(self, names):
        replay = Replay()
        for name in names:
            file = ReadFile(os, str(self.folder / name), os.O_RDONLY)
            self.addCleanup(file.close)
            replay.run(RecordReader(file, THEN))
        return replay

    def random_records(self, choice):
        xid = choice.randrange(1, 6)
        text = b'%d' % choice.randrange(10 ** 6)
        return choice.choice([
            add(text), add(text), add(text), flagged(text, 5, xid), with_xid(ADD_XID, xid, text),
            with_xid(CONTINUE, xid, text), b'\x01', bytes([REMOVE_TENTATIVE]), xid_record(9, xid), xid_record(9, xid),
            xid_record(5, xid), xid_record(6, xid), xid_record(4, xid), b'\0\x06\0\0\0\0\0\0\0zz'])

    def test_random_records(self):
        for seed in range(150):
            choice = random.Random(seed)
            names = ['q%d' % number for number in range(choice.randrange(1, 4))]
            for name in names:
                tail = choice.choice([b'', b'\x02\x11', b'\x0b'])
                self.write(name, b''.join([self.random_records(choice) for _ in range(choice.randrange(60))]) + tail)
            with self.subTest(seed=seed):
                self.compare(names)

    def compare(self, names):
        replay, walk = self.replayed(names), Walk(THEN)
        for name in names:
            file = JournalFile(str(self.folder / name))
            self.addCleanup(file.close)
            for _ in walk.records(file):
                pass
        self.assertEqual((walk.waiting, walk.bytes, walk.counter), (len(replay.items), replay.bytes, replay.counter))
        for places, items in ((walk.opened, replay.opened), (walk.displaced, replay.displaced)):
            self.assertEqual({xid: place.item(THEN).data for xid, place in places.items()},
                             {xid: item.data for xid, item in items.items()})
        self.assertEqual([(item.data, item.flags, item.deliveries + returns) for item, returns in walk.take_all()],
                         [(item.data, item.flags, item.deliveries) for item in replay.items])
        self.assertEqual((walk.waiting, walk.bytes), (0, 0))
