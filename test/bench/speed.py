"""The rows of speed: each contender in turn, round after round, and their ratios against memcached's.

A measurement ("group") gives the figures of one or two rows, because what was put must be fetched anyway:
every item of every measurement is checked, and checked to come exactly once.
"""
import statistics
from dataclasses import dataclass
from functools import partial

from figures import median, paired_ratios
from load import new_seed

ITEM = 1024
CLIENTS = 100
PIPELINED_CLIENTS, PIPELINE = 20, 16
BATCH = 100
MONITORED = 10

# How long a consumer of a flood waits for an item (ms), as the original's flood program does.
FLOOD_WAIT = 1000


@dataclass(frozen=True)
class Row:
    name: str
    work: str
    group: str
    figure: str             # 'rate' (items a second) or 'median_us' (of the latency of one request)
    base: str               # the row it is compared with
    targets: dict           # by kind of contender: what the ratio should reach
    base_kind: str = 'memcached'    # whose row that is; 'own': the contender's

    @property
    def smaller_is_better(self):
        return self.figure == 'median_us'

    def met(self, kind, ratio):
        """None if there is no target for this kind."""
        target = self.targets.get(kind)
        if target is None:
            return None
        return ratio <= target if self.smaller_is_better else ratio >= target


ROWS = (
    Row('put', f'put, {CLIENTS} clients', 'clients', 'rate', 'put', {'compiled': 0.60, 'pure': 0.30}),
    Row('get', f'get, {CLIENTS} clients', 'clients', 'rate', 'get', {'compiled': 0.70, 'pure': 0.30}),
    Row('flood', 'put and get at once on one queue, items', 'flood', 'rate', 'put',
        {'compiled': 0.30, 'pure': 0.13}),
    Row('pipelined', f'puts, {PIPELINE} deep, {PIPELINED_CLIENTS} clients', 'pipelined', 'rate', 'pipelined',
        {'compiled': 0.30}),
    Row('cycles', f'get q/close/open, {CLIENTS} clients', 'cycles', 'rate', 'get', {'compiled': 0.85}, 'own'),
    Row('monitor', f'monitor of {MONITORED} and their confirm, {CLIENTS} clients, items', 'monitor', 'rate', 'get', {},
        'own'),
    Row('text_put', f'put on the text port, {CLIENTS} clients', 'text', 'rate', 'put',
        {'compiled': 0.40, 'pure': 0.24}),
    Row('text_get', f'get on the text port, {CLIENTS} clients', 'text', 'rate', 'get',
        {'compiled': 0.40, 'pure': 0.24}),
    Row('text_batch', f'puts of {BATCH} items on the text port, {CLIENTS} clients, items', 'batch', 'rate', 'put',
        {'compiled': 1.50, 'pure': 0.90}),
    Row('thrift_put', f'put of one item on the thrift port, {CLIENTS} clients', 'thrift', 'rate', 'put',
        {'compiled': 0.15}),
    Row('thrift_get', f'get of one item on the thrift port, {CLIENTS} clients', 'thrift', 'rate', 'get',
        {'compiled': 0.15}),
    Row('thrift_batch', f'puts of {BATCH} items on the thrift port, {CLIENTS} clients, items', 'thrift_batch', 'rate', 'put',
        {'compiled': 0.75}),
    Row('single', 'put, one client, median latency', 'single', 'median_us', 'single',
        {'compiled': 1.1, 'pure': 2.0}),
)


def row_named(name):
    return next(row for row in ROWS if row.name == name)


@dataclass(frozen=True)
class Counts:
    """Items of each measurement."""
    clients: int = 100_000
    flood: int = 60_000
    pipelined: int = 120_000
    single: int = 20_000


QUICK = Counts(clients=20_000, flood=10_000, pipelined=20_000, single=4_000)


def measure_clients(generator, server, counts):
    work = {'count': counts.clients, 'size': ITEM, 'connections': CLIENTS, 'seed': new_seed()}
    return {mode: generator.run(server, mode=mode, **work) for mode in ('put', 'get')}


def measure_flood(generator, server, counts):
    half = CLIENTS // 2
    return {'flood': generator.run(server, mode='flood', count=counts.flood, size=ITEM, producers=half,
                                   consumers=half, block=FLOOD_WAIT, seed=new_seed())}


def measure_reads(name, options, generator, server, counts):
    """Gets of what is put just before, in another way than `get q`."""
    work = {'count': counts.clients, 'size': ITEM, 'connections': CLIENTS, 'seed': new_seed()}
    generator.run(server, mode='put', **work)
    return {name: generator.run(server, mode='get', **options, **work)}


def measure_pipelined(generator, server, counts):
    work = {'count': counts.pipelined, 'size': ITEM, 'connections': PIPELINED_CLIENTS, 'pipeline': PIPELINE,
            'seed': new_seed()}
    result = generator.run(server, mode='put', **work)
    # not all of them do this pipelined
    generator.run(server, mode='get', **{**work, 'pipeline': 1})
    return {'pipelined': result}


