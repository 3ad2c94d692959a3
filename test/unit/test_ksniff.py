"""ksniff: from the bytes of a capture to the tables (spec tools 3)."""

import io
import os
import pathlib
import re
import tempfile
import time
import unittest
from unittest import mock

from kestrel.tools.console import Console
from kestrel.tools.sniff import command, packets
from kestrel.tools.sniff.counts import Counts, percentile
from support.clock import MovedClock
from support.frames import CLIENT, capture, cooked, cooked2, ethernet, ipv4, ipv6, request, tcp

HEAD = 'set     get     monitor delete  flush   other   '
LONG = os.environ.get('KESTREL_LONG') == '1'
DASHES = '------- ------- ------- ------- ------- ------- ----------'


def needs_dpkt(test):
    return unittest.skipIf(packets.missing_library(), packets.missing_library())(test)


class SniffTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.path = self.folder / 'capture'

    def run_tool(self, *words, code=0, **more):
        """-> standard output, str; standard error is in ``err``."""
        out, self.err = io.BytesIO(), io.StringIO()
        console = Console(out, self.err)
        self.assertEqual(command.run(list(words), console, clock=MovedClock(), home=str(self.folder), **more), code)
        console.flush()
        return out.getvalue().decode()

    def report(self, file, *words, code=0):
        self.path.write_bytes(file)
        return self.run_tool('-h', '10.0.0.1', f'--reprocess-file={self.path}', *words, code=code)


@needs_dpkt
class ReportTest(SniffTest):

    def test_every_table(self):
        self.assertEqual(self.report(capture(
            ethernet(ipv4(tcp(b''))), request(b'set work 0 0 3\r\nabc\r\n'),
            request(b'get work/t=10\r\n', source='10.0.0.3'),
            request(b'monitor jobs 10 5\r\n'), request(b'delete a+b 0\r\n'), request(b'flush jobs /\r\n'),
            request(b'confirm jobs 5 \r\n'), request(b'get work\r\n'))), '\n'.join([
                'HOST 10.0.0.1', '=' * 70, '8 packets captured over 1.75 seconds', '7 packets contained data',
                '7 matched over 1.50 seconds', '', HEAD, DASHES,
                '      1       1       1       1       1       2 Total',
                '      1       1       1       1       1       2 Matched',
                '      0       0       0       0       0       0 Filtered', '', HEAD + 'Host', DASHES,
                '      0       1       0       0       0       0 10.0.0.3',
                '      1       0       1       1       1       2 10.0.0.7', '', HEAD + 'Queue', DASHES,
                '      0       0       0       1       0       0 a+b',
                '      0       0       1       0       1       1 jobs',
                '      1       1       0       0       0       0 work', '', '']))

    def test_filter(self):
        file = capture(*[request(b'get work/open\r\n'), request(b'set jobs 0 0 1\r\nx\r\n')] * 3)
        said = self.report(file, '-f', '^get')
        self.assertIn('6 packets contained data\n3 matched over 1.00 seconds\n', said)
        self.assertIn('''
      3       3       0       0       0       0 Total
      0       3       0       0       0       0 Matched
      3       0       0       0       0       0 Filtered
''', said)
        self.assertNotIn('jobs', said)

    def test_nothing_matched(self):
        self.assertEqual(self.report(capture(request(b'get work/\r\n')), '--filter=nothing').splitlines()[2:],
                         ['1 packets captured over 0.00 seconds', '1 packets contained data',
                          '0 matched over 0.00 seconds', ''])
        self.assertIn('0 packets captured over 0.00 seconds', self.report(capture()))

    def test_tables_left_out(self):
        file = capture(request(b'get work/\r\n'))
        options = {'--skip-summary': 'Total', '--skip-host-stats': 'Host', '--skip-queue-stats': 'Queue'}
        self.assertNotIn('set ', self.report(file, *options))
        for option, mark in options.items():
            with self.subTest(option):
                self.assertNotIn(mark, self.report(file, option))
                self.assertIn(mark, self.report(file, option, '--no' + option[1:]))

    def test_sizes(self):
        sets = [request(b'set many 0 0 %d\r\n' % size) for size in range(1, 201)]
        few = [request(b'set few/sync 0 -5 %d noreply\r\nxxx' % size) for size in (70, 10)]
        said = self.report(capture(*sets, *few), '--report-enqueue-size-metrics')
        self.assertTrue(said.endswith('''
p50     p90     p99     Queue
------- ------- ------- ----------
     10      70      70 few *
    100     180     198 many

* fewer than 100 sets

'''), said)
        self.assertIn('''
min     p25     p99.5   max     Queue
------- ------- ------- ------- ----------
      1      50     199     200 many

''', self.report(capture(*sets), '--report-enqueue-size-metrics=0,25,99.5,100'))
        self.assertNotIn('few *', self.report(capture(*few)))
        odd = [request(data) for data in (b'get a/\r\nset b 0 0 5\r\n', b'xx\r\nset c 0 0 6\r\n', b'set d 0 0 ',
                                          b'set e x 0 5\r\n', b'set f 0 0 5')]
        self.assertEqual(self.report(capture(*odd), '--report-enqueue-size-metrics=100').split('max ')[1].split()[2:4],
                         ['-' * 10, '6'], 'of the operation that counts, and whole')
        self.assertNotIn('p50', self.report(capture(request(b'get few/\r\n')), '--report-enqueue-size-metrics'))

    def test_percentiles(self):
        sizes = {5: 1, 7: 2, 9: 1}
        self.assertEqual([percentile(sizes, percent) for percent in (0, 25, 25.1, 75, 76, 100)], [5, 5, 7, 7, 9, 9])

    def test_names_of_clients(self):
        def name(address):
            if address == '10.0.0.3':
                raise OSError
            return 'client.example', [], [address]
        file = capture(request(b'get work/\r\n'), request(b'get work/\r\n', source='10.0.0.3'))
        with mock.patch('socket.gethostbyaddr', name):
            said = self.report(file, '-d')
            self.assertIn(' 0 10.0.0.3\n', said)
            self.assertIn(' 0 client.example\n', said)
            self.assertIn(f' 0 {CLIENT}\n', self.report(file, '-d', '--no-reverse-dns'))

    def test_verbose(self):
        file = capture(request(b'get work/\x1b\r\n'), request(b'set a 0 0 1\r\nx\r\n'))
        self.report(file, '-v')
        self.assertEqual(self.err.getvalue(), f'processing {self.path}\n')
        self.report(file, '-vv', '-f', 'get')
        self.assertIn('\n10.0.0.7:40000->10.0.0.1:22133\n', self.err.getvalue())
        self.assertNotIn('work', self.err.getvalue())
        self.report(file, '-v', '-vv', '-f', 'get')
        self.assertTrue(self.err.getvalue().endswith(f'22133\n 12: get work/\\x1b\\r\\n\n'), self.err.getvalue())
        self.report(file, '-vvv', '-q')
        self.assertEqual(self.err.getvalue(), '')

    def test_title_without_a_host(self):
        self.path.write_bytes(capture())
        self.assertEqual(self.run_tool(f'--reprocess-file={self.path}').splitlines()[0], f'HOST {self.path}')


