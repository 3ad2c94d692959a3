"""A plugin of nose2 that counts for test/run.py: ``nose2 --plugin support.tally``.

At the end it writes JSON to the file named by KESTREL_TALLY, for example
``{"passed": 12, "failed": 0, "skipped": ["test_client.TestNode.test_fifo: node is not installed"]}``.
"""

import json
import os

from nose2.events import Plugin


class Tally(Plugin):
    alwaysOn = True

    def __init__(self):
        # id of the object (names may be equal) -> the test, and whether all of it passed so far
        self._passed = {}
        self._skipped = []

    def testOutcome(self, event):
        """Called once for each test, for each of its subtests, and for a set-up of a class that failed."""
        test = event.test
        if event.outcome == 'skipped':
            self._skipped.append(f'{test.id()}: {event.reason}')
        elif event.outcome != 'subtest':
            self._note(test, event.expected)
        elif event.exc_info:
            self._note(test.test_case, False)

    def _note(self, test, passed):
        before = self._passed.get(id(test), (test, True))[1]
        self._passed[id(test)] = (test, before and passed)

    def afterSummaryReport(self, event):
        results = [passed for _, passed in self._passed.values()]
        tally = {'passed': results.count(True), 'failed': results.count(False), 'skipped': self._skipped}
        with open(os.environ['KESTREL_TALLY'], 'w') as file:
            json.dump(tally, file)
