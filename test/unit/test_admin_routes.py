"""Paths, commands, names and who may change something (spec admin 1 to 4, 7, D62)."""

import gc
import json
import logging
import unittest

from kestrel import __version__
from kestrel.admin import commands
from kestrel.admin.access import why_refused
from kestrel.status import DOWN, QUIESCENT, READONLY, WRITEAVOID
from support.admin import AdminWorld

QUEUE_COUNTERS = '''canceled_transactions dead_letters discarded expired_items get_items_hit get_items_miss
    journal_rewrites journal_rotations put_bytes put_items total_flushes total_items transactions'''.split()
QUEUE_GAUGES = '''age_msec bytes create_time head_msec items journal_size max_bytes max_items mem_bytes mem_items
    open_transactions waiters'''.split()
SERVER_GAUGES = '''bytes connections items jvm_fd_count jvm_fd_limit jvm_heap_max jvm_heap_used jvm_num_cpus
    jvm_start_time jvm_thread_count jvm_uptime kestrel-memcache/connections reserved_memory_ratio status/readable
    status/writeable'''.split()
QUEUE_METRICS = '''delivery_latency_msec fill_readbehind_usec get_hit_latency_usec get_miss_latency_usec
    get_timeout_msec journal_rewrite_usec journal_rotation_usec queue_size request_size set_latency_usec
    tx_expire_list_size tx_map_size'''.split()


class StatsTest(unittest.TestCase):

    def setUp(self):
        self.world = AdminWorld()

    def test_names_of_a_queue(self):
        queue = self.world.collection.need(b'q')
        for name in QUEUE_METRICS:
            getattr(queue.stats, name).add(1)
        found = self.world.json('/stats.json')
        for section, names in (('counters', QUEUE_COUNTERS), ('gauges', QUEUE_GAUGES), ('metrics', QUEUE_METRICS)):
            self.assertEqual([name for name in found[section] if name.startswith('q/')],
                             ['q/q/' + name for name in names])

    def test_names_of_the_server(self):
        found = self.world.json('/stats')
        self.assertEqual(list(found['gauges']), SERVER_GAUGES)
        self.assertEqual(found['labels'], {'status': 'Up', 'version': __version__})
        self.assertEqual(found['metrics'], {})
        # a global counter appears when it is first used
        self.assertEqual(set(found['counters']) - {'jvm_gc_cycles'}, set())
        stats = self.world.stats
        stats.waiters_aborted += 2
        stats.count_fsync_error('OSError')
        stats.transports['memcache'].closes += 1
        stats.fsync_delay_usec.add(3)
        found = self.world.json('/stats')
        self.assertEqual({name: value for name, value in found['counters'].items() if name != 'jvm_gc_cycles'}, {
            'cmd_get_timeout_dropped': 2, 'waiters_aborted': 2, 'fsync_error_OSError': 1,
            'kestrel-memcache/closes': 1, 'kestrel-memcache/closed': 1, 'kestrel-memcache/closechans': 1})
        self.assertEqual(found['metrics']['fsync_delay_usec']['average'], 3)

    def test_json_is_compact_and_sorted(self):
        for name in (b'a', b'a+b', b'a-', b'ab', b'\xe9', b'a b'):
            self.world.collection.need(name).put(b'1', 0, 0, False)
        text = self.world.text('/stats')
        self.assertTrue(text.startswith('{"counters":{"'))
        self.assertTrue(text.endswith('}}\n'))
        found = json.loads(text)
        self.assertEqual(list(found), ['counters', 'gauges', 'labels', 'metrics'])
        for section in found.values():
            self.assertEqual(list(section), sorted(section))
        self.assertEqual(json.dumps(found, separators=(',', ':'), sort_keys=True) + '\n', text)

    def test_foreign_names_do_no_harm(self):
        for name in (b'<script>&', b'"\\', b'\x1b[2J\t', b'\xff\x85', b'caf\xc3\xa9'):
            self.world.collection.need(name).put(b'1', 0, 0, False)
        text = self.world.text('/stats')
        for char in '<>&\x1b\t\xff':
            self.assertNotIn(char, text)
        names = {name.split('/')[1] for name in json.loads(text)['counters'] if name.startswith('q/')}
        self.assertEqual(names, {'<script>&', '"\\', '\x1b[2J\t', '\xff\x85', 'caf\xc3\xa9'})
        plain = self.world.text('/stats.txt')
        self.assertNotIn('\x1b', plain)
        self.assertIn('q/\\x1b[2J\\t/items: 1\n', plain)

    def test_text(self):
        queue = self.world.collection.need(b'q')
        queue.put(b'abc', 0, 0, False)
        for value in (1, 2, 3, 4, 5, 6):
            self.world.stats.set_latency_usec.add(value)
        text = self.world.text('/stats.txt')
        lines = text.splitlines()
        self.assertEqual([line for line in lines if not line.startswith('  ')],
                         ['counters:', 'gauges:', 'labels:', 'metrics:'])
        for line in ('  q/q/put_items: 1', '  items: 1', '  reserved_memory_ratio: 0.125', '  version: ' + __version__,
                     '  set_latency_usec: (average=3, count=6, maximum=6, minimum=1, p25=2, p50=3, p75=5, p90=6, '
                     'p95=6, p99=6, p999=6, p9999=6, sum=21)'):
            self.assertIn(line, lines)
        self.world.text('/stats?namespace=n')
        self.assertIn('  set_latency_usec: (count=0)\n', self.world.text('/stats.txt?namespace=n'))

    def test_figures(self):
        queue = self.world.collection.need(b'q')
        queue.put(b'abc', 0, 0, False)
        queue.put(b'defg', 0, 0, False)
        self.world.clock.advance(1.5)
        queue.take(True, self.world.clock.now_ms())
        gauges = self.world.json('/stats')['gauges']
        self.assertEqual({name: gauges['q/q/' + name] for name in QUEUE_GAUGES if name != 'create_time'}, {
            'age_msec': 1500, 'bytes': 4, 'head_msec': 1500, 'items': 1, 'journal_size': 0,
            'max_bytes': 2 ** 63 - 1, 'max_items': 2147483647, 'mem_bytes': 4, 'mem_items': 1,
            'open_transactions': 1, 'waiters': 0})
        self.assertEqual((gauges['items'], gauges['bytes'], gauges['reserved_memory_ratio']), (1, 4, 0.125))
        self.assertEqual(gauges['jvm_uptime'], 1500)


