"""Queues for one client id only: nobody on the memcache port has one (spec queues 9, memcache 3, D35, D36)."""

import unittest

from support.fakes import FakeConfig, World

PUT = {'white_list_client_id_for_enqueue': 'loader'}
TAKE = {'white_list_client_id_for_dequeue': 'loader'}
STORED = b'STORED\r\n'
END = b'END\r\n'


def refused(name):
    return b'SERVER_ERROR client id required for queue %b\r\n' % name


class WhiteListTest(unittest.TestCase):

    def world(self, **more):
        self.world = World(FakeConfig({b'in': PUT, b'out': TAKE}, **more))
        self.addCleanup(self.world.hub.close)
        self.world.collection.configure(self.world.config)

    def closes(self, request, reply):
        client = self.world.client()
        self.assertEqual(client.ask(request), reply)
        self.assertFalse(client.open)

    def stays(self, request, reply):
        client = self.world.client()
        self.assertEqual(client.ask(request), reply)
        self.assertTrue(client.open)

    def test_put(self):
        self.world()
        self.closes(b'set in 0 0 1\r\na\r\n', refused(b'in'))
        self.assertEqual(self.world.items(b'in'), [])
        self.stays(b'set out 0 0 1\r\na\r\nset other 0 0 1\r\na\r\n', STORED * 2)
        self.closes(b'set in 0 0 1 noreply\r\na\r\n', b'')

    def test_taking(self):
        self.world()
        self.stays(b'set out 0 0 1\r\na\r\n', STORED)
        for request in (b'get out', b'gets out', b'get out/t=1000', b'get out/open', b'get out/close/open', b'monitor out 1',
                        b'flush out', b'get other out', b'get out other/open'):
            with self.subTest(request):
                self.closes(request + b'\r\n', refused(b'out'))
                self.assertEqual(self.world.items(b'out'), [b'a'])
        self.assertEqual(self.world.queue(b'out').stats.transactions, 0)

    def test_what_is_free(self):
        self.world()
        self.stays(b'set out 0 0 1\r\na\r\n', STORED)
        self.stays(b'get out/peek\r\n', b'VALUE out 0 1\r\na\r\n' + END)
        self.stays(b'get out/close\r\n', END)
        self.stays(b'get out/abort\r\n', END)
        self.stays(b'get in\r\n', END)
        self.stays(b'flush in\r\nflush_all\r\n', END + b'Flushed all queues.\r\n')
        self.assertEqual(self.world.items(b'out'), [])

    def test_fanout(self):
        """Nothing is stored anywhere if the parent refuses (D35); a child is not asked for a put."""
        self.world()
        self.stays(b'get in+child\r\n', END)
        self.closes(b'set in 0 0 1\r\na\r\n', refused(b'in'))
        self.assertEqual(self.world.items(b'in+child'), [])
        self.stays(b'set in+child 0 0 1\r\na\r\n', STORED)
        self.closes(b'get out+child\r\n', refused(b'out+child'))

    def test_aliases(self):
        self.world(aliases={b'both': [b'other', b'in'], b'out': [b'other']})
        self.closes(b'set both 0 0 1\r\na\r\n', refused(b'both'))
        self.assertIsNone(self.world.items(b'other'))
        self.stays(b'get out\r\n', END)

    def test_everybody_by_default_and_a_reload(self):
        self.world = World(FakeConfig(None, None, **PUT))
        self.addCleanup(self.world.hub.close)
        self.closes(b'set new 0 0 1\r\na\r\n', refused(b'new'))
        self.world.collection.configure(FakeConfig())
        self.stays(b'set new 0 0 1\r\na\r\n', STORED)

    def test_what_waits_is_asked_once(self):
        """When the request arrives: a reload during the wait counts for the next one (D36)."""
        for request, after in ((b'get a/t=1000 out', END), (b'monitor out 1', END + END)):
            with self.subTest(request):
                self.world = World()
                self.addCleanup(self.world.hub.close)
                client = self.world.client()
                client.begin(request + b'\r\n')
                self.world.collection.configure(FakeConfig({b'out': TAKE}))
                self.stays(b'set out 0 0 1\r\na\r\n', STORED)
                self.world.hub.advance(1)
                self.assertEqual(client.connection.replies(), b'VALUE out 0 1\r\na\r\n' + after)
                self.closes(b'get out\r\n', refused(b'out'))
