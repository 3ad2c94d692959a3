"""Those who put and those who get, one connection each."""

from array import array

from kestrel.load.engine import Client
from kestrel.load.trouble import Trouble

PATIENCE = 10       # s without an item after the last put, until what is missing counts as lost


class Tally:
    """What the clients of one run came to.

    put, got       items          misses     gets that brought nothing
    producing      int, producers that have not ended
    last_at        s of the monotonic clock, when the last item went in or came out
    got_at         the same of those that came out
    times          array of int, us, of each request that brought or took items; None if nobody asks
    troubles       {text: how many clients ended with it}
    """

    def __init__(self, timed=False):
        self.put = self.got = self.misses = 0
        self.producing = 0
        self.last_at = self.got_at = 0.0
        self.times = array('q') if timed else None
        self.troubles = {}

    def add_trouble(self, trouble):
        text = str(trouble)
        self.troubles[text] = self.troubles.get(text, 0) + 1


class Caller(Client):
    """Makes calls one after the other: ``requests`` are functions of the dialect that return one."""

    def __init__(self, tally, dialect, requests):
        super().__init__(dialect)
        self.tally = tally
        self.requests = list(reversed(requests))

    def first(self, now):
        return self.replied(now)

    def replied(self, now):
        return self.requests.pop()() if self.requests else None

    def ended(self, trouble):
        if trouble is not None:
            self.tally.add_trouble(trouble)


class Producer(Client):
    """Puts ``count`` items, numbered from ``first_number`` on, ``burst`` in a request, each request into the next of
    ``queues``, from number ``turn`` on."""

    def __init__(self, tally, dialect, items, queues, first_number, count, burst=1, turn=0):
        super().__init__(dialect)
        self.tally = tally
        self.items = items
        self.queues = queues
        self.turn = turn % len(queues)
        self.number = first_number
        self.end = first_number + count
        self.burst = burst
        self.sending = 0        # items of the present request
        tally.producing += 1

    def first(self, now):
        return self.next_put()

    def replied(self, now):
        self.count(now)
        return self.next_put()

    def count(self, now):
        """The present request was answered."""
        tally = self.tally
        tally.put += self.sending
        tally.last_at = now
        if tally.times is not None:
            tally.times.append(int((now - self.asked_at) * 1e6))

    def next_put(self):
        """-> the next request, or None."""
        number = self.number
        self.sending = min(self.burst, self.end - number)
        if self.sending <= 0:
            return None
        self.number = number + self.sending
        queue = self.queues[self.turn]
        if len(self.queues) > 1:
            self.turn = (self.turn + 1) % len(self.queues)
        if self.sending == 1:
            return self.dialect.put(queue, [self.items.make(number)])
        return self.dialect.put(queue, [self.items.make(n) for n in range(number, self.number)])

    def ended(self, trouble):
        self.tally.producing -= 1
        if trouble is not None:
            self.tally.add_trouble(trouble)


class Consumer(Client):
    """Gets ``count`` items, ``batch`` in a request, from ``queues`` as a Producer puts into them.

    wait_ms  how long a get may wait    ledger  items.Ledger that is told, or None
    must     an empty queue ends it, as there must be something
    """

    def __init__(self, tally, dialect, ledger, queues, count, batch=1, wait_ms=0, turn=0, must=False):
        super().__init__(dialect)
        self.tally = tally
        self.ledger = ledger
        self.queues = queues
        self.turn = turn % len(queues)
        self.latest = [{} for _ in queues]
        self.left = count
        self.batch = batch
        self.wait_ms = wait_ms
        self.must = must
        self.owed = 0           # items of the present turn that are still to come
        self.confirming = False

    def first(self, now):
        self.owed = min(self.batch, self.left)
        return self._ask() if self.left > 0 else None

    def _ask(self):
        queue = self.queues[self.turn]
        if self.batch == 1:
            return self.dialect.get(queue, self.wait_ms)
        return self.dialect.get_many(queue, self.owed, self.wait_ms)

    def replied(self, now):
        if self.confirming:
            self.confirming = False
            return self._next()
        items = self.dialect.items
        tally = self.tally
        if not items:
            return self._missed(now)
        count = len(items)
        if count > self.owed:
            raise Trouble('%d items came instead of %d' % (count, self.owed))
        tally.got += count
        tally.last_at = tally.got_at = now
        if tally.times is not None:
            tally.times.append(int((now - self.asked_at) * 1e6))
        self.left -= count
        self.owed -= count
        if self.ledger is not None:
            latest = self.latest[self.turn]
            for item in items:
                self.ledger.note(item, latest)
        if self.batch > 1:
            request = self.dialect.confirm(self.queues[self.turn], count)
            if request:
                self.confirming = True
                return request
        return self._next()

    def _next(self):
        if self.left <= 0:
            return None
        if self.owed == 0:
            self.owed = min(self.batch, self.left)
            if len(self.queues) > 1:
                self.turn = (self.turn + 1) % len(self.queues)
        return self._ask()

    def _missed(self, now):
        self.tally.misses += 1
        if self.must:
            raise Trouble('the queue is empty')
        if self.tally.producing == 0 and now - self.tally.last_at > PATIENCE:
            raise Trouble('no item for %d seconds, and nobody puts any more' % PATIENCE)
        return self._ask()

    def ended(self, trouble):
        if trouble is not None:
            self.tally.add_trouble(trouble)
