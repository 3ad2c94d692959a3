"""Memcache requests out of bytes (spec memcache 1, D1, D3, D5, D6, D33, D61)."""

import tracemalloc
import unittest

from kestrel.errors import HangUp, RequestError
from kestrel.protocol.memcache import ForeignProtocol, MemcacheParser

UNKNOWN = b'CLIENT_ERROR unknown command'
BAD_LINE = b'CLIENT_ERROR bad command line format'
TOO_LONG = b'CLIENT_ERROR line too long'
BAD_CHUNK = b'CLIENT_ERROR bad data chunk'
TOO_LARGE = b'SERVER_ERROR object too large for queue'

LARGE = 65536               # above it a queue's limit is asked before the block is read
CLOSES = 'closes'


class Reader:
    """A parser, and what came out of it: ``outcomes`` of words, data, errors."""

    def __init__(self, max_block=1000, refuses=lambda words, size: False):
        self.parser = MemcacheParser(max_block, refuses)
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
                        self._note()
                    return
                except HangUp:
                    raise
                except RequestError as error:
                    self.outcomes.append(error.line)
        except HangUp as error:
            self.outcomes.append((error.line, CLOSES))
            self.open = False

    def _note(self):
        parser = self.parser
        outcome = [parser.verb, *parser.words[1:]]
        if parser.data is not None:
            outcome.append({'data': parser.data})
        if parser.noreply:
            outcome.append('noreply')
        self.outcomes.append(outcome)


def outcomes(pieces, **limits):
    reader = Reader(**limits)
    for piece in pieces:
        reader.take(piece)
    return reader.outcomes


def data(block):
    return {'data': block}


