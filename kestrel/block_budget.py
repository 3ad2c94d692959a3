"""How much memory the unfinished data blocks of all connections may take together (D6)."""

from kestrel.waiters import Waiter, Waiters

FOREVER = float('inf')


class BlockBudget:
    """Over ``limit`` bytes no further bytes of large blocks are read until there is room, except for the oldest of
    these, which always goes on: so there is always one that gets finished.
    """

    def __init__(self, limit):
        self.limit = limit
        self.total = 0
        self.held = {}              # connection -> bytes
        self.large = {}             # the connections of those that are large, the oldest block first
        self.line = Waiters()

    def hold(self, connection, size, large=True):
        """Note that ``size`` bytes of a block of that connection, large or not, are kept; 0 when it has none any more."""
        before = self.held.get(connection, 0)
        if size:
            self.held[connection] = size
            if large:
                self.large.setdefault(connection)
        elif connection in self.held:
            del self.held[connection]
            self.large.pop(connection, None)
        self.total += size - before
        if size < before:
            self.line.dismiss_all()

    def admits(self, connection, size):
        """May the connection read up to ``size`` further bytes of a large block?"""
        return self.total + size <= self.limit or connection is next(iter(self.large), connection)

    def wait_for_room(self, connection, size):
        """Park the connection until it may, or until it leaves."""
        while not self.admits(connection, size) and not connection.leaving:
            waiter = Waiter(connection)
            self.line.join(waiter)
            try:
                connection.park(waiter, FOREVER)
            finally:
                self.line.leave(waiter)
