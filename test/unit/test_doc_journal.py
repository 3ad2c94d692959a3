"""docs/journal-format.md is true: each of its examples is run through the reader, the replay and the writer.

A fenced block says in its first line what it is. Cells are separated by two or more spaces; `-` is nothing; a line that
ends in a backslash goes on in the next.

    ```picture       a record: its name, its cells, where they begin
    ```records       records in hexadecimal, and in short (see there)
    ```replay        records in short | the queue | open reads | the last xid
    ```start         `before` files of a spool, `after` the same after a start, `queue` what waits, `log` lines
    ```story ...     settings in the first line. `do` steps, separated by commas, with ` -> answer` where one is told;
                     `state` the files now, `queue` what waits, `start` what a start on a copy of the spool would find,
                     `stats`, `log` the lines since the last ones
    ```promises      see PromiseTest
    ```verdicts      see VerdictTest

Tables with the heading `where` are compared with the constants they name.
"""

import ast
import errno
import os
import pathlib
import random
import re
import shutil
import struct
import tempfile
from unittest import mock

from kestrel.errors import JournalError
from kestrel.journal import compaction, names, pending, record
from kestrel.journal.record import ADD, ADD_FLAGS, CONTINUE, END, RecordReader
from kestrel.journal.replay import Replay
from kestrel.journal.sync import Syncer
from kestrel.reads import OpenReads
from support.clock import THEN
from support.environment import CHECKOUT
from support.spool import Bytes, FaultySystem, MovedHub, readable
from support.started import StartTest

DOCUMENT = CHECKOUT / 'docs' / 'journal-format.md'
WORD = re.compile(r'([A-Zac]+)?(-?\d+)?(?:/(\d+))?(?:\[([^]]*)\])?')
NO_OP = b'\xff'
EXPIRED = 1             # ms since 1970
CUT_SHORT = bytes.fromhex('02 15 00 00 00 80 35 af 70 42 01 00')


def text():
    return DOCUMENT.read_text()


def blocks(kind):
    """[(what follows the kind in the first line, [line of the block])]"""
    found = re.findall(r'^```%s *(.*)\n((?:.*\n)*?)```$' % kind, text(), re.MULTILINE)
    assert found, 'no block of the kind ' + kind
    return [(rest, re.sub(r' \\\n *', ' ', body).splitlines()) for rest, body in found]


def cells(line):
    """The cells of a line, `-` being an empty one."""
    return ['' if cell == '-' else cell for cell in re.split(r' {2,}', line.strip())]


def encode(short):
    """Records in short -> bytes: the inverse of ``support.spool.readable``, and written from the document alone."""
    return b''.join([_encode(word) for word in re.findall(r'[^ \[]+(?:\[[^]]*\])?', short)])


def _encode(word):
    if word == 'torn':
        return CUT_SHORT
    if word == 'impossible':
        return NO_OP
    letter, xid, deliveries, data = WORD.fullmatch(word).groups()
    number = int(xid or 0)
    data = (data or '').encode()
    times = struct.pack('<qq', THEN, EXPIRED if letter == 'X' else 0)
    if letter in ('A', 'X'):
        return struct.pack('<Bi', 2, 16 + len(data)) + times + data
    if letter == 'F':
        return struct.pack('<BiIi', 10, 24 + len(data), number, int(deliveries)) + times + data
    if letter == 'a':
        return struct.pack('<Bii', 0, 4 + len(data), 0) + data
    if letter in ('AX', 'N'):
        return struct.pack('<Bii', 7 if letter == 'AX' else 8, number, 16 + len(data)) + times + data
    if letter == 'R' or letter == 'T' and xid is None:
        return bytes([1 if letter == 'R' else 3])
    return struct.pack('<Bi', {'S': 4, 'U': 5, 'C': 6, 'T': 9}[letter], number)


def shown(items):
    """Items in a line; void ones are none, and dots that fill an item up are left out."""
    return ' '.join([item.data.decode().rstrip('.') or '""' for item in items if item.data is not None])


def seconds(word):
    return int(word.removesuffix('ms')) / 1000 if word.endswith('ms') else float(word.removesuffix('s'))