# (what it shows, request, outcome)
CASES = [
    # line end
    ('CR LF', b'get q\r\n', [b'get', b'q']),
    ('LF alone is a full line end', b'get q\n', [b'get', b'q']),
    ('only one CR is removed', b'get q\r\r\n', [b'get', b'q\r']),
    ('CR elsewhere stays', b'get \rq\r\n', [b'get', b'\rq']),
    ('line of CR LF', b'\r\n', [b'']),
    ('line of LF', b'\n', [b'']),
    # words
    ('two spaces give an empty word', b'get  q\r\n', [b'get', b'', b'q']),
    ('trailing spaces are dropped', b'get q/open/t=2147483647  \r\n', [b'get', b'q/open/t=2147483647']),
    ('TAB is no separator', b'get\tq\r\n', [b'get\tq']),
    ('a TAB at the end stays', b'get q\t\r\n', [b'get', b'q\t']),
    ('a CR after a trailing space', b'get q \r\n', [b'get', b'q']),
    ('leading space', b' get q\r\n', [b'', b'get', b'q']),
    ('line of spaces', b'   \r\n', [b'']),
    ('one space', b' \n', [b'']),
    ('each byte is one character', b'get \xe9\x00\xff\x80\r\n', [b'get', b'\xe9\x00\xff\x80']),
    ('NUL is no end', b'get a\0b c\r\n', [b'get', b'a\0b', b'c']),
    ('command word without case', b'GeT Q\r\n', [b'get', b'Q']),
    ('a command that is none', b'Touch q 1\r\n', [b'touch', b'q', b'1']),
    ('lower case touches ASCII alone', b'G\xc9T q\r\n', [b'g\xc9t', b'q']),
    ('no argument', b'get\r\n', [b'get']),
    ('noreply of other commands is only a word', b'delete q 0 noreply\r\n',
     [b'delete', b'q', b'0', b'noreply']),
    ('data block of no other command', b'incr q 0 0 5\r\n', [b'incr', b'q', b'0', b'0', b'5']),
    # storage lines
    ('set', b'set q 0 0 5\r\nhello\r\n', [b'set', b'q', b'0', b'0', b'5', data(b'hello')]),
    ('SET', b'SET q 0 0 5\r\nhello\r\n', [b'set', b'q', b'0', b'0', b'5', data(b'hello')]),
    ('set with LF alone', b'set q 0 0 5\nhello\r\n', [b'set', b'q', b'0', b'0', b'5', data(b'hello')]),
    ('0 bytes', b'set q 0 0 0\r\n\r\n', [b'set', b'q', b'0', b'0', b'0', data(b'')]),
    ('line ends inside the block', b'set q 0 0 7\r\n\r\nget\r\n\r\n',
     [b'set', b'q', b'0', b'0', b'7', data(b'\r\nget\r\n')]),
    ('CR at the end of the block', b'set q 0 0 1\r\n\r\r\n', [b'set', b'q', b'0', b'0', b'1', data(b'\r')]),
    ('binary block', b'set q 0 0 4\r\n\x80\x16\x00\xff\r\n',
     [b'set', b'q', b'0', b'0', b'4', data(b'\x80\x16\x00\xff')]),
    ('leading zeros', b'set q 0 0 0000000000005\r\nhello\r\n',
     [b'set', b'q', b'0', b'0', b'0000000000005', data(b'hello')]),
    ('more words', b'set q 0 0 1 x y\r\na\r\n', [b'set', b'q', b'0', b'0', b'1', b'x', b'y', data(b'a')]),
    ('words shift', b'set  q 0 0 5\r\n\r\n', [b'set', b'', b'q', b'0', b'0', b'5', data(b'')]),
    ('words shift and the block does not', b'set  q 0 0 5\r\nhello\r\n', (BAD_CHUNK, CLOSES)),
    ('add', b'add q 0 0 1\r\na\r\n', [b'add', b'q', b'0', b'0', b'1', data(b'a')]),
    ('Replace', b'Replace q 0 0 1\r\na\r\n', [b'replace', b'q', b'0', b'0', b'1', data(b'a')]),
    ('append', b'append q 0 0 1\r\na\r\n', [b'append', b'q', b'0', b'0', b'1', data(b'a')]),
    ('prepend', b'prepend q 0 0 1\r\na\r\n', [b'prepend', b'q', b'0', b'0', b'1', data(b'a')]),
    ('cas has one word more', b'cas q 0 0 1 77\r\na\r\n',
     [b'cas', b'q', b'0', b'0', b'1', b'77', data(b'a')]),
    # D1: storage lines that are none
    ('only the command', b'set\r\n', (BAD_LINE, CLOSES)),
    ('four words', b'set q 0 0\r\n', (BAD_LINE, CLOSES)),
    ('four words and spaces', b'set q 0 0  \r\n', (BAD_LINE, CLOSES)),
    ('four words of add', b'add q 0 0\r\n', (BAD_LINE, CLOSES)),
    ('bytes not a number', b'set q 0 0 x\r\n', (BAD_LINE, CLOSES)),
    ('bytes empty', b'set q 0 0  x\r\n', (BAD_LINE, CLOSES)),
    ('bytes with an underscore', b'set q 0 0 1_0\r\n', (BAD_LINE, CLOSES)),
    ('bytes negative', b'set q 0 0 -1\r\n', (BAD_LINE, CLOSES)),
    ('bytes beyond i32', b'set q 0 0 2147483648\r\n', (BAD_LINE, CLOSES)),
    ('bytes of 4000 digits', b'set q 0 0 ' + b'9' * 4000 + b'\r\n', (BAD_LINE, CLOSES)),
    ('noreply in the place of bytes', b'set q 0 0 noreply\r\n', (BAD_LINE, CLOSES)),
    # D5
    ('LF instead of CR LF', b'set q 0 0 5\r\nhello\n\n', (BAD_CHUNK, CLOSES)),
    ('CR CR', b'set q 0 0 5\r\nhello\r\r', (BAD_CHUNK, CLOSES)),
    ('count too small', b'set q 0 0 4\r\nhello\r\n', (BAD_CHUNK, CLOSES)),
    ('count too large', b'set q 0 0 6\r\nhello\r\nget q\r\n', (BAD_CHUNK, CLOSES)),
    ('bad chunk of add', b'add q 0 0 4\r\nhello\r\n', (BAD_CHUNK, CLOSES)),
    ('bad chunk of 0 bytes', b'set q 0 0 0\r\nab', (BAD_CHUNK, CLOSES)),
    # D3
    ('noreply', b'set q 0 0 1 noreply\r\na\r\n',
     [b'set', b'q', b'0', b'0', b'1', b'noreply', data(b'a'), 'noreply']),
    ('noreply of SET', b'SET q 0 0 1 noreply\r\na\r\n',
     [b'set', b'q', b'0', b'0', b'1', b'noreply', data(b'a'), 'noreply']),
    ('noreply and a space', b'set q 0 0 1 noreply \r\na\r\n',
     [b'set', b'q', b'0', b'0', b'1', b'noreply', data(b'a'), 'noreply']),
    ('noreply further on', b'set q 0 0 1 x noreply\r\na\r\n',
     [b'set', b'q', b'0', b'0', b'1', b'x', b'noreply', data(b'a'), 'noreply']),
    ('noreply not last', b'set q 0 0 1 noreply x\r\na\r\n',
     [b'set', b'q', b'0', b'0', b'1', b'noreply', b'x', data(b'a')]),
    ('noreply has a case', b'set q 0 0 1 NOREPLY\r\na\r\n',
     [b'set', b'q', b'0', b'0', b'1', b'NOREPLY', data(b'a')]),
    ('a queue of that name', b'set noreply 0 0 1\r\na\r\n',
     [b'set', b'noreply', b'0', b'0', b'1', data(b'a')]),
    ('noreply of add has no meaning', b'add q 0 0 1 noreply\r\na\r\n',
     [b'add', b'q', b'0', b'0', b'1', b'noreply', data(b'a')]),
    ('noreply of cas has no meaning', b'cas q 0 0 1 7 noreply\r\na\r\n',
     [b'cas', b'q', b'0', b'0', b'1', b'7', b'noreply', data(b'a')]),
    # D6, max_block is 1000 here
    ('as large as allowed', b'set q 0 0 1000\r\n' + b'x' * 1000 + b'\r\n',
     [b'set', b'q', b'0', b'0', b'1000', data(b'x' * 1000)]),
    ('larger', b'set q 0 0 1001\r\n' + b'x' * 1001 + b'\r\n', TOO_LARGE),
    ('larger add', b'add q 0 0 1001\r\n' + b'x' * 1001 + b'\r\n', TOO_LARGE),
    ('larger, of line ends', b'set q 0 0 1002\r\n' + b'\r\n' * 501 + b'\r\n', TOO_LARGE),
    ('larger and without its CR LF', b'set q 0 0 1001\r\n' + b'x' * 1003, (BAD_CHUNK, CLOSES)),
    ('line of 8192 bytes with its LF', b'get ' + b'q' * 8187 + b'\n', [b'get', b'q' * 8187]),
    ('line of 8192 bytes with CR LF', b'get ' + b'q' * 8186 + b'\r\n', [b'get', b'q' * 8186]),
    ('line of 8193 bytes', b'get ' + b'q' * 8187 + b'\r\n', (TOO_LONG, CLOSES)),
    ('line without end', b'q' * 8192, (TOO_LONG, CLOSES)),
    ('long storage line', b'set q 0 0 1' + b' x' * 4096 + b'\r\n', (TOO_LONG, CLOSES)),
    # D61
    ('HTTP request', b'GET / HTTP/1.1\r\n', (UNKNOWN, CLOSES)),
    ('old HTTP', b'GET / HTTP/1.0\r\n', (UNKNOWN, CLOSES)),
    ('HTTP and a space', b'PUT /x HTTP/1.1 \r\n', (UNKNOWN, CLOSES)),
    ('a storage line too', b'set q 0 0 5 HTTP/1.1\r\n', (UNKNOWN, CLOSES)),
    ('and instead of its bytes', b'set q 0 0 HTTP/1.1\r\n', (UNKNOWN, CLOSES)),
    ('word 0 alone', b'HTTP/1.1\r\n', (UNKNOWN, CLOSES)),
    ('not the last word', b'get HTTP/1.1 q\r\n', [b'get', b'HTTP/1.1', b'q']),
    ('in the middle of the word', b'get xHTTP/1.1\r\n', [b'get', b'xHTTP/1.1']),
    ('another version', b'get HTTP/2\r\n', [b'get', b'HTTP/2']),
]

