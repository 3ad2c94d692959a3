#!/usr/bin/env python3
"""Run the tests in lanes: compiled and pure Python, each on PyPI's libraries and on Debian's.

    test/run.py [--long | --rest] [--lanes="pypi-pure ..."] [--suites="unit wire"] [test module, class or method ...]

Called by ``make test``, which runs every suite in one compiled and one pure lane, on PyPI's libraries and on Debian's if
both are there, and ``functional``, which takes longest, in the compiled one only, unless lanes are named; ``--rest``
(``make test-rest``) runs what that leaves out, ``--long`` (``make test-long``) everything in all. Two processes of tests run
at a time, each for one suite in one lane; its output is kept under build/test/ and shown if something failed. The last line
is the sum of all: ``N passed, N failed, N skipped``. The exit code is 0 if nothing failed and something passed.

What cannot run for lack of something counts as skipped, and the end says what to install. With CI=true in the
environment a skip is a failure. Tests see these environment variables:

    KESTREL_LANE          the lane's name, for example ``debian-compiled``
    KESTREL_TREE          the folder that holds the package under test
    KESTREL_CRASH_ROUNDS  how many rounds of kill -9 test/crash does; if it is set already that stays
    KESTREL_LONG          ``1`` in ``make test-long``, else absent
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
BUILD = CHECKOUT / 'build'
OUTPUT = BUILD / 'test'
PYTHON = {
    'pypi': [str(BUILD / 'venv' / 'bin' / 'python'), '-s'],
    'debian': ['/usr/bin/python3', '-s'],
}

# Lanes and how often each kills the server: mostly compiled on today's libraries, and the opposite of it.
CRASH_ROUNDS = {'pypi-compiled': 200, 'debian-pure': 40, 'debian-compiled': 10, 'pypi-pure': 10}
CRASH_ROUNDS_LONG = {'pypi-compiled': 1000, 'debian-pure': 400, 'debian-compiled': 400, 'pypi-pure': 200}
SUITES = ('crash', 'functional', 'wire', 'unit')  # in the order in which they start: the longest first

AT_A_TIME = 2
SUITE_SECONDS = 10 * 60
SUITE_SECONDS_LONG = 90 * 60
SHOWN = 20000  # characters of the output of a suite that failed
NOT_FOR_DEBIAN_PURE = {'python3-venv', 'python3-dev'}


class CannotRun(Exception):
    """Something that the machine lacks; str() is one line that names it."""


class Run:
    """Counts over all lanes, and the processes that are at it; used from several threads."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.passed = self.failed = 0
        self.skipped = []
        self.processes = set()
        self._lock = threading.Lock()

    def say(self, text):
        with self._lock:
            print(text, flush=True)

    def add(self, passed, failed, skipped):
        with self._lock:
            self.passed += passed
            self.failed += failed
            self.skipped += skipped


