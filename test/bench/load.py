"""Runs the load generator (loadgen.c) against a server, and the programs that write and read journals."""
import itertools
import json
import os
import resource
import shlex
import subprocess
import time

from servers import BenchError

HERE = os.path.dirname(os.path.abspath(__file__))

PROGRAMS = ('loadgen', 'writejournal', 'readjournal', 'sink')

# Every measurement has data of its own, so that an item left over by another one is noticed.
_seeds = itertools.count(1)


def new_seed():
    return next(_seeds)


def compiler():
    return shlex.split(os.environ.get('CC', 'cc'))


def build(folder):
    """Compiles all programs into `folder`; returns their paths by name."""
    return {name: _compile(folder, name) for name in PROGRAMS}


def _compile(folder, name):
    binary = os.path.join(folder, name)
    command = [*compiler(), '-O2', '-Wall', '-Wextra', '-o', binary, os.path.join(HERE, name + '.c')]
    try:
        done = subprocess.run(command, text=True, capture_output=True, timeout=300)
    except FileNotFoundError:
        raise BenchError(f'no C compiler ({command[0]}); on Debian: apt-get install gcc libc6-dev') from None
    if done.returncode:
        raise BenchError(f'{shlex.join(command)} failed:\n{done.stderr}')
    return binary


def machine_busy_seconds():
    """Processor time of everything on this machine, and what its host took from it."""
    with open('/proc/stat') as stat:
        user, nice, system, _, _, irq, softirq, steal = (int(field) for field in stat.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf('SC_CLK_TCK')


class OthersWatch:
    """How much processor time neither the server nor the load generator used: what disturbs a measurement."""

    def __init__(self, server):
        self._server = server
        self._started = time.monotonic()
        self._others = self._other_seconds()

    def _other_seconds(self):
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return machine_busy_seconds() - children.ru_utime - children.ru_stime - self._server.cpu_seconds()

    def share(self):
        """In processors: 0.5 is half of one."""
        return round((self._other_seconds() - self._others) / (time.monotonic() - self._started), 3)


class Generator:
    """The compiled programs (`build`). Options of the load generator are its own, with _ for -; True is an
    option without a value. `under` is none of them: the words of a command that runs the generator.
    """

    def __init__(self, programs):
        self.binary = programs['loadgen']
        self.sink = programs['sink']
        self._programs = programs

    def write_journal(self, path, count, size, seed):
        """Journal of a queue in which `count` items wait: the load generator's of this seed, from 0 on."""
        self._run_program('writejournal', path, count, size, seed)

    def read_journal(self, path):
        """Seconds that C needs to read such a journal and to keep its items in memory."""
        return json.loads(self._run_program('readjournal', path))['seconds']

    def _run_program(self, name, *arguments):
        command = [self._programs[name], *map(str, arguments)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, text=True, capture_output=True)
        if done.returncode:
            raise BenchError(f'{shlex.join(command)}: {done.stderr.strip()}')
        return done.stdout

    def command(self, server, options):
        command = [*options.pop('under', ()), self.binary, '--proto', server.protocol, '--port', str(server.port),
                   '--pid', str(server.process.pid)]
        for name, value in options.items():
            command.append('--' + name.replace('_', '-'))
            if value is not True:
                command.append(str(value))
        return command

    def run(self, server, deadline=120, **options):
        """One measurement, at most `deadline` seconds; returns the line of JSON that loadgen prints."""
        command = self.command(server, {**options, 'deadline': deadline})
        watch = OthersWatch(server)
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, text=True, capture_output=True,
                                  timeout=deadline + 60)
        except subprocess.TimeoutExpired:
            raise BenchError(f'{server.name}: no end after {deadline + 60} s: '
                             f'{shlex.join(command)}') from None
        result = self._result(server, command, done.returncode, done.stdout, done.stderr)
        result['others_cpu_share'] = watch.share()
        return result

    @staticmethod
    def _result(server, command, code, output, errors):
        if code:
            server.check_alive()
            raise BenchError(f'{server.name}: {errors.strip()}\n  in: {shlex.join(command)}'
                             f'{server.log_tail()}')
        return json.loads(output.splitlines()[-1])

    def beside(self, server, deadline=300, **options):
        """A load that runs beside others, until `end` is called; to be used in `with`."""
        return Beside(server, self.command(server, {**options, 'deadline': deadline}), deadline)


class Beside:
    """A running load generator that ends when its standard input does."""

    def __init__(self, server, command, deadline):
        self.server = server
        self._command = command
        self._deadline = deadline
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def wait_ready(self):
        """For --mode idle: until all connections are open and answered."""
        if not self._process.stdout.readline():
            self.end()

    def end(self):
        """Lets it finish; returns its result."""
        try:
            output, errors = self._process.communicate(timeout=self._deadline + 60)
        except subprocess.TimeoutExpired:
            raise BenchError(f'{self.server.name}: no end: {shlex.join(self._command)}') from None
        return Generator._result(self.server, self._command, self._process.returncode, output, errors)

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
