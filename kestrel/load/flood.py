"""``kestrel-flood``: producers and consumers on one queue, as fast as they can (spec tools 5)."""

from kestrel.load import program
from kestrel.load.clients import Consumer, Producer
from kestrel.load.items import Items, Ledger
from kestrel.load.options import Parser

BLOCKING_MS = 1000


class Flood(program.Program):

    name = 'kestrel-flood'

    def parser(self):
        parser = Parser(self.name, 'Producers and consumers work on one queue as fast as they can.', 'spam',
                        ('memcache', 'thrift'))
        parser.number('n', 'items', 1, 10000, 'items in all')
        parser.number('k', 'kilobytes', 1, 1, 'kilobytes of an item')
        parser.number('r', 'burst', 1, 1, 'items in a request')
        parser.number('P', 'prefill', 0, 0, 'items put before the others begin; as many are left at the end')
        parser.number('R', 'producers', 1, 1, 'producers')
        parser.number('C', 'consumers', 1, 1, 'consumers')
        parser.switch('B', 'blocking', 'gets wait up to a second for an item')
        parser.switch('M', 'monitor', 'print figures of the queue each second')
        return parser

    def check(self):
        options = self.options
        self._write = rounded_up(-(-options.items // options.producers), options.burst)
        self._read = rounded_up(options.items // options.consumers, options.burst)
        if self._read == 0:
            self.refuse('-C %d: that are more consumers than items' % options.consumers)
        put, got = self._write * options.producers + options.prefill, self._read * options.consumers
        if got > put:
            self.refuse('%d consumers would read %d items each, %d in all, and only %d are put: make -n a multiple of '
                        '-r times -C' % (options.consumers, self._read, got, put))

    def connections(self):
        return self.options.producers + self.options.consumers

    def work(self):
        options = self.options
        queues = [self.queue]
        servers = len(self.targets)
        write, read = self._write * options.producers, self._read * options.consumers
        items = Items(options.kilobytes * 1024, options.prefill + write)
        self.flush(queues)
        if options.prefill:
            self.say('prefill: %d items of %dkB' % (options.prefill, options.kilobytes))
            clients = []
            for target in self.targets:
                clients += target.drive([Producer(target.begin(), self.dialect(), items, queues, 0, options.prefill,
                                                  options.burst)])
            self.go(clients, lambda: 'prefill: %d of %d items' % (self.sum('put'), options.prefill * servers))
            self.told_troubles()
            if self.stopped:
                return
        self.say('flood: producers=%d each sending %d items (in chunks of %d) of %dkB to %s' % (
            options.producers, self._write, options.burst, options.kilobytes, options.queue))
        self.say('flood: consumers=%d each reading %d items (in chunks of %d) from %s' % (
            options.consumers, self._read, options.burst, options.queue))
        clients = []
        for target in self.targets:
            clients += target.drive(self._clients(target, items, queues))
        write, read = write * servers, read * servers
        msec = self.go(clients, lambda: 'put %d of %d, got %d of %d items' % (
            self.sum('put'), write, self.sum('got'), read))
        if self.sum('put') == write and self.sum('got') == read:
            self.finished(msec, options.items * options.consumers * servers, read, read)
        else:
            self.say('Ended early: put %d of %d and got %d of %d items in %d msec.' % (
                self.sum('put'), write, self.sum('got'), read, msec))
        self.told_each('got')
        self.say('Consumer(s) spun %d times in misses.' % self.sum('misses'))
        self.told_troubles()
        self.check_items(Ledger.lost)

    def _clients(self, target, items, queues):
        options, tally = self.options, target.begin()
        total = options.prefill + self._write * options.producers
        target.ledger = Ledger(items, total, self._write, options.prefill) if options.flush else None
        clients = [Producer(tally, self.dialect(), items, queues, options.prefill + number * self._write, self._write,
                            options.burst) for number in range(options.producers)]
        return clients + [Consumer(tally, self.dialect(), target.ledger, queues, self._read, options.burst,
                                   BLOCKING_MS if options.blocking else 0) for _ in range(options.consumers)]


def rounded_up(count, step):
    """-> the least multiple of ``step`` that is not less than ``count``."""
    return -(-count // step) * step


def main():
    """The command; ends the process."""
    program.main(Flood)


if __name__ == '__main__':
    main()
