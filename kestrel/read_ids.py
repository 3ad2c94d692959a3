"""Open reads with ids that any connection may confirm or abort, and that go back by themselves (spec thrift 3, 4).

The ids are those of the server; the xid of a read is a number of its queue's journal.
"""

from heapq import heapify, heappop, heappush

from kestrel.deadlines import GATHERED
from kestrel.log import peer
from kestrel.ration import Ration
from kestrel.reads import OpenReads
from kestrel.shown import shown_queue

# With so many ids known those of deleted queues are looked for.
LOOKED_THROUGH = 100
# A timer that is set anew for an earlier read cannot be taken back: it runs no longer than this, seconds.
LONGEST_TIMER = 60.0
# So many lines a minute about ids that are not open: a client that is always late would fill the log.
UNKNOWN_TOLD = 10


class Held:
    """What one session holds open of one queue: it counts for ``max_open_transactions`` of that session (D55)."""

    __slots__ = ('name', 'queue', 'ids', 'owner')

    def __init__(self, name, queue, owner):
        self.name = name
        self.queue = queue
        self.ids = set()
        self.owner = owner          # {name: Held} of the session

    def discard(self, number):
        self.ids.discard(number)
        if not self.ids and self.owner.get(self.name) is self:
            # a name costs memory only while something of it is open
            del self.owner[self.name]


class Batch:
    """The reads of one get. ``left``: how many of its ``ids`` are known still; ``timed``: its time runs."""

    __slots__ = ('ids', 'left', 'timed')

    def __init__(self):
        self.ids = []
        self.left = 0
        self.timed = False


