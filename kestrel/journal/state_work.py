"""Writing down a queue's state, and checking one against the journal; both in a thread, beside everything else.

A start that begins with a state (``state.py``) is as right as if the server had gone on running: the state was that of its
memory, and the files are the same. So the check after the start is there to find what nobody expects, and what has
befallen the files meanwhile.
"""

from kestrel.journal import record, state
from kestrel.journal.record import RecordReader
from kestrel.journal.replay import Replay
from kestrel.journal.state import State
from kestrel.shown import shown_path

# With less in the journal a replay takes no time, bytes (16 MB: 30 to 100 ms).
LEAST = 16 << 20
# Put back and open items are written down with their data, up to so much in all; besides each counts ITEM bytes.
INLINE = 4 << 20
ITEM = 64
# What is read at once, and what is kept in memory to check a state, bytes.
BLOCK = 16384
MEMORY = 1 << 20
# After so much work the thread rests for that long, seconds: compiled code lets nobody else run meanwhile, and nobody waits
# for it.
WORK = 0.0005
REST = 0.002
# How often a file that is just being renamed is looked for, and the pause between, seconds.
TRIES = 5
AGAIN = 0.01
# So many items at the head are compared.
COMPARED = 100


class GivenUp(Exception):
    """It is not needed any more, or cannot be done."""


def tell(journal, error):
    """The state of a queue was not written: a start replays its journal."""
    if isinstance(error, GivenUp):
        journal.disk.log.debug('journal of queue %s: its state is not written: %s', journal.shown_name(), error)
    else:
        journal.disk.log.warning('journal of queue %s: its state cannot be written: %s', journal.shown_name(),
                                 error.strerror)


class Reading:
    """Work of a Job that only reads journal files: it gives way to all other.

    until  monotonic seconds: as fast as it can, but no longer; None: as long as it takes, with rests
    """

    only_reads = True
    temporary = None
    # Whatever would change files waits for it so long at most, seconds.
    patience = 0.0

    def __init__(self, journal):
        self.cancelled = False
        self.until = None
        self.disk = journal.disk
        self._clock = journal.clock
        self._worked_since = 0.0

    @staticmethod
    def remains(busy):
        """See replacement.Replacement: nothing."""
        return []

    def pause(self):
        """Between two readings."""
        if self.cancelled:
            raise GivenUp('it is not needed any more')
        now = self._clock.monotonic()
        if self.until is not None:
            if now > self.until:
                raise GivenUp('there is no time')
        elif now - self._worked_since > WORK:
            self._clock.rest(REST)
            self._worked_since = self._clock.monotonic()


class _Unhurried:
    """The first ``size`` bytes of a file, as RecordReader reads them. ``pause``: called before each reading."""

    def __init__(self, file, size, pause):
        self.size = size
        self._file = file
        self._pause = pause

    def read_at(self, count, offset):
        self._pause()
        return self._file.read_at(count, offset)


def capture(queue, journal, opened):
    """Of a queue at the end of the last file that has records: -> WriteState, or None if that cannot be written down.

    opened  [(xid, Item)], its open reads
    """
    if (queue.tail or queue.voids or queue.voids_behind or queue.voids_left_out is not None or journal.is_pending()
            or journal.suspect is not None):
        return None
    heads = []
    size = 0
    for item in queue.items:
        # Those that were put back stand before all others. Some that were not may have a count, too.
        if item.deliveries == 0:
            break
        heads.append(item)
        size += len(item.data) + ITEM
        if size > INLINE:
            return None
    size += sum([len(item.data) + ITEM for _, item in opened])
    if size > INLINE:
        return None
    return WriteState(queue, journal, heads, dict(opened))


