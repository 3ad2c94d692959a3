"""What an operator does to queues and the server through POST /api/action (docs/protocol.md, "Actions")."""

import json
from functools import partial

import gevent

from kestrel.admin.answers import Failed, parameters
from kestrel.admin.api import BAD_REQUEST, name_of
from kestrel.admin.jobs import PATIENCE
from kestrel.errors import JournalError, Refusal
from kestrel.hub import ONE_TURN
from kestrel.queue_collection import check_name
from kestrel.status import STORED

MOST_NAMES = 1000           # queues of one action
SLICE = 1000                # items that are freed in one step
WAIT = 0.005                # seconds, while as many items as may be wait for an fsync
OF_QUEUES = ('flush', 'delete', 'expire', 'move', 'requeue')
OF_SERVER = ('status', 'reload', 'stop')


def fields_of(request):
    """The fields of a body, JSON or a form. -> dict. Raises Failed."""
    kind = (request.header('content-type') or '').partition(';')[0].strip().lower()
    try:
        text = request.body.decode('utf-8')
        if kind == 'application/json':
            fields = json.loads(text)
        elif kind == 'application/x-www-form-urlencoded':
            fields = parameters(text.replace('+', ' '))
            if 'name' in fields:
                fields['names'] = [fields['name']]
        else:
            raise Failed('415 Unsupported Media Type', 'send application/json or application/x-www-form-urlencoded')
    except (ValueError, RecursionError):
        raise Failed(BAD_REQUEST, 'the body is no JSON in UTF-8') from None
    if not isinstance(fields, dict):
        raise Failed(BAD_REQUEST, 'the body must be an object')
    return fields


def _words(fields, key, allowed):
    word = fields.get(key)
    if not isinstance(word, str) or word not in allowed:
        raise Failed(BAD_REQUEST, '%s must be one of %s' % (key, ', '.join(allowed)))
    return word


class Actions:
    """services: services.Services; jobs: jobs.Jobs"""

    def __init__(self, services, jobs):
        self._services = services
        self._control = services.control
        self._collection = services.collection
        self._clock = services.clock
        self._jobs = jobs
        self._work = {'flush': self._flush, 'delete': self._delete, 'expire': self._expire}

    def act(self, fields):
        """-> (status, dict). Raises Failed."""
        action = _words(fields, 'action', OF_QUEUES + OF_SERVER)
        if action == 'reload':
            return self._said(self._control.reload())
        if action == 'status':
            return self._said(self._control.change_status(_words(fields, 'status', list(STORED))))
        if action == 'stop':
            return self._stop(fields.get('job'))
        names = fields.get('names')
        if not isinstance(names, list) or not 0 < len(names) <= MOST_NAMES:
            raise Failed(BAD_REQUEST, 'names must be a list of 1 to %d names of queues' % MOST_NAMES)
        names = [name_of(name) for name in names]
        if self._services.writes_blocked:
            raise Failed('409 Conflict', 'status %s is in force: it blocks changes of queues'
                         % self._control.server_status.in_force.name)
        return self._start(action, names, fields.get('to'))

    @staticmethod
    def _said(why):
        return '200 OK', {'error': why}

    def _stop(self, number):
        job = self._jobs.find(number) if isinstance(number, int) else None
        if job is None:
            raise Failed('404 Not Found', 'job: there is no such job')
        job.stopping = True
        job.ended.wait(PATIENCE)
        return '200 OK', job.report()

    def _start(self, action, names, to):
        if action == 'requeue':
            # from where its dead letters are; each queue may have them elsewhere
            work, to = self._requeue, None
        elif action == 'move':
            to = name_of(to)
            self._check_target(to, names)
            work = partial(self._move, to)
        else:
            work, to = self._work[action], None
        job = self._jobs.start(action, names, to, work)
        if job is None:
            raise Failed('503 Service Unavailable', 'too many actions are under way: wait until one has ended')
        job.ended.wait(PATIENCE)
        return ('202 Accepted' if job.took is None else '200 OK'), job.report()

    def _check_target(self, to, names):
        if to in names:
            raise Failed(BAD_REQUEST, 'to: a queue cannot be moved into itself')
        if to in self._collection.aliases:
            raise Failed(BAD_REQUEST, 'to: %s is an alias' % to.decode('latin-1'))
        try:
            check_name(to)
        except Refusal as refusal:
            raise Failed(BAD_REQUEST, 'to: %s' % refusal.reason.decode('latin-1')) from None

    # -- work on one queue -----------------------------------------------------------------------------------------

    def _need(self, name):
        """-> PersistentQueue. Raises Refusal."""
        queue = self._collection.lookup(name)
        if queue is None:
            raise JournalError('there is no such queue')
        return queue

    def _flush(self, job, name):
        queue = self._need(name)
        count = queue.count
        job.total += count
        queue.stats.total_flushes += 1
        self._free(job, queue.flush())
        job.step(count)

    def _delete(self, job, name):
        count = self._need(name).count
        job.total += count
        self._free(job, self._collection.delete(name))
        job.step(count)

    @staticmethod
    def _free(job, items):
        """Freeing a million at once would block the hub for 100 ms."""
        while items:
            for _ in range(min(len(items), SLICE)):
                items.pop()
            gevent.sleep(ONE_TURN)

    def _expire(self, job, name):
        queue = self._need(name)
        while queue.stale(self._clock.now_ms()):
            dropped = queue.sweep(queue.max_sweep)
            if not dropped:
                raise JournalError('its expired items cannot be moved to where they are to go, see the log')
            job.total += dropped
            job.step(dropped)

    def _requeue(self, job, name):
        source = self._need(name).settings.dead_letter_queue
        if source is None:
            raise JournalError('it has no dead_letter_queue')
        dead = self._collection.lookup(source)
        if dead is not None:
            self._move_all(job, dead, name)

    def _move(self, to, job, name):
        self._move_all(job, self._need(name), to)

    def _move_all(self, job, queue, to):
        """All items that wait there now."""
        left = queue.count
        job.total += left
        mover = queue.mover
        returned = mover.returned
        while left > 0 and not queue.closed and queue.count:
            moved = mover.move_heads(to, left)
            left -= moved
            job.step(moved)
            if mover.returned != returned:
                break
            if not moved:
                if queue.head() is None:
                    raise JournalError('what is left of it cannot be read from the disk now')
                gevent.sleep(WAIT)
        while mover.held and not queue.closed and not job.stopping:
            gevent.sleep(WAIT)
        if mover.returned != returned:
            job.done -= mover.returned - returned
            raise JournalError('queue %s could not be made durable: the rest stays' % to.decode('latin-1'))
        if queue.closed and left > 0:
            raise JournalError('it was deleted meanwhile')
