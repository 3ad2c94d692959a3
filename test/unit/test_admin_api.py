"""What the dashboard and kestrelctl are told (docs/protocol.md, "The API"; D62)."""

import json
import re
import types
import unittest
from urllib.parse import quote

from kestrel.admin import open_reads
from kestrel.admin.queue_table import SORTS
from kestrel.admin.survey import LONGEST
from kestrel.journal.xids import FIRST_XID, LAST_XID
from support.admin import AdminWorld
from support.environment import CHECKOUT
from support.fakes import FakeConfig

ODD_NAMES = (b'<script>alert(1)<script>', b'"\'&', b'\x1b[2J', b'\xff\x85', b'caf\xe9', b'caf\xc3\xa9', b'%41', b'a=b&c', b'#?')


def named(name):
    """A name of bytes in a query, as encodeURIComponent writes it."""
    return quote(name.decode('latin-1'), safe='')


class ApiTest(unittest.TestCase):

    CONFIG = None

    def setUp(self):
        self.world = AdminWorld(config=self.CONFIG)

    def put(self, name, *data):
        queue = self.world.collection.need(name)
        for one in data:
            queue.put(one, 0, 0, False)
        return queue

    def names(self, query):
        return [row['name'] for row in self.world.json('/api/queues?' + query)['queues']]

    def error(self, target, status, **headers):
        """The answer is an error in JSON. -> its text"""
        answer = self.world.get(target, **headers)
        self.assertEqual((answer.status[:3], answer.content_type), (str(status), 'application/json'), target)
        return json.loads(b''.join(answer.body))['error']