class WriteState(Reading):
    """What is known of a queue, and the search for the place of its head, which nobody knows: so many additions before
    what is left on disk. Made on the hub; the rest may be done later, because files behind which others stand do not change.
    """

    def __init__(self, queue, journal, heads, opened):
        super().__init__(journal)
        self.path = state.path_of(journal.files.spool, queue.name)
        self._name = queue.name
        self._heads = heads
        self._opened = opened
        self._counter = queue.xid
        files = journal.files.files
        if files[-1].size == 0:
            files = files[:-1]      # just rotated
        self._files = [(file.path, file.size) for file in files]
        self._unsynced = [file.path for file in journal.files.unsynced]
        self._in_memory = len(queue.items) - len(heads)
        self._bytes_in_memory = queue.mem_bytes - sum([len(item.data) for item in heads])
        self._first = queue.items[len(heads)].data if self._in_memory else None
        self._behind = self._in_memory + queue.behind
        self._behind_bytes = self._bytes_in_memory + queue.bytes - queue.mem_bytes
        self._place = len(files) - 1, files[-1].size if files else 0
        if queue.reader is not None:
            file, offset = queue.reader.begin()
            # It may have reached the new file: that is the end of the one before.
            if file in files:
                self._place = files.index(file), offset

    def steps(self):
        yield self

    def __call__(self):
        """In a thread. Raises OSError, GivenUp."""
        if not self._files:
            raise GivenUp('nothing is in its files')
        for path in self._unsynced:
            # What a power loss may take is no file to speak of.
            self.disk.fsync_path(path)
        number, offset = self._head()
        marks = []
        for path, size in self._files[number:]:
            self.pause()
            mark = state.mark(self.disk, path)
            if mark[1] != size:
                raise GivenUp('%s was changed' % shown_path(path))
            marks.append(mark)
        found = State(self._name, marks, offset, self._behind, self._behind_bytes, self._counter, self._opened, self._heads)
        self.disk.replace(self.path, found.encode())

    def _head(self):
        """-> (number of the file, offset) where the first item in memory stands, those put back not counted."""
        number, end = self._place
        left, size = self._in_memory, 0
        while left:
            if number < 0:
                raise GivenUp('its items are not in its files')
            count, data = self._pass_over(number, 0, end, record.MANY)[:2]
            size += data
            if count >= left:
                break
            left -= count
            number -= 1
            end = self._files[number][1]
        if not left:
            return number, end
        _, before, offset = self._pass_over(number, 0, end, count - left)
        if size - before != self._bytes_in_memory or not self._is_first(number, offset):
            raise GivenUp('its items are not in its files')
        return number, offset

    def _pass_over(self, number, offset, end, most):
        """-> (how many additions, at most so many, stand in a file; their data bytes; where the next record begins)"""
        path = self._files[number][0]
        file = self.disk.open_read(path)
        try:
            reader = RecordReader(_Unhurried(file, end, self.pause), 0, offset, BLOCK)
            count = size = 0
            while count < most:
                op = reader.skim(most - count)
                count += reader.skimmed
                size += reader.skimmed_bytes
                if op == record.END:
                    break
                if op in record.ADDITIONS:
                    count += 1
                    size += len(reader.item.data)
                elif op < 0 and op != record.ENOUGH:
                    raise GivenUp('%s is broken at offset %d' % (shown_path(path), reader.offset))
            return count, size, reader.place()
        finally:
            file.close()

    def _is_first(self, number, offset):
        path, size = self._files[number]
        file = self.disk.open_read(path)
        try:
            reader = RecordReader(_Unhurried(file, size, self.pause), 0, offset, BLOCK)
            op = reader.next()
            while op >= 0 and op not in record.ADDITIONS:
                op = reader.next()
            return op >= 0 and reader.item.data == self._first
        finally:
            file.close()


class CheckState(Reading):
    """Replays the journal up to where a state began, and compares. No file is changed.

    files   [(AppendFile, size, inode)] up to the end of the state, the queue's own: they may be renamed at any time
    found   the State; ``heads``: data of the first items that it came to, COMPARED at most
    broken, wrong  afterwards: None, or which file is broken and where; what is not as it should be, str. Where a file is
            broken the state is right and a replay is not: it would have later removals hit other items
    """

    patience = 60.0

    def __init__(self, journal, files, found, heads):
        super().__init__(journal)
        self.broken = self.wrong = None
        self._log = journal.disk.log
        self._files = files
        self._state = found
        self._heads = heads

    def steps(self):
        yield self

    def __call__(self):
        """In a thread. Raises OSError, GivenUp."""
        held = []
        try:
            for file, size, inode in self._files:
                self._hold(held, file, size, inode)
            self._replay(held)
        finally:
            for file in held:
                file.close()

    def _hold(self, held, file, size, inode):
        for _ in range(TRIES):
            other = self.disk.open_archived(file.path, size)
            try:
                other.hold()
            except FileNotFoundError:
                pass        # it is being renamed
            else:
                held.append(other)
                if other.inode() == inode:
                    return
                held.pop().close()
            self._clock.rest(AGAIN)
        raise GivenUp('%s is another file now' % shown_path(file.path))

    def _replay(self, files):
        replay = Replay(MEMORY, self._log)
        done = []
        for file in files:
            done.append(file)
            reader = RecordReader(_Unhurried(file, file.size, self.pause), 0, 0, BLOCK)
            if replay.run(reader, done, 0) != record.END:
                self.broken = '%s is broken at offset %d' % (shown_path(file.path), reader.offset)
                return
        self.wrong = self._compare(replay)

    def _compare(self, replay):
        found = self._state
        if (replay.count, replay.bytes) != (found.count, found.bytes):
            return '%d items of %d bytes wait there, not %d of %d bytes' % (replay.count, replay.bytes, found.count,
                                                                           found.bytes)
        opened = {xid: item.data for xid, item in [*replay.opened.items(), *replay.displaced.items()]}
        if opened != {xid: item.data for xid, item in found.opened.items()}:
            return 'other reads are open there'
        for item, data in zip(replay.items, self._heads):
            if item.data != data:
                return 'another item is at its head'
        return None
