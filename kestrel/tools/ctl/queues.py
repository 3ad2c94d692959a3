"""queues, queue, flush, delete and expire: queues as a whole."""

import fnmatch
import os

from kestrel.tools.console import printable
from kestrel.tools.ctl.admin_port import reading, shown
from kestrel.tools.ctl.failures import Failed, NothingThere, Refused, WrongUse
from kestrel.tools.ctl.screen import latin, pairs, size, span, table
from kestrel.tools.ctl.wire import ConnectionEnded, figures, number, settings

HEADS = ('-QUEUE', 'ITEMS', 'BYTES', 'OPEN', 'WAITERS', 'AGE', 'TOTAL')
READS = ('-CLIENT', 'OPEN FOR', 'AGE', 'SIZE', 'DELIVERIES')
WIDE = set('*?[')


class Row:
    """A queue in a list. Numbers, age in ms (of the oldest waiting item; -1 if the server does not say)."""

    def __init__(self, name, values):
        self.name = name
        self.items = number(values, 'items')
        self.bytes = number(values, 'bytes')
        self.open = number(values, 'open_transactions')
        self.waiters = number(values, 'waiters')
        self.total = number(values, 'total_items')
        self.age = number(values, 'head_msec') if 'head_msec' in values else -1

    def cells(self):
        return (printable(self.name), self.items, size(self.bytes), self.open, self.waiters,
                '-' if self.age < 0 else span(self.age), self.total)

    def found(self):
        return {'name': latin(self.name), 'items': self.items, 'bytes': self.bytes, 'open': self.open,
                'waiters': self.waiters, 'age_msec': None if self.age < 0 else self.age, 'total_items': self.total}


def chosen(groups, options):
    """-> list of Row: what the options --sort, --reverse, --filter and --limit leave; aliases are no queues."""
    rows = [Row(name, values) for name, values in groups.items()
            if 'put_items' not in values and _fits(latin(name), options.filter)]
    rows.sort(key=lambda row: row.name)
    if options.sort != 'name':
        rows.sort(key=lambda row: -getattr(row, options.sort))
    if options.reverse:
        rows.reverse()
    return rows[:options.limit]


def _fits(name, pattern):
    if pattern is None:
        return True
    pattern = latin(os.fsencode(pattern))
    return fnmatch.fnmatchcase(name, pattern) if WIDE & set(pattern) else pattern in name


def queues(context, options):
    rows = chosen(figures(context.wire()), options)
    context.screen.result([row.found() for row in rows], *table(HEADS, [row.cells() for row in rows]))


def queue(context, options):
    wire = context.wire()
    values = figures(wire, options.name).get(options.name)
    if not values:
        raise NothingThere('there is no queue %s' % printable(options.name))
    in_force = _settings(wire, options.name)
    lines = ['queue %s' % printable(options.name), *_indented(values)]
    if in_force:
        lines += ['settings in force', *_indented(in_force)]
    reads = waiting = []
    if number(values, 'open_transactions') or number(values, 'waiters'):
        reads, waiting, more = _clients(context, options.name)
        lines += more
    context.screen.result({'name': latin(options.name), 'figures': {key: _plain(text) for key, text in values.items()},
                           'settings': in_force, 'reads': reads, 'waiting': waiting}, *lines)


def _indented(values):
    return ['  ' + line for line in pairs([(key, printable(text.encode('latin-1'))) for key, text in values.items()])]


def _plain(text):
    return int(text) if text.isdecimal() else text


def _settings(wire, name):
    """{setting: text}; empty where the server has no dump_config, as Kestrel 2.4."""
    try:
        return settings(wire, name).get(name, {})
    except (Refused, ConnectionEnded):
        return {}


def _clients(context, name):
    """Who has items open, and who waits. -> (list of dict, list of addresses, lines); the lists are None if the admin
    port does not say.
    """
    try:
        admin = context.api()
        answer = admin.get('/api/queue', name=latin(name))
    except Failed as error:
        context.screen.say('kestrelctl: %s; who reads and who waits is not shown' % error)
        return None, None, []
    with reading(admin.where, 'a queue'):
        rows = [('-' if read['peer'] is None else shown(read['peer']), span(read['open_ms']), span(read['age_ms']),
                 size(read['size']), read['deliveries']) for read in answer['reads']]
        waiting = [shown(peer) for peer in answer['waiting']]
        lines = []
        if rows:
            lines += ['open reads', *['  ' + line for line in table(READS, rows)]]
        if waiting:
            lines += ['waiting', *['  ' + peer for peer in waiting]]
        return answer['reads'], answer['waiting'], lines


# -- changing ------------------------------------------------------------------------------------------------------

def flush(context, options):
    everything = _of_all(options)
    wire = context.wire()
    if everything:
        context.confirm('remove all waiting items of all queues of %s' % wire.where)
        wire.expect(b'flush_all', b'Flushed all queues.')
        context.screen.done({'flushed': 'all'}, 'all queues flushed')
        return
    known = figures(wire, *options.names)
    context.confirm('remove %s' % _what(known, options.names))
    for name in options.names:
        wire.expect(b'flush ' + name, b'END')
        context.screen.done({'flushed': latin(name)}, 'queue %s flushed' % printable(name))


def delete(context, options):
    wire = context.wire()
    known = figures(wire, *options.names)
    missing = [name for name in options.names if not known.get(name)]
    if missing:
        raise NothingThere('there is no queue %s' % printable(b' '.join(missing)))
    context.confirm('delete the queues and with them %s' % _what(known, options.names))
    for name in options.names:
        wire.expect(b'delete ' + name, b'DELETED')
        context.screen.done({'deleted': latin(name)}, 'queue %s deleted' % printable(name))


def expire(context, options):
    everything = _of_all(options)
    wire = context.wire()
    if everything:
        context.screen.result(*_expired(wire, b'flush_all_expired', None))
        return
    for name in options.names:
        context.screen.result(*_expired(wire, b'flush_expired ' + name, name))


def _expired(wire, request, name):
    line = wire.ask(request)
    if not line.isdigit():
        raise wire.nonsense(line)
    if name is None:
        return {'expired': int(line)}, '%d items expired' % int(line)
    return {'queue': latin(name), 'expired': int(line)}, 'queue %s: %d items expired' % (printable(name), int(line))


def _of_all(options):
    if options.all == bool(options.names):
        raise WrongUse('name queues, or say --all')
    return options.all


def _what(known, names):
    return ', '.join(['%d items of %s' % (number(known.get(name, {}), 'items'), printable(name)) for name in names])
