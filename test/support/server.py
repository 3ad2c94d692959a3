"""A real kestrel process on a free loopback port with a spool of its own, and a plain socket to it."""

import fcntl
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import string
import subprocess
import tempfile
import time

from support.environment import kestrel_command, process_environment

# Below the range from which the system gives ports to outgoing connections: none of those is in the way.
PORTS = range(20000, 32000)

PROTOCOLS = ('memcache', 'text', 'thrift')

LISTEN = '0A'  # the state of a listening socket in /proc/net/tcp

START_SECONDS = 30
STOP_SECONDS = 30
SHOWN = 4000  # characters of the log in the message of a failure


class PortLease:
    """A free loopback port that no other test process takes until it is given back.

    A server that is stopped and started again needs the same port, and several test runs may go on at once:
    so the port is held by a lock on a file, not by having been free once.
    """

    def __init__(self):
        folder = pathlib.Path(tempfile.gettempdir()) / f'kestrel-test-ports-{os.getuid()}'
        folder.mkdir(exist_ok=True)
        while True:
            self.port = random.choice(PORTS)
            self._lock = open(folder / str(self.port), 'w')
            if self._locked() and self._free():
                return
            self._lock.close()

    def _locked(self):
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _free(self):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(('127.0.0.1', self.port))
            except OSError:
                return False
            return True

    def release(self):
        self._lock.close()


def listens(port):
    """Whether something listens on the TCP port.

    Read from the system's table and not tried with a connection: that would show in the server's statistics.
    """
    end = f':{port:04X}'
    for table in ('/proc/net/tcp', '/proc/net/tcp6'):
        if not os.path.exists(table):
            continue
        with open(table) as lines:
            for line in lines:
                words = line.split()
                if words[1].endswith(end) and words[3] == LISTEN:
                    return True
    return False


def config_text(config):
    """The text of a configuration: a dict of sections, in them settings or (queues, aliases) sections again.

    None is written as ``none``, True and False as ``true`` and ``false``, a list with commas.
    """
    lines = []
    for section, body in config.items():
        lines.append(f'[{section}]')
        settings = {key: value for key, value in body.items() if not isinstance(value, dict)}
        lines += [f'{key} = {_setting(value)}' for key, value in settings.items()]
        for name, inner in body.items():
            if isinstance(inner, dict):
                lines.append(f'[["{name}"]]')
                lines += [f'{key} = {_setting(value)}' for key, value in inner.items()]
    return '\n'.join(lines) + '\n'


def _setting(value):
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ', '.join(map(str, value))
    return str(value)


class Server:
    """One kestrel in a temporary folder.

    config   a dict of sections, laid over the test's own ([server] with the addresses and paths below; its
             keys may be overridden), or the whole text of the file, in which $port, $spool, $status and $dir
             are filled in, and $text_port for a further protocol
    args     further words of the command line
    env      further environment variables
    protocols  those that get a port, memcache always

    ports    {protocol: its port}            port     of the memcache protocol
    spool    folder of the journals, not there before the first start
    pid      of the running process          dir      the temporary folder; config_path, status_path lie in it
    exit_code  of the last process that ended, None before

    ``with Server(...) as server`` starts it, and at the end stops it gracefully (exit code 0 is asserted, if
    the test has not stopped it itself) and removes everything. ``start_server`` does the same for a TestCase.
    """

    def __init__(self, config=None, args=(), env=None, protocols=()):
        self._leases = {protocol: PortLease() for protocol in ('memcache', *protocols)}
        self.ports = {protocol: lease.port for protocol, lease in self._leases.items()}
        self.port = self.ports['memcache']
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix='kestrel-test-'))
        self.spool = self.dir / 'spool'
        self.config_path = self.dir / 'kestrel.conf'
        self.status_path = self.dir / 'status'
        self._stderr_path = self.dir / 'stderr'
        self._args = args
        self._env = env
        self._process = None
        self.exit_code = None
        self.write_config(config or {})

    def write_config(self, config):
        """Write the configuration file (a dict or text as for the constructor) without telling the server."""
        if isinstance(config, str):
            further = {f'{protocol}_port': port for protocol, port in self.ports.items()}
            text = string.Template(config).safe_substitute(
                further, port=self.port, spool=self.spool, status=self.status_path, dir=self.dir)
        else:
            text = config_text(self._with_own_settings(config))
        self.config_path.write_text(text)

    def _with_own_settings(self, config):
        own = {
            'server': {
                'listen_address': '127.0.0.1',
                **{f'{protocol}_listen_port': self.ports.get(protocol) for protocol in PROTOCOLS},
                'queue_path': self.spool,
                'status_file': self.status_path,
            },
            'admin': {'http_port': None},
        }
        merged = {section: {**own.get(section, {}), **config.get(section, {})} for section in own}
        return {**config, **merged}

    @property
    def pid(self):
        return self._process.pid

    @property
    def running(self):
        return self._process is not None and self._process.poll() is None

    def start(self):
        """Start the process and wait until it listens. AssertionError with its log if it does not."""
        if self.running:
            raise AssertionError('the server runs already')
        with open(self._stderr_path, 'ab') as stderr:
            self._process = subprocess.Popen(
                kestrel_command('-f', self.config_path, *self._args), cwd=self.dir,
                env=process_environment(self._env), stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr)
        deadline = time.monotonic() + START_SECONDS
        while not all(map(listens, self.ports.values())):
            if self._process.poll() is not None:
                self.exit_code = self._process.returncode
                raise AssertionError(f'kestrel did not start, exit code {self.exit_code}:\n{self.log_end()}')
            if time.monotonic() > deadline:
                self.kill9()
                raise AssertionError(f'kestrel does not listen after {START_SECONDS} s:\n{self.log_end()}')
            time.sleep(0.01)
        return self

    def stop(self, exit_code=0, sign=signal.SIGTERM):
        """Ask it to stop and wait for its end; ``exit_code`` None: any will do. Returns the exit code."""
        self._process.send_signal(sign)
        return self.wait(exit_code)

    def wait(self, exit_code=0):
        """Wait until it has ended, for example after a ``shutdown`` of a client; else as ``stop``."""
        try:
            self.exit_code = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill9()
            raise AssertionError(f'kestrel did not end within {STOP_SECONDS} s:\n{self.log_end()}') from None
        if exit_code is not None and self.exit_code != exit_code:
            raise AssertionError(f'the exit code is {self.exit_code}, not {exit_code}:\n{self.log_end()}')
        return self.exit_code

    def kill9(self):
        """Kill it as a crash would, and wait until it is gone."""
        self._process.kill()
        self.exit_code = self._process.wait()

    def restart(self, exit_code=0):
        """Stop gracefully and start again on the same port and spool."""
        self.stop(exit_code)
        return self.start()

    def reload_config(self, config, reply=b'Reloaded config.\r\n'):
        """Write another configuration (a dict or text) and have it read through the memcache port."""
        self.write_config(config)
        with self.client() as client:
            client.expect(b'reload\r\n', reply)

    def client(self, timeout=10, protocol='memcache'):
        """A new connection to the port of a protocol."""
        return Client(self.ports[protocol], timeout)

    def log(self):
        """Everything that all starts so far have written to standard output and standard error."""
        if not self._stderr_path.exists():
            return ''
        return self._stderr_path.read_text(errors='replace')

    def warnings(self):
        """The lines of WARNING and above, but for those that only tell of a slow or busy machine."""
        return [line for line in self.log().splitlines() if re.search(r' (WARNING|ERROR|CRITICAL) ', line)
                and not re.search(r': hub blocked for |fsync of .* took [0-9]', line)]

    def log_end(self):
        """The last of it, for the message of a failure."""
        return self.log()[-SHOWN:]

    def close(self):
        """Kill what still runs, remove the folder, give the ports back."""
        if self.running:
            self.kill9()
        shutil.rmtree(self.dir, ignore_errors=True)
        for lease in self._leases.values():
            lease.release()

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, kind, error, trace):
        try:
            if kind is None and self.running:
                self.stop()
        finally:
            self.close()


