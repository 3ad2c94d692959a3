"""When the open reads of one queue go back by themselves (``open_transaction_timeout``, D8)."""

from collections import OrderedDict

from kestrel.hub import ONE_TURN

# Reads that are due within so many seconds go back together, so that they keep their order; at most so late.
GATHERED = 0.03


class Deadlines:
    """The open reads of a queue that have a deadline. Adding, forgetting and taking the first is O(1) each.

    queue    its ``return_in_steps`` gets the xids that are overdue, the newest first
    hub      its ``call_later`` is the timer, one for the queue
    timeout  microseconds for the reads opened from now on, None: they stay open

    Reads of one timeout are due in the order in which they were opened: each has a line of its own, and only
    a reload makes a second one.

    overdue  xids that went back, but still stand in the list of whoever opened them. Until its owner lets go
             of such a number nobody else gets it: what the owner does to it must not hit another read.
    """

    def __init__(self, queue, hub, clock):
        self.queue = queue
        self.hub = hub
        self.clock = clock
        self.timeout = None
        self.overdue = set()
        self.lines = {}             # timeout -> OrderedDict: xid -> (deadline, number)
        self.opened = 0
        self.fires_at = None        # monotonic, None: no timer runs
        self.timer = 0              # the number of the timer that counts, earlier ones are void

    def __len__(self):
        return sum([len(line) for line in self.lines.values()])

    def add(self, xid):
        """A read was opened."""
        timeout = self.timeout
        if timeout is None:
            return
        line = self.lines.get(timeout)
        if line is None:
            self.lines[timeout] = line = OrderedDict()
        self.opened += 1
        deadline = self.clock.monotonic() + timeout / 1000000
        line[xid] = deadline, self.opened
        if self.fires_at is None or deadline + GATHERED < self.fires_at:
            self._start(deadline)

    def forget(self, xid):
        """Its owner is done with a read. -> true if it had gone back before."""
        if xid in self.overdue:
            self.overdue.remove(xid)
            return True
        for timeout, line in self.lines.items():
            if line.pop(xid, None) is not None:
                if not line and timeout != self.timeout:
                    del self.lines[timeout]
                break
        return False

    def close(self):
        """The queue is gone: its timer does nothing any more."""
        self.queue = None
        self.lines = {}
        self.overdue = set()
        self.fires_at = None

    def _start(self, deadline):
        self.timer += 1
        self.fires_at = deadline + GATHERED
        self.hub.call_later(max(self.fires_at - self.clock.monotonic(), 0), self._fire, self.timer)

    def _fire(self, timer):
        if timer != self.timer or self.queue is None:
            return
        self.fires_at = None
        due = self._take_due(self.clock.monotonic())
        if due:
            self.overdue.update(due)
            opened = self.queue.opened
            self._return(self.queue.return_in_steps([xid for xid in due if xid in opened]))
        firsts = [next(iter(line.values()))[0] for line in self.lines.values() if line]
        if firsts:
            self._start(min(firsts))

    def _return(self, steps):
        for _ in steps:
            self.hub.call_later(ONE_TURN, self._return, steps)
            return

    def _take_due(self, now):
        """-> the xids that are due, the newest first."""
        due = []
        for timeout, line in list(self.lines.items()):
            while line:
                xid, (deadline, number) = next(iter(line.items()))
                if deadline > now:
                    break
                del line[xid]
                due.append((number, xid))
            if not line and timeout != self.timeout:
                del self.lines[timeout]
        return [xid for _, xid in sorted(due, reverse=True)]
