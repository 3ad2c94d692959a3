"""When the journal of a queue is rotated and rewritten, and what bars it (D13, D44, D9, D64)."""

import errno
import os

from kestrel.errors import JournalError
from kestrel.item import Item
from kestrel.journal.record import addition
from kestrel.journal.sync import TimedSync
from support.clock import THEN
from support.compacted import HEADER, LARGE, CompactedTest

DELAY = 60      # min_journal_compact_delay of the tests, seconds
BIG = b'b' * (100 - HEADER)     # a record of 100 bytes


class LookTest(CompactedTest):
    """The check is made before each put, and after all that removed something or put it back."""

    def prepare(self, name):
        """A queue with one open read and an expired head, at exactly its max_journal_size."""
        self.begin()
        self.put(b'one', b'two')
        self.queue.put(b'expired', 0, self.clock.now_ms() + 1, False)
        self.put(b'three')
        xid = self.open()
        if name == 'sweep':
            self.get()
            self.clock.advance(1)
        self.change(max_journal_size=self.queue.journal.total())
        return xid

    def test_after_what_removes_or_puts_back(self):
        for name in ('get', 'open', 'confirm', 'unremove', 'sweep', 'flush'):
            with self.subTest(name):
                xid = self.prepare(name)
                {'get': self.get, 'open': self.open, 'confirm': lambda: self.queue.confirm(xid),
                 'unremove': lambda: self.queue.unremove(xid), 'sweep': lambda: self.queue.sweep(1),
                 'flush': self.queue.flush}[name]()
                self.assertTrue(self.compactor.rewriting)
                self.settle()
                self.check_start()
                self.queue.delete()
                self.settle()

    def test_before_a_put(self):
        self.prepare('put')
        self.put(b'above it')
        self.assertFalse(self.compactor.rewriting)
        self.put(b'finds it')
        self.assertTrue(self.compactor.rewriting)
        self.settle()
        self.assertEqual(self.records(), 'A[one] T1 A[two] A[expired] A[three] A[above it] A[finds it]')

    def test_not_after_a_sweep_that_removed_nothing(self):
        self.begin()
        self.put(b'one')
        self.change(max_journal_size=0)
        self.assertEqual(self.queue.sweep(10), 0)
        self.assertFalse(self.compactor.rewriting)

    def test_old_files_count_from_the_start_on(self):
        self.begin()
        self.put(BIG, BIG)
        self.rotate()
        self.get(2)
        self.assertEqual(self.queue.journal.total(), 202)
        self.settle()
        self.queue.close()
        self.begin_again(default_journal_size=202)
        self.assertEqual(self.queue.journal.total(), 202)
        self.assertEqual(self.queue.journal.size, 2)
        self.put(b'')       # the check is before it, nothing waits
        self.settle()
        self.assertEqual(self.files(), ['q'])
        self.assertEqual(self.records(), 'A[]')


