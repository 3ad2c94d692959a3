"""What an operator may do through POST /api/action, and who may (docs/protocol.md, "Actions"; D62)."""

import json
import unittest
from unittest import mock

import gevent

from kestrel.admin import jobs
from kestrel.admin.tokens import EXPIRED, VALID_FOR
from kestrel.errors import JournalError
from kestrel.hub import ONE_TURN
from kestrel.journal.sync import Commit
from kestrel.status import READONLY
from support.admin import AdminWorld
from support.fakes import FakeConfig

FORM = 'application/x-www-form-urlencoded'


class ActionTest(unittest.TestCase):

    CONFIG = FakeConfig({b'work': {'dead_letter_queue': b'dead', 'max_deliveries': 1}, b'small': {'max_items': 2},
                         b'only': {'fanout_only': True}, b'brief': {'max_age': 1000000}}, {b'alias': [b'q']})

    def setUp(self):
        self.world = AdminWorld(config=self.CONFIG)
        self.world.collection.configure(self.CONFIG)
        self.addCleanup(self.world.jobs.stop)

    def put(self, name, *data):
        queue = self.world.collection.need(name)
        for one in data:
            queue.put(one, 0, 0, False)
        return queue

    def act(self, action, *names, status=200, **more):
        """-> the answer"""
        fields = {'action': action, **more}
        if names:
            fields['names'] = [name.decode('latin-1') for name in names]
        with mock.patch('kestrel.admin.actions.PATIENCE', 0.02 if status == 202 else 10):
            got, answer = self.world.act(fields)
        self.assertEqual(got, status, answer)
        return answer

    def result(self, action, *names, **more):
        """-> (items done, error) of the only queue"""
        result, = self.act(action, *names, **more)['results']
        return result['done'], result['error']


