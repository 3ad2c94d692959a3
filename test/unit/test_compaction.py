"""What is to be done about the size of a journal: every row of the table and each of its limits (D13)."""

import unittest

from kestrel.journal.compaction import (
    NOTHING, REWRITE, REWRITE_EMPTY, ROTATE, ROTATE_AND_CHECKPOINT, verdict)

DEFAULT_JOURNAL_SIZE = 100
MAX_MEMORY_SIZE = 500
MAX_JOURNAL_SIZE = 1000
NAMES = {NOTHING: 'nothing', REWRITE_EMPTY: 'rewrite empty', REWRITE: 'rewrite', ROTATE: 'rotate',
         ROTATE_AND_CHECKPOINT: 'rotate and checkpoint'}


def asked(items=3, size=300, behind=False, current=0, total=0, barred_empty=False, barred=False):
    return NAMES[verdict(items, size, behind, current, total, barred_empty, barred, DEFAULT_JOURNAL_SIZE,
                         MAX_JOURNAL_SIZE, MAX_MEMORY_SIZE)]


class VerdictTest(unittest.TestCase):

    def check(self, *rows):
        for expected, case in rows:
            with self.subTest(**case):
                self.assertEqual(asked(**case), expected)

    def test_rule_1_an_empty_queue(self):
        self.check(
            ('rewrite empty', dict(items=0, size=0, current=100, total=100)),
            ('nothing', dict(items=0, size=0, current=99, total=99)),
            ('nothing', dict(items=1, size=0, current=100, total=100)),
            # old files count: the original looks at the current one alone and keeps them for ever
            ('rewrite empty', dict(items=0, size=0, current=0, total=100)),
            ('nothing', dict(items=0, size=0, current=100, total=100, barred_empty=True)),
            # the bar of rule 2 is none of its business
            ('rewrite empty', dict(items=0, size=0, current=100, total=100, barred=True)),
        )

    def test_rule_2_much_more_on_disk_than_waits(self):
        self.check(
            ('rewrite', dict(total=1001)),
            ('nothing', dict(total=1000)),
            ('rewrite', dict(size=499, total=1001)),
            ('nothing', dict(size=500, total=1001)),
            ('nothing', dict(total=1001, behind=True)),
            ('nothing', dict(total=1001, barred=True)),
            ('rewrite', dict(total=1001, barred_empty=True)),
        )

    def test_rule_2_takes_the_empty_queue_that_rule_1_is_barred_from(self):
        self.check(
            ('rewrite', dict(items=0, size=0, total=1001, barred_empty=True)),
            ('nothing', dict(items=0, size=0, total=1000, barred_empty=True)),
            ('nothing', dict(items=0, size=0, total=1001, barred_empty=True, barred=True)),
        )

    def test_rule_3_a_long_current_file(self):
        self.check(
            ('rotate', dict(current=501, total=501)),
            ('nothing', dict(current=500, total=501)),
            ('rotate', dict(items=0, size=0, current=501, total=501, barred_empty=True)),
        )

    def test_a_checkpoint_only_in_read_behind_and_above_max_journal_size(self):
        self.check(
            ('rotate and checkpoint', dict(size=600, behind=True, current=501, total=1001)),
            ('rotate', dict(size=600, behind=True, current=501, total=1000)),
            ('rotate', dict(size=600, current=501, total=1001)),
            ('rotate', dict(barred=True, current=501, total=1001)),
            ('nothing', dict(size=600, behind=True, current=500, total=1001)),
        )

    def test_the_first_rule_that_applies_counts(self):
        self.check(
            ('rewrite empty', dict(items=0, size=0, current=501, total=1001)),
            ('rewrite', dict(current=501, total=1001)),
        )
