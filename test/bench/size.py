"""Beyond speed: memory, and whether many connections, queues or waiting clients make the rest slower.

Each measurement takes a function that makes a fresh server of one contender, and returns findings: dicts with
`name`, `value`, `unit` and what the value should be.
"""
import time

from figures import median, paired_ratios
from load import new_seed
from servers import SPARE_FILES

MB = 1024 * 1024
KESTRELS = ('compiled', 'pure')
TOLERANCE = 0.10            # what counts as "as fast": the machine itself varies by some percent
PAUSE_TARGET_MS = 10
PROBE_RATE = 500            # puts a second of the client that looks for stalls
WAITING_SIZES = (10, 100)


def finding(name, value, unit, at_most=None, at_least=None, kinds=KESTRELS, **details):
    """`kinds`: the contenders that the target is for; of the others the value is only shown."""
    return {'name': name, 'value': value, 'unit': unit, 'at_most': at_most, 'at_least': at_least,
            'kinds': kinds, **details}


def judge(found, kind):
    """The finding about a contender of this kind, with `target` (text) and `met`, both None without one."""
    found = dict(found)
    kinds, most, least = found.pop('kinds'), found.pop('at_most'), found.pop('at_least')
    target = met = None
    if kind in kinds and most is not None:
        target, met = f'<= {most:g}', found['value'] <= most
    elif kind in kinds and least is not None:
        target, met = f'>= {least:g}', found['value'] >= least
    return {**found, 'target': target, 'met': met}


class Scale:
    """How much of everything; `files` is the limit of open files, and fewer connections are said loudly."""

    def __init__(self, quick, rounds, files, say, most_waiting=None):
        self.rounds = rounds
        self.connections = self._within(1_000 if quick else 10_000, files, 'connections', say)
        self.queues = self._within(1_000 if quick else 10_000, files, 'queues', say)
        self.waiting = 100_000 if quick else 1_000_000
        self.most_waiting = most_waiting or self.waiting
        self.work = 20_000 if quick else 60_000
        self.sized_bytes = (50 if quick else 400) * MB
        self.blocked_puts = 4_000 if quick else 20_000

    @staticmethod
    def _within(wanted, files, what, say):
        possible = max(files - SPARE_FILES, 1)
        if possible < wanted:
            say(f'*** ONLY {possible} INSTEAD OF {wanted} {what.upper()}: a process may open {files} files '
                f'here (ulimit -Hn) ***')
        return min(wanted, possible)


def warm_up(generator, server):
    work = {'count': 2000, 'size': 100, 'connections': 2, 'seed': new_seed()}
    generator.run(server, mode='put', **work)
    generator.run(server, mode='get', **work)
    server.forget('bench')


def put_and_get(generator, server, count, queue='bench', queues=1):
    """(puts/s, gets/s) of 100 clients."""
    work = {'count': count, 'connections': 100, 'seed': new_seed(), 'queue': queue, 'queues': queues}
    return tuple(generator.run(server, mode=mode, **work)['rate'] for mode in ('put', 'get'))


def idle_memory(generator, new_server, _):
    """A server that has just started."""
    server = new_server()
    time.sleep(1)
    return [finding('memory when idle', round(server.rss() / MB, 1), 'MB', at_most=40)]


def idle_connections(generator, new_server, scale):
    """Memory of each idle connection; puts and gets of 100 others without and with them, in turns."""
    server = new_server()
    warm_up(generator, server)
    without, beside = [], []
    before = server.rss()
    each = None
    for _ in range(scale.rounds):
        without.append(put_and_get(generator, server, scale.work))
        with generator.beside(server, mode='idle', connections=scale.connections) as idle:
            idle.wait_ready()
            server.wait_quiet()
            if each is None:
                each = (server.rss() - before) / scale.connections / 1024
            beside.append(put_and_get(generator, server, scale.work))
            idle.end()
        server.wait_quiet()
        server.forget('bench')
    name = f'{scale.connections:,} idle connections'
    findings = [finding(f'{name}: memory of each', round(each, 2), 'KB', at_most=14)]
    for index, what in enumerate(('put', 'get')):
        ratios = paired_ratios([pair[index] for pair in beside], [pair[index] for pair in without])
        findings.append(finding(f'{name}: {what}s of 100 others, with / without', round(median(ratios), 3),
                                'x', at_least=1 - TOLERANCE, ratios=ratios))
    return findings


def probe(generator, server, work):
    """Runs `work()` while another client puts at a fixed rate and a third fetches; longest put in ms."""
    with generator.beside(server, mode='flood', queue='probe', rate=PROBE_RATE, count=PROBE_RATE * 600,
                          size=10, producers=1, consumers=1, block=1000, until_eof=True,
                          seed=new_seed()) as client:
        time.sleep(0.2)
        work()
        return client.end()['put']['max_us'] / 1000


