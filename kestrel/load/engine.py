"""Many connections in one loop: each sends a request, waits for the whole reply, and sends the next.

One epoll_wait serves all that have something; a request costs one send and one recv, and one look at the clock, which is
the end of the one request and the begin of the next. Compiled that is faster than any server it drives.
"""

import heapq
import select

from kestrel.load.trouble import NoServer, Trouble

READABLE = select.EPOLLIN
WRITABLE = select.EPOLLIN | select.EPOLLOUT
RECEIVE_SIZE = 65536
EVENTS = 512
LONGEST_SLEEP = 0.2     # s: signals are noticed between two
REPLY_SECONDS = 30      # without a reply to a request


class Client:
    """One connection and what is to be said on it.

    waits       a reply is missing
    doomed      the connection is cut when the reply has come, before it is read, and made anew
    background  the engine does not wait for its end
    dial        makes its connection
    """

    def __init__(self, dialect, background=False):
        self.dialect = dialect
        self.background = background
        self.doomed = False
        self.dial = None
        self.sock = None
        self.fd = -1
        self.receive = None
        self.send = None
        self.unsent = b''
        self.waits = False
        self.asked_at = 0.0     # s of the monotonic clock, when the request was sent

    def first(self, now):
        """-> the first request on a new connection, see ``replied``."""
        raise NotImplementedError

    def replied(self, now):
        """The reply is in ``dialect``. -> the next request, b'' to wait for ``Engine.resume``, or None at the end."""
        raise NotImplementedError

    def resumed(self, now):
        """-> what to do now, as in ``replied``."""
        raise NotImplementedError

    def ended(self, trouble):
        """The client is through; ``trouble`` is a Trouble, or None."""


class Engine:
    """Runs clients.

    stopping  true once ``stop`` was called
    """

    def __init__(self, clock, reply_seconds=REPLY_SECONDS):
        self.clock = clock
        self.stopping = False
        self._reply_seconds = reply_seconds
        self._clients = {}
        self._working = 0
        self._timers = []
        self._number = 0
        self._epoll = None
        self._until = 0.0

    def stop(self):
        """Let ``run`` return soon. May be called by a signal handler."""
        self.stopping = True

    def run(self, clients, seconds=0):
        """Until every client has ended and ``seconds`` have passed, or ``stop``. Raises NoServer."""
        self._until = self.clock.monotonic() + seconds
        self._epoll = select.epoll()
        try:
            clients = [client for client in clients if self._connect(client)]
            self.call_later(1, self._look_for_silence)
            now = self.clock.monotonic()
            for client in clients:
                self._start(client, now)
            self._loop(self._epoll.poll)
        finally:
            for client in [*self._clients.values()]:
                client.sock.close()
            self._clients.clear()
            self._timers.clear()
            self._working = 0
            self._epoll.close()

    def call_later(self, seconds, function, *arguments):
        self._number += 1
        heapq.heappush(self._timers, (self.clock.monotonic() + seconds, self._number, function, arguments))

    def resume(self, client):
        """It waited for this."""
        now = self.clock.monotonic()
        try:
            self._go_on(client, client.resumed(now), now)
        except Trouble as trouble:
            self._end(client, trouble)

    def _loop(self, poll):
        clock = self.clock
        while (self._working > 0 or clock.monotonic() < self._until) and not self.stopping:
            for fd, event in poll(self._sleep(), EVENTS):
                client = self._clients.get(fd)
                if client is None:
                    continue
                if client.unsent and event & select.EPOLLOUT:
                    self._send(client, client.unsent)
                if event & ~select.EPOLLOUT:
                    self._receive(client)
            if self._timers and self._timers[0][0] <= clock.monotonic():
                self._call_timers()

    def _sleep(self):
        """-> s until the next timer, at most LONGEST_SLEEP."""
        if not self._timers:
            return LONGEST_SLEEP
        left = self._timers[0][0] - self.clock.monotonic()
        return min(max(left, 0), LONGEST_SLEEP)

    def _call_timers(self):
        now = self.clock.monotonic()
        while self._timers and self._timers[0][0] <= now:
            _, _, function, arguments = heapq.heappop(self._timers)
            function(*arguments)

    def _connect(self, client):
        try:
            sock = client.dial.connect()
        except NoServer as error:
            if not client.background:
                raise
            client.ended(Trouble(str(error)))
            return False
        if sock is None:
            return False
        client.sock = sock
        client.fd = sock.fileno()
        client.receive = sock.recv
        client.send = sock.send
        client.unsent = b''
        client.waits = False
        client.dialect.kept = b''
        self._clients[client.fd] = client
        if not client.background:
            self._working += 1
        self._epoll.register(client.fd, READABLE)
        return True

    def _start(self, client, now):
        try:
            self._go_on(client, client.first(now), now)
        except Trouble as trouble:
            self._end(client, trouble)

    def _connect_again(self, client):
        self._forget(client)
        if self._connect(client):
            self._start(client, self.clock.monotonic())

    def _receive(self, client):
        if client.doomed:
            client.doomed = False
            self._connect_again(client)
            return
        try:
            data = client.receive(RECEIVE_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(client, Trouble('connection lost: %s' % error.strerror))
            return
        try:
            if not data:
                raise Trouble('the server closed the connection' + (' in the middle of a reply' if client.dialect.kept
                                                                    else ''))
            if not client.waits:
                raise Trouble('bytes without a request: %r' % data[:80])
            if client.dialect.feed(data):
                client.waits = False
                now = self.clock.monotonic()
                self._go_on(client, client.replied(now), now)
        except Trouble as trouble:
            self._end(client, trouble)

    def _go_on(self, client, request, now):
        if request is None:
            self._end(client, None)
        elif request:
            client.asked_at = now
            client.waits = True
            self._send(client, request)

    def _send(self, client, data):
        try:
            sent = client.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._end(client, Trouble('connection lost: %s' % error.strerror))
            return
        if sent == len(data):
            if client.unsent:
                client.unsent = b''
                self._epoll.modify(client.fd, READABLE)
            return
        if not client.unsent:
            self._epoll.modify(client.fd, WRITABLE)
        client.unsent = data[sent:]

    def _end(self, client, trouble):
        if client.fd in self._clients:
            self._forget(client)
            client.ended(trouble)

    def _forget(self, client):
        del self._clients[client.fd]
        client.sock.close()
        if not client.background:
            self._working -= 1

    def _look_for_silence(self):
        self.call_later(1, self._look_for_silence)
        limit = self.clock.monotonic() - self._reply_seconds
        for client in [*self._clients.values()]:
            if client.waits and client.asked_at < limit:
                self._end(client, Trouble('no reply within %d seconds' % self._reply_seconds))
