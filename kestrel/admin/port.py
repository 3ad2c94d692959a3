"""The admin port: puts its parts together (spec admin)."""

import os

import gevent

from kestrel.admin.dropped import Dropped
from kestrel.admin.history import History
from kestrel.admin.http import HttpServer
from kestrel.admin.jobs import Jobs
from kestrel.admin.listeners import Listeners
from kestrel.admin.routes import Routes
from kestrel.ports import ClientPort


class AdminPort:
    """Bound when it is made; open from ``listen`` to ``close``; ``begin`` when all queues are there.

    services       session.Services
    settings       the [admin] settings, with an http_port
    logger         logging.Logger of the server
    passed, full_of_files  see ports.ClientPort
    """

    def __init__(self, services, settings, logger, passed, full_of_files):
        """Raises StartError that names the remedy."""
        self._services = services
        self._settings = settings
        self._logger = logger
        self._full_of_files = full_of_files
        self._port = ClientPort('http', settings.listen_address, settings.http_port, passed, 'http_port')
        self._past = History(services.clock.now_ms() // 1000) if settings.time_series else None
        self._listeners = Listeners(services, [period // 1000000 for period in settings.default_latch_intervals],
                                    self._past)
        machine = os.uname().nodename.lower()
        allowed = {name.lower() for name in settings.allowed_hosts} | {machine, machine.partition('.')[0]}
        self._jobs = Jobs(services.clock, logger)
        self._http = HttpServer(
            Routes(services, settings, logger, self._listeners, self._past, allowed, self._jobs).answer, logger)
        self._ticker = None
        self._dropped = Dropped(services, logger)
        self.address = self._port.address
        self.protocol = self._port.protocol

    def listen(self):
        """Answer from now on, at first only what can be answered without queues (D28). Raises StartError."""
        self._port.listen(self._settings.http_backlog, self._http.serve, self._full_of_files)

    def begin(self):
        """All queues are there: keep statistics."""
        self._ticker = gevent.spawn(self._keep_time)

    def _keep_time(self):
        self._listeners.begin()
        clock = self._services.clock
        while True:
            # just behind the next second
            gevent.sleep(1.01 - clock.now_ms() % 1000 / 1000)
            try:
                self._listeners.tick()
                self._dropped.look()
            except Exception:
                self._logger.exception('the statistics of this second failed')

    def close(self):
        """Accept no further client. Answers under way go on."""
        self._port.close()

    def stop(self):
        """The end of the server: cut off who is still there."""
        self.close()
        if self._ticker is not None:
            self._ticker.kill()
        self._jobs.stop()
        self._http.clients.cut_all()

    def greenlets(self):
        """-> list of (name, greenlet)"""
        own = [] if self._ticker is None else [('statistics', self._ticker)]
        return own + self._http.clients.greenlets()

    def __str__(self):
        return str(self._port)
