"""Each lane really tests what its name says, in this process and in the servers that the tests start."""

import importlib
import os
import pathlib
import subprocess
import sys
import unittest

from support.environment import CHECKOUT, TREE, process_environment

# Without the runner: the sources, on whatever libraries there are.
FAMILY, WAY = os.environ.get('KESTREL_LANE', 'any-pure').split('-')

TYPED = sorted('.'.join(path.relative_to(CHECKOUT).with_suffix('').parts)
               for path in (CHECKOUT / 'kestrel').glob('**/*.py') if path.with_suffix('.pxd').exists())


class LaneTest(unittest.TestCase):

    def check(self, module, file):
        suffix = '.so' if WAY == 'compiled' else '.py'
        self.assertEqual(pathlib.Path(file).suffix, suffix, module)
        self.assertTrue(pathlib.Path(file).resolve().is_relative_to(TREE / 'kestrel'), file)

    def test_there_are_typed_modules(self):
        self.assertIn('kestrel.item', TYPED)

    def test_typed_modules_here(self):
        for module in TYPED:
            with self.subTest(module):
                self.check(module, importlib.import_module(module).__file__)

    def test_typed_modules_in_a_process_of_its_own(self):
        code = 'import importlib, sys\nfor n in sys.argv[1:]: print(importlib.import_module(n).__file__)'
        command = [sys.executable, '-c', code, *TYPED]
        files = subprocess.run(command, cwd='/', env=process_environment(), check=True,
                               stdout=subprocess.PIPE, text=True).stdout.split()
        self.assertEqual(len(files), len(TYPED))
        for module, file in zip(TYPED, files):
            with self.subTest(module):
                self.check(module, file)

    def test_nothing_is_compiled_beside_the_sources(self):
        sources = CHECKOUT / 'kestrel'
        self.assertEqual([*sources.glob('**/*.so'), *sources.glob('**/*.c')], [])

    def test_the_tree_is_that_of_the_sources(self):
        self.assertEqual(TREE == CHECKOUT, WAY == 'pure')

        def sources(tree):
            return {(str(path.relative_to(tree)), path.read_bytes())
                    for path in (tree / 'kestrel').glob('**/*.py')}
        self.assertEqual({name for name, _ in sources(TREE) ^ sources(CHECKOUT)}, set())

    def test_libraries_are_those_of_the_lane(self):
        home = {'debian': '/usr/lib/python3/dist-packages', 'pypi': sys.prefix, 'any': '/'}[FAMILY]
        for name in ('gevent', 'configobj', 'nose2', 'pymemcache'):
            with self.subTest(name):
                file = pathlib.Path(importlib.import_module(name).__file__).absolute()
                self.assertTrue(file.is_relative_to(home), file)
