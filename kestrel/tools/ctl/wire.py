"""A connection to the memcache port: blocking, with time limits, and suspicious of what it is told."""

import collections
import socket

from kestrel.tools.console import printable
from kestrel.tools.ctl.failures import NoServer, Refused

LONGEST_LINE = 1 << 16
LONGEST_ITEM = (1 << 31) - 1        # what a length on the wire can be (spec memcache 1)
RECEIVED_AT_ONCE = 1 << 18
SHOWN = 60
OF_ALL_QUEUES = (b'queue_creates', b'queue_deletes', b'queue_expires')
ERRORS = (b'ERROR', b'CLIENT_ERROR', b'SERVER_ERROR')

Item = collections.namedtuple('Item', 'flags data')


def address(host, port):
    """How an address is shown: ``10.0.0.5:22133``, ``[::1]:22133``."""
    return ('[%s]:%d' if ':' in host else '%s:%d') % (host, port)


def connected(host, port, timeout):
    """-> a connected socket; NoServer if there is none."""
    where = address(host, port)
    try:
        return socket.create_connection((host, port), timeout)
    except TimeoutError:
        raise NoServer('%s does not answer within %g s' % (where, timeout)) from None
    except socket.gaierror as error:
        raise NoServer('%s: %s' % (where, error.strerror)) from None
    except UnicodeError:
        raise NoServer('%s: no name of a host' % where) from None
    except ConnectionRefusedError:
        raise NoServer('%s: connection refused; is the server running, and listening on that address?'
                       % where) from None
    except OSError as error:
        raise NoServer('%s: %s' % (where, error.strerror or error)) from None