class GuardTest(CompactedTest):
    """A rewrite that did little is not followed by the next."""

    def rewrites(self):
        self.settle()
        return self.queue.stats.journal_rewrites

    def grow(self, count=30):
        """Add to the journal, not to the queue."""
        for _ in range(count):
            self.queue.unremove(self.open())

    def test_rule_2_bars_itself(self):
        self.begin(max_journal_size=250, min_journal_compact_delay=DELAY * 1000000)
        self.put(BIG)
        self.grow()
        self.assertEqual(self.rewrites(), 1)
        began = self.clock.seconds
        self.grow()
        self.clock.seconds = began + DELAY - 6
        self.grow(1)
        self.assertEqual(self.rewrites(), 1)
        self.clock.seconds = began + DELAY
        self.grow(1)
        self.assertEqual(self.rewrites(), 2)

    def test_it_counts_from_the_new_file_on(self):
        self.begin(max_journal_size=150, min_journal_compact_delay=DELAY * 1000000)
        self.put(BIG, BIG, BIG)
        self.assertTrue(self.compactor.rewriting)
        self.clock.advance(DELAY)       # a slow disk
        self.get()
        self.assertEqual(self.rewrites(), 1)

    def test_no_delay_no_guard(self):
        self.begin(max_journal_size=250, min_journal_compact_delay=None)
        self.put(BIG)
        self.grow()
        first = self.rewrites()
        self.grow()
        self.assertTrue(self.rewrites() > first)

    def empty_with_open_reads(self, count, **settings):
        """Rule 1 finds an empty queue, and ``count`` open reads of 105 bytes each that it has to keep."""
        self.begin(default_journal_size=600, min_journal_compact_delay=DELAY * 1000000, **settings)
        self.put(*[BIG] * 6)
        self.open(count)
        self.get(6 - count)
        self.assertEqual(self.rewrites(), 1)
        self.assertEqual(self.queue.journal.size, count * 105)

    def test_rule_1_that_left_half_of_it_bars_both_rules(self):
        self.empty_with_open_reads(3)
        self.put(*[BIG] * 3)
        self.get(3)
        self.assertEqual(self.rewrites(), 1, 'rule 1')
        self.change(max_journal_size=600)
        self.put(b'waits')
        self.assertEqual(self.rewrites(), 1, 'rule 2')
        self.clock.advance(DELAY)
        self.get()
        self.assertEqual(self.rewrites(), 2)

    def test_rule_1_that_left_less_bars_nothing(self):
        self.empty_with_open_reads(2)
        self.put(*[BIG] * 4)
        self.get(4)
        self.assertEqual(self.rewrites(), 2)

    def test_rule_1_that_left_half_of_it_without_a_delay(self):
        self.begin(default_journal_size=600, min_journal_compact_delay=None)
        self.put(*[BIG] * 6)
        self.open(6)
        first = self.rewrites()
        self.assertTrue(first)
        self.put(b'one')
        self.get()
        self.assertTrue(self.rewrites() > first)

    def test_a_rewrite_that_failed_is_not_tried_again_for_a_second(self):
        self.begin(max_journal_size=250, min_journal_compact_delay=None)
        self.put(BIG)
        self.system.faults['rename'] = errno.EIO
        self.grow()
        self.hub.finish_all()
        created = self.created()
        self.assertEqual(created, 1)
        self.grow()
        self.hub.finish_all()
        self.assertEqual(self.created(), created)
        self.assertEqual([line for line in self.log.lines if 'rewritten' in line],
                         ['ERROR journal of queue q could not be rewritten: Input/output error'])
        self.system.faults.clear()
        self.clock.advance(1.0)
        self.grow(1)
        self.assertEqual(self.rewrites(), 1)

    def created(self):
        return len([words for words in self.system.told if words.startswith('create q~~')])

    def test_a_reload_moves_the_bar(self):
        # D44
        self.begin(max_journal_size=250, min_journal_compact_delay=DELAY * 1000000)
        self.put(BIG)
        self.grow()
        self.assertEqual(self.rewrites(), 1)
        began = self.clock.seconds
        self.grow()
        self.change(max_journal_size=250, min_journal_compact_delay=2 * DELAY * 1000000)
        self.clock.seconds = began + 2 * DELAY - 6
        self.put(b'')
        self.assertEqual(self.rewrites(), 1)
        self.change(max_journal_size=250, min_journal_compact_delay=None)
        self.put(b'')
        self.assertTrue(self.compactor.rewriting)

    def test_a_reload_counts_from_the_next_operation_on(self):
        self.begin()
        self.put(BIG)
        self.change(max_journal_size=10, min_journal_compact_delay=None)
        self.grow(1)
        self.assertEqual(self.rewrites(), 2, 'the second for what was done during the first')


