"""Two servers on one machine against one, with the same clients, items and load generators in all."""
import contextlib
import os

from figures import median, paired_ratios
from load import new_seed
from size import finding, warm_up
from speed import CLIENTS, ITEM
from syncing import in_turns

PAIRS = 3       # at least
MODES = ('put', 'get')


def at_once(generator, servers, mode, seeds, count):
    """Two load generators, on one server or on two, each with half of the clients and `count` items on a queue of its
    own. Returns (items a second, processors of the servers, of the load generators)."""
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(generator.beside(
            server, mode=mode, connections=CLIENTS // 2, size=ITEM, count=count, queue=f'half{number}', seed=seed))
            for number, (server, seed) in enumerate(zip(servers, seeds))]
        results = [one.end() for one in running]
    shares = [result['server_cpu_share'] for result in results]
    return (sum(result['rate'] for result in results), sum(shares) if servers[0] is not servers[1] else max(shares),
            sum(result['loadgen_cpu_share'] for result in results))


def put_and_get(generator, servers, count):
    """{mode: what `at_once` returns}; nothing is left."""
    seeds = new_seed(), new_seed()
    found = {mode: at_once(generator, servers, mode, seeds, count) for mode in MODES}
    for number, server in enumerate(servers):
        server.forget(f'half{number}')
    return found


def instances(generator, new_server, scale):
    """Two servers and one, in turns."""
    one, first, second = servers = new_server(), new_server(), new_server()
    for server in servers:
        warm_up(generator, server)
    results = in_turns(max(scale.rounds, PAIRS), lambda: put_and_get(generator, (first, second), scale.work),
                       lambda: put_and_get(generator, (one, one), scale.work))
    findings = []
    for mode in MODES:
        two, alone = ([found[mode] for found in runs] for runs in results)
        ratios = paired_ratios([run[0] for run in two], [run[0] for run in alone])
        rates, shares, loads = zip(*[[median(column) for column in zip(*runs)] for runs in (two, alone)])
        findings.append(finding(
            f'{mode}s of {CLIENTS} clients, 2 servers on {os.cpu_count()} cores / 1 server', round(median(ratios), 3), 'x',
            ratios=ratios,
            shown=f'{rates[0]:,.0f} / {rates[1]:,.0f} a second; processors: servers {shares[0]:.2f} / {shares[1]:.2f}, '
                  f'load generators {loads[0]:.2f} / {loads[1]:.2f}'))
    return findings


MEASUREMENTS = {'instances': instances}
