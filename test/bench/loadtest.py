"""All five load programs with the parameters of the original's README, and its figures beside ours.

    test/bench/loadtest.py --tree TREE [--host HOST [--port PORT] [--thrift-port PORT]]

Called by ``make loadtest``. Without --host it starts a server of its own, with its spool below build/. What the programs
say is passed on; the last lines are a table. The exit code is 0 if every program has done all it had to, and nothing was
lost, doubled or reordered.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

from servers import BenchError, Kestrel

BUILD = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'build')
PROGRAM_SECONDS = 120

SETTINGS = {'sync_journal': '100ms'}        # those of the shipped configuration


class Row:
    """A program of the table. ``pattern`` finds figures in what it says, ``figure`` makes the text of them."""

    def __init__(self, name, words, what, pattern, figure, original, protocol='memcache'):
        self.name = name
        self.words = words
        self.what = what
        self.pattern = pattern
        self.figure = figure
        self.original = original
        self.protocol = protocol


def usec(found):
    return '%s us' % found[0]


def seconds(found):
    return '%.2f s' % (int(found[0]) / 1000)


def mean_cycle(found):
    """The last reading is of what is left, without a put beside it."""
    cycles = [int(msec) for msec in found[:-1]]
    return '%.2f s' % (sum(cycles) / len(cycles) / 1000)


ROWS = (
    Row('put-many', ['-n', '100000', '-b', '1024', '-g'], 'a put, 100 clients, 100 000 items of 1 KB',
        r'\((\d+\.\d) usec/put', usec, '61.4 us'),
    Row('many-clients', [], '100 items to 100 consumers, one each 100 ms', r'Received \d+ items in (\d+) msec',
        seconds, '11.0 s'),
    Row('flood', [], 'an item, 10 000 of 1 KB from one producer to one consumer', r'\((\d+\.\d) usec/put', usec,
        '156.3 us'),
    Row('packing', ['-c', '10'], 'a cycle: 25 000 items of 1 KB put and as many read', r'Read \d+ items in (\d+) msec',
        mean_cycle, '5.28 s'),
    Row('leaky-reader', [], '1000 items, 1 % of the reads not confirmed, thrift', r'Finished in (\d+) msec', seconds,
        '-', 'thrift'),
)


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(prog='loadtest.py')
    parser.add_argument('--tree', required=True)
    parser.add_argument('--host')
    parser.add_argument('--port', default='22133')
    parser.add_argument('--thrift-port', default='2229')
    options = parser.parse_args(arguments)
    if not os.path.isfile(os.path.join(options.tree, 'kestrel', '__init__.py')):
        parser.error(f'{options.tree}: there is no kestrel/__init__.py')
    for name, port in (('--port', options.port), ('--thrift-port', options.thrift_port)):
        if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
            parser.error(f'{name} {port}: a port is a number from 1 to 65535')
    return options


def main():
    options = parse_arguments(sys.argv[1:])
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    tree = os.path.abspath(options.tree)
    if options.host:
        return run_all(tree, options.host, {'memcache': options.port, 'thrift': options.thrift_port})
    folder = tempfile.mkdtemp(prefix='loadtest-', dir=BUILD)
    server = Kestrel('kestrel', os.path.join(folder, 'server'), tree, sys.executable, SETTINGS)
    try:
        server.start()
        print('a server of its own, spool in %s' % os.path.relpath(server.spool), flush=True)
        code = run_all(tree, '127.0.0.1', {'memcache': str(server.port), 'thrift': str(server.thrift_port)})
        server.check_alive()
        return code
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def run_all(tree, host, ports):
    """Run each; -> exit code."""
    results = [(row, *run(row, tree, host, ports[row.protocol])) for row in ROWS]
    print('\n%-13s %-62s %10s %12s' % ('', '', 'here', 'Kestrel 2.4'))
    for row, figure, problem in results:
        print('%-13s %-62s %10s %12s%s' % (row.name, row.what, figure, row.original, problem and '  ' + problem))
    failed = [row.name for row, _, problem in results if problem]
    if failed:
        print('failed: %s' % ' '.join(failed), file=sys.stderr)
    return 1 if failed else 0


def run(row, tree, host, port):
    """One program; -> its figure, and what went wrong or ''."""
    module = 'kestrel.load.' + row.name.replace('-', '_')
    command = [sys.executable, '-P', '-m', module, '-h', host, '-p', port, *row.words]
    print('\n$ kestrel-%s %s' % (row.name, ' '.join(command[4:])), flush=True)
    process = subprocess.Popen(command, cwd='/', env={**os.environ, 'PYTHONPATH': tree}, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, text=True)
    timer = signal.signal(signal.SIGALRM, lambda *_: process.kill())
    signal.alarm(PROGRAM_SECONDS)
    lines = []
    try:
        for line in process.stdout:
            print(line, end='', flush=True)
            lines.append(line)
        code = process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, timer)
    found = re.findall(row.pattern, ''.join(lines))
    if code == -signal.SIGKILL:
        return '-', 'no end after %d s' % PROGRAM_SECONDS
    if code or not found:
        return '-', 'exit code %d' % code
    return row.figure(found), ''


if __name__ == '__main__':
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
