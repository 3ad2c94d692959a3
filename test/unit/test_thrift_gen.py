"""kestrel/thrift_gen is what the thrift compiler makes of kestrel.thrift."""

import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from support.environment import CHECKOUT

MADE = CHECKOUT / 'kestrel' / 'thrift_gen'
FILES = ('Kestrel.py', 'ttypes.py', 'constants.py')


class GeneratedTest(unittest.TestCase):

    def version(self):
        """That of the compiler which made the files."""
        versions = {re.search(r'Thrift Compiler \((.+)\)', (MADE / name).read_text())[1] for name in FILES}
        self.assertEqual(len(versions), 1)
        return versions.pop()

    def test_nothing_else_is_there(self):
        self.assertEqual({path.name for path in MADE.glob('*.py')}, {'__init__.py', *FILES})

    def test_current(self):
        if shutil.which('thrift') is None:
            self.skipTest('no thrift compiler: apt install thrift-compiler')
        installed = subprocess.run(['thrift', '--version'], capture_output=True, text=True).stdout.split()[-1]
        if installed != self.version():
            self.skipTest(f'the thrift compiler is {installed}: apt install thrift-compiler={self.version()}*')
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(['thrift', '--gen', 'py:slots', '-out', folder, CHECKOUT / 'kestrel' / 'kestrel.thrift'], check=True)
            for name in FILES:
                made = (pathlib.Path(folder) / 'kestrel' / name).read_text()
                self.assertEqual(made, (MADE / name).read_text(), 'run make thrift')


if __name__ == '__main__':
    unittest.main()
