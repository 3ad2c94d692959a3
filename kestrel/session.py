"""What one client does to the queues: the same for every protocol.

A session checks whether its client may, counts and times, owns the client's open reads and waits where it must wait.
It knows its connection only as something that can ``park`` until a waiter is woken and ``pause`` to let others run.
"""

from kestrel.errors import AdminDisabled, Blocked, ClientIdRequired, JournalError, Refusal
from kestrel.queue_collection import check_name
from kestrel.read_ids import ReadIds
from kestrel.reads import OpenReads
from kestrel.waiters import Waiter

PUT_AT_ONCE = 64            # items of one request after which others get their turn
MONITORED = 64              # likewise of a monitor


class Services:
    """What all sessions of a server share; ``server.py`` fills it in.

    control   the server: ``reload() -> why not, or None``, ``shutdown()``, ``status() -> str``,
              ``change_status(name) -> why not, or None`` and ``note_foreign(address, protocol)``
    settings  the ``[server]`` settings
    read_ids  read_ids.ReadIds: open reads that any session may confirm
    began     monotonic time of the start, seconds; stopping: no request waits or stores any more
    reads_blocked, writes_blocked   by the status in force (spec queues 11); the server keeps them
    """

    def __init__(self, collection, stats, clock, settings, control, log, memory_limit):
        self.collection = collection
        self.stats = stats
        self.clock = clock
        self.settings = settings
        self.control = control
        self.log = log
        self.memory_limit = memory_limit
        self.read_ids = ReadIds(collection.hub, clock, log)
        self.began = clock.monotonic()
        self.stopping = False
        self.reads_blocked = False
        self.writes_blocked = False