class QueuesTest(ApiTest):

    def test_nothing(self):
        self.assertEqual(self.world.json('/api/queues'), {'total': 0, 'matched': 0, 'offset': 0, 'limit': 50, 'queues': []})
        self.assertEqual(self.world.json('/api/overview')['totals']['queues'], 0)

    def test_server_sets(self):
        self.assertIsNone(self.world.json('/api/overview')['server_sets'])
        self.world.control.server_sets = types.SimpleNamespace(
            state='ZooKeeper refuses', reachable=True, refusal='ZooKeeper refuses', joined=('read',), where='zk')
        self.assertEqual(self.world.json('/api/overview')['server_sets'], {
            'state': 'ZooKeeper refuses', 'reachable': True, 'refusal': 'ZooKeeper refuses', 'joined': ['read']})

    def test_row(self):
        queue = self.put(b'q', b'1', b'22')
        queue.take(True, self.world.clock.now_ms())
        self.world.clock.advance(2)
        row, = self.world.json('/api/queues')['queues']
        self.assertEqual(row, {
            'name': 'q', 'items': 1, 'bytes': 2, 'mem_items': 1, 'mem_bytes': 2, 'put_rate': None, 'get_rate': None,
            'age_ms': 2000, 'waiters': 0, 'open_reads': 1, 'oldest_open_ms': 0, 'dead_letters': 0, 'discarded': 0,
            'expired': 0, 'journal_size': 0, 'trouble': [], 'children': 0, 'hour': []})

    def test_orders(self):
        self.put(b'many', b'1', b'2', b'3')
        self.world.clock.advance(1)
        self.put(b'large', b'x' * 100)
        self.put(b'empty')
        self.put(b'a', b'')
        self.assertEqual(self.names('sort=items'), ['many', 'a', 'large', 'empty'])
        self.assertEqual(self.names('sort=items&order=asc'), ['empty', 'a', 'large', 'many'])
        self.assertEqual(self.names('sort=bytes')[:2], ['large', 'many'])
        self.assertEqual(self.names('sort=age')[0], 'many')
        self.assertEqual(self.names('sort=name'), ['a', 'empty', 'large', 'many'])
        self.assertEqual(self.names('sort=name&order=desc'), ['many', 'large', 'empty', 'a'])
        for sort in SORTS:
            for order in ('asc', 'desc'):
                self.assertEqual(sorted(self.names(f'sort={sort}&order={order}')), ['a', 'empty', 'large', 'many'])

    def test_pages_have_each_queue_once(self):
        for number in range(230):
            self.put(b'%d' % number, *[b'x'] * (number % 3))
        for sort in SORTS:
            found = [name for offset in (0, 100, 200, 300)
                     for name in self.names(f'sort={sort}&limit=100&offset={offset}')]
            self.assertEqual(sorted(found), sorted([str(number) for number in range(230)]), sort)
        self.assertEqual((len(self.names('')), len(self.names('limit=1'))), (50, 1))

    def test_filter(self):
        for name in (b'Orders', b'orders:2', b'caf\xe9', b'mail'):
            self.put(name)
        self.assertEqual(self.names('sort=name&filter=order'), ['Orders', 'orders:2'])
        self.assertEqual(self.names('filter=%C3%A9'), ['caf\xe9'])
        for part in ('nosuch', '%E2%82%AC', '%00'):
            found = self.world.json('/api/queues?filter=' + part)
            self.assertEqual((found['total'], found['matched'], found['queues']), (4, 0, []))

    def test_families(self):
        self.put(b'p', b'1')
        self.put(b'p+a', b'1', b'2')
        self.world.clock.advance(5)
        self.put(b'p+b', b'1')
        self.put(b'orphan+c', b'1')
        self.put(b'alone', b'1')
        self.world.pass_seconds(61)
        found = self.world.json('/api/queues?fold=1&sort=items')
        self.assertEqual((found['total'], found['matched']), (5, 3))
        self.assertEqual([(row['name'], row['items'], row['children']) for row in found['queues']],
                         [('p', 4, 2), ('alone', 1, 0), ('orphan', 1, 1)])
        self.assertEqual((found['queues'][0]['age_ms'], found['queues'][0]['hour'][-1]), (66000, 4))
        self.assertEqual(self.names('parent=p'), ['p', 'p+a', 'p+b'])
        self.assertEqual(self.names('parent=orphan'), ['orphan+c'])
        self.assertEqual(self.names('parent=nosuch'), [])
        # who looks for a child finds it
        self.assertEqual(self.names('fold=1&filter=%2Ba'), ['p+a'])
        self.world.collection.delete(b'p+a')
        self.world.collection.delete(b'p+b')
        self.assertEqual(self.names('fold=1&sort=name'), ['alone', 'orphan', 'p'])

    def test_rates(self):
        queue = self.put(b'q')
        self.assertEqual(self.world.json('/api/queues')['queues'][0]['put_rate'], None)
        for _ in range(5):
            self.put(b'q', b'1', b'2', b'3')
            queue.take(False, self.world.clock.now_ms())
            self.world.clock.advance(1)
            row, = self.world.json('/api/queues?sort=put_rate')['queues']
            self.assertEqual((row['put_rate'], row['get_rate']), (3, 1))
        # idle now: what was is forgotten in two windows
        for _ in range(11):
            self.world.clock.advance(1)
            row, = self.world.json('/api/queues')['queues']
        self.assertEqual((row['put_rate'], row['get_rate']), (0, 0))

    def test_rates_of_the_last_minute_when_nobody_has_looked(self):
        self.put(b'q')
        self.world.pass_seconds(61)
        self.put(b'q', *[b'x'] * 30)
        self.world.pass_seconds(60)
        self.assertEqual(self.world.json('/api/queues')['queues'][0]['put_rate'], 0.5)

    def test_peeks_are_no_gets(self):
        queue = self.put(b'q', b'1')
        client = self.world.connect()
        self.names('')
        client.peek()
        self.world.clock.advance(2)
        self.assertEqual(self.world.json('/api/queues')['queues'][0]['get_rate'], 0)
        self.assertEqual(queue.stats.get_items_hit, 1)

    def test_bad_parameters(self):
        for query, said in (('sort=items%3Cb%3E', 'sort must be one of'), ('order=up', 'order must be'),
                            ('limit=0', 'limit must be'), ('limit=101', 'from 1 to 100'), ('offset=-1', 'offset must be'),
                            ('limit=x', 'limit must be'), ('fold=2', 'fold must be'), ('parent=%E2%82%AC', 'no queue can')):
            status = 404 if 'parent' in query else 400
            self.assertIn(said, self.error('/api/queues?' + query, status))
            self.assertNotIn('<', self.world.text('/api/queues?' + query))
        self.assertEqual(self.names('nosuch=1&offset=000000000'), [])

    def test_without_time_series(self):
        self.world = AdminWorld(time_series=False)
        self.put(b'q', b'1')
        self.assertEqual(self.world.json('/api/queues')['queues'][0]['hour'], None)
        self.assertEqual(self.world.json('/api/queue?name=q')['charts'], None)


