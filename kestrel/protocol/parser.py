"""What the parsers of all protocols have in common. Sans-IO: no sockets, no gevent, no clock.

    parser.feed(data)
    while parser.next():
        ... parser.words, and what else belongs to a request of that protocol ...

``next`` raises ``HangUp`` where the framing is lost, ``RequestError`` where it is not; after the latter the next
call goes on behind the request.
"""

from kestrel.errors import HangUp

MAX_LINE = 8192             # with its LF (D6)
SMALL_PIECE = 4096


class ForeignProtocol(HangUp):
    """The first byte belongs to another protocol, whose name is ``protocol``: closed without a reply (D61)."""

    def __init__(self, protocol):
        super().__init__(b'')
        self.protocol = protocol


class Parser:
    """The bytes of one connection that no request was made of yet.

    words        list of bytes, the present request, None where there is none
    block, held  int: number of the present or last block that has come in pieces, and the bytes kept of it
    size         int: its length, or as much of that as is known
    together     int: how many requests behind the present one were taken to be run with it
    """

    def __init__(self):
        self.buffer = b''
        self.pos = 0
        self.words = None
        self.block = 0
        self.size = 0
        self.held = 0
        self.together = 0
        self.chunks = None          # what is kept of a block or a line that comes in pieces

    def feed(self, data):
        """Take what a receive gave, bytes."""
        self.buffer = self.buffer + data if self.buffer else data

    def next(self):
        """-> true when a whole request is there, false when more bytes are needed."""
        raise NotImplementedError

    def wants(self):
        """How many bytes the next receive may well ask for, 0 outside a block."""
        raise NotImplementedError

    def _keep(self, piece):
        """Add a piece to the chunks. Small ones are gathered: as objects of their own they take 40 bytes more each."""
        chunks = self.chunks
        if len(piece) >= SMALL_PIECE:
            chunks.append(piece)
        elif chunks and type(chunks[-1]) is bytearray:
            chunks[-1].extend(piece)
        else:
            chunks.append(bytearray(piece))

    def _starve(self):
        """More bytes are needed. An idle connection keeps none of its last receive alive."""
        self.buffer = b'' if self.pos == len(self.buffer) else self.buffer[self.pos:]
        self.pos = 0
        return False
