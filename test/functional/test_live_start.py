"""The start: what it says and leaves alone when it cannot be, the command line, two servers on one spool."""

import os
import re
import socket
import subprocess
import unittest

from functional.records import add, opened
from functional.waiting import eventually, files
from support.environment import kestrel_command, process_environment, run_kestrel
from support.server import Server, start_server


def without_override():
    """Words before a command that make permissions count for root as well."""
    if os.geteuid() == 0:
        return ['setpriv', '--inh-caps=-all', '--bounding-set=-dac_override,-dac_read_search']
    return []


class StartErrorTest(unittest.TestCase):

    def setUp(self):
        self.server = Server()
        self.addCleanup(self.server.close)

    def refuse(self, *words, more=()):
        """Start on the present configuration; it must end with one line that holds all words. Returns the line."""
        before = files(self.server.dir)
        ended = subprocess.run([*without_override(), *kestrel_command('-f', self.server.config_path, *more)], cwd='/',
                               env=process_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                               timeout=20)
        self.assertGreater(ended.returncode, 0, 'killed by a signal')
        lines = ended.stderr.splitlines()
        self.assertEqual(len(lines), 1, ended.stderr)
        for word in words:
            self.assertIn(str(word), lines[0])
        self.assertEqual(files(self.server.dir), before, 'something changed on disk')
        return lines[0]

    def spool_with_work_to_do(self):
        """A spool that a start would write to: an open read to back out, a torn record, a temporary file."""
        self.server.spool.mkdir()
        (self.server.spool / 'q').write_bytes(add(b'a') + opened(1) + add(b'b')[:12])
        (self.server.spool / 'q~~123').write_bytes(b'')

    def test_configuration_error_names_file_line_and_key(self):
        bad = {
            'unknown key': ('[server]\nqueue_path = $spool\nqueue_pth = /x\n', 3, 'queue_pth'),
            'unknown section': ('[server]\nqueue_path = $spool\n[sever]\n', 3, 'sever'),
            'wrong type': ('[server]\nqueue_path = $spool\nmemcache_listen_port = many\n', 3, 'memcache_listen_port'),
            'duration without unit': ('[server]\nqueue_path = $spool\n\nclient_timeout = 30\n', 4, 'client_timeout'),
            'impossible': ('[server]\nqueue_path = $spool\n[queues]\n[[q]]\nmax_items = 0\n', 5, 'max_items'),
            'negative size': ('[server]\nqueue_path = $spool\n[default]\nmax_size = -1\n', 4, 'max_size'),
        }
        for name, (text, line, key) in bad.items():
            with self.subTest(name):
                self.server.write_config(text)
                for more in (), ('--validate',):
                    said = self.refuse(self.server.config_path, key, more=more)
                    self.assertRegex(said.replace(str(self.server.config_path), ''), rf'\b{line}\b')
                self.assertEqual(run_kestrel('-f', self.server.config_path, '--validate').returncode, 1)

    def test_file_that_is_no_ini_file(self):
        self.server.write_config('[server\nqueue_path = $spool\n')
        self.refuse(self.server.config_path)

    def test_no_configuration_file(self):
        self.server.config_path.unlink()
        self.refuse(self.server.config_path)

    def test_unknown_option(self):
        ended = run_kestrel('--no-such-option')
        self.assertGreater(ended.returncode, 0)
        self.assertIn('--no-such-option', ended.stderr)

    def test_spool_is_a_file(self):
        self.server.spool.write_bytes(b'precious')
        self.refuse(self.server.spool)

    def test_spool_cannot_be_made(self):
        (self.server.dir / 'file').write_bytes(b'')
        path = self.server.dir / 'file' / 'spool'
        self.server.write_config({'server': {'queue_path': path}})
        self.refuse(path)

    def test_spool_without_permission_to_write(self):
        self.spool_with_work_to_do()
        self.server.spool.chmod(0o555)
        self.addCleanup(self.server.spool.chmod, 0o755)
        self.refuse(self.server.spool)

    def test_port_in_use(self):
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(('127.0.0.1', self.server.port))
            other.listen()
            with self.subTest('no spool yet'):
                self.refuse(self.server.port)
            with self.subTest('a spool that replay would change'):
                self.spool_with_work_to_do()
                self.refuse(self.server.port)

    def test_address_that_is_not_ours(self):
        self.spool_with_work_to_do()
        self.server.write_config({'server': {'listen_address': '192.0.2.1'}})
        self.refuse('192.0.2.1')

    def test_validate_changes_nothing(self):
        ended = run_kestrel('-f', self.server.config_path, '--validate')
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertFalse(self.server.spool.exists())

    def test_validate_beside_a_running_server(self):
        self.server.start()
        ended = run_kestrel('-f', self.server.config_path, '--validate')
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.server.stop()


