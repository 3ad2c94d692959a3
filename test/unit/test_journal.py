"""The journal of one queue: what is written when, and what if it cannot be (spec journal 2, D9, D10)."""

import errno
import os
import threading
import time
import unittest

import gevent.event

from kestrel.clock import Clock
from kestrel.errors import JournalError
from kestrel.item import Item
from kestrel.journal import record, recovery
from kestrel.journal.sync import Syncer
from support.clock import THEN
from support.fakes import make_queue
from support.spool import SpoolTest, readable


def item(data=b'a', flags=0, deliveries=0):
    return Item(data, THEN, 0, flags, deliveries)


class RecordsTest(SpoolTest):

    def test_a_new_queue_has_an_empty_file(self):
        self.journal()
        self.assertEqual(self.read(), b'')

    def test_file_name(self):
        self.journal(b'\xe9+b').add(item())
        self.assertEqual(self.records('\xe9+b'), 'A[a]')

    def test_each_event(self):
        journal = self.journal()
        journal.add(item())
        self.assertEqual(self.read(), bytes.fromhex(
            '02 11 00 00 00 80 35 af 70 42 01 00 00 00 00 00 00 00 00 00 00 61'))
        journal.remove_tentative(1)
        journal.unremove(1)
        journal.remove_tentative(-2)
        journal.confirm(-2)
        journal.remove()
        journal.remove(3)
        journal.remove(0)
        self.assertEqual(self.records(), 'A[a] T1 U1 T-2 C-2 R R R R')
        self.assertEqual(journal.size, len(self.read()))

    def test_one_write_for_each(self):
        journal = self.journal()
        self.system.calls.clear()
        journal.add(item(b'x' * 1024))
        journal.add(item(b'x' * 100000))
        journal.remove(1000)
        self.assertEqual([call[0] for call in self.system.calls], ['write', 'writev', 'write'])
        self.system.calls.clear()
        journal.remove_tentative(2, journal.confirm_record(1))
        self.assertEqual([call[0] for call in self.system.calls], ['write'])
        self.assertEqual(self.read()[-10:], bytes.fromhex('06 01 00 00 00 09 02 00 00 00'))

    def test_flags(self):
        journal = self.journal()
        journal.add(item(flags=32))
        journal.add(item(b'x' * 20000, flags=0xffffffff, deliveries=2))
        journal.add(item(deliveries=2))
        self.assertEqual(self.records(), 'F32/0[a] F4294967295/2[#20000] A[a]')

    def test_deliveries_where_they_are_kept(self):
        journal = self.journal(keep_deliveries=True)
        journal.add(item(deliveries=2))
        journal.add(item())
        self.assertEqual(self.records(), 'F0/2[a] A[a]')

    def test_goes_on_where_recovery_ended(self):
        self.write('q', bytes.fromhex('01 01'))
        journal = self.journal(recovered=self.recovered())
        self.assertEqual(journal.size, 2)
        self.assertEqual(self.system.count('write'), 0)
        journal.add(item())
        self.assertEqual((self.records(), journal.size), ('R R A[a]', 24))

    def test_ten_thousand_files_need_no_descriptors(self):
        self.write('q', b'\x01')
        recovered = self.recovered()
        self.system.calls.clear()
        journals = [self.journal(recovered=recovered) for _ in range(10000)]
        self.assertEqual(self.system.calls, [])
        for journal in journals:
            journal.close()
        self.assertEqual(self.system.calls, [])

    def recovered(self):
        files = recovery.scan(self.disk, self.spool, self.logger)[b'q']
        return recovery.recover(self.disk, self.clock, self.logger, files, 1 << 27)

    def test_delete_leaves_all_or_nothing(self):
        """Several files go behind an empty one that replaces them all at a start."""
        for name in ('q.100', 'q.200', 'q', 'q2', 'q.bak', 'q+a'):
            self.write(name, b'')
        journal = self.journal(recovered=self.recovered())
        journal.add(item())
        journal.delete()
        self.assertEqual(self.files(), ['q+a', 'q.bak', 'q2'])
        renamed = b'q.%d' % THEN
        self.assertEqual([os.path.basename(call[-1]) for call in self.system.calls if call[0] in ('rename', 'unlink')],
                         [renamed, b'q.100', b'q.200', renamed, renamed + b'.pack'])

    def test_a_queue_of_the_same_name_takes_later_timestamps(self):
        """Else what a power loss leaves of the deleted one could replace its files."""
        for name in ('q.100', 'q'):
            self.write(name, b'')
        self.journal(recovered=self.recovered()).delete()
        self.clock.ms -= 5000
        self.assertEqual(self.journal().files.new_ms(), THEN + 1)

    def test_delete_without_room_for_one_file_more(self):
        for name in ('q.100', 'q'):
            self.write(name, b'')
        journal = self.journal(recovered=self.recovered())
        self.system.faults['open'] = errno.ENOSPC
        journal.delete()
        self.assertEqual(self.files(), [])
        self.assertIn('cannot be deleted in one step', self.log.lines[0])

    def test_delete_goes_on_when_a_file_is_gone(self):
        journal = self.journal()
        (self.folder / 'q').unlink()
        journal.delete()
        self.assertEqual(self.log.lines, [
            'ERROR cannot delete %s/q: No such file or directory' % self.folder])

    def test_a_new_queue_whose_file_cannot_be_created(self):
        self.system.faults['open'] = errno.EMFILE
        with self.assertRaises(JournalError) as caught:
            self.journal()
        self.assertEqual((caught.exception.why, caught.exception.full), ('Too many open files', False))
        self.assertEqual(len(self.journal_errors), 1)


