"""Rounds of: load on queues whose items move to others, kill -9, start, compare (D18, D51).

Nothing is ever consumed, so whatever was answered STORED must be in its queue or in the one it was to move to: never
in neither, and in both only if the kill fell between the two records, as the last ones that arrived there.

KESTREL_CRASH_MOVES_SEED   the seed that a failure names
KESTREL_LONG               1: many rounds of a seed of their own
"""

import os
import random
import shutil
import threading
import time
import unittest

from crash.history import Item, pack
from crash.load import MAX_OPEN, SECONDS, Line, Worker
from crash.test_crash_kill9 import drain
from support.server import Server

LONG = os.environ.get('KESTREL_LONG') == '1'
SEED = os.environ.get('KESTREL_CRASH_MOVES_SEED') or (str(random.randrange(10 ** 9)) if LONG else '1')
ROUNDS = 60 if LONG else 3
EXPIRED_AT_ONCE = 100       # items of one step of a sweep, whose REMOVEs stand behind all their copies

# source -> (target, sync_journal of both): each way to wait for the target's record, or not
POISON = {'poison-never': ('dead-never', 'never', 'never'), 'poison-each': ('dead-unsynced', '0', 'never'),
          'poison-unsynced': ('dead-each', 'never', '0')}
EXPIRED = {'brief-never': ('old-never', 'never', 'never'), 'brief-unsynced': ('old-each', 'never', '0')}
MOVES = {**POISON, **EXPIRED}


def config(moving):
    """Of a server whose items move, or of one where they do not: what has expired is kept apart there."""
    queues = {}
    for source, (target, of_source, of_target) in MOVES.items():
        queues[source] = {'sync_journal': of_source}
        queues[target] = {'sync_journal': of_target}
        if moving and source in POISON:
            queues[source].update(max_deliveries=2, dead_letter_queue=target)
        elif source in EXPIRED:
            queues[source].update({'max_age': '20ms', 'expire_to_queue': target} if moving else
                                  {'expire_to_queue': f'left-{source}'})
    return {'server': {'max_open_transactions': MAX_OPEN, 'expiration_timer_frequency': '5ms'}, 'queues': queues}


class Producer(Worker):
    """Puts into one queue, several at a time."""

    count = 0

    def step(self):
        queue = list(MOVES)[self.number]
        items = [Item(self.load.round, self.number, self.count + place) for place in range(self.random.randint(1, 20))]
        self.count += len(items)
        self.load.begun[queue].update(items)
        data = [pack(item, self.random.randrange(20, 300)) for item in items]
        self.line.send(b''.join([b'set %s 0 0 %d\r\n%s\r\n' % (queue.encode(), len(one), one) for one in data]))
        for item in items:
            self.line.expect(b'STORED')
            self.load.stored[queue].add(item)
            self.load.answered()


class Poisoner(Worker):
    """Opens some items of one queue and puts them back, one after the other or all by hanging up."""

    def step(self):
        queue = list(POISON)[self.number % len(POISON)].encode()
        self.line.send(b'monitor %s 1 %d\r\n' % (queue, self.random.randint(1, MAX_OPEN)))
        opened = 0
        while self.line.item() is not None:
            opened += 1
        if self.random.random() < 0.5:
            self.line.send(b'get %s/abort\r\n' % queue * opened)
            for _ in range(opened):
                self.line.expect(b'END')
        else:
            self.line.close()
            self.line = Line(self.load.port)


class Load:
    """All clients of one round. ``begun``, ``stored``: {source: the items whose puts were sent, answered STORED}."""

    history = None

    def __init__(self, port, round_number, seed, answers):
        self.port = port
        self.round = round_number
        self.seed = seed
        self.begun = {queue: set() for queue in MOVES}
        self.stored = {queue: set() for queue in MOVES}
        self.over = threading.Event()
        self.reached = threading.Event()
        self._left = answers
        kinds = [Producer] * len(MOVES) + [Poisoner] * 2 * len(POISON)
        self._workers = [kind(self, number) for number, kind in enumerate(kinds)]

    def answered(self):
        self._left -= 1
        if self._left <= 0:
            self.reached.set()

    def start(self):
        for worker in self._workers:
            worker.start()

    def join(self):
        for worker in self._workers:
            worker.join(SECONDS)
            if worker.is_alive():
                raise AssertionError(f'{worker.name} still waits for an answer of a server that is gone')
            if worker.failure:
                raise AssertionError(f'{worker.name} failed') from worker.failure


class MovesTest(unittest.TestCase):

    def setUp(self):
        self.random = random.Random(SEED)
        self.server = Server()
        self.addCleanup(self.server.close)
        self.moved = dict.fromkeys(MOVES, 0)

    def test_a_moved_item_is_never_in_neither_queue(self):
        for number in range(ROUNDS):
            with self.subTest(round=number, KESTREL_CRASH_MOVES_SEED=SEED):
                self.round(number)
        self.server.stop()
        self.assertEqual([queue for queue, count in self.moved.items() if not count], [], 'nothing moved')

    def round(self, number):
        if self.server.running:
            self.server.stop()
        shutil.rmtree(self.server.spool, ignore_errors=True)
        self.start(moving=True)
        load = Load(self.server.port, number, f'{SEED} {number}', self.random.randrange(300, 2500))
        load.start()
        if not load.reached.wait(SECONDS):
            self.fail(f'too few answers in {SECONDS} s')
        self.server.kill9()
        load.over.set()
        load.join()
        # what was open for the last time moves at a start: kill that one, too
        again = number % 3 == 2
        if again:
            self.start(moving=True)
            time.sleep(self.random.uniform(0, 0.05))
            self.server.kill9()
        self.start(moving=False)
        line = Line(self.server.port)
        try:
            for source, (target, _, _) in MOVES.items():
                left = drain(line, source) + (drain(line, f'left-{source}') if source in EXPIRED else [])
                self.compare(load, source, left, drain(line, target), again)
        finally:
            line.close()

    def start(self, moving):
        self.server.write_config(config(moving))
        self.server.start()

    def compare(self, load, source, left, moved, again):
        self.assertEqual(load.stored[source] - {*left, *moved}, set(), f'{source}: in neither queue')
        self.assertEqual({*left, *moved} - load.begun[source], set(), f'{source}: nobody put that')
        self.assertEqual(len(left), len(set(left)), f'{source}: twice in one queue')
        self.moved[source] += len(moved)
        if again:
            return      # what was in both has moved once more
        self.assertEqual(len(moved), len(set(moved)), f'{source}: moved twice')
        both = set(left) & set(moved)
        last = moved[len(moved) - len(both):]
        self.assertEqual(both, set(last), f'{source}: in both queues, and not the last that moved')
        if MOVES[source] == ('old-never', 'never', 'never'):
            self.assertLessEqual(len(both), EXPIRED_AT_ONCE)
