"""The configuration: syntax, the table of settings, inheritance, errors (spec config)."""

import os
import re
import tempfile
import unittest

from support.environment import CHECKOUT

from kestrel import config, settings
from kestrel.errors import StartError

S = 1000000
PRODUCTION = CHECKOUT / 'etc' / 'kestrel' / 'kestrel.conf'
DEVELOPMENT = CHECKOUT / 'etc' / 'kestrel' / 'development.conf'

# (good text, value) of each kind that the table uses; wrong ones are in support/bad_settings.py.
KINDS = {
    'integer': [('0', 0), ('100', 100), ('"7"', 7), ('5 # five', 5)],
    'port': [('1', 1), ('65535', 65535)],
    'size': [('0', 0), ('17', 17), ('16MB', 16777216), ('16mb', 16777216), ('1Kb', 1024), ('2GB', 2 << 30),
             ('3tB', 3 << 40), ('9223372036854775807', 2 ** 63 - 1)],
    'duration': [('0', 0), ('0s', 0), ('5us', 5), ('7ms', 7000), ('30s', 30 * S), ('2m', 120 * S), ('1h', 3600 * S),
                 ('1d', 86400 * S), ("'10s'", 10 * S)],
    'sync': [('never', None), ('Never', None), ('0', 0), ('0ms', 0), ('100ms', 100000)],
    'boolean': [('true', True), ('YES', True), ('On', True), ('false', False), ('no', False), ('OFF', False)],
    'text': [('load-test', 'load-test'), ('a,b', 'a,b'), ('"a # b"', 'a # b'), ("it's", "it's"), ('"none"', 'none')],
    'path': [('/var/spool/kestrel', '/var/spool/kestrel'), ('build/run, too', 'build/run, too'), ('"none"', 'none')],
    'address': [('127.0.0.1', '127.0.0.1'), ('0.0.0.0', '0.0.0.0'), ('::1', '::1'), ('localhost', 'localhost'),
                ('mq-1.example.org', 'mq-1.example.org')],
    'node_path': [('/kestrel/production', '/kestrel/production')],
    'queue_name': [('orders', b'orders'), ('ns:queue', b'ns:queue'), ('a+b+c', b'a+b+c'), ('a,b', b'a,b'),
                   ('"a#b"', b'a#b'), ('\u00e9', b'\xe9'), ('"none"', b'none'), ('q' * 236, b'q' * 236)],
    'list_of_queue_names': [('a', [b'a']), ('a,', [b'a']), ('a, b ,c', [b'a', b'b', b'c']),
                            ('a, "b#c", d # e', [b'a', b'b#c', b'd']), ('"a,b"', [b'a,b']), ('none', []),
                            ('a, "none"', [b'a', b'none'])],
    'list_of_periods': [('1m', [60 * S]), ('1m, 10s', [60 * S, 10 * S]), ('1000ms', [S]), ('none', [])],
    'list_of_patterns': [('jvm_.*', ['jvm_.*']), ('"a{1,2}", b', ['a{1,2}', 'b'])],
    'list_of_addresses': [('mq.example.org', ['mq.example.org']), ('a, 10.0.0.1', ['a', '10.0.0.1'])],
}

# Words of the options, and limits of the table that are narrower than those of the kind.
OPTIONS = {
    'default_status': ['Up', 'WriteAvoid', 'ReadOnly', 'Quiescent'],
    'acl': ['open_unsafe', 'everyone_read_creator_all'],
    'level': ['OFF', 'FATAL', 'CRITICAL', 'ERROR', 'WARNING', 'INFO', 'DEBUG', 'TRACE', 'ALL'],
    'roll': ['never', 'sighup', 'hourly', 'daily'],
    'format': ['text', 'json'],
}
LIMITS = {
    'expiration_timer_frequency': ('1ms', '0'), 'client_timeout': ('1ms', '999us'),
    'connection_backlog': ('1', '0'), 'max_request_size': ('1', '0'), 'max_buffered_requests': ('1', '0'),
    'busy_poll': ('1ms', '1001us'), 'max_items': ('1', '0'), 'max_expire_sweep': ('1', '0'),
    'max_deliveries': ('1', '0'), 'http_backlog': ('1', '0'), 'session_timeout': ('1ms', '0'),
}