class FailingTest(SpoolTest):

    def setUp(self):
        super().setUp()
        self.q = self.journal()
        self.q.add(item(b'first'))
        self.log.lines.clear()

    def refused(self, *arguments):
        with self.assertRaises(JournalError) as caught:
            self.q.add(*arguments)
        return caught.exception

    @staticmethod
    def opens(count):
        return ' '.join('T%d' % xid for xid in range(1, count + 1))

    def full(self):
        self.system.room = 0

    def room(self, count=None):
        self.system.room = count

    def test_a_put_that_cannot_be_written_changes_nothing(self):
        for number, why, full in [(errno.ENOSPC, 'No space left on device', True),
                                  (errno.EDQUOT, 'Disk quota exceeded', True),
                                  (errno.EIO, 'Input/output error', False),
                                  (errno.EMFILE, 'Too many open files', False)]:
            for data in (b'x', b'x' * 100000):
                self.system.faults.update(write=number, writev=number)
                error = self.refused(item(data))
                self.assertEqual((error.why, error.full, str(error)), (why, full, why))
                self.assertEqual(self.records(), 'A[first]')
        self.assertEqual(len(self.journal_errors), 8)
        self.system.faults.clear()
        self.q.add(item())
        self.assertEqual(self.records(), 'A[first] A[a]')

    def test_one_line_for_each_outage(self):
        self.full()
        self.refused(item())
        self.q.remove()
        self.refused(item())
        self.clock.advance(2.5)
        self.assertEqual(self.log.lines, [
            'ERROR journal of queue q: writing failed: No space left on device; until it works again puts'
            ' are refused and other records are kept in memory'])
        self.log.lines.clear()
        self.room()
        self.q.add(item())
        self.q.add(item())
        self.hub.advance(0.9)
        self.assertEqual(self.log.lines, [])
        self.hub.advance(0.1)
        self.assertEqual(self.log.lines, ['WARNING journal of queue q: writing works again after 2.5 s'])
        self.assertEqual(self.hub.timers, [])
        self.full()
        self.refused(item())
        self.room()
        self.q.remove()
        self.hub.advance(1)
        self.assertEqual(len(self.log.lines), 3)

    def test_a_disk_that_has_room_for_small_records_alone_is_one_outage(self):
        for _ in range(300):
            self.room(25)
            self.refused(item(b'x' * 100))
            self.q.remove()
            self.hub.advance(0.01)
            self.q.confirm(1)
            self.hub.advance(0.01)
        self.assertEqual(len(self.log.lines), 1)
        self.room()
        self.q.add(item())
        self.hub.advance(3)
        self.assertEqual(self.log.lines[1:], ['WARNING journal of queue q: writing works again after 6.0 s'])
        self.assertEqual(self.hub.timers, [])

    def test_no_end_of_an_outage_while_it_fails(self):
        self.full()
        self.refused(item())
        self.room()
        self.q.add(item())
        self.hub.advance(0.5)
        self.full()
        self.refused(item())
        self.hub.advance(10)
        self.assertEqual((len(self.log.lines), self.hub.timers), (1, []))
        self.room()
        self.q.add(item())
        self.hub.advance(1)
        self.assertEqual(self.log.lines[1:], ['WARNING journal of queue q: writing works again after 10.5 s'])

    def test_close_tells_the_end_of_an_outage_at_once(self):
        self.full()
        self.refused(item())
        self.room()
        self.q.remove()
        self.q.close()
        self.assertEqual(self.log.lines[1:], ['WARNING journal of queue q: writing works again after 0.0 s'])
        self.hub.advance(5)
        self.assertEqual(len(self.log.lines), 2)

    def test_deleted_in_an_outage(self):
        self.full()
        self.refused(item())
        self.room()
        self.q.remove()
        self.hub.advance(0.5)
        self.full()
        self.refused(item())
        self.q.delete()
        self.room()
        self.hub.advance(5)
        self.assertEqual((len(self.log.lines), self.hub.timers), (1, []))

    def test_other_records_are_kept_and_written_before_anything_else(self):
        self.full()
        self.q.remove_tentative(1)
        self.q.unremove(1)
        self.q.remove_tentative(2)
        self.q.confirm(2)
        self.q.remove(2)
        self.assertEqual(self.records(), 'A[first]')
        self.assertEqual(len(self.journal_errors), 5)
        self.assertTrue(self.refused(item()).full)
        self.room()
        self.q.add(item())
        self.assertEqual(self.records(), 'A[first] T1 U1 T2 C2 R R A[a]')
        self.assertEqual(self.q.size, len(self.read()))

    def test_no_record_overtakes_those_that_are_kept(self):
        self.full()
        self.q.remove_tentative(1)
        self.room()
        self.q.confirm(1)
        self.q.remove()
        self.assertEqual(self.records(), 'A[first]')
        self.hub.advance(0.1)
        self.assertEqual(self.records(), 'A[first] T1 C1 R')

    def test_they_are_written_by_themselves_once_there_is_room(self):
        self.full()
        self.q.remove()
        self.hub.advance(10)
        self.assertEqual(self.records(), 'A[first]')
        self.room()
        self.hub.advance(0.1)
        self.assertEqual(self.records(), 'A[first] R')
        self.assertEqual(len(self.journal_errors), 1)
        self.hub.advance(1)
        self.assertEqual(self.hub.timers, [])

    def test_what_gets_written_stays_written(self):
        self.full()
        for xid in range(1, 11):
            self.q.remove_tentative(xid)
        self.q.remove(3)
        before = self.q.size
        self.room(23)
        self.assertTrue(self.refused(item()).full)
        self.assertEqual(self.records(), 'A[first] T1 T2 T3 T4')
        self.assertEqual(self.q.size, before + 20)
        self.room(26)
        self.assertTrue(self.refused(item()).full)
        self.assertEqual(self.records(), 'A[first] ' + self.opens(9))
        self.room(8)
        self.refused(item())
        self.room()
        self.q.add(item())
        self.assertEqual(self.records(), 'A[first] %s R R R A[a]' % self.opens(10))

    def test_many_are_written_in_large_pieces(self):
        self.full()
        for xid in range(1, 50001):
            self.q.remove_tentative(xid)
        self.room()
        self.system.calls.clear()
        self.q.add(item())
        self.assertLess(self.system.count('write'), 6)
        self.assertEqual(self.records(), 'A[first] %s A[a]' % self.opens(50000))

    def test_a_put_with_records_kept_tells_their_reason(self):
        self.system.faults['write'] = errno.EIO
        self.q.remove()
        error = self.refused(item())
        self.assertEqual((error.why, error.full), ('Input/output error', False))

    def test_a_cause_that_changes(self):
        self.full()
        self.q.remove()
        self.assertTrue(self.refused(item()).full)
        self.system.faults['write'] = errno.EIO
        self.assertFalse(self.refused(item()).full)

    def test_close_writes_them(self):
        self.full()
        self.q.remove()
        self.room()
        self.q.close()
        self.assertEqual(self.records(), 'A[first] R')

    def test_close_without_room_says_what_is_lost(self):
        self.full()
        self.q.remove(7)
        self.q.close()
        self.assertEqual(self.log.lines[-1], 'ERROR journal of queue q: 7 bytes of records could not be'
                         ' written: No space left on device; what they removed comes again')
        self.hub.advance(1)
        self.assertEqual(self.records(), 'A[first]')

    def test_deleted_with_records_kept(self):
        self.full()
        self.q.remove()
        self.q.delete()
        self.room()
        self.hub.advance(1)
        self.assertEqual(self.files(), [])

    def test_items_too_large_for_a_record(self):
        class Huge(bytes):
            def __len__(self):
                return 0x7fffffff
        try:
            huge = item(Huge())
        except TypeError:
            self.assertIn('.so', record.__file__)   # compiled, an item holds real bytes
            huge = item(bytes(0x7fffffff))
        error = self.refused(huge)
        self.assertEqual((error.why, error.full), ('item too large for a journal record', False))