class Wire:
    """One connection.

    Whatever does not look like a reply of kestrel is a NoServer that shows it; an error reply is Refused. After
    either, and after an interruption in the middle of a reply, the connection is good for ``close`` only.
    """

    def __init__(self, host, port, timeout):
        self.host = host
        self.port = port
        self.where = address(host, port)
        self._timeout = timeout
        self._socket = connected(host, port, timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()

    def close(self):
        """The server puts back what this connection holds open."""
        self._socket.close()

    def peer(self):
        """The address at the other end, to compare with that of another connection."""
        return self._socket.getpeername()[:2]

    def send(self, data):
        """All of it. The time limit is for each piece that the system takes, so large items may take long."""
        view = memoryview(data)
        try:
            while view:
                view = view[self._socket.send(view[:RECEIVED_AT_ONCE]):]
        except TimeoutError:
            raise self._silent(self._timeout) from None
        except OSError as error:
            raise self._broken(error) from None

    def line(self, patience=0):
        """The next line of the answer, bytes, without its end. ``patience``: seconds it may take besides."""
        while True:
            end = self._buffer.find(b'\n')
            if end >= 0:
                line = bytes(self._buffer[:end])
                del self._buffer[:end + 1]
                return line.removesuffix(b'\r')
            if len(self._buffer) > LONGEST_LINE:
                raise self.nonsense(bytes(self._buffer))
            self._receive(patience)

    def reply(self, patience=0):
        """The next line; Refused if it is an error."""
        line = self.line(patience)
        if line.split(b' ', 1)[0] in ERRORS:
            raise Refused(line, '%s: %s' % (self.where, printable(line)))
        return line

    def ask(self, request, patience=0):
        """Send a line, -> the first line of the answer; Refused if it is an error."""
        self.send(request + b'\r\n')
        return self.reply(patience)

    def expect(self, request, *replies):
        """Send a line; -> the answer, which has to be one of ``replies``."""
        line = self.ask(request)
        if line not in replies:
            raise self.nonsense(line)
        return line

    def lines(self, request):
        """Send a line; -> the lines of the answer up to its END."""
        line = self.ask(request)
        found = []
        while line != b'END':
            found.append(line)
            line = self.line()
        return found

    def item(self, patience=0):
        """The next item of the answer to get or monitor; None if there is no more."""
        line = self.reply(patience)
        if line == b'END':
            return None
        words = line.split(b' ')
        if len(words) != 4 or words[0] != b'VALUE' or not (words[2] + words[3]).isdigit():
            raise self.nonsense(line)
        size = int(words[3])
        if size > LONGEST_ITEM:
            raise self.nonsense(line)
        while len(self._buffer) < size + 2:
            self._receive()
        data = bytes(self._buffer[:size])
        if self._buffer[size:size + 2] != b'\r\n':
            raise self.nonsense(bytes(self._buffer[size:]))
        del self._buffer[:size + 2]
        line = self.line()
        if line != b'END':
            raise self.nonsense(line)
        return Item(int(words[2]), data)

    def ended(self):
        """Wait until the server has closed without a word; Refused or NoServer if it does something else."""
        try:
            line = self.reply()
        except ConnectionEnded:
            return
        raise self.nonsense(line)

    def nonsense(self, data):
        """-> NoServer: this is no answer of a kestrel."""
        shown = printable(data[:SHOWN]) + ('...' if len(data) > SHOWN else '')
        return NoServer('%s answers what no kestrel does: %s' % (self.where, shown or 'an empty line'))

    def _receive(self, patience=0):
        self._socket.settimeout(self._timeout + patience)
        try:
            data = self._socket.recv(RECEIVED_AT_ONCE)
        except TimeoutError:
            raise self._silent(self._timeout + patience) from None
        except OSError as error:
            raise self._broken(error) from None
        finally:
            self._socket.settimeout(self._timeout)
        if not data:
            if self._buffer:
                raise ConnectionEnded('%s closed the connection in the middle of an answer' % self.where)
            raise ConnectionEnded('%s closed the connection' % self.where)
        self._buffer += data

    def _silent(self, seconds):
        return NoServer('%s does not answer within %g s' % (self.where, seconds))

    def _broken(self, error):
        return ConnectionEnded('%s: %s' % (self.where, error.strerror or error))


class ConnectionEnded(NoServer):
    """The server, or the network, has ended the connection."""


def set_request(name, item, expires=0):
    """-> the pieces of a set, bytes."""
    return b'set %b %d %d %d\r\n' % (name, item.flags, expires, len(item.data)), item.data, b'\r\n'


def figures(wire, *names):
    """{queue or alias, bytes: {figure, str: text, str}} of ``dump_stats``; unknown ones have no figures."""
    return _groups(wire, b' '.join([b'dump_stats', *names]))


def settings(wire, *names):
    """{queue or alias: {setting: text}} of ``dump_config``, in the order of the answer."""
    return _groups(wire, b' '.join([b'dump_config', *names]))


def _groups(wire, request):
    found = {}
    body = None
    for line in wire.lines(request):
        if body is None and line.endswith(b"' {") and line.startswith((b"queue '", b"alias '")):
            body = found.setdefault(line[line.index(b"'") + 1:-3], {})
        elif body is not None and line == b'}':
            body = None
        elif body is not None and line.startswith(b'  '):
            key, equals, value = line[2:].partition(b'=')
            if equals:
                body[key.decode('latin-1')] = value.decode('latin-1')
        elif line:
            raise wire.nonsense(line)
    return found


def server_stats(wire):
    """{key: text}, both str, of ``stats``: those of the server alone, the queues' left out."""
    found = {}
    for line in wire.lines(b'stats'):
        words = line.split(b' ', 2)
        if words[0] != b'STAT' or len(words) != 3:
            raise wire.nonsense(line)
        if not words[1].startswith(b'queue_') or words[1] in OF_ALL_QUEUES:
            found[words[1].decode('latin-1')] = words[2].decode('latin-1')
    return found


def number(values, key):
    """An int out of figures, 0 if it is not there."""
    text = values.get(key, '0')
    try:
        return int(text)
    except ValueError:
        raise NoServer('the server says %s = %s, which is no number' % (
            key, printable(text.encode('latin-1')[:SHOWN]))) from None
