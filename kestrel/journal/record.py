"""The eleven records of a journal, as bytes (spec journal 1).

A record is an op byte and what follows; integers are little-endian, times i64 ms since 1970, ``expiry`` 0 =
never. ``size`` counts everything behind itself in its record.

    op                          after the op byte                                             bytes  written
     0  ADD                     i32 size | i32 expiry, SECONDS | data[size-4]                 5+size  no
     1  REMOVE                                                                                1       yes
     2  ADDX                    i32 size | i64 add time | i64 expiry | data[size-16]          5+size  yes
     3  REMOVE_TENTATIVE                                                                      1       no
     4  SAVE_XID                i32 xid                                                       5       no
     5  UNREMOVE                i32 xid                                                       5       yes
     6  CONFIRM_REMOVE          i32 xid                                                       5       yes
     7  ADD_XID                 i32 xid | i32 size | i64 add time | i64 expiry | data         9+size  no
     8  CONTINUE                i32 xid | i32 size | i64 add time | i64 expiry | data         9+size  no
     9  REMOVE_TENTATIVE_XID    i32 xid                                                       5       yes
    10  ADD_FLAGS (D4)          i32 size | i32 flags | i32 deliveries
                                | i64 add time | i64 expiry | data[size-24]                   5+size  if flags
"""

import errno
import struct

from kestrel.item import Item, new_item

ADD = 0
REMOVE = 1
ADDX = 2
REMOVE_TENTATIVE = 3
SAVE_XID = 4
UNREMOVE = 5
CONFIRM_REMOVE = 6
ADD_XID = 7
CONTINUE = 8
REMOVE_TENTATIVE_XID = 9
ADD_FLAGS = 10
LAST = ADD_FLAGS
ADDITIONS = frozenset((ADD, ADDX, ADD_XID, CONTINUE, ADD_FLAGS))

# What RecordReader.next() answers instead of an op.
END = -1            # the file ends where a record could begin
TORN = -2           # the file ends inside a record
IMPOSSIBLE = -3     # no such op, or a size below the least
ENOUGH = -4         # ``skim`` has passed over as many as it may

REMOVE_RECORD = bytes([REMOVE])
LONGEST_DATA = 0x7fffffff - 24      # so that size stays an i32
LONGEST_HEADER = 29
BLOCK = 1 << 20                     # how much of a file is read at once, bytes
MANY = 9223372036854775807

_ADDX_HEADER = struct.Struct('<BIqq')
_FLAGS_HEADER = struct.Struct('<BIIiqq')
_XID_RECORD = struct.Struct('<Bi')
_XID = struct.Struct('<i')
_TIMES = struct.Struct('<qq')
_FLAGS = struct.Struct('<Iiqq')
_pack_addx = _ADDX_HEADER.pack
_pack_flags = _FLAGS_HEADER.pack
_unpack_xid = _XID.unpack_from
_unpack_times = _TIMES.unpack_from
_unpack_flags = _FLAGS.unpack_from

# The compiled module has these from byte_calls.pxd; written like this, Cython sees no second definition.
globals()['pack_xid'] = _XID_RECORD.pack
globals()['addx'] = lambda data, add_time, expiry: _pack_addx(ADDX, len(data) + 16, add_time, expiry) + data


def addx_header(item):
    """What stands before the data in the ADDX of an item."""
    return _pack_addx(ADDX, len(item.data) + 16, item.add_time, item.expiry)


def addx_record(item):
    """The whole ADDX of an item."""
    data = item.data
    if data is None:
        raise TypeError('a void item has no record')
    return addx(data, item.add_time, item.expiry)


def flags_header(item):
    """What stands before the data in the op 10 of an item (D4)."""
    return _pack_flags(ADD_FLAGS, len(item.data) + 24, item.flags, item.deliveries, item.add_time,
                       item.expiry)


def xid_record(op, xid):
    """The record of an op that has nothing but an xid: 4, 5, 6, 9."""
    return pack_xid(op, xid)


