"""Builds all parts of a server and connects them; starts and stops them in a fixed order (D28, D46)."""

from functools import partial

import gevent
from gevent.event import AsyncResult, Event
from gevent.lock import BoundedSemaphore
from gevent.threadpool import ThreadPool

from kestrel import config, interfaces, report
from kestrel.admin.port import AdminPort
from kestrel.admin.turns import Turns
from kestrel.background import Background
from kestrel.block_budget import BlockBudget
from kestrel.busy_poll import BusyPoll
from kestrel.clock import Clock
from kestrel.connection import Connection
from kestrel.disk import Disk
from kestrel.errors import JournalError, StartError
from kestrel.handlers.memcache import MemcacheHandler
from kestrel.handlers.text import TextHandler
from kestrel.hub import Hub
from kestrel.journal.sync import Syncer
from kestrel.log import peer
from kestrel.passed_sockets import PassedSockets
from kestrel.persistent_queue import PersistentQueue
from kestrel.ports import ClientPort
from kestrel.queue_collection import QueueCollection
from kestrel.server_sets import Membership, Refused, ServerSets, member_data
from kestrel.services import Services
from kestrel.session import Session
from kestrel.start_report import StartReport
from kestrel.stats import ServerStats, TransportStats
from kestrel.status import STORED, ServerStatus, StatusFile

REQUESTS_MAY_TAKE = 5.0     # seconds that running requests have to finish at the stop (D46)
SHUTDOWN_DELAY = 0.1
CLOSING_THREADS = 8
STATES_MAY_TAKE = 5.0       # seconds, of all queues


def _thrift():
    """-> ThriftHandler. Imported where its port is on; else the library need not be there. Raises StartError."""
    try:
        from kestrel.handlers.thrift import ThriftHandler
    except ModuleNotFoundError as error:
        raise StartError("thrift_listen_port: %s: apt install python3-thrift, or pip install thrift, or write none"
                         % error) from error
    return ThriftHandler


def zookeeper_client():
    """-> zookeeper.ZooKeeperClient. Imported where it is needed; else kazoo need not be there. Raises StartError."""
    try:
        from kestrel.zookeeper import ZooKeeperClient
    except ModuleNotFoundError as error:
        raise StartError("[zookeeper] host: %s: apt install python3-kazoo, or pip install kazoo, or write none"
                         % error) from error
    return ZooKeeperClient


def _thrift_handler(session, connection, services):
    return _thrift()(session, connection, services)


# The client ports, in the order of the log: (protocol, what runs the requests of one of its connections). The setting
# of a port is <protocol>_listen_port.
PROTOCOLS = (
    ('memcache', MemcacheHandler),
    ('text', TextHandler),
    ('thrift', _thrift_handler),
)
HANDLERS = dict(PROTOCOLS)


