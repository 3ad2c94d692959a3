#!/usr/bin/env python3
"""make soak: a server that does everything at once for a long time. Are its memory, disk space, files and latency flat?

Step by step other clients load it at fixed rates, and after each step it is looked at. What they put must come back once
and in order; the median of the last third of the steps must not be above that of the first third by more than noise.
"""
import argparse
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
import time
from dataclasses import dataclass

HERE = os.path.dirname(os.path.abspath(__file__))
CHECKOUT = os.path.dirname(os.path.dirname(HERE))
if HERE not in sys.path:        # python -P leaves it out
    sys.path.insert(0, HERE)

import history  # noqa: E402
import load  # noqa: E402
import machine  # noqa: E402
import size  # noqa: E402
import tables  # noqa: E402
from figures import median, slope_interval  # noqa: E402
from servers import BenchError, Kestrel, raise_file_limit  # noqa: E402

MB = 1024 * 1024
KB = 1024
STEP_SECONDS = 10
FULL_MINUTES = 20           # what docs/benchmarks.md shows; fewer say that it runs
FEWEST_STEPS = 6            # a third has two
RATES = {'work': 1000, 'backlog': 400, 'batches': 400}     # items put, and as many fetched, a second
BATCHES_WAITING = 4         # of the queue that is always behind
ODD = 100                   # items of each of the other kinds of work in a step
REWRITTEN = 1500            # items of 1 KB put and fetched in a step, while ODD wait
EXPIRES_SECONDS = 1
OWN_SHARE = 0.15            # of a processor, of what compares items here
PATIENCE = 120              # seconds that the clients of a step may take
EXPIRED_SECONDS = 10        # within which what expires is where it should go

# So small that every journal is rewritten or packed several times in each third.
SETTINGS = {'sync_journal': '100ms', 'max_memory_size': '2MB', 'max_journal_size': '8MB', 'default_journal_size': '1MB',
            'min_journal_compact_delay': 'none'}
SERVER = f'expiration_timer_frequency = {EXPIRES_SECONDS}s\n'
SECTIONS = ('[queues]\n[[expiring]]\nexpire_to_queue = expired\n[[fan]]\n[[fan+a]]\n[[fan+b]]\n'
            '[[rewritten]]\nmax_journal_size = 1MB\n')


@dataclass(frozen=True)
class Figure:
    """What is looked at after a step: flat is a median of the last third of at most `factor` times that of the first,
    and `slack`."""
    what: str
    unit: str
    factor: float
    slack: float


FIGURES = {'memory': Figure('resident memory', 'MB', 1.05, 2), 'disk': Figure('disk space of the spool', 'MB', 1.10, 4),
           'files': Figure('open files', '', 1.0, 4), 'p99': Figure('put until it is fetched, p99', 'ms', 1.25, 2)}


def say(text):
    print(text, flush=True)


class Talk:
    """One connection; whatever is not answered as it should is a BenchError, which says what is lost."""

    def __init__(self, server):
        self._server = server
        self._socket = socket.create_connection(('127.0.0.1', server.port), timeout=60)
        self._replies = self._socket.makefile('rb')

    def close(self):
        self._replies.close()
        self._socket.close()

    def ask(self, request, expected):
        try:
            self._socket.sendall(request)
            reply = self._replies.read(len(expected))
        except OSError as error:
            self._server.check_alive()
            raise BenchError(f'{self._server.name}: {request[:60]!r} was not answered: {error}') from error
        if reply != expected:
            raise BenchError(f'{self._server.name}: wrong reply {reply[:80]!r} to {request[:60]!r}; due was '
                             f'{expected[:80]!r}: an item is lost, doubled or out of order')

    def put(self, queue, items, expires=0):
        self.ask(b''.join(b'set %b 0 %d %d\r\n%b\r\n' % (queue, expires, len(item), item) for item in items),
                 b'STORED\r\n' * len(items))

    def get(self, queue, items, options=b''):
        """Exactly these items, in this order."""
        self.ask((b'get %b%b\r\n' % (queue, options)) * len(items),
                 b''.join(b'VALUE %b 0 %d\r\n%b\r\nEND\r\n' % (queue, len(item), item) for item in items))

    def empty(self, queue):
        self.ask(b'get %b\r\n' % queue, b'END\r\n')


