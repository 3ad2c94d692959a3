"""Memcache requests out of bytes (spec memcache 1). Sans-IO: no sockets, no gevent, no clock."""

from kestrel.errors import HangUp, RequestError
from kestrel.protocol.numbers import I32_MAX, parse_integer
from kestrel.protocol.parser import MAX_LINE, ForeignProtocol, Parser

LARGE_BLOCK = 65536         # blocks up to here are collected before any limit is asked

# The commonest verbs as nearly all clients write them: one object each, told from others by that alone.
SET = b'set'
GET = b'get'
USUAL = {SET: SET, GET: GET}
STORAGE = frozenset((b'set', b'add', b'replace', b'append', b'prepend', b'cas'))

BINARY_PROTOCOL = 0x80      # memcached's binary protocol, D61
TLS_HELLO = 0x16
CR = 13
LF = 10

UNKNOWN_COMMAND = b'CLIENT_ERROR unknown command'
LINE_TOO_LONG = b'CLIENT_ERROR line too long'
BAD_LINE = b'CLIENT_ERROR bad command line format'
BAD_CHUNK = b'CLIENT_ERROR bad data chunk'
TOO_LARGE = b'SERVER_ERROR object too large for queue'

# The compiled module has these from byte_calls.pxd; written like this, Cython sees no second definition.
globals()['find_byte'] = bytes.find
globals()['cut'] = lambda data, start, end: data[start:end]
globals()['words_of'] = lambda data, start, end: data[start:end].rstrip(b' ').split(b' ')
globals()['short_number'] = lambda word: int(word) if len(word) < 10 and word.isdigit() else -1


class MemcacheParser(Parser):
    """The requests of one connection.

    After a true ``next()``:
    words    list of bytes, the request line split at every single space, empty words at its end dropped
    verb     bytes, word 0 in lower case
    data     bytes, the data block of a storage command, else None
    refused  bool, the block was thrown away unread because no queue would take it: ``data`` is None
    noreply  bool, a ``set`` that wants no answer (D3)

    max_block  int, bytes: larger blocks are read and thrown away (D6)
    refuses    callable(queue name, size) -> bool: may a block above 64 KB be thrown away, because every queue it
               would go to refuses its size?
    """

    def __init__(self, max_block, refuses):
        super().__init__()
        self.max_block = max_block
        self.refuses = refuses
        self.begun = False
        self.verb = b''
        self.data = None
        self.refused = False
        self.noreply = False
        self.name = b''             # word 1 of the last request that had one
        self.missing = -1           # bytes of the present block still to come, its CR LF included; -1: no block

    def feed(self, data):
        """Take what a receive gave, bytes."""
        self.buffer = self.buffer + data if self.buffer else data
        if not self.begun:
            self.begun = True
            first = self.buffer[0]
            if first == BINARY_PROTOCOL:
                raise ForeignProtocol('memcached binary')
            if first == TLS_HELLO:
                raise ForeignProtocol('TLS')

    def next(self):
        """-> true when a whole request is there, false when more bytes are needed."""
        if self.missing >= 0:
            return self._continue_block()
        self.noreply = False
        self.together = 0
        buffer = letters = self.buffer
        start = self.pos
        eol = find_byte(buffer, LF, start)
        if eol < 0:
            if len(buffer) - start >= MAX_LINE:
                raise HangUp(LINE_TOO_LONG)
            # an idle connection keeps no item alive
            self.words = None
            self.data = None
            return self._starve()
        if eol - start >= MAX_LINE:
            raise HangUp(LINE_TOO_LONG)
        end = eol
        if end > start and letters[end - 1] == CR:
            end -= 1
        words = words_of(buffer, start, end)
        if len(words) > 1:
            # the same queue as before: the object whose hash is known
            if words[1] == self.name:
                words[1] = self.name
            else:
                self.name = words[1]
        last = words[-1]
        self.pos = eol + 1
        self.words = words
        self.data = None
        verb = USUAL.get(words[0])
        if verb is None:
            verb = words[0].lower()
            storage = verb in STORAGE
        else:
            storage = verb is SET
        self.verb = verb
        if len(last) >= 7:
            if last.startswith(b'HTTP/1.'):
                # a web page must not make a browser of this machine send commands in its body (D61)
                raise HangUp(UNKNOWN_COMMAND)
            if last == b'noreply' and len(words) > 5 and verb == b'set':
                self.noreply = True
        if not storage:
            return True
        if len(words) < 5:
            raise HangUp(BAD_LINE)
        word = words[4]
        size = short_number(word)
        if size < 0:
            number = parse_integer(word)
            if number is None or number < 0 or number > I32_MAX:
                raise HangUp(BAD_LINE)
            size = number
        begin = eol + 1
        end = begin + size
        if len(buffer) < end + 2 or size > self.max_block:
            return self._begin_block(size)
        if letters[end] != CR or letters[end + 1] != LF:
            raise HangUp(BAD_CHUNK)
        self.refused = False
        self.data = cut(buffer, begin, end)
        self.pos = end + 2
        return True

    def like_this(self, most):
        """The data of the requests behind this one, a ``set`` without flags and expiry, that differ from it in their data
        only and are wholly there. -> list of bytes, at most ``most``; these requests are done with then.
        """
        buffer = letters = self.buffer
        found = []
        start = self.pos
        line = b'set ' + self.words[1] + b' 0 0 '
        while len(found) < most and buffer.startswith(line, start):
            start += len(line)
            eol = find_byte(buffer, LF, start)
            if eol < 0 or eol - start > 10:
                break
            size = short_number(cut(buffer, start, eol - 1 if letters[eol - 1] == CR else eol))
            if size < 0:
                break
            begin = eol + 1
            end = begin + size
            if len(buffer) < end + 2 or size > self.max_block or letters[end] != CR or letters[end + 1] != LF:
                break
            found.append(cut(buffer, begin, end))
            start = self.pos = end + 2
        self.together = len(found)
        return found

    def _begin_block(self, size):
        """A block that is not wholly there: collect it, or throw it away piece by piece."""
        self.block += 1
        self.size = size
        self.missing = size + 2
        self.held = 0
        self.refused = (size > self.max_block or (
            size > LARGE_BLOCK and self.verb == b'set' and self.refuses(self.words[1].partition(b'/')[0], size)))
        self.chunks = None if self.refused else []
        return self._continue_block()

    def _continue_block(self):
        buffer = self.buffer
        available = len(buffer) - self.pos
        if self.missing > 2 and available > 0:
            taken = min(available, self.missing - 2)
            if self.chunks is not None:
                self._keep(buffer if taken == len(buffer) else buffer[self.pos:self.pos + taken])
                self.held += taken
            self.pos += taken
            self.missing -= taken
            available -= taken
        # a wrong byte is told at once: its sender may be waiting for an answer instead of sending the next one
        while available > 0 and 0 < self.missing <= 2:
            if buffer[self.pos] != (CR if self.missing == 2 else LF):
                raise HangUp(BAD_CHUNK)
            self.pos += 1
            self.missing -= 1
            available -= 1
        if self.missing > 0:
            return self._starve()
        self.missing = -1
        self.held = 0
        if self.chunks is not None:
            self.data = b''.join(self.chunks)
            self.chunks = None
        elif self.size > self.max_block:
            raise RequestError(TOO_LARGE)
        return True

    def wants(self):
        """How many bytes the next receive may well ask for: those of the present block, 0 if there is none."""
        return self.missing if self.missing > 0 else 0
