"""Plays one case against a server, in one of the ways (modes) in which bytes can arrive."""

import random
import re
import select
import socket
import struct
import time

import wire_case

# On thrift a request that changes nothing is a whole call of get_version.
THRIFT_PROBE = wire_case.expand_binary('[80010001 ["get_version"] 00000063 00]', '')
THRIFT_VERSION = re.compile(
    rb'....%b.\d+\.\d+\.\d+\0' % re.escape(wire_case.expand_binary('80010002 ["get_version"] 00000063 0b0000 000000', '')),
    re.DOTALL)

LINE_END = {'memcache': b'\r\n', 'text': b'\n'}
VERSION = {'memcache': re.compile(rb'VERSION \d+\.\d+\.\d+'), 'text': re.compile(rb':\d+\.\d+\.\d+')}

REPLY_SECONDS = 10
BYTE_PAUSE = 0.0002  # seconds; enough for an idle server to read the byte alone
SINGLE_BYTES = 120  # so many bytes at each end of a long request are sent one by one
TAKEN_AT_ONCE = 1000  # and of its middle so many together


class Mismatch(Exception):
    """The server did something else than the case says."""


def pieces(mode, data, dice):
    """The request as a list of (bytes, seconds to pause behind them)."""
    if mode == 'bytes':
        return _single_bytes(data)
    if mode.startswith('split'):
        cuts = sorted(dice.randrange(len(data) + 1) for _ in range(dice.randint(1, 4)))
        return [(data[start:end], dice.choice((0, 0.0003, 0.002)))
                for start, end in zip([0] + cuts, cuts + [len(data)]) if start < end]
    return [(data, 0)]


def _single_bytes(data):
    starts = list(range(min(SINGLE_BYTES, len(data))))
    starts += range(SINGLE_BYTES, len(data) - SINGLE_BYTES, TAKEN_AT_ONCE)
    starts += range(max(SINGLE_BYTES, len(data) - SINGLE_BYTES), len(data))
    return [(data[start:end], BYTE_PAUSE) for start, end in zip(starts, starts[1:] + [len(data)])]


