"""The strict reader of the original's format: bytes by hand (spec journal 1, 3, 5 to 7), and spools of the original."""

import json
import pathlib
import shutil
import tempfile
import unittest

from support.environment import DATA
from support.strict_reader import Queue, Unreadable, read_spool, records

GOLDEN = DATA / 'golden'
THEN = 1384870000000
LATER = 1384870005000
LEGACY_NOW = 1795468000000      # when the original read legacy_opcodes

A = '02 11 00 00 00  80 35 af 70 42 01 00 00  00 00 00 00 00 00 00 00  61'
B = '02 11 00 00 00  80 35 af 70 42 01 00 00  00 00 00 00 00 00 00 00  62'
C = '02 11 00 00 00  80 35 af 70 42 01 00 00  00 00 00 00 00 00 00 00  63'
D = '02 11 00 00 00  80 35 af 70 42 01 00 00  00 00 00 00 00 00 00 00  64'
R = '01'
OPEN_1, OPEN_2, OPEN_6, OPEN_7, OPEN_8 = ('09 %02x 00 00 00' % xid for xid in (1, 2, 6, 7, 8))
BACK_1, BACK_2 = '05 01 00 00 00', '05 02 00 00 00'
DONE_1, DONE_2 = '06 01 00 00 00', '06 02 00 00 00'
FLAGS = '0a 1b 00 00 00  20 00 00 00  00 00 00 00  80 35 af 70 42 01 00 00  00 00 00 00 00 00 00 00  63 61 74'


def journal(*lines):
    return bytes.fromhex(' '.join(lines))


def read(*lines):
    """One file of these records -> Queue."""
    queue = Queue()
    queue.read('q', journal(*lines))
    return queue


def data(items):
    return [item.data for item in items]


class RecordsTest(unittest.TestCase):

    EXAMPLES = [
        ('00  07 00 00 00  80 7e 8b 52  63 61 74', (0, None, b'cat', None, 1384873600000)),
        ('02  13 00 00 00  80 35 af 70 42 01 00 00  08 49 af 70 42 01 00 00  63 61 74', (2, None, b'cat', THEN, LATER)),
        ('02  10 00 00 00  80 35 af 70 42 01 00 00  00 00 00 00 00 00 00 00', (2, None, b'', THEN, 0)),
        ('07  07 00 00 00  13 00 00 00  80 35 af 70 42 01 00 00  00 00 00 00 00 00 00 00  63 61 74',
         (7, 7, b'cat', THEN, 0)),
        ('08  07 00 00 00  13 00 00 00  80 35 af 70 42 01 00 00  00 00 00 00 00 00 00 00  64 6f 67',
         (8, 7, b'dog', THEN, 0)),
        ('01', (1, None)), ('03', (3, None)), ('04  07 00 00 00', (4, 7)), ('05  01 00 00 00', (5, 1)),
        ('06  01 00 00 00', (6, 1)), ('09  ff ff ff ff', (9, -1)),
    ]

    def test_each_record(self):
        for line, expected in self.EXAMPLES:
            with self.subTest(line):
                (offset, op, xid, item), = records('q', journal(line))
                found = (op, xid) + ((item.data, item.add_time, item.expiry) if item else ())
                self.assertEqual((offset, found), (0, expected))

    def test_one_after_the_other(self):
        whole = journal(*[line for line, _ in self.EXAMPLES])
        self.assertEqual([op for _, op, _, _ in records('q', whole)], [expected[0] for _, expected in self.EXAMPLES])
        self.assertEqual([offset for offset, _, _, _ in records('q', whole)], [0, 12, 36, 57, 85, 113, 114, 115, 120,
                                                                               125, 130])

    def test_cut_anywhere_inside(self):
        for line, _ in self.EXAMPLES:
            whole = journal(line)
            for length in range(1, len(whole)):
                with self.subTest(line, length=length):
                    with self.assertRaisesRegex(Unreadable, '^q: byte 22: the file ends inside the record$'):
                        read(A, whole[:length].hex())

    def test_unknown_ops(self):
        for op in (10, 11, 12, 127, 128, 255):
            with self.assertRaisesRegex(Unreadable, f'^q: byte 22: op {op} is unknown$'):
                read(A, '%02x' % op, B)

    def test_our_own_record(self):
        with self.assertRaisesRegex(Unreadable, '^q: byte 0: op 10 is unknown$'):
            read(FLAGS)

    def test_impossible_sizes(self):
        for line in ('00 03 00 00 00', '02 0f 00 00 00', '02 00 00 00 00', '02 ff ff ff ff', '02 00 00 00 80',
                     '07 07 00 00 00 0f 00 00 00', '08 07 00 00 00 ff ff ff ff'):
            with self.subTest(line), self.assertRaisesRegex(Unreadable, '^q: byte 1: op . of size -?[0-9]+, less than'):
                read(R, line, A, B)
        with self.assertRaisesRegex(Unreadable, 'the file ends inside'):
            read('02 ff ff ff 7f', A, B)


