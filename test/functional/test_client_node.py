"""A client in another language: ``memcached`` for Node, which dies of a version that is not three numbers (D66)."""

import json
import os
import pathlib
import subprocess
import unittest

from support.server import start_server

CLIENTS = pathlib.Path(__file__).resolve().parent / 'clients'
MISSING = 3             # exit code of setup.sh when node or npm is not there
SECONDS = 120


class NodeTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        installed = subprocess.run([CLIENTS / 'setup.sh'], capture_output=True, text=True, timeout=SECONDS)
        if installed.returncode == MISSING:
            raise unittest.SkipTest(installed.stderr.strip())
        if installed.returncode:
            raise AssertionError(f'the client library cannot be installed:\n{installed.stderr}')
        cls.folder = installed.stdout.strip()

    def setUp(self):
        self.server = start_server(self)

    def node(self, *words):
        environment = {**os.environ, 'NODE_PATH': f'{self.folder}/node_modules'}
        process = subprocess.Popen(['node', CLIENTS / 'tour.js', str(self.server.port), *words], env=environment,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(self.end, process)
        return process

    @staticmethod
    def end(process):
        process.kill()
        process.communicate()

    def test_tour(self):
        process = self.node()
        said, complaint = process.communicate(timeout=SECONDS)
        self.assertEqual(process.returncode, 0, complaint)
        seen = json.loads(said)
        self.assertEqual(seen['fifo'], seen['put'])
        self.assertIsNone(seen['empty'])
        self.assertEqual(seen['flags'], [{'an': 'object'}, 42])
        self.assertIsNone(seen['nothing'])
        self.assertGreaterEqual(seen['waited'], 295)
        self.assertEqual(seen['late'], b'late'.hex())
        one, two = b'one'.hex(), b'two'.hex()
        self.assertEqual(seen['reliable'], [one, None, one, two, None, None])
        self.assertEqual(seen['multi'], {'m': b'of m'.hex(), 'n': b'of n'.hex()})
        self.assertIs(seen['del'], True)
        self.assertRegex(seen['version'], r'^\d+\.\d+\.\d+$')
        self.assertEqual(seen['stats'], {'cmd_set': 10, 'items': 0, 'pid': self.server.pid})

    def test_killed_consumer(self):
        with self.server.client() as client:
            client.expect(b'set held 0 0 3\r\none\r\n', b'STORED\r\n')
            process = self.node('hold')
            self.assertEqual(json.loads(process.stdout.readline()), {'held': 'one'})
            client.expect(b'get held\r\n', b'END\r\n')
            process.kill()
            client.expect(b'get held/t=5000\r\n', b'VALUE held 0 3\r\none\r\nEND\r\n')
