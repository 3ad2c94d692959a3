"""/stats and /graph_data: the figures of all scopes as pieces of JSON or text, with turns of the hub between (spec admin
3, 4, 6)."""

import itertools

from kestrel.admin import history, listeners, scopes
from kestrel.admin.distribution import FIGURES
from kestrel.admin.render import json_text, number
from kestrel.admin.turns import Turns
from kestrel.log import one_line

SECTIONS = ('counters', 'gauges', 'labels', 'metrics')
# Where the names of queues and aliases stand among those of the server.
QUEUES = 'q/'
GRAPHS = ('counter', 'gauge', 'metric')
PIECE = 65536               # characters
# Stands for a scope's prefix in a row that all scopes of a kind share: none has it, in both forms it is an escape.
PREFIX = '\0'


class Json:
    """{"counters":{...},"gauges":{...},"labels":{...},"metrics":{...}}"""

    NO_VALUES = '{"count":0}'
    METRIC = '{%s}' % ','.join(['"%s":%%d' % key for key in FIGURES])

    @staticmethod
    def prefix(text):
        return json_text(text)[1:-1]

    @staticmethod
    def entries(section, prefix, pairs):
        if section == 'labels':
            pairs = [(name, json_text(value)) for name, value in pairs]
        return ','.join(['"%s%s":%s' % (prefix, name, value) for name, value in pairs])

    @staticmethod
    def row(names):
        return ','.join(['"%s%s":%%d' % (PREFIX, name) for name in names])

    @staticmethod
    def section(section, pieces):
        yield '%s"%s":{' % ('{' if section == SECTIONS[0] else ',', section)
        for at, piece in enumerate(pieces):
            yield ',' + piece if at else piece
        yield '}}\n' if section == SECTIONS[-1] else '}'


class Text:
    """The same as indented lines."""

    NO_VALUES = '(count=0)'
    METRIC = '(%s)' % ', '.join(['%s=%%d' % key for key in FIGURES])

    @staticmethod
    def prefix(text):
        return one_line(text)

    @staticmethod
    def entries(section, prefix, pairs):
        return ''.join(['  %s%s: %s\n' % (prefix, name, value) for name, value in pairs])

    @staticmethod
    def row(names):
        return ''.join(['  %s%s: %%d\n' % (PREFIX, name) for name in names])

    @staticmethod
    def section(section, pieces):
        return [section + ':\n', *pieces]


