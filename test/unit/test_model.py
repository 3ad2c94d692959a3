"""Random commands of several clients to a whole server, beside a plain model of its queues (spec queues, memcache).

``support/model.py`` says what must come, ``support/driven.py`` is the server, on a real spool. Hypothesis invents the
commands, and makes a sequence that fails as short as it can: what is left is shown as a script.

Environment: KESTREL_LONG=1 tries other sequences every time, for minutes.
"""

import os
import sys
import time
import unittest

from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from support.driven import Driver, file_text
from support.model import Model
from support.model_memcache import Key, Memcache
from support.model_parts import Configuration
from support.model_stats import model_stats
from support.model_text import Text
from support.model_thrift import Thrift, known_reply

LONG = os.environ.get('KESTREL_LONG') == '1'
SECONDS = 300           # of the long form
EXAMPLES = 60           # of the short one
STEPS = 50

# Where things expire to and where dead letters go, a queue without journal, one that no configuration knows.
QUEUES = [b'a', b'b', b'a+x', b'a+y', b'late', b'dead', b'mem', b'new']
ALIASES = [b'all', b'every']
ILLEGAL = [b'a.b', b'+', b'b+']
MEMCACHE, TEXT, THRIFT = Memcache(), Text(), Thrift()
# Who connects, by the number that a step has drawn.
PROTOCOLS = [MEMCACHE, TEXT, THRIFT, MEMCACHE]

some = st.sampled_from
numbers = st.integers(0, 3)
# most of the traffic goes to few queues: else nothing would ever meet
put_names = some([b'a'] * 6 + [b'b'] * 3 + QUEUES + ALIASES * 2)
read_names = some([b'a'] * 6 + [b'b', b'a+x'] * 3 + QUEUES)
any_names = some(QUEUES + ALIASES + ILLEGAL)
waits = some([None, None, 0, 1000, 3000])


def seldom(*values):
    """None, but for one time in three."""
    return some([None] * 2 * len(values) + [*values])


QUEUE = {
    'max_items': seldom(1, 2, 3, 4),
    'max_size': seldom(1, 8, 20),
    'max_item_size': some([None] * 8 + [3, 6]),
    'max_age': seldom(1000, 2000, 5000),
    'discard_old_when_full': some([False, False, True]),
    'max_expire_sweep': seldom(1, 2),
    'fanout_only': some([False] * 5 + [True]),
    'max_queue_age': seldom(2000, 4000),
    'open_transaction_timeout': seldom(1500, 3500),
    'expire_to_queue': some([None, b'late']),
    'dead_letter_queue': some([None, b'dead']),
    'max_deliveries': some([None, 1, 2, 3]),
    'max_memory_size': some(['128MB'] * 4 + [1, 10]),
    'white_list_client_id_for_enqueue': some([None] * 30 + ['me']),
    'white_list_client_id_for_dequeue': some([None] * 30 + ['me']),
}
SERVER = st.fixed_dictionaries({
    'max_open_transactions': some([1, 2, 3, 100, 2, 3, 100, 0]),
    'expiration_timer_frequency': some([None, 1000]),
    'status_change_grace_period': some([0, 1600]),
    'connection_limit_refuse_reads': some([None] * 8 + [2]),
    'connection_limit_refuse_writes': some([None] * 8 + [2]),
    'remote_admin': some([True] * 8 + [False]),
})
BAD = [
    '[default]\nmax_items = 0\n',
    '[aliases]\n[[all]]\ndestination_queues = every\n[[every]]\ndestination_queues = all\n',
    '[default]\nexpire_to_queue = late\n',
    'nonsense\n',
]
# The journal of every queue is small and rewritten often; without it no file is ever rewritten.
SMALL = {'default_journal_size': 100, 'max_journal_size': 200, 'min_journal_compact_delay': None}


@st.composite
def sections(draw, small, without=()):
    """The settings of a section that are not the code's defaults, some of them."""
    found = {key: draw(values) for key, values in QUEUE.items() if key not in without}
    if small:
        # a rewritten file keeps the count only where it is needed (D18)
        found['max_deliveries'] = found['max_deliveries'] or 2
    return {key: value for key, value in found.items() if value not in (None, False, '128MB')}


