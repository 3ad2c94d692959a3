"""Long work in pieces: between two of them all others have the hub first."""

from gevent import get_hub
from gevent.hub import Waiter

# How long a piece may take, seconds.
PIECE = 0.001
# How long others keep the hub at most while they want it without a pause. So long work gets a fifth of a busy server.
# Giving them one turn only was not enough: a client got one request in between, and with 10 000 queues another client
# waited up to 350 ms while /stats.json was made, where 2000 puts and gets a second came in.
PATIENCE = 0.004


class Turns:
    """Call ``next`` after each small step; when a piece is over it waits until nobody else has anything to do."""

    def __init__(self, clock):
        self._clock = clock
        self._until = clock.monotonic() + PIECE

    def next(self):
        if self._clock.monotonic() >= self._until:
            _let_others()
            self._until = self._clock.monotonic() + PIECE


def _let_others():
    hub = get_hub()
    waiter = Waiter(hub)
    # libev calls it in a turn in which nothing else has happened
    idle = hub.loop.idle()
    timer = hub.loop.timer(PATIENCE)
    try:
        idle.start(waiter.switch, None)
        timer.start(waiter.switch, None)
        waiter.get()
    finally:
        idle.close()
        timer.close()
