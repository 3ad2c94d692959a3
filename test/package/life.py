"""The life of the package on a machine with systemd: runs inside the container, as root, in this order.

    python3 life.py OLD.deb NEW.deb [FIRST.deb] [unittest options]

OLD is NEW under a lower version, FIRST what the project's first package was.
"""

import contextlib
import os
import pathlib
import pwd
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

from pymemcache.client.base import Client

OLD, NEW, *FIRST = [word for word in sys.argv if word.endswith('.deb')]
sys.argv = [word for word in sys.argv if not word.endswith('.deb')]
CONFIG = pathlib.Path('/etc/kestrel/kestrel.conf')
SPOOL = pathlib.Path('/var/spool/kestrel')
LOG = pathlib.Path('/var/log/kestrel/kestrel.log')
PROGRAM = pathlib.Path('/usr/lib/python3/dist-packages/kestrel')
PORT = 22133
SECONDS = 20


def run(*words, check=True):
    ended = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if check and ended.returncode:
        raise AssertionError(f'{" ".join(words)}: {ended.returncode}\n{ended.stdout}')
    return ended


def install(package, *options, check=True):
    return run('apt-get', 'install', '-y', '--no-install-recommends', '--allow-downgrades', *options, package,
               check=check)


def dpkg_status():
    """What dpkg thinks of the package, for example ``install ok installed``; '' if it does not know it."""
    return run('dpkg-query', '-W', '-f', '${Status}', 'kestrel', check=False).stdout.partition('dpkg-query:')[0].strip()


@contextlib.contextmanager
def small_disk(path, size):
    """A file system of so many bytes at a folder, which is made if it is missing."""
    path.mkdir(exist_ok=True)
    run('mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', str(path))
    try:
        yield
    finally:
        run('umount', str(path))


def show(what, unit='kestrel'):
    return run('systemctl', 'show', '-P', what, unit).stdout.strip()


def journal(unit='kestrel'):
    return run('journalctl', '--no-pager', '-o', 'cat', '-u', unit).stdout


def client(port=PORT):
    return Client(('127.0.0.1', port), connect_timeout=5, timeout=5)


def put(queue, data, port=PORT):
    with contextlib.closing(client(port)) as connection:
        assert connection.set(queue, data, noreply=False)


def get(queue, port=PORT):
    with contextlib.closing(client(port)) as connection:
        return connection.get(queue)


def ask(request, port=PORT):
    """One request by hand; -> all that comes until the server closes or is silent."""
    with socket.create_connection(('127.0.0.1', port), timeout=5) as sock:
        sock.sendall(request)
        sock.shutdown(socket.SHUT_WR)
        return b''.join(iter(lambda: sock.recv(65536), b''))


def listening():
    """{(address, port) of each listening TCP socket}, the address as hexadecimal digits."""
    found = set()
    for table in '/proc/net/tcp', '/proc/net/tcp6':
        for line in pathlib.Path(table).read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == '0A':
                address, port = words[1].split(':')
                found.add((address, int(port, 16)))
    return found


def eventually(what, is_so):
    deadline = time.monotonic() + SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise AssertionError(f'not within {SECONDS} s: {what}\n{journal()[-2000:]}')
        time.sleep(0.05)


class Traffic:
    """A client that puts numbered items into a queue until it is ended; it connects again whenever it has to."""

    def __init__(self, queue):
        self.queue = queue
        self.acked = []
        self.connections = 0
        self.refused = 0        # attempts to connect that nobody listened to
        self._ended = False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        eventually('traffic flows', lambda: len(self.acked) > 50)
        return self

    def __exit__(self, *_):
        self._ended = True
        self._thread.join()

    def _run(self):
        number = 0
        while not self._ended:
            try:
                with contextlib.closing(client()) as connection:
                    self.connections += 1
                    while not self._ended:
                        number += 1
                        if connection.set(self.queue, b'%d' % number, noreply=False):
                            self.acked.append(number)
            except ConnectionRefusedError:
                self.refused += 1
                time.sleep(0.02)
            except (OSError, Exception) as error:
                if 'pymemcache' not in type(error).__module__ and not isinstance(error, OSError):
                    raise
                time.sleep(0.02)

    def lost(self):
        """Acknowledged numbers that do not come out of the queue."""
        out = set()
        with contextlib.closing(client()) as connection:
            while (data := connection.get(self.queue)) is not None:
                out.add(int(data))
        return sorted(set(self.acked) - out)


