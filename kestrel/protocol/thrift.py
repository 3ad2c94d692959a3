"""Frames, messages and structs of the thrift binary protocol out of bytes (spec thrift, D6, D55). Sans-IO.

    parser.feed(data)
    while parser.next():
        ... message = read_message(parser.frame, 0) ...
        ... walk = StructWalk(parser.frame, message.end); walk.go_on(steps) ...

Nothing is taken from a frame that a walk has not passed: sizes, types and depth are checked there, without recursion, and
what is read afterwards lies where the walk has found it.
"""

from struct import Struct, unpack_from

from kestrel.protocol.parser import ForeignProtocol, Parser

STOP = 0
BOOL = 2
BYTE = 3
DOUBLE = 4
I16 = 6
I32 = 8
I64 = 10
STRING = 11
STRUCT = 12
MAP = 13
SET = 14
LIST = 15

CALL = 1
REPLY = 2
EXCEPTION = 3

VERSION = 0x80010000
DEEPEST = 64                # levels of structs and containers below the arguments (D55)
LONGEST_METHOD = 8192       # bytes; a reply repeats the name

# By type: bytes of a value, 0 if they differ, -1 if there is no such type; the fewest bytes that a value can have.
_WIDTH = (-1, -1, 1, 1, 8, -1, 2, -1, 4, -1, 8, 0, 0, 0, 0, 0)
_LEAST = (0, 0, 1, 1, 8, 0, 2, 0, 4, 0, 8, 4, 1, 6, 5, 5)

_HTTP = (b'GET ', b'POST', b'HEAD', b'PUT ', b'OPTI', b'DELE', b'CONN', b'PATC', b'TRAC')

_length = Struct('>I').pack
_head = Struct('>II').pack
_seqid = Struct('>i').pack


class BadStruct(Exception):
    """A struct that cannot be parsed; ``why`` is for people, str."""

    def __init__(self, why):
        super().__init__(why)
        self.why = why


class ThriftParser(Parser):
    """The frames of one connection.

    frame      bytes, after a true ``next()``: a frame without its length, to be taken with ``take``
    max_frame  int, bytes: a larger one is no thrift (D6)
    """

    def __init__(self, max_frame):
        super().__init__()
        self.max_frame = max_frame
        self.frame = None
        self.chunks = []
        self.missing = -1           # bytes of the present frame still to come; -1: its length is not known yet

    def next(self):
        """-> true when a whole frame is there, false when more bytes are needed. Raises ForeignProtocol."""
        if self.missing >= 0:
            return self._continue_frame()
        buffer = self.buffer
        start = self.pos
        available = len(buffer) - start
        self.frame = None
        if available == 0:
            return self._starve()
        # compiled, a byte times so much would not fit into an int
        size = buffer[start]
        size *= 16777216
        if available < 4:
            if size > self.max_frame:
                # its sender need not send the rest of a length to be told
                raise ForeignProtocol(_guess(buffer[start:start + 4]))
            return self._starve()
        size += (buffer[start + 1] * 65536) + (buffer[start + 2] * 256) + buffer[start + 3]
        if size > self.max_frame or size == 0:
            raise ForeignProtocol(_guess(buffer[start:start + 4]))
        self.pos = start + 4
        if available - 4 < size:
            self.block += 1
            self.size = size
            self.missing = size
            return self._continue_frame()
        self.pos += size
        self.frame = buffer[start + 4:self.pos]
        return True

    def take(self):
        """-> the frame, which is not kept here any longer."""
        frame, self.frame = self.frame, None
        return frame

    def _continue_frame(self):
        buffer = self.buffer
        available = len(buffer) - self.pos
        taken = available if available < self.missing else self.missing
        if taken > 0:
            self._keep(buffer if taken == len(buffer) else buffer[self.pos:self.pos + taken])
            self.pos += taken
            self.missing -= taken
            self.held += taken
        if self.missing > 0:
            return self._starve()
        self.frame = b''.join(self.chunks)
        self.chunks = []
        self.held = 0
        self.missing = -1
        return True

    def wants(self):
        """How many bytes the present frame still needs, 0 outside one."""
        return self.missing if self.missing > 0 else 0