class CommandTest(unittest.TestCase):

    def setUp(self):
        self.world = AdminWorld()

    def check(self, target, body, status='200 OK', content_type='application/json', **headers):
        answer = self.world.get(target, **headers)
        self.assertEqual((answer.status, answer.content_type, b''.join(answer.body).decode()),
                         (status, content_type, body), target)

    def test_command_and_format(self):
        for target in ('/ping', '/ping.json', '/x/y/ping', '/ping.html', '/ping.txt.json', '/p%69ng', '/ping?a&=&b=c'):
            self.check(target, '{"response":"pong"}\n')
        for target in ('/ping.txt', '/x/ping.txt', '/ping.json.txt'):
            self.check(target, 'pong\n', content_type='text/plain')

    def test_unknown(self):
        for target in ('/nosuch', '/admin/x', '/quitquitquit', '/abortabortabort', '/pping', '/ping/', '/pprof/heap'):
            self.check(target, 'no such command\n', '404 Not Found', 'text/html')
        self.check('/favicon.ico', 'no such file', '404 Not Found', 'text/html')
        self.check('/static/../kestrel.conf', 'no such file', '404 Not Found', 'text/html')

    def test_callback(self):
        self.check('/ping?callback=f', 'f({"response":"pong"}\n)')
        self.check('/ping?callback=', 'ostrichCallback({"response":"pong"}\n)')
        self.check('/ping?callback=true', 'ostrichCallback({"response":"pong"}\n)')
        self.check('/ping?callback=a&callback=$b_.C1', '$b_.C1({"response":"pong"}\n)')
        self.check('/ping.txt?callback=<', 'pong\n', content_type='text/plain')
        for name in ('alert(1)', '%3Cscript%3E', 'a%0A', 'a%20b', '%C3%A9'):
            answer = self.world.get('/ping?callback=' + name)
            self.assertEqual((answer.status, answer.content_type), ('400 Bad Request', 'text/html'), name)
        self.assertTrue(self.world.text('/stats?callback=f').startswith('f({"counters"'))

    def test_changing_ones(self):
        for target, told in (('/shutdown', 'shutdown'), ('/quiesce.txt', 'shutdown')):
            self.world.control.told.clear()
            self.assertIn('ok', self.world.text(target))
            self.assertEqual(self.world.control.told, [told])
        before = gc.get_stats()[2]['collections']
        with self.assertLogs(self.world.logger, 'INFO') as caught:
            self.check('/gc', '{"response":"ok"}\n')
        self.assertRegex(caught.output[0], r'/gc: \d+ objects were garbage; for 0\.000 s nothing else ran$')
        self.assertGreater(gc.get_stats()[2]['collections'], before)

    def test_read_only(self):
        self.world = AdminWorld(read_only=True)
        for target in ('/shutdown', '/quiesce', '/reload', '/gc', '/logging?name=a&level=INFO', '/logging?name=a'):
            self.assertEqual(self.world.get(target).status, '403 Forbidden', target)
        self.assertEqual(self.world.control.told, [])
        self.assertEqual(self.world.get('/logging').status, '200 OK')
        self.assertEqual(self.world.get('/stats').status, '200 OK')

    def test_pages_of_other_sites_change_nothing(self):
        for headers in ({'origin': 'http://evil.example'}, {'host': 'evil.example:2223'},
                        {'sec_fetch_site': 'cross-site'}):
            for target in ('/shutdown', '/reload', '/gc', '/quiesce', '/logging?level=OFF'):
                self.assertEqual(self.world.get(target, **headers).status, '403 Forbidden', target)
            self.assertEqual(self.world.get('/stats', **headers).status, '200 OK')
        self.assertEqual(self.world.control.told, [])

    def test_server_info(self):
        found = self.world.json('/server_info')
        self.assertEqual(sorted(found), [
            'build', 'build_branch_name', 'build_last_few_commits', 'build_revision', 'name', 'start_time', 'uptime',
            'version'])
        self.assertEqual((found['name'], found['version'], found['start_time'], found['build_last_few_commits']),
                         ('kestrel', __version__, 'Tue Nov 19 14:06:40 UTC 2013', []))
        self.assertIn('start_time: Tue Nov 19 14:06:40 UTC 2013\n', self.world.text('/server_info.txt'))

    def test_threads(self):
        for found in self.world.json('/threads')['threads'].values():
            self.assertEqual(sorted(found), ['daemon', 'priority', 'stack', 'state', 'thread'])
        self.assertIn('test_threads', self.world.text('/threads.txt'))

    def test_early(self):
        control = self.world.control
        control.loaded = control.listening = False
        for target in ('/ping', '/ping.txt', '/health', '/metrics'):
            self.assertEqual(self.world.get(target).status, '200 OK', target)
        for target in ('/', '/stats', '/ready', '/shutdown', '/graph_data', '/nosuch', '/logging'):
            self.assertEqual(self.world.get(target).status, '503 Service Unavailable', target)
        self.assertEqual(self.world.text('/ready'), 'the journals are being replayed\n')
        control.loaded = True
        self.assertEqual(self.world.text('/ready'), 'the client ports are not open yet\n')

    def test_ready(self):
        status = self.world.control.server_status
        self.check('/ready', 'OK\n', content_type='text/plain')
        for announced, in_force, why in (
                (WRITEAVOID, WRITEAVOID, None), (READONLY, WRITEAVOID, 'status ReadOnly is announced: it blocks writes'),
                (QUIESCENT, QUIESCENT, 'status Quiescent is announced: it blocks reads and writes'),
                (WRITEAVOID, DOWN, 'status Down is in force: it blocks reads and writes')):
            status.announced, status.in_force = announced, in_force
            if why is None:
                self.check('/ready', 'OK\n', content_type='text/plain')
            else:
                self.check('/ready', why + '\n', '503 Service Unavailable', 'text/plain')
            self.check('/health', 'OK\n', content_type='text/plain')
        self.world.control.stopping = True
        self.check('/ready', 'the server is stopping\n', '503 Service Unavailable', 'text/plain')

    def test_errors_are_escaped(self):
        self.assertNotIn('<b>', self.world.text('/stats?period=%3Cb%3E'))
        self.assertNotIn('<b>', self.world.text('/graph_data/%3Cb%3E'))