class StableSystem(FaultySystem):
    """Knows what a power loss leaves at the least: of each file what was there at its last fsync, of each name what it
    was at the last fsync of the folder."""

    def __init__(self):
        super().__init__()
        self.contents = {}          # inode -> bytes
        self.names = {}             # name -> inode
        counted = self.fsync

        def fsync(descriptor):
            counted(descriptor)
            path = os.readlink('/proc/self/fd/%d' % descriptor)
            if os.path.isdir(path):
                self.names = {entry.name: entry.inode() for entry in os.scandir(path) if entry.is_file()}
            else:
                # opened once more, because it may be open for writing alone
                with open('/proc/self/fd/%d' % descriptor, 'rb') as file:
                    self.contents[os.fstat(descriptor).st_ino] = file.read()
        self.fsync = fsync

    def after_power_loss(self):
        """{name: content, bytes}"""
        return {name: self.contents.get(inode, b'') for name, inode in self.names.items()}


class DocumentTest(StartTest):

    def setUp(self):
        super().setUp()
        self.system = StableSystem()
        self.disk.system = self.system

    def begin_process(self):
        """A new process: no timer, thread or fsync of the last one is left."""
        self.hub = MovedHub(self.clock)
        self.syncer = Syncer(self.clock, self.logger, self.fsyncs.append, self.delays.append, self.fsync_errors.append,
                             self.hub)

    def contents(self, folder=None):
        folder = folder or self.folder
        paths = [path for path in sorted(folder.rglob('*')) if path.is_file()]
        return {str(path.relative_to(folder)): path.read_bytes() for path in paths}

    def in_short(self):
        """{name: records in short}; what is in .corrupt is no journal, but the bytes that were cut off."""
        return {name: re.sub(r'\.+\]', ']', readable(data)) for name, data in self.contents().items()}

    def found_at_a_start(self, contents, **settings):
        """What waits after a start on a spool of its own."""
        kept = self.folder, self.spool, self.hub, self.syncer, self.disk.system, self.log.lines
        self.folder = pathlib.Path(tempfile.mkdtemp())
        try:
            self.spool = os.fsencode(self.folder)
            self.disk.system = FaultySystem()
            self.log.lines = []
            self.begin_process()
            for name, data in contents.items():
                self.write(name, data)
            collection = self.start(**settings)
            queue = collection.queues.get(b'q')
            return '' if queue is None else shown(self.drain(queue))
        finally:
            shutil.rmtree(self.folder)
            self.folder, self.spool, self.hub, self.syncer, self.disk.system, self.log.lines = kept

    def log_line(self, line):
        return line.replace(str(self.folder), 'SPOOL')