class QueueTest(ActionTest):

    def test_flush(self):
        queue = self.put(b'q', b'1', b'2')
        queue.take(True, self.world.clock.now_ms())
        self.assertEqual(self.result('flush', b'q'), (1, None))
        self.assertEqual((queue.count, list(queue.opened), queue.stats.total_flushes), (0, [1], 1))

    def test_delete(self):
        self.put(b'q\xff<', b'1', b'2')
        self.assertEqual(self.result('delete', b'q\xff<'), (2, None))
        self.assertIsNone(self.world.queue(b'q\xff<'))
        self.assertEqual(self.world.stats.queue_deletes, 1)

    def test_expire(self):
        self.put(b'brief', *[b'x'] * 2500)
        self.world.clock.advance(2)
        self.put(b'other', b'1')
        self.assertEqual(self.result('expire', b'brief'), (2500, None))
        self.assertEqual(self.result('expire', b'other'), (0, None))
        self.assertEqual(self.world.queue(b'brief').stats.expired_items, 2500)

    def test_move(self):
        queue = self.put(b'q', b'1', b'2')
        queue.put(b'3', 9, self.world.clock.now_ms() + 60000, False)
        self.put(b't', b'0')
        self.put(b't+child')
        self.assertEqual(self.result('move', b'q', to='t'), (3, None))
        self.assertEqual((self.world.items(b'q'), self.world.items(b't'), self.world.items(b't+child')),
                         ([], [b'0', b'1', b'2', b'3'], []))
        last = self.world.queue(b't').items[-1]
        self.assertEqual((last.flags, last.expiry), (9, self.world.clock.now_ms() + 60000))
        self.assertEqual(self.world.stats.total_items, 0)

    def test_move_creates_its_target_and_takes_what_is_there_now(self):
        self.put(b'a', b'1')
        self.put(b'b', b'2')
        answer = self.act('move', b'a', b'b', to='new')
        self.assertEqual((answer['done'], answer['total'], answer['failed'], answer['running']), (2, 2, 0, False))
        self.assertEqual(self.world.items(b'new'), [b'1', b'2'])

    def test_move_stops_at_a_target_that_refuses(self):
        self.put(b'q', b'1', b'2', b'3')
        self.assertEqual(self.result('move', b'q', to='small'), (2, 'it is full, or the item is too large'))
        self.assertEqual((self.world.items(b'q'), self.world.items(b'small')), ([b'3'], [b'1', b'2']))
        self.assertEqual(self.result('move', b'q', to='only'), (0, 'it is fanout_only and stores nothing'))
        self.assertEqual(self.world.items(b'q'), [b'3'])

    def test_where_nothing_can_be_moved_to(self):
        self.put(b'q', b'1')
        for to in ('q', 'alias', 'a.b', 'a/b', '+', '', None, 7, '\u20ac', 'x' * 300):
            self.world.act({'action': 'move', 'names': ['q'], 'to': to})
            status, answer = self.world.act({'action': 'move', 'names': ['q'], 'to': to})
            self.assertIn(status, (400, 404), to)
            self.assertTrue(answer['error'])
        self.assertEqual(self.world.items(b'q'), [b'1'])

    def test_requeue(self):
        self.put(b'work', b'1')
        self.put(b'dead', b'2', b'3')
        self.assertEqual(self.result('requeue', b'work'), (2, None))
        self.assertEqual((self.world.items(b'work'), self.world.items(b'dead')), ([b'1', b'2', b'3'], []))
        self.put(b'q')
        self.assertEqual(self.result('requeue', b'q'), (0, 'it has no dead_letter_queue'))
        self.world.collection.delete(b'dead')
        self.assertEqual(self.result('requeue', b'work'), (0, None))

    def test_queues_that_are_not_there(self):
        for action in ('flush', 'delete', 'expire', 'requeue'):
            self.assertEqual(self.result(action, b'nosuch'), (0, 'there is no such queue'))
        self.assertEqual(self.result('move', b'nosuch', to='t'), (0, 'there is no such queue'))
        self.put(b'q', b'1')
        answer = self.act('flush', b'nosuch', b'q')
        self.assertEqual((answer['done'], answer['failed']), (1, 1))
        self.assertEqual(self.world.collection.names(), sorted([*self.CONFIG.queues, b'q']))

    def test_deleted_meanwhile(self):
        """The queue goes, or is another one of that name, while its items are moved."""
        queue = self.put(b'q', *[b'x'] * 300)
        step = jobs.Job.step

        def delete_between(job, count):
            step(job, count)
            if not queue.closed:
                self.world.collection.delete(b'q')
                self.put(b'q', b'new')
        jobs.Job.step = delete_between
        try:
            self.assertEqual(self.result('move', b'q', to='t'), (100, 'it was deleted meanwhile'))
        finally:
            jobs.Job.step = step
        self.assertEqual((self.world.items(b'q'), self.world.queue(b't').count), ([b'new'], 100))

    def test_target_that_waits_for_its_fsync(self):
        self.put(b'q', b'1', b'2')
        journal = self.world.journaled(b't')
        journal.next_commit = commit = self.commit()
        answer = self.act('move', b'q', to='t', status=202)
        self.assertTrue(answer['running'])
        # neither lost nor there twice: held until the fsync has ended
        self.assertEqual((self.world.items(b'q'), self.world.items(b't'), len(self.world.queue(b'q').opened)), ([], [], 2))
        journal.end_commit()
        self.assertTrue(self.world.jobs.find(answer['job']).ended.wait(5))
        self.assertEqual((self.world.items(b't'), self.world.queue(b'q').opened, commit.done), ([b'1', b'2'], {}, True))

    def test_target_whose_fsync_fails(self):
        self.put(b'q', b'1', b'2')
        journal = self.world.journaled(b't')
        journal.next_commit = self.commit()
        answer = self.act('move', b'q', to='t', status=202)
        journal.end_commit(JournalError('disk'))
        job = self.world.jobs.find(answer['job'])
        self.assertTrue(job.ended.wait(5))
        self.assertEqual(self.world.items(b'q'), [b'1', b'2'])
        self.assertEqual((job.done, job.results[0]['error']), (0, 'queue t could not be made durable: the rest stays'))

    @staticmethod
    def commit():
        return Commit()

    def test_records_of_a_move(self):
        """Item by item: the record of the target is the first, and at most one item is in both."""
        source, target, line = self.world.journaled(b'q'), self.world.journaled(b't'), []
        for name, journal in (('q', source), ('t', target)):
            journal.records = type('Records', (list,), {
                'append': lambda self, record, name=name: line.append(f'{name}: {record}'),
                'extend': lambda self, records, name=name: line.extend([f'{name}: {record}' for record in records])})()
        self.put(b'q', b'1', b'2')
        line.clear()
        self.act('move', b'q', to='t')
        self.assertEqual(line, ['t: add(1:0:1)', 'q: remove', 't: add(1:0:2)', 'q: remove'])

    def test_blocked_by_the_status(self):
        self.put(b'q', b'1')
        self.world.services.writes_blocked = True
        self.world.control.server_status.in_force = READONLY
        for action in ('flush', 'delete', 'expire', 'move', 'requeue'):
            self.assertIn('status ReadOnly is in force', self.act(action, b'q', to='t', status=409)['error'])
        self.assertEqual(self.world.items(b'q'), [b'1'])


