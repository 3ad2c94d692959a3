"""Spools and traffic of the original: replayed, drained and answered by a whole server as the original did. And the
other way round: what our server writes, read by the rules of the original.

Where the server departs from what is recorded:

    D1   errors have a reason behind the first word
    D4   items with flags use op 10: the requests of `add` are not sent
    D7   several open reads of one client come back in their order
    D12, D39, D65, the start on a negative size: see support/golden.py
    D13, D40, D43  which files there are while and after it compacts: what they come to is compared, not the bytes
    D41  ``total_items`` starts at 0
"""

import random
import time
import unittest

from functional.records import records
from functional.waiting import eventually, stats
from support.golden import (
    ENDS, GOLDEN, LEGACY_DIFFERENCES, RECORDED, case, own_settings, settings, torn_files)
from support.server import Server
from support.strict_reader import Unreadable, read_spool, records as strict_records

CONFIG = {'server': {'max_open_transactions': 100}}
# The same requests leave the same bytes behind.
SAME_BYTES = ('fanout', 'open_confirm', 'open_abort', 'open_at_end', 'monitor_confirm', 'rotation')
# They leave behind what comes to the same.
SAME_STATE = ('rewrite_compact', 'pack')
# Hung up with several reads open: the original puts them back in reverse order (D7).
REVERSED = {'open_abort', 'monitor_confirm'}


class Source:
    """A spool of the original whose queues get names of their own, so that one server can start on all spools at once.

    files    {file name: content}
    after    {file name: content} once the start has put back what was open, as far as the original did as we do
    drained  {queue: [item, ...]}; of each item that has expired by now nothing comes
    sizes    {file name: bytes} when all queues are drained, None where that is not recorded or not the same
    stats    {queue: {key: value}} before, likewise
    """

    def __init__(self, label, files, after, drained, sizes=None, stats=None):
        self.files, self.after, self.drained, self.sizes, self.stats = (
            {f'{label}-{name}': value for name, value in (table or {}).items()}
            for table in (files, after, drained, sizes, stats))
        self.label = label
        self.settings = {}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def recorded_sources():
    for name in RECORDED:
        whole = case(name)
        for end in ENDS:
            after = whole[end]['after_restart']
            sizes = {file_name: entry['size'] for file_name, entry in after['files_after_drain'].items()}
            recovered = contents(GOLDEN / name / end / 'journal_after_restart')
            for number, folder in enumerate(('journal', 'journal_after_restart')):
                source = Source(f'{name}-{end}-{number}', contents(GOLDEN / name / end / folder), recovered,
                                after['drain'], sizes, after['stats'])
                source.settings = settings(whole)
                yield source


def legacy_sources():
    recorded = case('legacy_opcodes')['after_restart']
    theirs = contents(GOLDEN / 'legacy_opcodes' / 'journal_after_restart')
    same = {name: data for name, data in theirs.items() if name.partition('.')[0] not in LEGACY_DIFFERENCES}
    drained = {**recorded['drain'], **{queue: items for queue, (_, items, _) in LEGACY_DIFFERENCES.items()}}
    del drained['t9']                       # a name the original was only asked for
    yield Source('legacy-0', contents(GOLDEN / 'legacy_opcodes' / 'journal'), same, drained)
    # The original has cut the current file of this one.
    yield Source('legacy-1', theirs, same, {**drained, 'rotbad': recorded['drain']['rotbad']})


def cut_sources():
    recorded = case('torn_every_byte')['after_restart']
    sizes = {name: entry['size'] for name, entry in recorded['files_after_drain'].items()}
    yield Source('torn', torn_files(), None, recorded['drain'], sizes, recorded['stats'])
    size = contents(GOLDEN / 'given_neg_size' / 'journal')
    yield Source('size', size, {'q': size['q'][:22]}, {'q': ['1']}, {'q': 23})


def expiries(files):
    """{data: expiry} of the items in files, up to what is broken."""
    found = {}
    for name, data in files.items():
        try:
            found.update({item.data.decode('latin-1'): item.expiry for _, _, _, item in strict_records(name, data) if item})
        except Unreadable:
            pass
    return found


