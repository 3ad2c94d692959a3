#!/usr/bin/env python3
"""Speed and size of kestrel against memcached and redis, interleaved in one run; see README.md beside it."""
import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from functools import partial

HERE = os.path.dirname(os.path.abspath(__file__))
CHECKOUT = os.path.dirname(os.path.dirname(HERE))
if HERE not in sys.path:        # python -P leaves it out
    sys.path.insert(0, HERE)

import backlog  # noqa: E402
import costs  # noqa: E402
import figures  # noqa: E402
import history  # noqa: E402
import instances  # noqa: E402
import latency  # noqa: E402
import load  # noqa: E402
import machine  # noqa: E402
import neighbours  # noqa: E402
import policies  # noqa: E402
import restart  # noqa: E402
import size  # noqa: E402
import speed  # noqa: E402
import sweep  # noqa: E402
import syncing  # noqa: E402
import syscalls  # noqa: E402
import tables  # noqa: E402
import watching  # noqa: E402
from others import Beanstalkd, Memcached, Redis, Sink  # noqa: E402
from servers import BenchError, Kestrel, raise_file_limit  # noqa: E402

SPEED_NAMES = [row.name for row in speed.ROWS]
MEASUREMENTS = {**size.MEASUREMENTS, **restart.MEASUREMENTS, **syncing.MEASUREMENTS, **backlog.MEASUREMENTS,
                **neighbours.MEASUREMENTS, **policies.MEASUREMENTS, **watching.MEASUREMENTS, **latency.MEASUREMENTS,
                **sweep.MEASUREMENTS, **syscalls.MEASUREMENTS, **instances.MEASUREMENTS, **costs.MEASUREMENTS}
# those whose scale is that of size
BY_SIZE = {**size.MEASUREMENTS, **policies.MEASUREMENTS, **watching.MEASUREMENTS, **latency.MEASUREMENTS,
           **sweep.MEASUREMENTS, **syscalls.MEASUREMENTS, **instances.MEASUREMENTS, **costs.MEASUREMENTS}
ALL_NAMES = SPEED_NAMES + list(MEASUREMENTS)


class TooLate(BenchError):
    """--deadline has come."""


def say(text):
    print(text, flush=True)


class Contender:
    """A kind of server that takes part: makes fresh servers of its kind, each in a folder of its own.

    `make(name, folder, **options)`; `described` is what the report says about it.
    """

    def __init__(self, name, kind, make, described=None):
        self.name = name
        self.kind = kind
        self.described = described or {}
        self._make = make
        self._made = 0

    def new(self, folder, stack, **options):
        self._made += 1
        server = self._make(self.name, os.path.join(folder, f'{self.name.replace(" ", "-")}-{self._made}'),
                            **options)
        stack.callback(server.stop)
        return server.start()


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(prog='bench.py', description=__doc__)
    parser.add_argument('--compiled', metavar='DIR', help='tree with the compiled package')
    parser.add_argument('--pure', metavar='DIR', default=CHECKOUT, help='tree of the pure one (the checkout)')
    parser.add_argument('--without-pure', action='store_true', help='measure only the compiled tree')
    parser.add_argument('--python', default=sys.executable, help='interpreter for kestrel (this one)')
    parser.add_argument('--rounds', type=int, help='times each row is measured (5; --quick: 2, --base: 10)')
    parser.add_argument('--quick', action='store_true', help='fewer items and rounds: to see that it works')
    parser.add_argument('--rows', help='which, with commas between: ' + ', '.join(ALL_NAMES))
    parser.add_argument('--cycles', type=int, default=60,
                        help='of the row packing; about 3000 are an hour (%(default)s; --quick: 6)')
    parser.add_argument('--waiting', type=int, metavar='N',
                        help='most items of the row cost_waiting, 10000 to 10000000 (1000000; --quick: 100000)')
    parser.add_argument('--base', metavar='DIR', help='compare this tree with --compiled or else --pure')
    parser.add_argument('--base-python', help='interpreter for --base (that of --python)')
    parser.add_argument('--deadline', type=int, default=7200, help='seconds until all ends (%(default)s)')
    options = parser.parse_args(arguments)
    known = SPEED_NAMES if options.base else ALL_NAMES
    options.rows = known if options.rows is None else options.rows.split(',')
    for name in options.rows:
        if name not in ALL_NAMES:
            parser.error(f'no row is called {name!r}; there are {", ".join(ALL_NAMES)}')
        if name not in known:
            parser.error(f'--base compares only {", ".join(SPEED_NAMES)}, not {name}')
    for option in ('compiled', 'pure', 'base'):
        tree = getattr(options, option)
        if tree is not None and not os.path.isfile(os.path.join(tree, 'kestrel', '__init__.py')):
            parser.error(f'--{option} {tree}: there is no kestrel/__init__.py')
    for option in ('python', 'base_python'):
        program = getattr(options, option)
        if program is not None and shutil.which(program) is None:
            parser.error(f'--{option.replace("_", "-")} {program}: no such program')
    if options.base_python and not options.base:
        parser.error('--base-python is only for --base')
    if options.deadline < 1:
        parser.error('--deadline is at least 1 second')
    if options.rounds is None:
        options.rounds = 10 if options.base else 2 if options.quick else 5
    if options.rounds < (2 if options.base else 1):
        parser.error('too few --rounds')
    if options.cycles < 6:
        parser.error('too few --cycles')
    if options.waiting is not None and not 10_000 <= options.waiting <= 10_000_000:
        parser.error('--waiting is from 10000 to 10000000')
    if options.without_pure and not options.compiled:
        parser.error('--without-pure leaves nothing without --compiled')
    return options


