"""The load programs without a server: command lines, what is put, replies in pieces, figures (spec tools 5, D59)."""

import io
import unittest

from kestrel.load import options
from kestrel.load.figures import distribution, usec_each
from kestrel.load.flood import Flood
from kestrel.load.items import Items, Ledger
from kestrel.load.leaky_reader import LeakyReader
from kestrel.load.many_clients import ManyClients
from kestrel.load.memcache import Memcache
from kestrel.load.packing import Packing
from kestrel.load.put_many import PutMany
from kestrel.load.thrift import Thrift
from kestrel.load.trouble import Trouble
from kestrel.tools.console import Console
from support.thrift_calls import call, framed, header, message

PROGRAMS = (PutMany, ManyClients, Flood, Packing, LeakyReader)
COMMON = {'host': 'localhost', 'flush': True, 'servers': [('localhost', 22133)]}


def parsed(program, *words):
    """-> the options, after all checks."""
    made = program(Console(io.BytesIO(), io.StringIO()))
    made._parser = made.parser()
    made.options = made._parser.parse(list(words))
    made.check()
    return made


class CommandLineTest(unittest.TestCase):

    def run_program(self, program, *words):
        """-> exit code, standard output, standard error"""
        out, err = io.BytesIO(), io.StringIO()
        code = program(Console(out, err)).run(list(words))
        return code, out.getvalue().decode(), err.getvalue()

    def test_defaults(self):
        """The table of spec tools 5."""
        for program, words, expected in (
                (PutMany, (), dict(port=22133, items=10000, queue='spam', clients=100, bytes=1024, burst=1, queues=1,
                                   get=False, thrift=False)),
                (PutMany, ('--thrift',), dict(port=2229, thrift=True, servers=[('localhost', 2229)])),
                (ManyClients, (), dict(port=22133, items=100, queue='spam', clients=100, msec=100, kill=0,
                                       reliable=False, monitor=False)),
                (Flood, (), dict(port=22133, items=10000, queue='spam', kilobytes=1, burst=1, prefill=0, producers=1,
                                 consumers=1, blocking=False, monitor=False, thrift=False)),
                (Packing, (), dict(port=22133, items=25000, queue='spam', cycles=100, kilobytes=1, seconds=1,
                                   monitor=False, thrift=False)),
                (LeakyReader, (), dict(port=2229, servers=[('localhost', 2229)], items=1000, queue='spam-thrift', consumers=1, drop=0.01,
                                       verbose=False, thrift=True))):
            with self.subTest(program.name, words=words):
                found = vars(parsed(program, *words).options)
                wanted = {**COMMON, **expected}
                self.assertEqual({key: found[key] for key in wanted}, wanted)

    def test_every_option(self):
        for program, words, expected in (
                (PutMany, '-h x -p 1 -q y -F -n 20 -c 2 -b 3 -r 4 -Q 5 -g',
                 dict(host='x', port=1, queue='y', flush=False, items=20, clients=2, bytes=3, burst=4, queues=5, get=True)),
                (ManyClients, '-n 1 -c 2 -s 0 -k 99 -x -M',
                 dict(items=1, clients=2, msec=0, kill=99, reliable=True, monitor=True)),
                (Flood, '--thrift -n 12 -k 2 -r 3 -P 4 -R 5 -C 2 -B -M -p 7',
                 dict(thrift=True, items=12, kilobytes=2, burst=3, prefill=4, producers=5, consumers=2, blocking=True,
                      monitor=True, port=7)),
                (Packing, '-n 1 -c 2 -k 3 -t 0 -M', dict(items=1, cycles=2, kilobytes=3, seconds=0, monitor=True)),
                (LeakyReader, '-n 1 -t 2 -d 0 -v', dict(items=1, consumers=2, drop=0.0, verbose=True))):
            with self.subTest(program.name):
                found = vars(parsed(program, *words.split()).options)
                self.assertEqual({key: found[key] for key in expected}, expected)

    def test_several_servers(self):
        """With commas, with an -h for each; a port of its own goes before -p."""
        for words, servers in (('-h a,b:5 -h [::1]:6 -p 7', [('a', 7), ('b', 5), ('::1', 6)]),
                               ('-h a:1,a:2', [('a', 1), ('a', 2)]), ('-h ::1', [('::1', 22133)])):
            with self.subTest(words):
                self.assertEqual(parsed(Flood, *words.split()).options.servers, servers)
        self.assertEqual(parsed(Flood, '-h', 'a,b:5').options.host, 'a, b:5')

    def test_help(self):
        for program in PROGRAMS:
            with self.subTest(program.name):
                code, out, err = self.run_program(program, '-n', 'x', '--help')
                self.assertEqual((code, err), (0, ''))
                self.assertTrue(out.startswith('usage: %s [options]\n' % program.name), out)
                for option in ('--help', '-h HOST', '-p PORT', '-q NAME', '-F', '-n ITEMS'):
                    self.assertIn('  ' + option, out)

    def test_unknown_option(self):
        for program in PROGRAMS:
            for word in ('-Z', '--thrif', '--host', 'word'):
                with self.subTest(program.name, word=word):
                    code, out, err = self.run_program(program, word)
                    self.assertEqual((code, out), (1, ''))
                    self.assertTrue(err.startswith('usage: %s [options]\n' % program.name), err)
                    self.assertRegex(err, r'\n%s: unrecognized arguments: %s\n$' % (program.name, word))

    def test_what_makes_no_sense_is_refused_with_usage(self):
        for program, words, reason in (
                (PutMany, '-n 0', '0 is out of range'), (PutMany, '-n -5', 'no whole number'),
                (PutMany, '-n', 'expected one argument'), (PutMany, '-n 1e3', '1e3 is no whole number'),
                (PutMany, '-n ' + '9' * 30, 'is out of range'), (PutMany, '-c 0', 'out of range'),
                (PutMany, '-r 0', 'out of range'), (PutMany, '-Q 0', 'out of range'), (PutMany, '-b 1k', 'no whole number'),
                (PutMany, '-p 0', 'out of range'), (PutMany, '-p 65536', 'from 1 to 65535'),
                (PutMany, '-n 99 -c 100', 'no item for each of 100 clients'),
                (PutMany, '-h a,', "-h: HOST or [ADDRESS], with a port behind it, not ''"),
                (PutMany, '-h a:0', 'not'), (PutMany, '-h a:1:2', 'not'), (PutMany, '-h a:65536', 'not'),
                (PutMany, '-h a,b -h a:22133', 'the same server twice'),
                (Flood, '--thrift -M -h a:1,a:2', '-M asks port 22133 of each host'),
                (PutMany, '-q a.b', 'no name of a queue'), (PutMany, '-q a/t=5', 'no name of a queue'),
                (ManyClients, '-k 100', 'from 0 to 99'), (ManyClients, '-s x', 'no whole number'),
                (ManyClients, '--thrift', 'unrecognized arguments'), (ManyClients, '-c 0', 'out of range'),
                (Flood, '-k 0', 'out of range'), (Flood, '-R 0', 'out of range'), (Flood, '-C 0', 'out of range'),
                (Flood, '-n 5 -C 6', 'more consumers than items'),
                (Flood, '-n 10 -C 5 -r 4', '5 consumers would read 4 items each, 20 in all, and only 12 are put'),
                (Packing, '-c 0', 'out of range'), (Packing, '-t 0.5', 'no whole number'), (Packing, '-k 0', 'out of range'),
                (LeakyReader, '-d 1', 'less than 1'), (LeakyReader, '-d -0.1', 'less than 1'),
                (LeakyReader, '-d nan', 'less than 1'), (LeakyReader, '-d x', 'less than 1'),
                (LeakyReader, '-t 0', 'out of range')):
            with self.subTest(program.name, words=words):
                code, out, err = self.run_program(program, *words.split())
                self.assertEqual((code, out), (1, ''))
                self.assertTrue(err.startswith('usage: '), err)
                self.assertIn(reason, err.splitlines()[-1])

    def test_names_of_queues(self):
        for name in ('', 'a b', 'a\tb', 'a\r', 'a~', 'a/', 'a.'):
            with self.subTest(name), self.assertRaises(options.argparse.ArgumentTypeError):
                options.queue_name(name)
        self.assertEqual(options.queue_name('a+b%20\u00e9'), 'a+b%20\u00e9')

    def test_shares_of_flood_are_rounded(self):
        """Producer: items/producers rounded up, then up to a multiple of -r; consumer: down, then up to one."""
        for words, write, read in (('-n 10000', 10000, 10000), ('-n 10 -R 3', 4, 10), ('-n 10 -R 3 -r 3', 6, 12),
                                   ('-n 10 -C 3', 10, 3), ('-n 11 -R 2 -C 2 -r 4', 8, 8), ('-n 9 -C 2 -r 4', 12, 4),
                                   ('-n 10 -C 5 -r 4 -P 8', 12, 4)):
            with self.subTest(words):
                made = parsed(Flood, *words.split())
                self.assertEqual((made._write, made._read), (write, read))


