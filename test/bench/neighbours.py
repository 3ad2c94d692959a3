"""What other clients feel while a large queue is rewritten, packed, flushed or deleted."""
import os
import threading
import time

from backlog import Backlog
from figures import percentile
from load import new_seed
from restart import ENDLESS, KB
from servers import BenchError
from size import MB, finding

TARGET_MS = 20
RATE = 2000                 # puts a second of the other clients, and as many gets
PRODUCERS = CONSUMERS = 4
SECOND = 10 ** 9            # times are ns of the monotonic clock, as in loadgen's trace

# What is compared: the time before the work, and that of the work itself, at least so long. What goes on
# after the reply (freeing a million items in slices) is looked at for AFTER.
BEFORE = SECOND
LEAST = SECOND // 2
AFTER = SECOND
WORK_SECONDS = 120

# Gets that bring a queue to its packing, while that is watched: begun so many items before it is due.
PACK_RATE = 4000
PACK_CHUNK = 2000
PACK_MARGIN = 30_000
PACK_CHUNKS_MORE = 10


class Probe:
    """Other clients with a queue of their own, open loop; `with` runs them, `latencies` tells what they saw.

    An item's latency is the time from when it was due to be put until it was fetched.
    """

    def __init__(self, generator, server):
        self._path = os.path.join(server.folder, 'trace')
        self._load = generator.beside(server, mode='flood', queue='probe', rate=RATE, count=RATE * 300,
                                      size=100, producers=PRODUCERS, consumers=CONSUMERS, block=1000,
                                      until_eof=True, trace=self._path, seed=new_seed())

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        with self._load:
            if kind is None:
                self._load.end()

    def latencies(self, begin, end):
        """Milliseconds, of the items due in this time; to be asked after the end."""
        with open(self._path) as lines:
            pairs = [tuple(map(int, line.split())) for line in lines]
        found = [latency / 1e6 for due, latency in pairs if begin <= due < end]
        if not found:
            raise BenchError('no item of the other clients was due while the work was done')
        return found


def journal_files(server):
    return [name for name in os.listdir(server.spool) if name.partition('~')[0].partition('.')[0] == 'bench']


def inode(server, name):
    """None while there is no such file."""
    try:
        return os.stat(os.path.join(server.spool, name)).st_ino
    except FileNotFoundError:
        return None


def wait_until(condition, what):
    deadline = time.monotonic() + WORK_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f'{what} is not done after {WORK_SECONDS} s')
        time.sleep(0.01)


def compare(name, probe, begin, end):
    """The finding about work that was done from `begin` to `end`, with the time before it as the base."""
    base = percentile(probe.latencies(begin - BEFORE, begin), 99)
    during = probe.latencies(begin, max(end, begin + LEAST))
    p99 = percentile(during, 99)
    return finding(f'{name}: p99 of other clients, ms more than before', round(p99 - base, 2), 'ms',
                   at_most=TARGET_MS, before_ms=base, during_ms=p99,
                   shown=f'{base:.2f}, then {p99:.2f}; longest {max(during):.1f}; '
                         f'took {(end - begin) / SECOND:.2f} s')


def command(generator, server, name, work):
    """Does `work()` beside other clients; `work` returns when all is done."""
    with Probe(generator, server) as probe:
        time.sleep((BEFORE + LEAST) / SECOND)
        begin = time.monotonic_ns()
        work()
        end = time.monotonic_ns()
        time.sleep(LEAST / SECOND)
    return compare(name, probe, begin, end)


def ask(server, request, expected):
    reply = server.ask(request)
    if reply != expected:
        raise BenchError(f'{server.name}: wrong reply {reply!r} to {request!r}')


def rewrite(generator, server, name):
    """The put that finds the journal too large for a queue that fits into memory."""
    old = inode(server, 'bench')

    def is_done():
        return journal_files(server) == ['bench'] and inode(server, 'bench') != old

    def work():
        ask(server, b'set bench 0 0 1\r\nx\r\n', b'STORED\r\n')
        wait_until(is_done, 'rewriting')
    return command(generator, server, name, work)


def flush(generator, server, name):
    def work():
        ask(server, b'flush bench\r\n', b'END\r\n')
        time.sleep(AFTER / SECOND)
    return command(generator, server, name, work)


def delete(generator, server, name):
    def work():
        ask(server, b'delete bench\r\n', b'DELETED\r\n')
        wait_until(lambda: not journal_files(server), 'deleting')
        time.sleep(AFTER / SECOND)
    return command(generator, server, name, work)


class PackWatch(threading.Thread):
    """Notes when the packing of an archived file is seen first, and when the file has been replaced."""

    def __init__(self, server, archived):
        super().__init__(daemon=True)
        self._server = server
        self._archived = archived
        self._old = inode(server, archived)
        self.began = self.ended = None
        self.given_up = threading.Event()

    def run(self):
        while not (self.ended or self.given_up.is_set()):
            names = journal_files(self._server)
            if not self.began and any('~' in name or name.endswith('.pack') for name in names):
                self.began = time.monotonic_ns()
            if inode(self._server, self._archived) != self._old:
                self.ended = time.monotonic_ns()
            time.sleep(0.005)


def pack(generator, server, name, queue, in_memory):
    """Reads on until the file of the checkpoint has been read. The gets go on before, during and after."""
    rest = queue.stored // 20
    queue.put(rest)             # the first one rotates and sets the checkpoint
    queue.check_behind()
    archived = [file for file in journal_files(server) if file != 'bench']
    if len(archived) != 1:
        raise BenchError(f'{server.name}: a put was to rotate the journal once; there are {archived}')
    margin = min(PACK_MARGIN, rest)
    queue.get(queue.stored - rest - in_memory - margin)
    watch = PackWatch(server, archived[0])
    with Probe(generator, server) as probe:
        time.sleep((BEFORE + LEAST) / SECOND)
        watch.start()
        try:
            for _ in range(2 * margin // PACK_CHUNK + PACK_CHUNKS_MORE):
                queue.get(PACK_CHUNK, connections=4, rate=PACK_RATE)
                if watch.ended:
                    break
        finally:
            watch.given_up.set()
            watch.join()
        time.sleep(LEAST / SECOND)
    if not watch.ended:
        raise BenchError(f'{server.name}: {archived[0]} was not packed after it had been read')
    # What it does before its file is there counts too.
    begin = (watch.began or watch.ended) - LEAST
    return compare(name, probe, begin, watch.ended)


def neighbours(generator, new_server, scale):
    """Every kind of work on a queue of 1 GB, in memory and, where it can be, in read-behind."""
    total = scale.waiting * KB
    in_memory = {'max_memory_size': total * 6 // 5}
    in_journal = {'max_memory_size': total // 8}
    packed_memory = total // 2
    short = {'max_journal_size': total // 10}
    findings = []
    for verb, settings, act in (
            ('rewritten', {**in_memory, **short}, rewrite),
            ('packed', {'max_memory_size': packed_memory, **short}, None),
            ('flushed', {**in_memory, **ENDLESS}, flush),
            ('flushed, read-behind', {**in_journal, **ENDLESS}, flush),
            ('deleted', {**in_memory, **ENDLESS}, delete),
            ('deleted, read-behind', {**in_journal, **ENDLESS}, delete)):
        queue = Backlog.from_journal(generator, new_server, KB, scale.waiting, settings)
        name = f'{total / MB:,.0f} MB queue {verb}'
        if act:
            findings.append(act(generator, queue.server, name))
        else:
            findings.append(pack(generator, queue.server, name, queue, packed_memory // KB))
        queue.server.stop()
    return findings


MEASUREMENTS = {'neighbours': neighbours}
