"""The thrift port: frames in, one function a method, frames out (spec thrift).

``do_method(handler, arguments) -> result``, ``arguments`` as a dict by the names of the IDL; Refusal becomes a
TApplicationException. Names, ids, types and defaults come from the generated code, replies from the library's codec. The
generated Processor is not used: it reads a frame without limits and logs a traceback for every refusal.
"""

import re

from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.Thrift import TApplicationException, TType
from thrift.transport.TTransport import TMemoryBuffer

from kestrel import __version__, report
from kestrel.batches import Batches
from kestrel.errors import BadName, Refusal
from kestrel.handlers.handler import Handler
from kestrel.protocol.parser import ForeignProtocol
from kestrel.protocol.thrift import (
    CALL, EXCEPTION, REPLY, BadStruct, Numbers, Strings, StructWalk, ThriftParser, framed, message_head,
    read_i32, read_message, read_numbers, read_string, read_strings)
from kestrel.queue_collection import BAD_NAME, check_no_cr
from kestrel.shown import shown_request
from kestrel.thrift_gen import Kestrel
from kestrel.thrift_gen.ttypes import Item, QueueInfo, Status

try:
    from thrift.protocol.fastbinary import encode_binary
except ImportError:
    # the library without its C module
    encode_binary = None

FRAME_EXTRA = 1048576       # bytes that a frame may have beyond max_request_size (D6)
WALK = 10000                # fields and elements of a frame after which others get their turn
JOINED = 256                # items of a get that are one piece of the reply

UPGRADE = b'__can__finagle__trace__v3__'
CLIENT_ID = 6               # the field of finagle's RequestHeader, and in it its name
CLIENT_ID_NAME = 1
EMPTY_STRUCT = b'\0'

UNKNOWN_METHOD = TApplicationException.UNKNOWN_METHOD
INTERNAL_ERROR = TApplicationException.INTERNAL_ERROR
PROTOCOL_ERROR = TApplicationException.PROTOCOL_ERROR

# The beginning of a get's result: its field, the type of its elements.
LIST_HEAD = bytes((TType.LIST, 0, 0, TType.STRUCT))

_UNPRINTABLE = re.compile(rb'[\0-\x20\x7f]')


def encode(struct):
    """A generated struct as bytes."""
    if encode_binary is not None:
        return encode_binary(struct, [struct.__class__, struct.thrift_spec])
    return _encode_slowly(struct)


def _encode_slowly(struct):
    buffer = TMemoryBuffer()
    struct.write(TBinaryProtocol(buffer))
    return buffer.getvalue()


def application_error(kind, message, encoding='latin-1'):
    """A TApplicationException as bytes; ``message`` is bytes, as on the memcache port unless the encoding is another."""
    return _encode_slowly(TApplicationException(kind, message.decode(encoding, 'replace')))


