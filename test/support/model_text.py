"""The text port for the model test, see ``model_memcache``: requests as bytes and what the model says (text 1-4)."""

from kestrel import __version__
from kestrel.handlers.text import TextHandler
from support.model_memcache import Command
from support.model_parts import Refused

ERRORS = {
    'queue name required': b'Queue name required.',
    'bad name': b'Bad queue name.',
    'bad timeout': b'Error parsing timeout.',
    'bad number': b'Error parsing count.',
    'unknown command': b'Unknown command: bogus',
    'unknown status': b'Unknown status.',
    'status not allowed': b'Status forbidden.',
    'admin commands': b'Admin commands are disabled.',
    'too many open reads': b'Too many open transactions; limit=%d',
    'not that many': b'Not that many transactions open.',
}
BLOCKED = ('read-only', 'not available', 'too many connections')
DONE = b'+0\n'
NO_ITEM = b'*\n'


class Text:

    handler = TextHandler
    shares_reads = False

    @staticmethod
    def task(command, model, client):
        """Do the command to the model; the client gets the reply. No error closes the connection."""
        try:
            yield from command.steps(model, client)
        except Refused as refused:
            if refused.why in BLOCKED:
                line = b'Server not available for operation ' + command.operation
            elif refused.why == 'client id':
                line = (b'The operation %b is disallowed on queue %b. ClientId not specified when queue %b only allows'
                        b' a white-listed clientId' % (b'add' if command.operation == b'setItem' else b'remove',
                                                       refused.shown[0], refused.shown[0]))
            else:
                line = ERRORS[refused.why]
                line = line % refused.shown if b'%' in line else line
            client.out += b'-%b\n' % line

    @staticmethod
    def put(name, items, exptime=0, **_):
        """An expiry of 0 is not sent: here it would mean now."""
        def steps(model, client):
            expiry = max(1, exptime * 1000 + model.wall) if exptime else 0
            model.check_writes(client, name)
            client.out += b'+%d\n' % sum([model.put(name, data, 0, expiry) for data in items])
            yield from ()
        after = b' %d' % (exptime * 1000) if exptime else b''
        return TextCommand(b'put %b%b:\n%b\n\n' % (name, after, b'\n'.join(items)), steps, b'setItem')

    @staticmethod
    def get(keys, word=None):
        """Of the first key alone, whose ``peek`` makes it a peek; it has no other options here."""
        key = keys[0]
        peek = key.has(b'peek')

        def steps(model, client):
            name = key.name
            limit = model.server['max_open_transactions']
            model.confirm(client, name, client.open_count(name))
            model.check_reads(client, name)
            if not peek and limit < 1:
                raise Refused('too many open reads', limit)
            model.numbers['cmd_peek' if peek else 'cmd_get'] += 1
            if not peek:
                if b'+' in name and name not in model.aliases:
                    model.need(name)
                model.check_dequeue(name)
            item = yield from model.obtain(client, name, key.timeout or 0, not peek, peek)
            client.out += NO_ITEM if item is None else b':%b\n' % item.data
        after = b'' if key.timeout is None else b' %d' % key.timeout
        return TextCommand(b'%b %b%b\n' % (b'peek' if peek else b'get', key.name, after), steps, b'getItem')

    @staticmethod
    def monitor(name, seconds, most=None):
        """It knows no number of items."""
        def steps(model, client):
            model.confirm(client, name, client.open_count(name))
            model.check_reads(client, name)
            model.check_dequeue(name)

            def tell(item):
                client.out += b':%b\n' % item.data
            if seconds > 0:
                yield from model.monitor(client, name, seconds * 1000, None, True, tell)
            client.out += NO_ITEM
        return TextCommand(b'monitor %b %d\n' % (name, seconds * 1000), steps, b'monitorUntil')

    @staticmethod
    def confirm(name, count):
        def steps(model, client):
            yield from ()
            if not 1 <= count <= client.open_count(name):
                raise Refused('not that many')
            model.confirm(client, name, count)
            client.out += b'+%d\n' % count
        return TextCommand(b'confirm %b %d\n' % (name, count), steps)

    @staticmethod
    def delete(name, noreply=False):
        def steps(model, client):
            model.check_admin()
            model.check_writes(client, name)
            if name not in model.aliases:
                model.delete(name)
            client.out += DONE
            yield from ()
        return TextCommand(b'delete %b\n' % name, steps, b'delete')

    @staticmethod
    def flush(name, noreply=False):
        def steps(model, client):
            model.check_writes(client, name)
            if name in model.queues:
                model.check_dequeue(name)
            model.flush(name)
            client.out += DONE
            yield from ()
        return TextCommand(b'flush %b\n' % name, steps, b'flush')

    @staticmethod
    def status(word=None):
        def steps(model, client):
            yield from ()
            if word is None:
                client.out += b':%b\n' % model.announced.upper().encode()
            else:
                model.ask_status(word.lower().decode())
                client.out += DONE
        return TextCommand(b'status\n' if word is None else b'status %b\n' % word, steps)

    @staticmethod
    def quit():
        def steps(model, client):
            client.out += DONE
            client.closing = True
            yield from ()
        return TextCommand(b'quit\n', steps)

    @staticmethod
    def shutdown():
        def steps(model, client):
            yield from ()
            model.check_admin()
            client.out += DONE
            model.at(model.now + 100, model.stop)
        return TextCommand(b'shutdown\n', steps)

    @staticmethod
    def fixed(number):
        """One of ``FIXED``, whose replies no queue changes."""
        request, answer = FIXED[number % len(FIXED)]

        def steps(model, client):
            yield from ()
            if answer in ERRORS:
                raise Refused(answer)
            client.out += answer
        return TextCommand(request + b'\n', steps)


class TextCommand(Command):
    """``operation``: what the command is called where it is not allowed."""

    def __init__(self, request, steps, operation=b''):
        super().__init__(request, steps, shown=request.decode().rstrip('\n').replace('\n', ' | '))
        self.operation = operation


FIXED = [
    (b'version', b':%b\n' % __version__.encode()),
    (b'get', 'queue name required'),
    (b'peek a x', 'bad timeout'),
    (b'monitor a x', 'bad timeout'),
    (b'confirm a x', 'bad number'),
    (b'BOGUS a', 'unknown command'),
    (b'put a', DONE),
    (b'put:\nx\n', 'queue name required'),
]