def waiting_items(generator, new_server, scale):
    """Memory of many waiting items on top of their data, and the longest another client waits meanwhile.

    The load is light (4 clients, 16 deep): an answer is late because of a pause, not of a queue of work.
    """
    findings = []
    for size in WAITING_SIZES:
        server = new_server()
        warm_up(generator, server)
        fill = {'count': scale.waiting, 'size': size, 'connections': 4, 'pipeline': 16, 'seed': new_seed(),
                'deadline': 600}
        steady = {'count': scale.work, 'size': size, 'connections': 4, 'seed': new_seed(), 'queue': 'other'}
        server.forget_collections()
        before = server.rss()
        filling = probe(generator, server, lambda: generator.run(server, mode='put', **fill))
        overhead = (server.rss() - before) / scale.waiting - size
        working = probe(generator, server, lambda: (generator.run(server, mode='put', **steady),
                                                    generator.run(server, mode='get', **steady)))
        draining = probe(generator, server, lambda: generator.run(server, mode='get', **fill))
        name = f'{scale.waiting:,} items of {size} bytes'
        findings.append(finding(f'{name}: memory of each on top of its data', round(overhead, 1), 'bytes',
                                at_most=130, kinds=('compiled',)))
        if server.longest_collection() is not None:
            findings.append(finding(
                f'{name}: longest pause for the garbage collector, from the first put to the last get',
                round(server.longest_collection(), 2), 'ms', at_most=PAUSE_TARGET_MS))
        for what, longest in (('being put', filling), ('waiting', working), ('being fetched', draining)):
            findings.append(finding(f'{name} {what}: longest put of another client', round(longest, 2), 'ms'))
        server.stop()
    return findings


def many_queues(generator, new_server, scale):
    """Puts and gets in one of many queues, and spread over all, against a server that has only one."""
    alone, crowded = new_server(), new_server()
    create = {'count': scale.queues, 'size': 10, 'connections': 4, 'queues': scale.queues, 'queue': 'many',
              'seed': new_seed()}
    generator.run(crowded, mode='put', **create)
    generator.run(crowded, mode='get', **create)
    only, one, spread = [], [], []
    for _ in range(scale.rounds):
        only.append(put_and_get(generator, alone, scale.work))
        one.append(put_and_get(generator, crowded, scale.work))
        spread.append(put_and_get(generator, crowded, scale.work, 'many', scale.queues))
    findings = []
    for index, what in enumerate(('put', 'get')):
        base = [pair[index] for pair in only]
        ratios = paired_ratios([pair[index] for pair in one], base)
        findings.append(finding(f'{what} in one of {scale.queues:,} queues / in the only one',
                                round(median(ratios), 3), 'x', at_least=1 - TOLERANCE, ratios=ratios))
        ratios = paired_ratios([pair[index] for pair in spread], base)
        findings.append(finding(f'{what} spread over {scale.queues:,} queues / in the only one',
                                round(median(ratios), 3), 'x', ratios=ratios))
    return findings


def blocked_clients(generator, new_server, scale):
    """One client puts, each item goes to a client blocked in a get: one such client against many."""
    server = new_server()
    warm_up(generator, server)
    results = {1: [], scale.connections: []}
    for _ in range(scale.rounds):
        for consumers in results:
            results[consumers].append(generator.run(
                server, mode='flood', count=scale.blocked_puts, size=1024, producers=1, consumers=consumers,
                block=100_000, settle=1000, seed=new_seed()))
            server.wait_quiet()
    findings = []
    for what, unit, figure in (
            ('median latency', 'us', lambda result: result['put']['p50_us']),
            ("server's processor time", 'us',
             lambda result: (result['server_user_s'] + result['server_system_s']) / result['items'] * 1e6)):
        few, many = ([figure(result) for result in results[consumers]] for consumers in results)
        ratios = paired_ratios(many, few)
        findings.append(finding(
            f'put while {scale.connections:,} clients are blocked / while one is: {what}',
            round(median(ratios), 3), 'x', at_most=1 + TOLERANCE, ratios=ratios,
            shown=f'{median(many):.1f} / {median(few):.1f} {unit}'))
    return findings


MEASUREMENTS = {'idle': idle_memory, 'connections': idle_connections, 'waiting': waiting_items,
                'queues': many_queues, 'blocked': blocked_clients}

# What else can be measured the same way, to tell the server's share from the machine's.
CONTROLS = {'memcached': ('idle', 'connections', 'syscalls'),
            'redis': ('idle', 'waiting', 'queues', 'blocked', 'syscalls'),
            'beanstalkd': ('idle', 'syscalls'), 'redis always': (), 'sink': ()}
