"""The spools that a crash may leave behind at a place in the log of a Recorder.

What is assumed of the system:

process crash  Everything that was called is there; the last write may have got only a part of its bytes in.
power loss     Of a file what was written before its last successful fsync began is there. Of what came later any part
               from its beginning is, cut at any byte: files are appended to and grow in order. Files know nothing of
               each other, so a later write to one may be there and an earlier one to another missing.
               Of the names in a folder all changes before its last fsync are there, and of the later ones any number
               from the first on: all file systems with a journal of their metadata keep that order. What the server
               does not rely on is not assumed: while a packed or rewritten file is put in place, deletions may
               overtake everything else and be overtaken (D43 has an fsync of the folder after each step). Names and
               contents know nothing of each other: a file may have its new name and none of its data, and an fsync of a
               file does nothing for its name.

A spool is {name, bytes: content, bytes}.
"""

import copy
import struct

from crash.recorder import Create, Cut, FolderSynced, MakeFolder, Note, Rename, Synced, Unlink, Write

NAMES = (Create, Rename, Unlink, MakeFolder)
STATES = b'.state~~/'
MOST_CUTS = 40          # in one file, at one place
RANDOM_MIXES = 4        # at one place


def folder_of(name):
    return name.rpartition(b'/')[0]


def record_starts(data):
    """Where the records of a piece of a journal begin; an own reading of spec journal 1. Ends where it is broken."""
    starts = []
    at = 0
    while at < len(data):
        starts.append(at)
        op = data[at]
        size_at = {0: 1, 2: 1, 10: 1, 7: 5, 8: 5}.get(op)
        if op in (1, 3):
            at += 1
        elif op in (4, 5, 6, 9):
            at += 5
        elif size_at is not None and at + size_at + 4 <= len(data):
            at += size_at + 4 + struct.unpack_from('<I', data, at + size_at)[0]
        else:
            break
    return starts


