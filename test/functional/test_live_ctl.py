"""kestrelctl and real servers: what is moved is there once, whoever is killed; what is shown is so (kestrelctl(1))."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import unittest

from kestrel.clock import Clock

from functional.waiting import eventually
from support.environment import CHECKOUT, process_environment
from support.scripted import Run
from support.server import PortLease, Server

COMMAND = [sys.executable, '-P', '-c', 'from kestrel.tools.ctl.main import main; main()']
WITHOUT_RICH = [*COMMAND[:-1], "import sys; sys.modules['rich'] = None; " + COMMAND[-1]]
ROUNDS = 30 if os.environ.get('KESTREL_LONG') else 2
ITEMS = 3000
AT_ONCE = 500
PATIENCE = 20


class Admined(Server):
    """A server with an admin port, and kestrelctl that is told of it."""

    def __init__(self, config=None):
        self.admin = PortLease()
        super().__init__({**(config or {}), 'admin': {'http_port': self.admin.port}})

    def close(self):
        super().close()
        self.admin.release()

    def words(self, *words, command=COMMAND):
        return [*command, '--port', str(self.port), '--admin-port', str(self.admin.port), *map(str, words)]

    def ctl(self, *words, source=b'', code=0):
        """Run it in this process, which takes a tenth of the time. -> what it prints, bytes"""
        ran = Run('--port', self.port, '--admin-port', self.admin.port, *words, source=source, clock=Clock())
        if ran.code != code:
            raise AssertionError(f'{words}: {ran.code}, not {code}\n{ran.out[-500:]}\n{ran.err}')
        self.err = ran.err
        return ran.out

    def json(self, *words, code=0):
        return json.loads(self.ctl(*words, '--json', code=code))

    def begin(self, *words, **more):
        """-> a process of kestrelctl"""
        return subprocess.Popen(self.words(*words), env=process_environment(), cwd='/', stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)

    def waiting(self, name):
        """Items of a queue that wait, and open reads."""
        for row in self.json('queues'):
            if row['name'] == name:
                return row['items'], row['open']
        return 0, 0

    def fill(self, name, count=ITEMS):
        self.ctl('put', name, source=b''.join([b'%d\n' % number for number in range(count)]))

    def empty(self, name):
        """-> the items of a queue, sorted numbers"""
        found = []
        with self.client() as client:
            while True:
                client.send(b'get %b\r\n' % name.encode() * AT_ONCE)
                for _ in range(AT_ONCE):
                    line = client.recv_until(b'\r\n')
                    if line == b'END\r\n':
                        continue
                    found.append(int(client.recv_until(b'\r\nEND\r\n').split()[0]))
                if line == b'END\r\n':
                    return sorted(found)


CONFIG = {'server': {'max_open_transactions': 100},
          'queues': {'poison': {'max_deliveries': 1, 'dead_letter_queue': 'dead'}, 'other': {'max_items': 50}}}


class CtlTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.here = cls.enterClassContext(Admined(CONFIG))
        cls.there = cls.enterClassContext(Admined(CONFIG))

    def setUp(self):
        for server in self.here, self.there:
            if not server.running:
                server.start()
            server.ctl('flush', '--all', '--yes')

    def test_looking(self):
        self.here.ctl('put', 'odd\x1b[2J\xff', source=b'a\nb\n')
        shown = self.here.ctl('queues')
        self.assertIn(b'odd\\x1b[2J', shown)
        self.assertNotIn(b'\x1b', shown)
        self.assertEqual(self.here.ctl('peek', 'odd\x1b[2J\xff', '--count', 5), b'a\nb\n')
        self.assertEqual(self.here.json('status')['status'], 'up')
        self.assertEqual(self.here.json('queue', 'poison')['settings']['max_deliveries'], '1')
        self.here.ctl('delete', 'odd\x1b[2J\xff', '--yes')
        with self.here.client() as client:
            client.expect(b'set held 0 0 1\r\nx\r\nget held/open\r\n', b'STORED\r\nVALUE held 0 1\r\nx\r\nEND\r\n')
            found = self.here.json('queue', 'held')
            self.assertEqual([read['size'] for read in found['reads']], [1])
            self.assertRegex(self.here.ctl('queue', 'held').decode(), r'(?s)open reads\n.*\n  127.0.0.1:\d+ ')
            self.here.ctl('queue', 'held', '--admin-port', self.there.admin.port)
            self.assertIn('who reads and who waits is not shown', self.here.err)
            rows = self.here.json('connections')
            self.assertIn(('memcache', 1), {(row['protocol'], row['open_reads']) for row in rows})

    def test_config(self):
        found = self.here.json('config', '--diff')
        self.assertEqual(found['sections']['server']['max_open_transactions'], {'value': '100', 'default': '1'})
        self.assertEqual(found['queues']['other'], {'max_items': {'value': '50', 'default': '2147483647'}})
        self.assertIn('sync_journal', self.here.json('config')['sections']['default'])
        self.assertEqual(set(self.here.json('config', 'other')['queues']), {'other'})
        self.here.ctl('config', 'unknown', code=4)
        self.assertIn(b'max_items = 50    # default: 2147483647', self.here.ctl('config', 'other', '--diff'))

    def test_status_and_reload(self):
        self.here.ctl('status', 'readonly')
        self.here.ctl('put', 'q', source=b'a', code=1)
        self.assertIn('read-only', self.here.err)
        self.here.ctl('wait-ready', '--within', '0.1', code=4)
        self.here.ctl('status', 'up')
        self.here.ctl('wait-ready')
        self.here.ctl('reload')

    def test_dead_letters(self):
        with self.here.client() as client:
            client.expect(b'set poison 0 0 1\r\na\r\nset poison 0 0 1\r\nb\r\n', b'STORED\r\n' * 2)
            for data in (b'a', b'b'):
                client.expect(b'get poison/open\r\nget poison/abort\r\n',
                              b'VALUE poison 0 1\r\n%b\r\nEND\r\nEND\r\n' % data)
        rows = self.here.json('dead-letters', 'list')
        self.assertEqual([(row['name'], row['dead_letter_queue'], row['waiting']) for row in rows],
                         [('poison', 'dead', 2)])
        self.assertEqual(self.here.ctl('dead-letters', 'list', 'poison'), b'a\nb\n')
        self.assertEqual(self.here.json('dead-letters', 'requeue', 'poison')['moved'], 2)
        self.here.ctl('get', 'poison', '--exec', 'exit 1', code=1)
        eventually(self, 'dead', lambda: self.here.waiting('dead') == (1, 0))
        self.assertEqual(self.here.json('dead-letters', 'drop', 'poison', '--yes')['dropped'], 1)
        self.assertEqual(self.here.waiting('dead'), (0, 0))
        self.here.ctl('dead-letters', 'drop', 'other', '--yes', code=4)

    # -- moving ----------------------------------------------------------------------------------------------------

    def test_move_here(self):
        self.here.ctl('put', 'q', '--flags', 7, '--expires', 100, source=b'a\nb\n')
        self.assertEqual(self.here.json('move', 'q', 'q2'), {'moved': 2, 'ended': True})
        first, _ = [json.loads(line) for line in self.here.ctl('peek', 'q2', '--count', 2, '--json').splitlines()]
        self.assertEqual((first['data'], first['flags']), ('a', 7))
        self.assertTrue(90000 < first['expires_msec'] <= 100000)
        self.here.fill('q', 60)
        self.assertEqual(self.here.json('move', 'q', 'other', code=1)['moved'], 50)
        self.assertEqual(self.here.waiting('q'), (10, 0))

    def test_move_here_and_the_server_is_killed(self):
        """At most one item is in both (spec: the record there is written before the one here)."""
        for _ in range(ROUNDS):
            self.here.fill('q')
            journal = self.here.spool / 'q2'
            before = journal.stat().st_size if journal.exists() else 0
            process = self.here.begin('move', 'q', 'q2')
            eventually(self, 'moving', lambda: journal.exists() and journal.stat().st_size > before)
            self.here.kill9()
            process.communicate(timeout=PATIENCE)
            self.here.start()
            items = sorted(self.here.empty('q') + self.here.empty('q2'))
            self.assertEqual(sorted(set(items)), list(range(ITEMS)))
            self.assertLessEqual(len(items), ITEMS + 1)

    def held_while_moving(self, process, name):
        """Stop the process in the midst of moving a queue there. It runs in slices that are far too short for the
        whole, because on a fast machine all of it is over before a look."""
        def look():
            process.send_signal(signal.SIGSTOP)
            moved, _ = self.there.waiting(name)
            if moved:
                return moved
            process.send_signal(signal.SIGCONT)
            return None
        self.assertLess(eventually(self, 'moving', look), ITEMS - 500)

    def test_move_there_and_kestrelctl_is_killed(self):
        """Nothing is lost; what is in both is one batch at most."""
        for _ in range(ROUNDS):
            self.here.fill('q')
            process = self.here.begin('move', 'q', 'q', '--to', '127.0.0.1:%d' % self.there.port)
            self.held_while_moving(process, 'q')
            process.kill()
            process.communicate(timeout=PATIENCE)
            eventually(self, 'put back', lambda: self.here.waiting('q')[1] == 0)
            items = sorted(self.here.empty('q') + self.there.empty('q'))
            self.assertEqual(sorted(set(items)), list(range(ITEMS)))
            self.assertLessEqual(len(items), ITEMS + 100)

    def test_move_there_and_ctrl_c(self):
        """The batch ends, and what is said is so."""
        self.here.fill('q')
        process = self.here.begin('move', 'q', 'q', '--json', '--to', '127.0.0.1:%d' % self.there.port)
        self.held_while_moving(process, 'q')
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        out, _ = process.communicate(timeout=PATIENCE)
        said = json.loads(out)
        self.assertEqual((process.returncode, said['doubled']), (130, 0))
        self.assertEqual((self.there.waiting('q'), self.here.waiting('q')),
                         ((said['moved'], 0), (ITEMS - said['moved'], 0)))
        self.assertLess(said['moved'], ITEMS)

    def test_drain_which_is_resumed_when_the_other_server_was_killed(self):
        self.here.fill('a')
        self.here.fill('b', 10)
        words = 'drain', '127.0.0.1:%d' % self.there.port, '--yes', '--json'
        process = self.here.begin(*words)
        self.held_while_moving(process, 'a')
        self.there.kill9()
        process.send_signal(signal.SIGCONT)
        out, _ = process.communicate(timeout=PATIENCE)
        said = json.loads(out)
        self.assertEqual(process.returncode, 3)
        self.assertEqual(said['left']['a'], {'items': ITEMS - said['moved']['a'], 'open': 0})
        self.there.start()
        self.assertEqual(self.here.json(*words)['left'], {})
        items = self.there.empty('a')
        self.assertEqual(sorted(set(items)), list(range(ITEMS)))
        self.assertLessEqual(len(items), ITEMS + said['doubled'])
        self.assertLessEqual(said['doubled'], 100)
        self.assertEqual(self.there.empty('b'), list(range(10)))

    # -- ends ------------------------------------------------------------------------------------------------------

    def test_put_and_ctrl_c(self):
        """Lines go out as they come; what is said at the end is so."""
        process = self.here.begin('put', 'q')
        process.stdin.write(b'a\nb\nhalf')
        process.stdin.flush()
        eventually(self, 'put', lambda: self.here.waiting('q')[0] == 2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
        self.assertEqual((process.returncode, err), (130, b'kestrelctl: 2 put\n'))
        self.assertEqual(self.here.waiting('q'), (2, 0))

    def test_whoever_reads_no_more_ends_it(self):
        self.here.ctl('put', 'q', source=b'a\n')
        for words in (('queues',), ('get', 'q')):
            reading, writing = os.pipe()
            os.close(reading)
            done = subprocess.run(self.here.words(*words), env=process_environment(), cwd='/', stdout=writing,
                                  stderr=subprocess.PIPE, timeout=PATIENCE)
            os.close(writing)
            self.assertEqual((done.returncode, done.stderr), (-signal.SIGPIPE, b''))
        eventually(self, 'put back', lambda: self.here.waiting('q') == (1, 0))

    def test_closed_streams(self):
        """What nobody gets is not taken out; no input is nothing to put."""
        self.here.ctl('put', 'q', source=b'a\n')
        for streams, words, code in (('>&-', 'get q', 2), ('2>&-', 'get q', 2), ('<&-', 'put q', 0)):
            command = 'exec "$@" %s %s' % (words, streams)
            done = subprocess.run(['sh', '-c', command, 'sh', *self.here.words()], env=process_environment(), cwd='/',
                                  capture_output=True, timeout=PATIENCE)
            self.assertEqual((done.returncode, done.stdout), (code, b''), streams)
        self.assertEqual(self.here.waiting('q'), (1, 0))

    def test_get_is_killed_while_its_command_runs(self):
        self.here.ctl('put', 'q', source=b'a\n')
        process = self.here.begin('get', 'q', '--exec', 'echo begun; exec sleep 60', start_new_session=True)
        self.assertEqual(process.stdout.readline(), b'begun\n')
        self.assertEqual(self.here.waiting('q'), (0, 1))
        process.send_signal(signal.SIGTERM)
        self.assertEqual((process.wait(PATIENCE), process.communicate()[1]), (143, b''))
        eventually(self, 'put back', lambda: self.here.waiting('q') == (1, 0))

    def test_tail_takes_nothing_and_leaves_nothing(self):
        self.here.ctl('put', 'q', source=b'before\n')
        process = self.here.begin('tail', 'q')
        eventually(self, 'begun', lambda: len(self.here.json('queues', '--filter', 'q+')) == 1)
        self.here.ctl('put', 'q', source=b'a\nb\n')
        self.assertEqual([process.stdout.readline(), process.stdout.readline()], [b'a\n', b'b\n'])
        process.send_signal(signal.SIGTERM)
        self.assertEqual((process.communicate(timeout=PATIENCE), process.returncode), ((b'', b''), 143))
        self.assertEqual(self.here.json('queues', '--filter', 'q+'), [])
        self.assertEqual(self.here.waiting('q'), (3, 0))

    # -- on a terminal ---------------------------------------------------------------------------------------------

    def on_a_terminal(self, *words, keys=b'', until=b'', command=COMMAND):
        """-> (exit code, what a terminal got). ``keys`` are typed when ``until`` has come."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir('/')
            os.execve(sys.executable, self.here.words(*words, command=command),
                      process_environment({'TERM': 'xterm', 'COLUMNS': '80', 'LINES': '24'}))
        shown, deadline = b'', time.monotonic() + PATIENCE
        try:
            while time.monotonic() < deadline:
                if select.select([terminal], [], [], 1)[0]:
                    try:
                        shown += os.read(terminal, 65536)
                    except OSError:
                        break
                if keys and until in shown:
                    os.write(terminal, keys)
                    keys = b''
            else:
                os.kill(pid, signal.SIGKILL)
        finally:
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            os.close(terminal)
        return code, shown

    def test_top(self):
        self.here.ctl('put', 'q[b]', source=b'a\n')
        code, shown = self.on_a_terminal('top', '--interval', '0.1', until=b'q[b]', keys=b'\x03')
        self.assertEqual(code, 130)
        self.assertIn(b'\x1b[?1049h', shown)
        self.assertTrue(shown.rstrip().endswith(b'\x1b[?1049l'), shown[-50:])
        code, shown = self.on_a_terminal('top', '--rounds', 1, command=WITHOUT_RICH)
        self.assertEqual((code, shown.count(b'apt install python3-rich'), shown.count(b'q[b]')), (0, 1, 1))
        self.assertEqual(self.here.ctl('top', '--rounds', 2, '--interval', 0.05).count(b'QUEUE'), 2)
        self.assertEqual(self.here.err, '')
        self.here.ctl('delete', 'q[b]', '--yes')

    def test_questions(self):
        self.here.ctl('put', 'q', source=b'\x1b[2J\n')
        for keys, code, left in ((b'n\r', 1, 1), (b'\x03', 130, 1), (b'y\r', 0, 0)):
            found, shown = self.on_a_terminal('flush', 'q', until=b'[y/N]', keys=keys)
            self.assertEqual(found, code, shown)
            self.assertEqual(self.here.waiting('q'), (left, 0))
        self.here.ctl('put', 'q', source=b'\x1b[2J\n')
        self.assertEqual(self.on_a_terminal('get', 'q'), (0, b'\\x1b[2J\r\n'))


