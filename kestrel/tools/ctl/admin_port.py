"""What is asked on the admin port: HTTP with JSON answers (docs/protocol.md, "The API").

Names in JSON and in queries are str, a character the byte of its number.
"""

import contextlib
import http.client
import json
from urllib.parse import urlencode

from kestrel.tools.console import printable
from kestrel.tools.ctl.failures import Failed, NoServer, NothingThere, TooOld
from kestrel.tools.ctl.wire import address

LARGEST_ANSWER = 1 << 28
NOT_FOUND = 404
ACTION = '/api/action'
NEEDS = '%s has no %s: that needs kestrel 3.0 or newer (Kestrel 2.4 has none)'


class AdminPort:
    """One server's admin port; each question has a connection of its own."""

    def __init__(self, host, port, timeout):
        self.where = address(host, port)
        self._host = host
        self._port = port
        self._timeout = timeout

    def get(self, path, **query):
        """-> what the JSON answer holds."""
        return self._json(path, *self.fetch('GET', path, query))

    def act(self, **fields):
        """Have something done; -> what the JSON answer holds."""
        return self._json(ACTION, *self.fetch('POST', ACTION, {}, json.dumps(fields).encode('ascii')))

    def fetch(self, method, path, query, body=None):
        """-> (status, content, bytes)"""
        target = path + ('?' + urlencode(query) if query else '')
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        try:
            headers = {} if body is None else {'Content-Type': 'application/json', 'X-Kestrel-Client': 'kestrelctl'}
            connection.request(method, target, body, headers)
            answer = connection.getresponse()
            content = answer.read(LARGEST_ANSWER + 1)
            if len(content) > LARGEST_ANSWER:
                raise NoServer('%s answers %s without end' % (self.where, path))
            return answer.status, content
        except TimeoutError:
            raise NoServer('%s does not answer within %g s' % (self.where, self._timeout)) from None
        except http.client.HTTPException as error:
            raise NoServer('%s does not answer in HTTP (%s); is that the admin port?'
                           % (self.where, type(error).__name__)) from None
        except ConnectionRefusedError:
            raise NoServer('%s: connection refused; the admin port is the one that [admin] http_port names, and '
                           'closed without it' % self.where) from None
        except OSError as error:
            raise NoServer('%s: %s' % (self.where, error.strerror or error)) from None
        except UnicodeError:
            raise NoServer('%s: no name of a host' % self.where) from None
        finally:
            connection.close()

    def _json(self, path, status, content):
        if status == NOT_FOUND and content.startswith(b'no such '):
            raise TooOld(NEEDS % (self.where, path))
        if not 200 <= status < 600:
            raise NoServer('%s answers %s with %d' % (self.where, path, status))
        try:
            found = json.loads(content)
        except ValueError:
            if status >= 300:
                raise Failed('%s: %d %s' % (self.where, status, said(content))) from None
            raise NoServer('%s answers %s with what is no JSON: %s' % (self.where, path, said(content))) from None
        if not isinstance(found, dict):
            raise NoServer('%s answers %s with what no kestrel says: %s' % (self.where, path, said(content)))
        if status >= 300:
            kind = NothingThere if status == NOT_FOUND else Failed
            raise kind('%s: %s' % (self.where, shown(found.get('error', status))))
        return found


@contextlib.contextmanager
def reading(where, what):
    """Around what takes an answer to pieces: NoServer if it has others than are known here."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError):
        raise NoServer('%s shows %s in a way that is not known here' % (where, what)) from None


def said(content):
    """The first line of an answer, for people."""
    return printable(content.strip().partition(b'\n')[0][:200])


def shown(text):
    """Text out of JSON on one line of a terminal; its characters are bytes (see ``as_bytes``)."""
    return printable(as_bytes(text))


def as_bytes(text):
    """Names and data in JSON are Latin-1: a character is the byte of its number."""
    return str(text).encode('latin-1', 'backslashreplace')
