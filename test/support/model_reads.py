"""The open reads of the model of the queues (``model``): confirm, put back, what happens when their time is over."""

import itertools

from kestrel.deadlines import GATHERED

from support.model_parts import Read

# So much later than its timeout an open read goes back; at most 100 ms (D8).
LATE = round(GATHERED * 1000)


class OpenReads:
    """``ids`` {id: Read}, of the whole server; ``batches`` [(when they are due, [Read])], reads of one thrift get each.
    """

    def begin_ids(self):
        self.numbers_of_ids = itertools.count(1)
        self.ids = {}
        self.batches = []
        self.batches_fire = None    # when it is looked whether some are due

    def open(self, client, queue, item):
        queue.numbers['transactions'] += 1
        timeout = queue.settings['open_transaction_timeout']
        read = Read(queue, item, None if timeout is None else self.now + timeout)
        queue.opened.append(read)
        client.reads.setdefault(queue.name, []).append(read)
        if client.protocol.shares_reads:
            read.id = next(self.numbers_of_ids)
            self.ids[read.id] = read
        if timeout is not None:
            self.look_at(queue, read.due + LATE)

    def confirm(self, client, name, count):
        for _ in range(count):
            read = client.oldest(name)
            if not read.back:
                read.queue.opened.remove(read)
                read.queue.used = True

    def abort(self, client, name):
        if client.open_count(name):
            read = client.oldest(name)
            self.unremove(read.queue, [read])

    def unremove(self, queue, reads):
        """Open reads go back, given newest first (queues 10, D18)."""
        reads = [read for read in reads if not read.back]
        items = []
        for read in reversed(reads):
            read.back = True
            queue.opened.remove(read)
            items.append(read.item)
        queue.used = queue.used or bool(items)
        queue.numbers['canceled_transactions'] += len(items)
        most = queue.limit('max_deliveries')
        kept = self.bury(queue, [item for item in items if item.deliveries + 1 >= most])
        self.put_back(queue, [item for item in items if item in kept or item.deliveries + 1 < most])

    def put_back(self, queue, items):
        """To the head, in this order."""
        for item in items:
            item.deliveries += 1
        queue.items[:0] = items
        self.wake(queue.name, len(items))

    def bury(self, queue, items, at_start=False):
        """Items that were put back too often go to the dead letter queue. -> those that it refuses."""
        target = queue.settings['dead_letter_queue']
        refused = []
        for item in items:
            if target is None:
                queue.numbers['discarded'] += 1
                if at_start:
                    continue        # no dead letter (D18)
            elif self.need(target).stores_nothing() or not self.store(self.need(target), item.data, item.flags, 0, moved=True):
                refused.append(item)
                continue
            queue.numbers['dead_letters'] += 1
        return refused

    def look_at(self, queue, when):
        if queue.fires is None or when < queue.fires:
            queue.fires = when
            self.at(when, self.time_out, queue)

    def time_out(self, queue):
        """D8: reads that are overdue go back by themselves; their owners keep their places in the lists."""
        if queue.fires != self.now or queue.deleted:
            return
        queue.fires = None
        timed = [read for read in queue.opened if read.due is not None]
        due = [read for read in timed if read.due <= self.now]
        if due:
            self.unremove(queue, due[::-1])
        left = [read.due for read in timed if not read.back]
        if left:
            self.look_at(queue, min(left) + LATE)

    # -- reads with ids (thrift 3, 4, D55) -------------------------------------------------------------------------

    def known(self, ids):
        """The reads with these ids that are open, oldest first. What has gone back by itself is unknown."""
        found = [self.ids.pop(number) for number in sorted(ids) if number in self.ids]
        return [read for read in found if not read.back]

    def confirm_ids(self, ids):
        reads = self.known(ids)
        for read in reads:
            read.back = True
            read.queue.opened.remove(read)
            read.queue.used = True
        return len(reads)

    def abort_ids(self, ids):
        reads = self.known(ids)[::-1]
        for queue in dict.fromkeys([read.queue for read in reads]):
            self.unremove(queue, [read for read in reads if read.queue is queue])
        return len(reads)

    def let_run(self, reads, timeout):
        """The reply with these reads is ready: their time begins."""
        if reads:
            due = self.now + timeout
            self.batches.append((due, reads))
            if self.batches_fire is None or due + LATE < self.batches_fire:
                self.look_at_batches(due + LATE)

    def look_at_batches(self, when):
        self.batches_fire = when
        self.at(when, self.time_out_batches)

    def time_out_batches(self):
        if self.batches_fire != self.now:
            return
        self.batches_fire = None
        over = [batch for batch in self.batches if batch[0] <= self.now]
        self.batches = [batch for batch in self.batches if batch not in over]
        self.abort_ids([read.id for _, reads in over for read in reads])
        if self.batches:
            self.look_at_batches(min(due for due, _ in self.batches) + LATE)