@st.composite
def own_sections(draw, small):
    """A few settings, of which ``none`` and ``false`` override what would be inherited."""
    keys = draw(st.lists(some(sorted(QUEUE)), max_size=2, unique=True))
    return {key: draw(QUEUE[key]) for key in keys if not (small and key == 'max_deliveries')}


@st.composite
def configurations(draw, fixed):
    """``fixed``: settings of [default] that no reload may change."""
    small = 'max_journal_size' in fixed
    default = {**fixed, **draw(own_sections(small)), **({'max_deliveries': 2} if small else {})}
    queues = {b'a': draw(sections(small)), b'b': draw(sections(small))}
    for name in draw(st.lists(some([b'a+x', b'a+y']), unique=True)):
        queues[name] = draw(own_sections(small))
    for name in (b'late', b'dead', b'mem'):
        queues[name] = {**draw(own_sections(small)), 'expire_to_queue': None, 'dead_letter_queue': None}
    queues[b'mem']['keep_journal'] = False
    found = Configuration(default, queues, draw(aliases(fixed['sync_journal'] == 0)))
    if fixed['sync_journal'] == 0:
        # what waits for its fsync counts for limits, but cannot be discarded: the model knows no such state
        for settings_of in (default, *queues.values()):
            settings_of.pop('discard_old_when_full', None)
    return found


@st.composite
def aliases(draw, once):
    """``every`` may lead to ``all``, both to a queue that is masked. ``once``: no queue gets a put twice."""
    found = {}
    masked = draw(some([None, None, None, b'a', b'a+x', b'b', b'late']))
    if masked is not None:
        found[masked] = draw(st.lists(some([b'new', b'mem', b'dead']), max_size=2))
    if once:
        found[b'all'] = draw(st.lists(some([b'a', b'b', b'late', b'dead']), max_size=3, unique=True))
        if masked is not None:
            del found[masked]
        return found
    queues = some(QUEUES[:6])
    if draw(st.booleans()):
        found[b'all'] = draw(st.lists(queues, max_size=3))
    if draw(st.booleans()):
        found[b'every'] = draw(st.lists(queues | some([b'all']), max_size=3))
    return found


def keys(options):
    return st.builds(Key, read_names, options, waits)


one_option = some([(), (), (b'open',), (b'open',), (b'open',), (b'close', b'open'), (b'close',), (b'abort',),
                   (b'abort',), (b'peek',)])
options = one_option | st.lists(some([b'open', b'close', b'abort', b'peek']), max_size=2, unique=True)
puts = st.builds(dict, name=put_names, size=some([1, 1, 4, 8]), more=some([0, 0, 0, 2]), exptime=some([0, 0, 1, 3, -1]), flags=some([0, 0, 7]),
                 durable=some([False, False, False, True]), noreply=some([False] * 6 + [True]))
plain_puts = st.builds(dict, name=put_names)
# (name of the protocol's method, its arguments)
reads = st.one_of(
    st.tuples(st.just('get'), st.tuples(keys(one_option).map(lambda key: [key]))),
    st.tuples(st.just('confirm'), st.tuples(read_names, some([1, 1, 2, 0, -1]))),
    st.tuples(st.just('monitor'), st.tuples(read_names, some([2, 2, 0]), some([None, 1, 2, -1, 0]))))
others = st.one_of(
    st.tuples(some(['delete', 'flush']), st.tuples(any_names, some([False, False, True]))),
    st.tuples(st.just('flush_expired'), st.tuples(any_names)),
    st.tuples(some(['flush_all', 'flush_all_expired', 'flush_all_expired', 'quit']), st.just(())),
    st.tuples(st.just('status'), st.tuples(some([None, b'Up', b'up', b'WriteAvoid', b'readonly', b'quiescent', b'up',
                                                 b'down', b'sideways']))),
    st.tuples(st.just('fixed'), st.tuples(st.integers(0, 10))))