class CommandLineTest(unittest.TestCase):

    def test_version(self):
        ended = run_kestrel('--version')
        self.assertEqual(ended.returncode, 0)
        self.assertRegex(ended.stdout + ended.stderr, r'\b\d+\.\d+\.\d+\b')

    def test_help(self):
        ended = run_kestrel('--help')
        self.assertEqual(ended.returncode, 0)
        for option in '-f', '--config', '--validate', '--version', '--help':
            self.assertIn(option, ended.stdout)

    def test_config_is_the_long_form(self):
        with Server() as server:
            ended = run_kestrel('--config', server.config_path, '--validate')
            self.assertEqual(ended.returncode, 0, ended.stderr)


class ReadyTest(unittest.TestCase):

    def test_says_that_it_is_ready(self):
        server = start_server(self)
        eventually(self, 'ready in the log', lambda: 'ready' in server.log())

    def test_says_what_it_starts_with(self):
        server = start_server(self)
        with server.client() as client:
            client.expect(b'set q 0 0 1048576\r\n%b\r\n' % bytes(1048576), b'STORED\r\n')
        server.stop()
        before = len(server.log())
        server.start()
        lines = eventually(self, 'ready in the log', lambda: 'ready' in server.log()[before:]
                           and server.log()[before:].splitlines())
        said = [line.partition(' kestrel: ')[2] for line in lines]
        version = r'\d+\.\d+\.\d+'
        for line, form in zip(said, (
                rf'kestrel {version} starts: pid {server.pid}, configuration {server.config_path}, (not )?compiled, '
                rf'Python {version}, gevent {version}',
                rf'spool {server.spool}: 1 queues, 1 items of 1\.0 MB, journals of 1\.0 MB, replayed in \d+\.\d s',
                rf'kestrel {version} ready: 1 queues in {server.spool}, memcache on 127\.0\.0\.1:{server.port}')):
            self.assertRegex(line, '^%s$' % form)
        self.assertEqual(len(said), 3, lines)

    def test_makes_its_spool(self):
        server = Server()
        self.addCleanup(server.close)
        server.write_config({'server': {'queue_path': server.spool / 'deep' / 'below'}})
        server.start()
        with server.client() as client:
            client.expect(b'set q 0 0 1\r\na\r\n', b'STORED\r\n')
        self.assertTrue((server.spool / 'deep' / 'below' / 'q').is_file())
        server.stop()

    def test_version_on_the_port_is_that_of_the_command(self):
        server = start_server(self)
        said = re.search(r'\d+\.\d+\.\d+', run_kestrel('--version').stdout).group()
        with server.client() as client:
            client.expect(b'version\r\n', f'VERSION {said}\r\n'.encode())


class TwoServersTest(unittest.TestCase):

    def setUp(self):
        self.first = start_server(self)
        with self.first.client() as client:
            client.expect(b'set q 0 0 1\r\na\r\nget q/open\r\n', b'STORED\r\nVALUE q 0 1\r\na\r\nEND\r\n')
        self.second = Server()
        self.addCleanup(self.second.close)

    def refuse_second_on(self, spool):
        with self.first.client() as client:     # whose open read the other must not put back
            client.expect(b'get q/t=5000/open\r\n', b'VALUE q 0 1\r\na\r\nEND\r\n')
            self.second.write_config({'server': {'queue_path': spool}})
            before = files(self.first.spool)
            ended = run_kestrel('-f', self.second.config_path)
            self.assertGreater(ended.returncode, 0)
            lines = ended.stderr.splitlines()
            self.assertEqual(len(lines), 1, ended.stderr)
            self.assertIn(str(spool), lines[0])
            self.assertRegex(lines[0], rf'\b{self.first.pid}\b')
            self.assertEqual(files(self.first.spool), before)

    def test_second_is_refused_and_names_the_first(self):
        self.refuse_second_on(self.first.spool)

    def test_another_path_to_the_same_folder(self):
        link = self.second.dir / 'link'
        link.symlink_to(self.first.spool)
        self.refuse_second_on(link)

    def test_nothing_but_journals_lies_in_the_spool(self):
        # an extra file would keep the original from starting on it
        self.assertEqual(list(files(self.first.spool)), ['q'])

    def test_lock_goes_with_the_process(self):
        self.first.kill9()
        self.second.write_config({'server': {'queue_path': self.first.spool}})
        self.second.start()
        with self.second.client() as client:
            client.expect(b'get q\r\n', b'VALUE q 0 1\r\na\r\nEND\r\n')
        self.second.stop()
