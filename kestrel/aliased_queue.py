"""A name that passes what is put into it on to other queues (spec queues 8)."""


class AliasedQueue:
    """Where the puts of an alias go, and how many there were. Nothing can be read from it.

    destinations  list of bytes, the names that get each put, in this order; a reload may change it
    put_items, put_bytes   what was put into the alias, refused or not
    create_time   when it was set up, seconds since 1970
    kept          dict: what the admin port keeps about it
    """

    def __init__(self, destinations, clock):
        self.destinations = destinations
        self.put_items = 0
        self.put_bytes = 0
        self.create_time = clock.now_ms() // 1000
        self.kept = {}

    def count_put(self, size):
        """An item of that many bytes was put."""
        self.put_items += 1
        self.put_bytes += size
