"""Finding, creating, deleting and loading queues (spec queues 1, 2, 14, D14, D25, D34, D56, D70)."""

import errno
import unittest

from kestrel.errors import BadName, JournalError
from kestrel.queue_collection import QueueCollection
from kestrel.stats import ServerStats
from kestrel.waiters import Waiter
from support.clock import MovedClock
from support.fakes import FakeConfig, Owner, World
from support.spool import SpoolTest

BAD = b'CLIENT_ERROR bad queue name'
TOO_LONG = b'CLIENT_ERROR queue name too long'

GOOD_NAMES = [b'q', b'Q', b'ns:queue', b'a-b_c', b'#', b'\xe9', b'\xff' * 118, b'a' * 236,
              b'\xe9' + b'a' * 234, b'[x]', b'-', b'q q', b'\t', b'\x80', b'"', b',',
              b'a+b', b'a+b+c', b'a++']
BAD_NAMES = [b'', b'.', b'a.b', b'.a', b'a.', b'/', b'a/b', b'~', b'a~~1', b'\0', b'a\0b', b'\r', b'a\rb',
             b'+', b'++', b'+x', b'a+', b'a+b.c', b'a+b\0', b'a.+b']
LONG_NAMES = [b'a' * 237, b'\xe9' + b'a' * 235, b'\xff' * 119, b'a' * 8000]


class NamesTest(unittest.TestCase):

    def setUp(self):
        self.collection = World().collection

    def refused(self, name):
        answers = []
        for use in (self.collection.need, self.collection.check_readable):
            try:
                use(name)
                answers.append(None)
            except BadName as error:
                answers.append(error.line)
        self.assertEqual(answers[0], answers[1])
        return answers[0]

    def test_good(self):
        for name in GOOD_NAMES:
            with self.subTest(name[:20]):
                self.assertIsNone(self.refused(name))
                self.assertEqual(self.collection.lookup(name).name, name)

    def test_case_counts(self):
        self.assertIsNot(self.collection.need(b'q'), self.collection.need(b'Q'))

    def test_bad(self):
        for name in BAD_NAMES:
            with self.subTest(name):
                self.assertEqual(self.refused(name), BAD)

    def test_too_long_as_the_name_of_a_file(self):
        for name in LONG_NAMES:
            with self.subTest(name[:20]):
                self.assertEqual(self.refused(name), TOO_LONG)

    def test_refused_ones_leave_nothing(self):
        for name in BAD_NAMES + LONG_NAMES:
            self.refused(name)
        self.assertEqual(self.collection.queues, {})
        self.assertEqual(self.collection.stats.queue_creates, 0)


