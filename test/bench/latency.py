"""Latency at half load, in an open loop (no coordinated omission), and of a single client whose server polls."""
from figures import median, paired_ratios
from load import new_seed
from size import finding, put_and_get, warm_up
from speed import CLIENTS, ITEM

PERCENTS = ('50', '90', '99', '99.9', '99.99')
BEYOND_MEMCACHED_MS = 2
BUSY_POLL = '1ms'
BUSY_POLL_TARGET = 0.6
OTHERS = ('memcached', 'redis', 'beanstalkd')


def half_load(generator, new_server, scale):
    """Puts and gets at half the rate that this server reaches in a closed loop; others at the same rate."""
    own = new_server()
    servers = [own] + [new_server(of=name) for name in OTHERS]
    results = {mode: {server.name: [] for server in servers} for mode in ('put', 'get')}
    rates = {'put': [], 'get': []}
    warm_up(generator, own)
    for _ in range(scale.rounds):
        half = [max(int(rate / 2), 1) for rate in put_and_get(generator, own, scale.work)]
        own.forget('bench')
        work = {'count': scale.work, 'size': ITEM, 'connections': CLIENTS}
        for server in servers:
            seed = new_seed()
            for mode, rate in zip(results, half):
                result = generator.run(server, mode=mode, rate=rate, seed=seed, deadline=300, **work)
                results[mode][server.name].append(result[mode])
            server.forget('bench')
        for mode, rate in zip(rates, half):
            rates[mode].append(rate)
    return [compare_latency(mode, rates[mode], results[mode], own.name) for mode in results]


def compare_latency(mode, rates, results, own):
    """Medians of the runs, of each percentile on its own."""
    percentiles = {name: [round(median([one[f'p{percent}_us'] for one in runs]) / 1000, 3) for percent in PERCENTS]
                   for name, runs in results.items()}
    at = PERCENTS.index('99.9')
    ours, theirs = percentiles[own][at], percentiles['memcached'][at]
    chart = {'title': f'{mode}s at {median(rates):,.0f} a second, half of the load of {own}', 'x': 'percentile',
             'y': 'ms', 'ticks': PERCENTS, 'log': True,
             'lines': {name: list(enumerate(values)) for name, values in percentiles.items()}}
    return finding(f'{mode}s at half load: p99.9 beyond that of memcached', round(ours - theirs, 3), 'ms',
                   at_most=BEYOND_MEMCACHED_MS, chart=chart,
                   shown=f'{ours:.2f} / {theirs:.2f} ms at {median(rates):,.0f} a second')


def polling(generator, new_server, scale):
    """Median latency of the puts of one client with `busy_poll`, in turns with memcached."""
    servers = [new_server(server=f'busy_poll = {BUSY_POLL}\n'), new_server(of='memcached')]
    warm_up(generator, servers[0])
    results = ([], [])
    for number in range(max(scale.rounds, 2)):
        work = {'mode': 'put', 'count': scale.work // 3, 'size': ITEM, 'connections': 1, 'seed': new_seed()}
        for index in (0, 1) if number % 2 else (1, 0):
            results[index].append(generator.run(servers[index], **work)['put']['p50_us'])
        servers[0].forget('bench')
    ratios = paired_ratios(*results)
    return [finding(f'put, one client, busy_poll = {BUSY_POLL}, median latency / memcached',
                    round(median(ratios), 3), 'x', at_most=BUSY_POLL_TARGET, ratios=ratios, kinds=('compiled',),
                    shown=f'{median(results[0]):.1f} / {median(results[1]):.1f} us')]


MEASUREMENTS = {'half_load': half_load, 'polling': polling}
