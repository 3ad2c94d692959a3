"""Mixed load of several clients, each a thread with one connection, noted in a History until the server is gone."""

import random
import socket
import threading

from crash.history import Item, pack, unpack

# With flush and delete nothing can be said of many items, so these hit one queue only.
KEPT_QUEUES = ('never', 'each', 'period')
WIPED_QUEUE = 'wiped'
QUEUES = (*KEPT_QUEUES, WIPED_QUEUE)

MAX_OPEN = 8            # max_open_transactions of the server
SECONDS = 30            # no answer takes longer, except where the server is gone

CONFIG = {
    'server': {'max_open_transactions': MAX_OPEN},
    'queues': {
        'never': {'sync_journal': 'never'},
        'each': {'sync_journal': '0'},
        'period': {'sync_journal': '10ms'},
        'wiped': {'sync_journal': 'never'},
    },
}


class Gone(Exception):
    """The server closed the connection or cannot be reached."""


class WrongReply(Exception):
    """A reply that no request of this load may get."""


class Line:
    """One connection that reads whole replies."""

    def __init__(self, port):
        try:
            self.socket = socket.create_connection(('127.0.0.1', port), timeout=SECONDS)
        except ConnectionError as error:
            raise Gone from error
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._replies = self.socket.makefile('rb')

    def send(self, data):
        try:
            self.socket.sendall(data)
        except ConnectionError as error:
            raise Gone from error

    def line(self):
        """The next line without its end."""
        try:
            line = self._replies.readline()
        except ConnectionError as error:
            raise Gone from error
        if not line.endswith(b'\n'):
            raise Gone
        return line.rstrip(b'\r\n')

    def item(self):
        """The item of an item reply, None of a bare END."""
        line = self.line()
        if line == b'END':
            return None
        words = line.split(b' ')
        if words[0] != b'VALUE' or len(words) != 4:
            raise WrongReply(line)
        size = int(words[3]) + 2
        try:
            data = self._replies.read(size)
        except ConnectionError as error:
            raise Gone from error
        if len(data) < size:
            raise Gone
        self.expect(b'END')
        return unpack(data[:-2])

    def expect(self, *lines):
        """The next line, which must be one of these."""
        line = self.line()
        if line not in lines:
            raise WrongReply(line)
        return line

    def close(self):
        self._replies.close()
        self.socket.close()


class Worker(threading.Thread):
    """One client. ``failure`` is what ended it, None if it was the end of the server."""

    def __init__(self, load, number):
        super().__init__(name=f'{type(self).__name__} {number}')
        self.load = load
        self.history = load.history
        self.number = number
        self.random = random.Random(f'{load.seed} {number}')
        self.failure = None
        self.line = None

    def run(self):
        try:
            self.line = Line(self.load.port)
            while not self.load.over.is_set():
                self.step()
        except Gone:
            return
        except Exception as error:      # told to the test, which fails with it
            self.failure = error
        finally:
            if self.line:
                self.line.close()
            self.load.over.set()
            self.load.reached.set()


class Producer(Worker):
    """Puts: alone, in a pipeline, without replies before one with a reply, with /sync, now and then a large one."""

    def __init__(self, load, number):
        super().__init__(load, number)
        self.count = 0

    def step(self):
        queue = self.random.choice(QUEUES)
        batch = self.random.choice((1, 1, 1, 2, 4, 8))
        quiet = batch > 1 and self.random.random() < 0.3
        request = b''
        operations = []
        for last in [False] * (batch - 1) + [True]:
            item = Item(self.load.round, self.number, self.count)
            self.count += 1
            size = 30000 if self.random.random() < 0.02 else self.random.randrange(20, 300)
            # Not where a Wiper flushes: a flush does not see puts behind one that waits for its fsync (D9), not
            # even those that were answered before it.
            durable = self.random.random() < 0.03 and queue != WIPED_QUEUE
            key = queue + '/sync' if durable else queue
            data = pack(item, size)
            end = b' noreply' if quiet and not last else b''
            request += b'set %s 0 0 %d%s\r\n%s\r\n' % (key.encode(), len(data), end, data)
            operations.append(self.history.begin('put', queue, self.number, [item]))
        self.line.send(request)
        waiting = []
        for place, operation in enumerate(operations):
            waiting.append(operation)
            if quiet and place < batch - 1:
                continue
            # a server that stops may refuse; the puts without a reply before it are then as uncertain as without one
            refused = self.line.expect(b'STORED', b'NOT_STORED') == b'NOT_STORED'
            if not (quiet and refused):
                for answered in waiting:
                    self.history.finish(answered, refused=refused)
            waiting = []
            self.load.answered()


