"""/metrics, checked with the parser of Prometheus' own client and with promtool (D62)."""

import re
import shutil
import subprocess
import types
import unittest

from kestrel.admin import metrics
from kestrel.stats import THRESHOLDS
from support.admin import AdminWorld

try:
    from prometheus_client.parser import text_string_to_metric_families
except ImportError:
    text_string_to_metric_families = None

ODD_NAMES = (b'<script>', b'"q"', b'back\\slash', b'\x1b[2J', b'\x01', b'\\x01', b'\xe9\xff', b'\x85\xa0', b'new\nline',
             b'tab\t', b'a+b', b'{le="1"}', b'caf\xc3\xa9')


def promtool(*words, text=None):
    """-> CompletedProcess of ``promtool <words>``."""
    return subprocess.run(['promtool', *words], input=text, capture_output=True, timeout=60, text=True)


def needs_promtool(test):
    return unittest.skipUnless(shutil.which('promtool'), 'no promtool: apt install prometheus')(test)


def needs_parser(test):
    return unittest.skipUnless(text_string_to_metric_families,
                               'no prometheus_client: apt install python3-prometheus-client, or pip')(test)


class MetricsTest(unittest.TestCase):

    def setUp(self):
        self.world = AdminWorld()

    def fill(self, *names):
        for name in names:
            queue = self.world.collection.need(name)
            queue.put(b'abc', 0, 0, False)
            queue.put(b'abc', 0, 0, False)
            self.world.clock.advance(0.25)
            queue.take(True, self.world.clock.now_ms())
            queue.stats.set_latency_usec.add(1500)
        self.world.stats.set_latency_usec.add(99)
        self.world.stats.set_latency_usec.add(100)

    def samples(self):
        """{family: {name and labels of a sample: value}}"""
        return {family.name: {(sample.name, *sorted(sample.labels.items())): sample.value for sample in family.samples}
                for family in text_string_to_metric_families(self.world.text('/metrics'))}

    @needs_parser
    def test_server_sets(self):
        names = ('kestrel_zookeeper_connected', 'kestrel_zookeeper_refused', 'kestrel_read_set_member',
                 'kestrel_write_set_member')
        self.assertEqual(set(names) & set(self.samples()), set())
        for sets, values in (
                (types.SimpleNamespace(reachable=True, refusal=None, joined=('read', 'write')), [1, 0, 1, 1]),
                (types.SimpleNamespace(reachable=True, refusal='no right', joined=('read',)), [1, 1, 1, 0]),
                (types.SimpleNamespace(reachable=False, refusal=None, joined=()), [0, 0, 0, 0])):
            self.world.control.server_sets = sets
            found = self.samples()
            self.assertEqual([found[name][(name,)] for name in names], values)

    @needs_parser
    def test_values_of_a_queue(self):
        self.fill(b'q')
        found = self.samples()
        queue = ('queue', 'q')
        for name, value in (('items', 1), ('bytes', 3), ('open_transactions', 1), ('oldest_item_age_seconds', 0.25),
                            ('memory_items', 1), ('waiters', 0)):
            self.assertEqual(found['kestrel_queue_' + name], {('kestrel_queue_' + name, queue): value})
        for name, value in (('put_items', 2), ('put_bytes', 6), ('open_reads', 1)):
            name = 'kestrel_queue_' + name
            self.assertEqual(found[name], {(name + '_total', queue): value})
        self.assertEqual(found['kestrel_queue_put_latency_seconds'], {
            ('kestrel_queue_put_latency_seconds_count', queue): 1,
            ('kestrel_queue_put_latency_seconds_sum', queue): 0.0015})

    @needs_parser
    def test_global_histogram(self):
        self.fill(b'q')
        found = self.samples()['kestrel_put_latency_seconds']
        buckets = {key[1][1]: value for key, value in found.items() if key[0].endswith('_bucket')}
        # 99 us is less than 0.0001 s, 100 us is not
        self.assertEqual((buckets['0.0001'], buckets['0.000183'], buckets['+Inf']), (1, 2, 2))
        self.assertEqual(found['kestrel_put_latency_seconds_sum',], 0.000199)
        bounds = [float(bound) for bound in buckets]
        self.assertEqual(bounds, sorted(bounds))

    def test_bounds_are_near_1_2_5(self):
        for at, bound in zip(metrics.BOUNDS, [step * 10 ** power for power in range(1, 8) for step in (1, 2, 5)]):
            self.assertTrue(0.9 * bound < THRESHOLDS[at] <= bound, bound)

    @needs_parser
    def test_odd_names_stay_different(self):
        self.fill(*ODD_NAMES)
        text = self.world.text('/metrics')
        for char in '\x1b\x01\x85\t':
            self.assertNotIn(char, text)
        names = {key[1][1] for key in self.samples()['kestrel_queue_items']}
        self.assertEqual(len(names), len(ODD_NAMES))
        self.assertLessEqual({'<script>', '"q"', 'back\\slash', '\u241b[2J', '\u2401', '\\x01', '\xe9\xff',
                              'new\u240aline'}, names)

    @needs_parser
    def test_each_family_once_and_only_the_label_queue(self):
        self.fill(b'q', b'r')
        text = self.world.text('/metrics')
        heads = re.findall(r'^# TYPE (\S+)', text, re.MULTILINE)
        self.assertEqual(len(heads), len(set(heads)))
        labels = {key for family in self.samples().values() for sample in family for key, _ in sample[1:]}
        self.assertEqual(labels, {'queue', 'le', 'version'})

    @needs_promtool
    def test_promtool_finds_nothing(self):
        self.fill(*ODD_NAMES)
        for limit in (None, 3):
            self.world.settings.metrics_max_queues = limit
            checked = promtool('check', 'metrics', text=self.world.text('/metrics'))
            self.assertEqual((checked.returncode, checked.stdout, checked.stderr), (0, '', ''))

    @needs_parser
    def test_the_busiest_by_name_the_rest_as_a_sum(self):
        self.fill(b'a', b'b', b'c')
        for _ in range(4):
            self.world.queue(b'b').put(b'12345', 0, 0, False)
        self.world.settings.metrics_max_queues = 1
        found = self.samples()
        self.assertEqual(found['kestrel_queue_items'], {
            ('kestrel_queue_items', ('queue', 'b')): 5, ('kestrel_queue_items', ('queue', '~others')): 2})
        self.assertEqual(found['kestrel_queue_put_items']['kestrel_queue_put_items_total', ('queue', '~others')], 4)
        age = found['kestrel_queue_oldest_item_age_seconds']
        self.assertEqual(age['kestrel_queue_oldest_item_age_seconds', ('queue', '~others')], 0.75)
        self.world.settings.metrics_max_queues = 0
        self.assertEqual(len(self.samples()['kestrel_queue_items']), 1)
        self.world.settings.metrics_max_queues = 3
        self.assertEqual(len(self.samples()['kestrel_queue_items']), 3)

    @needs_parser
    def test_ready(self):
        self.assertEqual(self.samples()['kestrel_ready'], {('kestrel_ready',): 1})
        self.world.control.loaded = False
        self.assertEqual(self.samples()['kestrel_ready'], {('kestrel_ready',): 0})


if __name__ == '__main__':
    unittest.main()
