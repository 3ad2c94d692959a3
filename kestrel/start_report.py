"""What the log says of a start: which kestrel, from which files, with which queues, on which ports; how far a long replay
is."""

import ipaddress
import os
import platform

import gevent

from kestrel import __version__
from kestrel.heartbeat import grouped
from kestrel.journal import journal
from kestrel.shown import shown_queue

PROGRESS_EVERY = 5.0        # seconds between two lines of a replay


class StartReport:
    """Of one server. The first line comes when the ports are bound and the spool is ours: a start that fails before that
    has but one line to say, why.

    log    logging.Logger
    clock  clock.Clock
    """

    def __init__(self, log, clock):
        self._log = log
        self._clock = clock
        self._began = self._told = 0.0
        self._read = 0          # bytes

    def begins(self, config_path):
        self._began = self._told = self._clock.monotonic()
        compiled = 'not compiled' if journal.__file__.endswith('.py') else 'compiled'
        self._log.info('kestrel %s starts: pid %d, configuration %s, %s, Python %s, gevent %s', __version__, os.getpid(),
                       config_path, compiled, platform.python_version(), gevent.__version__)

    def replaying(self, number, queues, name, count):
        """``count`` more bytes of the queue of that name, the ``number``-th of so many ``queues``, have been read."""
        self._read += count
        now = self._clock.monotonic()
        if now - self._told >= PROGRESS_EVERY:
            self._told = now
            self._log.info('replaying queue %s, %d of %d, %s read in %.0f s', shown_queue(name), number, queues,
                           megabytes(self._read), now - self._began)

    def replayed(self, spool, queues):
        """All queues are there. ``spool``: str; ``queues``: PersistentQueues."""
        items = size = journals = 0
        for queue in queues:
            items += queue.count
            size += queue.bytes
            journals += 0 if queue.journal is None else queue.journal.total()
        self._log.info('spool %s: %d queues, %s items of %s, journals of %s, replayed in %.1f s', spool, len(queues),
                       grouped(items), megabytes(size), megabytes(journals), self._clock.monotonic() - self._began)

    def ready(self, spool, queues, ports):
        """Clients can connect. ``ports``: list of ports with a ``protocol`` and an ``address``."""
        exposed = [port.protocol for port in ports if ipaddress.ip_address(port.address[0]).is_unspecified]
        if exposed:
            self._log.warning('%s listen on every interface, and there are no passwords: let a firewall say who may'
                              ' connect, or set listen_address', ', '.join(exposed))
        self._log.info('kestrel %s ready: %d queues in %s, %s', __version__, len(queues), spool,
                       ', '.join(map(str, ports)) or 'no port open')


def megabytes(count):
    return '%.1f MB' % (count / (1 << 20))
