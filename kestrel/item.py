"""One queued item."""


class Item:
    """Data waiting in a queue or held open by a reader.

    data      bytes, as the producer sent them
    add_time  int, ms since 1970: when it was put
    expiry    int, ms since 1970, 0 = never: already cut to ``max_age`` at the time of the put
    flags     int, 0..2**32-1: the producer's 32 bits, returned untouched (D4)
    deliveries  int: how often an open read of it was put back (D18)
    xid       int: the transaction number of its latest open read, 0 = never opened (spec journal 4)

    Compiled it takes 64 bytes and is not tracked by the garbage collector, because all its attributes are
    atomic: a million waiting items cost no collection pause.
    """

    __slots__ = ('data', 'add_time', 'expiry', 'flags', 'deliveries', 'xid')

    def __init__(self, data, add_time, expiry=0, flags=0, deliveries=0):
        self.data = data
        self.add_time = add_time
        self.expiry = expiry
        self.flags = flags
        self.deliveries = deliveries
        self.xid = 0


def new_item(data, add_time, expiry, flags):
    """As Item(...), for compiled modules without arguments that are objects."""
    item = Item.__new__(Item)
    item.data = data
    item.add_time = add_time
    item.expiry = expiry
    item.flags = flags
    item.deliveries = 0
    item.xid = 0
    return item
