"""What the model of the queues (``model``) is made of: configurations, items, open reads, clients, queues."""

from collections import Counter

DEFAULTS = {
    'max_items': None, 'max_size': None, 'max_item_size': None, 'max_age': None, 'discard_old_when_full': False,
    'expire_to_queue': None, 'max_expire_sweep': None, 'fanout_only': False, 'max_queue_age': None,
    'open_transaction_timeout': None, 'max_deliveries': None, 'dead_letter_queue': None, 'keep_journal': True,
    'white_list_client_id_for_dequeue': None, 'white_list_client_id_for_enqueue': None,
}


class Refused(Exception):
    """A request that gets an error: one of the names of D1's table, and what stands in its text."""

    def __init__(self, why, *shown):
        super().__init__(why, *shown)
        self.why = why
        self.shown = shown


class Configuration:
    """A configuration file: ``default``, ``queues`` {name: settings}, ``aliases`` {name: destinations}."""

    def __init__(self, default, queues, aliases):
        self.default = default
        self.queues = queues
        self.aliases = aliases

    def of(self, name):
        """The settings of a queue (config 5)."""
        parent, plus, _ = name.partition(b'+')
        inherited = self.of(parent) if plus else {**DEFAULTS, **self.default}
        return {**inherited, **self.queues.get(name, {})}


class Item:
    def __init__(self, data, flags, added, expiry):
        self.data = data
        self.flags = flags
        self.added = added
        self.expiry = expiry        # 0: never
        self.deliveries = 0         # how often it was put back


class Read:
    """An open read. ``back``: it went back, or its queue is gone, so its owner can do nothing to it any more."""

    def __init__(self, queue, item, due):
        self.queue = queue
        self.item = item
        self.due = due              # None: it has no timeout
        self.id = None              # of one of the thrift port
        self.back = False


class Wait:
    def __init__(self, client, name):
        self.client = client
        self.name = name
        self.woken = False


class Client:
    """A connection: ``reads`` {name: [Read], oldest first}, ``out`` its replies, ``task`` what runs or waits."""

    def __init__(self, protocol, number, reads_refused, writes_refused):
        self.protocol = protocol
        self.number = number
        self.reads_refused = reads_refused
        self.writes_refused = writes_refused
        self.reads = {}
        self.out = b''
        self.task = None
        self.wait = None
        self.open = True
        self.closing = False        # after this request
        self.leaving = self.gone = False

    def open_count(self, name):
        reads = self.reads.get(name, ())
        if self.protocol.shares_reads:
            # what went back by itself counts no longer (D55)
            reads = [read for read in reads if not read.back]
        return len(reads)

    def oldest(self, name):
        """Take the oldest open read of that name out of the list."""
        read = self.reads[name].pop(0)
        if not self.reads[name]:
            del self.reads[name]
        return read


class Queue:
    def __init__(self, name, settings, items):
        self.name = name
        self.settings = settings
        self.items = items
        self.opened = []            # Reads, oldest first
        self.deleted = False
        self.numbers = Counter()    # its statistics
        self.taken = 0              # add time of the item taken out last
        self.used = True            # since the last background run
        self.unused_since = None
        self.fires = None           # when it is looked whether reads are overdue

    def limit(self, key):
        value = self.settings[key]
        return float('inf') if value is None else value

    def size(self):
        return sum(len(item.data) for item in self.items)

    def stores_nothing(self):
        return self.settings['fanout_only'] and b'+' not in self.name

    def is_full(self):
        return len(self.items) >= self.limit('max_items') or self.size() >= self.limit('max_size')

    def has_expired(self, item, wall):
        """queues 5: the expiry in force lies before now."""
        return 0 < item.expiry < wall or item.added + self.limit('max_age') < wall
