"""Is the packaged service under its sandbox as fast as ``make run`` with the same configuration?

Both run at once in the container's network and on its file system, each on a port of its own and with a spool that was
empty; one works while the other is idle: pairs A B, then B A, and so on. What is compared is the rate of puts and of gets
of 1 KB items by 100 clients. The pairs are short and many: from one second to the next a machine that others use may be
a third slower. In ten minutes, pairs of 20 000 items made an interval of 1.6 % to each side, pairs of 5000 one of 0.7 %.
And the servers are started anew again and again: where its memory happens to lie makes one a per cent or two faster
than another of the same program, for as long as it runs, whatever the number of pairs. So the interval is that of the
starts, a figure for each.
"""

import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import time

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(CHECKOUT / 'test' / 'bench'))

import figures  # noqa: E402
import load  # noqa: E402
from servers import BenchError  # noqa: E402

STARTS = 30
PAIRS = 30              # after each start
ITEMS = 5000
PORT = 22133
OTHER_PORT = 32133      # of make run
SECONDS = 30            # for a start or a stop
WORST = 0.97            # a loss of 3 %, which the 95 % interval has to exclude


class Contender:
    """A server in the network of the container; what load.Generator wants of one."""

    protocol = 'kestrel'
    def __init__(self, machine, port):
        self.machine = machine
        self.port = port
        self.listens = re.compile(rf'^\s*\d+: [0-9A-F]+:{port:04X} \S+ 0A ', re.MULTILINE)
        self.process = self     # of which the generator wants the pid
        self.pid = None

    def _listens(self):
        return self.listens.search(pathlib.Path(f'/proc/{self.machine.leader}/net/tcp').read_text())

    def _wait(self, what, is_so):
        deadline = time.monotonic() + SECONDS
        while not is_so():
            if time.monotonic() > deadline:
                raise BenchError(f'{self.name}: {what}: not within {SECONDS} s{self.log_tail()}')
            time.sleep(0.02)

    def start(self):
        self.launch()
        self._wait('it listens', self._listens)

    def stop(self):
        self.end()
        self._wait('nobody listens any more', lambda: not self._listens())
        shutil.rmtree(self.spool)
        self.spool.mkdir(mode=0o750)
        shutil.chown(self.spool, *self.owner)

    def check_alive(self):
        if not os.path.exists(f'/proc/{self.pid}'):
            raise BenchError(f'{self.name} has ended{self.log_tail()}')

    def cpu_seconds(self):
        fields = pathlib.Path(f'/proc/{self.pid}/stat').read_text().rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def log_tail(self):
        return '\n' + self.log.read_text()[-2000:] if self.log.exists() else ''


class Packaged(Contender):
    """The service, started by systemd."""

    name = 'package'

    def __init__(self, machine):
        super().__init__(machine, PORT)
        self.spool = machine.system / 'var/spool/kestrel'
        self.log = machine.system / 'var/log/kestrel/kestrel.log'
        owner = self.spool.stat()
        self.owner = owner.st_uid, owner.st_gid

    def launch(self):
        if self.machine.run('systemctl', 'start', 'kestrel').returncode:
            raise BenchError('systemctl start kestrel failed')
        group = self.machine.run('systemctl', 'show', '-P', 'MainPID', 'kestrel', capture_output=True, text=True)
        self.pid = self._outside(group.stdout.strip())

    def _outside(self, inside):
        """The pid on this machine of the process that has the pid ``inside`` in the container."""
        mine = os.readlink(f'/proc/{self.machine.leader}/ns/pid')
        for path in pathlib.Path('/proc').glob('[0-9]*/status'):
            try:
                if re.search(rf'^NSpid:.*\t{inside}$', path.read_text(), re.MULTILINE) and \
                        os.readlink(path.with_name('ns') / 'pid') == mine:
                    return int(path.parent.name)
            except OSError:
                continue        # it has just ended
        raise BenchError(f'no process {inside} of the container')

    def end(self):
        self.machine.run('systemctl', 'stop', 'kestrel', check=True)


