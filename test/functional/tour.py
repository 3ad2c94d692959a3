"""A tour: a scene of docs/guide.md, played against a server inside the test's process whose clock the scene moves.

    ```tour
    # kestrel.conf        what follows is the configuration file. The first starts a server, a later one replaces the
    [queues]              file and does nothing else
    ...
    > get work            requests and replies, as in a dialogue of docs/protocol.md
    < END
    # 31m later           the clock is moved, and what happens by itself in that time happens
    # SIGHUP              the process gets that signal
    # start again         the server stops, if it has not done so, and starts on the same spool
    # log                 what follows has been logged since the last look: level and message

    Every WARNING and ERROR has to be shown by a ``# log``; of INFO what is worth it.
    The file is /etc/kestrel/kestrel.conf, the spool /var/spool/kestrel.
"""

import heapq
import io
import itertools
import os
import re
import signal
import tempfile
import time
from unittest import mock

import gevent
from gevent import socket
from kestrel import config, log, settings
from kestrel.heartbeat import Heartbeat
from kestrel.hub import Hub
from kestrel.main import _Signals
from kestrel.notify import Notifier
from kestrel.server import KestrelServer

from functional.test_docs import Dialogue, pattern
from support.clock import MovedClock
from support.server import PortLease

SPOKEN = re.compile(r'[A-Z]?[<>](?: |$)')
RECORD = re.compile(r'\S+ (\w+) \S+: (.*)$')
# what a busy disk adds
SLOW = re.compile(r'WARNING .*fsync of .* took \d')
PATIENCE = 10               # seconds that a reply or a log line may take
WAITED_FOR = 1              # what is shorter than so many seconds is waited for besides: sockets have timers of their own


