"""What one client does to the queues: the same for every protocol.

A session checks whether its client may, counts and times, owns the client's open reads and waits where it must wait.
It knows its connection only as something that can ``park`` until a waiter is woken and ``pause`` to let others run.
"""

from kestrel.errors import AdminDisabled, Blocked, ClientIdRequired, JournalError
from kestrel.queue_collection import check_name
from kestrel.read_ids import ReadIds
from kestrel.reads import OpenReads
from kestrel.waiters import Waiter


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
        if stored is not True:
            if stored is False:
                return False
            self.connection.wait_for(stored)
            if stored.error is not None:
                raise JournalError(stored.error.why, stored.error.full)
        stats.total_items += 1
        spent = int((clock.monotonic() - began) * 1000000)
        stats.set_latency_usec.add(spent)
        queue.stats.set_latency_usec.add(spent)
        return True

    def _put_to_several(self, name, data, flags, expiry, durable, began):
        """A put to a fanout parent or an alias: each target gets an item of its own, whatever becomes of the
        others. -> false if the parent, or a destination of the alias, refuses it.

        All records are written before the first fsync is waited for. Raises JournalError for the first that
        could not be made durable, when all have had their turn (D9).
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
        commits = []
        for target, decides in collection.targets(name):
            try:
                queue = collection.need(target)
                stored = False if refused else queue.put(data, flags, expiry, durable)
            except JournalError as failure:
                error = error or failure
                continue
            if stored is True:
                stats.total_items += 1
            elif stored is not False:
                commits.append(stored)
            elif decides:
                accepted = False
        for commit in commits:
            self.connection.wait_for(commit)
            if commit.error is None:
                stats.total_items += 1
            else:
                error = error or commit.error
        if error is not None:
            raise JournalError(error.why, error.full)
        if accepted:
            spent = int((self.clock.monotonic() - began) * 1000000)
            stats.set_latency_usec.add(spent)
            if not aliased:
                queue.stats.set_latency_usec.add(spent)
        return accepted

    def put_many(self, name, data, expiry, waited):
        """Store the items, a list of bytes, one after the other up to the first that is refused. -> how many.

        waited  list that gets ``(Commit, how many items)``: what is to be waited for before anybody is told (D9)
        The caller has asked ``check_enqueue``. Raises JournalError; what was stored before stays.
        """
        collection = self.collection
        stats = self.stats
        stored = 0
        if collection.routed and name in collection.routed:
            for word in data:
                if not self.put(name, word, 0, expiry, False):
                    break
                stored += 1
            return stored
        if self.services.stopping:
            stats.cmd_set += 1
            return 0
        clock = self.clock
        began = clock.monotonic()
        queue = collection.need(name)
        try:
            while stored < len(data):
                count, commit = queue.put_many(data[stored:] if stored else data, expiry)
                if count == 0:
                    break
                stored += count
                if commit is None:
                    stats.total_items += count
                else:
                    waited.append((commit, count))
        finally:
            stats.cmd_set += stored if stored == len(data) else stored + 1
        if stored:
            spent = int((clock.monotonic() - began) * 1000000) // stored
            for _ in range(stored):
                stats.set_latency_usec.add(spent)
                queue.stats.set_latency_usec.add(spent)
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

    def peek(self, name, timeout):
        """Look at the head. -> Item or None."""
        self.stats.cmd_peek += 1
        return self._obtain(name, timeout, False, True, False)

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
            self.stats.cmd_get_open_dropped += self.reads.abort_all()