class LoggingTest(unittest.TestCase):

    HELP = ('Supported Levels:\nOFF\nFATAL\nCRITICAL\nERROR\nWARNING\nINFO\nDEBUG\nTRACE\nALL\nValid Loggers:%s\n%s'
            % ('test-admin', 'test-admin.part'))

    def setUp(self):
        self.logger = logging.getLogger('test-admin')
        self.part = logging.getLogger('test-admin.part')
        logging.getLogger('test-administration')

    def set(self, pattern, level):
        return commands.set_level(self.logger, pattern, level)

    def test_help(self):
        for pair in ((None, None), (None, 'INFO'), ('test-admin', None)):
            self.assertEqual(self.set(*pair), 'Specify a logger name and level\n\n' + self.HELP)

    def test_set(self):
        self.assertEqual(self.set('test-admin', 'debug'), 'Successfully changed the level of the following logger(s)'
                         ' to DEBUG\n\ttest-admin\n')
        self.assertEqual(self.logger.level, logging.DEBUG)
        self.assertEqual(self.set('test-.*', 'ERROR'), 'Successfully changed the level of the following logger(s)'
                         ' to ERROR\n\ttest-admin\n\ttest-admin.part\n')
        self.assertEqual((self.logger.level, self.part.level), (logging.ERROR, logging.ERROR))

    def test_failures(self):
        for pattern, level in (('nothing', 'INFO'), ('test', 'INFO'), ('test-admin', 'LOUD'), ('(', 'INFO'),
                               ('x' * 101, 'INFO'), ('test-administration', 'INFO')):
            self.assertEqual(self.set(pattern, level), 'Logging level change failed for %s to %s\n\n%s'
                             % (pattern, level, self.HELP))


