"""Starts: how fast a journal is replayed, when the first client is served, and what memory that takes."""
import json
import subprocess
import time

from figures import median, paired_ratios
from load import new_seed
from size import MB, finding
from servers import BenchError

KB = 1024
GB = 1024 * MB
# The journal is to be left as it is: neither kept below this by compaction nor rotated at the first request.
ENDLESS = {'max_journal_size': '100GB'}
START_SECONDS = 1.5
OTHER_RUNS = 3
FILL_SECONDS = 60
PEEK = b'get bench/peek\r\n'


class Scale:
    """How much of everything; `pairs` are measurements in turns, `starts` those of a server."""

    def __init__(self, quick, rounds, cycles):
        self.starts = 3 if quick else max(rounds, 3)
        self.pairs = 2 if quick else 8
        self.work = 10_000 if quick else 40_000
        self.replayed_small = 100_000 if quick else 3_000_000
        self.replayed_kept_bytes = (100 if quick else 1000) * MB
        self.replayed_left_bytes = (200 if quick else 2000) * MB
        self.waiting = 50_000 if quick else 1_000_000
        self.waiting_memory = (6 if quick else 128) * MB
        self.behind = 60_000 if quick else 500_000
        self.waiting_small = 300_000 if quick else 10_000_000
        self.few = 10_000
        self.synced_clients, self.synced_alone = (4_000, 300) if quick else (40_000, 4_000)
        self.cycles = 6 if quick else cycles
        self.cycle_items = 5_000 if quick else 25_000


def journal_of(generator, count, size, seed):
    """For `fill` of a server: writes the journal of queue bench into its spool."""
    return lambda spool: generator.write_journal(f'{spool}/bench', count, size, seed)


def cat_seconds(path):
    began = time.monotonic()
    done = subprocess.run(['cat', path], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise BenchError(f'cat {path}: {done.stderr.strip()}')
    return time.monotonic() - began


def filled_seconds(server, count):
    """Memory is filled while the server works already: seconds until so many items are in it."""
    began = time.monotonic()
    while True:
        kept = server.stat('bench', 'mem_items')
        seconds = time.monotonic() - began
        if kept == count:
            return seconds
        if seconds > FILL_SECONDS:
            raise BenchError(f'{server.name}: {kept} of {count} items are in memory after {FILL_SECONDS} s')
        time.sleep(0.01)


def replay_seconds(server, idle, size, starts, others, kept=0):
    """(replays, others): starts to the first reply, or until `kept` items are in memory, less the median one of an idle
    server, in turns with the least of some `others`.

    No server runs meanwhile: memory that it holds is not there for the other, which must then get pages that
    nobody has used for long, and these cost several times as much.
    """
    loaded, without, found = [], [], []
    for _ in range(starts):
        idle.kill()
        server.kill()
        found.append(min(others() for _ in range(OTHER_RUNS)))
        seconds = server.launch(PEEK, b'VALUE bench 0 %d\r\n' % size)
        loaded.append(seconds + filled_seconds(server, kept) if kept else seconds)
        without.append(idle.launch(PEEK, b'END\r\n'))
    replays = [seconds - median(without) for seconds in loaded]
    if min(replays) <= 0:
        raise BenchError(f'{server.name}: {starts} starts with items took {loaded} s, without {without} s: '
                         'nothing can be said about a replay')
    return replays, found


def check_memory(server, count, all_kept):
    """The figures would mean nothing if other items were in memory than those that should be."""
    waiting, kept = (server.stat('bench', key) for key in ('items', 'mem_items'))
    if waiting != count or (kept == count) != all_kept:
        raise BenchError(f'{server.name}: {kept} of {waiting} items are in memory, the journal holds {count}')


def replay(generator, new_server, scale):
    """Records a second; data kept in memory against C that keeps it; the part left behind against cat."""
    idle = new_server()
    findings = []
    kept = {'max_memory_size': '100GB', **ENDLESS}
    left = {'max_memory_size': '1MB', **ENDLESS}

    def pairs(count, size, settings, other):
        server = new_server(settings=settings, fill=journal_of(generator, count, size, new_seed()))
        if settings is kept:
            filled_seconds(server, count)
        check_memory(server, count, settings is kept)
        found = replay_seconds(server, idle, size, scale.starts, lambda: other(f'{server.spool}/bench'),
                               count if settings is kept else 0)
        server.stop()
        return found

    seconds, _ = pairs(scale.replayed_small, 100, kept, generator.read_journal)
    findings.append(finding(f'replay of {scale.replayed_small:,} items of 100 bytes',
                            round(scale.replayed_small / median(seconds)), '/s', at_least=1e6,
                            kinds=('compiled',), seconds=seconds))
    unread = 'left to read-behind, cat / kestrel'
    for size, settings, total, other, name, least in (
            (10 * KB, kept, scale.replayed_kept_bytes, generator.read_journal, 'kept, C / kestrel', 0.6),
            (10 * KB, left, scale.replayed_left_bytes, cat_seconds, unread, 0.8),
            (1 * KB, left, scale.replayed_left_bytes, cat_seconds, unread, None)):
        seconds, base = pairs(total // size, size, settings, other)
        ratios = paired_ratios(base, seconds)
        findings.append(finding(f'replay of {total // MB:,} MB, {size // KB} KB items {name}',
                                round(median(ratios), 3), 'x', at_least=least, kinds=('compiled',),
                                ratios=ratios, shown=f'{median(base):.2f} / {median(seconds):.2f} s'))
    return findings


def start(generator, new_server, scale):
    """Many items wait: seconds until the first get is answered, and memory then and after as many puts."""
    memory = scale.waiting_memory
    settings = {'max_memory_size': memory}
    seed = new_seed()
    name = f'{scale.waiting:,} items of 1 KB wait, max_memory_size {memory // MB} MB'
    memory_target = round(1.3 * memory / MB + 40, 1)
    server = new_server(settings=settings, fill=journal_of(generator, scale.waiting, KB, seed))
    seconds = [server.relaunch(b'get bench\r\n', b'VALUE bench 0 1024\r\n') for _ in range(scale.starts)]
    restarted, peak = server.rss(), server.peak_rss()
    server.stop()
    server = new_server(settings=settings)
    generator.run(server, mode='put', count=scale.waiting, size=KB, connections=4, pipeline=16, seed=seed,
                  deadline=600)
    return [
        finding(f'{name}: start until the first get is answered', round(median(seconds), 2), 's',
                at_most=START_SECONDS, seconds=seconds),
        finding(f'{name}: memory after the start', round(restarted / MB, 1), 'MB', at_most=memory_target,
                shown=f'the most until then: {peak / MB:.1f} MB'),
        finding(f'{name}: memory after the puts', round(server.rss() / MB, 1), 'MB', at_most=memory_target,
                shown=f'the most until then: {server.peak_rss() / MB:.1f} MB')]


MEASUREMENTS = {'replay': replay, 'start': start}
