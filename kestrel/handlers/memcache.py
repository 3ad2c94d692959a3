"""The memcache port: one function a command (spec memcache 4).

``do_verb(session, request) -> reply`` takes a session and the parser that holds the request; the reply is bytes, or
None when there is none. Errors are raised: RequestError keeps the connection, HangUp closes it.
"""

from kestrel import __version__, report
from kestrel.errors import HangUp, JournalError, RequestError
from kestrel.protocol.memcache import UNKNOWN_COMMAND, ForeignProtocol, MemcacheParser
from kestrel.protocol.numbers import I32_MAX, I32_MIN, I64_MAX, I64_MIN, parse_bounded
from kestrel.queue_collection import BAD_NAME, check_no_cr, check_not_fanout

STORED = b'STORED\r\n'
NOT_STORED = b'NOT_STORED\r\n'
END = b'END\r\n'
DELETED = b'DELETED\r\n'
LINE_END = b'\r\n'
LINE_END_AND_END = b'\r\nEND\r\n'

# lengths of items as words: looking one up takes a fifth of the time of formatting it
DECIMALS = 4097
_DECIMAL = [b'%d' % number for number in range(DECIMALS)]

NAME_REQUIRED = b'CLIENT_ERROR queue name required'
INTERNAL_ERROR = b'SERVER_ERROR internal error'
TURN = 64                   # pipelined requests after which others get their turn
ABSOLUTE_FROM = 1000000     # seconds: an exptime from here on counts from 1970 (spec memcache 4.2)
MAX_FLAGS = 4294967295

STATUS_NAMES = (b'up', b'writeavoid', b'readonly', b'quiescent')


class MemcacheHandler:
    """Runs the requests of one connection, strictly one after the other."""

    def __init__(self, session, connection, services):
        self.session = session
        self.connection = connection
        self.services = services
        self.parser = MemcacheParser(services.settings.max_request_size, session.refuses_size)
        self.block = 0              # number of the last block that has come in pieces and is whole

    def wants(self):
        """Bytes still missing of the present block, 0 outside one."""
        return self.parser.wants()

    def receive(self, data):
        """Run every complete request of what has arrived. -> false when the connection is to be closed."""
        parser = self.parser
        connection = self.connection
        session = self.session
        ran = 0
        try:
            parser.feed(data)
            while True:
                try:
                    while parser.next():
                        if parser.block != self.block:
                            self.block = parser.block
                            connection.block_is_whole()
                        ran += 1
                        if ran % TURN == 0:
                            connection.pause()
                        if connection.gone:
                            return False
                        command = COMMANDS.get(parser.verb)
                        if command is None:
                            command = do_unknown
                        reply = command(session, parser)
                        if reply is not None:
                            connection.write(reply)
                    return not connection.gone
                except JournalError as error:
                    self._refuse(_journal_refusal(error))
                except HangUp:
                    raise
                except RequestError as error:
                    self._refuse(error.line)
        except ForeignProtocol as error:
            self.services.control.note_foreign(connection.address, error.protocol)
        except HangUp as error:
            if error.line and not parser.noreply:
                connection.write(error.line + b'\r\n')
                connection.lingers = True
        except Exception:
            self.services.log.exception('request failed: %r', parser.words)
            if not parser.noreply:
                connection.write(INTERNAL_ERROR + b'\r\n')
                connection.lingers = True
        return False

    def _refuse(self, line):
        if self.parser.noreply:
            # with noreply an error can only be told by closing (D3)
            raise HangUp(b'')
        self.connection.write(line + b'\r\n')


def _journal_refusal(error):
    if error.full:
        return b'SERVER_ERROR out of disk space'
    return b'SERVER_ERROR journal write failed: ' + error.why.encode('ascii', 'replace')


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
    if session.writes_refused:
        session.check_writes()
    name = words[1]
    durable = False
    if b'/' in name:
        name, _, suffix = name.partition(b'/')
        if suffix != b'sync':
            raise RequestError(BAD_NAME)
        durable = True
    if session.put(name, request.data, flags, expiry, durable):
        return None if request.noreply else STORED
    return None if request.noreply else NOT_STORED


def _expiry_ms(seconds, clock):
    """exptime -> ms since 1970, 0 = never (spec memcache 4.2, D16)."""
    if seconds == 0:
        return 0
    if seconds < ABSOLUTE_FROM:
        # at least 1: 0 would mean never, and anything so long ago is expired all the same
        return max(1, clock.now_ms() + seconds * 1000)
    milliseconds = seconds * 1000
    return milliseconds if milliseconds <= I64_MAX else 0


# -- get -----------------------------------------------------------------------------------------------------------