class FiguresTest(unittest.TestCase):

    def test_throughput(self):
        """elapsed ms x 1000 / items: the examples of spec tools 5, and halves, which Java rounds up."""
        for msec, items, text in ((6137, 100000, '61.4'), (1563, 10000, '156.3'), (40220, 1000, '40220.0'), (0, 5, '0.0'),
                                  (1, 4000, '0.3'), (49, 800, '61.3'), (1, 3, '333.3')):
            with self.subTest(msec=msec, items=items):
                self.assertEqual(usec_each(msec, items), text)

    def test_distribution(self):
        self.assertEqual(distribution([7]), 'Distribution in usec: min=7 max=7 p50=7 p75=7 p90=7 p95=7 p99=7 p999=7 '
                                            'p9999=7')
        self.assertEqual(distribution(reversed_range(20000)), 'Distribution in usec: min=1 max=20000 p50=10000 p75=15000 '
                         'p90=18000 p95=19000 p99=19800 p999=19980 p9999=19998')
        self.assertEqual(distribution([1, 1, 1, 9]), 'Distribution in usec: min=1 max=9 p50=1 p75=1 p90=9 p95=9 p99=9 '
                                                     'p999=9 p9999=9')


def reversed_range(last):
    return list(range(last, 0, -1))


class ItemsTest(unittest.TestCase):

    def test_running_number_padded_with_x(self):
        items = Items(8, 1000)
        self.assertEqual(items.make(0), b'0xxxxxxx')
        self.assertEqual(items.make(999), b'999xxxxx')
        self.assertEqual(items.number(b'999xxxxx'), 999)
        self.assertEqual(Items(3, 1000).number(Items(3, 1000).make(999)), 999)

    def test_too_small_for_a_number(self):
        self.assertTrue(Items(3, 1000).numbered)
        items = Items(3, 1001)
        self.assertFalse(items.numbered)
        self.assertEqual(items.make(7), b'xxx')
        self.assertEqual(Items(0, 5).make(1), b'')

    def test_what_was_not_put(self):
        items = Items(4, 100)
        for item in (b'1xx', b'1xxxx', b'xxxx', b'1xyx', b'1 xx', b'-1xx', b'', b'1xx\0'):
            with self.subTest(item), self.assertRaises(Trouble):
                items.number(item)


