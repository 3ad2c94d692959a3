"""docs/design.md draws the house as it is: the rooms are those of the source, the order is the one that is checked."""

import re
import unittest

from support.environment import CHECKOUT
from test_imports import LEVELS

DOCUMENT = CHECKOUT / 'docs' / 'design.md'


def modules():
    """Names of all modules and packages below kestrel."""
    root = CHECKOUT / 'kestrel'
    paths = [path for path in root.rglob('*') if path.suffix == '.py' or (path / '__init__.py').is_file()]
    return {'.'.join(path.relative_to(root).with_suffix('').parts) for path in paths}


class DesignTest(unittest.TestCase):

    def setUp(self):
        self.text = DOCUMENT.read_text()

    def test_levels(self):
        block = re.search(r'^```levels\n(.*?)^```$', self.text, re.MULTILINE | re.DOTALL)[1]
        drawn = [line.split(', ') for line in block.splitlines()]
        there = modules()
        built = [[name for name in level if name in there] for level in LEVELS]
        self.assertEqual(drawn, [level for level in built if level])

    def test_every_module_has_a_room(self):
        rooms = self.text.partition('\n## Rooms\n')[2].partition('\nImports go')[0]
        drawn = set(re.findall(r'(\w+)\.py', rooms))
        folders = set(re.findall(r'^    (\w+)/ ', rooms, re.MULTILINE))
        missing = {name for name in modules() if name.partition('.')[0] not in folders
                   and name.rpartition('.')[2] not in drawn | {'journal', 'handlers'} and '__' not in name}
        self.assertEqual(missing, set())

    def test_files_that_are_named_exist(self):
        tests = {path.stem for path in (CHECKOUT / 'test').rglob('*.py')}
        known = tests | {name.rpartition('.')[2] for name in modules()}
        planned = set(re.findall(r'`(\w+)\.py`', self.text.partition('\nNot built yet')[2].partition('\n\n')[0]))
        self.assertEqual(set(re.findall(r'(\w+)\.py\b', self.text)) - known - planned, set())


if __name__ == '__main__':
    unittest.main()
