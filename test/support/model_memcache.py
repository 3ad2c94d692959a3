"""The memcache port for the model test: requests as bytes, and what the model says the replies are (memcache 4, D1).

A protocol is a class with ``handler``, ``task`` and a method for each command it has, which returns a Command
(``model_text``, ``model_thrift``). ``shares_reads``: any connection may end its open reads, which have ids.
"""

from kestrel import __version__
from kestrel.handlers.memcache import MemcacheHandler
from support.model_parts import Refused

# The errors of D1, and whether the connection is closed then.
ERRORS = {
    'queue name required': (b'CLIENT_ERROR queue name required', False),
    'cannot combine': (b'CLIENT_ERROR cannot combine open, close, peek and abort', True),
    'bad name': (b'CLIENT_ERROR bad queue name', False),
    'bad timeout': (b'CLIENT_ERROR bad timeout', False),
    'bad number': (b'CLIENT_ERROR bad number', False),
    'unknown command': (b'CLIENT_ERROR unknown command', False),
    'unknown status': (b'CLIENT_ERROR unknown status', True),
    'status not allowed': (b'CLIENT_ERROR status not allowed', True),
    'admin commands': (b'CLIENT_ERROR admin commands are disabled', False),
    'too many open reads': (b'ERROR too many open reads (limit %d)', True),
    'open read in progress': (b'ERROR open read in progress on queue %b', True),
    'not that many': (b'ERROR not that many open reads (%d open)', False),
    'read-only': (b'SERVER_ERROR queue %b is read-only', True),
    'not available': (b'SERVER_ERROR queue %b is not available', True),
    'server read-only': (b'SERVER_ERROR server is read-only', True),
    'server not available': (b'SERVER_ERROR server is not available', True),
    'too many connections': (b'SERVER_ERROR too many connections (limit %d)', True),
    'client id': (b'SERVER_ERROR client id required for queue %b', True),
    'bad configuration': (b'SERVER_ERROR bad configuration', False),
}
END = b'END\r\n'
ABSOLUTE_FROM = 1000000     # seconds


class Command:
    """``request``: bytes; ``steps(model, client)``: a generator that does it to the model; ``quiet``: noreply (D3);
    ``shown``: the request for people, str."""

    def __init__(self, request, steps, quiet=False, shown=None):
        self.request = request
        self.shown = shown or request.decode()[:-2].replace('\r\n', ' | ')
        self.steps = steps
        self.quiet = quiet


class Key:
    """One key of a get: ``options`` are a subset of open, close, abort and peek; ``timeout`` in ms, or None."""

    def __init__(self, name, options, timeout):
        self.name = name
        self.options = options
        self.timeout = timeout

    def word(self):
        timeout = () if self.timeout is None else (b't=%d' % self.timeout,)
        return b'/'.join((self.name, *self.options, *timeout))

    def has(self, option):
        return option in self.options

    def fetches(self):
        return not self.has(b'abort') and (self.has(b'open') or not self.has(b'close'))

    def check(self):
        """Row 4."""
        both = len({b'peek', b'abort'}.intersection(self.options))
        if both == 2 or both and (self.has(b'open') or self.has(b'close')):
            raise Refused('cannot combine')