class RecordTest(DocumentTest):

    NAMES = {'flags': lambda reader: reader.item.flags, 'deliveries': lambda reader: reader.item.deliveries,
             'xid': lambda reader: reader.xid, 'add time': lambda reader: reader.item.add_time}
    TYPES = {'i32': '<i', 'u32': '<I', 'i64': '<q'}

    def examples(self):
        _, lines = blocks('records')[0]
        return [bytes.fromhex(line.partition('#')[0]) for line in lines]

    def pictures(self):
        """{op: [cell]} and [(line of offsets, cells)]"""
        by_op, offsets = {}, []
        for _, lines in blocks('picture'):
            current = None
            for line in lines:
                if line.startswith('| '):
                    op, *row = [cell.strip() for cell in line[1:].rstrip().removesuffix('|').split('|')]
                    if not row or any(row):
                        current = row
                    # the cells of one that is drawn below another one are the same
                    by_op[int(op, 16)] = current
                elif re.fullmatch(r'[ \d]+', line):
                    offsets.append((current, [int(word) for word in line.split()]))
        return by_op, offsets

    def names_of_ops(self):
        return {int(op): name for op, name in re.findall(r'^\| (\d+) \| ([A-Z_]+) \|', text(), re.MULTILINE)}

    def test_names(self):
        self.assertEqual(self.names_of_ops(), {getattr(record, name): name for name in (
            'ADD', 'REMOVE', 'ADDX', 'REMOVE_TENTATIVE', 'SAVE_XID', 'UNREMOVE', 'CONFIRM_REMOVE', 'ADD_XID',
            'CONTINUE', 'REMOVE_TENTATIVE_XID', 'ADD_FLAGS')})

    def test_every_op_has_a_picture(self):
        self.assertEqual(sorted(self.pictures()[0]), list(range(11)))

    def test_examples_are_as_the_pictures_say(self):
        by_op, _ = self.pictures()
        for data in self.examples():
            with self.subTest(data.hex(' ')):
                reader = RecordReader(Bytes(data), THEN)
                self.assertEqual(reader.next(), data[0])
                self._compare(data, by_op[data[0]], reader)
                self.assertEqual(reader.next(), END)

    def _compare(self, data, row, reader):
        position = 1
        for cell in row:
            if cell == 'data':
                self.assertEqual(data[position:], reader.item.data)
                position = len(data)
                continue
            name, kind = cell.rsplit(None, 1)
            value, = struct.unpack_from(self.TYPES[kind], data, position)
            position += struct.calcsize(self.TYPES[kind])
            if name == 'size':
                self.assertEqual(value, len(data) - position)
            elif name == 'expiry':
                self.assertEqual(value * (1000 if data[0] == ADD else 1), reader.item.expiry)
            else:
                self.assertEqual(value, self.NAMES[name](reader), name)
        self.assertEqual(position, len(data))

    def test_offsets_below_the_pictures(self):
        _, offsets = self.pictures()
        self.assertGreater(len(offsets), 1)
        for row, numbers in offsets:
            places = [0, 1]
            for cell in row[:-1]:
                places.append(places[-1] + struct.calcsize(self.TYPES[cell.rsplit(None, 1)[1]]))
            self.assertEqual(numbers, places)

    def test_lengths(self):
        lengths = {}
        for _, lines in blocks('picture'):
            for line in lines:
                found = re.match(r'([A-Z_]+),.*? {2,}(\d+) bytes?( \+ data)?$', line)
                if found:
                    lengths[found[1]] = int(found[2]), found[3] is not None
        for data in self.examples():
            name = self.names_of_ops()[data[0]]
            if len(data) != 21:     # the item without data
                length, has_data = lengths.pop(name)
                self.assertEqual(len(data), length + 3 * has_data, name)
        self.assertEqual(lengths, {})

    def test_the_example_time(self):
        found = re.search(r'(\d{13}) ms is `((?:[0-9a-f]{2} ?)+)`', text())
        self.assertEqual(struct.pack('<q', int(found[1])), bytes.fromhex(found[2]))
        self.assertEqual(int(found[1]), THEN)

    def test_least_sizes(self):
        """The least `size` of each record, and one less is broken."""
        found = re.search(r'the least one \((\d+) for ADD, (\d+) for\sADD_FLAGS, else (\d+)\)', text())
        least = {ADD: int(found[1]), ADD_FLAGS: int(found[2])}
        for data in self.examples():
            before = {2: 1, 0: 1, 10: 1, 7: 5, 8: 5}.get(data[0])
            if before is not None:
                size = least.get(data[0], int(found[3]))
                for number, whole in ((size, True), (size - 1, False), (-1, False)):
                    broken = data[:before] + struct.pack('<i', number) + bytes(max(0, size))
                    answer = RecordReader(Bytes(broken[:before + 4 + max(0, number)]), 0).next()
                    self.assertEqual(answer == data[0], whole, (data[0], number))

    def test_in_short(self):
        for _, lines in blocks('records'):
            for line in lines:
                data, _, short = line.partition('#')
                self.assertEqual(readable(bytes.fromhex(data)), short.strip())

    def test_the_writer(self):
        """What the server writes is what the examples show, to the byte."""
        queue = self.start().need(b'q')
        written = []

        def note():
            data = b''.join(written)
            written.append(self.read()[len(data):])
        for data, flags, expiry in ((b'cat', 0, THEN + 5000), (b'', 0, 0), (b'cat', 32, 0)):
            queue.put(data, flags, expiry, False)
            note()
        for step in (lambda: queue.take(True, THEN), lambda: queue.confirm(1), lambda: queue.take(False, THEN)):
            step()
            note()
        queue.take(True, THEN)
        queue.unremove(2)
        written.append(self.read()[-5:-4] + struct.pack('<i', 1))   # the example puts back the read 1
        examples = [data for data in self.examples() if data[0] in (1, 2, 5, 6, 9, 10)]
        self.assertEqual(sorted(written), sorted(examples))

    def test_the_file_of_a_start(self):
        _, lines = blocks('records')[1]
        records = [bytes.fromhex(line.partition('#')[0]) for line in lines]
        self.write('q', b''.join(records[:-1]))
        queue = self.start().queues[b'q']
        self.assertEqual(self.read(), b''.join(records))
        found = re.search(r'The queue holds `(\w+)` and `(\w+)`; the next open read gets xid (\d+)', text())
        self.assertEqual(shown(queue.items), found[1] + ' ' + found[2])
        self.assertEqual(queue.xid + 1, int(found[3]))

    def test_which_are_written(self):
        """The examples of records that the server writes are those it writes."""
        table = re.findall(r'^\| (\d+) \| ([A-Z_]+) \|.*\| (yes|no|[^|]*) \|$', text(), re.MULTILINE)
        self.assertEqual([int(op) for op, _, _ in table], list(range(11)))
        written = {int(op) for op, _, word in table if word != 'no'}
        by_story = set()
        for _, lines in blocks('story'):
            for short in re.findall(r'^(?:state)? +\S+  +(.*)$', '\n'.join(lines), re.MULTILINE):
                data = encode(short) if short != '-' else b''
                reader = RecordReader(Bytes(data), 0)
                op = reader.next()
                while op >= 0:
                    by_story.add(op)
                    op = reader.next()
        self.assertEqual(written, by_story)


