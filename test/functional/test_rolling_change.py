"""A site of three servers is changed one by one while clients work: nothing is lost, and nothing comes twice but what was
open when its server stopped (docs/moving-from-kestrel.md, "Several servers", whose commands are run here).

Kestrels play the old servers. One of them begins on a spool that Kestrel 2.4 was killed on.
"""

import collections
import io
import os
import random
import shlex
import shutil
import socket
import sys
import threading
import time
import unittest

from kestrel.clock import Clock
from kestrel.tools.console import Console
from kestrel.tools.migrate import main as migrate

from functional.test_docs import blocks
from support.environment import CHECKOUT
from support.golden import GOLDEN, case
from support.scripted import Run
from support.server import Server
from support.strict_reader import read_spool

LONG = os.environ.get('KESTREL_LONG') == '1'
ROUNDS = 6 if LONG else 1           # of changing all three
WORK = 2.0 if LONG else 0.3         # seconds between two steps in which the clients work
PAUSE = 0.005                       # seconds between two puts of a producer
PATIENCE = 60                       # seconds that an answer may take on a machine that does other things
WORKERS = 5                         # of each kind
QUEUES = b'q', b'jobs'
SPOOL = 'open_at_end'               # what Kestrel 2.4 left behind, in the queue q
HELD = 4
OLD = {'server': {'max_open_transactions': 100}}
SCALA = """import net.lag.kestrel.config._

new KestrelConfig {
  listenAddress = "127.0.0.1"
  memcacheListenPort = %d
  textListenPort = None
  thriftListenPort = None
  queuePath = "%s"
  statusFile = "%s"
  maxOpenTransactions = 100
  default.maxJournalSize = 65536
}
"""


