"""Transaction numbers of open reads (spec journal 4)."""

LAST_XID = 0x7fffffff
FIRST_XID = -0x80000000


def next_xid(counter, opened):
    """The xid after ``counter``, int: skips 0 and those in ``opened``, wraps to the negative ones."""
    while True:
        counter = FIRST_XID if counter == LAST_XID else counter + 1
        if counter != 0 and counter not in opened:
            return counter