class Session:
    """One client's session; ``number`` of open connections decides about the connection limits (spec memcache 3).

    client_id  str, None if the present request came without one (spec queues 9); memcache and text know none
    """

    def __init__(self, services, connection, number):
        self.services = services
        self.connection = connection
        self.collection = services.collection
        self.stats = services.stats
        self.clock = services.clock
        self.reads = None       # OpenReads from the first open read on: an idle client costs nothing
        settings = services.settings
        self.max_open = settings.max_open_transactions
        limit = settings.connection_limit_refuse_reads
        self.reads_refused = limit is not None and number > limit
        limit = settings.connection_limit_refuse_writes
        self.writes_refused = limit is not None and number > limit
        self.client_id = None
        self.unread = 0         # bytes of the item that was refused last without being read (D6)

    # -- may this client? ------------------------------------------------------------------------------------------

    def check_reads(self, name):
        """Raise Blocked if the status in force blocks reads (spec queues 11) or this client may not read."""
        if self.services.reads_blocked:
            raise self._blocked(name)
        if self.reads_refused:
            raise self._too_many(self.services.settings.connection_limit_refuse_reads)

    def check_writes(self, name):
        """The same of writes; ``name`` is None for those to all queues."""
        if self.services.writes_blocked:
            raise self._blocked(name)
        if self.writes_refused:
            raise self._too_many(self.services.settings.connection_limit_refuse_writes)

    def _blocked(self, name):
        if self.services.reads_blocked:
            if name is None:
                return Blocked(b'SERVER_ERROR server is not available')
            return Blocked(b'SERVER_ERROR queue %b is not available' % name)
        if name is None:
            return Blocked(b'SERVER_ERROR server is read-only')
        return Blocked(b'SERVER_ERROR queue %b is read-only' % name)

    def _too_many(self, limit):
        return Blocked(b'SERVER_ERROR too many connections (limit %d)' % limit)

    def check_dequeue(self, name):
        """Raise ClientIdRequired if only another client id may take from that queue (spec queues 9)."""
        collection = self.collection
        if collection.white_lists and name not in collection.aliases:
            only = collection.settings_of(name).white_list_client_id_for_dequeue
            if only is not None and only != self.client_id:
                raise ClientIdRequired(name)

    def check_enqueue(self, name):
        """Likewise for a put of that name, before any target gets it (D35); children are not asked (spec queues 7)."""
        collection = self.collection
        if collection.white_lists:
            for target, decides in collection.targets(name):
                if decides and b'+' not in target:
                    only = collection.settings_of(target).white_list_client_id_for_enqueue
                    if only is not None and only != self.client_id:
                        raise ClientIdRequired(target)

    def check_admin(self):
        """Raise AdminDisabled if clients may not administrate (D30)."""
        if not self.services.settings.remote_admin:
            raise AdminDisabled

    # -- put -------------------------------------------------------------------------------------------------------

    def put(self, name, data, flags, expiry, durable):
        """Store an item; -> false if the queue refuses it. ``data`` is None for an item refused unread (D6).

        expiry  int, ms since 1970, 0 = never
        Where it must be durable this returns when its fsync has ended (D9). Raises Refusal.
        """
        clock = self.clock
        began = clock.monotonic()
        collection = self.collection
        if collection.routed and name in collection.routed:
            return self._put_to_several(name, data, flags, expiry, durable, began)
        queue = collection.queues.get(name)
        if queue is None:
            queue = collection.need(name)
        if collection.white_lists:
            self.check_enqueue(name)
        stats = self.stats
        stats.cmd_set += 1
        if data is None or self.services.stopping:
            return False
        stored = queue.put(data, flags, expiry, durable)
        if stored is None:
            stored = self._put_in_steps(queue, data, flags, expiry, durable)
        if stored is not True:
            if stored is False:
                return False
            self.connection.wait_for(stored)
            if stored.error is not None:
                raise JournalError(stored.error.why, stored.error.full)
        self._count_put(queue, began, 1)
        return True

    def put_many(self, name, items, expiry):
        """Store items one after the other, each as ``put`` does; all of them are written before the first fsync is waited
        for. -> how many were stored: one that is refused by a limit does not keep the others out.

        items   list of bytes
        expiry  int, ms since 1970, 0 = never

        Raises Refusal; what was stored before stays.
        """
        stored = 0
        commits = []
        error = None
        for start in range(0, len(items), PUT_AT_ONCE):
            if start:
                self.connection.pause()
            try:
                self.check_writes(name)
                stored += self._put_some(name, items[start:start + PUT_AT_ONCE], expiry, commits)
            except Refusal as refusal:
                error = refusal
                break
        self.wait_for_all(commits, error)
        return stored

    def _put_some(self, name, items, expiry, commits):
        """As ``put_many``, without a wait. ``commits`` gets [Commit, queue for the time of the put, when it began]."""
        collection = self.collection
        clock = self.clock
        routed = name in collection.routed
        if not routed:
            queue = collection.need(name)
            if collection.white_lists:
                self.check_enqueue(name)
        stored = 0
        for data in items:
            began = clock.monotonic()
            if routed:
                accepted, error = self._put_to_targets(name, data, 0, expiry, False, began, commits)
                if error is not None:
                    raise error
                stored += accepted
                continue
            self.stats.cmd_set += 1
            if self.services.stopping:
                continue
            answer = queue.put(data, 0, expiry, False)
            if answer is None:
                answer = self._put_in_steps(queue, data, 0, expiry, False)
            if answer is True:
                self._count_put(queue, began, 1)
                stored += 1
            elif answer is not False:
                commits.append((answer, queue, began))
                stored += 1
        return stored

    def put_until_refused(self, name, items, expiry, commits):
        """Store items one after the other, up to the first that is refused. -> how many. They are written together where
        nothing stands against it, and not waited for, see ``wait_for_all``.

        items   list of bytes
        expiry  int, ms since 1970, 0 = never
        The caller has asked ``check_enqueue``. Raises Refusal; what was stored before stays.
        """
        collection = self.collection
        clock = self.clock
        stored = 0
        if name in collection.routed:
            for data in items:
                accepted, error = self._put_to_targets(name, data, 0, expiry, False, clock.monotonic(), commits)
                if error is not None:
                    raise error
                if not accepted:
                    break
                stored += 1
            return stored
        queue = collection.need(name)
        while stored < len(items):
            self.stats.cmd_set += 1
            if self.services.stopping:
                break
            began = clock.monotonic()
            left = items[stored:] if stored else items
            count, commit = queue.put_many(left, expiry)
            while count < 0:
                self.connection.pause()
                count, commit = queue.put_many(left, expiry)
            if count == 0:
                break
            stored += count
            self.stats.cmd_set += count - 1
            if commit is None:
                self._count_put(queue, began, count)
            else:
                commits += [(commit, queue, began)] * count
        return stored

    def _put_to_several(self, name, data, flags, expiry, durable, began):
        """A put to a fanout parent or an alias. -> false if the parent, or a destination of the alias, refuses it.

        All records are written before the first fsync is waited for. Raises JournalError for the first that
        could not be made durable, when all have had their turn (D9).
        """
        commits = []
        accepted, error = self._put_to_targets(name, data, flags, expiry, durable, began, commits)
        self.wait_for_all(commits, error)
        return accepted

    def _put_to_targets(self, name, data, flags, expiry, durable, began, commits):
        """Each target of a name gets an item of its own, whatever becomes of the others. ``commits``: see _put_some.

        -> (bool: those whose refusal counts have accepted it, the first JournalError or None)
        """
        collection = self.collection
        stats = self.stats
        self.check_enqueue(name)
        stats.cmd_set += 1
        refused = data is None or self.services.stopping
        aliased = name in collection.aliases
        if aliased:
            collection.count_put(name, self.unread if data is None else len(data))
        queue = error = None
        accepted = True
        put = 0
        last = None
        for target, decides in collection.targets(name):
            try:
                queue = collection.need(target)
                answer = False if refused else queue.put(data, flags, expiry, durable)
                if answer is None:
                    answer = self._put_in_steps(queue, data, flags, expiry, durable)
            except JournalError as failure:
                error = error or failure
                continue
            if answer is True:
                put += 1
            elif answer is not False:
                if last is not None:
                    commits.append((last, None, 0.0))
                last = answer
            elif decides:
                accepted = False
        timed = accepted and error is None
        if aliased:
            queue = None
        if last is not None:
            # the time of this put ends with the last of its fsyncs
            commits.append((last, queue, began if timed else 0.0))
            stats.total_items += put
        elif timed:
            self._count_put(queue, began, put)
        else:
            stats.total_items += put
        return accepted, error

    def wait_for_all(self, commits, error):
        """Wait for the fsyncs of puts, see ``_put_some``. Raises ``error``, or JournalError for the first that failed."""
        for commit, queue, began in commits:
            self.connection.wait_for(commit)
            if commit.error is not None:
                # one object raised in several greenlets would collect all their tracebacks
                error = error or JournalError(commit.error.why, commit.error.full)
            elif began:
                self._count_put(queue, began, 1)
            else:
                self.stats.total_items += 1
        if error is not None:
            raise error

    def _count_put(self, queue, began, stored):
        """A put is done that began then and has put ``stored`` items. ``queue``: where its time counts besides, None for
        an alias."""
        stats = self.stats
        stats.total_items += stored
        spent = int((self.clock.monotonic() - began) * 1000000)
        stats.set_latency_usec.add(spent)
        if queue is not None:
            queue.stats.set_latency_usec.add(spent)

    def _put_in_steps(self, queue, data, flags, expiry, durable):
        """A put that has to discard so much that others must have their turn meanwhile. -> as PersistentQueue.put."""
        stored = None
        while stored is None:
            self.connection.pause()
            stored = queue.put(data, flags, expiry, durable)
        return stored

    def refuses_size(self, name, size):
        """True if every queue that a put of that name goes to takes no item of that many bytes."""
        targets = self.collection.targets(name)
        for target, _ in targets:
            queue = self.collection.lookup(target)
            if queue is not None:
                if not queue.refuses_size(size):
                    return False
                continue
            limit = self.collection.config.queue(target).max_item_size
            if limit is None or size <= limit:
                return False
        self.unread = size
        return bool(targets)

    # -- get -------------------------------------------------------------------------------------------------------

    def get(self, name, timeout, opening):
        """Take one item out, for good or as an open read of this session. -> Item or None.

        timeout  int, ms to wait for one; 0 or negative: do not wait
        """
        self.stats.cmd_get += 1
        return self._obtain(name, timeout, opening, False, True)

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
        if queue is None:
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

    def peek(self, name, timeout):
        """Look at the head. -> Item or None."""
        self.stats.cmd_peek += 1
        return self._obtain(name, timeout, False, True, False)

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
        while (sent != most or most < 0) and self.open_count(name) < self.max_open and not connection.gone:
            left = deadline - clock.monotonic()
            if left <= 0 or timeout <= 0 or self.services.reads_blocked:
                break
            item = self.monitor_step(name, left * 1000)
            if item is None:
                break
            sent += 1
            yield item
            if sent % MONITORED == 0:
                connection.pause()

    def monitor_step(self, name, timeout, opening=True):
        """One fetch of a monitor, always an open read, or of a thrift get. -> Item or None.

        The caller has asked ``check_dequeue``, once, when the request came (D36).
        """
        self.stats.cmd_monitor_get += 1
        return self._obtain(name, timeout, opening, False, False)

    def _obtain(self, name, timeout, opening, peek, timed):
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
        if collection.white_lists and timed:
            self.check_dequeue(name)
        if queue is None:
            item = None
        else:
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
        look = connection.flush()
        while True:
            if name in self.collection.aliases:
                dismissed = True
                break
            if look:
                queue = self.collection.lookup(name)
                if queue is not None:
                    item = self._fetch(queue, opening, peek)
                    if peek or connection.leaving:
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
                if waiter.woken and connection.leaving:
                    line.wake_one()
                self.collection.forget_line(name)
            if not waiter.woken or connection.leaving or self.collection.line_for(name) is not line:
                # at last: the queue that woke us is deleted; one of the same name may have come since
                dismissed = waiter.dismissed
                self.collection.forget_line(name)
                break
            look = True
        self._count_wait_without_item(name, began, dismissed)
        return None

    def _count_wait_without_item(self, name, began, dismissed):
        """``dismissed``: the queue was deleted or the server stops; that is a miss but no time-out."""
        stats = self.stats
        if self.connection.gone:
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

    def check_flush(self, name):
        """Raise Refusal if this client may not flush that queue."""
        self.check_writes(name)
        if self.collection.lookup(name) is not None:
            self.check_dequeue(name)

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
