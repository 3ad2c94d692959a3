"""Stand-ins for what surrounds queues and sessions: a journal that is one readable line, clients that wait
without sockets, a hub that turns when the test says so.

They are subclasses of the real classes, whose __init__ is not called: compiled code takes nothing else.
"""

import itertools
import logging
import os
import types

from greenlet import getcurrent, greenlet

from kestrel.append_file import AppendFile
from kestrel.compactor import Compactor
from kestrel.config import QueueSettings
from kestrel.connection import Connection
from kestrel.handlers.memcache import MemcacheHandler
from kestrel.journal.journal import Journal
from kestrel.persistent_queue import PersistentQueue
from kestrel.queue_collection import QueueCollection
from kestrel.services import Services
from kestrel.session import Session
from kestrel.stats import QueueStats, ServerStats
from kestrel.waiters import Waiters
from support.clock import MovedClock

QUEUE_DEFAULTS = {
    'max_items': 2147483647, 'max_size': 2 ** 63 - 1, 'max_item_size': 2 ** 63 - 1, 'max_age': None,
    'default_journal_size': 16 << 20, 'max_memory_size': 128 << 20, 'max_journal_size': 1 << 30,
    'min_journal_compact_delay': 60000000, 'discard_old_when_full': False, 'keep_journal': False,
    'sync_journal': None, 'expire_to_queue': None, 'max_expire_sweep': 2147483647, 'fanout_only': False,
    'max_queue_age': None, 'enable_trace': False, 'disable_aggressive_rewrites': False,
    'open_transaction_timeout': None, 'white_list_client_id_for_dequeue': None,
    'white_list_client_id_for_enqueue': None, 'max_deliveries': None, 'dead_letter_queue': None,
}
SERVER_DEFAULTS = {
    'max_open_transactions': 1, 'connection_limit_refuse_reads': None, 'connection_limit_refuse_writes': None,
    'max_request_size': 64 << 20, 'remote_admin': True,
}


def queue_settings(**changed):
    """The settings of a queue: the defaults, but without a journal."""
    return QueueSettings(**{**QUEUE_DEFAULTS, **changed})


class FakeConfig:
    """kestrel.config.Config: ``queues`` {name: settings that differ}, ``default`` those of all others."""

    def __init__(self, queues=None, aliases=None, **default):
        self.queues = queues or {}
        self.aliases = aliases or {}
        self.default = default

    def queue(self, name):
        parent = self.queues.get(name.partition(b'+')[0], {})
        return queue_settings(**{**self.default, **parent, **self.queues.get(name, {})})

    def has_white_lists(self):
        return any('white_list' in key for settings in (self.default, *self.queues.values()) for key in settings)

    def dump(self, settings):
        return [('max_items', str(settings.max_items)), ('max_age', 'none')]

    def explain(self, section, settings):
        return [('max_items', str(settings.max_items), '2147483647'), ('max_age', 'none', 'none')]


class LineJournal(Journal):
    """The journal as one readable line, for example ``add(5:0:first), remove-tentative(2), unremove(2)``.

    add      length, expiry in ms since 1970 (0 = never), data, flags if there are any; ``/sync`` if it had to
             be durable
    failure  what ``add`` raises instead of writing, or None
    next_commit  the sync.Commit that the puts and confirms from now on have to wait for, or None
    choked   so much found no room on the disk that nothing may be handed out (D10)
    """

    def __init__(self):
        self.records = []
        self.failure = None
        self.next_commit = None
        self.choked = False
        self.queue = None
        self.serial = 1
        self.answered = 0
        # Only its size is looked at: where a record begins that may have to be taken back.
        self.file = AppendFile(types.SimpleNamespace(system=os), b'line', 0)

    @property
    def size(self):
        return 7 * len(self.records)

    def total(self):
        return self.size

    def is_choked(self):
        return self.choked

    def is_pending(self):
        return self.choked

    def line(self):
        return ', '.join(self.records)

    def end_commit(self, error=None):
        """The fsync has ended: what waited for it enters the queue, or is refused, then its clients go on."""
        commit, self.next_commit = self.next_commit, None
        commit.done = True
        commit.error = error
        self.queue.settle()
        commit.finish()

    def make_room(self):
        pass

    def add(self, item, durable=False, discarded=0):
        if self.failure is not None:
            raise self.failure
        self.remove(discarded)
        flags = ':%d' % item.flags if item.flags else ''
        self.records.append('add(%d:%d:%s%s)%s' % (
            len(item.data), item.expiry, item.data.decode('latin-1'), flags, '/sync' if durable else ''))
        return self.next_commit

    def add_many(self, items, offsets):
        for item in items:
            offsets.append(self.size)
            self.add(item)
        return self.next_commit

    def remove(self, count=1):
        self.records.extend(['remove'] * count)

    def remove_all(self, count):
        self.remove(count)

    def remove_tentative(self, xid, before=b''):
        self.records.append('%sremove-tentative(%d)' % (before.decode(), xid))

    def confirm_record(self, xid):
        return b'confirm-remove(%d)+' % xid if self.next_commit is None else None

    def unremove(self, xid):
        self.records.append('unremove(%d)' % xid)

    def confirm(self, xid):
        self.records.append('confirm-remove(%d)' % xid)
        return self.next_commit

    def unremove_many(self, xids):
        for xid in xids:
            self.unremove(xid)

    def confirm_many(self, xids):
        for xid in xids:
            self.confirm(xid)
        return self.next_commit

    def cut(self, size):
        self.records.append('cut')

    def close(self):
        self.records.append('close')

    def delete(self, others=()):
        self.records.append('delete')