def torn_inside(data):
    """Interesting lengths of a write of which only the beginning went in: 0 < length < len(data).

    At each boundary of the records in it; of the first and the last record behind the op byte, in the size, in
    the times, before the data, in the middle of the data and before its last byte.
    """
    starts = record_starts(data)
    cuts = set(starts)
    for start, end in [(starts[0], (starts + [len(data)])[1]), (starts[-1], len(data))] if starts else []:
        cuts.update((start + 1, start + 3, start + 5, start + 13, start + 21, start + 29, (start + 21 + end) // 2, end - 1))
    return sorted(cut for cut in cuts if 0 < cut < len(data))


class _File:
    """``durable``: what a power loss leaves for certain; ``pending``: [(place in the log, Write or Cut)] since then."""

    def __init__(self, content=b''):
        self.durable = content
        self.full = content
        self.pending = []

    def add(self, place, call):
        self.pending.append((place, call))
        self.full = _applied(self.full, call)

    def sync(self, covers):
        while self.pending and self.pending[0][0] < covers:
            self.durable = _applied(self.durable, self.pending.pop(0)[1])

    def steps(self):
        """All contents it may have, from the durable to the full one, whole calls only; adjacent ones differ."""
        contents = [self.durable]
        for _, call in self.pending:
            contents.append(_applied(contents[-1], call))
        return contents

    def first_missing(self, content):
        """The place of the first call of which ``content`` does not have everything."""
        for (place, _), whole in zip(self.pending, self.steps()[1:]):
            if len(content) < len(whole) or not content.startswith(whole):
                return place
        return None

    def torn(self):
        """[(what it is, content)] for pending writes of which a part went in."""
        found = []
        content = self.durable
        for number, (_, call) in enumerate(self.pending):
            if isinstance(call, Write) and number in (0, 1, len(self.pending) - 1):
                found += [('%d of %d bytes of unsynced write %d' % (cut, len(call.data), number + 1),
                           _applied(content, Write(call.file, call.offset, call.data[:cut])))
                          for cut in torn_inside(call.data)]
            content = _applied(content, call)
        return found


def _applied(content, call):
    if isinstance(call, Cut):
        return content[:call.size].ljust(call.size, b'\0')
    return content[:call.offset].ljust(call.offset, b'\0') + call.data + content[call.offset + len(call.data):]


class Machine:
    """A computer that does the calls of a log, one after the other, and may crash after each.

    ``apply`` it each entry; then ``process_crashes`` and ``power_losses`` -> [(what happened, str; spool; gap)].
    ``gap``: where contents were lost in the middle of a queue's files, not only at their end, the place of the first
    call that is missing; else None.
    """

    def __init__(self, names, files):
        self._durable_names = dict(names)
        self._names = dict(names)
        self._pending_names = []            # [(place, call)]
        self._loose = set()                 # places of deletions that know no order
        self._deleting = False              # those of a whole queue keep theirs: there is no fsync between them
        self._files = {number: _File(content) for number, content in files.items()}
        self._last = None

    def copy(self):
        """-> another one in the same state."""
        return copy.deepcopy(self)

    def files(self):
        """-> {name: file} of now."""
        return dict(self._names)

    def apply(self, place, call):
        """``place``: where it stands in the log."""
        self._last = call
        if isinstance(call, Create):
            self._files[call.file] = _File()
        if isinstance(call, NAMES):
            self._pending_names.append((place, call))
            if (isinstance(call, Unlink) and not self._deleting
                    and any(name.endswith(b'.pack') for name in self._names)):
                self._loose.add(place)
            _rename(self._names, call)
        elif isinstance(call, (Write, Cut)):
            self._files[call.file].add(place, call)
        elif isinstance(call, Synced):
            self._files[call.file].sync(call.covers)
        elif isinstance(call, FolderSynced):
            self._sync_folder(call)
        elif not isinstance(call, Note):
            raise AssertionError('what is %r?' % (call,))
        elif getattr(call.operation, 'kind', None) == 'delete':
            self._deleting = call.what == 'begin'
            # The deletion relies on the order of all names before it.
            self._loose.clear()

    def _sync_folder(self, call):
        left = []
        for place, change in self._pending_names:
            name = change.new if isinstance(change, Rename) else change.name
            if place < call.covers and folder_of(name) == call.folder:
                _rename(self._durable_names, change)
            else:
                left.append((place, change))
        self._pending_names = left

    def unsynced(self):
        """The names of files with contents or names that a power loss could take."""
        changed = {change.new if isinstance(change, Rename) else change.name for _, change in self._pending_names}
        return sorted(changed | {name for name, file in self._names.items() if file and self._files[file].pending})

    def process_crashes(self):
        spool = self._spool(self._names, {})
        crashes = [('process crash', spool, None)]
        call = self._last
        if isinstance(call, Write):
            name = next((name for name, file in self._names.items() if file == call.file), None)
            if name is not None:
                before = spool[name][:call.offset]
                crashes += [('process crash after %d of %d bytes of the write to %s' % (cut, len(call.data), name.decode()),
                             {**spool, name: before + call.data[:cut]}, None) for cut in torn_inside(call.data)]
        return crashes

    def power_losses(self, random):
        """Bounded: see ``_name_steps`` and ``_contents``. ``random``: for the choice of some mixtures."""
        seen = set()
        losses = []
        for label, names in self._name_steps():
            for what, contents in self._contents(names, random):
                spool = self._spool(names, contents)
                key = frozenset(spool.items())
                if key not in seen:
                    seen.add(key)
                    losses.append(('power loss, %s, %s' % (label, what), spool, self._gap(names, contents)))
        return losses

    def _name_steps(self):
        """[(what it is, {name: file})]: every number of unsynced changes, the first ones before the later."""
        names = dict(self._durable_names)
        count = len(self._pending_names)
        steps = [('0 of %d changed names' % count, dict(names))]
        for number, (_, change) in enumerate(self._pending_names, 1):
            _rename(names, change)
            steps.append(('%d of %d changed names' % (number, count), dict(names)))
        loose = [change for place, change in self._pending_names if place in self._loose]
        others = [change for place, change in self._pending_names if place not in self._loose]
        if loose and others:
            for number in range(len(others) + 1):
                for word, deleted in (('before', loose), ('behind', [])):
                    names = dict(self._durable_names)
                    for change in others[:number] + deleted:
                        _rename(names, change)
                    steps.append(('%d of %d changed names, all deletions %s them' % (number, len(others), word), names))
        return steps

    def _contents(self, names, random):
        """[(what it is, {file: content})]; files not in it have all they were given.

        Nothing and all of what is unsynced; then for each file every number of whole writes and torn ones, the other
        files having all or nothing; then some mixtures.
        """
        pending = {file: name for name, file in names.items() if file and self._files[file].pending}
        nothing = {file: self._files[file].durable for file in pending}
        mixes = [('all that was written', {}), ('nothing that was not synced', nothing)]
        for file, name in pending.items():
            steps = [('%d unsynced writes' % number, content) for number, content in enumerate(self._files[file].steps())]
            steps += self._files[file].torn()
            if len(steps) > MOST_CUTS:
                steps = steps[:1] + random.sample(steps[1:], MOST_CUTS - 1)
            for what, content in steps:
                for others, rest in (('nothing', nothing), ('all', {})):
                    mixes.append(('%s of %s, %s of others' % (what, name.decode(), others), {**rest, file: content}))
        if len(pending) > 1:
            for number in range(RANDOM_MIXES):
                mix = {file: random.choice(self._files[file].steps()) for file in pending}
                mixes.append(('mixture %d' % number, mix))
        return mixes

    def _gap(self, names, contents):
        """-> the place of the first call that is missing from a file behind which others hold something; or None."""
        order = sorted((name for name in names if names[name] and b'~' not in name and b'/' not in name),
                       key=replay_order)
        first = None
        for name in order:
            file = self._files[names[name]]
            content = contents.get(names[name], file.full)
            if first is not None and len(content) > 0:
                return first
            if first is None and content != file.full:
                first = file.first_missing(content)
        return None

    def _spool(self, names, contents):
        return {name: contents[file] if file in contents else self._files[file].full
                for name, file in names.items() if file and (not folder_of(name) or folder_of(name) in names)}


def replay_order(name):
    """A key that sorts the files of one queue as they are replayed (spec journal 5 and 6)."""
    words = name.split(b'.')
    return (1, 0) if len(words) == 1 else (0, int(words[1]))


def _rename(names, call):
    """Do a change of names to {name: file}; a folder's file is None."""
    if isinstance(call, Create):
        names[call.name] = call.file
    elif isinstance(call, MakeFolder):
        names[call.name] = None
    elif isinstance(call, Rename):
        names[call.new] = names.pop(call.old)
    else:
        names.pop(call.name, None)          # it may overtake what gave it this name


def split(recorder):
    """One log for each queue, because queues know nothing of each other.

    -> {queue: (names, files, [(place in the whole log, entry)])}; notes of no queue and syncs of folders are in all.
    """
    owner = {file: queue_of(name) for name, file in recorder.names.items()}
    for entry in recorder.log:
        if isinstance(entry, Create):
            owner[entry.file] = queue_of(entry.name)
        elif isinstance(entry, Note) and entry.operation is not None:
            owner[entry.operation] = entry.operation.queue
    queues = {queue for queue in owner.values() if queue}
    logs = {queue: [] for queue in queues}
    for place, entry in enumerate(recorder.log):
        if isinstance(entry, (Write, Cut, Synced)):
            targets = (owner[entry.file],)
        elif isinstance(entry, (Create, Unlink)):
            targets = (queue_of(entry.name),)
        elif isinstance(entry, Rename):
            targets = (queue_of(entry.new),)
        elif isinstance(entry, Note) and entry.operation is not None:
            targets = (entry.operation.queue,)
        else:
            targets = queues
        for queue in queues.intersection(targets):
            logs[queue].append((place, entry))
    return {queue: ({name: file for name, file in recorder.names.items() if queue_of(name) == queue},
                    {file: content for file, content in recorder.files.items() if owner[file] == queue},
                    logs[queue])
            for queue in queues}


def queue_of(name):
    """The queue of a file's name, that of its state included; what is in .corrupt belongs to none."""
    return name.removeprefix(STATES).partition(b'.')[0].partition(b'~')[0]
