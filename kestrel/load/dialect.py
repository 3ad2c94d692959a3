"""What the two protocols have in common as a client sees them: requests out, replies in, one at a time.

    request = dialect.get(queue, 1000)
    ... send it; for all that is received:
    if dialect.feed(data):
        ... dialect.items ...
"""

from kestrel.load.trouble import Trouble

SHOWN = 80      # bytes of a wrong reply


class Dialect:
    """The state of one connection between a request and the end of its reply.

    items  list of bytes: what the last get brought
    """

    def __init__(self):
        self.items = []
        self.kept = b''         # of a reply that is not whole
        self.expected = b''     # the whole reply, if it can be known beforehand

    def feed(self, data):
        """-> true when the reply is whole, false when more must come. Raises Trouble for a wrong one."""
        raise NotImplementedError

    def put(self, queue, items):
        """The request that puts items, list of bytes."""
        raise NotImplementedError

    def get(self, queue, wait_ms):
        """The request for one item. ``wait_ms`` 0: only what is there."""
        raise NotImplementedError

    def get_many(self, queue, count, wait_ms):
        """The request for up to ``count`` items."""
        raise NotImplementedError

    def confirm(self, queue, count):
        """The request that makes what ``get_many`` brought final, or b'' if it is already."""
        raise NotImplementedError

    def flush(self, queue):
        """The request that empties a queue."""
        raise NotImplementedError

    def _feed_expected(self, data):
        if data == self.expected:
            return True
        if len(data) < len(self.expected) and self.expected.startswith(data):
            self.kept = data
            return False
        raise self._wrong(data)

    def _wrong(self, data):
        """-> Trouble that shows where a reply leaves what was expected."""
        expected = self.expected
        start = 0
        # whole lines that agree are not shown
        while True:
            end = expected.find(b'\n', start) + 1
            if end == 0 or data[start:end] != expected[start:end]:
                break
            start = end
        return wrong_reply(data[start:], expected[start:])


def wrong_reply(data, expected):
    """-> Trouble of a reply, bytes; ``expected``: bytes that were, or words about them."""
    line = bytes(data[:SHOWN]).partition(b'\r\n')[0]
    if isinstance(expected, bytes):
        expected = shown(expected.partition(b'\r\n')[0][:SHOWN])
    return Trouble('wrong reply: %s instead of %s' % (shown(line), expected))


def shown(data):
    """Bytes as one piece of printable text."""
    return repr(bytes(data))[1:]
