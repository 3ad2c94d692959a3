"""``kcluster``: the command."""

import argparse
import os
import sys

from kestrel.clock import Clock
from kestrel.tools.cluster import report
from kestrel.tools.cluster.servers import Patience, Unable, command, fetch, parse_list
from kestrel.tools.console import printable, run_command
from kestrel.tools.options import Options, at_least, port
from kestrel.tools.parallel import ask_all

LIST_FILE = '.kestrel_cluster'
FIGURES = {**{name: (name,) for name in report.NAMES}, 'mem': ('mem_bytes',), 'all': report.NAMES}
del FIGURES['mem_bytes']
# what a server answers that has done it
EXPECTED = {'delete': (b'DELETED',), 'flush': (b'END',),
            'status': (b'UP', b'WRITEAVOID', b'READONLY', b'QUIESCENT', b'DOWN', b'END')}
STALE_ROUNDS, STALE_SECONDS = 5, 5
PATIENCE = Patience(5, 10)

COMMANDS = """commands:
  items            items in each queue, over all servers
  bytes            their bytes
  mem              the bytes that are in memory
  min_age          the least age in ms of what was last taken out
  max_age          the greatest
  all              all five
  status [<new>]   the status of each server, or set it
  delete <queue>   delete a queue on all servers
  flush <queue>    empty it
  stale [<rounds>] queues in which nothing happens: 5 looks, 5 s apart
  version          the version of each server
"""


def main():
    """The command line; ends the process with 0, or 1: usage, or what was asked for could not be done everywhere."""
    run_command(run, has_peers=True)


class _Refused(Exception):
    """What was asked for is not possible; str() says why."""


def _open_terminal():
    return open('/dev/tty', encoding='utf-8', errors='replace')


def run(arguments, console, clock=None, home=None, stdin=None, terminal=_open_terminal,
        patience=PATIENCE):
    """Do what the words of the command line say; -> exit code.

    ``terminal()`` opens what answers questions when the list of servers comes from ``stdin``. Raises OSError.
    """
    parser = make_parser()
    options = parser.parse_intermixed_args(arguments)
    words = options.command
    name = words[0].lower() if words else None
    most = {'delete': 2, 'flush': 2, 'status': 2, 'stale': 2, 'version': 1, **dict.fromkeys(FIGURES, 1)}.get(name)
    if most is None or len(words) > most or name in ('delete', 'flush') and len(words) < 2:
        console.write(b'\n' + parser.format_help().encode())
        return 1
    home = home or os.environ.get('HOME') or '/'
    cluster = _Cluster(options, console, clock or Clock(), stdin or sys.stdin, terminal, patience)
    try:
        return cluster.run(name, words[1:], os.path.join(home, LIST_FILE))
    except _Refused as refused:
        console.error('ERROR: %s' % refused)
        return 1


def make_parser():
    parser = Options(prog='kcluster', usage='%(prog)s [options] <command>', epilog=COMMANDS,
                     description='Look at the servers of a cluster, or send a command to all of them.')
    add = parser.add_argument
    add('command', nargs='*', help='see below')
    add('-f', '--file', metavar='F', help='the servers, one host[:port] a line; - is standard input '
        '($HOME/%s)' % LIST_FILE)
    add('-H', '--host', metavar='H', help='one server instead')
    add('-p', '--port', metavar='N', type=port, default=2223, help='the admin port where the list has none (2223)')
    add('-m', '--memcache-port', metavar='N', type=port, default=22133, help='the memcache port (22133)')
    add('-c', '--count', metavar='N', type=at_least(0), default=0, help='the first N lines of a report (0: all)')
    add('-R', '--reverse', action='store_true', help='the biggest first')
    add('-F', '--rollup-fanouts', action='store_true', help='count the children of a queue under their parent')
    add('-b', '--by-host', metavar='Q', help='of this queue, the value on each host')
    add('-s', '--script-mode', action='store_true', help='ask no questions')
    add('-v', '--verbose', action='store_true', help='list the hosts, and ask whether they are right')
    return parser


