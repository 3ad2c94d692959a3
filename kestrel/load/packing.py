"""``kestrel-packing``: a queue that stays long is written and read at once, again and again (spec tools 5, D59)."""

from kestrel.load import program
from kestrel.load.clients import Consumer, Producer
from kestrel.load.items import Items, Ledger
from kestrel.load.options import Parser

WAIT_MS = 1000


class Packing(program.Program):

    name = 'kestrel-packing'

    def parser(self):
        parser = Parser(self.name, 'Puts items; then, cycle after cycle, puts and gets as many at once; then gets the '
                        'rest. Each must come back in order.', 'spam', ('memcache', 'thrift'))
        parser.number('n', 'items', 1, 25000, 'items a cycle')
        parser.number('c', 'cycles', 1, 100, 'cycles')
        parser.number('k', 'kilobytes', 1, 1, 'kilobytes of an item')
        parser.number('t', 'seconds', 0, 1, 'seconds between two cycles')
        parser.switch('M', 'monitor', 'print figures of the queue each second')
        return parser

    def connections(self):
        return 2

    def work(self):
        options = self.options
        self.say('packing: %d items of %dkB with %d second pauses' % (options.items, options.kilobytes, options.seconds))
        self.flush([self.queue])
        total = options.items * (options.cycles + 1)
        self._items = Items(options.kilobytes * 1024, total)
        for target in self.targets:
            target.ledger = Ledger(self._items, total, total)
        self._latest = [{} for _ in self.targets]
        self._written = 0
        self._step(write=True)
        for cycle in range(1, options.cycles + 1):
            if self.stopped:
                return
            self.say('cycle: %d' % cycle)
            self._step(write=True, read=True)
            if options.seconds and not self.stopped:
                self.pause(options.seconds)
        if not self.stopped:
            self._step(read=True)

    def _step(self, write=False, read=False):
        options = self.options
        queues = [self.queue]
        start = self._written
        clients = []
        for target, latest in zip(self.targets, self._latest):
            tally = target.begin()
            if write:
                clients += target.drive([Producer(tally, self.dialect(), self._items, queues, start, options.items)])
            if read:
                consumer = Consumer(tally, self.dialect(), target.ledger, queues, options.items, wait_ms=WAIT_MS)
                consumer.latest = [latest]
                clients += target.drive([consumer])
        total = options.items * len(self.targets)
        self.go(clients, lambda: 'wrote %d, read %d of %d items' % (self.sum('put'), self.sum('got'), total))
        if write:
            # a server that got less has ended the program
            self._written += options.items
            self.say('Wrote %d items starting at %d.' % (self.sum('put'), start))
        if read:
            # of the consumers alone
            msec = self.msec_until(max([target.tally.got_at for target in self.targets]))
            self.say('Read %d items in %d msec. Consumer spun %d times in misses.' % (
                self.sum('got'), msec, self.sum('misses')))
            self.told_each('got')
            self.check_items(Ledger.lost)
        self.told_troubles()


def main():
    """The command; ends the process."""
    program.main(Packing)


if __name__ == '__main__':
    main()
