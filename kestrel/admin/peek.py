"""A look at the first items of a queue that changes nothing and counts as nothing."""

from itertools import islice

MOST_ITEMS = 100
MOST_BYTES = 65536          # of each item
MOST_TOGETHER = 1 << 20     # bytes of all items
# Characters of a text besides those that can be printed.
_BLANKS = {'\t', '\r', '\n'}


def first_items(queue, count, size, now_ms):
    """-> list of dict, the first items that are in memory; void ones are passed over.

    count, size  how many items, and bytes of each, at most
    """
    found = []
    left = MOST_TOGETHER
    for item in islice(queue.items, count + queue.voids):
        if item.data is None:
            continue
        if len(found) == count or left <= 0:
            break
        data = item.data[:min(size, left)]
        left -= len(data)
        text = _text(data, len(data) < len(item.data))
        found.append({
            'size': len(item.data), 'shown': len(data), 'text': text, 'hex': data.hex() if text is None else None,
            'flags': item.flags, 'age_ms': now_ms - item.add_time, 'deliveries': item.deliveries,
            'expires_ms': None if item.expiry == 0 else item.expiry - now_ms})
    return found


def _text(data, is_cut):
    """The bytes as text, if they are UTF-8 without control characters; else None. A cut may split the last character."""
    for drop in range(4 if is_cut else 1):
        try:
            text = data[:len(data) - drop].decode('utf-8')
        except UnicodeDecodeError:
            continue
        return text if all([char.isprintable() or char in _BLANKS for char in text]) else None
    return None
