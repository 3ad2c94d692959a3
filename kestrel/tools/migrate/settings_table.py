"""What the settings of the original are called here, and statements -> settings of kestrel.conf (spec config 2 to 4)."""

import re

from configobj.validate import ValidateError

from kestrel import settings
from kestrel.tools.migrate.scala import FOREVER, Call, Name, New, Problem, Quantity

SERVER = frozenset((
    'listenAddress', 'memcacheListenPort', 'textListenPort', 'thriftListenPort', 'queuePath',
    'expirationTimerFrequency', 'clientTimeout', 'maxOpenTransactions', 'connectionBacklog', 'statusFile',
    'defaultStatus', 'statusChangeGracePeriod', 'enableSessionTrace', 'connectionLimitRefuseWrites',
    'connectionLimitRefuseReads'))
QUEUE = frozenset((
    'maxItems', 'maxSize', 'maxItemSize', 'maxAge', 'defaultJournalSize', 'maxMemorySize', 'maxJournalSize',
    'minJournalCompactDelay', 'discardOldWhenFull', 'keepJournal', 'syncJournal', 'expireToQueue', 'maxExpireSweep',
    'fanoutOnly', 'maxQueueAge', 'enableTrace', 'disableAggressiveRewrites', 'openTransactionTimeout',
    'whiteListClientIdForDequeue', 'whiteListClientIdForEnqueue'))
ALIAS = frozenset(('destinationQueues',))
ZOOKEEPER = frozenset(('host', 'port', 'pathPrefix', 'sessionTimeout', 'acl'))
ADMIN = frozenset(('httpPort', 'httpBacklog', 'statsFilters', 'defaultLatchIntervals'))
# Known, and nothing here takes their place.
DROPPED = {
    'beFactoryClass': 'storage plug-ins are not supported',
    'clientInitializer': 'code cannot be carried over', 'serverSetInitializer': 'code cannot be carried over',
    'admin.statsCollectionName': 'there is one collection of statistics only',
    'admin.extraHandlers': 'code cannot be carried over',
    'JsonStatsLoggerConfig': 'statistics are not logged; ask /metrics or /stats.json of the admin port for them',
    'W3CStatsLoggerConfig': 'statistics are not logged; ask /metrics or /stats.json of the admin port for them',
    'W3CStatsConfig': 'statistics are not logged; ask /metrics or /stats.json of the admin port for them',
}
# The words of the original that stand for a choice, in lower case -> ours.
WORDS = {
    'acl': {'openunsafeacl': 'open_unsafe', 'everyonereadcreatorallacl': 'everyone_read_creator_all'},
    'default_status': {'up': 'Up', 'writeavoid': 'WriteAvoid', 'readonly': 'ReadOnly', 'quiescent': 'Quiescent'},
}
# What holds in the original where its file says nothing, and is not our default.
DEFAULTS = (('server', 'listen_address', '0.0.0.0', 'listenAddress'), ('server', 'queue_path', '/tmp', 'queuePath'))


def ours(name):
    """The name of a setting here: the original's in snake_case."""
    return re.sub(r'([A-Z])', lambda letter: '_' + letter[0].lower(), name)


class Setting:
    """One for kestrel.conf: section; ``name`` of the queue or alias, str, or None; key; raw, the text behind its =, str.

    ``place``: what has the line and column in the original's file (a Statement, a New), None: it is the original's
    default. ``theirs``: what it is called there. ``comments``: that stood before it. A queue or alias itself is one with
    the key None.
    """

    def __init__(self, section, name, key, raw, place, theirs, comments=()):
        self.section = section
        self.name = name
        self.key = key
        self.raw = raw
        self.place = place
        self.theirs = theirs
        self.comments = list(comments)


