"""One file in the place of many, system call by system call: rewriting (D43) and packing (D40)."""

from support.clock import THEN
from support.compacted import HEADER, CompactedTest

ROTATED = 'q.%d' % THEN
OLDER = 'q.%d' % (THEN - 5000)


class StepsTest(CompactedTest):
    """What all replacements have in common: ``prepare`` makes a queue, ``start`` begins the job."""

    steps = ()      # what the system is asked to do, in this order
    begins = 0      # the first of them that belongs to the job

    def prepare(self):
        raise NotImplementedError

    def start(self):
        raise NotImplementedError

    def run_it(self):
        """-> what the system was asked to do from its beginning on."""
        self.system.told.clear()
        self.start()
        self.hub.finish_all()
        return list(self.system.told)

    def check_order(self):
        self.prepare()
        self.assertEqual(self.run_it(), list(self.steps))
        self.check_start()

    def check_each_step_failing(self):
        """The queue goes on, nothing is lost, and nothing is left behind."""
        for number, words in enumerate(self.steps):
            if number < self.begins:
                continue
            with self.subTest(number=number, words=words):
                self.prepare()
                self.system.failing = (number,)
                self.run_it()
                self.assertIn(words, self.system.told)
                self.system.failing = ()
                self.check_start()
                self.put(b'meanwhile')
                self.check_start()
                self.settle()
                self.assertEqual([name for name in self.files() if '~~' in name or 'pack' in name], [])
                self.assertEqual(len([line for line in self.log.lines if line.startswith('ERROR')]), 1)
                self.check_start()
                self.put(b'later')
                expected = self.in_memory()
                self.assertEqual(self.get(self.queue.count), expected[len(self.queue.opened):])
                self.check_start()
                self.end()

    def check_crash_after_each_step(self):
        self.prepare()
        found = []
        self.system.after = lambda: found.append(self._entries_after_a_start())
        self.run_it()
        self.system.after = None
        self.assertEqual(len(found), len(self.steps))
        for words, entries in zip(self.steps, found):
            self.assertEqual(entries, self.expected(), words)

    def expected(self):
        return self._entries_in_memory()

    def end(self):
        self.log.lines.clear()
        self.queue.delete()
        self.settle()
        self.assertEqual(self.files(), [])


class RewriteStepsTest(StepsTest):

    steps = (
        'create q~~%d' % THEN,
        'write q~~%d' % THEN,
        'fsync q~~%d' % THEN,
        # what was put meanwhile is in it too, and from now on every record is written to both
        'fsync q~~%d' % THEN,
        'rename q q.%d' % THEN,
        'fsync .',
        'rename q~~%d q.%d.pack' % (THEN, THEN),
        'fsync .',
        'unlink %s' % OLDER,
        'unlink q.%d' % THEN,
        'fsync .',
        'rename q.%d.pack q' % THEN,
        'fsync .',
    )

    def prepare(self):
        """Two files; an item with flags; open reads."""
        self.clock.ms = THEN - 5000
        self.begin()
        self.put(b'one', b'two', b'three')
        self.put(b'flags', flags=32)
        self.open(2)
        self.rotate()
        self.put(b'four', b'five')
        self.hub.finish_all()       # the rotated file is fsynced
        self.clock.ms = THEN

    def start(self):
        self.rewrite()

    def test_order(self):
        self.check_order()

    def test_each_step_failing(self):
        self.check_each_step_failing()

    def test_a_crash_after_each_step(self):
        self.check_crash_after_each_step()

    def test_what_it_writes(self):
        self.prepare()
        self.run_it()
        self.assertEqual(self.files(), ['q'])
        self.assertEqual(self.records(), 'A[two] T2 A[one] T1 A[three] F32/0[flags] A[four] A[five]')

    def test_the_example_of_the_specification(self):
        self.begin()
        self.queue.xid = 5
        self.put(b'A', b'B', b'C', b'D')
        self.open(3)
        self.run_it()
        self.assertEqual(self.records(), 'A[C] T8 A[B] T7 A[A] T6 A[D]')

    def test_expiry_and_add_time_stay(self):
        self.begin()
        self.queue.put(b'one', 0, THEN + 9000, False)
        self.clock.ms += 777
        before = self.read()
        self.run_it()
        self.assertEqual(self.read(), before)

    def test_an_empty_queue_gets_an_empty_file(self):
        self.begin()
        self.put(b'one')
        self.get()
        self.run_it()
        self.assertEqual((self.files(), self.read()), (['q'], b''))

    def test_a_file_that_somebody_removed_is_restored(self):
        self.prepare()
        (self.folder / 'q').unlink()
        self.run_it()
        self.assertEqual(self.files(), ['q'])
        self.check_start()

    def test_its_time_is_later_than_those_of_all_files(self):
        self.prepare()
        self.clock.ms = THEN - 9000
        told = self.run_it()
        self.assertIn('rename q q.%d' % (THEN - 5000 + 1), told)