class StatsReport:
    """One answer to /stats: ``add_server``, then ``add`` all others in the order of ``scopes.names``, then ``finish``.

    form     Json or Text
    filters  list of compiled patterns: names that match one entirely are left out
    """

    def __init__(self, form, filters=()):
        self._form = form
        self._filters = filters
        self._pieces = {section: [] for section in SECTIONS}
        self._rows = {}         # {names: their row}
        self._shown = {}        # {what a distribution is made of: its text}
        self._behind = []       # (section, pairs) of the server whose names come after those of queues

    def add_server(self, scope, older, newer, labels):
        counters, metrics = _changes(older, newer)
        for section, pairs in (
                # it appears when it is first used
                ('counters', [(name, value) for name, value, total
                              in zip(scope.counter_names, counters, newer.counters) if total]),
                ('gauges', zip(scope.gauge_names, map(number, newer.gauges))),
                ('labels', labels.items()),
                ('metrics', self._metrics(scope, metrics, newer))):
            pairs = sorted(pairs)
            self._add(section, '', [pair for pair in pairs if pair[0] < QUEUES])
            self._behind.append((section, [pair for pair in pairs if pair[0] >= QUEUES]))

    def add(self, scope, older, newer):
        counters, metrics = _changes(older, newer)
        metrics = self._metrics(scope, metrics, newer)
        prefix = scope.prefix
        if self._filters:
            self._add('counters', prefix, zip(scope.counter_names, counters))
            self._add('gauges', prefix, zip(scope.gauge_names, newer.gauges))
            self._add('metrics', prefix, metrics)
            return
        prefix = self._form.prefix(prefix)
        self._pieces['counters'].append(self._row(scope.counter_names, counters, prefix))
        self._pieces['gauges'].append(self._row(scope.gauge_names, newer.gauges, prefix))
        if metrics:
            self._pieces['metrics'].append(self._form.entries('metrics', prefix, metrics))

    def _row(self, names, values, prefix):
        """What ``entries`` makes of whole numbers, in a third of its time."""
        row = self._rows.get(names)
        if row is None:
            row = self._rows[names] = self._form.row(names)
        return (row % values).replace(PREFIX, prefix)

    def _metrics(self, scope, metrics, newer):
        return [(name, self._metric(found))
                for name, found, total in zip(scope.metric_names, metrics, newer.metrics) if total.count]

    def _metric(self, found):
        if not found.count:
            return self._form.NO_VALUES
        # Of many queues few have a distribution of their own: those of few values are mostly alike.
        key = found.packed, found.sum
        text = self._shown.get(key)
        if text is None:
            text = self._shown[key] = self._form.METRIC % found.figures()
        return text

    def _add(self, section, prefix, pairs):
        if self._filters:
            pairs = [pair for pair in pairs
                     if not any([found.fullmatch(prefix + pair[0]) for found in self._filters])]
        piece = self._form.entries(section, self._form.prefix(prefix), pairs)
        if piece:
            self._pieces[section].append(piece)

    def finish(self):
        """-> iterator of str, the whole answer."""
        for section, pairs in self._behind:
            self._add(section, '', pairs)
        for section in SECTIONS:
            yield from self._form.section(section, self._pieces.pop(section))


def _changes(older, newer):
    return (newer.counters, newer.metrics) if older is None else history.changes(older, newer)


def totals(services, form, filters=()):
    """Since the start. -> list of bytes"""
    return _report(services, form, filters, _total, None)


def _total(scope):
    known = scope.kept.get(listeners.OF_MINUTE)
    return None, scope.snapshot(None if known is None else known[1])


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
    # the first latch of a listener may be under way
    report.add_server(server, *(look(server) or _total(server)), server.labels() if labels is None else labels)
    for scope in _named_scopes(services, turns):
        found = look(scope)
        if found is not None:
            report.add(scope, *found)
    return _encoded(report.finish(), turns)


def _encoded(texts, turns):
    """-> list of bytes, put together to such that are worth a send."""
    answer = []
    waiting = []
    size = 0
    for text in texts:
        waiting.append(text)
        size += len(text)
        if size >= PIECE:
            answer.append(''.join(waiting).encode('utf-8'))
            waiting = []
            size = 0
            turns.next()
    answer.append(''.join(waiting).encode('utf-8'))
    return answer


def graph_keys(services):
    """{"keys":[...]} -> list of bytes"""
    turns = Turns(services.clock)
    return _encoded(_graph_keys(services, turns), turns)


def _graph_keys(services, turns):
    """Sorted, because the kinds, the scopes and their names are."""
    server = scopes.ServerScope(services)
    comma = ''
    yield '{"keys":['
    for kind in GRAPHS:
        own = sorted(_known(server, kind))
        before = [name for name in own if name < QUEUES]
        groups = itertools.chain([('', before)],
                                 ((json_text(scope.prefix)[1:-1], _known(scope, kind))
                                  for scope in _named_scopes(services, turns)),
                                 [('', own[len(before):])])
        for prefix, names in groups:
            if names:
                yield comma + ','.join(['"%s:%s%s"' % (kind, prefix, name) for name in names])
                comma = ','
    yield ']}\n'


def _known(scope, kind):
    """The names of the figures that a scope has: a metric with values; a counter of the server that was used."""
    if kind == 'gauge':
        return scope.gauge_names
    if kind == 'counter':
        if not scope.sparse:
            return scope.counter_names
        return [name for name, total in zip(scope.counter_names, scope.counters()) if total]
    return [name for name, found in zip(scope.metric_names, scope.histograms()) if found.count]


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
