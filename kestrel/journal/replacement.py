"""One file in the place of others: rewriting and packing (D43, D40, spec journal 8 and 10), and restoring.

The steps go from thread to hub and back (see job.py): writing and fsyncing are done by a thread, names are changed on
the hub. A crash after any of them is recovered by what a start does (spec journal 6).
"""

import errno
import os
from functools import partial

from kestrel.append_file import SyncJob
from kestrel.item import Item
from kestrel.journal.record import REMOVE_TENTATIVE_XID, addition, addx_header, xid_record
from kestrel.shown import shown_path

# What is written at once: so many bytes, and not more items, because the thread has the interpreter to itself
# meanwhile and everybody else waits, up to four times a request. Between the pieces it rests: without that packing a
# queue of 1 GB took 3.2 s instead of 8.8, but the p99 of other clients rose by 144 ms instead of 1.4 (`neighbours` of
# make bench, 8000 requests a second beside it).
PIECE = 65536
PIECE_ITEMS = 64
REST = 0.0003
# A file is fsynced whenever it has grown by so much: one fsync of 128 MB takes 100 ms and holds up those of others.
SPREAD = 8 << 20
# Less than this is copied on the hub.
COPIED_ON_HUB = 65536
# How often a step is tried again that must not be left half done, seconds.
RETRY = 1.0


class Cancelled(Exception):
    """The queue is deleted, or the server stops."""


class Replacement:
    """A new file that takes the place of the oldest files of a queue.

    journal  journal.Journal
    opened   [(xid, Item)], open reads, written first, in this order
    items    list of Item, written behind them
    """

    only_reads = False

    def __init__(self, journal, opened, items):
        self.cancelled = False
        self.temporary = None       # AppendFile, the new file
        self.replaced = []          # AppendFiles that are out of use but not unlinked yet
        self._journal = journal
        self._opened = opened
        self._items = items

    def remains(self, busy):
        """AppendFiles of the queue that its journal does not know (any more), the oldest first.

        ``busy``: a thread is still at it. Then the new file is not among them: closed now, its number could become that
        of another file just when the thread writes to it. It goes when the thread is back (``_abandon``).
        """
        temporary = [] if self.temporary is None or busy else [self.temporary]
        return self.replaced + [file for file in temporary if file not in self._journal.files.files]

    def _write(self):
        """In a thread: write the content and fsync it."""
        file = self.temporary
        synced = 0
        pieces, size = [], 0
        for piece in self._pieces():
            pieces.append(piece)
            size += len(piece)
            if size >= PIECE or len(pieces) >= PIECE_ITEMS:
                self._append(pieces)
                pieces, size = [], 0
                self._journal.clock.rest(REST)
                if file.size - synced >= SPREAD:
                    synced = file.size
                    file.fsync_content()
        self._append(pieces)
        file.fsync_content()
        self._opened = None

    def _taken_items(self):
        """The items, each let go of when it has been written: a million at once would take the interpreter for 30 ms."""
        self._items.reverse()
        while self._items:
            yield self._items.pop()

    def _append(self, pieces):
        if self.cancelled:
            raise Cancelled
        if pieces:
            self.temporary.append(b''.join(pieces))

    def _copy_growing(self, source, begin):
        """Append what ``source`` holds from ``begin`` on: the most of it in a thread, while more comes, then the rest."""
        while source.size - begin > COPIED_ON_HUB:
            end = source.size
            yield partial(self._copy, source, begin, end)
            begin = end
        self._copy(source, begin, source.size)

    def _copy(self, source, begin, end):
        while begin < end:
            if self.cancelled:
                raise Cancelled
            piece = source.read_at(min(PIECE, end - begin), begin)
            if not piece:
                raise OSError(errno.EIO, 'the file became shorter while it was read')
            self.temporary.append(piece)
            begin += len(piece)

    def _check_twin(self):
        """Has every record been written to the new file as well?"""
        if self._journal.twin is not self.temporary:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _open_pieces(self):
        for xid, item in self._opened:
            yield addition(item, self._journal.keep_deliveries)
            yield xid_record(REMOVE_TENTATIVE_XID, xid)

    def _abandon(self):
        """Take the new file away again, if there is one yet."""
        file, self.temporary = self.temporary, None
        if file is None:
            return
        try:
            file.unlink()
        except FileNotFoundError:
            pass        # the queue was deleted, and all its files with it
        except OSError as error:
            self._journal.disk.log.error('cannot delete %s: %s; the next start does it',
                                         shown_path(file.path), error.strerror)
        self._journal.hub.run_job(partial(_close, file), _nothing_more)

    def _put_in_place(self, final_path):
        """The new file has its .pack name: remove what it replaces and give it its last name (D43 steps 3 to 5).

        None of this may be left half done while the server runs, so what fails is tried until it works.
        """
        yield from self._sync_names()
        for file in list(self.replaced):
            yield from self._insist(partial(_unlink, file))
            self.replaced.remove(file)
            # Each at once: should the next one have to be tried again, the job may be ended by then.
            yield partial(_close, file)
        yield from self._sync_names()
        yield from self._insist(partial(self.temporary.rename, final_path))
        yield from self._sync_names()

    def _sync_names(self):
        told = False
        while True:
            try:
                yield partial(self._journal.disk.fsync_dir, self._journal.files.spool)
                return
            except OSError as error:
                told = self._tell(told, error)
                yield RETRY

    def _insist(self, action):
        told = False
        while True:
            try:
                action()
                return
            except OSError as error:
                told = self._tell(told, error)
                yield RETRY

    def _tell(self, told, error):
        if not told:
            self._journal.disk.log.error('journal of queue %s: a new file cannot be put in place: %s; it is tried again',
                                         self._journal.shown_name(), error.strerror)
        return True


