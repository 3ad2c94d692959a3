"""What is to be done about the size of a queue's journal: one pure verdict (D13, spec journal 8)."""

NOTHING = 0
REWRITE_EMPTY = 1       # rule 1: nothing waits, the files hold what is gone
REWRITE = 2             # rule 2: much more on disk than waits
ROTATE = 3              # rule 3
ROTATE_AND_CHECKPOINT = 4


def verdict(items, size, behind, current, total, barred_empty, barred, default_journal_size, max_journal_size,
            max_memory_size):
    """-> NOTHING, REWRITE_EMPTY, REWRITE, ROTATE or ROTATE_AND_CHECKPOINT.

    items, size     waiting items and their data bytes, those that wait for an fsync included
    behind          is the queue in read-behind
    current, total  bytes in the current file, and in all files
    barred_empty    a rule 1 rewrite that freed too little bars rule 1 for ``min_journal_compact_delay``
    barred          either rewrite bars rule 2 for that time
    the settings    bytes
    """
    if items == 0 and total >= default_journal_size and not barred_empty:
        return REWRITE_EMPTY
    if total > max_journal_size and size < max_memory_size and not behind and not barred:
        return REWRITE
    if current > max_memory_size:
        return ROTATE_AND_CHECKPOINT if behind and total > max_journal_size else ROTATE
    return NOTHING
