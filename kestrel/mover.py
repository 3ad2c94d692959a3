"""Moves items of one queue to the tail of another: expired ones (``expire_to_queue``, D51), those that were put back
too often (``dead_letter_queue``, D18), and those that an operator moves."""

from kestrel.errors import JournalError, Refusal
from kestrel.shown import shown_queue

# What one step moves at most: each item is a write of its own.
MOVED_ITEMS = 100
MOVED_BYTES = 1048576
# So many may be on their way to a target whose fsync they wait for.
HELD = 10000
# How often the log says that a target refuses items, seconds.
TOLD_EVERY = 60
# Why an item is moved.
EXPIRED = 'expired'
DEAD = 'dead'
ASKED = 'asked'


class Mover:
    """For one queue; like its methods these here never switch greenlets.

    An item is written to the target first. Then it leaves the queue: with a REMOVE, or with the CONFIRM_REMOVE
    of a read. If it enters the target only after an fsync, it is held as an open read of nobody's until that has
    succeeded; the next start would put it back.

    find   name -> PersistentQueue, created if need be; raises BadName, JournalError
    stuck  the expired head cannot be moved, so nothing behind it can be had
    """

    def __init__(self, queue, find, log):
        self.queue = queue
        self.find = find
        self.log = log
        self.stuck = False
        self.failed = False         # an fsync did, since the last step
        self.receiving = False
        self.starting = False       # what a start left open is buried
        self.moving = None          # the Moving that waits for the newest fsync
        self.held = 0
        self.returned = 0           # of those that an operator moved: went back, because an fsync failed
        self.refused = 0            # not told yet
        self.silent = False         # it was told less than TOLD_EVERY ago
        self.kept_told = None       # when the log last said that a dead letter was refused, seconds

    def receive(self, item, durable, expiry=0):
        """Append a copy of an item of another queue, as a put with that expiry does. -> as PersistentQueue.put, never None.

        What has expired here stays meanwhile: two queues that expire into each other must not go on for ever.
        """
        self.receiving = True
        try:
            accepted = None
            while accepted is None:
                accepted = self.queue.put(item.data, item.flags, expiry, durable)
            return accepted
        finally:
            self.receiving = False

    # -- expired items --------------------------------------------------------------------------------------

    def move_expired(self, now, limit):
        """Move items from the head while it is expired, one step. -> how many left the queue."""
        if self.receiving:
            return 0
        if self.failed:
            self.failed = False
            self.stuck = True
            return 0
        queue = self.queue
        name = queue.settings.expire_to_queue
        was_stuck, self.stuck = self.stuck, False
        written = left = size = 0
        target = None
        try:
            while left < min(limit, MOVED_ITEMS) and size < MOVED_BYTES and queue.stale(now):
                if self.held >= HELD:
                    self.stuck = True
                    break
                if target is None:
                    # only now: where nothing has expired no queue is created
                    target = self._target(name)
                item = queue.items[0]
                accepted = target.mover.receive(item, False)
                left += 1
                size += len(item.data)
                if accepted is False:
                    self._refused(name)
                if accepted is True or accepted is False:
                    queue.pop_head()
                    written += 1
                    continue
                # its record says which item is at the head: the REMOVEs of those before it come first
                self._remove(written)
                written = 0
                self._hold(queue.hold_head(), accepted, EXPIRED)
        except Refusal as error:
            self.stuck = True
            if not was_stuck:
                self.log.error('queue %s: expired items cannot be moved to queue %s: %s; they stay until they'
                               ' can', shown_queue(queue.name), shown_queue(name), reason(error))
        finally:
            self._remove(written)
        queue.stats.expired_items += left
        if was_stuck and not self.stuck and not queue.stale(now):
            queue.wake(len(queue.items))
        return left

    def _target(self, name):
        target = self.find(name)
        if target.closed or target is self.queue:
            raise JournalError('it is closed')
        return target

    def _storing_target(self, name):
        target = self._target(name)
        if target.fanout_only:
            raise JournalError('it is fanout_only and stores nothing')
        return target

    def _remove(self, count):
        if count and self.queue.journal is not None:
            self.queue.journal.remove(count)

    def _refused(self, name):
        self.refused += 1
        if not self.silent:
            self._tell(name)

    def _tell(self, name):
        self.silent = self.refused > 0
        if self.silent:
            self.log.warning('queue %s: %d expired items are dropped, queue %s refuses them: it is full, or'
                             ' they are too large', shown_queue(self.queue.name), self.refused, shown_queue(name))
            self.refused = 0
            self.queue.hub.call_later(TOLD_EVERY, self._tell, name)

    # -- dead letters ---------------------------------------------------------------------------------------

    def bury(self, xids):
        """Of open reads that would go back, the newest first, take those away whose ``max_deliveries`` that makes
        full. Stops after each step, so that others may run. -> the xids that do go back."""
        queue = self.queue
        least = queue.max_deliveries - 1
        poison = {xid for xid in xids if queue.opened[xid].deliveries >= least}
        kept = set()
        gone = []
        written = size = 0
        for xid in reversed(xids):
            if xid not in poison:
                continue
            if written >= MOVED_ITEMS or size >= MOVED_BYTES:
                self._bury_all(gone)
                gone = []
                written = size = 0
                yield
            if queue.closed:
                return []
            item = queue.opened[xid]
            accepted = self._bury(item)
            written += 1
            size += len(item.data)
            if accepted is False:
                kept.add(xid)
            elif accepted is True:
                gone.append(xid)
            else:
                self._hold(xid, accepted, DEAD)
        self._bury_all(gone)
        return [xid for xid in xids if xid not in poison or xid in kept]

    def _bury_all(self, xids):
        """What their copies are written for leaves, or what is dropped."""
        self.queue.let_go(xids)
        if not self.starting or self.queue.settings.dead_letter_queue is not None:
            self.queue.stats.dead_letters += len(xids)

    def bury_found(self):
        """What a start left open is poison; what cannot be buried goes back. Nothing counts that as canceled, and what is
        dropped is no dead letter (D18)."""
        self.starting = True
        try:
            for _ in self._bury_found():
                pass
        finally:
            self.starting = False

    def _bury_found(self):
        queue = self.queue
        kept = yield from self.bury(sorted(queue.opened, reverse=True))
        queue.put_back(kept)

    def _bury(self, item):
        queue = self.queue
        name = queue.settings.dead_letter_queue
        if name is None:
            queue.stats.discarded += 1
            return True
        try:
            accepted = self._storing_target(name).mover.receive(item, queue.settings.sync_journal == 0)
        except Refusal as error:
            self._tell_kept(name, reason(error))
            return False
        if accepted is False:
            self._tell_kept(name, 'it is full, or the item is too large')
        return accepted

    def _tell_kept(self, name, why):
        now = self.queue.clock.monotonic()
        if self.kept_told is None or now - self.kept_told >= TOLD_EVERY:
            self.kept_told = now
            self.log.warning('queue %s: items of too many deliveries go back, queue %s refuses them: %s',
                             shown_queue(self.queue.name), shown_queue(name), why)

    # -- what an operator moves ---------------------------------------------------------------------------------

    def move_heads(self, name, limit):
        """Move items from the head to the queue of that name, with their flags and expiry, at most ``limit`` and at most
        one step. -> how many; 0 although there are some: as many as may be wait for an fsync of the target.

        Each leaves by a record of its own: a crash between the two leaves one item in both queues, none in neither.
        Raises Refusal: the head stays, and nothing was moved by this call.
        """
        queue = self.queue
        target = self._storing_target(name)
        durable = queue.settings.sync_journal == 0
        moved = size = 0
        while moved < min(limit, MOVED_ITEMS) and size < MOVED_BYTES and self.held < HELD:
            item = queue.head()
            if item is None:
                break
            try:
                if queue.journal is not None and queue.journal.is_choked():
                    raise JournalError('the journal of queue %s cannot be written' % shown(queue.name))
                accepted = target.mover.receive(item, durable, item.expiry)
                if accepted is False:
                    raise JournalError('it is full, or the item is too large')
            except JournalError:
                if moved:
                    break
                raise
            moved += 1
            size += len(item.data)
            if accepted is True:
                self._remove(1)
                queue.pop_head()
            else:
                self._hold(queue.hold_head(), accepted, ASKED)
        if moved and queue.journal is not None and queue.journal.total() >= queue.compact_from:
            queue.compactor.look()
        return moved

    # -- targets that wait for an fsync ---------------------------------------------------------------------

    def _hold(self, xid, commit, kind):
        moving = self.moving
        if moving is None or moving.commit is not commit or moving.kind != kind:
            self.moving = Moving(self, commit, kind)
            commit.join(self.moving)
        self.moving.xids.append(xid)
        self.held += 1

    def moved(self, moving):
        """An fsync has ended: what waited for it is gone for good, or goes back, the newest first."""
        if self.moving is moving:
            self.moving = None
        self.held -= len(moving.xids)
        queue = self.queue
        if queue.closed:
            return
        if moving.commit.error is None:
            queue.let_go(moving.xids)
            if moving.kind == DEAD:
                queue.stats.dead_letters += len(moving.xids)
            return
        moving.xids.reverse()
        put_back = queue.put_back(moving.xids)
        if moving.kind == DEAD:
            self._tell_kept(queue.settings.dead_letter_queue or b'', moving.commit.error.why)
        elif moving.kind == ASKED:
            self.returned += put_back
        else:
            queue.stats.expired_items -= put_back
            self.failed = True


class Moving:
    """Items, held under these xids, that are on their way to a queue where they wait for a Commit.

    kind  EXPIRED, DEAD (put back too often) or ASKED
    """

    def __init__(self, mover, commit, kind):
        self.mover = mover
        self.commit = commit
        self.kind = kind
        self.xids = []

    def committed(self):
        self.mover.moved(self)


def reason(error):
    """Why a JournalError or a BadName came, str."""
    return error.why if isinstance(error, JournalError) else error.line.decode('latin-1')
