"""The memcache protocol as a client speaks it (spec memcache 4)."""

from kestrel.load.dialect import Dialect, wrong_reply

# what kind of reply is expected
FIXED = 0
ITEM = 1
ITEMS = 2
LINES = 3

END = b'END\r\n'
ITEM_END = b'\r\nEND\r\n'
LONGEST_HEAD = 600


class Memcache(Dialect):
    """One connection to the memcache port."""

    def __init__(self):
        super().__init__()
        self.kind = FIXED
        self.queue = b''
        self.head = b''         # how an item of the queue begins
        self.stored = 0
        self.pos = 0            # ITEMS: up to here the kept bytes are read

    def put(self, queue, items):
        if self.kind != FIXED or self.stored != len(items):
            self.kind = FIXED
            self.stored = len(items)
            self.expected = b'STORED\r\n' * len(items)
        if len(items) == 1:
            item = items[0]
            return b'set %b 0 0 %d\r\n%b\r\n' % (queue, len(item), item)
        return b''.join([b'set %b 0 0 %d\r\n%b\r\n' % (queue, len(item), item) for item in items])

    def get(self, queue, wait_ms):
        self._expect(ITEM, queue)
        if wait_ms > 0:
            return b'get %b/t=%d\r\n' % (queue, wait_ms)
        return b'get %b\r\n' % queue

    def get_reliably(self, queue, wait_ms):
        """Confirm the item before, if any, and open the next."""
        self._expect(ITEM, queue)
        return b'get %b/t=%d/close/open\r\n' % (queue, wait_ms)

    def close(self, queue):
        """Confirm the item that is open."""
        return self._fixed(b'get %b/close\r\n' % queue, END)

    def get_many(self, queue, count, wait_ms):
        """``monitor``, for a second whatever ``wait_ms`` is: its shortest."""
        self._expect(ITEMS, queue)
        return b'monitor %b 1 %d\r\n' % (queue, count)

    def confirm(self, queue, count):
        return self._fixed(b'confirm %b %d\r\n' % (queue, count), END)

    def flush(self, queue):
        return self._fixed(b'flush %b\r\n' % queue, END)

    def stats(self):
        """Request the statistics; ``items`` has the lines up to END as one, bytes."""
        self.kind = LINES
        self.stored = 0
        return b'stats\r\n'

    def _fixed(self, request, reply):
        self.kind = FIXED
        self.stored = 0
        self.expected = reply
        return request

    def _expect(self, kind, queue):
        self.kind = kind
        if queue != self.queue:
            self.queue = queue
            self.head = b'VALUE %b 0 ' % queue

    def feed(self, data):
        if self.kept:
            data = self.kept + data
            self.kept = b''
        if self.kind == FIXED:
            return self._feed_expected(data)
        if self.kind == ITEM:
            return self._feed_item(data)
        if self.kind == ITEMS:
            return self._feed_items(data)
        return self._feed_lines(data)

    def _feed_item(self, data):
        if data == END:
            self.items = []
            return True
        end = self._end_of_item(data, 0)
        if end == 0:
            self.kept = data
            return False
        if end != len(data):
            raise wrong_reply(data[end:], 'nothing behind an item')
        self.items = [self._item(data, 0, end)]
        return True

    def _feed_items(self, data):
        if self.pos == 0:
            self.items = []
        pos = self.pos
        while True:
            if data[pos:pos + 5] == END:
                self.pos = 0
                if pos + 5 != len(data):
                    raise wrong_reply(data[pos + 5:], 'nothing behind the last END')
                return True
            end = self._end_of_item(data, pos) if pos < len(data) else 0
            if end == 0:
                self.kept = data
                self.pos = pos
                return False
            self.items.append(self._item(data, pos, end))
            pos = end

    def _end_of_item(self, data, pos):
        """-> where an item and its END end, 0 if it is not whole. Raises Trouble."""
        head = self.head
        size = len(head)
        if len(data) - pos < size:
            if not head.startswith(data[pos:]) and not END.startswith(data[pos:]):
                raise wrong_reply(data[pos:], 'VALUE or END')
            return 0
        if data[pos:pos + size] != head:
            raise wrong_reply(data[pos:], 'VALUE or END')
        line_end = data.find(b'\r\n', pos + size)
        if line_end < 0:
            if len(data) - pos > LONGEST_HEAD:
                raise wrong_reply(data[pos:], 'VALUE or END')
            return 0
        digits = data[pos + size:line_end]
        if not digits.isdigit() or len(digits) > 10:
            raise wrong_reply(data[pos:], 'VALUE with a length')
        end = line_end + 2 + int(digits) + 7
        if end > len(data):
            return 0
        if data[end - 7:end] != ITEM_END:
            raise wrong_reply(data[end - 7:], 'END behind an item')
        return end

    def _item(self, data, pos, end):
        return data[data.find(b'\r\n', pos) + 2:end - 7]

    def _feed_lines(self, data):
        if data.startswith(b'STAT '[:len(data)]) or END.startswith(data):
            if not data.endswith(END) or len(data) > 5 and not data.endswith(b'\r\nEND\r\n'):
                self.kept = data
                return False
            self.items = [data[:-5]]
            return True
        raise wrong_reply(data, 'STAT or END')
