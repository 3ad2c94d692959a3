"""The server's status and the file that keeps it (spec queues 11, D29, D46)."""

import errno
import itertools
import os

from kestrel import status
from kestrel.status import DOWN, QUIESCENT, READONLY, STORED, UP, WRITEAVOID, ServerStatus, StatusFile
from support.spool import SpoolTest

GRACE = 10.0
ORDER = [UP, WRITEAVOID, READONLY, QUIESCENT]


class TableTest(SpoolTest):
    """The first table of queues 11."""

    def test_rows(self):
        for one, row in ((UP, (1, False, False, False)), (WRITEAVOID, (2, False, False, False)),
                         (READONLY, (3, False, True, True)), (QUIESCENT, (4, True, True, True)),
                         (DOWN, (100, True, True, False))):
            with self.subTest(one.name):
                self.assertEqual((one.strictness, one.blocks_reads, one.blocks_writes, one.graceful), row)

    def test_names(self):
        self.assertEqual({name: one.name for name, one in STORED.items()}, {
            'up': 'Up', 'writeavoid': 'WriteAvoid', 'readonly': 'ReadOnly', 'quiescent': 'Quiescent'})


class ChangeTest(SpoolTest):
    """The second table of queues 11."""

    def begin(self, one=UP, grace=GRACE):
        self.stored, self.enforced, self.failure, self.while_storing = [], [], None, lambda: None
        self.announced, self.refusal, self.while_announcing = [], None, lambda: None
        self.status = ServerStatus(one, grace, self.clock, self.hub.call_later, self.store,
                                   self.announce, self.enforced.append, self.logger)
        self.assertEqual(self.enforced, [one])
        return self.status

    def store(self, one):
        self.while_storing()
        if self.failure is not None:
            raise self.failure
        self.stored.append(one)

    def announce(self, one, joining):
        """What it says at that moment counts: less is announced before, more after it changed."""
        self.while_announcing()
        self.announced.append((one, joining, self.status.announced, self.status.in_force))
        if self.refusal is not None:
            raise self.refusal

    def check(self, announced, in_force):
        """Both values, and what was enforced last."""
        found = self.status.announced, self.status.in_force, self.enforced[-1]
        self.assertEqual([one.name for one in found], [announced.name, in_force.name, in_force.name])

    def check_nothing_comes(self):
        """No timer changes anything any more."""
        before = self.status.announced, self.status.in_force
        self.hub.advance(100 * GRACE)
        self.assertEqual((self.status.announced, self.status.in_force), before)

    def test_every_change_without_a_grace_period(self):
        for old, new in itertools.product(ORDER, ORDER):
            with self.subTest(f'{old.name} {new.name}'):
                self.begin(old, 0)
                self.assertTrue(self.status.change(new))
                self.check(new, new)
                self.assertEqual(self.stored, [new])
                self.assertEqual(self.hub.timers, [])

    def test_every_change_with_one(self):
        for old, new in itertools.product(ORDER, ORDER):
            with self.subTest(f'{old.name} {new.name}'):
                self.begin(old)
                self.assertTrue(self.status.change(new))
                self.assertEqual(self.stored, [new])
                if new.strictness > old.strictness:
                    self.check(new, old)
                    self.hub.advance(GRACE - 0.001)
                    self.check(new, old)
                    self.hub.advance(0.001)
                self.check(new, new)
                self.check_nothing_comes()

    def test_every_change_while_one_is_pending(self):
        for old, pending, new in itertools.product(ORDER, ORDER, ORDER):
            if pending.strictness <= old.strictness:
                continue
            with self.subTest(f'{old.name} {pending.name} {new.name}'):
                self.begin(old)
                self.status.change(pending)
                self.hub.advance(GRACE / 2)
                lines = len(self.log.lines)
                accepted = self.status.change(new)
                self.assertEqual(accepted, new.strictness < pending.strictness)
                if accepted:
                    # at once, also where that is stricter than what is in force
                    self.check(new, new)
                    self.assertEqual(self.stored, [pending, new])
                    self.check_nothing_comes()
                else:
                    self.check(pending, old)
                    self.assertEqual(self.stored, [pending])
                    line = 'WARNING status %s refused: %s is announced and not in force yet'
                    self.assertEqual(self.log.lines[lines:], [line % (new.name, pending.name)])
                    # the first one keeps its time
                    self.hub.advance(GRACE / 2)
                    self.check(pending, pending)
                    self.check_nothing_comes()

    def test_after_the_grace_period_the_next_one_is_accepted(self):
        self.begin()
        self.status.change(READONLY)
        self.hub.advance(GRACE)
        self.assertTrue(self.status.change(QUIESCENT))
        self.check(QUIESCENT, READONLY)
        self.hub.advance(GRACE)
        self.check(QUIESCENT, QUIESCENT)

    def test_a_timer_of_a_change_that_was_taken_back_counts_for_no_other(self):
        self.begin()
        self.status.change(READONLY)
        self.hub.advance(GRACE - 1)
        self.status.change(UP)
        self.status.change(QUIESCENT)
        self.hub.advance(1)
        self.check(QUIESCENT, UP)
        self.hub.advance(GRACE - 1)
        self.check(QUIESCENT, QUIESCENT)

    def test_failure_puts_everything_back(self):
        for failure in OSError(errno.EACCES, 'Permission denied'), RuntimeError('no thread'):
            for old, new in itertools.product(ORDER, ORDER):
                with self.subTest(f'{failure} {old.name} {new.name}'):
                    self.begin(old)
                    self.failure = failure
                    with self.assertRaises(type(failure)):
                        self.status.change(new)
                    self.check(old, old)
                    self.assertEqual(self.enforced, [old])
                    self.check_nothing_comes()

    def test_failure_while_one_is_pending(self):
        self.begin()
        self.status.change(QUIESCENT)
        self.failure = OSError(errno.ENOSPC, 'No space')
        with self.assertRaises(OSError):
            self.status.change(UP)
        self.check(QUIESCENT, UP)
        self.hub.advance(GRACE)
        self.check(QUIESCENT, QUIESCENT)

    def test_less_is_announced_before_and_more_after_the_change(self):
        # queues 15; what is as strict as before counts as a looser change (queues 11)
        for old, new in itertools.product(ORDER, ORDER):
            for grace in 0, GRACE:
                with self.subTest(f'{old.name} {new.name}'):
                    self.begin(old, grace)
                    self.status.change(new)
                    if new.strictness > old.strictness:
                        self.assertEqual(self.announced, [(new, False, old, old)])
                    else:
                        self.assertEqual(self.announced, [(new, True, new, new)])

    def test_a_rejected_change_is_not_announced(self):
        self.begin()
        self.status.change(READONLY)
        self.status.change(QUIESCENT)
        self.assertEqual([one[0] for one in self.announced], [READONLY])

    def test_less_that_cannot_be_announced(self):
        self.begin()
        self.refusal = LookupError('no right')
        with self.assertRaises(LookupError):
            self.status.change(READONLY)
        self.check(UP, UP)
        self.assertEqual((self.stored, self.enforced), ([], [UP]))
        self.check_nothing_comes()

    def test_more_that_cannot_be_announced(self):
        self.begin(QUIESCENT)
        self.refusal = LookupError('no right')
        with self.assertRaises(LookupError):
            self.status.change(UP)
        self.check(QUIESCENT, QUIESCENT)
        self.assertEqual(self.stored, [UP, QUIESCENT])
        self.assertEqual(self.log.lines, [])

    def test_more_that_cannot_be_announced_in_a_grace_period(self):
        # both values as they were, and the grace period goes on
        for waited in 0, GRACE:
            with self.subTest(waited):
                self.begin()
                self.status.change(QUIESCENT)
                self.refusal = LookupError('no right')
                self.while_announcing = lambda: self.hub.advance(waited)
                with self.assertRaises(LookupError):
                    self.status.change(READONLY)
                self.check(QUIESCENT, QUIESCENT if waited else UP)
                self.hub.advance(GRACE)
                self.check(QUIESCENT, QUIESCENT)
                self.check_nothing_comes()

    def test_what_was_announced_is_taken_back_if_it_cannot_be_stored(self):
        self.begin()
        self.failure = OSError(errno.ENOSPC, 'No space')
        with self.assertRaises(OSError):
            self.status.change(READONLY)
        self.assertEqual([one[:2] for one in self.announced], [(READONLY, False), (UP, False)])
        self.check(UP, UP)

    def test_what_cannot_be_taken_back_is_told(self):
        self.begin(READONLY)
        self.refusal = LookupError('no right')

        def fail_from_now_on():
            self.failure = OSError('full')
        self.while_announcing = fail_from_now_on
        with self.assertRaises(LookupError):
            self.status.change(UP)
        self.check(READONLY, READONLY)
        self.assertEqual(self.log.lines, ['ERROR status ReadOnly: what was done cannot be taken back: full'])

    def test_a_stop_while_more_is_announced(self):
        self.begin(READONLY)
        self.while_announcing, self.refusal = self.status.stop, LookupError('no right')
        with self.assertRaises(LookupError):
            self.status.change(UP)
        self.check(DOWN, DOWN)

    def test_it_comes_into_force_while_another_is_stored(self):
        self.begin()
        self.status.change(QUIESCENT)
        self.while_storing = lambda: self.hub.advance(GRACE)
        self.status.change(READONLY)
        self.assertEqual(self.enforced, [UP, QUIESCENT, READONLY])
        self.check(READONLY, READONLY)

    def test_a_timer_that_is_early(self):
        self.begin()
        self.status.change(READONLY)
        (_, _, look, arguments), = self.hub.timers
        look(*arguments)
        self.check(READONLY, UP)
        self.hub.advance(GRACE)
        self.check(READONLY, READONLY)

    def test_a_grace_period_longer_than_a_timer(self):
        self.begin(grace=3 * status.LONGEST_TIMER)
        self.status.change(READONLY)
        self.assertLessEqual(self.hub.timers[0][0] - self.clock.seconds, status.LONGEST_TIMER)
        self.hub.advance(3 * status.LONGEST_TIMER - 1)
        self.check(READONLY, UP)
        self.hub.advance(1)
        self.check(READONLY, READONLY)

    def test_the_wall_clock_does_not_count(self):
        self.begin()
        self.status.change(READONLY)
        self.clock.ms += 3600000
        self.hub.advance(GRACE - 1)
        self.check(READONLY, UP)

    def test_what_was_stored_is_in_force_at_once(self):
        self.begin()
        self.status.begin(QUIESCENT)
        self.check(QUIESCENT, QUIESCENT)
        self.assertEqual(self.stored, [])

    def test_stop(self):
        # D46: down, not stored; graceful by the status in force (queues 13)
        for one in ORDER:
            with self.subTest(one.name):
                self.begin(one)
                self.assertEqual(self.status.stop(), one in (READONLY, QUIESCENT))
                self.check(DOWN, DOWN)
                self.assertEqual(self.stored, [])

    def test_stop_in_a_grace_period(self):
        self.begin()
        self.status.change(READONLY)
        self.assertFalse(self.status.stop())
        self.check(DOWN, DOWN)
        self.check_nothing_comes()

    def test_a_change_that_is_stored_when_it_stops(self):
        self.begin()
        self.while_storing = self.status.stop
        self.status.change(READONLY)
        self.check(DOWN, DOWN)
        self.check_nothing_comes()


