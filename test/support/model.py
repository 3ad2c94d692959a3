"""What the queues of a server do, as the specification says it: no files, no network, no hub, nothing fast.

``Model`` holds queues, clients and time. What a client may have to wait for is a generator that yields where it
waits; ``settle`` lets all go on who were told to. The protocols turn requests into calls of these methods and what
they return into replies, see ``model_memcache``. Times are ms: ``now`` never goes back, ``wall`` may.
"""

import itertools
from collections import Counter

from support.model_lines import Lines
from support.model_parts import Client, Item, Queue, Refused
from support.model_reads import OpenReads

TICK = 1000             # the period of the background runs, and when the first of them is
FIRST_TICK = 250
STRICTNESS = {'up': 1, 'writeavoid': 2, 'readonly': 3, 'quiescent': 4}


class Model(Lines, OpenReads):
    """``server``: the [server] settings that matter, ``configuration``: that of the file."""

    def __init__(self, server, configuration, wall):
        self.server = server
        self.configuration = configuration
        self.now = 0
        self.wall = wall
        self.stored_status = None
        self.spool = {}             # of a stopped server: name -> (items, items of the open reads)
        self.begin()

    # -- start and stop --------------------------------------------------------------------------------------------

    def begin(self):
        """A process starts on what is in the spool."""
        self.clients = []
        self.timers, self.turns = [], itertools.count()
        self.ready, self.lines = [], {}
        self.queues, self.aliases, self.children = {}, {}, {}
        self.begin_ids()
        self.numbers = Counter()
        self.stopping = False
        self.announced = self.in_force = self.stored_status or 'up'
        self.pending = None
        spool, self.spool = self.spool, {}
        poison = {}
        for name, (items, opened) in sorted(spool.items()):
            queue = self.set_up(name, items)
            back = []
            for item in opened:
                dead = item.deliveries + 1 >= queue.limit('max_deliveries')
                (poison.setdefault(name, []) if dead else back).append(item)
            self.put_back(queue, back)
        self.apply(self.configuration)
        for name, items in poison.items():
            self.put_back(self.queues[name], self.bury(self.queues[name], items, True))
        if self.server['expiration_timer_frequency'] is not None:
            self.at(self.now + FIRST_TICK, self.tick)

    def kill(self):
        """kill -9: nobody is told anything, and what was answered is on the disk."""
        self.spool = {name: (queue.items, [read.item for read in queue.opened])
                      for name, queue in self.queues.items() if queue.settings['keep_journal']}

    def stop(self):
        """D46: those who wait are answered, then open reads go back."""
        self.stopping = True
        for name in [*[name for name in self.lines if name not in self.queues], *self.queues]:
            self.dismiss(name)
        self.settle()
        for client in list(self.clients):
            self.disconnect(client)
        self.timers.clear()
        self.kill()

    def apply(self, configuration):
        """Configured queues exist (D25), all have their settings, aliases are those of the file (D50)."""
        self.configuration = configuration
        for name in configuration.queues:
            if name not in self.queues:
                self.set_up(name)
        for name, queue in self.queues.items():
            queue.settings = {**configuration.of(name), 'keep_journal': queue.settings['keep_journal']}
        before, self.aliases = self.aliases, {}
        for name, destinations in configuration.aliases.items():
            if name not in before:
                self.dismiss(name)
            numbers = before[name][1] if name in before else Counter()
            self.aliases[name] = destinations, numbers

    # -- clients ---------------------------------------------------------------------------------------------------

    def connect(self, protocol):
        self.numbers['curr_connections'] += 1
        self.numbers['total_connections'] += 1
        number = self.numbers['curr_connections']
        limits = [self.server['connection_limit_refuse_' + kind] for kind in ('reads', 'writes')]
        client = Client(protocol, number, *[limit is not None and number > limit for limit in limits])
        self.clients.append(client)
        return client

    def leave(self, client, gone):
        """Its FIN, or with ``gone`` its RST, arrives (D61)."""
        client.leaving = True
        client.gone = gone
        if client.task is None:
            self.disconnect(client)
        else:
            self.leave_line(client.wait)
            self.go_on(client)
        self.settle()

    def disconnect(self, client):
        """Its open reads go back, the newest first (D7); those with ids stay open (thrift 4)."""
        client.open = False
        self.clients.remove(client)
        self.numbers['curr_connections'] -= 1
        if client.protocol.shares_reads:
            return
        for reads in list(client.reads.values()):
            for queue, those in itertools.groupby(reversed(reads), lambda read: read.queue):
                self.unremove(queue, list(those))
        client.reads = {}

    # -- who may what (queues 9, 11; memcache 3) -------------------------------------------------------------------

    def check_reads(self, client, name):
        if self.in_force == 'quiescent':
            raise Refused('not available', name)
        if client.reads_refused:
            raise Refused('too many connections', self.server['connection_limit_refuse_reads'])

    def check_writes(self, client, name):
        """``name`` is None for all queues."""
        if self.in_force in ('quiescent', 'readonly'):
            why = 'not available' if self.in_force == 'quiescent' else 'read-only'
            raise Refused('server ' + why) if name is None else Refused(why, name)
        if client.writes_refused:
            raise Refused('too many connections', self.server['connection_limit_refuse_writes'])

    def check_admin(self):
        if not self.server['remote_admin']:
            raise Refused('admin commands')

    def settings_of(self, name):
        queue = self.queues.get(name)
        return self.configuration.of(name) if queue is None else queue.settings

    def check_dequeue(self, name):
        if name not in self.aliases and self.settings_of(name)['white_list_client_id_for_dequeue'] is not None:
            raise Refused('client id', name)

    def check_enqueue(self, target, name):
        """``name``: as received (D1)"""
        if b'+' not in target and self.settings_of(target)['white_list_client_id_for_enqueue'] is not None:
            raise Refused('client id', name)

    @staticmethod
    def check_name(name):
        """queues 1, D34."""
        parent, plus, child = name.partition(b'+')
        if not parent or plus and not child or set(name) & set(b'./~'):
            raise Refused('bad name')

    # -- queues ----------------------------------------------------------------------------------------------------

    def need(self, name):
        if name not in self.queues:
            self.check_name(name)
            self.set_up(name)
        return self.queues[name]

    def set_up(self, name, items=None):
        queue = self.queues[name] = Queue(name, self.configuration.of(name), items or [])
        self.numbers['queue_creates'] += 1
        parent, plus, _ = name.partition(b'+')
        if plus:
            self.children.setdefault(parent, set()).add(name)
        return queue

    def unmasked(self, name):
        return None if name in self.aliases else self.queues.get(name)

    def delete(self, name):
        """queues 2. That a queue had children is forgotten with it."""
        self.dismiss(name)
        queue = self.queues.pop(name, None)
        if queue is None:
            return
        self.numbers['queue_deletes'] += 1
        queue.deleted = True
        for read in queue.opened:
            read.back = True        # D53
        parent = name.partition(b'+')[0]
        self.children.get(parent, set()).discard(name)
        for had in (name, parent):
            if had not in self.queues and not self.children.get(had):
                self.children.pop(had, None)

    def flush(self, name):
        queue = self.unmasked(name)
        if queue is not None:
            queue.numbers['total_flushes'] += 1
            queue.items.clear()

    # -- put -------------------------------------------------------------------------------------------------------

    def targets(self, name):
        """[(queue, does its refusal count?)]: children first, then the queue; of an alias those of its destinations."""
        if name in self.aliases:
            return [target for other in self.aliases[name][0] for target in self.targets(other)]
        return [(child, False) for child in sorted(self.children.get(name, ()))] + [(name, True)]

    def count_aliases(self, name, size):
        if name in self.aliases:
            destinations, numbers = self.aliases[name]
            numbers['put_items'] += 1
            numbers['put_bytes'] += size
            for other in destinations:
                self.count_aliases(other, size)

    def put(self, name, data, flags, expiry):
        """-> was it accepted? (queues 3, 7, 8)"""
        targets = self.targets(name)
        if targets == [(name, True)]:
            self.need(name)
        for target, decides in targets:
            if decides:
                self.check_enqueue(target, name)    # before any of them gets it (D35)
        self.numbers['cmd_set'] += 1
        self.count_aliases(name, len(data))
        accepted = True
        for target, decides in targets:
            queue = self.need(target)
            stored = not self.stopping and self.store(queue, data, flags, expiry)
            self.numbers['total_items'] += stored
            accepted = accepted and (stored or not decides)
        return accepted

    def store(self, queue, data, flags, expiry, moved=False):
        """Into that queue alone (queues 3). ``moved``: it comes from another queue."""
        if len(data) > queue.limit('max_item_size'):
            return False
        if queue.stores_nothing():
            queue.used = True
            return True
        discards = queue.settings['discard_old_when_full']
        if queue.is_full() and not discards:
            return False
        if not (moved and queue.settings['expire_to_queue']):
            # what has expired here may be on its way to where the moved item comes from (D51)
            self.sweep(queue, queue.limit('max_expire_sweep'))
        while queue.is_full():
            if not queue.items:
                return False
            queue.items.pop(0)
            queue.numbers['discarded'] += 1
        oldest = self.wall + queue.limit('max_age')
        if queue.settings['max_age'] is not None and (expiry == 0 or expiry > oldest):
            expiry = oldest
        queue.items.append(Item(data, flags, self.wall, expiry))
        queue.numbers['total_items'] += 1
        queue.used = True
        self.wake(queue.name)
        return True

    # -- get -------------------------------------------------------------------------------------------------------

    def obtain(self, client, name, timeout, opening=False, peek=False):
        """One get, peek or step of a monitor (memcache 4.1 rows 11 to 16). A generator; -> Item or None."""
        if name in self.aliases:
            return None
        if b'+' in name:
            self.need(name)         # so a consumer subscribes (D14)
        item = self.fetch(client, name, opening, peek)
        dropped = client.gone
        if item is None and timeout > 0 and not self.stopping:
            deadline = self.now + timeout
            while item is None and not client.leaving:
                wait = self.stand_in_line(client, name, deadline)
                yield
                client.wait = None
                if not wait.woken:
                    break           # time is over, the queue is gone, the server stops, or the client leaves
                item = self.fetch(client, name, opening, peek)
                if peek and item is not None:
                    self.wake(name)     # D54
            # on the thrift port a wait that ends with the input is dropped (thrift 4, D61)
            dropped = client.gone or (item is None and client.leaving and client.protocol.shares_reads
                                      and not self.stopping)
        if not dropped:
            self.numbers['get_misses' if item is None else 'get_hits'] += 1
            if name in self.queues:
                self.queues[name].used = True
        return item

    def fetch(self, client, name, opening, peek):
        queue = self.queues.get(name)
        if queue is None:
            return None
        self.sweep(queue, float('inf'))     # D37
        if not queue.items:
            return None
        if peek:
            return queue.items[0]
        item = queue.items.pop(0)
        queue.taken = item.added
        if opening:
            self.open(client, queue, item)
        return item

    def monitor(self, client, name, timeout, most, opening, tell):
        """Items, each as soon as it is there, told one by one: a monitor, a thrift get (memcache 4.4, thrift 3). None
        for ``most``: no limit of its own. A generator."""
        limit = self.server['max_open_transactions']
        ends = self.now + timeout
        sent = 0
        while sent != most and client.open_count(name) < limit and not client.gone:
            if self.in_force == 'quiescent':
                break
            item = yield from self.obtain(client, name, ends - self.now, opening)
            if item is None:
                break
            sent += 1
            tell(item)
            if timeout and self.now >= ends:
                break

    # -- expiry ----------------------------------------------------------------------------------------------------

    def sweep(self, queue, limit):
        """queues 5: at most so many expired items leave at the head. -> how many."""
        count = 0
        while count < limit and queue.items and queue.has_expired(queue.items[0], self.wall):
            item = queue.items.pop(0)
            count += 1
            target = queue.settings['expire_to_queue']
            if target is not None:
                self.store(self.need(target), item.data, item.flags, 0, moved=True)
        queue.numbers['expired_items'] += count
        return count

    def flush_expired(self, name):
        queue = self.unmasked(name)
        return 0 if queue is None else self.sweep(queue, queue.limit('max_expire_sweep'))

    def tick(self):
        """The background run: expired items, then unused queues (queues 6, D24)."""
        self.at(self.now + TICK, self.tick)
        for name in sorted(self.queues):
            self.sweep(self.queues[name], self.queues[name].limit('max_expire_sweep'))
        for name, queue in list(self.queues.items()):
            age = queue.settings['max_queue_age']
            in_use = bool(queue.items or queue.opened or self.lines.get(name))
            if age is None:
                queue.unused_since = None
            elif in_use or queue.used or queue.unused_since is None:
                queue.unused_since = self.now
            elif self.now - queue.unused_since >= age:
                self.delete(name)
                self.numbers['queue_expires'] += 1
            # what it was used for is over at the earliest when the next run begins
            queue.used = in_use

    # -- status (queues 11) ----------------------------------------------------------------------------------------

    def ask_status(self, name):
        """A client's wish."""
        self.check_admin()
        if name == 'down':
            raise Refused('status not allowed')
        if name not in STRICTNESS:
            raise Refused('unknown status')
        self.change_status(name)

    def change_status(self, status):
        stricter = STRICTNESS[status] > STRICTNESS[self.announced]
        if self.pending is not None and (stricter or status == self.announced):
            return
        self.stored_status = self.announced = status
        grace = self.server['status_change_grace_period']
        if stricter and grace:
            self.pending = self.now + grace
            self.at(self.pending, self.enforce, self.pending)
        else:
            self.in_force = status
            self.pending = None

    def enforce(self, pending):
        if pending == self.pending:
            self.in_force = self.announced
            self.pending = None
