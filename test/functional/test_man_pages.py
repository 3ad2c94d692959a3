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
from kestrel.tools.cluster.command import make_parser as kcluster_parser
from kestrel.tools.ctl.arguments import parser as kestrelctl
from kestrel.tools.sniff.options import make_parser as ksniff_parser
from support.environment import CHECKOUT, run_kestrel

PAGES = CHECKOUT / 'docs'
CONF_PAGE = runpy.run_path(str(PAGES / 'conf_page.py'))
# Options of every command of kestrelctl, explained once.
SHARED = {'-h', '--help', '--host', '--cluster', '--port', '--admin-port', '--timeout', '--json'}
PROGRAMS = (PutMany, ManyClients, Flood, Packing, LeakyReader)
SPEC = (CHECKOUT / 'kestrel' / 'kestrel.configspec').read_text()


def plain(page):
    """The text of a page, str, without its roff; what stands in one word there is one here."""
    text = re.sub(r'^\.\w* ?', '', page, flags=re.MULTILINE).replace(r'\-', '-').replace(r'\&', '')
    return re.sub(r'\s+', ' ', re.sub(r'\\f.', '', text).replace('"', ''))


def named_options(roff):
    """The options that a part of a page explains: those of its tagged paragraphs, set of str."""
    tags = re.findall(r'^\.TP\n(.*)$', roff, re.MULTILINE)
    return {option for tag in tags for option in re.findall(r'(?<![\w-])--?[a-z][a-z-]*', tag.replace('\\', ''))}


def options_of(parser, name=''):
    """{words of each command: its options}; '' has what may stand before all."""
    found = {}
    for action in parser._actions:
        if action.nargs == 'A...':
            for word, below in action.choices.items():
                found.update(options_of(below, f'{name} {word}'.strip()))
    if not found or not name:
        found[name] = {option for action in parser._actions for option in action.option_strings}
    return found


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

    def test_every_option_of_the_tools_is_explained(self):
        for name, parser in (('ksniff', ksniff_parser('')), ('kcluster', kcluster_parser())):
            with self.subTest(name):
                page = plain((PAGES / f'{name}.1').read_text()).partition(' OPTIONS ')[2]
                self.assertEqual([option for option in parser._option_string_actions
                                  if not re.search(rf'(?<![\w-]){option}(?![\w-])', page)], [])

    def test_every_command_and_option_of_kestrelctl_is_explained(self):
        """In the section of its command, and nothing else is."""
        page = (PAGES / 'kestrelctl.1').read_text()
        common, _, commands = page.partition('\n.SH OPTIONS\n')[2].partition('\n.SH COMMANDS\n')
        sections = {}
        for section in commands.partition('\n.SH ')[0].split('\n.SS '):
            head, _, body = section.removeprefix('.SS ').partition('\n')
            name = head.partition(r' \f')[0].replace('\\', '')
            sections[name] = named_options(body)
        for name, options in options_of(kestrelctl()).items():
            with self.subTest(name):
                if name == '':
                    self.assertEqual(named_options(common), options)
                else:
                    self.assertEqual(sections.pop(name) | SHARED, options)
        self.assertEqual(sections, {})

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
