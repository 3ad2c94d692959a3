"""A plugin of nose2 that counts for test/run.py: ``nose2 --plugin support.tally``.

At the end it writes JSON to the file named by KESTREL_TALLY, for example
``{"passed": 12, "failed": 0, "skipped": ["test_client.TestNode.test_fifo: node is not installed"],
"seconds": {"test_client": 1.5}}``, the modules that took longest first.
"""

import json
import os
import time

from nose2.events import Plugin


class Tally(Plugin):
    alwaysOn = True

    def __init__(self):
        # id of the object (names may be equal) -> the test, and whether all of it passed so far
        self._passed = {}
        self._skipped = []
        self._seconds = {}
        self._since = time.monotonic()

    def stopTest(self, event):
        """A test has ended, and what it and its class needed before it: all since the end of the test before."""
        module = type(event.test).__module__
        now = time.monotonic()
        self._seconds[module] = self._seconds.get(module, 0.0) + now - self._since
        self._since = now

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
        slowest = sorted(self._seconds.items(), key=lambda one: -one[1])
        tally = {'passed': results.count(True), 'failed': results.count(False), 'skipped': self._skipped,
                 'seconds': {module: round(seconds, 2) for module, seconds in slowest}}
        with open(os.environ['KESTREL_TALLY'], 'w') as file:
            json.dump(tally, file)
