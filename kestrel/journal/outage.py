"""One line in the log when writing a journal begins to fail, and one when it works again for good."""

# How long writing must have worked for an outage to be over, seconds: a disk with room for small records
# alone fails and works with every other request.
SETTLED = 1.0


class Outage:
    """Of one journal, from the first record that could not be written.

    name   the queue's, str; ``call_later(seconds, function)``: on the hub
    ``over`` turns true when writing has worked for SETTLED seconds.
    """

    def __init__(self, log, clock, name, call_later):
        self.over = False
        self._log = log
        self._clock = clock
        self._name = name
        self._call_later = call_later
        self._begun = clock.monotonic()
        self._works_since = None
        self._settling = False
        self._closed = False

    def tell(self, error):
        self._log.error('journal of queue %s: writing failed: %s; until it works again puts are refused and other'
                        ' records are kept in memory', self._name, error.strerror)

    def failed(self):
        """Writing failed once more."""
        self._works_since = None

    def worked(self):
        """Something was written: it may be over."""
        if self._works_since is None:
            self._works_since = self._clock.monotonic()
        if not self._settling and not self._closed:
            self._settling = True
            self._call_later(SETTLED, self._settle)

    def close(self):
        """The journal is closed: tell the end at once, if this is one. May run in a thread."""
        self._closed = True
        if self._works_since is not None:
            self._end()

    def _settle(self):
        self._settling = False
        if self._closed or self._works_since is None:
            return
        left = self._works_since + SETTLED - self._clock.monotonic()
        if left > 0.001:
            self._settling = True
            self._call_later(left, self._settle)
            return
        self._end()

    def _end(self):
        if not self.over:
            self.over = True
            self._log.warning('journal of queue %s: writing works again after %.1f s', self._name,
                              self._works_since - self._begun)