class _Cluster:

    def __init__(self, options, console, clock, stdin, terminal, patience):
        self.options = options
        self.console = console
        self.clock = clock
        self.stdin = stdin
        self.terminal = terminal
        self.patience = patience
        self.servers = []
        self.list_was_read = False      # from standard input, which can answer no questions then

    def run(self, name, words, list_file):
        rounds = self._rounds(words) if name == 'stale' else None
        line = self._line(name, words)
        self.servers = self._read_list(list_file)
        changes = name in EXPECTED and bool(words)
        if not self._confirmed(changes, 'Really %s %s? (yes/no) ' % (name, words[0])
                               if name in ('delete', 'flush') else None):
            self.console.error('nothing was done')
            return 1
        if name in FIGURES:
            return self._report(FIGURES[name])
        if name == 'stale':
            return self._stale(rounds)
        return self._version() if name == 'version' else self._broadcast(line, EXPECTED[name])

    def _rounds(self, words):
        try:
            return at_least(1)(words[0]) if words else STALE_ROUNDS
        except argparse.ArgumentTypeError:
            raise _Refused('%r is not a number of rounds' % words[0]) from None

    def _line(self, name, words):
        """The command as it is sent, bytes."""
        try:
            words = [word.encode('latin-1') for word in words]
        except UnicodeEncodeError:
            raise _Refused('%r: no queue can have this name' % words[0]) from None
        if any(not word or b' ' in word or b'\r' in word or b'\n' in word for word in words):
            raise _Refused('%r: no queue can have this name' % words[0].decode('latin-1'))
        return b' '.join([name.encode(), *words])

    def _read_list(self, list_file):
        options = self.options
        if options.host is not None:
            text, source = options.host, '--host'
        else:
            source = options.file or list_file
            try:
                if source == '-':
                    self.list_was_read, source = True, 'standard input'
                    text = self.stdin.read()
                else:
                    with open(source, encoding='utf-8', errors='backslashreplace') as file:
                        text = file.read()
            except OSError as error:
                raise _Refused('%s: %s; name the servers there, one a line, or use -f or -H'
                               % (source, error.strerror)) from error
        try:
            return parse_list(text, options.port, options.memcache_port, source)
        except ValueError as error:
            raise _Refused(str(error)) from error

    # -- questions

    def _confirmed(self, changes, question):
        """Whether to go on. The list of hosts is confirmed before something changes, or with -v."""
        options = self.options
        if options.verbose or changes and not options.script_mode:
            for server in self.servers:
                self.console.line(server.name)
        if options.script_mode:
            return True
        questions = ['Really use these hosts? (yes/no) '] if options.verbose or changes else []
        if question:
            questions.append(question)
        if not questions:
            return True
        if not self.list_was_read:
            return all(self._yes(question, self.stdin) for question in questions)
        try:
            with self.terminal() as answers:
                return all(self._yes(question, answers) for question in questions)
        except OSError as error:
            raise _Refused('there is no terminal to ask on (%s); -s asks no questions' % error.strerror) from error

    def _yes(self, question, answers):
        self.console.write(question.encode('utf-8', 'replace'))
        self.console.flush()
        answer = answers.readline()
        if not answer:
            self.console.line('')
        return answer.rstrip('\r\n') == 'yes'

    # -- many servers at once

    def _ask(self, question, what):
        """Yield (server, answer) of those that gave one, in the order of the list; warn of the others.

        ``question(server, what, patience)`` is fetch or command.
        """
        def ask(server):
            return question(server, what, self.patience)
        for server, answer in ask_all(self.servers, ask, sum(self.patience), self.clock):
            if isinstance(answer, TimeoutError):
                port_asked = server.port if question is fetch else server.memcache_port
                answer = Unable('No answer from', server.host, port_asked, str(answer))
            if isinstance(answer, Unable):
                self._warn(answer, answer.why)
            elif isinstance(answer, Exception):
                raise answer
            else:
                yield server, answer

    def _warn(self, warning, why):
        self.console.error('%s\n  %s' % (warning, printable(why.encode('utf-8', 'backslashreplace'))))

    def _fetch_all(self, path):
        """-> {server: Statistics}. Raises _Refused if there are none."""
        answers = dict(self._ask(fetch, path))
        if not answers:
            raise _Refused('no server has answered')
        return answers

    def _report(self, names):
        options = self.options
        answers = self._fetch_all('/stats.json?period=60')
        for name in names:
            if options.by_host is None:
                title, values = 'queue', report.table([answer.gauges for answer in answers.values()], name,
                                                      options.rollup_fanouts)
            else:
                title, values = 'host', report.by_host(
                    {server.name: answer.gauges for server, answer in answers.items()}, name, options.by_host,
                    options.rollup_fanouts)
            for line in report.lines(name, title, values, options.count, options.reverse):
                self._line_out(line)
        return 0

    def _stale(self, rounds):
        seen = []
        for number in range(rounds):
            if number:
                self.clock.rest(STALE_SECONDS)
            self.console.line('Check %d...' % (number + 1))
            self.console.flush()
            # since the start: with a period, figures change once a period
            seen.append(self._fetch_all('/stats.json'))
        for line in report.stale_lines(report.unchanged(seen)):
            self._line_out(line)
        return 0

    def _version(self):
        good = 0
        for server, reply in self._ask(command, b'version'):
            if reply.startswith(b'VERSION '):
                self._line_out('%s: %s' % (server.host, reply[len(b'VERSION '):].decode('latin-1')))
                good += 1
            else:
                self._unexpected(server, reply)
        return 0 if good == len(self.servers) else 1

    def _broadcast(self, line, expected):
        good = 0
        for server, reply in self._ask(command, line):
            self._line_out('--- %s:%d ... %s' % (server.host, server.memcache_port, reply.decode('latin-1')))
            self.console.flush()
            if reply in expected:
                good += 1
            elif reply.split(b' ')[0] not in (b'ERROR', b'CLIENT_ERROR', b'SERVER_ERROR'):
                self._unexpected(server, reply)
        self.console.line('Done.')
        return 0 if good == len(self.servers) else 1

    def _unexpected(self, server, reply):
        warning = Unable('Unexpected reply from', server.host, server.memcache_port, '')
        self._warn(warning, reply[:80].decode('latin-1'))

    def _line_out(self, text):
        """What comes from servers moves no cursor."""
        self.console.line(printable(text.encode('utf-8', 'backslashreplace')))
