"""Frames, messages and structs out of bytes (spec thrift, D6, D55)."""

import random
import struct
import tracemalloc
import unittest

from kestrel.protocol.parser import ForeignProtocol
from kestrel.protocol.thrift import (
    BadStruct, StructWalk, ThriftParser, framed, message_head, read_message, read_numbers, read_strings)

LIMIT = 100000
DEEPEST = 64                # levels that a struct may have
LONGEST_METHOD = 8192
DEEP = 200000               # levels that end the library's C codec


def walked(data, steps=1000000):
    """-> StructWalk at its end."""
    walk = StructWalk(data, 0)
    while not walk.go_on(steps):
        pass
    return walk


def field(kind, number, value):
    return struct.pack('>Bh', kind, number) + value


def string(data):
    return struct.pack('>I', len(data)) + data


def container(kind, count, elements=b''):
    return struct.pack('>BI', kind, count) + elements


def nested(levels, kind):
    """A field whose value has so many levels of one kind in it."""
    if kind == 'struct':
        return b'\x0c\0\1' * levels + b'\0' * levels + b'\0'
    if kind == 'list':
        return field(15, 1, container(15, 1) * (levels - 1) + container(3, 1, b'x')) + b'\0'
    if kind == 'set':
        return field(14, 1, container(14, 1) * (levels - 1) + container(3, 1, b'x')) + b'\0'
    return field(13, 1, b'\x03\x0d\0\0\0\1k' * (levels - 1) + b'\x03\x03\0\0\0\1kv') + b'\0'


class ParserTest(unittest.TestCase):

    def setUp(self):
        self.parser = ThriftParser(LIMIT)

    def frames(self, *pieces):
        found = []
        for piece in pieces:
            self.parser.feed(piece)
            while self.parser.next():
                found.append(self.parser.take())
        return found

    def test_whole_split_and_several(self):
        data = b''.join(struct.pack('>I', size) + bytes([65 + size % 26]) * size for size in (1, 300, 5000, 70000))
        expected = [bytes([65 + size % 26]) * size for size in (1, 300, 5000, 70000)]
        self.assertEqual(self.frames(data), expected)
        self.assertEqual(self.frames(*[data[place:place + 1] for place in range(400)], data[400:]), expected)
        dice = random.Random(1)
        for _ in range(20):
            cuts = sorted(dice.randrange(len(data)) for _ in range(5))
            self.assertEqual(self.frames(*[data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)])]), expected)

    def test_what_a_frame_still_wants(self):
        self.assertEqual(self.frames(b'\0\0\1\0' + b'x' * 6), [])
        self.assertEqual((self.parser.wants(), self.parser.block, self.parser.size, self.parser.held), (250, 1, 256, 6))
        self.assertEqual(self.frames(b'x' * 250), [b'x' * 256])
        self.assertEqual((self.parser.wants(), self.parser.held), (0, 0))

    def test_limit(self):
        self.assertEqual(len(self.frames(struct.pack('>I', LIMIT) + b'x' * LIMIT)[0]), LIMIT)
        with self.assertRaises(ForeignProtocol):
            self.frames(struct.pack('>I', LIMIT + 1))

    def test_what_is_no_frame(self):
        for head, shown in (
                (b'GET / HTTP/1.1\r\n', 'HTTP'), (b'POST', 'HTTP'), (b'\x16\3\1\0', 'TLS'),
                (b'\x80\1\0\1\0\0\0\3get', 'thrift without frames'), (b'\x82\x21\1\3get', 'compact'),
                (b'\0\0\0\0', 'framed'), (b'\xff\xff\xff\xff', 'framed'), (b'\x80', 'framed'), (b'\xff', 'framed'),
                (b'set q 0 0 1\r\n', 'framed')):
            with self.subTest(head):
                self.parser = ThriftParser(LIMIT)
                with self.assertRaises(ForeignProtocol) as caught:
                    self.frames(head)
                self.assertIn(shown, caught.exception.protocol)

    def test_nothing_is_reserved_for_what_has_not_come(self):
        parser = ThriftParser(1 << 30)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        parser.feed(struct.pack('>I', 1 << 30) + b'x' * 1000)
        self.assertFalse(parser.next())
        self.assertLess(tracemalloc.get_traced_memory()[1], 20000)


class MessageTest(unittest.TestCase):

    def test_strict_and_lenient(self):
        for frame in (bytes.fromhex('80010001 00000003 676574 00000007 00'), bytes.fromhex('00000003 676574 01 00000007 00')):
            message = read_message(b'??' + frame, 2)
            self.assertEqual((message.name, message.kind, message.seqid), (b'get', 1, 7))
            self.assertEqual(message.end, 2 + len(frame) - 1)

    def test_negative_seqid(self):
        self.assertEqual(read_message(bytes.fromhex('80010001 00000000 ffffffff'), 0).seqid, -1)

    def test_unreadable(self):
        whole = bytes.fromhex('80010001 00000003 676574 00000007')
        for frame in (*[whole[:size] for size in range(len(whole))], bytes.fromhex('80020001 00000003 676574 00000007'),
                      bytes.fromhex('82210103 676574 00 00 00 00'), bytes.fromhex('80010001 ffffffff 676574 00000007'),
                      bytes.fromhex('80010001 7fffffff 676574 00000007'), bytes.fromhex('00000004 676574 01 00000007'),
                      struct.pack('>I', LONGEST_METHOD + 1) + b'x' * 20000, b'GET / HTTP/1.1'):
            with self.subTest(frame[:20]):
                self.assertIsNone(read_message(frame, 0))

    def test_the_longest_method(self):
        name = b'x' * LONGEST_METHOD
        self.assertEqual(read_message(string(name) + b'\1\0\0\0\0', 0).name, name)

    def test_a_reply_has_the_version_word(self):
        self.assertEqual(framed(message_head(2, b'get'), 7, b'\0'),
                         bytes.fromhex('00000010 80010002 00000003 676574 00000007 00'))
        self.assertEqual(framed(message_head(2, b'get'), -1, b'\0', 5)[:4], bytes.fromhex('00000015'))