class GetKey:
    """One key of a get: a queue name and its options (spec memcache 4.1)."""

    __slots__ = ('name', 'timeout', 'open', 'close', 'abort', 'peek')

    def __init__(self, key):
        parts = key.split(b'/')
        self.name = parts[0]
        check_no_cr(self.name)
        check_not_fanout(self.name)
        self.timeout = 0
        self.open = self.close = self.abort = self.peek = False
        if key and not key.strip(b'/'):
            raise RequestError(NAME_REQUIRED)
        for option in parts[1:]:
            if option == b'open':
                self.open = True
            elif option == b'close':
                self.close = True
            elif option == b'abort':
                self.abort = True
            elif option == b'peek':
                self.peek = True
            elif option[:2] == b't=':
                timeout = parse_bounded(option[2:], I32_MIN, I32_MAX)
                if timeout is None:
                    raise RequestError(b'CLIENT_ERROR bad timeout')
                self.timeout = timeout
        if not self.name:
            raise HangUp(NAME_REQUIRED)
        if (self.peek or self.abort) and (self.open or self.close or self.peek and self.abort):
            raise HangUp(b'CLIENT_ERROR cannot combine open, close, peek and abort')

    def fetches(self):
        return not self.abort and (self.open or not self.close)


def do_get(session, request):
    words = request.words
    if len(words) == 2 and words[1] and b'/' not in words[1]:
        # the plain get of one queue: the commonest of all
        name = words[1]
        if session.reads is not None:
            _check_fetch(session, name, False, session.open_count(name))
        if session.reads_refused:
            session.check_reads()
        item = session.get(name, 0, False)
        return END if item is None else _value(request, name, item, LINE_END_AND_END)
    if len(words) == 1:
        raise RequestError(NAME_REQUIRED)
    keys = [GetKey(word) for word in words[1:]]
    if len(keys) == 1:
        key = keys[0]
        item = _get_key(session, key)
        return END if item is None else _value(request, key.name, item, LINE_END_AND_END)
    _check_keys(session, keys)
    for key in keys:
        if session.connection.gone:
            # nothing more is taken for a client that cannot get it (D61)
            break
        item = _get_key(session, key)
        if item is not None:
            session.connection.write(_value(request, key.name, item, LINE_END))
    return END


def _get_key(session, key):
    """Rows 5 to 16 of spec memcache 4.1. -> Item or None."""
    name = key.name
    if key.abort:
        session.abort(name)
        return None
    if key.close:
        session.confirm(name, 1)
        if not key.open:
            return None
    if not key.peek:
        # row 9 stands between the two checks of open reads
        count = session.open_count(name)
        if not key.open:
            _check_fetch(session, name, False, count)
        session.check_reads()
        if key.open:
            _check_fetch(session, name, True, count)
        return session.get(name, key.timeout, key.open)
    session.check_reads()
    return session.peek(name, key.timeout)


def _check_fetch(session, name, opening, count):
    """Rows 8 and 10: may a session with ``count`` open reads on a queue fetch from it?"""
    if opening:
        if count >= session.max_open:
            raise HangUp(b'ERROR too many open reads (limit %d)' % session.max_open)
    elif count:
        raise HangUp(b'ERROR open read in progress on queue ' + name)


def _check_keys(session, keys):
    """All keys are checked before the first is worked off, so that an error takes nothing (D23).

    A key that opens is taken to find an item: what stands behind it is checked against that.
    """
    counts = {}
    for key in keys:
        name = key.name
        count = counts.get(name)
        if count is None:
            count = session.open_count(name)
        if (key.abort or key.close) and count:
            count -= 1
        if key.fetches():
            session.check_reads()
            if not key.peek:
                _check_fetch(session, name, key.open, count)
            session.collection.check_readable(name)
            if key.open:
                count += 1
        counts[name] = count


def _value(request, name, item, tail):
    """``VALUE <q> <flags> <len>``, the data and what ends it, in one buffer; gets adds a cas number (D60)."""
    data = item.data
    size = len(data)
    length = _DECIMAL[size] if size < DECIMALS else b'%d' % size
    flags = b' 0 ' if item.flags == 0 else b' %d ' % item.flags
    line_end = b' 0\r\n' if request.verb == b'gets' else LINE_END
    return b''.join((b'VALUE ', name, flags, length, line_end, data, tail))


# -- monitor, confirm ----------------------------------------------------------------------------------------------

