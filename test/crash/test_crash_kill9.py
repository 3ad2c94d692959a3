"""Rounds of: start on the spool the former round left, drain and compare, mixed load, kill -9.

KESTREL_CRASH_ROUNDS   how many rounds (default 25)
KESTREL_CRASH_SEED     the seed that a failure names, to have the same requests again
"""

import os
import random
import shutil
import signal
import subprocess
import unittest

from crash.history import Item, History, pack
from crash.load import CONFIG, QUEUES, Line, Load
from support.environment import kestrel_command, process_environment
from support.server import Server

ROUNDS = int(os.environ.get('KESTREL_CRASH_ROUNDS', 25))
SEED = os.environ.get('KESTREL_CRASH_SEED') or str(random.randrange(10 ** 9))

LOAD_SECONDS = 20
ROUNDS_ON_ONE_SPOOL = 10        # the journals grow with each, and with them the time of a start
PIPELINE = 64


def drain(line, queue):
    """All items of a queue, in the order in which plain gets hand them out."""
    items = []
    while True:
        line.send(b'get %s\r\n' % queue.encode() * PIPELINE)
        came = [line.item() for _ in range(PIPELINE)]
        items += [item for item in came if item]
        if None in came:
            return items


def statistics(line):
    line.send(b'stats\r\n')
    table = {}
    while True:
        words = line.line().split(b' ')
        if words == [b'END']:
            return table
        table[words[1].decode()] = words[2].decode()


class KillNineTest(unittest.TestCase):

    def setUp(self):
        self.random = random.Random(SEED)
        self.server = Server(CONFIG)
        self.addCleanup(self.server.close)
        self.torn = 0
        self.operations = 0

    def test_nothing_answered_is_lost_or_comes_twice(self):
        history = History()
        for number in range(ROUNDS):
            with self.subTest(round=number, seed=SEED):
                try:
                    history = self.round(number, history)
                except Exception:
                    # The next round begins with nothing, so that what was wrong in this one is told once.
                    history = History()
                    self.renew_spool()
                    self.server.kill9()
                    raise
        self.server.start()
        self.drain_and_compare(history)
        self.server.stop()
        self.assertGreater(self.operations, 10 * ROUNDS, 'there was next to no load')

    def round(self, number, former):
        """-> the History of its load. ``former``: that of the round before."""
        self.server.start()
        self.drain_and_compare(former)
        if number % ROUNDS_ON_ONE_SPOOL == ROUNDS_ON_ONE_SPOOL - 1:
            self.renew_spool()
        history = History()
        self.load(number, history)
        self.between()
        self.operations += history.answers
        return history

    def renew_spool(self):
        self.server.kill9()
        shutil.rmtree(self.server.spool)
        self.torn = 0
        self.server.start()

    def load(self, number, history):
        load = Load(self.server.port, history, number, f'{SEED} {number}', self.random.randrange(1, 900))
        load.start()
        if not load.reached.wait(LOAD_SECONDS):
            self.fail(f'only {history.answers} answers in {LOAD_SECONDS} s')
        if self.random.random() < 0.1:
            self.server.stop(sign=self.random.choice((signal.SIGTERM, signal.SIGINT)))
        else:
            self.server.kill9()
        load.over.set()
        load.join()

    def between(self):
        """What may happen to a spool before the next start: another crash, a record cut short, nothing."""
        happens = self.random.random()
        if happens < 0.15:
            self.kill_while_it_recovers()
        elif happens < 0.25:
            self.server.start()
            self.server.kill9()
        elif happens < 0.4:
            self.tear_a_record()

    def kill_while_it_recovers(self):
        """Kill a start at any moment of its first half second: it may be anywhere in its replay, or before it."""
        process = subprocess.Popen(
            kestrel_command('-f', self.server.config_path), cwd=self.server.dir, env=process_environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(self.random.uniform(0, 0.5))
        except subprocess.TimeoutExpired:
            process.kill()
        process.wait()

    def tear_a_record(self):
        """Leave the first bytes of a put behind the last record, as a crash in the middle of a write does."""
        journal = self.server.spool / self.random.choice(QUEUES)
        if not journal.exists():
            return
        data = pack(Item(0, 0, 0), 100)
        record = b'\x02' + (16 + len(data)).to_bytes(4, 'little') + bytes(16) + data
        with open(journal, 'ab') as file:
            file.write(record[:self.random.randrange(1, len(record))])
        self.torn += 1

    def drain_and_compare(self, history):
        line = Line(self.server.port)
        try:
            found = statistics(line)
            drained = {queue: drain(line, queue) for queue in QUEUES}
        finally:
            line.close()
        self.assertEqual(history.complaints(drained), [])
        for queue, items in drained.items():
            self.assertEqual(found.get(f'queue_{queue}_items', '0'), str(len(items)), queue)
            self.assertEqual(found.get(f'queue_{queue}_open_transactions', '0'), '0', queue)
        # at least those: a kill may cut a write of its own short
        saved = self.server.spool / '.corrupt'
        self.assertGreaterEqual(len(os.listdir(saved)) if saved.exists() else 0, self.torn, 'torn records saved')
