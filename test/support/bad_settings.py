"""Every kind of error that each setting of kestrel.configspec can have, made of it (spec config 1, D34)."""

import re
from collections import namedtuple

from support.environment import CHECKOUT

# section, key  the setting; key is None for an error of the section itself
# kind          the kind of error, words
# text          a whole configuration file
# line, place   where the error is: its number, and the words behind it
# allowed       a pattern of what the message says instead of the wrong value
Bad = namedtuple('Bad', 'section key kind text line place allowed')
Setting = namedtuple('Setting', 'section key kind or_none limits words')

LARGEST = 2 ** 63 - 1

INTEGER = r'write an integer (from \d+ to \d+|of at (least|most) \d+)'
SIZE = r'write (an integer with KB, MB, GB or TB or, for bytes, without a unit|a size of at (least|most) \w+)'
DURATION = r'write (an integer with us, ms, s, m, h or d, such as 30s|a duration of at (least|most) \w+)'
LIST = r'separate the values by single commas and leave the key out if there are none'
NAME = (r'write (one that is not empty, nor empty before or after its first \+|one without \. / ~, spaces, control'
        r' characters and characters above U\+00FF|at most 236 bytes of UTF-8)')

# {kind of value: (pattern of what is allowed, {kind of error: wrong value})}
KINDS = {
    'integer': (INTEGER, {
        'not a number': 'many', 'negative': '-1', 'too large': str(LARGEST + 1), 'very much too large': '9' * 40,
        'a fraction': '1.5', 'a unit': '5KB', 'a boolean': 'true', 'a list': '1, 2', 'hexadecimal': '0x10',
        'a plus': '+1', 'an underscore': '1_0'}),
    'port': (INTEGER, {
        'not a number': 'http', 'negative': '-1', 'too small': '0', 'too large': '65536', 'a unit': '22133s',
        'a list': '22133, 22134'}),
    'size': (SIZE, {
        'not a number': 'big', 'negative': '-1', 'negative with a unit': '-16MB', 'too large': str(LARGEST + 1),
        'too large with a unit': '9999999TB', 'a fraction': '1.5GB', 'a wrong unit': '16MiB', 'half a unit': '16M',
        'the unit of a duration': '16s', 'no number': 'MB', 'a space': '16 MB', 'a list': '1MB, 2MB'}),
    'duration': (DURATION, {
        'not a number': 'soon', 'negative': '-1s', 'too large': '99999999999999999d', 'a fraction': '1.5s',
        'no unit': '30', 'a wrong unit': '1w', 'a unit in capitals': '5S', 'the unit of a size': '5MB',
        'no number': 's', 'a space': '5 s', 'a list': '1s, 2s'}),
    'sync': (DURATION + r', 0 \(after each record\) or never', {
        'not a number': 'always', 'negative': '-1ms', 'too large': '99999999999999999d', 'no unit': '100',
        'a wrong unit': '1w', 'none': 'none', 'a boolean': 'true', 'a list': 'never, 0'}),
    'boolean': (r'write true or false \(or yes, no, on, off\)', {
        'not boolean': 'maybe', 'a letter too many': 'truee', 'a number': '1', 'none': 'none',
        'a list': 'true, false'}),
    'text': ('', {}),
    'path': ('', {}),
    'address': ('write an IPv4 address, an IPv6 address without brackets or a host name', {
        'a number out of range': '256.1.1.1', 'too few numbers': '1.2.3', 'brackets': '[::1]', 'with a port':
        '127.0.0.1:80', 'a wildcard': '*', 'a space': 'a b', 'a slash': 'a/b', 'a hyphen first': '-x',
        'a list': '127.0.0.1, 127.0.0.2'}),
    'node_path': ('write one such as /kestrel/production', {
        'not from the root': 'kestrel', 'the root': '/', 'an empty part': '/a//b', 'a slash at the end': '/a/',
        'a list': '/a, /b', 'a part that is a dot': '/a/./b', 'a private character': '/\ue000'}),
    'queue_name': (NAME, {
        'a dot': 'a.b', 'a slash': 'a/b', 'a tilde': 'a~b', 'a space': 'a b',
        'a character above U+00FF': '\u0100', 'no parent': '+x', 'no child': 'a+', 'a plus alone': '+',
        'too long': 'q' * 237, 'too long in UTF-8': '\u00e9' * 119, 'a list': 'a, b'}),
    'list_of_queue_names': (f"{LIST}|{NAME}|write a value, or 'none' in quotes", {
        'nothing between commas': 'a,,b', 'a comma alone': ',', 'no comma': 'a b', 'one bad name': 'a, b.c',
        'none among others': 'a, none',
        'a quote that stays open': 'a, "b', 'one too long': 'a, ' + 'q' * 237}),
    'list_of_addresses': (f'{LIST}|write an IPv4 address', {
        'nothing between commas': 'a,,b', 'no comma': 'a b', 'one bad address': 'a, 256.1.1.1'}),
    'list_of_periods': (f'{LIST}|{DURATION}|write one such as 10s|at least 1s', {
        'nothing between commas': '1m,,2m', 'one without a unit': '1m, 5', 'one that is no duration': '1m, x',
        'less than a second': '1m, 500ms', 'half a second more': '1500ms'}),
    'list_of_patterns': (f'{LIST}|correct or remove it', {
        'nothing between commas': 'a,,b', 'one bad pattern': 'a, *', 'a bracket that stays open': 'a('}),
}
# Of every kind but lists: what cannot be a value whatever it means.
TEXT = {
    'a quote that stays open': '"x', 'half in quotes': "'a' b", 'a control character': 'a\x01b',
}
TEXT_ALLOWED = 'quote the whole value or nothing|write it without'