class SyncTest(SpoolTest):

    def syncs(self):
        """Fsyncs since the last call."""
        count = self.system.count('fsync')
        self.system.calls.clear()
        return count

    def test_never(self):
        journal = self.journal()
        journal.add(item())
        journal.remove()
        self.hub.advance(100)
        self.assertEqual((self.syncs(), self.hub.timers, self.hub.jobs), (0, [], []))
        journal.close()
        self.assertEqual(self.syncs(), 2, 'closing always fsyncs, and here the name is new')

    def test_each(self):
        journal = self.journal(sync_journal=0)
        self.assertIsNone(journal.confirm_record(1))
        commit = journal.add(item())
        self.assertEqual((self.syncs(), commit.done), (0, False), 'off the hub')
        self.hub.finish()
        self.assertEqual((self.syncs(), commit.done, commit.error), (2, True, None),
                         'and the name of the new file')
        self.assertEqual(journal.queue.settled, 1)
        journal.add(item())
        self.hub.finish()
        self.assertEqual((self.syncs(), len(self.fsyncs)), (1, 2))
        journal.remove_tentative(1)
        self.assertEqual(self.hub.finish(), 1, 'opens do not wait, but are synced right away')
        self.assertEqual(self.syncs(), 1)
        commit = journal.confirm(1)
        self.assertFalse(commit.done)
        self.hub.finish()
        self.assertEqual((self.syncs(), commit.done), (1, True))
        journal.remove()
        self.hub.finish()
        self.assertEqual((self.syncs(), self.hub.finish(), self.hub.timers), (1, 0, []))

    def test_all_that_is_written_before_it_begins_shares_an_fsync(self):
        journal = self.journal(sync_journal=0)
        self.disk.fsync_dir(self.spool)
        self.syncs()
        commits = [journal.add(item()), journal.add(item()), journal.confirm(1), journal.confirm(2)]
        self.assertEqual(len(set(commits)), 1)
        self.hub.turn()
        late = journal.add(item())
        self.assertIsNot(late, commits[0])
        self.hub.finish()
        self.assertEqual((self.syncs(), commits[0].done, late.done), (1, True, False))
        self.hub.finish()
        self.assertEqual((self.syncs(), late.done, self.hub.finish()), (1, True, 0))

    def test_never_two_at_a_time(self):
        journal = self.journal(sync_journal=0)
        journal.add(item())
        self.hub.turn()
        for _ in range(3):
            journal.add(item())
            self.hub.turn()
        self.assertEqual(len(self.hub.jobs), 1)

    def test_durable_put(self):
        for sync_journal in (None, 100000):
            journal = self.journal(b'q%d' % (sync_journal or 0), sync_journal)
            self.disk.fsync_dir(self.spool)
            self.assertIsNone(journal.add(item()))
            self.hub.advance(1)
            self.hub.finish()
            self.syncs()
            commit = journal.add(item(), True)
            self.hub.finish()
            self.assertEqual((self.syncs(), commit.done, commit.error), (1, True, None))
            self.assertIsNone(journal.confirm(1))
            self.hub.advance(1)
            self.hub.finish()
        self.hub.advance(1)
        self.assertEqual((self.hub.finish(), self.hub.timers), (0, []), 'all is synced')

    def test_those_who_wait_go_on_when_the_queue_has_been_told(self):
        journal = self.journal(sync_journal=0)
        commit = journal.add(item())
        seen = []

        class Client:
            def committed(self):
                seen.append((commit.done, journal.queue.settled))
        for _ in range(2):
            commit.join(Client())
        self.hub.finish()
        self.assertEqual(seen, [(True, 1)] * 2)

    # D9: a failed fsync refuses those who waited for it; their records are the queue's to take off again

    def refused(self, journal, commit, why='Input/output error'):
        self.assertTrue(commit.done)
        self.assertEqual((commit.error.why, commit.error.full), (why, False))

    def test_a_failed_sync_refuses_the_puts_that_waited_for_it(self):
        journal = self.journal(sync_journal=0)
        journal.add(item())
        self.hub.finish()
        self.system.faults['fsync'] = errno.EIO
        commits = [journal.add(item(data)) for data in (b'x', b'x' * 100000)]
        self.hub.turn()
        later = journal.add(item(b'y'))
        self.hub.finish()
        self.refused(journal, commits[0])
        self.assertIs(commits[1], commits[0])
        self.assertEqual(journal.queue.settled, 3, 'the later one: no rewrite can make its fsync good')
        self.refused(journal, later)
        self.assertEqual(self.fsync_errors[:1], ['OSError'])
        self.assertEqual(len(self.journal_errors), 2)
        self.assertEqual(self.log.lines, ['ERROR journal of queue q: fsync failed: Input/output error'])
        self.assertEqual(self.records(), 'A[a] A[x] A[#100000] A[y]')
        self.assertEqual(journal.suspect.errno, errno.EIO)

    def test_what_was_answered_is_not_cut_off(self):
        journal = self.journal(sync_journal=100000)
        journal.add(item())
        answered = journal.size
        self.assertEqual(journal.answered, answered)
        journal.add(item(b'x'), True)
        self.assertEqual(journal.answered, answered)
        journal.add(item(b'y'), True, 2)
        self.assertEqual(journal.answered, answered + 22 + 2,
                         'its REMOVEs took effect, whatever becomes of it')
        journal.remove()
        self.assertEqual(journal.answered, journal.size)

    def test_a_sync_that_succeeds_answers_what_it_covers(self):
        journal = self.journal(sync_journal=0)
        journal.add(item())
        covered = journal.size
        self.hub.turn()
        journal.add(item())
        self.hub.finish()
        self.assertEqual((journal.answered, journal.size), (covered, covered * 2))

    def test_an_error_of_the_system_that_is_no_oserror(self):
        def broken(descriptor):
            raise MemoryError
        journal = self.journal(sync_journal=0)
        self.system.fsync = broken
        commit = journal.add(item())
        self.hub.finish()
        self.refused(journal, commit, 'MemoryError')

    def test_after_a_failed_sync_none_is_trusted_before_a_rewrite(self):
        journal = self.journal(sync_journal=0)
        self.system.faults['fsync'] = errno.EIO
        journal.add(item())
        self.hub.finish()
        self.system.faults.clear()
        self.syncs()
        journal.queue.rewrites = True
        asked = journal.queue.asked
        commit = journal.add(item(b'x'))
        self.assertEqual(self.hub.finish(), 0)
        self.assertEqual((self.syncs(), commit.done, journal.queue.asked), (0, False, asked + 1))
        # as a rewrite does it
        journal.suspect = None
        journal.replace_file(self.disk.create(self.spool + b'/new'))
        journal.file.append(b'all of it')
        journal.rewritten(None)
        self.assertFalse(commit.done)
        self.hub.finish()
        self.assertEqual((self.syncs(), commit.done, commit.error), (2, True, None),
                         'the new file and its name')

    def test_a_rewrite_that_fails_refuses_who_waited_for_it(self):
        journal = self.journal(sync_journal=0)
        self.system.faults['fsync'] = errno.EIO
        journal.add(item())
        self.hub.finish()
        journal.queue.rewrites = True
        commit = journal.add(item(b'x'))
        self.hub.finish()
        journal.queue.rewrites = False
        journal.rewritten(OSError(errno.EIO, os.strerror(errno.EIO)))
        self.refused(journal, commit)

    def test_no_rewrite_can_be_had(self):
        journal = self.journal(sync_journal=0)
        self.system.faults['fsync'] = errno.EIO
        journal.add(item())
        self.hub.finish()
        self.system.faults.clear()
        commit = journal.add(item(b'x'))
        self.hub.finish()
        self.refused(journal, commit)

    def test_a_period_alone_does_not_hide_it(self):
        journal = self.journal(sync_journal=100000)
        journal.add(item())
        self.system.faults['fsync'] = errno.EIO
        self.hub.advance(0.1)
        self.hub.finish()
        self.system.faults.clear()
        self.hub.advance(0.1)
        self.hub.finish()
        self.refused_now(journal)

    def refused_now(self, journal):
        """... while there is no rewrite."""
        commit = journal.add(item(), True)
        self.hub.finish()
        self.refused(journal, commit)

    def test_a_failed_sync_of_the_folder_refuses_the_put(self):
        journal = self.journal(sync_journal=0)
        fsync = self.system.fsync
        folder = []

        def of_files_only(descriptor):
            if os.path.isdir('/proc/self/fd/%d' % descriptor):
                folder.append(descriptor)
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return fsync(descriptor)
        self.system.fsync = of_files_only
        commit = journal.add(item())
        self.hub.finish()
        self.refused(journal, commit)
        self.assertEqual(len(folder), 1)

    def test_a_failed_sync_of_a_confirm(self):
        # D63: answered as usual, counted and logged
        journal = self.journal(sync_journal=0)
        journal.add(item())
        journal.remove_tentative(1)
        self.hub.finish()
        self.system.faults['fsync'] = errno.EIO
        commit = journal.confirm(1)
        self.hub.finish()
        self.assertTrue(commit.done)
        self.assertEqual(self.records(), 'A[a] T1 C1')
        self.assertEqual(self.fsync_errors, ['OSError'])
        self.assertEqual(self.log.lines, ['ERROR journal of queue q: fsync failed: Input/output error'])

    def test_a_confirm_that_found_no_room_waits_for_nothing(self):
        journal = self.journal(sync_journal=0)
        journal.add(item())
        journal.remove_tentative(1)
        self.hub.finish()
        self.system.room = 0
        self.assertIsNone(journal.confirm(1))

    def test_period(self):
        journal = self.journal(sync_journal=100000)
        self.disk.fsync_dir(self.spool)
        self.syncs()
        journal.add(item())
        journal.add(item())
        self.hub.advance(0.099)
        self.assertEqual(self.hub.jobs, [])
        self.hub.advance(0.001)
        self.assertEqual(len(self.hub.jobs), 1)
        self.assertEqual(self.syncs(), 0, 'off the hub')
        self.hub.finish()
        self.assertEqual(self.syncs(), 1)
        self.hub.advance(10)
        self.assertEqual((self.hub.timers, self.hub.jobs), ([], []))
        self.assertEqual(self.delays, [0])

    def test_period_goes_on_while_records_come(self):
        journal = self.journal(sync_journal=100000)
        moments = []
        for _ in range(400):
            journal.remove()
            self.hub.advance(0.001)
            if self.hub.finish():
                moments.append(round(self.clock.seconds - 1000, 3))
        self.assertEqual(moments, [0.1, 0.2, 0.3, 0.4])

    def test_period_begins_anew_with_the_first_record_after_a_pause(self):
        journal = self.journal(sync_journal=100000)
        journal.remove()
        self.hub.advance(0.1)
        self.hub.finish()
        self.hub.advance(0.03)
        journal.remove()
        self.hub.advance(0.099)
        self.assertEqual(self.hub.jobs, [])
        self.hub.advance(0.001)
        self.assertEqual(len(self.hub.jobs), 1)

    def test_a_slow_fsync_is_followed_by_the_next_at_once(self):
        journal = self.journal(sync_journal=100000)
        journal.remove()
        self.hub.advance(0.1)
        journal.remove()
        self.hub.advance(0.5)
        self.assertEqual(len(self.hub.jobs), 1, 'never two at a time')
        self.hub.finish()
        self.hub.advance(0)
        self.assertEqual(self.hub.finish(), 1)
        self.assertEqual(self.delays, [500000, 400000])

    def test_a_failed_sync_is_tried_again_a_period_later(self):
        journal = self.journal(sync_journal=100000)
        journal.remove()
        self.system.faults['fsync'] = errno.EIO
        self.hub.advance(0.1)
        self.hub.finish()
        self.hub.advance(0.1)
        self.hub.finish()
        self.assertEqual(self.fsync_errors, ['OSError', 'OSError'])
        self.assertEqual(self.log.lines, [
            'ERROR journal of queue q: fsync failed: Input/output error'])
        self.system.faults.clear()
        self.hub.advance(0.1)
        self.assertEqual(self.hub.finish(), 1)
        self.hub.advance(1)
        self.assertEqual((self.hub.timers, len(self.fsyncs)), ([], 1))
        self.assertEqual(self.log.lines[1:], ['WARNING fsync of all journals works again'])

    def test_a_failed_sync_without_a_period_is_not_tried_again_at_once(self):
        journal = self.journal(sync_journal=0)
        journal.remove()
        self.system.faults['fsync'] = errno.EIO
        self.hub.finish()
        self.assertEqual(self.fsync_errors, ['OSError'])
        self.hub.advance(0.09)
        self.assertEqual(self.hub.jobs, [])
        self.hub.advance(0.01)
        self.assertEqual(len(self.hub.jobs), 1)

    def test_what_is_written_after_a_failed_sync_is_synced_too(self):
        journal = self.journal(sync_journal=0)
        journal.remove()
        self.system.faults['fsync'] = errno.EIO
        self.hub.finish()
        self.system.faults.clear()
        self.syncs()
        journal.remove()
        self.hub.advance(1)
        self.hub.finish()
        self.assertGreater(self.syncs(), 0)
        self.assertEqual(self.log.lines[1:], ['WARNING fsync of all journals works again'])

    def test_no_descriptor_for_the_thread(self):
        journal = self.journal(sync_journal=100000)
        journal.remove()
        self.system.faults['dup'] = errno.EMFILE
        self.hub.advance(0.1)
        self.assertEqual(self.fsync_errors, ['OSError'])
        self.system.faults.clear()
        self.hub.advance(0.1)
        self.assertEqual(self.hub.finish(), 1)

    def test_closed_while_a_sync_is_due_or_under_way(self):
        for name, wait in ((b'due', 0), (b'at it', 0.1)):
            journal = self.journal(name, sync_journal=100000)
            journal.remove()
            self.hub.advance(wait)
            journal.close()
            self.hub.finish()
            self.hub.advance(1)
            self.assertEqual((self.hub.timers, self.hub.jobs), ([], []))

    def test_deleted_while_a_sync_is_under_way(self):
        journal = self.journal(sync_journal=100000)
        journal.remove()
        self.hub.advance(0.1)
        journal.delete()
        self.hub.finish()
        self.assertEqual((self.fsync_errors, self.hub.timers), ([], []))

    def test_a_put_of_a_deleted_queue_gets_its_sync_all_the_same(self):
        # D9: its answer stays what the fsync makes it
        for begun in (False, True):
            for number, why in ((None, None), (errno.EIO, 'Input/output error')):
                with self.subTest(begun=begun, why=why):
                    journal = self.journal(sync_journal=0)
                    commits = [journal.add(item())]
                    if begun:
                        self.hub.turn()
                        commits.append(journal.add(item()))
                    self.syncs()
                    if number:
                        self.system.faults['fsync'] = number
                    journal.delete()
                    journal.queue = None
                    self.assertEqual([commit.done for commit in commits], [False] * len(commits))
                    self.hub.finish_all()
                    self.assertEqual([commit.error and commit.error.why for commit in commits],
                                     [why] * len(commits))
                    self.assertTrue(all(commit.done for commit in commits))
                    self.assertGreater(self.syncs(), 0)
                    self.assertEqual(self.files(), [])
                    self.system.faults.clear()

    def test_no_descriptor_for_the_last_sync_of_a_deleted_queue(self):
        journal = self.journal(sync_journal=0)
        commit = journal.add(item())
        self.system.faults['dup'] = errno.EMFILE
        journal.delete()
        self.hub.finish_all()
        self.refused(journal, commit, 'Too many open files')

    def rotate(self, journal):
        journal.replace_file(journal.files.rotate(journal.files.archived_path(journal.files.new_ms())))
        journal.sync_rotated()

    def test_a_file_that_was_rotated_is_synced_too(self):
        # D63: nothing in the new file counts as durable before the old one's fsync
        for sync_journal in (None, 0, 100000):
            with self.subTest(sync_journal):
                journal = self.journal(b'q%s' % str(sync_journal).encode(), sync_journal)
                journal.add(item())
                self.rotate(journal)
                commit = journal.add(item(), True)
                self.syncs()
                synced = []
                self.system.fsync = lambda descriptor: synced.append(
                    os.readlink('/proc/self/fd/%d' % descriptor))
                self.hub.advance(0.1)
                self.hub.finish_all()
                self.assertTrue(commit.done)
                names = [os.path.basename(path) for path in synced]
                self.assertEqual([name for name in names if name != self.folder.name],
                                 [os.path.basename(file.path).decode() for file in journal.files.files])
                self.assertEqual(names.count(self.folder.name), 1, 'both names are new')
                self.assertEqual(journal.files.unsynced, [])

    def test_a_rotated_file_is_synced_although_nothing_else_is(self):
        journal = self.journal()
        journal.add(item())
        self.rotate(journal)
        self.syncs()
        self.assertEqual(self.hub.finish(), 1)
        self.assertGreater(self.syncs(), 0)
        self.assertEqual((journal.files.unsynced, self.hub.finish(), self.hub.timers), ([], 0, []))

    def test_a_sync_that_ends_after_the_delete_brings_no_file_back(self):
        journal = self.journal(sync_journal=0)
        journal.files.hold(journal.file)    # as read-behind does
        journal.add(item())
        self.rotate(journal)
        self.hub.turn()
        journal.delete()
        self.hub.jobs.reverse()     # the deleted files are closed before the fsync ends
        self.hub.finish_all()
        self.assertEqual(self.files(), [])
        self.assertEqual([file.is_open() for file in journal.files.files], [False, False])

    def test_close_syncs_what_was_rotated(self):
        journal = self.journal()
        journal.add(item())
        self.rotate(journal)
        self.syncs()
        journal.close()
        self.assertEqual(self.syncs(), 3)
        self.assertEqual([file.is_open() for file in journal.files.files], [False, False])

    def test_close_syncs_what_was_written(self):
        journal = self.journal(sync_journal=100000)
        journal.remove()
        self.syncs()
        journal.close()
        self.assertEqual(self.syncs(), 2)