def _guess(head):
    """What somebody speaks whose first bytes these are."""
    if head in _HTTP:
        return 'HTTP'
    if head[:1] == b'\x16':
        return 'TLS'
    if head[:2] == b'\x80\x01':
        return 'thrift without frames'
    if head[:1] == b'\x82':
        return "thrift's compact protocol without frames"
    return 'neither framed thrift nor frames of at most max_request_size + 1 MiB'


class Message:
    """The beginning of a message: its method ``name``, bytes, its ``kind``, its ``seqid``, and where the arguments
    begin, ``end``."""

    __slots__ = ('name', 'kind', 'seqid', 'end')

    def __init__(self, name, kind, seqid, end):
        self.name = name
        self.kind = kind
        self.seqid = seqid
        self.end = end


def read_message(frame, pos):
    """-> Message, or None if it cannot be read. With or without the version word (spec thrift)."""
    left = len(frame) - pos
    if left < 9:
        return None
    first, = unpack_from('>I', frame, pos)
    if first < 0x80000000:
        if first > LONGEST_METHOD or left < 9 + first:
            return None
        end = pos + 4 + first
        kind, seqid = unpack_from('>Bi', frame, end)
        return Message(frame[pos + 4:end], kind, seqid, end + 5)
    if first & 0xffff0000 != VERSION or left < 12:
        return None
    size, = unpack_from('>I', frame, pos + 4)
    if size > LONGEST_METHOD or left < 12 + size:
        return None
    end = pos + 8 + size
    seqid, = unpack_from('>i', frame, end)
    return Message(frame[pos + 8:end], first & 255, seqid, end + 4)


class StructWalk:
    """Walks over one struct and all in it; memory and time are bounded by its bytes.

    fields  {id: (type, where its value begins)} of the struct's own fields; of several of one id the last
    end     where the struct ends, once ``go_on`` was true
    """

    def __init__(self, frame, pos):
        self.frame = frame
        self.pos = pos
        self.fields = {}
        self.end = 0
        self.left = -1              # elements to come of the present container, -1 in a struct
        self.first = 0              # their type; keys of a map
        self.second = 0             # values of a map
        self.outer = []             # (left, first, second) of what is around it

    def go_on(self, steps):
        """Walk on over at most ``steps`` fields and elements. -> true at the end. Raises BadStruct."""
        data = self.frame
        stop = len(self.frame)
        pos = self.pos
        while steps > 0:
            steps -= 1
            if self.left < 0:
                if pos >= stop:
                    raise BadStruct('the frame ends within a struct')
                kind = data[pos]
                pos += 1
                if kind == STOP:
                    if not self.outer:
                        self.end = pos
                        return True
                    self.left, self.first, self.second = self.outer.pop()
                    continue
                if stop - pos < 2:
                    raise BadStruct('the frame ends within a struct')
                if not self.outer:
                    number = data[pos] * 256 + data[pos + 1]
                    if number > 32767:
                        number -= 65536
                    self.fields[number] = kind, pos + 2
                pos += 2
            elif self.left == 0:
                self.left, self.first, self.second = self.outer.pop()
                continue
            else:
                kind = self.second if self.second and self.left % 2 else self.first
                self.left -= 1
            pos = self._pass_value(data, kind, pos)
        self.pos = pos
        return False

    def _pass_value(self, data, kind, pos):
        """-> where what follows a value begins, or the first element of a value that is entered."""
        stop = len(data)
        width = _WIDTH[kind] if kind < 16 else -1
        if width < 0:
            raise BadStruct('there is no type %d' % kind)
        if width > 0:
            if stop - pos < width:
                raise BadStruct('the frame ends within a value')
            return pos + width
        if kind == STRING:
            size = self._size(data, pos, stop)
            pos += 4
            if stop - pos < size:
                raise BadStruct('a string is longer than its frame')
            return pos + size
        if len(self.outer) >= DEEPEST:
            raise BadStruct('more than %d levels' % DEEPEST)
        if kind == STRUCT:
            self._enter(-1, 0, 0)
            return pos
        if kind == MAP:
            return self._pass_map(data, pos, stop)
        if stop - pos < 5:
            raise BadStruct('the frame ends within a container')
        first = data[pos]
        count = self._size(data, pos + 1, stop)
        pos += 5
        if count == 0:
            return pos
        self._check_room(count, first, stop - pos)
        width = _WIDTH[first]
        if width > 0:
            return pos + count * width
        self._enter(count, first, 0)
        return pos

    def _pass_map(self, data, pos, stop):
        if stop - pos < 6:
            raise BadStruct('the frame ends within a map')
        first = data[pos]
        second = data[pos + 1]
        count = self._size(data, pos + 2, stop)
        pos += 6
        if count == 0:
            return pos
        self._check_room(count, first, stop - pos)
        self._check_room(count, second, stop - pos)
        if count * (_LEAST[first] + _LEAST[second]) > stop - pos:
            raise BadStruct('a map is larger than its frame')
        if _WIDTH[first] > 0 and _WIDTH[second] > 0:
            return pos + count * (_WIDTH[first] + _WIDTH[second])
        self._enter(2 * count, first, second)
        return pos

    def _check_room(self, count, kind, room):
        if kind > 15 or _WIDTH[kind] < 0:
            raise BadStruct('there is no type %d' % kind)
        if count * _LEAST[kind] > room:
            raise BadStruct('a container is larger than its frame')

    def _enter(self, left, first, second):
        self.outer.append((self.left, self.first, self.second))
        self.left = left
        self.first = first
        self.second = second

    def _size(self, data, pos, stop):
        if stop - pos < 4:
            raise BadStruct('the frame ends within a size')
        if data[pos] > 127:
            raise BadStruct('a negative size')
        return (data[pos] * 16777216) + (data[pos + 1] * 65536) + (data[pos + 2] * 256) + data[pos + 3]


