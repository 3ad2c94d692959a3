"""kestrel-migrate SPOOL: checked, taken over in place or as a copy, and given back (spec journal 3, 6, 7, D4, D12, D39)."""

import errno
import os
import shutil
import struct
import subprocess
import sys
from unittest import mock

from kestrel.journal.record import xid_record
from kestrel.tools import fsck
from kestrel.tools.migrate import main, spool_check
from support.golden import ENDS, GOLDEN, LEGACY_DIFFERENCES, LEGACY_NOW, RECORDED, case, torn_files
from support.spool import readable
from support.strict_reader import read_spool
from test_qdump import EXAMPLE, Terminal, ToolTest, add, flagged


def starling(text, order='<', expiry=0):
    return b'\0' + struct.pack(order + 'ii', len(text) + 4, expiry) + text


class MigrateTest(ToolTest):

    tool = main

    def setUp(self):
        super().setUp()
        self.outside = self.folder.with_name(self.folder.name + '-copy')
        self.addCleanup(self.remove_all)

    def remove_all(self):
        for path in self.folder.parent.glob(self.folder.name + '[-.]*'):
            shutil.rmtree(path)

    def contents(self, folder=None):
        folder = folder or self.folder
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}

    def migrate(self, *words, code=0, **more):
        """-> the lines; without --apply everything stays as it was."""
        before = self.contents()
        self.assertEqual(self.run_tool(str(self.folder), *words, disk=self.disk, **more), code, self.err.getvalue())
        if '--apply' not in words:
            self.assertEqual(self.contents(), before)
        return self.out.getvalue().decode().splitlines()

    def is_clean(self, folder=None):
        """A start of the server would change nothing."""
        self.tool = fsck
        self.assertEqual(self.run_tool(str(folder or self.folder)), 0, self.out.getvalue())
        self.tool = main

    def copy_golden(self, *parts):
        shutil.rmtree(self.folder)
        shutil.copytree(GOLDEN.joinpath(*parts), self.folder)
        for path in self.folder.iterdir():
            path.chmod(0o640)