class Rewrite(Replacement):
    """One file that holds what is open and waits, in the place of all files of a queue (D43).

    Puts and gets go on. Their records are written to the old file, copied from there, and from shortly before the new
    file takes its place written to both.

    switched  called on the hub with (old file, begin, new file, difference) when the new file is the current one: what
              stood in the old one from ``begin`` on stands there ``difference`` bytes further back
    """

    def __init__(self, journal, opened, items, switched):
        super().__init__(journal, opened, items)
        self._switched = switched

    def steps(self):
        journal = self._journal
        files = journal.files
        source = journal.file
        self._look_at(source)
        begin = source.size
        void = journal.hold_pending() if journal.is_pending() else 0
        dropped = 0
        ms = files.new_ms()
        moved = False
        try:
            self.temporary = file = journal.disk.create(files.temporary_path(ms))
            try:
                yield self._write
                yield from self._copy_growing(source, begin)
                difference = file.size - source.size
                journal.twin = file
                yield file.fsync_content
                self._check_twin()
                moved = self._move_away(source, files.archived_path(ms))
                if moved:
                    yield partial(journal.disk.fsync_dir, files.spool)
                self._check_twin()
                file.rename(files.pack_path(ms))
            except BaseException:
                if journal.twin is file:
                    journal.twin = None
                self._abandon()
                if moved and not self.cancelled:
                    self._begin_anew(source)
                raise
            dropped = void
        finally:
            if void:
                journal.release_pending(dropped)
        self.replaced = files.all()
        files.replace(self.replaced, file)
        journal.replace_file(file)
        journal.suspect = None
        self._switched(source, begin, file, difference)
        yield from self._put_in_place(files.current_path())

    def _pieces(self):
        yield from self._open_pieces()
        for item in self._taken_items():
            yield addition(item, self._journal.keep_deliveries)

    def _look_at(self, source):
        """Somebody may have cut the current file: then what he left is all there is of it, and it is appended to that."""
        if source.is_open() and source.length() < source.size:
            self._journal.disk.log.error('%s was cut by somebody else: %d bytes of %d are there; it is written anew',
                                         shown_path(source.path), source.length(), source.size)
            source.cut(source.length())

    def _move_away(self, source, path):
        """-> false if somebody has removed the current file: the new one restores it."""
        try:
            source.rename(path)
        except FileNotFoundError:
            self._journal.disk.log.error('%s has vanished; it is written anew', shown_path(source.path))
            return False
        return True

    def _begin_anew(self, source):
        """The rewrite failed when the current file had its archived name already: then it is a rotation."""
        try:
            self._journal.replace_file(self._journal.files.follow(source))
            self._journal.sync_rotated()
        except OSError as error:
            # The old file goes on under its new name, which a start reads as well.
            self._journal.disk.log.error('journal of queue %s: cannot begin a new file: %s', self._journal.shown_name(),
                                         error.strerror)


