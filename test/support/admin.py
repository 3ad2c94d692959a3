"""The admin port without sockets: its routes on queues that live in memory, on a clock that a test moves."""

import json
import types

from kestrel.admin.answers import Failed, Request, decoded, parameters
from kestrel.admin.history import History
from kestrel.admin.jobs import Jobs
from kestrel.admin.listeners import Listeners
from kestrel.admin.routes import Routes
from kestrel.stats import TransportStats
from kestrel.status import UP
from support.fakes import FakeConfig, World

SETTINGS = {'stats_filters': [], 'read_only': False, 'metrics_max_queues': None}


class FakeServer:
    """What the admin port asks of the server, and what it was told to do: ``told``."""

    def __init__(self):
        self.loaded = self.listening = True
        self.stopping = False
        self.server_sets = None
        self.server_status = types.SimpleNamespace(announced=UP, in_force=UP)
        self.told = []
        self.sessions = {}
        self.why_not = None

    def reload(self):
        self.told.append('reload')
        return self.why_not

    def change_status(self, name):
        self.told.append(name)
        return self.why_not

    def shutdown(self):
        self.told.append('shutdown')

    def greenlets(self):
        return []


class AdminWorld(World):
    """``get`` answers a path; what else there is: routes, listeners, past (see admin.routes)."""

    def __init__(self, periods=(), time_series=True, config=None, **settings):
        super().__init__(config or FakeConfig(keep_journal=False))
        self.control = self.services.control = FakeServer()
        self.stats.transports['memcache'] = TransportStats()
        self.past = History(self.now()) if time_series else None
        self.listeners = Listeners(self.services, list(periods), self.past)
        self.listeners.begin()
        self.settings = types.SimpleNamespace(**{**SETTINGS, **settings})
        self.jobs = Jobs(self.clock, self.logger)
        self.routes = Routes(self.services, self.settings, self.logger, self.listeners, self.past, {'machine'}, self.jobs)

    def now(self):
        return self.clock.now_ms() // 1000

    def pass_seconds(self, count):
        """One tick after the other, as the port's greenlet does."""
        for _ in range(count):
            self.clock.advance(1)
            self.listeners.tick()

    def get(self, target, method='GET', body=b'', **headers):
        """-> answers.Answer, that of a failure too."""
        path, _, query = target.partition('?')
        request = Request(decoded(path), parameters(query), lambda name: headers.get(name.replace('-', '_')), method, body)
        try:
            return self.routes.answer(request)
        except Failed as failed:
            return failed.answer

    def connect(self, protocol='memcache'):
        """A client, known to the server. -> support.fakes.Client"""
        client = self.client()
        self.control.sessions[client.connection] = client.session, protocol, self.clock.monotonic()
        return client

    def act(self, fields=None, body=None, x_kestrel_client='test', content_type='application/json', **headers):
        """POST an action as kestrelctl does. -> (status as int, the JSON)"""
        body = json.dumps(fields).encode('ascii') if body is None else body
        answer = self.get('/api/action', 'POST', body, x_kestrel_client=x_kestrel_client, content_type=content_type, **headers)
        return int(answer.status[:3]), json.loads(b''.join(answer.body))

    def text(self, target, **headers):
        return b''.join(self.get(target, **headers).body).decode('utf-8')

    def json(self, target, **headers):
        return json.loads(self.text(target, **headers))
