"""Clients at work on a Process whose queues have tiny files, noted in the log of its Recorder.

The workload knows what each queue holds, because it does one thing after the other, and compares as it goes.
"""

import collections
import itertools
import logging
import math
import os
import tempfile

from crash.process import Process, pause
from crash.promises import Operation
from crash.recorder import Recorder
from crash.tiny import DEFAULTS, some_queues
from support.clock import MovedClock
from support.fakes import FakeConfig
from support.spool import LogLines

CLIENTS = 6
MOST_OPEN = 5   # of one client in one queue


class Contents:
    """Of a queue: keys (data, flags).

    waiting  all that were put and not taken out, head first, those that wait for an fsync included
    opened   in the order in which they were opened
    expiry   {key: ms}
    killed   a process that wrote to its files was killed, and nothing has been written since: then nobody
             has fsynced what that one had not. ``first``: the current file after the start and its size
    dropped  how many the queue says it has dropped, and which instance of it
    drop     the Operation, of which the begin is noted already, that gets what the queue drops next, or None
    """

    def __init__(self):
        self.waiting = collections.deque()
        self.opened = []
        self.expiry = {}
        self.instance = None
        self.killed = False
        self.first = None
        self.dropped = 0
        self.drop = None


class Client:
    """A session and what it has open: {queue: [key, or None if its queue was deleted]}."""

    def __init__(self, process, queues):
        self.session = process.client()
        self.opened = {queue: [] for queue in queues}
        self.request = None
        self.queue = None

    def is_busy(self):
        return self.request is not None and not self.request.dead


