"""docs/monitoring: alert rules and the Grafana dashboard name metrics that exist, and the rules do what they say."""

import json
import re
import unittest

from support.admin import AdminWorld
from support.environment import CHECKOUT
from test_admin_metrics import needs_promtool, promtool

FOLDER = CHECKOUT / 'docs' / 'monitoring'
RULES, RULE_TESTS = FOLDER / 'kestrel-alerts.yml', FOLDER / 'kestrel-alerts-test.yml'
DASHBOARD = FOLDER / 'kestrel-grafana.json'


def known_metrics():
    """Names of all samples, some of which need a value first."""
    world = AdminWorld()
    world.collection.spool = b'/'
    queue = world.collection.need(b'q')
    for name in ('set_latency_usec', 'get_hit_latency_usec'):
        getattr(queue.stats, name).add(1)
    return set(re.findall(r'^(kestrel_\w+)', world.text('/metrics'), re.MULTILINE))


class MonitoringTest(unittest.TestCase):

    @needs_promtool
    def test_rules(self):
        checked = promtool('check', 'rules', '--lint-fatal', str(RULES))
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)
        self.assertIn('8 rules found', checked.stdout)

    @needs_promtool
    def test_tests_of_the_rules(self):
        checked = promtool('test', 'rules', str(RULE_TESTS))
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)

    def test_every_rule_is_tested(self):
        alerts = set(re.findall(r'alert: (\w+)', RULES.read_text()))
        fired = set(re.findall(r'alertname: (\w+)\n +exp_alerts', RULE_TESTS.read_text()))
        self.assertEqual(fired, alerts)

    def test_metrics_exist(self):
        known = known_metrics()
        dashboard = json.loads(DASHBOARD.read_text())
        queries = [target['expr'] for panel in dashboard['panels'] for target in panel.get('targets', ())]
        queries += [variable['query'] for variable in dashboard['templating']['list']]
        self.assertGreater(len(queries), 20)
        for text in (RULES.read_text(), *queries):
            for name in re.findall(r'\bkestrel_\w+', text):
                self.assertIn(name, known)

    def test_panels_have_numbers_and_places_of_their_own(self):
        panels = json.loads(DASHBOARD.read_text())['panels']
        self.assertEqual([panel['id'] for panel in panels], list(range(1, len(panels) + 1)))
        places = {(panel['gridPos']['x'], panel['gridPos']['y']) for panel in panels}
        self.assertEqual(len(places), len(panels))


if __name__ == '__main__':
    unittest.main()