@needs_dpkt
class PacketTest(SniffTest):
    """Where the data of a packet is, whatever stands in front of it."""

    REQUEST = b'get work/t=5\r\n'

    def found(self, *frames, **more):
        """-> [(data, source)] of each packet, None where there is no data."""
        self.path.write_bytes(capture(*frames, **more))
        file = packets.Capture(self.path)
        try:
            return [data if data is None else (data, addresses[:len(addresses) // 2].hex())
                    for _, data, addresses, _, _ in packets.segments(file)]
        finally:
            file.close()

    def test_every_way_to_carry_a_request(self):
        four, six = ipv4(tcp(self.REQUEST)), ipv6(tcp(self.REQUEST))
        options = bytes([6, 0, 1, 4, 0, 0, 0, 0])
        carried = {
            'Ethernet': (1, ethernet(four), ethernet(six)),
            'VLAN': (1, ethernet(four, [0x8100]), ethernet(six, [0x88a8, 0x8100])),
            'Linux cooked': (113, cooked(four), cooked(six)),
            'Linux cooked 2': (276, cooked2(four), cooked2(six)),
            'BSD loopback': (0, b'\2\0\0\0' + four, b'\x1e\0\0\0' + six),
            'raw': (101, four, six),
            'IP options': (1, ethernet(ipv4(tcp(self.REQUEST), words=8)), ethernet(ipv6(
                tcp(self.REQUEST), following=0, extensions=b'\x3c' + options[1:] + b'\x2b' + options[1:] + options))),
            'TCP options': (1, ethernet(ipv4(tcp(self.REQUEST, offset=8))),
                            ethernet(ipv6(tcp(self.REQUEST, offset=15)))),
            'first fragment': (1, ethernet(ipv4(tcp(self.REQUEST), fragment=0x2000)), ethernet(ipv6(
                tcp(self.REQUEST), following=44, extensions=bytes([6, 0, 0, 1, 0, 0, 0, 9])))),
            'authentication': (1, ethernet(four), ethernet(ipv6(
                tcp(self.REQUEST), following=51, extensions=bytes([6, 4]) + bytes(22)))),
            'left to the card to cut up': (1, request(self.REQUEST.ljust(80, b' '), size=0)[:68], ethernet(six)),
        }
        for name, (link, first, second) in carried.items():
            for order in '<', '>':
                for nanoseconds in False, True:
                    with self.subTest(name, order=order, nanoseconds=nanoseconds):
                        self.assertEqual(self.found(first, second, link=link, order=order, nanoseconds=nanoseconds), [
                            (self.REQUEST, '0a000007'), (self.REQUEST, 'fd' + '0' * 28 + '07')])

    def test_no_data(self):
        for name, frame in {
                'acknowledgement': ethernet(ipv4(tcp(b''))), 'IPv6': ethernet(ipv6(tcp(b''))),
                'UDP': ethernet(ipv4(tcp(self.REQUEST), protocol=17)), 'ARP': ethernet(bytes(28), kind=0x806),
                'UDP over IPv6': ethernet(ipv6(tcp(self.REQUEST), following=17)),
                'later fragment': ethernet(ipv4(tcp(self.REQUEST), fragment=0x0100)),
                'later fragment, close': ethernet(ipv4(tcp(self.REQUEST), fragment=1)),
                'later fragment of IPv6': ethernet(ipv6(tcp(self.REQUEST), following=44,
                                                        extensions=bytes([6, 0, 0, 8, 0, 0, 0, 9]))),
                'bad header length': ethernet(ipv4(tcp(self.REQUEST), words=5).replace(b'\x45', b'\x41', 1)),
                'bad TCP offset': ethernet(ipv4(tcp(self.REQUEST, offset=5).replace(b'\x50\x18', b'\x40\x18', 1))),
                'no IP at all': ethernet(b'\x45' * 60, kind=0x8847)}.items():
            with self.subTest(name):
                self.assertEqual(self.found(frame), [None])

    def test_snap_lengths(self):
        """What was captured of the data counts; that there was some is known even if none was."""
        frame = request(self.REQUEST)
        self.assertEqual(self.found(frame, snap=54 + 8), [(self.REQUEST[:8], '0a000007')])
        self.assertEqual(self.found(frame, snap=54), [(b'', '0a000007')])
        for snap in range(1, 47):
            self.assertEqual(self.found(frame, ethernet(ipv6(tcp(b'x'), following=0)),
                                        ethernet(ipv4(b''), [0x8100] * 9), snap=snap), [None] * 3)

    def test_garbage_is_counted_and_nothing_more(self):
        noise = [bytes([(number * 7 + at * at) % 256 for at in range(90)]) for number in range(256)]
        for link in packets.LINKS:
            with self.subTest(link):
                self.assertEqual(len(self.found(*noise, link=link)), 256)

    def test_the_first_line_with_a_command_counts(self):
        def operation(data):
            segment = 0, data, bytes(8), b'', 0
            return Counts([segment]).queues
        self.assertEqual(operation(b'rest of an item\r\nset q$%-_:+x 0 0 1\r\n'), {b'of': {b'other': 1}})
        self.assertEqual(operation(b'xxx\r\nget q/\r\nset q 0 0 1\r\n'), {b'q': {b'get': 1}})
        self.assertEqual(operation(b'get q\r\n'), {}, 'neither space nor slash behind it')
        self.assertEqual(operation(b'GET q/\r\n'), {b'q': {b'other': 1}})
        self.assertEqual(operation(b'set caf\xc3\xa9 0 0 1\r\n'), {})


@needs_dpkt
class SpeedTest(SniffTest):

    def test_packets_a_second(self):
        """In the long run also how fast: 200 000 packets a second of this process's time, the best of three."""
        frames = [request(line % number, source='10.0.1.%d' % (number % 20)) for number in range(50)
                  for line in (b'set work_%d 0 0 70\r\n' + b'x' * 60, b'get work_%d/t=10/close/open\r\n')]
        rounds = 3000 if LONG else 20
        self.path.write_bytes(capture(*frames * rounds))
        seconds = []
        for _ in range(3 if LONG else 1):
            began = time.process_time()
            said = self.run_tool(f'--reprocess-file={self.path}')
            seconds.append(time.process_time() - began)
            self.assertIn(' %6d  %6d       0       0       0       0 Total\n' % (50 * rounds, 50 * rounds), said)
        if LONG:
            self.assertGreater(100 * rounds / min(seconds), 200_000)


@needs_dpkt
class UnreadableTest(SniffTest):
    """Exit code 10, what and where, and no report."""

    def check(self, file, pattern):
        self.assertEqual(self.report(file, code=10), '')
        self.assertRegex(self.err.getvalue(), f'^ERROR: {re.escape(str(self.path))}: {pattern}')

    def test_cut_off_anywhere(self):
        first = capture(request(b'get work/t=5\r\n'))
        whole = capture(request(b'get work/t=5\r\n'), request(b'get work/t=5\r\n'))
        for size in range(len(first) + 1, len(whole)):
            self.check(whole[:size], f'it is cut off or damaged after 1 whole packets; tcpdump -r ')
        for size in range(1, 24):
            self.check(whole[:size], 'this is no capture file of tcpdump')

    def test_damaged(self):
        whole = bytearray(capture(request(b'get work/t=5\r\n')))
        whole[24 + 8:24 + 12] = b'\xff\xff\xff\x7f'
        self.check(bytes(whole), 'it is cut off or damaged after 0 whole packets')

    def test_other_files(self):
        self.check(b'', 'this is no capture file')
        self.check(b'[server]\nlisten_address = 127.0.0.1\n', 'this is no capture file')
        self.check(b'\n\r\r\n' + bytes(60), 'it is in the pcapng format; convert it: tcpdump -r ')
        self.check(capture(link=127), 'its packets are of link type 127')
        self.path.unlink()
        self.run_tool('--reprocess-file', str(self.path), code=10)
        self.assertEqual(self.err.getvalue(), f'ERROR: {self.path}: No such file or directory\n')
        self.run_tool('--reprocess-file', str(self.folder), code=10)
        self.assertEqual(self.err.getvalue(), f'ERROR: {self.folder}: Is a directory\n')

    def test_no_library(self):
        with mock.patch.object(packets, 'pcap', None):
            self.assertEqual(self.report(capture(), code=3), '')
        self.assertEqual(self.err.getvalue(), 'ERROR: dpkt is missing: apt install python3-dpkt, or '
                                              'pip install "kestrel[tools]"\n')


class OptionsTest(SniffTest):

    STAMP = '/tmp/ksniff.20131119-'

    def dry(self, *words, **more):
        """-> the commands."""
        lines = self.run_tool('-n', *words, **more).splitlines()
        return [re.sub(r'/tmp/ksniff\.\d{8}-\d{6}', 'FILE', line).removeprefix('skipped: ') for line in lines]

    def wrong(self, *words):
        """-> the message."""
        with mock.patch('sys.stderr', io.StringIO()) as err, self.assertRaises(SystemExit) as ended:
            self.run_tool('-n', *words)
        self.assertEqual(ended.exception.code, 1)
        return err.getvalue().splitlines()[-1]

    def test_the_command(self):
        self.assertEqual(self.dry('-h', 'a'), [
            'tcpdump -s 132 -c 1000 -w FILE dst host a and dst port 22133', 'processing of FILE'])
        words = '-i lo -p 80 -c 5 -s 0 -l x -t /sbin/tcpdump -h ::1'.split()
        self.assertEqual(self.dry(*words), [
            '/sbin/tcpdump -i lo -s 0 -c 5 -w x dst host ::1 and dst port 80', 'processing of x'])

    def test_stamp(self):
        self.assertRegex(self.run_tool('-n', '-h', 'a'), r' -w /tmp/ksniff\.2013111\d-\d\d\d640 ')

    def test_several_hosts(self):
        self.assertEqual([line.split()[9] for line in self.dry('-h', 'a, b', '--host=c,d', '--host', 'e f')
                          if line.startswith('tcpdump')], list('abcdef'))

    def test_ssh(self):
        self.assertEqual(self.dry('--ssh', '-h', 'me@a', '-i', 'eth 0', '-r', '/var/r', '-l', '/l'), [
            "ssh me@a 'tcpdump -i '\"'\"'eth 0'\"'\"' -s 132 -c 1000 -w /var/r dst host a and dst port 22133'",
            'scp -q me@a:/var/r /l', "ssh me@a 'rm /var/r'", 'processing of /l'])
        self.assertIn("scp -q '[fd00::1]:/r' /l", self.dry('--ssh', '-h', 'fd00::1', '-r', '/r', '-l', '/l'))
        self.assertEqual(len(self.dry('--ssh', '--no-ssh', '-h', 'a')), 2)

    def test_sudo(self):
        self.assertEqual(self.dry('-S', '-h', 'a,b')[:2], [
            'sudo password request', "sudo -S -p '' tcpdump -s 132 -c 1000 -w FILE dst host a and dst port 22133"])
        said = self.dry('--sudo', '--ssh', '-h', 'a,b', '-r', 'r')
        self.assertEqual(said.count('sudo password request'), 1)
        self.assertIn("ssh b 'sudo -S -p '\"'\"''\"'\"' rm r'", said)
        self.assertNotIn('sudo', ' '.join(self.dry('-S', '--no-sudo', '-h', 'a')))

    def test_password_is_asked_once(self):
        asked = []
        with mock.patch('subprocess.run') as run, mock.patch('shutil.which'), \
                mock.patch.object(packets, 'pcap', packets.pcap or True):
            run.return_value.returncode = 1
            self.run_tool('-S', '--ssh', '-h', 'a,b', code=3,
                          ask_password=lambda prompt: asked.append(prompt) or 'secret')
        self.assertEqual(asked, ['sudo password (for 2 hosts):'])
        self.assertEqual([call.kwargs['input'] for call in run.mock_calls], [b'secret\n'] * 2)
        self.assertNotIn('secret', self.err.getvalue())

    def test_bad_options(self):
        for words, message in {
                (): 'at least one host must be specified', ('-h', ' , '): 'no host in',
                ('-h', '-x'): 'expected one argument', ('--host=-oProxyCommand=x',): "'-oProxyCommand=x' is not",
                ('-h', 'a;b'): "'a;b' is not the name or address of a host", ('-h', 'me@a'): "'me@a' is not",
                ('-h', 'a', '-p', '0'): "'0' is not a port", ('-h', 'a', '-p', '65536'): 'is not a port',
                ('-h', 'a', '-c', '0'): "'0' is not an integer of at least 1",
                ('-h', 'a', '-s', '-1'): "'-1' is not an integer",
                ('-h', 'a', '-s', 'x'): "'x' is not an integer of at least 0", ('-h', 'a', 'word'): 'word',
                ('-h', 'a', '-f', '('): 'invalid regular expression', ('-h', 'a', '--colour'): '--colour',
                ('-h', 'a', '--report-enqueue-size-metrics=50,101'): "'101' is not a percentile",
                ('-h', 'a', '--report-enqueue-size-metrics='): "'' is not a percentile",
                ('-h', 'a', '--ssh', '-r', '/tmp/a b'): 'can be in the name of a remote file',
                ('-h', 'a', '--local-file=-x'): "'-x' cannot be the name"}.items():
            with self.subTest(words):
                said = self.wrong(*words)
                self.assertTrue(said.startswith('ERROR: '), said)
                self.assertIn(message, said)

    def test_help(self):
        with mock.patch('sys.stdout', io.StringIO()) as out, self.assertRaises(SystemExit) as ended:
            self.run_tool('--help')
        self.assertEqual(ended.exception.code, 0)
        self.assertIn('--report-enqueue-size-metrics', out.getvalue())

    def test_file_of_options(self):
        (self.folder / '.ksniffrc').write_text('# mine\n\n--host=a\n-i lo\n--count 7\n--ssh\n-l  /l\n--filter=set x\n')
        self.assertEqual(self.dry('--no-ssh', '-c', '8', '-h', 'b'), [
            'tcpdump -i lo -s 132 -c 8 -w /l dst host a and dst port 22133', 'processing of /l',
            'tcpdump -i lo -s 132 -c 8 -w /l dst host b and dst port 22133', 'processing of /l'])
        (self.folder / '.ksniffrc').write_text('-p x\n')
        self.assertIn(f"ERROR: {self.folder}/.ksniffrc: argument -p/--port: 'x' is not", self.wrong('-h', 'a'))
        (self.folder / '.ksniffrc').unlink()
        os.mkdir(self.folder / '.ksniffrc')
        self.assertIn('.ksniffrc: Is a directory', self.wrong('-h', 'a'))


if __name__ == '__main__':
    unittest.main()
