"""``[server] busy_poll``: for a while after the last traffic the hub looks for the next request instead of sleeping."""


class BusyPoll:
    """A core that sleeps takes 20 to 40 us to wake up and does its next request on cold caches. As long as an idle watcher
    is active libev polls without a timeout, so the hub turns round and round; it sleeps when nothing has come for
    ``seconds``, and what wakes it then (``check``) starts the watcher again.

    loop     gevent's, of the hub
    clock    clock.Clock
    traffic  list of stats.Traffic: bytes that came from clients
    seconds  float
    """

    def __init__(self, loop, clock, traffic, seconds):
        self._clock = clock
        self._traffic = traffic
        self._seconds = seconds
        self._idle = loop.idle(ref=False)
        self._check = loop.check(ref=False)
        self._seen = 0
        self._until = 0.0
        self._spin()

    def stop(self):
        self._idle.close()
        self._check.close()

    def _spin(self):
        """The hub has been woken."""
        self._check.stop()
        self._until = self._clock.monotonic() + self._seconds
        self._idle.start(self._look)

    def _look(self):
        """One turn of the hub in which nothing else was to do."""
        now = self._clock.monotonic()
        seen = sum([traffic.bytes_read for traffic in self._traffic])
        if seen != self._seen:
            self._seen = seen
            self._until = now + self._seconds
        elif now >= self._until:
            self._idle.stop()
            self._check.start(self._spin)