class RotationTest(CompactedTest):

    def test_the_current_file_goes_when_it_is_above_max_memory_size(self):
        self.begin(max_memory_size=200)
        self.put(BIG, BIG)
        self.assertEqual(self.files(), ['q'])
        self.put(b'two')
        self.assertEqual(self.files(), ['q'], 'not more than it')
        self.put(b'three')
        self.assertEqual(self.files(), ['q', 'q.%d' % THEN])
        self.assertEqual(self.records(), 'A[three]')
        self.assertEqual(self.queue.stats.journal_rotations, 1)
        self.assertEqual(sum(self.queue.stats.journal_rotation_usec.counts()), 1)

    def test_items_that_are_put_together_make_the_same_files(self):
        # spec journal 8, D13: the check is made before each put
        sizes = []
        for together in (1, 7, 40):
            self.begin(max_memory_size=200, max_journal_size=900)
            left = [b'%03d' % number for number in range(40)]
            while left:
                left = left[self.queue.put_many(left[:together], 0)[0]:]
            sizes.append([len(self.read(name)) for name in self.files()])
            self.assertGreater(self.queue.stats.journal_rotations, 2)
            self.check_start()
            self.queue.delete()
            self.settle()
        self.assertEqual(sizes, sizes[:1] * 3)

    def test_a_put_that_is_refused_rotates_nothing(self):
        # spec journal 8: the check is made before a put is journaled
        self.begin(max_memory_size=99, max_item_size=100)
        self.put(BIG)
        for large in ([b'x' * 101], [b'x' * 101, b'small']):
            self.assertEqual(self.queue.put_many(large, 0), (0, None))
            self.assertEqual(self.files(), ['q'])
        self.assertEqual(self.queue.put_many([b'small'], 0), (1, None))
        self.assertEqual(len(self.files()), 2)

    def test_items_that_are_put_together_are_rewritten_for_as_soon(self):
        self.begin(max_journal_size=100)
        self.assertEqual(self.queue.put_many([b'2'] * 10, 0), (5, None), '22 bytes each: the sixth put has to look')
        self.assertFalse(self.compactor.rewriting)
        self.queue.put_many([b'2'] * 5, 0)
        self.assertTrue(self.compactor.rewriting)

    def test_names_are_times_but_later_than_all_before(self):
        self.begin()
        self.put(b'one')
        names = []
        for moved in (0, 0, -5000, 5000, 10000):
            self.clock.ms += moved
            names.append(self.rotate())
            self.put(b'one more')
        self.assertEqual(names, ['q.%d' % (THEN + later) for later in (0, 1, 2, 3, 10000)])
        self.check_start()

    def test_a_start_remembers_a_time_that_lies_ahead(self):
        self.write('q.%d' % (THEN + 99), addition(Item(b'one', THEN), False))
        self.write('q', b'')
        self.begin_again()
        self.put(b'two')
        self.assertEqual(self.rotate(), 'q.%d' % (THEN + 100))
        self.assertEqual(self.after_a_start(), [b'one', b'two'])

    def test_one_that_fails_changes_nothing_and_is_tried_again_a_second_later(self):
        for words in ('rename', 'create'):
            with self.subTest(words):
                self.begin(max_memory_size=200)
                self.put(BIG, BIG, b'two')
                number = len(self.system.told) + (0 if words == 'rename' else 1)
                self.system.failing = (number,)
                self.put(b'three', b'four')
                self.assertTrue(self.system.told[number].startswith(words))
                self.assertEqual(self.files(), ['q'])
                self.assertIn('ERROR journal of queue q could not rotate its file: Input/output error',
                              self.log.lines)
                self.assertEqual(len(self.after_a_start()), 5)
                self.clock.advance(0.9)
                self.put(b'five')
                self.assertEqual(self.files(), ['q'])
                self.clock.advance(0.1)
                self.put(b'six')
                self.assertEqual(len(self.files()), 2)
                self.assertEqual(self.records(), 'A[six]')
                self.assertEqual(len(self.after_a_start()), 7)
                self.queue.delete()
                self.settle()

    def test_not_while_records_find_no_room(self):
        self.begin(max_memory_size=200)
        self.put(BIG, BIG, b'two')
        self.system.room = 0
        self.get()
        self.assertTrue(self.queue.journal.is_pending())
        self.assertEqual(self.files(), ['q'], 'what is pending belongs behind what stands in this file')
        self.system.room = None
        self.put(b'three', b'four')
        self.assertEqual(self.files(), ['q', 'q.%d' % THEN])
        self.check_start()