class Connection:
    """One socket of a case, with what was sent and received on it.

    The probe is a request that changes nothing: ``version``.
    """

    def __init__(self, protocol, port):
        self.binary = protocol == 'thrift'
        self.line_end = LINE_END.get(protocol)
        self.probe = THRIFT_PROBE if self.binary else b'version' + self.line_end
        self.probe_reply = THRIFT_VERSION if self.binary else VERSION[protocol]
        self.socket = socket.create_connection(('127.0.0.1', port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b''
        self.ended = None  # None, 'closed' or 'reset' by the server, 'ours' by the case
        self.sent_at = self.arrived_at = time.monotonic()
        self.receives = 0
        # In the modes pipelined and followed: is the last request answered, how many probes are unanswered.
        self.answered = True
        self.probe_before = self.probe_behind = False

    def send(self, chunks):
        """Send the pieces. A server that has closed meanwhile is noticed when its reply is read."""
        self.receives = 0
        for data, pause in chunks:
            try:
                self.socket.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                break
            if pause:
                time.sleep(pause)
        self.sent_at = time.monotonic()

    def receive(self, seconds=REPLY_SECONDS):
        """Take what comes into the buffer; False when nothing more can come. Mismatch after ``seconds``."""
        if self.ended:
            return False
        if not select.select([self.socket], [], [], seconds)[0]:
            raise Mismatch(f'nothing more came within {seconds} s; received {self.buffer!r}')
        try:
            data = self.socket.recv(1 << 20)
        except ConnectionResetError:
            self.ended = 'reset'
            return False
        self.arrived_at = time.monotonic()
        self.receives += 1
        self.buffer += data
        if not data:
            self.ended = 'closed'
        return bool(data)

    def expect(self, reply):
        """The next bytes must be the reply."""
        while len(self.buffer) < len(reply) and reply.startswith(self.buffer):
            if not self.receive():
                break
        if not self.buffer.startswith(reply):
            raise Mismatch(f'expected {reply!r}\n    received {self.buffer!r}{self._end()}')
        self.buffer = self.buffer[len(reply):]

    def expect_line(self, pattern):
        """The next line must match the pattern (bytes or compiled) and end as lines of the protocol do."""
        while b'\n' not in self.buffer:
            if not self.receive():
                break
        line, end, rest = self.buffer.partition(self.line_end)
        if not end or b'\n' in line or not re.fullmatch(pattern, line):
            raise Mismatch(f'expected a line {pattern!r}\n    received {self.buffer!r}{self._end()}')
        self.buffer = rest

    def expand(self, text, queue):
        """The bytes of a > or < line."""
        return wire_case.expand_binary(text, queue) if self.binary else wire_case.expand(text, queue)

    def expect_probe(self):
        """The answer to the probe comes next."""
        if not self.binary:
            self.expect_line(self.probe_reply)
            return
        while len(self.buffer) < 4 or len(self.buffer) < 4 + int.from_bytes(self.buffer[:4], 'big'):
            if not self.receive():
                break
        size = 4 + int.from_bytes(self.buffer[:4], 'big')
        if not self.probe_reply.fullmatch(self.buffer[:size]):
            raise Mismatch(f'expected the version\n    received {self.buffer!r}{self._end()}')
        self.buffer = self.buffer[size:]

    def expect_end(self, reset_allowed):
        """The server must close and send nothing before it does."""
        while self.receive():
            pass
        if self.buffer or self.ended == 'reset' and not reset_allowed:
            raise Mismatch(f'expected the end of the connection\n    received {self.buffer!r}{self._end()}')

    def expect_quiet(self, seconds):
        """Nothing must come within so many seconds, the end of the connection neither."""
        readable = select.select([self.socket], [], [], 0 if self.buffer else seconds)[0]
        if readable:
            self.receive()
        if self.buffer or self.ended:
            raise Mismatch(f'expected nothing\n    received {self.buffer!r}{self._end()}')

    def end(self, reset=False):
        """Close from the client's side, with a FIN or (``reset``) with an RST."""
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.socket.close()
        self.ended = 'ours'

    def _end(self):
        return f' and the connection was {self.ended}' if self.ended else ''


class Play:
    """One case in one mode. ``queue`` is the name {q} stands for, ``seed`` decides where requests are cut,
    ``protocol_of`` says which protocol the connection of a letter speaks."""

    def __init__(self, case, mode, server, queue, seed, protocol_of):
        self.case = case
        self.mode = mode
        self.server = server
        self.queue = queue
        self.protocol_of = protocol_of
        self.dice = random.Random(f'{seed} {mode} {case.title}')
        self.connections = {}

    def run(self):
        """Play all steps. Raises Mismatch, whose text names the line of the step."""
        step = None
        try:
            for position, step in enumerate(self.case.steps):
                self._take(position, step)
            for connection in self.connections.values():
                self._answered(connection)
                if not connection.ended:
                    connection.send([(connection.probe, 0)])
                    connection.expect_probe()
                    connection.expect(b'')
                    connection.expect_quiet(0)
        except (Mismatch, OSError) as error:
            raise Mismatch(f'line {step.line} ({step.who}{step.kind} {step.text[:60]}): {error}') from None
        finally:
            for connection in self.connections.values():
                connection.socket.close()

    def _take(self, position, step):
        if step.who == 'wait':
            self._wait(step.text)
        elif step.who == 'server':
            self._server(step.text)
        else:
            connection = self.connections.get(step.who)
            if connection is None:
                connection = self.connections[step.who] = Connection(
                    self.protocol_of(step.who), self.server.ports[self.protocol_of(step.who)])
            if step.kind == '>':
                self._send(connection, position, step)
            elif step.kind == '<':
                self._preceded(connection)
                connection.expect(connection.expand(step.text, self.queue))
            elif step.kind == '~':
                self._preceded(connection)
                connection.expect_line(step.text.replace('{q}', self.queue).encode('latin-1'))
            else:
                self._act(connection, *step.text.split())

    def _send(self, connection, position, step):
        self._answered(connection)
        data = connection.expand(step.text, self.queue)
        if self.mode == 'pipelined' and connection.answered:
            data = connection.probe + data
            connection.probe_before = True
        if self.mode == 'followed':
            end = self._end_of_answer(position, step.who)
            if end:
                data += connection.probe
                connection.probe_behind = end == 'answer'
        connection.answered = False
        connection.send(pieces(self.mode, data, self.dice))

    def _end_of_answer(self, position, who):
        """How the request of this step ends: 'answer', 'closed', or None if that is not known for sure.

        It is not where more of the request follows, or where more of the answer may (a monitor that goes on).
        """
        answer = None
        for step in self.case.steps[position + 1:]:
            if step.who != who:
                continue
            action = step.text.split()[0] if step.kind == '!' else ''
            if step.kind in '<~':
                answer = 'answer'
            elif action in ('closed', 'gone'):
                return 'closed'
            elif action in ('fin', 'rst', 'close') or action == 'quiet' and answer:
                return None
            elif step.kind == '>':
                return answer
        return answer

    def _preceded(self, connection):
        """Take the answer to the probe that was sent in front of the request."""
        if connection.probe_before:
            connection.expect_probe()
            connection.probe_before = False
        connection.answered = True

    def _answered(self, connection):
        """Take the answer to the probe that was sent behind the last request, whose reply has been taken."""
        if connection.probe_behind and connection.answered:
            connection.expect_probe()
            connection.probe_behind = False

    def _act(self, connection, action, *words):
        if action == 'took':
            self._took(connection, *words)
            return
        if action == 'one':
            if self.mode == 'whole' and connection.receives != 1:
                raise Mismatch(f'the reply came in {connection.receives} segments')
            return
        was_answered = connection.answered
        if action in ('closed', 'gone', 'quiet'):
            self._preceded(connection)
            connection.answered = was_answered
        if action == 'quiet':
            connection.expect_quiet(float(words[0]))
        elif action in ('closed', 'gone'):
            connection.expect_end(reset_allowed=action == 'gone' or self.mode != 'whole')
        elif action == 'fin':
            connection.socket.shutdown(socket.SHUT_WR)
        elif action in ('rst', 'close'):
            connection.end(reset=action == 'rst')

    def _took(self, connection, relation, seconds):
        took = connection.arrived_at - connection.sent_at
        if (took >= float(seconds)) != (relation == '>='):
            raise Mismatch(f'the reply took {took:.3f} s, not {relation} {seconds} s')

    def _wait(self, text):
        words = text.split()
        if words[0] != 'until':
            time.sleep(float(text))
            return
        queue = wire_case.expand(words[1], self.queue)
        wanted = b'  ' + words[2].encode() + b'\r\n'
        deadline = time.monotonic() + REPLY_SECONDS
        with self.server.client() as control:
            while True:
                control.send(b'dump_stats ' + queue + b'\r\n')
                if wanted in control.recv_until(b'\r\nEND\r\n'):
                    return
                if time.monotonic() > deadline:
                    raise Mismatch(f'{text} did not come true within {REPLY_SECONDS} s')
                time.sleep(0.002)

    def _server(self, text):
        verb, _, rest = text.partition(' ')
        if verb == 'stops':
            self.server.wait(exit_code=0)
        elif verb == 'append':
            with open(self.server.config_path, 'ab') as config:
                config.write(wire_case.expand(rest, self.queue) + b'\n')
        else:
            raise Mismatch('unknown step for the server')