class RefusedTest(SpoolTest):
    """D9 with a real queue: a refused put never enters, and the next one is told the truth."""

    def setUp(self):
        super().setUp()
        self.q = make_queue(self.clock, self.journal(sync_journal=0), keep_journal=True, sync_journal=0)
        self.put(b'a')

    def put(self, data):
        """-> why it was refused, None if it was not."""
        commit = self.q.put(data, 0, 0, False)
        self.hub.finish_all()
        self.assertTrue(commit.done)
        return None if commit.error is None else commit.error.why

    def waiting(self):
        self.assertEqual(self.q.count, len(self.q.items) - self.q.voids)
        return [item.data for item in self.q.items if item.data is not None]

    def test_its_record_is_cut_off_again(self):
        self.system.faults['fsync'] = errno.EIO
        self.assertEqual(self.put(b'x'), 'Input/output error')
        self.assertEqual((self.waiting(), self.records(), self.q.voids), ([b'a'], 'A[a]', 0))
        self.assertEqual((self.fsync_errors[0], len(self.journal_errors)), ('OSError', 1))

    def test_the_next_one_is_answered_after_a_rewrite(self):
        self.system.faults['fsync'] = errno.EIO
        self.put(b'x')
        self.system.faults.clear()
        self.system.calls.clear()
        self.assertIsNone(self.put(b'y'))
        self.assertEqual((self.waiting(), self.records(), self.files()), ([b'a', b'y'], 'A[a] A[y]', ['q']))
        self.assertEqual(self.q.stats.journal_rewrites, 1)
        self.assertEqual(self.system.count('rename'), 3, 'D43')
        self.assertIsNone(self.put(b'z'))
        self.assertEqual((self.records(), self.q.stats.journal_rewrites), ('A[a] A[y] A[z]', 1))

    def test_while_it_fails_each_is_refused(self):
        self.system.faults['fsync'] = errno.EIO
        for data in (b'x', b'y', b'z'):
            self.assertEqual(self.put(data), 'Input/output error')
            self.hub.advance(0.3)
        self.assertEqual((self.waiting(), self.records(), self.files()), ([b'a'], 'A[a]', ['q']))
        self.system.faults.clear()
        self.hub.advance(2)
        self.assertIsNone(self.put(b'later'))
        self.assertEqual((self.waiting(), self.records()), ([b'a', b'later'], 'A[a] A[later]'))

    def test_what_was_answered_behind_it_is_not_cut_off(self):
        xid = self.q.take(True, self.clock.now_ms()).xid
        self.hub.finish_all()
        commit = self.q.put(b'x', 0, 0, False)
        self.q.unremove(xid)
        self.system.faults['fsync'] = errno.EIO
        self.hub.finish_all()
        self.assertEqual(commit.error.why, 'Input/output error')
        self.assertEqual((self.waiting(), self.q.voids, self.q.bytes), ([b'a'], 1, 1))
        self.assertEqual(self.records(), 'A[a] T1 A[x] U1')
        now = self.clock.now_ms()
        self.assertEqual(self.q.take(False, now).data, b'a')
        self.assertEqual((self.q.voids, self.q.take(False, now)), (0, None))
        self.assertEqual(self.records(), 'A[a] T1 A[x] U1 R R',
                         'the void one is taken off when its turn comes')

    def test_those_behind_it_that_wait_for_nothing(self):
        journal = self.journal(b'other')
        queue = make_queue(self.clock, journal, b'other', keep_journal=True)
        commit = queue.put(b'x', 0, 0, True)
        self.assertIs(queue.put(b'y', 0, 0, False), True)
        self.system.faults['fsync'] = errno.EIO
        self.hub.finish_all()
        self.assertTrue(commit.error)
        waiting = [item.data for item in queue.items if item.data is not None]
        self.assertEqual((waiting, queue.count), ([b'y'], 1))
        self.assertEqual(queue.take(False, self.clock.now_ms()).data, b'y')
        self.assertEqual(self.records('other'), 'A[x] A[y] R R')