# -- values where a walk has found them --------------------------------------------------------------------------------

def read_i32(frame, pos):
    return unpack_from('>i', frame, pos)[0]


def read_string(frame, pos):
    """-> bytes"""
    size = unpack_from('>i', frame, pos)[0]
    return frame[pos + 4:pos + 4 + size]


class Strings:
    """The elements of a ``list<binary>``, taken in slices: a frame of tiny ones would become ten times its size."""

    def __init__(self, frame, pos, count):
        self.frame = frame
        self.pos = pos
        self.left = count

    def take(self, most, most_bytes):
        """-> list of the next ones: at most ``most``, no further one after ``most_bytes`` bytes. Empty at the end."""
        frame = self.frame
        data = self.frame
        pos = self.pos
        count = most if most < self.left else self.left
        found = []
        while len(found) < count and most_bytes > 0:
            size = (data[pos] * 16777216) + (data[pos + 1] * 65536) + (data[pos + 2] * 256) + data[pos + 3]
            pos += 4
            found.append(frame[pos:pos + size])
            pos += size
            most_bytes -= size
        self.left -= len(found)
        self.pos = pos
        return found


class Numbers:
    """The elements of a ``set<i64>``, taken in slices."""

    def __init__(self, frame, pos, count):
        self.frame = frame
        self.pos = pos
        self.left = count

    def take(self, most):
        """-> tuple of the next ones, at most ``most``; empty at the end."""
        count = most if most < self.left else self.left
        found = unpack_from('>%dq' % count, self.frame, self.pos)
        self.left -= count
        self.pos += 8 * count
        return found


def read_strings(frame, pos):
    """-> Strings. Raises BadStruct if the list is of something else."""
    _check_elements(frame, pos, STRING)
    return Strings(frame, pos + 5, read_i32(frame, pos + 1))


def read_numbers(frame, pos):
    """-> Numbers. Raises BadStruct if the set is of something else."""
    _check_elements(frame, pos, I64)
    return Numbers(frame, pos + 5, read_i32(frame, pos + 1))


def _check_elements(frame, pos, kind):
    # an empty list may be one of anything
    if frame[pos] != kind and read_i32(frame, pos + 1) != 0:
        raise BadStruct('elements of type %d, not %d' % (frame[pos], kind))


# -- replies -----------------------------------------------------------------------------------------------------------

def message_head(kind, name):
    """The beginning of a message, without its seqid, bytes: always with the version word."""
    return _head(VERSION | kind, len(name)) + name


def framed(head, seqid, body, more=0):
    """A frame of that head, seqid and body, and of ``more`` bytes that are sent behind it."""
    return b''.join((_length(len(head) + 4 + len(body) + more), head, _seqid(seqid), body))
