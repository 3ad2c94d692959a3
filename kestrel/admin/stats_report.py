"""/stats and /graph_data: the figures of all scopes as pieces of JSON or text, with turns of the hub between (spec admin
3, 4, 6)."""

from kestrel.admin import history, scopes
from kestrel.admin.render import json_text, metric_text, number, text_lines
from kestrel.admin.turns import Turns

SECTIONS = ('counters', 'gauges', 'labels', 'metrics')
# Where the names of queues and aliases stand among those of the server.
QUEUES = 'q/'
GRAPHS = ('counter', 'gauge', 'metric')


class StatsReport:
    """One answer to /stats. ``add`` every scope in the order of ``scopes.names``, then ``finish``.

    form     Json or Text below
    filters  list of compiled patterns: names that match one entirely are left out
    """

    def __init__(self, form, filters=()):
        self._form = form
        self._filters = filters
        self._pieces = {section: [] for section in SECTIONS}
        self._rest = {section: {} for section in SECTIONS}

    def add_server(self, figures, labels):
        """``figures``: see ``figures_of``."""
        for section, entries in zip(SECTIONS, (figures[0], figures[1], labels, figures[2])):
            self._add(section, {name: value for name, value in entries.items() if name < QUEUES})
            self._rest[section] = {name: value for name, value in entries.items() if name >= QUEUES}

    def add(self, figures):
        for section, entries in zip(('counters', 'gauges', 'metrics'), figures):
            self._add(section, entries)

    def _add(self, section, entries):
        if self._filters:
            entries = {name: value for name, value in entries.items()
                       if not any([found.fullmatch(name) for found in self._filters])}
        if entries:
            self._pieces[section].append(self._form.entries(section, entries))

    def finish(self):
        """-> list of bytes, the whole answer."""
        answer = []
        for section in SECTIONS:
            self._add(section, self._rest[section])
            answer += self._form.section(section, self._pieces.pop(section))
        return answer


class Json:
    """{"counters":{...},"gauges":{...},"labels":{...},"metrics":{...}}"""

    @staticmethod
    def entries(section, entries):
        return json_text(entries)[1:-1].encode('ascii')

    @staticmethod
    def section(section, pieces):
        first = section == SECTIONS[0]
        yield b'%s"%s":{' % (b'{' if first else b',', section.encode('ascii'))
        for at, piece in enumerate(pieces):
            yield b',' + piece if at else piece
        yield b'}}\n' if section == SECTIONS[-1] else b'}'


class Text:
    """The same as indented lines."""

    @staticmethod
    def entries(section, entries):
        if section == 'metrics':
            entries = {name: metric_text(found) for name, found in entries.items()}
        return ''.join(['  %s\n' % line for line in text_lines(entries)]).encode('utf-8')

    @staticmethod
    def section(section, pieces):
        return [section.encode('ascii') + b':\n', *pieces]


def figures_of(scope, older, newer):
    """What there is to show of a scope. -> (counters, gauges, metrics), dicts by the whole names

    older  scopes.Snapshot that the counters and metrics count from, None: the start
    """
    prefix = scope.prefix
    counters, metrics = newer.counters, newer.metrics
    if older is not None:
        counters, metrics = history.changes(older, newer)
    totals = newer.counters
    return ({prefix + name: value for name, value, total in zip(scope.counter_names, counters, totals)
             if total or not scope.sparse},
            {prefix + name: number(value) for name, value in zip(scope.gauge_names, newer.gauges)},
            {prefix + name: found.figures() for name, found, total in zip(scope.metric_names, metrics, newer.metrics)
             if total.count})


def totals(services, form, filters=()):
    """Since the start. -> list of bytes"""
    return _report(services, form, filters, lambda scope: (None, scope.snapshot()), None)


def of_period(services, listener, form, filters=()):
    """Between the last two latches of a listeners.Listener. -> list of bytes"""
    with listener.turn:
        return _report(services, form, filters, listener.latched, listener.labels)


def of_namespace(services, listener, form, filters=()):
    """Since the last call. -> list of bytes"""
    with listener.turn:
        return _report(services, form, filters, listener.latch, None)


def _report(services, form, filters, look, labels):
    report = StatsReport(form, filters)
    turns = Turns(services.clock)
    server = scopes.ServerScope(services)
    report.add_server(figures_of(server, *look(server)), server.labels() if labels is None else labels)
    collection = services.collection
    for name in scopes.names(collection):
        scope = scopes.named(collection, name)
        found = None if scope is None else look(scope)
        if found is not None:
            report.add(figures_of(scope, *found))
        turns.next()
    return report.finish()


def graph_keys(services):
    """{"keys":[...]} -> list of bytes"""
    turns = Turns(services.clock)
    keys = []
    server = scopes.ServerScope(services)
    for scope in (server, *_named_scopes(services, turns)):
        snapshot = scope.snapshot()
        for kind, names, used in (
                ('counter', scope.counter_names, snapshot.counters), ('gauge', scope.gauge_names, None),
                ('metric', scope.metric_names, [found.count for found in snapshot.metrics])):
            keys += ['%s:%s%s' % (kind, scope.prefix, name) for at, name in enumerate(names)
                     if used is None or used[at] or (kind == 'counter' and not scope.sparse)]
    keys.sort()
    answer = [b'{"keys":[']
    for at in range(0, len(keys), 1000):
        answer.append((',' if at else '').encode() + json_text(keys[at:at + 1000])[1:-1].encode('ascii'))
        turns.next()
    return [*answer, b']}\n']


def _named_scopes(services, turns):
    for name in scopes.names(services.collection):
        scope = scopes.named(services.collection, name)
        if scope is not None:
            yield scope
        turns.next()


def graph_rows(services, past, key, columns):
    """{"<key>":[[seconds,value],...]} -> list of bytes, None if there is no such figure.

    past     history.History
    columns  which percentiles of a metric, None: all
    """
    kind, _, name = key.partition(':')
    if kind not in GRAPHS:
        return None
    scope = scopes.ServerScope(services)
    if name.startswith(QUEUES):
        owner, slash, name = name[len(QUEUES):].rpartition('/')
        scope = _scope_of(services.collection, owner) if slash else None
    if scope is None:
        return None
    names = getattr(scope, kind + '_names')
    if name not in names:
        return None
    rows = past.rows(scope, kind, names.index(name), columns)
    return [json_text({key: rows}).encode('ascii') + b'\n']


def _scope_of(collection, name):
    try:
        return scopes.named(collection, name.encode('latin-1'))
    except UnicodeEncodeError:
        return None