class TroubleTest(ApiTest):

    CONFIG = FakeConfig({b'small': {'max_items': 2}, b'drops': {'max_items': 1, 'discard_old_when_full': True},
                         b'work': {'dead_letter_queue': b'dead', 'max_deliveries': 1}})

    def trouble(self):
        return {row['name']: row['trouble'] for row in self.world.json('/api/queues')['queues'] if row['trouble']}

    def test_words(self):
        self.put(b'small', b'1', b'2')
        self.put(b'drops', b'1')
        self.put(b'work')
        self.put(b'dead', b'1')
        self.put(b'empty')
        self.assertEqual(self.trouble(), {'small': ['full'], 'dead': ['dead letters']})
        # the worst first, then the larger ones
        self.assertEqual(self.names('')[:3], ['small', 'dead', 'drops'])
        self.assertEqual(self.world.json('/api/overview')['totals']['trouble'], {
            'disk': 0, 'full': 1, 'stuck reads': 0, 'dead letters': 1, 'no reader': 0, 'growing': 0, 'old': 0})

    def test_no_reader_and_old(self):
        queue = self.put(b'q', b'1', b'2')
        self.world.pass_seconds(59)
        self.assertEqual(self.trouble(), {})
        self.world.pass_seconds(120)
        self.assertEqual(self.trouble(), {'q': ['no reader']})
        queue.take(False, self.world.clock.now_ms())
        self.assertEqual(self.trouble(), {})
        self.world.pass_seconds(600)
        self.assertEqual(self.trouble(), {'q': ['no reader', 'old']})
        self.world.connect().begin(b'get q/peek/t=1000\r\n')
        queue.take(True, self.world.clock.now_ms())
        self.assertEqual(self.trouble(), {})

    def test_growing(self):
        queue = self.put(b'q', *[b'x'] * 1000)
        self.trouble()
        self.world.clock.advance(2)
        self.assertEqual(self.trouble(), {})
        self.put(b'q', *[b'x'] * 20)
        self.assertEqual(self.trouble(), {'q': ['growing']})
        for _ in range(20):
            queue.take(False, self.world.clock.now_ms())
        self.assertEqual(self.trouble(), {})

    def test_stuck_reads(self):
        queue = self.put(b'q', b'1', b'2')
        queue.take(True, self.world.clock.now_ms())
        self.world.pass_seconds(300)
        queue.take(True, self.world.clock.now_ms())
        self.assertEqual(self.trouble(), {})
        self.world.pass_seconds(360)
        self.assertEqual(self.trouble(), {'q': ['stuck reads']})
        # noticed by the latch of the next minute
        old, new = self.world.json('/api/queue?name=q')['reads']
        self.assertTrue(600000 <= old['open_ms'] <= 660000, old)
        self.assertTrue(300000 <= new['open_ms'] <= 360000, new)
        queue.confirm(old['xid'])
        self.assertEqual(self.trouble(), {})

    def test_ages_of_reads_when_xids_begin_anew(self):
        queue = self.put(b'q', b'1', b'2', b'3')
        queue.xid = LAST_XID - 1
        for _ in range(3):
            queue.take(True, self.world.clock.now_ms())
            self.world.clock.advance(20)
            self.names('')
        self.assertEqual(list(queue.opened), [LAST_XID, FIRST_XID, FIRST_XID + 1])
        reads = self.world.json('/api/queue?name=q')['reads']
        self.assertEqual([read['open_ms'] for read in reads], [40000, 20000, 0])

    def test_notes_of_reads_do_not_grow_for_ever(self):
        queue = self.put(b'q', b'1', b'2')
        queue.take(True, self.world.clock.now_ms())
        for _ in range(1000):
            open_reads.note(queue, self.world.clock.monotonic())
            self.world.clock.advance(60)
        self.assertLessEqual(len(queue.stats.kept[open_reads.KEY]), open_reads.MOST)
        self.assertEqual(open_reads.open_for(queue, 1, self.world.clock.monotonic()), 60000)
        queue.confirm(1)
        open_reads.note(queue, self.world.clock.monotonic())
        self.assertNotIn(open_reads.KEY, queue.stats.kept)

    def test_disk(self):
        journal = self.world.journaled()
        self.assertEqual(self.trouble(), {})
        journal.choked = True
        self.assertEqual(self.trouble(), {'q': ['disk']})

    def test_a_family_shows_what_is_wrong_with_a_child(self):
        self.put(b'p')
        self.put(b'p+a', b'1')
        self.world.pass_seconds(180)
        self.assertEqual([row['trouble'] for row in self.world.json('/api/queues?fold=1')['queues']], [['no reader']])

    def test_a_survey_is_kept_for_a_while(self):
        """It costs half a percent of a core, however many pages are open."""
        clock, seen = self.world.clock, []
        for count in (1, 2, 3):
            queue = self.put(b'q', b'x')
            self.world.json('/api/overview')
            seen.append(queue.count)
        self.assertEqual(seen, [1, 2, 3])
        surveyor = self.world.routes._surveyor
        first = surveyor.survey()
        surveyor._good_until = clock.monotonic() + LONGEST
        self.put(b'q', b'x')
        self.assertIs(surveyor.survey(), first)
        self.assertEqual(self.names('sort=items'), ['q'])
        clock.advance(LONGEST)
        self.assertEqual(surveyor.survey().totals['items'], 4)


