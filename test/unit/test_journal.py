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
        return recovery.recover(self.disk, self.clock, self.logger, files)

    def test_delete_removes_all_files_the_oldest_first(self):
        for name in ('q.100', 'q.200', 'q', 'q2', 'q.bak', 'q+a'):
            self.write(name, b'')
        journal = self.journal(recovered=self.recovered())
        journal.add(item())
        journal.delete()
        self.assertEqual(self.files(), ['q+a', 'q.bak', 'q2'])
        self.assertEqual([os.path.basename(call[1]) for call in self.system.calls if call[0] == 'unlink'],
                         [b'q.100', b'q.200', b'q'])

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
        self.loop.advance(0.9)
        self.assertEqual(self.log.lines, [])
        self.loop.advance(0.1)
        self.assertEqual(self.log.lines, ['WARNING journal of queue q: writing works again after 2.5 s'])
        self.assertEqual(self.loop.timers, [])
        self.full()
        self.refused(item())
        self.room()
        self.q.remove()
        self.loop.advance(1)
        self.assertEqual(len(self.log.lines), 3)

    def test_a_disk_that_has_room_for_small_records_alone_is_one_outage(self):
        for _ in range(300):
            self.room(25)
            self.refused(item(b'x' * 100))
            self.q.remove()
            self.loop.advance(0.01)
            self.q.confirm(1)
            self.loop.advance(0.01)
        self.assertEqual(len(self.log.lines), 1)
        self.room()
        self.q.add(item())
        self.loop.advance(3)
        self.assertEqual(self.log.lines[1:], ['WARNING journal of queue q: writing works again after 6.0 s'])
        self.assertEqual(self.loop.timers, [])

    def test_no_end_of_an_outage_while_it_fails(self):
        self.full()
        self.refused(item())
        self.room()
        self.q.add(item())
        self.loop.advance(0.5)
        self.full()
        self.refused(item())
        self.loop.advance(10)
        self.assertEqual((len(self.log.lines), self.loop.timers), (1, []))
        self.room()
        self.q.add(item())
        self.loop.advance(1)
        self.assertEqual(self.log.lines[1:], ['WARNING journal of queue q: writing works again after 10.5 s'])

    def test_close_tells_the_end_of_an_outage_at_once(self):
        self.full()
        self.refused(item())
        self.room()
        self.q.remove()
        self.q.close()
        self.assertEqual(self.log.lines[1:], ['WARNING journal of queue q: writing works again after 0.0 s'])
        self.loop.advance(5)
        self.assertEqual(len(self.log.lines), 2)

    def test_deleted_in_an_outage(self):
        self.full()
        self.refused(item())
        self.room()
        self.q.remove()
        self.q.delete()
        self.loop.advance(5)
        self.assertEqual((len(self.log.lines), self.loop.timers), (1, []))

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
        self.loop.advance(0.1)
        self.assertEqual(self.records(), 'A[first] T1 C1 R')

    def test_they_are_written_by_themselves_once_there_is_room(self):
        self.full()
        self.q.remove()
        self.loop.advance(10)
        self.assertEqual(self.records(), 'A[first]')
        self.room()
        self.loop.advance(0.1)
        self.assertEqual(self.records(), 'A[first] R')
        self.assertEqual(len(self.journal_errors), 1)
        self.loop.advance(1)
        self.assertEqual(self.loop.timers, [])

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
        self.loop.advance(1)
        self.assertEqual(self.records(), 'A[first]')

    def test_deleted_with_records_kept(self):
        self.full()
        self.q.remove()
        self.q.delete()
        self.room()
        self.loop.advance(1)
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
        self.loop.advance(100)
        self.assertEqual((self.syncs(), self.loop.timers, self.loop.jobs), (0, [], []))
        journal.close()
        self.assertEqual(self.syncs(), 2, 'closing always fsyncs, and here the name is new')

    def test_several_confirms_share_an_fsync(self):
        journal = self.journal(sync_journal=0)
        for _ in range(3):
            journal.add(item())
        self.syncs()
        journal.confirm(1, False)
        journal.confirm(2, False)
        self.assertEqual(self.syncs(), 0)
        journal.confirm(3)
        self.assertEqual(self.syncs(), 1)

    def test_each(self):
        journal = self.journal(sync_journal=0)
        journal.add(item())
        self.assertEqual(self.syncs(), 2, 'the record and the name of the new file')
        journal.add(item())
        self.assertEqual(self.syncs(), 1)
        self.assertEqual(len(self.fsyncs), 2)
        journal.remove_tentative(1)
        self.assertEqual(self.syncs(), 0, 'opens do not wait')
        journal.confirm(1)
        self.assertEqual(self.syncs(), 1)
        journal.remove()
        self.assertEqual(self.syncs(), 0)
        self.loop.advance(0)
        self.loop.finish()
        self.assertEqual(self.syncs(), 1, 'but are synced right away')

    def test_durable_put(self):
        for sync_journal in (None, 100000):
            journal = self.journal(b'q%d' % (sync_journal or 0), sync_journal)
            self.disk.fsync_dir(self.spool)
            self.syncs()
            journal.add(item(), True)
            self.assertEqual(self.syncs(), 1)
        self.loop.advance(1)
        self.assertEqual(self.loop.finish(), 0, 'all is synced')

    def test_a_failed_sync_refuses_the_put_and_takes_its_record_off(self):
        journal = self.journal(sync_journal=0)
        journal.add(item())
        for data in (b'x', b'x' * 100000):
            self.system.faults['fsync'] = errno.EIO
            with self.assertRaises(JournalError) as caught:
                journal.add(item(data))
            self.assertEqual((caught.exception.why, caught.exception.full), ('Input/output error', False))
            self.assertEqual(self.records(), 'A[a]')
            self.system.faults.clear()
        self.assertEqual((self.fsync_errors, len(self.journal_errors)), (['OSError'] * 2, 2))
        self.assertEqual(self.log.lines, ['ERROR journal of queue q: fsync failed: Input/output error'])
        journal.add(item(b'y'))
        self.assertEqual(self.records(), 'A[a] A[y]')

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
        with self.assertRaises(JournalError):
            journal.add(item())
        self.assertEqual((len(folder), self.read()), (1, b''))

    def test_a_failed_sync_of_a_confirm(self):
        journal = self.journal(sync_journal=0)
        journal.add(item())
        journal.remove_tentative(1)
        self.system.faults['fsync'] = errno.EIO
        journal.confirm(1)
        self.assertEqual(self.records(), 'A[a] T1 C1')
        self.assertEqual(self.fsync_errors, ['OSError'])
        self.assertEqual(self.log.lines, ['ERROR journal of queue q: fsync failed: Input/output error'])

    def test_period(self):
        journal = self.journal(sync_journal=100000)
        self.disk.fsync_dir(self.spool)
        self.syncs()
        journal.add(item())
        journal.add(item())
        self.loop.advance(0.099)
        self.assertEqual(self.loop.jobs, [])
        self.loop.advance(0.001)
        self.assertEqual(len(self.loop.jobs), 1)
        self.assertEqual(self.syncs(), 0, 'off the hub')
        self.loop.finish()
        self.assertEqual(self.syncs(), 1)
        self.loop.advance(10)
        self.assertEqual((self.loop.timers, self.loop.jobs), ([], []))
        self.assertEqual(self.delays, [0])

    def test_period_goes_on_while_records_come(self):
        journal = self.journal(sync_journal=100000)
        moments = []
        for _ in range(400):
            journal.remove()
            self.loop.advance(0.001)
            if self.loop.finish():
                moments.append(round(self.clock.seconds - 1000, 3))
        self.assertEqual(moments, [0.1, 0.2, 0.3, 0.4])

    def test_period_begins_anew_with_the_first_record_after_a_pause(self):
        journal = self.journal(sync_journal=100000)
        journal.remove()
        self.loop.advance(0.1)
        self.loop.finish()
        self.loop.advance(0.03)
        journal.remove()
        self.loop.advance(0.099)
        self.assertEqual(self.loop.jobs, [])
        self.loop.advance(0.001)
        self.assertEqual(len(self.loop.jobs), 1)

    def test_a_slow_fsync_is_followed_by_the_next_at_once(self):
        journal = self.journal(sync_journal=100000)
        journal.remove()
        self.loop.advance(0.1)
        journal.remove()
        self.loop.advance(0.5)
        self.assertEqual(len(self.loop.jobs), 1, 'never two at a time')
        self.loop.finish()
        self.loop.advance(0)
        self.assertEqual(self.loop.finish(), 1)
        self.assertEqual(self.delays, [500000, 400000])

    def test_a_failed_sync_is_tried_again_a_period_later(self):
        journal = self.journal(sync_journal=100000)
        journal.remove()
        self.system.faults['fsync'] = errno.EIO
        self.loop.advance(0.1)
        self.loop.finish()
        self.loop.advance(0.1)
        self.loop.finish()
        self.assertEqual(self.fsync_errors, ['OSError', 'OSError'])
        self.assertEqual(self.log.lines, [
            'ERROR journal of queue q: fsync failed: Input/output error'])
        self.system.faults.clear()
        self.loop.advance(0.1)
        self.assertEqual(self.loop.finish(), 1)
        self.loop.advance(1)
        self.assertEqual((self.loop.timers, len(self.fsyncs)), ([], 1))
        self.assertEqual(self.log.lines[1:], ['WARNING fsync of all journals works again'])

    def test_a_failed_sync_without_a_period_is_not_tried_again_at_once(self):
        journal = self.journal(sync_journal=0)
        journal.remove()
        self.system.faults['fsync'] = errno.EIO
        self.loop.advance(0)
        self.loop.finish()
        self.loop.advance(0.09)
        self.assertEqual(self.loop.jobs, [])
        self.loop.advance(0.01)
        self.assertEqual(len(self.loop.jobs), 1)

    def test_no_descriptor_for_the_thread(self):
        journal = self.journal(sync_journal=100000)
        journal.remove()
        self.system.faults['open'] = errno.EMFILE
        self.loop.advance(0.1)
        self.assertEqual(self.fsync_errors, ['OSError'])
        self.system.faults.clear()
        self.loop.advance(0.1)
        self.assertEqual(self.loop.finish(), 1)

    def test_closed_while_a_sync_is_due_or_under_way(self):
        for name, wait in ((b'due', 0), (b'at it', 0.1)):
            journal = self.journal(name, sync_journal=100000)
            journal.remove()
            self.loop.advance(wait)
            journal.close()
            self.loop.finish()
            self.loop.advance(1)
            self.assertEqual((self.loop.timers, self.loop.jobs), ([], []))

    def test_deleted_while_a_sync_is_under_way(self):
        journal = self.journal(sync_journal=100000)
        journal.remove()
        self.loop.advance(0.1)
        journal.delete()
        self.loop.finish()
        self.assertEqual((self.fsync_errors, self.loop.timers), ([], []))

    def test_close_syncs_what_was_written(self):
        journal = self.journal(sync_journal=100000)
        journal.remove()
        self.syncs()
        journal.close()
        self.assertEqual(self.syncs(), 2)