class MovedHub(Hub):
    """Its timers go by the clock of the tour, which calls ``run_due`` when it has moved it."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock
        self._timers = []
        self._numbers = itertools.count()

    def call_later(self, seconds, function, *arguments):
        due = self.clock.monotonic() + seconds
        heapq.heappush(self._timers, (due, next(self._numbers), function, arguments))

    def run_due(self):
        while self._timers and self._timers[0][0] <= self.clock.monotonic():
            _, _, function, arguments = heapq.heappop(self._timers)
            function(*arguments)


class Client:
    """A plain connection, as Dialogue wants it."""

    def __init__(self, port, shown):
        self._socket = socket.create_connection(('127.0.0.1', port), timeout=PATIENCE)
        self._file = self._socket.makefile('rb')
        self._shown = shown

    def send(self, data):
        self._socket.sendall(data)

    def recv_until(self, end):
        data = b''
        while not data.endswith(end):
            line = self._file.readline()
            if not line:
                raise AssertionError('closed after %r' % data)
            data += line
        return self._shown(data.decode()).encode()

    def recv_all(self):
        return self._file.read()

    def close(self):
        self._file.close()
        self._socket.close()


class Tour:
    """Plays one block. ``with Tour() as tour: tour.play(lines)``."""

    def __init__(self):
        self.clock = MovedClock()
        self.folder = tempfile.TemporaryDirectory(prefix='kestrel-tour-')
        self.lease = PortLease()
        self.path = os.path.join(self.folder.name, 'kestrel.conf')
        self.spool = os.path.join(self.folder.name, 'spool')
        self.stream = io.StringIO()
        self.server = None
        self.dialogue = Dialogue(self, 'memcache')
        self.seen = 0           # log records that have been looked at

    def __enter__(self):
        self._loading = mock.patch('kestrel.config.load', self._load)
        self._loading.start()
        return self

    def __exit__(self, *error):
        self._loading.stop()
        self.dialogue.close()
        self._stop()
        self.lease.release()
        self.folder.cleanup()

    def play(self, lines):
        for direction, body in self._parts(lines):
            if direction == 'kestrel.conf':
                self._write(body)
            elif direction == 'on the port':
                for line in body:
                    self.dialogue.line(line)
            elif direction == 'log':
                self._look_at_log(body)
            elif direction == 'SIGHUP':
                self._hang_up()
            elif direction == 'start again':
                self._stop()
                self._start()
            elif direction.endswith(' later'):
                self._let_pass(settings.check_duration(direction.removesuffix(' later')) / 1000000)
            else:
                raise AssertionError(f'no stage direction: # {direction}')
            if body and direction not in ('kestrel.conf', 'on the port', 'log'):
                raise AssertionError(f'nothing may follow # {direction}: {body}')
        if not self.server.stopping:
            self.dialogue.end()
        self._look_at_log([])

    @staticmethod
    def _parts(lines):
        """-> [(stage direction, [the lines below it that are not empty])]"""
        parts = []
        for line in lines:
            if line.startswith('# '):
                parts.append((line[2:], []))
            elif SPOKEN.match(line) and parts[-1][0] != 'on the port':
                parts.append(('on the port', [line]))
            elif line:
                parts[-1][1].append(line)
        return parts

    def client(self, protocol):
        """For Dialogue; ``protocol`` is always memcache's."""
        return Client(self.lease.port, self._shown)

    def _shown(self, text):
        """The text with the paths that a reader would have."""
        return text.replace(self.spool, '/var/spool/kestrel').replace(self.folder.name, '/etc/kestrel')

    def _write(self, lines):
        with open(self.path, 'w') as file:
            file.write('\n'.join(lines) + '\n')
        if self.server is None:
            self._start()

    def _load(self, path, environment=os.environ, load=config.load):
        """As the server loads it, at a reload too: with the port and the folder of this test."""
        loaded = load(path, environment)
        loaded.server.memcache_listen_port = self.lease.port
        loaded.server.text_listen_port = loaded.server.thrift_listen_port = loaded.admin.http_port = None
        loaded.server.queue_path = self.spool
        loaded.server.status_file = os.path.join(self.folder.name, 'status')
        return loaded

    def _start(self):
        loaded = config.load(self.path, {})
        self.handle = log.setup(loaded.logging, self.stream, '.tour')
        self.server = KestrelServer(loaded, self.handle, self.clock, hub=MovedHub(self.clock))
        self.server.start()

    def _stop(self):
        if self.server is not None:
            if self.server.stopping:
                self.server.wait()
            else:
                self.server.stop()
            self.handle.close()

    def _let_pass(self, seconds):
        background = self.server.background
        runs = bool(background.frequency) and seconds >= background.frequency
        if runs:
            background.delete_unused_queues()
        self.clock.advance(seconds)
        self.server.hub.run_due()
        if runs:
            background.sweep()
            background.delete_unused_queues()
        if seconds < WAITED_FOR:
            gevent.sleep(seconds)

    def _hang_up(self):
        before = len(self._records())
        signals = _Signals(self.server, self.handle, Heartbeat(self.server, Notifier({}, self.clock)))
        try:
            os.kill(os.getpid(), signal.SIGHUP)
            self._wait(lambda: len(self._records()) > before)
        finally:
            signals.cancel()

    def _records(self):
        """-> [(level, message)]; a traceback is a part of its message."""
        found = []
        for line in self._shown(self.stream.getvalue()).splitlines():
            record = RECORD.match(line)
            if record:
                found.append(record.groups())
            else:
                level, message = found.pop()
                found.append((level, f'{message}\n{line}'))
        return found

    @staticmethod
    def _wait(true):
        until = time.monotonic() + PATIENCE
        while not true() and time.monotonic() < until:
            gevent.sleep(0.002)

    def _look_at_log(self, expected):
        """The lines come in this order, and nothing else of WARNING or above does."""
        self._wait(lambda: self._missing(expected) is None)
        missing = self._missing(expected)
        records = self._records()
        new, self.seen = records[self.seen:], len(records)
        if missing is not None:
            raise AssertionError(f'not logged: {missing}\nbut: {new}')
        for level, message in new:
            line = f'{level} {message}'
            if level not in ('INFO', 'DEBUG') and not SLOW.search(line) and not any(pattern(known).fullmatch(line) for known in expected):
                raise AssertionError(f'logged, and not shown: {line}')

    def _missing(self, expected):
        """The first line that has not been logged, or None."""
        records = iter(self._records()[self.seen:])
        for line in expected:
            if not any(pattern(line).fullmatch(f'{level} {message}') for level, message in records):
                return line
        return None