class QueueTest(ApiTest):

    CONFIG = FakeConfig({b'work': {'dead_letter_queue': b'dead', 'max_items': 7}}, {b'both': [b'q', b'work']})

    def test_whole(self):
        queue = self.put(b'work', b'1', b'22', b'333')
        client = self.world.connect()
        waiter = self.world.connect()
        client.get(b'work', opening=True)
        self.world.clock.advance(3)
        self.put(b'dead', b'x')
        found = self.world.json('/api/queue?name=work')
        self.assertEqual((found['items'], found['open_reads'], found['max_items'], found['dead_letter_queue'],
                          found['dead_letters_waiting'], found['journaled'], found['parent'], found['child_names']),
                         (2, 1, 7, 'dead', 1, False, None, []))
        self.assertEqual(found['reads'], [{
            'xid': 1, 'peer': '%s:%d' % client.connection.address[:2], 'protocol': 'memcache', 'open_ms': 0, 'age_ms': 3000,
            'size': 1, 'deliveries': 0}])
        self.assertEqual(found['settings'][0], {'key': 'max_items', 'value': '7', 'default': '2147483647', 'differs': True})
        self.assertEqual((found['counters']['put_items'], found['counters']['transactions']), (3, 1))
        del self.world.control.sessions[client.connection]
        self.assertEqual(self.world.json('/api/queue?name=work')['reads'][0]['peer'], None)
        while queue.take(False, self.world.clock.now_ms()):
            pass
        waiter.begin(b'get work/t=1000\r\n')
        found = self.world.json('/api/queue?name=work')
        self.assertEqual((found['waiters'], found['waiting']), (1, ['%s:%d' % waiter.connection.address[:2]]))
        self.assertEqual(self.world.json('/api/connections')['connections'][0]['waits_for'], 'work')

    def test_charts(self):
        self.put(b'q')
        self.world.pass_seconds(60)
        self.put(b'q', b'1', b'2')
        self.world.pass_seconds(60)
        charts = self.world.json('/api/queue?name=q')['charts']
        self.assertEqual((charts['items'][-2:], charts['put'][-2:], charts['bytes'][-1], len(charts['items'])),
                         ([0, 2], [0, 2], 2, 60))
        self.assertEqual(charts['end_s'], self.world.past.collected)

    def test_family(self):
        for name in (b'p', b'p+b', b'p+a'):
            self.put(name)
        self.assertEqual(self.world.json('/api/queue?name=p')['child_names'], ['p+a', 'p+b'])
        self.assertEqual(self.world.json('/api/queue?name=p%2Ba')['parent'], 'p')

    def test_odd_names(self):
        for name in ODD_NAMES:
            self.put(name, b'<b>')
        for path in ('/api/queues', '/api/overview', '/api/connections'):
            self.assertRegex(self.world.text(path), r'^[ -~]*\n$')
            self.assertNotRegex(self.world.text(path), '[<>&]')
        self.assertEqual(sorted(self.names('')), sorted([name.decode('latin-1') for name in ODD_NAMES]))
        for name in ODD_NAMES:
            for path in ('queue', 'peek'):
                found = self.world.json(f'/api/{path}?name={named(name)}')
                self.assertEqual((found['name'], found['items']), (name.decode('latin-1'), 1))
        # what is no UTF-8 counts byte by byte
        self.assertEqual(self.world.json('/api/queue?name=%FF%85')['name'], '\xff\x85')

    def test_none(self):
        for path in ('queue', 'peek'):
            self.assertIn('there is no queue nosuch', self.error(f'/api/{path}?name=nosuch', 404))
            self.assertIn('no queue can have', self.error(f'/api/{path}?name=%E2%82%AC', 404))
            self.assertIn('missing', self.error(f'/api/{path}', 400))
            self.assertIn('missing', self.error(f'/api/{path}?name=', 400))
        self.assertEqual(self.world.collection.names(), [])

    def test_aliases(self):
        self.world.collection.configure(self.CONFIG)
        self.put(b'both')
        self.assertTrue(self.world.json('/api/queue?name=both')['hidden_by_alias'])
        found = self.world.json('/api/overview')
        self.assertEqual((found['aliases_count'], found['aliases']), (1, [
            {'name': 'both', 'destinations': ['q', 'work'], 'put_items': 0, 'put_bytes': 0}]))


