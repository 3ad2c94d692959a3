"""The command line of kestrelctl. kestrelctl(1) explains every word of it; a test compares them."""

import argparse
import os
import re

from kestrel import __version__
from kestrel.tools import options

HOST = '127.0.0.1'
PORT = 22133
ADMIN_PORT = 2223
STATUSES = ('up', 'writeavoid', 'readonly', 'quiescent')
COLUMNS = ('name', 'items', 'bytes', 'open', 'waiters', 'age', 'total')
MOST_PEEKED = 100           # what the server shows of a queue
LONGEST_WAIT = 2147483      # seconds; as ms it has to be an i32 (spec memcache 4.1)


def parser():
    """-> the ArgumentParser; what it finds has ``command``, and what that takes."""
    made = argparse.ArgumentParser(
        prog='kestrelctl', allow_abbrev=False, parents=[_common()],
        description='Look at a running kestrel, move what it holds, and change it. Exit code 0: done; 1: refused, or '
        'not all of it done; 2: wrong use; 3: no server that answers as one; 4: nothing there; 130: interrupted.')
    made.add_argument('--version', action='version', version='kestrelctl %s' % __version__)
    made.set_defaults(host=None, cluster=None, port=PORT, admin_port=ADMIN_PORT, timeout=10.0, json=False, yes=False)
    commands = made.add_subparsers(dest='command', metavar='COMMAND', required=True)
    _add_looking(commands)
    _add_items(commands)
    _add_moving(commands)
    _add_changing(commands)
    return made


def _common():
    """What may stand before the command or behind it."""
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument('--host', action='append', type=_instance, metavar='HOST[:PORT[:ADMIN-PORT]]',
                        help='the server (%s); several, for commands that only look' % HOST)
    common.add_argument('--cluster', type=_cluster, metavar='FILE|zk:PATH', help='for commands that only look: all servers '
                        'in a list as kcluster has it, or in a server set in ZooKeeper, zk:[HOST:PORT]/PATH')
    common.add_argument('--port', type=_port, help='its memcache port (%d)' % PORT)
    common.add_argument('--admin-port', type=_port, help='its admin port (%d)' % ADMIN_PORT)
    common.add_argument('--timeout', type=_seconds, metavar='S', help='seconds that an answer may take (10)')
    common.add_argument('--json', action='store_true', help='results in JSON')
    return common


def _command(commands, name, text):
    return commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + '.', allow_abbrev=False,
                               parents=[_common()])


def _add_looking(commands):
    status = _command(commands, 'status', 'show how the server is, or set its status')
    status.add_argument('new', nargs='?', type=str.lower, choices=STATUSES, help='the status to set')

    queues = _command(commands, 'queues', 'list the queues')
    _choice_of_queues(queues)

    queue = _command(commands, 'queue', 'show all figures and settings of a queue')
    queue.add_argument('name', type=queue_name)

    top = _command(commands, 'top', 'show what the queues do, again and again')
    _choice_of_queues(top)
    top.add_argument('--interval', type=_seconds, default=1.0, metavar='S', help='seconds between two looks (1)')
    top.add_argument('--rounds', type=_count, metavar='N', help='end after so many looks')

    _command(commands, 'connections', 'list the connections of clients')

    config = _command(commands, 'config', 'show the settings in force, of the server or of queues')
    config.add_argument('names', nargs='*', type=queue_name, metavar='name')
    config.add_argument('--diff', action='store_true', help='only what differs from the default')

    ready = _command(commands, 'wait-ready', 'wait until the server serves clients')
    ready.add_argument('--within', type=_seconds, default=60.0, metavar='S', help='give up after so many seconds (60)')


def _choice_of_queues(command):
    command.add_argument('--sort', choices=COLUMNS, default='name', help='by what; figures: the largest first')
    command.add_argument('--reverse', action='store_true', help='the other way round')
    command.add_argument('--filter', metavar='PATTERN', help='a part of the name, or a pattern with * ? [')
    command.add_argument('--limit', type=_count, metavar='N', help='no more than so many')


def _add_items(commands):
    peek = _command(commands, 'peek', 'show the first items of a queue and leave them there')
    peek.add_argument('name', type=queue_name)
    peek.add_argument('--count', type=_peeked, default=1, metavar='N', help='so many (1)')

    put = _command(commands, 'put', 'put standard input into a queue, each line as an item')
    put.add_argument('name', type=queue_name)
    put.add_argument('--whole', action='store_true', help='all of standard input is one item')
    put.add_argument('--flags', type=_number, default=0, metavar='N', help='the flags of each item (0)')
    put.add_argument('--expires', type=_number, default=0, metavar='S',
                     help='each item expires after so many seconds; from 1000000 on: at that time, since 1970')
    put.add_argument('--sync', action='store_true', help='each item is on the disk before it counts as put')

    get = _command(commands, 'get', 'take items out of a queue; each is gone when it is written, or CMD succeeded')
    get.add_argument('name', type=queue_name)
    get.add_argument('--exec', metavar='CMD', help='give each item to this shell command, on its standard input')
    get.add_argument('--count', type=_count, default=1, metavar='N', help='so many (1)')
    get.add_argument('--wait', type=_wait, default=0, metavar='S', help='wait so many seconds for an item (0)')

    tail = _command(commands, 'tail', 'show what is put into a queue from now on; its consumers miss nothing')
    tail.add_argument('name', type=queue_name)
    tail.add_argument('--count', type=_count, metavar='N', help='end after so many items')


