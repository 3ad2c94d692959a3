"""Requests of the text protocol out of bytes (spec text 1). Sans-IO: no sockets, no gevent, no clock."""

from kestrel.errors import HangUp, RequestError
from kestrel.protocol.parser import MAX_LINE, Parser

MAX_ITEMS = 1024            # of one put (D19)
LARGE_LINE = 65536          # with so much of an item line behind it the next receive asks for more
LARGE_RECEIVE = 1048576

CR = 13
LF = 10
COLON = 58

UNKNOWN_COMMAND = b'Unknown command: '
LINE_TOO_LONG = b'Line too long.'
TOO_MANY_ITEMS = b'Too many items; limit=%d'
ITEM_TOO_LARGE = b'Item too large; limit=%d'
REQUEST_TOO_LARGE = b'Request too large; limit=%d'

# The compiled module has these from byte_calls.pxd; written like this, Cython sees no second definition.
globals()['find_byte'] = bytes.find
globals()['cut'] = lambda data, start, end: data[start:end]
globals()['words_of'] = lambda data, start, end: data[start:end].rstrip(b' ').split(b' ')


def unknown_command(word):
    """The error line for a word 0 that is no command. Error lines are ASCII."""
    return UNKNOWN_COMMAND + word.decode('ascii', 'replace').encode('ascii', 'replace')


class TextParser(Parser):
    """The requests of one connection.

    After a true ``next()``:
    words  list of bytes, the command line without a colon at its end, split at every single space, empty words at its
           end dropped
    verb   bytes, word 0 in lower case
    items  list of bytes: the item lines, as they came but for their ends; None if the command line has no colon

    A request whose items cannot be kept is read to its end, the items thrown away as they come, and then a
    RequestError (D19).

    max_item     int, bytes: the longest item line (``max_request_size``)
    max_request  int, bytes: the most that the items of one request may have together; they are all held until the
                 last has arrived (``max_buffered_requests``)
    """

    def __init__(self, max_item, max_request):
        super().__init__()
        self.max_item = max_item
        self.max_request = max_request
        self.verb = b''
        self.items = None
        self.in_items = False       # item lines are expected
        self.line = 0               # bytes in chunks: of an item line that has not ended yet
        self.why_not = None         # error line, bytes: the items are thrown away

    def next(self):
        """-> true when a whole request is there, false when more bytes are needed."""
        if self.in_items:
            return self._take_items()
        self.items = None
        buffer = self.buffer
        start = self.pos
        eol = find_byte(buffer, LF, start)
        if eol < 0:
            if len(buffer) - start >= MAX_LINE:
                raise HangUp(LINE_TOO_LONG)
            # an idle connection keeps nothing of its last request alive
            self.words = None
            return self._starve()
        if eol - start >= MAX_LINE:
            raise HangUp(LINE_TOO_LONG)
        self.pos = eol + 1
        end = eol
        if end > start and buffer[end - 1] == CR:
            end -= 1
        colon = end > start and buffer[end - 1] == COLON
        if colon:
            end -= 1
        words = words_of(buffer, start, end)
        last = words[-1]
        self.words = words
        verb = words[0].lower()
        self.verb = verb
        if last.startswith(b'HTTP/1.') or verb == b'post' or verb == b'host:' or (
                colon and len(words) == 1 and verb == b'host'):
            # a web page must not make a browser of this machine send commands in its body (D61)
            raise HangUp(unknown_command(b'host:' if verb == b'host' else verb))
        if not colon:
            return True
        self.in_items = True
        self.items = []
        self.why_not = None
        self.held = 0
        if self._take_items():
            return True
        self.block += 1
        return False

    def _take_items(self):
        """Take item lines up to the empty one. -> true when it is there."""
        buffer = self.buffer
        size = len(buffer)
        pos = self.pos
        while pos < size:
            eol = find_byte(buffer, LF, pos)
            if eol < 0:
                self._keep_line(buffer if pos == 0 else buffer[pos:])
                break
            if self.line:
                self._keep_line(buffer[pos:eol])
                item = b''.join(self.chunks)
                if self.why_not is None:
                    self.held -= self.line
                self.line = 0
                if item[-1] == CR:
                    item = item[:-1]
            elif eol > pos and buffer[eol - 1] == CR:
                item = cut(buffer, pos, eol - 1)
            else:
                item = cut(buffer, pos, eol)
            pos = eol + 1
            if not item:
                self.pos = pos
                return self._end_items()
            self._add(item)
        self.buffer = b''
        self.pos = 0
        self.size = self.held
        return False

    def _end_items(self):
        self.in_items = False
        self.held = 0
        self.chunks = None
        why_not, self.why_not = self.why_not, None
        if why_not is not None:
            raise RequestError(why_not)
        return True

    def _add(self, item):
        if self.why_not is not None:
            return
        self.held += len(item)
        if len(item) > self.max_item:
            self._throw_away(ITEM_TOO_LARGE % self.max_item)
        elif self.held > self.max_request:
            self._throw_away(REQUEST_TOO_LARGE % self.max_request)
        elif len(self.items) == MAX_ITEMS:
            self._throw_away(TOO_MANY_ITEMS % MAX_ITEMS)
        else:
            self.items.append(item)

    def _keep_line(self, piece):
        """Keep a piece of a line whose end has not come."""
        if self.line == 0:
            self.chunks = []
        if self.why_not is not None:
            # whether it is the empty one can be seen by its first two bytes
            piece = piece[:2] if self.line < 2 else b''
            self._keep(piece)
            self.line += len(piece)
            return
        self._keep(piece)
        self.line += len(piece)
        self.held += len(piece)
        # with a CR, which may be that of its end
        if self.line > self.max_item + 1:
            self._throw_away(ITEM_TOO_LARGE % self.max_item)
        elif self.held > self.max_request + 1:
            self._throw_away(REQUEST_TOO_LARGE % self.max_request)

    def _throw_away(self, why):
        self.why_not = why
        self.items = None
        self.held = 0
        if self.line:
            self.chunks = [b'..']
            self.line = 2

    def wants(self):
        """How many bytes the next receive may well ask for, 0 outside of items."""
        if not self.in_items:
            return 0
        return LARGE_RECEIVE if self.line > LARGE_LINE else 1
