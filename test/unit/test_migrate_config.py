"""kestrel-migrate --config: the original's settings under our names (spec config 2 to 4), in a file the server accepts."""

import io
import pathlib
import re
import shutil
import tempfile
import unittest

from kestrel import config
from kestrel.tools.console import Console
from kestrel.tools.migrate import main, scala, settings_table
from support.clock import MovedClock
from support.environment import DATA

MB, S = 1 << 20, 10 ** 6

# Each setting of the original as somebody writes it: (where, original, its value, ours, what our configuration has then).
SERVER = (
    ('listenAddress', '"10.1.2.3"', 'listen_address', '10.1.2.3'), ('memcacheListenPort', '22', 'memcache_listen_port', 22),
    ('textListenPort', 'Some(23)', 'text_listen_port', 23), ('thriftListenPort', 'None', 'thrift_listen_port', None),
    ('queuePath', '"/q p"', 'queue_path', '/q p'), ('statusFile', '"/s"', 'status_file', '/s'),
    ('expirationTimerFrequency', 'Some(2.seconds)', 'expiration_timer_frequency', 2 * S),
    ('clientTimeout', '30.seconds', 'client_timeout', 30 * S), ('maxOpenTransactions', '7', 'max_open_transactions', 7),
    ('connectionBacklog', 'Some(8)', 'connection_backlog', 8), ('defaultStatus', 'ReadOnly', 'default_status', 'ReadOnly'),
    ('defaultStatus', 'Quiescent', 'default_status', 'Quiescent'),
    ('statusChangeGracePeriod', '3.seconds', 'status_change_grace_period', 3 * S),
    ('enableSessionTrace', 'true', 'enable_session_trace', True),
    ('connectionLimitRefuseWrites', '9', 'connection_limit_refuse_writes', 9),
    ('connectionLimitRefuseReads', 'Some(10)', 'connection_limit_refuse_reads', 10))
QUEUE = (
    ('maxItems', '11', 'max_items', 11), ('maxItems', 'Int.MaxValue', 'max_items', 2 ** 31 - 1),
    ('maxSize', '2.gigabytes', 'max_size', 2048 * MB), ('maxItemSize', 'Long.MaxValue.bytes', 'max_item_size', 2 ** 63 - 1),
    ('maxAge', 'Some(1.hour)', 'max_age', 3600 * S), ('maxAge', 'None', 'max_age', None),
    ('defaultJournalSize', '12.kilobytes', 'default_journal_size', 12288),
    ('maxMemorySize', '(64 * 1024 * 1024).bytes', 'max_memory_size', 64 * MB), ('maxJournalSize', '13', 'max_journal_size', 13),
    ('minJournalCompactDelay', 'Some(2.minutes)', 'min_journal_compact_delay', 120 * S),
    ('discardOldWhenFull', 'true', 'discard_old_when_full', True), ('keepJournal', 'false', 'keep_journal', False),
    ('syncJournal', '10.milliseconds', 'sync_journal', 10000), ('syncJournal', '0.seconds', 'sync_journal', 0),
    ('syncJournal', 'Duration.MaxValue', 'sync_journal', None), ('expireToQueue', 'Some("other")', 'expire_to_queue', b'other'),
    ('maxExpireSweep', '14', 'max_expire_sweep', 14), ('fanoutOnly', 'true', 'fanout_only', True),
    ('maxQueueAge', '5.days', 'max_queue_age', 5 * 86400 * S), ('enableTrace', 'true', 'enable_trace', True),
    ('disableAggressiveRewrites', 'true', 'disable_aggressive_rewrites', True),
    ('openTransactionTimeout', '6.minutes', 'open_transaction_timeout', 360 * S),
    ('whiteListClientIdForDequeue', '"load test"', 'white_list_client_id_for_dequeue', 'load test'),
    ('whiteListClientIdForEnqueue', 'Some("x")', 'white_list_client_id_for_enqueue', 'x'))
