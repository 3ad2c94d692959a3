"""top: what the queues do, again and again. Live with rich on a terminal, else in plain lines."""

import importlib

from kestrel.tools.console import printable
from kestrel.tools.ctl.queues import chosen
from kestrel.tools.ctl.screen import clock_time, size, span, table
from kestrel.tools.ctl.server import announced
from kestrel.tools.ctl.wire import figures, number, server_stats

HEADS = ('-QUEUE', 'ITEMS', 'BYTES', 'OPEN', 'WAITERS', 'AGE', 'IN/s', 'OUT/s')
NOT_ROWS = 3                # lines of the screen: the title and the heads
WITHOUT_RICH = 'kestrelctl: plain lines, because the library rich is not there: apt install python3-rich'


def top(context, options):
    """One look after the other; the first has no rates yet."""
    look = _Looks(context, options)
    if context.screen.as_json or not context.screen.terminal:
        _plainly(look, context)
        return
    try:
        # here, because it takes as long as the rest of a command
        rich = {name: importlib.import_module('rich.' + name) for name in ('live', 'table', 'text')}
    except ImportError:
        context.screen.say(WITHOUT_RICH)
        _plainly(look, context)
        return
    _live(look, rich['live'].Live, rich['table'].Table, rich['text'].Text)


class _Looks:
    """An iterator of (first line, str; list of rows), each ``interval`` seconds after the one before."""

    def __init__(self, context, options):
        self.context = context
        self.options = options
        self.wire = context.wire()
        self.before = {}        # queue: (total, items)
        self.at = None          # when that was, monotonic

    def __iter__(self):
        clock = self.context.clock
        due = clock.monotonic()
        number_of_looks = 0
        while True:
            yield self._look()
            number_of_looks += 1
            if number_of_looks == self.options.rounds:
                return
            due = max(due + self.options.interval, clock.monotonic())
            clock.rest(max(0, due - clock.monotonic()))

    def _look(self):
        now = self.context.clock.monotonic()
        groups = figures(self.wire)
        passed = None if self.at is None else max(now - self.at, 0.001)
        rows = []
        for row in chosen(groups, self.options):
            rows.append((row, *self._rates(row, passed)))
        self.before = {name: (number(values, 'total_items'), number(values, 'items'))
                       for name, values in groups.items()}
        self.at = now
        return self._head(), rows

    def _rates(self, row, passed):
        """Items a second that came, and that left in whatever way; None where there is nothing to compare with.

        An open read has left; one that is put back counts against those that left meanwhile.
        """
        if passed is None or row.name not in self.before:
            return None, None
        total, items = self.before[row.name]
        if row.total < total:
            return None, None       # deleted and made anew, or another process
        came = row.total - total
        return came / passed, max(0, came - (row.items - items)) / passed

    def _head(self):
        stats = server_stats(self.wire)
        return '%s  %s  %s  up %s  %d items  %s  %d connections' % (
            clock_time(self.context.clock.now_ms()), self.wire.where, announced(self.wire),
            span(number(stats, 'uptime') * 1000), number(stats, 'curr_items'), size(number(stats, 'bytes')),
            number(stats, 'curr_connections'))


def _cells(row, came, left):
    rates = ['-' if rate is None else '%.0f' % rate for rate in (came, left)]
    return [printable(row.name), str(row.items), size(row.bytes), str(row.open), str(row.waiters),
            '-' if row.age < 0 else span(row.age), *rates]


def _plainly(look, context):
    for head, rows in look:
        found = [{**row.found(), 'in': came, 'out': left} for row, came, left in rows]
        context.screen.result({'time': context.clock.now_ms(), 'queues': found}, head,
                              *table(HEADS, [_cells(*row) for row in rows]), '')


def _live(look, Live, Table, Text):
    """With the classes of rich; Text, not str, because what stands in brackets in a name is no markup."""
    with Live(screen=True, auto_refresh=False) as live:
        for head, rows in look:
            shown = Table(title=Text(head), box=None, expand=True)
            for name in HEADS:
                shown.add_column(name.lstrip('-'), justify='left' if name.startswith('-') else 'right', no_wrap=True)
            for row in rows[:max(1, live.console.size.height - NOT_ROWS)]:
                shown.add_row(*[Text(cell) for cell in _cells(*row)])
            live.update(shown, refresh=True)
