"""The documents are true: their examples are run, and their tables compared with the source.

A fenced block is run if its first line says so:

    ```dialogue         requests (``> ``) and replies (``< ``) of the memcache port, compared byte for byte;
                        see the head of docs/protocol.md. All dialogues of a document share a server, whose
                        queues are deleted before each.
    ```dialogue text    the same of the text port; a connection M is one to the memcache port
    ```dialogue thrift  the same of the thrift port, in the notation of support.notation; these have a server each
    ```console          shell commands (``$ ``) and what they print, in the order of the document
    ```console server   what is typed in the server's terminal: ``make run`` starts it, or starts it again
    ```tour             see functional/tour.py and test_doc_tours.py

Known words in braces stand for what differs from run to run: ``PLACEHOLDERS``.
"""

import ast
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import unittest

from kestrel import config
from kestrel.handlers.text import sentence
from support.environment import CHECKOUT, kestrel_command, process_environment
from support.notation import binary
from support.server import PortLease, Server

DOCUMENTS = [CHECKOUT / 'README.md', *sorted((CHECKOUT / 'docs').glob('*.md'))]
PROTOCOL = CHECKOUT / 'docs' / 'protocol.md'
DIFFERENCES = CHECKOUT / 'docs' / 'differences.md'
DEVELOPMENT_CONFIG = CHECKOUT / 'etc' / 'kestrel' / 'development.conf'
DOCUMENTED_PORT = 22133
DOCUMENTED_TEXT_PORT = 2222

PLACEHOLDERS = {'number': r'-?\d+(?:\.\d+)?', 'version': r'\d+\.\d+\.\d+', 'two spaces': '  '}

DIALOGUE_CONFIG = {
    'server': {'max_open_transactions': 100},
    'queues': {'small': {'max_items': 2}, 'for_a': {'white_list_client_id_for_enqueue': 'A'}},
}

GET_VERSION = '[80010001 ["get_version"] 00000001 00]'
LINE_END = {'memcache': b'\r\n', 'text': b'\n'}
VERSION = {'memcache': 'VERSION {version}', 'text': ':{version}'}
ERROR_TEXT = re.compile(r'(?:CLIENT_ERROR|SERVER_ERROR|ERROR) ')


def blocks(path, kind):
    """The fenced blocks of a document whose first line begins with ``kind``.

    -> list of (place for messages, str; first line, str; lines, list of str)
    """
    found, current = [], None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if current is not None:
            if line.startswith('```'):
                current = None
            else:
                current.append(line)
        elif line.startswith('```'):
            current = []
            if line[3:].split()[:1] == [kind]:
                found.append((f'{path.name}:{number}', line[3:].strip(), current))
    return found


def pattern(line):
    """A compiled pattern of what the line of a document stands for."""
    parts = re.split(r'\{([^{}]*)\}', line)
    # every second part stood in braces
    parts[0::2] = map(re.escape, parts[0::2])
    parts[1::2] = [PLACEHOLDERS.get(word, re.escape('{%s}' % word)) for word in parts[1::2]]
    return re.compile(''.join(parts))


def slug(heading):
    """The anchor that a heading gets."""
    return re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-')


def headings(path):
    """-> list of (level, text) of the headings outside of fenced blocks."""
    text = re.sub(r'^```.*?^```$', '', path.read_text(), flags=re.M | re.S)
    return [(len(marks), words) for marks, words in re.findall(r'^(#+) (.+)$', text, flags=re.M)]


