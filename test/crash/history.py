"""What clients know of a server that was killed, and what the drain after its restart may show.

Every request is an ``Operation`` with the moment it was sent and the moment its whole answer was there (None: in
flight at the kill, so it happened or it did not). ``complaints`` compares the operations of one round with the
items that came out of the queues afterwards:

lost       an item whose put was answered must come, unless it was consumed or wiped. A plain get in flight may
           have taken one item along, and only a head: nothing of the same producer put before it waits.
doubled    an item that was consumed (a plain get or a confirm was answered) never comes again, nor does one that
           was flushed or deleted; no item comes twice, none is open at two clients at once, none comes back from
           a former round.
reordered  the items of one producer come in the order of its puts. Only an item that was open may be out of turn:
           it goes to the head when it is put back (spec queues 4), so it comes before all that never were open.
           What one client held at the end comes in the order in which it was opened (spec journal 3, D7).
"""

import collections
import dataclasses
import itertools
import math
import time
from typing import NamedTuple

CONSUMING = ('get', 'close')
DELIVERING = ('get', 'open')
RELEASING = ('close', 'abort', 'disconnect')
WIPING = ('flush', 'delete')


class Item(NamedTuple):
    """One item: numbers of its round, of its producer (one connection) and of the put at that producer."""

    round: int
    producer: int
    number: int

    def __str__(self):
        return f'round {self.round} producer {self.producer} item {self.number}'