traffic = st.lists(st.tuples(numbers, plain_puts | plain_puts | puts | reads | reads | reads), min_size=1, max_size=6)


class Machine(RuleBasedStateMachine):
    """Both sides do each step; then every client must have been sent what the model says, and ``stats`` agree."""

    def __init__(self):
        super().__init__()
        self.driver = None
        self.script = []
        self.pairs = []
        self.items = 0

    @initialize(data=st.data())
    def begin(self, data):
        self.fixed = {**data.draw(some([{}, SMALL])), 'sync_journal': data.draw(some(['never', 'never', '20ms', 0]))}
        self.begin_with(data.draw(SERVER), data.draw(configurations(self.fixed)))

    def begin_with(self, server, configuration):
        self.server = server
        self.driver = Driver(self.server, configuration)
        self.model = Model(self.server, configuration, self.driver.clock.ms)
        self.told(file_text(self.server, configuration))
        self.start()

    def start(self):
        self.driver.begin()
        self.pairs = []

    def teardown(self):
        if self.driver is None:
            return
        try:
            if sys.exc_info()[0] is None:
                # else it has failed, or hypothesis has broken it off
                self.drain()
        finally:
            self.driver.__exit__()

    # -- what is done to both --------------------------------------------------------------------------------------

    def told(self, *words):
        self.script.append(' '.join([str(word) for word in words]))

    def fail(self, why):
        raise AssertionError('\n'.join(['', *self.script, '', why]))

    def client(self, number, word):
        """One of the clients that do not wait and whose protocol has the command; a new one if there is none."""
        idle = [pair for pair in self.pairs if pair[1].task is None and hasattr(pair[1].protocol, word)]
        if idle:
            return idle[number % len(idle)]
        protocol = PROTOCOLS[number % len(PROTOCOLS)]
        return self.connected(protocol if hasattr(protocol, word) else MEMCACHE)

    def connected(self, protocol):
        pair = self.driver.server.connect(protocol.handler), self.model.connect(protocol)
        self.pairs.append(pair)
        return pair

    def do(self, number, word, *arguments, **more):
        """Run the command of that name on a client."""
        self.run_on(self.client(number, word), word, *arguments, **more)

    def run_on(self, pair, word, *arguments, **more):
        driven, modelled = pair
        command = getattr(modelled.protocol, word)(*arguments, **more)
        if callable(command):
            command = command(self.model)
        self.told('client %d, %s: %s' % (modelled.number, type(modelled.protocol).__name__.lower(), command.shown))
        self.model.run(modelled, modelled.protocol.task(command, self.model, modelled))
        driven.send(command.request)
        self.compare()

    def compare(self):
        for driven, modelled in list(self.pairs):
            got, expected = self.driver.known_reply(driven.replies()), modelled.out
            modelled.out = b''
            if modelled.protocol is THRIFT:
                got = known_reply(got)
            if got:
                self.told('        -> client %d: %r' % (modelled.number, got))
            if got != expected:
                self.fail('client %d got     %r\ninstead of       %r' % (modelled.number, got, expected))
            if driven.open != modelled.open:
                self.fail('client %d is %s' % (modelled.number, 'open' if driven.open else 'closed'))
            if not driven.open:
                self.pairs.remove((driven, modelled))
            elif driven.idle != (modelled.task is None):
                self.fail('client %d %s' % (modelled.number, 'waits no more' if driven.idle else 'waits'))
        clock = self.driver.clock
        if (self.model.now, self.model.wall) != (round(clock.seconds * 1000) - 1000000, clock.ms):
            self.fail('the clocks differ')
        if self.driver.errors():
            self.fail('\n'.join(self.driver.errors()))

    @invariant()
    def statistics(self):
        if self.driver is None:
            return
        expected = model_stats(self.model)
        found = self.driver.stats(expected)
        wrong = {key: (found.get(key), expected[key]) for key in expected if found.get(key) != expected[key]}
        if wrong:
            self.fail('\n'.join(['stats %s: %s instead of %s' % (key, *both) for key, both in sorted(wrong.items())]))

    def drain(self):
        """At the end a start on what is left on the disk: nothing is lost, the order is right."""
        self.kill()
        self.model.server = {**self.server, 'max_open_transactions': 1}
        for name in sorted(self.model.queues):
            while self.model.queues[name].items and name not in self.model.aliases:
                before = len(self.script)
                self.do(0, 'get', [Key(name, (), None)])
                if b'SERVER_ERROR' in self.script[-1].encode() or len(self.script) == before + 1:
                    break
            self.compare()

    # -- commands --------------------------------------------------------------------------------------------------

    @rule(requests=traffic)
    def serve(self, requests):
        for number, request in requests:
            if isinstance(request, dict):
                self.put(number, **request)
            else:
                self.do(number, request[0], *request[1])

    def put(self, number, name, size=1, more=0, **others):
        """Each item has data of its own. ``more``: further ones, where the protocol puts several at once."""
        if self.fixed['sync_journal'] == 0 and others.get('exptime'):
            # those that wait for the fsync of the first are not yet in the queue, so a put does not sweep them away
            more = 0
        items = []
        for _ in range(1 + more):
            self.items += 1
            items.append((b'%d' % self.items).ljust(size, b'.'))
        if name in self.model.aliases:
            others.pop('durable', None)
        self.do(number, 'put', name, items, **others)

    @rule(requests=traffic)
    def serve_more(self, requests):
        self.serve(requests)

    @rule(requests=traffic)
    def serve_on(self, requests):
        self.serve(requests)

    @rule(number=numbers, several=st.lists(keys(options), min_size=1, max_size=3), word=some([b'get', b'gets']))
    def get_several(self, number, several, word):
        if self.fixed['sync_journal'] == 0:
            # what one key moves to another queue arrives there only after an fsync
            several = several[:1]
        memcache = [pair for pair in self.pairs if pair[1].protocol is MEMCACHE and pair[1].task is None]
        pair = memcache[number % len(memcache)] if memcache else self.connected(MEMCACHE)
        self.run_on(pair, 'get', several, word)

    @rule(number=numbers, command=others)
    def do_another(self, number, command):
        word, arguments = command
        if word == 'fixed' and self.model.in_force in ('readonly', 'quiescent'):
            return
        self.do(number, word, *arguments)

    @rule(number=numbers, data=st.data())
    def reload(self, number, data):
        if data.draw(st.integers(0, 9)) == 9:
            self.reload_nonsense(number, data.draw(some(BAD)))
            return
        configuration = data.draw(configurations(self.fixed))
        self.driver.write(configuration)
        self.told('the configuration file is now:\n' + file_text({}, configuration))
        before = self.model.configuration
        self.do(number, 'reload', configuration)
        self.driver.write(self.model.configuration)
        if self.model.configuration is before:
            self.told('... and what it was before')

    def reload_nonsense(self, number, text):
        self.driver.write(text)
        self.told('the configuration file is now:\n' + text)
        self.do(number, 'reload', None)
        self.driver.write(self.model.configuration)
        self.told('... and what it was before')

    # -- clients, time, the process --------------------------------------------------------------------------------

    @rule(number=numbers)
    def connect(self, number):
        if len(self.pairs) < 5:
            protocol = PROTOCOLS[number]
            self.told('client %d connects, %s' % (self.connected(protocol)[1].number, type(protocol).__name__.lower()))

    @rule(number=numbers, gone=st.booleans())
    def leave(self, number, gone):
        if self.pairs:
            driven, modelled = self.pairs[number % len(self.pairs)]
            self.told('client %d %s' % (modelled.number, 'resets its connection' if gone else 'sends FIN'))
            self.model.leave(modelled, gone)
            driven.leave(gone)
            if gone:
                modelled.out = b''
                driven.replies()
            self.compare()

    @rule(seconds=some([1, 1, 2, 5]))
    def advance(self, seconds):
        self.told('%d s pass' % seconds)
        self.model.advance(seconds * 1000)
        self.driver.advance(seconds)
        self.compare()

    @rule(ms=some([-5000, 3000]))
    def set_clock(self, ms):
        self.told('the clock is set by %d ms' % ms)
        self.model.wall += ms
        self.driver.clock.ms += ms

    @rule(number=numbers, how=some(['restart', 'kill', 'shutdown']))
    def begin_anew(self, number, how):
        getattr(self, how)(number)

    def restart(self, number):
        self.told('the server is stopped and started again')
        self.model.stop()
        self.driver.server.stop()
        self.compare()
        self.begin_again()

    def kill(self, number=0):
        self.told('kill -9, the server is started again')
        self.model.kill()
        self.begin_again()

    def begin_again(self):
        self.driver.kill()
        self.model.begin()
        self.start()

    def shutdown(self, number):
        self.do(number, 'shutdown')
        self.told('1 s passes')
        self.model.advance(1000)
        self.driver.advance(1)
        self.compare()
        if self.model.stopping:
            self.told('the server is started again')
            self.begin_again()


