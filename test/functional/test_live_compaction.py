"""When a journal is rewritten or rotated (spec journal 8, D13, D44, D69)."""

import re
import time

from functional.journaled import ADDX, END, LARGE, JournaledTest, SharedServerTest, items_of
from functional.records import REMOVE, add, records
from functional.waiting import eventually

RECORD = 100 + ADDX     # an item of these tests on disk

# One queue for each row of D13. Nothing else compacts it: what is not named here is large.
ROWS = {
    'empty': {'default_journal_size': RECORD + 1},
    'small': {'default_journal_size': RECORD + 2},
    'guarded': {'default_journal_size': 100},
    'unguarded': {'default_journal_size': 100, 'min_journal_compact_delay': None},
    'shortly': {'default_journal_size': 100, 'min_journal_compact_delay': '400ms'},
    'aggressive': {'default_journal_size': 100, 'disable_aggressive_rewrites': True},
    'nothing-left': {'default_journal_size': 300},
    'both-barred': {'default_journal_size': 200, 'max_journal_size': 400},
    'full': {'max_journal_size': 5 * RECORD},
    'full-at-get': {'max_journal_size': 5 * RECORD},
    'rule-1-free': {'max_journal_size': 500, 'default_journal_size': 1000},
    'rule-2-again': {'max_journal_size': 500, 'min_journal_compact_delay': None},
    'too-much': {'max_journal_size': 500, 'max_memory_size': 1000},
    'turning': {'max_memory_size': 9 * (RECORD + 1) - 1},
    'turning-later': {'max_memory_size': 9 * (RECORD + 1)},
    'turned-and-empty': {'max_memory_size': 1000, 'default_journal_size': 1500},
    'barred-turns': {'max_memory_size': 1000, 'max_journal_size': 500},
    'confirm': {'default_journal_size': RECORD + 10},
    'confirm-many': {'default_journal_size': 2 * RECORD + 20},
    'abort': {'max_journal_size': RECORD + 9},
    'leaves': {'max_journal_size': RECORD + 9},
    'swept': {'default_journal_size': RECORD + 1, 'max_age': '50ms'},
    'flush-expired': {'default_journal_size': RECORD + 1},
    'found-expired': {'default_journal_size': RECORD + 1},
    'looked-at': {'max_journal_size': 10},
}
CONFIG = {'server': {'expiration_timer_frequency': '50ms', 'max_open_transactions': 10},
          'queues': {name: {**LARGE, **row} for name, row in ROWS.items()}}


