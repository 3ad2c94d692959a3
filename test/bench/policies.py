"""What policies cost: fanout, a server with many queues, aliases and all policies, expiry, time-outs."""
import os
import time

from figures import median, paired_ratios
from load import new_seed
from neighbours import LEAST, SECOND, Probe, compare, wait_until
from restart import PEEK, journal_of
from servers import BenchError
from size import finding, put_and_get, warm_up

KB = 1024
CHILDREN = 10
FANOUT_TARGET = 0.8         # of as many separate puts
ALIASES = 1000
# Where the policies of all queues end.
LAST = ('[queues]\n[[expired]]\nexpire_to_queue = none\n'
        '[[dead]]\nexpire_to_queue = none\nmax_deliveries = none\ndead_letter_queue = none\n')
POLICIES_TARGET = 0.952     # puts with / without, which is 1.05 x their cost
EMPTY_QUEUES_SECONDS = 2
SWEEP_EVERY = 5             # seconds
TIMEOUT_TARGET = 2          # a timer of 10 000 costs twice one of 100: log n

EVERY_POLICY = {
    'max_items': 100_000_000, 'max_size': '100GB', 'max_item_size': '100MB', 'max_age': '7d',
    'max_expire_sweep': 1000, 'expire_to_queue': 'expired', 'open_transaction_timeout': '1h',
    'max_deliveries': 5, 'dead_letter_queue': 'dead', 'max_queue_age': '30d'}


def fanout(generator, new_server, scale):
    """Puts to a fanout_only queue with ten children, in turns with puts to ten queues."""
    server = new_server(sections=''.join(['[queues]\n[[bench]]\nfanout_only = true\n',
                                          *[f'[[bench+c{number}]]\n' for number in range(CHILDREN)]]))
    count = scale.work // 4
    fanned, separate = [], []
    for number in range(scale.rounds * 2):
        turns = (('bench', 1, fanned), ('other', CHILDREN, separate))
        for queue, queues, results in turns if number % 2 else reversed(turns):
            work = {'mode': 'put', 'count': count, 'size': KB, 'connections': 100, 'seed': new_seed(), 'queue': queue,
                    'queues': queues}
            results.append(generator.run(server, **work)['rate'])
            copied = server.stat('bench+c9', 'items')
            if queue == 'bench' and copied != count:
                raise BenchError(f'{server.name}: a child got {copied} of {count} items')
            server.ask(b'flush_all\r\n')
            server.wait_quiet()
    ratios = paired_ratios([rate * CHILDREN for rate in separate], fanned)
    costs = [ratio / CHILDREN / CHILDREN for ratio in ratios]
    return [finding(f'a put to {CHILDREN} children / {CHILDREN} separate puts', round(median(costs), 3), 'x',
                    at_most=FANOUT_TARGET, ratios=costs,
                    shown=f'{median(fanned):,.0f} and {median(separate):,.0f} puts a second')]


def policies(generator, new_server, scale):
    """Puts and gets on a server with many queues, aliases and every policy, in turns with a plain one."""
    plain = new_server()
    crowded = crowd(generator, new_server, scale, EVERY_POLICY)
    rounds = [(put_and_get(generator, plain, scale.work), put_and_get(generator, crowded, scale.work))
              for _ in range(max(scale.rounds, 3) * 2)]
    findings = []
    for index, what in enumerate(('put', 'get')):
        ratios = paired_ratios([pair[1][index] for pair in rounds], [pair[0][index] for pair in rounds])
        findings.append(finding(
            f'{what} with {scale.queues:,} queues, {ALIASES:,} aliases and all policies / without',
            round(median(ratios), 3), 'x', at_least=POLICIES_TARGET if what == 'put' else None, ratios=ratios))
    return findings


def crowd(generator, new_server, scale, settings, admin=False):
    """A server that has many queues, which are empty, and aliases."""
    names = '\n'.join(f'[[alias{number}]]\ndestination_queues = many{number}, many{number + 1}'
                      for number in range(ALIASES))
    server = new_server(settings=settings, sections=f'{LAST}[aliases]\n{names}\n', admin=admin)
    create = {'count': scale.queues, 'size': 10, 'connections': 4, 'queues': scale.queues, 'queue': 'many',
              'seed': new_seed()}
    generator.run(server, mode='put', **create)
    generator.run(server, mode='get', **create)
    return server


def many_empty(generator, new_server, scale):
    """From the start of the process until the first request is answered, with an empty journal for each queue."""
    def fill(spool):
        for number in range(scale.queues):
            with open(os.path.join(spool, f'many{number}'), 'xb'):
                pass
    seconds = []
    for _ in range(max(scale.rounds, 3)):
        server = new_server(fill=fill)
        seconds.append(server.relaunch(PEEK, b'END'))
        server.stop()
    return [finding(f'start with {scale.queues:,} empty queues', round(median(seconds), 2), 's',
                    at_most=EMPTY_QUEUES_SECONDS)]


def expiring(generator, new_server, scale):
    """Other clients while a queue's items, all of them, expire in the background."""
    server = new_server(fill=journal_of(generator, scale.waiting, 100, new_seed()),
                        server=f'expiration_timer_frequency = {SWEEP_EVERY}s\n',
                        sections='[queues]\n[[bench]]\nmax_age = 1s\n')
    with Probe(generator, server) as probe:
        began = wait_for_sweep(server, scale.waiting)
        wait_until(lambda: server.stat('bench', 'items') == 0, 'the sweep')
        ended = time.monotonic_ns()
        time.sleep(LEAST / SECOND)
    return [compare(f'{scale.waiting:,} items expire', probe, began, ended)]


def wait_for_sweep(server, waiting):
    """When it was seen first, ns. What was swept before its start was not seen must be little: else BenchError."""
    began = time.monotonic_ns()
    while True:
        left = server.stat('bench', 'items')
        if left < waiting:
            break
        began = time.monotonic_ns()
        if server.cpu_seconds() > 600:
            raise BenchError(f'{server.name} does not sweep')
        time.sleep(0.005)
    return began - LEAST


def timeouts(generator, new_server, scale):
    """What a time-out costs the server with many waiting clients, and with few that wait as often a second."""
    server = new_server()
    warm_up(generator, server)
    few = 100
    rate = 5000     # time-outs a second
    costs = {few: [], scale.connections: []}
    for _ in range(scale.rounds):
        for consumers, results in costs.items():
            # an item a second: the generator ends with the last of them
            result = generator.run(server, mode='flood', count=4, size=100, producers=1, rate=1,
                                   consumers=consumers, block=consumers * 1000 // rate, settle=1000,
                                   queue='timeouts', seed=new_seed())
            if result['misses'] < rate:
                raise BenchError(f'{server.name}: only {result["misses"]} time-outs')
            results.append((result['server_user_s'] + result['server_system_s']) / result['misses'] * 1e6)
            server.wait_quiet()
    ratios = paired_ratios(costs[scale.connections], costs[few])
    return [finding(f'a get that times out among {scale.connections:,} / among {few}: processor time',
                    round(median(ratios), 3), 'x', at_most=TIMEOUT_TARGET, ratios=ratios,
                    shown=f'{median(costs[scale.connections]):.1f} / {median(costs[few]):.1f} us')]


MEASUREMENTS = {'fanout': fanout, 'policies': policies, 'empty': many_empty, 'expiring': expiring,
                'timeouts': timeouts}
