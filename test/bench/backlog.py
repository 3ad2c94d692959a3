"""Long queues: gets that come back from the journal, whether what waits makes anything slower, and whether a
queue that is always behind stays as small as it was.
"""
import statistics

from figures import median, paired_ratios, slope_interval
from load import new_seed
from restart import ENDLESS, GB, KB, journal_of
from servers import BenchError
from size import MB, TOLERANCE, finding
from syncing import in_turns

BEHIND_TARGET = 0.85
CLIENTS = 100
SMALL = 10

# Cycles of 25 000 items in an hour without pauses, and what may have grown at its end.
CYCLES_AN_HOUR = 3000
GROWTH_AN_HOUR = 0.05


class Backlog:
    """Queue bench of a server in which the items of one seed wait.

    Those from a journal are in the order of their numbers. Those that CLIENTS put at once are not: only what
    is put by one `put` comes before all of the next. So gets of such items must end where a `put` did.
    """

    def __init__(self, generator, server, size, seed, waiting):
        self.server = server
        self.taken = 0
        self.stored = waiting
        self._generator = generator
        self._work = {'size': size, 'seed': seed, 'connections': CLIENTS, 'deadline': 600}

    @classmethod
    def from_journal(cls, generator, new_server, size, waiting, settings):
        """On a server that starts with all of them."""
        seed = new_seed()
        server = new_server(settings=settings, fill=journal_of(generator, waiting, size, seed))
        return cls(generator, server, size, seed, waiting)

    def put_options(self, count):
        options = {**self._work, 'mode': 'put', 'first': self.stored, 'count': count}
        self.stored += count
        return options

    def get_options(self, count):
        options = {**self._work, 'mode': 'get', 'first': self.taken, 'count': count}
        self.taken += count
        return options

    def put(self, count):
        """Puts a second."""
        return self._generator.run(self.server, **self.put_options(count))['rate']

    def get(self, count, **options):
        """Gets a second."""
        return self._generator.run(self.server, **{**self.get_options(count), **options})['rate']

    def check_behind(self):
        """The figures would mean nothing if the journal did not hold items that memory does not."""
        waiting, kept = (self.server.stat('bench', key) for key in ('items', 'mem_items'))
        if kept >= waiting:
            raise BenchError(f'{self.server.name} is not in read-behind: {kept} of {waiting} items are in '
                             'memory')


def behind(generator, new_server, scale):
    """Gets of items that are read back from the journal, in turns with gets from memory."""
    memory = 16 * MB if scale.behind * KB > 160 * MB else scale.behind * KB // 10
    settings = {'max_memory_size': memory}
    slow, fast = (Backlog.from_journal(generator, new_server, KB, scale.behind, one)
                  for one in (settings, {'max_memory_size': GB}))
    slow.check_behind()
    # One part less than all: what waits last is in memory on both sides.
    part = scale.behind // (scale.pairs + 1)
    ours, base = in_turns(scale.pairs, lambda: slow.get(part), lambda: fast.get(part))
    ratios = paired_ratios(ours, base)
    return [finding(f'gets of 1 KB items, read-behind (max_memory_size {memory / MB:.0f} MB) / from memory',
                    round(median(ratios), 3), 'x', at_least=BEHIND_TARGET, ratios=ratios,
                    shown=f'{median(ours):,.0f} / {median(base):,.0f} a second')]


def put_then_get(backlog, count, times):
    """(puts/s, gets/s) of `times` times `count` items each; as many wait afterwards as before."""
    rates = [(backlog.put(count), backlog.get(count)) for _ in range(times)]
    return tuple(statistics.harmonic_mean(column) for column in zip(*rates))


def flat(generator, new_server, scale):
    """Puts and gets while few or many wait: in memory, then small items in read-behind."""
    findings = []
    for size, waiting, settings, is_behind in (
            (KB, scale.waiting, {'max_memory_size': 2 * GB}, False),
            (SMALL, scale.waiting_small, {'max_memory_size': scale.waiting_small * SMALL // 6}, True)):
        settings = {**settings, **ENDLESS}
        few, many = (Backlog.from_journal(generator, new_server, size, count, settings)
                     for count in (scale.few, waiting))
        if is_behind:
            many.check_behind()
        # As many at once as the few that wait, see Backlog.
        times = scale.work // scale.few
        results = in_turns(scale.pairs, lambda: put_then_get(many, scale.few, times),
                           lambda: put_then_get(few, scale.few, times))
        where = 'in read-behind' if is_behind else 'in memory'
        for index, what in enumerate(('put', 'get')):
            ours, base = ([pair[index] for pair in pairs] for pairs in results)
            ratios = paired_ratios(ours, base)
            findings.append(finding(
                f'{what}s while {waiting:,} items of {size} bytes wait {where} / {scale.few:,}',
                round(median(ratios), 3), 'x', at_least=1 - TOLERANCE, ratios=ratios,
                shown=f'{median(ours):,.0f} / {median(base):,.0f} a second'))
        few.server.stop()
        many.server.stop()
    return findings


def packing(generator, new_server, scale):
    """As the program packing does: n items wait; again and again n are put and n fetched at once."""
    count = scale.cycle_items
    memory, journal = count * KB // 4, count * KB * 2
    server = new_server(settings={'max_memory_size': memory, 'max_journal_size': journal,
                                  'min_journal_compact_delay': 'none'})
    queue = Backlog(generator, server, KB, new_seed(), 0)
    queue.put(count)
    disk, rss = [], []
    for _ in range(scale.cycles):
        with generator.beside(server, **queue.put_options(count)) as putter:
            queue.get(count)
            putter.end()
        queue.check_behind()
        disk.append(server.disk_use())
        rss.append(server.rss())
    # As many as were put in a cycle may wait besides, if the puts are ahead of the gets.
    live = 2 * count * (KB + 21)
    name = f'{scale.cycles} cycles of {count:,} puts and gets of 1 KB'
    return [
        finding(f'{name}: most disk space', round(max(disk) / MB, 1), 'MB',
                at_most=round((max(journal, live) + live + 2 * memory) / MB, 1), values=disk),
        growth(f'{name}: growth of disk space', disk),
        finding(f'{name}: most memory', round(max(rss) / MB, 1), 'MB',
                at_most=round(1.3 * memory / MB + 40, 1), values=rss),
        growth(f'{name}: growth of memory', rss)]


def growth(name, values):
    """Flat: no slope that is more than noise and adds up to GROWTH_AN_HOUR in an hour; the first third of
    the cycles does not count.
    """
    later = values[len(values) // 3:]
    slope, half = slope_interval(later)
    allowed = half + GROWTH_AN_HOUR * max(later) / CYCLES_AN_HOUR
    return finding(name, round(slope / KB, 2), 'KB/cycle', at_most=round(allowed / KB, 2))


MEASUREMENTS = {'behind': behind, 'flat': flat, 'packing': packing}
