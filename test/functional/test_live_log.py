"""The log: where it goes, what is in it, and how it is rolled (spec config 4)."""

import json
import os
import re
import signal
import unittest

from functional.test_live_admin import Admin
from functional.waiting import eventually
from support.server import PortLease, Server, start_server


class LogTest(unittest.TestCase):

    def start(self, logging, **sections):
        server = Server()
        self.addCleanup(server.close)
        self.path = server.dir / 'kestrel.log'
        server.write_config({'logging': {**logging, 'filename': self.path}, **sections})
        server.start()
        self.addCleanup(lambda: server.running and server.stop())
        return server

    def test_in_a_file(self):
        server = self.start({})
        eventually(self, 'ready in the file', lambda: 'ready' in self.path.read_text())
        self.assertEqual(server.log(), '')

    def test_reopened_on_sighup(self):
        server = self.start({'roll': 'sighup'})
        # the ports are open a moment before that is said
        eventually(self, 'ready in the file', lambda: 'ready' in self.path.read_text())
        rolled = self.path.with_suffix('.1')
        self.path.rename(rolled)
        os.kill(server.pid, signal.SIGHUP)
        eventually(self, 'a new file', self.path.exists)
        with server.client() as client:
            client.expect(b'reload\r\n', b'Reloaded config.\r\n')
        eventually(self, 'the reload in the new file', lambda: 'reload' in self.path.read_text())
        self.assertIn('ready', rolled.read_text())
        self.assertNotIn('reload', rolled.read_text())

    def test_sighup_never_ends_it(self):
        server = start_server(self)
        os.kill(server.pid, signal.SIGHUP)
        with server.client() as client:
            client.expect(b'get q\r\n', b'END\r\n')

    def test_json(self):
        server = self.start({'format': 'json'}, queues={'q': {'enable_trace': True}})
        with server.client() as client:
            client.expect(b'set q 0 0 1\r\na\r\nget q/open\r\n', b'STORED\r\nVALUE q 0 1\r\na\r\nEND\r\n')
            lines = eventually(self, 'the open read', lambda: 'open' in self.path.read_text()
                               and self.path.read_text().splitlines())
        found = [json.loads(line) for line in lines]
        for fields in found:
            self.assertLessEqual({'time', 'level', 'message'}, fields.keys())
        self.assertEqual([fields['queue'] for fields in found if 'queue' in fields], ['q'])
        self.assertIn('open queue q', found[-1]['message'])

    def test_what_blocks_the_hub(self):
        lease = PortLease()
        self.addCleanup(lease.release)
        # takes twice as long for each further letter of a name
        server = self.start({}, admin={'http_port': lease.port, 'stats_filters': 'q/(a+)+b'})
        with server.client() as client:
            client.expect(b'set %b 0 0 1\r\na\r\n' % (b'a' * 19), b'STORED\r\n')
        Admin(lease.port).get('/stats.json?namespace=x&filtered=1')
        line = eventually(self, 'a line', lambda: re.search('WARNING kestrel: hub blocked for .*', self.path.read_text()))
        self.assertRegex(line[0], r' by the server itself: .*\(admin/stats_report\.py:\d+\)')

    def test_level_and_its_reload(self):
        server = self.start({'level': 'OFF'})
        with server.client() as client:
            client.expect(b'reload\r\n', b'Reloaded config.\r\n')
            self.assertEqual(self.path.read_text() if self.path.exists() else '', '')
            server.reload_config({'logging': {'level': 'INFO', 'filename': self.path}})
        eventually(self, 'the reload in the file', lambda: 'reload' in self.path.read_text())

    def test_trace_of_sessions_and_reads(self):
        server = self.start({}, server={'enable_session_trace': True}, queues={'q': {'enable_trace': True}})
        with server.client() as client:
            client.expect(b'set q 0 0 1\r\na\r\nget q/open\r\nget q/abort\r\nget q/open\r\nget q/close\r\n',
                          b'STORED\r\nVALUE q 0 1\r\na\r\nEND\r\nEND\r\nVALUE q 0 1\r\na\r\nEND\r\nEND\r\n')
        text = eventually(self, 'the end of the session',
                          lambda: self.path.read_text() if 'ends' in self.path.read_text() else '')
        for word in 'open', 'abort', 'confirm':
            self.assertIn(word, text)
