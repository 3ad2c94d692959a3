"""Log lines that docs/guide.md quotes are lines of the source."""

import ast
import re
import unittest

from support.environment import CHECKOUT

DOCUMENT = CHECKOUT / 'docs' / 'guide.md'
LEVELS = ('error', 'warning', 'info')
PLACE = '\0'


def lines_of_the_source():
    """{a log line, its placeholders as PLACE: 'ERROR', 'WARNING' or 'INFO'}"""
    found = {}
    for path in (CHECKOUT / 'kestrel').rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS
                    and node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)):
                line = re.sub(r'%(?:\.\d+)?[a-z]', PLACE, node.args[0].value)
                found[line] = node.func.attr.upper()
    return found


def quoted():
    """[(a line as it is quoted, does the text say WARNING)] of the sections about aliases and journals."""
    section = DOCUMENT.read_text().partition('\n### Lines about aliases\n')[2].partition('\n## ')[0]
    section = section.replace('\n### Lines about journals\n', '\n')
    entries = re.split(r'^\* ', section, flags=re.MULTILINE)[1:]
    return [(line, 'WARNING' in entry) for entry in entries
            for line in re.findall(r'^(?:  )?`(.*)`$', entry, re.MULTILINE)]


class LogLineTest(unittest.TestCase):

    def test_every_line_is_in_the_source(self):
        lines = lines_of_the_source()
        found = quoted()
        self.assertGreater(len(found), 20)
        for line, warns in found:
            with self.subTest(line):
                begins = line.endswith(' ...')
                wanted = re.sub(r'<\w+>', PLACE, line.removesuffix(' ...'))
                same = [known for known in lines if known == wanted or begins and known.startswith(wanted)]
                self.assertTrue(same, 'no such line in the source')
                self.assertEqual({lines[known] for known in same}, {'WARNING' if warns else 'ERROR'})


if __name__ == '__main__':
    unittest.main()
