"""kestrelctl and the memcache port: replies of a kestrel, and of what is none (spec memcache 2, 4, D1)."""

import socket
import unittest

from kestrel.tools.ctl.failures import NoServer, Refused
from kestrel.tools.ctl.wire import Item, Wire, figures, number, server_stats, set_request
from support.scripted import ScriptedServer

DUMP = (b"queue 'a' {\r\n  items=3\r\n  children=a+x\r\n}\r\nqueue 'it' {'s' {\r\n  items=0\r\n}\r\n"
        b"queue 'new' {\r\n  \r\n}\r\nalias '\xe9' {\r\n  destination_queues=a,b\r\n}\r\nEND\r\n")


class WireTest(unittest.TestCase):

    def wire(self, *script, timeout=5):
        server = self.enterContext(ScriptedServer(list(script)))
        wire = Wire('127.0.0.1', server.port, timeout)
        self.addCleanup(wire.close)
        return wire

    def answer(self, reply, timeout=5):
        """A connection that has asked, and is answered ``reply``."""
        wire = self.wire((b'x\r\n', reply), timeout=timeout)
        wire.send(b'x\r\n')
        return wire

    def test_item(self):
        wire = self.answer(b'VALUE q 4294967295 8\r\na\r\nEND\r\n\r\nEND\r\nEND\r\n')
        self.assertEqual(wire.item(), Item(4294967295, b'a\r\nEND\r\n'))
        self.assertIsNone(wire.item())

    def test_an_error_is_told(self):
        for line in (b'ERROR', b'CLIENT_ERROR bad queue name', b'SERVER_ERROR queue q is read-only'):
            with self.subTest(line), self.assertRaises(Refused) as caught:
                self.answer(line + b'\r\n').item()
            self.assertEqual(caught.exception.line, line)
            self.assertIn(line.decode(), str(caught.exception))

    def test_nonsense(self):
        for reply in (b'HTTP/1.1 400 Bad Request\r\n', b'VALUE q 0\r\n', b'VALUE q 0 -1\r\n', b'VALUE q 0 x\r\n',
                      b'VALUE q 0 2147483648\r\n', b'VALUE q 0 1\r\nabEND\r\n', b'VALUE q 0 1\r\na\r\nSTORED\r\n',
                      b'\xff\x1b[2J\r\n', b'\r\n', b'y' * 70000):
            with self.subTest(reply[:40]), self.assertRaises(NoServer) as caught:
                self.answer(reply).item()
            self.assertIn('what no kestrel does', str(caught.exception))
            self.assertTrue(str(caught.exception).isprintable())
            self.assertLess(len(str(caught.exception)), 400)

    def test_closed(self):
        for reply, why in ((b'', 'closed the connection'), (b'VALUE q 0 9\r\nabc', 'in the middle of an answer')):
            with self.subTest(reply), self.assertRaisesRegex(NoServer, why):
                self.answer(reply).item()

    def test_silent(self):
        with self.assertRaisesRegex(NoServer, 'does not answer within 0.05 s'):
            self.answer(None, timeout=0.05).item()

    def test_absent(self):
        with socket.create_server(('127.0.0.1', 0)) as listener:
            port = listener.getsockname()[1]
        with self.assertRaisesRegex(NoServer, '127.0.0.1:%d: connection refused' % port):
            Wire('127.0.0.1', port, 5)
        with self.assertRaises(NoServer):
            Wire('no.such.host.invalid', 1, 5)
        with self.assertRaises(NoServer):
            Wire('a' * 70, 1, 5)

    def test_expect(self):
        self.assertEqual(self.wire((b'flush q\r\n', b'END\r\n')).expect(b'flush q', b'END'), b'END')
        with self.assertRaises(NoServer):
            self.wire((b'flush q\r\n', b'STORED\r\n')).expect(b'flush q', b'END')

    def test_ended(self):
        self.answer(b'').ended()
        with self.assertRaises(Refused):
            self.answer(b'CLIENT_ERROR admin commands are disabled\r\n').ended()
        with self.assertRaises(NoServer):
            self.answer(b'STORED\r\n').ended()

    def test_figures(self):
        found = figures(self.wire((b'dump_stats\r\n', DUMP)))
        self.assertEqual(found, {b'a': {'items': '3', 'children': 'a+x'}, b"it' {'s": {'items': '0'}, b'new': {},
                                 b'\xe9': {'destination_queues': 'a,b'}})
        self.assertEqual(number(found[b'a'], 'items'), 3)
        self.assertEqual(number(found[b'a'], 'waiters'), 0)
        with self.assertRaisesRegex(NoServer, 'children = a\\+x'):
            number(found[b'a'], 'children')

    def test_figures_of_no_queue(self):
        self.assertEqual(figures(self.wire((b'dump_stats\r\n', b'\r\nEND\r\n'))), {})

    def test_figures_that_are_none(self):
        for reply in (b'STAT a 1\r\nEND\r\n', b"queue 'a' {\r\nitems=3\r\n}\r\nEND\r\n"):
            with self.subTest(reply), self.assertRaises(NoServer):
                figures(self.wire((b'dump_stats q\r\n', reply)), b'q')

    def test_server_stats(self):
        reply = b'STAT uptime 5\r\nSTAT queue_creates 2\r\nSTAT queue_a_items 3\r\nSTAT queue_a_children \r\nEND\r\n'
        self.assertEqual(server_stats(self.wire((b'stats\r\n', reply))), {'uptime': '5', 'queue_creates': '2'})

    def test_set_request(self):
        self.assertEqual(b''.join(set_request(b'q/sync', Item(7, b'abc'), 60)), b'set q/sync 7 60 3\r\nabc\r\n')


if __name__ == '__main__':
    unittest.main()