FOLLOWING = b'set later 0 0 2\r\nok\r\nVERSION\r\n'
FOLLOWED = [[b'set', b'later', b'0', b'0', b'2', data(b'ok')], [b'version']]


def single_bytes(request):
    return [request[at:at + 1] for at in range(len(request))]


class CasesTest(unittest.TestCase):
    """Every case arrives whole, byte by byte, in two pieces, behind another and with the next behind it."""

    def expect(self, pieces, expected):
        self.assertEqual(outcomes(pieces), expected)

    def each(self, check):
        for title, request, outcome in CASES:
            with self.subTest(title):
                check(request, outcome, [] if isinstance(outcome, tuple) else FOLLOWED)

    def test_whole(self):
        self.each(lambda request, outcome, _: self.expect([request], [outcome]))

    def test_byte_by_byte(self):
        self.each(lambda request, outcome, _: self.expect(single_bytes(request), [outcome]))

    def test_with_the_next_behind_it(self):
        self.each(lambda request, outcome, following:
                  self.expect([request + FOLLOWING], [outcome, *following]))

    def test_byte_by_byte_with_the_next(self):
        self.each(lambda request, outcome, following:
                  self.expect(single_bytes(request + FOLLOWING), [outcome, *following]))

    def test_behind_another(self):
        self.each(lambda request, outcome, following:
                  self.expect([FOLLOWING + request + FOLLOWING], [*FOLLOWED, outcome, *following]))

    def test_in_two_pieces(self):
        def check(request, outcome, following):
            whole = request + FOLLOWING
            for cut in {*range(1, min(len(whole), 60)), *range(max(1, len(whole) - 60), len(whole))}:
                self.expect([whole[:cut], whole[cut:]], [outcome, *following])
        self.each(check)

    def test_all_of_those_that_stay_open_in_one_piece(self):
        staying = [(request, outcome) for _, request, outcome in CASES if not isinstance(outcome, tuple)]
        self.expect([b''.join([request for request, _ in staying])], [outcome for _, outcome in staying])