def other_port(server, protocol, counts):
    return {'proto': protocol, 'port': getattr(server, protocol + '_port'), 'count': counts.clients, 'size': ITEM,
            'connections': CLIENTS, 'seed': new_seed()}


def measure_port(protocol, generator, server, counts):
    work = other_port(server, protocol, counts)
    return {f'{protocol}_{mode}': generator.run(server, mode=mode, **work) for mode in ('put', 'get')}


def measure_batch(protocol, generator, server, counts):
    work = other_port(server, protocol, counts)
    result = generator.run(server, mode='put', batch=BATCH, **work)
    generator.run(server, mode='get', **work)
    return {protocol + '_batch': result}


def measure_single(generator, server, counts):
    work = {'count': counts.single, 'size': ITEM, 'connections': 1, 'seed': new_seed()}
    result = generator.run(server, mode='put', **work)
    generator.run(server, mode='get', ordered=True, **work)
    return {'single': result}


GROUPS = {'clients': measure_clients, 'flood': measure_flood, 'pipelined': measure_pipelined,
          'cycles': partial(measure_reads, 'cycles', {'confirm': True}),
          'monitor': partial(measure_reads, 'monitor', {'batch': MONITORED}),
          'text': partial(measure_port, 'text'), 'batch': partial(measure_batch, 'text'),
          'thrift': partial(measure_port, 'thrift'), 'thrift_batch': partial(measure_batch, 'thrift'),
          'single': measure_single}
OTHER_PORTS = {'text': ('text', 'batch'), 'thrift': ('thrift', 'thrift_batch')}


def figure(row, result):
    return result['put']['p50_us'] if row.figure == 'median_us' else result['rate']


def groups_of(server, rows):
    """What must be measured of this server; of memcached also what other rows are compared with."""
    own = {row_named(row.base).group for row in rows if row.base_kind == 'own'}
    if server.protocol == 'memcached':
        wanted = {row_named(row.base).group for row in rows if row.base_kind == 'memcached'}
    else:
        wanted = {row.group for row in rows} | own
    if server.groups is not None:
        wanted &= {*server.groups}
    for protocol, groups in OTHER_PORTS.items():
        if getattr(server, protocol + '_port', None) is None:
            wanted -= {*groups}
    return [name for name in GROUPS if name in wanted]


def measure_round(generator, servers, rows, counts, say):
    """One round, group by group and within it server by server; {server: {row: loadgen's result}}."""
    results = {server.name: {} for server in servers}
    for group in GROUPS:
        for server in servers:
            if group not in groups_of(server, rows):
                continue
            measured = GROUPS[group](generator, server, counts)
            server.forget('bench')
            results[server.name].update(measured)
            for name, result in measured.items():
                say(f'  {server.name:<20} {name:<10} {describe(row_named(name), result)}')
    return results


def describe(row, result):
    return (f'{figure(row, result):>9,.0f} {unit(row):<3} {server_us(result):6.2f} us of the server each; '
            f'processors: server {result["server_cpu_share"]:.2f}, '
            f'loadgen {result["loadgen_cpu_share"]:.2f}, others {result["others_cpu_share"]:.2f}')


def server_us(result):
    """Processor time of the server for each item, microseconds: what other processes disturb least."""
    return (result['server_user_s'] + result['server_system_s']) / result['items'] * 1e6


def unit(row):
    return 'us' if row.figure == 'median_us' else '/s'


def results_of(rounds, server_name, row):
    """loadgen's result of each round, or None if the row was not measured."""
    results = [round_[server_name] for round_ in rounds]
    return [result[row.name] for result in results] if results and row.name in results[0] else None


def figures_of(rounds, server_name, row):
    """This server's figure of each round, or None if the row was not measured."""
    results = results_of(rounds, server_name, row)
    return results and [figure(row, result) for result in results]


def disturbance(rounds):
    """Processors that were busy with other things, on average over all measurements."""
    shares = [result['others_cpu_share'] for round_ in rounds for results in round_.values()
              for result in results.values()]
    return statistics.fmean(shares)


def summary(rounds, kinds, rows):
    """For each row and contender: median, all figures, and the ratio against its base with its target.

    kinds: {server name: kind}. The ratio is the median of the ratios of the rounds.
    """
    table = []
    names = {kind: name for name, kind in kinds.items()}
    for row in rows:
        for name, kind in kinds.items():
            base_values = figures_of(rounds, names.get(row.base_kind, name), row_named(row.base))
            values = figures_of(rounds, name, row)
            if values is None:
                continue
            ratios = paired_ratios(values, base_values)
            ratio = median(ratios)
            table.append({'row': row.name, 'work': row.work, 'server': name, 'kind': kind, 'unit': unit(row),
                          'base': f'{row.base} of {names.get(row.base_kind, "its own")}', 'median': median(values), 'values': values, 'ratio': ratio, 'ratios': ratios,
                          'server_us': median([server_us(one) for one in results_of(rounds, name, row)]),
                          'target': row.targets.get(kind), 'smaller_is_better': row.smaller_is_better,
                          'met': row.met(kind, ratio)})
    return table
