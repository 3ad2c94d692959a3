"""The servers that a program drives at once: each gets the whole work, and is judged by itself."""

from kestrel.load.clients import Tally


class Target:
    """One server.

    dial     makes connections to it
    label    what lines about it begin with: nothing if there is no other
    tally    what its clients came to    ledger  items.Ledger of what it gave back, or None
    clients  int, how many there are in this run
    """

    def __init__(self, dial, alone):
        self.dial = dial
        self.label = '' if alone else '%s: ' % dial.name
        self.ledger = None
        self.begin()

    def begin(self, timed=False):
        """A new run. -> its Tally"""
        self.tally = Tally(timed)
        self.clients = 0
        return self.tally

    def drive(self, clients):
        """These are its clients, too. -> clients"""
        for client in clients:
            client.dial = self.dial
        self.clients += len(clients)
        return clients


def total(targets, figure):
    """The sum of a figure of their tallies."""
    return sum([getattr(target.tally, figure) for target in targets])
