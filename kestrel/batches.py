"""Puts, gets, confirms and aborts of many items a call, for one session (spec thrift 2-4, D55)."""

from kestrel.errors import Refusal
from kestrel.read_ids import Batch, SharedReads

# What a put takes from its request, and what is written, at a time.
SLICE_ITEMS = 1000
SLICE_BYTES = 262144
# Items of a get, and ids, after which others get their turn.
TURN = 256
# What an item costs in a reply besides its data.
ITEM_HEAD = 19


class Batches:
    """``reads``: the session's SharedReads, which it opens and counts its reads in."""

    def __init__(self, session, ids):
        self.session = session
        self.ids = ids
        self.reads = SharedReads(ids, session.connection.address)
        session.reads = self.reads

    # -- put -------------------------------------------------------------------------------------------------------

    def put(self, name, strings, expiry):
        """Put the items up to the first that is refused. -> how many.

        strings  protocol.thrift.Strings
        expiry   int, ms since 1970, 0 = never
        Returns when all are as durable as they have to be. Raises Refusal; those before stay stored.
        """
        session = self.session
        session.check_writes(name)
        session.collection.check_readable(name)
        session.check_enqueue(name)
        stored = 0
        commits = []
        error = None
        data = strings.take(SLICE_ITEMS, SLICE_BYTES)
        while data:
            try:
                session.check_writes(name)
                added = session.put_until_refused(name, data, expiry, commits)
            except Refusal as refusal:
                error = refusal
                break
            stored += added
            if added < len(data):
                break
            data = strings.take(SLICE_ITEMS, SLICE_BYTES)
            if data:
                session.connection.pause()
        session.wait_for_all(commits, error)
        return stored

    # -- get -------------------------------------------------------------------------------------------------------

    def get(self, name, most, timeout, auto_abort):
        """Take out up to ``most`` items, negative: as many as there are. -> (list of Item, their Batch or None).

        timeout     int, ms to go on for; 0: what is there now, negative: nothing
        auto_abort  int, ms; if positive they are open reads, whose time runs from now on (``put_back`` them if the
                    reply does not reach the client), else they are gone for good
        Also ends when the items are too many for a reply of ``max_request_size``.
        """
        session = self.session
        session.check_reads(name)
        session.collection.check_readable(name)
        session.check_dequeue(name)
        session.stats.cmd_monitor += 1
        items = []
        if timeout < 0 or most == 0:
            return items, None
        if auto_abort <= 0:
            self._collect(name, most, timeout, False, items)
            return items, None
        batch = self.reads.batch = Batch()
        try:
            self._collect(name, most, timeout, True, items)
        except BaseException:
            self.reads.put_back(batch)
            raise
        finally:
            self.reads.batch = None
        # the end may stand unread behind the request
        session.connection.look_for_end()
        if session.connection.leaving:
            self.put_back(batch)
            return [], None
        self.ids.start(batch, auto_abort)
        return items, batch

    def _collect(self, name, most, timeout, opening, items):
        session = self.session
        services = session.services
        connection = session.connection
        clock = session.clock
        deadline = clock.monotonic() + timeout / 1000
        room = services.settings.max_request_size
        left = timeout
        while len(items) != most and room > 0 and not connection.gone and not services.reads_blocked:
            if session.open_count(name) >= session.max_open:
                self.reads.drop_overdue(name)
                if session.open_count(name) >= session.max_open:
                    return
            item = session.monitor_step(name, left, opening)
            if item is None:
                return
            items.append(item)
            room -= len(item.data) + ITEM_HEAD
            if len(items) % TURN == 0:
                connection.pause()
            if timeout > 0:
                left = (deadline - clock.monotonic()) * 1000
                if left <= 0:
                    return

    def put_back(self, batch):
        """The client is gone without its reply: its reads go back at once (D55)."""
        self.session.stats.cmd_get_open_dropped += self.reads.put_back(batch)

    # -- confirm, abort --------------------------------------------------------------------------------------------

    def confirm(self, numbers):
        """Confirm the reads with these ids, protocol.thrift.Numbers. -> how many were known; with sync_journal = 0
        when that is durable (D63)."""
        connection = self.session.connection
        known = 0
        commits = []
        while numbers.left:
            found, waited = self.ids.confirm(numbers.take(TURN), connection.address)
            known += found
            commits += waited
            if numbers.left:
                connection.pause()
        for commit in commits:
            connection.wait_for(commit)
        return known

    def abort(self, numbers):
        """Put the reads with these ids back. -> how many were known."""
        connection = self.session.connection
        known = []
        while numbers.left:
            for number in numbers.take(TURN):
                if number in self.ids.by_id:
                    known.append(number)
                else:
                    self.ids.tell_unknown(connection.address, 'abort', number)
            if numbers.left:
                connection.pause()
        return self.ids.abort(known, connection.address)
