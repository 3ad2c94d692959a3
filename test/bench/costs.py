"""What an operation costs the server, in processor time, over ranges of everything that there may be much of; and the
memory beside it. Flat, or there is a reason (docs/benchmarks.md).

Each point has a server of its own: what one leaves behind is not the other's.
"""
from collections import namedtuple

from backlog import Backlog
from figures import median
from load import new_seed
from restart import ENDLESS
from size import MB, finding, warm_up
from speed import CLIENTS, ITEM, server_us
from sweep import LARGE, LARGE_CLIENTS, RANGE, SIZES

WAITING_SIZE = 100
WAITING_MEMORY = 4 * MB         # max_memory_size: more than 40 000 such items are in read-behind
CHUNK = 10_000                  # put, then fetched, see Backlog
FANOUT = (0, 1, 2, 5, 10, 20, 50, 100)
ROUNDS = 3                      # at most: each has servers of its own
FEWEST = 1000                   # puts of a wide fanout

# times: {name of a line: us of the server for an item}; rss: bytes
Point = namedtuple('Point', 'times rss')


def measured(scale, points, measure):
    """{point: [Point of each round]}; `measure(point)` starts a server and stops it."""
    found = {point: [] for point in points}
    for _ in range(min(scale.rounds, ROUNDS)):
        for point, results in found.items():
            results.append(measure(point))
    return found


def findings_of(x, ticks, found, log=False):
    """A finding of each point about the cost, and one about the memory; the first of each has the chart of all."""
    costs = [{name: median([one.times[name] for one in results]) for name in results[0].times}
             for results in found.values()]
    memory = [median([one.rss for one in results]) / MB for results in found.values()]
    names = list(costs[0])
    charts = ({'title': f'processor time of the server for an item, by {x}', 'x': x, 'y': 'us', 'ticks': ticks, 'log': log,
               'lines': {name: [[at, cost[name]] for at, cost in enumerate(costs)] for name in names}},
              {'title': f'memory of the server, by {x}', 'x': x, 'y': 'MB', 'ticks': ticks,
               'lines': {'resident': [[at, value] for at, value in enumerate(memory)]}})
    findings = []
    for at, (tick, cost) in enumerate(zip(ticks, costs)):
        findings.append(finding(f'cost of a {names[0]}, {x} {tick}', round(cost[names[0]], 2), 'us',
                                shown=', '.join(f'{name} {value:.1f}' for name, value in cost.items()),
                                **({} if at else {'chart': charts[0]})))
    for at, (tick, value) in enumerate(zip(ticks, memory)):
        findings.append(finding(f'memory, {x} {tick}', round(value, 1), 'MB', **({} if at else {'chart': charts[1]})))
    return findings


def put_then_get(generator, server, **work):
    """{'put': us, 'get': us} of the server for each item; what was put is gone afterwards."""
    work = {'size': ITEM, 'connections': CLIENTS, 'seed': new_seed(), 'deadline': 300, **work}
    return {mode: server_us(generator.run(server, mode=mode, **work)) for mode in ('put', 'get')}


def fresh(generator, new_server, **options):
    server = new_server(**options)
    warm_up(generator, server)
    return server


def named(numbers):
    return [f'{number:,}' for number in numbers]


