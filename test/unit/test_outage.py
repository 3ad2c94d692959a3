"""One line in the log when writing begins to fail, one when it works again for good."""

import errno
import logging
import os
import unittest

from kestrel.journal.outage import SETTLED, Outage
from support.clock import MovedClock
from support.spool import LogLines, MovedHub

WORKS = 'WARNING journal of queue q: writing works again after %s s'


class OutageTest(unittest.TestCase):

    def setUp(self):
        self.clock = MovedClock()
        self.hub = MovedHub(self.clock)
        self.log = LogLines()
        logger = logging.Logger('test')
        logger.addHandler(self.log)
        self.outage = Outage(logger, self.clock, 'q', self.hub.call_later)

    def test_the_first_line_names_queue_and_reason(self):
        self.outage.tell(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        self.assertEqual(self.log.lines, [
            'ERROR journal of queue q: writing failed: No space left on device; until it works again puts are'
            ' refused and other records are kept in memory'])

    def test_over_when_it_has_worked_for_a_while(self):
        self.hub.advance(3.4)
        self.outage.worked()
        self.hub.advance(SETTLED - 0.1)
        self.assertEqual((self.outage.over, self.log.lines), (False, []))
        self.hub.advance(0.2)
        self.assertEqual((self.outage.over, self.log.lines), (True, [WORKS % '3.4']))

    def test_it_ends_once(self):
        for _ in range(3):
            self.outage.worked()
            self.hub.advance(0.5)
        self.hub.advance(5)
        self.outage.close()
        self.assertEqual(self.log.lines, [WORKS % '0.0'])

    def test_not_over_if_it_failed_meanwhile(self):
        self.outage.worked()
        self.hub.advance(SETTLED / 2)
        self.outage.failed()
        self.hub.advance(SETTLED)
        self.assertFalse(self.outage.over)

    def test_the_time_counts_from_the_last_failure(self):
        self.outage.worked()
        self.hub.advance(SETTLED / 2)
        self.outage.failed()
        self.outage.worked()
        self.hub.advance(SETTLED * 0.9)
        self.assertFalse(self.outage.over)
        self.hub.advance(SETTLED * 0.2)
        self.assertEqual((self.outage.over, self.log.lines), (True, [WORKS % '0.5']))
        self.assertEqual(self.hub.timers, [])

    def test_one_timer_however_often_it_works(self):
        for _ in range(10):
            self.outage.worked()
        self.assertEqual(len(self.hub.timers), 1)

    def test_close_while_it_works(self):
        self.outage.worked()
        self.outage.close()
        self.assertEqual(self.log.lines, [WORKS % '0.0'])
        self.hub.advance(5)
        self.assertEqual(len(self.log.lines), 1)

    def test_close_while_it_fails_tells_no_end(self):
        self.outage.close()
        self.hub.advance(5)
        self.assertEqual((self.outage.over, self.log.lines), (False, []))

    def test_nothing_is_left_to_the_hub_once_it_is_closed(self):
        self.outage.close()
        self.outage.worked()
        self.assertEqual(self.hub.timers, [], 'close may run in a thread')