class ThriftHandler(Handler):
    """Runs the requests of one connection.

    upgraded  bool: finagle's headers stand before its messages
    batch     read_ids.Batch: the reads that the request under way has opened, or None
    """

    def __init__(self, session, connection, services):
        super().__init__(session, connection, services, ThriftParser(services.settings.max_request_size + FRAME_EXTRA))
        session.half_closes = False
        self.batches = Batches(session, services.read_ids)
        self.upgraded = False
        self.batch = None

    def run(self):
        parser = self.parser
        message, method, arguments = self._read(parser.take())
        if method is not None:
            self._call(message, method, arguments)

    def tell_last(self, line):
        """Whatever it is, there is no message that it could be the answer to."""
        return False

    # -- requests --------------------------------------------------------------------------------------------------

    def _read(self, frame):
        """-> (Message, Method, its arguments); the Method is None if the request is answered already. Raises
        ForeignProtocol if not even its method can be read.

        Nothing keeps the frame when this has returned, but lists of items and ids: a get may wait for long.
        """
        begin = 0
        self.session.client_id = None
        if self.upgraded:
            begin = self._read_header(frame)
        message = read_message(frame, begin)
        if message is None:
            raise ForeignProtocol('frames without a message of the binary protocol')
        name = message.name
        method = METHODS.get(name)
        arguments = None
        try:
            walk = self._walk(frame, message.end)
            if message.kind != CALL:
                raise BadStruct('this is not a call')
            if method is not None:
                arguments = method.arguments(frame, walk.fields)
        except BadStruct as error:
            method = None
            self._refuse(message, PROTOCOL_ERROR, b'bad request: ' + error.why.encode('ascii'))
        else:
            if name == UPGRADE and not self.upgraded:
                self._answer(message_head(REPLY, name), 0, [EMPTY_STRUCT])
                self.upgraded = True
            elif method is None:
                self._refuse(message, UNKNOWN_METHOD, b"Invalid method name: '%b'" % name, 'utf-8')
        return message, method, arguments

    def _read_header(self, frame):
        """finagle's RequestHeader: note its client id. -> where the message begins."""
        try:
            header = self._walk(frame, 0)
            kind, pos = header.fields.get(CLIENT_ID, (0, 0))
            if kind == TType.STRUCT:
                walk = self._walk(frame, pos)
                kind, pos = walk.fields.get(CLIENT_ID_NAME, (0, 0))
                if kind == TType.STRING:
                    self.session.client_id = read_string(frame, pos).decode('utf-8', 'replace')
        except BadStruct as error:
            raise ForeignProtocol('frames without a RequestHeader after its upgrade') from error
        return header.end

    def _walk(self, frame, begin):
        """-> StructWalk that has ended. Raises BadStruct."""
        walk = StructWalk(frame, begin)
        while not walk.go_on(WALK):
            self.connection.pause()
        return walk

    def _call(self, message, method, arguments):
        try:
            pieces = method.function(self, arguments)
        except Refusal as error:
            self._refuse(message, INTERNAL_ERROR, error.reason)
        except Exception:
            self.services.log.exception('request failed: %s', shown_request(
                [message.name, arguments.get('queue_name') or b''], self.services.collection.queues))
            self.failed += 1
            self._put_back()
            self._refuse(message, INTERNAL_ERROR, b'internal error')
        else:
            self._answer(method.head, message.seqid, pieces)
            if self.batch is not None:
                self.connection.flush()
                if self.connection.gone:
                    self._put_back()
                self.batch = None

    def _put_back(self):
        """The reads of a get whose reply is not written (D55)."""
        if self.batch is not None:
            self.batches.put_back(self.batch)
            self.batch = None

    def _answer(self, head, seqid, pieces):
        """Send a reply, whose body is a list of bytes."""
        if self.upgraded:
            head = EMPTY_STRUCT + head
        connection = self.connection
        first = pieces[0]
        if len(pieces) == 1:
            connection.write(framed(head, seqid, first))
            return
        connection.write(framed(head, seqid, first, sum([len(piece) for piece in pieces]) - len(first)))
        for number in range(1, len(pieces)):
            connection.write(pieces[number])
            # what is sent is not kept
            pieces[number] = None

    def _refuse(self, message, kind, why, encoding='latin-1'):
        self._answer(message_head(EXCEPTION, message.name), message.seqid, [application_error(kind, why, encoding)])


def queue_name(raw):
    """A queue's name as it came, UTF-8 -> as queues have it (D70). Raises BadName for what is bad on thrift alone (D34).
    """
    name = raw
    if not raw.isascii():
        try:
            name = raw.decode('utf-8').encode('latin-1')
        except UnicodeError:
            raise BadName(BAD_NAME) from None
    if _UNPRINTABLE.search(name):
        raise BadName(BAD_NAME)
    return name


def name_of_any(raw):
    """The same where no queue need exist. -> None if no queue can have it."""
    check_no_cr(raw)
    try:
        return queue_name(raw)
    except BadName:
        return None


# -- methods -----------------------------------------------------------------------------------------------------------

def do_put(handler, arguments):
    name = queue_name(arguments['queue_name'])
    milliseconds = arguments['expiration_msec']
    # at least 1: 0 would mean never, and anything so long ago is expired all the same
    expiry = max(1, handler.session.clock.now_ms() + milliseconds) if milliseconds else 0
    count = handler.batches.put(name, arguments['items'], expiry)
    return [encode(Kestrel.put_result(count))]


def do_get(handler, arguments):
    name = queue_name(arguments['queue_name'])
    items, batch = handler.batches.get(name, arguments['max_items'], arguments['timeout_msec'],
                                       arguments['auto_abort_msec'])
    handler.batch = batch
    return _item_pieces(items, None if batch is None else batch.ids)


def _item_pieces(items, ids):
    """The result of a get: a list of items, those of ``ids`` None with id 0."""
    pieces = [LIST_HEAD + len(items).to_bytes(4, 'big')]
    shown = Item(None, 0)
    for begin in range(0, len(items), JOINED):
        some = []
        for number in range(begin, min(begin + JOINED, len(items))):
            item = items[number]
            shown.data = item.data
            if ids is not None:
                shown.id = ids[number]
            some.append(encode(shown))
        pieces.append(b''.join(some))
    if len(items) <= JOINED:
        return [b''.join(pieces) + EMPTY_STRUCT]
    pieces.append(EMPTY_STRUCT)
    return pieces


