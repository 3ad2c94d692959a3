"""Every wrong value of every setting is refused, with file, line, key and what is allowed (spec config 1)."""

import collections
import os
import re
import tempfile
import unittest
from unittest import mock

from kestrel import config
from support import bad_settings

# What each kind of value has to be tried with, whatever else.
ALWAYS = {'empty', 'a section instead of a value', 'twice', 'a letter is missing', 'outside of any section'}


class BadSettingsTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, 'kestrel.conf')
        # the configspec says the same each time; reading it takes three quarters of the time of a load
        patch = mock.patch.object(config, '_Table', mock.Mock(return_value=config._Table()))
        patch.start()
        self.addCleanup(patch.stop)

    def error(self, text):
        with open(self.path, 'w') as file:
            file.write(text)
        try:
            config.load(self.path, {})
        except config.ConfigError as error:
            return str(error)
        return None

    def check(self, cases):
        for bad in cases:
            message = self.error(bad.text)
            begin = f'{self.path}: line {bad.line}: {bad.place + ": " if bad.place else ""}'
            right = message is not None and message.startswith(begin) and re.search(bad.allowed, message[len(begin):])
            # a subTest for each of thousands would take most of the time
            if not right or not message.isprintable():
                with self.subTest(section=bad.section, key=bad.key, kind=bad.kind):
                    self.fail(f'{bad.text}\n{message}\nexpected {begin}... {bad.allowed}')

    def test_values(self):
        self.check(bad_settings.bad_values())

    def test_places(self):
        self.check(bad_settings.bad_places())

    def test_sections(self):
        self.check(bad_settings.bad_sections())

    def test_every_setting_is_tried(self):
        tried = collections.defaultdict(set)
        for bad in bad_settings.all_bad():
            if bad.key:
                tried[bad.section, bad.key].add(bad.kind)
        self.assertEqual(set(tried), {(found.section, found.key) for found in bad_settings.settings()})
        self.assertGreater(len(tried), 60)
        for place, kinds in tried.items():
            with self.subTest(place):
                self.assertEqual(ALWAYS - kinds, set())
                self.assertGreater(len(kinds), 12)
        for setting in bad_settings.settings():
            if setting.limits:
                kinds = tried[setting.section, setting.key]
                self.assertTrue(kinds & {'too small', 'above the limit'}, setting)


if __name__ == '__main__':
    unittest.main()