class RulesTest(JournaledTest):
    """D13. One server for all; a test has the queue of its row."""

    @classmethod
    def setUpClass(cls):
        shared = JournaledTest()
        cls.addClassCleanup(shared.doCleanups)
        cls.server = shared.begin(CONFIG)

    def setUp(self):
        self.client = self.another()
        self.item = items_of(1, 100)[0]

    def pair(self, queue):
        self.put(queue, self.item)
        self.assertEqual(self.take(queue), self.item)

    def test_empty_queue_is_rewritten_at_default_journal_size(self):
        self.pair('empty')
        self.assert_rewritten('empty', 1, 0)

    def test_not_below_it(self):
        self.pair('small')
        self.pause()
        self.assert_numbers('small', journal_rewrites=0, logsize=RECORD + 1)
        self.pair('small')
        self.assert_rewritten('small', 1, 0)

    def test_what_stays_large_is_not_rewritten_again_soon(self):
        for queue in 'guarded', 'aggressive':
            with self.subTest(queue):
                self.put(queue, self.item, self.item)
                self.take(queue)                        # one is left: not empty
                self.assertEqual(self.take(queue + '/open'), self.item)
                self.assert_rewritten(queue, 1, RECORD + 5)
                self.assertEqual(records(self.read(queue)), ['add ' + self.item.decode(), 'open 1'])
                for _ in range(3):
                    self.client.expect(b'get %s/abort\r\n' % queue.encode(), END)
                    self.take(queue + '/open')
                self.pause()
                self.assert_numbers(queue, journal_rewrites=1, logsize=RECORD + 5 + 3 * 10)

    def test_no_guard(self):
        self.put('unguarded', self.item)
        self.take('unguarded/open')
        self.assert_rewritten('unguarded', 1, RECORD + 5)
        for times in 2, 3:
            self.client.expect(b'get unguarded/abort\r\n', END)
            self.take('unguarded/open')
            self.assert_rewritten('unguarded', times, RECORD + 5)

    def test_guard_ends(self):
        self.put('shortly', self.item)
        began = time.monotonic()
        self.take('shortly/open')
        self.assert_rewritten('shortly', 1)

        def again():
            self.client.expect(b'get shortly/abort\r\n', END)
            self.take('shortly/open')
            return self.numbers('shortly', 'journal_rewrites')[0] > 1
        eventually(self, 'a second rewrite', again)
        self.assertGreaterEqual(time.monotonic() - began, 0.4)

    def test_small_rest_bars_nothing(self):
        for times in 1, 2, 3:
            for _ in range(3):
                self.pair('nothing-left')
            self.assert_rewritten('nothing-left', times, 0)

    def test_rule_1_bars_rule_2(self):
        self.put('both-barred', self.item, self.item)
        self.take('both-barred')
        self.take('both-barred/open')
        self.assert_rewritten('both-barred', 1, RECORD + 5)
        self.put('both-barred', *[self.item] * 6)
        self.pause()
        self.assert_numbers('both-barred', journal_rewrites=1, logsize=7 * RECORD + 5)

    def test_above_max_journal_size_before_a_put(self):
        self.put('full', *items_of(6, 100))             # before the sixth it was equal, which is not above
        self.pause()
        self.assert_numbers('full', journal_rewrites=0)
        self.put('full', *items_of(1, 100, 7))
        self.assert_rewritten('full', 1, 7 * RECORD)
        self.put('full', *items_of(5, 100, 8))          # rule 2 is barred now
        self.pause()
        self.assert_numbers('full', journal_rewrites=1, logsize=12 * RECORD)

    def test_above_max_journal_size_after_a_get(self):
        self.put('full-at-get', *items_of(5, 100))
        self.pause()
        self.assert_numbers('full-at-get', journal_rewrites=0)      # equal is not above
        self.assertEqual(self.take('full-at-get'), items_of(1, 100)[0])
        self.assert_rewritten('full-at-get', 1, 4 * RECORD)
        self.assertEqual(self.drain('full-at-get'), items_of(4, 100, 2))

    def test_rule_2_does_not_bar_rule_1(self):
        self.put('rule-1-free', *items_of(6, 100))      # before the sixth there were 605 bytes
        self.assert_rewritten('rule-1-free', 1, 6 * RECORD)
        self.drain('rule-1-free')
        for _ in range(3):
            self.pair('rule-1-free')
        self.assert_rewritten('rule-1-free', 2, 0)

    def test_rule_2_without_a_guard(self):
        self.put('rule-2-again', *items_of(6, 100))
        self.assert_rewritten('rule-2-again', 1, 6 * RECORD)
        self.take('rule-2-again')
        self.assert_rewritten('rule-2-again', 2, 5 * RECORD)

    def test_more_than_memory_is_rotated_and_not_rewritten(self):
        self.put('too-much', b'.' * 2000)
        self.put('too-much', b'.')
        eventually(self, 'a rotation', lambda: self.numbers('too-much', 'journal_rotations') == [1])
        self.assert_numbers('too-much', journal_rewrites=0, logsize=ADDX + 1)
        self.assertEqual(list(self.sizes('too-much').values()), [2000 + ADDX, ADDX + 1])

    def test_rotation(self):
        before = int(time.time() * 1000)
        for _ in range(8):
            self.pair('turning')
        self.assert_numbers('turning', journal_rotations=0)
        self.pair('turning')
        eventually(self, 'a rotation', lambda: self.numbers('turning', 'journal_rotations') == [1])
        self.assert_numbers('turning', journal_rewrites=0, logsize=0)
        sizes = self.sizes('turning')
        self.assertEqual(list(sizes.values()), [9 * (RECORD + 1), 0])
        stamp = re.fullmatch(r'turning\.(\d+)', list(sizes)[0])[1]
        self.assertTrue(before <= int(stamp) <= int(time.time() * 1000), stamp)

    def test_current_file_as_large_as_memory_is_not_rotated(self):
        for _ in range(9):
            self.pair('turning-later')
        self.pause()
        self.assert_numbers('turning-later', journal_rotations=0)
        self.pair('turning-later')
        eventually(self, 'a rotation', lambda: self.numbers('turning-later', 'journal_rotations') == [1])

    def test_rotated_files_count_when_the_queue_is_empty(self):
        for _ in range(12):
            self.pair('turned-and-empty')
        self.assert_numbers('turned-and-empty', journal_rotations=1, journal_rewrites=0,
                            logsize=3 * (RECORD + 1))
        self.pair('turned-and-empty')
        self.assert_rewritten('turned-and-empty', 1, 0)

    def test_barred_rewrite_makes_way_for_a_rotation(self):
        self.put('barred-turns', *items_of(6, 100))
        self.assert_rewritten('barred-turns', 1, 6 * RECORD)
        self.put('barred-turns', *items_of(3, 100, 7))
        self.assertEqual(self.take('barred-turns'), items_of(1, 100)[0])        # 9 x 121 + 1 bytes > 1000
        eventually(self, 'a rotation', lambda: self.numbers('barred-turns', 'journal_rotations') == [1])
        self.assert_numbers('barred-turns', journal_rewrites=1)
        self.assertEqual(self.drain('barred-turns'), items_of(8, 100, 2))

    # --- when the check is made besides puts and gets

    def test_after_a_confirm(self):
        self.put('confirm', self.item)
        self.take('confirm/open')
        self.pause()
        self.assert_numbers('confirm', journal_rewrites=0)
        self.client.expect(b'get confirm/close\r\n', END)
        self.assert_rewritten('confirm', 1, 0)

    def test_after_several_confirms(self):
        self.put('confirm-many', self.item, self.item)
        self.take('confirm-many/open')
        self.take('confirm-many/open')
        self.client.expect(b'confirm confirm-many 2\r\n', END)
        self.assert_rewritten('confirm-many', 1, 0)

    def test_after_a_put_back(self):
        leaving = self.another()
        for queue, client in ('abort', self.client), ('leaves', leaving):
            with self.subTest(queue):
                self.put(queue, self.item)
                self.assertEqual(self.take(queue + '/open', client), self.item)
                if queue == 'abort':
                    client.expect(b'get abort/abort\r\n', END)
                else:
                    client.close()
                self.assert_rewritten(queue, 1, RECORD)
                self.assertEqual(records(self.read(queue)), ['add ' + self.item.decode()])

    def test_after_a_sweep_in_the_background(self):
        self.put('swept', self.item)
        self.assert_rewritten('swept', 1, 0)

    def test_after_flush_expired(self):
        self.put('flush-expired', self.item, words='0 -1')
        self.client.expect(b'flush_expired flush-expired\r\n', b'1\r\n')
        self.assert_rewritten('flush-expired', 1, 0)

    def test_after_a_get_that_finds_only_expired_items(self):
        self.put('found-expired', self.item, words='0 -1')
        self.assertIsNone(self.take('found-expired'))
        self.assert_rewritten('found-expired', 1, 0)

    def test_not_after_looking(self):
        self.put('looked-at', self.item)
        self.take('looked-at/peek')
        self.client.expect(b'flush_expired looked-at\r\n', b'0\r\n')
        self.pause()
        self.assert_numbers('looked-at', journal_rewrites=0, logsize=RECORD)