class ReadIds:
    """All ids of a server: from 1 on, never used again until a restart.

    hub  its ``call_later`` is the timer, one for all
    log  where reads of queues with ``enable_trace`` are logged
    """

    def __init__(self, hub, clock, log):
        self.hub = hub
        self.clock = clock
        self.log = log
        self.unknown = Ration(log, clock, UNKNOWN_TOLD)
        self.last = 0
        self.by_id = {}             # id -> (Held, xid, Batch)
        self.look_at = LOOKED_THROUGH
        self.timed = []             # heap of (monotonic time when they go back, number, Batch)
        self.over = 0               # how many of those have no known id any more
        self.started = 0
        self.fires_at = None
        self.timer = 0              # the number of the timer that counts, earlier ones are void

    def register(self, held, xid, batch):
        """A read was opened. -> its id."""
        self.last += 1
        number = self.last
        self.by_id[number] = held, xid, batch
        held.ids.add(number)
        batch.ids.append(number)
        batch.left += 1
        if len(self.by_id) > self.look_at:
            self._forget_void()
        return number

    def _forget_void(self):
        """Ids whose queue is deleted are of no use (D53), and keep it in memory until their time is over: weeks, if a client
        asks for that. Looked for when the ids have doubled, which costs each of them the same."""
        for number in [number for number, entry in self.by_id.items() if entry[0].queue.closed]:
            self.forget(number)
        self.look_at = max(LOOKED_THROUGH, 2 * len(self.by_id))

    def start(self, batch, milliseconds):
        """The reply with these reads is ready: in so many ms those that are still open go back."""
        if not batch.left:
            return
        batch.timed = True
        self.started += 1
        deadline = self.clock.monotonic() + milliseconds / 1000
        heappush(self.timed, (deadline, self.started, batch))
        if self.fires_at is None or deadline + GATHERED < self.fires_at:
            self._set_timer(deadline)

    def forget(self, number):
        """That id is unknown from now on. -> (queue, xid) of its read, None if it was not open (any more)."""
        entry = self.by_id.pop(number, None)
        if entry is None:
            return None
        held, xid, batch = entry
        held.discard(number)
        batch.left -= 1
        if batch.timed and not batch.left:
            self.over += 1
            if self.over > 100 and self.over > len(self.timed) // 2:
                # a client may ask for weeks, and confirm at once
                self.timed = [timed for timed in self.timed if timed[2].left]
                heapify(self.timed)
                self.over = 0
        queue = held.queue
        if queue.closed or queue.deadlines is not None and queue.deadlines.forget(xid):
            return None
        return queue, xid

    def confirm(self, numbers, who):
        """-> (how many of the ids were known, list of the Commits that the answer waits for). ``who``, an
        address, is for the log."""
        known = 0
        commits = []
        for queue, xids in self._by_queue(numbers, 'confirm', who):
            known += len(xids)
            commit = queue.confirm_many(xids)
            if commit is not None:
                commits.append(commit)
        return known, commits

    def abort(self, numbers, who):
        """Put the reads back, in the order of their queues. -> how many of the ids were known. ``who``: None if their time
        is over."""
        known = 0
        # in each queue the newest first (D7)
        for queue, xids in self._by_queue(sorted(numbers, reverse=True), 'abort', who):
            known += len(xids)
            queue.unremove_many(xids)
        return known

    def _by_queue(self, numbers, what, who):
        """Forget the ids. -> iterable of (queue, [xid]) of those that were known, in the order of the numbers. The
        others are logged (spec queues 10)."""
        found = {}
        for number in numbers:
            read = self.forget(number)
            if read is not None:
                queue, xid = read
                if queue.traces:
                    self.trace(who, what, queue, xid)
                found.setdefault(queue, []).append(xid)
            elif who:
                self.tell_unknown(who, what, number)
        return found.items()

    def tell_unknown(self, who, what, number):
        self.unknown.warning('%s: %s of id %d, which is not open, or not any more', peer(who), what, number)

    def trace(self, who, what, queue, xid):
        self.log.info('%s: %s queue %s xid %d', peer(who) if who else 'auto_abort_msec', what, shown_queue(queue.name), xid)

    def _set_timer(self, deadline):
        self.timer += 1
        seconds = min(max(deadline + GATHERED - self.clock.monotonic(), 0.0), LONGEST_TIMER)
        self.fires_at = self.clock.monotonic() + seconds
        self.hub.call_later(seconds, self._fire, self.timer)

    def _fire(self, timer):
        if timer != self.timer:
            return
        self.fires_at = None
        now = self.clock.monotonic()
        due = []
        while self.timed and (self.timed[0][0] <= now or not self.timed[0][2].left):
            batch = heappop(self.timed)[2]
            if batch.left:
                batch.timed = False
                due += [number for number in batch.ids if number in self.by_id]
            else:
                self.over -= 1
        if due:
            self.abort(due, None)
        if self.timed:
            self._set_timer(self.timed[0][0])


class SharedReads(OpenReads):
    """The open reads of one session, each with an id. They stay when the session ends.

    ids    ReadIds of the server
    batch  what reads are opened for, None: the session does not open any now
    """

    def __init__(self, ids, who):
        super().__init__(ids.log, who)
        self.ids = ids
        self.batch = None

    def add(self, name, queue, xid):
        held = self.by_name.get(name)
        if held is None or held.queue is not queue:
            self.by_name[name] = held = Held(name, queue, self.by_name)
        if queue.traces:
            self.ids.trace(self.who, 'open', queue, xid)
        self.ids.register(held, xid, self.batch)

    def count(self, name):
        held = self.by_name.get(name)
        return 0 if held is None or held.queue.closed else len(held.ids)

    def held(self, queue):
        held = self.by_name.get(queue.name)
        if held is None or held.queue is not queue:
            return []
        return [self.ids.by_id[number][1] for number in sorted(held.ids)]

    def drop_overdue(self, name):
        """Those that went back by ``open_transaction_timeout`` count no longer (D8, D55)."""
        held = self.by_name.get(name)
        if held is not None and held.queue.deadlines is not None:
            overdue = held.queue.deadlines.overdue
            for number in [number for number in held.ids if self.ids.by_id[number][1] in overdue]:
                self.ids.forget(number)

    def put_back(self, batch):
        """The client cannot get the reply to which these belong. -> how many were open."""
        return self.ids.abort(batch.ids, self.who)

    def abort_all(self, pause):
        """The session ends: its reads wait for whoever has their ids."""
        return 0