# What the production file sets to something else than the default (spec config 2 to 4).
PRODUCTION_VALUES = {
    ('server', 'expiration_timer_frequency'): '1s', ('server', 'max_open_transactions'): '100',
    ('default', 'sync_journal'): '100ms', ('logging', 'filename'): '/var/log/kestrel/kestrel.log',
    ('logging', 'roll'): 'sighup', ('admin', 'http_port'): '2223',
}

# The columns "ours" and "code" of spec config 2 to 4, with our own defaults where the rows give one.
DEFAULTS = {
    'server': {
        'listen_address': '127.0.0.1', 'memcache_listen_port': 22133, 'text_listen_port': 2222,
        'thrift_listen_port': 2229, 'queue_path': '/var/spool/kestrel', 'expiration_timer_frequency': None,
        'client_timeout': None, 'max_open_transactions': 1, 'connection_backlog': None,
        'status_file': '/var/lib/kestrel/status', 'default_status': 'Up', 'status_change_grace_period': 0,
        'enable_session_trace': False, 'connection_limit_refuse_writes': None,
        'connection_limit_refuse_reads': None, 'max_request_size': 64 << 20, 'max_buffered_requests': 1 << 30,
        'remote_admin': True, 'busy_poll': None},
    'default': {
        'max_items': 2147483647, 'max_size': 2 ** 63 - 1, 'max_item_size': 2 ** 63 - 1, 'max_age': None,
        'default_journal_size': 16 << 20, 'max_memory_size': 128 << 20, 'max_journal_size': 1 << 30,
        'min_journal_compact_delay': 60 * S, 'discard_old_when_full': False, 'keep_journal': True,
        'sync_journal': None, 'expire_to_queue': None, 'max_expire_sweep': 2147483647, 'fanout_only': False,
        'max_queue_age': None, 'enable_trace': False, 'disable_aggressive_rewrites': False,
        'open_transaction_timeout': None, 'white_list_client_id_for_dequeue': None,
        'white_list_client_id_for_enqueue': None, 'max_deliveries': None, 'dead_letter_queue': None},
    'zookeeper': {
        'host': None, 'port': 2181, 'path_prefix': None, 'session_timeout': 10 * S, 'username': None,
        'password': None, 'acl': 'open_unsafe'},
    'admin': {
        'http_port': None, 'listen_address': '127.0.0.1', 'http_backlog': 20, 'time_series': True,
        'stats_filters': [], 'default_latch_intervals': [60 * S], 'read_only': False,
        'metrics_max_queues': None, 'allowed_hosts': []},
    'logging': {'level': 'INFO', 'filename': None, 'roll': 'never', 'format': 'text'},
}


class ConfigTestCase(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, 'kestrel.conf')

    def load(self, text, environ=None):
        with open(self.path, 'wb') as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        return config.load(self.path, environ or {})

    def error(self, text):
        """The text of the error, which always is one line that begins with the file."""
        with self.assertRaises(config.ConfigError) as caught:
            self.load(text)
        message = str(caught.exception)
        self.assertTrue(message.startswith(self.path + ': '), message)
        self.assertTrue(message.isprintable(), message)
        return message[len(self.path) + 2:]


def table():
    """The keys of each section and their checks, read from the configspec as text."""
    found, section = {}, None
    for line in (CHECKOUT / 'kestrel' / 'kestrel.configspec').read_text().splitlines():
        header = re.match(r'\[(\w+)\]$', line)
        entry = re.match(r'(\w+) = (\w+)\((.*)\)$', line)
        if header:
            section = found.setdefault(header.group(1), {})
        elif entry:
            section[entry.group(1)] = entry.group(2)
    return found


def written(section, key, raw):
    header = '[aliases]\n[[alias]]' if section == 'aliases' else f'[{section}]'
    more = 'path_prefix = /k\n' if (section, key) == ('zookeeper', 'host') else ''     # one goes with the other
    return f'{header}\n{key} = {raw}\n{more}'


