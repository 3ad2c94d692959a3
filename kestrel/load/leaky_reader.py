"""``kestrel-leaky-reader``: consumers that forget to confirm some of what they read (spec tools 5)."""

import random

from kestrel.load import program
from kestrel.load.clients import Caller, Producer
from kestrel.load.engine import Client
from kestrel.load.options import Parser, share
from kestrel.load.trouble import Trouble

CLIENT_ID = b'load-test'
WAIT_MS = 100
AUTO_ABORT_MS = 5000
PATIENCE = AUTO_ABORT_MS / 1000 + 10    # s without an item after the last put
TOLD = 1000                             # a line for each so many confirmed


class HexNumbers:
    """The items: their numbers."""

    @staticmethod
    def make(number):
        return b'%08x' % number


class NamedCaller(Caller):
    """Says first who it is."""

    def __init__(self, tally, dialect, requests):
        super().__init__(tally, dialect, [dialect.upgrade, *requests])


class NamedProducer(Producer):
    """The same."""

    named = False

    def first(self, now):
        return self.dialect.upgrade()

    def replied(self, now):
        if not self.named:
            self.named = True
            return self.next_put()
        return super().replied(now)


class Reading:
    """What all consumers of a server have confirmed: ``confirmed`` in all of ``want``, ``seen`` which numbers.

    label  before a line about them
    """

    def __init__(self, want, label):
        self.want = want
        self.label = label
        self.confirmed = 0
        self.seen = bytearray(want)

    def missing(self):
        """-> list of int"""
        return [number for number, seen in enumerate(self.seen) if not seen]


class LeakyConsumer(Client):
    """Opens an item, and confirms it unless ``leaks()``."""

    def __init__(self, owner, tally, dialect, reading, queue, leaks):
        super().__init__(dialect)
        self._owner = owner
        self._tally = tally
        self._reading = reading
        self._queue = queue
        self._leaks = leaks
        self._state = self._next
        self._number = 0
        self._id = 0

    def first(self, now):
        return self.dialect.upgrade()

    def replied(self, now):
        return self._state(now)

    def _next(self, now):
        if self._reading.confirmed >= self._reading.want:
            return None
        self._state = self._opened
        return self.dialect.get_many(self._queue, 1, WAIT_MS, AUTO_ABORT_MS)

    def _opened(self, now):
        if not self.dialect.items:
            self._tally.misses += 1
            if self._tally.producing == 0 and now - self._tally.last_at > PATIENCE:
                raise Trouble('no item for %d seconds, and nobody puts any more' % PATIENCE)
            return self._next(now)
        item = self.dialect.items[0]
        self._number = number_of(item)
        self._id = self.dialect.ids[0]
        self._tally.got += 1
        self._tally.last_at = self._tally.got_at = now
        self._owner.tell('%sopen %016x = %08x' % (self._reading.label, self._id, self._number))
        if self._leaks():
            return self._next(now)
        self._state = self._confirmed
        return self.dialect.confirm_ids(self._queue, [self._id])

    def _confirmed(self, now):
        if self.dialect.value:      # else it was too late, and the item comes again
            reading = self._reading
            self._owner.tell('%sconfirm %016x' % (reading.label, self._id))
            reading.confirmed += 1
            if self._number < reading.want:
                reading.seen[self._number] = 1
            if reading.confirmed % TOLD == 0:
                self._owner.say('%s%d' % (reading.label, reading.confirmed))
        return self._next(now)

    def ended(self, trouble):
        if trouble is not None:
            self._tally.add_trouble(trouble)


def number_of(item):
    """-> the number that an item is. Raises Trouble."""
    try:
        return int(item, 16)
    except ValueError:
        raise Trouble('an item came that was not put: %r' % item[:40]) from None


class LeakyReader(program.Program):

    name = 'kestrel-leaky-reader'
    client_id = CLIENT_ID
    random = random.Random

    def parser(self):
        parser = Parser(self.name, 'Consumers read reliably over thrift, as client %s, and do not confirm some of what '
                        'they get: it must come again.' % CLIENT_ID.decode(), 'spam-thrift', ('thrift',))
        parser.number('n', 'items', 1, 1000, 'items in all')
        parser.number('t', 'consumers', 1, 1, 'consumers')
        parser.add_argument('-d', dest='drop', metavar='RATE', type=share, default=0.01,
                            help='share of the reads that are not confirmed (%(default)s)')
        parser.switch('v', 'verbose', 'print each open and each confirm')
        return parser

    def connections(self):
        return self.options.consumers + 1

    def flusher(self, tally, queues):
        dialect = self.dialect()
        return NamedCaller(tally, dialect, [lambda queue=queue: dialect.flush(queue) for queue in queues])

    def tell(self, text):
        if self.options.verbose:
            self.say('%d: %s' % (self.clock.now_ms(), text))

    def work(self):
        options = self.options
        self.say('leaky-reader: %d threads each sending %d items through %s' % (
            options.consumers, options.items, options.queue))
        self.flush([self.queue])
        generator = self.random()
        readings, clients = [], []
        for target in self.targets:
            tally, reading = target.begin(), Reading(options.items, target.label)
            readings.append(reading)
            clients += target.drive([LeakyConsumer(self, tally, self.dialect(), reading, self.queue,
                                                   lambda: generator.random() < options.drop)
                                     for _ in range(options.consumers)])
            clients += target.drive([NamedProducer(tally, self.dialect(), HexNumbers(), [self.queue], 0, options.items)])
        total = options.items * len(self.targets)

        def confirmed():
            return sum([reading.confirmed for reading in readings])

        msec = self.go(clients, lambda: 'confirmed %d of %d items' % (confirmed(), total))
        self.finished(msec, total, confirmed(), total)
        self.told_each('got')
        self.told_troubles()
        self._told_missing(readings)

    def _told_missing(self, readings):
        leaky = [(reading, reading.missing()) for reading in readings if reading.missing()]
        if not leaky:
            self.say('Completed all reads')
        for reading, missing in leaky:
            self.say('%sMissed the following items:' % reading.label)
            for number in missing:
                self.say('\t%08x' % number)
            if not self.engine.stopping:
                self.complain('%s%d items were not read' % (reading.label, len(missing)))


def main():
    """The command; ends the process."""
    program.main(LeakyReader)


if __name__ == '__main__':
    main()