class ReplayTest(DocumentTest):

    def test_each_line(self):
        for _, lines in blocks('replay'):
            for line in lines:
                with self.subTest(line):
                    short, queue, opened, counter = cells(line)
                    data = encode(short)
                    replay = Replay(1 << 30, self.logger)
                    self.assertEqual(replay.run(RecordReader(Bytes(data), THEN), [], THEN), END)
                    self.assertEqual(shown(replay.items), queue)
                    both = sorted([*replay.opened.items(), *replay.displaced.items()], key=lambda entry: entry[0])
                    self.assertEqual(' '.join(['%d:%s' % (xid, item.data.decode()) for xid, item in both]), opened)
                    self.assertEqual(replay.counter, int(counter or 0))

    def test_every_op_is_replayed(self):
        ops = set()
        for _, lines in blocks('replay'):
            for line in lines:
                reader = RecordReader(Bytes(encode(cells(line)[0])), 0)
                op = reader.next()
                while op >= 0:
                    ops.add(op)
                    op = reader.next()
        self.assertEqual(ops, set(range(11)))
        self.assertIn(CONTINUE, ops)


class StartsTest(DocumentTest):

    def test_each(self):
        for number, (_, lines) in enumerate(blocks('start'), 1):
            for part in '\n'.join(lines).split('\n\n'):
                with self.subTest(number, part=part):
                    for path in self.folder.iterdir():
                        shutil.rmtree(path) if path.is_dir() else path.unlink()
                    self.log.lines.clear()
                    self.begin_process()
                    self._start(part.splitlines())

    def _start(self, lines):
        kinds = {'before': {}, 'after': {}}
        queue, log, kind = None, [], None
        for line in lines:
            kind, *rest = [line.partition(' ')[0] or kind, *cells(line[8:])]
            if kind in kinds:
                kinds[kind][rest[0]] = rest[1]
            elif kind == 'queue':
                queue = rest[0]
            else:
                log.append(line[8:].strip())
        for name, short in kinds['before'].items():
            self.write(name, b'kept' if short == 'kept' else encode(short))
        collection = self.start()
        found = {name: 'kept' if data == b'kept' else readable(data) for name, data in self.contents().items()}
        self.assertEqual(found, kinds['after'])
        self.assertEqual([self.log_line(line) for line in self.log.lines], log)
        self.assertEqual(shown(collection.queues[b'q'].items), queue)
        self.stop(collection)


