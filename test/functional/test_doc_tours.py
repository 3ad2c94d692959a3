"""The scenes of docs/guide.md happen as they are told, see tour.py; and every policy has one."""

import re
import unittest
from unittest import mock

from functional.test_docs import CHECKOUT, blocks
from functional.tour import Tour

GUIDE = CHECKOUT / 'docs' / 'guide.md'
# Settings that bound files and memory, or do nothing: tables of the guide, no scene.
NO_SCENE = {
    'default_journal_size', 'max_memory_size', 'max_journal_size', 'min_journal_compact_delay',
    'disable_aggressive_rewrites',
}
POLICIES_OF_THE_SERVER = {
    'expiration_timer_frequency', 'client_timeout', 'max_open_transactions', 'connection_limit_refuse_reads',
    'connection_limit_refuse_writes', 'remote_admin', 'status_change_grace_period', 'default_status',
    'enable_session_trace',
}


class ToursTest(unittest.TestCase):

    def test_the_scenes(self):
        for place, _, lines in blocks(GUIDE, 'tour'):
            with self.subTest(place), Tour() as tour:
                tour.play(lines)

    def test_every_policy_has_a_scene(self):
        spec = (CHECKOUT / 'kestrel' / 'kestrel.configspec').read_text()
        section = spec.partition('\n[default]\n')[2].partition('\n[')[0]
        keys = set(re.findall(r'^(\w+) = ', section, re.M))
        self.assertGreater(len(keys), 20)
        played = '\n'.join('\n'.join(lines) for _, _, lines in blocks(GUIDE, 'tour'))
        shown = set(re.findall(r'^(\w+) = ', played, re.M))
        self.assertEqual((keys - NO_SCENE) | POLICIES_OF_THE_SERVER | {'destination_queues'}, shown & (
            keys | POLICIES_OF_THE_SERVER | {'destination_queues'}))

    def test_a_scene_can_fail(self):
        """What is told and does not happen, or happens and is not told, is noticed."""
        begin = ['# kestrel.conf', '[queues]', '[[q]]', 'max_age = 1m', '> set q 0 0 1', '> x']
        for more, why in ((['< NOT_STORED'], 'documented'),
                          (['< STORED', '> get q', '< END'], 'documented'),
                          (['< STORED', '# 2m later', '> get q', '< VALUE q 0 1', '< x', '< END'], 'documented'),
                          (['< STORED', '> get q', '< VALUE q 0 1', '< x'], 'documented'),
                          (['< STORED', '# log', 'WARNING something'], 'not logged'),
                          (['< STORED', '# kestrel.conf', '[aliases]', '[[q]]', '# SIGHUP'], 'logged, and not shown'),
                          (['< STORED', '# a while later'], 'wrong form'),
                          (['< STORED', '# cut'], 'no stage direction')):
            with self.subTest(more), self.assertRaisesRegex(Exception, why), Tour() as tour, \
                    mock.patch('functional.tour.PATIENCE', 0.3):
                tour.play(begin + more)


if __name__ == '__main__':
    unittest.main()
