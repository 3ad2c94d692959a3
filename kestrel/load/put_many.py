"""``kestrel-put-many``: many clients put items, each waiting for each answer (spec tools 5, D59)."""

import os

from kestrel.load import program
from kestrel.load.clients import Consumer, Producer
from kestrel.load.items import Items, Ledger
from kestrel.load.options import Parser


class PutMany(program.Program):

    name = 'kestrel-put-many'

    def parser(self):
        parser = Parser(self.name, 'Clients put items, each waiting for each answer, as fast as they can.', 'spam',
                        ('memcache', 'thrift'))
        parser.number('n', 'items', 1, 10000, 'items in all; each client puts its whole part of them')
        parser.number('c', 'clients', 1, 100, 'clients, each with a connection of its own')
        parser.number('b', 'bytes', 0, 1024, 'bytes of an item')
        parser.number('r', 'burst', 1, 1, 'items in a request')
        parser.number('Q', 'queues', 1, 1, 'queues; if there are several, 0, 1, ... is appended to the name')
        parser.switch('g', 'get', 'also get them back, and check that each comes back once and in order')
        return parser

    def check(self):
        if self.options.items < self.options.clients:
            self.refuse('-n %d: that is no item for each of %d clients' % (self.options.items, self.options.clients))

    def connections(self):
        return self.options.clients

    def work(self):
        options = self.options
        queues = self._queues()
        each = options.items // options.clients
        total = each * options.clients
        items = Items(options.bytes, total)
        self.flush(queues)
        self._headline('Put', 'bursts')
        producers = []
        for target in self.targets:
            tally = target.begin(timed=True)
            producers += target.drive([Producer(tally, self.dialect(), items, queues, number * each, each, options.burst,
                                                number) for number in range(options.clients)])
        self._measure(producers, total, 'put')
        if not options.get or self.stopped:
            return
        self._headline('Get', 'batches')
        consumers = []
        for target in self.targets:
            target.ledger = Ledger(items, total, each) if options.flush and items.numbered else None
            tally = target.begin(timed=True)
            consumers += target.drive([Consumer(tally, self.dialect(), target.ledger, queues, each, options.burst,
                                                turn=number, must=True) for number in range(options.clients)])
        self._measure(consumers, total, 'got')
        self.check_items(Ledger.missing)

    def _queues(self):
        """-> list of names, bytes"""
        if self.options.queues == 1:
            return [self.queue]
        return [os.fsencode('%s%d' % (self.options.queue, number)) for number in range(self.options.queues)]

    def _headline(self, verb, pieces):
        options = self.options
        self.say('%s %d items of %d bytes in %s of %d %s %s in %d queues named %s using %d clients.' % (
            verb, options.items, options.bytes, pieces, options.burst, 'to' if verb == 'Put' else 'from',
            self.where, options.queues, options.queue, options.clients))

    def _measure(self, clients, total, figure):
        """``total``: items of each server; ``figure``: ``put`` or ``got``."""
        total *= len(self.targets)
        retries = self._retries()
        msec = self.go(clients, lambda: '%d of %d items' % (self.sum(figure), total))
        self.finished(msec, total, self.sum(figure), total)
        self.told_each(figure)
        if self._retries() > retries:
            self.say('Had to retry %d times to make all connections.' % (self._retries() - retries))
        self.told_distribution()
        self.told_troubles()

    def _retries(self):
        return sum([target.dial.retries for target in self.targets])


def main():
    """The command; ends the process."""
    program.main(PutMany)


if __name__ == '__main__':
    main()