class CompletionTest(unittest.TestCase):
    """The completions of bash and zsh know what the parser knows."""

    @staticmethod
    def known():
        """{words of a command: set of its options}"""
        from kestrel.tools.ctl.arguments import parser
        found = {}

        def walk(command, words):
            deeper = [action.choices for action in command._actions if action.nargs == 'A...']
            for choices in deeper:
                for name, below in choices.items():
                    walk(below, (*words, name))
            if not deeper:
                found[words] = {option for action in command._actions for option in action.option_strings} - {'-h'}
        walk(parser(), ())
        return found

    def test_bash(self):
        known = self.known()
        script = ('. /usr/share/bash-completion/bash_completion; . %s/init/kestrel.bash-completion\n'
                  'comp() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}\n'
                  'COMPREPLY=(); _kestrelctl kestrelctl; echo "${COMPREPLY[@]}"; }\n' % CHECKOUT)
        lines = ['comp kestrelctl %s --\n' % ' '.join(words) for words in known]
        lines += ["comp kestrelctl ''\n", "comp kestrelctl dead-letters ''\n"]
        done = subprocess.run(['bash', '-c', script + ''.join(lines)], capture_output=True, text=True, timeout=PATIENCE)
        answers = [set(line.split()) for line in done.stdout.splitlines()]
        self.assertEqual(dict(zip(known, answers)), known)
        self.assertEqual(answers[-2:], [{words[0] for words in known}, {'list', 'requeue', 'drop'}])

    def test_bash_takes_no_name_that_a_shell_would_run(self):
        with Server() as server:
            for name in (b'plain:1', b'$(touch${IFS}no)', b'`no`', b'a;b'):
                with server.client() as client:
                    client.expect(b'set %b 0 0 1\r\nx\r\n' % name, b'STORED\r\n')
            script = server.dir / 'kestrelctl'
            script.write_text('#!/bin/sh\nexec "%s" -P -c "%s" "$@"\n' % (COMMAND[0], COMMAND[-1]))
            script.chmod(0o755)
            done = subprocess.run(
                ['bash', '-c', '. /usr/share/bash-completion/bash_completion; . %s/init/kestrel.bash-completion\n'
                 'COMP_WORDS=(%s --port %d get ""); COMP_CWORD=4; COMP_LINE="${COMP_WORDS[*]}"\n'
                 'COMP_POINT=${#COMP_LINE}\n'
                 '_kestrelctl; printf "%%s\\n" "${COMPREPLY[@]}"' % (CHECKOUT, script, server.port)],
                capture_output=True, text=True, timeout=PATIENCE, env=process_environment(), cwd=server.dir)
            self.assertEqual((done.stdout, done.stderr), ('plain:1\n', ''))

    def test_zsh(self):
        path = CHECKOUT / 'init' / '_kestrelctl'
        done = subprocess.run(['zsh', '-fn', path], capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        text = path.read_text()
        common = set(re.findall(r'--[\w-]+', text.partition('common=(')[2].partition('\n\t)')[0]))
        choice = set(re.findall(r'--[\w-]+', text.partition('choice=(')[2].partition('\n\t)')[0]))
        described = re.findall(r"'([\w-]+):", text.partition('commands=(')[2].partition('\n\t)')[0])
        known = self.known()
        self.assertEqual(set(described), {words[0] for words in known})
        branches = dict(re.findall(r'^\t\t([\w| -]+)\)(.*?);;$', text, re.MULTILINE | re.DOTALL))
        for name in set(described):
            body = next((body for names, body in branches.items() if name in names.split(' | ')), '$common')
            options = set(re.findall(r"'(--[\w-]+)", body)) | (common if '$common' in body else set())
            options |= choice if '$choice' in body else set()
            wanted = set().union(*[found for words, found in known.items() if words[0] == name])
            self.assertEqual(options, wanted, name)


if __name__ == '__main__':
    unittest.main()
