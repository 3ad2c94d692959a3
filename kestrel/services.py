"""What the sessions of a server share."""

from kestrel.read_ids import ReadIds


class Services:
    """What all sessions of a server share; ``server.py`` fills it in.

    control   the server: ``reload() -> why not, or None``, ``shutdown()``, ``status() -> str``,
              ``change_status(name) -> why not, or None`` and ``note_foreign(address, protocol)``
    settings  the ``[server]`` settings
    read_ids  read_ids.ReadIds: open reads that any session may confirm
    began     monotonic time of the start, seconds; began_ms: the same by the wall clock, ms since 1970; stopping: no request waits or stores any more
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
        self.began_ms = clock.now_ms()
        self.stopping = False
        self.reads_blocked = False
        self.writes_blocked = False
