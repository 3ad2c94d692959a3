"""The rule of the house: imports go only downwards, and each thing outside has one door (docs/design.md)."""

import ast
import re
import unittest

from support.environment import CHECKOUT

# From the bottom to the top. A module may import those of its own level and below; the name of a package
# stands for all that is in it and not named itself.
LEVELS = [
    ['errors', 'clock', 'item', 'stats', 'ration', 'thrift_gen'],
    ['protocol', 'journal.record', 'journal.names', 'journal.xids', 'journal.compaction', 'shown'],
    ['disk', 'append_file', 'hub', 'notify', 'pid_file', 'interfaces'],
    ['waiters', 'deadlines', 'block_budget', 'journal'],
    ['config', 'settings', 'log', 'queue_items', 'persistent_queue', 'compactor', 'mover'],
    ['status', 'server_sets', 'zookeeper', 'reads', 'read_ids', 'aliased_queue'],
    ['queue_collection'],
    ['services', 'access', 'puts', 'session', 'batches', 'report'],
    ['handlers', 'connection', 'passed_sockets', 'ports'],
    ['idleness', 'busy_poll', 'background', 'admin', 'heartbeat', 'hub_watch', 'start_report'],
    ['server'],
    ['main', 'daemonize', 'tools', '__main__'],
    ['load'],
]

# A thing outside, and the modules that may import what leads to it.
DOORS = {
    'socket': {'connection', 'passed_sockets', 'ports', 'notify', 'interfaces', 'tools.cluster.servers',
               'tools.ctl.wire', 'tools.sniff.command', 'load.dial'},
    'kazoo': {'zookeeper', 'tools.ctl.zookeeper'},
    'time': {'clock'},
    'shutil': {'disk', 'tools.sniff.capture'},
    'dpkt': {'tools.sniff.packets'},
    'tempfile': set(),
}
WRITERS = {'disk', 'append_file', 'log', 'pid_file'}
WRITING_CALLS = {
    'open', 'write', 'writev', 'pwrite', 'truncate', 'ftruncate', 'posix_fallocate', 'fsync', 'fdatasync',
    'rename', 'renames', 'replace', 'link', 'symlink', 'unlink', 'remove', 'mkdir', 'makedirs', 'rmdir',
    'removedirs', 'chmod', 'chown', 'utime',
}
WRITING_METHODS = {'write_text', 'write_bytes', 'touch'}


def sources():
    """{module name without ``kestrel.``: its source}; a package has the name of its folder, kestrel ''.

    What the thrift compiler makes is not ours to keep in order.
    """
    found = {}
    for path in sorted((CHECKOUT / 'kestrel').glob('**/*.py')):
        parts = path.relative_to(CHECKOUT / 'kestrel').with_suffix('').parts
        if parts[0] == 'thrift_gen' and parts[-1] != '__init__':
            continue
        found['.'.join(parts[:-1] if parts[-1] == '__init__' else parts)] = path.read_text()
    return found


def declarations():
    """The same of the .pxd files."""
    root = CHECKOUT / 'kestrel'
    return {'.'.join(path.relative_to(root).with_suffix('').parts): path.read_text()
            for path in root.glob('**/*.pxd')}


