"""The command ``kestrelctl``."""

import io
import os
import signal
import sys

from kestrel.clock import Clock
from kestrel.tools.cluster.servers import Server
from kestrel.tools.ctl import api, arguments, cluster, items, letters, moving, queues, server, top
from kestrel.tools.ctl.context import Context
from kestrel.tools.ctl.failures import DONE, INTERRUPTED, REFUSED, WRONG_USE, Ended, Failed
from kestrel.tools.ctl.screen import Screen

COMMANDS = {
    'status': server.status, 'queues': queues.queues, 'queue': queues.queue, 'top': top.top,
    'connections': api.connections, 'config': api.config, 'wait-ready': server.wait_ready, 'peek': api.peek,
    'put': items.put, 'get': items.get, 'tail': items.tail, 'move': moving.move, 'drain': moving.drain,
    'dead-letters': letters.dead_letters, 'flush': queues.flush, 'expire': queues.expire, 'delete': queues.delete,
    'reload': server.reload, 'shutdown': server.shutdown,
}
# What only looks can be done to several servers, one after the other.
SEVERAL = ('status', 'queues', 'queue', 'connections', 'config', 'wait-ready', 'peek')


def main():
    """The command line; ends the process with an exit code of failures.py."""
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGHUP, _end)
    if sys.stdout is None or sys.stderr is None:
        # closed: an item must not be confirmed that nobody got
        sys.exit(WRONG_USE)
    screen = Screen(sys.stdout.buffer, sys.stderr, io.BytesIO() if sys.stdin is None else sys.stdin.buffer)
    try:
        code = run(sys.argv[1:], screen)
    except BrokenPipeError:
        # Whoever reads no more (`kestrelctl queues | head`) ends the command as it ends other tools. Not by the default
        # of SIGPIPE from the start: the sockets of servers would do the same.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGPIPE)
    sys.exit(code)


def _end(number, frame):
    raise Ended(number)


def run(words, screen, clock=None):
    """Do what the words of the command line say; -> exit code."""
    options = arguments.parser().parse_args(words)
    screen.as_json = options.json
    clock = clock or Clock()
    hosts = options.host or [arguments.HOST]
    servers = [_named(host, options) for host in hosts]
    code = DONE
    if (len(hosts) > 1 or options.cluster) and (options.command not in SEVERAL or options.command == 'status' and options.new):
        screen.say('kestrelctl: %s is for one server: name one --host' % options.command)
        return WRONG_USE
    if options.cluster:
        if options.host:
            screen.say('kestrelctl: --cluster or --host, not both')
            return WRONG_USE
        servers, code = _in_cluster(options, screen)
    for each in servers:
        if len(servers) > 1 or options.cluster:
            screen.begin(each.name)
        options.host, options.admin_port, options.port = each.host, each.port, each.memcache_port
        code = max(code, _run_on(Context(options, screen, clock)))
        if code > 128:
            break
    return code


def _named(name, options):
    """-> Server of a --host; ports that it does not name are those of the options."""
    host, named = arguments.instance(name)
    port, admin_port = *named, *(options.port, options.admin_port)[len(named):]
    return Server(name, host, admin_port, port)


def _in_cluster(options, screen):
    """-> [Server], exit code"""
    found = []

    def find():
        servers, whole = cluster.find(options.cluster, options, lambda line: screen.say('kestrelctl: ' + line))
        found.extend(servers)
        if not whole:
            raise Failed('')
    code = _ending(screen, find)
    return found, code


def _run_on(context):
    """One server; -> exit code."""
    try:
        return _ending(context.screen, lambda: COMMANDS[context.options.command](context, context.options))
    finally:
        context.close()


def _ending(screen, work):
    """Do it; -> exit code."""
    try:
        work()
        screen.flush()
        return DONE
    except Failed as error:
        if str(error):
            screen.say('kestrelctl: %s' % error)
        return error.code
    except Ended as error:
        return 128 + error.number
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except OSError as error:
        # of standard input and output: those of connections are Failed
        screen.say('kestrelctl: %s' % (error.strerror or error))
        return REFUSED