class TableTest(ConfigTestCase):

    def test_defaults(self):
        loaded = self.load('')
        self.assertEqual(vars(loaded.server), DEFAULTS['server'])
        self.assertEqual(vars(loaded.zookeeper), DEFAULTS['zookeeper'])
        self.assertEqual(vars(loaded.admin), DEFAULTS['admin'])
        self.assertEqual(vars(loaded.logging), DEFAULTS['logging'])
        self.assertEqual(vars(loaded.queue(b'any')), DEFAULTS['default'])
        self.assertEqual((loaded.path, loaded.queues), (self.path, []))
        self.assertEqual(loaded.aliases, {})

    def test_keys_stand_in_the_documented_order(self):
        for section, defaults in DEFAULTS.items():
            self.assertEqual(list(table()[section]), list(defaults))

    def test_values(self):
        """Every key: each good text gives its value."""
        for section, keys in table().items():
            for key, kind in keys.items():
                with self.subTest(section=section, key=key):
                    self._check_key(section, key, kind)

    def _check_key(self, section, key, kind):
        base = kind.removesuffix('_or_none')
        if base == 'option':
            good = [(form, word) for word in OPTIONS[key] for form in (word, word.upper(), word.lower())]
        else:
            good = KINDS[base]
        if key in LIMITS:
            lowest = settings.CHECKS[base](LIMITS[key][0])
            good = [(raw, value) for raw, value in good if value >= lowest]
        if base != kind:
            good = good + [('none', None), ('None', None), ('none # off', None)]
        if key == 'busy_poll':
            good = [('5us', 5), ('none', None)]
        for raw, value in good:
            self._check_good(section, key, raw, value)

    def _check_good(self, section, key, raw, value):
        if section == 'aliases':
            self.assertEqual(self.load(written(section, key, raw)).aliases, {b'alias': value})
            return
        if key in config.TARGETS:
            self._check_target(key, raw, value)
            return
        loaded = self.load(written(section, key, raw))
        holder = loaded.queue(b'any') if section == 'default' else getattr(loaded, section)
        expected = value
        if (section, key, value) == ('admin', 'listen_address', None):
            expected = loaded.server.listen_address
        self.assertEqual(getattr(holder, key), expected, raw)
        self.assertIs(type(getattr(holder, key)), type(expected), raw)

    def _check_target(self, key, raw, value):
        text = f'[queues]\n[[any]]\n{key} = {raw}\n'
        self.assertEqual(getattr(self.load(text).queue(b'any'), key), value, raw)

    def test_no_queue_is_its_own_target(self):
        for key in config.TARGETS:
            with self.subTest(key):
                self.assertEqual(self.error(f'[queues]\n[[q]]\n{key} = q\n'), f'line 3: [queues] [[q]] {key}: '
                                 f'queue q would have itself as its {key}; name another queue')
                inherited = f'[default]\n{key} = q\n[queues]\n[[q]]\n'
                self.assertEqual(self.error(inherited), f'line 2: [default] {key}: queue q would have itself as its'
                                 f' {key}; write {key} = none, or another queue, below [queues] [[q]]')
                loaded = self.load(inherited + f'{key} = none\n')
                self.assertEqual([getattr(loaded.queue(name), key) for name in (b'q', b'other')], [None, b'q'])
                loaded = self.load(f'[queues]\n[[a]]\n{key} = b\n[[b]]\n{key} = a\n')
                self.assertEqual(getattr(loaded.queue(b'b'), key), b'a')

    def test_dead_letters_go_into_no_alias(self):
        text = '[default]\ndead_letter_queue = q\n[queues]\n[[q]]\ndead_letter_queue = none\n[aliases]\n[[q]]\n'
        self.assertEqual(self.error(text), 'line 2: [default] dead_letter_queue: q is an alias; name a queue')
        self.load(text.replace('dead_letter_queue', 'expire_to_queue'))

    def test_a_child_must_not_inherit_itself_as_its_target(self):
        text = '[queues]\n[[q]]\ndead_letter_queue = q+dead\n'
        self.assertIn('dead_letter_queue = none, or another queue, below [queues] [[q+dead]]', self.error(text))
        self.load(text + '[[q+dead]]\ndead_letter_queue = none\n')

    def test_limits(self):
        for section, keys in table().items():
            for key in keys:
                if key in LIMITS:
                    with self.subTest(key):
                        inside, outside = LIMITS[key]
                        self.assertRegex(
                            self.error(written(section, key, outside)),
                            rf'{key}: \S+ is too (small|large); write an? \w+ of at (least|most) {inside}')
                        self.load(written(section, key, inside))

    def test_every_limit_and_option_is_of_a_key(self):
        keys = {key for section in table().values() for key in section}
        self.assertEqual((set(OPTIONS) | set(LIMITS)) - keys, set())

    def test_what_zookeeper_needs(self):
        host, path, user = 'host = zk\n', 'path_prefix = /k\n', 'username = u\n'
        for text, why in (
                (host, 'path_prefix: it is needed with a host; write a path such as /kestrel/production'),
                (host + path + user, 'password: username and password go together; write both or none of them'),
                (host + path + 'password = p\n', 'username: username and password go together; write both or none'),
                (host + path + 'username = u:v\npassword = p\n', 'line 4: [zookeeper] username: ZooKeeper ends it at'),
                (host + path + 'acl = everyone_read_creator_all\n', 'line 4: [zookeeper] acl: it needs somebody who')):
            with self.subTest(text):
                self.assertIn(why, self.error('[zookeeper]\n' + text))
                self.load('[zookeeper]\n' + text.replace(host, ''))       # off: nothing of it matters
        self.load('[zookeeper]\n' + host + path + user + 'password = a:b\nacl = everyone_read_creator_all\n')

    def test_what_is_missing_is_missed_in_its_section(self):
        self.assertTrue(self.error('[server]\n\n[zookeeper]\nhost = zk\n').startswith('line 3: [zookeeper] path_prefix: '))

    def test_paths_that_zookeeper_does_not_know(self):
        for text in ('k', '/', '/k/', '//k', '/k//l', '/k/../l', '/k/.', '/a b', '/\x85', '/\ue000', '/\uffff'):
            with self.subTest(text):
                self.assertIn('is not a ZooKeeper path; write one such as',
                              self.error(f'[zookeeper]\npath_prefix = "{text}"\n'))
        self.assertEqual(self.load('[zookeeper]\npath_prefix = /\xe9/...\n').zookeeper.path_prefix, '/\xe9/...')

    def test_admin_address_of_the_server(self):
        loaded = self.load('[server]\nlisten_address = 0.0.0.0\n[admin]\nlisten_address = 0.0.0.0\n')
        self.assertEqual(loaded.admin.listen_address, '0.0.0.0')
        self.assertEqual(self.load('[server]\nlisten_address = ::\n').admin.listen_address, '::')

    def test_status_file(self):
        state = {'STATE_DIRECTORY': '/var/lib/kestrel/a:/var/lib/b'}
        self.assertEqual(self.load('', state).server.status_file, '/var/lib/kestrel/a/status')
        self.assertEqual(self.load('[server]\nstatus_file = /x\n', state).server.status_file, '/x')

    def test_status_file_that_would_be_a_journal(self):
        spool = os.path.dirname(self.path)
        os.symlink(spool, os.path.join(spool, 'link'))
        here = f'[server]\nqueue_path = {spool}\n'
        for name in ('status', 'q.17', 'q~~5', 'link/status', '../%s/status' % os.path.basename(spool)):
            message = self.error(f'{here}status_file = {spool}/{name}\n')
            self.assertIn(f'line 3: [server] status_file: the status file {spool}/{name} would lie', message)
            self.assertIn('name a file in another folder as status_file', message)
        with self.assertRaises(config.ConfigError) as caught:
            self.load(here, {'STATE_DIRECTORY': spool})
        self.assertIn('line 2: [server] queue_path', str(caught.exception))

    def test_status_file_in_the_spool_that_is_no_journal(self):
        spool = os.path.dirname(self.path)
        for name in ('.status', 'server.status', 'folder/status'):
            loaded = self.load(f'[server]\nqueue_path = {spool}\nstatus_file = {spool}/{name}\n')
            self.assertEqual(loaded.server.status_file, f'{spool}/{name}')