class Mapping:
    """Statements -> ``settings``, [Setting] in the order of the file, and ``problems``, [Problem].

    table  config.table()
    """

    def __init__(self, table, statements, problems):
        self.settings = []
        self.problems = list(problems)
        self._table = table
        for statement in statements:
            self._statement(statement)
        given = {(setting.section, setting.key) for setting in self.settings}
        for section, key, raw, theirs in DEFAULTS:
            if (section, key) not in given:
                self.settings.append(Setting(section, None, key, raw, None, theirs))

    def _problem(self, place, why):
        self.problems.append(Problem(place.line, place.column, why))

    def _set(self, setting):
        """Later ones replace earlier ones, as in the original."""
        same = (setting.section, setting.name, setting.key)
        self.settings = [old for old in self.settings if (old.section, old.name, old.key) != same]
        self.settings.append(setting)

    def _forget(self, section):
        self.settings = [old for old in self.settings if old.section != section]

    # --- statements

    def _statement(self, statement):
        path, value = statement.path, statement.value
        room, dot, key = path.partition('.')
        if path in DROPPED:
            self._problem(statement, '%s: %s' % (path, DROPPED[path]))
        elif path in SERVER:
            self._plain('server', None, path, statement)
        elif room == 'default' and key in QUEUE:
            self._plain('default', None, key, statement)
        elif path == 'admin.statsNodes':
            self._stats_nodes(statement, value)
        elif room == 'admin' and key in ADMIN:
            self._plain('admin', None, key, statement)
        elif path == 'queues':
            self._named('queues', 'QueueBuilder', QUEUE, statement)
        elif path == 'aliases':
            self._named('aliases', 'AliasBuilder', ALIAS, statement)
        elif path == 'zookeeper':
            self._zookeeper(statement, value)
        elif path == 'loggers':
            self._loggers(statement, value)
        else:
            self._problem(statement, '%s: not a setting of Kestrel 2.4' % path)

    def _plain(self, section, name, theirs, statement):
        """A setting that has one of ours with the same meaning."""
        key = ours(theirs)
        home = {'queues': 'default'}.get(section, section)
        try:
            raw = written(self._table.kind(home, key), key, statement.value)
            value = self._table.check(home, key, raw)
        except ValidateError as error:
            self._problem(statement, '%s: %s' % (theirs, error))
            return
        if self._table.kind(home, key) == 'option':
            raw = value         # the word as the table spells it
        self._set(Setting(section, name, key, raw, statement, statement.path, statement.comments))

    def _builders(self, value, wanted, place):
        """The New of a class out of a value; everything else becomes a problem."""
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, New) and one.name == wanted:
                yield one
            else:
                self._problem(one if isinstance(one, New) else place, '%s: %s, where new %s { ... } should be' % (
                    place.path, said(one), wanted))

    def _named(self, section, wanted, known, statement):
        self._forget(section)
        for builder in self._builders(statement.value, wanted, statement):
            name = self._name_of(builder)
            if name is None:
                continue
            self.settings = [old for old in self.settings if (old.section, old.name) != (section, name)]
            comments = builder.body[0].comments if builder.body else ()
            self._set(Setting(section, name, None, None, builder, builder.name, comments))
            for inner in builder.body:
                if inner.path in known:
                    self._plain(section, name, inner.path, inner._replace(
                        comments=[line for line in inner.comments if inner is not builder.body[0]]))
                elif inner.path != 'name':
                    self._problem(inner, '%s: not a setting of %s in Kestrel 2.4' % (inner.path, builder.name))

    def _name_of(self, builder):
        names = [inner for inner in builder.body if inner.path == 'name']
        if not names or not isinstance(names[-1].value, str):
            self._problem(names[-1] if names else builder, 'new %s without a name, which must be a string' % builder.name)
            return None
        try:
            settings.queue_name(names[-1].value)
        except ValidateError as error:
            self._problem(names[-1], str(error))
            return None
        return names[-1].value

    # --- what is put together otherwise

    def _zookeeper(self, statement, value):
        self._forget('zookeeper')
        if value is None:
            return
        for builder in self._builders(value, 'ZooKeeperBuilder', statement):
            for inner in builder.body:
                if inner.path in DROPPED and inner.value is not None:
                    self._problem(inner, '%s: %s' % (inner.path, DROPPED[inner.path]))
                elif inner.path == 'credentials':
                    self._credentials(inner)
                elif inner.path in ZOOKEEPER:
                    self._plain('zookeeper', None, inner.path, inner)
                elif inner.path not in DROPPED:
                    self._problem(inner, '%s: not a setting of ZooKeeperBuilder in Kestrel 2.4' % inner.path)

    def _credentials(self, statement):
        value = statement.value
        if value is None:
            return
        if not isinstance(value, tuple) or len(value) != 2 or not all(isinstance(part, str) for part in value):
            self._problem(statement, 'credentials: %s, where ("name", "password") should be' % said(value))
            return
        for key, text in zip(('username', 'password'), value):
            raw = settings.format_text(text)
            try:
                self._table.check('zookeeper', key, raw)
            except ValidateError as error:
                self._problem(statement, 'credentials, %s: %s' % (key, error))
            else:
                self._set(Setting('zookeeper', None, key, raw, statement, 'credentials', statement.comments))

    def _stats_nodes(self, statement, value):
        """Only whether there are time series is a setting here."""
        for node in self._builders(value, 'StatsConfig', statement):
            for inner in node.body:
                if inner.path != 'reporters':
                    self._problem(inner, '%s: not a setting of StatsConfig that is known here' % inner.path)
                    continue
                for reporter in inner.value if isinstance(inner.value, list) else [inner.value]:
                    name = getattr(reporter, 'name', None)
                    if name == 'TimeSeriesCollectorConfig':
                        self._set(Setting('admin', None, 'time_series', 'true', reporter if isinstance(
                            reporter, New) else inner, statement.path, statement.comments))
                    else:
                        self._problem(reporter if isinstance(reporter, New) else inner, '%s: %s' % (
                            name or said(reporter), DROPPED.get(name, 'this reporter is not known here')))

    def _loggers(self, statement, value):
        """Of the logger of all; others, which have a node, stay behind."""
        self._forget('logging')
        for logger in self._builders(value, 'LoggerConfig', statement):
            node = [inner for inner in logger.body if inner.path == 'node' and inner.value != '']
            if node:
                self._problem(node[0], 'the logger of %s: there is one log only' % said(node[0].value))
                continue
            for inner in logger.body:
                if inner.path == 'level':
                    self._choice('level', inner)
                elif inner.path == 'handlers':
                    self._handlers(inner)
                elif inner.path not in ('node', 'useParents'):
                    self._problem(inner, '%s: not a setting of LoggerConfig that is known here' % inner.path)

    def _handlers(self, statement):
        handlers = statement.value if isinstance(statement.value, list) else [statement.value]
        for number, handler in enumerate(handlers):
            name = getattr(handler, 'name', None)
            place = handler if isinstance(handler, New) else statement
            if number or name not in ('FileHandlerConfig', 'ConsoleHandlerConfig'):
                self._problem(place, '%s: only one handler, a file or the console, has its like here' % (
                    name or said(handler)))
            elif name == 'ConsoleHandlerConfig':
                self._set(Setting('logging', None, 'filename', 'none', place, name, statement.comments))
            else:
                self._file_handler(handler)

    def _file_handler(self, handler):
        for inner in handler.body if isinstance(handler, New) else ():
            if inner.path == 'filename':
                self._choice('filename', inner)
            elif inner.path == 'roll':
                self._choice('roll', inner)
            else:
                self._problem(inner, '%s: not a setting of FileHandlerConfig that is known here' % inner.path)

    def _choice(self, key, statement):
        self._plain('logging', None, key, statement)


