"""The bytes of records (spec journal 1)."""

import random
import unittest

from kestrel.item import Item
from kestrel.journal import record
from kestrel.journal.record import RecordReader, addx_header, addx_record, flags_header, xid_record
from support.clock import THEN
from support.spool import Bytes, readable

NOW = 1400000000123
TIME = '80 35 af 70 42 01 00 00 '
NEVER = '00 00 00 00 00 00 00 00 '

# name, bytes, op, (xid, data, add time, expiry, flags, deliveries) or None where the op has no such thing
EXAMPLES = [
    ('add', '00 07 00 00 00  80 7e 8b 52  63 61 74', record.ADD, None, (b'cat', NOW, 1384873600000, 0, 0)),
    ('add, never', '00 07 00 00 00  00 00 00 00  63 61 74', record.ADD, None, (b'cat', NOW, 0, 0, 0)),
    ('add, empty', '00 04 00 00 00  00 00 00 00', record.ADD, None, (b'', NOW, 0, 0, 0)),
    ('add, negative expiry', '00 04 00 00 00  ff ff ff ff', record.ADD, None, (b'', NOW, -1000, 0, 0)),
    ('remove', '01', record.REMOVE, None, None),
    ('addx', '02 13 00 00 00 ' + TIME + '08 49 af 70 42 01 00 00  63 61 74', record.ADDX, None,
     (b'cat', THEN, THEN + 5000, 0, 0)),
    ('addx, never', '02 13 00 00 00 ' + TIME + NEVER + '63 61 74', record.ADDX, None,
     (b'cat', THEN, 0, 0, 0)),
    ('addx, empty', '02 10 00 00 00 ' + TIME + NEVER, record.ADDX, None, (b'', THEN, 0, 0, 0)),
    ('addx, negative times', '02 10 00 00 00 ff ff ff ff ff ff ff ff fe ff ff ff ff ff ff ff', record.ADDX,
     None, (b'', -1, -2, 0, 0)),
    ('remove tentative', '03', record.REMOVE_TENTATIVE, None, None),
    ('save xid', '04 07 00 00 00', record.SAVE_XID, 7, None),
    ('unremove', '05 01 00 00 00', record.UNREMOVE, 1, None),
    ('confirm remove', '06 01 00 00 00', record.CONFIRM_REMOVE, 1, None),
    ('add xid', '07 07 00 00 00  13 00 00 00 ' + TIME + NEVER + '63 61 74', record.ADD_XID, 7,
     (b'cat', THEN, 0, 0, 0)),
    ('continue', '08 07 00 00 00  13 00 00 00 ' + TIME + NEVER + '64 6f 67', record.CONTINUE, 7,
     (b'dog', THEN, 0, 0, 0)),
    ('remove tentative xid', '09 01 00 00 00', record.REMOVE_TENTATIVE_XID, 1, None),
    ('remove tentative xid, least', '09 00 00 00 80', record.REMOVE_TENTATIVE_XID, -0x80000000, None),
    ('add flags', '0a 1b 00 00 00  20 00 00 00  00 00 00 00 ' + TIME + NEVER + '63 61 74', record.ADD_FLAGS,
     None, (b'cat', THEN, 0, 32, 0)),
    ('add flags, most', '0a 18 00 00 00  ff ff ff ff  02 00 00 00 ' + TIME + NEVER, record.ADD_FLAGS, None,
     (b'', THEN, 0, 0xffffffff, 2)),
]

# op, what stands before the size, the least size
LEAST_SIZES = [(0, b'', 4), (2, b'', 16), (10, b'', 24), (7, bytes(4), 16), (8, bytes(4), 16)]


def fields(item):
    return item.data, item.add_time, item.expiry, item.flags, item.deliveries