class BusyRewriteTest(CompactedTest):
    """Puts, gets, opens, confirms and put-backs go on while a queue is rewritten."""

    def operations(self):
        """Each is one record; -> functions."""
        return {
            'put': lambda: self.put(b'late'),
            'put with flags': lambda: self.put(b'late', flags=7),
            'get': self.get,
            'open': self.open,
            'confirm': lambda: self.queue.confirm(1),
            'put back': lambda: self.queue.unremove(2),
            'flush': self.queue.flush,
        }

    def prepare(self):
        self.begin()
        self.put(b'one', b'two', b'three', b'four', b'five')
        self.open(2)

    def turns(self):
        """How many turns of the hub a rewrite takes."""
        self.prepare()
        self.rewrite()
        turns = 0
        while self.hub.finish():
            turns += 1
        self.queue.delete()
        self.settle()
        self.assertTrue(turns > 5)
        return turns

    def test_one_operation_at_each_moment(self):
        turns = self.turns()
        for name in self.operations():
            for moment in range(turns):
                with self.subTest(name, moment=moment):
                    self.prepare()
                    self.rewrite()
                    for _ in range(moment):
                        self.hub.finish()
                    self.check_start()
                    self.operations()[name]()
                    self.check_start()
                    self.settle()
                    self.assertEqual(self.files(), ['q'])
                    self.check_start()
                    self.queue.delete()
                    self.settle()

    def test_all_operations_between_all_moments(self):
        self.prepare()
        self.rewrite()
        moments = 0
        while True:
            self.put(b'%d' % moments, b'%d again' % moments)
            xid = self.open()
            self.queue.confirm(self.open())
            self.queue.unremove(xid)
            self.get()
            self.check_start()
            if not self.hub.finish():
                break
            self.check_start()
            moments += 1
        self.assertEqual(self.files(), ['q'])
        self.assertEqual(len(self.in_memory()), 5)

    def test_much_that_is_put_meanwhile_is_copied_by_the_thread(self):
        self.begin()
        self.put(b'one')
        self.rewrite()
        large = b'x' * 50000
        self.put(large, large, large)
        self.hub.finish()
        self.assertEqual(self.read('q~~%d' % THEN)[:24], self.read()[:24])
        self.hub.finish()
        self.assertEqual(len(self.read('q~~%d' % THEN)), 24 + 3 * 50021, 'copied, before the hub goes on')
        self.put(large)
        self.hub.finish_all()
        self.assertEqual(self.after_a_start(), [b'one', large, large, large, large])

    def test_no_room_for_what_is_put_meanwhile_ends_it(self):
        self.prepare()
        self.rewrite()
        self.hub.finish()       # written
        self.system.room = 0    # the next record fits neither file
        self.get()
        self.hub.finish_all()
        self.assertEqual(self.files(), ['q'])
        self.system.room = None
        self.settle()
        self.check_start()

    def test_a_record_that_fits_the_old_file_alone_ends_it(self):
        self.prepare()
        self.rewrite()
        self.hub.finish()
        self.system.room = HEADER + 4
        self.put(b'late')
        self.hub.finish_all()
        self.assertEqual(self.files(), ['q'])
        self.assertIn('ERROR journal of queue q could not be rewritten: No space left on device',
                      self.log.lines)
        self.check_start()

    def test_read_behind_that_begins_meanwhile(self):
        self.begin(max_memory_size=40)
        self.put(b'0' * 20)
        self.rewrite()
        self.hub.finish()
        for number in range(1, 10):
            self.put(b'%d' % number * 20)
        self.assertIsNotNone(self.queue.reader)
        self.hub.finish_all()
        self.put(b'a' * 20)
        self.assertEqual(len(self.after_a_start()), 11)
        self.assertEqual([data[:1] for data in self.get(11)], [b'%x' % number for number in range(11)])
        self.assertIsNone(self.queue.reader)


