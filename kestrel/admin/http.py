"""HTTP on the admin port: gevent.pywsgi, with strict limits around it, because pywsgi has none.

Each connection is a greenlet of its own. No request can wait for ever: its head and body have 30 s to arrive, and a
reader that takes nothing for 30 s is cut off. With too many connections, or too much that is not sent yet, the one that
has made no progress for longest goes.
"""

import io
import re
from collections import deque

import gevent
from gevent import pywsgi
from gevent.socket import socket as GreenSocket

from kestrel.admin.answers import Failed, Request, decoded, error, parameters

MAY_ARRIVE = 30.0           # seconds for a whole request, from the answer before it
MAY_STALL = 30.0            # seconds in which a reader must take a CHUNK
LONGEST_LINE = 8190         # bytes of the request line
LARGEST_HEAD = 16384        # bytes of all headers
MOST_HEADERS = 100
LARGEST_BODY = 65536        # actions of the dashboard have one (D62)
MOST_CONNECTIONS = 256
MOST_UNSENT = 256 << 20     # bytes of all answers
CHUNK = 65536
LINGER = 2.0                # seconds in which what a refused client still sends is read
LINGER_BYTES = 1 << 20

# Of all pages: nothing from elsewhere, no script or style in the page itself, in nobody's frame.
POLICY = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"

_REQUEST_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ ([!-~]+) HTTP/([0-9]\.[0-9])\r?\n")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[^\r\n\0]*\r?\n")
_ABSOLUTE = re.compile(r'\Ahttps?://[^/?]*', re.IGNORECASE)


class Refused(ValueError):
    """A request that is answered with an error, after which the connection closes."""

    def __init__(self, status, why):
        super().__init__(why)
        self.status = status


class TooSlow(BaseException):
    """The request has not arrived in time. Not an Exception: nobody in between is to take it for one of his."""


