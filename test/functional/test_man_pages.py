"""The manual pages: one for each command and for the configuration, complete, and without a warning of man."""

import os
import pathlib
import re
import runpy
import subprocess
import tempfile
import unittest

from kestrel.load.flood import Flood
from kestrel.load.leaky_reader import LeakyReader
from kestrel.load.many_clients import ManyClients
from kestrel.load.packing import Packing
from kestrel.load.put_many import PutMany
from support.environment import CHECKOUT, run_kestrel

PAGES = CHECKOUT / 'docs'
CONF_PAGE = runpy.run_path(str(PAGES / 'conf_page.py'))
PROGRAMS = (PutMany, ManyClients, Flood, Packing, LeakyReader)
SPEC = (CHECKOUT / 'kestrel' / 'kestrel.configspec').read_text()


def plain(page):
    """The text of a page, str, without its roff; what stands in one word there is one here."""
    text = re.sub(r'^\.\w* ?', '', page, flags=re.MULTILINE).replace(r'\-', '-').replace(r'\&', '')
    return re.sub(r'\s+', ' ', re.sub(r'\\f.', '', text).replace('"', ''))


class ManPagesTest(unittest.TestCase):

    def test_every_command_has_one(self):
        commands = re.findall(r"'([\w-]+) = kestrel\.", (CHECKOUT / 'setup.py').read_text())
        self.assertIn('kestrel', commands)
        self.assertEqual([name for name in commands if not (PAGES / f'{name}.1').is_file()], [])

    def test_every_option_of_kestrel_is_explained(self):
        options = set(re.findall(r'(?<![\w-])--?[a-z][a-z-]*', run_kestrel('--help').stdout)) - {'-h'}
        self.assertIn('--pid-file', options)
        page = plain((PAGES / 'kestrel.1').read_text())
        self.assertEqual([option for option in options if option not in page], [])

    def test_every_option_of_the_load_programs_is_explained(self):
        for program in PROGRAMS:
            page = (PAGES / f'{program.name}.1').read_text().replace(r'\-', '-')
            for action in program(None).parser()._actions:
                option = action.option_strings[0]
                with self.subTest(program.name, option=option):
                    kind = 'B' if action.nargs == 0 else 'BI'
                    self.assertRegex(page, rf'(?m)^\.TP\n\.{kind} {option}\b.*\n[A-Z]')
                    if type(action.default) in (int, float, str) and action.nargs != 0:
                        text = plain(re.search(rf'(?m)^\.TP\n\.{kind} {option}\b.*\n((?:.*\n)*?)(?=\.TP|\.SH)', page)[1])
                        self.assertIn(str(action.default), text)

    def test_every_setting_with_its_own_text(self):
        from kestrel import settings
        page = plain(CONF_PAGE['page'](SPEC))
        table = CONF_PAGE['table'](SPEC)
        self.assertEqual(len(table), len(re.findall(r'^\w+ = ', SPEC, re.MULTILINE)))
        for section, key, kind, default, comment in table:
            with self.subTest(section=section, key=key):
                said = re.sub(r' ?\(D\d+\)', '', comment)
                self.assertGreater(len(said), 5)
                self.assertIn(f'{key} ( {kind} ; default {default} ) {said}', page)
        kinds = set(settings.CHECKS) - {'option', 'option_or_none'}
        self.assertEqual({kind for kind in kinds if kind.removesuffix('_or_none') not in CONF_PAGE['KINDS']}, set())

    def test_man_has_nothing_to_complain_about(self):
        with tempfile.TemporaryDirectory() as folder:
            conf = pathlib.Path(folder, 'kestrel.conf.5')
            conf.write_text(CONF_PAGE['page'](SPEC))
            for page in [conf, *sorted(PAGES.glob('*.[1-8]'))]:
                with self.subTest(page.name):
                    try:
                        ended = subprocess.run(
                            ['man', '--warnings', '-E', 'UTF-8', '-l', '-Tutf8', '-Z', page], capture_output=True,
                            text=True, env={**os.environ, 'LC_ALL': 'C.UTF-8', 'MANROFFSEQ': '', 'MANWIDTH': '80'})
                    except FileNotFoundError:
                        self.skipTest('man is missing: apt install man-db')
                    self.assertEqual((ended.returncode, ended.stderr), (0, ''))


if __name__ == '__main__':
    unittest.main()
