"""The memcache port's reading commands: get, gets, monitor, confirm (spec memcache 4.1, 4.4, 4.5)."""

from kestrel.errors import HangUp, RequestError
from kestrel.protocol.numbers import I32_MAX, I32_MIN, parse_bounded
from kestrel.queue_collection import check_no_cr

END = b'END\r\n'
LINE_END = b'\r\n'
LINE_END_AND_END = b'\r\nEND\r\n'
VALUE = b'VALUE '
SLASH = 47
NAME_REQUIRED = b'CLIENT_ERROR queue name required'

# lengths of items as words: looking one up takes a fifth of the time of formatting it
DECIMALS = 4097
_DECIMAL = [b'%d' % number for number in range(DECIMALS)]


# keys that were read already, see ``key_of``: what a word says does not change
MOST_KEYS = 256
_KEYS = {}

# The compiled module has this from byte_calls.pxd; written like this, Cython sees no second definition.
globals()['join7'] = lambda *parts: b''.join(parts)


# -- words ---------------------------------------------------------------------------------------------------------

def queue_name(words):
    """Word 1, the name of a queue that need not be there."""
    if len(words) < 2:
        raise RequestError(NAME_REQUIRED)
    check_no_cr(words[1])
    return words[1]


def i32(word):
    value = parse_bounded(word, I32_MIN, I32_MAX)
    if value is None:
        raise RequestError(b'CLIENT_ERROR bad number')
    return value


# -- get -----------------------------------------------------------------------------------------------------------

class GetKey:
    """One key of a get: a queue name and its options (spec memcache 4.1). Nobody changes it."""

    __slots__ = ('name', 'timeout', 'open', 'close', 'abort', 'peek')

    def __init__(self, key):
        parts = key.split(b'/')
        self.name = parts[0]
        check_no_cr(self.name)
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


def key_of(word):
    """The GetKey of a word. Consumers ask for the same again and again, so the last ones are kept."""
    key = _KEYS.get(word)
    if key is None:
        key = GetKey(word)
        if len(_KEYS) >= MOST_KEYS:
            _KEYS.clear()
        _KEYS[word] = key
    return key


def do_get(session, request):
    words = request.words
    name = words[1] if len(words) == 2 else b''
    if name and SLASH not in name:
        # the plain get of one queue: the commonest of all
        if session.reads is not None:
            _check_fetch(session, name, False, session.open_count(name))
        if session.reads_refused or session.services.reads_blocked:
            check_no_cr(name)
            session.check_reads(name)
        item = session.get(name, 0, False)
        return END if item is None else _value(request, name, item, LINE_END_AND_END)
    if len(words) == 1:
        raise RequestError(NAME_REQUIRED)
    if len(words) == 2:
        key = key_of(words[1])
        item = _get_key(session, key, False)
        return END if item is None else _value(request, key.name, item, LINE_END_AND_END)
    keys = [key_of(word) for word in words[1:]]
    _check_keys(session, keys)
    for key in keys:
        if session.connection.gone:
            # nothing more is taken for a client that cannot get it (D61)
            break
        item = _get_key(session, key, True)
        if item is not None:
            session.connection.write(_value(request, key.name, item, LINE_END))
    return END


def _get_key(session, key, checked):
    """Rows 5 to 16 of spec memcache 4.1. -> Item or None. ``checked``: rows 8 to 10 and 13 have been looked at."""
    name = key.name
    if key.abort:
        session.abort(name)
        return None
    if key.close:
        if key.open and session.max_open > 0:
            item = session.get_next(name)
            if item is not None:
                return item
        session.confirm(name, 1)
        if not key.open:
            return None
    if checked:
        # once: what has changed while a key before this one waited does not end the request in the middle (D23)
        return session.peek(name, key.timeout) if key.peek else session.get(name, key.timeout, key.open, True)
    if not key.peek:
        # row 9 stands between the two checks of open reads
        count = session.open_count(name)
        if not key.open:
            _check_fetch(session, name, False, count)
        session.check_reads(name)
        if key.open:
            _check_fetch(session, name, True, count)
        return session.get(name, key.timeout, key.open)
    session.check_reads(name)
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

    A key that opens is taken to find an item, but on an alias: what stands behind it is checked against that.
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
            if not (key.peek or key.open):
                _check_fetch(session, name, False, count)
            # row 9 stands between the two checks of open reads
            session.check_reads(name)
            if key.open:
                _check_fetch(session, name, True, count)
            session.collection.check_readable(name)
            if not key.peek:
                session.check_dequeue(name)
            if key.open and name not in session.collection.aliases:
                count += 1
        counts[name] = count
    for key in keys:
        if key.fetches():
            session.subscribe(key.name)


def _value(request, name, item, tail):
    """``VALUE <q> <flags> <len>``, the data and what ends it, in one buffer; gets adds a cas number (D60)."""
    data = item.data
    size = len(data)
    length = _DECIMAL[size] if size < DECIMALS else b'%d' % size
    flags = b' 0 ' if item.flags == 0 else b' %d ' % item.flags
    line_end = b' 0\r\n' if request.verb == b'gets' else LINE_END
    return join7(VALUE, name, flags, length, line_end, data, tail)


# -- monitor, confirm ----------------------------------------------------------------------------------------------

def do_monitor(session, request):
    words = request.words
    name = queue_name(words)
    if len(words) < 3:
        raise RequestError(b'CLIENT_ERROR queue name and seconds required')
    seconds = i32(words[2])
    most = session.max_open if len(words) < 4 else i32(words[3])
    for item in session.monitor(name, seconds * 1000, most):
        session.connection.write(_value(request, name, item, LINE_END_AND_END))
    return END


def do_confirm(session, request):
    words = request.words
    name = queue_name(words)
    if len(words) < 3:
        raise RequestError(b'CLIENT_ERROR queue name and count required')
    count = i32(words[2])
    opened = session.open_count(name)
    if count < 1 or count > opened:
        raise RequestError(b'ERROR not that many open reads (%d open)' % opened)
    session.confirm(name, count)
    return END
