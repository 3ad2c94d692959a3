"""The configuration file: read, checked against kestrel.configspec, inheritance resolved (spec config).

Every error is a ``ConfigError`` whose text is one line with file, line, section, key, what is wrong and the
remedy. Nothing is read after ``load``; a reload makes a new ``Config``.
"""

import difflib
import graphlib
import os
import pkgutil
import re
import types

from configobj import ConfigObj, ConfigObjError, DuplicateError, NestingError
from configobj.validate import ValidateError, Validator

from kestrel import settings
from kestrel.disk import as_path
from kestrel.errors import StartError
from kestrel.journal import names
from kestrel.log import one_line

# Keys that name another queue.
TARGETS = ('expire_to_queue', 'dead_letter_queue')

_SECTION = re.compile(r'''\s*((?:\[\s*)+)("\s*\S.*?\s*"|'\s*\S.*?\s*'|[^'"\s].*?)(?:\s*\])+\s*(?:\#.*)?$''')
_KEY = re.compile(r'''\s*(".*?"|'.*?'|[^'"=].*?)\s*=\s*(.*)$''')


class ConfigError(StartError):
    """The configuration cannot be used; str() is one line."""


class Settings(types.SimpleNamespace):
    """The settings of one section: one attribute per key. Shared, so nobody changes it."""


class QueueSettings(Settings):
    """The settings in force for a queue: one attribute per key of ``[default]``, equal if all of them are.

    Sizes are bytes, durations microseconds, names bytes, and what is not set (``none``) is None.
    ``sync_journal`` is None for never, 0 for before each answer, else microseconds.
    """

    def replaced(self, **values):
        """-> QueueSettings like these but for ``values``."""
        return QueueSettings(**{**vars(self), **values})


class Config:
    """A whole configuration.

    path       str, the file it came from
    server, admin, zookeeper, logging   ``Settings`` with the keys of their sections
    default    ``QueueSettings`` of [default]
    queues     list of bytes: the queues that have a section, in the order of the file
    aliases    dict: alias (bytes) -> list of queue names (bytes); none of them leads back to itself
    """

    def __init__(self, path, sections, default, queues, aliases, table):
        self.path = path
        self.server = sections['server']
        self.admin = sections['admin']
        self.zookeeper = sections['zookeeper']
        self.logging = sections['logging']
        self.queues = list(queues)
        self.aliases = aliases
        self._table = table
        self.default = default
        self._own = {}
        # Parents first: a child inherits the parent's result (spec config 5).
        for name in sorted(queues, key=lambda name: b'+' in name):
            self._own[name] = self._inherited(name).replaced(**queues[name])

    def queue(self, name):
        """The ``QueueSettings`` in force for the queue ``name`` (bytes), with or without a section."""
        return self._own.get(name) or self._inherited(name)

    def has_white_lists(self):
        """Is any queue for one client id only?"""
        return any([found.white_list_client_id_for_dequeue or found.white_list_client_id_for_enqueue
                    for found in (self.default, *self._own.values())])

    def _inherited(self, name):
        parent, plus, _ = name.partition(b'+')
        return self.queue(parent) if plus else self.default

    def dump(self, found):
        """A ``QueueSettings`` as (key, value) pairs of str, in configuration syntax (D20)."""
        return [(key, settings.format_value(self._table.kind('default', key), getattr(found, key)))
                for key in self._table.keys('default')]

    def explain(self, section, found):
        """The ``Settings`` of a section -> [(key, value in force, default)], str in configuration syntax."""
        table = self._table
        return [(key, *[settings.format_value(table.kind(section, key), value)
                        for value in (getattr(found, key), table.default(section, key))]) for key in table.keys(section)]


def load(path, environ=os.environ):
    """Reads the file ``path`` (str) -> ``Config``; raises ``ConfigError``."""
    return _Loader(_File(path), _Table(), environ).config()


def loads(text, path, environ=os.environ):
    """The same of a text, str, that is to stand in the file ``path``, a str that errors name."""
    return _Loader(_File(path, text), _Table(), environ).config()


