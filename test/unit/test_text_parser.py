"""Requests of the text protocol out of bytes (spec text 1, D6, D19, D49, D61)."""

import random
import tracemalloc
import unittest

from kestrel.errors import HangUp, RequestError
from kestrel.protocol.text import TextParser

CLOSES = 'closes'
TOO_MANY = b'Too many items; limit=1024'


class Reader:
    """A parser, and what came out of it: ``outcomes`` of [verb, words..., {'items': ...}] and errors."""

    def __init__(self, max_item=1000, max_request=1 << 30):
        self.parser = TextParser(max_item, max_request)
        self.outcomes = []
        self.open = True

    def take(self, data):
        """Feed some bytes as the connection does."""
        if not self.open:
            return
        parser = self.parser
        try:
            parser.feed(data)
            while True:
                try:
                    while parser.next():
                        more = [] if parser.items is None else [{'items': parser.items}]
                        self.outcomes.append([parser.verb, *parser.words[1:], *more])
                    return
                except HangUp:
                    raise
                except RequestError as error:
                    self.outcomes.append(error.line)
        except HangUp as error:
            self.outcomes.append((error.line, CLOSES))
            self.open = False


def outcomes(pieces, **limits):
    reader = Reader(**limits)
    for piece in pieces:
        reader.take(piece)
    return reader.outcomes


def items(*lines):
    return {'items': list(lines)}


# (what it shows, request, outcome)
CASES = [
    ('LF', b'get q\n', [b'get', b'q']),
    ('CR LF', b'get q\r\n', [b'get', b'q']),
    ('only one CR is removed', b'get q\r\r\n', [b'get', b'q\r']),
    ('two spaces give an empty word', b'get  q\n', [b'get', b'', b'q']),
    ('trailing spaces are dropped', b'get q  \n', [b'get', b'q']),
    ('leading space', b' get q\n', [b'', b'get', b'q']),
    ('empty line', b'\n', [b'']),
    ('line of CR', b'\r\n', [b'']),
    ('line of spaces', b'   \n', [b'']),
    ('TAB is no separator', b'get\tq\n', [b'get\tq']),
    ('each byte is one character', b'get \xe9\x00\xff\n', [b'get', b'\xe9\x00\xff']),
    ('command word without case', b'GeT Q\n', [b'get', b'Q']),
    ('lower case touches ASCII alone', b'G\xc9T\n', [b'g\xc9t']),
    ('a put', b'put q:\none\ntwo\n\n', [b'put', b'q', items(b'one', b'two')]),
    ('with CR LF', b'put q:\r\none\r\ntwo\r\n\r\n', [b'put', b'q', items(b'one', b'two')]),
    ('only one CR of an item is removed', b'put q:\na\r\r\n\r\r\n\n', [b'put', b'q', items(b'a\r', b'\r')]),
    ('a CR elsewhere stays', b'put q:\n\ra\n\n', [b'put', b'q', items(b'\ra')]),
    ('items are taken whole', b'put q:\n put x: \n:\n\n', [b'put', b'q', items(b' put x: ', b':')]),
    ('bytes stay as they are', b'put q:\n\x00\xff\x80\n\n', [b'put', b'q', items(b'\x00\xff\x80')]),
    ('no items', b'put q:\n\n', [b'put', b'q', items()]),
    ('a colon behind a space', b'put q :\na\n\n', [b'put', b'q', items(b'a')]),
    ('a colon in front of a space', b'put q: \n', [b'put', b'q:']),
    ('one colon is dropped', b'put q::\na\n\n', [b'put', b'q:', items(b'a')]),
    ('a colon of any command', b'get q 5:\nx\n\n', [b'get', b'q', b'5', items(b'x')]),
    ('a colon alone', b':\nx\n\n', [b'', items(b'x')]),
    ('a colon behind spaces', b'  :\n\n', [b'', items()]),
    ('1024 items', b'put q:\n' + b'a\n' * 1024 + b'\n', [b'put', b'q', items(*[b'a'] * 1024)]),
    ('1025 items', b'put q:\n' + b'a\n' * 1025 + b'\n', TOO_MANY),
    ('many more', b'put q:\n' + b'get q\n' * 5000 + b'\r\n', TOO_MANY),
    ('an item of the limit', b'put q:\n' + b'a' * 1000 + b'\r\n\n', [b'put', b'q', items(b'a' * 1000)]),
    ('one that is longer', b'put q:\nx\n' + b'a' * 1001 + b'\ny\n\n', b'Item too large; limit=1000'),
    ('one that is longer, with a CR', b'put q:\n' + b'a' * 1001 + b'\r\n\r\n', b'Item too large; limit=1000'),
    ('one that is much longer', b'put q:\n' + b'a' * 9001 + b'\nx\n\n', b'Item too large; limit=1000'),
    ('what ends a large one is a line that is empty', b'put q:\n' + b'a' * 9001 + b'\n\r\r\nab\n\r\n',
     b'Item too large; limit=1000'),
    ('a line of 8192 bytes', b'a' * 8191 + b'\n', [b'a' * 8191]),
    ('a longer one', b'a' * 8192 + b'\n', (b'Line too long.', CLOSES)),
    ('one without an end', b'a' * 8192, (b'Line too long.', CLOSES)),
    ('HTTP', b'GET / HTTP/1.1\r\nget q\n', (b'Unknown command: get', CLOSES)),
    ('HTTP in a put', b'put HTTP/1.:\na\n\n', (b'Unknown command: put', CLOSES)),
    ('HTTP alone', b'HTTP/1.1 \n', (b'Unknown command: http/1.1', CLOSES)),
    ('POST', b'pOsT\n', (b'Unknown command: post', CLOSES)),
    ('Host', b'Host: x\n', (b'Unknown command: host:', CLOSES)),
    ('Host alone', b'HOST:\n', (b'Unknown command: host:', CLOSES)),
    ('what only looks like it', b'host x\n', [b'host', b'x']),
    ('an item that looks like it', b'put q:\nGET / HTTP/1.1\n\n', [b'put', b'q', items(b'GET / HTTP/1.1')]),
]


