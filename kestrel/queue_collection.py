"""All queues of a server, by name: which there are, and where a put goes (fanout, aliases)."""

from bisect import insort
from functools import partial

from kestrel.aliased_queue import AliasedQueue
from kestrel.compactor import Compactor
from kestrel.errors import BadName, JournalError
from kestrel.journal import recovery
from kestrel.journal.journal import Journal
from kestrel.mover import Mover
from kestrel.persistent_queue import PersistentQueue
from kestrel.ration import Ration
from kestrel.shown import shown_queue
from kestrel.stats import QueueStats
from kestrel.waiters import Waiters

BAD_NAME = b'CLIENT_ERROR bad queue name'
NAME_TOO_LONG = b'CLIENT_ERROR queue name too long'
LONGEST_NAME = 236          # name + "." + 13 digits + ".pack" is a file name of at most 255 bytes (D34)
# So many lines a minute about reads that are ended too late: a client that is always late would fill the log.
LATE_TOLD = 10
_FORBIDDEN = (b'.', b'/', b'~', b'\0', b'\r')


def check_name(name):
    """Raise BadName unless a queue of that name can exist (spec queues 1, D34)."""
    for byte in _FORBIDDEN:
        if byte in name:
            raise BadName(BAD_NAME)
    parent, plus, child = name.partition(b'+')
    if not parent or plus and not child:
        raise BadName(BAD_NAME)
    if len(name.decode('latin-1').encode('utf-8')) > LONGEST_NAME:
        raise BadName(NAME_TOO_LONG)


def check_no_cr(name):
    """Raise BadName for a name with a CR: bad even where no queue need exist (D34)."""
    if b'\r' in name:
        raise BadName(BAD_NAME)


