"""The admin port's API on a real server: bodies, big moves, kill -9 while items move, what a restart finds (D62)."""

import collections
import http.client
import json
import os
import signal
import threading
import time
import unittest

from support.environment import CHECKOUT
from support.server import PortLease, Server

LARGEST_ASSETS = 150 * 1024
MANY = 50000
JSON = {'Content-Type': 'application/json', 'X-Kestrel-Client': 'test'}


class ApiTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.lease = PortLease()
        cls.addClassCleanup(cls.lease.release)
        config = {'admin': {'http_port': cls.lease.port}, 'queues': {'synced': {'sync_journal': '0'}},
                  'default': {'max_memory_size': '1MB'}}
        cls.server = cls.enterClassContext(Server(config))

    def ask(self, target, method='GET', body=None, **headers):
        """-> (status, headers, the JSON)"""
        connection = http.client.HTTPConnection('127.0.0.1', self.lease.port, timeout=30)
        try:
            connection.request(method, target, body, {name.replace('_', '-'): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.headers, json.loads(answer.read())
        finally:
            connection.close()

    def act(self, **fields):
        """-> (status, the JSON)"""
        connection = http.client.HTTPConnection('127.0.0.1', self.lease.port, timeout=30)
        try:
            connection.request('POST', '/api/action', json.dumps(fields), JSON)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def job(self, number):
        return [job for job in self.ask('/api/overview')[2]['jobs'] if job['job'] == number][0]

    def wait_for(self, number):
        """The end of a job. -> what is said of it"""
        deadline = time.monotonic() + 60
        while self.job(number)['running']:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        return self.job(number)

    def fill(self, name, count):
        """Numbers, each an item of 24 bytes."""
        with self.server.client(60) as client:
            for first in range(0, count, 1000):
                client.send(b''.join([b'set %b 0 0 24\r\n%024d\r\n' % (name, one) for one in range(first, min(count, first + 1000))]))
                client.expect(b'', b'STORED\r\n' * (min(count, first + 1000) - first))

    def drain(self, *names):
        """-> the numbers in each of these queues"""
        found = []
        with self.server.client(60) as client:
            for name in names:
                numbers = []
                while True:
                    client.send(b'get %b\r\n' % name * 500)
                    for _ in range(500):
                        line = client.recv_until(b'\r\n')
                        if line != b'END\r\n':
                            numbers.append(int(client.recv_until(b'\r\nEND\r\n')[:24]))
                    if line == b'END\r\n':
                        break
                found.append(numbers)
        return found

    def test_body(self):
        for body, headers, status in (
                (b'{"action":"flush","names":["q"]}', JSON, 200), (b'{}', {}, 415), (b'{"action":1}', JSON, 400), (b'\xff', JSON, 400),
                (b'action=flush&name=q', {**JSON, 'Content-Type': 'application/x-www-form-urlencoded'}, 200),
                (b'{"action":"flush","names":["q"]}', {'Content-Type': 'application/json'}, 403),
                (b'{"action":"flush","names":["q"]}', {**JSON, 'Origin': 'http://evil.example'}, 403),
                (b'{"action":"flush","names":["q"]}', {**JSON, 'Host': 'evil.example'}, 403),
                (b'x' * 65536, JSON, 400)):
            got, answer_headers, answer = self.ask('/api/action', 'POST', body, **headers)
            self.assertEqual(got, status, (body[:50], answer))
            self.assertEqual((answer_headers['Content-Type'], answer_headers['Cache-Control']), ('application/json', 'no-store'))
        # one connection, a body after the other: none is taken for that of the next request
        connection = http.client.HTTPConnection('127.0.0.1', self.lease.port, timeout=10)
        self.addCleanup(connection.close)
        for body, status in ((b'{"action":"expire","names":["x"]}', 200), (None, 415), (b'{', 400)):
            connection.request('POST', '/api/action', body, JSON if body else {'X-Kestrel-Client': 'x'})
            answer = connection.getresponse()
            answer.read()
            self.assertEqual(answer.status, status)

    def test_config(self):
        found = self.ask('/api/config')[2]
        values = {section: {one['key']: one for one in settings} for section, settings in found['sections'].items()}
        self.assertEqual(values['default']['max_memory_size'], {'key': 'max_memory_size', 'value': '1MB', 'default': '128MB', 'differs': True})
        self.assertEqual(values['server']['client_timeout'], {'key': 'client_timeout', 'value': 'none', 'default': 'none', 'differs': False})
        self.assertEqual(values['admin']['http_port']['value'], str(self.lease.port))
        self.assertEqual((found['queues'], found['path']), (['synced'], str(self.server.config_path)))
        self.fill(b'synced', 1)
        settings = {one['key']: one for one in self.ask('/api/queue?name=synced')[2]['settings']}
        self.assertEqual((settings['sync_journal']['value'], settings['sync_journal']['differs']), ('0', True))
        # each key of the table is told, in the words of the file
        self.assertEqual({section: len(values[section]) > 3 for section in values}, dict.fromkeys(
            ('server', 'default', 'admin', 'zookeeper', 'logging'), True))

    def test_open_reads_and_connections(self):
        self.fill(b'reads', 3)
        with self.server.client() as client:
            client.send(b'get reads/open\r\n')
            client.recv_until(b'END\r\n')
            peer = '127.0.0.1:%d' % client.socket.getsockname()[1]
            read, = self.ask('/api/queue?name=reads')[2]['reads']
            self.assertEqual((read['peer'], read['protocol'], read['size']), (peer, 'memcache', 24))
            mine, = [one for one in self.ask('/api/connections')[2]['connections'] if one['peer'] == peer]
            self.assertEqual((mine['holds'], mine['waits_for']), ([{'name': 'reads', 'open_reads': 1}], None))
            client.send(b'get reads/abort\r\nget later/t=30000\r\n')
            while not mine['waits_for']:
                mine, = [one for one in self.ask('/api/connections')[2]['connections'] if one['peer'] == peer]
            self.assertEqual((mine['holds'], mine['waits_for']), ([], 'later'))

    def test_peek_behind_memory(self):
        """What is left on disk is not read for a look."""
        self.fill(b'behind', MANY)
        self.assertEqual(self.ask('/api/peek?name=behind&count=2')[2]['first'][1]['text'], '%024d' % 1)
        row = self.ask('/api/queue?name=behind')[2]
        self.assertLess(row['mem_items'], row['items'])
        # a move takes them all, in their order, and others are served meanwhile
        status, job = self.act(action='move', names=['behind'], to='moved')
        slowest = 0
        with self.server.client() as client:
            while self.job(job['job'])['running']:
                began = time.monotonic()
                client.expect(b'version\r\n', b'VERSION ')
                client.recv_until(b'\r\n')
                slowest = max(slowest, time.monotonic() - began)
        self.assertLess(slowest, 1)
        job = self.wait_for(job['job'])
        self.assertEqual((job['done'], job['total'], job['results'][0]['error']), (MANY, MANY, None))
        self.assertEqual(self.ask('/api/queue?name=behind')[2]['items'], 0)
        self.assertEqual(self.drain(b'moved'), [list(range(MANY))])

    def test_kill_while_items_move(self):
        """None is lost, and one at most is in both queues: as the last that arrived."""
        for target in (b'to-never', b'synced'):
            with self.server.client() as client:
                client.expect(b'delete synced\r\n', b'DELETED\r\n')
            self.fill(b'from', 20000)
            mover = threading.Thread(target=self.move_until_killed, args=(target.decode(),))
            mover.start()
            while self.moved(target) < 300:
                time.sleep(0.01)
            os.kill(self.server.pid, signal.SIGKILL)
            mover.join()
            self.server.wait(None)
            self.server.start()
            rest, arrived = self.drain(b'from', target)
            counted = collections.Counter(rest + arrived)
            self.assertEqual(sorted(counted), list(range(20000)))
            self.assertEqual((arrived, rest), (list(range(len(arrived))), list(range(20000 - len(rest), 20000))))
            doubled = len(rest) + len(arrived) - 20000
            # with an fsync for each step, those whose copies wait for it are held open, and go back at the start
            self.assertLessEqual(doubled, 1 if target == b'to-never' else 20000, target)
            self.assertTrue(rest, 'the kill came too late')

    def move_until_killed(self, to):
        try:
            self.act(action='move', names=['from'], to=to)
        except (OSError, http.client.HTTPException):
            # the server was killed under it
            return

    def moved(self, name):
        status, _, found = self.ask('/api/queue?name=' + name.decode())
        return found['items'] if status == 200 else 0

    def test_size_of_the_assets(self):
        sizes = [path.stat().st_size for path in (CHECKOUT / 'kestrel' / 'admin' / 'assets').iterdir()]
        self.assertGreater(sum(sizes), 10000)
        self.assertLessEqual(sum(sizes), LARGEST_ASSETS)


if __name__ == '__main__':
    unittest.main()
