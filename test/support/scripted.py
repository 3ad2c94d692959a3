"""A server that says what a test has written down, and a kestrelctl that runs in the test's process."""

import io
import socket
import threading

from kestrel.tools.ctl import main
from kestrel.tools.ctl.screen import Screen
from support.clock import MovedClock

PATIENCE = 5


class ScriptedServer:
    """Each connection plays its script: a list of (request that has to come, reply). Then it is closed; if the last
    reply is None it stays open and says nothing.

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
            came = b''
            while len(came) < len(request):
                try:
                    piece = connection.recv(len(request) - len(came))
                except OSError as error:
                    piece = b''
                    self._wrong.append('%r while waiting for %r' % (error, request))
                came += piece
                if not piece:
                    break
            if came != request:
                self._wrong.append('expected %r\nreceived %r' % (request, came))
                break
            if reply is None:
                self._held.append(connection)
                return
            connection.sendall(reply)
        connection.close()


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
