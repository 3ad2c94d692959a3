"""What the dashboard and kestrelctl ask for below /api/, as JSON (docs/protocol.md, "The API").

A queue name is a str whose code points are the bytes of the name; in query strings percent-escaped UTF-8 of that, as
everywhere on this port (answers.decoded).
"""

import os
import re

from kestrel import __version__
from kestrel.admin import open_reads
from kestrel.admin.answers import Failed
from kestrel.admin.health import why_not_ready
from kestrel.admin.peek import MOST_BYTES, MOST_ITEMS, first_items
from kestrel.admin.queue_table import LARGEST_PAGE, SORTS
from kestrel.admin.scopes import QueueScope, process_gauges
from kestrel.admin.turns import Turns
from kestrel.log import peer

BAD_REQUEST = '400 Bad Request'
NOT_FOUND = '404 Not Found'
SHOWN = 100                 # open reads, waiters, aliases of an answer at most
SHOWN_PER_CONNECTION = 20
# The counters of the server in /api/overview.
TOTALS = ('total_items', 'total_connections', 'cmd_get', 'cmd_set', 'cmd_peek', 'get_hits', 'get_misses', 'bytes_read',
          'bytes_written', 'queue_creates', 'queue_deletes', 'queue_expires', 'journal_errors', 'waiters_aborted')
# The charts of a queue's page: key -> (kind, name of the figure).
CHARTS = {'items': ('gauge', 'items'), 'bytes': ('gauge', 'bytes'), 'age_ms': ('gauge', 'head_msec'),
          'open_reads': ('gauge', 'open_transactions'), 'put': ('counter', 'put_items'),
          'fetched': ('counter', 'get_items_hit'), 'expired': ('counter', 'expired_items'),
          'dead_letters': ('counter', 'dead_letters')}


def name_of(text):
    """A queue name as it comes in JSON or a query -> bytes. Raises Failed."""
    if not isinstance(text, str) or not text:
        raise Failed(BAD_REQUEST, 'name: the name of a queue is missing')
    try:
        return text.encode('latin-1')
    except UnicodeEncodeError:
        raise Failed(NOT_FOUND, 'no queue can have such a name: its characters are bytes, at most U+00FF') from None


def number(query, key, default, least, most):
    """The integer of a parameter. Raises Failed."""
    text = query.get(key)
    if text is None:
        return default
    if not re.fullmatch('[0-9]{1,9}', text, re.ASCII) or not least <= int(text) <= most:
        raise Failed(BAD_REQUEST, '%s must be a whole number from %d to %d: %.40s' % (key, least, most, text))
    return int(text)


def choice(query, key, allowed):
    """The word of a parameter, the first of the allowed ones without it. Raises Failed."""
    word = query.get(key, allowed[0])
    if word not in allowed:
        raise Failed(BAD_REQUEST, '%s must be one of %s: %.40s' % (key, ', '.join(allowed), word))
    return word


