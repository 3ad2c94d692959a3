"""ksniff with captures that the real tcpdump made, and with stand-ins for ssh and others (spec tools 3)."""

import contextlib
import io
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from unittest import mock

from pymemcache.client.base import Client as Pymemcache

from kestrel.tools.console import Console
from kestrel.tools.sniff import command, packets
from support.environment import process_environment
from support.frames import capture, request
from support.server import Server

KSNIFF = [sys.executable, '-c', 'from kestrel.tools.sniff.command import main; main()']
MARK = b'get the_end/\r\n'
SETS, GETS = 30, 60


def may_capture():
    """Why tcpdump cannot be used here, or None."""
    if not shutil.which('tcpdump'):
        return 'no tcpdump: apt install tcpdump'
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
    except PermissionError:
        return 'capturing on the loopback interface needs root'
    return None


def needs_dpkt(test):
    return unittest.skipIf(packets.missing_library(), packets.missing_library())(test)


@needs_dpkt
@unittest.skipIf(may_capture(), may_capture())
class CaptureTest(unittest.TestCase):
    """One traffic of real clients, captured in several ways at once."""

    WAYS = {
        'lo': ['-i', 'lo'],
        'any': ['-i', 'any', '-y', 'LINUX_SLL'],
        'any2': ['-i', 'any', '-y', 'LINUX_SLL2'],
        'short': ['-i', 'lo', '-s', '80', '--time-stamp-precision=nano'],
    }

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.folder.chmod(0o777)     # tcpdump writes as a user of its own
        cls.server = cls.enterClassContext(Server({'default': {'keep_journal': False}}))
        cls.server6 = cls.enterClassContext(Server({'server': {'listen_address': '::1'}}))
        ways = {way: [*words, f'dst host 127.0.0.1 and dst port {cls.server.port}'] for way, words in cls.WAYS.items()}
        ways['six'] = ['-i', 'lo', f'dst host ::1 and dst port {cls.server6.port}']
        with contextlib.ExitStack() as running:
            for way, words in ways.items():
                running.enter_context(cls.tcpdump(way, words))
            cls.traffic()
        for way in ways:
            cls.wait_for(MARK, cls.folder / way)

    @classmethod
    @contextlib.contextmanager
    def tcpdump(cls, way, words):
        """tcpdump runs, and listens; until it has written MARK."""
        said = cls.folder / f'{way}.said'
        with open(said, 'wb') as stderr:
            # a small snap length and much buffer (KiB): else the kernel has room for eight packets, and drops
            process = subprocess.Popen(['tcpdump', '-U', '--immediate-mode', '-B', '8192', '-s', '1000',
                                        '-w', cls.folder / way, *words], stderr=stderr)
        try:
            cls.wait_for(b'listening on', said)
            yield
            cls.wait_for(MARK, cls.folder / way)
        finally:
            process.terminate()
            process.wait(10)

    @staticmethod
    def wait_for(text, path):
        deadline = time.monotonic() + 20
        while not path.exists() or text not in path.read_bytes():
            if time.monotonic() > deadline:
                raise AssertionError(f'{text!r} does not come in {path}')
            time.sleep(0.02)

    @classmethod
    def traffic(cls):
        """SETS sets of 101 bytes and more, GETS gets with options, and four commands besides, each in its packet."""
        for family, address, port in ((socket.AF_INET, '127.0.0.1', cls.server.port),
                                      (socket.AF_INET6, '::1', cls.server6.port)):
            library = Pymemcache((address, port), timeout=10)
            for number in range(SETS):
                assert library.set('work', b'x' * (101 + number), noreply=False)
            library.close()
            with socket.socket(family) as client:
                client.settimeout(10)
                client.connect((address, port))
                for line in [b'get work/t=10/open\r\n', b'get work/close\r\n'] * (GETS // 2) + [
                        b'delete jobs\r\n', b'monitor jobs 0 1\r\n', b'get work\r\n', MARK]:
                    client.sendall(line)
                    reply = b''
                    while not reply.endswith((b'END\r\n', b'DELETED\r\n')):
                        reply += client.recv(65536)

    def check(self, path, *words, client='127.0.0.1'):
        """The report about a capture shows the traffic."""
        out, err = io.BytesIO(), io.StringIO()
        code = command.run([f'--reprocess-file={path}', *words], Console(out, err), home=str(self.folder))
        self.assertEqual((code, err.getvalue()), (0, ''))
        said = out.getvalue().decode()
        data = SETS + GETS + 4
        self.assertIn(f'\n{data} packets contained data\n{data} matched over ', said)
        self.assertIn(f'''
     {SETS}      {GETS + 1}       1       0       0       2 Total
     {SETS}      {GETS + 1}       1       0       0       2 Matched
''', said)
        self.assertIn(f'     {SETS}      {GETS + 1}       1       0       0       2 {client}\n', said)
        self.assertTrue(said.split(' Queue\n')[1].splitlines()[1:4] == [
            '      0       0       1       0       0       0 jobs',
            '      0       1       0       0       0       0 the_end',
            f'     {SETS}      {GETS}       0       0       0       0 work'], said)
        return said

    def test_every_way_shows_the_same(self):
        for way in self.WAYS:
            with self.subTest(way):
                self.check(self.folder / way)
        self.check(self.folder / 'six', client='::1')

    def test_sizes(self):
        said = self.check(self.folder / 'lo', '--report-enqueue-size-metrics=0,50,100')
        self.assertIn('\nmin     p50     max     Queue\n------- ------- ------- ----------\n'
                      '    101     115     130 work *\n\n* fewer than 100 sets\n', said)

    def test_the_library_sees_the_same(self):
        from dpkt import ethernet, pcap
        with open(self.folder / 'lo', 'rb') as file:
            segments = [ethernet.Ethernet(frame).data.data for _, frame in pcap.Reader(file)]
        with_data = [bytes(segment.data) for segment in segments if segment.data]
        self.assertEqual(len(with_data), SETS + GETS + 4)
        self.assertEqual(len([data for data in with_data if data.startswith(b'set work ')]), SETS)
        capture_file = packets.Capture(self.folder / 'lo')
        self.addCleanup(capture_file.close)
        found = list(packets.segments(capture_file))
        self.assertEqual(len(found), len(segments))
        self.assertEqual([data for _, data, _, _, _ in found if data is not None], with_data)

    def test_the_other_byte_order(self):
        data = (self.folder / 'lo').read_bytes()
        swapped = [data[:4][::-1], data[4:6][::-1], data[6:8][::-1], *[data[i:i + 4][::-1] for i in range(8, 24, 4)]]
        at = 24
        while at < len(data):
            swapped += [data[i:i + 4][::-1] for i in range(at, at + 16, 4)]
            size = int.from_bytes(data[at + 8:at + 12], sys.byteorder)
            swapped.append(data[at + 16:at + 16 + size])
            at += 16 + size
        (self.folder / 'swapped').write_bytes(b''.join(swapped))
        self.check(self.folder / 'swapped')

    def test_cut_off(self):
        data = (self.folder / 'lo').read_bytes()
        path = self.folder / 'cut'
        path.write_bytes(data[:-5])
        out, err = io.BytesIO(), io.StringIO()
        self.assertEqual(command.run([f'--reprocess-file={path}'], Console(out, err), home=str(self.folder)), 10)
        self.assertEqual(out.getvalue(), b'')
        self.assertIn('it is cut off or damaged after ', err.getvalue())
        # the remedy that it names works
        subprocess.run(['tcpdump', '-r', path, '-w', self.folder / 'saved'], stderr=subprocess.DEVNULL)
        words = [f'--reprocess-file={self.folder}/saved']
        self.assertEqual(command.run(words, Console(out, err), home=str(self.folder)), 0)

    def test_ksniff_captures(self):
        """The command itself, while clients work."""
        path = self.folder / 'live'
        process = subprocess.Popen(
            [*KSNIFF, '-h', '127.0.0.1', '-i', 'lo', f'--port={self.server.port}', '-c', '100', '-l', path],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd='/',
            env=process_environment({'HOME': str(self.folder)}))
        self.addCleanup(process.kill)
        over = threading.Event()

        def work():
            with self.server.client() as client:
                while not over.wait(0.002):
                    client.expect(b'set live 0 0 1\r\nx\r\n', b'STORED\r\n')
                    client.expect(b'get live/t=10\r\n', b'VALUE live 0 1\r\nx\r\nEND\r\n')
        worker = threading.Thread(target=work)
        worker.start()
        try:
            out, err = process.communicate(timeout=30)
        finally:
            over.set()
            worker.join()
        self.assertEqual(process.returncode, 0, err)
        self.assertIn('listening on lo', err)
        lines = out.splitlines()
        self.assertEqual(lines[0], 'HOST 127.0.0.1')
        self.assertRegex(lines[2], r'^100 packets captured over \d+\.\d\d seconds$')
        sets, gets, *others, name = [line for line in lines if line.endswith(' live')][0].split()
        self.assertEqual(others, ['0'] * 4)
        self.assertEqual(lines[3], f'{int(sets) + int(gets)} packets contained data')
        self.assertGreater(int(sets), 30)
        self.assertLess(abs(int(sets) - int(gets)), 2)
        self.assertTrue(path.exists(), 'it stays for --reprocess-file')


