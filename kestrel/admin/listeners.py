"""Who asks for figures since some moment: the listeners of /stats?period= and the namespaces (spec admin 3).

What a listener keeps of a queue is kept with the queue (``Scope.kept``), so that it goes with it (D26).
"""

from gevent.lock import BoundedSemaphore

from kestrel.admin import open_reads, scopes
from kestrel.admin.turns import Turns

MINUTE = 60                 # seconds; the listener that always exists
OF_MINUTE = ('period', MINUTE)      # its key
MOST = 32                   # listeners and namespaces besides that (D62)
UNUSED_FOR = 3600           # seconds after which one of these is dropped, or that many of its periods:
UNUSED_PERIODS = 10


class TooMany(Exception):
    """No further listener or namespace can be made."""


class Listener:
    """A period or a namespace.

    key        what its snapshots are kept under
    period     seconds, None for a namespace
    permanent  it is never dropped
    due        epoch second of the next latch
    labels     at the last latch
    turn       held while its snapshots are read or made: both let others run in between
    """

    def __init__(self, key, period, permanent, now):
        self.key = key
        self.period = period
        self.permanent = permanent
        self.used = 0.0
        self.labels = {}
        self.turn = BoundedSemaphore()
        self.schedule(now)

    def schedule(self, now):
        """The next latch after the epoch second ``now``: a multiple of the period plus 1, or each second."""
        if self.period is not None:
            late = 1 if self.period > 1 else 0
            self.due = (now - late) // self.period * self.period + self.period + late

    def is_due(self, now):
        # a clock that was set back
        return self.period is not None and (now >= self.due or self.due - now > self.period + 1)

    def latch(self, scope):
        """Take the figures of a scope. -> (scopes.Snapshot of the latch before, or None; that of now)"""
        kept = scope.kept.get(self.key)
        older = None if kept is None else kept[1]
        kept = scope.kept[self.key] = (older, scope.snapshot(older))
        return kept

    def latched(self, scope):
        """-> (older Snapshot or None, newer Snapshot): what ``latch`` took last; None if the scope came after it."""
        return scope.kept.get(self.key)


class Listeners:
    """All listeners of a server.

    periods   list of int, seconds: listeners that exist from the start
    history   history.History, told of each minute; None without
    """

    def __init__(self, services, periods, history):
        self._services = services
        self._collection = services.collection
        self._clock = services.clock
        self._server = scopes.ServerScope(services)
        self._history = history
        self._listeners = {}
        for period in (MINUTE, *periods):
            self._add(('period', period), period, True)

    def _add(self, key, period, permanent):
        listener = Listener(key, period, permanent, self._now())
        listener.used = self._clock.monotonic()
        self._listeners[key] = listener
        return listener

    def _now(self):
        return self._clock.now_ms() // 1000

    def begin(self):
        """Take the first figures for the permanent listeners, when all queues are there."""
        for listener in list(self._listeners.values()):
            self._latch(listener, None)

    def period(self, seconds):
        """-> the Listener of that period, made if there is none. Raises TooMany."""
        return self._find(('period', seconds), seconds)

    def namespace(self, name):
        """-> the Listener of that name. Its caller latches it. Raises TooMany."""
        return self._find(('namespace', name), None)

    def _find(self, key, period):
        listener = self._listeners.get(key)
        if listener is None:
            if len(self._listeners) > MOST:
                raise TooMany('%d periods and namespaces are in use; one that nobody asks for is dropped after an hour'
                              % MOST)
            listener = self._add(key, period, False)
            if period is not None:
                self._latch(listener, None)
        listener.used = self._clock.monotonic()
        return listener

    def tick(self):
        """Latch what is due, drop what nobody uses. To be called every second."""
        now = self._now()
        for listener in list(self._listeners.values()):
            if listener.is_due(now):
                listener.schedule(now)
                self._latch(listener, self._history if listener.period == MINUTE else None)
        self._drop_unused()

    def _latch(self, listener, history):
        with listener.turn:
            if history is not None:
                history.begin_minute(self._now())
            listener.labels = self._server.labels()
            for scope in self._scopes():
                older, newer = listener.latch(scope)
                if listener.period == MINUTE and scope.queue is not None:
                    open_reads.note(scope.queue, self._clock.monotonic())
                if history is not None:
                    history.note(scope, older, newer)

    def _scopes(self):
        """All scopes, letting others run in between."""
        turns = Turns(self._clock)
        yield self._server
        for name in scopes.names(self._collection):
            scope = scopes.named(self._collection, name)
            if scope is not None:
                yield scope
                turns.next()

    def _drop_unused(self):
        now = self._clock.monotonic()
        for key, listener in list(self._listeners.items()):
            patience = max(UNUSED_FOR, UNUSED_PERIODS * (listener.period or 0))
            if not listener.permanent and now - listener.used > patience:
                del self._listeners[key]
                with listener.turn:
                    for scope in self._scopes():
                        scope.kept.pop(key, None)