class TextParserTest(unittest.TestCase):

    def test_cases(self):
        for what, request, outcome in CASES:
            closes = type(outcome) is tuple
            follow = [] if closes else [[b'version']]
            with self.subTest(what):
                self.assertEqual(outcomes([request]), [outcome])
                self.assertEqual(outcomes([request + b'version\n']), [outcome] + follow)
                self.assertEqual(outcomes([b'version\n' + request]), [[b'version'], outcome])
                if len(request) < 3000:
                    self.assertEqual(outcomes([request[i:i + 1] for i in range(len(request))] + [b'version\n']),
                                     [outcome] + follow)

    def test_any_cut_gives_the_same(self):
        dice = random.Random(2222)
        good = [(request, outcome) for _, request, outcome in CASES if type(outcome) is not tuple]
        for _ in range(200):
            chosen = dice.sample(good, 4)
            stream = b''.join([request for request, _ in chosen])
            cuts = sorted(dice.randrange(len(stream) + 1) for _ in range(dice.randrange(8)))
            pieces = [stream[a:b] for a, b in zip([0] + cuts, cuts + [len(stream)]) if a < b]
            self.assertEqual(outcomes(pieces), [outcome for _, outcome in chosen], pieces)

    def test_an_unfinished_request_is_none(self):
        for request in (b'get q', b'put q:\n', b'put q:\na', b'put q:\na\n', b'put q:\na\n\r'):
            with self.subTest(request):
                self.assertEqual(outcomes([request]), [])

    def test_items_together(self):
        line = b'a' * 500 + b'\n'
        self.assertEqual(outcomes([b'put q:\n' + line * 4 + b'\n'], max_request=2000),
                         [[b'put', b'q', items(*[b'a' * 500] * 4)]])
        for pieces in ([b'put q:\n' + line * 4 + b'b\n\n'], [b'put q:\n', line * 4, b'b', b'b', b'\n', b'\n']):
            self.assertEqual(outcomes(pieces, max_request=2000), [b'Request too large; limit=2000'])

    def test_what_the_budget_is_told(self):
        reader = Reader()
        parser = reader.parser
        self.assertEqual((parser.wants(), parser.block), (0, 0))
        reader.take(b'put q:\nab\ncd')
        self.assertEqual((parser.wants() > 0, parser.held, parser.block), (True, 4, 1))
        reader.take(b'e\r')
        self.assertEqual(parser.held, 6)
        reader.take(b'\nf\n')
        self.assertEqual((parser.held, parser.size), (6, 6))        # ab, cde, f
        reader.take(b'\n')
        self.assertEqual((parser.wants(), parser.held, parser.block), (0, 0, 1))
        reader.take(b'put q:\na\n\n')
        self.assertEqual(parser.block, 1)       # it came whole
        self.assertEqual(len(reader.outcomes), 2)

    def test_what_is_thrown_away_is_not_held(self):
        reader = Reader(max_item=100)
        reader.take(b'put q:\n' + b'a' * 90)
        self.assertEqual(reader.parser.held, 90)
        for piece in (b'a' * 90, b'\nb', b'c\nd\n'):
            reader.take(piece)
            self.assertEqual((reader.parser.held, reader.parser.size), (0, 0))
        reader.take(b'\n')
        self.assertEqual(reader.outcomes, [b'Item too large; limit=100'])

    def test_an_endless_line_takes_no_memory(self):
        for begin, limit in ((b'put q:\n', 1000), (b'put q:\nx\n', 100000), (b'get q:\n', 1000)):
            reader = Reader(max_item=limit)
            reader.take(begin)
            tracemalloc.start()
            for _ in range(300):
                reader.take(b'a' * 65536)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            self.assertLess(peak, 500000)
            reader.take(b'\n\nversion\n')
            self.assertEqual(reader.outcomes, [b'Item too large; limit=%d' % limit, [b'version']])

    def test_small_pieces_take_little_more_than_their_bytes(self):
        reader = Reader(max_item=1 << 20)
        reader.take(b'put q:\n')
        tracemalloc.start()
        for _ in range(20000):
            reader.take(b'abcde')
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        self.assertLess(size, 150000)
        reader.take(b'\n\n')
        self.assertEqual(reader.outcomes, [[b'put', b'q', items(b'abcde' * 20000)]])

    def test_an_idle_connection_keeps_nothing(self):
        reader = Reader()
        reader.take(b'put q:\na\n\n')
        self.assertIsNone(reader.parser.items)
        self.assertIsNone(reader.parser.words)


if __name__ == '__main__':
    unittest.main()