class Api:
    """services: services.Services; settings: [admin]; table: queue_table.QueueTable; surveyor: survey.Surveyor; past:
    history.History or None; jobs: jobs.Jobs"""

    def __init__(self, services, settings, table, surveyor, past, jobs):
        self._services = services
        self._control = services.control
        self._collection = services.collection
        self._clock = services.clock
        self._settings = settings
        self._table = table
        self._surveyor = surveyor
        self._past = past
        self._jobs = jobs

    # -- the server ------------------------------------------------------------------------------------------------

    def overview(self, query):
        services, stats = self._services, self._services.stats
        status = self._control.server_status
        uptime = self._clock.monotonic() - services.began
        return {
            'version': __version__, 'pid': os.getpid(), 'now_ms': self._clock.now_ms(), 'uptime_ms': int(uptime * 1000),
            'status': {'announced': status.announced.name, 'in_force': status.in_force.name},
            'server_sets': _server_sets(self._control.server_sets), 'not_ready': why_not_ready(self._control),
            'reads_blocked': services.reads_blocked, 'writes_blocked': services.writes_blocked,
            'read_only': self._settings.read_only,
            'connections': stats.connections, 'totals': self._surveyor.survey().totals,
            'counters': {name: getattr(stats, name) for name in TOTALS},
            'fsync_errors': sum(stats.fsync_errors.values()), 'process': process_gauges(services),
            'time_series': self._past is not None, 'jobs': self._jobs.report(),
            'aliases': [self._alias(name, alias)
                        for name, alias in sorted(self._collection.aliases.items())[:SHOWN]],
            'aliases_count': len(self._collection.aliases)}

    @staticmethod
    def _alias(name, alias):
        return {'name': name.decode('latin-1'),
                'destinations': [destination.decode('latin-1') for destination in alias.destinations],
                'put_items': alias.put_items, 'put_bytes': alias.put_bytes}

    def config(self, query):
        """The settings in force, and their defaults. Passwords are not told."""
        control, config = self._control, self._control.config
        sections = {
            'server': config.explain('server', self._services.settings),
            'default': config.explain('default', config.default),
            'admin': config.explain('admin', control.admin_settings),
            'zookeeper': config.explain('zookeeper', config.zookeeper),
            'logging': config.explain('logging', config.logging)}
        return {'path': config.path,
                'sections': {section: _settings(found) for section, found in sections.items()},
                'queues': [name.decode('latin-1') for name in config.queues]}

    def connections(self, query):
        offset = number(query, 'offset', 0, 0, 10 ** 9)
        limit = number(query, 'limit', LARGEST_PAGE, 1, LARGEST_PAGE)
        sessions = list(self._control.sessions.items())
        waiting = {}
        turns = Turns(self._clock)
        for name, line in self._collection.lines():
            for owner in line.owners() if len(line) else ():
                waiting[owner] = name
            turns.next()
        now = self._clock.monotonic()
        found = []
        for connection, (session, protocol, began) in sessions[offset:offset + limit]:
            held = {} if session.reads is None else session.reads.counts()
            name = waiting.get(connection)
            found.append({
                'peer': peer(connection.address), 'protocol': protocol, 'age_ms': int((now - began) * 1000),
                'client_id': session.client_id, 'waits_for': None if name is None else name.decode('latin-1'),
                'open_reads': sum(held.values()),
                'holds': [{'name': key.decode('latin-1'), 'open_reads': many}
                          for key, many in sorted(held.items())[:SHOWN_PER_CONNECTION]],
                'received_bytes': connection.received_bytes, 'sent_bytes': connection.sent_bytes})
        return {'total': len(sessions), 'offset': offset, 'limit': limit, 'connections': found}

    # -- queues ----------------------------------------------------------------------------------------------------

    def queues(self, query):
        sort = choice(query, 'sort', SORTS)
        order = choice(query, 'order', ('asc', 'desc') if sort == 'name' else ('desc', 'asc'))
        folded = choice(query, 'fold', ('0', '1')) == '1'
        offset = number(query, 'offset', 0, 0, 10 ** 9)
        limit = number(query, 'limit', 50, 1, LARGEST_PAGE)
        part = query.get('filter', '')
        parent = query.get('parent')
        if parent is not None:
            rows = self._table.family(name_of(parent))
            return {'total': len(self._collection.queues), 'matched': len(rows), 'offset': offset, 'limit': limit,
                    'queues': rows[offset:offset + limit]}
        try:
            part = part.encode('latin-1')
        except UnicodeEncodeError:
            # no name has such characters
            return {'total': len(self._collection.queues), 'matched': 0, 'offset': offset, 'limit': limit, 'queues': []}
        rows, total, matched = self._table.page(sort, order == 'desc', part, folded, offset, limit)
        return {'total': total, 'matched': matched, 'offset': offset, 'limit': limit, 'queues': rows}

    def _find(self, query):
        name = name_of(query.get('name'))
        queue = self._collection.lookup(name)
        if queue is None:
            raise Failed(NOT_FOUND, 'there is no queue %s' % name.decode('latin-1'))
        return name, queue

    def queue(self, query):
        name, queue = self._find(query)
        collection, now = self._collection, self._clock.monotonic()
        owners = open_reads.owners(self._services, queue)
        now_ms = self._clock.now_ms()
        row = self._table.row(queue, self._table.is_target(name))
        scope = QueueScope(queue)
        settings = queue.settings
        dead = settings.dead_letter_queue
        dead_queue = None if dead is None else collection.lookup(dead)
        parent, plus, _ = name.partition(b'+')
        row.update({
            'counters': dict(zip(scope.counter_names, scope.counters())), 'max_items': queue.max_items,
            'max_bytes': queue.max_size, 'created_ms': queue.created, 'journaled': queue.journal is not None,
            'parent': parent.decode('latin-1') if plus else None,
            'child_names': [child.decode('latin-1') for child in collection.children.get(name, ())[:SHOWN]],
            'children': len(collection.children.get(name, ())), 'hidden_by_alias': name in collection.aliases,
            'dead_letter_queue': None if dead is None else dead.decode('latin-1'),
            'dead_letters_waiting': None if dead_queue is None else dead_queue.count,
            'settings': _settings(collection.config.explain('default', settings)),
            'reads': [self._read(queue, xid, owners.get(xid), now_ms, now) for xid in list(queue.opened)[:SHOWN]],
            'waiting': [peer(owner.address) for owner in queue.waiters.owners()[:SHOWN]],
            'charts': self._charts(scope)})
        return row

    @staticmethod
    def _read(queue, xid, owner, now_ms, now):
        item = queue.opened[xid]
        return {'xid': xid, 'peer': None if owner is None else owner[1], 'protocol': None if owner is None else owner[0],
                'open_ms': int(open_reads.open_for(queue, xid, now) * 1000), 'age_ms': now_ms - item.add_time,
                'size': len(item.data), 'deliveries': item.deliveries}

    def _charts(self, scope):
        """-> {key: the 60 values, oldest first}, 'end_s' the epoch second of the last; None without time_series."""
        if self._past is None:
            return None
        charts = {'end_s': self._past.collected}
        for key, (kind, name) in CHARTS.items():
            number_of = getattr(scope, kind + '_names').index(name)
            charts[key] = [value for _, value in self._past.rows(scope, kind, number_of)]
        return charts

    def peek(self, query):
        count = number(query, 'count', 10, 1, MOST_ITEMS)
        size = number(query, 'bytes', 1024, 1, MOST_BYTES)
        name, queue = self._find(query)
        return {'name': name.decode('latin-1'), 'items': queue.count,
                'first': first_items(queue, count, size, self._clock.now_ms())}


def _server_sets(sets):
    """sets: server_sets.ServerSets, or None without ``[zookeeper]``. -> dict or None"""
    return sets and {'state': sets.state, 'reachable': sets.reachable, 'refusal': sets.refusal, 'joined': list(sets.joined)}


def _settings(explained):
    return [{'key': key, 'value': '(not shown)' if key == 'password' and value != 'none' else value, 'default': default,
             'differs': value != default} for key, value, default in explained]
