"""All queues of a server, by name."""

from kestrel.compactor import Compactor
from kestrel.errors import JournalError, RequestError
from kestrel.journal import recovery
from kestrel.journal.journal import Journal
from kestrel.mover import Mover
from kestrel.persistent_queue import PersistentQueue
from kestrel.stats import QueueStats
from kestrel.waiters import Waiters

BAD_NAME = b'CLIENT_ERROR bad queue name'
NAME_TOO_LONG = b'CLIENT_ERROR queue name too long'
LONGEST_NAME = 236          # name + "." + 13 digits + ".pack" is a file name of at most 255 bytes (D34)
_FORBIDDEN = (b'.', b'/', b'~', b'\0', b'\r')


def check_name(name):
    """Raise RequestError unless a queue of that name can exist (spec queues 1, D34)."""
    for byte in _FORBIDDEN:
        if byte in name:
            raise RequestError(BAD_NAME)
    parent, plus, child = name.partition(b'+')
    if not parent or plus and not child:
        raise RequestError(BAD_NAME)
    if len(name.decode('latin-1').encode('utf-8')) > LONGEST_NAME:
        raise RequestError(NAME_TOO_LONG)
    check_not_fanout(name)


def check_no_cr(name):
    """Raise RequestError for a name with a CR: bad even where no queue need exist (D34)."""
    if b'\r' in name:
        raise RequestError(BAD_NAME)


def check_not_fanout(name):
    """Raise RequestError for the name of a fanout child.

    Fanout (spec queues 7) belongs into this module: a collection knows the children of a parent and feeds them.
    """
    parent, _, child = name.partition(b'+')
    if parent and child:
        raise RequestError(b'SERVER_ERROR fanout queues are not supported yet: ' + name)


class QueueCollection:
    """Finds, creates and deletes queues; loads them from the spool.

    config  config.Config; ``configure`` takes a new one at reload
    """

    def __init__(self, disk, hub, syncer, clock, stats, config, log):
        self.spool = None
        self.disk = disk
        self.hub = hub
        self.syncer = syncer
        self.clock = clock
        self.stats = stats
        self.config = config
        self.log = log
        self.queues = {}
        # lines of clients that wait for a name that is no queue yet (D14)
        self.expected = {}

    # -- start, reload, stop ---------------------------------------------------------------------------------------

    def load(self, spool):
        """Set up every queue with a file in the spool (a path, bytes), then those of the configuration (D25)."""
        self.spool = spool
        for name, files in sorted(recovery.scan(self.disk, self.spool, self.log).items()):
            settings = self.config.queue(name)
            if b'+' in name:
                self._leave_alone(name, 'fanout queues are not supported yet')
                continue
            if not settings.keep_journal:
                self._leave_alone(name, 'keep_journal is false')
                continue
            recovered = recovery.recover(self.disk, self.clock, self.log, files, settings.max_memory_size,
                                         settings.max_deliveries)
            self._set_up(name, settings, recovered)
        self._set_up_configured(self.config)
        for queue in list(self.queues.values()):
            if queue.opened:
                queue.mover.bury_found()

    def _leave_alone(self, name, why):
        self.log.warning('queue %s: %s: its journal files are left alone', name.decode('latin-1'), why)

    def _set_up_configured(self, config):
        """Set up the queues that are configured and not there yet. Raises JournalError with none of them set up."""
        new = []
        try:
            for name in config.queues:
                if name not in self.queues and b'+' not in name:
                    self._set_up(name, config.queue(name), None)
                    new.append(name)
        except JournalError:
            for name in new:
                self._undo(name)
            raise

    def _undo(self, name):
        """Take back a set-up that nobody has seen; who waits for the name goes on waiting."""
        queue = self.queues.pop(name)
        self.stats.queue_creates -= 1
        line, queue.waiters = queue.waiters, Waiters()
        if len(line):
            self.expected[name] = line
        queue.delete()

    def configure(self, config):
        """Apply a reloaded configuration to every queue (spec queues 14). Raises JournalError, nothing changed."""
        self._set_up_configured(config)
        self.config = config
        for name, queue in self.queues.items():
            queue.configure(config.queue(name))

    def dismiss_waiters(self):
        """Answer everybody who waits "no item" (D46)."""
        for line in list(self.expected.values()):
            line.dismiss_all()
        for queue in self.queues.values():
            queue.waiters.dismiss_all()

    # -- queues ----------------------------------------------------------------------------------------------------

    def lookup(self, name):
        """-> PersistentQueue, or None if there is none of that name."""
        return self.queues.get(name)

    def need(self, name):
        """The queue of that name, created at its first put. Raises RequestError, JournalError."""
        queue = self.queues.get(name)
        if queue is None:
            check_name(name)
            queue = self._set_up(name, self.config.queue(name), None)
        return queue

    def check_readable(self, name):
        """Raise RequestError unless a queue of that name exists or could."""
        if name not in self.queues:
            check_name(name)

    def _set_up(self, name, settings, recovered):
        journal = None
        if settings.keep_journal:
            journal = Journal(self.disk, self.clock, self.hub, self.syncer, self.spool, name, settings.sync_journal,
                              recovered, self._count_journal_error)
        waiters = self.expected.pop(name, None)
        if waiters is None:
            waiters = Waiters()
        queue = PersistentQueue(name, settings, journal, recovered, self.clock, waiters, QueueStats(),
                                self.hub)
        queue.mover = Mover(queue, self.need, self.log)
        if journal is not None:
            queue.compactor = Compactor(queue, journal, self.clock)
        self.queues[name] = queue
        self.stats.queue_creates += 1
        return queue

    def _count_journal_error(self):
        self.stats.journal_errors += 1

    def line_for(self, name):
        """The line of waiters of a name, whether it is a queue or may become one."""
        queue = self.queues.get(name)
        if queue is not None:
            return queue.waiters
        line = self.expected.get(name)
        if line is None:
            self.expected[name] = line = Waiters()
        return line

    def forget_line(self, name):
        """Drop the line of a name that is no queue once nobody stands in it."""
        line = self.expected.get(name)
        if line is not None and not len(line):
            del self.expected[name]

    def delete(self, name):
        """Delete a queue, or end the waits for a name that is none. -> its items (to be freed in slices), or None."""
        line = self.expected.pop(name, None)
        if line is not None:
            line.dismiss_all()
        queue = self.queues.pop(name, None)
        if queue is None:
            return None
        self.stats.queue_deletes += 1
        return queue.delete()

    def expire(self, name):
        """Delete a queue that nobody has used for long; it is empty."""
        self.delete(name)
        self.stats.queue_expires += 1

    def names(self):
        """-> list of bytes, sorted."""
        return sorted(self.queues)