class PeekTest(ApiTest):

    def first(self, query='', **headers):
        return self.world.json('/api/peek?name=q' + query, **headers)['first']

    def test_items(self):
        queue = self.put(b'q', b'text')
        queue.put(b'\x00\xff', 7, self.world.clock.now_ms() + 5000, False)
        self.world.clock.advance(1)
        self.assertEqual(self.first(), [
            {'size': 4, 'shown': 4, 'text': 'text', 'hex': None, 'flags': 0, 'age_ms': 1000, 'deliveries': 0, 'expires_ms': None},
            {'size': 2, 'shown': 2, 'text': None, 'hex': '00ff', 'flags': 7, 'age_ms': 1000, 'deliveries': 0, 'expires_ms': 4000}])

    def figures(self):
        found = self.world.json('/stats')
        del found['counters']['jvm_gc_cycles']
        return found['counters'], found['metrics']

    def test_text_or_hex(self):
        for data, text in ((b'', ''), (b'a\tb\r\n', 'a\tb\r\n'), (b'caf\xc3\xa9', 'caf\xe9'), (b'caf\xe9', None), (b'\x1b[2J', None),
                           ('\u202e'.encode(), None), (b'<script>', '<script>')):
            self.world.collection.delete(b'q')
            self.put(b'q', data)
            item, = self.first()
            self.assertEqual((item['text'], item['hex']), (text, data.hex() if text is None else None))
            self.assertNotIn('<', self.world.text('/api/peek?name=q'))

    def test_limits(self):
        self.put(b'q', *[b'%d' % number for number in range(200)])
        self.assertEqual([item['text'] for item in self.first('&count=3')], ['0', '1', '2'])
        self.assertEqual((len(self.first()), len(self.first('&count=100'))), (10, 100))
        self.put(b'long', 'caf\xe9'.encode() * 300, b'x')
        item = self.world.json('/api/peek?name=long&bytes=4&count=1')['first'][0]
        # the cut goes through a letter
        self.assertEqual((item['size'], item['shown'], item['text']), (1500, 4, 'caf'))
        for query in ('count=0', 'count=101', 'bytes=0', 'bytes=65537', 'count=x'):
            self.error('/api/peek?name=q&' + query, 400)

    def test_changes_nothing(self):
        queue = self.put(b'q', b'1', b'2')
        queue.put(b'3', 0, self.world.clock.now_ms() + 1, False)
        waiter = self.world.connect()
        waiter.begin(b'get other/t=1000\r\n')
        self.world.clock.advance(5)
        before = self.figures()
        self.first()
        self.assertEqual(self.figures(), before)
        self.assertEqual(([item.data for item in queue.items], queue.opened, self.world.stats.cmd_peek),
                         ([b'1', b'2', b'3'], {}, 0))

    def test_not_for_other_sites(self):
        self.put(b'q', b'secret')
        for headers in ({'host': 'evil.example:2223'}, {'host': 'localhost', 'origin': 'http://evil.example'},
                        {'sec_fetch_site': 'cross-site'}):
            self.error('/api/peek?name=q', 403, **headers)
            self.assertNotIn('secret', self.world.text('/api/peek?name=q', **headers))
        self.assertEqual(self.first(host='127.0.0.1:2223')[0]['text'], 'secret')


