"""Long work in pieces: between two of them others have the hub."""

import gevent

from kestrel.hub import ONE_TURN

# How long a piece may take, seconds, and the least part of their time that others get while several pieces follow.
PIECE = 0.003


class Turns:
    """Call ``next`` after each small step; when a piece is over it lets others run."""

    def __init__(self, clock):
        self._clock = clock
        self._until = clock.monotonic() + PIECE

    def next(self):
        if self._clock.monotonic() >= self._until:
            gevent.sleep(ONE_TURN)
            self._until = self._clock.monotonic() + PIECE
