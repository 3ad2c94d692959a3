"""The client ports: bound before the spool is touched, listening when all queues are there (D28)."""

import errno
import os
import resource
import socket
import sys

from gevent import get_hub, getcurrent, spawn_raw
from gevent.server import StreamServer

from kestrel.errors import StartError

KEPT_BACK = 64              # file descriptors that connections leave for queues (D68)

# On the listening socket; accepted ones inherit them. Dead peers: first probe after 60 s, then every 15 s, 4 times;
# what is sent may stay unacknowledged for 120 s (D67).
CLIENT_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 120000),
)


class ClientPort:
    """A port for clients that speak one protocol: bound when it is made, open from ``listen`` to ``close``.

    protocol  str, its name: memcache. The setting of the port is ``<protocol>_listen_port``
    address   (host, port): where it is bound to, with the port that the system chose if 0 was asked for
    """

    def __init__(self, protocol, host, port, passed, setting=None):
        """Raises StartError that names the remedy.

        passed   passed_sockets.PassedSockets: if it has one for this port, that is listening already
        setting  how the setting of the port is called
        """
        self.protocol = protocol
        self.setting = setting or protocol + '_listen_port'
        self.listener = None
        self.socket = self._bind(host, port, passed)
        self.address = self.socket.getsockname()[:2]

    def _bind(self, host, port, passed):
        try:
            family, kind, proto, _, where = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
            sock = passed.take(self.protocol, where)
            bound = sock is not None
            if not bound:
                sock = socket.socket(family, kind, proto)
        except OSError as error:
            raise StartError('listen_address %s: %s: set it to an address of this machine'
                             % (host, error.strerror)) from error
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            for level, option, value in CLIENT_OPTIONS:
                sock.setsockopt(level, option, value)
            if not bound:
                sock.bind(where)
        except OSError as error:
            sock.close()
            raise self._cannot_listen(host, port, error) from error
        return sock

    def listen(self, backlog, serve, full_of_files):
        """Accept clients from now on. Raises StartError.

        backlog        connections that may wait to be accepted, None: as many as the system allows
        serve          called in a greenlet of its own with each client's socket and address
        full_of_files  called with the reason, str, when a client had to be refused for want of descriptors (D68)
        """
        try:
            self.socket.listen(socket.SOMAXCONN if backlog is None else backlog)
        except OSError as error:
            # another server that bound the port, too, before either of us listened
            raise self._cannot_listen(*self.address, error) from error
        self.listener = ClientListener(self.socket, serve, full_of_files)
        self.listener.start()

    def _cannot_listen(self, host, port, error):
        remedy = {errno.EADDRNOTAVAIL: 'set listen_address to an address of this machine',
                  errno.EACCES: 'take a port from 1024 on, or give the process the right to this one',
                  }.get(error.errno, 'stop what uses it or change ' + self.setting)
        return StartError('cannot listen on %s port %d: %s: %s' % (host, port, os.strerror(error.errno), remedy))

    def close(self):
        """Accept no further client."""
        if self.listener is not None:
            self.listener.close()
        self.socket.close()

    def __str__(self):
        return '%s on %s:%d' % (self.protocol, *self.address)


def spawn(serve, *arguments):
    """Run ``serve`` in a plain greenlet: it takes 1.4 KB less than gevent's, which remembers who has made it."""
    return spawn_raw(_run, serve, arguments)


def _run(serve, arguments):
    try:
        serve(*arguments)
    except BaseException:
        # as gevent's greenlets do: it must not come out where the hub has just switched to this one
        get_hub().handle_error(getcurrent(), *sys.exc_info())


class ClientListener(StreamServer):
    """Accepts clients as plain non-blocking sockets: a connection brings its own watcher."""

    def __init__(self, listener, handle, full):
        super().__init__(listener, handle, spawn=spawn)
        self.full_of_files = full
        self.largest_fd = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - KEPT_BACK
        self.pause = None

    def do_read(self):
        try:
            fd, address = self.socket._accept()
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                self.full_of_files(os.strerror(error.errno))
                self._rest()
            return None
        if fd >= self.largest_fd:
            os.close(fd)
            self.full_of_files('%d files are open' % fd)
            return None
        client = socket.socket(self.socket.family, socket.SOCK_STREAM, 0, fileno=fd)
        client.setblocking(False)
        return client, address

    def _rest(self):
        """What cannot be accepted stays readable: look again in a while instead of spinning."""
        self.stop_accepting()
        if self.pause is not None:
            self.pause.close()
        self.pause = self.loop.timer(0.1)
        self.pause.start(self.start_accepting)

    def close(self):
        if self.pause is not None:
            self.pause.close()
        super().close()
