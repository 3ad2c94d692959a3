"""A whole server in the test's process, without network and without time: its clients are greenlets, its clock and
its timers are moved, its threads work when they are told to, and it can be killed."""

import contextlib
import logging
import os
import pathlib
import re
import shutil
import tempfile
import types

import gevent
from greenlet import greenlet
from kestrel import config, report
from kestrel.disk import Disk
from kestrel.server import SHUTDOWN_DELAY, KestrelServer
from kestrel.session import Session

from support.clock import MovedClock
from support.fakes import FakeConnection
from support.model import FIRST_TICK, TICK
from support.server import config_text
from support.spool import KillableSystem, LogLines, MovedHub

# A file system in memory, if there is one.
MEMORY = '/dev/shm'
DURATIONS = {'max_age', 'max_queue_age', 'open_transaction_timeout', 'expiration_timer_frequency',
             'status_change_grace_period'}


class DrivenClock(MovedClock):

    def move_to(self, seconds):
        self.ms += round(seconds * 1000) - round(self.seconds * 1000)
        self.seconds = seconds


class DrivenHub(MovedHub):
    """Timers go off in ``advance``. Fsyncs are done whenever something has happened (``settle``), the jobs of
    threads only in ``work``.

    ready  connections that were told to look again
    """

    def __init__(self, clock):
        super().__init__(clock)
        self.ready = []
        self.syncs = []
        self.greenlets = []

    def call_later(self, seconds, function, *arguments):
        self.call_at(self.clock.seconds + seconds, function, *arguments)

    def call_at(self, when, function, *arguments):
        self.timers.append((round(when, 4), next(self.numbers), function, arguments))

    def run_sync(self, job, done):
        self.syncs.append((job, done))

    def start(self, function, *arguments):
        """A greenlet runs the function up to where it waits."""
        task = greenlet(function)
        self.greenlets.append(task)
        task.switch(*arguments)
        self.settle()

    def settle(self):
        """Whoever can go on goes on."""
        while self.called_soon or self.syncs or self.ready:
            self.turn()
            if self.syncs:
                job, done = self.syncs.pop(0)
                done(job(), None)
            elif self.ready:
                self.ready.pop(0).resume()

    def work(self):
        """The threads have done what they had to do."""
        while self.jobs:
            self.finish()
            self.settle()

    def close(self):
        """There are no threads to end."""

    def advance(self, seconds):
        end = round(self.clock.seconds + seconds, 4)
        while True:
            due = min((timer for timer in self.timers if timer[0] <= end), default=None)
            if due is None:
                break
            self.timers.remove(due)
            self.clock.move_to(max(due[0], self.clock.seconds))
            due[2](*due[3])
            self.settle()
        self.clock.move_to(end)


class DrivenConnection(FakeConnection):
    """Waits as its hub's timers say."""

    def park(self, waiter, deadline):
        deadline = round(deadline, 4)
        self.turns.call_at(deadline, self.resume)
        super().park(waiter, deadline)


class DrivenClient:
    """``open``: the server has not closed it. ``idle``: no request waits."""

    def __init__(self, server, handler):
        self.server = server
        stats = server.stats
        stats.connections += 1
        stats.total_connections += 1
        self.connection = DrivenConnection(server.hub, stats.connections)
        self.session = Session(server.services, self.connection, stats.connections)
        self.handler = handler(self.session, self.connection, server.services)
        self.open = self.idle = True

    def send(self, request):
        self.server.hub.start(self._serve, request)

    def _serve(self, request):
        self.idle = False
        stays = self.handler.receive(request)
        self.idle = True
        if not stays or self.connection.leaving:
            self.end()

    def leave(self, gone):
        """A FIN of the client, or an RST."""
        self.connection.leave(gone)
        if self.open and self.idle:
            self.end()
        self.server.hub.settle()

    def end(self):
        self.open = False
        self.server.clients.remove(self)
        self.session.close()
        self.server.stats.connections -= 1

    def replies(self):
        return self.connection.replies()