def imported(source):
    """All dotted names that a module imports, in its functions too: ``from a import b`` gives ``a.b``."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise AssertionError(f'line {node.lineno}: a relative import; write the whole name')
            names |= {f'{node.module}.{alias.name}' for alias in node.names}
    return names


def cimported(declaration):
    return {f'{module}.{name.strip()}'
            for module, names in re.findall(r'^\s*from\s+(\S+)\s+cimport\s+(.+)$', declaration, re.MULTILINE)
            for name in names.split(',')}


def house_modules(names, modules):
    """Which of our modules the imported names lead to."""
    found = set()
    for name in names:
        if name != 'kestrel' and not name.startswith('kestrel.'):
            continue
        name = name[len('kestrel.'):]
        while name not in modules:
            name = name.rpartition('.')[0]
        found.add(name)
    return found - {''}


def level(module):
    """Its number in LEVELS, by the longest name that fits; None if the module has no place."""
    while module:
        for number, names in enumerate(LEVELS):
            if module in names:
                return number
        module = module.rpartition('.')[0]
    return None


def graph(modules, pxds):
    """{module: the modules it imports}."""
    return {module: house_modules(imported(source) | cimported(pxds.get(module, '')), modules)
            for module, source in modules.items()}


def upward(edges):
    return sorted(f'{module} imports {target}' for module, targets in edges.items() for target in targets
                  if module and None not in (level(module), level(target)) and level(module) < level(target))


def circles(edges):
    """Modules from which a way of imports leads back to themselves."""
    def reach(start):
        seen, ahead = set(), list(edges[start])
        while ahead:
            module = ahead.pop()
            if module not in seen:
                seen.add(module)
                ahead += edges[module]
        return seen
    return sorted(module for module in edges if module in reach(module))


def writes(source):
    """Lines that change something on disk."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        if isinstance(function, ast.Name) and function.id == 'open':
            if not opens_for_reading(node):
                lines.append(node.lineno)
        elif isinstance(function, ast.Attribute):
            on_os = isinstance(function.value, ast.Name) and function.value.id == 'os'
            if on_os and function.attr in WRITING_CALLS or function.attr in WRITING_METHODS:
                lines.append(node.lineno)
    return lines


def opens_for_reading(call):
    modes = call.args[1:2] + [keyword.value for keyword in call.keywords if keyword.arg == 'mode']
    return all(isinstance(mode, ast.Constant) and not set(mode.value) & set('wax+') for mode in modes)


class HouseTest(unittest.TestCase):

    def setUp(self):
        self.modules = sources()
        self.edges = graph(self.modules, declarations())

    def test_every_module_has_a_place(self):
        homeless = [module for module in self.modules if module and level(module) is None]
        self.assertEqual(homeless, [], 'give it a line in LEVELS, and in docs/design.md')

    def test_imports_go_downwards(self):
        self.assertEqual(upward(self.edges), [])

    def test_imports_go_in_no_circle(self):
        self.assertEqual(circles(self.edges), [])

    def test_doors(self):
        for module, source in self.modules.items():
            roots = {name.partition('.')[0] for name in imported(source)}
            for thing in roots & set(DOORS):
                with self.subTest(module=module, thing=thing):
                    self.assertIn(module, DOORS[thing])

    def test_only_one_module_writes_files(self):
        self.assertEqual({module: writes(source) for module, source in self.modules.items()
                          if module not in WRITERS and writes(source)}, {})

    def test_protocols_know_no_network(self):
        for module, source in self.modules.items():
            if module.startswith('protocol.'):
                with self.subTest(module):
                    roots = {name.partition('.')[0] for name in imported(source)}
                    self.assertEqual(roots & {'gevent', 'socket', 'select', 'selectors', 'asyncio'}, set())
                    self.assertNotIn('clock', self.edges[module])


class RuleTest(unittest.TestCase):
    """The checks above find what they are for."""

    MODULES = {'': '', 'protocol': '', 'item': 'from kestrel.session import Session', 'session': 'import re',
               'protocol.memcache': 'def f():\n    from kestrel import item, __version__',
               'handlers.memcache': 'from kestrel.protocol.memcache import Parser\nimport kestrel.session'}

    def test_edges(self):
        edges = graph(self.MODULES, {'session': 'from kestrel.item cimport Item, other'})
        self.assertEqual(edges['protocol.memcache'], {'item'})
        self.assertEqual(edges['handlers.memcache'], {'protocol.memcache', 'session'})
        self.assertEqual(edges['session'], {'item'})
        self.assertEqual(upward(edges), ['item imports session'])
        self.assertEqual(circles(edges), ['item', 'session'])

    def test_levels(self):
        self.assertLess(level('journal.record'), level('journal.replay'))
        self.assertEqual(level('admin.dashboard'), level('background'))
        self.assertIsNone(level('something'))

    def test_writing(self):
        for line in ("open(p, 'w')", "open(p, mode='r+b')", 'open(p, mode)', 'os.unlink(p)', 'p.touch()'):
            with self.subTest(line):
                self.assertEqual(writes(line), [1])
        for line in ('open(p)', "open(p, 'rb')", 'os.listdir(p)', 'sock.write(b)'):
            with self.subTest(line):
                self.assertEqual(writes(line), [])

    def test_relative_imports_are_refused(self):
        with self.assertRaises(AssertionError):
            imported('from . import item')