class QueueCollection:
    """Finds, creates and deletes queues; loads them from the spool.

    config    config.Config; ``configure`` takes a new one at reload
    queues    {name: PersistentQueue}, those that an alias hides included
    aliases   {name: aliased_queue.AliasedQueue}
    children  {parent: [names of its fanout children, sorted]}, of each that has or had one, there or not
    routed    the names whose puts do not simply go to the queue of that name: what ``targets`` is for
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
        self.aliases = {}
        self.children = {}
        self.routed = set()
        # may any queue be for one client id only
        self.white_lists = config.has_white_lists()
        # queues whose files were left alone at the start (D56): until the next one they have no journal
        self.left_alone = set()
        # lines of clients that wait for a name that is no queue yet (D14)
        self.expected = {}
        self.late_reads = Ration(log, clock, LATE_TOLD)

    # -- start, reload, stop ---------------------------------------------------------------------------------------

    def load(self, spool, on_replay=None):
        """Set up every queue with a file in the spool (a path, bytes), then those of the configuration (D25).

        on_replay  called for each block of a journal with the number of the queue, that of all queues, its name, and the bytes
        """
        self.spool = spool
        started = []
        found = sorted(recovery.scan(self.disk, self.spool, self.log).items())
        for number, (name, files) in enumerate(found, 1):
            settings = self.config.queue(name)
            if not settings.keep_journal:
                self._leave_alone(name, 'keep_journal is false')
                continue
            on_read = partial(on_replay, number, len(found), name) if on_replay else None
            recovered = recovery.recover(self.disk, self.clock, self.log, files, settings.max_memory_size,
                                         settings.max_deliveries, on_read, True)
            self._set_up_by_name(name, settings, recovered)
            started.append((self.queues[name], recovered.begun))
        self._set_up_configured(self.config)
        self._set_aliases(self.config)
        for queue, begun in started:
            queue.fill()
            if begun is not None:
                queue.compactor.check_state(begun)
        for queue in list(self.queues.values()):
            if queue.opened:
                queue.mover.bury_found()

    def _leave_alone(self, name, why):
        self.left_alone.add(name)
        self.log.warning('queue %s: %s: its journal files are left alone', shown_queue(name), why)

    def _set_up_configured(self, config):
        """Set up the queues that are configured and not there yet. Raises JournalError with none of them set up."""
        new = []
        parents = set(self.children)
        try:
            for name in config.queues:
                if name not in self.queues:
                    self._set_up_by_name(name, config.queue(name), None)
                    new.append(name)
        except JournalError:
            for name in new:
                self._undo(name)
            for parent in self.children.keys() - parents:
                del self.children[parent]
                self._route(parent)
            raise

    def _set_up_by_name(self, name, settings, recovered):
        """For an operator, who has asked for no queue in particular: JournalError says which one it is."""
        try:
            self._set_up(name, settings, recovered)
        except JournalError as error:
            why = 'queue %s cannot be set up: %s' % (name.decode('latin-1'), error.why)
            raise JournalError(why, error.full) from error

    def _undo(self, name):
        """Take back a set-up that nobody has seen; who waits for the name goes on waiting."""
        queue = self.queues.pop(name)
        self._leave_parent(name)
        self.stats.queue_creates -= 1
        line, queue.waiters = queue.waiters, Waiters()
        if len(line):
            self.expected[name] = line
        queue.delete()

    def configure(self, config):
        """Apply a reloaded configuration to every queue (spec queues 14). Raises JournalError, nothing changed."""
        self._set_up_configured(config)
        self.config = config
        self.white_lists = config.has_white_lists()
        for name, queue in self.queues.items():
            queue.configure(config.queue(name))
        self._set_aliases(config)

    def _set_aliases(self, config):
        """Have the aliases of the configuration, no others (D50). Waits for a name that becomes one end."""
        old, self.aliases = self.aliases, {}
        for name, destinations in config.aliases.items():
            alias = self.aliases[name] = old.get(name) or AliasedQueue(destinations, self.clock)
            alias.destinations = destinations
            if name not in old:
                self.line_for(name).dismiss_all()
                self.forget_line(name)
        for name in {*old, *self.aliases}:
            self._route(name)
        masked = sorted(self.aliases.keys() & self.queues.keys())
        if masked:
            self.log.warning('queue name(s) masked by alias(es): %s', b', '.join(masked).decode('latin-1'))

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
        """The queue of that name, created at its first put. Raises BadName, JournalError."""
        queue = self.queues.get(name)
        if queue is None:
            check_name(name)
            queue = self._set_up(name, self.config.queue(name), None)
        return queue

    def settings_of(self, name):
        """The settings in force of a queue, or those that it would get."""
        queue = self.queues.get(name)
        return self.config.queue(name) if queue is None else queue.settings

    def check_readable(self, name):
        """Raise BadName unless a queue of that name exists or could."""
        if name not in self.queues:
            check_name(name)

    def _set_up(self, name, settings, recovered):
        journal = None
        if settings.keep_journal and name in self.left_alone:
            # a reload says so: what is put now must not go behind the records of then
            settings = settings.replaced(keep_journal=False)
        if settings.keep_journal:
            journal = Journal(self.disk, self.clock, self.hub, self.syncer, self.spool, name, settings.sync_journal,
                              recovered, self._count_journal_error)
        waiters = self.expected.pop(name, None)
        if waiters is None:
            waiters = Waiters()
        queue = PersistentQueue(name, settings, journal, recovered, self.clock, waiters, QueueStats(),
                                self.hub)
        queue.mover = Mover(queue, self.need, self.log)
        queue.late_reads = self.late_reads
        if journal is not None:
            queue.compactor = Compactor(queue, journal, self.clock)
        self.queues[name] = queue
        self._join_parent(name)
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

    def lines(self):
        """-> iterable of (name, Waiters) of all names for which somebody may wait."""
        for name, queue in list(self.queues.items()):
            yield name, queue.waiters
        yield from list(self.expected.items())

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
        self._leave_parent(name)
        if self.children.get(name) == []:
            del self.children[name]
            self._route(name)
        self.stats.queue_deletes += 1
        return queue.delete()

    def expire(self, name):
        """Delete a queue that nobody has used for long; it is empty."""
        self.delete(name)
        self.stats.queue_expires += 1

    def names(self):
        """-> list of bytes, sorted."""
        return sorted(self.queues)

    def names_with_aliases(self):
        """-> list of bytes, sorted."""
        return sorted({*self.queues, *self.aliases})

    # -- fanout, aliases ------------------------------------------------------------------------------------

    def targets(self, name):
        """Where a put of that name goes (spec queues 7, 8). -> [(queue name, is its refusal that of the put?)], in
        the order of the puts.

        A copy for a child goes straight into the queue of that name, also where an alias hides it.
        """
        alias = self.aliases.get(name)
        if alias is None:
            return [(child, False) for child in self.children.get(name, ())] + [(name, True)]
        found = []
        for destination in alias.destinations:
            found += self.targets(destination)
        return found

    def count_put(self, name, size):
        """Count an item of that many bytes in each alias that a put of that name passes."""
        alias = self.aliases.get(name)
        if alias is not None:
            alias.count_put(size)
            for destination in alias.destinations:
                self.count_put(destination, size)

    def _join_parent(self, name):
        """A queue is there: if it is a child, what is put to its parent is copied to it from now on."""
        parent, plus, _ = name.partition(b'+')
        if plus:
            insort(self.children.setdefault(parent, []), name)
            self._route(parent)

    def _leave_parent(self, name):
        """A queue is gone. That a parent had children is forgotten with the parent."""
        parent, plus, _ = name.partition(b'+')
        if plus:
            self.children[parent].remove(name)
            if not self.children[parent] and parent not in self.queues:
                del self.children[parent]
                self._route(parent)

    def _route(self, name):
        if name in self.aliases or name in self.children:
            self.routed.add(name)
        else:
            self.routed.discard(name)
