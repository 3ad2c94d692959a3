"""A server that says what a test has written down, and a kestrelctl that runs in the test's process."""

import http.client
import io
import json
import socket
import threading

from kestrel.tools.ctl import main
from kestrel.tools.ctl.screen import Screen
from support.clock import MovedClock

PATIENCE = 5


class ScriptedServer:
    """Each connection plays its script: a list of (request that has to come, reply). Then it is closed; if the last
    reply is None it stays open and says nothing. A request of HTTP is a str: method, target, and the body if there
    is one.

    ``with ScriptedServer(script, script, ...) as server``: at the end, whatever did not come as it is written down is
    an AssertionError. A connection without a script is closed at once.
    """

    def __init__(self, *scripts):
        self._scripts = scripts
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.port = self._listener.getsockname()[1]
        self._wrong = []
        self._held = []
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, error, trace):
        # wakes accept
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for connection in self._held:
            connection.close()
        if kind is None and self._wrong:
            raise AssertionError(self._wrong[0])

    def _serve(self):
        players = []
        scripts = iter(self._scripts)
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                break
            players.append(threading.Thread(target=self._play, args=(connection, next(scripts, ()))))
            players[-1].start()
        for player in players:
            player.join()
        # a client that wants no answer may have gone before it was seen
        missing = [script for script in scripts if script]
        if missing:
            self._wrong.append('nobody came for %r' % missing[0])

    def _play(self, connection, script):
        connection.settimeout(PATIENCE)
        for request, reply in script:
            try:
                came = http_request(connection) if isinstance(request, str) else received(connection, len(request))
            except OSError as error:
                self._wrong.append('%r while waiting for %r' % (error, request))
                break
            if came != request:
                self._wrong.append('expected %r\nreceived %r' % (request, came))
                break
            if reply is None:
                self._held.append(connection)
                return
            connection.sendall(reply)
        connection.close()


def received(connection, size):
    """So many bytes; fewer if the client ends before."""
    came = b''
    while len(came) < size:
        piece = connection.recv(size - len(came))
        if not piece:
            break
        came += piece
    return came


def http_request(connection):
    with connection.makefile('rb') as file:
        method, target, _ = file.readline().decode().split(' ')
        headers = http.client.parse_headers(file)
        body = file.read(int(headers.get('Content-Length', 0))).decode()
    if method == 'POST' and not (headers['X-Kestrel-Client'] and headers['Content-Type'] == 'application/json'):
        raise OSError('a browser could have sent that')
    return ' '.join([method, target, body]).strip()


def http_answer(status, body, kind='application/json'):
    """-> bytes. ``body``: bytes, or what is to be JSON."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    return b'HTTP/1.1 %d X\r\nContent-Type: %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b' % (
        status, kind.encode(), len(body), body)


class Terminal(io.StringIO):
    """Standard error that somebody watches."""

    def isatty(self):
        return True


class Run:
    """One kestrelctl: code, out (bytes), err (str). ``source``: standard input, bytes."""

    def __init__(self, *words, source=b'', err=None, clock=None):
        out, err = io.BytesIO(), err or io.StringIO()
        screen = Screen(out, err, io.BufferedReader(io.BytesIO(source)))
        self.code = main.run([str(word) for word in words], screen, clock or MovedClock())
        self.out = out.getvalue()
        self.err = err.getvalue()

    def json(self):
        """-> what it printed, one object or list in JSON"""
        return json.loads(self.out)