class ReplayTest(unittest.TestCase):

    def check(self, queue, waiting, opened, counter, odd=0):
        self.assertEqual(data(queue.waiting), waiting)
        self.assertEqual({xid: item.data for xid, item in queue.open.items()}, opened)
        self.assertEqual((queue.counter, len(queue.odd)), (counter, odd), queue.odd)

    def test_example_of_the_specification(self):
        queue = read(A, '02 12 00 00 00 81 35 af 70 42 01 00 00 00 00 00 00 00 00 00 00 62 62', OPEN_1, OPEN_2, DONE_2,
                     '02 13 00 00 00 82 35 af 70 42 01 00 00 00 00 00 00 00 00 00 00 63 63 63', R, D)
        self.assertEqual(queue.size, 107)
        self.check(queue, [b'd'], {1: b'a'}, 2)
        self.assertEqual(data(queue.after_start()), [b'a', b'd'])

    def test_rewritten_file(self):
        queue = read(C, OPEN_8, B, OPEN_7, A, OPEN_6, D)
        self.check(queue, [b'd'], {8: b'c', 7: b'b', 6: b'a'}, 6)
        self.assertEqual(data(queue.after_start()), [b'a', b'b', b'c', b'd'])

    def test_put_back(self):
        self.check(read(A, B, C, OPEN_1, OPEN_2, BACK_2, BACK_1), [b'a', b'b', b'c'], {}, 2)

    def test_order_of_negative_xids(self):
        self.assertEqual(data(read(A, B, '09 ff ff ff 7f', '09 00 00 00 80').after_start()), [b'b', b'a'])

    def test_continue(self):
        again = '08 01 00 00 00 11 00 00 00 80 35 af 70 42 01 00 00 00 00 00 00 00 00 00 00 64'
        self.check(read(A, B, OPEN_1, again), [b'b', b'd'], {}, 1)
        self.check(read(A, again), [b'a', b'd'], {}, 0, odd=1)

    def test_old_records_as_the_original_reads_them(self):
        self.check(read(A, '04 05 00 00 00', B), [b'a', b'b'], {}, 5)
        self.check(read('04 05 00 00 00', A, B, '03'), [b'b'], {0: b'a'}, 0)
        self.check(read(A, B, '03', '03'), [], {0: b'b'}, 0, odd=1)

    def test_what_no_server_writes(self):
        self.check(read(R), [], {}, 0, odd=1)
        self.check(read(OPEN_1), [], {}, 1, odd=1)
        self.check(read(A, BACK_1), [b'a'], {}, 0, odd=1)
        self.check(read(A, DONE_1), [b'a'], {}, 0, odd=1)
        self.check(read(A, B, OPEN_1, OPEN_1), [], {1: b'b'}, 1, odd=1)