STAND_INS = {
    'tcpdump': '''
while [ "$1" != -w ]; do shift; done
echo "tcpdump speaks" >&2
[ -n "$NO_CAPTURE" ] && exit 1
cp "$PREPARED" "$2"
''',
    # runs the command here, through a shell as ssh does
    'ssh': '''
[ "$1" = "$DEAD" ] && exit 255
exec sh -c "$2"
''',
    'scp': '''
[ -n "$NO_COPY" ] && exit 1
cp "${2#*:}" "$3"
''',
    'sudo': '''
read -r password
[ "$password" = "open sesame" ] || exit 1
shift 3
exec "$@"
''',
}


@needs_dpkt
class StandInTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.log = self.folder / 'log'
        self.bin = self.folder / 'bin'
        self.bin.mkdir()
        for name, script in STAND_INS.items():
            path = self.bin / name
            path.write_text(f'#!/bin/sh\nfor word in {name} "$@"; do printf "[%s]" "$word"; done >>"$LOG"\n'
                            + 'echo >>"$LOG"\n' + script)
            path.chmod(0o755)
        prepared = self.folder / 'prepared'
        prepared.write_bytes(capture(request(b'get work/\r\n')))
        self.environment = {'PATH': f'{self.bin}:{os.environ["PATH"]}', 'LOG': str(self.log), 'PREPARED': str(prepared),
                            'HOME': str(self.folder)}
        self.remote, self.local = self.folder / 'remote', self.folder / 'local'
        self.files = [f'--remote-file={self.remote}', f'--local-file={self.local}', '-q']
        self.asked = []

    def ksniff(self, *words, code=0, password='open sesame', **environment):
        """-> titles of the reports; what was run is in ``run``, standard error in ``err``."""
        out, self.err = io.BytesIO(), io.StringIO()
        self.log.write_text('')
        with mock.patch.dict(os.environ, {**self.environment, **environment}):
            self.assertEqual(command.run([*self.files, *words], Console(out, self.err),
                                         ask_password=lambda prompt: self.asked.append(prompt) or password), code)
        self.run = self.log.read_text().replace(f'{self.folder}/', '').splitlines()
        said = out.getvalue().decode()
        self.assertEqual(said.count('1 packets contained data'), said.count('HOST '))
        return [line[5:] for line in said.splitlines() if line.startswith('HOST ')]

    @staticmethod
    def tcpdump(host, path):
        return f'[tcpdump][-s][132][-c][1000][-w][{path}][dst][host][{host}][and][dst][port][22133]'

    def test_here(self):
        self.assertEqual(self.ksniff('-h', '10.0.0.1,::1'), ['10.0.0.1', '::1'])
        self.assertEqual(self.run, [self.tcpdump('10.0.0.1', 'local'), self.tcpdump('::1', 'local')])
        self.assertEqual((self.asked, self.err.getvalue()), ([], ''))

    def test_there(self):
        self.assertEqual(self.ksniff('--ssh', '-h', 'me@a', '-i', "it's"), ['me@a'])
        self.assertEqual(self.run[1], "[tcpdump][-i][it's]" + self.tcpdump('a', 'remote').removeprefix('[tcpdump]'))
        self.assertEqual(self.run[2:], ['[scp][-q][me@a:remote][local]', '[ssh][me@a][rm remote]'])
        self.assertTrue(self.run[0].startswith('[ssh][me@a][tcpdump -i '))
        self.assertTrue(self.local.exists())
        self.assertFalse(self.remote.exists())

    def test_sudo(self):
        self.assertEqual(self.ksniff('-S', '--ssh', '-h', 'a', '-h', 'b'), ['a', 'b'])
        self.assertEqual(self.asked, ['sudo password (for 2 hosts):'])
        self.assertEqual([line for line in self.run if line.startswith('[sudo]')], [
            '[sudo][-S][-p][]' + self.tcpdump('a', 'remote'), '[sudo][-S][-p][][rm][remote]',
            '[sudo][-S][-p][]' + self.tcpdump('b', 'remote'), '[sudo][-S][-p][][rm][remote]'])
        self.assertFalse(self.remote.exists())
        self.assertEqual(self.ksniff('-S', '-h', 'a'), ['a'])
        self.assertEqual(self.asked[1:], ['sudo password:'])
        self.assertEqual(self.run, ['[sudo][-S][-p][]' + self.tcpdump('a', 'local'), self.tcpdump('a', 'local')])

    def test_wrong_password(self):
        self.local.write_bytes(capture(request(b'get old/\r\n')))
        self.assertEqual(self.ksniff('-S', '-h', 'a', password='no', code=3), [], 'not what an older run has left')
        self.assertEqual(self.err.getvalue(), 'ERROR: failed to capture packets for a\n')

        def nobody(prompt):
            raise EOFError
        err = io.StringIO()
        with mock.patch.dict(os.environ, self.environment):
            self.assertEqual(command.run(['-S', '-h', 'a'], Console(io.BytesIO(), err), ask_password=nobody), 3)
        self.assertEqual(err.getvalue(), 'ERROR: no sudo password was given\n')

    def test_one_host_of_three_is_dead(self):
        self.assertEqual(self.ksniff('--ssh', '-h', 'a,b,c', code=3, DEAD='b'), ['a', 'c'])
        self.assertEqual(self.err.getvalue(), 'ERROR: failed to execute tcpdump on b: is tcpdump installed?\n')

    def test_tcpdump_fails(self):
        self.assertEqual(self.ksniff('-h', 'a', code=3, NO_CAPTURE='1'), [])
        self.assertEqual(self.ksniff('--ssh', '-h', 'a', code=3, NO_CAPTURE='1'), [])
        self.assertEqual([line for line in self.run if 'scp' in line], [])

    def test_copy_fails(self):
        self.local.write_bytes(capture(request(b'get old/\r\n')))
        self.assertEqual(self.ksniff('--ssh', '-h', 'a', code=4, NO_COPY='1'), [])
        self.assertEqual(self.err.getvalue(),
                         f'ERROR: failed to copy a:{self.remote} to {self.local}; it is still there\n')
        self.assertTrue(self.remote.exists())

    def test_broken_capture(self):
        (self.folder / 'prepared').write_bytes(capture(request(b'get work/\r\n'))[:-1])
        self.assertEqual(self.ksniff('-h', 'a', code=10), [])
        self.assertIn('it is cut off', self.err.getvalue())

    def test_it_cannot_be_removed(self):
        (self.bin / 'rm').write_text('#!/bin/sh\nexit 1\n')
        (self.bin / 'rm').chmod(0o755)
        self.assertEqual(self.ksniff('--ssh', '-h', 'a'), ['a'])
        self.assertEqual(self.err.getvalue(), f'WARNING: failed to remove a:{self.remote}\n')

    def test_missing_programs(self):
        nothing = {'PATH': str(self.folder)}
        for words, message in {('-h', 'a'): 'cannot find tcpdump: is tcpdump installed?',
                               ('-h', 'a', '-t', '/no/tcpdump'): 'cannot find /no/tcpdump: is tcpdump installed?',
                               ('-h', 'a', '--ssh'): 'cannot find ssh and/or scp: is ssh installed?',
                               ('-h', 'a', '-S', '-t', str(self.bin / 'tcpdump')): 'cannot find sudo'}.items():
            with self.subTest(words):
                self.assertEqual(self.ksniff(*words, code=3, **nothing), [])
                self.assertEqual(self.err.getvalue(), f'ERROR: {message}\n')
        self.assertEqual(self.asked, [])

    def test_process(self):
        """Standard error of tcpdump comes through, but for -q; -v shows the commands."""
        def ksniff(*words):
            return subprocess.run([*KSNIFF, '-h', 'a', '-l', self.local, *words], capture_output=True, text=True,
                                  timeout=20, cwd='/', stdin=subprocess.DEVNULL,
                                  env=process_environment(self.environment))
        ended = ksniff('-v')
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertEqual(ended.stderr, f'command: tcpdump -s 132 -c 1000 -w {self.local} '
                                       f'dst host a and dst port 22133\ntcpdump speaks\nprocessing {self.local}\n')
        self.assertEqual(ended.stdout.splitlines()[0], 'HOST a')
        self.assertEqual(ksniff('-q', '-v').stderr, '')
        self.assertEqual(ksniff('--colour').returncode, 1)


if __name__ == '__main__':
    unittest.main()
