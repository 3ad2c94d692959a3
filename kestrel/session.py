"""What one client does to the queues: the same for every protocol.

A session checks whether its client may (``access``), puts (``puts``), counts and times, owns the client's open reads and
waits where it must wait. It knows its connection only as something that can ``park`` until a waiter is woken and
``pause`` to let others run.
"""

from kestrel.puts import Puts
from kestrel.queue_collection import check_name
from kestrel.reads import OpenReads
from kestrel.waiters import Waiter

MONITORED = 64              # items of a monitor after which others get their turn


class Session(Puts):
    """One client's session; ``number`` of open connections: see Access."""

    def __init__(self, services, connection, number):
        super().__init__(services, connection, number)
        self.reads = None       # OpenReads from the first open read on: an idle client costs nothing
        # Is a client that has ended its input still there for replies? (D61; not on the thrift port)
        self.half_closes = True
        self.max_open = services.settings.max_open_transactions

    # -- get -------------------------------------------------------------------------------------------------------

    def get(self, name, timeout, opening, allowed=False):
        """Take one item out, for good or as an open read of this session. -> Item or None.

        timeout  int, ms to wait for one; 0 or negative: do not wait
        allowed  the caller has asked ``check_dequeue``, when the request came (D36)
        """
        self.stats.cmd_get += 1
        return self._obtain(name, timeout, opening, False, True, allowed)

    def get_next(self, name):
        """Confirm the oldest open read of that queue and open its next item: what a consumer does again and again, so the
        journal gets both by one write. -> Item; None: nothing was done, ``confirm`` and ``get`` are to be called.
        """
        collection = self.collection
        services = self.services
        if (self.reads is None or self.reads_refused or services.reads_blocked or collection.white_lists
                or collection.aliases and name in collection.aliases):
            return None
        queue = collection.queues.get(name)
        if queue is None or queue.waiters.woken:
            return None
        clock = self.clock
        began = clock.monotonic()
        now = clock.now_ms()
        item = self.reads.take_next(name, queue, now)
        if item is None:
            return None
        stats = self.stats
        stats.cmd_get += 1
        stats.get_hits += 1
        queue.stats.get_items_hit += 1
        stats.delivery_latency_msec.add(now - item.add_time)
        spent = int((clock.monotonic() - began) * 1000000)
        stats.get_hit_latency_usec.add(spent)
        queue.stats.get_hit_latency_usec.add(spent)
        return item

    def subscribe(self, name):
        """Set a child queue up that is about to be asked for: this is how a consumer subscribes to a fanout (D14). Raises
        Refusal."""
        collection = self.collection
        if name not in collection.queues and b'+' in name and name not in collection.aliases:
            collection.need(name)

    def peek(self, name, timeout):
        """Look at the head. -> Item or None."""
        self.stats.cmd_peek += 1
        return self._obtain(name, timeout, False, True, False, True)

    def monitor(self, name, timeout, most):
        """Yield items as open reads, each as soon as it is there, until ``timeout`` ms have passed, ``most`` are yielded
        (negative: no limit of its own) or as many are open as may be (spec memcache 4.4). Raises Refusal."""
        self.check_reads(name)
        self.collection.check_readable(name)
        self.check_dequeue(name)
        self.stats.cmd_monitor += 1
        clock = self.clock
        connection = self.connection
        deadline = clock.monotonic() + timeout / 1000
        sent = 0
        queue = None
        while (sent != most or most < 0) and self.open_count(name) < self.max_open and not connection.gone:
            left = deadline - clock.monotonic()
            if (left <= 0 or timeout <= 0 or self.services.reads_blocked or self.services.stopping
                    or queue is not None and queue.closed):
                break
            item = self.monitor_step(name, left * 1000)
            if item is None:
                break
            queue = self.collection.lookup(name)
            sent += 1
            yield item
            if sent % MONITORED == 0:
                connection.pause()

    def monitor_step(self, name, timeout, opening=True):
        """One fetch of a monitor, always an open read, or of a thrift get. -> Item or None.

        The caller has asked ``check_dequeue``, once, when the request came (D36).
        """
        self.stats.cmd_monitor_get += 1
        return self._obtain(name, timeout, opening, False, False, True)

    def _obtain(self, name, timeout, opening, peek, timed, allowed):
        clock = self.clock
        began = clock.monotonic()
        collection = self.collection
        if collection.aliases and name in collection.aliases:
            return None
        queue = collection.queues.get(name)
        if queue is None and b'+' in name:
            # this is how a consumer subscribes to a fanout (D14)
            queue = collection.need(name)
        if queue is None:
            check_name(name)
        if collection.white_lists and not allowed:
            self.check_dequeue(name)
        item = None
        if queue is not None and (peek or not queue.waiters.woken or self._let_them_look(queue.waiters)):
            item = self._fetch(queue, opening, peek)
        stats = self.stats
        if item is None and timeout > 0 and not self.services.stopping and (queue is None or not queue.closed):
            return self._wait(name, began, timeout, opening, peek)
        spent = int((clock.monotonic() - began) * 1000000)
        if item is None:
            stats.get_misses += 1
            if timed:
                stats.get_miss_latency_usec.add(spent)
            if queue is not None:
                queue.stats.get_items_miss += 1
                if timed:
                    queue.stats.get_miss_latency_usec.add(spent)
            return None
        stats.get_hits += 1
        queue.stats.get_items_hit += 1
        if timed:
            stats.get_hit_latency_usec.add(spent)
            queue.stats.get_hit_latency_usec.add(spent)
        return item

    def _let_them_look(self, line):
        """Those who wait were first: what has come since is theirs. -> false: the client is gone meanwhile."""
        for _ in range(line.woken):
            self.connection.pause()
            if not line.woken:
                break
        return not self.connection.gone

    def _fetch(self, queue, opening, peek):
        """The head of the queue, expired ones swept away before it, or None."""
        now = self.clock.now_ms()
        while queue.stale(now):
            dropped = queue.sweep(queue.max_sweep)
            now = self.clock.now_ms()
            if queue.stale(now):
                if not dropped:
                    # it cannot be moved to where it is to go (D51)
                    return None
                self.connection.pause()
                if self.connection.gone:
                    return None
                now = self.clock.now_ms()
        if peek:
            return queue.head()
        item = queue.take(opening, now)
        if item is not None:
            self.stats.delivery_latency_msec.add(now - item.add_time)
            if opening:
                if self.reads is None:
                    self.reads = OpenReads(self.services.log, self.connection.address)
                self.reads.add(queue.name, queue, item.xid)
        return item

    def _wait(self, name, began, timeout, opening, peek):
        """Stand in line until there is an item or ``timeout`` ms have passed since ``began``. -> Item or None.

        An item that comes for a client that is gone, or whose input has ended (D61), goes to the next in line. A
        peek takes its look and passes the wake-up on (D54).
        """
        connection = self.connection
        deadline = began + timeout / 1000
        dismissed = False
        # Nobody stands in line while its replies are on their way to a slow reader: it could not take the item it
        # is woken for, and those behind it would wait on.
        queue = self.collection.lookup(name)
        look = connection.flush() and not connection.gone
        if look and queue is not None and queue.waiters.woken:
            look = self._let_them_look(queue.waiters)
        if look and queue is not None and queue.closed:
            self._count_wait_without_item(name, began, True)
            return None
        while True:
            if name in self.collection.aliases:
                dismissed = True
                break
            if look:
                queue = self.collection.lookup(name)
                if queue is not None:
                    item = self._fetch(queue, opening, peek)
                    if peek and item is not None or connection.leaving:
                        queue.waiters.wake_one()
                    if item is not None:
                        self.stats.get_hits += 1
                        queue.stats.get_items_hit += 1
                        return item
                    if queue.closed:
                        dismissed = True
                        break
            line = self.collection.line_for(name)
            waiter = Waiter(connection)
            line.join(waiter)
            try:
                connection.park(waiter, deadline)
            finally:
                line.leave(waiter)
                if waiter.woken:
                    line.woken -= 1
                if waiter.woken and connection.leaving:
                    line.wake_one()
                self.collection.forget_line(name)
            if not waiter.woken or connection.leaving or self.collection.line_for(name) is not line:
                # at last: the queue that woke us is deleted; one of the same name may have come since
                dismissed = waiter.dismissed or waiter.woken and not connection.leaving
                self.collection.forget_line(name)
                break
            look = True
        self._count_wait_without_item(name, began, dismissed)
        return None

    def _count_wait_without_item(self, name, began, dismissed):
        """``dismissed``: the queue was deleted or the server stops; that is a miss but no time-out."""
        stats = self.stats
        connection = self.connection
        if connection.gone or (connection.leaving and not self.half_closes and not dismissed
                               and not self.services.stopping):
            stats.waiters_aborted += 1
            return
        waited = int((self.clock.monotonic() - began) * 1000)
        stats.get_misses += 1
        if not dismissed:
            stats.get_timeout_msec.add(waited)
        queue = self.collection.lookup(name)
        if queue is not None:
            queue.stats.get_items_miss += 1
            if not dismissed:
                queue.stats.get_timeout_msec.add(waited)

    # -- open reads ------------------------------------------------------------------------------------------------

    def open_count(self, name):
        """How many reads of that queue this session holds open."""
        return 0 if self.reads is None else self.reads.count(name)

    def confirm(self, name, count):
        """Confirm the ``count`` oldest open reads of that queue; with sync_journal = 0 this returns when that is
        durable (D63)."""
        if self.reads is not None:
            commit = self.reads.confirm_oldest(name, count)
            if commit is not None:
                self.connection.wait_for(commit)

    def confirm_all(self, name):
        """Confirm all open reads of that queue."""
        if self.reads is not None:
            self.confirm(name, self.reads.count(name))

    def abort(self, name):
        """Put the oldest open read of that queue back."""
        if self.reads is not None:
            self.reads.abort_oldest(name)

    # -- the others ------------------------------------------------------------------------------------------------

    def delete(self, name):
        """Delete the queue of that name. Nothing happens to an alias, nor to the queue that it hides."""
        if name not in self.collection.aliases:
            self._free(self.collection.delete(name))

    def flush(self, name):
        """Remove the items that wait now; open reads stay open (D57)."""
        queue = self._unmasked(name)
        if queue is not None:
            queue.stats.total_flushes += 1
            self._free(queue.flush())

    def _unmasked(self, name):
        """The queue of that name, None if there is none or an alias hides it."""
        return None if name in self.collection.aliases else self.collection.lookup(name)

    def _free(self, items):
        """Let go of the items of a queue: a million at once would block the hub for 100 ms."""
        while items:
            for _ in range(min(len(items), 1000)):
                items.pop()
            if items:
                self.connection.pause()

    def flush_all(self):
        for name in self.collection.names():
            self.flush(name)

    def flush_expired(self, name, run=0):
        """One sweep of at most ``max_expire_sweep`` items. -> how many were dropped. ``run``: see PersistentQueue.sweep."""
        queue = self._unmasked(name)
        if queue is None:
            return 0
        dropped = 0
        while dropped < queue.max_sweep:
            step = queue.sweep(queue.max_sweep - dropped, run)
            dropped += step
            if step == 0 or not queue.stale(self.clock.now_ms()):
                break
            self.connection.pause()
        return dropped

    def flush_all_expired(self):
        run = self.clock.now_ms()
        return sum([self.flush_expired(name, run) for name in self.collection.names()])

    def close(self):
        """The client is gone: all its open reads go back."""
        if self.reads is not None:
            self.stats.cmd_get_open_dropped += self.reads.abort_all(self.connection.pause)
