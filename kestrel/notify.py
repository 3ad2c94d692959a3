"""What a service manager is told: sd_notify(3), in the few lines that it takes.

The manager names a datagram socket in ``NOTIFY_SOCKET``. Whatever is sent to it is news, never a need: under
start-stop-daemon the socket is gone after READY=1, so what cannot be sent is dropped.
"""

import os
import socket

# Seconds: what a step may take before the manager loses patience (EXTEND_TIMEOUT_USEC), and between two of those.
PATIENCE = 40
NEWS_EVERY = 1.0


class Notifier:
    """Speaks to the service manager that ``environ`` tells of, or to nobody.

    clock     clock.Clock
    watchdog  seconds (float) within which the manager wants ``beat`` called again, or None
    """

    def __init__(self, environ, clock):
        self._clock = clock
        self._address = self._address_in(environ)
        self.watchdog = self._watchdog_in(environ)
        self._told = None
        self._read = 0

    @staticmethod
    def _address_in(environ):
        address = environ.get('NOTIFY_SOCKET', '')
        # an abstract socket, the @ stands for a zero byte
        return '\0' + address[1:] if address.startswith('@') else address

    @staticmethod
    def _watchdog_in(environ):
        microseconds, pid = environ.get('WATCHDOG_USEC', ''), environ.get('WATCHDOG_PID')
        if not microseconds.isdigit() or pid not in (None, str(os.getpid())):
            return None
        return int(microseconds) / 1000000 or None

    def _send(self, *lines):
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sock:
            try:
                sock.sendto('\n'.join(lines).encode('utf-8', 'replace'), self._address)
            except OSError:
                return

    def _is_time(self):
        """May there be news again? At most one a second, so that steps of microseconds cost nothing."""
        now = self._clock.monotonic()
        if self._told is not None and now - self._told < NEWS_EVERY:
            return False
        self._told = now
        return True

    def replaying(self, queue, queues, count):
        """``count`` more bytes of the ``queue``-th of so many queues have been read (both int)."""
        self._read += count
        if self._is_time():
            self._send('STATUS=replaying queue %d of %d, %d MB read' % (queue, queues, self._read >> 20),
                       'EXTEND_TIMEOUT_USEC=%d' % (PATIENCE * 1000000))

    def ready(self, status):
        """The ports are open. ``status``: one line for people."""
        self._told = None       # the next news, of the stop, is no repetition
        self._send('READY=1', 'STATUS=' + status)

    def beat(self, status):
        """All is well: the watchdog is content."""
        self._send('WATCHDOG=1', 'STATUS=' + status)

    def reloading(self):
        """The configuration is being read again; ``ready`` says when that is over."""
        self._send('RELOADING=1', 'MONOTONIC_USEC=%d' % (self._clock.monotonic() * 1000000))

    def stopping(self):
        """A step of the stop is done."""
        if self._is_time():
            self._send('STOPPING=1', 'STATUS=stopping', 'EXTEND_TIMEOUT_USEC=%d' % (PATIENCE * 1000000))