class LifeTest(unittest.TestCase):

    def setUp(self):
        self.world = World(FakeConfig({b'small': {'max_items': 1}}))
        self.collection = self.world.collection
        self.stats = self.world.stats
        self.told = []

    def test_created_once(self):
        queue = self.collection.need(b'q')
        self.assertIs(self.collection.need(b'q'), queue)
        self.assertIs(self.collection.lookup(b'q'), queue)
        self.assertEqual(self.stats.queue_creates, 1)

    def test_lookup_and_check_create_nothing(self):
        self.assertIsNone(self.collection.lookup(b'q'))
        self.collection.check_readable(b'q')
        self.collection.line_for(b'q')
        self.assertEqual((self.collection.queues, self.stats.queue_creates), ({}, 0))

    def test_settings_of_its_name(self):
        self.assertEqual(self.collection.need(b'small').max_items, 1)
        self.assertEqual(self.collection.need(b'other').max_items, 2147483647)

    def test_names_are_sorted(self):
        for name in (b'b', b'a', b'\xe9', b'B'):
            self.collection.need(name)
        self.assertEqual(list(self.collection.names()), [b'B', b'a', b'b', b'\xe9'])

    def test_delete(self):
        queue = self.collection.need(b'q')
        queue.put(b'1', 0, 0, False)
        self.assertEqual([item.data for item in self.collection.delete(b'q')], [b'1'])
        self.assertTrue(queue.closed)
        self.assertIsNone(self.collection.lookup(b'q'))
        self.assertEqual((self.stats.queue_deletes, self.stats.queue_expires), (1, 0))

    def test_delete_of_an_unknown_one(self):
        for name in (b'q', b'a.b', b'', b'a' * 300):
            self.assertIsNone(self.collection.delete(name))
        self.assertEqual(self.stats.queue_deletes, 0)

    def test_statistics_go_with_the_queue(self):
        self.collection.need(b'q').put(b'1', 0, 0, False)
        self.collection.delete(b'q')
        queue = self.collection.need(b'q')
        self.assertEqual((queue.stats.put_items, len(queue.items), queue.xid), (0, 0, 0))
        self.assertEqual(self.stats.queue_creates, 2)

    # -- D14

    def wait(self, name, who):
        waiter = Waiter(Owner(who, self.told))
        self.collection.line_for(name).join(waiter)
        return waiter

    def test_waiters_are_adopted_by_the_new_queue(self):
        self.wait(b'q', 'a')
        self.wait(b'q', 'b')
        queue = self.collection.need(b'q')
        self.assertEqual(self.told, [])
        self.assertEqual(len(queue.waiters), 2)
        self.assertIs(self.collection.line_for(b'q'), queue.waiters)
        queue.put(b'1', 0, 0, False)
        self.assertEqual(self.told, ['a'])

    def test_waiters_of_another_name_are_not(self):
        self.wait(b'q', 'a')
        self.collection.need(b'other').put(b'1', 0, 0, False)
        self.assertEqual(self.told, [])

    def test_delete_ends_such_waits_too(self):
        waiter = self.wait(b'q', 'a')
        self.assertIsNone(self.collection.delete(b'q'))
        self.assertEqual((waiter.dismissed, self.told), (True, ['a']))
        self.assertEqual(self.stats.queue_deletes, 0)

    def test_delete_ends_waits_for_the_queue(self):
        self.collection.need(b'q')
        waiter = self.wait(b'q', 'a')
        self.collection.delete(b'q')
        self.assertTrue(waiter.dismissed)

    def test_line_is_kept_while_somebody_stands_in_it(self):
        waiter = self.wait(b'q', 'a')
        self.collection.forget_line(b'q')
        self.assertEqual(len(self.collection.line_for(b'q')), 1)
        self.collection.line_for(b'q').leave(waiter)
        line = self.collection.line_for(b'q')
        self.collection.forget_line(b'q')
        self.assertIsNot(self.collection.line_for(b'q'), line)

    def test_forgetting_the_line_of_a_queue_or_of_nothing(self):
        queue = self.collection.need(b'q')
        self.collection.forget_line(b'q')
        self.collection.forget_line(b'none')
        self.assertIs(self.collection.line_for(b'q'), queue.waiters)

    def test_stop_dismisses_all(self):
        self.collection.need(b'q')
        waiters = [self.wait(b'q', 'a'), self.wait(b'none', 'b')]
        self.collection.dismiss_waiters()
        self.assertTrue(all(waiter.dismissed for waiter in waiters))

    # -- reload

    def test_reload_changes_queues_that_are_there(self):
        queue = self.collection.need(b'q')
        self.collection.configure(FakeConfig({b'q': {'max_items': 7}}, max_item_size=3))
        self.assertEqual((queue.max_items, queue.max_item_size), (7, 3))
        self.assertEqual(self.collection.need(b'new').max_item_size, 3)

    def test_reload_sets_up_configured_queues(self):
        self.wait(b'new', 'a')
        self.collection.configure(FakeConfig({b'new': {}, b'new+child': {}}))
        self.assertEqual(list(self.collection.queues), [b'new', b'new+child'])
        self.assertEqual((len(self.collection.lookup(b'new').waiters), self.told), (1, []))

    def test_queues_that_are_configured_no_more_stay(self):
        self.collection.configure(FakeConfig({b'new': {}}))
        self.collection.configure(FakeConfig())
        self.assertIn(b'new', self.collection.queues)


