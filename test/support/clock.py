"""Time in the hands of a test."""

from kestrel.clock import Clock

# The example time of the journal's specification.
THEN = 1384870000000


class MovedClock(Clock):
    """Both clocks stand still until ``advance`` moves them; ``ms`` and ``seconds`` may be set."""

    def __init__(self, ms=THEN, seconds=1000.0):
        self.ms = ms
        self.seconds = seconds

    def now_ms(self):
        return self.ms

    def monotonic(self):
        return self.seconds

    def rest(self, seconds):
        """No test waits."""

    def advance(self, seconds):
        self.seconds += seconds
        self.ms += round(seconds * 1000)