class SpoolOfTheOriginalTest(unittest.TestCase):

    def test_drains_as_recorded(self):
        sources = [*recorded_sources(), *legacy_sources(), *cut_sources()]
        queues = {queue: source.settings for source in sources for queue in source.drained if source.settings}
        server = Server({**CONFIG, 'queues': queues})
        self.addCleanup(server.close)
        server.spool.mkdir()
        for source in sources:
            for name, data in source.files.items():
                (server.spool / name).write_bytes(data)
        server.start()
        with server.client() as client:
            before = stats(client)
            for source in sources:
                with self.subTest(source.label):
                    self.check_start(source, server, before)
                    self.drain(source, client)
                    eventually(self, f'{source.label}: files as recorded', lambda: self.sizes(source, server))
        server.stop()

    def check_start(self, source, server, before):
        for name, data in source.after.items():
            self.assertEqual((server.spool / name).read_bytes(), data, name)
        for queue, values in source.stats.items():
            for key, value in values.items():
                if key != 'total_items':
                    self.assertEqual(before[f'queue_{queue}_{key}'], value, f'{queue} {key}')

    def drain(self, source, client):
        dead = {data for data, expiry in expiries(source.files).items() if expiry and expiry / 1000 < time.time()}
        for queue, items in source.drained.items():
            items = [item for item in items if item not in dead]
            name = queue.encode('latin-1')
            client.expect(b'get %s\r\n' % name * (len(items) + 1),
                          b''.join([self.value(name, item.encode('latin-1')) for item in items]) + b'END\r\n')

    @staticmethod
    def value(name, data):
        return b'VALUE %s 0 %d\r\n%s\r\nEND\r\n' % (name, len(data), data)

    @staticmethod
    def sizes(source, server):
        """Are the files of these queues as long as they were recorded?"""
        queues = {name.partition('.')[0] for name in source.sizes}
        return source.sizes == {path.name: size_of(path) for path in server.spool.iterdir()
                            if path.name.partition('.')[0] in queues}