def make_queue(clock, journal=None, name=b'q', recovered=None, waiters=None, hub=None, **settings):
    """A PersistentQueue on that clock (and journal, a real one with a Compactor)."""
    queue = PersistentQueue(name, queue_settings(**settings), journal, recovered, clock, waiters or Waiters(),
                            QueueStats(), hub)
    if journal is not None and not isinstance(journal, LineJournal):
        queue.compactor = Compactor(queue, journal, clock)
    return queue


class Owner:
    """Of a waiter: notes in a list of the test that it was told to look again."""

    def __init__(self, name, told):
        self.name = name
        self.told = told

    def resume_soon(self):
        self.told.append(self.name)


class FakeConnection(Connection):
    """A client without a socket: ``sent`` collects its replies; waits are those of a Hub."""

    received_bytes = sent_bytes = 0

    def __init__(self, hub, number):
        self.turns = hub
        self.address = ('127.0.0.1', 40000 + number)
        self.leaving = False
        self.gone = False
        self.ended = False          # a FIN stands unread behind the input
        self.sent = b''
        self.requests = self.failed = 0     # how many were run, and ended in an internal error
        self.pauses = 0
        self.on_pause = None        # called at each pause
        self.on_write = None        # called with each reply
        self.parked = None          # (greenlet, deadline) while it waits
        self.committing = None      # its greenlet while it waits for an fsync

    def write(self, data):
        self.sent += data
        if self.on_write is not None:
            self.on_write(data)

    def flush(self):
        return False

    def block_is_whole(self):
        pass

    def look_for_end(self):
        self.leaving = self.leaving or self.ended

    def count_requests(self, count, failed):
        self.requests += count
        self.failed += failed

    def park(self, waiter, deadline):
        while not (waiter.woken or waiter.dismissed or self.leaving):
            if self.turns.clock.monotonic() >= deadline:
                return
            self.parked = getcurrent(), deadline
            try:
                getcurrent().parent.switch()
            finally:
                self.parked = None

    def wait_for(self, commit):
        if commit.done:
            return
        commit.join(self)
        while not commit.done:
            self.committing = getcurrent()
            try:
                getcurrent().parent.switch()
            finally:
                self.committing = None

    def committed(self):
        if self.committing is not None:
            self.committing.switch()

    def pause(self):
        self.pauses += 1
        if self.on_pause is not None:
            self.on_pause()

    def resume_soon(self):
        self.turns.ready.append(self)

    def resume(self):
        if self.parked is not None:
            self.parked[0].switch()

    def leave(self, gone=False):
        """The client sends a FIN (or an RST) while it waits."""
        self.leaving = True
        self.gone = gone
        self.resume()

    def replies(self):
        """What was sent since the last call, bytes."""
        sent, self.sent = self.sent, b''
        return sent