class WalkTest(unittest.TestCase):

    def test_fields(self):
        data = (field(2, 1, b'\1') + field(3, 2, b'a') + field(4, 3, bytes(8)) + field(6, 4, bytes(2))
                + field(8, 5, bytes(4)) + field(10, 6, bytes(8)) + field(11, 7, string(b'abc'))
                + field(12, -8, field(8, 1, bytes(4)) + b'\0') + field(13, 9, b'\x0b\x08\0\0\0\1' + string(b'k') + bytes(4))
                + field(14, 10, container(10, 2, bytes(16))) + field(15, 11, container(11, 2, string(b'a') + string(b'')))
                + field(13, 12, bytes(6)) + b'\0')
        for steps in (1, 2, 3, 1000):
            walk = walked(data + b'behind', steps)
            self.assertEqual(walk.end, len(data))
            self.assertEqual({number: kind for number, (kind, _) in walk.fields.items()},
                             {1: 2, 2: 3, 3: 4, 4: 6, 5: 8, 6: 10, 7: 11, -8: 12, 9: 13, 10: 14, 11: 15, 12: 13})
            self.assertEqual(data[walk.fields[2][1]:][:1], b'a')

    def test_of_several_fields_of_an_id_the_last_counts(self):
        walk = walked(field(8, 1, b'aaaa') + field(8, 1, b'bbbb') + b'\0')
        self.assertEqual(walk.fields, {1: (8, 10)})

    def test_a_cut_struct(self):
        data = (field(11, 7, string(b'abc')) + field(12, 8, field(8, 1, bytes(4)) + b'\0')
                + field(13, 9, b'\x0b\x08\0\0\0\1' + string(b'k') + bytes(4))
                + field(15, 11, container(11, 2, string(b'a') + string(b''))) + field(14, 1, container(10, 1, bytes(8))) + b'\0')
        self.assertEqual(walked(data).end, len(data))
        for size in range(len(data)):
            with self.subTest(size), self.assertRaises(BadStruct):
                walked(data[:size])

    def test_impossible_types_and_sizes(self):
        for body in (
                field(1, 1, b''), field(5, 1, bytes(8)), field(7, 1, bytes(8)), field(9, 1, bytes(8)), field(16, 1, bytes(8)),
                field(255, 1, bytes(8)), field(11, 1, b'\xff\xff\xff\xff'), field(11, 1, b'\x7f\xff\xff\xff'),
                field(15, 1, container(8, 0x7fffffff)), field(15, 1, container(8, 0xffffffff)), field(15, 1, container(2, 1000)),
                field(15, 1, container(12, 1000)), field(15, 1, container(11, 3, bytes(11))), field(14, 1, container(1, 1, b'x')),
                field(15, 1, container(200, 1, b'x')), field(13, 1, b'\x0b\x0b\0\0\0\2' + bytes(12)),
                field(13, 1, b'\x03\x03\x7f\xff\xff\xff'), field(13, 1, b'\x03\x03\xff\xff\xff\xff'),
                field(13, 1, b'\x03\x01\0\0\0\1' + bytes(8)), field(13, 1, b'\x10\x03\0\0\0\1' + bytes(8))):
            with self.subTest(body), self.assertRaises(BadStruct):
                walked(body + b'\0')

    def test_depth(self):
        for kind in ('struct', 'list', 'set', 'map'):
            with self.subTest(kind):
                data = nested(DEEPEST, kind)
                self.assertEqual(walked(data).end, len(data))
                for levels in (DEEPEST + 1, DEEP):
                    with self.assertRaises(BadStruct) as caught:
                        walked(nested(levels, kind))
                    self.assertEqual(caught.exception.why, 'more than 64 levels')

    def test_random_bytes_end_it_or_fail(self):
        dice = random.Random(2)
        ended = 0
        for _ in range(3000):
            data = bytes(dice.choice((0, 0, 1, 2, 3, 8, 11, 12, 13, 14, 15, 255)) for _ in range(dice.randrange(40)))
            try:
                ended += walked(data, 7).end <= len(data)
            except BadStruct:
                pass
        self.assertGreater(ended, 300)


class ElementsTest(unittest.TestCase):

    def test_strings_in_slices(self):
        words = [bytes([65 + number]) * number for number in range(10)]
        data = b'?' + container(11, 10, b''.join(map(string, words)))
        strings = read_strings(data, 1)
        self.assertEqual([strings.take(3, 1000), strings.take(100, 7), strings.take(100, 1000), strings.take(1, 1)],
                         [words[:3], words[3:5], words[5:], []])

    def test_numbers_in_slices(self):
        numbers = read_numbers(container(10, 3, struct.pack('>3q', 1, -2, 2 ** 62)), 0)
        self.assertEqual([numbers.take(2), numbers.take(2), numbers.take(2)], [(1, -2), (2 ** 62,), ()])

    def test_elements_of_another_type(self):
        with self.assertRaises(BadStruct):
            read_strings(container(10, 1, bytes(4)), 0)
        with self.assertRaises(BadStruct):
            read_numbers(container(8, 1, bytes(4)), 0)
        # an empty one may be of anything
        self.assertEqual((read_strings(container(0, 0), 0).left, read_numbers(container(0, 0), 0).left), (0, 0))


if __name__ == '__main__':
    unittest.main()