class StartTest(SharedServerTest):
    """What lies in the spool at the start counts."""

    def test_sizes_of_rotated_files_are_known(self):
        quiet = {**LARGE, 'default_journal_size': 1000, 'max_journal_size': 1300}
        self.prepare({'queues': {'done': quiet, 'waiting': quiet}})
        used = (add(b'.' * 100) + REMOVE) * 9
        for name in 'done.1000', 'waiting.1000':
            (self.server.spool / name).write_bytes(used)
        (self.server.spool / 'waiting.2000').write_bytes(used[:-1])
        self.start()
        self.put('done', b'new')
        self.assert_rewritten('done', 1, ADDX + 3)
        self.put('waiting', b'new')
        self.assert_rewritten('waiting', 1, RECORD + ADDX + 3)
        self.assertEqual(self.drain('waiting'), [b'.' * 100, b'new'])

    def test_names_are_later_than_what_is_there(self):
        """D44: as after a clock that was set back."""
        future = 9999999999999
        self.prepare({'queues': {'turns': {**LARGE, 'max_memory_size': 200},
                                 'written-anew': {**LARGE, 'max_journal_size': 200}}})
        for queue in 'turns', 'written-anew':
            (self.server.spool / f'{queue}.{future}').write_bytes(add(b'first'))
        self.start()
        for _ in range(2):
            self.put('turns', b'.' * 200)
            self.assertIsNotNone(self.take('turns'))
        eventually(self, 'two rotations', lambda: self.numbers('turns', 'journal_rotations') == [2])
        self.assertEqual(list(self.sizes('turns')),
                         [f'turns.{future}', f'turns.{future + 1}', f'turns.{future + 2}', 'turns'])
        self.put('written-anew', b'.' * 200)
        self.server.noted()
        self.take('written-anew')
        self.assert_rewritten('written-anew', 1)
        renamed = re.findall(r'rename \S+ written-anew\.(\d+)', '\n'.join(self.server.noted()))
        self.assertEqual(len(renamed), 2)
        for stamp in renamed:
            self.assertGreater(int(stamp), future)

    def test_reload_takes_effect_with_the_next_operation(self):
        self.begin({'queues': {'q': LARGE}})
        self.put('q', *items_of(3, 100))
        self.server.reload_config({'queues': {'q': {**LARGE, 'max_journal_size': 2 * RECORD}}})
        self.pause()
        self.assert_numbers('q', journal_rewrites=0)
        self.take('q')
        self.assert_rewritten('q', 1, 2 * RECORD)