class CheckpointTest(CompactedTest):
    """A checkpoint is what lets old files of a long queue be packed."""

    def in_read_behind(self, **settings):
        """Two of 100 bytes in memory; the next two on disk, in a file that the next put rotates."""
        self.begin(max_memory_size=150, min_journal_compact_delay=None, **settings)
        self.put(*[BIG] * 4)
        self.assertIsNotNone(self.queue.reader)

    def test_in_read_behind_above_max_journal_size(self):
        self.in_read_behind(max_journal_size=250)
        self.put(BIG)
        name = self.files()[-1]
        self.assertEqual(self.queue.checkpoint.file.path, self.spool + b'/' + name.encode())
        self.assertEqual(self.queue.checkpoint.opened, [])

    def test_none_below_it(self):
        self.in_read_behind(max_journal_size=1000)
        self.put(BIG)
        self.assertEqual(len(self.files()), 3)
        self.assertIsNone(self.queue.checkpoint)

    def test_it_remembers_the_open_reads_the_highest_xid_first(self):
        self.in_read_behind(max_journal_size=250)
        self.compactor.configure(self.queue.settings.replaced(max_memory_size=LARGE))
        self.open(2)
        self.compactor.configure(self.queue.settings)
        self.put(BIG)
        self.assertEqual([xid for xid, _ in self.queue.checkpoint.opened], [2, 1])

    def test_at_most_one(self):
        self.in_read_behind(max_journal_size=250)
        self.put(BIG)
        first = self.queue.checkpoint
        self.put(*[BIG] * 6)
        self.assertTrue(self.queue.stats.journal_rotations > 1)
        self.assertIs(self.queue.checkpoint, first)

    def test_it_goes_with_read_behind(self):
        self.in_read_behind(max_journal_size=250)
        self.put(BIG)
        self.assertIsNotNone(self.queue.checkpoint)
        self.queue.flush()
        self.assertIsNone(self.queue.reader)
        self.assertIsNone(self.queue.checkpoint)

    def test_the_reader_that_leaves_its_file_has_it_packed(self):
        self.in_read_behind(max_journal_size=250)
        self.put(BIG)
        self.get(2)
        self.assertIsNotNone(self.queue.checkpoint)
        self.get()
        self.assertIsNone(self.queue.checkpoint)
        self.assertIsNotNone(self.compactor.job)
        self.assertFalse(self.compactor.rewriting)

    def test_no_pack_while_records_find_no_room(self):
        self.in_read_behind(max_journal_size=250)
        self.put(BIG)
        self.system.room = 0
        self.get(3)
        self.assertIsNone(self.queue.checkpoint)
        self.assertIsNone(self.compactor.job, 'the removals that its placeholders are for are not on disk')


class EmptiedTest(CompactedTest):
    """A full disk, and a queue whose consumers have emptied it: rewriting frees the space (D64)."""

    def fill(self):
        self.begin(default_journal_size=300, min_journal_compact_delay=None)
        self.put(BIG, BIG, BIG)
        self.system.room = 0

    def test_its_records_that_found_no_room_become_void(self):
        self.fill()
        self.get(3)
        self.assertTrue(self.queue.journal.is_pending())
        self.assertTrue(self.compactor.rewriting)
        with self.assertRaises(JournalError):
            self.put(b'while it is under way')
        self.settle()
        self.assertFalse(self.queue.journal.is_pending())
        self.assertEqual((self.files(), self.read()), (['q'], b''))
        self.system.room = None
        self.put(b'one')
        self.assertEqual(self.after_a_start(), [b'one'])

    def test_records_that_come_meanwhile_are_written_to_the_new_file(self):
        self.fill()
        xid = self.open(3)
        self.system.room = 3 * 105 + 10     # somebody else has freed it
        self.assertTrue(self.queue.unremove(xid))
        self.queue.confirm(xid - 1)
        self.settle()
        self.assertFalse(self.queue.journal.is_pending())
        self.assertEqual(len(self.in_memory()), 2)
        self.check_start()

    def test_if_it_fails_they_are_written_when_there_is_room(self):
        self.fill()
        self.system.faults['rename'] = errno.EIO
        self.get(3)
        self.hub.finish_all()
        self.assertTrue(self.queue.journal.is_pending())
        self.system.faults.clear()
        self.system.room = None
        self.hub.advance(0.2)
        self.assertEqual(self.records().split(' ')[-3:], ['R', 'R', 'R'])
        self.assertEqual(self.after_a_start(), [])

    def test_a_rewrite_that_is_not_about_an_empty_queue_waits(self):
        self.fill()
        self.change(max_journal_size=100)
        self.get(2)
        self.assertFalse(self.compactor.rewriting)


