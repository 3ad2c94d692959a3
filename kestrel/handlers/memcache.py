"""The memcache port: one function a command (spec memcache 4).

``do_verb(session, request) -> reply`` takes a session and the parser that holds the request; the reply is bytes, or
None when there is none. Errors are raised: RequestError keeps the connection, HangUp closes it; those of the session
are in the words of D1 already, and CLOSING says which of them close.
"""

from kestrel import __version__, report
from kestrel.errors import BadName, Blocked, ClientIdRequired, HangUp, Refusal, RequestError
from kestrel.handlers.handler import Handler
from kestrel.handlers.memcache_reads import END, do_confirm, do_get, do_monitor, queue_name
from kestrel.protocol.memcache import GET, SET, UNKNOWN_COMMAND, MemcacheParser
from kestrel.protocol.numbers import I32_MIN, I64_MAX, I64_MIN, parse_bounded
from kestrel.queue_collection import BAD_NAME, check_no_cr
from kestrel.status import STORED as STATUSES

STORED = b'STORED\r\n'
NOT_STORED = b'NOT_STORED\r\n'
DELETED = b'DELETED\r\n'

CLOSING = (Blocked, ClientIdRequired)
INTERNAL_ERROR = b'SERVER_ERROR internal error'
TOGETHER = 63               # requests behind a set that may be run with it
SLASH = 47
ABSOLUTE_FROM = 1000000     # seconds: an exptime from here on counts from 1970 (spec memcache 4.2)
MAX_FLAGS = 4294967295


class MemcacheHandler(Handler):
    """Runs the requests of one connection of the memcache port."""

    def __init__(self, session, connection, services):
        super().__init__(session, connection, services,
                         MemcacheParser(services.settings.max_request_size, session.refuses_size))
        self.request = self.parser

    def run(self):
        verb = self.request.verb
        if verb is SET:
            return do_set(self.session, self.request)
        if verb is GET:
            return do_get(self.session, self.request)
        command = COMMANDS.get(verb)
        if command is None:
            command = do_unknown
        return command(self.session, self.request)

    def tell(self, line):
        if self.request.noreply:
            # with noreply an error can only be told by closing (D3)
            raise HangUp(b'')
        self.connection.write(line + b'\r\n')

    def refuse(self, error):
        if isinstance(error, CLOSING):
            raise HangUp(error.line) from error
        self.tell(error.line)

    def tell_last(self, line):
        if self.request.noreply:
            return False
        self.connection.write((line or INTERNAL_ERROR) + b'\r\n')
        return True


# -- set -----------------------------------------------------------------------------------------------------------

def do_set(session, request):
    words = request.words
    word = words[3]
    expiry = 0
    if word != b'0':
        seconds = parse_bounded(word, I64_MIN, I64_MAX)
        if seconds is None:
            raise RequestError(b'CLIENT_ERROR bad expiration')
        expiry = _expiry_ms(seconds, session.clock)
    word = words[2]
    flags = 0
    if word != b'0':
        value = parse_bounded(word, I32_MIN, MAX_FLAGS)
        if value is None:
            raise RequestError(b'CLIENT_ERROR bad flags')
        flags = value & MAX_FLAGS
    name = words[1]
    if session.writes_refused or session.services.writes_blocked:
        check_no_cr(name)
        session.check_writes(name.removesuffix(b'/sync'))
    durable = False
    if SLASH in name:
        name, _, suffix = name.partition(b'/')
        if suffix != b'sync':
            raise BadName(BAD_NAME)
        durable = True
    data = request.data
    if (flags == 0 and expiry == 0 and len(words) == 5 and request.pos < len(request.buffer)
            and data is not None and not durable and session.may_put_together(name)):
        start = request.pos
        more = request.like_this(TOGETHER)
        if more:
            more.insert(0, data)
            answers = session.put_together(name, more)
            if len(answers) < len(more):
                # things have changed meanwhile: the others are to be asked for themselves
                request.pos = start
                request.like_this(len(answers) - 1)
            return _replies(answers)
    if session.put(name, data, flags, expiry, durable):
        return None if request.noreply else STORED
    return None if request.noreply else NOT_STORED


def _replies(answers):
    """-> the replies of puts that were done together."""
    if all([answer is True for answer in answers]):
        return STORED * len(answers)
    return b''.join([STORED if answer is True else NOT_STORED if answer is False else answer.line + b'\r\n'
                     for answer in answers])


def _expiry_ms(seconds, clock):
    """exptime -> ms since 1970, 0 = never (spec memcache 4.2, D16)."""
    if seconds == 0:
        return 0
    if seconds < ABSOLUTE_FROM:
        # at least 1: 0 would mean never, and anything so long ago is expired all the same
        return max(1, clock.now_ms() + seconds * 1000)
    milliseconds = seconds * 1000
    return milliseconds if milliseconds <= I64_MAX else 0


