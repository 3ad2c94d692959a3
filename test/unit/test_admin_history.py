"""The last 60 minutes (spec admin 6)."""

import unittest

from support.admin import AdminWorld
from support.clock import THEN

TO_NEXT_LATCH = 60 - THEN // 1000 % 60 + 1


class HistoryTest(unittest.TestCase):

    def setUp(self):
        self.world = AdminWorld()
        self.queue = self.world.collection.need(b'q')

    def minutes(self, count=1):
        self.world.pass_seconds(60 * count)

    def values(self, key):
        rows = self.world.json('/graph_data/' + key)[key]
        self.assertEqual(len(rows), 60)
        return [row[1] for row in rows]

    def test_rows(self):
        self.world.pass_seconds(TO_NEXT_LATCH)
        collected = self.world.now()
        self.assertEqual(collected % 60, 1)
        self.world.pass_seconds(30)
        rows = self.world.json('/graph_data/gauge:items')['gauge:items']
        self.assertEqual([row[0] for row in rows], list(range(collected - 59 * 60, collected + 1, 60)))

    def test_counters_are_changes_a_minute(self):
        self.world.pass_seconds(TO_NEXT_LATCH)
        for count in (3, 0, 5):
            for _ in range(count):
                self.queue.put(b'abc', 0, 0, False)
            self.minutes()
        self.assertEqual(self.values('counter:q/q/put_items'), [0] * 57 + [3, 0, 5])
        self.assertEqual(self.values('counter:q/q/put_bytes'), [0] * 57 + [9, 0, 15])

    def test_gauges(self):
        self.world.pass_seconds(TO_NEXT_LATCH)
        for _ in range(2):
            self.queue.put(b'abc', 0, 0, False)
            self.minutes()
        self.assertEqual(self.values('gauge:q/q/items'), [0] * 57 + [0, 1, 2])
        # one that does not change was not known before
        self.assertEqual(self.values('gauge:q/q/max_items'), [0] * 57 + [2147483647] * 3)
        self.assertEqual(self.values('gauge:q/q/create_time'), [0] * 57 + [THEN // 1000] * 3)

    def test_an_hour_is_kept(self):
        self.world.pass_seconds(TO_NEXT_LATCH)
        for count in range(1, 71):
            self.queue.put(b'x', 0, 0, False)
            self.minutes()
        self.assertEqual(self.values('gauge:q/q/items'), list(range(11, 71)))
        self.minutes(130)
        # it is a constant again, and still an hour of it
        self.assertEqual(self.values('gauge:q/q/items'), [70] * 60)
        self.assertEqual(self.values('counter:q/q/put_items'), [0] * 60)
        self.assertIsInstance(self.queue.stats.kept['history'].counters[0], int)

    def test_large_numbers_and_fractions(self):
        self.world.pass_seconds(TO_NEXT_LATCH)
        self.minutes()
        self.queue.stats.put_bytes += 1 << 40
        self.world.services.memory_limit = 3 << 30
        self.minutes()
        self.assertEqual(self.values('counter:q/q/put_bytes')[-2:], [0, 1 << 40])
        ratios = self.values('gauge:reserved_memory_ratio')
        self.assertEqual(ratios[-2:], [0.125, (128 << 20) / (3 << 30)])

    def test_percentiles(self):
        self.world.pass_seconds(TO_NEXT_LATCH)
        for value in (1, 2, 3, 4, 5, 6):
            self.queue.stats.set_latency_usec.add(value)
        self.minutes()
        key = 'metric:q/q/set_latency_usec'
        rows = self.world.json('/graph_data/' + key)[key]
        self.assertEqual(rows[-1], [self.world.now(), 2, 3, 5, 6, 6, 6, 6, 6])
        self.assertEqual(rows[-2][1:], [0] * 8)
        rows = self.world.json('/graph_data/' + key + '?p=0,2')[key]
        self.assertEqual(rows[-1], [self.world.now(), 2, 5])
        self.minutes()
        rows = self.world.json('/graph_data/' + key)[key]
        self.assertEqual((rows[-2][1:3], rows[-1][1:]), ([2, 3], [0] * 8))

    def test_keys(self):
        self.queue.stats.set_latency_usec.add(1)
        self.world.stats.cmd_get += 1
        keys = self.world.json('/graph_data')['keys']
        self.assertEqual(keys, sorted(keys))
        self.assertEqual(len(keys), len(set(keys)))
        for key in ('counter:cmd_get', 'gauge:items', 'metric:q/q/set_latency_usec', 'gauge:q/q/age_msec',
                    'counter:q/q/put_items'):
            self.assertIn(key, keys)
        # not used yet
        self.assertNotIn('counter:cmd_peek', keys)
        self.assertNotIn('metric:q/q/get_timeout_msec', keys)
        for key in keys:
            self.assertEqual(self.world.get('/graph_data/' + key).status, '200 OK', key)

    def test_unknown(self):
        for key in ('counter:nothing', 'gauge:q/none/items', 'items', 'counter:', 'metric:q/q/nothing', 'x:items',
                    'gauge:q/%C4%80/items'):
            with self.subTest(key):
                answer = self.world.get('/graph_data/' + key)
                self.assertEqual(answer.status[:3], '500')
                self.assertTrue(answer.body[0].startswith(b'exception while processing request: '))
        for columns in ('8', 'x', '-1', '', '0,0,0,0,0,0,0,0,0'):
            with self.subTest(columns):
                self.assertEqual(self.world.get('/graph_data/metric:set_latency_usec?p=' + columns).status[:3], '500')

    def test_queue_names_beyond_ascii(self):
        self.world.collection.need(b'\xe9<').put(b'1', 0, 0, False)
        self.world.pass_seconds(TO_NEXT_LATCH)
        text = self.world.text('/graph_data/gauge:q/%C3%A9%3C/items')
        self.assertTrue(text.startswith('{"gauge:q/\\u00e9\\u003c/items":[['), text[:60])

    def test_content_type(self):
        for target in ('/graph_data', '/graph_data/gauge:items', '/graph/', '/report/'):
            self.assertEqual(self.world.get(target).content_type, 'text/html')

    def test_time_series_off(self):
        world = AdminWorld(time_series=False)
        world.pass_seconds(TO_NEXT_LATCH)
        self.assertEqual(world.get('/graph_data').status[:3], '404')
        self.assertNotIn('history', world.stats.kept)


if __name__ == '__main__':
    unittest.main()