def settings():
    """-> [Setting], each of the configspec."""
    found, section = [], None
    for line in (CHECKOUT / 'kestrel' / 'kestrel.configspec').read_text().splitlines():
        header = re.match(r'\[(\w+)\]$', line)
        entry = re.match(r'(\w+) = (\w+)\((.*)\)$', line)
        if header:
            section = header.group(1)
        elif entry:
            key, kind, arguments = entry.groups()
            limits = dict(re.findall(r'(at_\w+)=(\w+)', arguments))
            words = [word for word in arguments.split(', ') if '=' not in word]
            found.append(Setting(section, key, kind.removesuffix('_or_none'), kind.endswith('_or_none'), limits, words))
    return found


def below(limit):
    """The largest value that is too small, as one writes it."""
    number, unit = re.match(r'(\d+)(\w*)', limit).groups()
    return {'ms': '999us', '': str(int(number) - 1)}[unit] if number == '1' else str(int(number) - 1) + unit


def above(limit):
    number, unit = re.match(r'(\d+)(\w*)', limit).groups()
    return str(int(number) + 1) + unit


def wrong_values(setting):
    """-> [(kind of error, wrong value, pattern of what is allowed)]"""
    words = ', '.join(setting.words)
    if setting.kind == 'option':
        allowed, values = 'write ' + re.escape(words), {
            'an unknown option': 'sometimes', 'the beginning of an option': setting.words[-1][:-1],
            'a number': '1', 'none': 'none', 'a list': words}
    else:
        allowed, values = KINDS[setting.kind]
    values = dict(values)
    if 'at_least' in setting.limits:
        values['too small'] = below(setting.limits['at_least'])
    if 'at_most' in setting.limits:
        values['above the limit'] = above(setting.limits['at_most'])
    end = ', or none$' if setting.or_none else '$'
    found = [(kind, value, f'({allowed}).*{end}') for kind, value in values.items()]
    if not setting.kind.startswith('list'):
        found += [(kind, value, TEXT_ALLOWED) for kind, value in TEXT.items()]
    if setting.kind in ('path', 'address', 'node_path', 'queue_name', 'text', 'integer', 'size', 'duration', 'port') \
            and not setting.or_none:
        found.append(('none', 'none', 'it cannot be none; write a value' if setting.kind in
                      ('path', 'address', 'node_path', 'queue_name', 'text') else allowed))
    for kind, value in (('empty', ''), ('a comment alone', '# none')):
        found.append((kind, value, 'the value is missing; write .+, or leave the key out$'))
    return found


def places(section):
    """The headers below which the settings of a section stand -> [(lines, words of the place)]"""
    if section == 'default':
        return [(['[default]'], '[default]'), (['[queues]', '[[q]]'], '[queues] [[q]]')]
    if section == 'aliases':
        return [(['[aliases]', '[[a]]'], '[aliases] [[a]]')]
    return [([f'[{section}]'], f'[{section}]')]


