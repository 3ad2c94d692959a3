"""The part of Scala that Kestrel's configurations are written in: text -> statements with their values. Pure.

    new KestrelConfig { default.maxAge = Some(30.seconds); queues = new QueueBuilder { name = "x" } :: Nil }

A value is one of: bool; int; str; None, for Scala's None; list; tuple; Quantity; Name; Call; New. ``Some(x)`` is x. What
is written otherwise is no value: its statement becomes a Problem and is passed over, for to guess would be worse.
"""

import collections

from kestrel.tools.migrate.tokens import FRACTION, NAME, NUMBER, STRING, ScalaError, tokens

FOREVER = None          # Quantity.number of Duration.MaxValue
INT, LONG = 2 ** 31, 2 ** 63
# Bytes, and microseconds.
SIZES = {'byte': 1, 'kilobyte': 1 << 10, 'megabyte': 1 << 20, 'gigabyte': 1 << 30, 'terabyte': 1 << 40,
         'petabyte': 1 << 50}
DURATIONS = {'microsecond': 1, 'milli': 1000, 'millisecond': 1000, 'second': 10 ** 6, 'minute': 60 * 10 ** 6,
             'hour': 3600 * 10 ** 6, 'day': 86400 * 10 ** 6}

# ``kind``: 'size' (bytes) or 'duration' (microseconds, or FOREVER)
Quantity = collections.namedtuple('Quantity', 'kind number')
# A name that stands for something, str with dots: Level.INFO
Name = collections.namedtuple('Name', 'name')
# A call of something that is not known here
Call = collections.namedtuple('Call', 'name arguments')
# new Class { ... }; ``body``: [Statement]
New = collections.namedtuple('New', 'name body line column')
# path = value; ``path``: str with dots; ``comments``: those that stand before it
Statement = collections.namedtuple('Statement', 'path value line column comments')
# What was passed over, and why
Problem = collections.namedtuple('Problem', 'line column why')

CONSTANTS = {
    'Int.MaxValue': INT - 1, 'Long.MaxValue': LONG - 1, 'Integer.MAX_VALUE': INT - 1, 'Long.MAX_VALUE': LONG - 1,
    'Duration.MaxValue': Quantity('duration', FOREVER), 'Duration.Top': Quantity('duration', FOREVER),
    'Duration.forever': Quantity('duration', FOREVER), 'Duration.eternity': Quantity('duration', FOREVER),
}
CODE = frozenset(('val', 'var', 'def', 'lazy', 'if', 'for', 'while', 'do', 'match', 'case', 'class', 'object', 'trait',
                  'override', 'import', 'throw', 'try', 'return', 'private', 'implicit'))
LISTS = frozenset(('List', 'Seq'))
_OPENING = {'{': '}', '(': ')', '[': ']'}
_GOES_ON = frozenset(('::', '=', '+', '-', '*', '/', ',', '.', '->', '(', '{', '['))


class Long(int):
    """An int with 64 bits."""


def read(text):
    """A configuration; -> ([Statement] of its body, [Problem]). Raises ScalaError if there is none to be read."""
    reader = _Reader(tokens(text))
    body = reader.file()
    return body, sorted(reader.problems)