class InheritanceTest(ConfigTestCase):

    def test_the_documented_table(self):
        loaded = self.load('[default]\nmax_memory_size = 8MB\n[queues]\n[[q]]\nmax_items = 500\n'
                           '[[q+fanout]]\nmax_age = 1m\n[[x]]\nmax_memory_size = 16MB\n')
        rows = {name: (found.max_memory_size >> 20, found.max_items, found.max_age)
                for name in (b'q', b'q+fanout', b'q+other', b'x', b'y') for found in [loaded.queue(name)]}
        self.assertEqual(rows, {
            b'q': (8, 500, None), b'q+fanout': (8, 500, 60 * S), b'q+other': (8, 500, None),
            b'x': (16, 2147483647, None), b'y': (8, 2147483647, None)})
        self.assertEqual(loaded.queues, [b'q', b'q+fanout', b'x'])

    def test_children_before_their_parent_and_grandchildren(self):
        loaded = self.load('[queues]\n[[q+a]]\nmax_age = 1s\n[[q+a+b]]\nmax_size = 1\n[[q]]\nmax_items = 5\n')
        self.assertEqual(loaded.queue(b'q+a').max_items, 5)
        # the parent is what stands before the first +
        self.assertEqual((loaded.queue(b'q+a+b').max_age, loaded.queue(b'q+a+b').max_items), (None, 5))
        self.assertEqual(loaded.queues, [b'q+a', b'q+a+b', b'q'])

    def test_none_overrides(self):
        loaded = self.load('[default]\nmax_age = 1h\nmax_items = 5\n[queues]\n[[q]]\nmax_age = none\n'
                           '[[q+c]]\nmax_items = none\n')
        self.assertEqual((loaded.queue(b'q').max_age, loaded.queue(b'q').max_items), (None, 5))
        self.assertEqual((loaded.queue(b'q+c').max_age, loaded.queue(b'q+c').max_items), (None, None))
        self.assertEqual(loaded.queue(b'other').max_age, 3600 * S)

    def test_equality(self):
        text = '[queues]\n[[a]]\nmax_items = 5\n[[b]]\nmax_items = 5\n[[c]]\nmax_items = 6\n'
        one, two = self.load(text), self.load(text)
        self.assertEqual(one.queue(b'a'), two.queue(b'b'))
        self.assertNotEqual(one.queue(b'a'), two.queue(b'c'))

    def test_names(self):
        text = '[queues]\n[[ns:queue]]\n[["a#b]"]]\n[["it\'s"]] # comment\n[[\u00e9]]\n[[a]b]]\n'
        self.assertEqual(self.load(text).queues, [b'ns:queue', b'a#b]', b"it's", b'\xe9', b'a]b'])


