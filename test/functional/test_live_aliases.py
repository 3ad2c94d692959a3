"""Aliases in a real server: at the start, at a reload, over a restart (spec queues 8, D25, D27, D50)."""

import unittest

from functional.waiting import eventually, files, stats
from support.server import Server, start_server

MASKED = 'queue name(s) masked by alias(es): '


def aliases(**destinations):
    return {name: {'destination_queues': queues or None} for name, queues in destinations.items()}


class AliasesTest(unittest.TestCase):

    def begin(self, **config):
        self.server = start_server(self, config)
        self.client = self.server.client()
        self.addCleanup(self.client.close)

    def put(self, name, data=b'x', reply=b'STORED'):
        self.client.expect(b'set %s 0 0 %d\r\n%s\r\n' % (name, len(data), data), reply + b'\r\n')

    def take(self, name, data=None):
        value = b'' if data is None else b'VALUE %s 0 %d\r\n%s\r\n' % (name, len(data), data)
        self.client.expect(b'get %s\r\n' % name, value + b'END\r\n')

    def masked(self):
        return [line.partition(MASKED)[2] for line in self.server.log().splitlines() if MASKED in line]

    def test_over_a_restart(self):
        self.begin(aliases=aliases(both=['x', 'y'], drop=[]))
        self.put(b'both', b'1')
        self.put(b'drop', b'2')
        self.client.close()
        self.server.restart()
        self.client = self.server.client()
        self.assertEqual(sorted(files(self.server.spool)), ['x', 'y'])
        found = stats(self.client)
        self.assertEqual([found[f'queue_both_{key}'] for key in ('put_items', 'put_bytes', 'children')],
                         ['0', '0', 'x,y'])
        self.take(b'x', b'1')
        self.take(b'y', b'1')

    def test_reload_adds_changes_and_removes(self):
        self.begin(aliases=aliases(a=['x'], b=['x']))
        self.put(b'a', b'1')
        self.server.reload_config({'aliases': aliases(a=['y', 'x'], c=['x'])})
        self.put(b'a', b'2')
        self.put(b'b', b'3')
        self.put(b'c', b'4')
        for data in b'1', b'2', b'4':
            self.take(b'x', data)
        self.take(b'y', b'2')
        self.take(b'b', b'3')
        self.assertEqual(stats(self.client)['queue_a_put_items'], '2')

    def test_a_waiting_get_ends_when_its_name_becomes_an_alias(self):
        self.begin(queues={'there': {}})
        with self.server.client() as one, self.server.client() as two:
            one.send(b'get there/t=60000\r\n')
            two.send(b'monitor unknown 60\r\n')
            eventually(self, 'it waits', lambda: stats(self.client)['queue_there_waiters'] == '1')
            self.server.reload_config({'aliases': aliases(there=['x'], unknown=[])})
            one.expect(b'', b'END\r\n')
            two.expect(b'', b'END\r\n')

    def test_masked_queues(self):
        self.begin(queues={'b': {}, 'a': {}, 'c': {}}, aliases=aliases(b=['c'], a=[]))
        self.assertEqual(self.masked(), ['a, b'])
        self.put(b'b', b'1')
        self.take(b'b')
        self.take(b'c', b'1')
        self.put(b'c', b'kept')
        self.server.reload_config({'aliases': aliases(c=['d'])})
        self.assertEqual(self.masked(), ['a, b', 'c'])
        self.take(b'c')
        self.client.expect(b'flush_all\r\ndelete c\r\n', b'Flushed all queues.\r\nDELETED\r\n')
        self.client.close()
        self.server.restart()
        self.assertEqual(self.masked(), ['a, b', 'c', 'c'])
        self.client = self.server.client()
        self.take(b'c')
        self.server.reload_config({})
        self.assertEqual(self.masked(), ['a, b', 'c', 'c'])
        self.take(b'c', b'kept')

    def test_a_loop_is_refused_at_the_start(self):
        server = Server({'aliases': aliases(a=['b'], b=['x', 'a'])})
        self.addCleanup(server.close)
        with self.assertRaises(AssertionError):
            server.start()
        self.assertEqual(server.exit_code, 1)
        self.assertRegex(server.log(), r'^kestrel: \S+kestrel\.conf: line \d+: \[aliases\] \[\[a\]\]'
                                       r' destination_queues: the alias leads back to itself: a -> b -> a;'
                                       r' take one of these out\n$')

    def test_a_loop_changes_nothing_at_a_reload(self):
        # D27: all or nothing
        self.begin(aliases=aliases(a=['x']))
        self.server.write_config({'queues': {'new': {}}, 'aliases': aliases(a=['y'], b=['b'])})
        self.client.send(b'reload\r\n')
        reply = self.client.recv_until(b'\r\n')
        self.assertRegex(reply, rb'^SERVER_ERROR \S+\.conf: line \d+: .*leads back to itself: b -> b; ')
        self.put(b'a', b'1')
        self.put(b'b', b'2')
        self.take(b'x', b'1')
        self.take(b'b', b'2')
        self.assertNotIn('queue_new_items', stats(self.client))

    def test_a_queue_that_cannot_be_set_up_changes_nothing_at_a_reload(self):
        self.begin(aliases=aliases(a=['x']))
        (self.server.spool / 'new').mkdir()
        self.server.write_config({'queues': {'new': {}}, 'aliases': aliases(a=['y'], b=['x'])})
        self.client.send(b'reload\r\n')
        self.assertTrue(self.client.recv_until(b'\r\n').startswith(b'SERVER_ERROR '))
        self.put(b'a', b'1')
        self.put(b'b', b'2')
        self.take(b'x', b'1')
        self.take(b'b', b'2')
        (self.server.spool / 'new').rmdir()


if __name__ == '__main__':
    unittest.main()