class AccessTest(unittest.TestCase):

    NAMES = {'machine', 'mq.example'}

    def refused(self, **headers):
        return why_refused(lambda name: headers.get(name.replace('-', '_')), self.NAMES)

    def test_served(self):
        for headers in ({}, {'host': '10.1.2.3:2223'}, {'host': '[::1]:2223'}, {'host': 'LOCALHOST:2223'},
                        {'host': 'machine'}, {'host': 'mq.example:80'}, {'host': 'localhost.'},
                        {'host': '127.0.0.1:2223', 'origin': 'http://127.0.0.1:2223', 'sec_fetch_site': 'same-origin'},
                        {'host': 'mq.example', 'referer': 'http://mq.example/graph/?a=b'},
                        {'host': 'mq.example', 'referer': 'https://mq.example/'},
                        {'host': '127.0.0.1:2223', 'sec_fetch_site': 'none'}):
            self.assertIsNone(self.refused(**headers), headers)

    def test_refused(self):
        for headers in ({'host': 'evil.example:2223'}, {'host': 'localhost.evil.example'}, {'host': ''},
                        {'host': 'a/b'}, {'host': 'localhost:x'}, {'host': 'user@localhost'},
                        {'host': '127.0.0.1:2223', 'origin': 'null'},
                        {'host': '127.0.0.1:2223', 'origin': 'http://127.0.0.1:2224'},
                        {'host': '127.0.0.1:2223', 'origin': 'http://127.0.0.1'},
                        {'host': '127.0.0.1:2223', 'referer': 'http://evil.example/127.0.0.1:2223'},
                        {'host': '127.0.0.1:2223', 'referer': 'garbage'}, {'origin': 'http://127.0.0.1:2223'},
                        {'host': '127.0.0.1', 'sec_fetch_site': 'cross-site'},
                        {'host': '127.0.0.1', 'sec_fetch_site': 'same-site'}):
            self.assertIsNotNone(self.refused(**headers), headers)


if __name__ == '__main__':
    unittest.main()