class LifeTest(unittest.TestCase):

    def is_active(self, unit='kestrel'):
        return run('systemctl', 'is-active', unit, check=False).stdout.strip()

    def edit(self, change):
        text = CONFIG.read_text()
        changed = change(text)
        self.assertNotEqual(changed, text)
        CONFIG.write_text(changed)

    def test_00a_no_room_for_the_program(self):
        with small_disk(PROGRAM, 64 << 10):
            ended = install(NEW, check=False)
            self.assertNotEqual(ended.returncode, 0)
            self.assertIn('No space left on device', ended.stdout)
        # nothing is configured, nothing runs, and with room it is like the first time
        self.assertNotIn('installed', dpkg_status().split())
        self.assertFalse(pathlib.Path('/usr/bin/kestrel').exists())
        self.assertNotIn(PORT, {port for _, port in listening()})

    def test_00b_no_room_in_the_spool(self):
        with small_disk(SPOOL, 16 << 10):
            with contextlib.suppress(OSError), open(SPOOL / '.room', 'wb', buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
            install(NEW)
            self.assertEqual((dpkg_status(), self.is_active()), ('install ok installed', 'active'))
            self.assertRegex(ask(b'set q 0 0 1\r\na\r\n'), b'^SERVER_ERROR .*disk')
            self.assertRegex(LOG.read_text(), 'No space left on device|out of disk space')
            (SPOOL / '.room').unlink()
            put('q', b'there is room')
            self.assertEqual(get('q'), b'there is room')
            # a spool that is a file system of its own is emptied
            run('apt-get', 'purge', '-y', 'kestrel')
            self.assertEqual(list(SPOOL.iterdir()), [])
        SPOOL.rmdir()
        self.assertEqual(dpkg_status(), '')

    def test_01_install_starts_the_service_on_loopback_alone(self):
        install(OLD)
        self.assertEqual(self.is_active(), 'active')
        self.assertIn(('0100007F', PORT), listening())
        self.assertEqual({address for address, _ in listening()}, {'0100007F'})
        self.assertEqual(run('systemctl', 'is-enabled', 'kestrel').stdout.strip(), 'enabled')
        size = run('dpkg-query', '-W', '-f', '${Installed-Size}', 'kestrel').stdout
        print(f'{size} KB installed ', end='', file=sys.stderr)
        self.assertLessEqual(int(size), 5 << 10)

    def test_02_user_and_folders(self):
        user = pwd.getpwnam('kestrel')
        self.assertLess(user.pw_uid, 1000)
        self.assertEqual((user.pw_dir, user.pw_shell), (str(SPOOL), '/usr/sbin/nologin'))
        for path, wanted in ((SPOOL, 'kestrel kestrel 750'), (LOG.parent, 'kestrel adm 2750'),
                             ('/var/lib/kestrel', 'kestrel kestrel 750'), (LOG, 'kestrel adm 640'),
                             (CONFIG, 'root root 644')):
            with self.subTest(path):
                self.assertEqual(run('stat', '-c', '%U %G %a', str(path)).stdout.strip(), wanted)
        pid = show('MainPID')
        self.assertEqual(run('stat', '-c', '%U', f'/proc/{pid}').stdout.strip(), 'kestrel')

    def test_03_put_and_get(self):
        put('first', b'hello')
        self.assertEqual(get('first'), b'hello')
        self.assertIsNone(get('first'))

    def test_04_units(self):
        self.assertEqual(run('systemd-analyze', 'verify', '--man=yes', 'kestrel.service', 'kestrel@x.service').stdout, '')
        self.assertRegex(show('StatusText'), r'^up, \d+ items in \d+ queues, \d+ connections$')
        self.assertEqual(show('LimitNOFILE'), '262144')
        title = pathlib.Path(f'/proc/{show("MainPID")}/cmdline').read_bytes().rstrip(b'\0').decode()
        self.assertRegex(title, r'^kestrel: kestrel\.conf up \d+ items$')
        said = run('systemd-analyze', 'security', '--no-pager', 'kestrel.service').stdout.splitlines()[-1]
        self.assertLessEqual(float(re.search(r'\d+\.\d+', said).group()), 1.1)

    def test_05_the_compiled_modules_are_used_and_the_sources_do_too(self):
        code = 'import kestrel.item as item; print(item.__file__)'
        self.assertRegex(run('python3', '-c', code).stdout, r'\.so$')
        files = [str(path) for path in PROGRAM.rglob('*.so')]
        self.assertGreater(len(files), 10)
        run('systemctl', 'stop', 'kestrel')
        for file in files:
            os.rename(file, file + '.away')
        try:
            self.assertRegex(run('python3', '-c', code).stdout, r'\.py$')
            run('systemctl', 'start', 'kestrel')
            put('pure', b'x')
            self.assertEqual(get('pure'), b'x')
        finally:
            for file in files:
                os.rename(file + '.away', file)
            run('systemctl', 'restart', 'kestrel')

    def test_06_reload(self):
        pid = show('MainPID')
        self.edit(lambda text: text.replace('\n[queues]\n', '\n[queues]\n\n[[tiny]]\nmax_items = 1\n'))
        run('systemctl', 'reload', 'kestrel')
        eventually('the reload is in force', lambda: b'max_items=1\r\n' in ask(b'dump_config tiny\r\n'))
        with self.subTest('a bad one'):
            good = CONFIG.read_text()
            self.edit(lambda text: text.replace('max_items = 1\n', 'max_itms = 1\n'))
            self.assertNotEqual(run('systemctl', 'reload', 'kestrel', check=False).returncode, 0)
            self.assertIn('max_itms', journal())
            put('tiny', b'x')
            self.assertEqual(get('tiny'), b'x')
            CONFIG.write_text(good)
            run('systemctl', 'reload', 'kestrel')
        self.assertEqual((self.is_active(), show('MainPID')), ('active', pid))

    def test_07_kill_9(self):
        for number in range(100):
            put('killed', b'%d' % number)
        restarts = int(show('NRestarts'))
        os.kill(int(show('MainPID')), signal.SIGKILL)
        eventually('it is back', lambda: int(show('NRestarts')) == restarts + 1 and self.is_active() == 'active')
        self.assertEqual([get('killed') for _ in range(101)], [b'%d' % number for number in range(100)] + [None])

    def test_08_watchdog(self):
        folder = pathlib.Path('/run/systemd/system/kestrel.service.d')
        folder.mkdir(parents=True)
        (folder / 'test.conf').write_text('[Service]\nWatchdogSec=1\n')
        run('systemctl', 'daemon-reload')
        run('systemctl', 'restart', 'kestrel')
        time.sleep(2)
        self.assertEqual((self.is_active(), show('NRestarts')), ('active', '0'))
        os.kill(int(show('MainPID')), signal.SIGSTOP)
        eventually('it is restarted', lambda: show('NRestarts') == '1' and self.is_active() == 'active')
        self.assertIn('Watchdog timeout', journal())
        (folder / 'test.conf').unlink()
        folder.rmdir()
        run('systemctl', 'daemon-reload')
        run('systemctl', 'restart', 'kestrel')

    def test_09_stop_under_load(self):
        with Traffic('stopped') as traffic:
            began = time.monotonic()
            run('systemctl', 'stop', 'kestrel')
            self.assertLess(time.monotonic() - began, 8)
            self.assertEqual(show('Result'), 'success')
        run('systemctl', 'start', 'kestrel')
        self.assertEqual(traffic.lost(), [])

    def test_10_shutdown_stays_down(self):
        ask(b'shutdown\r\n')
        eventually('it is down', lambda: self.is_active() == 'inactive')
        time.sleep(2)
        self.assertEqual((self.is_active(), show('NRestarts')), ('inactive', '0'))
        run('systemctl', 'start', 'kestrel')

    def test_11_start_is_quick(self):
        run('systemctl', 'stop', 'kestrel')
        began = time.monotonic()
        run('systemctl', 'start', 'kestrel')
        print(f'{time.monotonic() - began:.2f} s to READY ', end='', file=sys.stderr)

    def test_11b_idle_it_costs_next_to_nothing(self):
        pid = show('MainPID')

        def spent():
            return int(pathlib.Path(f'/proc/{pid}/schedstat').read_text().split()[0]) / 1e9
        time.sleep(1)
        before = spent()
        time.sleep(10)
        share = (spent() - before) / 10
        memory = int(re.search(r'VmRSS:\s+(\d+)', pathlib.Path(f'/proc/{pid}/status').read_text())[1]) / 1024
        print(f'{share:.2%} of a core, {memory:.0f} MB ', end='', file=sys.stderr)
        self.assertLessEqual(share, 0.002)
        self.assertLessEqual(memory, 45)

    def test_11c_ports_held_by_systemd(self):
        unit = pathlib.Path('/etc/systemd/system/kestrel.socket')
        unit.write_bytes(pathlib.Path('/usr/share/doc/kestrel/examples/kestrel.socket').read_bytes())
        try:
            run('systemctl', 'daemon-reload')
            self.assertEqual(run('systemd-analyze', 'verify', '--man=yes', 'kestrel.socket').stdout, '')
            run('systemctl', 'stop', 'kestrel')
            run('systemctl', 'start', 'kestrel.socket')
            with self.subTest('the first client starts it'):
                self.assertEqual(self.is_active(), 'inactive')
                put('starter', b'x')
                self.assertEqual(self.is_active(), 'active')
            with self.subTest('nobody is refused while it is restarted'), Traffic('held') as traffic:
                for _ in range(2):
                    run('systemctl', 'restart', 'kestrel')
            self.assertEqual((traffic.lost(), traffic.refused), ([], 0))
            with self.subTest('a socket for no port'):
                unit.write_text(unit.read_text().replace('127.0.0.1:2222\n', '127.0.0.1:2220\n'))
                run('systemctl', 'daemon-reload')
                run('systemctl', 'stop', 'kestrel.socket', 'kestrel')
                run('systemctl', 'start', 'kestrel.socket')
                self.assertNotEqual(run('systemctl', 'start', 'kestrel', check=False).returncode, 0)
                self.assertIn("a socket 'kestrel.socket' on 127.0.0.1 port 2220, which is no port", journal())
        finally:
            run('systemctl', 'stop', 'kestrel.socket', 'kestrel')
            unit.unlink()
            run('systemctl', 'daemon-reload')
            run('systemctl', 'reset-failed', check=False)
            run('systemctl', 'start', 'kestrel')

    def test_12_logrotate_loses_no_line(self):
        lines = len(LOG.read_text().splitlines())
        run('logrotate', '--force', '/etc/logrotate.d/kestrel')
        old = LOG.with_name('kestrel.log.1')
        self.assertEqual(len(old.read_text().splitlines()), lines)
        self.assertEqual(run('stat', '-c', '%U %G %a', str(LOG)).stdout.strip(), 'kestrel adm 640')
        ask(b'reload\r\n')
        self.assertEqual(len(old.read_text().splitlines()), lines)
        self.assertIn('configuration reloaded', LOG.read_text())

    def test_12b_spool_of_a_newer_version(self):
        put('newer', b'before')
        run('systemctl', 'stop', 'kestrel')
        with open(SPOOL / 'newer', 'ab') as file:
            file.write(b'\x63what only a later version can read')
        run('systemctl', 'start', 'kestrel')
        # what can be read is there, the rest is kept, and the log says where
        self.assertEqual([get('newer'), get('newer')], [b'before', None])
        self.assertRegex(LOG.read_text(), r'op 99, which this version does not know: was it written by a newer one\?.* saved to /var/spool/kestrel/\.corrupt/newer')
        kept, = (SPOOL / '.corrupt').glob('newer*')
        self.assertIn(b'what only a later version can read', kept.read_bytes())

    def test_12c_broken_configuration_at_the_start(self):
        good = CONFIG.read_text()
        run('systemctl', 'stop', 'kestrel')
        CONFIG.write_text('[server]\nmemcache_listen_port = 70000\n')
        self.assertNotEqual(run('systemctl', 'start', 'kestrel', check=False).returncode, 0)
        self.assertIn('kestrel.conf: line 2: [server] memcache_listen_port', journal())
        CONFIG.write_text(good)
        run('systemctl', 'reset-failed', 'kestrel', check=False)
        run('systemctl', 'start', 'kestrel')

    def test_13_a_second_instance(self):
        text = CONFIG.read_text()
        for old, new in (('#memcache_listen_port = 22133', 'memcache_listen_port = 22134'),
                         ('#text_listen_port = 2222', 'text_listen_port = none'),
                         ('#thrift_listen_port = 2229', 'thrift_listen_port = none'),
                         ('#queue_path = /var/spool/kestrel', 'queue_path = /var/spool/kestrel/second'),
                         ('filename = /var/log/kestrel/kestrel.log', 'filename = /var/log/kestrel/second.log')):
            self.assertIn(old, text)
            text = text.replace(old, new)
        text = re.sub('^http_port = .*', 'http_port = none', text, flags=re.MULTILINE)
        CONFIG.with_name('kestrel-second.conf').write_text(text)
        run('systemctl', 'start', 'kestrel@second')
        put('q', b'of the second', 22134)
        self.assertIsNone(get('q'))
        self.assertEqual(get('q', 22134), b'of the second')
        self.assertTrue((SPOOL / 'second/q').is_file())
        self.assertTrue(pathlib.Path('/var/lib/kestrel/second').is_dir())
        with self.subTest('without a configuration it does not start'):
            run('systemctl', 'start', 'kestrel@third')
            self.assertEqual(self.is_active('kestrel@third'), 'inactive')
        with self.subTest('two on one spool'):
            text = text.replace('22134', '22135').replace('kestrel/second\n', 'kestrel\n')
            CONFIG.with_name('kestrel-fourth.conf').write_text(text)
            self.assertNotEqual(run('systemctl', 'start', 'kestrel@fourth', check=False).returncode, 0)
            self.assertIn('is in use by another kestrel', journal('kestrel@fourth'))
            run('systemctl', 'stop', 'kestrel@fourth')
            CONFIG.with_name('kestrel-fourth.conf').unlink()

    def test_14_upgrade_with_a_spool_and_traffic(self):
        pids = show('MainPID'), show('MainPID', 'kestrel@second')
        edited = CONFIG.read_text()
        with Traffic('upgraded') as traffic:
            install(NEW, '-o', 'Dpkg::Options::=--force-confold')
            self.assertEqual(self.is_active(), 'active')
            before = len(traffic.acked)
            eventually('traffic flows again', lambda: len(traffic.acked) > before + 50)
        self.assertGreater(traffic.connections, 1)
        self.assertEqual(traffic.lost(), [])
        with self.subTest('a configuration that was edited stays, one that was not is exchanged'):
            self.assertEqual(CONFIG.read_text(), edited)
            self.assertIn('# of the previous version', edited)
            self.assertNotIn('# of the previous version', CONFIG.with_name('kestrel.conf.dpkg-dist').read_text())
            self.assertNotIn('# of the previous version', pathlib.Path('/etc/logrotate.d/kestrel').read_text())
        self.assertEqual(self.is_active('kestrel@second'), 'active')
        for old, unit in zip(pids, ('kestrel', 'kestrel@second')):
            self.assertNotEqual(show('MainPID', unit), old)

    def test_15_broken_configuration_at_an_upgrade(self):
        good = CONFIG.read_text()
        CONFIG.write_text('[server]\nqueue_pth = /x\n')
        install(NEW, '--reinstall', '-o', 'Dpkg::Options::=--force-confold')
        eventually('systemd gives up', lambda: self.is_active() in ('failed', 'activating'))
        self.assertIn('line 2: [server] queue_pth: unknown key; did you mean queue_path?', journal())
        # that a service does not start is no error of the installation
        self.assertEqual(dpkg_status(), 'install ok installed')
        CONFIG.write_text(good)
        run('systemctl', 'reset-failed', 'kestrel')
        run('systemctl', 'start', 'kestrel')

    def test_16_port_taken(self):
        run('systemctl', 'stop', 'kestrel')
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(('127.0.0.1', PORT))
            other.listen()
            self.assertNotEqual(run('systemctl', 'start', 'kestrel', check=False).returncode, 0)
        self.assertRegex(journal(), f'cannot listen on 127.0.0.1 port {PORT}: Address already in use: stop what uses it')
        run('systemctl', 'reset-failed', 'kestrel', check=False)
        run('systemctl', 'restart', 'kestrel')

    def test_17_spool_of_somebody_else(self):
        run('systemctl', 'stop', 'kestrel')
        run('chown', 'root:root', str(SPOOL))
        try:
            self.assertNotEqual(run('systemctl', 'start', 'kestrel', check=False).returncode, 0)
            self.assertIn('queue_path /var/spool/kestrel cannot be used: Permission denied', journal())
        finally:
            run('chown', 'kestrel:kestrel', str(SPOOL))
        run('systemctl', 'reset-failed', 'kestrel', check=False)
        run('systemctl', 'restart', 'kestrel')

    def test_18_what_the_administrator_decided_stays(self):
        with self.subTest('disabled'):
            run('systemctl', 'disable', '--now', 'kestrel')
            install(NEW, '--reinstall')
            self.assertEqual(run('systemctl', 'is-enabled', 'kestrel', check=False).stdout.strip(), 'disabled')
            run('systemctl', 'enable', 'kestrel')
        with self.subTest('masked'):
            run('systemctl', 'mask', '--now', 'kestrel')
            install(NEW, '--reinstall')
            self.assertEqual(self.is_active(), 'inactive')
            run('systemctl', 'unmask', 'kestrel')
        with self.subTest('policy-rc.d'):
            policy = pathlib.Path('/usr/sbin/policy-rc.d')
            self.assertFalse(policy.exists())
            policy.write_text('#!/bin/sh\nexit 101\n')
            policy.chmod(0o755)
            run('systemctl', 'stop', 'kestrel')
            install(NEW, '--reinstall')
            self.assertEqual(self.is_active(), 'inactive')
            policy.unlink()
        with self.subTest('rights of a folder'):
            run('dpkg-statoverride', '--update', '--add', 'kestrel', 'adm', '0755', str(SPOOL))
            install(NEW, '--reinstall')
            self.assertEqual(run('stat', '-c', '%G %a', str(SPOOL)).stdout.strip(), 'adm 755')
            run('dpkg-statoverride', '--remove', str(SPOOL))
        run('systemctl', 'start', 'kestrel')

    def test_19_man_pages_and_completion(self):
        files = run('dpkg', '-L', 'kestrel').stdout.split()
        commands = [path.rpartition('/')[2] for path in files if path.startswith('/usr/bin/')]
        self.assertIn('qdump', commands)
        self.assertIn('/usr/share/man/man5/kestrel.conf.5.gz', files)
        for command in commands:
            with self.subTest(command):
                self.assertIn(f'/usr/share/man/man1/{command}.1.gz', files)
                self.assertIn(f'/usr/share/bash-completion/completions/{command}', files)
        complete = ('. /usr/share/bash-completion/bash_completion; . /usr/share/bash-completion/completions/kestrel;'
                    ' COMP_WORDS=(kestrel --v); COMP_CWORD=1; COMP_LINE="kestrel --v"; COMP_POINT=11; _kestrel kestrel;'
                    ' echo "${COMPREPLY[@]}"')
        self.assertEqual(run('bash', '-c', complete).stdout.split(), ['--validate', '--version'])

    def test_20_remove_keeps_spool_and_configuration(self):
        put('kept', b'still here')
        run('apt-get', 'remove', '-y', 'kestrel')
        self.assertNotIn(PORT, {port for _, port in listening()})
        self.assertNotIn(22134, {port for _, port in listening()})
        self.assertTrue((SPOOL / 'kept').is_file())
        self.assertTrue(CONFIG.is_file())
        install(NEW)
        self.assertEqual(get('kept'), b'still here')

    def test_21_purge_leaves_nothing(self):
        CONFIG.with_name('kestrel-second.conf').unlink()
        run('apt-get', 'purge', '-y', 'kestrel')
        left = run('find', '/etc', '/run', '/srv', '/tmp', '/usr', '/var', '-xdev', '-iname', '*kestrel*',
                   '-not', '-path', '/var/cache/*', '-not', '-path', '/var/lib/apt/*', '-not', '-path', '/run/credentials/*').stdout
        self.assertEqual(left, '')
        self.assertEqual(pwd.getpwnam('kestrel').pw_shell, '/usr/sbin/nologin')

    def test_22_upgrade_from_the_first_package(self):
        for package in FIRST:
            install(package)
            for number in range(1000):
                put('first', b'%d' % number)
            with Traffic('traffic') as traffic:
                install(NEW)
                self.assertEqual(self.is_active(), 'active')
                before = len(traffic.acked)
                eventually('traffic flows again', lambda: len(traffic.acked) > before + 50)
            self.assertEqual(traffic.lost(), [])
            self.assertEqual([get('first') for _ in range(1001)], [b'%d' % number for number in range(1000)] + [None])
            run('apt-get', 'purge', '-y', 'kestrel')
            self.assertFalse(SPOOL.exists())


if __name__ == '__main__':
    unittest.main(failfast=True, verbosity=2)
