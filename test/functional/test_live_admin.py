"""The admin port of a real server: HTTP, bad input, slow clients, control (spec admin, D21, D28, D62)."""

import http.client
import json
import socket
import time
import unittest
import urllib.parse

from support.environment import run_kestrel
from support.server import PortLease, Server, listens, start_server

SLOW_CLIENTS = 500


def admin_config(port, **more):
    return {'admin': {'http_port': port, **more}}


class Admin:
    """Requests to an admin port."""

    def __init__(self, port):
        self.port = port

    def get(self, target, method='GET', body=None, **headers):
        """-> (status, headers, body as str)"""
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=10)
        try:
            connection.request(method, target, body, {name.replace('_', '-'): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()

    def raw(self, data, timeout=10):
        """Everything that comes for these bytes until the server closes, as bytes."""
        with socket.create_connection(('127.0.0.1', self.port), timeout=timeout) as sock:
            sock.sendall(data)
            received = b''
            while True:
                try:
                    piece = sock.recv(65536)
                except ConnectionResetError:
                    return received
                if not piece:
                    return received
                received += piece


class AdminPortTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.lease = PortLease()
        cls.addClassCleanup(cls.lease.release)
        config = admin_config(cls.lease.port, stats_filters='q/.*', http_backlog=1000)
        config['aliases'] = {'both': {'destination_queues': ['one', 'two']}}
        cls.server = cls.enterClassContext(Server(config))
        cls.admin = Admin(cls.lease.port)

    def check(self, data, status, why=b''):
        """These bytes are answered with that status, once, and the connection closes."""
        answer = self.admin.raw(data)
        self.assertTrue(answer.startswith(b'HTTP/1.1 %d ' % status), answer[:200])
        self.assertIn(why, answer)
        self.assertEqual(answer.count(b'HTTP/1.1 '), 1, answer)
        for header in b'X-Ostrich-Version: 8.2.9', b'X-Content-Type-Options: nosniff', b'Connection: close':
            self.assertIn(header + b'\r\n', answer)
        self.assertNotIn(b'Traceback', answer)

    def test_headers(self):
        for target, status, content_type in (
                ('/ping', 200, 'application/json'), ('/stats.txt', 200, 'text/plain'), ('/nosuch', 404, 'text/html'),
                ('/', 200, 'text/html'), ('/graph/', 200, 'text/html'), ('/static/graph.js', 200, 'text/javascript'),
                ('/graph_data', 200, 'text/html'), ('/stats?period=x', 500, 'text/html')):
            got, headers, body = self.admin.get(target)
            self.assertEqual((got, headers['Content-Type']), (status, content_type), target)
            self.assertEqual(headers['X-Ostrich-Version'], '8.2.9')
            self.assertEqual(headers['X-Content-Type-Options'], 'nosniff')
            self.assertEqual(int(headers['Content-Length']), len(body.encode()))

    def test_methods(self):
        for method in ('GET', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'FOO'):
            self.assertEqual(self.admin.get('/ping', method)[2], '{"response":"pong"}\n', method)
        status, headers, body = self.admin.get('/ping', 'HEAD')
        self.assertEqual((status, headers['Content-Length'], body), (200, '20', ''))

    def test_keep_alive(self):
        connection = http.client.HTTPConnection('127.0.0.1', self.admin.port, timeout=10)
        self.addCleanup(connection.close)
        for body in (None, b'x' * 65536, None):
            connection.request('POST', '/ping.txt', body)
            self.assertEqual(connection.getresponse().read(), b'pong\n')

    def test_pipelined(self):
        answer = self.admin.raw(b'GET /ping.txt HTTP/1.1\r\n\r\nPOST /ping.txt HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc'
                                b'GET http://any/health HTTP/1.1\nConnection: close\n\n')
        self.assertEqual((answer.count(b'HTTP/1.1 200 OK'), answer.count(b'pong\n'), answer[-3:]), (3, 2, b'OK\n'))

    def test_expect_continue(self):
        with socket.create_connection(('127.0.0.1', self.admin.port), timeout=10) as sock:
            sock.sendall(b'POST /ping.txt HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n')
            self.assertEqual(sock.recv(100), b'HTTP/1.1 100 Continue\r\n\r\n')
            sock.sendall(b'abc')
            answer = b''.join(iter(lambda: sock.recv(1000), b''))
        self.assertTrue(answer.endswith(b'\r\n\r\npong\n'), answer)

    def test_statistics_of_real_traffic(self):
        with self.server.client() as client:
            client.expect(b'get nothing/t=100\r\n', b'END\r\n')
            client.expect(b'set traffic 0 0 3\r\nabc\r\n', b'STORED\r\n')
            client.expect(b'get traffic/open\r\n', b'VALUE traffic 0 3\r\nabc\r\nEND\r\n')
            client.expect(b'set both 0 0 1\r\nx\r\n', b'STORED\r\n')
            client.expect(b'get traffic\r\n', b'ERROR open read in progress on queue traffic\r\n')
        found = json.loads(self.admin.get('/stats')[2])
        counters, gauges, metrics = found['counters'], found['gauges'], found['metrics']
        self.assertEqual({name: counters['q/traffic/' + name] for name in ('put_items', 'put_bytes', 'get_items_hit',
                                                                            'transactions')},
                         {'put_items': 1, 'put_bytes': 3, 'get_items_hit': 1, 'transactions': 1})
        self.assertEqual((counters['q/both/put_items'], counters['q/one/put_items']), (1, 1))
        self.assertGreaterEqual(counters['kestrel-memcache/connects'], 1)
        self.assertGreaterEqual(counters['kestrel-memcache/requests'], 4)
        self.assertEqual(counters['kestrel-memcache/success'], counters['kestrel-memcache/requests'])
        latency = metrics['kestrel-memcache/request_latency_ms']
        self.assertEqual(latency['count'], counters['kestrel-memcache/requests'])
        self.assertGreaterEqual(latency['maximum'], 90)
        self.assertGreater(gauges['q/one/journal_size'], 0)
        self.assertGreater(gauges['jvm_heap_used'], 1 << 20)
        for name in ('set_latency_usec', 'get_hit_latency_usec', 'q/traffic/set_latency_usec',
                     'q/traffic/request_size'):
            self.assertGreaterEqual(metrics[name]['count'], 1, name)
        self.assertEqual(self.admin.get('/stats?period=60')[0], 200)
        self.assertNotIn('q/', self.admin.get('/stats?period=60&filtered=1')[2])
        self.assertIn('kestrel_queue_put_items_total{queue="traffic"} 1\n', self.admin.get('/metrics')[2])
        stacks = json.loads(self.admin.get('/threads')[2])['threads'].values()
        self.assertLessEqual({'background', 'statistics', 'hub'}, {found['thread'] for found in stacks})

    def test_foreign_names(self):
        with self.server.client() as client:
            client.expect(b'set <b>"\x1b\xe9 0 0 1\r\n1\r\n', b'STORED\r\n')
        name = '<b>"\x1b\xe9'
        self.assertEqual(json.loads(self.admin.get('/stats')[2])['gauges'][f'q/{name}/items'], 1)
        self.assertIn('kestrel_queue_items{queue="<b>\\"\u241b\xe9"} 1\n', self.admin.get('/metrics')[2])
        key = f'gauge:q/{name}/items'
        status, _, body = self.admin.get('/graph_data/' + urllib.parse.quote(key))
        self.assertEqual((status, list(json.loads(body))), (200, [key]))
        for target in ('/stats', '/graph_data', '/graph_data/' + urllib.parse.quote(key)):
            self.assertNotIn('<b>', self.admin.get(target)[2])

    def test_no_http(self):
        for data in (b'\r\n', b'stats\r\n', b'GET /ping\r\n\r\n', b'GET  /ping HTTP/1.1\r\n\r\n', b'\x80\x0b\r\n',
                     b'\x16\x03\x01\n', b'GET /\xe9 HTTP/1.1\r\n\r\n', b'GET ping HTTP/1.1\r\n\r\n',
                     b'GET * HTTP/1.1\r\n\r\n', b'G\x00T /ping HTTP/1.1\r\n\r\n'):
            self.check(data, 400)
        self.check(b'GET /ping HTTP/2.0\r\n\r\n', 505)

    def test_smuggling(self):
        line = b'POST /ping HTTP/1.1\r\nHost: localhost\r\n'
        behind = b'GET /shutdown HTTP/1.1\r\nHost: localhost\r\n\r\n'
        for headers, status in (
                (b'Content-Length: 5\r\nContent-Length: 0\r\n', 400), (b'Content-Length: 5\r\ncontent-length: 5\r\n', 400),
                (b'Content-Length: +5\r\n', 400), (b'Content-Length: 0x5\r\n', 400), (b'Content-Length: 1_0\r\n', 400),
                (b'Content-Length: -1\r\n', 400), (b'Content-Length:\r\n', 400), (b'Content-Length: 5,5\r\n', 400),
                (b'Content-Length : 5\r\n', 400), (b' Content-Length: 5\r\n', 400), (b'X: 1\r\n folded\r\n', 400),
                (b'Host: evil.example\r\n', 400), (b'no colon\r\n', 400), (b'X: a\rb\r\n', 400), (b'X: a\0b\r\n', 400),
                (b'Transfer-Encoding: chunked\r\n', 501), (b'transfer-encoding: xchunked\r\nContent-Length: 3\r\n', 501),
                (b'Content-Length: 65537\r\n', 413), (b'Content-Length: 99999999999999999999\r\n', 400)):
            with self.subTest(headers):
                self.check(line + headers + b'\r\n0\r\n\r\n' + behind, status)
        self.assertTrue(self.server.running)

    def test_large_requests(self):
        self.check(b'GET /' + b'a' * 20000 + b' HTTP/1.1\r\n\r\n', 414)
        self.check(b'GET / HTTP/1.1\r\nX: ' + b'a' * 20000 + b'\r\n\r\n', 431)
        self.check(b'GET / HTTP/1.1\r\n' + b'X: a\r\n' * 200 + b'\r\n', 431)
        self.check(b'POST /ping HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n' + b'a' * 1000000, 413)
        self.assertEqual(self.admin.get('/ping?' + 'a=b&' * 1500)[0], 200)

    def test_slow_clients(self):
        """Who sends half a request, or reads no answer, is in nobody's way."""
        slow = []
        self.addCleanup(lambda: [sock.close() for sock in slow])
        for number in range(SLOW_CLIENTS):
            slow.append(socket.create_connection(('127.0.0.1', self.admin.port), timeout=10))
            slow[-1].sendall(b'GET /stats HTTP/1.1\r\nX: ' if number % 2 else b'G')
        reader = socket.create_connection(('127.0.0.1', self.admin.port), timeout=10)
        slow.append(reader)
        reader.sendall(b'GET /metrics HTTP/1.1\r\n\r\n' * 1000)
        began = time.monotonic()
        self.assertEqual(self.admin.get('/ping')[0], 200)
        self.assertLess(time.monotonic() - began, 2)
        with self.server.client() as client:
            client.expect(b'set slow 0 0 1\r\na\r\nget slow\r\n', b'STORED\r\nVALUE slow 0 1\r\na\r\nEND\r\n')
        # the oldest of them have gone for it
        self.assertEqual(slow[0].recv(10), b'')
        self.assertLess(json.loads(self.admin.get('/stats')[2])['gauges']['jvm_fd_count'], SLOW_CLIENTS)

    def test_control_from_other_sites(self):
        here = f'127.0.0.1:{self.admin.port}'
        for headers in ({'Origin': 'http://evil.example'}, {'Host': 'evil.example'}, {'Sec_Fetch_Site': 'cross-site'},
                        {'Referer': 'http://evil.example/'}):
            self.assertEqual(self.admin.get('/shutdown', **headers)[0], 403, headers)
        self.assertTrue(self.server.running)
        self.assertEqual(self.admin.get('/gc', Origin='http://' + here, Sec_Fetch_Site='same-origin')[0], 200)

    def test_ready_follows_the_status(self):
        self.assertEqual(self.admin.get('/ready')[::2], (200, 'OK\n'))
        with self.server.client() as client:
            client.expect(b'status readonly\r\n', b'END\r\n')
            self.addCleanup(self.admin.get, '/ping')
            self.assertEqual(self.admin.get('/ready')[::2], (503, 'status ReadOnly is announced: it blocks writes\n'))
            found = json.loads(self.admin.get('/stats')[2])
            self.assertEqual((found['labels']['status'], found['gauges']['status/writeable'],
                              found['gauges']['status/readable']), ('ReadOnly', 0, 1))
            client.expect(b'status up\r\n', b'END\r\n')
        self.assertEqual(self.admin.get('/ready')[0], 200)

    def test_logging(self):
        found = json.loads(self.admin.get('/logging?name=kestrel&level=debug')[2])['response']
        self.assertEqual(found, 'Successfully changed the level of the following logger(s) to DEBUG\n\tkestrel\n')
        self.assertEqual(self.admin.get('/logging.txt?name=kestrel&level=INFO')[2],
                         'Successfully changed the level of the following logger(s) to INFO\n\tkestrel\n')

    def test_port_taken(self):
        config = self.server.dir / 'taken.conf'
        with socket.socket() as taken:
            taken.bind(('127.0.0.1', 0))
            taken.listen()
            port = taken.getsockname()[1]
            config.write_text(f'[server]\nmemcache_listen_port = none\ntext_listen_port = none\nthrift_listen_port = none\n'
                              f'queue_path = {self.server.dir}/untouched\n[admin]\nhttp_port = {port}\n')
            ended = run_kestrel('-f', config)
        self.assertEqual((ended.returncode, ended.stderr), (
            1, f'kestrel: cannot listen on 127.0.0.1 port {port}: Address already in use: stop what uses it or change'
            ' http_port\n'))
        self.assertFalse((self.server.dir / 'untouched').exists())


class ControlTest(unittest.TestCase):

    def test_reload_and_shutdown(self):
        lease = PortLease()
        self.addCleanup(lease.release)
        server = start_server(self, admin_config(lease.port))
        admin = Admin(lease.port)
        server.write_config({**admin_config(lease.port, read_only=True), 'queues': {'fresh': {}}})
        self.assertEqual(admin.get('/reload.txt')[2], 'ok\n')
        self.await_log(server, 'configuration reloaded')
        self.assertIn('[admin] is read at the start only: restart kestrel to apply read_only', server.log())
        self.assertIn('q/fresh/items', admin.get('/stats')[2])
        server.write_config('[server]\nnonsense = 1\n')
        self.assertEqual(admin.get('/reload')[2], '{"response":"ok"}\n')
        self.await_log(server, 'configuration not reloaded')
        self.assertEqual(admin.get('/quiesce')[2], '{"response":"ok"}\n')
        server.wait()
        self.assertFalse(listens(lease.port))

    def await_log(self, server, text):
        until = time.monotonic() + 10
        while text not in server.log():
            self.assertLess(time.monotonic(), until, server.log_end())
            time.sleep(0.01)


if __name__ == '__main__':
    unittest.main()