def bad_values():
    """-> list of Bad: each setting, in each place where it may stand, with each kind of wrong value."""
    found = []
    for setting in settings():
        for headers, place in places(setting.section):
            for kind, value, allowed in wrong_values(setting):
                text = '\n'.join([*headers, '', f'{setting.key} = {value}', ''])
                found.append(Bad(setting.section, setting.key, kind, text, len(headers) + 2,
                                 f'{place} {setting.key}', allowed))
    return found


def camel(key):
    """The name as the original has it."""
    first, *others = key.split('_')
    return first + ''.join([word.capitalize() for word in others])


def bad_places():
    """-> list of Bad: each setting where it may not stand, or not so."""
    found = []

    def add(kind, lines, line, place, allowed):
        found.append(Bad(setting.section, setting.key, kind, '\n'.join([*lines, '']), line, place, allowed))

    every = settings()
    homes = {}
    for setting in every:
        homes.setdefault(setting.key, set()).add(setting.section)
    for setting in every:
        key = setting.key
        for headers, place in places(setting.section):
            count = len(headers)
            depth = count + 1
            section = f'{"[" * depth}{key}{"]" * depth}'
            add('a section instead of a value', [*headers, section], count + 1, f'{place} {section}',
                'no section may stand here; put ')
            add('twice', [*headers, f'{key} = x', '# again', f'{key} = x'], count + 3, f'{place} {key}',
                'it stands here a second time; write it once')
            add('no =', [*headers, key], count + 1, place, 'write \\[section\\] or key = value')
            add('three quotes', [*headers, f'{key} = """x'], count + 1, f'{place} {key}', 'write it in one line')
            close = re.escape(key)
            add('a letter is missing', [*headers, f'{key[:-1]} = x'], count + 1, f'{place} {key[:-1]}',
                f'unknown key; did you mean {close}\\?')
            add('capitals', [*headers, f'{key.upper()} = x'], count + 1, f'{place} {key.upper()}',
                f'unknown key; did you mean {close}\\?')
            if camel(key) != key:
                add('the name that the original has', [*headers, f'{camel(key)} = x'], count + 1,
                    f'{place} {camel(key)}', f'unknown key; did you mean {close}\\?')
        add('outside of any section', [f'{key} = x', *places(setting.section)[0][0]], 1, key,
            'put it below one, such as \\[server\\]')
        for other in ('queues', 'aliases'):
            add(f'directly in {other}', [f'[{other}]', f'{key} = x'], 2, f'[{other}] {key}',
                rf'put it below a \[\[name\]\] of \[{other}\]')
        for other in ('server', 'default', 'zookeeper', 'admin', 'logging', 'aliases'):
            if other not in homes[key]:
                headers, place = places(other)[-1]
                add(f'in {other}', [*headers, f'{key} = x'], len(headers) + 1, f'{place} {key}',
                    r'the key does not belong here; put it into (\[\w+\]|below)')
    return found


def bad_sections():
    """-> list of Bad: sections that are not there, or not so."""
    found = []
    names = ('server', 'default', 'queues', 'aliases', 'zookeeper', 'admin', 'logging')
    for name in names:
        for kind, lines, line, place, allowed in (
                ('a value instead of a section', [f'{name} = x'], 1, name, 'put it below one, such as'),
                ('twice', [f'[{name}]', f'[{name}]'], 2, f'[{name}]', 'it stands here a second time; write it once'),
                ('capitals', [f'[{name.upper()}]'], 1, f'[{name.upper()}]', f'unknown section; did you mean {name}'),
                ('a letter too many', [f'[{name}x]'], 1, f'[{name}x]', f'unknown section; did you mean {name}'),
                ('the bracket stays open', [f'[{name}'], 1, '', r'write \[section\]'),
                ('a bracket too many', [f'[[{name}]]'], 1, '', r'write \[section\], or \[\[name\]\] below')):
            found.append(Bad(name, None, kind, '\n'.join([*lines, '']), line, place, allowed))
    found.append(Bad('colours', None, 'unknown', '[colours]\n', 1, '[colours]', 'write one of ' + ', '.join(names)))
    return found


def all_bad():
    """-> list of Bad."""
    return bad_values() + bad_places() + bad_sections()
