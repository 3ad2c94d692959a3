"""What the packets of a capture come to: operations by client and queue, sizes of the items that are put."""

import re

OPERATIONS = (b'set', b'get', b'monitor', b'delete', b'flush')
OTHER = b'other'

# Looks at each line of the data, as a filter does: an item may end in a packet before the next command.
OPERATION = re.compile(rb'^([A-Za-z_]+) ([-A-Za-z0-9_$%+:]+)[ /]', re.MULTILINE)
# From the end of that on: the rest of the name, flags, expiry and the size; whole, the packet may be cut off in it.
SIZE = re.compile(rb'(?: |/[^ \n]* )-?\d+ -?\d+ (\d+)[ \r\n]')


class Counts:
    """Of one capture.

    packets, with_data, matched  numbers of packets; ``matched`` by the filter
    span, matched_span           seconds between the first and the last of them, float
    totals, filtered             {operation: how many}, of all with data and of those that did not match
    clients, queues              {source address or queue, bytes: {operation: how many}} of those that matched
    sizes                        {queue: {bytes of an item: how many}} of the sets that matched, if they are wanted
    """

    def __init__(self, segments, pattern=None, with_sizes=False, on_match=None):
        """Take all ``segments`` (see packets.segments; raises what they do). ``pattern``: the filter, or None.

        ``on_match(data, addresses, frame, tcp)`` is called for each packet that matched.
        """
        self.packets = self.with_data = self.matched = 0
        self.span = self.matched_span = 0.0
        self.totals, self.filtered, self.clients, self.queues, self.sizes = {}, {}, {}, {}, {}
        matched, filtered = self._take(segments, pattern, self._add_size if with_sizes else None, on_match)
        for (text, addresses), count in matched.items():
            operation, queue = _meaning(text)
            _add(self.totals, operation, count)
            _add(self.clients.setdefault(addresses[:len(addresses) // 2], {}), operation, count)
            if queue is not None:
                _add(self.queues.setdefault(queue, {}), operation, count)
        for text, count in filtered.items():
            operation, _ = _meaning(text)
            _add(self.totals, operation, count)
            _add(self.filtered, operation, count)

    def _take(self, segments, pattern, add_size, on_match):
        """-> {(text of the operation, addresses): how many}, {text of the operation: how many} of the others"""
        packets = with_data = 0
        matched, filtered = {}, {}
        first = last = first_matched = last_matched = None
        search, passes = OPERATION.search, pattern and pattern.search
        for last, data, addresses, frame, tcp in segments:
            if not packets:
                first = last
            packets += 1
            if data is None:
                continue
            with_data += 1
            found = search(data)
            text = found[0] if found else b''
            if passes and not passes(data):
                filtered[text] = filtered.get(text, 0) + 1
                continue
            key = text, addresses
            matched[key] = matched.get(key, 0) + 1
            if first_matched is None:
                first_matched = last
            last_matched = last
            if add_size and found and found[1] == b'set':
                add_size(found)
            if on_match:
                on_match(data, addresses, frame, tcp)
        self.packets, self.with_data, self.matched = packets, with_data, sum(matched.values())
        if packets:
            self.span = float(last - first)
        if matched:
            self.matched_span = float(last_matched - first_matched)
        return matched, filtered

    def _add_size(self, operation):
        """``operation``: the match of a set."""
        found = SIZE.match(operation.string, operation.end() - 1)
        if found:
            _add(self.sizes.setdefault(operation[2], {}), int(found[1]), 1)


def percentile(sizes, percent):
    """The least size that is not exceeded by ``percent`` % of them: 0 the smallest, 100 the largest.

    ``sizes``: {size: how many}, not empty.
    """
    needed = sum(sizes.values()) * percent / 100
    seen = 0
    for size, count in sorted(sizes.items()):
        seen += count
        if seen >= needed:
            return size
    return size


def _meaning(text):
    """What OPERATION matched, b'' if nothing -> operation, queue or None"""
    if not text:
        return OTHER, None
    operation, queue = OPERATION.match(text).groups()
    return operation if operation in OPERATIONS else OTHER, queue


def _add(table, key, count):
    table[key] = table.get(key, 0) + count