class StopTest(CompactedTest):
    """``rewrite_emptied``: a graceful stop (queues 13)."""

    def test_nothing_waits(self):
        self.begin()
        self.put(b'1', b'2')
        self.get(2)
        self.assertTrue(self.compactor.rewrite_emptied())
        self.settle()
        self.assertEqual((self.files(), self.read()), (['q'], b''))

    def test_open_reads_stay(self):
        self.begin()
        self.put(b'1', b'2', b'3')
        self.open(2)
        self.get()
        self.assertTrue(self.compactor.rewrite_emptied())
        self.settle()
        self.assertEqual((self.files(), self.records()), (['q'], 'A[2] T2 A[1] T1'))
        self.check_start()

    def test_rotated_files_go(self):
        self.begin()
        self.put(b'1')
        self.rotate()
        self.get()
        self.assertTrue(self.compactor.rewrite_emptied())
        self.settle()
        self.assertEqual((self.files(), self.read()), (['q'], b''))

    def test_not_if_something_waits(self):
        self.begin()
        self.put(b'1', b'2')
        self.get()
        self.assertFalse(self.compactor.rewrite_emptied())

    def test_not_if_there_is_nothing_to_do(self):
        self.begin()
        self.assertFalse(self.compactor.rewrite_emptied())

    def test_not_beside_another_job(self):
        self.begin()
        self.put(b'1')
        self.get()
        self.assertTrue(self.compactor.rewrite_emptied())
        self.assertFalse(self.compactor.rewrite_emptied())

    def test_not_while_puts_wait_for_an_fsync(self):
        self.begin(sync_journal=0)
        self.put(b'1')
        self.assertEqual(self.queue.count, 0)
        self.assertFalse(self.compactor.rewrite_emptied())

    def test_one_that_fails_leaves_the_old_file(self):
        for call in 'open', 'fsync', 'rename':
            with self.subTest(call):
                self.begin()
                self.put(b'1', b'2')
                self.open()
                self.get()
                before = self.records()
                self.system.faults[call] = errno.EIO
                self.compactor.rewrite_emptied()
                self.hub.finish_all()
                self.system.faults.clear()
                self.assertIsNone(self.compactor.job)
                self.assertEqual((self.files(), self.records()), (['q'], before))
                self.assertEqual(self.after_a_start(), [b'1'])
                self.queue.delete()
                self.hub.finish_all()