def kestrel_contender(name, kind, tree, python):
    tree = os.path.realpath(tree)
    modules = Kestrel(name, None, tree, python).compiled_modules()
    if kind == 'pure' and modules:
        raise BenchError(f'{tree} is not pure: compiled are {", ".join(modules)}')
    say(f'{name}: {tree}, {python}, compiled: {", ".join(modules) or "nothing"}')

    def make(name, folder, **options):
        return Kestrel(name, folder, tree, python, **options)
    return Contender(name, kind, make,
                     {'tree': tree, 'python': python, 'compiled_modules': modules})


def need_others():
    for program in ('memcached', 'redis-server', 'beanstalkd'):
        if shutil.which(program) is None:
            raise BenchError(f'{program} is not installed; on Debian: apt-get install {program}')


def all_contenders(options, sink):
    need_others()
    contenders = []
    if options.compiled:
        compiled = kestrel_contender('kestrel compiled', 'compiled', options.compiled, options.python)
        if not compiled.described['compiled_modules']:
            raise BenchError(f'{options.compiled} holds no compiled module: build it where Cython, a C '
                             'compiler and the headers of Python are, or leave --compiled out: pure alone')
        contenders.append(compiled)
    else:
        say('*** COMPILED KESTREL IS NOT MEASURED: no --compiled DIR ***')
    if not options.without_pure:
        contenders.append(kestrel_contender('kestrel pure', 'pure', options.pure, options.python))
    contenders.append(Contender('memcached', 'memcached', Memcached))
    contenders.append(Contender('redis', 'redis', Redis))
    contenders.append(Contender('redis always', 'redis always', partial(Redis, appendfsync='always')))
    contenders.append(Contender('beanstalkd', 'beanstalkd', Beanstalkd))
    contenders.append(Contender('sink', 'sink', partial(Sink, binary=sink)))
    return contenders


def run_speed(options, contenders, generator, folder, report):
    """All rounds; each begins with fresh servers, so that no process's luck lasts for the whole run."""
    rows = [row for row in speed.ROWS if row.name in options.rows]
    counts = speed.QUICK if options.quick else speed.Counts()
    contenders = [contender for contender in contenders if contender.kind != 'sink']
    kinds = {contender.name: contender.kind for contender in contenders}
    report['speed'] = {'counts': vars(counts), 'rounds': []}
    for number in range(options.rounds):
        say(f'round {number + 1} of {options.rounds}')
        with contextlib.ExitStack() as stack:
            servers = [contender.new(folder, stack) for contender in contenders]
            report['speed']['rounds'].append(speed.measure_round(generator, servers, rows, counts, say))
    report['speed']['disturbance'] = speed.disturbance(report['speed']['rounds'])
    report['speed']['summary'] = speed.summary(report['speed']['rounds'], kinds, rows)


def run_measurements(options, contenders, generator, folder, report):
    """The rows beyond speed, one after the other, each for every contender that can do its work."""
    names = [name for name in MEASUREMENTS if name in options.rows]
    if not names:
        return
    rounds = min(options.rounds, 5)
    files = raise_file_limit()
    sizes = size.Scale(options.quick, rounds, files, say, options.waiting)
    journals = restart.Scale(options.quick, rounds, options.cycles)
    report['size'] = {'scale': {**vars(sizes), **vars(journals)}, 'findings': []}
    report['failures'] = []
    for name in names:
        for contender in contenders:
            if name not in size.CONTROLS.get(contender.kind, MEASUREMENTS):
                continue
            say(f'{name}: {contender.name}')
            began = time.monotonic()
            try:
                with contextlib.ExitStack() as stack:
                    found = MEASUREMENTS[name](generator, maker(contender, contenders, folder, stack),
                                               sizes if name in BY_SIZE else journals)
            except TooLate:
                raise
            except BenchError as error:         # the other rows are worth their time all the same
                say(f'  not measured: {error}')
                report['failures'].append({'row': name, 'server': contender.name, 'error': str(error)})
                continue
            for one in found:
                say(f'  {one["name"]}: {one["value"]} {one["unit"]}')
                report['size']['findings'].append({
                    'row': name, 'server': contender.name, 'kind': contender.kind,
                    **size.judge(one, contender.kind)})
            say(f'  {time.monotonic() - began:.0f} s')