class NoHub:
    """A loop for closing: the server closes its journals in threads, where nothing may touch the hub."""

    def call_later(self, *arguments):
        raise AssertionError('the hub was touched')

    run_in_thread = call_later


class CloseTest(SpoolTest):

    def leave_hub(self):
        self.syncer._loop = NoHub()

    def test_with_records_kept_and_a_period(self):
        for sync_journal in (None, 0, 100000):
            for room in (None, 0):
                name = b'q%r-%r' % (sync_journal, room)
                with self.subTest(name):
                    self.syncer._loop = self.loop
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
        self.loop.advance(0.1)
        closers[0].join(10)
        self.assertEqual((self.records(), self.system.count('write')), ('T1', 2))


class HubTest(SpoolTest):
    """On gevent's own hub."""

    def test_timer_and_thread(self):
        synced = gevent.event.AsyncResult()
        syncer = Syncer(Clock(), self.logger, synced.set, self.delays.append, self.fsync_errors.append)
        self.syncer = syncer
        journal = self.journal(sync_journal=20000)
        begun = time.monotonic()
        journal.add(item())
        self.assertEqual(self.system.count('fsync'), 0)
        synced.get(timeout=10)
        self.assertGreaterEqual(time.monotonic() - begun, 0.02)
        self.assertEqual((self.system.count('fsync'), self.fsync_errors), (2, []))

    def test_failure_in_the_thread(self):
        failed = gevent.event.AsyncResult()
        self.syncer = Syncer(Clock(), self.logger, self.fsyncs.append, self.delays.append, failed.set)
        self.system.faults['fsync'] = errno.EIO
        journal = self.journal(sync_journal=1000)
        journal.add(item())
        self.assertEqual(failed.get(timeout=10), 'OSError')
        self.assertEqual(readable(self.read()), 'A[a]')
        journal.delete()


if __name__ == '__main__':
    unittest.main()
