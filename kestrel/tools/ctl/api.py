"""peek, connections and config: what the admin port shows."""

from kestrel.tools.console import printable
from kestrel.tools.ctl.admin_port import as_bytes, reading, shown
from kestrel.tools.ctl.failures import NothingThere
from kestrel.tools.ctl.screen import latin, size, span, table
from kestrel.tools.ctl.wire import Item, settings

PAGE = 100                  # connections in an answer at most
CONNECTIONS = ('-CLIENT', '-PORT', 'SINCE', 'OPEN', '-WAITS FOR', 'RECEIVED', 'SENT')
LARGEST_PEEK = 65536        # bytes of an item that the API shows at most


def peek(context, options):
    """One item whole by the memcache port, which every kestrel can; several by the API."""
    if options.count > 1:
        show_first(context, options.name, options.count)
        return
    wire = context.wire()
    wire.send(b'get %b/peek\r\n' % options.name)
    item = wire.item()
    if item is None:
        raise NothingThere('queue %s: nothing there' % printable(options.name))
    context.screen.item(options.name, item)


def show_first(context, name, count):
    """The first items of a queue; NothingThere if there are none."""
    admin = context.api()
    found = admin.get('/api/peek', name=latin(name), count=count, bytes=LARGEST_PEEK)
    items = found.get('first')
    if not items:
        raise NothingThere('queue %s: nothing there' % printable(name))
    with reading(admin.where, 'items'):
        items = [_peeked(entry) for entry in items]
    for number, (item, more) in enumerate(items, 1):
        context.screen.item(name, item, more)
        if len(item.data) < more['size']:
            context.screen.say('kestrelctl: item %d is cut: %d of %d bytes are shown' % (
                number, len(item.data), more['size']))


def _peeked(entry):
    """-> (Item, what else is known of it)"""
    text = entry['text']
    data = bytes.fromhex(entry['hex']) if text is None else text.encode('utf-8')
    return Item(int(entry['flags']), data), {
        'size': int(entry['size']), 'age_msec': entry['age_ms'], 'expires_msec': entry['expires_ms'],
        'deliveries': entry['deliveries']}


def connections(context, options):
    """One line a client."""
    admin = context.api()
    found, total = [], 1
    with reading(admin.where, 'connections'):
        while len(found) < total:
            page = admin.get('/api/connections', offset=len(found), limit=PAGE)
            total = int(page['total'])
            if not page['connections']:
                break
            found += page['connections']
        rows = [(shown(entry['peer']), entry['protocol'], span(entry['age_ms']), entry['open_reads'],
                 '-' if entry['waits_for'] is None else shown(entry['waits_for']), size(entry['received_bytes']),
                 size(entry['sent_bytes'])) for entry in found]
        lines = table(CONNECTIONS, rows)
    context.screen.result(found, *lines)


def config(context, options):
    """The sections of the file, or queues; with ``--diff`` both, and only what is not as by default."""
    admin = context.api()
    answer = admin.get('/api/config')
    with reading(admin.where, 'settings'):
        sections = {section: {entry['key']: (entry['value'], entry['default']) for entry in entries}
                    for section, entries in answer['sections'].items()}
        of_default = {key: value for key, (value, _) in sections['default'].items()}
        path, configured = answer['path'], [as_bytes(name) for name in answer['queues']]
    if options.names:
        sections = {}
    names = options.names or (configured if options.diff else [])
    queues = _of_queues(context, names, of_default) if names else {}
    unknown = [name for name in options.names if not queues.get(name)]
    if unknown:
        raise NothingThere('there is no queue %s' % printable(b' '.join(unknown)))
    if options.diff:
        sections, queues = _differing(sections), _differing(queues)
    _show_config(context, path, sections, queues)


def _of_queues(context, names, of_default):
    """{name: {setting: (in force, what [default] says)}}"""
    return {name: {key: (value, of_default.get(key)) for key, value in found.items()}
            for name, found in settings(context.wire(), *names).items()}


def _differing(groups):
    found = {name: {key: pair for key, pair in group.items() if pair[0] != pair[1]} for name, group in groups.items()}
    return {name: group for name, group in found.items() if group}


def _show_config(context, path, sections, queues):
    lines = ['# %s' % shown(path)] if sections else []
    for section, group in sections.items():
        lines += ['[%s]' % section, *_lines(group)]
    if queues:
        lines.append('[queues]')
    for name, group in queues.items():
        lines += ['[[%s]]' % printable(name), *_lines(group)]
    context.screen.result(
        {'path': path, 'sections': {section: _values(group) for section, group in sections.items()},
         'queues': {latin(name): _values(group) for name, group in queues.items()}}, *lines)


def _lines(group):
    """Each setting, with the default behind those that are otherwise."""
    return ['%s = %s' % (key, shown(value)) + ('' if default in (None, value) else '    # default: %s' % shown(default))
            for key, (value, default) in group.items()]


def _values(group):
    return {key: {'value': value, 'default': default} for key, (value, default) in group.items()}