def table():
    """-> the table of all settings: ``kind(section, key)``, ``check(section, key, raw)``, see ``_Table``."""
    return _Table()


def _parse(lines):
    """ConfigObj of a configspec.

    The file of an operator is read in the same way, because that leaves the values alone: only the check of a
    key knows whether a comma, a quote or the word none means something there.
    """
    return ConfigObj(lines, _inspec=True, list_values=False, interpolation=False, raise_errors=True)


class _Table:
    """kestrel.configspec: which keys a section has, their kinds, checks and defaults."""

    def __init__(self):
        lines = pkgutil.get_data('kestrel', 'kestrel.configspec').decode().splitlines()
        self._spec = _parse(lines)
        self._spec['aliases'] = self._spec['aliases']['__many__']
        self._validator = Validator(settings.CHECKS)

    def keys(self, section):
        return list(self._spec[section].scalars)

    def kind(self, section, key):
        return self._spec[section][key].partition('(')[0]

    def check(self, section, key, raw):
        """The value of the raw text; raises ``ValidateError``."""
        return self._validator.check(self._spec[section][key], raw)

    def allowed(self, section, key):
        """What may be written for it, in words."""
        return settings.allowed(self._spec[section][key])

    def homes(self, key):
        """The sections of a configuration that know the key, str each."""
        shown = {'default': '[default] or below a [[name]] of [queues]', 'aliases': 'below a [[name]] of [aliases]'}
        return [shown.get(section, f'[{section}]') for section in self._spec.sections
                if section != 'queues' and key in self._spec[section].scalars]

    def default(self, section, key):
        return self._validator.get_default_value(self._spec[section][key])

    def defaults(self, section):
        return {key: self.default(section, key) for key in self.keys(section)}


class _File:
    """The text of a configuration file as ConfigObj reads it, with the line numbers that ConfigObj forgets.

    tree  ConfigObj; values are the raw texts behind the =
    """

    def __init__(self, path, text=None):
        self.path = path
        if text is None:
            text = self._read()
        lines = [line.rstrip('\r') for line in text.split('\n')]
        self._line_of = {}
        self._place_of = {}
        self._find_lines(lines)
        try:
            self.tree = _parse(lines)
        except ConfigObjError as error:
            raise self._syntax_error(error, lines[error.line_number - 1].strip()) from None

    def error(self, why, sections=(), key=None):
        """The ``ConfigError`` for the key (or the section itself) below ``sections``."""
        return ConfigError(self.locate(why, sections, key))

    def locate(self, why, sections=(), key=None):
        """One line: file, line, section, key, why."""
        line = self._line_of.get((sections, key)) or self._line_of.get((sections, None))
        return self._located(line, sections, key, why)

    def _located(self, line, sections, key, why):
        parts = [self.path] + ([f'line {line}'] if line else [])
        place = [f'{"[" * depth}{name}{"]" * depth}' for depth, name in enumerate(sections, 1)]
        place += [key] if key is not None else []
        parts += [' '.join(place)] if place else []
        return one_line(': '.join(parts + [why]))

    def _read(self):
        try:
            with open(self.path, 'rb') as file:
                data = file.read()
        except OSError as error:
            why = f'cannot read the configuration file: {error.strerror}'
            remedy = 'create it, make it readable, or name another one with -f'
            raise ConfigError(one_line(f'{self.path}: {why}; {remedy}')) from None
        try:
            return data.decode('utf-8-sig')
        except UnicodeDecodeError as error:
            line = data.count(b'\n', 0, error.start) + 1
            why = 'the file is not UTF-8; save it in UTF-8'
            raise ConfigError(self._located(line, (), None, why)) from None

    def _find_lines(self, lines):
        """Notes the line of each section and key as ConfigObj understands them; the first one counts."""
        sections = ()
        for number, line in enumerate(lines, 1):
            self._place_of[number] = sections, None
            if not line.strip() or line.lstrip().startswith('#'):
                continue
            key, value = None, ''
            header, setting = _SECTION.match(line), _KEY.match(line)
            if header:
                sections = sections[:header.group(1).count('[') - 1] + (_unquote(header.group(2)),)
            elif setting:
                key, value = _unquote(setting.group(1)), setting.group(2)
            self._place_of[number] = sections, key
            if value.startswith(('"""', "'''")):
                why = 'a value in triple quotes; write it in one line, in single or double quotes if needed'
                raise ConfigError(self._located(number, sections, key, why))
            if header or setting:
                self._line_of.setdefault((sections, key), number)

    def _syntax_error(self, error, text):
        if isinstance(error, DuplicateError):
            why = 'it stands here a second time; write it once'
        elif isinstance(error, NestingError):
            why = (f'the brackets do not match: {settings.quoted(text)}; write [section], or [[name]] below'
                   ' [queues] and [aliases], and quote a name that contains # or ] or quotes')
        else:
            why = f'neither a section nor a setting: {settings.quoted(text)}; write [section] or key = value'
        sections, key = self._place_of[error.line_number]
        return ConfigError(self._located(error.line_number, sections, key, why))