class SpoolTest(unittest.TestCase):

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def write(self, **files):
        """``name=records``; ``__`` in a name stands for a dot."""
        for name, lines in files.items():
            (self.folder / name.replace('__', '.')).write_bytes(journal(lines))

    def waiting(self, name=b'q'):
        return data(read_spool(self.folder)[name].waiting)

    def test_several_files_of_several_queues(self):
        self.write(q__100=C + R, q__9=A + B + OPEN_1, q=D + BACK_1, other=D)
        queues = read_spool(self.folder)
        self.assertEqual(sorted(queues), [b'other', b'q'])
        self.assertEqual(queues[b'q'].files, ['q.9', 'q.100', 'q'])
        self.assertEqual(data(queues[b'q'].waiting), [b'a', b'c', b'd'])
        self.assertEqual((queues[b'q'].odd, queues[b'q'].size), ([], 22 * 4 + 11))

    def test_no_current_file(self):
        self.write(q__100=A)
        self.assertEqual(self.waiting(), [b'a'])

    def test_empty_files_and_folder(self):
        self.assertEqual(read_spool(self.folder), {})
        self.write(q='')
        self.assertEqual(self.waiting(), [])

    def test_pack(self):
        self.write(q__100=A, q__150=B, q__150__pack=C, q__200=D, q=A)
        self.assertEqual(self.waiting(), [b'c', b'd', b'a'])
        self.assertEqual(read_spool(self.folder)[b'q'].files, ['q.150.pack', 'q.200', 'q'])

    def test_two_packs(self):
        self.write(q__100=A, q__100__pack=B, q__150__pack=C, q__200=D)
        self.assertEqual(self.waiting(), [b'c', b'd'])

    def test_temporary_files_and_folders(self):
        self.write(**{'q': A, 'q~~123': B})
        (self.folder / '.corrupt').mkdir()
        self.assertEqual(list(read_spool(self.folder)), [b'q'])

    def test_names_beyond_ascii(self):
        (self.folder / 'caf\xe9').write_bytes(journal(A))
        self.assertEqual(self.waiting(b'caf\xe9'), [b'a'])
        (self.folder / '\u20ac').write_bytes(b'')
        with self.assertRaisesRegex(Unreadable, 'not Latin-1'):
            read_spool(self.folder)

    def test_names_that_keep_the_original_from_starting(self):
        for name in ('q.bak', '.status', 'q.', 'q.12x', 'q.-1', 'q.1.bak', 'q.9223372036854775808', 'q.\u0661'):
            with self.subTest(name):
                path = self.folder / name
                path.write_bytes(b'')
                with self.assertRaises(Unreadable):
                    read_spool(self.folder)
                path.unlink()

    def test_the_error_names_the_file(self):
        self.write(q__9=A + 'ff', q=A)
        with self.assertRaisesRegex(Unreadable, r'^q\.9: byte 22: op 255'):
            read_spool(self.folder)


class GoldenTest(unittest.TestCase):
    """Against the original: it has read these spools, and says what it found."""

    def test_each_case(self):
        for case in sorted(GOLDEN.glob('*/*/journal')):
            recorded = json.loads((case.parent.parent / 'case.json').read_text())[case.parent.name]['after_restart']
            queues = read_spool(case)
            with self.subTest(str(case.relative_to(GOLDEN))):
                self.compare(queues, recorded)
                self.assertEqual([line for queue in queues.values() for line in queue.odd], [])
                again = read_spool(case.parent / 'journal_after_restart')
                self.assertEqual({name: queue.open for name, queue in again.items()}, {name: {} for name in queues})
                self.compare(again, recorded)

    def compare(self, queues, recorded):
        self.assertEqual(sorted(queues), sorted(name.encode() for name in recorded['stats']))
        for name, queue in queues.items():
            found = [item.data.decode('latin-1') for item in queue.after_start()]
            self.assertEqual(found, recorded['drain'][name.decode()], name)
            self.assertEqual(len(found), int(recorded['stats'][name.decode()]['items']))

    def test_files_by_hand(self):
        after = json.loads((GOLDEN / 'legacy_opcodes' / 'case.json').read_text())['after_restart']
        broken = {'rotbad', 'size_too_small', 'size_zero'}
        folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        for path in (GOLDEN / 'legacy_opcodes' / 'journal').iterdir():
            shutil.copy(path, folder)
        for name in sorted(broken):
            with self.subTest(name):
                with self.assertRaisesRegex(Unreadable, name):
                    for path in sorted(folder.glob(name + '*')):
                        list(records(path.name, path.read_bytes()))
                for path in folder.glob(name + '*'):
                    path.unlink()
        for name, queue in read_spool(folder).items():
            name = name.decode()
            with self.subTest(name):
                found = [item.data.decode() for item in queue.after_start() if item.expiry == 0 or item.expiry > LEGACY_NOW]
                self.assertEqual(found, after['drain'][name])
