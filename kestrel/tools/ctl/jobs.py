"""What the server does by itself when it is asked to on the admin port: watched until it has ended."""

import collections

from kestrel.tools.console import printable
from kestrel.tools.ctl.admin_port import reading, shown
from kestrel.tools.ctl.failures import Failed, NoServer
from kestrel.tools.ctl.transfer import Stop

Report = collections.namedtuple('Report', 'number running done total errors')
LOOKS_EVERY = 0.25          # seconds


def run(context, admin, name, **action):
    """Have it done; Ctrl-C stops it between two items. ``name`` is the queue whose items are moved, for the bar."""
    work = _Job(context, admin, name)
    with Stop() as stop:
        try:
            work.run(action, stop)
        finally:
            context.screen.clear()
            work.report()
        stop.check()
    if work.errors():
        raise Failed('; '.join(work.errors()))


class _Job:

    def __init__(self, context, admin, name):
        self._context = context
        self._admin = admin
        self._name = printable(name)
        self._last = None       # what was last heard of it, Report

    def run(self, action, stop):
        self._hear(self._admin.act(**action))
        while self._last.running:
            self._context.screen.bar(self._name, self._last.done, self._last.total)
            self._context.clock.rest(LOOKS_EVERY)
            if stop.asked:
                self._hear(self._admin.act(action='stop', job=self._last.number))
                if self._last.running:
                    raise Failed('the server goes on with it, until the items that are under way are safe')
                return
            self._look()

    def _look(self):
        overview = self._admin.get('/api/overview')
        with reading(self._admin.where, 'what it does'):
            found = [job for job in overview['jobs'] if job['job'] == self._last.number]
        if not found:
            raise NoServer('%s has forgotten what it was asked to do: was it started anew?' % self._admin.where)
        self._hear(found[0])

    def _hear(self, answer):
        with reading(self._admin.where, 'what it does'):
            self._last = Report(
                answer['job'], bool(answer['running']), int(answer['done']), int(answer['total']),
                ['queue %s: %s' % (shown(entry['name']), shown(entry['error']))
                 for entry in answer['results'] if entry['error']])

    def errors(self):
        return self._last.errors

    def report(self):
        """The truth as far as it is known: while it runs, what the last look saw."""
        last = self._last
        if last is not None:
            self._context.screen.done({'moved': last.done, 'ended': not last.running}, '%s%d items moved' % (
                'at least ' if last.running else '', last.done))