class FromCheckout(Contender):
    """``make run`` with the configuration of the package; queues, status, log and ports are elsewhere."""

    name = 'make run'
    owner = 0, 0

    def __init__(self, machine, environ):
        super().__init__(machine, OTHER_PORT)
        self.environ = environ
        folder = machine.system / 'var/make-run'
        self.spool, self.log, self.config = folder / 'spool', folder / 'log', folder / 'kestrel.conf'
        self.spool.mkdir(parents=True)
        text = (machine.system / 'etc/kestrel/kestrel.conf').read_text()
        changes = {'filename': self.log, 'memcache_listen_port': OTHER_PORT, 'text_listen_port': OTHER_PORT + 1,
                   'thrift_listen_port': OTHER_PORT + 2, 'http_port': OTHER_PORT + 3, 'queue_path': self.spool,
                   'status_file': folder / 'status'}
        for key, value in changes.items():
            text, count = re.subn(rf'^#?{key} = .*', f'{key} = {value}', text, flags=re.MULTILINE)
            if count != 1:
                raise BenchError(f'kestrel.conf has {count} lines for {key}')
        self.config.write_text(text)

    def launch(self):
        command = ['nsenter', f'--target={self.machine.leader}', '--net', 'make', '-s', 'run', f'CONFIG={self.config}']
        self.make = subprocess.Popen(command, cwd=CHECKOUT, env=self.environ, stdin=subprocess.DEVNULL)
        self._wait('it listens', lambda: self.make.poll() is not None or self._listens())
        self.pid = int(pathlib.Path(f'/proc/{self.make.pid}/task/{self.make.pid}/children').read_text().split()[0])

    def end(self):
        os.kill(self.pid, 15)
        self.make.wait(SECONDS)


class Generator(load.Generator):
    """In the container's network."""

    def __init__(self, programs, machine):
        super().__init__(programs)
        self.machine = machine

    def command(self, server, options):
        return ['nsenter', f'--target={self.machine.leader}', '--net', *super().command(server, options)]


def measure(machine, environ, starts=STARTS):
    """-> (a line for each of put and get, whether all are fast enough). The package is installed in the machine."""
    machine.run('systemctl', 'stop', 'kestrel', check=True)
    folder = CHECKOUT / 'build' / 'bench'
    folder.mkdir(parents=True, exist_ok=True)
    generator = Generator(load.build(folder), machine)
    contenders = [Packaged(machine), FromCheckout(machine, environ)]
    ratios = {'put': [], 'get': []}
    others = []
    for number in range(starts):
        for contender in contenders:
            contender.start()
        rates = measure_pairs(generator, contenders, others)
        for contender in contenders:
            contender.stop()
        for mode, of_starts in ratios.items():
            of_starts.append(statistics.geometric_mean(
                figures.paired_ratios(rates['package', mode], rates['make run', mode])))
        print(f'   start {number + 1} of {starts}: package / make run, ' + ', '.join(
            f'{mode} {of_starts[-1]:.3f}' for mode, of_starts in ratios.items()), flush=True)
    lines, met = [], True
    for mode, of_starts in ratios.items():
        ratio, low, high = figures.ratio_interval(of_starts)
        met = met and low > WORST
        lines.append(f'{mode}: package / make run {ratio:.3f}, 95 % interval {low:.3f} to {high:.3f}; target: all above '
                     f'{WORST}')
    lines.append(f'other processes used {statistics.fmean(others):.2f} processors on average')
    return lines, met


def measure_pairs(generator, contenders, others):
    """The rates of the two servers, which run, by (name, mode). Appends to ``others`` what other processes used."""
    rates = {(contender.name, mode): [] for contender in contenders for mode in ('put', 'get')}
    for number in range(PAIRS):
        for contender in contenders if number % 2 == 0 else contenders[::-1]:
            work = {'count': ITEMS, 'size': 1024, 'connections': 100, 'seed': load.new_seed()}
            for mode in 'put', 'get':
                result = generator.run(contender, mode=mode, **work)
                rates[contender.name, mode].append(result['rate'])
                others.append(result['others_cpu_share'])
    return rates
