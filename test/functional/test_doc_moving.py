"""docs/moving-from-kestrel.md: its commands do what it says, in its order, with other paths and ports.

    ```moving       shell commands (``$ ``) and what they print
    ```scala        the old configuration

A kestrel plays the old server that is stopped, another one the darner; the old spool is one that Kestrel 2.4 was killed on.
"""

import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

from functional.test_docs import blocks, pattern
from support.environment import CHECKOUT, process_environment
from support.golden import GOLDEN
from support.server import PortLease, Server
from support.strict_reader import read_spool

DOCUMENT = CHECKOUT / 'docs' / 'moving-from-kestrel.md'
SCALA = '/usr/local/kestrel/current/config/production.scala'
FOLDERS = ('/var/spool', '/etc/kestrel', '/var/log/kestrel', '/run/kestrel', '/usr/local/kestrel/current/config')
SYSTEMCTL = """#!/bin/sh
case "$1 $2" in
"start kestrel") exec kestrel -f /etc/kestrel/kestrel.conf --daemon --pid-file /run/kestrel/kestrel.pid ;;
"stop kestrel") [ ! -e /run/kestrel/kestrel.pid ] || exec pwait "$(cat /run/kestrel/kestrel.pid)" ;;
*) exit 1 ;;
esac
"""
WAIT = f"""#!{sys.executable}
import os, signal, sys, time
os.kill(int(sys.argv[1]), signal.SIGTERM)
for _ in range(1000):
    try:
        os.kill(int(sys.argv[1]), 0)
    except ProcessLookupError:
        sys.exit(0)
    time.sleep(0.01)
sys.exit('it does not stop')
"""


class MovingTest(unittest.TestCase):

    def setUp(self):
        for command in ('bash', 'nc'):
            if shutil.which(command) is None:
                self.skipTest(f'no {command}: apt install bash netcat-openbsd')
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='kestrel-moving-'))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        for folder in FOLDERS:
            self.there(folder).mkdir(parents=True)
        leases = [PortLease() for _ in range(4)]
        for lease in leases:
            self.addCleanup(lease.release)
        self.ports = dict(zip((22133, 2222, 2229, 2223), [lease.port for lease in leases]))
        self.make_programs()
        self.addCleanup(self.end_daemon)

    def there(self, path):
        return self.folder / path.lstrip('/')

    def moved(self, text):
        """A text of the document with the paths and ports of this test."""
        text = re.sub(r'\b(%s)\b' % '|'.join(map(str, self.ports)), lambda number: str(self.ports[int(number[1])]), text)
        return re.sub(r'(?<![\w/.])(?=(%s)\b)' % '|'.join(FOLDERS), str(self.folder), text)

    def make_programs(self):
        """A folder for PATH, with the commands under test and stand-ins for those of a system."""
        programs = self.there('/bin')
        programs.mkdir()
        commands = dict(re.findall(r"'([\w-]+) = kestrel\.([\w.]+):main'", (CHECKOUT / 'setup.py').read_text()))
        scripts = {'systemctl': self.moved(SYSTEMCTL), 'pwait': WAIT, 'runuser': '#!/bin/sh\nshift 3\nexec "$@"\n'}
        for name, module in commands.items():
            command = shlex.join([sys.executable, '-P', '-c', f'from kestrel.{module} import main; main()'])
            scripts[name] = f'#!/bin/sh\nexec {command} "$@"\n'
        for name, script in scripts.items():
            (programs / name).write_text(script)
            (programs / name).chmod(0o755)
        self.environment = process_environment({
            'PATH': f'{programs}{os.pathsep}{os.environ["PATH"]}', 'STATE_DIRECTORY': str(self.folder)})

    def end_daemon(self):
        try:
            pid = int(self.there('/run/kestrel/kestrel.pid').read_text())
            os.kill(pid, signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            pass        # it has stopped, as it should

    def run_command(self, place, command, printed):
        done = subprocess.run(['bash', '-c', self.moved(command)], cwd=CHECKOUT, env=self.environment, timeout=30,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        got = done.stdout.decode().replace('\r\n', '\n').replace(str(self.folder), '').splitlines()
        same = len(got) == len(printed) and all(pattern(want).fullmatch(line) for want, line in zip(printed, got))
        self.assertTrue(same, f'{place}: {command}\ndocumented {printed}\nprinted    {got}')

    def refused_in_use(self):
        spool = self.there('/var/spool/kestrel')
        for words in '', '--back ', '--apply ', '--copy-to %s --apply ' % self.there('/copy'):
            pid = self.there('/run/kestrel/kestrel.pid').read_text().strip()
            self.run_command('while it runs', f'kestrel-migrate {words}{spool}', [
                f'kestrel-migrate: /var/spool/kestrel: in use by a running server (pid {pid}): stop it first'])
        self.assertFalse(self.there('/copy').exists())

    def test_the_afternoon(self):
        (_, _, scala), = blocks(DOCUMENT, 'scala')
        self.there(SCALA).write_text(self.moved('\n'.join(scala)))
        shutil.copytree(GOLDEN / 'open_at_end' / 'kill9' / 'journal', self.there('/var/spool/kestrel-2.4'))
        old = Server({'server': {'memcache_listen_port': self.ports[22133]}})
        self.addCleanup(old.close)
        old.ports['memcache'] = self.ports[22133]
        old.start()
        with Server() as darner:
            self.ports[22134] = darner.port
            for place, _, lines in blocks(DOCUMENT, 'moving'):
                for command, printed in self.commands(lines):
                    self.run_command(place, command, printed)
                    if 'shutdown' in command:
                        old.wait()
                    elif '--back --apply' in command:
                        self.assertEqual([item.data for item in read_spool(self.there('/var/spool/kestrel'))[b'q'].waiting],
                                         [b'item2', b'item3', b'item4', b'item5', b'item6', b'late', b'hello'])
                    elif command == 'systemctl start kestrel':
                        self.refused_in_use()
            with darner.client() as client:
                client.expect(b'get work\r\n', b'END\r\n')
        self.assertEqual(old.exit_code, 0)
        self.assertFalse(self.there('/run/kestrel/kestrel.pid').exists())

    @staticmethod
    def commands(lines):
        found = []
        for line in lines:
            if line.startswith('$ '):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
        return found


if __name__ == '__main__':
    unittest.main()
