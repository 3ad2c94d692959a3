"""A reload of a file with any error changes nothing at all (D27): in process, with every kind of error there is."""

import io
import os
import tempfile
import unittest
from unittest import mock

from kestrel import config, log
from kestrel.errors import StartError
from kestrel.server import KestrelServer

from support import bad_settings
from support.clock import MovedClock

BEFORE = """[server]
memcache_listen_port = none
queue_path = %(folder)s/spool
status_file = %(folder)s/status
[default]
max_age = 1h
[queues]
[[q]]
max_items = 7
[[q+child]]
[[hidden]]
[aliases]
[[both]]
destination_queues = q, other
[[hidden]]
[logging]
level = DEBUG
"""
# What would change if it were applied; each part is laid beside an error that stands in another section.
CHANGES = {
    'default': '[default]\nmax_age = 2h\nmax_size = 5\nfanout_only = true\n',
    'queues': '[queues]\n[[new]]\n[[q]]\nmax_items = 8\nwhite_list_client_id_for_enqueue = x\n[[q+another]]\n',
    'aliases': '[aliases]\n[[both]]\ndestination_queues = q\n[[third]]\ndestination_queues = q\n',
    'logging': '[logging]\nlevel = OFF\nfilename = %(folder)s/other.log\nformat = json\n',
}


class ReloadErrorsTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.path = os.path.join(self.folder, 'kestrel.conf')
        patch = mock.patch.object(config, '_Table', mock.Mock(return_value=config._Table()))
        patch.start()
        self.addCleanup(patch.stop)

    def start(self, text=BEFORE):
        self.write(text)
        loaded = config.load(self.path, {})
        self.stream = io.StringIO()
        self.handle = log.setup(loaded.logging, self.stream, '.reload_errors')
        self.addCleanup(self.handle.close)
        self.server = KestrelServer(loaded, self.handle, MovedClock())
        self.server.load()
        self.addCleanup(self.server.stop)

    def write(self, text):
        with open(self.path, 'w') as file:
            file.write(text.replace('%(folder)s', self.folder))

    def state(self):
        """All that a reload may change."""
        collection = self.server.collection
        logger = self.handle.logger
        return {
            'configuration': (self.server.config, collection.config),
            'queues': {name: (queue, dict(vars(queue.settings)), queue.max_items, queue.max_size, queue.max_age,
                              queue.fanout_only) for name, queue in collection.queues.items()},
            'aliases': {name: (alias, list(alias.destinations)) for name, alias in collection.aliases.items()},
            'children': {name: list(children) for name, children in collection.children.items()},
            'routed': set(collection.routed),
            'white lists': collection.white_lists,
            'created': self.server.stats.queue_creates,
            'log': (logger.level, list(logger.handlers)),
            'files': sorted(os.listdir(os.path.join(self.folder, 'spool'))),
        }

    def refused(self, text, before):
        """-> why the reload was refused; None, and a failure, if it was not or if something changed."""
        self.write(text)
        why = self.server.reload()
        after = self.state()
        if why is None or after != before:
            self.fail(f'{text}\n{why}\n' + '\n'.join(
                f'{key}: {before[key]} -> {after[key]}' for key in before if before[key] != after[key]))
        return why

    def test_every_kind_of_error(self):
        self.start()
        before = self.state()
        # one setting of each section for each kind of error; the unit tests try all
        tried = list({(bad.section, bad.kind): bad for bad in bad_settings.all_bad()}.values())
        self.assertGreater(len(tried), 200)
        for bad in tried:
            others = [part for section, part in CHANGES.items()
                      if f'[{section}]' not in bad.text and (bad.key or section != bad.section)]
            why = self.refused(bad.text + ''.join(others), before)
            # the error is told, and not one that the parts beside it make
            if f': line {bad.line}: ' not in why:
                self.fail(f'{bad}\n{why}')
        self.assertFalse(os.path.exists(os.path.join(self.folder, 'other.log')))
        self.assertEqual(self.stream.getvalue().count('configuration not reloaded: '), len(tried))

    def test_errors_between_sections(self):
        self.start()
        before = self.state()
        changes = CHANGES['default'] + CHANGES['queues'] + CHANGES['logging']
        for more, why in (
                ('[aliases]\n[[a]]\ndestination_queues = b\n[[b]]\ndestination_queues = a\n', 'leads back to itself'),
                ('[[own]]\nexpire_to_queue = own\n', 'queue own would have itself as its expire_to_queue'),
                ('[[own]]\ndead_letter_queue = own\n', 'queue own would have itself as its dead_letter_queue'),
                ('[aliases]\n[[a]]\n[zookeeper]\nhost = zk\n', 'path_prefix: it is needed with a host')):
            with self.subTest(why):
                text = changes.replace('[logging]', f'{more}[logging]') if more[1] == '[' else changes + more
                self.assertIn(why, self.refused(text, before))

    def test_the_file_itself(self):
        self.start()
        before = self.state()
        self.assertIn('not UTF-8', self.not_text(before))
        os.unlink(self.path)
        self.assertIn('cannot read the configuration file: No such file', self.server.reload())
        self.assertEqual(self.state(), before)

    def not_text(self, before):
        with open(self.path, 'wb') as file:
            file.write(CHANGES['default'].encode() + b'[queues]\n[[\xff]]\n')
        why = self.server.reload()
        self.assertEqual(self.state(), before)
        return why

    def test_a_log_file_that_does_not_open(self):
        self.start()
        why = self.refused(''.join(CHANGES.values()).replace('/other.log', '/no/other.log'), self.state())
        self.assertIn('cannot open the log file', why)

    def test_a_queue_that_cannot_be_set_up(self):
        """The last thing that can fail, when the log has been exchanged: its old file is not opened again."""
        logs = os.path.join(self.folder, 'logs')
        os.mkdir(logs)
        self.start(BEFORE + f'filename = {logs}/kestrel.log\n')
        os.mkdir(os.path.join(self.folder, 'spool', 'new'))
        os.rename(logs, logs + '.away')
        why = self.refused(''.join(CHANGES.values()), self.state())
        self.assertEqual(why, 'queue new cannot be set up: Is a directory')
        with open(f'{logs}.away/kestrel.log') as file:
            self.assertIn('configuration not reloaded: ', file.read())

    def test_a_queue_that_cannot_be_set_up_at_the_start(self):
        os.makedirs(os.path.join(self.folder, 'spool', 'q'))
        with self.assertRaises(StartError) as caught:
            self.start()
        self.assertEqual(str(caught.exception),
                         f'{self.folder}/spool: queue q cannot be set up: Is a directory')

    def test_without_an_error_all_of_it_changes(self):
        """So that the tests above can fail."""
        self.start()
        before = self.state()
        self.write(''.join(CHANGES.values()))
        self.assertIsNone(self.server.reload())
        after = self.state()
        self.assertEqual({key for key in before if before[key] == after[key]}, set())
        # what needs a restart stays
        self.assertEqual(self.server.services.settings.queue_path, f'{self.folder}/spool')


if __name__ == '__main__':
    unittest.main()
