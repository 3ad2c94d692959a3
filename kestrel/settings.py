"""The syntax of configuration values: text to value and back (spec config 1).

A check function takes the raw text behind the ``=`` (quotes and a trailing comment included) and returns the
value, or raises ``ValidateError`` with a clause that says what is wrong and ends with what is allowed.
``CHECKS`` gives them to configobj's Validator under the names that kestrel.configspec uses; each one exists
once more as ``<name>_or_none``, where the unquoted word ``none`` gives None.

Sizes are bytes, durations are microseconds, queue names are Latin-1 bytes.
"""

import ipaddress
import re

from configobj.validate import ValidateError

LARGEST = 2 ** 63 - 1

# Name + '.' + 13 digits + '.pack' has to fit into the 255 bytes of a file name (D34).
LONGEST_NAME = 236

SIZE_UNITS = {'TB': 1 << 40, 'GB': 1 << 30, 'MB': 1 << 20, 'KB': 1 << 10}
DURATION_UNITS = {
    'd': 86400 * 10 ** 6, 'h': 3600 * 10 ** 6, 'm': 60 * 10 ** 6, 's': 10 ** 6, 'ms': 1000, 'us': 1,
}
BOOLEANS = {'true': True, 'yes': True, 'on': True, 'false': False, 'no': False, 'off': False}

_SCALAR = re.compile(r'''\s*(?:"(.*?)"|'(.*?)'|([^'"#][^#]*?)?)\s*(?:\#.*)?$''')
_ITEM = re.compile(r'''\s*(?:"([^"]*)"|'([^']*)'|([^'",#\s][^,#]*?))\s*(?:(,)|(?:\#.*)?$)''')
_NUMBER = re.compile(r'([0-9]{1,30})([A-Za-z]*)$')
_HOST = re.compile(r'(?!.*\.[0-9]+\.?$)(?![0-9.]+$)[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?$')


class Missing(ValidateError):
    """There is no value behind the ``=``."""


def quoted(text):
    """The text as it is shown in an error: one line, printable, cut to a readable length."""
    return repr(text if len(text) <= 60 else text[:57] + '...')


def scalar(raw):
    """-> (text, whether it was written in quotes). Commas mean nothing here."""
    match = _SCALAR.match(raw)
    if match is None:
        # The value is not shown here and below: it may be a password.
        raise ValidateError('the quotes do not match; quote the whole value or nothing')
    double, single, bare = match.groups()
    text = next((part for part in (double, single, bare) if part is not None), '')
    if not text:
        raise Missing('the value is missing')
    if any(char < ' ' or char == '\x7f' for char in text):
        raise ValidateError('the value contains a control character; write it without')
    return text, bare is None


def is_none(raw):
    text, in_quotes = scalar(raw)
    return not in_quotes and text.lower() == 'none'


def items(raw):
    """The raw texts of a comma separated list, quotes kept; a comma at the end adds nothing."""
    if not raw.partition('#')[0].strip():
        raise Missing('the value is missing')
    found, position, more = [], 0, True
    while more and (position == 0 or raw[position:].partition('#')[0].strip()):
        match = _ITEM.match(raw, position)
        if match is None:
            raise ValidateError(f'{quoted(raw.strip())} is not a list; separate the values by single commas'
                                ' and leave the key out if there are none')
        double, single, bare, more = match.groups()
        found.append(bare if bare is not None else f'"{double}"' if double is not None else f"'{single}'")
        position = match.end()
    return found


def _within(number, text, low, high, show, what):
    if number < low:
        raise ValidateError(f'{quoted(text)} is too small; write {what} of at least {show(low)}')
    if number > high:
        raise ValidateError(f'{quoted(text)} is too large; write {what} of at most {show(high)}')
    return number


def _split_number(text, remedy):
    match = _NUMBER.match(text)
    if match is None:
        negative = re.match(r'-[0-9]', text)
        raise ValidateError(f'{quoted(text)} is {"negative" if negative else "of the wrong form"}; {remedy}')
    return int(match.group(1)), match.group(2)


def check_integer(raw, at_least='0', at_most=str(LARGEST)):
    text, _ = scalar(raw)
    remedy = f'write an integer from {at_least} to {at_most}'
    number, unit = _split_number(text, remedy)
    if unit:
        raise ValidateError(f'{quoted(text)} is not an integer; {remedy}')
    return _within(number, text, int(at_least), int(at_most), str, 'an integer')


def check_port(raw):
    return check_integer(raw, '1', '65535')


