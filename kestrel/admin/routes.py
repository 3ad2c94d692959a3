"""Which path does what (spec admin 2, D62)."""

import re

import gevent

from kestrel.admin import commands, metrics, pages, stats_report
from kestrel.admin.access import why_refused
from kestrel.admin.actions import Actions, fields_of
from kestrel.admin.answers import HTML, JSON, PROMETHEUS, TEXT, Answer, Failed, error
from kestrel.admin.api import Api
from kestrel.admin.distribution import PERCENTILES
from kestrel.admin.health import why_not_ready
from kestrel.admin.listeners import TooMany
from kestrel.admin.queue_table import QueueTable
from kestrel.admin.render import json_text, text_lines
from kestrel.admin.survey import Surveyor
from kestrel.admin.tokens import Tokens

OK = '200 OK'
NOT_FOUND = '404 Not Found'
UNAVAILABLE = '503 Service Unavailable'
FORBIDDEN = '403 Forbidden'
PEEK = '/api/peek'
ACTION = '/api/action'
IN_COMMAND = 'error processing command: '
IN_REQUEST = 'exception while processing request: '
# What is answered while the journals are replayed (D28).
EARLY = ('/ping', '/health', '/ready', '/metrics')


class Routes:
    """Answers requests.

    services       session.Services
    settings       the [admin] settings
    logger         logging.Logger of the server
    listeners      listeners.Listeners
    past           history.History, None without time_series
    allowed_hosts  names in lower case by which browsers may call the server
    jobs           jobs.Jobs
    """

    def __init__(self, services, settings, logger, listeners, past, allowed_hosts, jobs):
        self._services = services
        self._control = services.control
        self._settings = settings
        self._logger = logger
        self._listeners = listeners
        self._past = past
        self._allowed_hosts = allowed_hosts
        self._filters = [re.compile(pattern) for pattern in settings.stats_filters]
        self._paths = {'/': self._front, '/health': self._health, '/ready': self._ready, '/metrics': self._metrics,
                       '/favicon.ico': self._no_file, '/graph/': self._graph, '/report/': self._graph}
        self._tokens = Tokens(services.clock)
        self._actions = Actions(services, jobs)
        self._surveyor = Surveyor(services.collection, services.clock)
        table = QueueTable(services, self._surveyor, past)
        api = Api(services, settings, table, self._surveyor, past, jobs)
        self._api = {'/api/overview': api.overview, '/api/queues': api.queues, '/api/queue': api.queue,
                     '/api/connections': api.connections, '/api/config': api.config}
        self._peek = api.peek
        self._commands = {
            'ping': self._ping, 'reload': self._reload, 'shutdown': self._shutdown, 'quiesce': self._shutdown,
            'gc': self._collect, 'server_info': self._server_info, 'threads': self._threads,
            'logging': self._logging}

    def answer(self, request):
        """-> answers.Answer. Raises Failed; whatever else it raises is a fault of ours."""
        if request.path in self._api or request.path in (PEEK, ACTION):
            try:
                self._check_begun()
                return _json_answer(*self._api_answer(request))
            except Failed as failed:
                return _json_answer(failed.status, {'error': failed.reason})
        early = request.path in EARLY or request.command == 'ping'
        if not early:
            self._check_begun()
        page = self._paths.get(request.path)
        if page is not None:
            return page(request)
        if request.path.startswith('/static/'):
            return self._static(request)
        if request.path == '/graph_data' or request.path.startswith('/graph_data/'):
            return self._graph_data(request)
        callback = None if request.is_text else request.callback()
        if request.command == 'stats':
            body = self._stats(request)
        else:
            command = self._commands.get(request.command)
            if command is None:
                return error(NOT_FOUND, 'no such command\n')
            body = _rendered(command(request), request.is_text)
        if callback is not None:
            body = [callback.encode('ascii') + b'(', *body, b')']
        return Answer(OK, TEXT if request.is_text else JSON, body)

    def _check_begun(self):
        """Raise Failed while the journals are replayed."""
        if not (self._control.loaded and self._control.listening):
            raise Failed(UNAVAILABLE, why_not_ready(self._control) or 'the server is stopping')

    def _api_answer(self, request):
        """-> (status, what is shown as JSON). Raises Failed."""
        if request.path == ACTION:
            if request.method != 'POST':
                raise Failed('405 Method Not Allowed', 'use POST')
            self._may_change(request)
            fields = fields_of(request)
            token = fields.get('token')
            why = self._tokens.why_refused(token if token is None else str(token), request.header)
            if why is not None:
                raise Failed(FORBIDDEN, why)
            try:
                return self._actions.act(fields)
            finally:
                self._surveyor.forget()
        if request.path == PEEK:
            # the data of items: not for a page that calls this server by a name of its own (DNS rebinding)
            self._check_site(request)
            return OK, self._peek(request.query)
        return OK, self._api[request.path](request.query)

    # -- statistics ------------------------------------------------------------------------------------------------

    def _stats(self, request):
        form = stats_report.Text if request.is_text else stats_report.Json
        period = request.positive('period')
        namespace = request.query.get('namespace')
        filters = self._filters if request.query.get('filtered') == '1' else ()
        try:
            if period is not None:
                return stats_report.of_period(self._services, self._listeners.period(period), form, filters)
            if namespace is not None:
                return stats_report.of_namespace(self._services, self._listeners.namespace(namespace), form, filters)
        except TooMany as why:
            raise Failed('500 Internal Server Error', str(why), IN_COMMAND) from None
        return stats_report.totals(self._services, form)

    def _graph_data(self, request):
        if self._past is None:
            raise Failed(NOT_FOUND, 'time_series is off in [admin]')
        key = request.path[len('/graph_data/'):]
        if not key:
            return Answer(OK, HTML, stats_report.graph_keys(self._services))
        columns = self._columns(request.query.get('p'))
        body = stats_report.graph_rows(self._services, self._past, key, columns)
        if body is None:
            raise Failed('500 Internal Server Error', 'no such figure: %.300s' % key, IN_REQUEST)
        return Answer(OK, HTML, body)

    @staticmethod
    def _columns(text):
        if text is None:
            return None
        words = text.split(',')
        if not all([word in tuple('01234567') for word in words]) or len(words) > len(PERCENTILES):
            raise Failed('500 Internal Server Error', 'p must be numbers from 0 to 7, separated by commas', IN_REQUEST)
        return [int(word) for word in words]

    def _metrics(self, request):
        ready = why_not_ready(self._control) is None
        return Answer(OK, PROMETHEUS, metrics.render(self._services, self._settings.metrics_max_queues, ready))

    def _health(self, request):
        return Answer(OK, TEXT, [b'OK\n'])

    def _ready(self, request):
        why = why_not_ready(self._control)
        if why is None:
            return Answer(OK, TEXT, [b'OK\n'])
        return Answer(UNAVAILABLE, TEXT, [why.encode('ascii') + b'\n'])

    # -- commands --------------------------------------------------------------------------------------------------

    def _may_change(self, request):
        """Raise Failed unless this request may change something."""
        if self._settings.read_only:
            raise Failed(FORBIDDEN, 'the admin port is read-only (read_only in [admin])')
        self._check_site(request)

    def _check_site(self, request):
        """Raise Failed if it comes from a web page of elsewhere."""
        why = why_refused(request.header, self._allowed_hosts)
        if why is not None:
            raise Failed(FORBIDDEN, why)

    def _ping(self, request):
        return 'pong'

    def _reload(self, request):
        self._may_change(request)
        gevent.spawn(self._control.reload)
        return 'ok'

    def _shutdown(self, request):
        self._may_change(request)
        self._control.shutdown()
        return 'ok'

    def _collect(self, request):
        self._may_change(request)
        commands.collect(self._services)
        return 'ok'

    def _server_info(self, request):
        return commands.server_info(self._services)

    def _threads(self, request):
        return commands.threads(self._services)

    def _logging(self, request):
        name, level = request.query.get('name'), request.query.get('level')
        if name is not None or level is not None:
            self._may_change(request)
        return commands.set_level(self._logger, name, level)

    # -- pages -----------------------------------------------------------------------------------------------------

    def _front(self, request):
        """The dashboard, with a token if a page of this address may act at all."""
        host = request.header('host') or ''
        read_only = self._settings.read_only or why_refused(request.header, self._allowed_hosts) is not None
        return Answer(OK, HTML, [pages.dashboard('' if read_only else self._tokens.issue(host))])

    def _graph(self, request):
        return Answer(OK, HTML, [pages.GRAPH])

    def _static(self, request):
        found = pages.STATIC.get(request.path)
        return self._no_file(request) if found is None else Answer(OK, *found)

    def _no_file(self, request):
        return error(NOT_FOUND, 'no such file')


def _json_answer(status, value):
    return Answer(status, JSON, [json_text(value).encode('ascii'), b'\n'])


def _rendered(result, is_text):
    """The result of a command. -> list of bytes"""
    if not is_text:
        return [json_text(result if isinstance(result, dict) else {'response': result}).encode('ascii'), b'\n']
    if isinstance(result, str):
        return [result.encode('utf-8'), b'' if result.endswith('\n') else b'\n']
    return ['\n'.join(text_lines(result)).encode('utf-8'), b'\n']