def size_of(path):
    """Bytes; None if it was just taken away."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


class TrafficOfTheOriginalTest(unittest.TestCase):

    def test_same_answers_and_same_records(self):
        for name in SAME_BYTES + SAME_STATE:
            whole = case(name)
            recorded, folder = whole['kill9'], GOLDEN / name / 'kill9' / 'journal'
            with self.subTest(name):
                server = Server({**CONFIG, 'queues': {'q': settings(whole), **own_settings(whole)}})
                self.addCleanup(server.close)
                server.start()
                self.replay(server, recorded['ops'])
                self.wait_for_compaction(name, server)
                server.kill9()
                if name in SAME_BYTES:
                    self.assert_same_records(name, server, folder)
                else:
                    self.assert_same_state(server, folder)

    def replay(self, server, operations):
        clients = {}
        for operation in operations:
            name, event = operation.get('conn'), operation.get('event')
            if event == 'connect':
                clients[name] = server.client()
                self.addCleanup(clients[name].close)
            elif event == 'close':
                with server.client() as watch:
                    clients[name].close()
                    # the watch in its place: once it is noticed
                    eventually(self, 'the hang-up is noticed',
                               lambda: stats(watch)['curr_connections'] == str(len(clients)))
                del clients[name]
            elif event != 'SIGKILL':
                reply = operation['reply'].encode('latin-1')
                if reply == b'ERROR\r\n':       # D1: with a reason
                    clients[name].send(operation['send'].encode('latin-1'))
                    self.assertRegex(clients[name].recv_all(), rb'^ERROR [^\r\n]+\r\n$')
                else:
                    clients[name].expect(operation['send'].encode('latin-1'), reply)

    def wait_for_compaction(self, name, server):
        key = {'rewrite_compact': 'queue_q_journal_rewrites', 'pack': 'queue_q_journal_rotations',
               'rotation': 'queue_q_journal_rotations'}.get(name)
        if key:
            with server.client() as client:
                eventually(self, key, lambda: stats(client)[key] != '0')

    def assert_same_records(self, name, server, folder):
        (names, ours), (their_names, theirs) = (zip(*((path.name.partition('.')[0], path.read_bytes())
                                                for path in sorted(place.iterdir(), key=in_order)))
                                                for place in (server.spool, folder))
        self.assertEqual(names, their_names)
        for ours, theirs in zip(map(records, ours), map(records, theirs)):
            if name in REVERSED:
                put_back = len(theirs)
                while theirs[put_back - 1].startswith('unremove'):
                    put_back -= 1
                theirs[put_back:] = reversed(theirs[put_back:])
            self.assertEqual(ours, theirs)

    def assert_same_state(self, server, folder):
        ours, theirs = read_spool(server.spool), read_spool(folder)
        self.assertEqual(list(ours), list(theirs))
        for name, queue in ours.items():
            self.assertEqual(queue.odd, [])
            self.assertEqual([item.data for item in queue.waiting], [item.data for item in theirs[name].waiting])
            self.assertEqual({item.data for item in queue.open.values()},
                             {item.data for item in theirs[name].open.values()})


def in_order(path):
    """By queues; archived files by their number, the current one last."""
    name, _, number = path.name.partition('.')
    return name, int(number) if number else float('inf')


# Small enough for everything to happen within some hundred requests.
SMALL = {'max_memory_size': 4096, 'max_journal_size': 16384, 'default_journal_size': 2048,
         'min_journal_compact_delay': None}
LONG, SHORT = 'long', 'short'
STEPS = 600


class Expected:
    """What a queue must hold: ``waiting`` [data], ``open`` [(data, client number)] in the order of the opening."""

    def __init__(self):
        self.waiting = []
        self.open = []

    def after_start(self):
        return [data for data, _ in self.open] + self.waiting

    def restart(self):
        self.waiting = self.after_start()
        self.open = []


class SpoolOfOursTest(unittest.TestCase):
    """Without flags, a spool of ours holds nothing that Kestrel 2.4 could not read, whatever was done to its files."""

    def setUp(self):
        self.seed = random.randrange(10 ** 9)
        self.random = random.Random(self.seed)
        self.server = Server({**CONFIG, 'queues': {LONG: SMALL, SHORT: SMALL}})
        self.addCleanup(self.server.close)
        self.queues = {LONG: Expected(), SHORT: Expected()}
        self.number = 0
        self.archived = set()           # names of archived files of LONG that were seen
        self.packed = False
        self.rewrites = '0'
        self.happened = {'journal_rewrites': 0, 'journal_rotations': 0}

    def test_the_original_reads_what_we_wrote(self):
        with self.subTest(seed=self.seed):
            for phase in range(3):
                self.work()
                if phase == 0:
                    self.go_on_until_packed()
                self.count()
                self.server.kill9()
                self.compare()
                for queue in self.queues.values():
                    queue.restart()
            for what, count in self.happened.items():
                self.assertGreater(count, 0, what)
            self.drain_and_stop()

    def go_on_until_packed(self):
        for _ in range(5 * STEPS):
            if self.packed:
                return
            self.step()
        eventually(self, 'a packed file', self.look_for_packs)

    def work(self):
        self.server.start()
        self.clients = [self.server.client() for _ in range(4)]
        for client in self.clients:
            self.addCleanup(client.close)
        for _ in range(STEPS):
            self.step()

    def drain_and_stop(self):
        """Everything comes out in its order; afterwards the files come to nothing."""
        self.server.start()
        with self.server.client() as client:
            for name, queue in self.queues.items():
                self.ask(client, f'get {name}', *queue.waiting, None)
        self.server.stop()
        for queue in read_spool(self.server.spool).values():
            self.assertEqual((queue.waiting, queue.open, queue.odd), ([], {}, []))

    def step(self):
        client = self.random.randrange(len(self.clients))
        for name, least in ((LONG, 200), (SHORT, 0)):
            queue = self.queues[name]
            puts = 3 if len(queue.waiting) < least else 1
            kind = self.random.choice(('put',) * puts + ('get', 'open', 'open', 'abort'))
            if name == SHORT and self.random.random() < 0.02:
                kind = 'flush'
            getattr(self, kind)(name, queue, client)
        self.look_for_packs()

    def put(self, name, queue, _):
        self.number += 1
        data = (b'%d ' % self.number).ljust(self.random.choice((0, 50, 200, 400)), b'x')
        self.clients[0].expect(b'set %s 0 0 %d\r\n%s\r\n' % (name.encode(), len(data), data), b'STORED\r\n')
        queue.waiting.append(data)

    def get(self, name, queue, client):
        # A client that has an open read may not get without opening.
        free = [number for number in range(len(self.clients)) if number not in [owner for _, owner in queue.open]]
        if free:
            self.ask(self.clients[free[0]], f'get {name}', queue.waiting.pop(0) if queue.waiting else None)

    def open(self, name, queue, client):
        queue.open = [entry for entry in queue.open if entry[1] != client]
        data = queue.waiting.pop(0) if queue.waiting else None
        self.ask(self.clients[client], f'get {name}/close/open', data)
        if data is not None:
            queue.open.append((data, client))

    def abort(self, name, queue, client):
        self.clients[client].expect(b'get %s/abort\r\n' % name.encode(), b'END\r\n')
        queue.waiting[:0] = [data for data, owner in queue.open if owner == client]
        queue.open = [entry for entry in queue.open if entry[1] != client]

    def flush(self, name, queue, client):
        self.clients[client].expect(b'flush %s\r\n' % name.encode(), b'END\r\n')
        queue.waiting = []

    def ask(self, client, request, *expected):
        name = request.split()[1].partition('/')[0].encode()
        client.expect(request.encode() + b'\r\n' if len(expected) == 1 else (request.encode() + b'\r\n') * len(expected),
                      b''.join([b'END\r\n' if data is None else SpoolOfTheOriginalTest.value(name, data)
                                for data in expected]))

    def look_for_packs(self):
        """Has an archived file gone although the queue was not rewritten meanwhile?"""
        now = {path.name for path in self.server.spool.glob(LONG + '.*') if path.suffix != '.pack'}
        if self.archived - now and not self.packed:
            rewrites = self.statistics()[f'queue_{LONG}_journal_rewrites']
            self.packed = rewrites == self.rewrites
            self.rewrites = rewrites
            self.archived = set()
        self.archived |= now
        return self.packed

    def statistics(self):
        with self.server.client() as client:
            return stats(client)

    def count(self):
        found = self.statistics()
        for what in self.happened:
            self.happened[what] += sum(int(found[f'queue_{name}_{what}']) for name in self.queues)

    def compare(self):
        found = read_spool(self.server.spool)
        self.assertEqual(sorted(found), [name.encode() for name in sorted(self.queues)])
        for name, expected in self.queues.items():
            queue = found[name.encode()]
            self.assertEqual([item.data for item in queue.waiting], expected.waiting, name)
            self.assertEqual([queue.open[xid].data for xid in sorted(queue.open)], [data for data, _ in expected.open])
            self.assertEqual(queue.odd, [], name)