class NoHub:
    """For closing: the server closes its journals in threads, where nothing may touch the hub."""

    def call_later(self, *arguments):
        raise AssertionError('the hub was touched')

    soon = run_sync = run_job = call_later


class CloseTest(SpoolTest):

    def leave_hub(self):
        self.syncer._hub = NoHub()

    def test_with_records_kept_and_a_period(self):
        for sync_journal in (None, 0, 100000):
            for room in (None, 0):
                name = b'q%r-%r' % (sync_journal, room)
                with self.subTest(name):
                    self.syncer._hub = self.hub
                    journal = self.journal(name, sync_journal)
                    self.system.room = 0
                    journal.remove()
                    self.system.room = room
                    self.leave_hub()
                    journal.close()
                    self.system.room = None
                    self.assertEqual(self.records(name.decode()), 'R' if room is None else '')

    def test_after_an_outage(self):
        journal = self.journal(sync_journal=100000)
        self.system.room = 0
        with self.assertRaises(JournalError):
            journal.add(item())
        self.system.room = None
        self.leave_hub()
        journal.close()

    def test_never_raises(self):
        def failing_close(descriptor):
            os.close(descriptor)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        journal = self.journal()
        journal.add(item())
        self.system.close = failing_close
        self.system.faults['fsync'] = errno.EDQUOT
        self.leave_hub()
        journal.close()
        self.assertEqual(self.log.lines, [
            'ERROR journal of queue q: fsync failed: Disk quota exceeded',
            'ERROR journal of queue q: closing its file failed: Input/output error'])

    def test_delete_goes_on_when_closing_fails(self):
        def failing_close(descriptor):
            os.close(descriptor)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        journal = self.journal()
        self.system.close = failing_close
        journal.delete()
        self.assertEqual(self.files(), [])

    def test_in_a_thread_while_the_hub_tries_to_write_what_is_kept(self):
        """Neither writes what the other is writing: removals name no item, twice is one too many."""
        write = self.system.write
        closers = []

        def slow(descriptor, data):
            if self.system.room is None and not closers:
                closers.append(threading.Thread(target=journal.close))
                closers[0].start()
                closers[0].join(0.1)    # either it writes in this time, which is wrong, or it waits for us
            return write(descriptor, data)
        self.system.write = slow
        journal = self.journal()
        self.system.room = 0
        journal.remove_tentative(1)
        self.system.room = None
        self.hub.advance(0.1)
        closers[0].join(10)
        self.assertEqual((self.records(), self.system.count('write')), ('T1', 2))


