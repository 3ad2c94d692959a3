"""Clients that the thrift compiler makes, in three languages, and how the thrift port bears what is none."""

import json
import os
import pathlib
import struct
import subprocess
import threading
import time
import unittest

from thrift.protocol.TBinaryProtocol import TBinaryProtocol, TBinaryProtocolAccelerated
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TFramedTransport

from kestrel import __version__
from kestrel.thrift_gen import Kestrel
from support.server import Server
from support.thrift_calls import call, result

CLIENTS = pathlib.Path(__file__).resolve().parent / 'clients'
MISSING = 3             # exit code of the set-up scripts when something is not there
SECONDS = 300

server = None


def setUpModule():
    global server
    server = Server({'server': {'max_open_transactions': 50, 'max_request_size': '4MB'}}, protocols=('thrift',))
    server.start()
    unittest.addModuleCleanup(server.close)
    unittest.addModuleCleanup(server.stop)


def connect(test, protocol=TBinaryProtocolAccelerated):
    """A generated client."""
    transport = TFramedTransport(TSocket('127.0.0.1', server.ports['thrift']))
    transport.open()
    test.addCleanup(transport.close)
    return Kestrel.Client(protocol(transport))


class PythonTest(unittest.TestCase):

    def test_tour(self):
        for protocol in (TBinaryProtocol, TBinaryProtocolAccelerated):
            client = connect(self, protocol)
            every = bytes(range(256))
            self.assertEqual(client.put('tour', [every, b''], 0), 2)
            first, second = client.get('tour', 5, 0, 60000)
            self.assertEqual((first.data, second.data), (every, b''))
            self.assertEqual(second.id, first.id + 1)
            self.assertEqual(client.confirm('tour', {first.id, second.id, -7}), 2)
            self.assertEqual(client.peek('tour').items, 0)
            self.assertEqual(client.get_version(), __version__)

    def test_large_items_and_many(self):
        client = connect(self)
        items = [bytes([number]) * 1000000 for number in range(3)]
        self.assertEqual(client.put('large', items, 0), 3)
        self.assertEqual([item.data for item in client.get('large', -1, 0, 0)], items)
        items = [b'%d' % number for number in range(30000)]
        self.assertEqual(client.put('many', items, 0), 30000)
        self.assertEqual([item.data for item in client.get('many', -1, 0, 0)], items)

    def test_a_pool_shares_ids(self):
        """Workers fetch on one connection and confirm or abort on whichever is free; nothing is lost or done twice."""
        pool = [(connect(self), threading.Lock()) for _ in range(4)]
        connect(self).put('pool', [b'%d' % number for number in range(400)], 0)
        done, lock = [], threading.Lock()

        def on(number, method, *words):
            client, busy = pool[number % len(pool)]
            with busy:
                return getattr(client, method)('pool', *words)

        def work(number):
            turn = number
            while True:
                items = on(turn, 'get', 7, 0, 60000)
                if not items:
                    return
                turn += 1
                back = {item.id for item in items[5:]} if turn % 3 == 0 else set()
                kept = {item.id: item.data for item in items if item.id not in back}
                if on(turn, 'confirm', set(kept)) != len(kept) or on(turn + 1, 'abort', back) != len(back):
                    raise AssertionError('an id was not known')
                with lock:
                    done.extend(kept.values())

        workers = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
        # what one had aborted when the others looked for the last time
        done += [item.data for item in connect(self).get('pool', -1, 0, 0)]
        self.assertEqual(sorted(done, key=int), [b'%d' % number for number in range(400)])

    def test_a_consumer_that_dies(self):
        client = connect(self)
        client.put('dies', [b'a', b'b'], 0)
        consumer = connect(self)
        self.assertEqual(len(consumer.get('dies', 2, 0, 300)), 2)
        consumer._iprot.trans.close()
        self.assertEqual(client.get('dies', 1, 100, 0), [])
        self.assertEqual([item.data for item in client.get('dies', 2, 5000, 0)], [b'a', b'b'])


