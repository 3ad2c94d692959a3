"""The pid file is honest: what lives holds its lock, what does not is in nobody's way."""

import os
import subprocess
import tempfile
import unittest
from unittest import mock

from kestrel.errors import StartError
from kestrel.pid_file import PidFile


class PidFileTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, 'kestrel.pid')
        self.file = PidFile(self.path)

    def content(self):
        with open(self.path) as file:
            return file.read()

    def test_names_the_process_and_goes(self):
        self.file.take()
        self.assertEqual(self.content(), '')
        self.file.write(4711)
        self.assertEqual(self.content(), '4711\n')
        self.file.remove()
        self.assertFalse(os.path.exists(self.path))

    def test_what_cannot_be_removed_is_emptied(self):
        """As in /run/kestrel, which is root's."""
        self.file.take()
        self.file.write(4711)
        with mock.patch('os.unlink', side_effect=PermissionError):
            self.file.remove()
        self.assertEqual(self.content(), '')

    def test_second_hears_who_runs(self):
        self.file.take()
        self.addCleanup(self.file.leave)
        self.file.write(4711)
        with self.assertRaisesRegex(StartError, r'runs already as process 4711: .*kestrel\.pid'):
            PidFile(self.path).take()
        self.assertEqual(self.content(), '4711\n')

    def test_stale_file_that_names_a_stranger(self):
        with open(self.path, 'w') as file:
            file.write('1\n')
        self.file.take()
        self.addCleanup(self.file.leave)
        self.assertEqual(self.content(), '')

    def test_lock_goes_to_a_fork_and_with_it(self):
        self.file.take()
        keeper = subprocess.Popen(['cat'], stdin=subprocess.PIPE, pass_fds=[self.file.descriptor])
        self.file.leave()
        with self.assertRaises(StartError):
            PidFile(self.path).take()
        keeper.kill()
        keeper.communicate()
        self.file.take()
        self.file.remove()

    def test_folder_that_is_not_there(self):
        with self.assertRaisesRegex(StartError, 'no/such: No such file or directory.*--pid-file'):
            PidFile(os.path.join(os.path.dirname(self.path), 'no/such')).take()

    def test_symlink_is_not_followed(self):
        victim = self.path + '.victim'
        with open(victim, 'w') as file:
            file.write('precious')
        os.symlink(victim, self.path)
        with self.assertRaises(StartError):
            self.file.take()
        with open(victim) as file:
            self.assertEqual(file.read(), 'precious')

    def test_removed_between_open_and_lock(self):
        """The first one removes its file after the second has opened it: the second must not lock what is gone."""
        self.file.take()
        second = PidFile(self.path)
        looks = []

        def is_in_place(descriptor):
            if not looks:
                os.unlink(self.path)
            looks.append(PidFile._is_in_place(second, descriptor))
            return looks[-1]
        second._is_in_place = is_in_place
        self.file.leave()
        second.take()
        self.addCleanup(second.leave)
        self.assertEqual(looks, [False, True])
        self.assertTrue(os.path.samestat(os.stat(self.path), os.fstat(second.descriptor)))


if __name__ == '__main__':
    unittest.main()
