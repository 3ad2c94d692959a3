"""``-M``: a line about the queue each second, while the others work."""

from kestrel.load.engine import Client
from kestrel.load.memcache import Memcache

EVERY = 1       # s
# what the line calls a figure, and the key of ``stats``
FIGURES = (('bytes', 'bytes'), ('mem_items', 'mem_items'), ('mem_bytes', 'mem_bytes'), ('journal_bytes', 'logsize'))


class Monitor(Client):
    """Asks the memcache port for ``stats``. It is given to each run of the engine, and goes on where it was."""

    def __init__(self, engine, queue, say, complain):
        """``say``, ``complain``: functions of a line."""
        super().__init__(Memcache(), background=True)
        self._engine = engine
        self._queue = queue
        self._say = say
        self._complain = complain
        self._before = None     # total_items when it began
        self._due = 0.0

    def first(self, now):
        if self._due <= now:
            return self.dialect.stats()
        self._engine.call_later(self._due - now, self._engine.resume, self)
        return b''

    def resumed(self, now):
        return self.dialect.stats()

    def replied(self, now):
        figures = self._figures(self.dialect.items[0])
        total = int(figures.get('total_items', 0))
        if self._before is None:
            self._before = total
        else:
            told = ' '.join(['%s=%s' % (name, figures.get(key, 0)) for name, key in FIGURES])
            self._say('%s: items=%s total_items=%d (%d) %s' % (
                self._queue, figures.get('items', 0), total, total - self._before, told))
        # a server that restarts or a line that comes late shifts nothing
        self._due = max(self._due + EVERY, now) if self._due else now + EVERY
        self._engine.call_later(self._due - now, self._engine.resume, self)
        return b''

    def _figures(self, reply):
        """{key: value} of the queue, str, from the lines of ``stats``."""
        start = 'STAT queue_%s_' % self._queue
        found = {}
        for line in reply.decode('utf-8', 'surrogateescape').split('\r\n'):
            if line.startswith(start):
                key, _, value = line[len(start):].partition(' ')
                found[key] = value
        return found

    def ended(self, trouble):
        if trouble is not None:
            self._complain('-M ends: %s' % trouble)
