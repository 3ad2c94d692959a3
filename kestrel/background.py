"""Periodic work: the expiry sweep of all queues."""

import gevent


class Background:
    """Drops expired items every ``frequency`` seconds (spec queues 5)."""

    def __init__(self, services, frequency):
        self.services = services
        self.frequency = frequency
        self.greenlet = None

    def start(self):
        self.greenlet = gevent.spawn(self._run)

    def stop(self):
        if self.greenlet is not None:
            self.greenlet.kill()

    def _run(self):
        while True:
            gevent.sleep(self.frequency)
            try:
                self.sweep()
            except Exception:
                self.services.log.exception('the background sweep failed; it goes on at its next turn')

    def sweep(self):
        """One sweep of every queue, each at most its ``max_expire_sweep``, in slices."""
        collection = self.services.collection
        for name in collection.names():
            queue = collection.lookup(name)
            if queue is None:
                continue
            left = queue.max_sweep
            while left > 0:
                dropped = queue.sweep(left)
                left -= dropped
                if not dropped:
                    break
                gevent.sleep(0)
