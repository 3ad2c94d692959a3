"""/stats with period and namespace (spec admin 3, D26, D62)."""

import json
import tracemalloc
import unittest

from kestrel.admin import stats_report
from kestrel.admin.dropped import Dropped
from kestrel.admin.listeners import MOST, Listeners
from kestrel.stats import QueueStats
from support.admin import AdminWorld
from support.clock import THEN
from support.spool import LogLines

# THEN is 20 s behind a full minute
TO_NEXT_LATCH = 60 - THEN // 1000 % 60 + 1


class PeriodTest(unittest.TestCase):

    def setUp(self):
        self.world = AdminWorld(periods=[60, 10])
        self.client = self.world.client()

    def put(self, count=1, name=b'q'):
        queue = self.world.collection.need(name)
        for _ in range(count):
            queue.put(b'abc', 0, 0, False)

    def puts(self, target):
        """(put_items of the last period, items)"""
        found = self.world.json(target)
        return found['counters'].get('q/q/put_items'), found['gauges'].get('q/q/items')

    def test_totals_until_the_first_latch(self):
        self.put(3)
        self.assertEqual(self.puts('/stats?period=30'), (3, 3))
        self.put(2)
        self.assertEqual(self.puts('/stats?period=30'), (3, 3))
        self.assertEqual(self.puts('/stats'), (5, 5))

    def test_totals_while_the_first_latch_is_under_way(self):
        self.client.ask(b'set q 0 0 3\r\nabc\r\n')
        late = Listeners(self.world.services, [30], None)
        found = json.loads(b''.join(stats_report.of_period(self.world.services, late.period(30), stats_report.Json)))
        self.assertEqual((found['counters']['cmd_set'], found['counters']['total_items'], found['gauges']['items']), (1, 1, 1))

    def test_change_between_the_last_two_latches(self):
        self.put(3)
        self.world.pass_seconds(TO_NEXT_LATCH)
        self.assertEqual(self.puts('/stats?period=60'), (3, 3))
        self.put(2)
        self.world.pass_seconds(59)
        self.assertEqual(self.puts('/stats?period=60'), (3, 3))
        self.world.pass_seconds(1)
        self.assertEqual(self.puts('/stats?period=60'), (2, 5))
        self.world.pass_seconds(60)
        self.assertEqual(self.puts('/stats?period=60'), (0, 5))

    def test_the_longest_period(self):
        self.put()
        self.assertEqual(self.puts('/stats?period=2147483647')[1], self.puts('/stats?period=0002147483')[1])
        self.assertIn('must be a whole number of seconds', self.world.text('/stats?period=2147483648'))

    def test_latches_at_multiples_of_the_period_and_a_second(self):
        self.world.json('/stats?period=7')
        latches = []
        for _ in range(30):
            self.put()
            before = self.puts('/stats?period=7')
            self.world.pass_seconds(1)
            if self.puts('/stats?period=7') != before:
                latches.append(self.world.now() % 7)
        self.assertEqual(latches, [1, 1, 1, 1])

    def test_every_second(self):
        self.world.json('/stats?period=1')
        for count in (3, 1, 4):
            self.put(count)
            self.world.pass_seconds(1)
            self.assertEqual(self.puts('/stats?period=1')[0], count)

    def test_a_clock_that_is_set_back_latches_on(self):
        self.world.json('/stats?period=10')
        self.world.clock.ms -= 3600 * 1000
        self.put()
        self.world.pass_seconds(1)
        self.assertEqual(self.puts('/stats?period=10'), (1, 1))
        self.put(2)
        self.world.pass_seconds(10)
        self.assertEqual(self.puts('/stats?period=10'), (2, 3))

    def test_metrics_are_differences(self):
        queue = self.world.collection.need(b'q')
        queue.stats.set_latency_usec.add(10)
        self.world.pass_seconds(TO_NEXT_LATCH)
        queue.stats.set_latency_usec.add(20)
        self.world.pass_seconds(60)
        found = self.world.json('/stats?period=60')['metrics']['q/q/set_latency_usec']
        self.assertEqual((found['count'], found['sum'], found['minimum']), (1, 20, 19))
        self.world.pass_seconds(60)
        self.assertEqual(self.world.json('/stats?period=60')['metrics']['q/q/set_latency_usec'], {'count': 0})

    def test_bad_periods(self):
        for text in ('0', '-1', 'x', '1.5', '', '1e3', '%D9%A1'):
            with self.subTest(text):
                answer = self.world.get('/stats?period=' + text)
                self.assertEqual(answer.status, '500 Internal Server Error')
                self.assertTrue(answer.body[0].startswith(b'error processing command: period must be'), answer.body)

    def test_period_wins_over_namespace(self):
        self.put(3)
        self.world.pass_seconds(TO_NEXT_LATCH)
        self.world.pass_seconds(60)
        self.assertEqual(self.puts('/stats?namespace=n&period=60'), (0, 3))
        self.assertEqual(self.puts('/stats?namespace=n')[0], 3)

    def test_namespace(self):
        self.put(3)
        self.assertEqual(self.puts('/stats?namespace=a'), (3, 3))
        self.put(1)
        self.assertEqual(self.puts('/stats?namespace=a'), (1, 4))
        self.assertEqual(self.puts('/stats?namespace=b'), (4, 4))
        self.assertEqual(self.puts('/stats?namespace=a'), (0, 4))

    def test_filtered(self):
        world = AdminWorld(stats_filters=['q/.*', 'jvm_.*'])
        world.collection.need(b'q').put(b'1', 0, 0, False)
        plain = world.json('/stats?namespace=a')
        self.assertIn('q/q/put_items', plain['counters'])
        found = world.json('/stats?filtered=1&namespace=b')
        self.assertEqual([name for section in found.values() for name in section if name[:2] in ('q/', 'jv')], [])
        self.assertIn('items', found['gauges'])
        # alone it means nothing; a name must match entirely
        self.assertIn('q/q/put_items', world.json('/stats?filtered=1')['counters'])

    def test_most(self):
        # the period of 10 s, which exists from the start, is one of them; that of 60 s is not
        for number in range(MOST // 2):
            self.world.json('/stats?period=%d' % (100 + number))
            if number:
                self.world.json('/stats?namespace=%d' % number)
        refused = self.world.get('/stats?namespace=more')
        self.assertEqual((refused.status[:3], refused.body[0][:44]),
                         ('500', b'error processing command: 32 periods and nam'))
        self.assertEqual(self.world.get('/stats?period=101').status, '200 OK')
        self.assertEqual(self.world.get('/stats?period=60').status, '200 OK')
        self.assertEqual(self.world.get('/stats?period=10').status, '200 OK')

    def test_unused_ones_are_dropped(self):
        self.put(3)
        self.world.json('/stats?namespace=a')
        self.world.json('/stats?period=1000')
        kept = self.world.collection.lookup(b'q').stats.kept
        self.assertIn(('namespace', 'a'), kept)
        self.world.clock.advance(3601)
        self.world.listeners.tick()
        self.assertNotIn(('namespace', 'a'), kept)
        self.assertIn(('period', 1000), kept)
        self.assertEqual(self.puts('/stats?namespace=a'), (3, 3))
        self.world.clock.advance(6401)
        self.world.listeners.tick()
        self.assertNotIn(('period', 1000), kept)
        self.assertIn(('period', 10), kept)

    def test_a_deleted_queue_vanishes_at_once(self):
        self.put(3)
        self.world.pass_seconds(TO_NEXT_LATCH)
        self.world.json('/stats?namespace=a')
        self.world.collection.delete(b'q')
        for target in ('/stats', '/stats?period=60', '/stats?namespace=a', '/stats.txt', '/metrics', '/graph_data'):
            with self.subTest(target):
                self.assertNotIn('q/q/', self.world.text(target))
                self.assertNotIn('queue="q"', self.world.text(target))
        self.put(1)
        self.assertEqual(self.puts('/stats?period=60'), (None, None))
        self.world.pass_seconds(60)
        self.assertEqual(self.puts('/stats?period=60'), (1, 1))

    def test_aliases(self):
        self.world.config.aliases = {b'a': [b'q']}
        self.world.collection.configure(self.world.config)
        self.world.collection.count_put(b'a', 7)
        self.world.pass_seconds(TO_NEXT_LATCH)
        found = self.world.json('/stats?period=60')
        self.assertEqual({name: value for name, value in found['counters'].items() if name.startswith('q/a/')},
                         {'q/a/put_items': 1, 'q/a/put_bytes': 7})
        self.assertEqual(found['gauges']['q/a/create_time'], THEN // 1000)


class MemoryTest(unittest.TestCase):
    """All statistics of a queue, those that the 60 s listener and the history keep included."""

    QUEUES = 50

    def measure(self, busy):
        world = AdminWorld()
        world.collection.need(b'first')
        world.pass_seconds(TO_NEXT_LATCH)
        queues = [world.collection.need(b'queue-%d' % number) for number in range(self.QUEUES)]
        for queue in queues:
            queue.put(b'x', 0, 0, False)
            queue.take(False, world.clock.now_ms())
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for queue in queues:
            # those that it has were made before
            queue.stats = QueueStats()
        for minute in range(6):
            for number, queue in enumerate(queues if busy else ()):
                self.use(queue, world.clock, minute * 7 + number)
            world.pass_seconds(60)
        return tracemalloc.get_traced_memory()[0] / self.QUEUES

    def use(self, queue, clock, number):
        stats = queue.stats
        for step in range(40):
            queue.put(b'x' * (number * 97 % 20000), 0, 0, False)
            clock.ms += step
            queue.take(False, clock.now_ms())
            for histogram in (stats.set_latency_usec, stats.get_hit_latency_usec, stats.get_miss_latency_usec):
                histogram.add(step * step * (number + 1) % 6000)

    def test_idle(self):
        self.assertLess(self.measure(False), 6 * 1024)

    def test_active(self):
        self.assertLess(self.measure(True), 40 * 1024)


class DroppedTest(unittest.TestCase):

    def test_a_clock_that_was_set_back_is_warned_of_once_a_minute(self):
        world = AdminWorld()
        log = LogLines()
        world.logger.addHandler(log)
        dropped = Dropped(world.services, world.logger)
        client = world.client()
        for seconds, lines in ((10, 1), (50, 0), (0, 1)):
            client.ask(b'set q 0 0 1\r\na\r\nset q 0 0 1\r\na\r\n')
            world.clock.ms -= 3000
            client.ask(b'get q\r\nget q\r\n')
            dropped.look()
            dropped.look()
            self.assertEqual(len(log.lines), lines)
            log.lines.clear()
            world.clock.advance(seconds)
        self.assertEqual(world.stats.delivery_latency_msec.count, 0)

    def test_the_line(self):
        world = AdminWorld()
        log = LogLines()
        world.logger.addHandler(log)
        world.stats.delivery_latency_msec.add(-7)
        world.stats.delivery_latency_msec.add(7)
        Dropped(world.services, world.logger).look()
        self.assertEqual(log.lines, ['WARNING delivery_latency_msec: 1 negative values are dropped: was the clock of the '
                                     'machine set back?'])


if __name__ == '__main__':
    unittest.main()
