"""Spools and traffic of the original: replayed, drained and answered by a whole server as the original did."""

import json
import unittest

from functional.records import REMOVE, records
from functional.waiting import eventually, stats
from support.environment import DATA
from support.server import Server

CASES = ('open_confirm', 'open_abort', 'open_at_end', 'monitor_confirm')
CONFIG = {'server': {'max_open_transactions': 100}}
# Hung up with several reads open: the original puts them back in reverse order (D7).
REVERSED = {'open_abort', 'monitor_confirm'}


def each_recording():
    for case in CASES:
        recorded = json.loads((DATA / 'golden' / case / 'case.json').read_text())
        for end in 'clean', 'kill9':
            yield case, end, recorded[end], DATA / 'golden' / case / end


class SpoolOfTheOriginalTest(unittest.TestCase):

    def test_drains_as_recorded(self):
        for case, end, recorded, folder in each_recording():
            with self.subTest(case=case, end=end):
                server = Server(CONFIG)
                self.addCleanup(server.close)
                server.spool.mkdir()
                for path in (folder / 'journal').iterdir():
                    (server.spool / path.name).write_bytes(path.read_bytes())
                server.start()
                self.compare(server, recorded['after_restart'], folder / 'journal_after_restart')
                server.stop()

    def compare(self, server, expected, folder):
        recovered = {path.name: path.read_bytes() for path in folder.iterdir()}
        for name, data in recovered.items():
            self.assertEqual((server.spool / name).read_bytes(), data, name)
        with server.client() as client:
            found = stats(client)
            for queue, values in expected['stats'].items():
                for key, value in values.items():
                    if key != 'total_items':        # D41
                        self.assertEqual(found[f'queue_{queue}_{key}'], value, key)
            for queue, items in expected['drain'].items():
                for item in items:
                    client.expect(b'get %s\r\n' % queue.encode('latin-1'), self.value(queue, item))
                client.expect(b'get %s\r\n' % queue.encode('latin-1'), b'END\r\n')
                self.assertEqual((server.spool / queue).read_bytes(), recovered[queue] + REMOVE * len(items))

    @staticmethod
    def value(queue, item):
        data = item.encode('latin-1')
        return b'VALUE %s 0 %d\r\n%s\r\nEND\r\n' % (queue.encode('latin-1'), len(data), data)


class TrafficOfTheOriginalTest(unittest.TestCase):

    def test_same_answers_and_same_records(self):
        for case, end, recorded, folder in each_recording():
            if end == 'clean':
                continue        # the same requests, with a shutdown at their end
            with self.subTest(case=case):
                server = Server(CONFIG)
                self.addCleanup(server.close)
                server.start()
                self.replay(server, recorded['ops'])
                server.kill9()
                self.assert_same_records(case, server, folder / 'journal')

    def replay(self, server, operations):
        clients = {}
        for operation in operations:
            name, event = operation.get('conn'), operation.get('event')
            if event == 'connect':
                clients[name] = server.client()
                self.addCleanup(clients[name].close)
            elif event == 'close':
                with server.client() as watch:
                    clients[name].close()
                    # the watch in its place: once it is noticed
                    eventually(self, 'the hang-up is noticed',
                               lambda: stats(watch)['curr_connections'] == str(len(clients)))
                del clients[name]
            elif event != 'SIGKILL':
                reply = operation['reply'].encode('latin-1')
                if reply == b'ERROR\r\n':       # D1: with a reason
                    clients[name].send(operation['send'].encode('latin-1'))
                    self.assertRegex(clients[name].recv_all(), rb'^ERROR [^\r\n]+\r\n$')
                else:
                    clients[name].expect(operation['send'].encode('latin-1'), reply)

    def assert_same_records(self, case, server, folder):
        for path in folder.iterdir():
            ours, theirs = (records(data) for data in ((server.spool / path.name).read_bytes(), path.read_bytes()))
            if case in REVERSED:
                put_back = len(theirs)
                while theirs[put_back - 1].startswith('unremove'):
                    put_back -= 1
                theirs[put_back:] = reversed(theirs[put_back:])
            self.assertEqual(ours, theirs)