class KestrelServer:
    """One server. ``start``, then ``wait`` until it has stopped; two of them fit into one process.

    configuration  config.Config
    log            log.Log, see there
    clock, disk, hub   handed in by tests
    on_stop_step   called after each step of the stop: the caller's watch over it
    passed         passed_sockets.PassedSockets, None: all ports are bound here
    addresses      called for the list of interfaces.Address of this machine; handed in by tests

    ports          list of ports.ClientPort, bound from ``load`` on
    admin          admin.port.AdminPort, None without; it answers during ``load``
    server_sets    server_sets.ServerSets, None without
    loaded, listening, stopping   bool: how far the server is
    """

    def __init__(self, configuration, log, clock=None, disk=None, hub=None, on_stop_step=None,
                 passed=None, addresses=interfaces.addresses):
        self.config = configuration
        self.logging = log
        self.on_stop_step = on_stop_step or (lambda: None)
        self.log = log.logger
        self.clock = clock or Clock()
        self.disk = disk or Disk(self.log, clock=self.clock)
        self.stats = ServerStats()
        self.start_report = StartReport(self.log, self.clock)
        settings = configuration.server
        self.admin_settings = configuration.admin
        self.zookeeper_settings = configuration.zookeeper
        self.addresses = addresses
        self.hub = hub or Hub()
        self.syncer = Syncer(self.clock, self.log, self.stats.fsync_delay_usec.add,
                             self.stats.item_fsync_delay_usec.add, self.stats.count_fsync_error, self.hub)
        self.collection = QueueCollection(self.disk, self.hub, self.syncer, self.clock, self.stats,
                                          configuration, self.log)
        self.services = Services(self.collection, self.stats, self.clock, settings, self, self.log,
                                 report.memory_limit())
        self.status_file = StatusFile(self.disk, settings.status_file, self.log)
        self.server_status = ServerStatus(
            STORED[settings.default_status.lower()], settings.status_change_grace_period / 1000000,
            self.clock, self.hub.call_later, self._store_status, self._announce_status,
            self._enforce_status, self.log)
        self.status_turn = BoundedSemaphore()
        self.budget = BlockBudget(settings.max_buffered_requests)
        self.busy_poll = None
        self.idle_limit = (settings.client_timeout or 0) / 1000000
        frequency = settings.expiration_timer_frequency
        self.background = Background(self.services, frequency / 1000000 if frequency else None)
        self.passed = passed or PassedSockets({})
        self.ports = []
        self.admin = None
        self.server_sets = None
        self.loaded = False
        self.listening = False
        self.connections = set()
        self.sessions = {}          # connection -> (its session, protocol, when it began, monotonic): for the admin port
        self.serving = set()        # connections that may have a running request
        self.finished = Event()     # while it stops: none of them has
        self.may_go = Event()       # then they put back what they have open, and close
        self.drained = Event()
        self.stopped = Event()
        self.stopping = False
        self.told = {}              # what was logged -> when, for lines that come at most once a minute

    # -- start -----------------------------------------------------------------------------------------------------

    def start(self):
        """``load``, then ``listen``. Raises StartError, with nothing left behind."""
        self.load()
        self.listen()

    def load(self, on_replay=None):
        """Bind the ports, lock the spool and replay it (D28). Raises StartError.

        on_replay  called for each block of a journal with the number of the queue, that of all queues, and its bytes
        """
        settings = self.config.server
        try:
            # the ports are bound before anything is replayed or changed on disk, and listen after that
            for protocol, _ in PROTOCOLS:
                port = getattr(settings, protocol + '_listen_port')
                if port is not None:
                    if protocol == 'thrift':
                        _thrift()
                    self.ports.append(ClientPort(protocol, settings.listen_address, port, self.passed))
                    self.stats.transports[protocol] = TransportStats()
            if self.zookeeper_settings.host is not None:
                self.server_sets = self._server_sets()
            if self.config.admin.http_port is not None:
                self.admin = AdminPort(self.services, self.config.admin, self.log, self.passed, self._too_many_files)
            self.passed.check_taken()
            spool = self.disk.lock_spool(settings.queue_path)
            self.start_report.begins(self.config.path)
            if self.admin is not None:
                # it answers while the journals are read
                self.admin.listen()
                turns = Turns(self.clock)

            def on_read(number, queues, name, count):
                self.start_report.replaying(number, queues, name, count)
                if on_replay is not None:
                    on_replay(number, queues, count)
                if self.admin is not None:
                    turns.next()
            self.collection.load(spool, on_read)
            self.start_report.replayed(settings.queue_path, self.collection.queues.values())
            self.server_status.begin(self.status_file.read(self.server_status.announced))
            self.status_file.check()
            self.loaded = True
        except JournalError as error:
            self._abandon()
            raise StartError('%s: %s' % (settings.queue_path, error.why)) from error
        except BaseException:
            self._abandon()
            raise

    def listen(self):
        """Open the client ports. Raises StartError."""
        try:
            for port in self.ports:
                port.listen(self.config.server.connection_backlog, partial(self._serve, port.protocol),
                            self._too_many_files)
        except BaseException:
            self._abandon()
            raise
        self.listening = True
        self.background.start()
        if self.server_sets is not None:
            self.server_sets.start(self.server_status.announced)
        busy_poll = self.config.server.busy_poll
        if busy_poll:
            self.busy_poll = BusyPoll(gevent.get_hub().loop, self.clock, [self.stats, self.stats.thrift],
                                      busy_poll / 1000000)
        shown = [*self.ports] if self.admin is None else [*self.ports, self.admin]
        if self.admin is not None:
            self.admin.begin()
        self.start_report.ready(self.config.server.queue_path, self.collection.queues, shown)

    def _server_sets(self):
        """-> ServerSets, None if there is nothing to announce. Raises StartError."""
        settings = self.zookeeper_settings
        client = zookeeper_client()
        if not self.ports:
            self.log.error('[zookeeper] host: no client port is configured: there is nothing to announce')
            return None
        host = interfaces.announced_host(self.ports[0].address[0], self.addresses())
        data = member_data(host, {port.protocol: port.address[1] for port in self.ports})
        return ServerSets(Membership(settings.path_prefix, data, self.log), partial(client, settings), self.log,
                          '%s:%d%s' % (settings.host, settings.port, settings.path_prefix))

    def _abandon(self):
        for port in self.ports:
            port.close()
        if self.admin is not None:
            self.admin.stop()
        self.passed.close()
        self.disk.unlock_spool()

    # -- clients ---------------------------------------------------------------------------------------------------

    def _serve(self, protocol, sock, address):
        """One client, in its own greenlet."""
        if self.services.stopping:
            sock.close()
            return
        stats = self.stats
        stats.connections += 1
        stats.total_connections += 1
        trace = self.services.settings.enable_session_trace
        if trace:
            self.log.info('session begins: %s', peer(address))
        traffic = stats.thrift if protocol == 'thrift' else stats
        transport = stats.transports[protocol]
        transport.connections += 1
        transport.connects += 1
        began = self.clock.monotonic()
        connection = Connection(sock, address, traffic, self.clock, self.budget, self.idle_limit, transport)
        self.connections.add(connection)
        self.serving.add(connection)
        session = handler = None
        try:
            session = Session(self.services, connection, stats.connections)
            self.sessions[connection] = session, protocol, began
            # a local: whoever asks what blocks the hub finds the request here (hub_watch.py)
            handler = HANDLERS[protocol](session, connection, self.services)
            handler.serve()
        finally:
            handler = None
            self.budget.hold(connection, 0)
            self.serving.discard(connection)
            if self.services.stopping:
                self._wait_for_others()
            if session is not None:
                session.close()
            connection.close()
            self.connections.discard(connection)
            self.sessions.pop(connection, None)
            stats.connections -= 1
            transport.connections -= 1
            transport.closes += 1
            transport.connection_duration.add(int((self.clock.monotonic() - began) * 1000))
            transport.connection_received_bytes.add(connection.received_bytes)
            transport.connection_sent_bytes.add(connection.sent_bytes)
            if trace:
                self.log.info('session ends: %s', peer(address))
            if not self.connections:
                self.drained.set()

    def note_foreign(self, address, protocol):
        """A client speaks another protocol: one line per address and minute (D61)."""
        self._tell_once(('foreign', address[0]), 'closed a connection from %s that speaks %s', address[0], protocol)

    def _too_many_files(self, why):
        self._tell_once('files', 'connections are refused, %s: raise the limit of open files (ulimit -n)', why)

    def _tell_once(self, key, message, *arguments):
        """Log a warning unless the same was logged in the last minute."""
        now = self.clock.monotonic()
        if now - self.told.get(key, now - 60) < 60:
            return
        self.told = {known: when for known, when in self.told.items() if now - when < 60}
        self.told[key] = now
        self.log.warning(message, *arguments)

    # -- control ---------------------------------------------------------------------------------------------------

    def status(self):
        """The name of the announced status."""
        return self.server_status.announced.name

    def change_status(self, name):
        """Change it to the one of that name (lower case). -> None, or why nothing was changed (D1)."""
        with self.status_turn:
            try:
                self.server_status.change(STORED[name])
            except Refused as error:
                self.log.error('status not changed to %s: %s', name, error)
                return str(error)
            except (OSError, RuntimeError) as error:
                # RuntimeError: no thread can be had
                why = getattr(error, 'strerror', None) or str(error)
                self.log.error('status not changed to %s: cannot write %s: %s', name,
                               self.status_file.shown, why)
                return 'cannot write the status file: %s' % why
        return None

    def _store_status(self, status):
        """In a thread, because of its fsync; the client that asks for it waits."""
        stored = AsyncResult()
        self.hub.run_sync(partial(self.status_file.store, status),
                          lambda _, error: stored.set_exception(error) if error else stored.set(None))
        stored.get()

    def _announce_status(self, status, joining):
        if self.server_sets is not None:
            self.server_sets.announce(status, joining)

    def _enforce_status(self, status):
        self.services.reads_blocked = status.blocks_reads
        self.services.writes_blocked = status.blocks_writes

    def reload(self):
        """Read the configuration file again. -> None, or why nothing was changed, one line (D27)."""
        if self.stopping:
            return 'the server is stopping'
        try:
            new = config.load(self.config.path)
            log_before = self.logging.exchange(new.logging)
        except StartError as error:
            return self._not_reloaded(error)
        try:
            self.collection.configure(new)
        except JournalError as error:
            self.logging.put_back(log_before)
            return self._not_reloaded(error)
        self.logging.end(log_before)
        self.config = new
        for section, in_force in (('server', self.services.settings), ('admin', self.admin_settings),
                                  ('zookeeper', self.zookeeper_settings)):
            changed = [key for key, value in vars(getattr(new, section)).items() if value != getattr(in_force, key)]
            if changed:
                self.log.warning('%s: [%s] is read at the start only: restart kestrel to apply %s', new.path,
                                 section, ', '.join(changed))
        self.log.info('configuration reloaded from %s', new.path)
        return None

    def _not_reloaded(self, error):
        self.log.error('configuration not reloaded: %s', error)
        return str(error)

    def greenlets(self):
        """What runs in this server. -> list of (name, greenlet)"""
        announcing = [] if self.server_sets is None else [('server sets', self.server_sets.greenlet)]
        clients = [('client %s:%s' % connection.address[:2], connection.greenlet) for connection in self.connections
                   if connection.greenlet is not None]
        background = [('background', greenlet) for greenlet in self.background.greenlets]
        return clients + background + announcing + ([] if self.admin is None else self.admin.greenlets())

    def shutdown(self):
        """Stop in 100 ms, so that the client that asks for it sees its connection closed first."""
        gevent.spawn_later(SHUTDOWN_DELAY, self.stop)

    # -- stop ------------------------------------------------------------------------------------------------------

    def stop(self):
        """Stop in the order of D46. Returns when everything is closed."""
        if self.stopping:
            self.stopped.wait()
            return
        self.stopping = True
        self.on_stop_step()
        self.log.info('stopping')
        if self.server_sets is not None:
            # before it refuses anybody: clients go elsewhere
            self.server_sets.leave()
            self.on_stop_step()
        for port in self.ports:
            port.close()
        if self.admin is not None:
            self.admin.close()
        self.services.stopping = True
        self.collection.dismiss_waiters()
        self.on_stop_step()
        self._drain()
        if self.admin is not None:
            self.admin.stop()
        self.on_stop_step()
        graceful = self.server_status.stop()
        self.background.stop()
        if self.busy_poll is not None:
            self.busy_poll.stop()
        self._end_moves()
        self._restore_lost_files()
        if graceful:
            self.background.rewrite_emptied(self.on_stop_step)
        self._end_jobs()
        self._close_queues()
        self.hub.close()
        self.disk.unlock_spool()
        self.on_stop_step()
        self.log.info('stopped')
        self.stopped.set()

    def _drain(self):
        """Let running requests finish, then close all connections, which puts their open reads back: none of these is
        handed out to a request that still runs."""
        for connection in list(self.connections):
            connection.stop()
        self._wait_until_empty(self.serving, self.finished)
        self.may_go.set()
        for connection in list(self.serving):
            connection.cut()
        self._wait_until_empty(self.connections, self.drained)

    @staticmethod
    def _wait_until_empty(connections, event):
        if connections:
            event.clear()
            event.wait(REQUESTS_MAY_TAKE)

    def _wait_for_others(self):
        if not self.serving:
            self.finished.set()
        self.may_go.wait()

    def _end_moves(self):
        """What waits for an fsync on its way to another queue arrives there; the next start would move it again."""
        end = self.clock.monotonic() + REQUESTS_MAY_TAKE
        while (any([queue.mover.held for queue in self.collection.queues.values()])
               and self.clock.monotonic() < end):
            gevent.sleep(0.01)
        self.on_stop_step()

    def _restore_lost_files(self):
        queues = self.background.look_for_lost_files()
        while queues:
            before = None
            while any([queue.compactor.job is not None for queue in queues]):
                gevent.sleep(0.01)
                written = [queue.compactor.written() for queue in queues]
                if written != before:
                    # a file of some gigabytes takes longer than a step may
                    before = written
                    self.on_stop_step()
            queues = self.background.look_for_lost_files()

    def _end_jobs(self):
        """End rewriting and packing: what is not done is undone, or done by the next start."""
        for queue in self.collection.queues.values():
            if queue.compactor is not None:
                while queue.compactor.stop() is None:
                    gevent.sleep(0.01)
                self.on_stop_step()

    def _close_queues(self):
        """Sync and close all journals, several at a time: the file system commits them together."""
        pool = ThreadPool(CLOSING_THREADS)
        for _ in pool.imap_unordered(PersistentQueue.close, list(self.collection.queues.values())):
            self.on_stop_step()
        # a queue that finds no time is replayed by the next start
        until = self.clock.monotonic() + STATES_MAY_TAKE
        for _ in pool.imap_unordered(lambda queue: queue.write_state(until), list(self.collection.queues.values())):
            self.on_stop_step()
        pool.kill()
        try:
            # the deletions of queues just before the stop
            self.disk.fsync_dir(self.collection.spool)
        except OSError as error:
            self.log.error('cannot fsync %s: %s', self.services.settings.queue_path, error.strerror)

    def wait(self):
        """Block until the server has stopped."""
        self.stopped.wait()
