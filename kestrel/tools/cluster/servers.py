"""The servers of a cluster: the list of them, their statistics by HTTP, commands by the memcache protocol."""

import http.client
import json
import re
import socket
from collections import namedtuple

LARGEST = 64 << 20              # bytes of statistics
LONGEST = 8192                  # bytes of a reply, a line
BEYOND = 2 ** 63                # no figure is as large
LINE = re.compile(r'(?P<host>[A-Za-z0-9_.][-A-Za-z0-9_.]*|\[[0-9A-Fa-f:.%A-Za-z]+\])'
                  r'(?::(?P<port>[0-9]+)(?::(?P<memcache>[0-9]+))?)?')

# name  as the list has it          host  to connect to         port, memcache_port  admin and memcache port
Server = namedtuple('Server', 'name host port memcache_port')
# How long to wait for one server, seconds: for the connection, for the answer.
Patience = namedtuple('Patience', 'connect answer')


class Unable(Exception):
    """A server that gave no useful answer; str() is the warning, ``why`` the reason."""

    def __init__(self, what, host, port, why):
        super().__init__('WARNING: %s %s:%d' % (what, host, port))
        self.why = why


def parse_list(text, port, memcache_port, source):
    """A list, one ``host[:port[:memcache port]]`` a line -> [Server]. Raises ValueError: ``source``, line, why.

    Empty lines and such that begin with # are none. A server that is there twice counts once.
    """
    servers = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if line and not line.startswith('#'):
            found = LINE.fullmatch(line)
            ports = [int(group) for group in found.group('port', 'memcache') if group] if found else [0]
            if not all(1 <= listed <= 65535 for listed in ports):
                raise ValueError('%s line %d: %r is not host, host:port or host:port:memcache-port'
                                 % (source, number, line))
            ports += [port, memcache_port][len(ports):]
            servers[line] = Server(line, found['host'].strip('[]'), *ports)
    if not servers:
        raise ValueError('%s: no server is in it' % source)
    return list(servers.values())


class Statistics:
    """What a server says of its queues.

    gauges, counters  {queue: {name: number}}
    """

    def __init__(self, gauges, counters):
        """Of the two dicts of /stats.json. Raises ValueError."""
        self.gauges = _by_queue(gauges)
        self.counters = _by_queue(counters)


def _by_queue(numbers):
    found = {}
    for key, value in numbers.items():
        words = key.split('/')
        if len(words) == 3 and words[0] == 'q':
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not -BEYOND < value < BEYOND:
                raise ValueError('%s is not a number' % key)
            found.setdefault(words[1], {})[words[2]] = value
    return found


def fetch(server, path, patience):
    """GET a path such as /stats.json from the admin port -> Statistics. Raises Unable."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=patience.connect)
    try:
        try:
            connection.connect()
        except (OSError, UnicodeError) as error:
            raise Unable('Unable to connect to', server.host, server.port, _reason(error)) from error
        connection.sock.settimeout(patience.answer)
        try:
            connection.request('GET', path, headers={'Connection': 'close'})
            return _statistics(connection.getresponse())
        except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
            raise Unable('Unable to fetch stats for', server.host, server.port, _reason(error)) from error
    finally:
        connection.close()


def _statistics(response):
    if response.status != 200:
        raise ValueError('it answers %d %s' % (response.status, response.reason))
    body = response.read(LARGEST + 1)
    if len(body) > LARGEST:
        raise ValueError('it answers more than %d bytes' % LARGEST)
    tree = json.loads(body)
    try:
        return Statistics(tree['gauges'], tree['counters'])
    except (TypeError, KeyError, AttributeError):
        raise ValueError('its answer has no gauges and counters: this is no admin port of kestrel') from None


def command(server, line, patience):
    """Send a command to the memcache port -> the first line of the reply, bytes without its end. Raises Unable."""
    where = server.host, server.memcache_port
    try:
        connection = socket.create_connection(where, patience.connect)
    except (OSError, UnicodeError) as error:
        raise Unable('Unable to connect to', *where, _reason(error)) from error
    with connection:
        connection.settimeout(patience.answer)
        reply = b''
        try:
            connection.sendall(line + b'\r\n')
            while b'\n' not in reply and len(reply) < LONGEST:
                data = connection.recv(LONGEST)
                if not data:
                    break
                reply += data
        except OSError as error:
            raise Unable('No reply from', *where, _reason(error)) from error
    first, end, _ = reply.partition(b'\n')
    if not end:
        raise Unable('No reply from', *where, 'it sent %d bytes and no line' % len(reply))
    return first.removesuffix(b'\r')


def _reason(error):
    if isinstance(error, TimeoutError):
        return 'no answer in time'
    if isinstance(error, http.client.RemoteDisconnected):
        return 'it closed the connection without an answer'
    if isinstance(error, http.client.BadStatusLine):
        return 'its answer is not HTTP'
    if isinstance(error, json.JSONDecodeError):
        return 'its answer is not JSON'
    return getattr(error, 'strerror', None) or str(error) or type(error).__name__
