"""A start of the server's queues on a spool, within the test's own process: no network, no time that passes."""

from kestrel.queue_collection import QueueCollection
from kestrel.report import queue_lines
from kestrel.stats import ServerStats
from support.fakes import FakeConfig
from support.spool import SpoolTest


class StartTest(SpoolTest):
    """Of ``queues`` {name, bytes: settings that differ} and ``default``, settings of all queues, see support.fakes."""

    def start(self, queues=None, **default):
        """Load the spool; -> QueueCollection. Raises StartError."""
        config = FakeConfig(queues, keep_journal=True, **default)
        collection = QueueCollection(self.disk, self.hub, self.syncer, self.clock, ServerStats(), config, self.logger)
        collection.load(self.spool)
        return collection

    def stop(self, collection):
        """Close the files, as a stop of the server does."""
        for queue in collection.queues.values():
            queue.close()

    def start_and_stop(self, *arguments, **default):
        self.stop(self.start(*arguments, **default))

    @staticmethod
    def numbers(queue):
        """{key: value} of what ``stats`` says of a queue, str."""
        return {key.decode(): value.decode() for key, value in queue_lines(queue)}

    def drain(self, queue, expired=False):
        """Take everything out, as plain gets do; -> list of Item. ``expired``: with what has expired."""
        taken = []
        while True:
            now = self.clock.now_ms()
            while not expired and queue.stale(now):
                queue.sweep(1000)
            item = queue.take(False, now)
            if item is None:
                return taken
            taken.append(item)