# -- delete, flush -------------------------------------------------------------------------------------------------

def _note_noreply(request, first):
    """``noreply`` as the last word, from word ``first`` on: a queue's name is never taken for it (D3)."""
    request.noreply = len(request.words) > first and request.words[-1] == b'noreply'


def do_delete(session, request):
    _note_noreply(request, 2)
    session.check_admin()
    name = queue_name(request.words)
    session.check_writes(name)
    session.delete(name)
    return None if request.noreply else DELETED


def do_flush(session, request):
    _note_noreply(request, 2)
    name = queue_name(request.words)
    session.check_flush(name)
    session.flush(name)
    return None if request.noreply else END


def do_flush_all(session, request):
    _note_noreply(request, 1)
    session.check_admin()
    session.check_writes(None)
    session.flush_all()
    return None if request.noreply else b'Flushed all queues.\r\n'


def do_flush_expired(session, request):
    name = queue_name(request.words)
    session.check_writes(name)
    return b'%d\r\n' % session.flush_expired(name)


def do_flush_all_expired(session, request):
    return b'%d\r\n' % session.flush_all_expired()


# -- looking -------------------------------------------------------------------------------------------------------

def do_stats(session, request):
    for key, value in report.server_lines(session.services):
        session.connection.write(b'STAT %b %b\r\n' % (key, value))
    for name in _in_turns(session, session.collection.names_with_aliases()):
        session.connection.write(report.stats_text(session.collection, name))
    return END


def _in_turns(session, names):
    """The names; others get their turn before the first and after each hundred."""
    for number, name in enumerate(names):
        if number % 100 == 0:
            session.connection.pause()
        yield name


def do_dump_stats(session, request):
    return _dump(session, request, report.name_lines, b'queue')


def do_dump_config(session, request):
    return _dump(session, request, report.config_lines, b'alias')


def _dump(session, request, lines_of, word):
    """``word`` is what an alias is called."""
    collection = session.collection
    names = request.words[1:] or collection.names_with_aliases()
    for name in request.words[1:]:
        check_no_cr(name)
    for name in _in_turns(session, names):
        body = b'\r\n  '.join([key + b'=' + value for key, value in lines_of(collection, name)])
        kind = word if name in collection.aliases else b'queue'
        session.connection.write(b"%b '%b' {\r\n  %b\r\n}\r\n" % (kind, name, body))
    return END if names else b'\r\nEND\r\n'


def do_version(session, request):
    return b'VERSION %b\r\n' % __version__.encode('ascii')


# -- running the server --------------------------------------------------------------------------------------------

def do_status(session, request):
    if len(request.words) == 1:
        return session.services.control.status().upper().encode('ascii') + b'\r\n'
    session.check_admin()
    name = request.words[1].lower().decode('latin-1')
    if name == 'down':
        raise HangUp(b'CLIENT_ERROR status not allowed')
    if name not in STATUSES:
        raise HangUp(b'CLIENT_ERROR unknown status')
    session.connection.flush()
    why = session.services.control.change_status(name)
    if why is not None:
        raise HangUp(b'CLIENT_ERROR status change failed: ' + why.encode('utf-8', 'replace'))
    return END


def do_reload(session, request):
    session.check_admin()
    session.connection.pause()
    why = session.services.control.reload()
    if why is not None:
        raise RequestError(b'SERVER_ERROR ' + why.encode('utf-8', 'replace'))
    return b'Reloaded config.\r\n'


def do_shutdown(session, request):
    session.check_admin()
    session.services.control.shutdown()
    raise HangUp(b'')


def do_quit(session, request):
    raise HangUp(b'')


def do_unknown(session, request):
    if request.words[0].upper() in (b'POST', b'HOST:'):
        # what follows may be the body of a request that a web page made a browser send (D61)
        raise HangUp(UNKNOWN_COMMAND)
    raise RequestError(UNKNOWN_COMMAND)


COMMANDS = {
    b'set': do_set,
    b'get': do_get,
    b'gets': do_get,
    b'monitor': do_monitor,
    b'confirm': do_confirm,
    b'delete': do_delete,
    b'flush': do_flush,
    b'flush_all': do_flush_all,
    b'flush_expired': do_flush_expired,
    b'flush_all_expired': do_flush_all_expired,
    b'stats': do_stats,
    b'dump_stats': do_dump_stats,
    b'dump_config': do_dump_config,
    b'version': do_version,
    b'status': do_status,
    b'reload': do_reload,
    b'shutdown': do_shutdown,
    b'quit': do_quit,
}
