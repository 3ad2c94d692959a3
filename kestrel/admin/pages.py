"""The pages for people, from assets/: the dashboard, and the graphs of the last hour."""

import pkgutil

TYPES = {'css': 'text/css', 'js': 'text/javascript', 'svg': 'image/svg+xml'}
FILES = ('dashboard.css', 'format.js', 'draw.js', 'table.js', 'queue.js', 'dialog.js', 'dashboard.js', 'icon.svg',
         'graph.css', 'graph.js')


def _read(name):
    return pkgutil.get_data('kestrel.admin', 'assets/' + name)


# path -> (content type, list of bytes)
STATIC = {'/static/' + name: (TYPES[name.rpartition('.')[2]], [_read(name)]) for name in FILES}
GRAPH = _read('graph.html')
_DASHBOARD = _read('dashboard.html')


def dashboard(token):
    """-> bytes. ``token``: what its actions are sent with, str; empty if it is to offer none."""
    return _DASHBOARD.replace(b'{{token}}', token.encode('ascii'))