def _add_moving(commands):
    move = _command(commands, 'move', 'move the items of a queue to the end of another one')
    move.add_argument('source', type=queue_name, metavar='FROM')
    move.add_argument('target', type=queue_name, metavar='TO')
    move.add_argument('--to', type=server, metavar='HOST', help='TO is a queue of this server, HOST or HOST:PORT')

    drain = _command(commands, 'drain', 'move the items of all queues to another server')
    drain.add_argument('to', type=server, metavar='TO-HOST', help='HOST or HOST:PORT, the memcache port')
    _yes(drain)

    letters = _command(commands, 'dead-letters', 'items that were delivered too often')
    actions = letters.add_subparsers(dest='action', metavar='ACTION', required=True)
    listing = _command(actions, 'list', 'show which queues have dead letters, or the first ones of a queue')
    listing.add_argument('name', nargs='?', type=queue_name)
    listing.add_argument('--count', type=_peeked, default=10, metavar='N', help='so many items (10)')
    requeue = _command(actions, 'requeue', 'move dead letters back')
    requeue.add_argument('name', type=queue_name, help='the queue they came from')
    _yes(requeue)
    drop = _command(actions, 'drop', 'remove dead letters')
    drop.add_argument('name', type=queue_name, help='the queue they came from')
    _yes(drop)


def _add_changing(commands):
    for name, text in (('flush', 'remove all waiting items of queues'),
                       ('expire', 'remove or move what has expired in queues')):
        command = _command(commands, name, text)
        command.add_argument('names', nargs='*', type=queue_name, metavar='name')
        command.add_argument('--all', action='store_true', help='all queues')
        if name == 'flush':
            _yes(command)
    delete = _command(commands, 'delete', 'delete queues with all that they hold')
    delete.add_argument('names', nargs='+', type=queue_name, metavar='name')
    _yes(delete)
    _command(commands, 'reload', 'have the server read its configuration again')
    _yes(_command(commands, 'shutdown', 'stop the server'))


def _yes(command):
    command.add_argument('--yes', action='store_true', default=argparse.SUPPRESS, help='do not ask')


# -- kinds of words ------------------------------------------------------------------------------------------------

def queue_name(text):
    """-> bytes. What the server refuses is for it to say; here is what it would take for something else."""
    name = os.fsencode(text)
    if not name or re.search(rb'[ \r\n/]', name):
        raise argparse.ArgumentTypeError('a queue name is not empty and has no space, line end or /: %r' % text)
    return name


def server(text):
    """``HOST``, ``HOST:PORT`` or ``[ADDRESS]:PORT`` -> (host, port)"""
    host, ports = options.server(text)
    return host, (ports or [PORT])[0]


def instance(text):
    """``HOST``, ``HOST:PORT`` or ``HOST:PORT:ADMIN-PORT`` -> (host, its ports that are named, list)"""
    return options.server(text, 2)


def _instance(text):
    instance(text)
    return text


def _cluster(text):
    """FILE or zk:[HOST[:PORT][,...]]/PATH"""
    if not text or text.startswith('zk:') and not re.fullmatch('zk:[^/]*/.*', text):
        raise argparse.ArgumentTypeError('FILE, zk:/PATH or zk:HOST:PORT/PATH, not %r' % text)
    return text


def _bounded(convert, low, high, what):
    def check(text):
        try:
            value = convert(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            raise argparse.ArgumentTypeError('%s, not %r' % (what, text))
        return value
    return check


_port = _bounded(int, 1, 65535, 'a port is a number from 1 to 65535')
_seconds = _bounded(float, 0.001, 1e6, 'seconds are a number above 0')
_wait = _bounded(float, 0, LONGEST_WAIT, 'seconds are a number from 0 to %d' % LONGEST_WAIT)
_count = _bounded(int, 1, 1 << 62, 'a count is a number from 1 on')
_peeked = _bounded(int, 1, MOST_PEEKED, 'a count is a number from 1 to %d' % MOST_PEEKED)
_number = _bounded(int, -(1 << 63), (1 << 63) - 1, 'a whole number')
