"""A walk past all queues: the totals, and how bad each of them is. Kept for a while, because with many queues it takes long.
"""

from gevent.lock import BoundedSemaphore

from kestrel.admin import trouble
from kestrel.admin.turns import Turns

# A survey is kept for so many times as long as it took: however many pages are open, walks take half a percent of a core.
KEPT = 200
LONGEST = 15.0              # seconds
CHUNK = 50                  # queues between two looks at the clock


class Surveyor:
    """Of one server. clock: clock.Clock"""

    def __init__(self, collection, clock):
        self._collection = collection
        self._clock = clock
        self._turn = BoundedSemaphore()
        self._survey = None
        self._good_until = 0.0

    def survey(self):
        """-> Survey, made now or not long ago."""
        with self._turn:
            began = self._clock.monotonic()
            if self._survey is None or began >= self._good_until:
                self._survey = Survey(self._collection, self._clock)
                took = self._clock.monotonic() - began
                self._good_until = began + min(KEPT * took, LONGEST)
            return self._survey

    def forget(self):
        """Something has changed that an operator wants to see."""
        self._good_until = 0.0


class Survey:
    """totals   dict, as /api/overview has it
    weights  {name: how bad it is, larger is worse; in equal trouble that with more items}
    """

    def __init__(self, collection, clock):
        turns = Turns(clock)
        targets = dead_letter_queues(collection)
        now_ms, now = clock.now_ms(), clock.monotonic()
        items = size = mem = journal = waiters = opened = oldest = 0
        found = dict.fromkeys(trouble.WEIGHTS, 0)
        self.weights = weights = {}
        queues = list(collection.queues.items())
        for at in range(0, len(queues), CHUNK):
            for name, queue in queues[at:at + CHUNK]:
                count = queue.count
                items += count
                waiters += len(queue.waiters)
                if queue.journal is not None:
                    journal += queue.journal.total()
                if count or queue.opened:
                    size += queue.bytes
                    mem += queue.mem_bytes
                    opened += len(queue.opened)
                    head = queue.head()
                    if head is not None and now_ms - head.add_time > oldest:
                        oldest = now_ms - head.add_time
                words = trouble.of_queue(queue, now_ms, now, name in targets)
                for word in words:
                    found[word] += 1
                weights[name] = trouble.weight(words) * 2.0 ** 64 + count if words else count
            turns.next()
        self.totals = {'queues': len(queues), 'items': items, 'bytes': size, 'mem_bytes': mem, 'journal_size': journal,
                       'waiters': waiters, 'open_reads': opened, 'age_ms': oldest, 'trouble': found}


def dead_letter_queues(collection):
    """The names of the queues that others send their dead letters to."""
    return {queue.settings.dead_letter_queue for queue in collection.queues.values()}