class _Reader:

    def __init__(self, words):
        self.words = words
        self.at = 0
        self.problems = []
        self._check_brackets()

    # --- words

    def _check_brackets(self):
        """Each has its partner: only then is it certain where a statement ends."""
        opened = []
        for word in self.words:
            if word.kind != 'sign':
                continue
            if word.value in _OPENING:
                opened.append(word)
            elif word.value in _OPENING.values():
                if not opened or _OPENING[opened.pop().value] != word.value:
                    raise ScalaError(word.line, word.column, 'this %s closes nothing' % word.value)
        if opened:
            raise ScalaError(opened[-1].line, opened[-1].column, 'this %s is not closed' % opened[-1].value)

    def _peek(self):
        return self.words[self.at] if self.at < len(self.words) else None

    def _is(self, sign, ahead=0):
        at = self.at + ahead
        return at < len(self.words) and self.words[at].is_sign(sign)

    def _next(self):
        word = self._peek()
        if word is None:
            last = self.words[-1]
            raise ScalaError(last.line, last.column, 'the file ends here, in the middle of a statement')
        self.at += 1
        return word

    def _expect(self, sign):
        word = self._next()
        if not word.is_sign(sign):
            raise _unexpected(word)
        return word

    # --- statements

    def file(self):
        body = None
        while self._peek() is not None:
            word = self._peek()
            if word.is_name('import') or word.is_name('package') or word.is_sign(';'):
                self._skip_statement()
            elif body is None and word.is_name('new') and self.at + 1 < len(self.words) and \
                    self.words[self.at + 1].is_name('KestrelConfig'):
                try:
                    body = self._new().body
                    self._end_of_statement()
                except ScalaError as error:
                    self._problem(error)
                    self._skip_statement()
            else:
                self._problem(ScalaError(word.line, word.column, 'code outside of new KestrelConfig { ... }'))
                self._skip_statement()
        if body is None:
            raise ScalaError(1, 1, 'there is no new KestrelConfig { ... } that could be read; is it a Kestrel '
                                   'configuration?')
        return body

    def _problem(self, error):
        self.problems.append(Problem(error.line, error.column, error.why))

    def _body(self):
        self._expect('{')
        found = []
        while not self._is('}'):
            if self._is(';'):
                self.at += 1
                continue
            begin = self.at
            try:
                statement = self._statement()
                self._end_of_statement()
                found.append(statement)
            except ScalaError as error:
                self._problem(error)
                self.at = begin
                self._skip_statement()
        self._expect('}')
        return found

    def _statement(self):
        first = self._next()
        if first.kind != NAME:
            raise _unexpected(first)
        if first.value in CODE or first.value == 'new':
            raise ScalaError(first.line, first.column, 'code (%s ...), not a setting' % first.value)
        path = first.value
        while self._is('.'):
            self.at += 1
            path += '.' + self._name()
        word = self._next()
        if not word.is_sign('='):
            raise ScalaError(first.line, first.column, 'not a setting: %s %s ...' % (path, word.value))
        return Statement(path, self._expression(), first.line, first.column, first.comments)

    def _name(self):
        word = self._next()
        if word.kind != NAME:
            raise _unexpected(word)
        return word.value

    def _end_of_statement(self):
        word = self._peek()
        if word is not None and not word.first and not word.is_sign('}') and not word.is_sign(';'):
            raise _unexpected(word)

    def _skip_statement(self):
        """Go behind the statement that begins here; what its brackets hold is a part of it."""
        depth, before = 0, None
        while self._peek() is not None:
            word = self._peek()
            if depth == 0 and before is not None and (
                    word.is_sign('}') or word.is_sign(';') or word.first and not self._goes_on(before, word)):
                return
            if word.kind == 'sign':
                depth += (word.value in _OPENING) - (word.value in _OPENING.values())
            self.at += 1
            before = word

    @staticmethod
    def _goes_on(before, word):
        return before.kind == 'sign' and before.value in _GOES_ON or word.kind == 'sign' and word.value in _GOES_ON or \
            word.is_name('else')

    # --- expressions

    def _expression(self):
        """a :: b :: Nil, where the original allows its last element to be one without a list, too."""
        first = self._sum()
        if not self._is('::'):
            return first
        found = [first]
        while self._is('::'):
            self.at += 1
            found.append(self._sum())
        last = found.pop()
        return found + (last if isinstance(last, list) else [last])

    def _sum(self):
        left = self._product()
        while self._is('+') or self._is('-') or self._is('->'):
            sign = self._next()
            left = _calculate(sign, left, self._product())
        return left

    def _product(self):
        left = self._unary()
        while self._is('*') or self._is('/'):
            sign = self._next()
            left = _calculate(sign, left, self._unary())
        return left

    def _unary(self):
        if not self._is('-'):
            return self._with_units()
        sign = self._next()
        value = self._with_units()
        if not _is_number(value):
            raise ScalaError(sign.line, sign.column, 'a minus before something that is no number')
        return type(value)(-value)

    def _with_units(self):
        value = self._primary()
        while True:
            word = self._peek()
            if word is not None and word.is_sign('.'):
                self.at += 1
                word = self._next()
            elif not (_is_number(value) and word is not None and word.kind == NAME and not word.first):
                return value
            else:
                self.at += 1
            value = _unit(value, word)

    def _primary(self):
        word = self._next()
        if word.kind == STRING:
            return word.value
        if word.kind == NUMBER:
            if word.value >= (LONG if word.wide else INT):
                raise ScalaError(word.line, word.column, '%d does not fit into %s' % (
                    word.value, '64 bits' if word.wide else 'an Int; Scala wants an L behind it'))
            return Long(word.value) if word.wide else word.value
        if word.kind == FRACTION:
            raise ScalaError(word.line, word.column, '%s is a number with a fraction' % word.value)
        if word.is_sign('('):
            found = self._until(')')
            return found[0] if len(found) == 1 else tuple(found)
        if word.kind != NAME or word.value in CODE:
            raise _unexpected(word)
        if word.value == 'new':
            self.at -= 1
            return self._new()
        return self._named(word)

    def _named(self, word):
        known = {'true': True, 'false': False, 'None': None, 'Nil': []}
        if word.value in known:
            return known[word.value]
        name = word.value
        while self._is('.') and self.at + 1 < len(self.words) and self.words[self.at + 1].kind == NAME and \
                '.'.join(name.split('.')[-2:]) not in CONSTANTS:
            self.at += 1
            name += '.' + self._name()
        constant = CONSTANTS.get('.'.join(name.split('.')[-2:]))
        if constant is not None:
            return Long(constant) if type(constant) is int and constant >= INT else constant
        if self._peek() is not None and self._peek().kind == STRING and not self._peek().first:
            raise ScalaError(word.line, word.column, 'a string that is made by code (%s"...")' % name)
        if not self._is('('):
            return Name(name)
        self.at += 1
        arguments = self._until(')')
        if name in ('Some', 'Option') and len(arguments) == 1:
            return arguments[0]
        return arguments if name in LISTS else Call(name, arguments)

    def _until(self, end):
        found = []
        while not self._is(end):
            found.append(self._expression())
            if not self._is(end):
                self._expect(',')
        self._expect(end)
        return found

    def _new(self):
        word = self._next()
        name = self._name()
        while self._is('.'):
            self.at += 1
            name = self._name()
        if self._is('('):
            self.at += 1
            if not self._is(')'):
                raise ScalaError(word.line, word.column, 'new %s(...): only new %s { ... } can be read' % (name, name))
            self.at += 1
        body = self._body() if self._is('{') else []
        if self._peek() is not None and self._peek().is_name('with'):
            raise ScalaError(word.line, word.column, 'new %s with ...: mixed with code' % name)
        return New(name, body, word.line, word.column)


