"""The text port: one function a command (spec text 3).

``do_verb(session, request) -> reply`` takes a session and the parser that holds the request; the reply is bytes.
Errors are raised: RequestError (the line without ``-`` and line end), or the refusals of the session, which are worded
here. No error of a command closes the connection.
"""

from kestrel import __version__
from kestrel.errors import Blocked, ClientIdRequired, HangUp, Refusal, RequestError
from kestrel.handlers.handler import Handler
from kestrel.protocol.numbers import I32_MAX, I32_MIN, parse_bounded
from kestrel.protocol.text import TextParser, unknown_command
from kestrel.queue_collection import check_no_cr
from kestrel.shown import shown_request
from kestrel.status import STORED as STATUSES

NO_ITEM = b'*\n'
ONE = b'+1\n'
DONE = b'+0\n'
NAME_REQUIRED = b'Queue name required.'

# what a command is called in the errors of one that is not allowed
BLOCKED_OPERATIONS = {b'put': b'setItem', b'get': b'getItem', b'peek': b'getItem', b'monitor': b'monitorUntil',
                      b'flush': b'flush', b'delete': b'delete'}


class TextHandler(Handler):
    """Runs the requests of one connection of the text port."""

    def __init__(self, session, connection, services):
        settings = services.settings
        super().__init__(session, connection, services,
                         TextParser(settings.max_request_size, settings.max_buffered_requests))
        self.request = self.parser

    def run(self):
        command = COMMANDS.get(self.request.verb)
        if command is None:
            command = do_unknown
        try:
            return command(self.session, self.request)
        except (Refusal, RequestError):
            raise
        except Exception:
            self.services.log.exception('request failed: %s',
                                        shown_request(self.request.words, self.services.collection.queues))
            self.failed += 1
            return b'-Internal error.\n'

    def tell(self, line):
        self.connection.write(b'-%b\n' % line)

    def refuse(self, error):
        verb = self.request.verb
        if isinstance(error, Blocked):
            self.tell(b'Server not available for operation ' + BLOCKED_OPERATIONS[verb])
        elif isinstance(error, ClientIdRequired):
            self.tell(b'The operation %b is disallowed on queue %b. ClientId not specified when queue %b only allows a'
                      b' white-listed clientId' % (b'add' if verb == b'put' else b'remove', error.name, error.name))
        else:
            self.tell(sentence(error.reason))

    def tell_last(self, line):
        self.connection.write(b'-%b\n' % (line or b'Internal error.'))
        return True


def sentence(reason):
    """A reason of D1 in the way of this protocol: ``bad queue name`` -> ``Bad queue name.``"""
    return reason[:1].upper() + reason[1:] + b'.'


# -- words ---------------------------------------------------------------------------------------------------------

def queue_name(words):
    """Word 1, the name of a queue that need not be there."""
    if len(words) < 2:
        raise RequestError(NAME_REQUIRED)
    name = words[1]
    check_no_cr(name)
    return name


def i32(word, why):
    """The value of a word. Raises RequestError with the line ``why``."""
    value = parse_bounded(word, I32_MIN, I32_MAX)
    if value is None:
        raise RequestError(why)
    return value


# -- put -----------------------------------------------------------------------------------------------------------

def do_put(session, request):
    words = request.words
    if len(words) < 2:
        raise RequestError(NAME_REQUIRED)
    expiry = 0
    if len(words) > 2:
        milliseconds = i32(words[2], b'Error parsing expiration time.')
        if milliseconds == 0:
            # expired already (spec text 3), which what expires in this very millisecond is not (spec queues 5)
            milliseconds = -1
        # at least 1: 0 would mean never, and anything so long ago is expired all the same
        expiry = max(1, session.clock.now_ms() + milliseconds)
    items = request.items
    if not items:
        check_no_cr(words[1])
        return DONE
    name = words[1]
    if len(items) > 1:
        return b'+%d\n' % session.put_many(name, items, expiry)
    if session.writes_refused or session.services.writes_blocked:
        session.check_writes(name)
    return ONE if session.put(name, items[0], 0, expiry, False) else DONE


# -- get, peek, monitor, confirm -----------------------------------------------------------------------------------

def do_get(session, request):
    words = request.words
    name = queue_name(words)
    timeout = i32(words[2], b'Error parsing timeout.') if len(words) > 2 else 0
    if session.reads is not None:
        if session.max_open > 0 and session.open_count(name) == 1:
            item = session.get_next(name)
            if item is not None:
                return _item(item)
        session.confirm_all(name)
    if session.reads_refused or session.services.reads_blocked:
        session.check_reads(name)
    if session.max_open < 1:
        raise RequestError(b'Too many open transactions; limit=%d' % session.max_open)
    item = session.get(name, timeout, True)
    return NO_ITEM if item is None else _item(item)


def do_peek(session, request):
    words = request.words
    name = queue_name(words)
    timeout = i32(words[2], b'Error parsing timeout.') if len(words) > 2 else 0
    session.confirm_all(name)
    session.check_reads(name)
    item = session.peek(name, timeout)
    return NO_ITEM if item is None else _item(item)


def do_monitor(session, request):
    words = request.words
    if len(words) < 3:
        raise RequestError(b'Queue name & timeout required.')
    name = queue_name(words)
    timeout = i32(words[2], b'Error parsing timeout.')
    session.confirm_all(name)
    for item in session.monitor(name, timeout, -1):
        session.connection.write(_item(item))
    return NO_ITEM


def _item(item):
    return b''.join((b':', item.data, b'\n'))


def do_confirm(session, request):
    words = request.words
    if len(words) < 3:
        raise RequestError(b'Queue name & count required.')
    name = queue_name(words)
    count = i32(words[2], b'Error parsing count.')
    if count < 1 or count > session.open_count(name):
        raise RequestError(b'Not that many transactions open.')
    session.confirm(name, count)
    return b'+%d\n' % count


# -- delete, flush -------------------------------------------------------------------------------------------------

def do_delete(session, request):
    session.check_admin()
    name = queue_name(request.words)
    session.check_writes(name)
    session.delete(name)
    return DONE


def do_flush(session, request):
    name = queue_name(request.words)
    session.check_flush(name)
    session.flush(name)
    return DONE


# -- the server ----------------------------------------------------------------------------------------------------

def do_status(session, request):
    control = session.services.control
    if len(request.words) == 1:
        return b':%b\n' % control.status().upper().encode('ascii')
    session.check_admin()
    name = request.words[1].lower().decode('latin-1')
    if name == 'down':
        raise RequestError(b'Status forbidden.')
    if name not in STATUSES:
        raise RequestError(b'Unknown status.')
    session.connection.flush()
    why = control.change_status(name)
    if why is not None:
        raise RequestError(sentence(b'status change failed: ' + why.encode('ascii', 'replace')))
    return DONE


def do_version(session, request):
    return b':%b\n' % __version__.encode('ascii')


def do_shutdown(session, request):
    session.check_admin()
    session.services.control.shutdown()
    return DONE


def do_quit(session, request):
    session.connection.write(DONE)
    # what comes behind it is not read, and must not destroy the answer
    session.connection.lingers = True
    raise HangUp(b'')


def do_unknown(session, request):
    raise RequestError(unknown_command(request.verb))


COMMANDS = {
    b'put': do_put,
    b'get': do_get,
    b'peek': do_peek,
    b'monitor': do_monitor,
    b'confirm': do_confirm,
    b'delete': do_delete,
    b'flush': do_flush,
    b'status': do_status,
    b'version': do_version,
    b'shutdown': do_shutdown,
    b'quit': do_quit,
}
