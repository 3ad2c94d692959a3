"""A test case with queues of all kinds of syncing, and requests that wait for an fsync."""

import select

from functional.journaled import REFUSED, SharedServerTest
from functional.waiting import eventually

CONFIG = {'queues': {'each': {'sync_journal': '0'}, 'other': {'sync_journal': '0'},
                     'few': {'sync_journal': '0', 'max_items': 1},
                     'behind': {'sync_journal': '0', 'max_memory_size': 1024},
                     'turning': {'sync_journal': '0', 'max_memory_size': 1000},
                     'turning-never': {'sync_journal': 'never', 'max_memory_size': 1000},
                     'period': {'sync_journal': '20ms'}, 'never': {'sync_journal': 'never'},
                     'memory': {'keep_journal': False, 'sync_journal': '0'}}}
EIO = REFUSED + b'Input/output error\r\n'


class DurabilityTest(SharedServerTest):

    def setUp(self):
        self.begin(CONFIG)

    def send_and_hang(self, queue, sent, client=None):
        """Send a request whose fsync is being held, and wait until that has begun; -> its client."""
        client = client or self.another()
        self.server.noted()
        client.send(sent)
        self.written(queue, 1)
        eventually(self, 'an fsync', lambda: self.server.hangs(queue))
        return client

    def assert_silent(self, *clients):
        """Nothing has been answered to these."""
        self.pause(30)
        ready, _, _ = select.select([client.socket for client in clients], [], [], 0)
        self.assertEqual(ready, [], 'answered before the fsync')

    def written(self, queue, count):
        """Wait for so many writes since the last look."""
        eventually(self, f'{count} records',
                   lambda: self.server.noted_so_far().count(f'write {queue}') >= count)