class JobTest(ActionTest):

    def begin(self, count=250):
        """A move that cannot end: its target waits for an fsync. -> (its number, the journal)"""
        self.put(b'q', *[b'x'] * count)
        journal = self.world.journaled(b't')
        journal.next_commit = QueueTest.commit()
        return self.act('move', b'q', to='t', status=202)['job'], journal

    def test_goes_on_by_itself(self):
        number, journal = self.begin()
        job, = self.world.json('/api/overview')['jobs']
        self.assertEqual((job['job'], job['action'], job['names'], job['to'], job['running'], job['done'], job['total'],
                          job['took_ms'], job['results']), (number, 'move', ['q'], 't', True, 250, 250, None, []))
        journal.end_commit()
        self.world.jobs.find(number).ended.wait(5)
        job, = self.world.json('/api/overview')['jobs']
        self.assertEqual((job['running'], job['took_ms'], job['results']),
                         (False, 0, [{'name': 'q', 'done': 250, 'error': None}]))

    def test_stop(self):
        number, journal = self.begin()
        answer = self.act('stop', job=number)
        self.assertFalse(answer['running'])
        journal.end_commit()
        for wrong in (number + 1, 'x', None, [], -1):
            self.assertIn('no such job', self.act('stop', job=wrong, status=404)['error'])

    def test_others_have_their_turn(self):
        """Long work lets others run: here the clock moves with each look at it."""
        queue = self.put(b'q', *[b'x'] * 1000)
        clock, seen = self.world.clock, []
        monotonic = clock.monotonic
        clock.monotonic = lambda: clock.advance(0.002) or monotonic()
        watcher = gevent.spawn(lambda: [(seen.append(queue.count), gevent.sleep(ONE_TURN)) for _ in range(100000)])
        self.act('move', b'q', to='t')
        watcher.kill()
        self.assertGreater(len(set(seen)), 2)

    def test_too_many(self):
        self.begin()
        for number in range(jobs.MOST - 1):
            self.put(b'q%d' % number, b'x')
            self.act('move', b'q%d' % number, to='t', status=202)
        self.assertIn('too many', self.act('flush', b'q', status=503)['error'])

    def test_large_ones_are_brief_in_the_list(self):
        for number in range(50):
            self.put(b'q%d' % number, b'x')
        answer = self.act('flush', *[b'q%d' % number for number in range(50)], b'nosuch')
        self.assertEqual((len(answer['names']), len(answer['results']), answer['done'], answer['failed']), (51, 51, 50, 1))
        job, = self.world.json('/api/overview')['jobs']
        self.assertEqual((len(job['names']), len(job['results']), job['results'][0]['name'], job['failed']),
                         (jobs.BRIEF, jobs.BRIEF, 'nosuch', 1))

    def test_the_last_ones_are_remembered(self):
        self.put(b'q')
        for _ in range(30):
            self.act('flush', b'q')
        found = [job['job'] for job in self.world.json('/api/overview')['jobs']]
        self.assertEqual(found, list(range(30, 10, -1)))


class ServerTest(ActionTest):

    def test_reload_and_status(self):
        self.assertEqual(self.act('reload'), {'error': None})
        self.assertEqual(self.act('status', status=400)['error'][:21], 'status must be one of')
        self.assertEqual(self.world.act({'action': 'status', 'status': 'readonly'}), (200, {'error': None}))
        self.world.control.why_not = 'cannot write <the file>'
        self.assertEqual(self.world.act({'action': 'status', 'status': 'up'}), (200, {'error': 'cannot write <the file>'}))
        self.assertEqual(self.act('reload'), {'error': 'cannot write <the file>'})
        self.assertEqual(self.world.control.told, ['reload', 'readonly', 'up', 'reload'])
        for status in ('down', 'Up', '', None, 1, ['up'], 'up\n'):
            self.assertEqual(self.world.act({'action': 'status', 'status': status})[0], 400)


class BodyTest(ActionTest):

    def check(self, body, status, said, **headers):
        got, answer = self.world.act(body=body, **headers)
        self.assertEqual((got, said in answer['error']), (status, True), answer)

    def test_bad(self):
        self.put(b'q', b'1')
        for body in (b'', b'{', b'\xff', b'[' * 60000, b'"x"', b'null', b'[]', b'{}', b'{"action":"nosuch"}', b'{"action":["flush"]}',
                     b'{"action":{}}', b'{"action":"flush"}', b'{"action":"flush","names":"q"}', b'{"action":"flush","names":[]}',
                     b'{"action":"flush","names":[1]}', b'{"action":"flush","names":[null,"q"]}', b'{"action":"flush","names":[""]}'):
            self.check(body, 400, '')
        self.check(b'{"action":"flush","names":["\\u20ac"]}', 404, 'at most U+00FF')
        self.check(b'{"action":"flush","names":["\\ud800"]}', 404, 'at most U+00FF')
        self.check(json.dumps({'action': 'flush', 'names': ['q'] * 1001}).encode(), 400, '1 to 1000')
        self.check(b'{}', 415, 'send application/json', content_type='text/plain')
        self.check(b'{}', 415, 'send application/json', content_type=None)
        self.assertEqual(self.world.items(b'q'), [b'1'])

    def test_form(self):
        self.put(b'caf\xe9 a+b', b'1')
        got, answer = self.world.act(body=b'action=flush&name=caf%C3%A9+a%2Bb', content_type=FORM + '; charset=utf-8')
        self.assertEqual((got, answer['done'], answer['names']), (200, 1, ['caf\xe9 a+b']))

    def test_method(self):
        for method in ('GET', 'PUT', 'HEAD', 'OPTIONS'):
            answer = self.world.get('/api/action?action=flush&name=q', method, x_kestrel_client='x')
            self.assertEqual(answer.status, '405 Method Not Allowed')