def check_size(raw, at_least='0'):
    """Bytes; the units are binary and of any case."""
    text, _ = scalar(raw)
    remedy = 'write an integer with KB, MB, GB or TB or, for bytes, without a unit, such as 16MB'
    number, unit = _split_number(text, remedy)
    if unit and unit.upper() not in SIZE_UNITS:
        raise ValidateError(f'{quoted(text)} has an unknown unit; {remedy}')
    number *= SIZE_UNITS[unit.upper()] if unit else 1
    return _within(number, text, int(at_least), LARGEST, format_size, 'a size')


def check_duration(raw, at_least='0', at_most=None):
    """Microseconds; only 0 needs no unit."""
    text, _ = scalar(raw)
    high = LARGEST if at_most is None else _microseconds(at_most)
    return _within(_microseconds(text), text, _microseconds(at_least), high, format_duration, 'a duration')


def _microseconds(text):
    remedy = 'write an integer with us, ms, s, m, h or d, such as 30s'
    number, unit = _split_number(text, remedy)
    if not unit and number:
        raise ValidateError(f'{quoted(text)} has no unit; {remedy}')
    if unit and unit not in DURATION_UNITS:
        raise ValidateError(f'{quoted(text)} has an unknown unit; {remedy}')
    return number * DURATION_UNITS[unit] if unit else 0


def check_period(raw):
    """Microseconds that are whole seconds, at least one."""
    text, _ = scalar(raw)
    period = check_duration(raw, '1s')
    if period % 1000000:
        raise ValidateError(f'{quoted(text)} is no whole number of seconds; write one such as 10s')
    return period


def check_sync(raw):
    """None for never, 0 for after each record, else the period in microseconds."""
    text, _ = scalar(raw)
    if text.lower() == 'never':
        return None
    try:
        return check_duration(raw)
    except ValidateError as error:
        raise ValidateError(f'{error}, 0 (after each record) or never') from None


def check_boolean(raw):
    text, _ = scalar(raw)
    try:
        return BOOLEANS[text.lower()]
    except KeyError:
        remedy = 'write true or false (or yes, no, on, off)'
        raise ValidateError(f'{quoted(text)} is not a boolean; {remedy}') from None


def check_option(raw, *words):
    """One of the words, in any case; the value is the word as the table spells it."""
    text, _ = scalar(raw)
    for word in words:
        if text.lower() == word.lower():
            return word
    raise ValidateError(f'{quoted(text)} is not one of the allowed words; write {", ".join(words)}')


def check_text(raw):
    return scalar(raw)[0]


def check_path(raw):
    """A file name, taken as it is: a relative one counts from the directory the server is started in."""
    return scalar(raw)[0]


def check_address(raw):
    """An IPv4 or IPv6 address, or a host name to be looked up."""
    text, _ = scalar(raw)
    try:
        ipaddress.ip_address(text)
    except ValueError:
        if not _HOST.match(text):
            remedy = 'write an IPv4 address, an IPv6 address without brackets or a host name'
            raise ValidateError(f'{quoted(text)} is not an address; {remedy}') from None
    return text


def check_node_path(raw):
    """A path in ZooKeeper."""
    text, _ = scalar(raw)
    parts = text.split('/')
    # what ZooKeeper allows (PathUtils.java), but for spaces; the control characters of ASCII are refused everywhere
    if (parts[0] or len(parts) < 2 or any(part in ('', '.', '..') for part in parts[1:])
            or re.search('[\\s\x80-\x9f\ud800-\uf8ff\ufff0-\uffff]', text)):
        raise ValidateError(f'{quoted(text)} is not a ZooKeeper path; write one such as /kestrel/production')
    return text


def check_pattern(raw):
    text, _ = scalar(raw)
    try:
        re.compile(text)
    except re.error as error:
        why = f'is not a regular expression ({error})'
        raise ValidateError(f'{quoted(text)} {why}; correct or remove it') from None
    return text


def check_queue_name(raw):
    return queue_name(scalar(raw)[0])


def queue_name(text):
    """The name of a queue as the configuration may give it -> bytes (spec queues 1, D34, D70)."""
    parent, plus, child = text.partition('+')
    if not parent or (plus and not child):
        raise ValidateError(f'bad queue name {quoted(text)}; write one that is not empty, nor empty before or'
                            ' after its first +')
    if any(char in './~' or char <= ' ' or char == '\x7f' or char > '\xff' for char in text):
        raise ValidateError(f'bad queue name {quoted(text)}; write one without . / ~, spaces, control'
                            ' characters and characters above U+00FF')
    if len(text.encode()) > LONGEST_NAME:
        remedy = f'write at most {LONGEST_NAME} bytes of UTF-8'
        raise ValidateError(f'queue name too long: {quoted(text)}; {remedy}')
    return text.encode('latin-1')


