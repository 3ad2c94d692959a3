"""The only reader of time."""

import time

# The compiled module has these from clock_calls.pxd; written like this, Cython sees no second definition.
globals()['monotonic'] = time.monotonic
globals()['time_ns'] = time.time_ns


class Clock:
    """The system's clocks. Tests hand in a clock of their own that they move.

    The wall clock serves expiry, add times and file names alone; everything that measures a span uses the
    monotonic one, so that a clock set back or forward delays nothing (D69).
    """

    def now_ms(self):
        """Wall clock, int, ms since 1970."""
        nanoseconds = time_ns()
        return nanoseconds // 1000000

    def rest(self, seconds):
        """Let time pass, in a thread: the others have the interpreter meanwhile."""
        time.sleep(seconds)

    def monotonic(self):
        """Monotonic clock, float, seconds since an arbitrary point."""
        return monotonic()

    def thread_cpu(self):
        """What the calling thread has computed, float, seconds."""
        return time.thread_time()
