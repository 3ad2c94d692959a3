"""Names of journal files: which file belongs to which queue, and in which order they are read. Pure.

    <q>              the current file, appended to
    <q>.<ms>         an archived (rotated) file
    <q>.<ms>.pack    a complete replacement for all files of q up to <ms>, not yet put in place
    <q>~~<ms>        a temporary file being written: never replayed, deleted at the start

<ms> is one or more decimal digits (D11). Queue names are bytes; on disk each byte is written as the Latin-1
character of that number in UTF-8, whatever the locale (D70).
"""

import re

CORRUPT_FOLDER = b'.corrupt'
# Kestrel 2.4 passes over every name with ~~ in it, and starts.
STATE_FOLDER = b'.state~~'
LONGEST_NAME = 236      # so that .<13 digits>.pack still fits into 255 bytes (D34)

_FORM = re.compile(rb'(?P<queue>[^./~]+)(?:\.(?P<ms>[0-9]+)(?P<pack>\.pack)?|(?P<temporary>~~[0-9]+))?')
# What no client can ask for, and what would forge lines of `stats` (D34).
_NEVER_IN_A_NAME = re.compile(rb'[ \r\n\0]')


def current(name):
    """The file name of a queue's current file. ``name`` and the result are bytes."""
    return name.decode('latin-1').encode('utf-8')


def queue_of(encoded):
    """The queue whose current file has this name, bytes, or None if no queue can have it."""
    try:
        name = encoded.decode('utf-8').encode('latin-1')
    except UnicodeError:
        return None
    parent, plus, child = name.partition(b'+')
    if not parent or (plus and not child) or len(encoded) > LONGEST_NAME or _NEVER_IN_A_NAME.search(name):
        return None
    return name


def is_journal_file(file_name):
    """Would a start take a file of this name (bytes) in the spool for one of a queue's, or delete it as temporary?"""
    return owner(file_name) is not None


def owner(file_name):
    """The queue that a file of this name (bytes) in the spool belongs to, bytes, or None. A file of .corrupt belongs to
    none."""
    form = _FORM.fullmatch(file_name)
    return None if form is None else queue_of(form['queue'])


class QueueFiles:
    """The files of one queue in the spool.

    name      bytes, the queue
    spool     bytes, the folder
    current   bytes, the name of the current file; ``has_current``: is it there
    archived  [(ms, file name)] in the order of their replay
    packs     [(ms, file name)] likewise, not yet put in place
    has_state is there a file of it in STATE_FOLDER
    """

    def __init__(self, spool, name):
        self.spool = spool
        self.name = name
        self.current = current(name)
        self.has_current = False
        self.has_state = False
        self.archived = []
        self.packs = []

    def path(self, file_name):
        return self.spool + b'/' + file_name

    def all(self):
        """All file names, those that replace others first, then from the oldest to the newest."""
        files = [file_name for _, file_name in self.packs + self.archived]
        return files + [self.current] if self.has_current else files

    def put_pack_in_place(self):
        """Plan for the lowest pack (spec journal 6 step 4): -> (files to delete, old name, new name).

        The lists are changed as if it were done. The deletions come first: should the server stop between
        them, the pack is still there with all that they held.
        """
        ms, file_name = self.packs.pop(0)
        replaced = [old for old_ms, old in self.archived if old_ms <= ms]
        new_name = file_name[:-len(b'.pack')]
        self.archived = [(ms, new_name)] + [entry for entry in self.archived if entry[0] > ms]
        return replaced, file_name, new_name


class Spool:
    """A folder's content told apart: ``queues`` {name: QueueFiles}; ``temporary``, ``strays`` [file name];
    ``has_states``: is STATE_FOLDER there."""

    def __init__(self, path, entries):
        """``entries``: [(file name, bytes; is it a regular file)]."""
        self.path = path
        self.queues = {}
        self.temporary = []
        self.strays = []
        self.has_states = (STATE_FOLDER, False) in entries
        for file_name, is_file in sorted(entries):
            if file_name in (CORRUPT_FOLDER, STATE_FOLDER) and not is_file:
                continue
            form = _FORM.fullmatch(file_name) if is_file else None
            name = queue_of(form['queue']) if form else None
            if name is None:
                self.strays.append(file_name)
            elif form['temporary']:
                self.temporary.append(file_name)
            else:
                self._add(name, file_name, form)
        for files in self.queues.values():
            files.archived.sort()
            files.packs.sort()

    def _add(self, name, file_name, form):
        files = self.queues.get(name)
        if files is None:
            files = self.queues[name] = QueueFiles(self.path, name)
        if form['pack']:
            files.packs.append((int(form['ms']), file_name))
        elif form['ms']:
            files.archived.append((int(form['ms']), file_name))
        else:
            files.has_current = True
