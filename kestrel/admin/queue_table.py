"""The table of queues: a page of it, in some order, without a row for each of the others."""

from heapq import nsmallest

from kestrel.admin import open_reads, rates, trouble
from kestrel.admin.history import KEY as HISTORY
from kestrel.admin.scopes import QueueScope
from kestrel.admin.survey import CHUNK, dead_letter_queues
from kestrel.admin.turns import Turns

LARGEST_PAGE = 100          # rows
_ITEMS = QueueScope.gauge_names.index('items')
# Figures of a family (a parent and its fanout children) that are the largest of its members'; the others are added up.
LARGEST = ('age_ms', 'oldest_open_ms')


def _age(queue, now_ms):
    head = queue.head()
    return 0 if head is None else now_ms - head.add_time


def _journal_size(queue):
    return 0 if queue.journal is None else queue.journal.total()


# Simple orders: name -> function: queue, ms since 1970 -> number.
_ORDERS = {
    'items': lambda queue, now_ms: queue.count,
    'bytes': lambda queue, now_ms: queue.bytes,
    'age': _age,
    'waiters': lambda queue, now_ms: len(queue.waiters),
    'open_reads': lambda queue, now_ms: len(queue.opened),
    'dead_letters': lambda queue, now_ms: queue.stats.dead_letters,
    'journal_size': lambda queue, now_ms: _journal_size(queue),
}
SORTS = ('trouble', 'name', 'put_rate', 'get_rate', *_ORDERS)
# Of these a family has the largest of its members.
_BY_LARGEST = ('trouble', 'age')


class QueueTable:
    """Looks at the queues of one server. services: services.Services; surveyor: survey.Surveyor; past: history.History,
    None without."""

    def __init__(self, services, surveyor, past):
        self._collection = services.collection
        self._clock = services.clock
        self._past = past
        self._surveyor = surveyor

    def page(self, sort, descending, part, folded, offset, limit):
        """-> (rows, how many there are, how many of them pass the filter)

        sort    one of SORTS
        part    bytes that names must contain, in any case of ASCII letters; empty: all
        folded  a parent stands for its family, its children have no rows of their own; not where names are looked for
        """
        folded = folded and not part
        names = self._names(part, folded)
        keys = self._keys(names, sort, folded)
        if sort == 'name':
            wanted = sorted(keys, reverse=descending)[offset:offset + limit]
        else:
            sign = -1 if descending else 1
            chosen = nsmallest(offset + limit, [(sign * key, name) for name, key in keys.items()])[offset:]
            wanted = [name for _, name in chosen]
        rows = self._rows(wanted, folded)
        return rows, len(self._collection.queues), len(keys)

    def family(self, parent):
        """-> rows of a parent, if it is there, and of its children, in the order of their names."""
        return self._rows(self._members(parent), False)

    # -- which -----------------------------------------------------------------------------------------------------

    def _names(self, part, folded):
        """-> list of the names that pass."""
        names = list(self._collection.queues)
        if part:
            part = part.lower()
            names = [name for name in names if part in name.lower()]
        elif folded:
            # of a family the parent may be missing
            names += [name for name, members in self._collection.children.items()
                      if members and name not in self._collection.queues]
        return names

    def _keys(self, names, sort, folded):
        """-> {name of each row there would be: what it is sorted by}"""
        turns = Turns(self._clock)
        key_of = self._key_function(sort)
        largest = sort in _BY_LARGEST
        keys = {}
        for at in range(0, len(names), CHUNK):
            for name in names[at:at + CHUNK]:
                key = key_of(name)
                if folded and b'+' in name:
                    name = name.partition(b'+')[0]
                known = keys.get(name)
                if known is None:
                    keys[name] = key
                else:
                    keys[name] = max(known, key) if largest else known + key
            turns.next()
        return keys

    def _key_function(self, sort):
        """-> function: name -> number"""
        if sort == 'name':
            return lambda name: 0
        if sort == 'trouble':
            weights = self._surveyor.survey().weights
            return lambda name: weights.get(name, 0)
        now_ms, now = self._clock.now_ms(), self._clock.monotonic()
        order = _ORDERS.get(sort)
        if order is None:
            column = 0 if sort == 'put_rate' else 1
            order = lambda queue, _: (rates.rates(queue, now) or (0.0, 0.0))[column]
        lookup = self._collection.queues.get

        def key_of(name):
            queue = lookup(name)
            return 0 if queue is None else order(queue, now_ms)
        return key_of

    # -- rows ------------------------------------------------------------------------------------------------------

    def _members(self, parent):
        return [name for name in (parent, *self._collection.children.get(parent, ()))
                if name in self._collection.queues]

    def _rows(self, names, folded):
        """-> list of dict. A queue that has gone meanwhile has no row."""
        turns = Turns(self._clock)
        targets = dead_letter_queues(self._collection)
        rows = []
        for name in names:
            members = self._members(name) if folded else [name]
            found = [self.row(queue, name in targets) for queue in map(self._collection.lookup, members)
                     if queue is not None]
            if found:
                row = found[0] if len(found) == 1 and members == [name] else _together(name, found)
                rows.append(row)
            turns.next()
        return rows

    def row(self, queue, is_target):
        """What the table says of a queue. -> dict"""
        now_ms, now = self._clock.now_ms(), self._clock.monotonic()
        words = trouble.of_queue(queue, now_ms, now, is_target)
        speed = rates.rates(queue, now)
        stats = queue.stats
        return {
            'name': queue.name.decode('latin-1'), 'items': queue.count, 'bytes': queue.bytes,
            'mem_items': len(queue.items) - queue.voids, 'mem_bytes': queue.mem_bytes,
            'put_rate': None if speed is None else round(speed[0], 2),
            'get_rate': None if speed is None else round(speed[1], 2),
            'age_ms': _age(queue, now_ms), 'waiters': len(queue.waiters), 'open_reads': len(queue.opened),
            'oldest_open_ms': int(open_reads.oldest_open_for(queue, now) * 1000),
            'dead_letters': stats.dead_letters, 'discarded': stats.discarded, 'expired': stats.expired_items,
            'journal_size': _journal_size(queue), 'trouble': words, 'children': 0, 'hour': self._hour(queue),
        }

    def is_target(self, name):
        """Do other queues send their dead letters to the queue of that name?"""
        return name in dead_letter_queues(self._collection)

    def _hour(self, queue):
        """Its items at the end of each of the last 60 minutes, None without time_series."""
        if self._past is None:
            return None
        series = (queue.stats.kept or {}).get(HISTORY)
        if series is None:
            return []
        return series.values(series.gauges, _ITEMS, self._past.minute)


def _together(parent, rows):
    """A row for a family."""
    row = dict(rows[0], name=parent.decode('latin-1'))
    row['children'] = len([member for member in rows if '+' in member['name']])
    for member in rows[1:]:
        for key, value in member.items():
            if key in LARGEST:
                row[key] = max(row[key], value)
            elif key in ('put_rate', 'get_rate'):
                row[key] = value if row[key] is None else round(row[key] + (value or 0), 2)
            elif isinstance(value, int) and key != 'children':
                row[key] += value
    words = {word for member in rows for word in member['trouble']}
    row['trouble'] = [word for word in trouble.WEIGHTS if word in words]
    if row['hour'] is not None:
        hours = [member['hour'] for member in rows if member['hour']]
        row['hour'] = [sum(values) for values in zip(*hours)]
    return row
