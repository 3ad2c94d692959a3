"""What a running server shows of itself: to the service manager, and in the process list."""

import os

from setproctitle import setproctitle

BEAT_EVERY = 5.0        # seconds


def grouped(number):
    """An int with spaces between groups of three digits: ``1 234``."""
    return '{:,}'.format(number).replace(',', ' ')


class Heartbeat:
    """Beats on the hub, so that a hub which is stuck shows: then the service manager's watchdog bites.

    server    server.KestrelServer
    notifier  notify.Notifier
    """

    def __init__(self, server, notifier):
        self._server = server
        self._notifier = notifier
        self._every = min(BEAT_EVERY, (notifier.watchdog or 3 * BEAT_EVERY) / 3)
        self._title = 'kestrel: ' + os.path.basename(server.config.path)
        self._ended = False

    def begin(self):
        """The server is ready."""
        self._show()
        self._notifier.ready(self.status())
        self._server.hub.call_later(self._every, self._beat)

    def status(self):
        """-> str, such as ``up, 1 234 items in 2 queues, 5 connections``."""
        return '%s, %s items in %d queues, %d connections' % (
            self._server.status().lower(), grouped(self._items()), len(self._server.collection.queues),
            self._server.stats.connections)

    def reload(self):
        """Reload the configuration; the service manager hears how it went."""
        self._notifier.reloading()
        why = self._server.reload()
        self._notifier.ready(self.status() if why is None else 'not reloaded: ' + why)

    def end(self):
        self._ended = True

    def _beat(self):
        if self._ended:
            return
        self._show()
        self._notifier.beat(self.status())
        self._server.hub.call_later(self._every, self._beat)

    def _show(self):
        setproctitle('%s %s %s items' % (self._title, self._server.status().lower(), grouped(self._items())))

    def _items(self):
        return sum([queue.count for queue in self._server.collection.queues.values()])