def pack(item, size):
    """The data of an item, at least ``size`` bytes: every byte follows from its first words."""
    head = b'%d %d %d %d ' % (*item, size)
    return head + (head * (size // len(head) + 1))[:max(0, size - len(head))]


def unpack(data):
    """The item of such data. ValueError if any byte is not as ``pack`` made it."""
    words = data.split(b' ', 4)
    if len(words) != 5 or not all(word.isdigit() for word in words[:4]):
        raise ValueError(f'not an item of this test: {data[:60]!r}')
    *item, size = map(int, words[:4])
    if pack(Item(*item), size) != data:
        raise ValueError(f'damaged data of {Item(*item)}: {data[:60]!r}, {len(data)} bytes')
    return Item(*item)


@dataclasses.dataclass(eq=False)
class Operation:
    """One request of one connection.

    kind      put get open close abort flush delete, or disconnect: the client hung up with these items open
    items     put: the item; get, open: what was handed out; close, abort, disconnect: what it was for
    sent      seconds, before the first byte was sent
    answered  seconds, when the answer was whole; None: it never was
    refused   the answer to a put was that it was not stored
    unknown   an open: how many more items than ``items`` it can have taken, should it stay unanswered
    """

    kind: str
    queue: str
    client: int
    items: list
    sent: float
    answered: float = None
    refused: bool = False
    unknown: int = 0

    @property
    def end(self):
        """The moment before which it happened."""
        return math.inf if self.answered is None else self.answered


class History:
    """The operations of one round, gathered from many threads."""

    def __init__(self, clock=time.monotonic):
        self.operations = []
        self.answers = 0
        self._clock = clock

    def begin(self, kind, queue, client, items=(), unknown=0):
        """Note a request that is about to be sent."""
        operation = Operation(kind, queue, client, list(items), self._clock(), unknown=unknown)
        self.operations.append(operation)
        return operation

    def finish(self, operation, items=None, refused=False):
        """Note its answer; ``items`` is what it handed out."""
        operation.answered = self._clock()
        operation.refused = refused
        if items is not None:
            operation.items = list(items)
        self.answers += 1

    def complaints(self, drained):
        """What is wrong with the items, a dict of queue name to list of Item, that came after the restart."""
        queues = {operation.queue for operation in self.operations} | set(drained)
        found = []
        for queue in sorted(queues):
            check = _QueueCheck([operation for operation in self.operations if operation.queue == queue],
                                drained.get(queue, []))
            found += [f'{queue}: {text}' for text in check.complaints()]
        return found


class _QueueCheck:
    """The operations on one queue against what was drained from it."""

    def __init__(self, operations, drained):
        self.operations = operations
        self.drained = drained
        self.came = set(drained)
        self.puts = {operation.items[0]: operation for operation in self._of('put')}
        self.deliveries = self._by_item(DELIVERING)
        self.opens = self._by_item(('open',))
        self.releases = self._by_item(RELEASING)
        self.consumed = self._by_item(CONSUMING)
        self.wipes = self._of(*WIPING)
        # an open in flight may have made any head an item that was open
        self.unknown_opens = sum(operation.unknown for operation in self._of('open') if operation.answered is None)

    def _of(self, *kinds):
        return [operation for operation in self.operations if operation.kind in kinds]

    def _by_item(self, kinds):
        table = collections.defaultdict(list)
        for operation in self._of(*kinds):
            for item in operation.items:
                table[item].append(operation)
        return table

    def complaints(self):
        return [*self._foreign(), *self._consumed_twice(), *self._open_twice(), *self._wiped_but_there(),
                *self._lost(), *self._drained_out_of_order(), *self._held_out_of_order(),
                *self._handed_out_of_order()]

    def _foreign(self):
        for item in self.came | set(self.deliveries):
            if item not in self.puts:
                yield f'{item} came, but was not put here in this round'
            elif self.puts[item].refused:
                yield f'{item} came, but its put was refused'

    def _consumed_twice(self):
        for item, count in collections.Counter(self.drained).items():
            if count > 1:
                yield f'{item} was drained {count} times'
        for item, operations in self.consumed.items():
            certain = [operation for operation in operations if operation.answered is not None]
            if len(certain) > 1:
                yield f'{item} was consumed {len(certain)} times'
            if not certain:
                continue
            if item in self.came:
                yield f'{item} came again after an answered {certain[0].kind}'
            if any(delivery.sent > certain[0].answered for delivery in self.deliveries[item]):
                yield f'{item} was handed out after an answered {certain[0].kind}'

    def _open_twice(self):
        for item, opens in self.opens.items():
            for held in opens:
                release = self._release(item, held)
                until = release.sent if release else math.inf
                for other in self.deliveries[item]:
                    if other is not held and held.end <= other.sent and other.end <= until:
                        yield f'{item} was handed out while it was open at client {held.client}'

    def _release(self, item, held):
        later = [operation for operation in self.releases[item]
                 if operation.client == held.client and operation.sent >= held.sent]
        return min(later, key=lambda operation: operation.sent, default=None)

    def _perhaps_open(self, item, begin, end):
        """Whether the item can have been open at any moment between the two."""
        for held in self.opens[item]:
            release = self._release(item, held)
            # the server notices a disconnect when it does: no end is known
            until = release.end if release and release.kind != 'disconnect' else math.inf
            if held.sent < end and until > begin:
                return True
        return False

    def _surely_open(self, item, begin, end):
        """Whether it was open all the time between the two."""
        for held in self.opens[item]:
            release = self._release(item, held)
            if held.end <= begin and (release.sent if release else math.inf) >= end:
                return True
        return False

    def _wiped_but_there(self):
        suspects = []
        for item, put in self.puts.items():
            for wipe in self.wipes:
                if wipe.answered is None or put.end > wipe.sent:
                    continue
                if wipe.kind == 'flush' and self._perhaps_open(item, wipe.sent, wipe.answered):
                    continue
                if any(delivery.sent > wipe.answered for delivery in self.deliveries[item]):
                    yield f'{item} was handed out after an answered {wipe.kind}'
                if item in self.came:
                    if wipe.kind == 'delete':
                        yield f'{item} came again after an answered delete'
                    else:
                        suspects.append(item)
        if len(set(suspects)) > self.unknown_opens:
            yield f'{suspects[0]} and {len(set(suspects)) - 1} more came again after an answered flush'

    def _explained(self, item):
        """Whether the item may be gone by an operation that named it, or by a wipe."""
        if self.consumed[item]:
            return True
        put = self.puts[item]
        for wipe in self.wipes:
            if wipe.end > put.sent:
                if wipe.kind == 'delete' or not self._surely_open(item, wipe.sent, wipe.end):
                    return True
        return False

    def _lost(self):
        lost = [item for item, put in self.puts.items()
                if put.answered is not None and not put.refused
                and item not in self.came and not self._explained(item)]
        gets = [operation for operation in self._of('get') if operation.answered is None]
        if len(lost) > len(gets):
            yield (f'{len(lost)} answered puts are lost ({lost[0]}, ...), '
                   f'{len(gets)} gets in flight may have taken one each')
        for item in lost:
            older = [other for other in self.came if not self.opens[other]
                     and other.producer == item.producer and other.number < item.number]
            if len(older) > self.unknown_opens:
                yield f'{item} is lost, though {older[0]}, put before it, waits'

    def _drained_out_of_order(self):
        untouched = [item for item in self.drained if not self.opens[item]]
        for before, after in _descents(untouched):
            yield f'{after} was drained after {before}'
        last = max((place for place, item in enumerate(self.drained) if self.opens[item]), default=-1)
        early = [item for item in self.drained[:last + 1] if not self.opens[item]]
        if len(early) > self.unknown_opens:
            yield (f'{early[0]} was never open and was drained before {self.drained[last]}, '
                   'which went back to the head')

    def _held_out_of_order(self):
        place = {item: number for number, item in enumerate(self.drained)}
        held = collections.defaultdict(list)
        for operation in self._of('open'):
            held[operation.client] += [item for item in operation.items
                                       if item in place and self._release(item, operation) is None]
        for client, items in held.items():
            for before, after in itertools.pairwise(items):
                if place[after] < place[before]:
                    yield f'client {client} held {before} and then {after}, which was drained first'

    def _handed_out_of_order(self):
        by_client = collections.defaultdict(list)
        for operation in self._of('get'):
            by_client[operation.client] += [item for item in operation.items if not self.opens[item]]
        for client, items in by_client.items():
            for before, after in _descents(items):
                yield f'client {client} got {after} after {before}'


def _descents(items):
    """Pairs of neighbours of one producer that are in the wrong order."""
    by_producer = collections.defaultdict(list)
    for item in items:
        by_producer[item.producer].append(item)
    for own in by_producer.values():
        for before, after in itertools.pairwise(own):
            if after.number < before.number:
                yield before, after
