"""Reads the case files (*.wire, see README.md) into steps that can be played."""

import dataclasses
import re

from support.notation import binary

MODES = ('whole', 'bytes', 'split1', 'split2', 'split3', 'pipelined', 'followed')

# A reference names a difference (D33) or a document and its section (memcache 4.1 row 8, queues 3).
REFERENCE = re.compile(r'(D\d+|(memcache|text|thrift|queues|clients|config|journal) \d\S*( rows? [\d-]+)?)(, |$)')
STEP = re.compile(r'([a-z])([><~!]) ?(.*)')
SERVER_STEP = re.compile(r'server! (.*)')
WAIT_STEP = re.compile(r'wait (until (\S+) (\S+)|[\d.]+)')
SETTING = re.compile(r'(\w+) = ([^,]+?)(?:, |$)')

ESCAPE = re.compile(r'\\x([0-9a-f]{2})|\\([rnt\\])|\{q(?::(\d+))?\}|\{((?:[^{}]|\{[^{}]*\})+)\*(\d+)\}')
LETTERS = {'r': '\r', 'n': '\n', 't': '\t', '\\': '\\'}

PROTOCOLS = ('memcache', 'text', 'thrift')
ACTIONS = {'closed', 'gone', 'quiet', 'fin', 'rst', 'close', 'connect', 'took', 'one'}


class BadCaseFile(Exception):
    """A line of a case file that cannot be understood; the text names file and line."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One line of a case. ``who`` is a connection, 'server' or 'wait'; ``kind`` is > < ~ ! or 'wait'."""
    line: int
    who: str
    kind: str
    text: str


@dataclasses.dataclass
class Case:
    """One behaviour: its title (with the reference), its steps, and in which modes it makes sense."""
    line: int
    title: str
    steps: list = dataclasses.field(default_factory=list)
    queues: dict = dataclasses.field(default_factory=dict)
    aliases: dict = dataclasses.field(default_factory=dict)
    modes: tuple = MODES


@dataclasses.dataclass
class CaseFile:
    """The cases that share one configuration, and with it one server unless ``own_servers`` is set."""
    path: object
    config: dict = dataclasses.field(default_factory=dict)
    own_servers: bool = False
    serial: bool = False
    modes: tuple = MODES
    cases: list = dataclasses.field(default_factory=list)
    protocol: str = 'memcache'
    others: dict = dataclasses.field(default_factory=dict)

    def protocol_of(self, who):
        """The protocol that the connection of a letter speaks."""
        return self.others.get(who, self.protocol)


def read(path):
    """The CaseFile of a path. Raises BadCaseFile."""
    case_file = CaseFile(path)
    case = None
    for number, line in enumerate(path.read_text('ascii').splitlines(), 1):
        if not line.strip() or line.startswith('#'):
            continue
        try:
            if line.startswith('== '):
                case = Case(number, _title(line[3:]), modes=case_file.modes)
                case_file.cases.append(case)
            elif case is None:
                _header(case_file, line)
            elif not case.steps and _directive(case, line):
                continue
            else:
                case.steps.append(_step(number, line))
        except ValueError as error:
            raise BadCaseFile(f'{path}:{number}: {error}: {line}') from None
    return case_file


def expand(text, queue):
    """The bytes that the text of a > or < line stands for. ``queue`` is what {q} stands for."""
    def replacement(match):
        code, letter, width, unit, count = match.groups()
        if code:
            return chr(int(code, 16))
        if letter:
            return LETTERS[letter]
        if unit:
            return ESCAPE.sub(replacement, unit) * int(count)
        return queue.ljust(int(width or 0), 'x')
    return ESCAPE.sub(replacement, text).encode('latin-1')


def expand_binary(text, queue):
    """The same on a thrift connection, see support.notation."""
    return binary(text, lambda quoted: expand(quoted, queue).decode('latin-1').encode('utf-8'))


def _title(text):
    references = text.partition(': ')[0]
    while references:
        match = REFERENCE.match(references)
        if not match:
            raise ValueError('the title must begin with a reference and a colon')
        references = references[match.end():]
    return text


def _header(case_file, line):
    key, _, value = line.partition(': ')
    if key in ('server', 'default', 'admin'):
        case_file.config.setdefault(key, {}).update(SETTING.findall(value))
    elif key == 'protocol' and value in PROTOCOLS:
        case_file.protocol = value
    elif re.fullmatch('connection [a-z]', key) and value in PROTOCOLS:
        case_file.others[key[-1]] = value
    elif key == 'modes':
        case_file.modes = _modes(value)
    elif line == 'each case has its own server':
        case_file.own_servers = True
    elif line == 'one case at a time':
        case_file.serial = True
    else:
        raise ValueError('not a header')


def _directive(case, line):
    match = re.fullmatch(r'(not|only) in ([\w ]+): .+', line)
    if match:
        named = _modes(match[2])
        case.modes = tuple(mode for mode in case.modes if (mode in named) == (match[1] == 'only'))
        return True
    match = re.fullmatch(r'queue (\S+): (.+)', line)
    if match:
        case.queues[match[1]] = dict(SETTING.findall(match[2]))
        return True
    match = re.fullmatch(r'alias (\S+): (.+)', line)
    if match:
        case.aliases[match[1]] = match[2]
        return True
    return False


def _modes(text):
    """'bytes split' -> ('bytes', 'split1', 'split2', 'split3'). Raises ValueError."""
    found = tuple(mode for mode in MODES if mode.rstrip('123') in text.split())
    if {mode.rstrip('123') for mode in found} != set(text.split()):
        raise ValueError('unknown mode')
    return found


def _step(number, line):
    match = SERVER_STEP.fullmatch(line)
    if match:
        return Step(number, 'server', '!', match[1])
    if WAIT_STEP.fullmatch(line):
        return Step(number, 'wait', 'wait', line[len('wait '):])
    match = STEP.fullmatch(line)
    if not match:
        raise ValueError('not a step')
    who, kind, text = match.groups()
    if kind == '!' and text.split()[0] not in ACTIONS:
        raise ValueError('unknown action')
    return Step(number, who, kind, text)