class Story:
    """Does what a story says to one queue ``q``."""

    def __init__(self, test, settings):
        self.test = test
        self.settings = settings
        self.reads = OpenReads(test.logger, 'a client')
        self.commits = {}
        self.begin()

    def begin(self):
        self.test.begin_process()
        self.collection = self.test.start(**self.settings)
        self.queue = self.collection.need(b'q')

    def do(self, words):
        """-> the answer, str."""
        test, queue = self.test, self.queue
        word, *rest = words.split()
        if word in ('set', 'set/sync'):
            return self._set(rest, word == 'set/sync')
        if word in ('get', 'open', 'peek'):
            return self._take(word)
        if word == 'close':
            commit = self.reads.confirm_oldest(b'q', 1)
            self.commits['close'] = commit
            return 'END' if commit is None else 'waits'
        if word == 'abort':
            self.reads.abort_oldest(b'q')
        elif word == 'disconnect':
            self.reads.abort_all(None)
        elif word == 'flush':
            queue.flush()
        elif word == 'rotate':
            queue.compactor._rotate(rest == ['with', 'checkpoint'])
        elif word == 'rewrite':
            queue.compactor._rewrite(False)
        elif word == 'thread':
            test.hub.turn()
            done = len(test.hub.jobs)
            test.hub.finish()
            return 'done' if done else 'none'
        elif word == 'threads':
            test.hub.finish_all()
        elif word == 'wait':
            test.hub.advance(seconds(rest[0]))
        elif word == 'disk':
            test.system.room = {'full': 0, 'free': None}[rest[0]]
        elif word == 'limit':
            limit = mock.patch.object(pending, 'LIMIT', int(rest[0]))
            limit.start()
            test.addCleanup(limit.stop)
        elif word == 'fsync':
            test.system.faults = {'fails': {'fsync': errno.EIO}, 'works': {}}[rest[0]]
        elif word == 'remove':
            (test.folder / rest[0]).unlink()
        elif word == 'look':
            queue.compactor.look_for_lost_files()
        elif word == 'delete':
            self.collection.delete(b'q')
            test.hub.finish_all()
        elif word == 'stop':
            test.stop(self.collection)
        elif word == 'restart':
            self.begin()
        elif word == 'answer':
            commit = self.commits[rest[0]]
            return 'waits' if not commit.done else self._refused(commit.error) if commit.error else 'STORED'
        else:
            raise AssertionError(words)
        return ''

    def _refused(self, error):
        return 'SERVER_ERROR ' + ('out of disk space' if error.full else 'journal write failed: ' + error.why)

    def _set(self, rest, durable):
        data, *options = rest
        name, _, length = data.partition('*')
        flags = expiry = 0
        for option in options:
            if option.startswith('flags='):
                flags = int(option[6:])
            else:
                expiry = self.test.clock.ms + round(1000 * seconds(option.removeprefix('expires=')))
        try:
            stored = self.queue.put(name.encode().ljust(int(length or 0), b'.'), flags, expiry, durable)
        except JournalError as error:
            return self._refused(error)
        if stored is True or stored is False:
            return 'STORED' if stored else 'NOT_STORED'
        self.commits[name] = stored
        return 'waits'

    def _take(self, word):
        queue, now = self.queue, self.test.clock.ms
        while queue.stale(now):
            queue.sweep(1000)
        if word == 'peek':
            item = queue.head()
        else:
            item = queue.take(word == 'open', now)
            if item is not None and word == 'open':
                self.reads.add(b'q', queue, item.xid)
        return 'END' if item is None else item.data.decode().rstrip('.')


class StoryTest(DocumentTest):

    def test_each(self):
        for number, (settings, lines) in enumerate(blocks('story'), 1):
            with self.subTest(number, settings=settings):
                for path in self.folder.iterdir():
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                self.log.lines.clear()
                self.clock.ms = THEN
                self.disk.deleted_ms = 0
                self.system.faults, self.system.room = {}, None
                self._tell(settings, lines)

    def _tell(self, settings, lines):
        settings = {name: None if value == 'none' else int(value)
                    for name, value in [word.split('=') for word in settings.split()]}
        story = Story(self, settings)
        kind, state, logged = None, None, []
        for line in [*lines, 'end']:
            begins = line.partition(' ')[0]
            if begins and state is not None:
                self.assertEqual(self.in_short(), state, 'before: ' + line)
                state = None
            if begins and logged:
                self.assertEqual([self.log_line(line) for line in self.log.lines], logged, 'before: ' + line)
                self.log.lines.clear()
                logged = []
            kind = begins or kind
            rest = line[8:].strip()
            if kind == 'do':
                self._do(story, rest)
            elif kind == 'state':
                state = {} if state is None else state
                if rest != '-':
                    name, records = cells(rest)
                    state[name] = records
            elif kind == 'queue':
                self.assertEqual(shown(story.queue.items), '' if rest == '-' else rest, line)
            elif kind == 'start':
                self.assertEqual(self.found_at_a_start(self.contents(), **settings), '' if rest == '-' else rest, line)
            elif kind == 'power':
                self.assertEqual(self.found_at_a_start(self.system.after_power_loss(), **settings),
                                 '' if rest == '-' else rest, line)
            elif kind == 'stats':
                numbers = self.numbers(story.queue)
                words = dict(word.split('=') for word in rest.split())
                self.assertEqual({key: numbers[key] for key in words}, words, line)
            elif kind == 'log':
                logged.append(rest)
            else:
                self.assertEqual(kind, 'end')
        self.stop(story.collection)

    def _do(self, story, rest):
        for step in rest.split(', '):
            words, arrow, answer = step.partition(' -> ')
            found = story.do(words)
            if arrow:
                self.assertEqual(found, answer, step)


