"""What one client puts: one item, many of one request, to one queue or to several (fanout, aliases)."""

from kestrel.access import Access
from kestrel.errors import JournalError, Refusal

PUT_AT_ONCE = 64            # items of one request after which others get their turn


class Puts(Access):
    """The part of a Session that puts. ``connection``: waits for fsyncs, and pauses to let others run."""

    def __init__(self, services, connection, number):
        super().__init__(services, number)
        self.connection = connection
        self.stats = services.stats
        self.clock = services.clock
        self.unread = 0         # bytes of the item that was refused last without being read (D6)

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
        for, but see ``_put_next``. -> how many were stored: one that is refused by a limit does not keep the others out.

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
        """As ``put_many``. ``commits`` gets (Commit, queue for the time of the put, when it began)."""
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
            count, commit = self._put_next(queue, [data], expiry, commits)
            if count == 0:
                continue
            stored += 1
            if commit is None:
                self._count_put(queue, began, 1)
            else:
                commits.append((commit, queue, began))
        return stored

    def put_until_refused(self, name, items, expiry, commits):
        """Store items one after the other, up to the first that is refused. -> how many. They are written together where
        nothing stands against it, and not waited for, see ``wait_for_all`` (but ``_put_next``).

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
            count, commit = self._put_next(queue, items[stored:] if stored else items, expiry, commits)
            if count == 0:
                break
            stored += count
            self.stats.cmd_set += count - 1
            if commit is None:
                self._count_puts(queue, began, count)
            else:
                commits += [(commit, queue, began)] * count
            if stored < len(items) and queue.stale(clock.now_ms()):
                # the next one sweeps again: others have their turn before
                self.connection.pause()
        return stored

    def may_put_together(self, name):
        """True if nothing is to be asked for each put to this queue, see ``put_together``."""
        collection = self.collection
        return (name in collection.queues and name not in collection.routed and not collection.white_lists
                and not self.services.stopping)

    def put_together(self, name, items):
        """Store the items of requests that came together, without flags and expiry, each as ``put`` does: by one write
        where nothing stands against it, and all of them before the first fsync is waited for.
        -> list, for each item: true, false if the queue refuses it, or the JournalError; shorter than that of the items if
        something has changed while others had their turn: what is missing is not done

        items  list of bytes
        """
        stats = self.stats
        queue = self.collection.queues[name]
        answers = []
        commits = []
        began = self.clock.monotonic()
        while len(answers) < len(items):
            done = len(answers)
            if done and (queue.closed or not self.may_put_together(name) or self.writes_refused
                         or self.services.writes_blocked):
                break
            try:
                step = self._put_step(queue, items[done:] if done else items, 0, commits)
            except JournalError as error:
                stats.cmd_set += 1
                answers.append(error)
                continue
            if step is None:
                continue
            count, commit = step
            stats.cmd_set += max(count, 1)
            if count == 0:
                answers.append(False)
                continue
            answers += [True] * count
            if commit is None:
                self._count_puts(queue, began, count)
            else:
                commits.append((commit, began, done, count))
            began = self.clock.monotonic()
        for commit, began, first, count in commits:
            self.connection.wait_for(commit)
            if commit.error is None:
                self._count_puts(queue, began, count)
            else:
                answers[first:first + count] = [JournalError(commit.error.why, commit.error.full)] * count
        return answers

    def _put_next(self, queue, items, expiry, commits):
        """As PersistentQueue.put_many, but it comes back as often as that takes. ``commits``: of the puts to that queue before
        these, each a tuple that begins with the Commit. Until it is done they count for the limits and cannot be
        discarded: what is refused is tried again then, as if each had been answered before the next came.
        """
        while True:
            step = self._put_step(queue, items, expiry, commits)
            if step is not None:
                return step

    def _put_step(self, queue, items, expiry, commits):
        """-> as ``_put_next``; None if others have had their turn first, and it is to be tried again."""
        count, commit = queue.put_many(items, expiry)
        if count < 0:
            self.connection.pause()
        elif count == 0 and commits and not commits[-1][0].done:
            self.connection.wait_for(commits[-1][0])
        else:
            return count, commit
        return None

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
                # a child that was deleted while those before it were put stays so
                queue = collection.need(target) if decides else collection.lookup(target)
                if queue is None:
                    continue
                answer = False if refused else queue.put(data, flags, expiry, durable)
                if answer is False and commits and not refused:
                    # those before it cannot be discarded until they are done, see ``_put_next``
                    self._wait_for_those_before(commits)
                    queue = collection.need(target) if decides else collection.lookup(target)
                    answer = queue is not None and queue.put(data, flags, expiry, durable)
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

    def _wait_for_those_before(self, commits):
        for commit, _, _ in commits:
            self.connection.wait_for(commit)

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

    def _count_puts(self, queue, began, count):
        """As ``_count_put``, of so many puts of one item each that were done together."""
        stats = self.stats
        stats.total_items += count
        spent = int((self.clock.monotonic() - began) * 1000000)
        for _ in range(count):
            stats.set_latency_usec.add(spent)
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
