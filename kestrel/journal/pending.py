"""Records that found no room on the disk (D10, D64)."""

import errno
import os

from kestrel.journal.record import REMOVE

# How many bytes of them are written at once.
PIECE = 65536
# With so many bytes of them a queue hands nothing out any more: clients that open and put back for hours while the
# disk is full would fill the memory. What is open already can be confirmed and put back.
LIMIT = 64 << 20


class Pending:
    """Whole records, in order. ``held``: how many ask that none of them is written now."""

    def __init__(self, records):
        self.held = 0
        self._records = bytearray(records)

    @property
    def size(self):
        """Bytes."""
        return len(self._records)

    def is_full(self):
        return len(self._records) >= LIMIT

    def keep(self, record):
        self._records += record

    def drop(self, count):
        """The first ``count`` bytes are void."""
        del self._records[:count]

    def clear(self):
        self._records.clear()

    def write(self, append):
        """Write as many as there is room for, with ``append(bytes)``. Raises OSError if some are left."""
        if self.held:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        most = PIECE
        while self._records:
            piece = _whole_records(self._records, most)
            try:
                append(piece)
            except OSError:
                if len(piece) <= 5:
                    raise
                most = len(piece) // 2
                continue
            del self._records[:len(piece)]


def _whole_records(pending, most):
    """As many whole records from the front of ``pending`` as have at most ``most`` bytes, but at least one.

    Only ops 1 (one byte) and 5, 6, 9 (five bytes) are ever pending.
    """
    end = 0
    while end < len(pending):
        following = end + (1 if pending[end] == REMOVE else 5)
        if following > most and end > 0:
            break
        end = following
    return bytes(pending[:end])
