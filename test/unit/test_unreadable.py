"""A file that cannot be read back for a while: one timer, one line in the log, nothing lost (spec journal 9)."""

import errno

from support.fakes import make_queue
from support.spool import SpoolTest


class UnreadableTest(SpoolTest):

    def setUp(self):
        super().setUp()
        # One file, so large that not all of it is read at once.
        self.queue = make_queue(self.clock, self.journal(), keep_journal=True, max_memory_size=40000,
                                max_journal_size=1 << 30, default_journal_size=1 << 30)
        self.items = [b'%04d' % number * 250 for number in range(200)]
        for data in self.items:
            self.assertIs(self.queue.put(data, 0, 0, False), True)

    def take(self):
        item = self.queue.take(False, self.clock.now_ms())
        return item and item.data

    def test_one_timer_and_one_line_however_many_ask(self):
        self.system.faults['pread'] = errno.EIO
        taken = [data for data in iter(self.take, None)]
        self.assertLess(len(taken), len(self.items))
        timers = len(self.hub.timers)
        for _ in range(50):
            self.assertIsNone(self.take())
            self.assertIs(self.queue.put(b'more', 0, 0, False), True)
            self.hub.advance(0.5)
        self.assertEqual(len(self.hub.timers), timers)
        self.assertEqual(len([line for line in self.log.lines if 'cannot be read back' in line]), 1, self.log.lines)
        self.system.faults.clear()
        self.hub.advance(1)
        taken += iter(self.take, None)
        self.assertEqual(taken, self.items + [b'more'] * 50)

    def test_the_next_trouble_is_told_of_again(self):
        for _ in range(2):
            self.system.faults['pread'] = errno.EIO
            while self.take() is not None:
                pass
            self.system.faults.clear()
            self.hub.advance(1)
            self.assertIsNotNone(self.take())
        self.assertEqual(len([line for line in self.log.lines if 'cannot be read back' in line]), 2, self.log.lines)
