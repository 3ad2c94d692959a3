"""--daemon: who starts it hears how it went; the pid file is right; what a service manager hears of a real server."""

import grp
import os
import pathlib
import pwd
import signal
import socket
import unittest

from functional.records import add
from functional.waiting import eventually
from support.environment import run_kestrel
from support.server import Server, listens


def title(pid):
    return pathlib.Path(f'/proc/{pid}/cmdline').read_bytes().rstrip(b'\0').decode()


class DaemonTest(unittest.TestCase):

    def setUp(self):
        self.server = Server()
        self.addCleanup(self.server.close)
        self.pid_path = self.server.dir / 'kestrel.pid'
        self.log_path = self.server.dir / 'kestrel.log'
        self.write_config()

    def write_config(self, more=None):
        self.server.write_config({'logging': {'filename': self.log_path}, **(more or {})})

    def start(self, *words):
        return run_kestrel('-f', self.server.config_path, '--daemon', '--pid-file', self.pid_path, *words)

    def start_well(self, *words):
        """-> the pid of the daemon."""
        ended = self.start(*words)
        self.assertEqual((ended.returncode, ended.stdout, ended.stderr), (0, '', ''))
        pid = int(self.pid_path.read_text())
        self.addCleanup(self.kill, pid)
        # it has said that it is ready
        self.assertTrue(listens(self.server.port))
        return pid

    def is_there(self, pid):
        """Is the process there, and ours? Its number may have gone to another."""
        try:
            return 'kestrel' in title(pid)
        except FileNotFoundError:
            return False

    def kill(self, pid):
        if self.is_there(pid):
            os.kill(pid, signal.SIGKILL)

    def stop(self, pid):
        os.kill(pid, signal.SIGTERM)
        eventually(self, 'the daemon is gone', lambda: not self.is_there(pid))

    def test_life(self):
        self.pid_path.write_text('1\n')         # left behind by another boot, and names a stranger
        pid = self.start_well('--umask', '077')
        self.assertNotEqual(os.getsid(pid), os.getsid(0))
        self.assertEqual({os.readlink(f'/proc/{pid}/fd/{fd}') for fd in (0, 1, 2)}, {'/dev/null'})
        with self.server.client() as client:
            client.expect(b'set q 0 0 1\r\na\r\n', b'STORED\r\n')
        self.assertEqual(self.log_path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(title(pid), 'kestrel: kestrel.conf up 0 items')

        with self.subTest('a second one'):
            ended = self.start()
            self.assertEqual(ended.returncode, 1)
            self.assertEqual(len(ended.stderr.splitlines()), 1)
            self.assertIn(f'kestrel runs already as process {pid}', ended.stderr)
            self.assertEqual(int(self.pid_path.read_text()), pid)

        self.stop(pid)
        self.assertFalse(self.pid_path.exists())
        self.assertIn('stopped', self.log_path.read_text())

    def test_killed_one_is_in_nobodys_way(self):
        pid = self.start_well()
        os.kill(pid, signal.SIGKILL)
        eventually(self, 'gone', lambda: not self.is_there(pid))
        self.assertEqual(int(self.pid_path.read_text()), pid)
        again = self.start_well()
        self.assertNotEqual(again, pid)
        self.stop(again)

    def test_errors_reach_who_starts_it(self):
        last = 'kestrel: the daemon ended before it was ready'
        with self.subTest('the port is in use'), socket.socket() as other:
            other.bind(('127.0.0.1', self.server.port))
            other.listen()
            ended = self.start()
            self.assertEqual(ended.returncode, 1)
            lines = ended.stderr.splitlines()
            self.assertIn(f'port {self.server.port}', lines[0])
            self.assertEqual(lines[1:], [last])
        with self.subTest('the log'):
            self.server.write_config({'logging': {'filename': '/nowhere/kestrel.log'}})
            self.assertIn('/nowhere/kestrel.log', self.start().stderr)
        with self.subTest('no log file'):
            self.server.write_config({})
            self.assertIn('[logging] filename', self.start().stderr)
        with self.subTest('the configuration'):
            self.server.write_config('[server]\nqueue_pth = x\n')
            ended = self.start()
            self.assertEqual((ended.returncode, len(ended.stderr.splitlines())), (1, 1))
            self.assertIn('queue_pth', ended.stderr)
        self.write_config()
        for words, named in ((('--user', 'no-such-user'), 'no-such-user'), (('--group', 'no-such'), 'no-such'),
                             (('--umask', '8'), "'8'"), (('--pid-file', '/nowhere/pid'), '/nowhere/pid')):
            with self.subTest(words):
                ended = self.start(*words)
                self.assertGreater(ended.returncode, 0)
                self.assertIn(named, ended.stderr)
        self.assertFalse(self.pid_path.exists() and self.pid_path.read_text())

    def test_options_that_need_it(self):
        for words in ('--pid-file', 'x'), ('--user', 'x'), ('--group', 'x'), ('--umask', '22'):
            with self.subTest(words):
                ended = run_kestrel('-f', self.server.config_path, *words)
                self.assertEqual(ended.returncode, 2)
                self.assertIn(f'{words[0]}: only with --daemon', ended.stderr)

    def test_user_and_group(self):
        """As root another group than root's; else the own ones. A change of the user is seen by make test-package."""
        user = pwd.getpwuid(os.geteuid())
        group = grp.getgrnam('daemon') if user.pw_uid == 0 else grp.getgrgid(os.getegid())
        pid = self.start_well('--user', user.pw_name, '--group', group.gr_name)
        status = pathlib.Path(f'/proc/{pid}/status').read_text()
        self.assertIn('Uid:' + f'\t{user.pw_uid}' * 4 + '\n', status)
        self.assertIn('Gid:' + f'\t{group.gr_gid}' * 4 + '\n', status)
        self.assertEqual(self.log_path.stat().st_gid, group.gr_gid)
        self.stop(pid)


class ServiceManagerTest(unittest.TestCase):
    """The life of a server as systemd hears it."""

    def setUp(self):
        self.server = Server()
        self.addCleanup(self.server.close)
        path = str(self.server.dir / 'notify')
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.manager.close)
        self.manager.bind(path)
        self.manager.settimeout(10)
        self.server._env = {'NOTIFY_SOCKET': path, 'WATCHDOG_USEC': '300000'}

    def heard(self, *keys):
        """The next message that has one of the keys; -> dict."""
        while True:
            lines = dict(line.split('=', 1) for line in self.manager.recv(4096).decode().split('\n'))
            if lines.keys() & set(keys):
                return lines

    def test_life(self):
        self.server.spool.mkdir()
        (self.server.spool / 'q').write_bytes(add(b'a') + add(b'b'))
        self.server.start()
        first = self.heard('STATUS')
        self.assertRegex(first['STATUS'], '^replaying queue 1 of 1, 0 MB read$')
        self.assertIn('EXTEND_TIMEOUT_USEC', first)
        self.assertEqual(self.heard('READY')['STATUS'], 'up, 2 items in 1 queues, 0 connections')
        self.assertTrue(listens(self.server.port))
        for _ in range(3):
            self.assertRegex(self.heard('WATCHDOG')['STATUS'], '^up, 2 items')

        os.kill(self.server.pid, signal.SIGHUP)
        self.assertGreater(int(self.heard('RELOADING')['MONOTONIC_USEC']), 0)
        self.assertRegex(self.heard('READY')['STATUS'], '^up, 2 items')
        self.server.write_config('[server]\nqueue_pth = x\n')
        os.kill(self.server.pid, signal.SIGHUP)
        self.heard('RELOADING')
        self.assertRegex(self.heard('READY')['STATUS'], '^not reloaded: .*queue_pth')

        self.server.stop()
        self.assertEqual(self.heard('STOPPING')['STATUS'], 'stopping')


if __name__ == '__main__':
    unittest.main()