class Restore(Replacement):
    """A file that somebody removed or renamed, written again from what is still open.

    file      AppendFile, of the journal's files, open
    restored  called on the hub with (old file, new file) when the new one has the place of the old one
    """

    def __init__(self, journal, file, restored):
        super().__init__(journal, (), ())
        self._lost = file
        self._restored = restored

    def steps(self):
        journal = self._journal
        files = journal.files
        lost = self._lost
        is_current = lost is journal.file
        files.pinned = lost
        self.temporary = file = journal.disk.create(files.temporary_path(files.new_ms()))
        try:
            yield from self._copy_growing(lost, 0)
            if is_current:
                journal.twin = file
            yield file.fsync_content
            if is_current:
                self._check_twin()
            file.rename(lost.path)
        except BaseException:
            if journal.twin is file:
                journal.twin = None
            self._abandon()
            raise
        finally:
            files.pinned = None
        files.restore(lost, file)
        if is_current:
            journal.replace_file(file)
        self._restored(lost, file)
        yield lost.close
        yield from self._sync_names()


class Pack(Replacement):
    """The items of a checkpoint in the place of all files up to the one that was rotated then (D40).

    file     AppendFile, the last one to be replaced
    content  Checkpoint.content: for items that are gone a placeholder is written, an empty item, because the records
             that remove them stand in later files
    now_ms   int, the add time of placeholders
    """

    def __init__(self, journal, file, content, now_ms):
        opened, self._taken, self._alive, waiting = content
        super().__init__(journal, opened, waiting)
        self._last = file
        self._placeholder = addx_header(Item(b'', now_ms))
        # A void item whose REMOVE is not written yet: should a start find it, it has expired.
        self._void = addx_header(Item(b'', now_ms, 1))

    def steps(self):
        journal = self._journal
        files = journal.files
        ms = files.ms_of(self._last)
        self.temporary = file = journal.disk.create(files.temporary_path(ms))
        try:
            yield self._write
            # The files behind hold the removals that the placeholders are for.
            yield from self._sync_journal()
            if journal.is_pending():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            file.rename(files.pack_path(ms))
        except BaseException:
            self._abandon()
            raise
        count = files.files.index(self._last) + 1
        self.replaced = files.files[:count]
        file.archived = True
        files.replace(self.replaced, file)
        yield from self._put_in_place(files.archived_path(ms))

    def _sync_journal(self):
        job = SyncJob(self._journal.disk, [*self._journal.files.unsynced, self._journal.file])
        try:
            yield job
        except OSError as error:
            self._journal.suspect = error
            raise

    def _pieces(self):
        deliveries = self._journal.keep_deliveries
        yield from self._open_pieces()
        for place in range(self._taken):
            item = self._alive.get(place)
            yield self._placeholder if item is None else addition(item, deliveries)
        for item in self._taken_items():
            yield self._void if item.data is None else addition(item, deliveries)


def _unlink(file):
    try:
        file.unlink()
    except FileNotFoundError:
        pass        # somebody was faster


def _close(file):
    try:
        file.close()
    except OSError:
        pass        # the descriptor is gone all the same, and the file was deleted


def _nothing_more(result, error):
    """Closing files that are deleted has ended: nobody waits for it."""
