"""The thrift port for the model test, see ``model_memcache``: calls as frames and what the model says (thrift 2-5)."""

import re

from kestrel import __version__
from kestrel.handlers.thrift import ThriftHandler
from kestrel.thrift_gen import Kestrel
from kestrel.thrift_gen.ttypes import Item, QueueInfo, Status
from support.model_memcache import ERRORS, Command
from support.model_parts import Refused
from support.model_stats import queue_stats
from support.thrift_calls import call, framed, message
from thrift.Thrift import TApplicationException, TMessageType
from thrift.transport.TTransport import TMemoryBuffer
from thrift.protocol.TBinaryProtocol import TBinaryProtocol

STATUSES = {'up': Status.UP, 'readonly': Status.READ_ONLY, 'quiescent': Status.QUIESCENT}
AUTO_ABORT = 2500           # ms
# The field of a QueueInfo that no model knows: the size of the journal.
JOURNAL_BYTES = re.compile(rb'(\x0a\0\x04).{8}', re.DOTALL)


class Thrift:

    handler = ThriftHandler
    shares_reads = True

    @staticmethod
    def task(command, model, client):
        """Do the call to the model; the client gets the reply. No error closes the connection."""
        try:
            found = yield from command.steps(model, client)
            result = getattr(Kestrel, command.method + '_result')()
            if hasattr(result, 'success'):
                result.success = found
            kind, body = TMessageType.REPLY, encode(result)
        except Refused as refused:
            # D1: the line of the memcache port without its first word
            why = (ERRORS[refused.why][0] % refused.shown).partition(b' ')[2].decode()
            kind = TMessageType.EXCEPTION
            body = encode(TApplicationException(TApplicationException.INTERNAL_ERROR, why))
        client.out += framed(message(command.method, kind, body=body))

    @staticmethod
    def put(name, items, exptime=0, **_):
        def steps(model, client):
            yield from ()
            model.check_writes(client, name)
            expiry = max(1, exptime * 1000 + model.wall) if exptime else 0
            for target, decides in model.targets(name):
                if decides:
                    model.check_enqueue(target, name)
            for count, data in enumerate(items):
                if not model.put(name, data, 0, expiry):
                    return count
            return len(items)
        return ThriftCommand('put', steps, queue_name=name.decode(), items=items, expiration_msec=exptime * 1000)

    def get(self, keys, word=None):
        """Of the first key: ``open`` makes open reads, ``peek`` a peek; ``close`` and ``abort`` end the oldest one of
        that queue that is known, whoever opened it."""
        key = keys[0]
        if key.has(b'peek'):
            return self.peek(key.name)
        if key.has(b'close'):
            return self.confirm(key.name, 1)
        if key.has(b'abort'):
            return self.abort(key.name, 1)
        return self.take(key.name, 1, key.timeout or 0, key.has(b'open'))

    def monitor(self, name, seconds, most=None):
        return self.take(name, -1 if most is None else most, seconds * 1000, True)

    @staticmethod
    def take(name, most, timeout, opening):
        def steps(model, client):
            model.check_reads(client, name)
            model.check_dequeue(name)
            items = []
            opened = []

            def tell(item):
                items.append(Item(item.data, 0))
                if opening:
                    opened.append(client.reads[name][-1])
                    items[-1].id = opened[-1].id
            if timeout >= 0 and most:
                yield from model.monitor(client, name, timeout, None if most < 0 else most, opening, tell)
            if opening and client.leaving:
                model.abort_ids([read.id for read in opened])
                return []
            if opening:
                model.let_run([read for read in opened if not read.back], AUTO_ABORT)
            return items
        return ThriftCommand('get', steps, queue_name=name.decode(), max_items=most, timeout_msec=timeout,
                             auto_abort_msec=AUTO_ABORT if opening else 0)

    @staticmethod
    def confirm(name, count):
        """So many of the oldest open reads of that queue, and one that nobody knows if ``count`` is not positive."""
        return lambda model: ThriftCommand('confirm', steps_of(model.confirm_ids, ids := ids_of(model, name, count)),
                                           queue_name=name.decode(), ids=ids)

    @staticmethod
    def abort(name, count):
        return lambda model: ThriftCommand('abort', steps_of(model.abort_ids, ids := ids_of(model, name, count)),
                                           queue_name='other', ids=ids)

    @staticmethod
    def peek(name):
        def steps(model, client):
            model.check_reads(client, name)
            model.numbers['cmd_peek'] += 1
            item = yield from model.obtain(client, name, 0, peek=True)
            queue = model.unmasked(name)
            if queue is None:
                return QueueInfo(None, 0, 0, 0, 0, 0, 0)
            found = queue_stats(model, queue)
            return QueueInfo(None if item is None else item.data, found['items'], found['bytes'], 0, found['age'],
                             found['waiters'], found['open_transactions'])
        return ThriftCommand('peek', steps, queue_name=name.decode())

    @staticmethod
    def delete(name, noreply=False):
        def steps(model, client):
            yield from ()
            model.check_admin()
            model.check_writes(client, name)
            if name not in model.aliases:
                model.delete(name)
        return ThriftCommand('delete_queue', steps, queue_name=name.decode())

    @staticmethod
    def flush(name, noreply=False):
        def steps(model, client):
            yield from ()
            model.check_writes(client, name)
            if name in model.queues:
                model.check_dequeue(name)
            model.flush(name)
        return ThriftCommand('flush_queue', steps, queue_name=name.decode())

    @staticmethod
    def flush_all():
        def steps(model, client):
            yield from ()
            model.check_admin()
            model.check_writes(client, None)
            for name in model.queues:
                model.flush(name)
        return ThriftCommand('flush_all_queues', steps)

    @staticmethod
    def status(word=None):
        def steps(model, client):
            yield from ()
            if word is None:
                return STATUSES.get(model.announced, Status.NOT_CONFIGURED)
            name = word.lower().decode()
            model.ask_status(name if name in STATUSES else 'sideways')
        if word is None:
            return ThriftCommand('current_status', steps)
        return ThriftCommand('set_status', steps, status=STATUSES.get(word.lower().decode(), Status.NOT_CONFIGURED))

    @staticmethod
    def fixed(number):
        def steps(model, client):
            yield from ()
            return __version__
        return ThriftCommand('get_version', steps)


class ThriftCommand(Command):

    def __init__(self, method, steps, **arguments):
        shown = ', '.join(['%s=%r' % argument for argument in arguments.items()])
        super().__init__(call(method, **arguments), steps, shown='%s(%s)' % (method, shown))
        self.method = method


def ids_of(model, name, count):
    found = [number for number, read in sorted(model.ids.items()) if read.queue.name == name]
    return set(found[:count]) if count > 0 else {*found[:1], 1000000}


def steps_of(function, ids):
    def steps(model, client):
        yield from ()
        return function(ids)
    return steps


def encode(struct):
    buffer = TMemoryBuffer()
    struct.write(TBinaryProtocol(buffer))
    return buffer.getvalue()


def known_reply(reply):
    """Without what no model can know."""
    return JOURNAL_BYTES.sub(rb'\1' + bytes(8), reply)