ADMIN = (
    ('admin.httpPort', '2223', 'http_port', 2223), ('admin.httpBacklog', '5', 'http_backlog', 5),
    ('admin.statsFilters', 'List("^q/.*".r, "a,b".r)', 'stats_filters', ['^q/.*', 'a,b']),
    ('admin.defaultLatchIntervals', '1.minute :: 10.seconds', 'default_latch_intervals', [60 * S, 10 * S]),
    ('admin.statsNodes', 'new StatsConfig { reporters = new TimeSeriesCollectorConfig }', 'time_series', True))
LOGGING = (('level = Level.DEBUG', 'level', 'DEBUG'), ('level = Level.FATAL', 'level', 'FATAL'),
           ('handlers = new FileHandlerConfig { filename = "/l"; roll = Policy.Hourly }', 'filename', '/l'),
           ('handlers = List(new FileHandlerConfig { roll = Policy.SigHup })', 'roll', 'sighup'),
           ('handlers = new FileHandlerConfig { roll = Policy.Daily }', 'roll', 'daily'),
           ('handlers = new ConsoleHandlerConfig()', 'filename', None))


class ConfigTest(unittest.TestCase):

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def migrate(self, text, code=0, *words):
        """-> (the new file, errors) of a configuration; both str."""
        path = self.folder / 'old.scala'
        path.write_text(text)
        out, err = io.BytesIO(), io.StringIO()
        self.assertEqual(main.run(['--config', str(path), *words], Console(out, err), clock=MovedClock()), code, err.getvalue())
        return out.getvalue().decode(), err.getvalue().replace(str(path), 'old.scala')

    def loaded(self, body, code=0):
        """What the server makes of a configuration with this body."""
        text, _ = self.migrate('new KestrelConfig {\n%s\n}\n' % body, code)
        return config.loads(text, 'new', {})

    def problems(self, body):
        text, errors = self.migrate('new KestrelConfig {\n%s\n}\n' % body, 1)
        config.loads(text, 'new', {})
        lines = errors.splitlines()
        self.assertRegex(lines.pop(), '^%d things were left out' % len(lines))
        self.assertEqual([line in text for line in [line.partition(': ')[2] for line in lines]], [True] * len(lines))
        return [line.removeprefix('old.scala: line ') for line in lines]

    def test_every_setting(self):
        for section, rows in ('server', SERVER), ('admin', ADMIN):
            for theirs, value, ours, expected in rows:
                with self.subTest(theirs, value=value):
                    self.assertEqual(getattr(getattr(self.loaded('%s = %s' % (theirs, value)), section), ours), expected)
        for theirs, value, ours, expected in QUEUE:
            with self.subTest(theirs, value=value):
                loaded = self.loaded('queues = new QueueBuilder { name = "a+b"; %s = %s }' % (theirs, value))
                self.assertEqual((loaded.queues, getattr(loaded.queue(b'a+b'), ours)), ([b'a+b'], expected))
                if theirs != 'expireToQueue':
                    loaded = self.loaded('default.%s = %s' % (theirs, value))
                    self.assertEqual(getattr(loaded.queue(b'any'), ours), expected)
        for text, ours, expected in LOGGING:
            with self.subTest(text):
                self.assertEqual(getattr(self.loaded('loggers = new LoggerConfig { %s }' % text).logging, ours), expected)
        self.assertEqual(self.loaded('aliases = new AliasBuilder { name = "n"; destinationQueues = "a" :: "b,c" :: Nil } :: '
                                     'new AliasBuilder { name = "e" }').aliases, {b'n': [b'a', b'b,c'], b'e': []})

    def test_the_rows_are_all_there_are(self):
        self.assertEqual({row[0] for row in SERVER}, settings_table.SERVER)
        self.assertEqual({row[0] for row in QUEUE}, settings_table.QUEUE)
        self.assertEqual({row[0] for row in ADMIN} - {'admin.statsNodes'}, {'admin.' + name for name in settings_table.ADMIN})
        table = config.table()
        for home, names in (('server', settings_table.SERVER), ('default', settings_table.QUEUE),
                            ('admin', settings_table.ADMIN), ('zookeeper', settings_table.ZOOKEEPER),
                            ('aliases', settings_table.ALIAS)):
            for name in names:
                self.assertTrue(table.kind(home, settings_table.ours(name)))

    def test_zookeeper(self):
        """Its settings are carried over, whether the server can do it yet or not."""
        statements, problems = scala.read(
            'new KestrelConfig { zookeeper = Some(new ZooKeeperBuilder { host = "zk"; port = 2182; pathPrefix = "/k/p"\n'
            'sessionTimeout = 5.seconds; credentials = Some(("u", "p w")); acl = EveryoneReadCreatorAllACL\n'
            'clientInitializer = Some(x); serverSetInitializer = None }) }')
        mapping = settings_table.Mapping(config.table(), statements, problems)
        self.assertEqual({one.key: one.raw for one in mapping.settings if one.section == 'zookeeper'}, {
            'host': 'zk', 'port': '2182', 'path_prefix': '/k/p', 'session_timeout': '5s', 'username': 'u', 'password': 'p w',
            'acl': 'everyone_read_creator_all'})
        self.assertEqual(mapping.problems, [(3, 1, 'clientInitializer: code cannot be carried over')])
        self.assertIsNone(self.loaded('zookeeper = None').zookeeper.host)

    def test_what_holds_if_nothing_is_written(self):
        loaded = self.loaded('')
        self.assertEqual((loaded.server.listen_address, loaded.server.queue_path, loaded.admin.http_port),
                         ('0.0.0.0', '/tmp', None))
        self.assertEqual(loaded.server.max_open_transactions, 1)

    def test_what_is_left_out(self):
        for body, expected in (
                ('default.maxItems = 0', ["2, column 1: maxItems: '0' is too small; write an integer of at least 1, or none"]),
                ('maxOpenTransactions = None', ['2, column 1: maxOpenTransactions: None is no value here']),
                ('clientTimeout = 30', ['2, column 1: clientTimeout: \'30\' cannot be carried over']),
                ('default.maxSize = 1.second', ['2, column 1: maxSize: a duration cannot be carried over']),
                ('default.syncJournal = true', ['2, column 1: syncJournal: true cannot be carried over']),
                ('beFactoryClass = Some("x")', ['2, column 1: beFactoryClass: storage plug-ins are not supported']),
                ('default.multifileJournal = true', ['2, column 1: default.multifileJournal: not a setting of Kestrel 2.4']),
                ('queues = foo :: new QueueBuilder { }', [
                    '2, column 1: queues: foo, where new QueueBuilder { ... } should be',
                    '2, column 17: new QueueBuilder without a name, which must be a string']),
                ('queues = new QueueBuilder { name = "a.b" }', [
                    "2, column 29: bad queue name 'a.b'; write one without . / ~, spaces, control characters and "
                    'characters above U+00FF']),
                ('queues = new QueueBuilder {\n name = "a"\n expireToQueue = "a" }', [
                    '4, column 2: [queues] [[a]] expire_to_queue: queue a would have itself as its expire_to_queue; name '
                    'another queue']),
                ('aliases = new AliasBuilder { name = "a"; destinationQueues = List("b") } ::\n'
                 'new AliasBuilder { name = "b"; destinationQueues = List("a") }', [
                     '2, column 42: [aliases] [[a]] destination_queues: the alias leads back to itself: a -> b -> a; take '
                     'one of these out']),
                ('admin.statsNodes = new StatsConfig { reporters = new JsonStatsLoggerConfig { loggerName = "x" } ::\n'
                 ' new TimeSeriesCollectorConfig }', ['2, column 50: JsonStatsLoggerConfig: statistics are not logged; ask '
                                                      '/metrics or /stats.json of the admin port for them']),
                ('loggers = new LoggerConfig { level = Level.INFO } :: new LoggerConfig { node = "stats" }', [
                    "2, column 73: the logger of 'stats': there is one log only"]),
                ('loggers = new LoggerConfig { handlers = new FileHandlerConfig { filename = "/l"\n roll = Policy.Weekly(1)\n'
                 ' append = true } }', ['3, column 2: roll: Policy.Weekly(...) cannot be carried over',
                                        '4, column 2: append: not a setting of FileHandlerConfig that is known here']),
                ('loggers = new LoggerConfig { level = Level.INFO\nhandlers = new SyslogHandlerConfig { } }', [
                    '3, column 12: SyslogHandlerConfig: only one handler, a file or the console, has its like here'])):
            with self.subTest(body):
                self.assertEqual(self.problems(body), expected)

    def test_the_last_one_counts(self):
        loaded = self.loaded('maxOpenTransactions = 2\nmaxOpenTransactions = 3\nqueues = new QueueBuilder { name = "a" }\n'
                             'queues = new QueueBuilder { name = "b"; maxItems = 5 } :: new QueueBuilder { name = "b"; '
                             'maxAge = 1.second }')
        self.assertEqual((loaded.server.max_open_transactions, loaded.queues), (3, [b'b']))
        self.assertEqual((loaded.queue(b'b').max_items, loaded.queue(b'b').max_age), (2 ** 31 - 1, S))

    def test_names_that_need_quotes(self):
        for name in ('a#b', 'a]b', "it's", 'q[1', 'a,b', '=x', 'caf\u00e9'):
            with self.subTest(name):
                loaded = self.loaded('queues = new QueueBuilder { name = "%s"; maxItems = 5 }' % name)
                self.assertEqual((loaded.queues, loaded.queue(name.encode('latin-1')).max_items), ([name.encode('latin-1')], 5))

    def test_the_files_of_the_original(self):
        for name, queues, roll in (('production', 2, 'sighup'), ('development', 10, 'never')):
            with self.subTest(name):
                text, errors = self.migrate((DATA / 'scala' / (name + '.scala')).read_text())
                self.assertEqual(errors, '')
                loaded = config.loads(text, 'new', {})
                self.assertEqual((len(loaded.queues), loaded.logging.roll, loaded.admin.http_port), (queues, roll, 2223))
                self.assertEqual(loaded.queue(b'weather_updates').max_age, 1800 * S)
        self.assertEqual(loaded.queue(b'jobs_ready').sync_journal, 0)
        self.assertEqual(loaded.queue(b'small').max_memory_size, 16 * MB)
        self.assertEqual(loaded.queue(b'spam-thrift').white_list_client_id_for_dequeue, 'load-test')
        self.assertEqual(loaded.aliases, {b'wx_updates': [b'weather_updates'], b'spam_all': [b'spam', b'spam0']})

    def test_it_says_where_things_come_from(self):
        text, _ = self.migrate((DATA / 'scala' / 'production.scala').read_text())
        self.assertIn('\n# for all queues:\n# old.scala:22: default.defaultJournalSize = 16.megabytes\n'
                      'default_journal_size = 16MB\n', text)
        self.assertIn('\n# the weather of half an hour ago is of no use\n# old.scala:33\n[[weather_updates]]\n', text)
        self.assertIn("\n# queuePath, the original's default\nqueue_path = /tmp\n", self.migrate('new KestrelConfig { }')[0])

    def test_a_file_full_of_code(self):
        text, errors = self.migrate((DATA / 'scala' / 'broken.scala').read_text(), 1)
        self.assertEqual(re.findall(r'line (\d+)', errors), ['3', '6', '7', '8', '9', '15', '16'])
        loaded = config.loads(text, 'new', {})
        self.assertEqual((loaded.server.max_open_transactions, loaded.admin.http_port, loaded.queues), (7, 2223, []))

    def test_what_cannot_be_read_writes_nothing(self):
        output = self.folder / 'new.conf'
        text, errors = self.migrate('new KestrelConfig { a = "', 2, '--output', str(output))
        self.assertEqual((text, errors, output.exists()), (
            '', 'kestrel-migrate: old.scala: line 1, column 25: a string that does not end; close its quotes\n', False))

    def test_too_many_brackets(self):
        _, errors = self.migrate('new KestrelConfig { a = %s1%s }' % ('(' * 9999, ')' * 9999), 2)
        self.assertEqual(errors, 'kestrel-migrate: old.scala: brackets in brackets, more than can be read\n')

    def test_output(self):
        output = self.folder / 'new.conf'
        self.assertEqual(self.migrate('new KestrelConfig { }', 0, '--output', str(output)), ('', ''))
        self.assertEqual(config.load(str(output), {}).server.queue_path, '/tmp')
        before = output.read_text()
        _, errors = self.migrate('new KestrelConfig { }', 2, '--output', str(output))
        self.assertIn('it is there already', errors)
        self.assertEqual(output.read_text(), before)


if __name__ == '__main__':
    unittest.main()
