"""The Debian package agrees with the sources: version, files, dependencies, units."""

import fnmatch
import os
import pathlib
import re
import unittest

import kestrel
from kestrel.load.flood import Flood
from kestrel.load.leaky_reader import LeakyReader
from kestrel.load.many_clients import ManyClients
from kestrel.load.packing import Packing
from kestrel.load.put_many import PutMany
from kestrel.tools.cluster.command import EXPECTED, FIGURES, make_parser as kcluster_parser
from kestrel.tools.sniff.options import make_parser as ksniff_parser
from support.environment import CHECKOUT

DEBIAN = CHECKOUT / 'debian'
NOT_OURS = {'build', 'dist', '.git', '__pycache__', 'node_modules', '.pybuild'}


def files():
    """Paths of all files of the sources, str, from the top."""
    found = []
    for folder, folders, names in os.walk(CHECKOUT):
        folders[:] = [name for name in folders if name not in NOT_OURS and not name.endswith('.egg-info')]
        found += [str(pathlib.Path(folder, name).relative_to(CHECKOUT)) for name in names]
    return found


def paragraphs(text):
    """The fields of each paragraph of a control file; -> list of dict."""
    return [{key: re.sub(r'\s+', ' ', value).strip()
             for key, value in re.findall(r'^([\w-]+):((?:.*\n)(?:[ \t].*\n)*)', paragraph + '\n', re.MULTILINE)}
            for paragraph in text.strip().split('\n\n')]


def names(field):
    return {re.split(r'[\s:(<]', entry.strip())[0] for entry in field.split(',') if entry.strip()}


class DebianTest(unittest.TestCase):

    def setUp(self):
        self.source, self.binary = paragraphs((DEBIAN / 'control').read_text())

    def test_version(self):
        self.assertRegex((DEBIAN / 'changelog').read_text(), rf'^kestrel \({re.escape(kestrel.__version__)}-\d+\) ')

    def test_copyright_covers_every_file(self):
        stanzas = paragraphs((DEBIAN / 'copyright').read_text())
        patterns = ' '.join([stanza.get('Files', '') for stanza in stanzas]).split()
        every = files()
        self.assertIn('kestrel/server.py', every)
        self.assertEqual([path for path in every if not any(fnmatch.fnmatch(path, pattern) for pattern in patterns)], [])
        licences = {stanza['License'].split()[0] for stanza in stanzas if 'Files' in stanza}
        texts = {stanza['License'].split()[0] for stanza in stanzas if 'License' in stanza and 'Files' not in stanza}
        self.assertEqual(licences, texts)

    def test_what_setup_requires_is_built_with(self):
        required = re.search(r'install_requires=\[(.*?)\]', (CHECKOUT / 'setup.py').read_text(), re.DOTALL)[1]
        needed = {name if name.startswith('python-') else f'python-{name}' for name in re.findall(r"'([\w-]+)", required)}
        self.assertIn('python-gevent', needed)
        self.assertLessEqual({name.replace('python-', 'python3-') for name in needed}, names(self.source['Build-Depends']))

    def test_ci_installs_what_it_is_built_with(self):
        listed = {line.split()[0] for line in (CHECKOUT / '.ci/packages').read_text().splitlines()
                  if line.strip() and not line.startswith('#')}
        provided = {'debhelper-compat': 'debhelper', 'dh-sequence-bash-completion': 'bash-completion',
                    'dh-sequence-python3': 'dh-python'}
        self.assertEqual({provided.get(name, name) for name in names(self.source['Build-Depends'])} - listed, set())

    def test_the_instances_are_like_the_service(self):
        def settings(unit):
            lines = (CHECKOUT / 'init' / unit).read_text().partition('[Service]')[2].splitlines()
            return [line for line in lines if line and not line.startswith('#')]
        instance = [line.replace('/kestrel-%i.conf', '/kestrel.conf').replace('kestrel/%i', 'kestrel')
                    for line in settings('kestrel@.service')]
        self.assertEqual(instance, settings('kestrel.service'))

    def test_every_command_is_completed(self):
        commands = re.findall(r"'([\w-]+) = kestrel\.[\w.]+:main'", (CHECKOUT / 'setup.py').read_text())
        self.assertIn('kestrel', commands)
        completed = (CHECKOUT / 'init/kestrel.bash-completion').read_text()
        self.assertEqual([name for name in commands
                          if not re.search(rf'^complete .*(?<![\w-]){name}(?![\w-])', completed, re.MULTILINE)], [])

    def test_completion_knows_every_option(self):
        words = (CHECKOUT / 'init/kestrel.bash-completion').read_text()
        source = (CHECKOUT / 'kestrel/main.py').read_text()
        options = set(re.findall(r"add_argument\((?:'-f', )?'(--[\w-]+)'", source))
        self.assertIn('--daemon', options)
        self.assertEqual([option for option in options if not re.search(rf'{option}\b', words)], [])

    def test_completion_knows_every_option_of_the_tools(self):
        words = (CHECKOUT / 'init/kestrel.bash-completion').read_text()
        for name, parser in (('ksniff', ksniff_parser('')), ('kcluster', kcluster_parser())):
            with self.subTest(name):
                offered = set(re.search(rf'^_{name}\(\) .*?^}}', words, re.MULTILINE | re.DOTALL)[0].split("-W '")[-1]
                              .partition("'")[0].split())
                self.assertEqual({word for word in offered if word.startswith('-')}, set(parser._option_string_actions))
        self.assertLessEqual({*FIGURES, *EXPECTED, 'stale', 'version'}, offered)

    def test_completion_knows_every_option_of_the_load_programs(self):
        words = (CHECKOUT / 'init/kestrel.bash-completion').read_text()
        common = set(re.search(r'compgen -W "(.*) \$more"', words)[1].split())
        for program in (PutMany, ManyClients, Flood, Packing, LeakyReader):
            with self.subTest(program.name):
                more = set(re.search(rf"{program.name}\) more='(.*)'", words)[1].split())
                self.assertEqual(common | more,
                                 {action.option_strings[0] for action in program(None).parser()._actions})


if __name__ == '__main__':
    unittest.main()
