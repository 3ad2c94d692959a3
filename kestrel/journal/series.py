"""The files of one queue: which there are, what they are called, which of them stay open (spec journal 5, 8)."""

from kestrel.journal import names
from kestrel.shown import shown_path

# So many rotated files of a queue in read-behind stay open, those first that are read next, so that nothing is lost if
# somebody deletes or renames them.
HELD = 64


class Series:
    """The archived files, oldest first, and the current one.

    files          list of AppendFile: that of all files, the last one being the current one. ReadBehind goes along it.
    archived_size  bytes in the archived ones
    unsynced       list of AppendFile: files rotated and not fsynced since, oldest first (D63); those that a start found
                   are such, because the process before may have ended before it could

    Raises OSError when the current file of a new queue (``recovered`` None) cannot be created.
    """

    __slots__ = ('files', 'archived_size', 'unsynced', 'spool', '_disk', '_clock', '_path', '_last_ms', '_reading',
                 'pinned')

    def __init__(self, disk, clock, spool, name, recovered):
        self._disk = disk
        self._clock = clock
        self._path = spool + b'/' + names.current(name)
        self.spool = spool
        self.unsynced = []
        self.pinned = None          # a thread reads it
        self._reading = None
        if recovered is None:
            self.files = [disk.open_append(self._path)]
            self._last_ms = disk.deleted_ms
        else:
            self.files = recovered.files
            self.unsynced = self.files[:-1]
            self._last_ms = recovered.last_ms
        self.archived_size = 0
        self.measure()
        if recovered is not None and recovered.reader is not None:
            self.hold(recovered.reader.file)

    def measure(self):
        """Add up the sizes of the archived files."""
        self.archived_size = sum([file.size for file in self.files[:-1]])

    @property
    def current(self):
        return self.files[-1]

    def all(self):
        return list(self.files)

    # --- names

    def new_ms(self):
        """A timestamp for a file name: the clock's, but later than all before (D44)."""
        self._last_ms = max(self._clock.now_ms(), self._last_ms + 1)
        return self._last_ms

    def current_path(self):
        return self._path

    def archived_path(self, ms):
        return self._path + b'.%d' % ms

    def pack_path(self, ms):
        return self._path + b'.%d.pack' % ms

    def temporary_path(self, ms):
        return self._path + b'~~%d' % ms

    def ms_of(self, file):
        """The timestamp in the name of an archived file."""
        return int(file.path[len(self._path) + 1:])

    # --- changes

    def rotate(self, path):
        """Give the current file the name ``path`` and begin a new one; -> the new one. Raises OSError, and then all is
        as before."""
        old = self.current
        old.open()
        old.rename(path)
        try:
            new = self._disk.create(self._path)
        except OSError:
            old.rename(self._path)
            raise
        self._archive(old, new)
        return new

    def follow(self, old):
        """Begin a new current file behind ``old``, which has an archived file's name already. Raises OSError."""
        new = self._disk.create(self._path)
        self._archive(old, new)
        return new

    def _archive(self, old, new):
        old.archived = True
        self.files.append(new)
        self.archived_size += old.size
        self.unsynced.append(old)
        self.hold(self._reading)

    def replace(self, old, new):
        """A rewrite or a pack put the file ``new`` into the place of ``old``, a list of files from the oldest on."""
        self.files[:len(old)] = [new]
        if self._reading in old:
            # read-behind began while the queue was rewritten
            self._reading = new
        self.measure()
        self.unsynced = [file for file in self.unsynced if file not in old]

    def restore(self, lost, file):
        """``file`` has the content and the name of ``lost``, which somebody removed."""
        file.archived = lost.archived
        self.files[self.files.index(lost)] = file
        self.unsynced = [file if one is lost else one for one in self.unsynced]
        if self._reading is lost:
            self._reading = file

    # --- open files

    def hold(self, reading):
        """Keep the files open from ``reading`` on, and those before it (None: only the current one)."""
        self._reading = reading
        held = []
        if reading is not None:
            place = self.files.index(reading)
            held = [self.current, *self.files[place:-1], *self.files[:place]][:HELD]
            for file in held:
                self._try_to_hold(file)
        for file in self.files[:-1]:
            if file.is_open() and file not in held and file not in self.unsynced and file is not self.pinned:
                self._close(file)

    def synced(self, files):
        """These have been fsynced."""
        if self.unsynced:
            done = set(files)
            self.unsynced = [file for file in self.unsynced if file not in done]
            self.hold(self._reading)

    def _try_to_hold(self, file):
        if file.is_open():
            return
        try:
            file.hold()
            if file is not self._reading and file is not self.current and self._disk.is_scarce(file.descriptor()):
                file.close()
        except OSError as error:
            # No descriptor left, or the file is gone: whoever reads it meets the same and tells what it means.
            self._disk.log.debug('cannot hold %s open: %s', shown_path(file.path), error.strerror)

    def _close(self, file):
        try:
            file.close()
        except OSError as error:
            # The descriptor is gone all the same, and what matters was fsynced before.
            self._disk.log.error('closing %s failed: %s', shown_path(file.path), error.strerror)