class Odd:
    """What the load generator does not do: aborts, expiry, fanout, flush, and a journal that must be rewritten."""

    def __init__(self, server):
        self._talk = Talk(server)
        self._step = 0
        self._waiting = []      # of the queue that is rewritten
        self._expired = []      # what must be in the queue expired by now

    def close(self):
        self._talk.close()

    def items(self, count, length=KB):
        return [b'%d %d ' % (self._step, number) + b'x' * length for number in range(count)]

    def step(self):
        talk = self._talk
        self._step += 1
        items = self.items(ODD)
        self._see_expired()
        talk.put(b'expiring', items, EXPIRES_SECONDS)
        talk.put(b'aborted', items)
        for item in items[:3]:
            talk.get(b'aborted', [items[0]], b'/open')
            talk.ask(b'get aborted/abort\r\n', b'END\r\n')
        for item in items:
            talk.get(b'aborted', [item], b'/close/open')
        talk.ask(b'get aborted/close\r\n', b'END\r\n')
        talk.put(b'fan', items)
        for queue in (b'fan', b'fan+a', b'fan+b'):
            talk.get(queue, items)
            talk.empty(queue)
        talk.put(b'flushed', items)
        talk.ask(b'flush flushed\r\n', b'END\r\n')
        talk.empty(b'flushed')
        self._rewritten()
        self._expired = items

    def _rewritten(self):
        """Items go in and out of a short queue until its journal is much larger than what waits."""
        for start in range(0, REWRITTEN, ODD):
            items = [b'%d ' % start + item for item in self.items(ODD)]
            self._talk.put(b'rewritten', items)
            self._waiting += items
            if len(self._waiting) > ODD:
                self._talk.get(b'rewritten', self._waiting[:ODD])
                del self._waiting[:ODD]

    def _see_expired(self):
        """All that expired in the step before, once."""
        if self._expired:
            self._talk.get(b'expired', self._expired, b'/t=%d' % (EXPIRED_SECONDS * 1000))
            self._talk.empty(b'expired')
            self._talk.empty(b'expiring')

    def end(self):
        """Nothing is left anywhere."""
        self._see_expired()
        self._talk.get(b'rewritten', self._waiting)
        self._talk.empty(b'rewritten')


class Backlog:
    """A queue that is always in read-behind: in each step a batch is put and the oldest one fetched."""

    def __init__(self, generator, server, count):
        self._generator = generator
        self._server = server
        self._work = {'size': KB, 'seed': load.new_seed(), 'queue': 'backlog', 'connections': 10, 'count': count,
                      'deadline': PATIENCE}
        self._put = self._taken = 0
        for _ in range(BATCHES_WAITING):
            generator.run(server, **self.next_put())

    def next_put(self, **options):
        self._put += self._work['count']
        return {**self._work, **options, 'mode': 'put', 'first': self._put - self._work['count']}

    def next_get(self, **options):
        self._taken += self._work['count']
        return {**self._work, **options, 'mode': 'get', 'first': self._taken - self._work['count']}

    def check_behind(self):
        waiting, kept = (self._server.stat('backlog', key) for key in ('items', 'mem_items'))
        if kept >= waiting:
            raise BenchError(f'{self._server.name}: backlog is not in read-behind: {kept} of {waiting} items in memory')

    def end(self):
        while self._taken < self._put:
            self._generator.run(self._server, **self.next_get())


