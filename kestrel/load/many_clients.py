"""``kestrel-many-clients``: many consumers wait for what one producer puts slowly (spec tools 5)."""

import random

from kestrel.load import program
from kestrel.load.clients import PATIENCE, Producer
from kestrel.load.engine import Client
from kestrel.load.items import Items, Ledger
from kestrel.load.options import Parser, number
from kestrel.load.trouble import Trouble

ITEM_BYTES = 880
WAIT_MS = 1000


class SlowProducer(Producer):
    """Rests ``seconds`` after each put."""

    def __init__(self, engine, seconds, *arguments):
        super().__init__(*arguments)
        self._engine = engine
        self._seconds = seconds

    def replied(self, now):
        if self._seconds and self.number < self.end:
            self.count(now)
            self._engine.call_later(self._seconds, self._engine.resume, self)
            return b''
        return super().replied(now)

    def resumed(self, now):
        return self.next_put()


class Waiter(Client):
    """Gets one item after the other until all have come to somebody, ``want`` of them.

    reliable  each get confirms the item before
    killed()  true: cut the connection when the answer is there, unread
    """

    def __init__(self, tally, dialect, ledger, queue, want, reliable, killed):
        super().__init__(dialect)
        self._tally = tally
        self._ledger = ledger
        self._queue = queue
        self._want = want
        self._reliable = reliable
        self._killed = killed
        self._latest = {}
        self._open = False
        self._closing = False

    def first(self, now):
        self._open = False
        return self._next()

    def replied(self, now):
        if self._closing:
            return None
        tally = self._tally
        for item in self.dialect.items:
            if self._ledger is not None:
                self._ledger.note(item, self._latest)
            tally.got += 1
            tally.last_at = tally.got_at = now
        self._open = self._reliable and bool(self.dialect.items)
        if not self.dialect.items:
            tally.misses += 1
            if tally.producing == 0 and self._came() < self._want and now - tally.last_at > PATIENCE:
                raise Trouble('no item for %d seconds, and nobody puts any more' % PATIENCE)
        return self._next()

    def _came(self):
        return self._tally.got if self._ledger is None else self._ledger.came

    def _next(self):
        if self._came() >= self._want:
            self._closing = True
            return self.dialect.close(self._queue) if self._open else None
        self.doomed = self._killed()
        if self._reliable:
            return self.dialect.get_reliably(self._queue, WAIT_MS)
        return self.dialect.get(self._queue, WAIT_MS)

    def ended(self, trouble):
        if trouble is not None:
            self._tally.add_trouble(trouble)


class ManyClients(program.Program):

    name = 'kestrel-many-clients'
    random = random.Random

    def parser(self):
        parser = Parser(self.name, 'Many consumers wait for the items that one producer puts, one at a time.', 'spam')
        parser.number('n', 'items', 1, 100, 'items in all')
        parser.number('c', 'clients', 1, 100, 'consumers')
        parser.number('s', 'msec', 0, 100, 'milliseconds between two puts')
        parser.add_argument('-k', dest='kill', metavar='PERCENT', type=number(0, 99), default=0,
                            help='kill a client with this probability before it reads an answer; implies -x '
                            '(%(default)s)')
        parser.switch('x', 'reliable', 'reliable reads: an item is confirmed with the next get')
        parser.switch('M', 'monitor', 'print figures of the queue each second')
        return parser

    def connections(self):
        return self.options.clients + 1

    def work(self):
        options = self.options
        self.say('many-clients: %d items to %s using %d clients, kill rate %d%%, at %d msec/item' % (
            options.items, options.host if len(self.targets) == 1 else self.where, options.clients, options.kill,
            options.msec))
        self.flush([self.queue])
        items = Items(ITEM_BYTES, options.items)
        generator = self.random()

        def killed():
            return options.kill > 0 and generator.random() * 100 < options.kill

        clients = []
        for target in self.targets:
            tally = target.begin()
            # what a killed client had goes back, and others have gone past it
            target.ledger = Ledger(items, options.items, options.items, ordered=not options.kill) if options.flush else None
            clients += target.drive([Waiter(tally, self.dialect(), target.ledger, self.queue, options.items,
                                            options.reliable or options.kill > 0, killed)
                                     for _ in range(options.clients)])
            clients += target.drive([SlowProducer(self.engine, options.msec / 1000, tally, self.dialect(), items,
                                                  [self.queue], 0, options.items)])
        total = options.items * len(self.targets)
        msec = self.go(clients, lambda: 'received %d of %d items' % (self.sum('got'), total))
        self.say('Received %d items in %d msec.' % (self.sum('got'), msec))
        self.told_each('got')
        self.told_troubles()
        self.check_items(Ledger.missing)


def main():
    """The command; ends the process."""
    program.main(ManyClients)


if __name__ == '__main__':
    main()