class AliasesTest(ConfigTestCase):

    def test_destinations(self):
        loaded = self.load('[aliases]\n[[both]]\ndestination_queues = b, a\n'
                           '[[one]]\ndestination_queues = a+x\n'
                           '[[drop]]\n[[nothing]]\ndestination_queues = none\n[[nested+x]]\n'
                           'destination_queues = both, one, b, b\n')
        self.assertEqual(loaded.aliases, {b'both': [b'b', b'a'], b'one': [b'a+x'], b'drop': [],
                                          b'nothing': [], b'nested+x': [b'both', b'one', b'b', b'b']})

    def test_bad_destination(self):
        self.assertIn("line 3: [aliases] [[a]] destination_queues: bad queue name 'b.c'",
                      self.error('[aliases]\n[[a]]\ndestination_queues = b.c\n'))

    def test_loops(self):
        # D50: file, line, remedy
        def loop(shown):
            return f'destination_queues: the alias leads back to itself: {shown}; take one of these out'
        for text, expected in [
                ('[[a]]\ndestination_queues = x, a\n', 'line 3: [aliases] [[a]] ' + loop('a -> a')),
                ('[[a]]\ndestination_queues = b\n[[b]]\ndestination_queues = a\n',
                 'line 3: [aliases] [[a]] ' + loop('a -> b -> a')),
                ('[[x]]\n[[c]]\ndestination_queues = x, a\n[[a]]\ndestination_queues = b, x\n'
                 '[[y]]\ndestination_queues = c\n[[b]]\ndestination_queues = x, c\n',
                 'line 4: [aliases] [[c]] ' + loop('c -> a -> b -> c'))]:
            with self.subTest(text):
                self.assertEqual(self.error('[aliases]\n' + text), expected)

    def test_what_is_no_loop(self):
        # two ways to one queue; the name of a queue that the alias hides; a child of its own name
        self.load('[queues]\n[[a]]\n[aliases]\n[[a]]\ndestination_queues = b, c, a+x\n'
                  '[[b]]\ndestination_queues = c\n[[c]]\ndestination_queues = d\n')