class Memcache:

    handler = MemcacheHandler
    shares_reads = False

    @staticmethod
    def task(command, model, client):
        """Do the command to the model; the client gets the reply."""
        sent = len(client.out)
        try:
            yield from command.steps(model, client)
        except Refused as refused:
            line, closes = ERRORS[refused.why]
            client.out += line % refused.shown + b'\r\n'
            client.closing = closes or command.quiet
        if command.quiet:
            client.out = client.out[:sent]

    # -- set -------------------------------------------------------------------------------------------------------

    @staticmethod
    def put(name, items, flags=0, exptime=0, durable=False, noreply=False):
        """Of the first item alone."""
        data = items[0]

        def steps(model, client):
            model.check_writes(client, name)
            expiry = 0
            if exptime:
                expiry = max(1, exptime * 1000 + (model.wall if exptime < ABSOLUTE_FROM else 0))
            client.out += b'STORED\r\n' if model.put(name, data, flags, expiry) else b'NOT_STORED\r\n'
            yield from ()
        request = b'set %b%b %d %d %d%b\r\n%b\r\n' % (
            name, b'/sync' if durable else b'', flags, exptime, len(data), b' noreply' if noreply else b'', data)
        return Command(request, steps, noreply)

    # -- get -------------------------------------------------------------------------------------------------------

    def get(self, keys, word=b'get'):
        def steps(model, client):
            for key in keys:
                key.check()
            if len(keys) > 1:
                self._check_keys(model, client, keys)
            for key in keys:
                if not client.gone:
                    item = yield from self._work_off(model, client, key, len(keys) > 1)
                    if item is not None:
                        client.out += self._value(key.name, item, word)
            client.out += END
        return Command(b'%b %b\r\n' % (word, b' '.join([key.word() for key in keys])), steps)

    @staticmethod
    def _value(name, item, word=b'get'):
        return b'VALUE %b %d %d%b\r\n%b\r\n' % (name, item.flags, len(item.data), b' 0' if word == b'gets' else b'',
                                               item.data)

    @staticmethod
    def _check_fetch(model, client, key, count):
        """Rows 8, 9 and 10, for a client with so many open reads on the queue."""
        name = key.name
        if count and not key.has(b'peek') and not key.has(b'open'):
            raise Refused('open read in progress', name)
        model.check_reads(client, name)
        if key.has(b'open') and count >= model.server['max_open_transactions']:
            raise Refused('too many open reads', model.server['max_open_transactions'])

    @staticmethod
    def _check_queue(model, key, several=False):
        """Rows 12 and 13."""
        if key.name not in model.aliases and key.name not in model.queues:
            model.check_name(key.name)
        if b'+' in key.name and key.name not in model.aliases and not several:
            model.need(key.name)
        if not key.has(b'peek'):
            model.check_dequeue(key.name)

    def _check_keys(self, model, client, keys):
        """D23: all keys are checked first; each that opens is taken to find an item, but on an alias."""
        counts = {}
        for key in keys:
            count = counts.get(key.name, client.open_count(key.name))
            if count and (key.has(b'abort') or key.has(b'close')):
                count -= 1
            if key.fetches():
                self._check_fetch(model, client, key, count)
                self._check_queue(model, key, True)
            counts[key.name] = count + (key.has(b'open') and key.name not in model.aliases)
        for key in keys:
            if key.fetches() and b'+' in key.name and key.name not in model.aliases:
                model.need(key.name)

    def _work_off(self, model, client, key, checked):
        """Rows 5 to 16. -> Item or None."""
        name = key.name
        if key.has(b'abort'):
            model.abort(client, name)
        elif key.has(b'close') and client.open_count(name):
            model.confirm(client, name, 1)
        if not key.fetches():
            return None
        if not checked:
            self._check_fetch(model, client, key, client.open_count(name))
        peek = key.has(b'peek')
        model.numbers['cmd_peek' if peek else 'cmd_get'] += 1
        if not checked:
            self._check_queue(model, key)
        return (yield from model.obtain(client, name, key.timeout or 0, key.has(b'open'), peek))

    # -- monitor, confirm ------------------------------------------------------------------------------------------

    def monitor(self, name, seconds, most=None):
        def steps(model, client):
            model.check_reads(client, name)
            if name not in model.queues:
                model.check_name(name)
            model.check_dequeue(name)

            def tell(item):
                client.out += self._value(name, item) + END
            if seconds > 0:
                yield from model.monitor(client, name, seconds * 1000, most, True, tell)
            client.out += END
        return Command(b'monitor %b %d%b\r\n' % (name, seconds, b'' if most is None else b' %d' % most), steps)

    @staticmethod
    def confirm(name, count):
        def steps(model, client):
            opened = client.open_count(name)
            if not 1 <= count <= opened:
                raise Refused('not that many', opened)
            model.confirm(client, name, count)
            client.out += END
            yield from ()
        return Command(b'confirm %b %d\r\n' % (name, count), steps)

    # -- delete, flush ---------------------------------------------------------------------------------------------

    @staticmethod
    def delete(name, noreply=False):
        def steps(model, client):
            model.check_admin()
            model.check_writes(client, name)
            if name not in model.aliases:
                model.delete(name)
            client.out += b'DELETED\r\n'
            yield from ()
        return Command(b'delete %b%b\r\n' % (name, b' noreply' if noreply else b''), steps, noreply)

    @staticmethod
    def flush(name, noreply=False):
        def steps(model, client):
            model.check_writes(client, name)
            if name in model.queues:
                model.check_dequeue(name)
            model.flush(name)
            client.out += END
            yield from ()
        return Command(b'flush %b%b\r\n' % (name, b' noreply' if noreply else b''), steps, noreply)

    @staticmethod
    def flush_all():
        def steps(model, client):
            model.check_admin()
            model.check_writes(client, None)
            for name in model.queues:
                model.flush(name)
            client.out += b'Flushed all queues.\r\n'
            yield from ()
        return Command(b'flush_all\r\n', steps)

    @staticmethod
    def flush_expired(name):
        def steps(model, client):
            model.check_writes(client, name)
            client.out += b'%d\r\n' % model.flush_expired(name)
            yield from ()
        return Command(b'flush_expired %b\r\n' % name, steps)

    @staticmethod
    def flush_all_expired():
        def steps(model, client):
            client.out += b'%d\r\n' % sum([model.flush_expired(name) for name in sorted(model.queues)])
            yield from ()
        return Command(b'flush_all_expired\r\n', steps)

    # -- the server ------------------------------------------------------------------------------------------------

    @staticmethod
    def status(word=None):
        def steps(model, client):
            yield from ()
            if word is None:
                client.out += model.announced.upper().encode() + b'\r\n'
                return
            model.ask_status(word.lower().decode())
            client.out += END
        return Command(b'status\r\n' if word is None else b'status %b\r\n' % word, steps)

    @staticmethod
    def reload(configuration):
        """``configuration``: what the file says now; None: nothing that could be used (D27)."""
        def steps(model, client):
            yield from ()
            model.check_admin()
            if configuration is None:
                raise Refused('bad configuration')
            model.apply(configuration)
            client.out += b'Reloaded config.\r\n'
        return Command(b'reload\r\n', steps)

    @staticmethod
    def quit():
        def steps(model, client):
            client.closing = True
            yield from ()
        return Command(b'quit\r\n', steps)

    @staticmethod
    def shutdown():
        def steps(model, client):
            yield from ()
            model.check_admin()
            client.closing = True
            model.at(model.now + 100, model.stop)
        return Command(b'shutdown\r\n', steps)

    @staticmethod
    def fixed(number):
        """One of ``FIXED``, whose replies no queue changes."""
        request, answer = FIXED[number % len(FIXED)]

        def steps(model, client):
            yield from ()
            if answer in ERRORS:
                raise Refused(answer)
            client.out += answer
        return Command(request + b'\r\n', steps)


FIXED = [
    (b'version', b'VERSION %b\r\n' % __version__.encode()),
    (b'get', 'queue name required'),
    (b'get /', 'queue name required'),
    (b'get a/t=x', 'bad timeout'),
    (b'monitor a x', 'bad number'),
    (b'confirm a x', 'bad number'),
    (b'unknown', 'unknown command'),
    (b'', 'unknown command'),
    (b'cas a 0 0 1 1\r\nx', 'unknown command'),
    (b'set a.b 0 0 1\r\nx', 'bad name'),
    (b'set a/b 0 0 1\r\nx', 'bad name'),
]
