"""What durability costs: puts with an fsync each against redis's, and an fsync now and then against none."""
from figures import median, paired_ratios
from load import new_seed
from size import finding, put_and_get, warm_up

# connections -> what the ratio against redis should reach
DURABLE_TARGETS = {100: 0.9, 1: 0.7}
PERIODIC_TARGET = 0.95


def in_turns(pairs, first, second):
    """Calls both functions `pairs` times, A B then B A; their results as two lists."""
    results = ([], [])
    for number in range(pairs):
        for index in ((0, 1), (1, 0))[number % 2]:
            results[index].append((first, second)[index]())
    return results


def durable(generator, new_server, scale):
    """Puts that are on the disk before they are answered, in turns with redis on the same file system."""
    server = new_server(settings={'sync_journal': '0'})
    redis = new_server(of='redis', appendfsync='always')
    findings = []
    counts = {100: scale.synced_clients, 1: scale.synced_alone}

    def puts(of, connections):
        result = generator.run(of, mode='put', count=counts[connections], size=1024, connections=connections,
                               seed=new_seed())
        of.forget('bench')
        return result['rate']

    for one in (server, redis):
        puts(one, 1)
    for connections, least in DURABLE_TARGETS.items():
        ours, theirs = in_turns(scale.pairs, lambda: puts(server, connections),
                                lambda: puts(redis, connections))
        ratios = paired_ratios(ours, theirs)
        clients = 'one client' if connections == 1 else f'{connections} clients'
        findings.append(finding(f'durable puts, {clients}, kestrel / redis', round(median(ratios), 3), 'x',
                                at_least=least, ratios=ratios,
                                shown=f'{median(ours):,.0f} / {median(theirs):,.0f} a second'))
    return findings


def periodic(generator, new_server, scale):
    """Puts and gets with an fsync every 100 ms, in turns with none at all."""
    servers = [new_server(settings={'sync_journal': period}) for period in ('100ms', 'never')]
    for server in servers:
        warm_up(generator, server)
    results = in_turns(scale.pairs, *[lambda server=server: put_and_get(generator, server, scale.work)
                                      for server in servers])
    findings = []
    for index, what in enumerate(('put', 'get')):
        synced, never = ([pair[index] for pair in pairs] for pairs in results)
        ratios = paired_ratios(synced, never)
        findings.append(finding(f'{what}s, sync_journal 100ms / never', round(median(ratios), 3), 'x',
                                at_least=PERIODIC_TARGET, ratios=ratios,
                                shown=f'{median(synced):,.0f} / {median(never):,.0f} a second'))
    return findings


MEASUREMENTS = {'durable': durable, 'periodic': periodic}