class Hub:
    """Runs greenlets that wait; they go on in ``turn`` and ``advance``, never by themselves."""

    def __init__(self, clock):
        self.clock = clock
        self.ready = []
        self.connections = []
        self.greenlets = []
        self.timers = []            # [when, function, arguments]

    def call_later(self, seconds, function, *arguments):
        self.timers.append([self.clock.seconds + seconds, function, arguments])

    def run(self, function, *arguments):
        """Start the function; -> list that gets its result, once it has ended."""
        result = []
        task = greenlet(lambda: result.append(function(*arguments)))
        self.greenlets.append(task)
        task.switch()
        return result

    def give_turn(self):
        """For ``on_pause``: who is told to look again has its turn first, in ``turn``."""
        task = getcurrent()
        self.ready.append(types.SimpleNamespace(resume=task.switch))
        task.parent.switch()

    def turn(self):
        """Let those look again who were told to, in that order, and who is told meanwhile."""
        while self.ready:
            self.ready.pop(0).resume()

    def advance(self, seconds):
        """Let time pass; whoever has waited long enough goes on, timers fire, the earliest deadline first."""
        self.turn()
        end = self.clock.seconds + seconds
        while True:
            due = [(connection.parked[1], connection.resume, ()) for connection in self.connections
                   if connection.parked is not None and connection.parked[1] <= end]
            due += [tuple(timer) for timer in self.timers if timer[0] <= end]
            if not due:
                break
            first = min(due, key=lambda one: one[0])
            self.timers = [timer for timer in self.timers if tuple(timer) != first]
            self.clock.advance(max(0.0, first[0] - self.clock.seconds))
            first[1](*first[2])
            self.turn()
        self.clock.advance(end - self.clock.seconds)

    def close(self):
        for task in self.greenlets:
            if not task.dead:
                task.throw()


class FakeControl:
    """The server, as a session sees it."""

    def __init__(self):
        self.calls = []
        self.why_not = None
        self.announced = 'Up'

    def status(self):
        return self.announced

    def change_status(self, name):
        self.calls.append('status ' + name)
        return self.why_not

    def reload(self):
        self.calls.append('reload')
        return self.why_not

    def shutdown(self):
        self.calls.append('shutdown')

    def note_foreign(self, address, protocol):
        self.calls.append((address[0], protocol))


class World:
    """A server without sockets and files: ``client()`` makes sessions on its queues, which have LineJournals.

    config      FakeConfig
    server      changes of the [server] settings
    """

    def __init__(self, config=None, **server):
        self.clock = MovedClock()
        self.hub = Hub(self.clock)
        self.stats = ServerStats()
        self.config = config or FakeConfig()
        self.logger = logging.Logger('test')
        self.logger.addHandler(logging.NullHandler())
        self.collection = QueueCollection(None, self.hub, None, self.clock, self.stats, self.config, self.logger)
        self.control = FakeControl()
        settings = types.SimpleNamespace(**{**SERVER_DEFAULTS, **server})
        self.services = Services(self.collection, self.stats, self.clock, settings, self.control, self.logger,
                                 1 << 30)
        self.numbers = itertools.count(1)

    def client(self, handler=MemcacheHandler):
        """A client; ``handler`` is that of the port it comes to."""
        number = next(self.numbers)
        connection = FakeConnection(self.hub, number)
        self.hub.connections.append(connection)
        return Client(self, connection, Session(self.services, connection, number), handler)

    def thrift_client(self):
        """A client of the thrift port."""
        # not above: tests of other ports do without the library
        from kestrel.handlers.thrift import ThriftHandler
        return self.client(ThriftHandler)

    def queue(self, name=b'q'):
        return self.collection.lookup(name)

    def journaled(self, name=b'q'):
        """The queue of that name with a LineJournal from now on; -> the journal."""
        queue = self.collection.need(name)
        journal = queue.journal = LineJournal()
        journal.queue = queue
        return journal

    def items(self, name=b'q'):
        """The data that wait in a queue; None if there is no such queue."""
        queue = self.queue(name)
        return None if queue is None else [item.data for item in queue.items]


class Client:
    """One client of a World: its session, and its requests as bytes."""

    def __init__(self, world, connection, session, handler):
        self.world = world
        self.connection = connection
        self.session = session
        self.handler = handler(session, connection, world.services)
        self.open = True

    def ask(self, request):
        """Run the request(s); -> the replies, bytes. Fails if one has to wait, see ``begin``."""
        ended = self.begin(request)
        if not ended:
            raise AssertionError('%r waits' % request)
        return self.connection.replies()

    def begin(self, request):
        """Run the request(s) up to where one waits; -> list that is not empty once they have ended."""
        return self.world.hub.run(self._receive, request)

    def _receive(self, request):
        if not self.open:
            raise AssertionError('the connection was closed')
        self.open = self.handler.receive(request)
        return True

    def put(self, data, name=b'q', flags=0, expiry=0, durable=False):
        return self.session.put(name, data, flags, expiry, durable)

    def get(self, name=b'q', timeout=0, opening=False):
        """Start a get; -> list that gets the item, or None, once there is a reply."""
        return self.world.hub.run(self.session.get, name, timeout, opening)

    def peek(self, name=b'q', timeout=0):
        return self.world.hub.run(self.session.peek, name, timeout)