class Workload:
    """``recorder`` has the log, ``counts`` how often each thing was done. Close it at the end.

    chance  random.Random, decides everything
    """

    def __init__(self, chance):
        self.chance = chance
        self.folder = tempfile.TemporaryDirectory()
        self.recorder = Recorder(os.fsencode(self.folder.name), pause)
        self.clock = MovedClock()
        self.log = LogLines()
        self.logger = logging.Logger('workload')
        self.logger.addHandler(self.log)
        self.queues = some_queues(chance)
        self.contents = {queue: Contents() for queue in self.queues}
        self.filling = dict.fromkeys(self.queues, True)
        self.numbers = itertools.count(1)
        self.counts = collections.Counter()
        self.process = None
        self.clients = []
        self.start()

    def close(self):
        self.process.end()
        self.folder.cleanup()

    # --- the process

    def start(self):
        self.counts['start'] += 1
        config = FakeConfig(self.queues, **DEFAULTS)
        self.process = Process(self.recorder, self.clock, config, self.logger, self.chance)
        self.clients = [Client(self.process, self.queues) for _ in range(CLIENTS)]
        for name, contents in self.contents.items():
            contents.instance = self.process.collection.lookup(name)
            contents.dropped = 0
            contents.first = self.current(contents.instance)
            if contents.instance.count != len(contents.waiting):
                raise AssertionError('%r: %d items after a start, not %d' % (name, contents.instance.count,
                                                                             len(contents.waiting)))

    def stop(self):
        """A stop of the server, and a start."""
        self.counts['stop'] += 1
        if self.chance.random() < 0.5:
            self.finish()
        for client in self.clients:
            client.session.connection.leave()
            if not client.is_busy():
                self.hang_up(client)
        self.finish()
        for client in self.clients:
            self.hang_up(client)
        for contents in self.contents.values():
            self.look_for_writes(contents)
        self.process.stop()
        for name in self.queues:
            self.note_durable('stopped', name)
        self.process.end()
        self.start()

    def kill(self):
        """The process is killed, the next one goes on."""
        self.counts['kill'] += 1
        self.process.end()
        backed_out = []
        for name, contents in self.contents.items():
            self.look_for_writes(contents)
            contents.killed = True
            if contents.opened:
                backed_out.append(self.begin('abort', name, contents.opened))
                contents.waiting.extendleft(reversed(contents.opened))
                contents.opened = []
        self.start()
        for operation in backed_out:
            self.end(operation)

    def finish(self):
        """Let all threads end what they do."""
        while self.go_on():
            pass

    def go_on(self):
        self.let_parked_ones_drop(0)
        went_on = self.process.hub.work()
        self.note_all_drops()
        return went_on

    def settle(self):
        """Nobody does anything for so long that everything must have been fsynced, unless it never is."""
        self.counts['settle'] += 1
        for _ in range(2):
            self.finish()
            self.advance(0.011)
        self.finish()
        for name, contents in self.contents.items():
            self.look_for_writes(contents)
            if self.queues[name]['sync_journal'] is not None:
                self.note_durable('settled', name)

    def note_durable(self, what, name):
        contents = self.contents[name]
        # nobody makes the end of a queue durable
        if contents.instance is not None and not contents.killed:
            self.recorder.note(what, Operation(what, name))

    @staticmethod
    def current(queue):
        file = queue.journal.files.current
        return file, file.size

    def look_for_writes(self, contents):
        if contents.instance is None or self.current(contents.instance) != contents.first:
            contents.killed = False

    def advance(self, seconds):
        self.let_parked_ones_drop(seconds * 1000)
        self.process.advance(seconds)
        self.note_all_drops()

    def let_parked_ones_drop(self, ms):
        """Whoever waits for an item may drop those that expire in so much time."""
        for name in {client.queue for client in self.clients if client.is_busy()}:
            self.may_drop(name, self.clock.now_ms() + ms)

    # --- notes

    def begin(self, kind, queue, items=(), durable=False):
        operation = Operation(kind, queue, list(items), durable)
        self.recorder.note('begin', operation)
        return operation

    def end(self, operation):
        self.counts[operation.kind] += 1
        self.recorder.note('end', operation)

    def may_drop(self, name, now):
        """The queue may drop items from here on: those that have expired, or one to make room."""
        contents = self.contents[name]
        keys = (*contents.waiting, *contents.opened)
        if len(contents.waiting) >= self.queues[name].get('max_items', math.inf) or any(
                0 < contents.expiry[key] < now for key in keys):
            contents.drop = self.begin('get', name)

    def note_drops(self, name):
        contents = self.contents[name]
        queue = contents.instance
        if queue is None:
            return
        count = queue.stats.expired_items + queue.stats.discarded - contents.dropped
        if not count:
            return
        contents.dropped += count
        drop, contents.drop = contents.drop, None
        drop.items = [contents.waiting.popleft() for _ in range(count)]
        expired = sum(1 for key in drop.items if 0 < contents.expiry[key] < self.clock.now_ms())
        self.counts['expiry'] += expired
        self.counts['discard'] += count - expired
        self.recorder.note('end', drop)

    def note_all_drops(self):
        for name in self.queues:
            self.note_drops(name)

    # --- requests

    def do_all(self, steps):
        """So many steps; each kind of end of the process is among them."""
        for happening in (self.settle, self.stop, self.kill):
            for _ in range(steps // 3):
                self.step()
            happening()
            self.note_all_drops()

    def step(self):
        """Something happens."""
        happening = self.chance.choices(
            (self.some_request, self.work, self.pass_time, self.settle, self.stop, self.kill),
            (60, 25, 5, 0.4, 0.12, 0.15))[0]
        happening()
        self.note_all_drops()

    def work(self):
        for _ in range(self.chance.choice((1, 3, 10))):
            self.go_on()

    def pass_time(self):
        self.advance(self.chance.choice((0.001, 0.004, 0.01, 0.03)))

    def some_request(self):
        client = self.chance.choice(self.clients)
        if client.is_busy():
            return
        name = self.chance.choice(list(self.queues))
        if self.chance.random() < 0.03:
            self.filling[name] = not self.filling[name]
        requests = {self.put: 90 if self.filling[name] else 12, self.get: 15, self.open: 25, self.flush: 0.9,
                    self.delete: 0.7, self.sweep: 2}
        if client.opened[name]:
            requests.update({self.confirm: 60, self.abort: 12, self.hang_up_once: 1})
        if len(client.opened[name]) >= MOST_OPEN:
            requests[self.open] = 0
        client.queue = name
        self.may_drop(name, self.clock.now_ms())
        self.chance.choices(list(requests), list(requests.values()))[0](client, name)
        self.note_drops(name)
        queue = self.process.collection.lookup(name)
        if queue is not None and queue.reader is not None:
            self.counts['read-behind'] += 1

    def run(self, client, function, *arguments):
        client.request = self.process.request(function, *arguments)

    def put(self, client, name):
        chance = self.chance
        key = b'%d.' % next(self.numbers) + b'x' * chance.choice((0, 5, 20, 40)), chance.choice((0, 0, 0, 32))
        expiry = self.clock.now_ms() + chance.choice((5, 50)) if chance.random() < 0.15 else 0
        durable = chance.random() < 0.12
        contents = self.contents[name]
        self.counts['sync put'] += durable
        self.counts['flags'] += key[1] > 0
        operation = self.begin('put', name, [key], durable or self.queues[name]['sync_journal'] == 0)
        answers = []

        def request():
            answers.append(client.session.put(name, *key, expiry, durable))
            if answers[0]:
                self.end(operation)
        self.run(client, request)
        queue = self.process.collection.lookup(name)
        if queue is not contents.instance:
            contents.instance = queue
            contents.dropped = 0
        self.note_drops(name)
        if answers and not answers[0]:
            if not queue.tail:
                raise AssertionError('%r refuses a put' % name)
            # it is full of puts that wait for their fsync, which cannot be discarded
            operation.items.clear()
            self.counts['refused'] += 1
            return
        waiting = [other for other in self.clients if other.is_busy() and other.queue == name]
        self.counts['shared fsync'] += len(waiting) > 1
        contents.waiting.append(key)
        contents.expiry[key] = expiry

    def get(self, client, name):
        self.run(client, self._take, client, name, False)

    def open(self, client, name):
        self.run(client, self._take, client, name, True)

    def _take(self, client, name, opening):
        operation = self.begin('open' if opening else 'get', name)
        item = client.session.get(name, self.chance.choice((0, 0, 0, 10)), opening)
        contents = self.contents[name]
        self.note_drops(name)
        if item is not None:
            key = contents.waiting.popleft()
            if (item.data, item.flags) != key:
                raise AssertionError('%r instead of %r' % (item.data, key))
            operation.items.append(key)
            if opening:
                contents.opened.append(key)
                client.opened[name].append(key)
        self.end(operation)

    def confirm(self, client, name):
        count = self.chance.randint(1, len(client.opened[name]))
        keys = self._released(client, name, count)
        operation = self.begin('close', name, keys, self.queues[name]['sync_journal'] == 0)

        def request():
            client.session.confirm(name, count)
            self.end(operation)
        self.run(client, request)

    def abort(self, client, name):
        keys = self._released(client, name, 1)
        operation = self.begin('abort', name, keys)
        client.session.abort(name)
        self.end(operation)
        self.contents[name].waiting.extendleft(keys)

    def _released(self, client, name, count):
        """-> the keys that it has open no longer."""
        keys = [key for key in client.opened[name][:count] if key is not None]
        del client.opened[name][:count]
        for key in keys:
            self.contents[name].opened.remove(key)
        return keys

    def hang_up_once(self, client, name):
        self.hang_up(client)
        self.clients[self.clients.index(client)] = Client(self.process, self.queues)

    def hang_up(self, client):
        self.counts['hang-up'] += 1
        operations = []
        for name in self.queues:
            keys = self._released(client, name, len(client.opened[name]))
            if keys:
                operations.append(self.begin('abort', name, keys))
                self.contents[name].waiting.extendleft(reversed(keys))
        client.session.close()
        for operation in operations:
            self.end(operation)

    def sweep(self, client, name):
        client.session.flush_expired(name)

    def _is_in_use(self, name):
        """Is a request under way, or does a put wait for its fsync?"""
        queue = self.process.collection.lookup(name)
        return queue is not None and len(queue.tail) > 0 or any(
            client.is_busy() and client.queue == name for client in self.clients)

    def flush(self, client, name):
        if self._is_in_use(name):
            return
        operation = self.begin('flush', name)
        client.session.flush(name)
        self.end(operation)
        self.contents[name].waiting.clear()

    def delete(self, client, name):
        if self._is_in_use(name):
            return
        operation = self.begin('delete', name)
        client.session.delete(name)
        self.end(operation)
        contents = self.contents[name]
        contents.waiting.clear()
        contents.opened.clear()
        contents.instance = None
        for other in self.clients:
            other.opened[name] = [None] * len(other.opened[name])