class CheckTest(MigrateTest):

    def test_nothing_to_do(self):
        self.write('work.5', add(b'a'))
        self.write('work', add(b'bcd'))
        self.assertEqual(self.migrate(), ['queue work: 2 items, 4 bytes in 2 files', '1 queues, 2 items, 0.0K read',
                                          'nothing was changed; --apply takes the spool over'])

    def test_what_would_be_recovered(self):
        self.write('work', EXAMPLE + b'\x02\x15')
        self.write('p.5', add(b'a'))
        self.write('p.7.pack', add(b'p'))
        self.write('p~~3', b'x')
        self.assertEqual(self.migrate(code=1), [
            'queue p: 1 items, 1 bytes in 2 files', 'queue work: 2 items, 2 bytes in 1 files', '2 queues, 3 items, 0.1K read',
            'recovered: p~~3: temporary file, is deleted',
            'recovered: p.7.pack: packed file, takes the place of 1 others',
            'recovered: p: there is no current file, it is created',
            'recovered: work: incomplete last record at offset 107, 2 bytes are cut off and kept in .corrupt',
            'recovered: work: 1 open reads are put back', 'nothing was changed; --apply takes the spool over'])

    def test_what_kestrel_2_4_would_have_done(self):
        self.write('work.5', add(b'a') + b'\xffxx')
        self.write('work', flagged(b'b', 1) + flagged(b'c', 0, 2))
        self.write('old', add(b'x') + b'\3')
        self.write('twice', add(b'x') + add(b'y') + xid_record(9, 1) * 2)
        self.write('negative', b'\2\xff\xff\xff\xff' + bytes(20))
        self.write('notes.bak', b'')
        self.write('+', add(b'x'))
        said = [line.removeprefix('differs: ') for line in self.migrate(code=1) if line.startswith('differs: ')]
        self.assertEqual(said, [
            '+: no queue can have this name here, so it is left alone; Kestrel 2.4 makes a queue of it',
            'notes.bak: not a journal file, left alone; Kestrel 2.4 does not start with it (D11)',
            'negative: Kestrel 2.4 would not start, if the size in this record is negative (D12)',
            'old: 1 reads were opened without a number, by an old Kestrel; Kestrel 2.4 keeps them all under number 0 and may '
            'lose items (D39)',
            'twice: 1 times a read was opened under a number in use; Kestrel 2.4 forgets the earlier item (D65)',
            'work.5: Kestrel 2.4 would not cut this file but the current one, at 22; removals in later files may hit the '
            'wrong items in both (D12)',
            'work: 2 records with flags or delivery counts; Kestrel 2.4 would cut the file at the first one (D4)'])

    def test_starling(self):
        self.write('q.1384870000', starling(b'one') + starling(b'two'))
        self.write('q', b'\1' + starling(b'three'))
        self.assertEqual(self.migrate()[0], 'queue q: 2 items, 8 bytes in 2 files')
        self.write('q', starling(b'one') + starling(b'one', '>'))
        self.assertIn('recovered: q: incomplete last record at offset 12, 12 bytes are cut off and kept in .corrupt',
                      self.migrate(code=1))
        self.write('q', starling(b'one', '>'))
        self.migrate('--apply', code=2)
        self.assertIn('written by a starling on a machine of the other byte order', self.err.getvalue())
        self.assertEqual(self.read(), starling(b'one', '>'))

    def test_long_queues(self):
        """What does not fit into the memory of the check is counted, too."""
        self.write('q.5', add(b'x' * 1000) * 400)
        self.write('q', b'\1' * 100 + xid_record(9, 1) + add(b'y') * 3)
        with mock.patch.object(spool_check, 'MEMORY', 10000):
            self.assertEqual(self.migrate(code=1)[0], 'queue q: 303 items, 300003 bytes in 2 files')

    def test_progress(self):
        self.write('q', add(b'x' * 100000) * 40)
        self.migrate(err=Terminal())
        self.assertRegex(self.err.getvalue(), '^\rChecking: 1.0M  \rChecking: 2.9M')

    def test_running_servers(self):
        self.write('q', add(b'x'))
        self.disk.lock_spool(self.spool)
        for words in (), ('--apply',), ('--back',), ('--copy-to', str(self.outside), '--apply'):
            self.migrate(*words, code=2)
            self.assertIn('in use by a running server (pid %d): stop it first' % os.getpid(), self.err.getvalue())
        self.disk.unlock_spool()
        program = 'import sys; file = open(sys.argv[1], "ab"); print("open", flush=True); sys.stdin.read()'
        with subprocess.Popen([sys.executable, '-c', program, self.path('q')], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as other:
            other.stdout.readline()
            self.migrate('--apply', code=2)
            self.assertIn('in use by a running server (pid %d)' % other.pid, self.err.getvalue())
            other.stdin.close()
        self.migrate()

    def test_wrong_words(self):
        for words in ([], ['a', '--config', 'b'], ['--config', 'a', '--apply'], ['a', '--output', 'b'],
                      ['a', '--back', '--copy-to', 'b']):
            with self.subTest(words), self.assertRaises(SystemExit), mock.patch('sys.stderr'):
                self.run_tool(*words)
        self.assertEqual(self.run_tool(self.path('no')), 2)
        self.assertEqual(self.err.getvalue(), 'kestrel-migrate: %s: No such file or directory\n' % self.path('no'))


class TakeOverTest(MigrateTest):

    def test_it_does_what_a_start_does(self):
        self.write('work', EXAMPLE + b'\x02\x15')
        self.write('work.5', add(b'a') + b'\xffxx')
        self.write('p.5', add(b'a'))
        self.write('p.7.pack', add(b'p') + add(b'r') + xid_record(9, 3))
        self.write('p~~3', b'x')
        shutil.copytree(self.folder, self.outside)
        self.assertEqual(self.migrate('--apply')[-1], 'taken over: %s is ready for kestrel' % self.folder)
        ours = self.contents()
        self.is_clean()
        shutil.rmtree(self.folder)
        shutil.copytree(self.outside, self.folder)
        self.start_and_stop()
        self.assertEqual(ours, self.contents())

    def test_golden_spools(self):
        for name in RECORDED:
            for end in ENDS:
                with self.subTest(name, end=end):
                    self.copy_golden(name, end, 'journal')
                    self.migrate('--apply')
                    self.is_clean()
                    after = self.contents()
                    self.start_and_stop()
                    self.assertEqual(self.contents(), after)
                    drained = case(name)[end]['after_restart']['drain']
                    self.assertEqual({queue.decode(): [item.data.decode('latin-1') for item in found.waiting] for
                                      queue, found in read_spool(self.folder).items() if queue.decode() in drained}, drained)

    def test_torn_everywhere(self):
        for name, data in torn_files().items():
            self.write(name, data)
        shutil.copytree(self.folder, self.outside)
        self.migrate('--apply')
        ours = self.contents()
        shutil.rmtree(self.folder)
        shutil.copytree(self.outside, self.folder)
        self.start_and_stop()
        self.assertEqual(ours, self.contents())
        self.assertGreater(len(ours), 300)

    def test_copy(self):
        self.write('work', EXAMPLE + b'\x02\x15')
        self.write('notes.bak', b'')
        self.write('p.7.pack', add(b'p'))
        before = self.contents()
        self.migrate('--copy-to', str(self.outside), code=1)
        self.assertFalse(self.outside.exists())
        self.migrate('--copy-to', str(self.outside), '--apply')
        self.assertEqual(self.contents(), before)
        self.assertEqual(self.contents(self.outside), {
            'work': EXAMPLE + xid_record(5, 1), 'p.7': add(b'p'), 'p': b'',
            '.corrupt/work.107.%d' % self.clock.now_ms(): b'\x02\x15'})
        self.is_clean(self.outside)

    def test_a_full_target(self):
        self.write('a', add(b'x' * 1000))
        self.write('b', add(b'y' * 1000))
        self.system.room = 1500
        self.migrate('--copy-to', str(self.outside), '--apply', code=2)
        self.assertIn('%s: not enough room; nothing was copied' % self.outside, self.err.getvalue())
        self.assertEqual(self.contents(self.outside), {})
        self.system.room = None
        self.system.statvfs = lambda path: mock.Mock(f_bavail=1, f_frsize=1024, f_flag=0)
        for words in ['--apply'], []:
            self.migrate('--copy-to', str(self.outside), *words, code=2)
            self.assertIn('not enough room: 2.0K are needed, 1.0K are free', self.err.getvalue())

    def test_targets_that_are_none(self):
        self.write('a', add(b'x'))
        self.outside.mkdir()
        (self.outside / 'there').write_bytes(b'mine')
        self.migrate('--copy-to', str(self.outside), '--apply', code=2)
        self.assertIn('not empty (there)', self.err.getvalue())
        self.migrate('--copy-to', self.path('below'), '--apply', code=2)
        self.assertIn('lies in the spool itself', self.err.getvalue())
        self.migrate('--copy-to', str(self.folder), '--apply', code=2)
        self.assertEqual((self.contents(), self.contents(self.outside)), ({'a': add(b'x')}, {'there': b'mine'}))

    def test_no_room_for_what_is_cut_off(self):
        self.write('a', add(b'x') + b'\xff' * 500)
        self.write('b', EXAMPLE)
        before = self.contents()
        self.system.room = 100
        self.migrate('--apply', code=2)
        self.assertIn('cannot save the broken end', self.err.getvalue())
        self.assertEqual(self.contents(), before)
        self.system.room = None
        self.migrate('--apply')
        self.is_clean()

    def test_what_may_not_be_written_is_found_first(self):
        self.write('a', EXAMPLE)
        self.write('b', EXAMPLE)
        before = self.contents()
        with mock.patch('os.access', lambda path, mode: not path.endswith(b'/b')):
            self.migrate('--apply', code=2)
        self.assertIn('/b: this user cannot write to it: run kestrel-migrate as the user', self.err.getvalue())
        self.assertEqual(self.contents(), before)


class BackTest(MigrateTest):

    def test_what_is_the_originals_stays(self):
        self.write('work', EXAMPLE + xid_record(5, 1))
        self.assertEqual(self.migrate('--back')[-1], 'Kestrel 2.4 can have it as it is')
        before = self.contents()
        self.migrate('--back', '--apply')
        self.assertEqual(self.contents(), before)

    def test_flags_go(self):
        self.write('work.5', flagged(b'gone', 1) + flagged(b'a', 7) + add(b'b'))
        self.write('work', b'\1' + flagged(b'c', 0, 3) + flagged(b'd', 1, 1) + add(b'e', 1384870005000) + xid_record(9, 4))
        self.write('other', add(b'x'))
        self.write('notes.bak', b'mine')
        self.assertIn('back: work: is written anew; lost: the flags of 2 items and the delivery counts of 2 items',
                      self.migrate('--back', code=1))
        self.migrate('--back', '--apply')
        self.assertEqual(self.files(), ['other', 'work'])
        self.assertEqual(readable(self.read('work')), 'A[a] A[b] A[c] A[d] A[e]')
        queue = read_spool(self.folder)[b'work']
        self.assertEqual((queue.odd, queue.open, queue.waiting[-1].expiry), ([], {}, 1384870005000))
        aside, = self.folder.parent.glob(self.folder.name + '.aside-*')
        self.assertEqual(self.contents(aside), {'notes.bak': b'mine'})
        self.assertEqual(self.migrate('--back')[-1], 'Kestrel 2.4 can have it as it is')

    def test_what_was_cut_off_is_kept_aside(self):
        self.write('work', add(b'a') + b'\xffxx')
        self.migrate('--back', '--apply')
        self.assertEqual(self.contents(), {'work': add(b'a')})
        aside, = self.folder.parent.glob(self.folder.name + '.aside-*')
        self.assertEqual(list(self.contents(aside).values()), [b'\xffxx'])

    def test_legacy_spools(self):
        """What kestrel makes of old records is what Kestrel 2.4 finds afterwards."""
        self.copy_golden('legacy_opcodes', 'journal')
        self.clock.ms = LEGACY_NOW
        collection = self.start()
        wanted = {name: [item.data for item in self.drain(queue, expired=True)] for name, queue in collection.queues.items()}
        self.stop(collection)
        self.assertEqual([data.decode() for data in wanted[b'ax_t3']], LEGACY_DIFFERENCES['ax_t3'][1])
        self.copy_golden('legacy_opcodes', 'journal')
        self.migrate('--back', '--apply')
        self.assertEqual({name: [item.data for item in queue.waiting] for name, queue in read_spool(self.folder).items()},
                         wanted)

    def test_a_crash_at_any_step_loses_nothing(self):
        wanted = [b'a', b'b', b'c']
        for step in range(1, 30):
            for path in self.folder.iterdir():
                path.unlink()
            self.write('work.5', flagged(b'a', 7))
            self.write('work', flagged(b'b', 1) + add(b'c'))
            calls = []
            stop = step

            def failing(name, call):
                def counted(*words):
                    calls.append(name)
                    if len(calls) >= stop:
                        raise OSError(errno.EIO, 'gone')
                    return call(*words)
                return counted
            with mock.patch.multiple(self.system, **{name: failing(name, getattr(self.system, name))
                                                     for name in ('rename', 'unlink', 'write', 'fsync')}):
                code = self.run_tool(str(self.folder), '--back', '--apply', disk=self.disk)
            collection = self.start()
            self.assertEqual([item.data for item in self.drain(collection.queues[b'work'])], wanted, calls)
            self.stop(collection)
            if code == 0:
                break
        self.assertGreater(step, 8)
        self.assertEqual(code, 0)

    def test_no_room_changes_nothing(self):
        self.write('a', flagged(b'x' * 100, 1))
        self.write('b', flagged(b'y' * 100, 1))
        self.write('notes.bak', b'mine')
        before = self.contents()
        self.system.room = 200
        self.migrate('--back', '--apply', code=2)
        self.assertIn('No space left on device; nothing was changed', self.err.getvalue())
        self.assertEqual(self.contents(), before)
        self.assertEqual(list(self.folder.parent.glob(self.folder.name + '.aside-*')), [])

    def test_names_beyond_ascii(self):
        self.write('caf\u00e9', add(b'x'))
        self.assertIn('back: caf\u00e9: Kestrel 2.4 finds it only with a UTF-8 locale (-Dfile.encoding=UTF-8)',
                      self.migrate('--back', code=1))