class Handler(pywsgi.WSGIHandler):
    """One connection."""

    unsent = 0
    deadline = None
    body = b''

    def handle(self):
        clients = self.server.clients
        clients.enter(self)
        try:
            super().handle()
        except OSError:
            # the client has gone, or has been cut off
            return
        finally:
            clients.leave(self)

    # -- the request -----------------------------------------------------------------------------------------------

    def read_requestline(self):
        self.deadline = gevent.Timeout.start_new(MAY_ARRIVE, TooSlow)
        line = ''
        try:
            line = self.rfile.readline(LONGEST_LINE).decode('latin-1')
        except TooSlow:
            # an idle connection, most often: nobody waits for an answer
            return ''
        finally:
            if not line:
                self.deadline.close()
        return line

    def read_request(self, raw_requestline):
        """Read and check all of a request before pywsgi gets to see it. Raises Refused."""
        line = raw_requestline.encode('latin-1')
        try:
            self._check_line(line)
            head, length = self._read_head()
            self.body = self._read_body(length, head)
        except TooSlow:
            raise Refused('408 Request Timeout', 'the request did not arrive within %d s' % MAY_ARRIVE) from None
        except OSError:
            raise Refused('400 Bad Request', 'the connection has ended') from None
        finally:
            self.deadline.close()
        self.server.clients.progress(self)
        whole, self.rfile = self.rfile, io.BytesIO(head)
        try:
            known = super().read_request(raw_requestline)
        finally:
            self.rfile = whole
        self.content_length = 0
        return known

    @staticmethod
    def _check_line(line):
        if not line.endswith(b'\n') and len(line) >= LONGEST_LINE:
            raise Refused('414 URI Too Long', 'the request line has more than %d bytes' % LONGEST_LINE)
        match = _REQUEST_LINE.fullmatch(line)
        if match is None:
            raise Refused('400 Bad Request', 'this is no HTTP request')
        if match[2] not in (b'1.0', b'1.1'):
            raise Refused('505 HTTP Version Not Supported', 'use HTTP/1.1')
        if not match[1].startswith(b'/') and not _ABSOLUTE.match(match[1].decode('ascii')):
            raise Refused('400 Bad Request', 'the path must begin with /')

    def _read_head(self):
        """-> (the header lines and the empty one, the length of the body)"""
        lines = []
        size = 0
        found = {}
        while True:
            line = self.rfile.readline(LARGEST_HEAD + 1)
            size += len(line)
            if size > LARGEST_HEAD or len(lines) > MOST_HEADERS:
                raise Refused('431 Request Header Fields Too Large', 'the headers are larger than %d bytes, or more'
                              ' than %d' % (LARGEST_HEAD, MOST_HEADERS))
            lines.append(line)
            if line in (b'\r\n', b'\n'):
                break
            match = _HEADER.fullmatch(line)
            if match is None:
                raise Refused('400 Bad Request', 'a header is broken')
            name = match[1].lower()
            if name in found and name in (b'content-length', b'host'):
                raise Refused('400 Bad Request', 'there are two headers %s' % name.decode('ascii'))
            found[name] = line.partition(b':')[2].strip()
        if b'transfer-encoding' in found:
            raise Refused('501 Not Implemented', 'Transfer-Encoding is not supported')
        length = found.get(b'content-length', b'0')
        if not re.fullmatch(rb'[0-9]{1,18}', length):
            raise Refused('400 Bad Request', 'Content-Length is not a number')
        if int(length) > LARGEST_BODY:
            raise Refused('413 Payload Too Large', 'the body has more than %d bytes' % LARGEST_BODY)
        return b''.join(lines), int(length)

    def _read_body(self, length, head):
        """Read here also where nobody needs it: it must not be taken for the next request. -> bytes"""
        if not length:
            return b''
        if re.search(rb'^expect:\s*100-continue\s*$', head, re.IGNORECASE | re.MULTILINE):
            self.socket.sendall(b'HTTP/1.1 100 Continue\r\n\r\n')
        body = self.rfile.read(length)
        if len(body) < length:
            raise Refused('400 Bad Request', 'the body has not arrived whole')
        return body

    def _handle_client_error(self, ex):
        """pywsgi calls this with what ``read_request`` raised."""
        status = ex.status if isinstance(ex, Refused) else '400 Bad Request'
        self.server.refused(self.client_address, status, ex)
        body = b'%b\n' % str(ex).encode('latin-1', 'replace')
        # pywsgi turns its sign when the client has gone
        self.code = int(status[:3])
        self._sendall(b'HTTP/1.1 %b\r\nContent-Type: text/html\r\nX-Ostrich-Version: 8.2.9\r\n'
                      b'X-Content-Type-Options: nosniff\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b'
                      % (status.encode('ascii'), len(body), body))
        self._linger()

    def _linger(self):
        """Closing with unread input makes the kernel send an RST, which may overtake the answer."""
        timer = gevent.Timeout.start_new(LINGER, TooSlow)
        try:
            self.socket.shutdown(1)
            left = LINGER_BYTES
            while left > 0:
                data = self.socket.recv(CHUNK)
                if not data:
                    return
                left -= len(data)
        except (OSError, TooSlow):
            return
        finally:
            timer.close()

    # -- the answer ------------------------------------------------------------------------------------------------

    def _sendall(self, data):
        """In pieces: the time of the socket is for all of a ``sendall``, and who goes on reading makes progress."""
        view = memoryview(data)
        for at in range(0, len(view), CHUNK):
            piece = view[at:at + CHUNK]
            super()._sendall(piece)
            self.unsent = max(0, self.unsent - len(piece))
            self.server.clients.progress(self)

    def announce(self, size):
        """An answer of so many bytes is on its way."""
        self.unsent = size
        self.server.clients.make_room(self)

    def handle_error(self, t, v, tb):
        """What fails while an answer is sent: the application itself raises nothing."""
        self.close_connection = True
        if not issubclass(t, (OSError, gevent.GreenletExit)):
            self.server.failed(t, v, tb)

    def get_environ(self):
        environ = super().get_environ()
        environ['kestrel.handler'] = self
        return environ