# Seconds, for what takes none: on a disk that others keep busy a single fsync was seen to take more than two.
PATIENCE = 60


class HubTest(SpoolTest):
    """On gevent's own hub."""

    def begin(self, on_fsync, on_fsync_error):
        self.use_real_hub()
        self.syncer = Syncer(Clock(), self.logger, on_fsync, self.delays.append, on_fsync_error, self.hub)

    def test_timer_and_thread(self):
        synced = gevent.event.AsyncResult()
        self.begin(synced.set, self.fsync_errors.append)
        journal = self.journal(sync_journal=20000)
        begun = time.monotonic()
        journal.add(item())
        self.assertEqual(self.system.count('fsync'), 0)
        try:
            synced.get(timeout=PATIENCE)
        except gevent.Timeout:
            self.fail(f'no fsync: {self.system.count("fsync")} begun, {self.fsync_errors}, {self.log.lines}')
        self.assertGreaterEqual(time.monotonic() - begun, 0.02)
        self.assertEqual((self.system.count('fsync'), self.fsync_errors), (2, []))

    def test_failure_in_the_thread(self):
        failed = gevent.event.AsyncResult()
        self.begin(self.fsyncs.append, failed.set)
        self.system.faults['fsync'] = errno.EIO
        journal = self.journal(sync_journal=1000)
        journal.add(item())
        self.assertEqual(failed.get(timeout=PATIENCE), 'OSError')
        self.assertEqual(readable(self.read()), 'A[a]')
        journal.delete()


if __name__ == '__main__':
    unittest.main()
