"""The open reads of one session."""

from collections import deque


class OpenReads:
    """Per queue name, the reads this session holds open, oldest first (spec memcache 5).

    An entry is ``(queue, xid)``: the queue *instance*, so that after a deletion and re-creation of the name an old
    read cannot hit somebody else's (D53).
    """

    def __init__(self):
        self.by_name = {}

    def add(self, name, queue, xid):
        entries = self.by_name.get(name)
        if entries is None:
            self.by_name[name] = entries = deque()
        entries.append((queue, xid))

    def count(self, name):
        entries = self.by_name.get(name)
        return 0 if entries is None else len(entries)

    def confirm_oldest(self, name, count):
        """Confirm up to ``count`` reads. -> how many there were to confirm."""
        done = 0
        while done < count:
            entry = self._pop_oldest(name)
            if entry is None:
                break
            entry[0].confirm(entry[1])
            done += 1
        return done

    def abort_oldest(self, name):
        """Put the oldest read of that queue back at its head, if there is one."""
        entry = self._pop_oldest(name)
        if entry is not None:
            entry[0].unremove(entry[1])

    def abort_all(self):
        """Put everything back, the newest first, so that each queue has its old order again (D7). -> how many."""
        by_name, self.by_name = self.by_name, {}
        put_back = 0
        for entries in by_name.values():
            while entries:
                queue, xid = entries.pop()
                if queue.unremove(xid):
                    put_back += 1
        return put_back

    def _pop_oldest(self, name):
        entries = self.by_name.get(name)
        if entries is None:
            return None
        entry = entries.popleft()
        if not entries:
            # a name costs memory only while something of it is open
            del self.by_name[name]
        return entry