def words_of(module, table):
    """The words in a table of the source: the keys of a dict, or the elements of a set. -> set of str

    Read from the source, because the compiled module keeps such a table to itself.
    """
    for node in ast.parse((CHECKOUT / 'kestrel' / module).read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == table:
            words = node.value.keys if isinstance(node.value, ast.Dict) else node.value.args[0].elts
            return {word.value.decode('ascii') for word in words}
    raise AssertionError(f'no {table} in {module}')


class Dialogue:
    """Plays one dialogue block; every connection is opened at its first line."""

    LINE = re.compile(r'([A-Z]?)([<>])(?: (.*))?$')

    def __init__(self, server, protocol):
        self.server = server
        self.protocol = protocol
        self.clients = {}

    def _protocol_of(self, name):
        return 'memcache' if name == 'M' else self.protocol

    def _is_binary(self, name):
        return self._protocol_of(name) == 'thrift'

    def play(self, lines):
        try:
            for line in lines:
                self.line(line)
            self.end()
        finally:
            self.close()

    def line(self, line):
        name, direction, text = self.LINE.match(line).groups(default='')
        if name not in self.clients:
            self.clients[name] = self.server.client(protocol=self._protocol_of(name))
        self._say(name, text) if direction == '>' else self._hear(name, text)

    def end(self):
        """Nothing but what the document shows has come."""
        for name in self.clients:
            if self._is_binary(name):
                self._say(name, GET_VERSION)
                reply = self.clients[name].recv_exactly(len(binary(GET_VERSION)))
                if b'get_version' not in reply:
                    raise AssertionError(f'something else came: {reply!r}')
                continue
            self._say(name, 'version')
            self._expect(name, VERSION[self._protocol_of(name)])

    def close(self):
        for client in self.clients.values():
            client.close()

    def _say(self, name, text):
        if text == '(closes)':
            self.clients.pop(name).close()
        elif self._is_binary(name):
            self.clients[name].send(binary(text))
        else:
            self.clients[name].send(text.encode('ascii') + LINE_END[self._protocol_of(name)])

    def _hear(self, name, text):
        if text != '(closed)':
            self._expect(name, text)
            return
        client = self.clients.pop(name)
        rest = client.recv_all()
        client.close()
        if rest:
            raise AssertionError(f'to be closed, but there came {rest!r}')

    def _expect(self, name, text):
        if self._is_binary(name):
            self.clients[name].expect(b'', binary(text))
            return
        end = LINE_END[self._protocol_of(name)]
        line = self.clients[name].recv_until(end)[:-len(end)].decode('ascii')
        if not pattern(text).fullmatch(line):
            raise AssertionError(f'documented {text!r}\nreceived   {line!r}')


class TestDialogues(unittest.TestCase):
    def test_the_server_answers_as_documented(self):
        for path in DOCUMENTS:
            found = blocks(path, 'dialogue')
            if found:
                with Server(DIALOGUE_CONFIG, protocols=['text']) as server:
                    for place, kind, lines in found:
                        if kind == 'dialogue thrift':
                            continue
                        with self.subTest(place):
                            self._delete_all_queues(server)
                            Dialogue(server, 'text' if kind == 'dialogue text' else 'memcache').play(lines)

    def test_the_thrift_port_answers_as_documented(self):
        found = [block for block in blocks(PROTOCOL, 'dialogue') if block[1] == 'dialogue thrift']
        self.assertGreater(len(found), 3)
        for place, _, lines in found:
            with self.subTest(place), Server(DIALOGUE_CONFIG, protocols=['thrift']) as server:
                Dialogue(server, 'thrift').play(lines)

    def test_the_protocol_has_dialogues(self):
        self.assertGreater(len(blocks(PROTOCOL, 'dialogue')), 20)

    def _delete_all_queues(self, server):
        with server.client() as client:
            client.send(b'stats\r\n')
            stats = client.recv_until(b'\r\nEND\r\n')
            for name in re.findall(rb'^STAT queue_(.*)_logsize ', stats, flags=re.M):
                client.expect(b'delete ' + name + b'\r\n', b'DELETED\r\n')


class TestConsoles(unittest.TestCase):
    """The tours of README.md and the guide, with another port and spool than a person would have."""

    def setUp(self):
        for command in ('bash', 'nc', 'awk'):
            if shutil.which(command) is None:
                self.skipTest(f'no {command}: apt install bash netcat-openbsd mawk')

    def test_the_shell_prints_what_is_documented(self):
        for path in DOCUMENTS:
            found = blocks(path, 'console')
            if found:
                with self.subTest(path.name):
                    self._tour(found)

    def test_the_tour_of_the_readme_ends_with_a_stop(self):
        last = blocks(CHECKOUT / 'README.md', 'console')[-1]
        self.assertIn('shutdown', last[2][-1])

    def _tour(self, found):
        self._admin = PortLease()
        self.addCleanup(self._admin.release)
        server = Server(self._development_config(), protocols=['text'])
        self.addCleanup(server.close)
        self._programs = self._make_programs(server)
        for place, kind, lines in found:
            if kind == 'console server':
                self.assertEqual(['$ make run'], lines, place)
                if server.exit_code is None and server.running:
                    server.wait(exit_code=None)
                server.start()
            else:
                for command, printed in self._commands(lines):
                    self._run(place, command, printed, server)
        if server.running and 'shutdown' in found[-1][2][-1]:
            server.wait(exit_code=0)

    def _development_config(self):
        settings = config.load(str(DEVELOPMENT_CONFIG)).server
        self.assertEqual('127.0.0.1', settings.listen_address)
        self.assertEqual((DOCUMENTED_PORT, DOCUMENTED_TEXT_PORT),
                         (settings.memcache_listen_port, settings.text_listen_port))
        own = r'^(memcache_listen_port|text_listen_port|thrift_listen_port|http_port|queue_path|status_file)\s*=.*\n'
        text = re.sub(own, '', DEVELOPMENT_CONFIG.read_text(), flags=re.M)
        head, section, rest = text.partition('[server]\n')
        ours = 'memcache_listen_port = $port\ntext_listen_port = $text_port\nthrift_listen_port = none\n'
        ours += 'queue_path = $spool\nstatus_file = $status\n'
        rest = rest.replace('[admin]\n', '[admin]\nhttp_port = %d\n' % self._admin.port)
        return head + section + ours + rest

    def _make_programs(self, server):
        """A folder for PATH, with the ``kestrel`` that is under test, and a ``kestrelctl`` that finds it."""
        folder = pathlib.Path(server.dir) / 'bin'
        folder.mkdir()
        script = folder / 'kestrel'
        # the current folder, which is the checkout, must not come before the tree under test
        command = shlex.join(kestrel_command()).replace(' -m ', ' -P -m ')
        script.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        script.chmod(0o755)
        script = folder / 'kestrelctl'
        script.write_text('#!/bin/sh\nexec "%s" -P -c "from kestrel.tools.ctl.main import main; main()" '
                          '--port %d --admin-port %d "$@"\n' % (sys.executable, server.port, self._admin.port))
        script.chmod(0o755)
        return folder

    def _commands(self, lines):
        commands = []
        for line in lines:
            if line.startswith('$ '):
                commands.append((line[2:], []))
            else:
                commands[-1][1].append(line)
        return commands

    def _run(self, place, command, printed, server):
        command = re.sub(r'\b%d\b' % DOCUMENTED_PORT, str(server.port), command)
        command = re.sub(r'\b%d\b' % DOCUMENTED_TEXT_PORT, str(server.ports['text']), command)
        environment = process_environment({'PATH': f'{self._programs}{os.pathsep}{os.environ["PATH"]}'})
        done = subprocess.run(['bash', '-c', command], cwd=CHECKOUT, env=environment, timeout=30,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        got = done.stdout.decode('utf-8').replace('\r\n', '\n').splitlines()
        same = len(got) == len(printed) and all(
            pattern(expected).fullmatch(line) for expected, line in zip(printed, got))
        self.assertTrue(same, f'{place}: {command}\ndocumented {printed}\nprinted    {got}\n{server.log()}')


class TestTables(unittest.TestCase):
    def test_every_command_is_documented_and_every_documented_one_exists(self):
        names = set()
        commands = False
        for level, text in headings(PROTOCOL):
            if level == 2:
                commands = text == 'Commands'
            elif level == 3 and commands:
                names.update(text.split(', '))
        known = words_of('handlers/memcache.py', 'COMMANDS') | words_of('protocol/memcache.py', 'STORAGE')
        self.assertEqual(known, names)

    def test_every_error_text_is_documented_and_every_documented_one_exists(self):
        in_source = set()
        for path in (CHECKOUT / 'kestrel').rglob('*.py'):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, bytes):
                    text = node.value.decode('latin-1')
                    if ERROR_TEXT.match(text):
                        # what is filled in or appended is a placeholder
                        in_source.add(re.sub(r'%[a-z]|(?<= )$', '<>', text))
        section = PROTOCOL.read_text().partition('\n## Errors\n')[2].partition('\n## ')[0]
        texts = re.findall(r'^\| `(.*?)`', section, flags=re.M)
        documented = {re.sub(r'<\w+>', '<>', text) for text in texts}
        self.assertEqual(documented, in_source)

    def test_every_command_of_the_text_port_is_documented_and_every_documented_one_exists(self):
        section = PROTOCOL.read_text().partition('\n### Text commands\n')[2].partition('\n### ')[0]
        names = {text for row in re.findall(r'^\| (`.*?`) \| ', section, flags=re.M)
                 for text in re.findall(r'`(\w+)', row)}
        self.assertEqual(words_of('handlers/text.py', 'COMMANDS'), names)

    def test_every_error_text_of_the_text_port_is_documented_and_every_documented_one_exists(self):
        in_source = set()
        for module in ('handlers/text.py', 'protocol/text.py'):
            for node in ast.walk(ast.parse((CHECKOUT / 'kestrel' / module).read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, bytes):
                    text = node.value.decode('latin-1').lstrip('-').rstrip('\n')
                    if re.match('[A-Z][a-z]+ ', text):
                        in_source.add(re.sub(r'%[a-z]|(?<= )$', '<>', text))
        # what begins with the words of a refusal
        in_source |= {sentence(refusal).decode('latin-1') for refusal in (
            b'bad queue name', b'queue name too long', b'admin commands are disabled', b'out of disk space',
            b'journal write failed: <>', b'status change failed: <>')}
        section = PROTOCOL.read_text().partition('\n### Text errors\n')[2]
        documented = {re.sub(r'<\w+>', '<>', text) for text in re.findall(r'^\| `-(.*?)` \|', section, flags=re.M)}
        self.assertEqual(documented, in_source)

    def test_every_figure_of_stats_is_documented(self):
        section = PROTOCOL.read_text().partition('\n### stats\n')[2].partition('\n### ')[0]
        explained = set(re.findall(r'`(\w+)`', section))
        shown = set(re.findall(r'^< STAT (?:queue_work_)?(\w+) ', section, flags=re.M))
        self.assertGreater(len(shown), 30)
        self.assertEqual(set(), shown - explained)


    def test_the_thrift_service_is_that_of_the_file(self):
        idl = (CHECKOUT / 'kestrel' / 'kestrel.thrift').read_text().partition('*/\n\n')[2].rstrip()
        self.assertIn('\n```thrift\n%s\n```\n' % idl, PROTOCOL.read_text())
        section = PROTOCOL.read_text().partition('\n### Methods\n')[2].partition('\n### ')[0]
        methods = set(re.findall(r'`(\w+)`', ''.join(re.findall(r'^\|(.*?)\|', section, flags=re.M))))
        self.assertEqual(methods, set(re.findall(r'(\w+)\(', idl)))


class TestReferences(unittest.TestCase):
    def test_links_lead_somewhere(self):
        for path in DOCUMENTS:
            text = re.sub(r'^```.*?^```$', '', path.read_text(), flags=re.M | re.S)
            for target in re.findall(r'\]\(([^)\s]+)\)', text):
                if re.match(r'[a-z]+:', target):
                    continue
                name, _, anchor = target.partition('#')
                other = (path.parent / name).resolve() if name else path
                with self.subTest(f'{path.name}: {target}'):
                    self.assertTrue(other.exists())
                    if anchor:
                        self.assertIn(anchor, {slug(words) for _, words in headings(other)})

    def test_differences_are_numbered_without_gaps(self):
        numbers = [int(words.split()[0][1:]) for level, words in headings(DIFFERENCES) if level == 2]
        self.assertEqual(list(range(1, 71)), numbers)

    def test_every_difference_says_where_it_stands(self):
        entries = re.split(r'^## ', DIFFERENCES.read_text(), flags=re.M)[1:]
        for entry in entries:
            with self.subTest(entry.splitlines()[0]):
                last = entry.rstrip().rpartition('\n\n')[2]
                self.assertRegex(last, r'(?s)\A\*(In force|In part: |Not yet: ).*\*\Z')

    def test_differences_that_are_referred_to_exist(self):
        known = {words.split()[0] for level, words in headings(DIFFERENCES) if level == 2}
        paths = [path for folder in ('kestrel', 'etc') for path in (CHECKOUT / folder).rglob('*')
                 if path.suffix in ('.py', '.pxd', '.configspec', '.conf')]
        for path in [*DOCUMENTS, *paths]:
            with self.subTest(path.name):
                self.assertEqual(set(), set(re.findall(r'\bD[1-9]\d?\b', path.read_text())) - known)


if __name__ == '__main__':
    unittest.main()