def batches_of(number, seconds):
    """Puts, and reads that open and confirm, or monitors with their confirms: in turn from step to step."""
    read = {'batch': 10} if number % 2 else {'confirm': True}
    work = {'size': KB, 'queue': 'batches', 'connections': 10, 'seed': load.new_seed(),
            'count': int(RATES['batches'] * seconds / 2) // 10 * 10, 'deadline': PATIENCE}
    return {**work, 'mode': 'put', 'rate': RATES['batches']}, {**work, **read, 'mode': 'get', 'rate': RATES['batches']}


def one_step(generator, server, backlog, odd, number, seconds):
    """All kinds of work at once; -> p99 in ms of the clients that put and fetch at the same time."""
    put, get = batches_of(number, seconds)
    with contextlib.ExitStack() as stack:
        def beside(**options):
            return stack.enter_context(generator.beside(server, **options))
        work = beside(mode='flood', queue='work', rate=RATES['work'], count=int(RATES['work'] * seconds), size=KB,
                      producers=4, consumers=4, block=1000, seed=load.new_seed(), deadline=PATIENCE)
        running = [work, beside(**backlog.next_put(rate=RATES['backlog'])),
                   beside(**backlog.next_get(rate=RATES['backlog']))]
        putting = beside(**put)
        odd.step()
        putting.end()
        # the last item of each is not confirmed: it goes with the queue
        beside(**get).end()
        server.forget('batches')
        results = [one.end() for one in running]
    return results[0]['transit']['p99_us'] / 1000


def look(server, p99):
    return {'memory': server.rss() / MB, 'disk': server.disk_use() / MB,
            'files': len(os.listdir(f'/proc/{server.process.pid}/fd')), 'p99': p99,
            'rewrites': server.stat('rewritten', 'journal_rewrites'),
            'rotations': server.stat('backlog', 'journal_rotations')}


def soak(generator, server, minutes, seconds, samples):
    """Adds what is seen to `samples`, also if an item gets lost in the end."""
    backlog = Backlog(generator, server, int(RATES['backlog'] * seconds))
    odd = Odd(server)
    with contextlib.closing(odd):
        one_step(generator, server, backlog, odd, 0, seconds)       # makes all that there is to make
        ends = time.monotonic() + minutes * 60
        while time.monotonic() < ends or len(samples) < FEWEST_STEPS:
            watch = load.OthersWatch(server)
            p99 = one_step(generator, server, backlog, odd, len(samples) + 1, seconds)
            others = watch.share()
            server.wait_quiet()         # until it has noticed that its clients are gone
            samples.append({**look(server, p99), 'others': others})
            backlog.check_behind()
            say('  step %d: %s' % (len(samples), describe(samples[-1])))
        odd.end()
        backlog.end()
    server.check_alive()


def describe(sample):
    return ', '.join(f'{name} {sample[name]:.1f} {figure.unit}'.rstrip() for name, figure in FIGURES.items()) + \
        f', rewrites {sample["rewrites"]}, rotations {sample["rotations"]}'


def findings_of(samples, seconds):
    """A finding of each figure, with a chart of all steps; and whether the journals were made smaller at all."""
    third = len(samples) // 3
    ticks = [f'{round(at * seconds / 60, 1):g}' if at % max(len(samples) // 6, 1) == 0 else '' for at in range(len(samples))]
    findings = []
    for name, figure in FIGURES.items():
        values = [sample[name] for sample in samples]
        first, last = median(values[:third]), median(values[-third:])
        slope, half = slope_interval(values)
        an_hour = 3600 / seconds
        findings.append(size.finding(
            f'{name}: {figure.what}, median of the last third', round(last, 2), figure.unit,
            at_most=round(first * figure.factor + figure.slack, 2), values=values,
            shown=f'first third {first:.2f}; least {min(values):.2f}, most {max(values):.2f}; '
                  f'{slope * an_hour:+.2f} (+- {half * an_hour:.2f}) an hour',
            chart={'title': f'soak: {figure.what}', 'x': 'minutes', 'y': figure.unit or 'number', 'ticks': ticks,
                   'lines': {name: list(enumerate(values))}}))
    for name, what in (('rewrites', 'of a short queue'), ('rotations', 'of a queue in read-behind')):
        findings.append(size.finding(f'{name}: journals made smaller meanwhile, {what}',
                                     samples[-1][name] - samples[0][name], '', at_least=1))
    return findings


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(prog='soak.py', description=__doc__.splitlines()[0])
    parser.add_argument('tree', help='tree with the package, compiled or pure')
    parser.add_argument('--python', default=sys.executable, help='interpreter for kestrel (this one)')
    parser.add_argument('--minutes', type=float, default=FULL_MINUTES, help='above 0, at most 1440 (%(default)s)')
    parser.add_argument('--step', type=float, default=STEP_SECONDS, metavar='S',
                        help='seconds of a step, 1 to 60 (%(default)s)')
    options = parser.parse_args(arguments)
    if not 0 < options.minutes <= 1440:
        parser.error('--minutes is above 0 and at most 1440')
    if not 1 <= options.step <= 60:
        parser.error('--step is from 1 to 60')
    if not os.path.isfile(os.path.join(options.tree, 'kestrel', '__init__.py')):
        parser.error(f'{options.tree}: there is no kestrel/__init__.py')
    return options


def new_report(options):
    return {'started': time.strftime('%Y-%m-%dT%H:%M:%S%z'), 'command': f'make soak MINUTES={options.minutes:g}',
            'options': {**vars(options), 'quick': options.minutes < FULL_MINUTES, 'rounds': 1},
            'machine': machine.describe_machine(), 'versions': machine.describe_versions(options.python),
            'git': machine.git_state(CHECKOUT)}


def run(options, report, folder, generator):
    server = Kestrel('kestrel', os.path.join(folder, 'kestrel'), os.path.realpath(options.tree), options.python,
                     SETTINGS, server=SERVER, sections=SECTIONS)
    kind = 'compiled' if server.compiled_modules() else 'pure'
    samples = report['samples']
    try:
        with contextlib.ExitStack() as stack:
            stack.callback(server.stop)
            server.start()
            soak(generator, server, options.minutes, options.step, samples)
    finally:
        if len(samples) >= FEWEST_STEPS:
            report['size'] = {'findings': [{'row': 'soak', 'server': f'kestrel {kind}', 'kind': kind,
                                            **size.judge(one, kind)} for one in findings_of(samples, options.step)]}


def main(arguments=None):
    options = parse_arguments(arguments)
    raise_file_limit()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    kept = os.path.join(CHECKOUT, 'build', 'bench')
    os.makedirs(kept, exist_ok=True)
    report = {**new_report(options), 'samples': []}
    path = os.path.join(kept, time.strftime('soak-%Y%m%d-%H%M%S.json'))
    say(f'{options.minutes:g} minutes in steps of {options.step:g} s')
    try:
        with tempfile.TemporaryDirectory(prefix='soak-', dir=kept) as folder:
            run(options, report, folder, load.Generator(load.build(kept)))
    except (BenchError, KeyboardInterrupt) as error:
        report['failed'] = str(error) or 'interrupted'
        print(f'soak: {report["failed"]}', file=sys.stderr)
    finally:
        with open(path, 'w') as file:
            json.dump(report, file, indent=1)
    history.append(kept, report, os.path.basename(path))
    tables.print_report(report, say)
    if report['samples']:
        # this program is one of the others, and not idle
        tables.warn_if_disturbed(median([sample['others'] for sample in report['samples']]) - OWN_SHARE, say)
    say(f'\nkept in {os.path.relpath(path)}')
    unmet = [one['name'] for one in report.get('size', {}).get('findings', ()) if not one['met']]
    if unmet:
        print('soak: not flat: ' + '; '.join(unmet), file=sys.stderr)
    return 1 if 'failed' in report or unmet or 'size' not in report else 0


if __name__ == '__main__':
    sys.exit(main())
