"""Warnings that come in masses."""

import logging
import unittest

from kestrel.ration import Ration

from support.clock import MovedClock
from support.spool import LogLines


class RationTest(unittest.TestCase):

    def test_so_many_a_minute_and_how_many_were_left_out(self):
        clock = MovedClock()
        log = LogLines()
        logger = logging.Logger('test')
        logger.addHandler(log)
        ration = Ration(logger, clock, 2)
        for number in range(5):
            ration.warning('line %d', number)
            clock.advance(10)
        self.assertEqual(log.lines, ['WARNING line 0', 'WARNING line 1'])
        clock.advance(10)
        for number in range(5, 7):
            ration.warning('line %d', number)
        self.assertEqual(log.lines[2:], ['WARNING line 5 (3 such lines were left out before)', 'WARNING line 6'])