class UnfinishedTest(unittest.TestCase):

    def test_nothing_comes_out(self):
        for request in (b'g', b'get q', b'get q\r', b'q' * 8191, b'set q 0 0 5', b'set q 0 0 5\r\n',
                        b'set q 0 0 5\r\nhello', b'set q 0 0 5\r\nhello\r', b'set q 0 0 0\r\n',
                        b'set q 0 0 2147483647\r\nx'):
            with self.subTest(request[:30]):
                self.assertEqual(outcomes([request]), [])
                self.assertEqual(outcomes([request], max_block=2 ** 31), [])

    def test_a_wrong_byte_is_told_at_once(self):
        self.assertEqual(outcomes([b'set q 0 0 5\r\nhello!']), [(BAD_CHUNK, CLOSES)])
        self.assertEqual(outcomes([b'set q 0 0 5\r\nhello\r!']), [(BAD_CHUNK, CLOSES)])

    def test_too_long_is_told_without_a_line_end(self):
        self.assertEqual(outcomes([b'x' * 5000, b'x' * 3191]), [])
        self.assertEqual(outcomes([b'x' * 5000, b'x' * 3192]), [(TOO_LONG, CLOSES)])

    def test_limit_counts_the_line_and_not_what_is_before_it(self):
        line = b'get ' + b'q' * 8000 + b'\r\n'
        self.assertEqual(len(outcomes([line * 3 + line[:-1]])), 3)

    def test_wants(self):
        reader = Reader(max_block=100000)
        self.assertEqual(reader.parser.wants(), 0)
        reader.take(b'set q 0 0 50')
        self.assertEqual(reader.parser.wants(), 0)
        reader.take(b'000\r\nabc')
        self.assertEqual((reader.parser.wants(), reader.parser.held), (49999, 3))
        reader.take(b'd' * 49997)
        self.assertEqual((reader.parser.wants(), reader.parser.held), (2, 50000))
        reader.take(b'\r')
        self.assertEqual(reader.parser.wants(), 1)
        reader.take(b'\nget')
        self.assertEqual((reader.parser.wants(), reader.parser.held), (0, 0))


