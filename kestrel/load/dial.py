"""The only door of the load programs to the network: connections to one server, tried until they succeed."""

import socket

from kestrel.load.trouble import NoServer

PAUSE = 0.01            # s between two attempts
ATTEMPT_SECONDS = 2
TOLD = 1000             # a line for each so many failures
GIVE_UP_SECONDS = 30    # of one connection: a server that starts again is back by then, or is not coming


class Dial:
    """Makes connections to one address.

    retries    int, how often an attempt failed
    stopped()  called between two attempts: true ends them
    """

    def __init__(self, host, port, clock, tell, stopped, give_up=GIVE_UP_SECONDS):
        """``tell``: function of a line, for people. ``give_up``: s."""
        self.host = host
        self.port = port
        self.name = ('[%s]:%d' if ':' in host else '%s:%d') % (host, port)
        self.retries = 0
        self._clock = clock
        self._tell = tell
        self._stopped = stopped
        self._give_up = give_up
        self._addresses = None

    def connect(self):
        """-> a connected socket that does not block, or None when stopped. Raises NoServer."""
        if self._addresses is None:
            self._addresses = self._resolve()
        began = self._clock.monotonic()
        failures = 0
        while not self._stopped():
            for family, kind, protocol, _, address in self._addresses:
                try:
                    return self._open(family, kind, protocol, address)
                except OSError as error:
                    why = error.strerror or str(error)
            failures += 1
            self.retries += 1
            if failures % TOLD == 0:
                self._tell('Failed to connect after %d attempts' % failures)
            seconds = self._clock.monotonic() - began
            if seconds >= self._give_up:
                raise NoServer('cannot connect to %s: %s; gave up after %d attempts in %d seconds'
                               % (self.name, why, failures, seconds))
            self._clock.rest(PAUSE)
        return None

    def _resolve(self):
        try:
            return socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise NoServer('cannot find %s: %s' % (self.host, error.strerror or error)) from None

    @staticmethod
    def _open(family, kind, protocol, address):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(ATTEMPT_SECONDS)
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
        except BaseException:
            sock.close()
            raise
        return sock