def do_confirm(handler, arguments):
    return [encode(Kestrel.confirm_result(handler.batches.confirm(arguments['ids'])))]


def do_abort(handler, arguments):
    return [encode(Kestrel.abort_result(handler.batches.abort(arguments['ids'])))]


def do_peek(handler, arguments):
    session = handler.session
    collection = session.collection
    name = queue_name(arguments['queue_name'])
    session.check_reads(name)
    collection.check_readable(name)
    item = session.peek(name, 0)
    queue = None if name in collection.aliases else collection.lookup(name)
    if queue is None:
        info = QueueInfo(None, 0, 0, 0, 0, 0, 0)
    else:
        info = QueueInfo(None if item is None else item.data, queue.count, queue.bytes, report.journal_size(queue),
                         report.age(queue, session.clock.now_ms()), len(queue.waiters), len(queue.opened))
    return [encode(Kestrel.peek_result(info))]


def do_flush_queue(handler, arguments):
    session = handler.session
    name = name_of_any(arguments['queue_name'])
    session.check_writes(arguments['queue_name'] if name is None else name)
    if name is not None:
        if session.collection.lookup(name) is not None:
            session.check_dequeue(name)
        session.flush(name)
    return [EMPTY_STRUCT]


def do_flush_all_queues(handler, arguments):
    session = handler.session
    session.check_admin()
    session.check_writes(None)
    session.flush_all()
    return [EMPTY_STRUCT]


def do_delete_queue(handler, arguments):
    session = handler.session
    session.check_admin()
    name = name_of_any(arguments['queue_name'])
    session.check_writes(arguments['queue_name'] if name is None else name)
    if name is not None:
        session.delete(name)
    return [EMPTY_STRUCT]


def do_current_status(handler, arguments):
    status = ANNOUNCED.get(handler.services.control.status().lower(), Status.NOT_CONFIGURED)
    return [encode(Kestrel.current_status_result(status))]


def do_set_status(handler, arguments):
    session = handler.session
    session.check_admin()
    name = NAMES.get(arguments['status'])
    if name is None:
        raise Refusal(b'CLIENT_ERROR unknown status')
    session.connection.flush()
    why = handler.services.control.change_status(name)
    if why is not None:
        raise Refusal(b'CLIENT_ERROR status change failed: ' + why.encode('latin-1', 'replace'))
    return [EMPTY_STRUCT]


def do_get_version(handler, arguments):
    return [encode(Kestrel.get_version_result(__version__))]


ANNOUNCED = {'up': Status.UP, 'readonly': Status.READ_ONLY, 'quiescent': Status.QUIESCENT}
NAMES = {status: name for name, status in ANNOUNCED.items()}

READERS = {TType.STRING: read_string, TType.I32: read_i32, TType.LIST: read_strings, TType.SET: read_numbers}
MISSING = {TType.STRING: b'', TType.I32: 0, TType.LIST: Strings(b'', 0, 0), TType.SET: Numbers(b'', 0, 0)}


class Method:
    """A method of the IDL: ``function(handler, arguments)`` -> the pieces of its result, which ``head`` stands before."""

    def __init__(self, name, function):
        self.function = function
        self.head = message_head(REPLY, name.encode('ascii'))
        specs = [spec for spec in getattr(Kestrel, name + '_args').thrift_spec if spec is not None]
        self.fields = {number: (kind, argument) for number, kind, argument, _, _ in specs}
        self.defaults = {argument: MISSING[kind] if default is None else default
                         for _, kind, argument, _, default in specs}

    def arguments(self, frame, fields):
        """-> {name: value}; what is missing or of another type has its default. Raises BadStruct."""
        found = self.defaults.copy()
        for number, (kind, pos) in fields.items():
            known = self.fields.get(number)
            if known is not None and known[0] == kind:
                found[known[1]] = READERS[kind](frame, pos)
        return found


METHODS = {name.encode('ascii'): Method(name, function) for name, function in (
    ('put', do_put),
    ('get', do_get),
    ('confirm', do_confirm),
    ('abort', do_abort),
    ('peek', do_peek),
    ('flush_queue', do_flush_queue),
    ('flush_all_queues', do_flush_all_queues),
    ('delete_queue', do_delete_queue),
    ('current_status', do_current_status),
    ('set_status', do_set_status),
    ('get_version', do_get_version),
)}
