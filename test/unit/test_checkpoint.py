"""What a packed file must hold, whatever was done since the checkpoint (D40)."""

import random
import unittest
from collections import deque

from kestrel.item import Item
from kestrel.journal.checkpoint import Checkpoint

OLD = 2     # open reads that are older than the checkpoint
PLACEHOLDER = '-'


class World:
    """The memory of a queue with a checkpoint, and D40's picture of it.

    since  S in it: the items that waited then, in order
    Put-backs go to the head. What stands on disk behind the checkpoint is no business of it.
    """

    def __init__(self, count):
        self.clock = 0
        self.since = [Item(b'%d' % number, 0) for number in range(count)]
        self.waiting = deque(self.since)
        self.opened = [Item(b'old%d' % number, 0) for number in range(OLD)]
        self.checkpoint = Checkpoint(None, [(number, item) for number, item in enumerate(self.opened, 1)])

    def take(self, opening=False):
        item = self.waiting.popleft()
        if opening:
            self.opened.append(item)
        self.checkpoint.take(item, opening)
        return item

    def put_back(self, item):
        self.opened.remove(item)
        again = Item(item.data, 0, deliveries=item.deliveries + 1)
        self.waiting.appendleft(again)
        self.checkpoint.put_back(item, again)

    def confirm(self, item):
        self.opened.remove(item)
        self.checkpoint.confirm(item)

    def picture(self):
        alive = {item.data for item in [*self.opened, *self.waiting]}
        return [item.data.decode() if item.data in alive else PLACEHOLDER for item in self.since]

    def packed(self):
        """The same, as the checkpoint says."""
        _, taken, alive, waiting = self.checkpoint.content(self.waiting)
        if any(item.deliveries for item in [*alive.values(), *waiting]):
            raise AssertionError('the UNREMOVE counts once more when it is replayed')
        places = [alive[place].data.decode() if place in alive else PLACEHOLDER for place in range(taken)]
        return places + [item.data.decode() for item in waiting]


class CheckpointTest(unittest.TestCase):

    def check(self, world, expected):
        self.assertEqual(' '.join(world.packed()), expected)
        self.assertEqual(world.packed(), world.picture())

    def test_nothing_was_done(self):
        world = World(3)
        self.check(world, '0 1 2')
        self.assertIs(world.checkpoint.content(world.waiting)[0], world.checkpoint.opened)

    def test_taken(self):
        world = World(3)
        world.take()
        world.take()
        self.check(world, '- - 2')

    def test_open(self):
        world = World(3)
        world.take(opening=True)
        world.take()
        self.check(world, '0 - 2')

    def test_opened_and_confirmed(self):
        world = World(3)
        world.confirm(world.take(opening=True))
        self.check(world, '- 1 2')

    def test_opened_and_put_back(self):
        world = World(3)
        world.put_back(world.take(opening=True))
        self.check(world, '0 1 2')
        world.take()
        self.check(world, '- 1 2')

    def test_put_back_behind_another_that_was_taken(self):
        world = World(4)
        first = world.take(opening=True)
        world.take()
        world.put_back(first)
        self.check(world, '0 - 2 3')
        again = world.take(opening=True)
        self.check(world, '0 - 2 3')
        world.confirm(again)
        self.check(world, '- - 2 3')

    def test_an_older_open_read_that_is_put_back_is_not_written_twice(self):
        world = World(2)
        world.put_back(world.opened[1])
        self.check(world, '0 1')
        world.take()
        self.check(world, '0 1')
        world.take()
        self.check(world, '- 1')

    def test_an_older_open_read_that_is_confirmed(self):
        world = World(2)
        world.confirm(world.opened[0])
        self.check(world, '0 1')

    def test_nothing_is_left(self):
        world = World(2)
        world.take()
        world.take()
        self.check(world, '- -')

    def test_any_order(self):
        for seed in range(200):
            chance = random.Random(seed)
            world = World(chance.randrange(1, 12))
            done = []
            for _ in range(40):
                act = chance.choice(['take', 'open', 'open', 'put back', 'put back', 'confirm'])
                if act in ('take', 'open') and world.waiting:
                    done.append((act, world.take(act == 'open').data))
                elif act in ('put back', 'confirm') and world.opened:
                    item = chance.choice(world.opened)
                    done.append((act, item.data))
                    (world.put_back if act == 'put back' else world.confirm)(item)
                self.assertEqual(world.packed(), world.picture(), 'seed %d: %s' % (seed, done))