class LedgerTest(unittest.TestCase):

    def ledger(self, numbers, each=10, producers=1, before=0, **more):
        items = Items(8, 1000)
        ledger = Ledger(items, before + each * producers, each, before, **more)
        latest = {}
        for number in numbers:
            ledger.note(items.make(number), latest)
        return ledger

    def check(self, ledger, came=0, doubled=0, reordered=0, foreign=0, lost=0):
        self.assertEqual((ledger.came, ledger.doubled, ledger.reordered, ledger.foreign, ledger.lost()),
                         (came, doubled, reordered, foreign, lost))

    def test_all_in_order(self):
        self.check(self.ledger(range(10)), came=10)

    def test_the_beginning_alone(self):
        ledger = self.ledger(range(5))
        self.check(ledger, came=5)
        self.assertEqual(ledger.missing(), 5)

    def test_a_gap_is_a_loss(self):
        self.check(self.ledger([0, 1, 3, 6]), came=4, lost=3)

    def test_doubled_and_reordered_and_foreign(self):
        self.check(self.ledger([0, 1, 1, 3, 2, 10]), came=4, doubled=1, reordered=1, foreign=1)

    def test_producers_may_mix(self):
        self.check(self.ledger([0, 10, 1, 11, 12, 2], producers=2), came=6)
        self.check(self.ledger([0, 10, 12, 1], producers=2), came=4, lost=1)

    def test_what_was_there_before(self):
        self.check(self.ledger([0, 1, 2, 3, 4, 5], before=3), came=6)
        self.check(self.ledger([0, 2, 3], before=3), came=3, lost=1)

    def test_order_does_not_count_where_clients_are_killed(self):
        self.check(self.ledger([1, 0], ordered=False), came=2)


