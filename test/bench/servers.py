"""Servers that are measured, and kestrel: each is started on its own port on loopback, in its own folder, and stopped.

A server that does not start, dies or does not answer is a `BenchError` with the end of its log.
"""
import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import time

# Its sitecustomize.py times the garbage collector inside a server; it costs nothing between collections.
GC_WATCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'gcwatch')

START_SECONDS = 120
STOP_SECONDS = 30
ANSWER_SECONDS = 60

# Idle connections and queues with a journal each need files; what else a server keeps open is far less.
SPARE_FILES = 500

KESTREL_CONFIG = """\
[server]
{server}memcache_listen_port = {port}
text_listen_port = {text_port}
thrift_listen_port = {thrift_port}
max_open_transactions = 100
queue_path = {folder}/spool
status_file = {folder}/status
[default]
{default}
[admin]
http_port = {admin_port}
[logging]
level = WARNING
{sections}"""


class BenchError(Exception):
    """The measurement cannot go on; the text says why and what was seen."""


def raise_file_limit():
    """Soft limit of open files up to the hard one, also for the servers started later; returns it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


class Server:
    """One running server. `protocol` is loadgen's --proto; `name` is what the tables call it."""

    protocol = None
    groups = None           # the work of rows of speed that it can do; None: all of it
    hello = b'version\r\n'
    hello_reply = b'VERSION '

    def __init__(self, name, folder):
        self.name = name
        self.folder = folder
        self.port = None
        self.process = None

    def command(self):
        raise NotImplementedError

    def environment(self):
        return dict(os.environ)

    def start(self):
        os.makedirs(self.folder)
        self.prepare()
        self.launch(self.hello, self.hello_reply)
        return self

    def prepare(self):
        """What the folder needs before the server starts."""

    def launch(self, request, expected):
        """Starts the process; returns the seconds until this first request was answered."""
        self.port = free_port()
        began = time.monotonic()
        with open(self.log_path, 'ab') as log:
            self.process = subprocess.Popen(self.command(), cwd=self.folder, env=self.environment(),
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while not self._listens():
            self.check_alive()
            if time.monotonic() > began + START_SECONDS:
                raise BenchError(f'{self.name} does not listen after {START_SECONDS} s{self.log_tail()}')
            time.sleep(0.002)
        reply = self.ask(request)
        seconds = time.monotonic() - began
        if not reply.startswith(expected):
            raise BenchError(f'{self.name}: wrong reply {reply!r} to {request!r}')
        return seconds

    def relaunch(self, request, expected):
        """Kills the server and starts it anew on what it left behind; seconds as for `launch`."""
        self.kill()
        return self.launch(request, expected)

    def kill(self):
        """Ends it without a warning; its folder stays."""
        self.process.kill()
        self.process.wait()

    def _listens(self):
        try:
            socket.create_connection(('127.0.0.1', self.port), timeout=1).close()
        except OSError:
            return False
        return True

    @property
    def log_path(self):
        return os.path.join(self.folder, 'log')

    def log_tail(self):
        with open(self.log_path, errors='replace') as log:
            tail = log.read()[-2000:].strip()
        return f'; the end of its log:\n{tail}' if tail else '; its log is empty'

    def check_alive(self):
        code = self.process.poll()
        if code is not None:
            raise BenchError(f'{self.name} ended with exit code {code}{self.log_tail()}')

    def ask(self, request):
        """Sends one request that is answered by one line; returns that line."""
        reply = b''
        try:
            with socket.create_connection(('127.0.0.1', self.port), timeout=ANSWER_SECONDS) as connection:
                connection.sendall(request)
                while not reply.endswith(b'\n'):
                    more = connection.recv(4096)
                    if not more:
                        break
                    reply += more
        except OSError as error:
            self.check_alive()
            raise BenchError(f'{self.name}: {request!r} was answered {reply!r}, then: {error}') from error
        return reply

    def longest_collection(self):
        """Longest pause for a garbage collector; None: it has none."""
        return None

    def forget_collections(self):
        """What the garbage collector did until now, e.g. at the start, does not count."""

    def forget(self, queue):
        """Drops an emptied queue and its files, so that nothing is left for the next measurement."""

    def stop(self):
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def rss(self):
        """Resident memory in bytes."""
        self.check_alive()
        with open(f'/proc/{self.process.pid}/statm') as statm:
            return int(statm.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')

    def peak_rss(self):
        """The most it was since the process began, in bytes."""
        self.check_alive()
        with open(f'/proc/{self.process.pid}/status') as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith('VmHWM:'))

    def cpu_seconds(self):
        self.check_alive()
        with open(f'/proc/{self.process.pid}/stat') as stat:
            fields = stat.read().rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def wait_quiet(self):
        """Until it does nothing, e.g. has noticed that thousands of clients are gone; at most 30 s."""
        deadline = time.monotonic() + 30
        before = self.cpu_seconds()
        while time.monotonic() < deadline:
            time.sleep(0.25)
            now = self.cpu_seconds()
            if now - before < 0.03:
                return
            before = now
        raise BenchError(f'{self.name} is still busy 30 s after its last request')


class Kestrel(Server):
    """`tree` is the folder that holds the package, `python` the interpreter.

    `settings`: those of [default] that differ, `server` and `sections`: more lines of [server] and more sections;
    `fill(spool)` writes journals into the spool before the first start; with `admin` it has its admin port open.
    """

    protocol = 'kestrel'

    def __init__(self, name, folder, tree, python, settings=None, fill=None, server='', sections='',
                 admin=False):
        super().__init__(name, folder)
        self.tree = tree
        self.python = python
        self.spool = folder and os.path.join(os.path.realpath(folder), 'spool')
        # an older tree that is compared may have none
        self.text_port = free_port() if os.path.exists(os.path.join(tree, 'kestrel/handlers/text.py')) else None
        self.thrift_port = free_port() if os.path.exists(os.path.join(tree, 'kestrel/handlers/thrift.py')) else None
        self.admin_port = free_port() if admin else None
        self._settings = {'sync_journal': 'never', **(settings or {})}
        self._fill = fill
        self._server = server
        self._sections = sections

    def prepare(self):
        os.mkdir(self.spool)
        if self._fill:
            self._fill(self.spool)

    def command(self):
        config = os.path.join(self.folder, 'kestrel.conf')
        default = '\n'.join(f'{key} = {value}' for key, value in self._settings.items())
        with open(config, 'w') as file:
            file.write(KESTREL_CONFIG.format(
                port=self.port, text_port=self.text_port or 'none', thrift_port=self.thrift_port or 'none',
                admin_port=self.admin_port or 'none', folder=self.folder, default=default, server=self._server, sections=self._sections))
        return [self.python, '-m', 'kestrel', '-f', config]

    def environment(self):
        return {**os.environ, 'PYTHONPATH': os.pathsep.join((self.tree, GC_WATCH)),
                'BENCH_GC_FILE': self.gc_file}

    @property
    def gc_file(self):
        return os.path.join(self.folder, 'gc')

    def longest_collection(self):
        """Longest pause for the garbage collector since `forget_collections`, in ms of processor time."""
        if not os.path.exists(self.gc_file):
            return 0.0
        with open(self.gc_file) as file:
            return float(file.read())

    def forget(self, queue):
        reply = self.ask(b'delete %s\r\n' % queue.encode())
        if reply != b'DELETED\r\n':
            raise BenchError(f'{self.name}: wrong reply {reply!r} to delete {queue}')

    def stat(self, queue, key):
        """A number of the statistics of a queue."""
        wanted = f'STAT queue_{queue}_{key} '.encode()
        try:
            with socket.create_connection(('127.0.0.1', self.port), timeout=ANSWER_SECONDS) as connection:
                connection.sendall(b'stats\r\nquit\r\n')
                lines = connection.makefile('rb').read().split(b'\r\n')
        except OSError as error:
            self.check_alive()
            raise BenchError(f'{self.name}: stats was not answered: {error}') from error
        values = [int(line[len(wanted):]) for line in lines if line.startswith(wanted)]
        if not values:
            raise BenchError(f'{self.name}: stats has no {key} of queue {queue}')
        return values[0]

    def disk_use(self):
        """Bytes in all files of the spool, those that are deleted but still open too."""
        total = 0
        descriptors = f'/proc/{self.process.pid}/fd'
        paths = [os.path.join(self.spool, name) for name in os.listdir(self.spool)]
        for name in os.listdir(descriptors):
            path = os.path.join(descriptors, name)
            with contextlib.suppress(FileNotFoundError):        # closed meanwhile
                target = os.readlink(path)
                if target.startswith(self.spool + '/') and target.endswith(' (deleted)'):
                    paths.append(path)
        for path in paths:
            with contextlib.suppress(FileNotFoundError):        # deleted meanwhile
                total += os.stat(path).st_size
        return total

    def forget_collections(self):
        if os.path.exists(self.gc_file):
            os.remove(self.gc_file)

    def compiled_modules(self):
        """Names of the modules of this tree that are compiled; the package must come from this tree."""
        code = ('import glob, os, kestrel; folder = os.path.dirname(os.path.abspath(kestrel.__file__));'
                'print(folder);'
                'print(*sorted(os.path.relpath(path, folder).split(".")[0]'
                ' for path in glob.glob(folder + "/**/*.so", recursive=True)))')
        done = subprocess.run([self.python, '-c', code], env={**os.environ, 'PYTHONPATH': self.tree}, cwd='/',
                              text=True, capture_output=True, timeout=60)
        if done.returncode:
            raise BenchError(f'{self.name}: {self.python} cannot import kestrel from {self.tree}:\n'
                             f'{done.stderr}')
        folder, modules = done.stdout.splitlines()
        if folder != os.path.join(os.path.realpath(self.tree), 'kestrel') and \
                folder != os.path.join(self.tree, 'kestrel'):
            raise BenchError(f'{self.name}: kestrel was taken from {folder} instead of {self.tree}')
        return modules.split()