class VerdictTest(DocumentTest):
    """Settings in the first line; waiting items, their bytes, read-behind, current, total, what is barred, verdict."""

    WORDS = {'nothing': compaction.NOTHING, 'rewrite (rule 1)': compaction.REWRITE_EMPTY,
             'rewrite (rule 2)': compaction.REWRITE, 'rotate': compaction.ROTATE,
             'rotate, checkpoint': compaction.ROTATE_AND_CHECKPOINT}

    def test_each_line(self):
        seen = set()
        for settings, lines in blocks('verdicts'):
            sizes = dict(word.split('=') for word in settings.split())
            limits = [int(sizes[key]) for key in ('default_journal_size', 'max_journal_size', 'max_memory_size')]
            for line in lines[1:]:
                with self.subTest(line):
                    items, size, behind, current, total, barred, verdict = re.split(r' {2,}', line.strip())
                    found = compaction.verdict(int(items), int(size), behind == 'yes', int(current), int(total),
                                               '1' in barred, '2' in barred, *limits)
                    self.assertEqual(found, self.WORDS[verdict])
                    seen.add(verdict)
        self.assertEqual(seen, set(self.WORDS))


class PromiseTest(DocumentTest):
    """What of an operation is there when the process or the power fails right after its answer, in the worst case.

    Each line: what was done | with never | a period | a period, one period later | 0. The words: `kept`; `lost`, an
    item that was put is gone; `again`, an item that was taken or confirmed comes again.
    """

    SETTINGS = (('never', None, 0), ('period', 100000, 0), ('later', 100000, 0.1001), ('0', 0, 0))
    # what is done to a queue of a and b, both on the disk; what must wait after a start then
    DONE = {'set': ('c', 'a b c'), 'set/sync': ('c', 'a b c'), 'get': ('', 'b'), 'open': ('', 'a b'),
            'open, close': ('', 'b'), 'open, abort': ('', 'a b'), 'flush': ('', ''),
            'set, rotate, set/sync': ('', 'a b c d')}

    def test_each_line(self):
        done = set()
        for loss, lines in blocks('promises'):
            self.assertEqual(cells(lines[0])[1:], ['never', 'a period', 'a period later', '0'])
            for line in lines[1:]:
                what, *words = cells(line)
                done.add((loss, what))
                for word, (name, sync_journal, later) in zip(words, self.SETTINGS, strict=True):
                    with self.subTest(line, sync_journal=name):
                        self.assertEqual(self._try(loss == 'power', what, sync_journal, later), word)
        self.assertEqual(done, {(loss, what) for loss in ('process', 'power') for what in self.DONE})

    def _try(self, power, what, sync_journal, later):
        for path in self.folder.iterdir():
            path.unlink()
        self.system.contents.clear()
        self.system.names.clear()
        story = Story(self, {'sync_journal': sync_journal})
        for data in 'ab':
            story.do('set/sync ' + data)
        self.hub.finish_all()
        data = iter('cd')
        for step in what.split(', '):
            self._answered(story, step + ' ' + next(data) if step.startswith('set') else step)
        if later:
            self.hub.advance(later)
            self.hub.finish_all()
        found = self.found_at_a_start(self.system.after_power_loss() if power else self.contents())
        self.hub.finish_all()
        self.stop(story.collection)
        expected = self.DONE[what][1]
        if found == expected:
            return 'kept'
        return 'lost' if set(found) < set(expected) else 'again' if set(found) > set(expected) else found

    def _answered(self, story, step):
        """Do it, and let time pass until its answer is sent."""
        story.commits.clear()
        if story.do(step) == 'waits':
            commit, = story.commits.values()
            while not commit.done:
                self.assertTrue(self.hub.finish())