def _unexpected(word):
    return ScalaError(word.line, word.column, '%s cannot be read here' % (
        'a string' if word.kind == STRING else word.value))


def _is_number(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _unit(value, word):
    """The value with what stands behind its dot."""
    name = word.value
    if isinstance(value, str) and name == 'r':
        return value            # a regular expression
    if _is_number(value) and word.kind == NAME:
        singular = name[:-1] if name.endswith('s') else name
        for kind, units in (('size', SIZES), ('duration', DURATIONS)):
            if singular in units:
                number = value * units[singular]
                if not -LONG <= number < LONG:
                    raise ScalaError(word.line, word.column, '%d %s does not fit into 64 bits' % (value, name))
                return Quantity(kind, number)
    raise ScalaError(word.line, word.column, 'code (.%s), not a value' % name)


def _calculate(sign, left, right):
    """What the original's compiler makes of it, and an error where it would not fit."""
    if sign.value == '->':
        return (left, right)
    if sign.value == '+' and isinstance(left, str) and isinstance(right, str):
        return left + right
    if isinstance(left, Quantity) and FOREVER not in (left.number, getattr(right, 'number', 0)):
        if isinstance(right, Quantity) and right.kind == left.kind and sign.value in '+-':
            return Quantity(left.kind, _number(sign, left.number, right.number, LONG))
        if _is_number(right) and sign.value in '*/':
            return Quantity(left.kind, _number(sign, left.number, right, LONG))
    if not _is_number(left) or not _is_number(right):
        raise ScalaError(sign.line, sign.column, 'a calculation (%s) with something else than numbers' % sign.value)
    wide = isinstance(left, Long) or isinstance(right, Long)
    number = _number(sign, left, right, LONG if wide else INT)
    return Long(number) if wide else number


def _number(sign, left, right, limit):
    if sign.value == '/':
        if right == 0:
            raise ScalaError(sign.line, sign.column, 'a division by 0')
        number = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
    else:
        number = {'+': left + right, '-': left - right, '*': left * right}[sign.value]
    if not -limit <= number < limit:
        raise ScalaError(sign.line, sign.column, 'the result does not fit into %d bits: Scala would make another '
                                                 'number of it' % limit.bit_length())
    return number
