"""Lines of the log that may come in masses: so many a minute, and how many were left out."""

import threading

EVERY = 60.0            # seconds


class Ration:
    """Warnings of one kind. Any thread may use it.

    log    logging.Logger
    clock  clock.Clock
    most   int, lines in EVERY seconds; the next line after those says how many were left out
    """

    def __init__(self, log, clock, most):
        self._log = log
        self._clock = clock
        self._most = most
        self._lock = threading.Lock()
        self._began = None
        self._told = 0
        self._left_out = 0

    def warning(self, message, *arguments):
        """As that of a logging.Logger."""
        with self._lock:
            now = self._clock.monotonic()
            if self._began is None or now - self._began >= EVERY:
                self._began = now
                self._told = 0
            if self._told >= self._most:
                self._left_out += 1
                return
            self._told += 1
            left_out, self._left_out = self._left_out, 0
        if left_out:
            message += ' (%d such lines were left out before)'
            arguments += (left_out,)
        self._log.warning(message, *arguments)
