"""A request to the admin port as the commands see it, and what they answer."""

import html
import re
from urllib.parse import unquote

JSON = 'application/json'
TEXT = 'text/plain'
HTML = 'text/html'
PROMETHEUS = 'text/plain; version=0.0.4; charset=utf-8'

CALLBACK = 'ostrichCallback'
_CALLBACK = re.compile(r'[A-Za-z0-9_$.]+')


class Answer:
    """status  str such as '200 OK'; body  list of bytes"""

    def __init__(self, status, content_type, body):
        self.status = status
        self.content_type = content_type
        self.body = body


class Failed(Exception):
    """A request that is answered with an error.

    status  str such as '403 Forbidden'
    begin   what the body begins with; the reason follows, escaped: requests are foreign text (D62)
    """

    def __init__(self, status, reason, begin=''):
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.answer = error(status, begin + html.escape(reason))


def error(status, text):
    return Answer(status, HTML, [text.encode('utf-8', 'replace')])


class Request:
    """path  str, decoded; query  dict of str, the last of each name; header  function: name -> value or None
    method  str; body  bytes

    command, is_text  from the last segment of the path (spec admin 1)
    """

    def __init__(self, path, query, header, method='GET', body=b''):
        self.path = path
        self.query = query
        self.header = header
        self.method = method
        self.body = body
        last = path.rpartition('/')[2]
        self.command = last.partition('.')[0]
        self.is_text = last.rpartition('.')[1:] == ('.', 'txt')

    def callback(self):
        """The name of the function that a JSON answer is to be handed to, None without. Raises Failed."""
        name = self.query.get('callback')
        if name is None:
            return None
        if name in ('', 'true'):
            return CALLBACK
        if not _CALLBACK.fullmatch(name):
            raise Failed('400 Bad Request', 'callback: use letters, digits, _, $ and . only')
        return name

    def positive(self, key):
        """The integer of that parameter, at least 1; None without it. Raises Failed."""
        text = self.query.get(key)
        if text is None:
            return None
        if not re.fullmatch('[0-9]{1,10}', text, re.ASCII) or not 1 <= int(text) <= 2147483647:
            raise Failed('500 Internal Server Error', '%s must be a whole number of seconds, at least 1: %.40s'
                         % (key, text), 'error processing command: ')
        return int(text)


def decoded(text):
    """Percent-escapes are UTF-8; what is none counts as Latin-1, as queue names are."""
    try:
        return unquote(text, errors='strict')
    except UnicodeDecodeError:
        return unquote(text, encoding='latin-1')


def parameters(query):
    """'a=1&b=2' -> dict; parts without = are ignored, the last of a name counts."""
    found = {}
    for part in query.split('&'):
        key, equals, value = part.partition('=')
        if equals:
            found[decoded(key)] = decoded(value)
    return found
