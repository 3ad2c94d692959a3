"""Figures of many servers, added up by queue or listed by host, and how they are shown."""

NAMES = ('items', 'bytes', 'mem_bytes', 'min_age', 'max_age')
_GAUGES = {'min_age': 'age_msec', 'max_age': 'age_msec'}
_JOINS = {'min_age': min, 'max_age': max}


def table(gauges, name, rollup=False):
    """One of NAMES over some servers -> {queue: number}.

    gauges  [{queue: {gauge: number}}], of each server
    rollup  count the children of a queue, ``work+x``, under ``work``
    """
    gauge, join = _GAUGES.get(name, name), _JOINS.get(name, _add)
    found = {}
    for queues in gauges:
        for queue, values in queues.items():
            if gauge in values:
                if rollup:
                    queue = queue.partition('+')[0]
                found[queue] = join(found[queue], values[gauge]) if queue in found else values[gauge]
    return found


def _add(one, other):
    return one + other


def by_host(gauges, name, queue, rollup=False):
    """{host: gauges} -> {host: number, None if it does not know the queue}."""
    return {host: table([queues], name, rollup).get(queue) for host, queues in gauges.items()}


def lines(name, title, values, count=0, reverse=False):
    """Yield the lines of a report: ``values`` {name: number or None}, by number, then name; those without one last."""
    known = sorted([key for key in values if values[key] is not None], key=lambda key: (values[key], key),
                   reverse=reverse)
    keys = known + sorted([key for key in values if values[key] is None])
    yield ''
    yield '%14s %s' % (name, title)
    yield '%14s %s' % ('=' * 12, '=' * 20)
    for key in keys[:count or None]:
        yield ('%14s %s' % ('n/a', key)) if values[key] is None else '%14d %s' % (values[key], key)


def unchanged(rounds):
    """Queues whose items and total_items are the same in all rounds -> {queue: (total_items, items)}.

    ``rounds``: [{server: Statistics}]; a server counts only if it is in each.
    """
    servers = set(rounds[0]).intersection(*rounds)
    seen = []
    for answers in rounds:
        items, totals = {}, {}
        for server in servers:
            for queue, values in answers[server].gauges.items():
                if 'items' in values:
                    total = answers[server].counters.get(queue, {}).get('total_items', 0)
                    items[queue] = items.get(queue, 0) + values['items']
                    totals[queue] = totals.get(queue, 0) + total
        seen.append({queue: (totals[queue], items[queue]) for queue in items})
    return {queue: pair for queue, pair in seen[0].items() if all(other.get(queue) == pair for other in seen)}


def stale_lines(queues):
    """Yield the lines about what ``unchanged`` found."""
    yield ''
    yield 'stale queue prediction'
    yield '======================'
    yield '%11s %11s %s' % ('total_items', 'items', 'queue')
    yield '%11s %11s %s' % ('-' * 11, '-' * 11, '-' * 20)
    for queue, (total, items) in sorted(queues.items()):
        yield '%11d %11d %s' % (total, items, queue)