class DumpTest(ConfigTestCase):

    def test_order_and_form(self):
        loaded = self.load('[default]\nmax_age = 90s\n[queues]\n[[q]]\nmax_age = 30m\nmax_size = none\n'
                           'sync_journal = 0\nkeep_journal = no\nmax_memory_size = 16777217\n')
        self.assertEqual(loaded.dump(loaded.queue(b'q')), [
            ('max_items', '2147483647'), ('max_size', 'none'), ('max_item_size', '9223372036854775807'),
            ('max_age', '30m'), ('default_journal_size', '16MB'), ('max_memory_size', '16777217'),
            ('max_journal_size', '1GB'), ('min_journal_compact_delay', '1m'),
            ('discard_old_when_full', 'false'), ('keep_journal', 'false'), ('sync_journal', '0'),
            ('expire_to_queue', 'none'), ('max_expire_sweep', '2147483647'),
            ('fanout_only', 'false'), ('max_queue_age', 'none'),
            ('enable_trace', 'false'), ('disable_aggressive_rewrites', 'false'),
            ('open_transaction_timeout', 'none'), ('white_list_client_id_for_dequeue', 'none'),
            ('white_list_client_id_for_enqueue', 'none'), ('max_deliveries', 'none'),
            ('dead_letter_queue', 'none')])
        self.assertEqual(dict(loaded.dump(loaded.queue(b'other')))['max_age'], '90s')
        self.assertEqual(dict(loaded.dump(loaded.queue(b'other')))['sync_journal'], 'never')

    def test_it_reads_back(self):
        for key, kind in table()['default'].items():
            for raw, value in KINDS[kind.removesuffix('_or_none')]:
                with self.subTest(key=key, raw=raw):
                    text = settings.format_value(kind, value)
                    self.assertEqual(settings.CHECKS[kind](text), value)
        loaded = self.load('[default]\nmax_age = 3661s\nmin_journal_compact_delay = 1001us\nmax_size = 5KB\n')
        text = '[default]\n' + ''.join(f'{key} = {value}\n' for key, value in loaded.dump(loaded.queue(b'q')))
        self.assertEqual(self.load(text).queue(b'q'), loaded.queue(b'q'))

    def test_lists_of_names_read_back(self):
        for names in ([], [b'a'], [b'a', b'b+c'], [b'none'], [b'a,b', b'c'],
                      [b"a'b,", b'"a,', b'a#b', b'\xe9']):
            with self.subTest(names):
                text = settings.format_value('list_of_queue_names', names)
                self.assertEqual(settings.CHECKS['list_of_queue_names'](text), names)
        self.assertEqual(settings.format_value('list_of_queue_names', [b'a', b'b']), 'a,b')
        self.assertEqual(settings.format_value('list_of_queue_names', []), 'none')

    def test_quotes(self):
        for text in ('a', 'a"b', "a'b", '"a', 'a#b', 'none', 'NONE', ' a'):
            with self.subTest(text):
                self.assertEqual(settings.scalar(settings.format_text(text))[0], text)
                self.assertFalse(settings.is_none(settings.format_text(text)))


