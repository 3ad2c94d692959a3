"""What the load programs put, and whether all of it comes back: nothing lost, doubled or reordered.

An item is its running number, padded with ``x`` to the size.
"""

from kestrel.load.trouble import Trouble


class Items:
    """Makes items of one size, bytes. Where the numbers of ``total`` items do not fit, they are padding alone.

    numbered  bool: they can be told apart
    """

    def __init__(self, size, total):
        self.size = size
        self.numbered = len(str(max(total - 1, 0))) <= size
        self._padding = [b'x' * (size - digits) for digits in range(min(size, 20) + 1)]

    def make(self, number):
        """-> the item of that number."""
        if not self.numbered:
            return self._padding[0]
        digits = b'%d' % number
        return digits + self._padding[len(digits)]

    def number(self, item):
        """-> the number of an item. Raises Trouble if it is none of ours."""
        if len(item) != self.size:
            raise Trouble('an item of %d bytes came, not of %d' % (len(item), self.size))
        end = item.find(b'x')
        if end < 0:
            end = self.size
        if end == 0 or end > 19 or item[end:] != self._padding[end]:
            raise Trouble('an item came that was not put: %r' % item[:40])
        digits = item[:end]
        if not digits.isdigit():
            raise Trouble('an item came that was not put: %r' % item[:40])
        return int(digits)


class Ledger:
    """Which items came. Each producer has put ``each`` numbers, one after the other, from its multiple of ``each`` on,
    after ``before`` items of one that was there earlier, into ``lanes`` queues in turn.

    came, doubled, reordered, foreign  int
    """

    def __init__(self, items, total, each, before=0, ordered=True):
        self.came = self.doubled = self.reordered = self.foreign = 0
        self._items = items
        self._seen = bytearray(total)
        self._total = total
        self._each = max(each, 1)
        self._before = before
        self._ordered = ordered

    def note(self, item, latest):
        """An item came to a consumer. ``latest``: dict of its own, for one queue. Raises Trouble."""
        number = self._items.number(item)
        if number >= self._total:
            self.foreign += 1
            return
        if self._seen[number]:
            self.doubled += 1
            return
        self._seen[number] = 1
        self.came += 1
        if self._ordered:
            producer = -1 if number < self._before else (number - self._before) // self._each
            if latest.get(producer, -1) > number:
                self.reordered += 1
            else:
                latest[producer] = number

    def lost(self):
        """How many did not come although a later one of the same producer did, if there is one queue."""
        missing = 0
        start = 0
        end = self._before or self._each
        while start < self._total:
            part = self._seen[start:end]
            missing += part.count(0, 0, part.rfind(1) + 1)
            start, end = end, end + self._each
        return missing

    def missing(self):
        """How many of all did not come."""
        return self._seen.count(0)

    def numbers_missing(self):
        """-> list of int"""
        return [number for number, seen in enumerate(self._seen) if not seen]
