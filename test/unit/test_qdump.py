"""qdump: what it says of journal files (spec tools 1, D59), and the walk through files behind all tools."""

import io
import json
import os
import random
import signal
import subprocess
import sys
from unittest import mock

from crash import damage
from kestrel.item import Item
from kestrel.journal.record import ADD_XID, CONTINUE, addx_header, flags_header, xid_record
from kestrel.tools import qdump, walk
from kestrel.tools.console import Console, human
from kestrel.tools.walk import Walk, open_journal
from support.clock import THEN
from support.environment import process_environment
from support.golden import GOLDEN
from support.started import StartTest

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


class ToolTest(StartTest):
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

    def test_time_left(self):
        left = {0: '0.seconds', 1: '1.milliseconds', 999: '999.milliseconds', 1000: '1.seconds', 61000: '1.minutes+1.seconds',
                86400000: '1.days', 90061001: '1.days+1.hours+1.minutes+1.seconds+1.milliseconds'}
        self.assertEqual({ms: qdump.time_left(ms) for ms in left}, left)

    def test_an_item_lives_to_the_end_of_its_last_millisecond(self):
        self.write('work', add(b'', THEN) + add(b'', THEN - 1) + add(b'', -1))
        self.assertEqual([line[20:] for line in self.says(self.path()).splitlines()[1:4]],
                         [' exp=0.seconds', ' expired', ' expired'])

    def test_quiet_with_data(self):
        self.write('work', EXAMPLE)
        self.assertEqual(self.says('-q', '-d', self.path()), SUMMARY)

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

    def run_process(self, *words, **more):
        return subprocess.Popen([sys.executable, '-c', 'from kestrel.tools.qdump import main; main()', *words],
                                env=process_environment(), cwd='/', **more)

    def test_name_that_is_no_utf8(self):
        path = os.fsencode(self.path()) + b'\xff'
        with open(path, 'wb') as file:
            file.write(EXAMPLE)
        with self.run_process(path, stdout=subprocess.PIPE) as process:
            out = process.stdout.read()
        self.assertEqual(out, b'Queue: ' + path + b'\n' + (LINES + SUMMARY).encode())
        self.assertEqual(process.returncode, 0)

    def test_nobody_reads_on(self):
        self.write('work', add(b'') * 50000)
        with self.run_process(self.path(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.stdout.close()
            self.assertEqual(process.stderr.read(), b'')
        self.assertEqual(process.returncode, -signal.SIGPIPE)

    def test_memory_does_not_grow_with_the_file(self):
        """A file of 1 GB, nearly all of which the file system need not keep."""
        record = b'\x02' + (1 << 20).to_bytes(4, 'little')
        with open(self.path(), 'wb') as file:
            for number in range(1000):
                file.seek(number * (len(record) + (1 << 20)))
                file.write(record)
            file.truncate(1000 * (len(record) + (1 << 20)))
        with open(self.path(), 'ab') as file:
            file.write(b'\x01' * 500)
        size = os.path.getsize(self.path())
        self.assertGreater(size, 1000 << 20)
        for words in (['-q'], []):
            measure = 'import resource, sys; from kestrel.tools import qdump\n' \
                      'with open("/proc/self/statm") as file: now = int(file.read().split()[0]) * 4096\n' \
                      'limit = now + (64 << 20); resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n' \
                      'qdump.main()'
            ended = subprocess.run([sys.executable, '-c', measure, *words, self.path()], env=process_environment(),
                                   cwd='/', capture_output=True)
            self.assertEqual((ended.returncode, ended.stderr), (0, b''))
            self.assertTrue(ended.stdout.endswith(
                b'Journal size: %d bytes, with 1500 operations.\n500 items totalling %d bytes.\n'
                % (size, 500 * ((1 << 20) - 16))))

    def test_offsets_beyond_4_gb(self):
        """Their low 32 bits (spec tools 1)."""
        part = (1 << 28) - 5
        with open(self.path(), 'wb') as file:
            for number in range(17):
                file.seek(number << 28)
                file.write(b'\x02' + part.to_bytes(4, 'little'))
            file.seek(17 << 28)
            file.write(b'\x01')
        self.addCleanup(os.unlink, self.path())
        with self.run_process(self.path(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            out = process.stdout.read().decode().splitlines()
        self.assertEqual(process.returncode, 0)
        self.assertEqual([line[:8] for line in out[1:19]],
                         ['%08x' % (number << 28 & 0xffffffff) for number in range(18)])
        self.assertEqual(out[-2], 'Journal size: %d bytes, with 18 operations.' % ((17 << 28) + 1))


class OddFileTest(ToolTest):

    def test_what_is_no_file(self):
        os.mkfifo(self.path('pipe'))
        (self.folder / 'dangling').symlink_to('nowhere')
        for path in (self.path('pipe'), self.path('dangling'), '/dev/null', self.path('no/such')):
            self.assertEqual(self.run_tool('-q', path), 1)
            self.assertEqual((self.out.getvalue(), self.err.getvalue()),
                             (b'', "Can't open journal file: %s\n" % path))

    def test_empty_folder(self):
        self.assertEqual(self.says(str(self.folder)), '')

    def test_folders_are_not_entered(self):
        (self.folder / 'q.5').mkdir()
        self.write('q', b'\x01')
        self.assertEqual(self.says('-q', str(self.folder)).count('Journal size'), 1)

    def test_unreadable(self):
        self.write('work', EXAMPLE)
        with mock.patch('os.pread', side_effect=OSError(5, 'Input/output error')):
            self.assertEqual(self.run_tool('-q', self.path()), 1)
        self.assertEqual((self.out.getvalue(), self.err.getvalue()),
                         (b'', 'Exception reading journal file: %s\n' % self.path()))

    def test_file_that_grows_or_shrinks_while_it_is_read(self):
        self.write('work', EXAMPLE)
        file = open_journal(self.path())
        self.addCleanup(file.close)
        with open(self.path(), 'ab') as more:
            more.write(add(b'more'))
        looked = Walk(THEN)
        looked.run(file, lambda op: None)
        self.assertEqual((looked.operations, looked.size), (8, 107), 'as it was when it was opened')
        os.truncate(self.path(), 50)
        with self.assertRaisesRegex(OSError, 'shorter'):
            Walk(THEN).run(file, lambda op: None)


class GoldenTest(ToolTest):
    """Each file of the original on its own."""

    def test_rotated_and_packed_files(self):
        for name in ('rotation', 'pack'):
            folder = GOLDEN / name / 'kill9' / 'journal_after_restart'
            said = self.says('-q', str(folder)).splitlines()
            sizes = [int(line.split()[2]) for line in said if line.startswith('Journal size')]
            paths = sorted(folder.iterdir(), key=lambda path: (path.name == 'q', path.name))
            self.assertEqual(sizes, [path.stat().st_size for path in paths])
        # the current file of the packed queue: more removals than additions, and one read put back at the end
        said = self.says(str(folder / 'q')).splitlines()
        self.assertEqual(said[-1], '1 items totalling 200 bytes.')
        self.assertEqual([said.count(line) for line in ('000008a2  RSV 1', '0000093d  CAN 1')], [1, 1])


class WalkTest(ToolTest):
    """The walk and a second reading of the format, which share no code, come to the same."""

    def test_random_records(self):
        for seed in range(150):
            choice = random.Random(seed)
            names = ['q%d' % number for number in range(choice.randrange(1, 4))]
            files = [damage.journal(choice, name.encode()) + choice.choice([b'', b'', b'\x02\x11', b'\x0b'])
                     for name in names]
            for name, data in zip(names, files):
                self.write(name, data)
            with self.subTest(seed=seed), mock.patch.object(walk, 'MEMORY', choice.choice([1, 300, 1 << 20])):
                self.compare(names, files)

    def compare(self, names, files):
        state, looked, operations = damage.State(), Walk(THEN), 0
        for name, data in zip(names, files):
            for op, fields, _ in damage.parse(data):
                state.do(op, *fields)
                operations += 1
            file = open_journal(self.path(name))
            self.addCleanup(file.close)
            looked.run(file, lambda op: None)
        lent = {xid: tuple(item[:5]) for xid, (item, _) in state.open.items()}
        self.assertEqual(looked.operations, operations)
        self.assertEqual({xid: self.tuple(item) for xid, item in looked.open_reads()}, lent)
        self.assertEqual(looked.items(), len(state.items) + len(lent))
        self.assertEqual(looked.bytes(), sum(len(item[0]) for item in [*state.items, *lent.values()]))
        self.assertEqual([self.tuple(item) for item in looked.take_all()], [tuple(item[:5]) for item in state.items])

    @staticmethod
    def tuple(item):
        return item.data, item.add_time, item.expiry, item.flags, item.deliveries