class ErrorTest(ConfigTestCase):

    def test_place_and_remedy(self):
        for text, expected in [
                ('\n\n[server]\n# x\n\nmax_open_transactions = -1\n',
                 "line 6: [server] max_open_transactions: '-1' is negative; write an integer from 0 to"
                 ' 9223372036854775807'),
                ('[queues]\n[[a]]\nmax_items = 1\n[[b]]\n  max_items = 0\n',
                 "line 5: [queues] [[b]] max_items: '0' is too small; write an integer of at least 1,"
                 ' or none'),
                ('[server]\r\nclient_timeout = 30\r\n',
                 "line 2: [server] client_timeout: '30' has no unit; write an integer with us, ms, s,"
                 ' m, h or d, such as 30s, or none'),
                ('[default]\nmaxItems = 5\n',
                 'line 2: [default] maxItems: unknown key; did you mean max_items?'),
                ('[logging]\ncolour = red\n',
                 'line 2: [logging] colour: unknown key; write one of level, filename, roll, format'),
                ('[server]\n[Queues]\n',
                 'line 2: [Queues]: unknown section; did you mean queues?'),
                ('[things]\n',
                 'line 1: [things]: unknown section; write one of server, default, queues, aliases,'
                 ' zookeeper, admin, logging'),
                ('[DEFAULT]\nx = 1\n',
                 'line 1: [DEFAULT]: unknown section; did you mean default?'),
                ('queue_path = /x\n',
                 'line 1: queue_path: a setting outside of any section; put it below one, such as'
                 ' [server]'),
                ('[queues]\nmax_items = 5\n[[a]]\n',
                 'line 2: [queues] max_items: a setting outside of a named section; put it below a'
                 ' [[name]] of [queues] or into [default]'),
                ('[server]\n[[a]]\n',
                 'line 2: [server] [[a]]: no section may stand here; put [[name]] directly below'
                 ' [queues] or [aliases]'),
                ('[queues]\n[[a]]\n[[[b]]]\n',
                 'line 3: [queues] [[a]] [[[b]]]: no section may stand here; put [[name]] directly'
                 ' below [queues] or [aliases]'),
                ('[queues]\n[[a]]\n[["a"]]\n',
                 'line 3: [queues] [[a]]: it stands here a second time; write it once'),
                ('[server]\n[default]\n[server]\n',
                 'line 3: [server]: it stands here a second time; write it once'),
                ('[server]\nqueue_path = /a\nqueue_path = /b\n',
                 'line 3: [server] queue_path: it stands here a second time; write it once'),
                ('[server]\nwhat\n',
                 "line 2: [server]: neither a section nor a setting: 'what'; write [section] or key ="
                 ' value'),
                ('[queues]\n[[a]\n',
                 "line 2: [queues] [[a]]: the brackets do not match: '[[a]'; write [section], or"
                 ' [[name]] below [queues] and [aliases], and quote a name that contains # or ] or'
                 ' quotes'),
                ('[server]\nqueue_path = """/a\nb"""\n',
                 'line 2: [server] queue_path: a value in triple quotes; write it in one line, in'
                 ' single or double quotes if needed'),
                (b'[server]\n\nqueue_path = /\xff\n',
                 'line 3: the file is not UTF-8; save it in UTF-8'),
                ('[aliases]\n[[a b]]\n',
                 "line 2: [aliases] [[a b]]: bad queue name 'a b'; write one without . / ~, spaces,"
                 ' control characters and characters above U+00FF'),
                ]:
            with self.subTest(expected):
                self.assertEqual(self.error(text), expected)

    def test_errors_of_foreign_text_stay_one_line(self):
        self.error('[server]\nqueue_path = a\x1b[2Jb\n')
        self.error('[queues]\n[[a\x0b\x85b]]\n')
        self.error('[server]\n\x1b]0;x\x07 = 1\n')

    def test_passwords_are_not_told(self):
        for line in ('password = "secret', 'password = secret\x01', 'password = secret\npassword = secret'):
            with self.subTest(line):
                self.assertNotIn('secret', self.error(f'[zookeeper]\n{line}\n'))

    def test_files_that_cannot_be_read(self):
        for path, why in ((self.path, 'No such file or directory'),
                          (os.path.dirname(self.path), 'Is a directory')):
            with self.subTest(why), self.assertRaises(StartError) as caught:
                config.load(path)
            self.assertEqual(
                str(caught.exception),
                f'{path}: cannot read the configuration file: {why}; create it, make it readable, or name'
                ' another one with -f')

    def test_a_byte_order_mark_is_no_error(self):
        self.assertEqual(self.load(b'\xef\xbb\xbf[server]\nqueue_path = /x\n').server.queue_path, '/x')