def by_connections(generator, new_server, scale):
    """All of them work; the memory is that of the server while they are open and idle."""
    def measure(number):
        server = fresh(generator, new_server)
        with generator.beside(server, mode='idle', connections=number) as idle:
            idle.wait_ready()
            server.wait_quiet()
            rss = server.rss()
            idle.end()
        server.wait_quiet()
        times = put_then_get(generator, server, connections=number, count=scale.work if number > 1 else scale.work // 3)
        server.stop()
        return Point(times, rss)
    numbers = [number for number in RANGE if number <= scale.connections]
    return findings_of('connections', named(numbers), measured(scale, numbers, measure))


def by_queues(generator, new_server, scale):
    """The items go round the queues, which are there already and empty."""
    def measure(number):
        server = fresh(generator, new_server)
        put_then_get(generator, server, count=number, queues=number, queue='many', connections=4, size=10)
        server.wait_quiet()
        rss = server.rss()
        times = put_then_get(generator, server, count=scale.work, queues=number, queue='many')
        server.stop()
        return Point(times, rss)
    numbers = [number for number in RANGE if number <= scale.queues]
    return findings_of('queues', named(numbers), measured(scale, numbers, measure))


def by_waiting(generator, new_server, scale):
    """Items that wait when the server starts; puts at the end of the queue, gets from its head."""
    behind = set()

    def measure(waiting):
        settings = {'max_memory_size': WAITING_MEMORY, **ENDLESS}
        queue = Backlog.from_journal(generator, new_server, WAITING_SIZE, waiting, settings) if waiting else \
            Backlog(generator, new_server(settings=settings), WAITING_SIZE, new_seed(), 0)
        server = queue.server
        if waiting * WAITING_SIZE > WAITING_MEMORY:
            queue.check_behind()
            behind.add(waiting)
        server.wait_quiet()
        rss = server.rss()
        times = {'put': [], 'get': []}
        for _ in range(max(scale.work // CHUNK, 1)):
            for mode, options in (('put', queue.put_options), ('get', queue.get_options)):
                times[mode].append(server_us(generator.run(server, **options(CHUNK))))
        server.stop()
        return Point({mode: sum(values) / len(values) for mode, values in times.items()}, rss)
    numbers = [0] + [10 ** power for power in range(4, 8) if 10 ** power <= scale.most_waiting]
    found = measured(scale, numbers, measure)
    ticks = [f'{number:,}{" (behind)" if number in behind else ""}' for number in numbers]
    return findings_of('waiting items', ticks, found)


def by_size(generator, new_server, scale):
    """From nothing to 1 MB; 20 clients from 100 KB on."""
    def measure(size):
        server = fresh(generator, new_server)
        times = put_then_get(generator, server, count=min(scale.work, scale.sized_bytes // max(size, 1)), size=size,
                             connections=CLIENTS if size < LARGE else LARGE_CLIENTS)
        rss = server.peak_rss()
        server.stop()
        return Point(times, rss)
    return findings_of('item size', list(SIZES.values()), measured(scale, SIZES, measure), log=True)


def by_fanout(generator, new_server, scale):
    """A put to a queue that has children: it and each of them get a copy."""
    def measure(width):
        children = ''.join(f'[[bench+c{number}]]\n' for number in range(width))
        server = new_server(sections=f'[queues]\n[[bench]]\n{children}')
        times = put_then_get(generator, server, count=max(scale.work // (width + 1), FEWEST))
        rss = server.rss()
        server.stop()
        return Point({**times, 'put, each copy': times['put'] / (width + 1)}, rss)
    return findings_of('children', named(FANOUT), measured(scale, FANOUT, measure), log=True)


def by_waiters(generator, new_server, scale):
    """One client puts, each item goes to one of so many that are blocked in a get. The memory is the most."""
    def measure(number):
        server = fresh(generator, new_server)
        result = generator.run(server, mode='flood', count=scale.blocked_puts, size=ITEM, producers=1, consumers=number,
                               block=100_000, settle=1000, deadline=300, seed=new_seed())
        rss = server.peak_rss()
        server.stop()
        return Point({'put and get': server_us(result)}, rss)
    numbers = [number for number in RANGE if number <= scale.connections]
    return findings_of('waiters', named(numbers), measured(scale, numbers, measure))


MEASUREMENTS = {'cost_connections': by_connections, 'cost_queues': by_queues, 'cost_waiting': by_waiting,
                'cost_sizes': by_size, 'cost_fanout': by_fanout, 'cost_waiters': by_waiters}
