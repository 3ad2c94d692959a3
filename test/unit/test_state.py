"""A queue's state at the end of one of its files, and starts that begin with it (docs/journal-format.md, D9)."""

import os
import pathlib
import random
import shutil
import tempfile
import zlib
from unittest import mock

from kestrel import compactor
from kestrel.disk import Disk
from kestrel.item import Item
from kestrel.journal import recovery, state, state_work
from kestrel.journal.record import END, addx_header
from support.clock import THEN
from support.compacted import LARGE, CompactedTest
from support.queues import read_all
from support.spool import FaultySystem

FOLDER = '.state~~'
BEHIND = {'max_memory_size': 1000}


def content_of(file):
    """Instead of inode and times, so that a copied spool counts as the same."""
    return [zlib.crc32(file.read_at(file.size, 0))]


def word(number):
    return b'%04d' % number + b'.' * (number * 7 % 90)


def example():
    item = Item(b'open', THEN, THEN + 5, 32, 2)
    return state.State(b'caf\xe9', [['caf\xc3\xa9.5', 100, 7, 8, 9, 10]], 21, 3, 4000, -2147483648, {-7: item},
                       [Item(b'', THEN, 0, 0, 1), Item(b'\n\0', THEN)])


class StateTest(CompactedTest):

    def setUp(self):
        super().setUp()
        for module, name, value in ((state_work, 'LEAST', 0), (recovery, 'AT_FIRST', 100), (compactor, 'STATE_EVERY', 0.0)):
            patched = mock.patch.object(module, name, value)
            patched.start()
            self.addCleanup(patched.stop)

    def as_content(self):
        patched = mock.patch.object(state, '_stamp', content_of)
        patched.start()
        self.addCleanup(patched.stop)

    # --- starts on copies

    def copy(self):
        copy = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, copy, ignore_errors=True)
        shutil.copytree(self.folder, copy / 'spool')
        return copy / 'spool'

    def start(self, folder, starts, memory=1000):
        """-> (entries of what waits, did it begin with the state, the files then)."""
        disk = Disk(self.logger, FaultySystem())
        files = recovery.scan(disk, os.fsencode(folder), self.logger)[b'q']
        found = recovery.recover(disk, self.clock, self.logger, files, memory, None, None, starts)
        begun = found.begun is not None
        entries = read_all(found), found.pending
        for file in found.files:
            file.close()
        return entries, begun, {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    def check_copy(self, change=lambda folder: None):
        """A start that may begin with the state comes to what another one comes to. -> did it begin with it."""
        with_state, replayed = self.copy(), self.copy()
        change(with_state)
        change(replayed)
        found, begun, files = self.start(with_state, True)
        expected, _, files_expected = self.start(replayed, False)
        self.assertEqual(found, expected)
        self.assertEqual(files, files_expected)
        return begun

    def begin_with_state(self, memory=1000):
        """As another process does. -> the Recovered"""
        files = recovery.scan(self.disk, self.spool, self.logger)[b'q']
        recovered = recovery.recover(self.disk, self.clock, self.logger, files, memory, None, None, True)
        self.begin(recovered, max_memory_size=memory)
        return recovered

    def fill(self, count=60):
        self.begin(**BEHIND)
        self.compact_no_more()
        self.put(*[word(number) for number in range(count)])

    def stop(self):
        self.queue.close()
        self.queue.write_state(self.clock.monotonic() + 1)

    def state_file(self):
        return self.folder / FOLDER / 'q'

    # --- the file

    def test_what_is_written_is_read(self):
        there = example()
        again = state.decode(there.encode())
        self.assertEqual((again.name, again.marks, again.offset, again.counter), (there.name, there.marks, 21, -2147483648))
        self.assertEqual((again.count, again.bytes), (5, 4002))
        told = [(item.data, item.add_time, item.expiry, item.flags, item.deliveries)
                for item in [again.opened[-7], *again.heads]]
        self.assertEqual(told, [(b'open', THEN, THEN + 5, 32, 2), (b'', THEN, 0, 0, 1), (b'\n\0', THEN, 0, 0, 0)])

    def test_torn_or_changed_at_any_byte_it_is_none(self):
        data = example().encode()
        for length in range(len(data)):
            self.assertIsNone(state.decode(data[:length]), length)
            self.assertIsNone(state.decode(data[:length] + bytes([data[length] ^ 1]) + data[length + 1:]), length)
        self.assertIsNone(state.decode(data + b'\0'))
        self.assertIsNone(state.decode(data.replace(b'kestrel-state 1', b'kestrel-state 2')))

    # --- when it is written

    def test_a_rotation_writes_it_beside_everything_else(self):
        self.fill()
        self.rotate()
        self.assertFalse(self.state_file().exists())
        self.put(b'later')
        self.settle()
        self.assertTrue(self.state_file().exists())
        self.assertTrue(self.begin_with_state().begun)
        self.assertEqual((self.queue.count, self.get(61)), (61, [word(number) for number in range(60)] + [b'later']))

    def test_a_short_journal_has_none(self):
        state_work.LEAST = 1 << 20
        self.fill()
        self.rotate()
        self.settle()
        self.stop()
        self.assertFalse((self.folder / FOLDER).exists())

    def test_a_stop_writes_it(self):
        self.fill()
        self.rotate()
        self.settle()
        self.get(10)
        self.open(2)
        self.stop()
        recovered = self.begin_with_state()
        self.assertIsNotNone(recovered.begun)
        self.assertEqual(self.get(50), [word(number) for number in range(10, 60)])

    def test_a_stop_that_has_no_time_does_not(self):
        self.fill()
        self.queue.close()
        self.queue.write_state(self.clock.monotonic() - 1)
        self.assertFalse(self.state_file().exists())

    def test_nothing_waits_any_more(self):
        self.fill(20)
        self.rotate()
        self.get(20)
        self.stop()
        self.assertIsNotNone(self.begin_with_state().begun)
        self.assertEqual((self.queue.count, self.queue.reader), (0, None))
        self.put(b'new')
        self.assertEqual(self.get(), [b'new'])

    def test_memory_is_filled_when_the_server_is_ready(self):
        self.fill()
        self.stop()
        self.begin_with_state()
        self.assertLess(self.queue.mem_bytes, 300)
        self.queue.fill()
        self.settle()
        self.assertGreaterEqual(self.queue.mem_bytes, 1000)
        self.begin_with_state(LARGE)
        self.queue.fill()
        self.settle()
        self.assertEqual((len(self.queue.items), self.queue.reader, self.queue.filling), (60, None, False))

    def test_what_waits_for_an_fsync_keeps_it_from_being_written(self):
        self.fill()
        self.queue.put(b'waits', 0, 0, True)
        self.rotate()
        self.settle()
        self.assertFalse(self.state_file().exists())

    def test_it_cannot_be_written(self):
        self.fill()
        (self.folder / FOLDER).write_bytes(b'')
        self.rotate()
        self.settle()
        self.assertIn('its state cannot be written: Not a directory', '\n'.join(self.log.lines))
        self.assertEqual(self.get(60), [word(number) for number in range(60)])

    # --- any history, any moment

    def test_each_start_finds_what_a_replay_finds(self):
        """Each step of a history may be the last one of the process; and each state that was ever written may be the one
        that is there, as with a backup of an older one."""
        self.as_content()
        begun = older = 0
        for seed in range(4):
            chance = random.Random(seed)
            self.begin(max_memory_size=300)
            states = set()
            for number in range(150):
                self.some_step(chance, number)
                if chance.random() < 0.1:
                    begun += self.check_copy()
                if self.state_file().exists():
                    states.add(self.state_file().read_bytes())
            for old in sorted(states):
                older += self.check_copy(lambda folder, old=old: (folder / FOLDER / 'q').write_bytes(old))
            self.queue.delete()
            self.settle()
            self.assertEqual([path.name for path in self.folder.iterdir()], [FOLDER])
        self.assertGreater(begun, 15)
        self.assertGreater(older, 8)

    def some_step(self, chance, number):
        queue = self.queue
        step = chance.choices(('put', 'get', 'open', 'close', 'abort', 'rotate', 'pack', 'wait', 'rewrite'),
                              (50, 22, 15, 8, 7, 7, 3, 15, 0.7))[0]
        if step == 'put':
            self.put(*[word(number)] * 3, flags=chance.choice((0, 0, 0, 5)))
        elif step in ('get', 'open') and queue.items:
            queue.take(step == 'open', self.clock.now_ms())
        elif step in ('close', 'abort') and queue.opened:
            (queue.confirm if step == 'close' else queue.unremove)(chance.choice(sorted(queue.opened)))
        elif step == 'rotate' and queue.journal.size:
            self.rotate()
        elif step == 'pack':
            queue.configure(queue.settings.replaced(max_journal_size=400, max_memory_size=300, default_journal_size=300))
        elif step == 'rewrite':
            self.compactor.rewrite_for_commit(False)
        elif step == 'wait':
            self.settle()

    def test_the_process_ends_at_each_step_of_writing(self):
        self.as_content()
        self.fill()
        self.open(2)
        self.rotate()
        self.settle()
        first = self.state_file().read_bytes()
        self.get(3)
        self.put(*[word(number) for number in range(20)])
        self.assertTrue(self.check_copy())
        self.system.after = self.check_copy
        self.rotate()
        before = len(self.system.told)
        self.settle()
        self.system.after = None
        self.assertGreater(len(self.system.told), before + 3)
        self.assertNotEqual(self.state_file().read_bytes(), first)

    # --- when it does not count

    def changed(self, *parts):
        self.assertFalse(self.check_copy(*parts))

    def test_torn_at_any_byte(self):
        self.as_content()
        self.fill(12)
        self.stop()
        whole = self.state_file().read_bytes()
        self.assertTrue(self.check_copy())
        for length in range(len(whole)):
            self.state_file().write_bytes(whole[:length])
            self.assertEqual(state.find(self.disk, self.logger, self.scan()), (None, 0))
            if length % 37 == 0:
                self.changed()

    def scan(self):
        return recovery.scan(self.disk, self.spool, self.logger)[b'q']

    def test_the_journal_was_changed_since(self):
        """By a server that knows nothing of states, by hand, by damage, or it is a copy."""
        self.fill()
        self.rotate()
        self.settle()
        self.put(b'x' * 40)
        self.stop()
        rotated, = [path.name for path in self.folder.glob('q.*')]
        add = addx_header(Item(b'other', THEN)) + b'other'
        self.changed()                  # copied: other inodes, other times
        self.as_content()
        self.begin_with_state()
        self.stop()
        self.assertTrue(self.check_copy())
        for name, change in (('q', lambda data: data + add), ('q', lambda data: data + b'\1'), ('q', lambda data: data[:-1]),
                             (rotated, lambda data: data[:-1]), (rotated, lambda data: data[:100] + b'\xff' + data[101:]),
                             ('q', lambda data: b''), (rotated, lambda data: add + data)):
            with self.subTest(name):
                self.changed(lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes())))
        self.changed(lambda folder: (folder / rotated).unlink())
        self.changed(lambda folder: (folder / 'q').unlink())
        self.changed(lambda folder: (folder / rotated).rename(folder / 'q.7'))
        self.changed(lambda folder: (folder / (rotated + '0')).write_bytes(add))
        self.changed(lambda folder: (folder / (rotated + '.pack')).write_bytes(add * 3))
        self.assertIn('has changed since', '\n'.join(self.log.lines))

    def test_the_times_of_a_file_changed(self):
        self.fill()
        self.stop()
        self.assertEqual(state.find(self.disk, self.logger, self.scan())[1], 0)
        self.assertIsNotNone(state.find(self.disk, self.logger, self.scan())[0])
        status = os.stat(self.folder / 'q')
        data = (self.folder / 'q').read_bytes()
        (self.folder / 'q').write_bytes(data[:5000] + data[5000:].swapcase())
        os.utime(self.folder / 'q', ns=(status.st_atime_ns, status.st_mtime_ns))
        self.assertIsNone(state.find(self.disk, self.logger, self.scan())[0])

    def test_that_of_another_queue(self):
        self.as_content()
        self.fill()
        self.stop()
        (self.folder / FOLDER / 'q').rename(self.folder / FOLDER / 'r')
        (self.folder / 'r').write_bytes((self.folder / 'q').read_bytes())
        found = recovery.scan(self.disk, self.spool, self.logger)[b'r']
        self.assertEqual(state.find(self.disk, self.logger, found), (None, 0))

    def test_those_of_no_queue_are_deleted(self):
        self.fill()
        self.stop()
        for name in ('r', 'q.tmp', 'x.7'):
            (self.folder / FOLDER / name).write_bytes(b'')
        self.scan()
        self.assertEqual(os.listdir(self.folder / FOLDER), ['q'])
        self.assertNotIn('not a journal file', '\n'.join(self.log.lines))

    def test_it_goes_with_its_queue(self):
        self.fill()
        self.rotate()
        self.settle()
        self.queue.delete()
        self.settle()
        self.assertEqual(os.listdir(self.folder / FOLDER), [])

    # --- the check afterwards

    def check_state(self):
        recovered = self.begin_with_state()
        self.compactor.check_state(recovered.begun)
        self.settle()

    def test_the_check_finds_nothing(self):
        self.fill()
        self.get(5)
        self.open(3)
        self.rotate()
        self.put(b'more')
        self.settle()
        lines = len(self.log.lines)
        self.check_state()
        self.assertNotIn('ERROR', '\n'.join(self.log.lines[lines:]))
        self.assertTrue(self.state_file().exists())
        self.assertIsNone(self.compactor.job)

    def test_files_are_renamed_while_they_are_checked(self):
        self.fill()
        self.stop()
        recovered = self.begin_with_state()
        self.compactor.check_state(recovered.begun)
        name = self.rotate()
        self.put(*[b'other'] * 500)
        self.settle()
        self.assertNotIn('checked', self.log.lines[-1])
        self.assertTrue((self.folder / name).exists())

    def test_somebody_takes_a_file_away_while_it_is_checked(self):
        self.fill()
        self.stop()
        recovered = self.begin_with_state()
        self.compactor.check_state(recovered.begun)
        (self.folder / 'q').rename(self.folder / 'elsewhere')
        self.settle()
        self.assertIn('cannot be checked: %s/q is another file now' % self.folder, self.log.lines[-1])

    def test_the_check_finds_another_head_or_number(self):
        self.as_content()
        self.fill()
        self.stop()
        good = state.decode(self.state_file().read_bytes())
        start = len(addx_header(Item(b'', 0))) + len(word(0))
        for change, told in (((start, good.behind - 1, good.behind_bytes - len(word(0))), '60 items of'),
                             ((start, good.behind, good.behind_bytes), 'another item is at its head')):
            good.offset, good.behind, good.behind_bytes = change
            self.state_file().write_bytes(good.encode())
            self.check_state()
            self.assertIn(told, self.log.lines[-1])
            self.assertIn('and the next start replays the whole journal', self.log.lines[-1])
            self.assertFalse(self.state_file().exists())

    def test_damage_behind_the_first_items_is_found_by_the_check(self):
        """The queue goes on; what cannot be read is left out when its turn comes."""
        self.begin(**BEHIND)
        self.compact_no_more()
        self.put(*[b'%04d' % number * 250 for number in range(60)])
        name = self.rotate()
        self.put(b'last')
        self.settle()
        recovered = self.begin_with_state()
        with open(self.folder / name, 'r+b') as file:
            file.seek(1021 * 50)
            file.write(b'\xff')
        self.compactor.check_state(recovered.begun)
        self.settle()
        self.assertIn('%s is broken at offset %d: what cannot be read is left out' % (name, 1021 * 50),
                      '\n'.join(self.log.lines))
        self.assertTrue(self.state_file().exists())
        self.assertEqual(self.get(51), [b'%04d' % number * 250 for number in range(50)] + [b'last'])
        self.assertEqual(self.queue.count, 0)

    def test_damage_before_all_that_waits_costs_nothing(self):
        """A replay would cut the file there, and later removals would hit other items."""
        self.fill()
        name = self.rotate()
        self.settle()
        self.get(30)
        self.put(b'last')
        self.rotate()
        self.settle()
        with open(self.folder / name, 'r+b') as file:
            file.seek(self.offset_of(5))
            file.write(b'\xff')
        # the disk did it: nobody has touched the file
        found = state.decode(self.state_file().read_bytes())
        found.marks = [state.mark(self.disk, self.spool + b'/' + entry[0].encode()) for entry in found.marks]
        self.state_file().write_bytes(found.encode())
        self.assertEqual([entry[0] for entry in self.start(self.copy(), False)[0][0]], [b'last'])
        self.check_state()
        self.assertIn('%s is broken at offset %d' % (name, self.offset_of(5)), self.log.lines[-1])
        self.assertTrue(self.state_file().exists())
        self.assertEqual(self.get(31), [word(number) for number in range(30, 60)] + [b'last'])

    def offset_of(self, number):
        return sum(21 + len(word(before)) for before in range(number))

    def test_damage_met_at_the_start_has_everything_replayed(self):
        self.fill()
        name = self.rotate()
        self.get(50)
        self.put(b'last')
        self.settle()
        with mock.patch.object(state, '_fits', lambda *arguments: 0), open(self.folder / name, 'r+b') as file:
            file.seek(self.offset_of(47))
            file.write(b'\xff')
            file.flush()
            self.changed()
            recovered = self.begin_with_state()
        self.assertIsNone(recovered.begun)
        self.assertIn('its state does not agree with its journal', '\n'.join(self.log.lines))
        self.assertEqual([path.name.split('.')[0] for path in (self.folder / '.corrupt').iterdir()], ['q'])

    def test_who_must_rewrite_does_not_wait_for_the_check(self):
        self.fill(5)
        self.stop()
        recovered = self.begin_with_state(LARGE)
        self.queue.fill()
        self.hub.advance(0.1)
        self.compactor.check_state(recovered.begun)
        (self.folder / 'q').unlink()
        self.assertTrue(self.compactor.look_for_lost_files())
        self.assertTrue(self.compactor.rewriting)
        self.settle()
        self.assertFalse(self.check_copy())
        self.assertEqual(self.get(5), [word(number) for number in range(5)])

    def test_a_rewrite_waits_for_the_check_but_not_for_ever(self):
        self.fill(5)
        self.stop()
        for seconds in 59, 61:
            recovered = self.begin_with_state(LARGE)
            self.queue.fill()
            self.hub.advance(0.1)
            self.compactor.check_state(recovered.begun)
            self.clock.advance(seconds)
            self.compactor.configure(self.queue.settings.replaced(max_journal_size=-1, min_journal_compact_delay=None))
            self.compactor.look()
            self.assertEqual(self.compactor.rewriting, seconds > 60)
        self.settle()
        self.assertFalse(self.check_copy())
        self.assertEqual(self.get(5), [word(number) for number in range(5)])