class DrivenServer(KestrelServer):
    """Only what is between the listeners and the files: ``begin`` instead of ``start``."""

    def __init__(self, configuration, handle, clock, disk):
        super().__init__(configuration, handle, clock, disk, DrivenHub(clock))
        self.clients = []

    def begin(self):
        self.load()
        self.hub.settle()
        if self.background.frequency:
            self.hub.call_later(FIRST_TICK / 1000, self._tick)

    def _tick(self):
        self.hub.call_later(TICK / 1000, self._tick)
        self.background.look_at_files()
        self.background.sweep()
        self.hub.settle()
        self.background.delete_unused_queues()

    def connect(self, handler):
        client = DrivenClient(self, handler)
        self.clients.append(client)
        return client

    def shutdown(self):
        self.hub.call_later(SHUTDOWN_DELAY, self.stop)

    def _store_status(self, status):
        self.status_file.store(status)

    def _drain(self):
        self.hub.settle()
        for client in list(self.clients):
            client.end()
        self.hub.settle()

    def stop(self):
        # what follows sleeps until jobs are done
        worker = gevent.spawn(self._work)
        try:
            super().stop()
        finally:
            worker.kill()
            self.hub.timers.clear()

    def _work(self):
        while True:
            gevent.sleep(0.0001)
            self.hub.work()


class Driver:
    """Starts such servers, one after the other, on one spool. ``server`` [server] settings, ``configuration``: what
    is in the file, see model.Configuration. Use it as a context manager."""

    def __init__(self, server, configuration):
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=MEMORY if os.access(MEMORY, os.W_OK) else None))
        self.path = self.folder / 'kestrel.conf'
        self.settings = {**server, 'queue_path': self.folder / 'spool', 'status_file': self.folder / 'status',
                         'memcache_listen_port': None, 'text_listen_port': None, 'thrift_listen_port': None}
        self.clock = DrivenClock()
        self.log = None             # spool.LogLines of the last server
        self.server = None
        self.write(configuration)

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        if self.server is not None:
            self.kill()
        shutil.rmtree(self.folder)

    def write(self, configuration):
        """Into the file; a str is written as it is."""
        text = configuration if isinstance(configuration, str) else file_text(self.settings, configuration)
        self.path.write_text(text)

    def begin(self):
        configuration = config.load(str(self.path), {})
        self.log = LogLines()
        logger = logging.Logger('driven')
        logger.addHandler(self.log)
        handle = types.SimpleNamespace(logger=logger, exchange=[].append, end=[].append, put_back=[].append)
        self.system = KillableSystem()
        self.server = DrivenServer(configuration, handle, self.clock, Disk(logger, self.system))
        self.server.begin()

    def advance(self, seconds):
        self.server.hub.work()
        self.server.hub.advance(seconds)
        self.server.hub.work()

    def stats(self, wanted):
        """What ``stats`` says of the keys that are wanted, {key: value}; of a client that is not counted."""
        lines = report.server_lines(self.server.services)
        collection = self.server.collection
        for name in collection.names_with_aliases():
            lines += [(b'queue_%b_%b' % (name, key), value) for key, value in report.name_lines(collection, name)]
        return {key.decode(): value.decode() for key, value in lines if key.decode() in wanted}

    def kill(self):
        """kill -9."""
        self.system.kill()
        server, self.server = self.server, None
        for task in server.hub.greenlets:
            # nothing of a killed process runs on
            with contextlib.suppress(Exception):
                task.throw()

    def errors(self):
        """What the server has logged as an error: nothing, but for files that could not be read."""
        return [line for line in self.log.lines if line.startswith('ERROR') and 'not reloaded' not in line]

    def known_reply(self, reply):
        """Without what a reader of the file alone can know."""
        return re.sub(b'SERVER_ERROR %b:.*' % re.escape(os.fsencode(self.path)), b'SERVER_ERROR bad configuration\r',
                      reply)


def file_text(settings, configuration):
    return config_text({
        'server': texts(settings),
        'default': texts(configuration.default),
        'queues': {name.decode(): texts(of) for name, of in configuration.queues.items()},
        'aliases': {name.decode(): {'destination_queues': [other.decode() for other in to] or None}
                    for name, to in configuration.aliases.items()},
    })


def texts(settings):
    """Durations are ms, names are bytes."""
    found = {}
    for key, value in settings.items():
        if key in DURATIONS and value is not None:
            value = '%dms' % value
        found[key] = value.decode() if isinstance(value, bytes) else value
    return found