class EncodeTest(unittest.TestCase):

    def test_addx(self):
        for item, text in [
                (Item(b'cat', THEN, THEN + 5000),
                 '02 13 00 00 00 ' + TIME + '08 49 af 70 42 01 00 00  63 61 74'),
                (Item(b'cat', THEN), '02 13 00 00 00 ' + TIME + NEVER + '63 61 74'),
                (Item(b'', THEN), '02 10 00 00 00 ' + TIME + NEVER)]:
            self.assertEqual(addx_header(item) + item.data, bytes.fromhex(text))
            self.assertEqual(addx_record(item), bytes.fromhex(text))

    def test_addx_of_negative_times_and_of_none(self):
        self.assertEqual(addx_record(Item(b'', -1, -2)),
                         bytes.fromhex('02 10 00 00 00 ff ff ff ff ff ff ff ff fe ff ff ff ff ff ff ff'))
        with self.assertRaises(TypeError):
            addx_record(Item(None, THEN))

    def test_size_of_addx(self):
        for n in (0, 1, 255, 70000):
            item = Item(bytes(n), THEN)
            self.assertEqual(len(addx_header(item) + item.data), 21 + n)
            self.assertEqual(addx_record(item), addx_header(item) + item.data)

    def test_flags(self):
        for item, text in [
                (Item(b'cat', THEN, 0, 32),
                 '0a 1b 00 00 00 20 00 00 00 00 00 00 00 ' + TIME + NEVER + '63 61 74'),
                (Item(b'', THEN, 1, 0xffffffff, 3),
                 '0a 18 00 00 00 ff ff ff ff 03 00 00 00 ' + TIME + '01 00 00 00 00 00 00 00')]:
            self.assertEqual(flags_header(item) + item.data, bytes.fromhex(text))

    def test_xids(self):
        self.assertEqual(xid_record(record.UNREMOVE, 1), bytes.fromhex('05 01 00 00 00'))
        self.assertEqual(xid_record(record.CONFIRM_REMOVE, 1), bytes.fromhex('06 01 00 00 00'))
        self.assertEqual(xid_record(record.REMOVE_TENTATIVE_XID, 1), bytes.fromhex('09 01 00 00 00'))
        self.assertEqual(xid_record(record.REMOVE_TENTATIVE_XID, -2), bytes.fromhex('09 fe ff ff ff'))
        self.assertEqual(record.REMOVE_RECORD, b'\x01')