class SuspectTest(CompactedTest):
    """After an fsync that failed nothing is answered before a rewrite (D9)."""

    def refuse(self, *datas):
        """These are put, and refused; -> their commits."""
        commits = [self.put(data) for data in datas]
        self.system.faults['fsync'] = errno.EIO
        self.hub.turn()
        self.hub.finish()
        self.system.faults.clear()
        return commits

    def test_the_next_put_is_answered_after_a_rewrite_without_the_refused_one(self):
        self.begin(sync_journal=0)
        answered = self.put(b'one')
        self.hub.finish_all()
        refused, = self.refuse(b'two')
        self.assertEqual((answered.error, refused.error.why), (None, 'Input/output error'))
        commit = self.put(b'three')
        self.hub.turn()
        self.assertTrue(self.compactor.rewriting)
        self.assertFalse(commit.done)
        self.hub.finish_all()
        self.assertTrue(commit.done and commit.error is None)
        self.assertEqual(self.records(), 'A[one] A[three]')
        self.assertEqual(self.in_memory(), [b'one', b'three'])

    def test_it_is_refused_if_that_fails(self):
        self.begin(sync_journal=0)
        self.refuse(b'one')
        commit = self.put(b'two')
        self.system.faults['rename'] = errno.EROFS
        self.hub.finish_all()
        self.assertEqual(commit.error.why, 'Read-only file system')
        self.assertEqual(self.in_memory(), [])
        self.system.faults.clear()
        commit = self.put(b'three')
        self.hub.finish_all()
        self.assertIsNone(commit.error, 'somebody waits, so it is tried although it has just failed')
        self.check_start()

    def test_an_answered_one_behind_it_keeps_it_from_being_cut_off(self):
        self.begin(sync_journal=None)
        self.put(b'one')
        refused = self.queue.put(b'two', 0, 0, True)
        self.put(b'three')      # waits for nothing: answered
        self.system.faults['fsync'] = errno.EIO
        self.hub.finish_all()
        self.system.faults.clear()
        self.assertIsNotNone(refused.error)
        self.assertEqual(self.records(), 'A[one] A[two] A[three]')
        self.assertEqual((self.queue.count, self.get(2)), (2, [b'one', b'three']))
        self.assertEqual(self.records(), 'A[one] A[two] A[three] R R R', 'the refused one too, in its turn')

    def begin_rewrite_without_a_void(self, **settings):
        """A refused put stands between ``one`` and ``three``; -> the commit that waits for a rewrite without it."""
        self.begin(sync_journal=None, **settings)
        self.put(b'one')
        self.queue.put(b'two', 0, 0, True)
        self.put(b'three')
        self.system.faults['fsync'] = errno.EIO
        self.hub.finish_all()
        self.system.faults.clear()
        commit = self.queue.put(b'four', 0, 0, True)
        self.hub.turn()
        self.assertTrue(self.compactor.rewriting)
        return commit

    def test_a_void_item_that_leaves_during_the_rewrite_that_leaves_it_out(self):
        """The rewrite has become wrong: another one begins, behind the REMOVE of the void item."""
        for turns in range(4):
            with self.subTest(turns=turns):
                commit = self.begin_rewrite_without_a_void()
                for _ in range(turns):
                    self.work()
                self.assertEqual(self.get(), [b'one'])
                self.settle()
                self.assertIsNone(commit.error)
                self.assertEqual(self.in_memory(), [b'three', b'four'])
                self.check_start()
                self.queue.delete()
                self.settle()

    def test_a_flush_during_the_rewrite_that_leaves_it_out(self):
        self.begin_rewrite_without_a_void()
        self.queue.flush()
        self.settle()
        self.assertEqual(self.in_memory(), [b'four'])
        self.check_start()

    def test_no_other_rewrite_begins_if_the_queue_is_in_read_behind_by_then(self):
        commit = self.begin_rewrite_without_a_void(max_memory_size=30)
        for number in range(5):
            self.put(b'%d' % number * 10)
        self.assertIsNotNone(self.queue.reader)
        self.assertEqual(self.get(), [b'one'])
        self.settle()
        self.assertIsNotNone(commit.error, 'a rewrite would lose what is on disk')
        self.assertEqual([data for data in self.after_a_start() if data != b'four'], self.get(6))

    def test_who_waits_for_the_rewrite_of_a_queue_that_is_deleted_is_refused(self):
        self.begin(sync_journal=0)
        self.refuse(b'one')
        commit = self.put(b'two')
        self.hub.turn()
        self.assertTrue(self.compactor.rewriting)
        self.queue.delete()
        self.settle()
        self.assertTrue(commit.done)
        self.assertIsNotNone(commit.error, 'no fsync of that file proves anything any more')

    def test_a_refused_put_is_not_in_a_rewrite_that_was_under_way(self):
        """Its record is cut off the old file, and must not be copied to the new one."""
        for steps in range(4):
            with self.subTest(steps=steps):
                self.begin(sync_journal=0)
                self.put(b'one')
                self.settle()
                refused = self.put(b'two')
                self.rewrite()
                self.hub.turn()
                self.system.faults['fsync'] = errno.EIO
                sync = next(entry for entry in self.hub.jobs if isinstance(entry[0], TimedSync))
                self.hub.jobs.remove(sync)
                result = sync[0](), None
                self.system.faults.clear()
                for _ in range(steps):
                    self.work()
                sync[1](*result)
                self.settle()
                self.put(b'three')
                self.settle()
                self.assertIsNotNone(refused.error)
                # A file that was replaced meanwhile may keep its record, as a void item.
                self.assertEqual([data for data in self.in_memory() if data is not None], [b'one', b'three'])
                if None not in self.in_memory():
                    self.check_start()
                self.queue.delete()
                self.settle()

    def work(self):
        if self.hub.jobs:
            job, done = self.hub.jobs.pop(0)
            done(job(), None)

    def test_read_behind_makes_the_rewrite_impossible(self):
        self.begin(sync_journal=0, max_memory_size=100)
        for data in (BIG, BIG, BIG, BIG):
            self.put(data)
        self.hub.finish_all()
        self.assertIsNotNone(self.queue.reader)
        self.refuse(b'five')
        commit = self.put(b'six')
        self.hub.finish_all()
        self.assertIsNotNone(commit.error)
        self.assertFalse(self.compactor.rewriting)
        self.assertEqual(len(self.after_a_start()), 4, 'cut off: nothing answered stood behind them')
        self.assertEqual(len(self.get(4)), 4)
        self.assertEqual(self.queue.count, 0)
        commit = self.put(b'seven')
        self.hub.finish_all()
        self.assertIsNone(commit.error)

    def test_a_refused_put_on_disk_is_told_although_records_were_pending_before_it(self):
        """It is known by its place in the file, where the pending records come to stand before it."""
        self.begin(sync_journal=0, max_memory_size=100)
        for data in (BIG, BIG, BIG):
            self.put(data)
        self.hub.finish_all()
        self.system.room = 0
        xid = self.open()
        self.assertTrue(self.queue.journal.is_pending())
        self.system.room = None
        refused = self.put(b'refused')
        later = self.queue.confirm(xid)         # answered: the refused one cannot be cut off
        self.system.faults['fsync'] = errno.EIO
        self.hub.finish_all()
        self.assertIsNotNone(refused.error)
        self.assertTrue(later.done)
        self.system.faults.clear()
        self.assertEqual(self.get(2), [BIG, BIG])
        self.assertIsNone(self.queue.take(False, self.clock.now_ms()))