class FilesTest(ConfigTestCase):
    """The files in etc/kestrel."""

    def entries(self):
        """{(section, key): [(value, whether it is commented out, comment above)]} of the production file."""
        found, section, comment = {}, None, []
        for line in PRODUCTION.read_text().splitlines():
            header = re.match(r'\[(\w+)\]$', line)
            entry = re.match(r'(#?)([a-z_]+) = (.*)$', line)
            if header:
                section = header.group(1)
            elif entry:
                place = section, entry.group(2)
                found.setdefault(place, []).append((entry.group(3), entry.group(1), ' '.join(comment)))
            elif line.startswith('# '):
                comment.append(line[2:])
            if not line:
                comment = []
        return found

    def test_production_has_every_setting_once(self):
        known = {(section, key) for section, keys in table().items() for key in keys if section != 'aliases'}
        entries = self.entries()
        self.assertEqual(set(entries), known)
        self.assertEqual({place for place, found in entries.items() if len(found) > 1}, set())
        self.assertEqual(PRODUCTION.read_text().count('destination_queues = '), 1)

    def test_production_says_what_may_be_written(self):
        """With each setting: what it means, its kind and limits, its default; all of it from the configspec."""
        spec, section = {}, None
        for line in (CHECKOUT / 'kestrel' / 'kestrel.configspec').read_text().splitlines():
            header = re.match(r'\[(\w+)\]$', line)
            entry = re.match(r'(\w+) = (.*)$', line)
            section = header.group(1) if header else section
            if entry:
                spec[section, entry.group(1)] = entry.group(2)
        for place, found in self.entries().items():
            with self.subTest(place):
                default = re.search(r'default=(.*)\)$', spec[place]).group(1)
                meaning, _, words = found[0][2].partition('Value: ')
                self.assertEqual(words, f'{settings.allowed(spec[place])}. Default: {default}.')
                self.assertRegex(meaning, r'\w+ \w+.*[.:]')

    def test_words_of_what_may_be_written(self):
        for check, words in [
                ('size(at_least=1, default=64MB)', 'a size of at least 1'),
                ('duration_or_none(at_least=1ms, default=none)', 'a duration of at least 1ms, or none'),
                ('integer(at_least=1, at_most=9, default=2)', 'an integer of at least 1 and at most 9'),
                ('option(text, json, default=text)', 'one of text, json'),
                ('list_of_queue_names(default=none)', 'a list of names of queues and aliases')]:
            self.assertEqual(settings.allowed(check), words)
        kinds = {kind.removesuffix('_or_none') for keys in table().values() for kind in keys.values()}
        self.assertEqual(kinds - set(settings.WORDS), {'option'})

    def test_each_line_of_production_loads_when_it_is_put_in_force(self):
        for (section, key), found in self.entries().items():
            with self.subTest(section=section, key=key):
                loaded = self.load(written(section, key, found[0][0]))
                self.assertIsNotNone(loaded.server)

    def test_production_shows_the_defaults(self):
        active = {place: found[0][0] for place, found in self.entries().items() if not found[0][1]}
        self.assertEqual(active, PRODUCTION_VALUES)
        commented = re.sub(r'^#([a-z_]+ = )', r'\1', PRODUCTION.read_text(), flags=re.M)
        for (section, key), value in PRODUCTION_VALUES.items():
            commented = commented.replace(f'\n{key} = {value}\n', '\n')
        loaded, plain = self.load(commented), self.load('')
        for section in ('server', 'admin', 'zookeeper', 'logging'):
            self.assertEqual(getattr(loaded, section), getattr(plain, section))
        self.assertEqual(loaded.queue(b'q'), plain.queue(b'q'))

    def test_production_loads(self):
        loaded = config.load(str(PRODUCTION), {})
        self.assertEqual(loaded.server.listen_address, '127.0.0.1')
        self.assertEqual(loaded.server.max_open_transactions, 100)
        self.assertEqual(loaded.queue(b'q').sync_journal, 100000)
        self.assertEqual(loaded.logging.filename, '/var/log/kestrel/kestrel.log')
        self.assertEqual(loaded.logging.roll, 'sighup')

    def test_the_examples_in_production_load(self):
        sections = PRODUCTION.read_text().partition('\n# One section for each queue')[2].partition('\n# ----')[0]
        queues, aliases = [re.findall(r'^#   (.*)$', part, re.M) for part in sections.split('\n[queues]\n')]
        self.assertEqual((len(queues), len(aliases)), (5, 2))
        loaded = self.load('\n'.join(['[queues]', *queues, '[aliases]', *aliases]))
        self.assertEqual(loaded.aliases, {b'wx_updates': [b'weather_updates', b'weather_archive']})
        self.assertEqual(loaded.queues, [b'weather_updates', b'transient_events'])
        self.assertEqual(loaded.queue(b'weather_updates').max_age, 1800 * S)
        self.assertFalse(loaded.queue(b'transient_events').keep_journal)

    def test_development_loads(self):
        loaded = config.load(str(DEVELOPMENT), {})
        self.assertEqual(loaded.server.client_timeout, 30 * S)
        self.assertEqual((loaded.logging.filename, loaded.logging.roll), (None, 'never'))
        self.assertIsNone(loaded.queue(b'q').sync_journal)
        # spec config 3
        self.assertEqual(set(loaded.queues), {
            b'weather_updates', b'transient_events', b'jobs_pending', b'jobs_ready', b'spam', b'spam0', b'spam-thrift',
            b'hello', b'small', b'slow'})
        self.assertEqual(loaded.aliases, {b'wx_updates': [b'weather_updates'], b'spam_all': [b'spam', b'spam0']})
        pending = loaded.queue(b'jobs_pending')
        self.assertEqual((pending.expire_to_queue, pending.max_age), (b'jobs_ready', 30 * S))
        only = loaded.queue(b'spam-thrift')
        self.assertEqual({only.white_list_client_id_for_dequeue, only.white_list_client_id_for_enqueue}, {'load-test'})
        for path in (loaded.server.queue_path, loaded.server.status_file):
            self.assertTrue(path.startswith('build/run/'), path)


if __name__ == '__main__':
    unittest.main()
