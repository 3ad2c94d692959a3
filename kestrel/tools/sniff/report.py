"""The tables of ksniff (spec tools 3)."""

import ipaddress

from kestrel.tools.sniff.counts import OPERATIONS, OTHER, percentile

COLUMNS = (*OPERATIONS, OTHER)
FEW = 100       # sets of a queue; percentiles of fewer say little
LINE = '-' * 10
NAMES = {0: 'min', 100: 'max'}


def report(title, counts, options, names_of):
    """Yield the lines about one capture. ``options``: see options.py; ``names_of(addresses)`` -> {address: name}."""
    yield 'HOST ' + title
    yield '=' * 70
    yield '%d packets captured over %.2f seconds' % (counts.packets, counts.span)
    yield '%d packets contained data' % counts.with_data
    yield '%d matched over %.2f seconds' % (counts.matched, counts.matched_span)
    yield ''
    if not counts.matched:
        return
    if not options.skip_summary:
        matched = {key: count - counts.filtered.get(key, 0) for key, count in counts.totals.items()}
        yield from _table('', [('Total', counts.totals), ('Matched', matched), ('Filtered', counts.filtered)])
    if not options.skip_host_stats:
        clients = {str(ipaddress.ip_address(address)): row for address, row in counts.clients.items()}
        names = names_of(sorted(clients)) if options.reverse_dns else {}
        yield from _table('Host', [(names.get(address, address), row) for address, row in sorted(clients.items())])
    if not options.skip_queue_stats:
        yield from _table('Queue', [(queue.decode('ascii'), row) for queue, row in sorted(counts.queues.items())])
    if counts.sizes:
        yield from _sizes(counts.sizes, options.percentiles)


def _table(title, rows):
    """``rows``: [(name, {operation: how many})]"""
    yield ' '.join(['%-7s' % column.decode() for column in COLUMNS] + [title])
    yield ' '.join(['-' * 7 for _ in COLUMNS] + [LINE])
    for name, row in rows:
        yield ' '.join(['%7d' % row.get(column, 0) for column in COLUMNS] + [name])
    yield ''


def _sizes(queues, percentiles):
    """``queues``: {queue: {bytes of an item: how many}}"""
    yield ' '.join(['%-7s' % NAMES.get(percent, 'p%g' % percent) for percent in percentiles] + ['Queue'])
    yield ' '.join(['-' * 7 for _ in percentiles] + [LINE])
    few = False
    for queue, sizes in sorted(queues.items()):
        mark = ''
        if sum(sizes.values()) < FEW:
            mark, few = ' *', True
        yield ' '.join(['%7d' % percentile(sizes, percent) for percent in percentiles]
                       + [queue.decode('ascii') + mark])
    if few:
        yield ''
        yield '* fewer than %d sets' % FEW
    yield ''
