"""``--cluster``: the servers of a site, out of a file or out of ZooKeeper (spec tools 4, queues 15)."""

import json

from kestrel.tools.cluster.servers import Server, parse_list
from kestrel.tools.ctl.failures import Failed, NothingThere, WrongUse
from kestrel.tools.ctl.wire import address

IN_ZOOKEEPER = 'zk:'
SETS = ('read', 'write')    # below path_prefix
MEMBER = 'member_'
INSTALL = '--cluster zk: needs kazoo: apt install python3-kazoo, or pip install kazoo'


class NoMember(ValueError):
    """A member that cannot be asked; str() says why."""


def find(where, options, say):
    """-> [Server], at least one; is each that there is among them, bool. ``say`` is called with a line about the others.

    where    FILE, as kcluster takes it, or zk:[HOST[:PORT][,...]]/PATH: a server set, or what has ``read`` and
             ``write`` below it
    options  port and admin_port, where there are none; timeout, seconds
    Raises Failed.
    """
    if where.startswith(IN_ZOOKEEPER):
        return _in_zookeeper(where, options, say)
    try:
        with open(where, encoding='utf-8', errors='backslashreplace') as file:
            return parse_list(file.read(), options.admin_port, options.port, where), True
    except OSError as error:
        raise WrongUse('--cluster %s: %s' % (where, error.strerror)) from None
    except ValueError as error:
        raise WrongUse('--cluster %s' % error) from None


def _in_zookeeper(where, options, say):
    try:
        from kestrel.tools.ctl.zookeeper import reading
    except ImportError:
        raise WrongUse(INSTALL) from None
    hosts, slash, path = where.removeprefix(IN_ZOOKEEPER).partition('/')
    servers, whole = {}, True
    with reading(hosts, options.timeout) as ensemble:
        for member, data in _members(ensemble, slash + path):
            try:
                host, port = endpoint(data)
            except NoMember as error:
                say('%s: %s' % (member, error))
                whole = False
            else:
                # in both sets it is the same
                name = address(host, port)
                servers.setdefault(name, Server(name, host, options.admin_port, port))
    if not servers:
        raise Failed('--cluster %s: no server can be told from its members' % where) if not whole else \
            NothingThere('--cluster %s: it has no members' % where)
    return list(servers.values()), whole


def _members(ensemble, path):
    """Yield (path, data) of the members of a server set, or of those below the path."""
    path = path.rstrip('/')
    names = ensemble.children(path or '/')
    sets = [name for name in SETS if name in names]
    for folder in ['%s/%s' % (path, name) for name in sets] or [path]:
        for name in sorted(ensemble.children(folder) if sets else names):
            data = ensemble.data('%s/%s' % (folder, name)) if name.startswith(MEMBER) else None
            # one that has just left has none
            if data is not None:
                yield '%s/%s' % (folder, name), data


def endpoint(data):
    """What a member says of its server, bytes -> (host, memcache port). Raises NoMember."""
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        raise NoMember('not JSON: older servers wrote that, name them in a FILE') from None
    try:
        points = said.get('additionalEndpoints') or {}
        if points and 'memcache' not in points:
            raise NoMember('its server has no memcache port, which kestrelctl needs')
        point = points['memcache'] if points else said['serviceEndpoint']
        host, port = point['host'], point['port']
    except (KeyError, TypeError, AttributeError):
        host = port = None
    if not isinstance(host, str) or not host or type(port) is not int or not 1 <= port <= 65535:
        raise NoMember('it does not name its server as kestrel does: name that in a FILE')
    return host, port