def maker(contender, contenders, folder, stack):
    """A function that makes fresh servers, of this contender or of another one by its name."""
    by_name = {one.name: one for one in contenders}

    def new_server(of=contender.name, **options):
        return by_name[of].new(folder, stack, **options)
    return new_server


def run_comparison(options, generator, folder, report):
    """Two kestrels in pairs, A B then B A; the ratio new / base with its 95 % interval."""
    rows = [row for row in speed.ROWS if row.name in options.rows]
    counts = speed.QUICK if options.quick else speed.Counts()
    base = kestrel_contender('base', 'base', options.base, options.base_python or options.python)
    new = kestrel_contender('new', 'new', options.compiled or options.pure, options.python)
    report['contenders'] = {contender.name: contender.described for contender in (base, new)}
    rounds = []
    for number in range(options.rounds):
        say(f'pair {number + 1} of {options.rounds}')
        with contextlib.ExitStack() as stack:
            order = (base, new) if number % 2 == 0 else (new, base)
            servers = [contender.new(folder, stack) for contender in order]
            rounds.append(speed.measure_round(generator, servers, rows, counts, say))
    report['comparison'] = {'rounds': rounds, 'disturbance': speed.disturbance(rounds), 'summary': []}
    for row in rows:
        values, base_values = (speed.figures_of(rounds, name, row) for name in ('new', 'base'))
        ratio, low, high = figures.ratio_interval(figures.paired_ratios(values, base_values))
        report['comparison']['summary'].append(
            {'row': row.name, 'work': row.work, 'unit': speed.unit(row), 'base': figures.median(base_values),
             'new': figures.median(values), 'ratio': ratio, 'low': low, 'high': high})


def new_report(options):
    return {'started': time.strftime('%Y-%m-%dT%H:%M:%S%z'), 'options': vars(options),
            'machine': machine.describe_machine(), 'versions': machine.describe_versions(options.python),
            'git': machine.git_state(CHECKOUT)}


def run(options, report, folder, generator):
    if options.base:
        run_comparison(options, generator, folder, report)
        return
    contenders = all_contenders(options, generator.sink)
    report['contenders'] = {one.name: one.described for one in contenders}
    if set(options.rows) & set(SPEED_NAMES):
        run_speed(options, contenders, generator, folder, report)
    run_measurements(options, contenders, generator, folder, report)


def end_on_signals(deadline):
    def terminate(number, frame):
        sys.exit(f'bench: ended by {signal.Signals(number).name}')

    def too_late(number, frame):
        raise TooLate(f'not done after {deadline} s (--deadline)')
    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGALRM, too_late)
    signal.alarm(deadline)


def main(arguments=None):
    options = parse_arguments(arguments)
    raise_file_limit()
    end_on_signals(options.deadline)
    kept = os.path.join(CHECKOUT, 'build', 'bench')
    os.makedirs(kept, exist_ok=True)
    if options.quick:
        say('*** --quick: THE FIGURES SHOW THAT IT RUNS, NOT HOW FAST OR HOW SMALL ***')
    report = new_report(options)
    path = os.path.join(kept, time.strftime('%Y%m%d-%H%M%S.json'))
    try:
        with tempfile.TemporaryDirectory(prefix='run-', dir=kept) as folder:
            run(options, report, folder, load.Generator(load.build(kept)))
    except (BenchError, KeyboardInterrupt) as error:
        report['failed'] = str(error) or 'interrupted'
        print(f'bench: {report["failed"]}', file=sys.stderr)
    finally:
        signal.alarm(0)
        with open(path, 'w') as file:
            json.dump(report, file, indent=1)
    history.append(kept, report, os.path.basename(path))
    tables.print_report(report, say)
    say(f'\nkept in {os.path.relpath(path)}')
    return 1 if 'failed' in report or report.get('failures') else 0


if __name__ == '__main__':
    sys.exit(main())
