"""The server's status (spec queues 11): the one announced, the one in force, and the file that keeps it.

It knows no clients and no timers: the clock, the timer and whoever has to obey are handed in.
"""

import os

from kestrel.disk import as_path

LONGEST_TIMER = 86400.0     # seconds
READ = 1000                 # bytes of the file: its first line is a word
UNREADABLE = object()


class Status:
    """One of the five; ``strictness`` orders them. ``graceful``: in a stop emptied queues are rewritten."""

    def __init__(self, name, strictness, blocks_reads, blocks_writes, graceful):
        self.name = name
        self.strictness = strictness
        self.blocks_reads = blocks_reads
        self.blocks_writes = blocks_writes
        self.graceful = graceful


UP = Status('Up', 1, False, False, False)
WRITEAVOID = Status('WriteAvoid', 2, False, False, False)
READONLY = Status('ReadOnly', 3, False, True, True)
QUIESCENT = Status('Quiescent', 4, True, True, True)
DOWN = Status('Down', 100, True, True, False)

# Those that may be asked for and stored, by their names in lower case.
STORED = {status.name.lower(): status for status in (UP, WRITEAVOID, READONLY, QUIESCENT)}


class ServerStatus:
    """Changes of the status, one after the other: whoever calls ``change`` sees to that.

    status      the Status it begins with
    grace       seconds from the announcement of a stricter status to its enforcement
    call_later  as hub.Hub.call_later
    store       called with the Status to be kept; raises whatever fails
    announce    called with the Status to be announced to the world, and whether its failure counts where it allows more
                (spec queues 15); raises whatever fails, and then nothing is announced anew
    enforce     called with the Status in force, at the begin and when it changes

    announced, in_force  Status
    """

    def __init__(self, status, grace, clock, call_later, store, announce, enforce, log):
        self.announced = self.in_force = status
        self.stopped = False
        self._grace = grace
        self._clock = clock
        self._call_later = call_later
        self._store = store
        self._announce = announce
        self._enforce = enforce
        self._log = log
        self._pending = None    # [when the announced status comes into force], while it is not
        enforce(status)

    def begin(self, status):
        """The status that the file keeps: in force at once."""
        self._set(status)

    def change(self, status):
        """-> false if it was rejected, because a stricter status has been announced that is not in force yet.

        Raises what ``store`` and ``announce`` raise, and then all is as it was. Clients are sent away before less is
        allowed, and called when more is (spec queues 15).
        """
        before = self.announced
        stricter = status.strictness > before.strictness
        if self._pending is not None and (stricter or status is before):
            self._log.warning('status %s refused: %s is announced and not in force yet', status.name, before.name)
            return False
        if stricter:
            self._announce(status, False)
        try:
            self._store(status)
        except Exception:
            if stricter:
                self._take_back(self._announce, before, False)
            raise
        if self.stopped:
            return True
        if stricter and self._grace > 0:
            self.announced = status
            self._pending = pending = [self._clock.monotonic() + self._grace]
            self._look(pending)
        else:
            in_force, pending = self.in_force, self._pending
            self._set(status)
            if not stricter:
                self._call(status, before, in_force, pending)
        self._log.info('status %s, before it %s', status.name, before.name)
        return True

    def _call(self, status, before, in_force, pending):
        """Announce a status that allows more, or be back where it was."""
        try:
            self._announce(status, True)
        except Exception:
            if not self.stopped:
                self.announced, self.in_force = before, in_force
                self._enforce(in_force)
                self._pending = pending
                if pending is not None:
                    self._look(pending)
            self._take_back(self._store, before)
            raise

    def _take_back(self, function, *arguments):
        """Call it; the error that led to this is the one that is told."""
        try:
            function(*arguments)
        except Exception as error:
            self._log.error('status %s: what was done cannot be taken back: %s', arguments[0].name, error)

    def stop(self):
        """Down, which is not stored (D46). -> true if the stop is a graceful one."""
        graceful = self.in_force.graceful
        self.stopped = True
        self._set(DOWN)
        return graceful

    def _set(self, status):
        self._pending = None
        self.announced = self.in_force = status
        self._enforce(status)

    def _look(self, pending):
        """Is it time? A change since then has taken ``pending`` back."""
        if pending is not self._pending:
            return
        left = pending[0] - self._clock.monotonic()
        if left > 0:
            self._call_later(min(left, LONGEST_TIMER), self._look, pending)
            return
        self._log.info('status %s is in force', self.announced.name)
        self._set(self.announced)


class StatusFile:
    """Keeps the status over a restart: one line, its name (D29). ``path``: str or bytes."""

    def __init__(self, disk, path, log):
        self._path = os.path.abspath(as_path(path))
        self.shown = self._path.decode('utf-8', 'replace')
        self._disk = disk
        self._log = log

    def read(self, default):
        """-> the Status it keeps, or ``default``."""
        try:
            content = self._content()
        except OSError as error:
            self._log.warning('status file %s cannot be read: %s: the status is %s', self.shown,
                              error.strerror, default.name)
            return default
        if content is None:
            return default
        word = content.partition(b'\n')[0].strip().decode('ascii', 'replace')
        status = STORED.get(word.lower())
        if status is None:
            self._log.warning('status file %s: %.40r is no status: it is %s', self.shown, word, default.name)
            return default
        return status

    def check(self):
        """One warning if no change of the status will be possible."""
        if not self._disk.may_replace(self._path):
            self._log.warning('status file %s is not writable: the status cannot be changed', self.shown)

    def store(self, status):
        """Raises OSError, and then the file is what it was. May be called in a thread."""
        try:
            before = self._content()
        except OSError:
            before = UNREADABLE
        try:
            self._disk.replace(self._path, status.name.encode('ascii') + b'\n')
        except OSError:
            self._put_back(before)
            raise

    def _content(self):
        """bytes; None if there is no file."""
        try:
            file = self._disk.open_read(self._path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return file.read_at(READ, 0)
        finally:
            file.close()

    def _put_back(self, before):
        """It may have failed when the new file was in place already."""
        try:
            if before is UNREADABLE or self._content() == before:
                return
            if before is None:
                self._disk.unlink(self._path)
            else:
                self._disk.replace(self._path, before)
        except OSError as error:
            self._log.error('status file %s: cannot put back what it said: %s', self.shown, error.strerror)