class FileTest(SpoolTest):
    """``status_file`` (queues 11, D29)."""

    def file(self, name='status'):
        return StatusFile(self.disk, str(self.folder / name), self.logger)

    def test_bytes(self):
        for one in ORDER:
            self.file().store(one)
            self.assertEqual(self.read('status'), one.name.encode() + b'\n')
            self.assertIs(self.file().read(DOWN), one)
            self.assertEqual(self.files(), ['status'])
        self.assertEqual(self.log.lines, [])

    def test_written_beside_it_fsynced_and_renamed(self):
        self.file().store(READONLY)
        self.system.calls.clear()
        self.file().store(UP)
        names = [call[0] for call in self.system.calls if call[0] not in ('open', 'pread', 'unlink')]
        self.assertEqual(names, ['write', 'fsync', 'rename', 'fsync'])
        rename, = [call[1:] for call in self.system.calls if call[0] == 'rename']
        self.assertEqual(rename, (self.spool + b'/status.tmp', self.spool + b'/status'))

    def test_read_leniently(self):
        for content, found in ((b'ReadOnly\n', READONLY), (b'READONLY', READONLY),
                               (b'quiescent\r\nUp\n', QUIESCENT), (b' writeavoid \n', WRITEAVOID),
                               (b'up\n\xff\xfe', UP)):
            with self.subTest(content):
                self.write('status', content)
                self.assertIs(self.file().read(DOWN), found)
        self.assertEqual(self.log.lines, [])

    def test_missing(self):
        self.write('plain', b'')
        for name in 'status', 'no/such/status', 'plain/status':
            self.assertIs(self.file(name).read(READONLY), READONLY)
        self.assertEqual(self.log.lines, [])

    def test_unreadable(self):
        for content in b'', b'\n', b'\nUp\n', b'Sleepy\n', b'Down\n', b'\xff\n', b'Up' * 1000, bytes(5000):
            with self.subTest(content[:10]):
                self.log.lines.clear()
                self.write('status', content)
                self.assertIs(self.file().read(READONLY), READONLY)
                self.assertEqual(len(self.log.lines), 1)
                self.assertRegex(self.log.lines[0],
                                 r'^WARNING status file /.*/status: .* is no status: it is ReadOnly$')
        (self.folder / 'folder').mkdir()
        self.log.lines.clear()
        self.assertIs(self.file('folder').read(UP), UP)
        line = 'WARNING status file %s cannot be read: Is a directory: the status is Up'
        self.assertEqual(self.log.lines, [line % (self.folder / 'folder')])

    def test_folder_is_created(self):
        self.file('a/b/status').store(QUIESCENT)
        self.assertEqual(self.read('a/b/status'), b'Quiescent\n')

    def test_relative_path(self):
        before = os.getcwd()
        os.chdir(self.folder)
        try:
            file = StatusFile(self.disk, 'status', self.logger)
        finally:
            os.chdir(before)
        file.store(READONLY)
        self.assertEqual(self.read('status'), b'ReadOnly\n')

    def test_what_a_crash_left_does_no_harm(self):
        self.write('status.tmp', b'Quies')
        self.assertIs(self.file().read(UP), UP)
        self.file().store(READONLY)
        self.assertEqual((self.files(), self.read('status')), (['status'], b'ReadOnly\n'))

    def test_a_link_of_that_name_leads_nowhere(self):
        self.write('precious', b'keep')
        os.symlink('precious', self.folder / 'status.tmp')
        self.file().store(READONLY)
        self.assertEqual((self.read('precious'), self.read('status')), (b'keep', b'ReadOnly\n'))

    def test_short_writes(self):
        self.system.most = 1
        self.file().store(QUIESCENT)
        self.assertEqual(self.read('status'), b'Quiescent\n')

    def test_failure_leaves_what_there_was(self):
        for content in None, b'Up\n', b'rubbish':
            for call in 'write', 'fsync', 'rename':
                with self.subTest(f'{content} {call}'):
                    if content is not None:
                        self.write('status', content)
                    self.system.faults = {call: errno.EIO}
                    with self.assertRaises(OSError):
                        self.file().store(READONLY)
                    self.system.faults = {}
                    self.assertEqual(self.files(), [] if content is None else ['status'])
                    if content is not None:
                        self.assertEqual(self.read('status'), content)

    def test_fsync_of_the_folder_that_fails(self):
        # the new file has its name then: it must not say what is not announced
        for content in None, b'Up\n':
            with self.subTest(content):
                if content is not None:
                    self.write('status', content)
                fsync_dir, failing = self.disk.fsync_dir, [1]

                def fail_once(path):
                    if failing:
                        raise OSError(errno.EIO, os.strerror(failing.pop()))
                    fsync_dir(path)
                self.disk.fsync_dir = fail_once
                with self.assertRaises(OSError):
                    self.file().store(READONLY)
                self.disk.fsync_dir = fsync_dir
                self.assertEqual(self.files(), [] if content is None else ['status'])
                if content is not None:
                    self.assertEqual(self.read('status'), content)

    def test_what_cannot_be_put_back_is_told(self):
        self.write('status', b'Up\n')

        def fail(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.disk.fsync_dir = fail
        with self.assertRaises(OSError):
            self.file().store(READONLY)
        self.assertEqual(len(self.log.lines), 1)
        self.assertIn('cannot put back what it said', self.log.lines[0])
        self.assertEqual(self.read('status'), b'Up\n')

    def test_nothing_can_be_put_there(self):
        (self.folder / 'folder').mkdir()
        self.write('plain', b'')
        for name in 'folder', 'plain/status':
            with self.subTest(name), self.assertRaises(OSError):
                self.file(name).store(READONLY)
        self.assertEqual(self.log.lines, [])
        self.assertEqual(self.files(), ['folder', 'plain'])

    def test_check(self):
        # config 3: not writable at the start: one warning; nothing is created
        self.write('plain', b'')
        for name in 'status', 'no/such/status':
            self.file(name).check()
        self.assertEqual((self.log.lines, self.files()), ([], ['plain']))
        self.file('plain/status').check()
        line = 'WARNING status file %s is not writable: the status cannot be changed'
        self.assertEqual(self.log.lines, [line % (self.folder / 'plain' / 'status')])
        self.log.lines.clear()
        self.system.access = lambda path, mode: False
        self.file().check()
        self.assertEqual(len(self.log.lines), 1)
