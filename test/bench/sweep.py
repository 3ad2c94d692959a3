"""The same work over a range: sizes of items, numbers of clients and of queues, settings of fsync."""
from figures import median, paired_ratios
from load import new_seed
from size import finding, warm_up
from speed import CLIENTS, ITEM

KB = 1024
SIZES = {0: '0 B', 100: '100 B', KB: '1 KB', 10 * KB: '10 KB', 100 * KB: '100 KB', KB * KB: '1 MB'}
# size of a put: with whom it is compared, and what the ratio should reach
SIZE_TARGETS = {10 * KB: ('redis', 0.7), 100 * KB: ('redis', 0.7), KB * KB: ('sink', 0.6)}
# 100 KB and more: as many clients as do not make it a measurement of socket buffers
LARGE, LARGE_CLIENTS = 100 * KB, 20
RANGE = (1, 10, 100, 1000, 10_000)
FSYNC = ('never', '1s', '100ms', '0')
REDIS_FSYNC = ('everysec', 'always')


def put_then_get(generator, server, **work):
    """(puts/s, gets/s); gets None of a server that cannot. What was put is gone afterwards."""
    work = {'size': ITEM, 'seed': new_seed(), 'deadline': 300, **work}
    put = generator.run(server, mode='put', **work)['rate']
    get = generator.run(server, mode='get', **work)['rate'] if server.name != 'sink' else None
    return put, get


def describe(rates):
    return ', '.join(f'{name} {rate:,.0f}' for name, rate in rates.items())


def findings_of(title, x, ticks, points, own):
    """For puts and for gets a finding of each point: the rate of the own server, those of all in `shown`.

    points: {tick: {server: [(puts/s, gets/s) of each round]}}. The first has the chart of all.
    """
    findings = []
    for index, what in enumerate(('put', 'get')):
        medians = {tick: {name: median([pair[index] for pair in pairs]) for name, pairs in servers.items()
                          if pairs and pairs[0][index] is not None} for tick, servers in points.items()}
        names = list(dict.fromkeys(name for rates in medians.values() for name in rates))
        chart = {'title': f'{what}s: {title}', 'x': x, 'y': 'items a second', 'log': True, 'ticks': ticks,
                 'lines': {name: [[at, rates[name]] for at, rates in enumerate(medians.values()) if name in rates]
                           for name in names}}
        for at, (tick, rates) in enumerate(medians.items()):
            findings.append(finding(f'{what}s, {x} {ticks[at]}', round(rates[own]), '/s', shown=describe(rates),
                                    **({'chart': chart} if at == 0 else {})))
    return findings


def sizes(generator, new_server, scale):
    """Puts and gets of items from nothing to 1 MB, in turns with the others and with C that only appends."""
    own = new_server()
    servers = [own] + [new_server(of=name) for name in ('memcached', 'redis', 'beanstalkd', 'sink')]
    warm_up(generator, own)
    points = {size: {server.name: [] for server in servers} for size in SIZES}
    for _ in range(max(scale.rounds, 2)):
        for size, results in points.items():
            count = min(scale.work, scale.sized_bytes // max(size, 1))
            for server in servers:
                results[server.name].append(put_then_get(
                    generator, server, count=count, size=size,
                    connections=CLIENTS if size < LARGE else LARGE_CLIENTS))
                server.forget('bench')
    findings = findings_of('by size', 'size', list(SIZES.values()), points, own.name)
    for size, (other, least) in SIZE_TARGETS.items():
        ours, theirs = ([put for put, _ in points[size][name]] for name in (own.name, other))
        ratios = paired_ratios(ours, theirs)
        findings.append(finding(f'puts of {SIZES[size]} / {"LPUSH of " if other == "redis" else ""}{other}',
                                round(median(ratios), 3), 'x', at_least=least, ratios=ratios, kinds=('compiled',),
                                shown=f'{median(ours):,.0f} / {median(theirs):,.0f} a second'))
    return findings


def clients(generator, new_server, scale):
    """Puts and gets of 1 to 10 000 clients, in turns with the others."""
    own = new_server()
    servers = [own] + [new_server(of=name) for name in ('memcached', 'redis', 'beanstalkd')]
    warm_up(generator, own)
    numbers = [number for number in RANGE if number <= scale.connections]
    points = {number: {server.name: [] for server in servers} for number in numbers}
    for _ in range(scale.rounds):
        for number, results in points.items():
            for server in servers:
                results[server.name].append(put_then_get(
                    generator, server, connections=number, count=scale.work if number > 1 else scale.work // 6))
                server.wait_quiet()
                server.forget('bench')
    return findings_of('by number of clients', 'clients', [f'{number:,}' for number in numbers], points, own.name)


def spread(generator, new_server, scale):
    """Puts and gets spread over 1 to 10 000 queues, which are there already, in turns with redis's lists."""
    own = new_server()
    servers = [own, new_server(of='redis')]
    numbers = [number for number in RANGE if number <= scale.queues]
    points = {number: {server.name: [] for server in servers} for number in numbers}
    for number in numbers:
        put_then_get(generator, own, count=number, queues=number, queue=f'of{number}_', connections=4)
    for _ in range(scale.rounds):
        for number, results in points.items():
            for server in servers:
                results[server.name].append(put_then_get(
                    generator, server, count=scale.work, queues=number, queue=f'of{number}_', connections=CLIENTS))
    return findings_of('by number of queues', 'queues', [f'{number:,}' for number in numbers], points, own.name)


def fsync(generator, new_server, scale):
    """Puts and gets of 100 clients with each setting of fsync, redis's two among them."""
    servers = {setting: new_server(settings={'sync_journal': setting}) for setting in FSYNC}
    others = {setting: new_server(of='redis', appendfsync=setting) for setting in REDIS_FSYNC}
    ticks = [f'sync_journal {setting}' for setting in FSYNC] + [f'redis {setting}' for setting in REDIS_FSYNC]
    rates = {tick: [] for tick in ticks}
    for server in [*servers.values()]:
        warm_up(generator, server)
    for _ in range(scale.rounds):
        for tick, server in zip(ticks, [*servers.values(), *others.values()]):
            rates[tick].append(put_then_get(generator, server, count=scale.work // 3, connections=CLIENTS))
            server.forget('bench')
    findings = []
    for index, what in enumerate(('put', 'get')):
        medians = {tick: median([pair[index] for pair in pairs]) for tick, pairs in rates.items()}
        chart = {'title': f'{what}s, {CLIENTS} clients, by fsync', 'y': 'items a second', 'bars': medians}
        findings.append(finding(f'{what}s, {CLIENTS} clients, sync_journal {FSYNC[0]}', round(medians[ticks[0]]), '/s',
                                shown=describe(medians), chart=chart))
    return findings


MEASUREMENTS = {'sizes': sizes, 'clients': clients, 'spread': spread, 'fsync': fsync}