class DecodeTest(unittest.TestCase):

    def check(self, reader, example):
        name, _, op, xid, item = example
        with self.subTest(name):
            self.assertEqual(reader.next(), op)
            if xid is not None:
                self.assertEqual(reader.xid, xid)
            if item is not None:
                self.assertEqual(fields(reader.item), item)
                self.assertEqual(reader.item.xid, xid if op == record.ADD_XID else 0)

    def test_each_alone(self):
        for example in EXAMPLES:
            reader = RecordReader(Bytes(bytes.fromhex(example[1])), NOW)
            self.check(reader, example)
            self.assertEqual(reader.offset, 0)
            self.assertEqual(reader.next(), record.END)
            self.assertEqual(reader.offset, reader.size)

    def test_one_after_the_other_byte_by_byte(self):
        data = b''.join(bytes.fromhex(example[1]) for example in EXAMPLES)
        for most in (1, 2, 7, None):
            reader = RecordReader(Bytes(data, most), NOW)
            offset = 0
            for example in EXAMPLES:
                self.check(reader, example)
                self.assertEqual(reader.offset, offset)
                offset += len(bytes.fromhex(example[1]))
            self.assertEqual(reader.next(), record.END)

    def test_every_record_cut_at_every_byte_is_torn(self):
        for name, text, _, _, _ in EXAMPLES:
            whole = bytes.fromhex(text)
            for length in range(1, len(whole)):
                with self.subTest(name, length=length):
                    reader = RecordReader(Bytes(b'\x01' + whole[:length]), NOW)
                    self.assertEqual(reader.next(), record.REMOVE)
                    self.assertEqual(reader.next(), record.TORN)
                    self.assertEqual(reader.offset, 1)

    def test_sizes_below_the_least(self):
        for op, before, least in LEAST_SIZES:
            for size in (0, 1, least - 1, -1, -2, -0x80000000):
                with self.subTest(op=op, size=size):
                    data = bytes([op]) + before + size.to_bytes(4, 'little', signed=True) + bytes(40)
                    self.assertEqual(RecordReader(Bytes(data), NOW).next(), record.IMPOSSIBLE)

    def test_least_sizes(self):
        for op, before, least in LEAST_SIZES:
            data = bytes([op]) + before + least.to_bytes(4, 'little') + bytes(least)
            reader = RecordReader(Bytes(data), NOW)
            self.assertEqual(reader.next(), op)
            self.assertEqual(reader.item.data, b'')
            self.assertEqual(reader.next(), record.END)

    def test_unknown_ops(self):
        for op in range(11, 256):
            self.assertEqual(RecordReader(Bytes(bytes([op]) + bytes(40)), NOW).next(), record.IMPOSSIBLE)

    def test_a_size_beyond_the_end_reads_nothing_of_that_size(self):
        class Counted(Bytes):
            asked = 0

            def read_at(self, count, offset):
                self.asked = max(self.asked, count)
                return super().read_at(count, offset)
        file = Counted(b'\x02\xff\xff\xff\x7f' + bytes(60))
        self.assertEqual(RecordReader(file, NOW).next(), record.TORN)
        self.assertIn(file.asked, range(1, 66))

    def test_sizes_with_high_bytes(self):
        for n in (0x70, 0x80, 0xff, 0x7ff0, 0x8000, 0xfff0, 0x80ffff):
            item = Item(random.Random(n).randbytes(n), THEN)
            reader = RecordReader(Bytes(addx_header(item) + item.data + b'\x01'), NOW)
            self.assertEqual(reader.next(), record.ADDX)
            self.assertEqual(reader.item.data, item.data)
            self.assertEqual(reader.next(), record.REMOVE)
            self.assertEqual(reader.next(), record.END)

    def test_records_around_the_ends_of_blocks(self):
        generator = random.Random(5)
        sizes = [0, 1, 100, record.BLOCK - 21, record.BLOCK - 20, 3 * record.BLOCK, 5, record.BLOCK - 60, 60]
        sizes += [generator.randrange(40000) for _ in range(200)]
        items = [Item(generator.randbytes(size), size, size + 1, size % 2) for size in sizes]
        pieces = []
        for item in items:
            pieces += [flags_header(item) if item.flags else addx_header(item), item.data, b'\x01',
                       xid_record(record.SAVE_XID, item.add_time)]
        reader = RecordReader(Bytes(b''.join(pieces)), NOW)
        for item in items:
            self.assertEqual(reader.next(), record.ADD_FLAGS if item.flags else record.ADDX)
            self.assertTrue(fields(reader.item) == fields(item), len(item.data))
            self.assertEqual(reader.next(), record.REMOVE)
            self.assertEqual(reader.next(), record.SAVE_XID)
            self.assertEqual(reader.xid, item.add_time)
        self.assertEqual(reader.next(), record.END)

    def test_a_file_that_becomes_shorter(self):
        file = Bytes(b'\x01' * 10)
        file.size = 20
        with self.assertRaises(OSError):
            RecordReader(file, NOW).next()

    def test_from_the_middle_of_a_file(self):
        data = addx_header(Item(b'12345', THEN)) + b'12345' + xid_record(record.SAVE_XID, 7)
        reader = RecordReader(Bytes(data + data), NOW, len(data), 16)
        self.assertEqual(reader.place(), len(data))
        self.assertEqual((reader.next(), reader.offset), (record.ADDX, len(data)))
        self.assertEqual(reader.place(), len(data) + 26)
        self.assertEqual((reader.next(), reader.offset, reader.xid), (record.SAVE_XID, len(data) + 26, 7))
        self.assertEqual(reader.next(), record.END)

    def test_small_blocks(self):
        data = b''.join(bytes.fromhex(example[1]) for example in EXAMPLES)
        for block in (1, 5, 29, 30, 64):
            reader = RecordReader(Bytes(data), NOW, 0, block)
            for example in EXAMPLES:
                self.check(reader, example)
            self.assertEqual(reader.next(), record.END)

    def test_a_file_that_grows(self):
        file = Bytes(b'\x01')
        reader = RecordReader(file, NOW)
        self.assertEqual([reader.next() for _ in range(3)], [record.REMOVE, record.END, record.END])
        for example in EXAMPLES:
            file.data += bytes.fromhex(example[1])
            self.assertEqual(reader.next(), record.END)
            reader.resize(len(file.data))
            self.check(reader, example)
        self.assertEqual(reader.next(), record.END)

    def test_a_file_that_is_cut_behind_the_place_and_written_anew(self):
        first, second, third = [addx_header(Item(word, THEN)) + word for word in (b'one', b'two', b'three')]
        for block in (16, record.BLOCK):
            file = Bytes(first + second)
            reader = RecordReader(file, NOW, 0, block)
            self.assertEqual(reader.next(), record.ADDX)
            file.data = first
            reader.resize(len(first))
            self.assertEqual((reader.next(), reader.size), (record.END, len(first)))
            file.data += third
            reader.resize(len(file.data))
            self.assertEqual((reader.next(), reader.item.data), (record.ADDX, b'three'))
            self.assertEqual(reader.next(), record.END)

    def test_op_of_what_is_impossible(self):
        reader = RecordReader(Bytes(b'\x01\x0b\x01'), NOW)
        self.assertEqual([reader.next(), reader.next(), reader.op()], [record.REMOVE, record.IMPOSSIBLE, 11])

    def test_readable(self):
        data = b''.join(bytes.fromhex(example[1]) for example in EXAMPLES if 'negative' not in example[0])
        self.assertEqual(readable(data + b'\x63'), 'a[cat] a[cat] a[] R A[cat] A[cat] A[] T S7 U1 C1 AX7[cat]'
                         ' N7[dog] T1 T-2147483648 F32/0[cat] F4294967295/2[] impossible')