class ClockTest(JournaledTest):

    def test_clock_set_back_by_years(self):
        """D44, D69."""
        self.begin({'queues': {'q': {**LARGE, 'max_memory_size': 1000}}}, clock=True)
        items = items_of(30, 100)
        self.put('q', *items[:15])
        self.assertEqual(self.take('q/open'), items[0])
        self.server.move_clock(-5 * 365 * 86400 * 1000)
        self.put('q', *items[15:])
        eventually(self, 'rotations', lambda: self.numbers('q', 'journal_rotations')[0] >= 3)
        stamps = [int(name.partition('.')[2]) for name in self.sizes('q') if '.' in name]
        self.assertEqual(len(stamps), len(set(stamps)))
        self.assertEqual(stamps[1:], [stamps[0] + number for number in range(1, len(stamps))])
        self.crash_and_start()
        self.assertEqual(self.drain('q'), items)

    def test_clock_set_forward_by_years(self):
        self.begin({'queues': {'q': {**LARGE, 'max_memory_size': 1000, 'min_journal_compact_delay': '1h',
                                     'max_journal_size': 500}}}, clock=True)
        items = items_of(20, 100)
        self.put('q', *items[:8])
        self.assert_rewritten('q', 1)
        self.server.move_clock(5 * 365 * 86400 * 1000)
        self.assertEqual(self.take('q'), items[0])
        self.pause()
        self.assert_numbers('q', journal_rewrites=1)    # the delay is no matter of the wall clock
        self.put('q', *items[8:])
        self.crash_and_start()
        self.assertEqual(self.drain('q'), items[1:])
