"""The open reads of one session."""

from collections import deque

from kestrel.log import peer
from kestrel.shown import shown_queue


class OpenReads:
    """Per queue name, the reads this session holds open, oldest first (spec memcache 5).

    An entry is ``(queue, xid)``: the queue *instance*, so that after a deletion and re-creation of the name an old
    read cannot hit somebody else's (D53).

    log, who  where reads of queues with ``enable_trace`` are logged, and the address of whose they are
    """

    def __init__(self, log, who):
        self.log = log
        self.who = who
        self.by_name = {}

    def _trace(self, what, queue, xid):
        self.log.info('%s: %s queue %s xid %d', peer(self.who), what, shown_queue(queue.name), xid)

    def add(self, name, queue, xid):
        if queue.traces:
            self._trace('open', queue, xid)
        entries = self.by_name.get(name)
        if entries is None:
            self.by_name[name] = entries = deque()
        entries.append((queue, xid))

    def held(self, queue):
        """-> list of the xids of that queue that were opened here, the oldest first."""
        return [xid for holder, xid in self.by_name.get(queue.name, ()) if holder is queue]

    def counts(self):
        """-> {name of a queue: how many reads of it are open here}"""
        return {name: self.count(name) for name in self.by_name}

    def count(self, name):
        entries = self.by_name.get(name)
        return 0 if entries is None else len(entries)

    def confirm_oldest(self, name, count):
        """Confirm up to ``count`` reads. -> the Commit that makes all of them durable, if that is to be waited for, or
        None."""
        if count == 1:
            entry = self._pop_oldest(name)
            if entry is None:
                return None
            queue, xid = entry
            if queue.traces:
                self._trace('confirm', queue, xid)
            return queue.confirm(xid)
        entries = []
        while len(entries) < count and name in self.by_name:
            entries.append(self._pop_oldest(name))
        commit = None
        for queue, xids in self._by_queue(entries, 'confirm'):
            commit = queue.confirm_many(xids) or commit
        return commit

    def take_next(self, name, queue, now):
        """Confirm the oldest read of that queue and open the next item, as PersistentQueue.take_next. -> Item or None."""
        entries = self.by_name.get(name)
        if entries is None or queue.traces:
            return None
        entry = entries[0]
        if entry[0] is not queue:
            return None
        item = queue.take_next(entry[1], now)
        if item is not None:
            entries.popleft()
            entries.append((queue, item.xid))
        return item

    def abort_oldest(self, name):
        """Put the oldest read of that queue back at its head, if there is one."""
        entry = self._pop_oldest(name)
        if entry is not None:
            queue, xid = entry
            if queue.traces:
                self._trace('abort', queue, xid)
            queue.unremove(xid)

    def abort_all(self, pause):
        """Put everything back, the newest first, so that each queue has its old order again (D7). -> how many.

        pause  called where others may have their turn
        """
        by_name, self.by_name = self.by_name, {}
        put_back = 0
        for entries in by_name.values():
            for queue, xids in self._by_queue(reversed(entries), 'abort'):
                xids = queue.still_open(xids)
                put_back += len(xids)
                for _ in queue.return_in_steps(xids):
                    pause()
        return put_back

    def _by_queue(self, entries, what):
        """-> [(queue, [xid])], in the order of the entries: nearly always one, but a name may have been deleted and used
        again."""
        found = []
        for queue, xid in entries:
            if queue.traces:
                self._trace(what, queue, xid)
            if not found or found[-1][0] is not queue:
                found.append((queue, []))
            found[-1][1].append(xid)
        return found

    def _pop_oldest(self, name):
        entries = self.by_name.get(name)
        if entries is None:
            return None
        entry = entries.popleft()
        if not entries:
            # a name costs memory only while something of it is open
            del self.by_name[name]
        return entry
