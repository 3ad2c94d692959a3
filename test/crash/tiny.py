"""Queues of all kinds whose files are so small that everything happens to them within a few requests."""

from support.fakes import queue_settings

MS = 1000       # in the unit of settings

# Read-behind, rotation, packing; rewriting while items wait.
BEHIND = {'default_journal_size': 200, 'max_memory_size': 100, 'max_journal_size': 250}
ROOMY = {'default_journal_size': 300, 'max_memory_size': 700, 'max_journal_size': 900}
SMALL = {'max_items': 6, 'discard_old_when_full': True}
SYNC = {'never': None, 'each': 0, 'period': 10 * MS}
QUEUES = {
    **{b'%b-behind' % word.encode(): {**BEHIND, 'sync_journal': sync} for word, sync in SYNC.items()},
    **{b'%b-roomy' % word.encode(): {**ROOMY, 'sync_journal': sync} for word, sync in SYNC.items()},
    **{b'%b-small' % word.encode(): {**BEHIND, **SMALL, 'sync_journal': sync} for word, sync in SYNC.items()},
}
DEFAULTS = {'keep_journal': True, 'min_journal_compact_delay': 20 * MS}


def some_queues(chance):
    """One of each size, one of each way to fsync, and another one with read-behind: few, so that much happens
    to each; -> {name: settings that differ}."""
    sizes = chance.sample((b'behind', b'roomy', b'small'), 3)
    names = [b'%b-%b' % (word.encode(), size) for word, size in zip(SYNC, sizes)]
    names.append(chance.choice([name for name in QUEUES if name.endswith(b'behind') and name not in names]))
    return {name: QUEUES[name] for name in names}


def settings_of(queue):
    return queue_settings(**{**DEFAULTS, **QUEUES[queue]})