class Consumer(Worker):
    """Gets of all kinds, confirms and aborts, and now and then a hang-up with reads open."""

    def __init__(self, load, number):
        super().__init__(load, number)
        self.client = number
        self.open = {queue: [] for queue in QUEUES}

    def step(self):
        queue = self.random.choice(QUEUES)
        opened = self.open[queue]
        if not opened:
            steps = (self.get, self.get, self.fetch, self.fetch, self.fetch, self.monitor)
        elif len(opened) < MAX_OPEN:
            steps = (self.close, self.close, self.abort, self.close_and_fetch, self.close_and_fetch, self.fetch,
                     self.confirm, self.monitor, self.hang_up)
        else:
            steps = (self.confirm,)
        self.random.choice(steps)(queue, opened)
        self.load.answered()

    def get(self, queue, opened):
        wait = self.random.choice((b'', b'', b'/t=5'))
        operation = self.begin('get', queue)
        self.line.send(b'get %s%s\r\n' % (queue.encode(), wait))
        item = self.line.item()
        self.history.finish(operation, [item] if item else [])

    def fetch(self, queue, opened):
        wait = self.random.choice((b'', b'', b't=5/'))
        operation = self.begin('open', queue, unknown=1)
        self.line.send(b'get %s/%sopen\r\n' % (queue.encode(), wait))
        self.opened(operation, opened)

    def opened(self, operation, opened):
        item = self.line.item()
        if item:
            opened.append(item)
        self.history.finish(operation, [item] if item else [])

    def close(self, queue, opened):
        operation = self.begin('close', queue, opened[:1])
        self.line.send(b'get %s/close\r\n' % queue.encode())
        self.released(operation, opened)

    def abort(self, queue, opened):
        operation = self.begin('abort', queue, opened[:1])
        self.line.send(b'get %s/abort\r\n' % queue.encode())
        self.released(operation, opened)

    def confirm(self, queue, opened):
        count = self.random.randint(1, len(opened))
        operation = self.begin('close', queue, opened[:count])
        self.line.send(b'confirm %s %d\r\n' % (queue.encode(), count))
        self.released(operation, opened)

    def released(self, operation, opened):
        self.line.expect(b'END')
        self.history.finish(operation)
        del opened[:len(operation.items)]

    def close_and_fetch(self, queue, opened):
        closing = self.begin('close', queue, opened[:1])
        opening = self.begin('open', queue, unknown=1)
        self.line.send(b'get %s/close/open\r\n' % queue.encode())
        item = self.line.item()
        self.history.finish(closing)
        del opened[0]
        if item:
            opened.append(item)
        self.history.finish(opening, [item] if item else [])

    def monitor(self, queue, opened):
        count = self.random.randint(1, min(3, MAX_OPEN - len(opened)))
        operation = self.begin('open', queue, unknown=count)
        self.line.send(b'monitor %s 1 %d\r\n' % (queue.encode(), count))
        while True:
            item = self.line.item()
            if item is None:
                break
            operation.items.append(item)
            operation.unknown -= 1
            opened.append(item)
        self.history.finish(operation)

    def hang_up(self, queue, opened):
        for name, items in self.open.items():
            if items:
                self.begin('disconnect', name, items)
        self.line.close()
        self.line = Line(self.load.port)
        self.client += 1000             # what the new connection opens is none of the old one's
        self.open = {queue: [] for queue in QUEUES}

    def begin(self, kind, queue, items=(), unknown=0):
        return self.history.begin(kind, queue, self.client, items, unknown)


class Wiper(Worker):
    """Flushes and deletes one queue, seldom enough that something stands in it."""

    def step(self):
        if self.load.over.wait(self.random.uniform(0.01, 0.05)):
            return
        kind, reply = self.random.choice((('flush', b'END'), ('delete', b'DELETED')))
        operation = self.history.begin(kind, WIPED_QUEUE, self.number)
        self.line.send(b'%s %s\r\n' % (kind.encode(), WIPED_QUEUE.encode()))
        self.line.expect(reply)
        self.history.finish(operation)
        self.load.answered()


class Load:
    """All clients of one round. ``reached`` is set when ``answers`` requests were answered, or all clients ended."""

    KINDS = (Producer,) * 3 + (Consumer,) * 4 + (Wiper,)

    def __init__(self, port, history, round_number, seed, answers):
        self.port = port
        self.history = history
        self.round = round_number
        self.seed = seed
        self.over = threading.Event()
        self.reached = threading.Event()
        self._left = answers
        self._workers = [kind(self, number) for number, kind in enumerate(self.KINDS)]

    def answered(self):
        """One more request was answered."""
        self._left -= 1
        if self._left <= 0:
            self.reached.set()

    def start(self):
        for worker in self._workers:
            worker.start()

    def join(self):
        """Wait until all clients have ended; raises what went wrong in one of them."""
        for worker in self._workers:
            worker.join(SECONDS)
            if worker.is_alive():
                raise AssertionError(f'{worker.name} still waits for an answer of a server that is gone')
        for worker in self._workers:
            if worker.failure:
                raise AssertionError(f'{worker.name} failed') from worker.failure