def _unquote(name):
    return name[1:-1] if len(name) > 1 and name[0] == name[-1] and name[0] in '\'"' else name


class _Loader:
    """Checks one file against the table."""

    SECTIONS = ('server', 'default', 'queues', 'aliases', 'zookeeper', 'admin', 'logging')
    NAMED = ('queues', 'aliases')

    def __init__(self, file, table, environ):
        self.file = file
        self.table = table
        self.environ = environ

    def config(self):
        self._refuse_unknown_sections()
        given = {section: self._values(section, (section,), self.file.tree.get(section, {}))
                 for section in self.SECTIONS if section not in self.NAMED}
        queues = self._named('queues', 'default')
        aliases = self._named('aliases', 'aliases')
        sections = {section: Settings(**{**self.table.defaults(section), **values})
                    for section, values in given.items()}
        self._fill_in(sections, given)
        self._refuse_status_as_journal(sections['server'], given['server'])
        self._refuse_half_a_zookeeper(sections['zookeeper'])
        self._refuse_loops(aliases)
        default = QueueSettings(**vars(sections['default']))
        config = Config(self.file.path, sections, default,
                      {settings.queue_name(name): values for name, values in queues.items()},
                      {settings.queue_name(name): values.get('destination_queues', [])
                       for name, values in aliases.items()},
                      self.table)
        for key in TARGETS:
            self._check_targets(key, config, given['default'], queues)
        return config

    def _check_targets(self, key, config, default, queues):
        """No queue may name itself as a target, nor inherit its own name (D18, D51), nor name what is no queue."""
        places = [(('default',), default)] + [(('queues', name), values) for name, values in queues.items()]
        for place, values in places:
            target = values.get(key)
            if target is None:
                continue
            shown = target.decode('latin-1')
            if key == 'dead_letter_queue' and target in config.aliases:
                raise self.file.error(f'{shown} is an alias; name a queue', place, key)
            if getattr(config.queue(target), key) == target:
                why = f'queue {shown} would have itself as its {key}; '
                own = place == ('queues', shown)
                why += ('name another queue' if own else
                        f'write {key} = none, or another queue, below [queues] [[{shown}]]')
                raise self.file.error(why, place, key)

    def _refuse_unknown_sections(self):
        tree = self.file.tree
        for key in tree.scalars:
            why = 'a setting outside of any section; put it below one, such as [server]'
            raise self.file.error(why, (), key)
        for section in tree.sections:
            if section not in self.SECTIONS:
                raise self.file.error(f'unknown section; {_suggest(section, self.SECTIONS)}', (section,))

    def _named(self, section, keys_of):
        """The [[name]] sections of [queues] or [aliases] -> {name: {key: value}}, in the file's order."""
        tree = self.file.tree.get(section)
        if tree is None:
            return {}
        for key in tree.scalars:
            why = f'a setting outside of a named section; put it below a [[name]] of [{section}]'
            why += ' or into [default]' if section == 'queues' else ''
            raise self.file.error(why, (section,), key)
        return {name: self._named_values(section, keys_of, name, tree[name]) for name in tree.sections}

    def _named_values(self, section, keys_of, name, tree):
        try:
            settings.queue_name(name)
        except ValidateError as error:
            raise self.file.error(str(error), (section, name)) from None
        return self._values(keys_of, (section, name), tree)

    def _values(self, section, place, tree):
        """The values that stand in one section of the file, by the keys of ``section`` in the table."""
        known = self.table.keys(section)
        values = {}
        for key in getattr(tree, 'scalars', ()):
            if key not in known:
                raise self.file.error(self._unknown_key(key, known), place, key)
            try:
                values[key] = self.table.check(section, key, tree[key])
            except settings.Missing as error:
                remedy = f'write {self.table.allowed(section, key)}, or leave the key out'
                raise self.file.error(f'{error}; {remedy}', place, key) from None
            except ValidateError as error:
                raise self.file.error(str(error), place, key) from None
        for name in getattr(tree, 'sections', ()):
            why = 'no section may stand here; put [[name]] directly below [queues] or [aliases]'
            raise self.file.error(why, place + (name,))
        return values

    def _unknown_key(self, key, known):
        homes = self.table.homes(key)
        if homes:
            return f'the key does not belong here; put it into {" or ".join(homes)}'
        return f'unknown key; {_suggest(key, known)}'

    def _fill_in(self, sections, given):
        """The defaults that depend on something else than the table."""
        server, admin = sections['server'], sections['admin']
        # systemd separates several directories by colons.
        state_directory = self.environ.get('STATE_DIRECTORY', '').partition(':')[0]
        if state_directory and 'status_file' not in given['server']:
            server.status_file = os.path.join(state_directory, 'status')
        if admin.listen_address is None:
            admin.listen_address = server.listen_address

    def _refuse_status_as_journal(self, server, given):
        """In the spool a status file with the name of a journal would be replayed, and a put would append to it."""
        folder, name = os.path.split(os.path.abspath(as_path(server.status_file)))
        if names.is_journal_file(name) and os.path.realpath(folder) == os.path.realpath(as_path(server.queue_path)):
            key = 'queue_path' if 'status_file' not in given and 'queue_path' in given else 'status_file'
            why = (f'the status file {server.status_file} would lie in the spool with the name of a journal;'
                   ' name a file in another folder as status_file')
            raise self.file.error(why, ('server',), key)

    def _refuse_half_a_zookeeper(self, section):
        """What a server set needs besides the host (spec queues 15)."""
        if section.host is None:
            return
        key = why = None
        if section.path_prefix is None:
            key, why = 'path_prefix', 'it is needed with a host; write a path such as /kestrel/production'
        elif (section.username is None) != (section.password is None):
            key = 'username' if section.username is None else 'password'
            why = 'username and password go together; write both or none of them'
        elif section.username is not None and ':' in section.username:
            key, why = 'username', 'ZooKeeper ends it at the first colon; take a name without one'
        elif section.acl == 'everyone_read_creator_all' and section.username is None:
            key, why = 'acl', 'it needs somebody who has all rights; write username and password, or acl = open_unsafe'
        if why is not None:
            raise self.file.error(why, ('zookeeper',), key)

    def _refuse_loops(self, aliases):
        """A put into an alias that leads back to itself would never end (D50)."""
        leads = {name: [queue.decode('latin-1') for queue in values.get('destination_queues', [])]
                 for name, values in aliases.items()}
        try:
            graphlib.TopologicalSorter(leads).prepare()
        except graphlib.CycleError as error:
            loop = error.args[1][:0:-1]
            start = min(loop, key=list(leads).index)
            at = loop.index(start)
            shown = ' -> '.join(loop[at:] + loop[:at] + [start])
            why = f'the alias leads back to itself: {shown}; take one of these out'
            raise self.file.error(why, ('aliases', start), 'destination_queues') from None


def _suggest(name, known):
    """The remedy for an unknown name: the one that was meant, or all there are."""
    close = difflib.get_close_matches(name.lower(), known, 1, 0.7)
    return f'did you mean {close[0]}?' if close else f'write one of {", ".join(known)}'