class Script(Machine):
    """Fixed steps through the same machine: what random ones meet seldom, whatever hypothesis is installed."""

    def __init__(self, queues, aliases=None, **server):
        super().__init__()
        self.fixed = {'sync_journal': 'never'}
        configuration = Configuration(self.fixed, queues, aliases or {})
        self.begin_with({'max_open_transactions': 3, 'expiration_timer_frequency': None,
                         'status_change_grace_period': 0, 'connection_limit_refuse_reads': None,
                         'connection_limit_refuse_writes': None, 'remote_admin': True, **server}, configuration)

    def __enter__(self):
        return self

    def __exit__(self, kind, *failure):
        if kind is None:
            self.teardown()
        else:
            self.driver.__exit__()

    def on(self, protocol, word, *arguments, **more):
        """A command of the first client of that protocol that does not wait."""
        found = [pair for pair in self.pairs if pair[1].protocol is protocol and pair[1].task is None]
        self.run_on(found[0] if found else self.connected(protocol), word, *arguments, **more)
        self.statistics()

    def get(self, protocol, *options):
        self.on(protocol, 'get', [Key(b'a', options, None)])

    def load(self, queues, aliases=None):
        self.load_file(MEMCACHE, Configuration(self.fixed, queues, aliases or {}))
        self.statistics()

    def load_file(self, protocol, configuration):
        self.driver.write(configuration)
        self.told('the configuration file is now:\n' + file_text({}, configuration))
        self.on(protocol, 'reload', configuration)

    def end_connection(self, protocol, gone):
        numbers_of = [number for number, pair in enumerate(self.pairs) if pair[1].protocol is protocol]
        self.leave(number=numbers_of[0], gone=gone)
        self.statistics()