class PackStepsTest(StepsTest):
    """A queue in read-behind with files of two items; the reader is about to leave the second one."""

    first = 'q.%d' % THEN
    last = 'q.%d' % (THEN + 1)      # the file of the checkpoint
    steps = (
        'write q',      # the REMOVE of the get
        'create q~~%d' % (THEN + 1),
        'write q~~%d' % (THEN + 1),
        'fsync q~~%d' % (THEN + 1),
        # the removals that the packed file relies on
        'fsync q',
        'rename q~~%d q.%d.pack' % (THEN + 1, THEN + 1),
        'fsync .',
        'unlink q.%d' % THEN,
        'unlink q.%d' % (THEN + 1),
        'fsync .',
        'rename q.%d.pack q.%d' % (THEN + 1, THEN + 1),
        'fsync .',
    )

    begins = 1

    def item(self, number):
        return b'%02d' % number + b'.' * 37

    def prepare(self):
        self.clock.ms = THEN
        self.begin(max_memory_size=70, max_journal_size=150, sync_journal=3600000000)
        for number in range(5):
            self.put(self.item(number))
        self.assertEqual(self.files(), ['q', self.first, self.last])
        self.assertEqual(self.queue.checkpoint.file.path, self.spool + b'/' + self.last.encode())
        self.hub.advance(3600)      # all is fsynced
        self.hub.finish_all()
        self.assertEqual(self.queue.journal.files.unsynced, [])
        self.compact_no_more()
        self.get(2)
        self.put(self.item(5))

    def start(self):
        self.get()      # item 4 moves up, from the current file

    def expected(self):
        """Items left on disk are not in ``_entries_in_memory``."""
        return self._entries_after_a_start()

    def check_start(self, message=None):
        """The items in memory, then those behind it."""
        found = self._entries_after_a_start()
        memory = self._entries_in_memory()
        self.assertEqual(found[:len(memory)], memory, message)
        self.assertEqual(len(found), len(self.queue.opened) + self.queue.count, message)

    def in_memory(self):
        return self.after_a_start()

    def test_order(self):
        self.check_order()

    def test_each_step_failing(self):
        self.check_each_step_failing()

    def test_a_crash_after_each_step(self):
        self.check_crash_after_each_step()

    def packed(self):
        self.hub.finish_all()
        self.assertEqual(self.files(), ['q', self.last])
        self.check_start()
        return self.records(self.last).replace('.' * 37, '')

    def test_a_failed_pack_is_told_and_its_file_is_in_use_no_more(self):
        self.prepare()
        self.system.failing = (2,)
        self.run_it()
        self.assertEqual(self.files(), ['q', self.first, self.last])
        self.assertIn('ERROR journal of queue q could not be packed: Input/output error', self.log.lines)

    def test_placeholders_for_what_was_taken(self):
        self.prepare()
        self.start()
        # 0 to 2 were taken after the checkpoint, 3 waits in memory, 4 stands in the file behind
        self.assertEqual(self.packed(), 'A[] A[] A[] A[03]')
        self.assertEqual(self.records().replace('.' * 37, ''), 'A[04] R R A[05] R')

    def test_placeholders_are_empty_never_expire_and_are_added_now(self):
        self.prepare()
        self.clock.ms += 4321
        self.start()
        self.hub.finish_all()
        added = (THEN + 3600000 + 4321).to_bytes(8, 'little')
        self.assertEqual(self.read(self.last)[:HEADER], b'\x02\x10\0\0\0' + added + bytes(8))