class RecordReader:
    """Reads the records of one journal file, one after the other.

    file    has ``size``, its length in bytes, and ``read_at(count, offset)`` (disk.ReadFile, AppendFile)
    now_ms  int: the add time of what an ADD record brings, which has none of its own
    offset  where the first record to be read begins
    block   how much of the file is read at once, bytes

    ``next()`` -> the op (0..10) or END, TORN, IMPOSSIBLE, after which it must not be called again, except END
    after ``resize``. ``offset`` is where that record begins (or where it should have begun), ``xid`` its xid,
    ``item`` its Item, with the xid of an ADD_XID noted on it. A size is compared with the rest of the file
    before anything of that size is read. Raises OSError.
    """

    __slots__ = ('size', 'offset', 'xid', 'item', 'skimmed', 'skimmed_bytes', '_read_at', '_now', '_block_size',
                 '_block', '_limit', '_position', '_base')

    def __init__(self, file, now_ms, offset=0, block=BLOCK):
        self.size = file.size
        self.offset = offset
        self.xid = 0
        self.item = None
        # what ``skim`` passed over: additions, and their data bytes
        self.skimmed = 0
        self.skimmed_bytes = 0
        self._read_at = file.read_at
        self._now = now_ms
        self._block_size = block
        self._block = b''       # a piece of the file, which begins at byte _base of it
        self._limit = 0         # its length
        self._position = 0      # where in it the next record begins
        self._base = offset

    def op(self):
        """The op byte at ``offset`` of a record that ``next`` calls IMPOSSIBLE."""
        return self._block[self._position]

    def place(self):
        """Where in the file the next record begins."""
        return self._base + self._position

    def resize(self, size):
        """The file has ``size`` bytes now, ``place()`` at least; after a cut what was read beyond is void."""
        self.size = size
        if self._base + self._limit > size:
            self._limit = size - self._base
            self._block = self._block[:self._limit]

    def next(self):
        if self._limit - self._position < LONGEST_HEADER and self._base + self._limit < self.size:
            self._fill(LONGEST_HEADER)
        position = self._position
        self.offset = self._base + position
        left = self._limit - position
        if left == 0:
            return END
        letters = self._block
        op = letters[position]
        if op == ADDX:
            end = self._end(5, 16)
            if end > 0:
                position = self._position
                add_time, expiry = _unpack_times(self._block, position + 5)
                self.item = new_item(self._block[position + 21:end], add_time, expiry, 0)
                self._position = end
                return ADDX
            return end
        if op == REMOVE or op == REMOVE_TENTATIVE:
            self._position = position + 1
            return op
        if op == REMOVE_TENTATIVE_XID or op == CONFIRM_REMOVE or op == UNREMOVE or op == SAVE_XID:
            if left < 5:
                return TORN
            self.xid = _unpack_xid(self._block, position + 1)[0]
            self._position = position + 5
            return op
        return self._rare(op)

    def skim(self, most=MANY):
        """As ``next``, but passes over the ADDX records that stand before, without reading their data; ENOUGH when
        these are ``most``."""
        self.skimmed = 0
        self.skimmed_bytes = 0
        while True:
            letters = self._block
            position = self._position
            limit = self._limit
            left = self.size - self._base
            while limit - position >= 5 and letters[position] == ADDX and self.skimmed < most:
                size = letters[position + 4]
                size = size << 24 | letters[position + 3] << 16 | letters[position + 2] << 8 | letters[position + 1]
                if size < 16 or size > 0x7fffffff or position + 5 + size > left:
                    self._position = position
                    return self.next()
                position += 5 + size
                self.skimmed += 1
                self.skimmed_bytes += size - 16
            if position > limit:
                # the data of the last one ends behind the block
                self._base += position
                self._block = b''
                self._limit = self._position = 0
            else:
                self._position = position
                if self.skimmed < most and (limit - position >= 5 or self._base + limit >= self.size):
                    return self.next()
            if self.skimmed == most:
                return ENOUGH
            if self._base + self._limit < self.size:
                self._fill(LONGEST_HEADER)

    def _rare(self, op):
        """The additions that are not ADDX."""
        if op == ADD_FLAGS:
            end = self._end(5, 24)
            if end > 0:
                position = self._position
                flags, deliveries, add_time, expiry = _unpack_flags(self._block, position + 5)
                self.item = Item(self._block[position + 29:end], add_time, expiry, flags, deliveries)
        elif op == ADD:
            end = self._end(5, 4)
            if end > 0:
                position = self._position
                expiry = _unpack_xid(self._block, position + 5)[0]
                self.item = Item(self._block[position + 9:end], self._now, expiry * 1000)
        elif op == ADD_XID or op == CONTINUE:
            end = self._end(9, 16)
            if end > 0:
                position = self._position
                self.xid = _unpack_xid(self._block, position + 1)[0]
                add_time, expiry = _unpack_times(self._block, position + 9)
                self.item = Item(self._block[position + 25:end], add_time, expiry)
                if op == ADD_XID:
                    self.item.xid = self.xid
        else:
            return IMPOSSIBLE
        if end < 0:
            return end
        self._position = end
        return op

    def _end(self, before, least):
        """Have the whole record in the block; -> where it ends there, or TORN, IMPOSSIBLE.

        ``before``: how much of it ends with the size; ``least``: the smallest size that can be.
        """
        position = self._position + before
        if position > self._limit:
            return TORN
        block = self._block
        size = block[position - 4] | block[position - 3] << 8 | block[position - 2] << 16
        size += block[position - 1] * 0x1000000
        if size < least or size > 0x7fffffff:
            return IMPOSSIBLE
        if self._base + position + size > self.size:
            return TORN
        if position + size > self._limit:
            self._fill(before + size)
        return self._position + before + size

    def _fill(self, count):
        """Have ``count`` bytes from the next record's beginning in the block, or all that are left."""
        rest = self._block[self._position:self._limit]
        base = self._base + self._position
        have = len(rest)
        wanted = min(max(count, self._block_size), self.size - base)
        pieces = [rest] if rest else []
        while have < wanted:
            piece = self._read_at(wanted - have, base + have)
            if not piece:
                raise OSError(errno.EIO, 'the file became shorter while it was read')
            pieces.append(piece)
            have += len(piece)
        # Only now: a read that fails may be tried again.
        self._base = base
        self._position = 0
        self._block = pieces[0] if len(pieces) == 1 else b''.join(pieces)
        self._limit = have


def addition(item, keep_deliveries):
    """The whole record of an item: ADDX, or op 10 where that is needed (D4, D18)."""
    if item.flags == 0 and (not keep_deliveries or item.deliveries == 0):
        return addx_record(item)
    return flags_header(item) + item.data
