"""What the server does by itself when it is asked to on the admin port: watched until it has ended."""

from kestrel.tools.console import printable
from kestrel.tools.ctl.admin_port import shown
from kestrel.tools.ctl.failures import Failed, NoServer
from kestrel.tools.ctl.transfer import Stop

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
        self._last = {}         # what was last heard of it

    def run(self, action, stop):
        self._last = self._admin.act(**action)
        while self._running():
            self._context.screen.bar(self._name, self._last.get('done', 0), self._last.get('total', 0))
            self._context.clock.rest(LOOKS_EVERY)
            if stop.asked:
                self._last = self._admin.act(action='stop', job=self._last['job'])
                if self._running():
                    raise Failed('the server goes on with it, until the items that are under way are safe')
                return
            known = self._admin.get('/api/overview').get('jobs', [])
            found = [job for job in known if job.get('job') == self._last['job']]
            if not found:
                raise NoServer('%s has forgotten what it was asked to do: was it started anew?' % self._admin.where)
            self._last = found[0]

    def _running(self):
        return bool(self._last.get('running'))

    def errors(self):
        return ['queue %s: %s' % (shown(entry.get('name')), shown(entry['error']))
                for entry in self._last.get('results', []) if entry.get('error')]

    def report(self):
        """The truth as far as it is known: while it runs, what the last look saw."""
        if self._last:
            done = self._last.get('done', 0)
            least = 'at least ' if self._running() else ''
            self._context.screen.done({'moved': done, 'ended': not self._running()}, '%s%d items moved' % (least, done))
