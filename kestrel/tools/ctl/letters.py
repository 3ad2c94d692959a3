"""dead-letters: what was delivered too often, looked at, moved back, removed."""

from kestrel.tools.console import printable
from kestrel.tools.ctl import api, jobs
from kestrel.tools.ctl.failures import NothingThere
from kestrel.tools.ctl.screen import latin, table
from kestrel.tools.ctl.wire import figures, number, settings

HEADS = ('-QUEUE', 'DELIVERIES', '-DEAD LETTERS IN', 'WAITING', 'SINCE THE START')
SETTING = 'dead_letter_queue'
NONE = 'none'


def dead_letters(context, options):
    {'list': _list, 'requeue': _requeue, 'drop': _drop}[options.action](context, options)


def _list(context, options):
    if options.name:
        api.show_first(context, _letters_of(context, options.name), options.count)
        return
    wire = context.wire()
    in_force, counted = settings(wire), figures(wire)
    found, rows = [], []
    for name, group in sorted(in_force.items()):
        where = group.get(SETTING, NONE)
        if where == NONE:
            continue
        dead = number(counted.get(name, {}), 'dead_letters')
        waiting = number(counted.get(_bytes(where), {}), 'items')
        most = group.get('max_deliveries', NONE)
        found.append({'name': latin(name), 'max_deliveries': most, SETTING: where, 'waiting': waiting,
                      'dead_letters': dead})
        rows.append((printable(name), most, printable(_bytes(where)), waiting, dead))
    context.screen.result(found, *table(HEADS, rows))


def _bytes(text):
    """A name as dump_config writes it: in quotes if need be."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in '"\'':
        text = text[1:-1]
    return text.encode('latin-1')


def _letters_of(context, name):
    """-> the queue that holds the dead letters of ``name``."""
    group = settings(context.wire(), name).get(name)
    if not group:
        raise NothingThere('there is no queue %s' % printable(name))
    where = group.get(SETTING, NONE)
    if where == NONE:
        raise NothingThere('queue %s has no %s' % (printable(name), SETTING))
    return _bytes(where)


def _others(context, name, where):
    """Queues besides ``name`` that have their dead letters in the same queue, shown."""
    return [printable(other) for other, group in sorted(settings(context.wire()).items())
            if other != name and _bytes(group.get(SETTING, NONE)) == where]


def _requeue(context, options):
    where = _letters_of(context, options.name)
    others = _others(context, options.name, where)
    if others:
        context.confirm('move all of %s to %s, although %s has its dead letters there, too' % (
            printable(where), printable(options.name), ', '.join(others)))
    jobs.run(context, context.api(), where, action='requeue', names=[latin(options.name)])


def _drop(context, options):
    where = _letters_of(context, options.name)
    wire = context.wire()
    waiting = number(figures(wire, where).get(where, {}), 'items')
    others = _others(context, options.name, where)
    context.confirm('remove %d items of %s%s' % (
        waiting, printable(where), ', those of %s among them' % ', '.join(others) if others else ''))
    wire.expect(b'flush ' + where, b'END')
    context.screen.done({'queue': latin(where), 'dropped': waiting}, '%d items removed' % waiting)