def written(kind, key, value):
    """A value as kestrel.conf has it, str. Raises ValidateError if it can be none of that kind."""
    base = kind.removesuffix('_or_none')
    if value is None:
        if base == kind:
            raise ValidateError('None is no value here')
        return 'none'
    number = isinstance(value, int) and not isinstance(value, bool)
    if base.startswith('list_of_'):
        return _list(base, value)
    if base == 'boolean' and isinstance(value, bool):
        return 'true' if value else 'false'
    if base in ('integer', 'port') and number:
        return str(value)
    if base == 'size' and (number or isinstance(value, Quantity) and value.kind == 'size'):
        return settings.format_size(value if number else value.number)
    if base in ('duration', 'sync', 'period') and isinstance(value, Quantity) and value.kind == 'duration':
        if value.number is not FOREVER:
            return settings.format_duration(value.number)
        if base == 'sync' or base != kind:
            return 'never' if base == 'sync' else 'none'
    if base == 'option' and isinstance(value, Name):
        word = value.name.rpartition('.')[2].lower()
        return WORDS[key].get(word, word) if key in WORDS else word
    if base in ('text', 'path', 'address', 'node_path', 'queue_name') and isinstance(value, str):
        return settings.format_text(value)
    raise ValidateError('%s cannot be carried over' % said(value))


def _list(base, value):
    one = {'list_of_periods': 'period', 'list_of_queue_names': 'queue_name'}.get(base, 'text')
    texts = [written(one, None, element) for element in (value if isinstance(value, list) else [value])]
    return ', '.join(["'%s'" % text if ',' in text and text[0] not in '\'"' else text for text in texts]) or 'none'


def said(value):
    """A value of the original in an error, str."""
    if isinstance(value, New):
        return 'new %s' % value.name
    if isinstance(value, Call):
        return '%s(...)' % value.name
    if isinstance(value, Name):
        return value.name
    if isinstance(value, Quantity):
        return 'a ' + value.kind
    if isinstance(value, (list, tuple)):
        return 'a list' if isinstance(value, list) else 'a tuple'
    return {True: 'true', False: 'false', None: 'None'}[value] if value is None or isinstance(value, bool) else \
        settings.quoted(str(value))