def do_monitor(session, request):
    words = request.words
    if len(words) < 2:
        raise RequestError(NAME_REQUIRED)
    name = words[1]
    if len(words) < 3:
        raise RequestError(b'CLIENT_ERROR queue name and seconds required')
    seconds = _number(words[2])
    most = session.max_open if len(words) < 4 else _number(words[3])
    session.check_reads()
    session.collection.check_readable(name)
    session.stats.cmd_monitor += 1
    clock = session.clock
    connection = session.connection
    deadline = clock.monotonic() + seconds
    sent = 0
    while (sent != most or most < 0) and session.open_count(name) < session.max_open and not connection.gone:
        left = deadline - clock.monotonic()
        if left <= 0 or seconds <= 0:
            break
        item = session.monitor_step(name, left * 1000)
        if item is None:
            break
        sent += 1
        connection.write(_value(request, name, item, LINE_END_AND_END))
        if sent % TURN == 0:
            connection.pause()
    return END


def do_confirm(session, request):
    words = request.words
    name = _name(words)
    if len(words) < 3:
        raise RequestError(b'CLIENT_ERROR queue name and count required')
    count = _number(words[2])
    opened = session.open_count(name)
    if count < 1 or count > opened:
        raise RequestError(b'ERROR not that many open reads (%d open)' % opened)
    session.confirm(name, count)
    return END


def _name(words):
    """Word 1, the name of a queue that need not be there."""
    if len(words) < 2:
        raise RequestError(NAME_REQUIRED)
    check_no_cr(words[1])
    check_not_fanout(words[1])
    return words[1]


def _number(word):
    value = parse_bounded(word, I32_MIN, I32_MAX)
    if value is None:
        raise RequestError(b'CLIENT_ERROR bad number')
    return value


# -- delete, flush -------------------------------------------------------------------------------------------------

def _note_noreply(request, first):
    """``noreply`` as the last word, from word ``first`` on: a queue's name is never taken for it (D3)."""
    request.noreply = len(request.words) > first and request.words[-1] == b'noreply'


def do_delete(session, request):
    _note_noreply(request, 2)
    session.check_admin()
    name = _name(request.words)
    session.check_writes()
    session.delete(name)
    return None if request.noreply else DELETED


def do_flush(session, request):
    _note_noreply(request, 2)
    name = _name(request.words)
    session.check_writes()
    session.flush(name)
    return None if request.noreply else END


def do_flush_all(session, request):
    _note_noreply(request, 1)
    session.check_admin()
    session.check_writes()
    session.flush_all()
    return None if request.noreply else b'Flushed all queues.\r\n'


def do_flush_expired(session, request):
    name = _name(request.words)
    session.check_writes()
    return b'%d\r\n' % session.flush_expired(name)


def do_flush_all_expired(session, request):
    return b'%d\r\n' % session.flush_all_expired()


# -- looking -------------------------------------------------------------------------------------------------------

def do_stats(session, request):
    for key, value in report.server_lines(session.services):
        session.connection.write(b'STAT %b %b\r\n' % (key, value))
    for name in _in_turns(session, session.collection.names()):
        queue = session.collection.lookup(name)
        if queue is not None:
            prefix = b'STAT queue_' + name
            session.connection.write(b''.join(
                [b'%b_%b %b\r\n' % (prefix, key, value) for key, value in report.queue_lines(queue)]))
    return END


def _in_turns(session, names):
    """The names; others get their turn before the first and after each hundred."""
    for number, name in enumerate(names):
        if number % 100 == 0:
            session.connection.pause()
        yield name


def do_dump_stats(session, request):
    return _dump(session, request, report.queue_lines)


def do_dump_config(session, request):
    config = session.collection.config
    return _dump(session, request, lambda queue: report.config_lines(config, queue))


def _dump(session, request, lines_of):
    names = request.words[1:] or session.collection.names()
    for name in _in_turns(session, names):
        queue = session.collection.lookup(name)
        lines = [] if queue is None else lines_of(queue)
        body = b'\r\n  '.join([key + b'=' + value for key, value in lines])
        session.connection.write(b"queue '%b' {\r\n  %b\r\n}\r\n" % (name, body))
    return END if names else b'\r\nEND\r\n'


def do_version(session, request):
    return b'VERSION %b\r\n' % __version__.encode('ascii')


# -- running the server --------------------------------------------------------------------------------------------

def do_status(session, request):
    if len(request.words) == 1:
        return session.services.control.status().upper().encode('ascii') + b'\r\n'
    session.check_admin()
    status = request.words[1].lower()
    if status == b'down':
        raise HangUp(b'CLIENT_ERROR status not allowed')
    if status not in STATUS_NAMES:
        raise HangUp(b'CLIENT_ERROR unknown status')
    raise RequestError(b'SERVER_ERROR changing the status is not supported yet')


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
