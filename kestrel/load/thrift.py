"""The thrift service as a client calls it (spec thrift 2, 6 and 7): frames of a request out, those of replies in."""

from struct import Struct

from thrift.Thrift import TType

from kestrel.load.dialect import Dialect, shown
from kestrel.load.trouble import Trouble
from kestrel.protocol.thrift import (
    CALL, EXCEPTION, REPLY, BadStruct, StructWalk, framed, message_head, read_i32, read_message, read_string)

SEQID = 1
UPGRADE = b'__can__finagle__trace__v3__'
LONGEST_REPLY = 1 << 30
STEPS = 1 << 30

_length = Struct('>I')
_i64 = Struct('>q')
_field = Struct('>Bh').pack
_field_string = Struct('>BhI').pack
_field_i32 = Struct('>Bhi').pack
_field_list = Struct('>BhBi').pack
_STOP = b'\0'


class Thrift(Dialect):
    """One connection to the thrift port, with its ``client_id``, bytes, or None.

    ids    list of int: those of ``items``, where they were opened
    value  int: what ``confirm_ids`` returned
    """

    def __init__(self, client_id=None):
        super().__init__()
        self.ids = []
        self.value = 0
        self.method = b''
        self.header = b''
        self._client_id = client_id
        self._heads = {}
        self._stored = 0

    def upgrade(self):
        """The first request of a connection that has a client id."""
        self.method = UPGRADE
        request = framed(message_head(CALL, UPGRADE), 0, _STOP)
        self.expected = framed(message_head(REPLY, UPGRADE), 0, _STOP)
        name = self._client_id
        self.header = _field(TType.STRUCT, 6) + _field_string(TType.STRING, 1, len(name)) + name + _STOP + _STOP
        return request

    def put(self, queue, items):
        if self.method != b'put' or self._stored != len(items):
            self._expect(b'put', _field_i32(TType.I32, 0, len(items)) + _STOP)
            self._stored = len(items)
        parts = [_field_string(TType.STRING, 1, len(queue)), queue, _field_list(TType.LIST, 2, TType.STRING, len(items))]
        for item in items:
            parts.append(_length.pack(len(item)))
            parts.append(item)
        parts.append(_STOP)
        return self._call(b''.join(parts))

    def get(self, queue, wait_ms):
        return self.get_many(queue, 1, wait_ms)

    def get_many(self, queue, count, wait_ms, auto_abort_ms=0):
        self._expect(b'get')
        return self._call(b''.join((
            _field_string(TType.STRING, 1, len(queue)), queue, _field_i32(TType.I32, 2, count), _field_i32(TType.I32, 3, wait_ms),
            _field_i32(TType.I32, 4, auto_abort_ms), _STOP)))

    def confirm(self, queue, count):
        return b''

    def confirm_ids(self, queue, ids):
        """Confirm open reads; ``value`` is how many were known."""
        self._expect(b'confirm')
        return self._call(b''.join((
            _field_string(TType.STRING, 1, len(queue)), queue, _field_list(TType.SET, 2, TType.I64, len(ids)), *map(_i64.pack, ids), _STOP)))

    def flush(self, queue):
        self._expect(b'flush_queue', _STOP)
        return self._call(_field_string(TType.STRING, 1, len(queue)) + queue + _STOP)

    def _expect(self, method, result=None):
        self.method = method
        self.expected = framed(message_head(REPLY, method), SEQID, result) if result and not self.header else b''
        self.items = []

    def _call(self, arguments):
        method = self.method
        if self.header:
            return framed(self.header + message_head(CALL, method), SEQID, arguments)
        head = self._heads.get(method)
        if head is None:
            head = self._heads[method] = message_head(CALL, method)
        return framed(head, SEQID, arguments)

    def feed(self, data):
        if self.kept:
            data = self.kept + data
            self.kept = b''
        if data == self.expected:
            return True
        if len(data) < 4:
            self.kept = data
            return False
        size = _length.unpack_from(data)[0]
        if size > LONGEST_REPLY:
            raise Trouble('wrong reply: %s is no frame of thrift' % shown(data[:16]))
        if len(data) - 4 < size:
            self.kept = data
            return False
        if len(data) - 4 > size:
            raise Trouble('wrong reply: something behind the reply to %s' % self.method.decode())
        try:
            self._read(data[4:])
        except BadStruct as error:
            raise self._bad(error.why) from None
        return True

    def _read(self, frame):
        pos = 0
        if self.header and self.method != UPGRADE:
            header = StructWalk(frame, 0)
            header.go_on(STEPS)
            pos = header.end
        message = read_message(frame, pos)
        if message is None:
            raise self._bad('no message of thrift')
        result = StructWalk(frame, message.end)
        result.go_on(STEPS)
        fields = result.fields
        if message.kind == EXCEPTION:
            why = read_string(frame, fields[1][1]) if fields.get(1, (0,))[0] == TType.STRING else b'an exception'
            raise self._bad(why.decode('utf-8', 'replace'))
        if message.kind != REPLY or message.name != self.method:
            raise self._bad('a message %s of kind %d' % (shown(message.name), message.kind))
        self._take(frame, fields.get(0))

    def _take(self, frame, success):
        """The result of a method, (type, place in the frame), or None."""
        kind, pos = success or (0, 0)
        if self.method == b'get':
            if kind != TType.LIST or frame[pos] != TType.STRUCT and read_i32(frame, pos + 1):
                raise self._bad('a get without a list of items')
            self._take_items(frame, pos + 5, read_i32(frame, pos + 1))
        elif self.method == b'confirm':
            if kind != TType.I32:
                raise self._bad('a confirm without a number')
            self.value = read_i32(frame, pos)
        elif self.method == b'put':
            stored = read_i32(frame, pos) if kind == TType.I32 else 0
            if stored != self._stored:
                raise self._bad('%d of %d items were stored' % (stored, self._stored))

    def _take_items(self, frame, pos, count):
        self.items = []
        self.ids = []
        for _ in range(count):
            item = StructWalk(frame, pos)
            item.go_on(STEPS)
            pos = item.end
            kind, place = item.fields.get(1, (0, 0))
            if kind != TType.STRING:
                raise self._bad('an item without data')
            self.items.append(read_string(frame, place))
            kind, place = item.fields.get(2, (0, 0))
            self.ids.append(_i64.unpack_from(frame, place)[0] if kind == TType.I64 else 0)

    def _bad(self, why):
        return Trouble('wrong reply to %s: %s' % (self.method.decode(), why))