class SkimTest(unittest.TestCase):
    """What is passed over is counted, and the answers are those of ``next``."""

    def both(self, data, block):
        """[(op, offset, xid, fields of its item)] of all but the additions passed over, and those counted."""
        reader = RecordReader(Bytes(data), NOW, 0, block)
        found, count, size = [], 0, 0
        while True:
            op = reader.skim()
            count += reader.skimmed
            size += reader.skimmed_bytes
            found.append(self.answer(op, reader))
            if op < 0:
                return found, count, size

    @staticmethod
    def answer(op, reader):
        has_item = op in (record.ADD, record.ADD_XID, record.CONTINUE, record.ADD_FLAGS)
        item = fields(reader.item) if has_item else None
        return op, reader.offset, item

    def one_by_one(self, data):
        reader = RecordReader(Bytes(data), NOW)
        found, count, size = [], 0, 0
        while True:
            op = reader.next()
            if op == record.ADDX:
                count += 1
                size += len(reader.item.data)
                continue
            found.append(self.answer(op, reader))
            if op < 0:
                return found, count, size

    def check(self, data):
        expected = self.one_by_one(data)
        for block in (1, 5, 21, 30, 64, 1000, record.BLOCK):
            self.assertEqual(self.both(data, block), expected, block)

    def test_nothing(self):
        self.check(b'')

    def test_all_records(self):
        self.check(b''.join(bytes.fromhex(example[1]) for example in EXAMPLES) * 3)

    def test_sizes_around_the_ends_of_blocks(self):
        generator = random.Random(7)
        pieces = []
        for number in range(300):
            size = generator.choice((0, 1, 5, 16, 29, 64, generator.randrange(3000)))
            pieces += [addx_header(Item(bytes(size), THEN)), bytes(size)]
            if number % 7 == 0:
                pieces.append(xid_record(record.SAVE_XID, number))
        self.check(b''.join(pieces))

    def test_broken_ends(self):
        good = addx_header(Item(b'12345', THEN)) + b'12345'
        for end in (b'\x02', b'\x02\x10\x00\x00\x00', good[:-1], b'\x02\x0f\x00\x00\x00' + bytes(40),
                    b'\x02\xff\xff\xff\xff', b'\x02\xff\xff\xff\x7f' + bytes(40), b'\x0b', b'\x05\x01'):
            with self.subTest(end):
                self.check(good * 3 + end)

    def test_data_that_is_passed_over_is_not_read(self):
        class Counted(Bytes):
            read = 0

            def read_at(self, count, offset):
                piece = super().read_at(count, offset)
                self.read += len(piece)
                return piece
        item = Item(bytes(100000), THEN)
        file = Counted((addx_header(item) + item.data) * 10)
        reader = RecordReader(file, NOW, 0, 1000)
        self.assertEqual((reader.skim(), reader.skimmed, reader.skimmed_bytes), (record.END, 10, 1000000))
        self.assertLess(file.read, 20000)

    def test_skim_passes_over_so_many_at_most(self):
        words = [addx_header(Item(bytes(size), THEN)) + bytes(size) for size in (0, 1, 50, 2000, 3, 0)]
        data = b''.join(words[:4]) + b'\x01' + b''.join(words[4:])
        for block in (1, 30, 100, record.BLOCK):
            for most in range(1, 7):
                reader = RecordReader(Bytes(data), NOW, 0, block)
                passed = min(most, 4)
                self.assertEqual((reader.skim(most), reader.skimmed), (record.ENOUGH if most <= 4 else record.REMOVE, passed))
                self.assertEqual(reader.skimmed_bytes, sum([0, 1, 50, 2000][:passed]))
                self.assertEqual(reader.place(), sum(map(len, words[:passed])) + (most > 4))
                if most <= 4:
                    left = 0
                    while reader.skim(1) != record.END:
                        left += reader.skimmed
                    self.assertEqual((left, reader.skimmed, reader.place()), (6 - passed, 0, len(data)))

    def test_next_goes_on_where_skim_stopped(self):
        word = addx_header(Item(b'1', THEN)) + b'1'
        for block in (1, 30, record.BLOCK):
            reader = RecordReader(Bytes(word * 2 + b'\x01' + word), NOW, 0, block)
            self.assertEqual((reader.skim(), reader.skimmed), (record.REMOVE, 2))
            self.assertEqual((reader.next(), reader.item.data, reader.place()), (record.ADDX, b'1', 67))