class DiskUseTest(DocumentTest):
    """No queue takes more of the disk than the document says, at any moment."""

    SETTINGS = {'default_journal_size': 3000, 'max_memory_size': 2000, 'max_journal_size': 10000,
                'min_journal_compact_delay': None}
    ITEM = 100

    def test_bound(self):
        self.assertIn('the larger of  max_journal_size  and  the live bytes', text())
        story = Story(self, self.SETTINGS)
        self.most = 0
        chance = random.Random(1)
        # (how many, how likely a step is a put): short, growing, long and steady, shrinking, short, empty at the end
        for steps, puts in ((400, 0.5), (600, 0.9), (3000, 0.5), (900, 0.1), (600, 0.5), (300, 0)):
            for _ in range(steps):
                if chance.random() < puts:
                    story.do('set x*%d' % self.ITEM)
                elif chance.random() < 0.5:
                    story.do('get')
                else:
                    story.do('open')
                    story.do('close')
                self._check(story.queue)
                if chance.random() < 0.3 and self.hub.finish():
                    self._check(story.queue)
        self.hub.finish_all()
        self.assertGreater(story.queue.stats.journal_rewrites, 3)
        self.assertGreater(self.packs, 3)
        self.assertGreater(self.nearest, 0.7, 'the bound says little')
        self.assertLess(sum(map(len, self.contents().values())), self.SETTINGS['default_journal_size'])
        self.stop(story.collection)

    packs = 0
    nearest = 0.0
    seen_pack = False

    def _check(self, queue):
        files = {path.name: path.stat().st_size for path in self.folder.iterdir()}
        is_pack = queue.reader is not None and any(name.endswith('.pack') for name in files)
        self.packs += is_pack and not self.seen_pack
        self.seen_pack = is_pack
        live = (queue.count + len(queue.opened)) * (self.ITEM + 21) + 5 * len(queue.opened)
        self.most = max(self.most, live)
        # the item and its record, its removal, its placeholder in the last pack and in the new one
        backlog = self.most // (self.ITEM + 21) * (self.ITEM + 21 + 10 + 2 * 21)
        bound = max(self.SETTINGS['max_journal_size'], live) + backlog + 2 * self.SETTINGS['max_memory_size']
        self.assertLessEqual(sum(files.values()), bound, files)
        self.nearest = max(self.nearest, sum(files.values()) / bound)


class NameTest(DocumentTest):

    def test_names_of_files(self):
        section = text().partition('\n## Files\n')[2].partition('\n## ')[0]
        files = re.findall(r'^\| `(orders[^`]*)` \| (.*?)[,;]', section, re.MULTILINE)
        found = names.Spool(b'', [(name.encode(), True) for name, _ in files])
        queue = found.queues[b'orders']
        self.assertEqual([queue.has_current, len(queue.archived), len(queue.packs), len(found.temporary), found.strays],
                         [True, 1, 1, 1, []])
        self.assertEqual(len(files), 4)

    def test_latin_1(self):
        found = re.search(r'queue `([0-9A-F]{2})` is the file `([0-9A-F ]+)`', text())
        self.assertEqual(names.current(bytes.fromhex(found[1])), bytes.fromhex(found[2]))


class LimitTest(DocumentTest):

    UNITS = {'KiB': 1 << 10, 'MiB': 1 << 20, 's': 1, '': 1}

    def test_constants(self):
        rows = re.findall(r'^\| .* \| ([\d.]+)(?: (KiB|MiB|s))? \| `([\w/]+\.py)` `(\w+)` \|$', text(), re.MULTILINE)
        self.assertGreater(len(rows), 9)
        for number, unit, path, name in rows:
            with self.subTest(path, name=name):
                self.assertEqual(self._constant(path, name), float(number) * self.UNITS[unit])

    def _constant(self, path, name):
        for node in ast.parse((CHECKOUT / 'kestrel' / path).read_text()).body:
            if isinstance(node, ast.Assign) and node.targets[0].id == name:
                return eval(compile(ast.Expression(node.value), path, 'eval'), {'SYNC_THREADS': self._constant(
                    'hub.py', 'SYNC_THREADS') if name != 'SYNC_THREADS' else None})
        raise AssertionError('no %s in %s' % (name, path))
