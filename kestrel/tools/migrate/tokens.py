"""The words of a Scala file, each with its place. Pure."""

import re

# The kinds of words; a name in backquotes is a NAME without them.
NAME, NUMBER, FRACTION, STRING, SIGN = 'name', 'number', 'fraction', 'string', 'sign'

_BLANK = re.compile(r'[ \t\r\f]+')
_NUMBER = re.compile(r'(0[xX][0-9a-fA-F]+|[0-9]+)([lL]?)')
_FRACTION = re.compile(r'[0-9]+(?:\.[0-9]+(?:[eE][+-]?[0-9]+)?[fFdD]?|[eE][+-]?[0-9]+[fFdD]?|[fFdD])')
_NAME = re.compile(r'[A-Za-z_$][A-Za-z0-9_$]*|`[^`\n]+`')
_RAW_STRING = re.compile(r'"""(.*?)"""(?!")', re.DOTALL)
_STRING = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
_ESCAPE = re.compile(r'\\(u+[0-9a-fA-F]{4}|.)')
_ESCAPED = {'b': '\b', 't': '\t', 'n': '\n', 'f': '\f', 'r': '\r', '"': '"', "'": "'", '\\': '\\'}
_OPERATOR = re.compile(r'[-+*/:<>=!&|^%~?#@\\]+')
_BRACKETS = '{}()[],;.'


class ScalaError(Exception):
    """The file, or a statement of it, cannot be read. ``line`` and ``column`` count from 1; ``why`` is a clause."""

    def __init__(self, line, column, why):
        super().__init__('line %d, column %d: %s' % (line, column, why))
        self.line = line
        self.column = column
        self.why = why


class Token:
    """A word: ``kind``; ``value``, str (of a NUMBER int); ``line``, ``column``; ``first``: of its line;
    ``comments``: the lines of comment that stand before it, str. ``wide``: a NUMBER with an L."""

    __slots__ = ('kind', 'value', 'line', 'column', 'first', 'comments', 'wide')

    def __init__(self, kind, value, line, column, first, comments, wide=False):
        self.kind = kind
        self.value = value
        self.line = line
        self.column = column
        self.first = first
        self.comments = comments
        self.wide = wide

    def is_sign(self, text):
        return self.kind == SIGN and self.value == text

    def is_name(self, text):
        return self.kind == NAME and self.value == text


def tokens(text):
    """All words of the text; -> [Token]. Raises ScalaError: a string or comment without its end, a strange character."""
    return _Scanner(text).run()


class _Scanner:

    def __init__(self, text):
        self.text = text
        self.at = 0
        self.line = 1
        self.line_begin = 0
        self.found = []
        self.comments = []
        self.last_line = 0      # that of the last word

    def run(self):
        while self.at < len(self.text):
            if not self._skip():
                self._word()
        return self.found

    def _error(self, why):
        return ScalaError(self.line, self.at - self.line_begin + 1, why)

    def _go(self, end):
        """Go to the offset ``end``, counting lines."""
        lines = self.text.count('\n', self.at, end)
        if lines:
            self.line += lines
            self.line_begin = self.text.rindex('\n', self.at, end) + 1
        self.at = end

    def _skip(self):
        """Pass a piece of white space or a comment; -> was there one."""
        text, at = self.text, self.at
        blank = _BLANK.match(text, at)
        if blank:
            self._go(blank.end())
        elif text[at] == '\n':
            self._go(at + 1)
        elif text.startswith('//', at):
            end = text.find('\n', at)
            end = len(text) if end < 0 else end
            self._comment(text[at + 2:end])
            self._go(end)
        elif text.startswith('/*', at):
            end = self._end_of_comment()
            self._comment(text[at + 2:end - 2])
            self._go(end)
        else:
            return False
        return True

    def _comment(self, body):
        # what stands behind a word in its line is about that one, and stays with it
        if self.line == self.last_line:
            return
        lines = [re.sub(r'^\s*\*+ ?', '', line).strip() for line in body.split('\n')]
        self.comments += [line for line in lines if line]

    def _end_of_comment(self):
        """Where a block comment ends; they nest."""
        depth, at = 0, self.at
        for mark in re.finditer(r'/\*|\*/', self.text[self.at:]):
            if mark.start() + self.at < at:
                continue
            at = self.at + mark.end()
            depth += 1 if mark.group() == '/*' else -1
            if depth == 0:
                return at
        raise self._error('a comment that does not end; close it with */')

    def _word(self):
        text, at = self.text, self.at
        if text[at] == '"':
            return self._string()
        fraction = _FRACTION.match(text, at)
        if fraction and not re.match(r'[A-Za-z_]', text[fraction.end():fraction.end() + 1]):
            return self._add(FRACTION, fraction.group(), fraction.end())
        number = _NUMBER.match(text, at)
        if number:
            return self._add(NUMBER, int(number[1], 0) if number[1][:2] in ('0x', '0X') else int(number[1]),
                             number.end(), bool(number[2]))
        name = _NAME.match(text, at)
        if name:
            return self._add(NAME, name.group().strip('`'), name.end())
        if text[at] in _BRACKETS:
            return self._add(SIGN, text[at], at + 1)
        operator = _OPERATOR.match(text, at)
        if operator:
            # a comment may follow at once
            sign = re.split(r'//|/\*', operator.group())[0]
            return self._add(SIGN, sign, at + len(sign))
        raise self._error('%r has no meaning here; take it out' % text[at])

    def _string(self):
        raw = _RAW_STRING.match(self.text, self.at)
        if raw:
            return self._add(STRING, raw[1], raw.end())
        string = None if self.text.startswith('"""', self.at) else _STRING.match(self.text, self.at)
        if string is None:
            raise self._error('a string that does not end; close its quotes')
        return self._add(STRING, _ESCAPE.sub(self._unescape, string[1]), string.end())

    def _unescape(self, match):
        letter = match[1]
        if letter[0] == 'u' and len(letter) > 1:
            return chr(int(letter.lstrip('u'), 16))
        if letter not in _ESCAPED:
            raise self._error('a string with the unknown escape \\%s' % letter)
        return _ESCAPED[letter]

    def _add(self, kind, value, end, wide=False):
        self.found.append(Token(kind, value, self.line, self.at - self.line_begin + 1, self.line != self.last_line,
                                self.comments, wide))
        self.comments = []
        self._go(end)
        self.last_line = self.line