class Clients:
    """The connections, the one that has made no progress for longest first."""

    def __init__(self):
        self._handlers = {}

    def enter(self, handler):
        self._handlers[handler] = None
        if len(self._handlers) > MOST_CONNECTIONS:
            self._cut(next(iter(self._handlers)))

    def leave(self, handler):
        self._handlers.pop(handler, None)

    def progress(self, handler):
        if handler in self._handlers:
            del self._handlers[handler]
            self._handlers[handler] = None

    def make_room(self, newest):
        self.progress(newest)
        unsent = sum([handler.unsent for handler in self._handlers])
        for handler in list(self._handlers):
            if unsent <= MOST_UNSENT:
                return
            if handler is not newest and handler.unsent:
                unsent -= handler.unsent
                self._cut(handler)

    def cut_all(self):
        for handler in list(self._handlers):
            self._cut(handler)

    def _cut(self, handler):
        """Its greenlet finds the end of the input, or cannot send."""
        self.leave(handler)
        try:
            handler.socket.shutdown(2)
        except (OSError, AttributeError):
            # it has ended just now
            return

    def greenlets(self):
        return [('admin %s:%s' % handler.client_address[:2], handler.greenlet) for handler in self._handlers]


class HttpServer(pywsgi.WSGIServer):
    """What ``Handler`` needs of pywsgi's server; accepting clients is up to ports.ClientPort.

    respond  function: answers.Request -> answers.Answer, or raises Failed
    """

    handler_class = Handler

    def __init__(self, respond, log):
        super().__init__(('127.0.0.1', 0), self._application, log=None, error_log=None)
        self.clients = Clients()
        self._respond = respond
        self._log = log

    def serve(self, sock, address):
        """One client, in its own greenlet. ``sock``: a plain socket."""
        green = GreenSocket(sock.family, sock.type, sock.proto, fileno=sock.detach())
        green.settimeout(MAY_STALL)
        handler = self.handler_class(green, address, self)
        handler.greenlet = gevent.getcurrent()
        handler.handle()

    def refused(self, address, status, why):
        self._log.debug('admin port: %s for %s: %s', status, address[0], why)

    def failed(self, kind, error, trace):
        self._log.error('admin port: an answer could not be sent', exc_info=(kind, error, trace))

    def _application(self, environ, start_response):
        handler = environ['kestrel.handler']
        answer = self._answer(environ, handler)
        body = _chunks(answer.body)
        size = sum(map(len, body))
        start_response(answer.status, [
            ('Content-Type', answer.content_type), ('X-Ostrich-Version', '8.2.9'),
            ('X-Content-Type-Options', 'nosniff'), ('Content-Length', str(size)), ('Cache-Control', 'no-store'),
            ('Content-Security-Policy', POLICY),
        ])
        if environ['REQUEST_METHOD'] == 'HEAD':
            return []
        answer.body = None
        handler.announce(size)
        return _given_up(body)

    def _answer(self, environ, handler):
        path, _, query = _ABSOLUTE.sub('', handler.path, 1).partition('?')
        request = Request(decoded(path) or '/', parameters(query), _headers(environ), environ['REQUEST_METHOD'],
                          handler.body)
        try:
            return self._respond(request)
        except Failed as failed:
            return failed.answer
        except Exception:
            self._log.exception('admin port: %s failed', path)
            return error('500 Internal Server Error', 'error processing command: internal error, see the log')


def _headers(environ):
    """-> function: name of a header in lower case -> its value, or None"""
    def header(name):
        if name == 'content-type':
            return environ.get('CONTENT_TYPE')
        return environ.get('HTTP_' + name.upper().replace('-', '_'))
    return header


def _chunks(pieces):
    """The pieces of an answer, put together to such that are worth a send. -> deque of bytes"""
    chunks = deque()
    waiting = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= CHUNK:
            chunks.append(b''.join(waiting))
            waiting = []
            size = 0
    chunks.append(b''.join(waiting))
    return chunks


def _given_up(chunks):
    """One chunk after the other; what is sent is not held any longer."""
    while chunks:
        yield chunks.popleft()
