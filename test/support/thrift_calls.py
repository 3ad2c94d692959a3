"""Frames of the thrift port, made and read by the thrift library."""

import struct

from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.Thrift import TApplicationException, TMessageType
from thrift.transport.TTransport import TMemoryBuffer

from kestrel.thrift_gen import Kestrel

UPGRADE = '__can__finagle__trace__v3__'
UPGRADED = bytes.fromhex('00000028 80010002 0000001b') + UPGRADE.encode() + bytes(5)


def message(method, kind=TMessageType.CALL, seqid=1, body=None, strict=True, **arguments):
    """A message without its frame; ``body``: other bytes than those of the arguments."""
    buffer = TMemoryBuffer()
    protocol = TBinaryProtocol(buffer, strictWrite=strict)
    protocol.writeMessageBegin(method, kind, seqid)
    if body is None:
        getattr(Kestrel, method + '_args')(**arguments).write(protocol)
    else:
        buffer.write(body)
    return buffer.getvalue()


def framed(content):
    return struct.pack('>I', len(content)) + content


def call(method, **more):
    """A request as it goes over the wire; see ``message``."""
    return framed(message(method, **more))


def header(client_id=None):
    """finagle's RequestHeader."""
    if client_id is None:
        return b'\0'
    name = client_id.encode()
    return b'\x0c\0\x06\x0b\0\x01' + struct.pack('>I', len(name)) + name + b'\0\0'


class Failure(Exception):
    """The reply is a TApplicationException: ``kind`` and ``text``."""

    def __init__(self, kind, text):
        super().__init__(kind, text)
        self.kind = kind
        self.text = text


def split(replies):
    """-> the contents of the frames, which must be whole."""
    found = []
    while replies:
        size, = struct.unpack('>I', replies[:4])
        if len(replies) < 4 + size:
            raise AssertionError('half a frame: %r' % replies)
        found.append(replies[4:4 + size])
        replies = replies[4 + size:]
    return found


def result(content, method=None, seqid=1):
    """What the message in a frame says; method and seqid must be these. Raises Failure."""
    version, kind, size = struct.unpack('>HHI', content[:8])
    if version != 0x8001:
        raise AssertionError('no version word: %r' % content)
    # a method that nobody knows need not be UTF-8
    name = content[8:8 + size].decode('utf-8', 'replace')
    number, = struct.unpack('>i', content[8 + size:12 + size])
    buffer = TMemoryBuffer(content[12 + size:])
    protocol = TBinaryProtocol(buffer)
    if number != seqid or method not in (None, name):
        raise AssertionError('the reply is to %s %d, not to %s %d' % (name, number, method, seqid))
    if kind == TMessageType.EXCEPTION:
        error = TApplicationException()
        error.read(protocol)
        raise Failure(error.type, error.message)
    if kind != TMessageType.REPLY:
        raise AssertionError('a message of type %d' % kind)
    found = getattr(Kestrel, name + '_result')()
    found.read(protocol)
    if buffer.read(1):
        raise AssertionError('something stands behind the result: %r' % content)
    return getattr(found, 'success', None)