def start_server(test, config=None, **more):
    """Start a server that lives as long as one test: stopped gracefully (asserted), cleaned up after it."""
    server = Server(config, **more)
    test.addCleanup(server.close)
    server.start()
    test.addCleanup(lambda: server.running and server.stop())
    return server


class Client:
    """A blocking socket; a wait longer than ``timeout`` seconds is an AssertionError showing what came."""

    def __init__(self, port, timeout=10):
        self.socket = socket.create_connection(('127.0.0.1', port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b''

    def send(self, data):
        self.socket.sendall(data)

    def recv_until(self, end):
        """Bytes up to and with the first ``end``; what came behind it stays for the next call."""
        while end not in self._buffer:
            if not self._receive():
                raise AssertionError(f'closed before {end!r}; received {self._buffer!r}')
        head, end, self._buffer = self._buffer.partition(end)
        return head + end

    def recv_exactly(self, count):
        """The next ``count`` bytes."""
        while len(self._buffer) < count:
            if not self._receive():
                raise AssertionError(f'closed before {count} bytes; received {self._buffer!r}')
        head, self._buffer = self._buffer[:count], self._buffer[count:]
        return head

    def recv_all(self):
        """Everything until the server closes."""
        while self._receive():
            pass
        rest, self._buffer = self._buffer, b''
        return rest

    def expect(self, request, reply):
        """Send the request; the next bytes that come must be the reply."""
        if request:
            self.send(request)
        while len(self._buffer) < len(reply) and reply.startswith(self._buffer):
            if not self._receive():
                break
        got = self._buffer[:len(reply)]
        if got != reply:
            raise AssertionError(f'request  {request!r}\nexpected {reply!r}\nreceived {self._buffer!r}')
        self._buffer = self._buffer[len(reply):]

    def expect_close(self, request=b'', reply=b''):
        """Send the request; exactly the reply must come, and then the end of the connection."""
        if request:
            self.send(request)
        got = self.recv_all()
        if got != reply:
            raise AssertionError(f'request  {request!r}\nexpected {reply!r} and a close\nreceived {got!r}')

    def half_close(self):
        """Send FIN behind what was sent; replies can still be received."""
        self.socket.shutdown(socket.SHUT_WR)

    def close(self):
        self.socket.close()

    def _receive(self):
        """Take what comes into the buffer; false when the server has closed."""
        try:
            data = self.socket.recv(1 << 20)
        except socket.timeout:
            raise AssertionError(f'timed out; received so far {self._buffer!r}') from None
        except ConnectionResetError:
            return False
        self._buffer += data
        return bool(data)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.close()
