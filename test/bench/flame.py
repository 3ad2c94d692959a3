#!/usr/bin/env python3
"""make profile: flame graphs of a compiled server that is loaded with puts, and with gets, by py-spy."""
import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
CHECKOUT = os.path.dirname(os.path.dirname(HERE))
if HERE not in sys.path:        # python -P leaves it out
    sys.path.insert(0, HERE)

import load  # noqa: E402
import machine  # noqa: E402
from servers import BenchError, Kestrel  # noqa: E402
from speed import CLIENTS, ITEM  # noqa: E402

RATE = 997          # samples a second: not in step with anything that happens 100 or 1000 times
SPY_SECONDS = 60    # beyond the time it samples


def record(server, path, seconds, spy):
    """Starts py-spy on the server; the flame graph is in `path` when it has ended."""
    return subprocess.Popen([spy, 'record', '--native', '--rate', str(RATE), '--duration', str(seconds), '--pid',
                             str(server.process.pid), '--format', 'flamegraph', '--output', path],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def profile(generator, server, folder, seconds, spy):
    """Puts and gets in turn until py-spy has what it wants; returns the paths of the graphs."""
    paths = []
    for mode in ('put', 'get'):
        path = os.path.join(folder, f'profile-{mode}.svg')
        items = measure_rate(generator, server) * seconds * 2
        work = {'count': items, 'size': ITEM, 'connections': CLIENTS, 'seed': load.new_seed()}
        if mode == 'get':
            generator.run(server, mode='put', **work)
        with contextlib.ExitStack() as stack:
            running = stack.enter_context(generator.beside(server, mode=mode, **work))
            time.sleep(0.5)
            spying = record(server, path, seconds, spy)
            stack.callback(spying.wait)
            stack.callback(spying.kill)
            try:
                output = spying.communicate(timeout=seconds + SPY_SECONDS)[0]
            except subprocess.TimeoutExpired:
                raise BenchError(f'{spy} does not end') from None
            if spying.returncode or not os.path.exists(path):
                raise BenchError(f'{spy} ended with {spying.returncode}: {output.strip()}\n  (it needs the right to trace '
                                 'a process: root, or sysctl kernel.yama.ptrace_scope=0; in a container SYS_PTRACE)')
            server.check_alive()
            running.end()
        server.ask(b'delete bench\r\n')
        paths.append(path)
    return paths


def measure_rate(generator, server):
    """Puts a second, to know how much work lasts long enough."""
    result = generator.run(server, mode='put', count=20_000, size=ITEM, connections=CLIENTS, seed=load.new_seed())
    server.forget('bench')
    return int(result['rate']) + 1


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(prog='flame.py', description=__doc__)
    parser.add_argument('tree', help='tree with the package, compiled or pure')
    parser.add_argument('--python', default=sys.executable, help='interpreter for kestrel (this one)')
    parser.add_argument('--spy', default='py-spy', help='the program py-spy (%(default)s)')
    parser.add_argument('--seconds', type=int, default=10, help='of each graph, 1 to 60 (%(default)s)')
    options = parser.parse_args(arguments)
    if not 1 <= options.seconds <= 60:
        parser.error('--seconds is from 1 to 60')
    if not os.path.isfile(os.path.join(options.tree, 'kestrel', '__init__.py')):
        parser.error(f'{options.tree}: there is no kestrel/__init__.py')
    if shutil.which(options.spy) is None:
        parser.error(f'{options.spy} is not installed: pip install py-spy, or make profile')
    return options


def main(arguments=None):
    options = parse_arguments(arguments)
    kept = os.path.join(CHECKOUT, 'build', 'bench')
    os.makedirs(kept, exist_ok=True)
    print('commit:', (machine.git_state(CHECKOUT) or {}).get('commit'), flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix='profile-', dir=kept) as folder, contextlib.ExitStack() as stack:
            server = Kestrel('kestrel', os.path.join(folder, 'kestrel'), os.path.realpath(options.tree), options.python)
            stack.callback(server.stop)
            server.start()
            paths = profile(load.Generator(load.build(kept)), server, kept, options.seconds, options.spy)
    except (BenchError, KeyboardInterrupt) as error:
        print(f'profile: {str(error) or "interrupted"}', file=sys.stderr)
        return 1
    print('\n'.join(os.path.relpath(path) for path in paths))
    return 0


if __name__ == '__main__':
    sys.exit(main())