class ConnectionsTest(ApiTest):

    def test_pages(self):
        clients = [self.world.connect() for _ in range(5)]
        self.put(b'q', b'1', b'2')
        clients[1].get(opening=True)
        self.world.clock.advance(2)
        found = self.world.json('/api/connections?offset=1&limit=2')
        self.assertEqual((found['total'], found['offset'], found['limit'], len(found['connections'])), (5, 1, 2, 2))
        one = found['connections'][0]
        self.assertEqual((one['peer'], one['protocol'], one['age_ms'], one['waits_for'], one['open_reads'], one['holds']),
                         ('%s:%d' % clients[1].connection.address[:2], 'memcache', 2000, None, 1, [{'name': 'q', 'open_reads': 1}]))
        self.assertEqual(self.world.json('/api/connections?offset=99')['connections'], [])
        self.error('/api/connections?limit=101', 400)

    def test_a_wait_for_a_name_that_is_no_queue_yet(self):
        self.world.connect().begin(b'get later/t=1000\r\n')
        self.assertEqual(self.world.json('/api/connections')['connections'][0]['waits_for'], 'later')
        self.assertEqual(self.world.collection.names(), [])


class PathsTest(ApiTest):

    def test_early(self):
        self.world.control.loaded = False
        for path in ('overview', 'queues', 'queue?name=q', 'peek?name=q', 'connections', 'config', 'action'):
            self.assertEqual(self.error('/api/' + path, 503), 'the journals are being replayed')

    def test_others_follow_the_rule_of_the_last_segment(self):
        self.assertEqual(self.world.json('/api/ping'), {'response': 'pong'})
        for path in ('/api', '/api/', '/api/nosuch', '/api/queues/', '/api/queues/x'):
            self.assertEqual(self.world.text(path), 'no such command\n')

    def test_document(self):
        text = (CHECKOUT / 'docs' / 'protocol.md').read_text().partition('\n### The API\n')[2].partition('\n### ')[0]
        self.assertEqual(set(re.findall(r'^\| `(/api/\w+)`', text, re.MULTILINE)),
                         {*self.world.routes._api, '/api/peek', '/api/action'})
        self.put(b'q', b'1')
        for path in ('overview', 'queues', 'queue?name=q', 'peek?name=q', 'connections'):
            found = self.world.json('/api/' + path)
            for key in [*found, *(found['queues'][0] if 'queues' in found else ())]:
                self.assertIn(f'`{key}`', text, path)


if __name__ == '__main__':
    unittest.main()