class DialectTest(unittest.TestCase):

    def in_pieces(self, dialect, reply):
        """Feed byte by byte: nothing is whole before the end."""
        for pos in range(len(reply) - 1):
            self.assertFalse(dialect.feed(reply[pos:pos + 1]), reply[:pos + 1])
        self.assertTrue(dialect.feed(reply[-1:]))

    def refused(self, dialect, reply):
        """-> what is said."""
        with self.assertRaises(Trouble) as caught:
            dialect.feed(reply)
        return str(caught.exception)


class MemcacheTest(DialectTest):

    def setUp(self):
        self.dialect = Memcache()

    def test_put(self):
        self.assertEqual(self.dialect.put(b'q', [b'abc']), b'set q 0 0 3\r\nabc\r\n')
        self.in_pieces(self.dialect, b'STORED\r\n')
        self.assertEqual(self.dialect.put(b'q', [b'a', b'']), b'set q 0 0 1\r\na\r\nset q 0 0 0\r\n\r\n')
        self.in_pieces(self.dialect, b'STORED\r\nSTORED\r\n')

    def test_requests(self):
        self.assertEqual(self.dialect.get(b'q', 0), b'get q\r\n')
        self.assertEqual(self.dialect.get(b'q', 1000), b'get q/t=1000\r\n')
        self.assertEqual(self.dialect.get_reliably(b'q', 1000), b'get q/t=1000/close/open\r\n')
        self.assertEqual(self.dialect.get_many(b'q', 5, 0), b'monitor q 1 5\r\n')
        self.assertEqual(self.dialect.confirm(b'q', 5), b'confirm q 5\r\n')
        self.assertEqual(self.dialect.flush(b'q'), b'flush q\r\n')

    def test_get(self):
        for data in (b'', b'abc', b'\r\nEND\r\n', b'x' * 3000):
            with self.subTest(data[:10]):
                self.dialect.get(b'q', 0)
                self.in_pieces(self.dialect, b'VALUE q 0 %d\r\n%b\r\nEND\r\n' % (len(data), data))
                self.assertEqual(self.dialect.items, [data])
        self.dialect.get(b'q', 0)
        self.in_pieces(self.dialect, b'END\r\n')
        self.assertEqual(self.dialect.items, [])

    def test_monitor(self):
        self.dialect.get_many(b'q', 5, 0)
        self.in_pieces(self.dialect, b'VALUE q 0 1\r\na\r\nEND\r\nVALUE q 0 0\r\n\r\nEND\r\nEND\r\n')
        self.assertEqual(self.dialect.items, [b'a', b''])
        self.dialect.get_many(b'q', 5, 0)
        self.in_pieces(self.dialect, b'END\r\n')
        self.assertEqual(self.dialect.items, [])

    def test_stats(self):
        self.assertEqual(self.dialect.stats(), b'stats\r\n')
        self.in_pieces(self.dialect, b'STAT a 1\r\nSTAT xEND\r\nEND\r\n')
        self.assertEqual(self.dialect.items, [b'STAT a 1\r\nSTAT xEND\r\n'])

    def test_wrong_replies(self):
        for request, reply, said in (
                (('put', b'q', [b'a']), b'NOT_STORED\r\n', "'NOT_STORED' instead of 'STORED'"),
                (('put', b'q', [b'a', b'b']), b'STORED\r\nSERVER_ERROR no\r\n', "'SERVER_ERROR no' instead of 'STORED'"),
                (('put', b'q', [b'a']), b'STORED\r\nSTORED\r\n', "'STORED' instead of ''"),
                (('put', b'q', [b'a']), b'\xff' * 500, "instead of 'STORED'"),
                (('flush', b'q'), b'CLIENT_ERROR x\r\n', "'CLIENT_ERROR x' instead of 'END'"),
                (('get', b'q', 0), b'SERVER_ERROR x\r\n', "'SERVER_ERROR x' instead of VALUE or END"),
                (('get', b'q', 0), b'VALUE r 0 1\r\na\r\nEND\r\n', "'VALUE r 0 1' instead of"),
                (('get', b'q', 0), b'VALUE q 5 1\r\na\r\nEND\r\n', "'VALUE q 5 1' instead of"),
                (('get', b'q', 0), b'VALUE q 0 -1\r\na\r\nEND\r\n', 'instead of VALUE with a length'),
                (('get', b'q', 0), b'VALUE q 0 2\r\na\r\nEND\r\nEN', 'instead of END behind an item'),
                (('get', b'q', 0), b'VALUE q 0 1\r\na\r\nEND\r\nEND\r\n', "'END' instead of nothing"),
                (('get', b'q', 0), b'VALUE q 0 ' + b'1' * 700, 'instead of VALUE or END'),
                (('get_many', b'q', 2, 0), b'END\r\nX', "'X' instead of nothing"),
                (('stats',), b'ERROR\r\n', "'ERROR' instead of STAT or END")):
            with self.subTest(reply):
                dialect = Memcache()
                getattr(dialect, request[0])(*request[1:])
                self.assertIn(said, self.refused(dialect, reply))


