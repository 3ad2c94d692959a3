"""Warns of values that metrics have dropped because they were negative (spec admin 5)."""

from kestrel.admin.scopes import ServerScope
from kestrel.ration import Ration


class Dropped:
    """Of the server's metrics, which get what those of its queues get. ``logger``: logging.Logger of the server."""

    def __init__(self, services, logger):
        self._server = ServerScope(services)
        self._lines = Ration(logger, services.clock, 1)
        self._told = {}

    def look(self):
        """To be called every now and then. One line a minute."""
        for name, histogram in zip(self._server.metric_names, self._server.histograms()):
            more = histogram.dropped - self._told.get(name, 0)
            if more:
                self._told[name] = histogram.dropped
                self._lines.warning('%s: %d negative values are dropped: was the clock of the machine set back?', name, more)