def _never_none(check):
    """Of kinds that would take the word for a name."""
    def check_value(raw):
        if is_none(raw):
            raise ValidateError("it cannot be none; write a value, or 'none' in quotes if that is one")
        return check(raw)
    return check_value


def _or_none(check):
    def check_or_none(raw, *args, **limits):
        if is_none(raw):
            return None
        try:
            return check(raw, *args, **limits)
        except Missing:
            raise
        except ValidateError as error:
            raise ValidateError(f'{error}, or none') from None
    return check_or_none


def _list_of(check):
    def check_list(raw):
        """A list; ``none`` is the empty one, which needs a word only where a key is to be shown."""
        texts = items(raw)
        if len(texts) == 1 and is_none(texts[0]):
            return []
        return [_never_none(check)(text) for text in texts]
    return check_list


def _checks():
    single = {
        'integer': check_integer, 'port': check_port, 'size': check_size, 'duration': check_duration,
        'sync': check_sync, 'boolean': check_boolean, 'option': check_option, 'text': check_text,
        'path': check_path, 'address': check_address, 'node_path': check_node_path,
        'queue_name': check_queue_name,
    }
    lists = {
        'list_of_queue_names': _list_of(check_queue_name), 'list_of_addresses': _list_of(check_address),
        'list_of_periods': _list_of(check_period), 'list_of_patterns': _list_of(check_pattern),
    }
    or_none = {f'{name}_or_none': _or_none(check) for name, check in single.items()}
    for name in ('path', 'address', 'text', 'node_path', 'queue_name'):
        single[name] = _never_none(single[name])
    return {**single, **lists, **or_none}


CHECKS = _checks()

# What the operator reads of a kind.
WORDS = {
    'integer': 'an integer', 'port': 'a port from 1 to 65535', 'size': 'a size', 'duration': 'a duration',
    'sync': 'never, 0 or a duration', 'boolean': 'true or false', 'text': 'a text', 'path': 'a path',
    'address': 'an address or a host name', 'node_path': 'a path in ZooKeeper', 'queue_name': 'the name of a queue',
    'list_of_queue_names': 'a list of names of queues and aliases', 'list_of_addresses': 'a list of host names',
    'list_of_periods': 'a list of durations of whole seconds', 'list_of_patterns': 'a list of regular expressions',
}


def allowed(check):
    """What may be written for a setting, in words; ``check`` is its entry in kestrel.configspec."""
    kind, _, arguments = check.rstrip(')').partition('(')
    limits = dict(re.findall(r'(at_\w+)=(\w+)', arguments))
    base = kind.removesuffix('_or_none')
    words = WORDS.get(base) or 'one of ' + re.sub(r',\s*default=.*', '', arguments)
    if limits:
        words += ' of ' + ' and '.join([f'{name.replace("_", " ")} {limit}' for name, limit in limits.items()])
    return words if base == kind else f'{words}, or none'


def _with_unit(number, units):
    for unit, factor in units.items():
        if number and number % factor == 0:
            return f'{number // factor}{unit}'
    return str(number)


def format_size(number):
    return _with_unit(number, SIZE_UNITS)


def format_duration(microseconds):
    return _with_unit(microseconds, DURATION_UNITS)


def format_text(text):
    """In quotes only where the bare text would be read as something else."""
    if text.lower() != 'none' and re.match(r'''[^'"\s#][^#]*(?<!\s)$''', text):
        return text
    return f"'{text}'" if '"' in text else f'"{text}"'


def _format_names(names):
    """A list; a name with a comma needs quotes in it."""
    texts = [name.decode('latin-1') for name in names]
    return ','.join([f'"{text}"' if ',' in text and '"' not in text else f"'{text}'" if ',' in text
                     else format_text(text) for text in texts]) or 'none'


FORMATS = {
    'integer': str,
    'port': str,
    'size': format_size,
    'duration': format_duration,
    'sync': lambda period: 'never' if period is None else format_duration(period),
    'boolean': lambda value: 'true' if value else 'false',
    'text': format_text,
    **dict.fromkeys(('path', 'address', 'node_path', 'option'), format_text),
    'list_of_periods': lambda periods: ', '.join(map(format_duration, periods)) or 'none',
    **dict.fromkeys(('list_of_patterns', 'list_of_addresses'),
                    lambda texts: ', '.join(map(format_text, texts)) or 'none'),
    'queue_name': lambda name: format_text(name.decode('latin-1')),
    'list_of_queue_names': _format_names,
}


def format_value(kind, value):
    """The text that the check named ``kind`` reads back as the same value (D20)."""
    base = kind.removesuffix('_or_none')
    if value is None and base != kind:
        return 'none'
    return FORMATS[base](value)
