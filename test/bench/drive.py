"""Are the load programs faster than what they measure?

    python3 test/bench/drive.py --tree TREE [--rounds N]

Drives kestrel, and in turn a sink (queue_sink.c, which does next to nothing) or memcached, with the same program, and prints for
each pair how much longer kestrel took, and the processor time that an item (a put or a get) cost the program and kestrel.
Where there is no sink (thrift, gets that wait) only the latter: program and kestrel have a processor each, and the one that
needs more is the one that is measured.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile

from load import compiler
from others import Memcached
from servers import BenchError, Kestrel, Server

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.join(HERE, '..', '..', 'build')

# (what, module, words, items of a run, memcached instead of the sink)
PAIRS = (
    ('put-many', 'put_many', ['-n', '100000', '-F'], 100000, False),
    ('put-many, memcached', 'put_many', ['-n', '100000', '-F'], 100000, True),
    ('put-many -g', 'put_many', ['-n', '50000', '-g'], 100000, False),
    ('many-clients -s 0', 'many_clients', ['-n', '20000', '-s', '0'], 40000, None),
    ('flood', 'flood', ['-n', '20000'], 40000, False),
    ('flood -R 10 -C 10', 'flood', ['-n', '50000', '-R', '10', '-C', '10'], 100000, False),
    ('flood -r 10', 'flood', ['-n', '50000', '-r', '10'], 100000, False),
    ('packing', 'packing', ['-n', '25000', '-c', '1', '-t', '0'], 100000, False),
    ('put-many --thrift', 'put_many', ['-n', '50000', '--thrift', '-g'], 100000, None),
    ('flood --thrift', 'flood', ['-n', '20000', '--thrift'], 40000, None),
    ('leaky-reader -d 0', 'leaky_reader', ['-n', '5000', '-d', '0'], 15000, None),
)


class Sink(Server):
    """queue_sink.c, which chooses its port itself."""

    def __init__(self, folder):
        super().__init__('sink', folder)
        self.binary = os.path.join(folder, 'queue_sink')

    def start(self):
        os.makedirs(self.folder)
        subprocess.run([*compiler(), '-O2', '-Wall', '-Wextra', '-o', self.binary, os.path.join(HERE, 'queue_sink.c')], check=True)
        self.process = subprocess.Popen([self.binary], stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())
        return self


def run(tree, module, words, server, port):
    """-> s it took, from the first line of a result; processor time of the program and of the server, s"""
    command = [sys.executable, '-P', '-m', 'kestrel.load.' + module, '-h', '127.0.0.1', '-p', str(port), *words]
    before = server.cpu_seconds()
    process = subprocess.Popen(command, cwd='/', env={**os.environ, 'PYTHONPATH': tree}, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, text=True)
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchError('%s ended with exit code %d:\n%s' % (' '.join(command), process.returncode, said))
    msec = sum(map(int, re.findall(r' in (\d+) msec', said)))
    return msec / 1000, usage.ru_utime + usage.ru_stime, server.cpu_seconds() - before


def start_up(tree, module):
    """-> processor time that a program takes to start, s"""
    process = subprocess.Popen([sys.executable, '-P', '-m', 'kestrel.load.' + module, '--help'], cwd='/',
                               env={**os.environ, 'PYTHONPATH': tree}, stdout=subprocess.DEVNULL)
    usage = os.wait4(process.pid, 0)[2]
    process.returncode = 0
    return usage.ru_utime + usage.ru_stime


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(prog='drive.py')
    parser.add_argument('--tree', required=True)
    parser.add_argument('--rounds', type=int, default=5)
    options = parser.parse_args(arguments)
    if not os.path.isfile(os.path.join(options.tree, 'kestrel', '__init__.py')):
        parser.error(f'{options.tree}: there is no kestrel/__init__.py')
    if options.rounds < 1:
        parser.error('too few --rounds')
    return options


def main():
    options = parse_arguments(sys.argv[1:])
    tree = os.path.abspath(options.tree)
    with tempfile.TemporaryDirectory(prefix='drive-', dir=BUILD) as folder:
        kestrel = Kestrel('kestrel', os.path.join(folder, 'kestrel'), tree, sys.executable)
        sink, memcached = Sink(os.path.join(folder, 'sink')), Memcached('memcached', os.path.join(folder, 'memcached'))
        try:
            for server in (kestrel, sink, memcached):
                server.start()
            print('%-22s %24s %18s %18s' % ('median of %d' % options.rounds, 'kestrel : other, time', 'program us/item',
                                            'kestrel us/item'))
            for what, module, words, items, cached in PAIRS:
                measure(tree, options.rounds, what, module, words, items, kestrel, {True: memcached, False: sink}.get(cached))
        finally:
            for server in (kestrel, sink, memcached):
                server.stop()
    return 0


def measure(tree, rounds, what, module, words, items, kestrel, other):
    """One line."""
    ratios, program, server = [], [], []
    begin = start_up(tree, module)
    thrift = '--thrift' in words or module == 'leaky_reader'
    for _ in range(rounds):
        seconds, own, theirs = run(tree, module, words, kestrel, kestrel.thrift_port if thrift else kestrel.port)
        program.append((own - begin) / items * 1e6)
        server.append(theirs / items * 1e6)
        if other is not None:
            ratios.append(seconds / run(tree, module, words, other, other.port)[0])
    ratio = '%.2f (%.2f .. %.2f)' % (statistics.median(ratios), min(ratios), max(ratios)) if ratios else '-'
    print('%-22s %24s %18.1f %18.1f' % (what, ratio, statistics.median(program), statistics.median(server)), flush=True)


if __name__ == '__main__':
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(str(error))