class ScriptTest(unittest.TestCase):

    def test_a_reload_keeps_how_often_waiting_items_were_delivered(self):
        for protocol in MEMCACHE, TEXT, THRIFT:
            queues = {b'a': {'max_deliveries': 2, 'dead_letter_queue': b'dead'}}
            with self.subTest(protocol=type(protocol).__name__), Script(queues) as script:
                script.on(MEMCACHE, 'put', b'a', [b'1'])
                for _ in range(2):
                    self.open_and_put_back(script, protocol)
                    script.load(queues)
                self.assertEqual([item.data for item in script.model.queues[b'dead'].items], [b'1'])

    def test_a_reload_keeps_how_often_open_items_were_delivered(self):
        for protocol in MEMCACHE, TEXT, THRIFT:
            queues = {b'a': {'max_deliveries': 2}}
            with self.subTest(protocol=type(protocol).__name__), Script(queues) as script:
                script.on(MEMCACHE, 'put', b'a', [b'1'])
                self.open_and_put_back(script, protocol)
                script.get(protocol, *self.opening(protocol))
                script.load({b'a': {'max_deliveries': 3}})
                script.load(queues)
                self.put_back(script, protocol)
                self.assertEqual(script.model.queues[b'a'].numbers['discarded'], 1)

    def test_a_child_that_an_alias_masks_gets_its_copy(self):
        for protocol in MEMCACHE, TEXT, THRIFT:
            with self.subTest(protocol=type(protocol).__name__), Script({b'a': {}, b'a+x': {}}) as script:
                masked = {b'a+x': [b'new']}
                script.load({b'a': {}, b'a+x': {}}, masked)
                script.on(protocol, 'put', b'a', [b'1'])
                script.load({b'a': {}, b'a+x': {}})
                script.on(protocol, 'get', [Key(b'a+x', (), None)])
                self.assertNotIn(b'new', script.model.queues)

    def test_what_a_connection_held_open_goes_back_in_its_order(self):
        for protocol in MEMCACHE, TEXT:
            for gone in False, True:
                with self.subTest(protocol=type(protocol).__name__, gone=gone), Script({b'a': {}}) as script:
                    for number in range(3):
                        script.on(THRIFT, 'put', b'a', [b'%d' % number])
                    script.on(protocol, 'monitor', b'a', 1)
                    script.end_connection(protocol, gone)
                    script.on(THRIFT, 'monitor', b'a', 0)

    def test_reads_with_ids_outlive_their_connection(self):
        """Until their time is over: then they go back in their order; before that whoever has the id confirms."""
        with Script({b'a': {}}) as script:
            script.on(TEXT, 'put', b'a', [b'1', b'2', b'3'])
            script.on(THRIFT, 'monitor', b'a', 0)
            script.end_connection(THRIFT, True)
            script.on(THRIFT, 'confirm', b'a', 1)
            script.advance(seconds=1)
            script.get(MEMCACHE)
            script.advance(seconds=2)
            script.statistics()
            self.assertEqual([item.data for item in script.model.queues[b'a'].items], [b'2', b'3'])

    def test_items_that_have_expired_make_room_for_those_behind_them(self):
        """Each item of a put is a put: it sweeps before it stores (queues 5)."""
        for protocol in TEXT, THRIFT:
            with self.subTest(protocol=type(protocol).__name__), Script({b'a': {'max_items': 2}}) as script:
                script.on(protocol, 'put', b'a', [b'1', b'2', b'3'], exptime=-1)
                self.assertEqual([item.data for item in script.model.queues[b'a'].items], [b'3'])

    def test_an_open_read_is_seen_before_the_status(self):
        """Of one key and of several (memcache 4.1 rows 8 and 9)."""
        for keys_of in [b'a'], [b'a', b'b'], [b'b', b'a']:
            with self.subTest(keys=keys_of), Script({b'a': {}, b'b': {}}) as script:
                script.on(MEMCACHE, 'put', b'a', [b'1'])
                script.get(MEMCACHE, b'open')
                script.on(TEXT, 'status', b'quiescent')
                script.on(MEMCACHE, 'get', [Key(name, (), None) for name in keys_of])

    @staticmethod
    def opening(protocol):
        """The options of a get that leaves its item open."""
        return () if protocol is TEXT else (b'open',)

    def open_and_put_back(self, script, protocol):
        script.get(protocol, *self.opening(protocol))
        self.put_back(script, protocol)

    @staticmethod
    def put_back(script, protocol):
        if protocol is TEXT:
            script.end_connection(TEXT, False)
        else:
            script.get(protocol, b'abort')


class ModelTest(unittest.TestCase):

    def run_machine(self, examples, **more):
        run_state_machine_as_test(Machine, settings=settings(
            max_examples=examples, stateful_step_count=STEPS, database=None, deadline=None, print_blob=False,
            verbosity=Verbosity.quiet, report_multiple_bugs=False, phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck), **more))

    def test_the_server_does_what_the_model_says(self):
        if not LONG:
            # the same sequences every time
            self.run_machine(EXAMPLES, derandomize=True)
            return
        ends = time.monotonic() + SECONDS
        while time.monotonic() < ends:
            self.run_machine(200)
