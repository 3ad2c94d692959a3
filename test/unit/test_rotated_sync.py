"""Rotated files and fsyncs: nothing behind them counts as durable before they do (D63)."""

import os

from kestrel.item import Item
from kestrel.journal import recovery
from support.clock import THEN
from support.spool import SpoolTest, readable


class RotatedSyncTest(SpoolTest):

    def setUp(self):
        super().setUp()
        self.synced = []
        self.system.fsync = lambda descriptor: self.synced.append(
            os.path.basename(os.readlink('/proc/self/fd/%d' % descriptor)))

    def put(self, journal, text, durable=False):
        return journal.add(Item(text, THEN), durable)

    def rotate(self, journal):
        journal.replace_file(journal.files.rotate(journal.files.archived_path(journal.files.new_ms())))
        journal.sync_rotated()

    def syncs(self):
        """-> the names of the files that were fsynced since the last call."""
        synced, self.synced = self.synced, []
        return [name for name in synced if name != self.folder.name]

    def recovered(self):
        files = recovery.scan(self.disk, self.spool, self.logger)[b'q']
        return recovery.recover(self.disk, self.clock, self.logger, files, 1 << 20)

    def test_what_is_written_while_the_fsync_is_under_way_is_fsynced_again(self):
        for sync_journal in (None, 0, 100000):
            with self.subTest(sync_journal):
                journal = self.journal(b'q%s' % str(sync_journal).encode(), sync_journal)
                first = self.put(journal, b'first', True)
                self.hub.turn()
                (job, done), = self.hub.jobs
                self.hub.jobs.clear()
                result = job()
                journal.remove_tentative(1)
                self.rotate(journal)
                done(result, None)
                self.assertTrue(first.done)
                old = os.path.basename(journal.files.files[0].path).decode()
                self.assertEqual(journal.files.unsynced, journal.files.files[:1])
                self.syncs()
                second = self.put(journal, b'second', True)
                self.hub.advance(0.1)
                self.hub.finish_all()
                self.assertTrue(second.done)
                self.assertEqual(self.syncs()[0], old)
                self.assertEqual(journal.files.unsynced, [])

    def three_files(self):
        journal = self.journal()
        for text in (b'one', b'two'):
            self.put(journal, text)
            self.rotate(journal)
        self.put(journal, b'three')
        self.hub.timers.clear()     # the process ends
        self.hub.jobs.clear()
        return [os.path.basename(file.path).decode() for file in journal.files.files]

    def test_files_that_a_start_found_are_fsynced_with_the_first_record(self):
        names = self.three_files()
        for sync_journal in (None, 0, 100000):
            with self.subTest(sync_journal):
                journal = self.journal(sync_journal=sync_journal, recovered=self.recovered())
                self.assertEqual(self.syncs(), [], 'nobody waits for a start')
                self.assertEqual([file.is_open() for file in journal.files.files], [False] * 3)
                commit = self.put(journal, b'four', True)
                self.hub.advance(0.1)
                self.hub.finish_all()
                self.assertTrue(commit.done)
                self.assertEqual(self.syncs(), names)
                self.put(journal, b'five', True)
                self.hub.advance(0.1)
                self.hub.finish_all()
                self.assertEqual(self.syncs(), ['q'], 'once is enough')
                journal.close()
                self.syncs()

    def test_one_of_them_that_is_gone_is_passed_over(self):
        names = self.three_files()
        journal = self.journal(sync_journal=0, recovered=self.recovered())
        (self.folder / names[0]).unlink()
        commit = self.put(journal, b'four')
        self.hub.finish_all()
        self.assertTrue(commit.done)
        self.assertIsNone(commit.error)

    def test_the_stop_fsyncs_them_if_anything_was_written(self):
        names = self.three_files()
        journal = self.journal(recovered=self.recovered())
        journal.close()
        self.assertEqual(self.syncs(), [])
        journal = self.journal(recovered=self.recovered())
        self.put(journal, b'four')
        journal.close()
        self.assertEqual(self.syncs(), names)

    def test_what_backs_out_open_reads_does_not_become_durable_before_them(self):
        journal = self.journal()
        self.put(journal, b'one')
        self.rotate(journal)
        journal.remove_tentative(1)
        self.syncs()
        self.recovered()
        self.assertEqual(self.syncs(), [])
        self.assertEqual(readable(self.read()), 'T1 U1')