class PackedContentTest(CompactedTest):
    """What a packed file holds, record by record, whatever happened since the checkpoint (D40)."""

    def prepare(self, opened=2, flags=0):
        """The open reads 1 and 2 of ``one`` and ``two``, then ``a`` to ``d`` in memory, ``e`` and ``f`` on
        disk: all in the file of a checkpoint. ``g`` stands in the next one."""
        self.begin()
        self.put(b'one', b'two', flags=flags)
        self.open(opened)
        self.get(2 - opened)
        self.change(max_memory_size=40)
        self.put(*[name * 10 for name in (b'a', b'b', b'c', b'd', b'e', b'f')])
        self.assertEqual((len(self.queue.items), self.queue.behind), (4, 2))
        self.compactor.configure(self.queue.settings.replaced(max_journal_size=-1))
        self.put(b'g' * 10)
        self.assertIsNotNone(self.queue.checkpoint)
        self.compact_no_more()

    def pack(self):
        """Take items until the reader leaves the file; -> what was packed."""
        while self.compactor.job is None:
            self.get()
        self.hub.finish_all()
        name, = [name for name in self.files() if name != 'q']
        self.check()
        return ' '.join(_short(word) for word in self.records(name).split(' '))

    def check(self):
        found = self.after_a_start()
        memory = self.in_memory()
        self.assertEqual(found[:len(memory)], memory)
        self.assertEqual(len(found), len(self.queue.opened) + self.queue.count)

    def test_nothing_but_gets(self):
        self.prepare()
        self.assertEqual(self.pack(), 'A[two] T2 A[one] T1 A[] A[] A[] A[d] A[e] A[f]')

    def test_open_reads_of_the_checkpoint_that_were_confirmed_or_put_back(self):
        self.prepare()
        self.queue.confirm(1)
        self.queue.unremove(2)
        self.assertEqual(self.queue.items[0].data, b'two')
        # their records stand in the next file, so the packed one opens them all the same
        self.assertEqual(self.pack(), 'A[two] T2 A[one] T1 A[] A[] A[] A[d] A[e] A[f]')

    def test_what_is_open_is_no_placeholder(self):
        self.prepare()
        self.get()          # a
        self.open()         # b
        self.assertEqual(self.pack(), 'A[two] T2 A[one] T1 A[] A[b] A[] A[d] A[e] A[f]')

    def test_gets_and_opens_that_alternate(self):
        self.prepare(opened=0)
        self.open()         # a: e moves up
        self.get()          # b: f
        self.open()         # c: g
        self.assertEqual(self.pack(), 'A[a] A[] A[c] A[d] A[e] A[f]')

    def test_opened_and_confirmed(self):
        self.prepare(opened=0)
        xid = self.open()   # a
        self.open()         # b
        self.queue.confirm(xid)
        self.assertEqual(self.pack(), 'A[] A[b] A[] A[d] A[e] A[f]')

    def test_opened_and_put_back(self):
        self.prepare(opened=0)
        xid = self.open()   # a
        self.get()          # b
        self.queue.unremove(xid)
        self.assertEqual(self.queue.items[0].data[:1], b'a')
        self.assertEqual(self.pack(), 'A[] A[] A[] A[d] A[e] A[f]', 'and taken again by the gets')

    def test_put_back_and_waiting_when_it_is_packed(self):
        self.prepare(opened=0)
        self.open(2)        # a, b
        self.queue.unremove(2)
        self.queue.unremove(1)
        self.assertIsNone(self.compactor.job)
        self.change(max_memory_size=100)
        self.compact_no_more()
        self.open()     # a once more: all moves up, and the reader leaves the file
        self.assertIsNotNone(self.compactor.job)
        self.assertEqual(self.pack(), 'A[a] A[b] A[c] A[d] A[e] A[f]')

    def test_flags_stay(self):
        self.prepare(flags=32)
        self.queue.unremove(2)
        self.assertEqual(self.pack(), 'F32/0[two] T2 F32/0[one] T1 A[] A[] A[] A[d] A[e] A[f]')

    def test_what_expired_has_a_placeholder(self):
        self.prepare()
        self.queue.items[0].expiry = self.clock.now_ms() + 1
        self.clock.advance(1)
        self.assertEqual(self.queue.sweep(1), 1)
        self.assertEqual(self.pack(), 'A[two] T2 A[one] T1 A[] A[] A[] A[d] A[e] A[f]')

    def test_confirmed_and_put_back_while_it_is_packed(self):
        self.prepare(opened=0)
        first, second = self.open(), self.open()
        while self.compactor.job is None:
            self.get()
        self.queue.confirm(first)
        self.queue.unremove(second)
        self.assertEqual(self.pack(), 'A[a] A[b] A[] A[d] A[e] A[f]')
        self.assertEqual(self.after_a_start()[0][:1], b'b')


def _short(word):
    """``A[aaaaaaaaaa]`` as ``A[a]``."""
    head, bracket, data = word.partition('[')
    data = data.rstrip(']')
    return head + bracket + (data[:1] if len(data) == 10 else data) + (']' if bracket else '')
