"""status, reload, shutdown and wait-ready: the server as a whole."""

from kestrel.tools.ctl.admin_port import reading, said, shown
from kestrel.tools.ctl.failures import Failed, NothingThere
from kestrel.tools.ctl.screen import pairs, size, span
from kestrel.tools.ctl.wire import number, server_stats

LOOKS_EVERY = 0.2           # seconds
ANNOUNCED = {b'UP', b'WRITEAVOID', b'READONLY', b'QUIESCENT', b'DOWN'}
SERVING = {'up', 'writeavoid'}
UNAVAILABLE = 503


def status(context, options):
    wire = context.wire()
    if options.new:
        wire.expect(b'status ' + options.new.encode('ascii'), b'END')
        now = announced(wire)
        if now != options.new:
            raise Failed('the status stays %s: another change is pending' % now)
        context.screen.done({'status': now}, 'the status is %s' % now)
        return
    now = announced(wire)
    stats = server_stats(wire)
    figures = {key: number(stats, key) for key in (
        'uptime', 'curr_items', 'bytes', 'curr_connections', 'total_items', 'total_connections')}
    version = stats.get('version', '?')
    found, lines = _server_sets(context, stats.get('pid'))
    context.screen.result(
        {'server': wire.where, 'status': now, 'version': version, **figures, **found},
        *pairs([('server', wire.where), ('status', now), ('version', version),
                ('up for', span(figures['uptime'] * 1000)), ('items', figures['curr_items']),
                ('bytes', size(figures['bytes'])), ('connections', figures['curr_connections']), *lines]))


def _server_sets(context, pid):
    """What the admin port says of ZooKeeper. -> dict for JSON, lines for people; both empty if there is nothing to say.

    No admin port, that of another server and that of Kestrel 2.4 say nothing; the rest of the status does not need it.
    """
    try:
        admin = context.admin()
        overview = admin.get('/api/overview')
    except Failed:
        return {}, []
    if str(overview.get('pid')) != pid or 'server_sets' not in overview:
        return {}, []
    with reading(admin.where, 'its server sets'):
        sets = overview['server_sets']
        if sets is None:
            return {'server_sets': None}, []
        return {'server_sets': {key: sets[key] for key in ('state', 'reachable', 'refusal', 'joined')}}, [
            ('server sets', shown(sets['state']))]


def announced(wire):
    """-> ``up``, ``readonly``, ..."""
    line = wire.ask(b'status')
    if line not in ANNOUNCED:
        raise wire.nonsense(line)
    return line.decode('ascii').lower()


def reload(context, options):
    context.wire().expect(b'reload', b'Reloaded config.')
    context.screen.done({'reloaded': True}, 'configuration reloaded')


def shutdown(context, options):
    wire = context.wire()
    context.confirm('stop the server %s' % wire.where)
    wire.send(b'shutdown\r\n')
    wire.ended()
    context.screen.done({'shutdown': True}, 'the server stops')


def wait_ready(context, options):
    """Until the memcache port, which is opened last, announces a status in which clients can read and write."""
    clock = context.clock
    deadline = clock.monotonic() + options.within
    while True:
        why = _not_ready(context)
        if why is None:
            context.screen.done({'ready': True}, 'ready')
            return
        left = deadline - clock.monotonic()
        if left <= 0:
            raise NothingThere('not ready within %g s: %s' % (options.within, why))
        clock.rest(min(left, LOOKS_EVERY))


def _not_ready(context):
    """Why clients cannot read and write; None if they can."""
    try:
        wire = context.wire()
        try:
            now = announced(wire)
        finally:
            wire.close()
    except Failed as error:
        return _why_closed(context) or str(error)
    return None if now in SERVING else 'the status is %s' % now


def _why_closed(context):
    """What the admin port, which is opened first, says of it; None if it says nothing."""
    try:
        code, content = context.admin().fetch('GET', '/ready', {})
    except Failed:
        return None
    return said(content) if code == UNAVAILABLE else None
