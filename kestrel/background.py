"""Periodic work: the expiry sweep of all queues, and a look at their files. And rewrites at the stop."""

import gevent

from kestrel.hub import ONE_TURN
from kestrel.idleness import Idleness
from kestrel.shown import shown_queue

# How often the names of all journal files are looked at, seconds: two system calls a file, LOOKED_AT queues at a time.
LOOK_EVERY = 5.0
LOOKED_AT = 100
# A graceful stop: so many queues are rewritten at a time; it gives up if none gets done for so long, seconds.
REWRITTEN_AT_ONCE = 8
REWRITE_MAY_TAKE = 5.0


class Background:
    """Drops expired items and unused queues every ``frequency`` seconds, None: never (spec queues 5, 6), and restores
    journal files that somebody removed."""

    def __init__(self, services, frequency):
        self.services = services
        self.frequency = frequency
        self.greenlets = []
        self.idleness = Idleness(services.clock)

    def start(self):
        self.greenlets.append(gevent.spawn(self._every, LOOK_EVERY, self.look_at_files))
        if self.frequency:
            self.greenlets.append(gevent.spawn(self._every, self.frequency, self.sweep))
            self.greenlets.append(gevent.spawn(self._every, self.frequency, self.delete_unused_queues))

    def stop(self):
        gevent.killall(self.greenlets)

    def _every(self, seconds, work):
        while True:
            gevent.sleep(seconds)
            try:
                work()
            except Exception:
                self.services.log.exception('%s failed; it is done again in %g s', work.__name__, seconds)

    def look_at_files(self):
        """Free what emptied queues still hold on the disk, and restore lost files."""
        for number, queue in enumerate(list(self.services.collection.queues.values()), 1):
            if queue.compactor is not None:
                queue.compactor.look_if_empty()
            if number % LOOKED_AT == 0:
                gevent.sleep(ONE_TURN)
        self.look_for_lost_files()

    def look_for_lost_files(self):
        """Look at the files of every queue, and begin to write again what is lost. -> [the queues where that has begun]
        """
        begun = []
        for number, queue in enumerate(list(self.services.collection.queues.values()), 1):
            if queue.compactor is not None:
                try:
                    if queue.compactor.look_for_lost_files():
                        begun.append(queue)
                except OSError as error:
                    self.services.log.error('cannot look at the files of queue %s: %s', queue.journal.shown_name(),
                                            error.strerror)
                    break
            if number % LOOKED_AT == 0:
                gevent.sleep(ONE_TURN)
        return begun

    def sweep(self):
        """One sweep of every queue, each at most its ``max_expire_sweep``, in slices."""
        collection = self.services.collection
        run = self.services.clock.now_ms()
        for name in collection.names():
            queue = collection.lookup(name)
            if queue is None:
                continue
            left = queue.max_sweep
            while left > 0:
                dropped = queue.sweep(left, run)
                left -= dropped
                if not dropped:
                    break
                gevent.sleep(ONE_TURN)

    def rewrite_emptied(self, on_step):
        """Rewrite each queue where nothing waits: its file then holds only its open reads (spec queues 13).

        Where that fails the old files stay; where it is not done in time too, or the next start completes it.
        on_step  called after each queue
        """
        monotonic = self.services.clock.monotonic
        left = [queue for queue in self.services.collection.queues.values()
                if queue.compactor is not None and queue.count == 0]
        under_way = {}      # queue -> has its rewrite begun? Another job may have to end first.
        until = monotonic() + REWRITE_MAY_TAKE
        while left or under_way:
            while left and len(under_way) < REWRITTEN_AT_ONCE:
                under_way[left.pop()] = False
            for queue, begun in list(under_way.items()):
                if not begun and queue.compactor.rewrite_emptied():
                    under_way[queue] = True
                if queue.compactor.job is not None:
                    continue
                del under_way[queue]
                until = monotonic() + REWRITE_MAY_TAKE
                on_step()
            if under_way:
                if monotonic() >= until:
                    count = len(left) + len(under_way)
                    self.services.log.warning('stopping: %d empty queues are not rewritten', count)
                    return
                gevent.sleep(0.001)

    def delete_unused_queues(self):
        """Those that nobody has used for their ``max_queue_age`` (D24)."""
        collection = self.services.collection
        for number, queue in enumerate(self.idleness.overdue(list(collection.queues.values())), 1):
            if self.idleness.still_overdue(queue):
                self.services.log.info('queue %s was not used for its max_queue_age and is deleted',
                                       shown_queue(queue.name))
                collection.expire(queue.name)
            if number % LOOKED_AT == 0:
                gevent.sleep(ONE_TURN)