class StateTest(unittest.TestCase):
    """Nothing of a request is left for the next."""

    def test_noreply(self):
        found = outcomes([b'set q 0 0 1 noreply\r\na\r\nset q 0 0 1\r\nb\r\nget q\r\n'])
        self.assertEqual([outcome[-1] for outcome in found], ['noreply', data(b'b'), b'q'])

    def test_noreply_before_a_line_that_is_too_long(self):
        # D3 silences the request that carries the word; this is another one
        reader = Reader()
        reader.take(b'set q 0 0 1 noreply\r\na\r\n' + b'x' * 9000)
        self.assertEqual(reader.outcomes[1:], [(TOO_LONG, CLOSES)])
        self.assertFalse(reader.parser.noreply)

    def test_noreply_of_a_bad_request(self):
        for request in (b'set q 0 0 x noreply\r\n', b'set q 0 0 5 noreply\r\nhello!'):
            reader = Reader()
            reader.take(request)
            self.assertFalse(reader.open)
            self.assertTrue(reader.parser.noreply)

    def test_data(self):
        reader = Reader()
        reader.take(b'set q 0 0 1\r\na\r\nget q\r\n')
        self.assertIsNone(reader.parser.data)

    def test_refused(self):
        reader = Reader(max_block=10 ** 6, refuses=lambda name, size: True)
        reader.take(b'set q 0 0 65537\r\n' + b'x' * 65000)
        reader.take(b'x' * 537 + b'\r\n')
        self.assertTrue(reader.parser.refused)
        self.assertIsNone(reader.parser.data)
        reader.take(b'set q 0 0 1\r\na\r\n')
        self.assertFalse(reader.parser.refused)

    def test_no_item_is_kept_alive_once_it_is_worked_off(self):
        reader = Reader()
        reader.take(b'set q 0 0 1\r\na\r\n')
        self.assertEqual((reader.parser.data, reader.parser.words), (None, None))

    def test_too_large_and_on(self):
        big = b'set q 0 0 1001\r\n' + b'x' * 1001 + b'\r\n'
        self.assertEqual(outcomes([big + big + b'get q\r\n']), [TOO_LARGE, TOO_LARGE, [b'get', b'q']])