class EndTest(CompactedTest):
    """A stop or a delete with a job under way."""

    def test_stop_takes_the_new_file_away(self):
        self.begin()
        self.assertEqual(self.compactor.stop(), [])
        self.put(b'one', b'two')
        self.rewrite()
        self.assertEqual(len(self.files()), 2)
        self.assertIsNone(self.compactor.stop(), 'a thread is at it')
        self.hub.finish()
        self.assertEqual(self.compactor.stop(), [])
        self.assertEqual(self.files(), ['q'])
        self.check_start()

    def test_stop_leaves_a_rewrite_that_is_put_in_place_to_the_next_start(self):
        self.begin()
        self.put(b'one', b'two')
        self.rewrite()
        while not self.queue.stats.journal_rewrites:
            self.hub.finish()
        self.assertIsNone(self.compactor.stop())
        self.hub.finish()
        self.assertEqual([file.path for file in self.compactor.stop()], [self.spool + b'/q.%d' % THEN])
        self.assertEqual(self.files(), ['q.%d' % THEN, 'q.%d.pack' % THEN])
        self.queue.close()
        self.check_start()

    def test_delete_at_any_moment_leaves_no_file(self):
        for turns in range(9):
            with self.subTest(turns=turns):
                self.begin()
                self.put(b'one', b'two')
                self.rotate()
                self.put(b'three')
                self.rewrite()
                for _ in range(turns):
                    self.hub.finish()
                self.queue.delete()
                self.settle()
                self.assertEqual(self.files(), [])
                self.assertEqual([line for line in self.log.lines if 'ERROR' in line], [])

    def test_delete_while_a_step_is_tried_again(self):
        """Whichever it is, no file is left and no descriptor."""
        for step in range(6):
            with self.subTest(step=step):
                self.begin()
                self.put(b'one')
                self.rotate()
                self.hub.finish_all()
                self.rewrite()
                while not self.queue.stats.journal_rewrites:
                    self.hub.finish()
                self.system.failing = (len(self.system.told) + step,)
                self.hub.finish_all()
                self.assertIsNotNone(self.compactor.job)
                self.system.failing = ()
                self.queue.delete()
                self.settle()
                self.assertEqual((self.files(), self.descriptors()), ([], []))

    def descriptors(self):
        """What is open in the spool."""
        shown = []
        for number in os.listdir('/proc/self/fd'):
            try:
                shown.append(os.readlink('/proc/self/fd/' + number))
            except FileNotFoundError:
                pass        # that of the listing itself
        return [path for path in shown if path.startswith(str(self.folder))]

    def test_what_was_missed_during_a_job_is_not_done_for_a_deleted_queue(self):
        self.begin()
        self.put(b'one')
        self.rewrite()
        self.change(max_journal_size=0)
        self.get()
        self.queue.delete()
        self.settle()
        self.assertEqual(self.files(), [])


class SettingsTest(CompactedTest):

    def test_disable_aggressive_rewrites_is_accepted_and_ignored(self):
        """The guard is always on, and rule 3 rotates an empty queue too."""
        for disabled in (False, True):
            with self.subTest(disabled=disabled):
                self.begin(max_memory_size=90, disable_aggressive_rewrites=disabled)
                self.put(BIG)
                self.get()
                self.assertEqual(len(self.files()), 2)
                self.queue.delete()
                self.settle()