class LanguagesTest(unittest.TestCase):

    def made(self, script, *words):
        made = subprocess.run([CLIENTS / script, *words], capture_output=True, text=True, timeout=SECONDS)
        if made.returncode == MISSING:
            self.skipTest(made.stderr.strip())
        if made.returncode:
            raise AssertionError(f'the client cannot be made:\n{made.stderr}')
        return made.stdout.strip()

    def tour(self, *command, **environment):
        done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60,
                              stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout), {
            'put': 3, 'got': ['one', 'two'], 'peek': ['three', 1, 5, 2], 'confirm': 1, 'abort': 1,
            'rest': [['two', 0], ['three', 0]], 'status': 3, 'version': __version__, 'refused': [6, 'bad queue name']})

    def test_go(self):
        self.tour(self.made('thrift_setup.sh', 'go'), str(server.ports['thrift']), 'go')

    def test_node(self):
        modules = self.made('setup.sh') + '/node_modules'
        self.tour('node', CLIENTS / 'thrift_tour.js', str(server.ports['thrift']), 'node',
                  self.made('thrift_setup.sh', 'node'), NODE_PATH=modules)


class HostileTest(unittest.TestCase):

    def answers(self):
        """Does the server answer another client? -> seconds it took"""
        began = time.monotonic()
        self.assertEqual(connect(self).get_version(), __version__)
        return time.monotonic() - began

    def memory(self):
        with open(f'/proc/{server.pid}/statm') as statm:
            return int(statm.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')

    def test_frames_that_claim_much(self):
        before = self.memory()
        clients = [server.client(protocol='thrift') for _ in range(50)]
        for client in clients:
            self.addCleanup(client.close)
            client.send(struct.pack('>I', 5000000) + call('put', body=b'\x0f\0\2\x0b\x7f\xff\xff\xff')[4:])
        self.answers()
        self.assertLess(self.memory() - before, 30000000)

    def test_nesting_and_tiny_elements_do_not_stall_others(self):
        for body in (b'\x0c\0\1' * 1600000, b'\x0f\0\1\x0f\0\0\0\1' + b'\x0f\0\0\0\1' * 200000,
                     b'\x0f\0\x63\x0b' + struct.pack('>I', 1200000) + bytes(4800000) + b'\0'):
            with server.client(protocol='thrift') as client:
                client.send(call('peek', body=body))
                self.assertLess(self.answers(), 5)
                size, = struct.unpack('>I', client.recv_exactly(4))
                self.assertEqual(client.recv_exactly(size)[3], 3)

    def test_other_protocols(self):
        for request in (b'GET / HTTP/1.1\r\nHost: x\r\n\r\n', b'set q 0 0 1\r\nx\r\n', b'\x16\3\1\2\0\1\0\1',
                        b'\x82\x21\1\x0bget_version\0', call('get_version')[4:], bytes(100)):
            with server.client(protocol='thrift') as client:
                client.expect_close(request)
        self.answers()
        self.assertIn('closed a connection from 127.0.0.1 that speaks HTTP', server.log())
        self.assertNotIn('Traceback', server.log())

    def test_half_frames_and_silence(self):
        whole = call('put', queue_name='half', items=[b'x'])
        for size in range(len(whole)):
            with server.client(protocol='thrift') as client:
                client.send(whole[:size])
                client.half_close()
                client.expect_close()
        self.assertEqual(connect(self).peek('half').items, 0)

    def test_a_client_that_does_not_read(self):
        client = server.client(protocol='thrift')
        self.addCleanup(client.close)
        connect(self).put('unread', [b'x' * 1000] * 4000, 0)
        client.send(call('get', queue_name='unread', max_items=4000) * 4)
        self.assertLess(self.answers(), 5)
        size, = struct.unpack('>I', client.recv_exactly(4))
        self.assertEqual(len(result(client.recv_exactly(size), 'get')), 4000)


if __name__ == '__main__':
    unittest.main()