class SpoolCollectionTest(SpoolTest):
    """With journals, in a spool."""

    def collection(self, queues=None, **default):
        default.setdefault('keep_journal', True)
        self.stats = ServerStats()
        return QueueCollection(self.disk, self.hub, self.syncer, MovedClock(), self.stats,
                               FakeConfig(queues, **default), self.logger)

    def loaded(self, queues=None, **default):
        collection = self.collection(queues, **default)
        collection.load(self.spool)
        return collection

    def test_empty_file_with_the_first_put(self):
        collection = self.loaded()
        collection.need(b'q')
        self.assertEqual((self.files(), self.read()), (['q'], b''))

    def test_name_of_the_file_is_utf_8(self):
        self.loaded().need(b'\xe9')
        self.assertEqual(self.files(), ['\xe9'])

    def test_what_is_in_the_spool_is_set_up(self):
        collection = self.loaded()
        collection.need(b'a').put(b'1', 0, 0, False)
        collection.need(b'b')
        for queue in collection.queues.values():
            queue.close()
        again = self.loaded()
        self.assertEqual(list(again.names()), [b'a', b'b'])
        self.assertEqual([item.data for item in again.lookup(b'a').items], [b'1'])
        self.assertEqual(self.stats.queue_creates, 2)
        # D41
        self.assertEqual((again.lookup(b'a').stats.put_items, self.stats.total_items), (0, 0))

    def test_configured_queues_exist(self):
        collection = self.loaded({b'x': {}, b'memory': {'keep_journal': False}})
        self.assertEqual((list(collection.names()), self.files()), ([b'memory', b'x'], ['x']))
        self.assertEqual(self.stats.queue_creates, 2)

    def test_configured_queue_that_is_in_the_spool(self):
        self.loaded().need(b'x').put(b'1', 0, 0, False)
        collection = self.loaded({b'x': {}})
        self.assertEqual(len(collection.lookup(b'x').items), 1)
        self.assertEqual(self.stats.queue_creates, 1)

    def test_files_of_a_queue_without_a_journal_are_left_alone(self):
        # D56
        self.write('x', b'\x01\x01')
        collection = self.loaded({b'x': {'keep_journal': False}})
        self.assertIsNone(collection.lookup(b'x').journal)
        collection.need(b'x').put(b'1', 0, 0, False)
        for queue in collection.queues.values():
            queue.close()
        self.assertEqual(self.read('x'), b'\x01\x01')
        self.assertEqual(len([line for line in self.log.lines if 'WARNING' in line and 'x' in line]), 1)

    def test_files_left_alone_are_left_alone_after_a_reload_too(self):
        # D56, config 3: keep_journal is taken at the next start
        self.write('x', b'\x01\x01')
        collection = self.loaded(keep_journal=False)
        collection.configure(FakeConfig(keep_journal=True))
        queue = collection.need(b'x')
        queue.put(b'1', 0, 0, False)
        self.assertEqual((queue.settings.keep_journal, self.read('x')), (False, b'\x01\x01'))
        collection.delete(b'x')
        collection.need(b'x').put(b'1', 0, 0, False)
        collection.need(b'y')
        self.assertEqual((self.read('x'), self.files()), (b'\x01\x01', ['x', 'y']))

    def test_deleting_removes_the_files(self):
        collection = self.loaded()
        collection.need(b'q').put(b'1', 0, 0, False)
        collection.need(b'other')
        collection.delete(b'q')
        self.assertEqual(self.files(), ['other'])
        self.assertTrue(self.hub.finish(), 'closing what was deleted takes long: a thread does it')

    def test_only_a_queue_with_a_journal_is_compacted(self):
        collection = self.loaded({b'memory': {'keep_journal': False}, b'q': {}})
        self.assertIsNone(collection.lookup(b'memory').compactor)
        queue = collection.lookup(b'q')
        self.assertIs(queue.journal.queue, queue)
        queue.put(b'x' * 100, 0, 0, False)
        queue.take(False, 0)
        collection.configure(FakeConfig(keep_journal=True, default_journal_size=100))
        queue.put(b'', 0, 0, False)
        self.hub.finish_all()
        self.assertEqual(queue.stats.journal_rewrites, 1)

    def test_more_than_fits_into_memory_is_left_on_disk(self):
        # journal 9, from the start on
        collection = self.loaded()
        for number in range(10):
            collection.need(b'q').put(b'%d' % number, 0, 0, False)
        collection.lookup(b'q').close()
        queue = self.loaded(max_memory_size=3).lookup(b'q')
        self.assertEqual((len(queue.items), queue.behind, queue.count, queue.bytes), (3, 7, 10, 10))
        self.assertEqual([queue.take(False, 0).data for _ in range(10)],
                         [b'%d' % number for number in range(10)])

    def test_file_that_cannot_be_created(self):
        # D68
        collection = self.loaded()
        told = []
        collection.line_for(b'q').join(Waiter(Owner('a', told)))
        self.system.faults['open'] = errno.EMFILE
        with self.assertRaises(JournalError) as raised:
            collection.need(b'q')
        self.assertEqual((raised.exception.why, raised.exception.full), ('Too many open files', False))
        self.assertEqual((collection.queues, self.stats.queue_creates, self.stats.journal_errors), ({}, 0, 1))
        del self.system.faults['open']
        collection.need(b'q').put(b'1', 0, 0, False)
        self.assertEqual(told, ['a'])

    def test_reload_that_cannot_set_up_a_queue_changes_nothing(self):
        collection = self.loaded()
        queue = collection.need(b'q')
        self.system.faults['open'] = errno.EACCES
        with self.assertRaises(JournalError):
            collection.configure(FakeConfig({b'new': {}}, max_items=1, keep_journal=True))
        self.assertEqual((list(collection.queues), queue.max_items), ([b'q'], 2147483647))
        self.assertEqual(collection.config.queue(b'q').max_items, 2147483647)

    def test_journal_that_cannot_be_synced_closes(self):
        collection = self.loaded()
        queues = [collection.need(name) for name in (b'a', b'b', b'c')]
        for queue in queues:
            queue.put(b'1', 0, 0, False)
        self.system.faults['fsync'] = errno.EIO
        for queue in queues:
            queue.close()
        self.assertTrue(all(queue.closed for queue in queues))