class Link:
    """A connection to the memcache port; ConnectionError if it breaks, as it may, TimeoutError if nothing comes."""

    def __init__(self, port):
        self._socket = socket.create_connection(('127.0.0.1', port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile('rb')

    def ask(self, request):
        self._socket.sendall(request)
        return self.line()

    def line(self):
        line = self._file.readline()
        if not line.endswith(b'\r\n'):
            raise ConnectionError('closed')
        return line[:-2]

    def open(self, queue, wait=10):
        """-> the item that is open now, None without"""
        line = self.ask(b'get %b/t=%d/open\r\n' % (queue, wait))
        if line == b'END':
            return None
        if not line.startswith(b'VALUE %b ' % queue):
            raise AssertionError(f'answer to get: {line!r}')
        item = self.line()
        if self.line() != b'END':
            raise AssertionError('no END')
        return item

    def close(self):
        self._file.close()
        self._socket.close()


class Work:
    """What the clients of a site do, and what they saw.

    stored     [item]; a server answered STORED
    delivered  Counter of items that a consumer got
    cut        {item}; it was open when its connection broke, or nobody knows whether it was confirmed
    elsewhere  int, puts that one server did not take and another one did
    """

    def __init__(self, ports, seed):
        self.stored = []
        self.delivered = collections.Counter()
        self.cut = set()
        self.elsewhere = 0
        self.failure = None
        self.putting = self.getting = True
        self._ports = ports
        self._seed = seed
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._guarded, args=(work, number))
                         for number in range(WORKERS) for work in (self._produce, self._consume)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self.putting = self.getting = False
        for thread in self._threads:
            thread.join()

    def _guarded(self, work, number):
        try:
            work(number)
        except Exception as error:
            self.failure = error

    def check(self):
        if self.failure is not None:
            raise self.failure

    def _links(self, number):
        """Endless: the ports, one after the other, as a client of several servers goes over them."""
        order = list(self._ports)
        random.Random(f'{self._seed} {number}').shuffle(order)
        while True:
            yield from order

    def _produce(self, number):
        links, ports, serial = {}, self._links(number), 0
        while self.putting:
            serial += 1
            item = b'%d-%d' % (number, serial)
            request = b'set %b 0 0 %d\r\n%b\r\n' % (QUEUES[serial % 2], len(item), item)
            tries = 0
            while not self._put(links, next(ports), request):
                tries += 1
                if tries % len(self._ports) == 0:
                    time.sleep(PAUSE)
            with self._lock:
                self.stored.append(item)
                self.elsewhere += tries > 0
            time.sleep(PAUSE)
        close_all(links)

    @staticmethod
    def _put(links, port, request):
        """-> did this server take it. One that is away or refuses is left for the next."""
        try:
            if port not in links:
                links[port] = Link(port)
            if links[port].ask(request) == b'STORED':
                return True
        except ConnectionError:
            pass
        if port in links:
            links.pop(port).close()
        return False

    def _consume(self, number):
        links, ports = {}, self._links(number)
        while self.getting:
            port = next(ports)
            item = None
            try:
                if port not in links:
                    links[port] = Link(port)
                for queue in QUEUES:
                    item = links[port].open(queue)
                    if item is not None:
                        with self._lock:
                            self.delivered[item] += 1
                        if links[port].ask(b'get %b/close\r\n' % queue) != b'END':
                            raise AssertionError('not confirmed')
                        item = None
            except ConnectionError:
                if item is not None:
                    self.cut.add(item)
                if port in links:
                    links.pop(port).close()
                time.sleep(PAUSE)
        close_all(links)


def close_all(links):
    for link in links.values():
        link.close()


class RollingChangeTest(unittest.TestCase):

    def setUp(self):
        self.commands = [line[2:] for _, _, lines in blocks(CHECKOUT / 'docs' / 'moving-from-kestrel.md', 'site')
                         for line in lines if line.startswith('$ ')]
        self.servers = []
        for number in range(3):
            server = Server(OLD)
            self.addCleanup(server.close)
            if number == 0:
                shutil.copytree(GOLDEN / SPOOL / 'kill9' / 'journal', server.spool)
            self.servers.append(server.start())

    def test_one_after_the_other(self):
        golden = [item.encode() for item in case(SPOOL)['kill9']['after_restart']['drain']['q']]
        seed = random.randrange(10 ** 6) if LONG else 12
        ports = [server.port for server in self.servers]
        slow = Link(ports[0])           # a consumer whose work takes longer than anybody waits for
        held = [slow.open(b'q') for _ in range(HELD)]
        self.assertEqual(held, golden[:HELD])
        with Work(ports, seed) as work:
            for number in list(range(len(ports))) * ROUNDS:
                time.sleep(WORK)
                self.change(number)
                work.check()
            with self.assertRaises(ConnectionError):
                slow.ask(b'get q/close\r\n')
            slow.close()
            time.sleep(WORK)
            work.putting = False
            self.wait_until_empty(ports)
        work.check()
        if LONG:
            print(f'{self.id()}: seed {seed}, {len(work.stored)} items, {len(work.cut)} reads cut', file=sys.stderr)
        self.check(work, golden)
        for server in self.servers:
            server.stop()
            self.assertEqual([item for queue in read_spool(server.spool).values() for item in queue.after_start()], [])

    def check(self, work, golden):
        """What the slow one had open counts as not delivered: somebody else has to get it."""
        stored, delivered = golden + work.stored, work.delivered
        self.assertGreater(len(work.stored), 100)
        self.assertGreater(work.elsewhere, 0, 'nobody ever went to another server')
        self.assertEqual(len(set(stored)), len(stored))
        self.assertEqual(set(stored) - set(delivered), set(), 'lost')
        self.assertEqual(set(delivered) - set(stored), set(), 'nobody was told that these are stored')
        self.assertEqual({item for item in delivered if delivered[item] > 1} - work.cut, set(), 'twice')

    def wait_until_empty(self, ports):
        deadline = time.monotonic() + PATIENCE
        while True:
            left = [(row['items'], row['open']) for port in ports for row in self.ctl(port, 'queues', '--json').json()]
            if not any(map(any, left)):
                return
            self.assertLess(time.monotonic(), deadline, f'not worked off: (items, open reads) {left}')
            time.sleep(0.01)

    @staticmethod
    def ctl(port, *words):
        return Run('--port', port, '--timeout', PATIENCE, *words, clock=Clock())

    def change(self, number):
        """Do what the document says, on one of the servers."""
        old, other = self.servers[number], self.servers[(number + 1) % len(self.servers)]
        new = Server()
        self.addCleanup(new.close)
        self.write_config(old, new)
        done = []
        for command in self.commands:
            words = shlex.split(command)
            if words[:2] == ['runuser', '-u']:
                words = words[words.index('--') + 1:]
            done.append(words[0])
            if words[0] == 'kestrelctl':
                words = [f'127.0.0.1:{other.port}' if word == 'queue2' else word for word in words[1:]]
                ran = self.ctl(old.port, *words)
                # of a drain: what consumers hold cannot be moved
                self.assertIn(ran.code, (0, 1) if words[0] == 'drain' else (0,), ran.err)
                if ran.code == 1:
                    self.assertRegex(ran.err, r'^(kestrelctl: queue \w+ still has 0 items and \d+ open reads\n)+'
                                              r'kestrelctl: not empty\n$')
                if words[0] == 'shutdown':
                    old.wait()
            elif words[0] == 'kestrel-migrate':
                folders = {'/var/spool/kestrel-2.4': old.spool, '/var/spool/kestrel': new.spool}
                self.migrate(*[folders.get(word, word) for word in words[1:]])
            else:
                self.assertEqual(command, 'systemctl start kestrel')
                new.start()
                self.servers[number] = new
                with new.client() as client:
                    client.expect(b'status\r\n', b'READONLY\r\n')
        self.assertEqual(done, ['kestrelctl'] * 3 + ['kestrel-migrate', 'systemctl', 'kestrelctl'])
        self.assertEqual(old.exit_code, 0)

    def write_config(self, old, new):
        """As the document says before: out of the old server's Scala."""
        scala = new.dir / 'production.scala'
        scala.write_text(SCALA % (old.port, new.spool, old.status_path))
        new.config_path.unlink()
        self.migrate('--config', scala, '--output', new.config_path)
        new.ports['memcache'] = new.port = old.port
        new.status_path = old.status_path

    def migrate(self, *words):
        out, err = io.BytesIO(), io.StringIO()
        code = migrate.run([str(word) for word in words], Console(out, err))
        self.assertEqual((code, err.getvalue()), (0, ''), out.getvalue())


if __name__ == '__main__':
    unittest.main()
