"""Sockets that a service manager has opened for the server: sd_listen_fds(3), the socket units of systemd."""

import os
import socket

from kestrel.errors import StartError

FIRST = 3                   # SD_LISTEN_FDS_START: the descriptor of the first


class PassedSockets:
    """The listening sockets that ``environ`` tells of; those of another process are none.

    A socket is for the port whose protocol it is named after (FileDescriptorName= of the unit), or else for the port
    that would be bound to its address.
    """

    def __init__(self, environ, first=FIRST):
        """Raises StartError for a socket that no client could connect to. ``first`` is another one in tests."""
        self._waiting = []      # [(name, socket)] of those that no port has taken
        count = environ.get('LISTEN_FDS', '')
        if environ.get('LISTEN_PID') != str(os.getpid()) or not count.isdigit():
            return
        names = environ.get('LISTEN_FDNAMES', '').split(':')
        for number in range(int(count)):
            name = names[number] if number < len(names) else ''
            self._waiting.append((name, _listener(name, first + number)))

    def take(self, protocol, address):
        """-> the socket for the port of ``protocol``, or None: it has to be bound.

        address  where it would be bound to, as socket.getsockname() tells it
        """
        for number, (name, _) in enumerate(self._waiting):
            if name == protocol:
                return self._waiting.pop(number)[1]
        for number, (_, sock) in enumerate(self._waiting):
            if sock.getsockname()[:2] == address[:2]:
                return self._waiting.pop(number)[1]
        return None

    def check_taken(self):
        """All ports are there. Raises StartError if a socket belongs to none: its clients would wait for ever."""
        for name, sock in self._waiting:
            raise StartError('the service manager passes a socket %r on %s port %d, which is no port of this '
                             'configuration: let the socket unit listen where the configuration says, or name the '
                             'socket memcache, text, thrift or http (FileDescriptorName=), each once, or take it out'
                             % (name, *sock.getsockname()[:2]))

    def close(self):
        """The server does not start: let go of what no port has taken."""
        while self._waiting:
            self._waiting.pop()[1].close()


def _listener(name, descriptor):
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError as error:
        raise StartError('descriptor %d, %r, from the service manager is no socket: %s: use a socket unit, or unset '
                         'LISTEN_FDS' % (descriptor, name, error.strerror)) from error
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or not sock.getsockopt(socket.SOL_SOCKET,
                                                                                   socket.SO_ACCEPTCONN):
        sock.close()
        raise StartError('socket %r from the service manager is not listening on a TCP port: write '
                         'ListenStream=ADDRESS:PORT in the socket unit, without Accept=yes' % name)
    sock.set_inheritable(False)
    return sock
