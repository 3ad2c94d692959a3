"""The last 60 minutes of every figure, for /graph_data (spec admin 6).

What is kept of a queue is kept with the queue. A figure that does not change costs one number, one that does four bytes a
minute as long as it fits; of a metric its eight percentiles are kept as the numbers of their buckets, one byte each.
"""

from array import array

from kestrel.admin.distribution import EMPTY, MIDPOINTS, PERCENTILES

MINUTES = 60
KEY = 'history'             # in Scope.kept
WIDTH = len(PERCENTILES)
UNKNOWN = bytes(WIDTH)
_WIDER = {'i': 'q', 'q': 'd'}


class Series:
    """The minutes of one scope. Column ``n`` of a list is the figure of that number in the scope's names.

    A column is a number, if the figure was that one in all minutes since ``first``, or a ring: an array of 60, in
    which minute ``m`` stands at ``m % 60``. Of metrics: None, or a bytearray of 60 * 8.
    """

    __slots__ = ('first', 'counters', 'gauges', 'metrics')

    def __init__(self, first):
        self.first = first
        self.counters = []
        self.gauges = []
        self.metrics = []

    def note(self, minute, counters, gauges, metrics):
        self._note(self.counters, minute, counters)
        self._note(self.gauges, minute, gauges)
        columns = self.metrics
        columns += [None] * (len(metrics) - len(columns))
        at = minute % MINUTES * WIDTH
        for number, found in enumerate(metrics):
            column = columns[number]
            if found.count:
                if column is None:
                    column = columns[number] = bytearray(MINUTES * WIDTH)
                column[at:at + WIDTH] = found.percentile_buckets()
            elif column is not None:
                column[at:at + WIDTH] = UNKNOWN
                if not any(column):
                    columns[number] = None

    def _note(self, columns, minute, values):
        if not columns and minute == self.first:
            columns += values
            return
        # a name that is new: it was 0 before
        columns += [0] * (len(values) - len(columns))
        at = minute % MINUTES
        for number, value in enumerate(values):
            column = columns[number]
            if isinstance(column, array):
                _put(columns, number, at, value)
                if at == 0 and column.count(value) == MINUTES and minute - self.first >= MINUTES:
                    columns[number] = value
            elif column != value:
                columns[number] = array('d' if isinstance(value, float) else 'i', [0]) * MINUTES
                for past in range(max(self.first, minute - MINUTES + 1), minute):
                    _put(columns, number, past % MINUTES, column)
                _put(columns, number, at, value)

    def values(self, columns, number, minute):
        """The 60 values up to and with ``minute``, oldest first; 0 where none is known."""
        minutes = range(minute - MINUTES + 1, minute + 1)
        if number >= len(columns):
            return [0] * MINUTES
        column = columns[number]
        if isinstance(column, array):
            return [column[past % MINUTES] if past >= self.first else 0 for past in minutes]
        return [column if past >= self.first else 0 for past in minutes]

    def percentiles(self, number, minute):
        """Likewise: 60 lists of the 8 percentiles."""
        column = self.metrics[number] if number < len(self.metrics) else None
        if column is None:
            return [[0] * WIDTH for _ in range(MINUTES)]
        return [[MIDPOINTS[bucket] for bucket in column[past % MINUTES * WIDTH:][:WIDTH]] if past >= self.first
                else [0] * WIDTH for past in range(minute - MINUTES + 1, minute + 1)]


def _put(columns, number, at, value):
    """Into the ring; a wider one if the value does not fit."""
    while True:
        column = columns[number]
        try:
            column[at] = value
            return
        except (OverflowError, TypeError):
            columns[number] = array(_WIDER[column.typecode], column)


class History:
    """Tells scopes' ``Series`` of each minute.

    now  epoch second of the start
    """

    def __init__(self, now):
        self.minute = -1        # number of the last collection
        self.collected = now    # its epoch second

    def begin_minute(self, now):
        self.minute += 1
        self.collected = now

    def note(self, scope, older, newer):
        """Keep a minute of a scope: ``older``, None if it is new, and ``newer`` are its scopes.Snapshot."""
        series = scope.kept.get(KEY)
        if series is None:
            series = scope.kept[KEY] = Series(self.minute)
        counters, metrics = newer.counters, newer.metrics
        if older is not None:
            counters, metrics = changes(older, newer)
        series.note(self.minute, counters, newer.gauges, metrics)

    def rows(self, scope, kind, number, columns=None):
        """-> list of 60 lists: epoch second and the value, or the percentiles of those ``columns`` (all: None)."""
        series = scope.kept.get(KEY) or Series(self.minute + 1)
        if kind == 'metric':
            values = series.percentiles(number, self.minute)
            if columns is not None:
                values = [[row[column] for column in columns] for row in values]
        else:
            found = series.counters if kind == 'counter' else series.gauges
            values = [[value] for value in series.values(found, number, self.minute)]
        first = self.collected - 60 * (MINUTES - 1)
        return [[first + 60 * past, *row] for past, row in enumerate(values)]


def changes(older, newer):
    """-> (counters, metrics) of what has come between two snapshots of a scope; names may have been added."""
    counters = newer.counters
    metrics = newer.metrics
    if older is newer:
        return (0,) * len(counters), (EMPTY,) * len(metrics)
    before = older.counters + (0,) * (len(counters) - len(older.counters))
    counters = tuple([now - then for now, then in zip(counters, before)])
    old = older.metrics + (None,) * (len(metrics) - len(older.metrics))
    return counters, tuple([now.minus(then) for now, then in zip(metrics, old)])