class WhoTest(ActionTest):

    HOST = '127.0.0.1:2223'

    def token(self, host=HOST):
        page = self.world.text('/', host=host)
        return page.partition('name="kestrel-token" content="')[2].partition('"')[0]

    def flush(self, token, **headers):
        """-> (status, error)"""
        self.put(b'q', b'1')
        headers = {'host': self.HOST, 'origin': 'http://' + self.HOST, 'sec_fetch_site': 'same-origin', 'x_kestrel_client': None,
                   **headers}
        status, answer = self.world.act({'action': 'flush', 'names': ['q'], 'token': token}, **headers)
        self.assertEqual(self.world.queue(b'q').count == 0, status == 200)
        return status, answer.get('error')

    def test_token_of_the_page(self):
        token = self.token()
        self.assertRegex(token, r'^[0-9a-f]+\.[0-9a-f]{16}\.[0-9a-f]{64}$')
        self.assertEqual(self.flush(token), (200, None))
        self.assertEqual(self.flush(token), (200, None))
        self.assertNotEqual(self.token(), token)

    def test_wrong_tokens(self):
        token = self.token()
        later = '%x' % 10 ** 9 + token[token.index('.'):]
        for wrong in ('', 'x', token[:-1], token + '0', '.' + token, later, '\u20ac', token.upper() + 'g', 0, [], {}, True,
                      AdminWorld().text('/', host=self.HOST).partition('content="')[2][:100]):
            self.assertEqual(self.flush(wrong), (403, EXPIRED), wrong)
        self.assertEqual(self.flush(None)[0], 403)
        # of a page with another address
        self.assertEqual(self.flush(self.token('localhost:2223')), (403, EXPIRED))
        self.world.clock.advance(VALID_FOR + 1)
        self.assertEqual(self.flush(token), (403, EXPIRED))

    def test_pages_of_other_sites(self):
        token = self.token()
        for headers in ({'origin': 'http://evil.example'}, {'origin': 'null'}, {'origin': None, 'referer': 'http://evil.example/'},
                        {'origin': 'http://127.0.0.1:8080'}, {'sec_fetch_site': 'cross-site'}, {'sec_fetch_site': 'same-site'},
                        {'host': 'evil.example:2223', 'origin': 'http://evil.example:2223'}):
            self.assertEqual(self.flush(token, **headers)[0], 403, headers)
            self.assertEqual(self.flush(None, x_kestrel_client='kestrelctl', **headers)[0], 403, headers)

    def test_programs_need_no_token(self):
        nothing = {'origin': None, 'sec_fetch_site': None}
        self.assertEqual(self.flush(None, x_kestrel_client='kestrelctl', **nothing), (200, None))
        self.assertEqual(self.flush(None, **nothing)[0], 403)
        self.assertEqual(self.flush(None, x_kestrel_client='', **nothing)[0], 403)
        # a browser, whatever it says
        for header, value in (('origin', 'http://' + self.HOST), ('referer', 'http://%s/' % self.HOST), ('sec_fetch_site', 'none'),
                              ('sec_fetch_mode', 'cors'), ('sec_fetch_dest', 'empty')):
            self.assertEqual(self.flush(None, **{**nothing, 'x_kestrel_client': 'kestrelctl', header: value})[0], 403, header)

    def test_no_token_for_a_name_that_is_not_ours(self):
        self.assertEqual(self.token('evil.example:2223'), '')
        self.assertNotEqual(self.token('machine:2223'), '')

    def test_read_only(self):
        self.world = AdminWorld(read_only=True)
        self.assertEqual(self.token(), '')
        for action in ('flush', 'delete', 'expire', 'move', 'requeue', 'status', 'reload', 'stop', 'nosuch'):
            self.assertIn('read-only', self.act(action, b'q', status=403)['error'])
        self.assertTrue(self.world.json('/api/overview')['read_only'])
        self.assertEqual(self.world.get('/api/queues').status, '200 OK')


if __name__ == '__main__':
    unittest.main()