def main():
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    run = Run(parse_arguments())
    OUTPUT.mkdir(parents=True, exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
        try:
            run_all(run, pool)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(run.processes):
                end_session(process)
            raise
    return conclude(run)


def run_all(run, pool):
    runnable = []
    for family in PYTHON:
        runnable += prepare(family, runnable, run)
    runnable.sort(key=list(CRASH_ROUNDS).index)
    jobs = [pool.submit(run_suite, lane, suite, run)
            for suite in SUITES if suite in run.arguments.suites for lane in lanes_of(suite, runnable, run.arguments)]
    for job in jobs:
        job.result()


def lanes_of(suite, runnable, arguments):
    """Those in which a suite is to run. Where libraries are missing the usual run takes what there is."""
    if arguments.long or arguments.lanes:
        return runnable
    usual = [lane for way in ('compiled', 'pure') for lane in [lane for lane in runnable if lane.endswith(way)][:1]]
    if suite == 'functional':
        # it takes half of the time of all
        usual = usual[:1]
    return [lane for lane in runnable if lane not in usual] if arguments.rest else usual


def parse_arguments():
    parser = argparse.ArgumentParser()
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument('--long', action='store_true')
    extent.add_argument('--rest', action='store_true')
    parser.add_argument('--lanes', type=words_of(CRASH_ROUNDS), default=[])
    parser.add_argument('--suites', type=words_of(SUITES), default=SUITES)
    parser.add_argument('tests', nargs='*')
    return parser.parse_args()


def words_of(known):
    """A type for argparse: words out of the known ones."""
    def words(text):
        unknown = set(text.split()) - set(known)
        if unknown:
            raise argparse.ArgumentTypeError(f'{" ".join(sorted(unknown))}: not one of {" ".join(known)}')
        return text.split()
    return words


def prepare(family, others, run):
    """Install and compile what the lanes of one family of libraries need; returns those that can run.

    others  lanes of another family that can: where nothing asks for a second compiled one none is compiled
    """
    arguments = run.arguments
    lanes = [lane for lane in arguments.lanes or CRASH_ROUNDS if lane.startswith(family)]
    if not (arguments.lanes or arguments.rest or arguments.long) and any(lane.endswith('compiled') for lane in others):
        lanes = [lane for lane in lanes if lane.endswith('pure')]
    runnable = []
    try:
        if lanes:
            check_libraries(family)
        for lane in sorted(lanes, reverse=True):
            if lane.endswith('compiled'):
                compile_tree(family)
            runnable.append(lane)
    except CannotRun as why:
        for lane in sorted(set(lanes) - set(runnable)):
            run.say(f'== {lane}: skipped, {why}')
            run.add(0, 0, [f'{lane}: {why}'])
    except subprocess.CalledProcessError as error:
        run.say(f'== {family}: set-up failed\n{error.stdout}')
        run.add(0, 1, [])
    return runnable


def check_libraries(family):
    """Make the virtual environment, or look for Debian's packages."""
    if family == 'pypi':
        try:
            make('venv')
        except subprocess.CalledProcessError as error:
            said = [line for line in error.stdout.splitlines() if not line.startswith('make')]
            raise CannotRun(f'there is no build/venv: {said[-1]}') from None
    elif shutil.which('dpkg-query') is None:
        raise CannotRun('this is not a Debian system')
    else:
        missing = [package for package in missing_packages()
                   if package.startswith('python3') and package not in NOT_FOR_DEBIAN_PURE]
        if missing:
            raise CannotRun(f'packages are missing: {" ".join(missing)}')


def compile_tree(family):
    said = make(f'tree-{family}')
    if not any((BUILD / f'tree-{family}' / 'lib').glob('**/*.so')):
        raise CannotRun(said.strip().splitlines()[-1])


def make(target):
    """Run make; returns what it said. Raises subprocess.CalledProcessError with .stdout if it fails."""
    command = ['make', '--no-print-directory', '-s', '-C', str(CHECKOUT), target, f'PYTHON={sys.executable}']
    # A make that called us has its own options in these, for example -j.
    environment = {name: value for name, value in os.environ.items() if name not in ('MAKEFLAGS', 'MFLAGS')}
    return subprocess.run(command, check=True, env=environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout


def missing_packages():
    """Packages of the one list that are not installed, as .ci/run would install them."""
    missing = []
    for line in (CHECKOUT / '.ci' / 'packages').read_text().splitlines():
        words = line.partition('#')[0].split()
        if not words or any(shutil.which(command) for command in words[1:]):
            continue
        query = ['dpkg-query', '-W', '-f', '${db:Status-Status}', words[0]]
        if subprocess.run(query, capture_output=True).stdout != b'installed':
            missing.append(words[0])
    return missing


def run_suite(lane, suite, run):
    """Run one suite in one lane and add its counts."""
    name = f'{lane} {suite}'
    log, counts = OUTPUT / f'{lane}-{suite}.log', OUTPUT / f'{lane}-{suite}.json'
    counts.unlink(missing_ok=True)
    began = time.monotonic()
    exit_code = run_process(suite_command(lane, suite, run.arguments.tests),
                            suite_environment(lane, counts, run.arguments.long), log, run)
    seconds = time.monotonic() - began
    tally = json.loads(counts.read_text()) if counts.exists() else {'passed': 0, 'failed': 0, 'skipped': []}
    passed, failed, skipped = tally['passed'], tally['failed'], tally['skipped']
    trouble = None
    if exit_code != 0 and not failed:
        trouble = f'ended with exit code {exit_code}'
    elif not passed + failed + len(skipped):
        trouble = 'no tests ran'
    line = f'== {name}: {passed} passed, {failed} failed, {len(skipped)} skipped in {seconds:.1f} s'
    if failed or trouble:
        line += f' ({trouble or "output follows"})\n{last_of(log)}\n-- end of {name}; whole output: {log}'
    run.say(line)
    run.add(passed, failed + bool(trouble), [f'{name}: {reason}' for reason in skipped])


def last_of(log):
    text = log.read_text(errors='replace').rstrip()
    return text if len(text) <= SHOWN else '[...]' + text[-SHOWN:]


def suite_command(lane, suite, tests):
    folder = str(CHECKOUT / 'test' / suite)
    # -P: the current folder must not come before the tree under test.
    return [*PYTHON[lane.partition('-')[0]], '-P', '-m', 'nose2', '--no-user-config',
            '--plugin', 'support.tally', '-s', folder, '-t', folder, *tests]


def suite_environment(lane, counts, long):
    family, _, way = lane.partition('-')
    tree = BUILD / f'tree-{family}' / 'lib' if way == 'compiled' else CHECKOUT
    rounds = CRASH_ROUNDS_LONG if long else CRASH_ROUNDS
    environment = {name: value for name, value in os.environ.items() if not name.startswith('PYTHON')}
    environment.update({
        'PYTHONPATH': f'{tree}{os.pathsep}{CHECKOUT / "test"}',
        'PYTHONNOUSERSITE': '1',
        'PYTHONUNBUFFERED': '1',
        'PYTHONFAULTHANDLER': '1',
        'PYTHONPYCACHEPREFIX': str(OUTPUT / 'pycache'),
        'KESTREL_LANE': lane,
        'KESTREL_TREE': str(tree),
        'KESTREL_CRASH_ROUNDS': os.environ.get('KESTREL_CRASH_ROUNDS', str(rounds[lane])),
        'KESTREL_TALLY': str(counts),
    })
    if long:
        environment['KESTREL_LONG'] = '1'
    return environment


def run_process(command, environment, log, run):
    """Run to its end, or kill it and all it started when it takes too long; returns the exit code."""
    seconds = SUITE_SECONDS_LONG if run.arguments.long else SUITE_SECONDS
    with open(log, 'wb') as output:
        process = subprocess.Popen(command, cwd=CHECKOUT / 'test', env=environment, stdin=subprocess.DEVNULL,
                                   stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        run.processes.add(process)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            output.write(f'\nkilled after {seconds} s, when it was here:\n'.encode())
            output.flush()
            process.send_signal(signal.SIGABRT)  # faulthandler writes where each thread is
            return process.wait()
        finally:
            end_session(process)
            run.processes.discard(process)


def end_session(process):
    """Kill the process and what it left behind; its session was made for it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def conclude(run):
    """Print what was skipped, what to install, and the closing line; returns the exit code."""
    for skipped in run.skipped:
        run.say(f'skipped: {skipped}')
    missing = missing_packages() if run.skipped and shutil.which('dpkg-query') else []
    if missing:
        run.say(f'to run what was skipped: apt install {" ".join(missing)}')
    skips_fail = run.skipped and os.environ.get('CI') == 'true'
    if skips_fail:
        run.say('CI=true: a skip is a failure')
    if not run.passed:
        run.say('no test passed')
    run.say(f'{run.passed} passed, {run.failed} failed, {len(run.skipped)} skipped')
    return 1 if run.failed or skips_fail or not run.passed else 0


if __name__ == '__main__':
    sys.exit(main())
