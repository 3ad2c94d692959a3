"""Reading back what a long queue left on disk (spec journal 9)."""

from kestrel.journal.record import (
    ADD, ADD_FLAGS, ADD_XID, ADDX, CONTINUE, END, IMPOSSIBLE, TORN, RecordReader)
from kestrel.shown import shown_path

# How much is read from a file at once, bytes: a sixteenth of what the queue may keep in memory, within these.
LEAST_BLOCK = 16384
LARGEST_BLOCK = 262144
# So many records that bring no item are passed over at once (0.6 ms; pure Python 3): a queue that was short for long has
# millions of them in a row.
PASSED_AT_ONCE = 10000
# So much further the kernel is asked to read ahead, so that a file that lies cold on a disk is there in time.
AHEAD = 4194304


class ReadBehind:
    """A place in the files of a queue: all additions before it are in memory (or gone), all behind it are not.

    files       list of AppendFile, oldest first, the last one being appended to: the journal's own list, which
                changes under the reader
    file        the one it is in, an element of ``files``
    offset      where in it
    max_memory_size  of the queue, bytes
    now_ms      int, the add time of what ADD records bring
    log         logging.Logger
    """

    def __init__(self, files, file, offset, max_memory_size, now_ms, log):
        self.files = files
        self.file = file
        # the file that ``next`` has just left for a later one, when it answers None; None at the written end
        self.left = None
        # ``next`` answered None because it has passed over many records; nothing has ended
        self.busy = False
        # it has met a broken record
        self.broken = False
        self._log = log
        self._now = now_ms
        self._block = min(LARGEST_BLOCK, max(LEAST_BLOCK, max_memory_size // 16))
        self._asked = 0
        self._reader = RecordReader(file, now_ms, offset, self._block)

    def next(self):
        """The next item, or None: at the end of a file (see ``left``), or if it is ``busy``. Raises OSError, and may be
        called again.

        A record that cannot be read ends its file, which is logged: nothing but damage done to the file since
        it was written can be the cause.
        """
        reader = self._reader
        if reader.size != self.file.size:
            reader.resize(self.file.size)
        passed = 0
        self.busy = False
        while True:
            try:
                op = reader.next()
            except OSError:
                if not self._was_cut():
                    raise
                reader = self._reader
                continue
            if op == ADDX or op == ADD_FLAGS or op == ADD_XID or op == CONTINUE or op == ADD:
                if reader.offset >= self._asked:
                    self.file.will_need(AHEAD, reader.offset)
                    self._asked = reader.offset + AHEAD // 2
                return reader.item
            if op == END or op == TORN or op == IMPOSSIBLE:
                if op != END:
                    self.broken = True
                    self._log.error('%s: broken record at offset %d met while it was read back: the rest of this file'
                                    ' is left out', shown_path(self.file.path), reader.offset)
                self._advance()
                return None
            passed += 1
            if passed == PASSED_AT_ONCE:
                self.busy = True
                return None

    def _was_cut(self):
        """Has somebody else made the file shorter? Then it ends behind its last whole record."""
        file = self.file
        if not file.is_open():
            return False        # it could not be opened: gone, or there is no descriptor left
        if file.length() >= file.size:
            return False
        self.mend_cut(file)
        return True

    def mend_cut(self, file):
        """Somebody else has made one of the files shorter: then it ends behind its last whole record. Raises OSError."""
        length = file.length()
        begin = self._reader.place() if self.file is file else 0
        end = min(begin, length)
        if begin < length:
            left = RecordReader(file, self._now, begin, self._block)
            left.resize(length)
            while left.skim() >= 0:
                pass
            end = left.offset
        self._log.error('%s was cut by somebody else: %d bytes of %d are there, it is read to %d',
                        shown_path(file.path), length, file.size, end)
        if file.archived:
            file.expect(end)
        else:
            file.cut(end)
        if self.file is file:
            self.move_to(file, min(begin, end))

    def place(self):
        """Where the item that ``next`` answered last begins: (file, offset)."""
        return self.file, self._reader.offset

    def begin(self):
        """Where all that is left on disk begins: (file, offset)."""
        return self.file, self._reader.place()

    def move_to(self, file, offset):
        """Go on elsewhere."""
        self.file = file
        self._asked = 0
        self._reader = RecordReader(file, self._now, offset, self._block)

    def skip_file(self):
        """The file is gone: go on with the next one, if there is one."""
        self._advance()

    def shift(self, old, new, difference):
        """A rewrite has put the bytes of the file ``old`` into ``new``, ``difference`` further back."""
        if self.file is old:
            self.move_to(new, self._reader.place() + difference)

    def cut(self, file, size):
        """A file was cut, perhaps before the place where this began: then all that it was to read is void."""
        if self.file is not file:
            return
        if self._reader.place() > size:
            self.move_to(file, size)
        else:
            self._reader.resize(size)

    def _index(self):
        for number, file in enumerate(self.files):
            if file is self.file:
                return number
        raise AssertionError('the file read back is no file of the queue')

    def _advance(self):
        """To the next file, if there is one."""
        if self.file is self.files[-1]:
            self.left = None
            return
        self.left = self.file
        self.move_to(self.files[self._index() + 1], 0)
