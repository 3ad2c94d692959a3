"""What an operator has started: in a greenlet of its own, step by step, so that nobody waits for it."""

import gevent
from gevent.event import Event

from kestrel.admin.turns import Turns
from kestrel.errors import Refusal
from kestrel.log import one_line
from kestrel.mover import reason

MOST = 8                    # that run at a time
REMEMBERED = 20             # of those that have ended
BRIEF = 10                  # names and results of each in a list of jobs
PATIENCE = 1.0              # seconds that the answer to an action waits for its end


class Stopped(Exception):
    """Somebody has asked for it to end."""


class Job:
    """One action on some queues.

    action   str; names  list of bytes; to  bytes, the target of a move, or None
    results  list of dict: of each queue that is done with
    done, total   items
    """

    def __init__(self, number, action, names, to, clock):
        self.number = number
        self.action = action
        self.names = names
        self.to = to
        self.began = clock.now_ms()
        self.took = None        # ms
        self.results = []
        self.done = 0
        self.total = 0
        self.stopping = False
        self.ended = Event()
        self._clock = clock
        self._turns = Turns(clock)

    def step(self, count):
        """So many items more are done: others may run. Raises Stopped."""
        self.done += count
        self._turns.next()
        if self.stopping:
            raise Stopped('stopped by an operator')

    def run(self, work):
        """``work(job, name)`` -> how many items; for each of the names, one after the other."""
        try:
            for name in self.names:
                before, error = self.done, None
                try:
                    work(self, name)
                except Stopped as stopped:
                    error = str(stopped)
                except Refusal as refusal:
                    error = reason(refusal)
                self.results.append({'name': name.decode('latin-1'), 'done': self.done - before, 'error': error})
        finally:
            self.took = self._clock.now_ms() - self.began
            self.ended.set()

    def report(self, most=None):
        """-> dict. ``most``: so many names and results, those that failed first; None: all."""
        results = self.results if most is None else sorted(self.results, key=lambda found: not found['error'])[:most]
        return {'job': self.number, 'action': self.action, 'names': [name.decode('latin-1') for name in self.names[:most]],
                'to': None if self.to is None else self.to.decode('latin-1'), 'began_ms': self.began,
                'running': self.took is None, 'took_ms': self.took, 'done': self.done, 'total': self.total,
                'results': results, 'failed': len([found for found in self.results if found['error']])}


class Jobs:
    """Those of one server."""

    def __init__(self, clock, log):
        self._clock = clock
        self._log = log
        self._last = 0
        self._jobs = {}
        self._greenlets = {}

    def start(self, action, names, to, work):
        """-> Job, or None if too many run."""
        running = [number for number, job in self._jobs.items() if job.took is None]
        if len(running) >= MOST:
            return None
        for number in [number for number in self._jobs if number not in running][:-REMEMBERED + 1]:
            del self._jobs[number]
        self._last += 1
        job = self._jobs[self._last] = Job(self._last, action, names, to, self._clock)
        self._greenlets[job.number] = gevent.spawn(self._run, job, work)
        return job

    def _run(self, job, work):
        try:
            job.run(work)
        except Exception:
            self._log.exception('admin port: %s of %d queues failed', job.action, len(job.names))
            job.results.append({'name': '', 'done': 0, 'error': 'internal error, see the log'})
        finally:
            self._greenlets.pop(job.number, None)
        errors = [found for found in job.results if found['error']]
        self._log.info('admin port: %s of %s%s: %d items%s', job.action, _some(job.names),
                       '' if job.to is None else ' to ' + one_line(job.to.decode('latin-1')), job.done,
                       ', %d failed: %s' % (len(errors), one_line(errors[0]['error'])) if errors else '')

    def find(self, number):
        """-> Job or None"""
        return self._jobs.get(number)

    def report(self):
        """-> list of dict, the newest first."""
        return [job.report(BRIEF) for job in reversed(list(self._jobs.values()))]

    def stop(self):
        """The server stops."""
        gevent.killall(list(self._greenlets.values()))


def _some(names):
    shown = ', '.join([one_line(name.decode('latin-1')) for name in names[:3]])
    return shown if len(names) <= 3 else '%s and %d more' % (shown, len(names) - 3)