class LimitsTest(unittest.TestCase):
    """D6: blocks that nobody will take."""

    def refuse(self, name, size):
        self.asked.append((name, size))
        return True

    def setUp(self):
        self.asked = []

    def send(self, reader, size, end=b'\r\n', verb=b'set'):
        reader.take(b'%b q 0 0 %d\r\n' % (verb, size))
        piece = b'x' * 65536
        left = size
        while left:
            reader.take(piece[:left])
            left -= min(left, len(piece))
        reader.take(end)

    def test_large_block_that_the_queue_refuses(self):
        reader = Reader(max_block=10 ** 7, refuses=self.refuse)
        self.send(reader, LARGE + 1)
        self.assertEqual(self.asked, [(b'q', 65537)])
        self.assertEqual(reader.outcomes, [[b'set', b'q', b'0', b'0', b'65537']])

    def test_its_end_is_checked(self):
        reader = Reader(max_block=10 ** 7, refuses=self.refuse)
        self.send(reader, LARGE + 1, b'\n\n')
        self.assertEqual(reader.outcomes, [(BAD_CHUNK, CLOSES)])

    def test_smaller_ones_are_collected_without_asking(self):
        reader = Reader(max_block=10 ** 7, refuses=self.refuse)
        self.send(reader, LARGE)
        self.assertEqual(self.asked, [])
        self.assertEqual(reader.outcomes, [[b'set', b'q', b'0', b'0', b'65536', data(b'x' * LARGE)]])

    def test_for_other_storage_commands_max_request_size_alone_counts(self):
        reader = Reader(max_block=10 ** 7, refuses=self.refuse)
        self.send(reader, LARGE + 1, verb=b'add')
        self.assertEqual(self.asked, [])
        self.assertEqual(len(reader.outcomes), 1)

    def test_both_limits(self):
        reader = Reader(max_block=70000, refuses=self.refuse)
        self.send(reader, 70001)
        self.assertEqual(reader.outcomes, [TOO_LARGE])

    def test_large_block_that_is_taken(self):
        reader = Reader(max_block=10 ** 7)
        self.send(reader, 300000)
        self.assertEqual(reader.outcomes[0][-1], data(b'x' * 300000))

    def peak(self, size, **limits):
        """Memory that reading a block needs at most beyond what one piece takes."""
        reader = Reader(**limits)
        tracemalloc.start()
        try:
            self.send(reader, size)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def test_what_is_thrown_away_is_not_kept(self):
        size = 2 << 20
        self.assertGreater(self.peak(size, max_block=4 << 20), size)
        self.assertLess(self.peak(size, max_block=1000), 400000)
        self.assertLess(self.peak(size, max_block=4 << 20, refuses=self.refuse), 400000)

    def test_what_is_thrown_away_is_not_counted_as_held(self):
        reader = Reader(max_block=1000)
        reader.take(b'set q 0 0 1000000\r\n')
        reader.take(b'x' * 500000)
        self.assertEqual((reader.parser.held, reader.parser.wants()), (0, 500002))

    def test_an_announced_block_costs_nothing_before_it_comes(self):
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        reader = Reader(max_block=2 ** 31)
        reader.take(b'set q 0 0 2147483647\r\nabc')
        self.assertLess(tracemalloc.get_traced_memory()[1], 100000)

    def test_nothing_of_a_receive_is_kept_when_all_of_it_is_done(self):
        reader = Reader()
        reader.take(b'get q\r\n')
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before = tracemalloc.get_traced_memory()[0]
        reader.take(b'get q\r\n' * 9000)
        reader.outcomes.clear()
        self.assertLess(tracemalloc.get_traced_memory()[0] - before, 10000)


class ForeignTest(unittest.TestCase):
    """D61: other protocols are known by the first byte of the connection, and only by that."""

    def test_first_byte(self):
        for first in (b'\x80', b'\x16'):
            for more in (b'', b'\x01\x00', b'get q\r\n'):
                with self.subTest(first + more):
                    parser = MemcacheParser(1000, None)
                    with self.assertRaises(ForeignProtocol) as raised:
                        parser.feed(first + more)
                    self.assertEqual(raised.exception.line, b'')
                    self.assertTrue(raised.exception.protocol)

    def test_the_two_are_told_apart(self):
        said = set()
        for first in (b'\x80', b'\x16'):
            try:
                MemcacheParser(1000, None).feed(first)
            except ForeignProtocol as error:
                said.add(error.protocol)
        self.assertEqual(len(said), 2)

    def test_later_bytes_are_ordinary(self):
        self.assertEqual(outcomes([b'get q\r\n', b'\x80\r\n', b'\x16\r\n']),
                         [[b'get', b'q'], [b'\x80'], [b'\x16']])
        self.assertEqual(outcomes([b'g\x80\r\n']), [[b'g\x80']])