class ThriftTest(DialectTest):

    def setUp(self):
        self.dialect = Thrift()

    @staticmethod
    def reply(method, result):
        return framed(message(method, kind=2, body=result))

    def test_requests_are_those_of_the_library(self):
        self.assertEqual(self.dialect.flush(b'q'), call('flush_queue', queue_name='q'))
        self.assertEqual(self.dialect.confirm_ids(b'q', [7]), call('confirm', queue_name='q', ids={7}))
        self.assertEqual(self.dialect.get_many(b'q', 3, 100, 5000), call(
            'get', queue_name='q', max_items=3, timeout_msec=100, auto_abort_msec=5000))
        # the default of expiration_msec is left out
        self.assertEqual(self.dialect.put(b'q', [b'a', b'bc']), call(
            'put', queue_name='q', items=[b'a', b'bc'], expiration_msec=None))

    def test_put(self):
        self.dialect.put(b'q', [b'a', b'b'])
        self.in_pieces(self.dialect, self.reply('put', bytes.fromhex('08 0000 00000002 00')))
        self.dialect.put(b'q', [b'a', b'b'])
        self.assertIn('1 of 2 items were stored',
                      self.refused(self.dialect, self.reply('put', bytes.fromhex('08 0000 00000001 00'))))

    def test_get(self):
        """The replies of spec thrift 6."""
        self.dialect.get(b'q', 0)
        self.in_pieces(self.dialect, self.reply('get', bytes.fromhex(
            '0f 0000 0c 00000001 0b 0001 00000003 636174 0a 0002 0000000000000001 00 00')))
        self.assertEqual((self.dialect.items, self.dialect.ids), ([b'cat'], [1]))
        self.dialect.get(b'q', 0)
        self.in_pieces(self.dialect, self.reply('get', bytes.fromhex('0f 0000 0c 00000000 00')))
        self.assertEqual(self.dialect.items, [])

    def test_client_id(self):
        """The bytes of spec thrift 7."""
        dialect = Thrift(b'load-test')
        self.assertEqual(dialect.upgrade(), call('__can__finagle__trace__v3__', seqid=0, body=b'\0'))
        self.in_pieces(dialect, framed(message('__can__finagle__trace__v3__', kind=2, seqid=0, body=b'\0')))
        request = dialect.confirm_ids(b'q', [1, 2])
        self.assertEqual(request, framed(header('load-test') + message('confirm', queue_name='q', ids={1, 2})))
        self.in_pieces(dialect, framed(b'\0' + message('confirm', kind=2, body=bytes.fromhex('08 0000 00000002 00'))))
        self.assertEqual(dialect.value, 2)

    def test_wrong_replies(self):
        failure = bytes.fromhex('0b 0001 00000004') + b'oops' + bytes.fromhex('08 0002 00000006 00')
        for reply, said in (
                (framed(message('put', kind=3, body=failure)), 'wrong reply to put: oops'),
                (self.reply('get', b'\0'), 'a message'), (self.reply('put', b'\0'), '0 of 1 items were stored'),
                (self.reply('put', b'\x08\0'), 'the frame ends within a struct'),
                (b'SERVER_ERROR\r\n', 'is no frame of thrift'), (framed(b'x'), 'no message of thrift'),
                (self.reply('put', bytes.fromhex('08 0000 00000001 00')) + b'x', 'something behind the reply to put')):
            with self.subTest(said):
                dialect = Thrift()
                dialect.put(b'q', [b'a'])
                self.assertIn(said, self.refused(dialect, reply))


if __name__ == '__main__':
    unittest.main()
