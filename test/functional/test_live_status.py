"""The server's status (spec queues 11, D29, D46): what clients see, a restart, and a graceful stop."""

import os
import random
import signal
import time
import unittest

from functional.journaled import END, LARGE, STORED, JournaledTest
from functional.records import records
from functional.waiting import eventually
from support.server import Server, start_server

READONLY = b'SERVER_ERROR queue q is read-only\r\n'
UNAVAILABLE = b'SERVER_ERROR queue q is not available\r\n'
PUT = b'set q 0 0 1\r\nx\r\n'
NAMES = 'Up', 'WriteAvoid', 'ReadOnly', 'Quiescent'
ROUNDS = 12


def change(client, name, reply=END):
    client.expect(b'status %s\r\n' % name.encode(), reply)


class StatusTest(unittest.TestCase):

    def check(self, server, name):
        """Both values are that status."""
        with server.client() as client:
            client.expect(b'status\r\n', name.upper().encode() + b'\r\n')
            reads = name != 'Quiescent'
            if reads:
                client.expect(b'get q/peek\r\n', END)
            else:
                client.expect_close(b'get q/peek\r\n', UNAVAILABLE)
        with server.client() as client:
            if name in ('Up', 'WriteAvoid'):
                client.expect(b'flush q\r\n', END)
            else:
                client.expect_close(b'flush q\r\n', READONLY if reads else UNAVAILABLE)

    def test_survives_a_restart(self):
        server = start_server(self)
        self.assertFalse(server.status_path.exists())
        self.check(server, 'Up')
        for name in *NAMES[1:], NAMES[0]:
            with server.client() as client:
                change(client, name.lower())
            self.assertEqual(server.status_path.read_text(), name + '\n')
            server.restart()
            self.assertEqual(server.status_path.read_text(), name + '\n', 'down is not stored')
            self.check(server, name)
        self.assertEqual(server.warnings(), [])

    def test_any_case_in_the_file(self):
        server = Server({'server': {'default_status': 'Quiescent', 'status_change_grace_period': '1h'}})
        self.addCleanup(server.close)
        server.status_path.write_text('readONLY\nUp\n')
        server.start()
        self.check(server, 'ReadOnly')      # in force at once, whatever the grace period
        server.stop()
        server.status_path.write_text('asleep\n')
        server.start()
        self.check(server, 'Quiescent')
        self.assertTrue(server.warnings())
        server.stop()

    def test_default_status(self):
        server = start_server(self, {'server': {'default_status': 'ReadOnly',
                                                'status_change_grace_period': '1h'}})
        self.check(server, 'ReadOnly')
        server.restart()
        self.check(server, 'ReadOnly')
        self.assertFalse(server.status_path.exists())

    def test_folder_is_created(self):
        server = Server({'server': {'status_file': 'made/for/it/status'}})
        self.addCleanup(server.close)
        server.start()
        with server.client() as client:
            change(client, 'readonly')
        self.assertEqual((server.dir / 'made/for/it/status').read_text(), 'ReadOnly\n')
        server.restart()
        self.check(server, 'ReadOnly')
        self.assertEqual(server.warnings(), [])
        server.stop()

    def test_nowhere_to_write(self):
        server = Server({'server': {'status_file': 'plain/status'}})
        self.addCleanup(server.close)
        (server.dir / 'plain').write_text('no folder')
        server.start()
        self.assertEqual(len(server.warnings()), 1, server.log())
        self.assertIn('the status cannot be changed', server.log())
        for name in NAMES:
            with server.client() as client:
                client.expect_close(b'status %s\r\nstatus\r\n' % name.encode(),
                                    b'CLIENT_ERROR status change failed: cannot write the status file:'
                                    b' Not a directory\r\n')
            self.check(server, 'Up')
        server.stop()

    def test_grace_period(self):
        server = start_server(self, {'server': {'status_change_grace_period': '1s'}})
        writer, asking = server.client(), server.client()
        began = time.monotonic()
        change(asking, 'readonly')
        asking.expect(b'status\r\n', b'READONLY\r\n')
        self.assertEqual(server.status_path.read_text(), 'ReadOnly\n')
        change(asking, 'quiescent')         # rejected
        asking.expect(b'status\r\n', b'READONLY\r\n')
        self.assertTrue(server.warnings())
        writer.expect(PUT, STORED)
        while True:
            writer.send(PUT)
            reply = writer.recv_until(b'\r\n')
            if reply != STORED:
                break
            time.sleep(0.01)
        self.assertEqual(reply, READONLY)
        self.assertGreaterEqual(time.monotonic() - began, 0.99)
        asking.expect(b'get q\r\n', b'VALUE q 0 1\r\nx\r\nEND\r\n')
        change(asking, 'up')                # at once
        asking.expect(PUT, STORED)

    def test_many_clients_at_once(self):
        server = start_server(self)
        clients = [server.client() for _ in range(8)]
        for number in range(20):
            for client in clients:
                client.send(b'status %s\r\nstatus\r\n' % random.choice(NAMES).encode())
            for client in clients:
                client.expect(b'', END)
                self.assertIn(client.recv_until(b'\r\n').decode().strip(), [name.upper() for name in NAMES])
        with server.client() as client:
            client.send(b'status\r\n')
            announced = client.recv_until(b'\r\n')
        self.assertEqual(server.status_path.read_bytes().upper().strip(), announced.strip())

    def test_killed_while_the_file_is_written(self):
        server = start_server(self)
        for number in range(ROUNDS):
            with server.client() as client:
                name = NAMES[number % 4]
                change(client, name)
                client.send(b''.join(b'status %s\r\n' % NAMES[one % 4].encode() for one in range(200)))
                eventually(self, 'the file changes', lambda: server.status_path.read_text().strip() != name)
                time.sleep(random.random() / 200)
                server.kill9()
            self.assertIn(server.status_path.read_text(), [name + '\n' for name in NAMES])
            server.start()
            self.check(server, server.status_path.read_text().strip())
        self.assertEqual(server.warnings(), [])

    def test_what_was_answered_survives_kill_9(self):
        server = start_server(self)
        for name in *NAMES[1:], NAMES[0]:
            with server.client() as client:
                change(client, name)
            server.kill9()
            server.start()
            self.check(server, name)

    def test_what_is_written_first_is_answered_first(self):
        server = start_server(self)
        with server.client() as client:
            client.send(b'version\r\nstatus readonly\r\nstatus\r\nset q 0 0 1\r\nx\r\nversion\r\n')
            client.recv_until(b'\r\n')
            client.expect_close(b'', END + b'READONLY\r\n' + READONLY)


class GracefulStopTest(JournaledTest):
    """queues 13, journal 8."""

    def fill(self):
        """``busy`` has waiting items, ``emptied`` none, ``rotated`` none in several files."""
        self.put('busy', b'1', b'2')
        self.take('busy')
        self.put('emptied', b'1', b'2')
        self.take_many('emptied', 2)
        self.put('rotated', *[b'.' * 100] * 20)
        self.take_many('rotated', 20)
        self.put('memory', b'1')
        self.take('memory')
        self.put('asked', b'1', b'2')
        self.take('asked/open')

    def test_rewrites_what_is_empty(self):
        for name, graceful in (('up', False), ('writeavoid', False), ('readonly', True), ('quiescent', True)):
            with self.subTest(name):
                self.begin({'queues': {'rotated': {**LARGE, 'max_memory_size': '1KB'},
                                       'memory': {'keep_journal': False}, 'never_used': {}}})
                self.fill()
                untouched = {path.name: path.read_bytes() for path in self.server.spool.iterdir()}
                self.assertGreater(len([one for one in untouched if one.startswith('rotated')]), 1)
                change(self.client, name)
                self.server.stop()
                found = {path.name: path.read_bytes() for path in self.server.spool.iterdir()}
                self.assertEqual(records(found['busy']), ['add 1', 'add 2', 'remove'])
                # its connection ended before, so that this item waits again
                self.assertEqual(records(found['asked']), ['add 1', 'add 2', 'open 1', 'unremove 1'])
                if graceful:
                    self.assertEqual(sorted(found), ['asked', 'busy', 'emptied', 'never_used', 'rotated'])
                    self.assertEqual((found['emptied'], found['rotated']), (b'', b''))
                else:
                    self.assertEqual(sorted(found), sorted(untouched))
                    self.assertEqual(found['emptied'], untouched['emptied'])
                self.server.status_path.unlink()
                self.start()
                self.assertEqual([self.drain(queue) for queue in ('busy', 'emptied', 'rotated', 'asked')],
                                 [[b'2'], [], [], [b'1', b'2']])
                self.server.stop()

    def test_not_in_a_grace_period(self):
        # the status in force counts
        self.begin({'server': {'status_change_grace_period': '1h'}})
        self.put('q', b'1')
        self.take('q')
        change(self.client, 'quiescent')
        self.server.stop()
        self.assertEqual(records((self.server.spool / 'q').read_bytes()), ['add 1', 'remove'])

    def test_many_queues(self):
        self.begin()
        names = ['q%d' % number for number in range(300)]
        for name in names:
            self.put(name, b'1')
            self.take(name)
        change(self.client, 'readonly')
        self.server.stop()
        self.assertEqual({path.name: path.stat().st_size for path in self.server.spool.iterdir()},
                         {name: 0 for name in names})
        self.assertNotIn('ERROR', self.log())

    def test_a_rewrite_that_runs_already_ends_first(self):
        self.begin({'default': {'default_journal_size': 20}})
        self.server.faults('hold-fsync 0 q~~*')
        self.put('q', b'1')
        self.take('q')
        eventually(self, 'a rewrite begins', lambda: list(self.server.spool.glob('q~~*')))
        self.put('q', b'2')
        self.take('q')      # is copied behind what the rewrite wrote
        change(self.client, 'readonly')
        os.kill(self.server.pid, signal.SIGTERM)
        eventually(self, 'it stops', lambda: 'stopping' in self.log())
        self.server.faults()
        self.server.wait()
        self.assertEqual({path.name: path.read_bytes() for path in self.server.spool.iterdir()}, {'q': b''})

    def test_that_fails_loses_nothing(self):
        for faults in ('create 5 emptied~~*', 'rename 5 emptied.*', 'fsync 5 emptied~~*', 'fsync 5 .',
                       'unlink 5 emptied.*', 'rename 5 emptied'):
            with self.subTest(faults):
                self.begin()
                self.fill()
                change(self.client, 'readonly')
                self.server.faults(faults)
                began = time.monotonic()
                self.server.stop()
                self.assertLess(time.monotonic() - began, 15)
                self.assertIn('ERROR', self.log())
                # what cannot be put in place is tried again, but not for ever
                insists = faults in ('unlink 5 emptied.*', 'rename 5 emptied')
                self.assertEqual('not rewritten' in self.log(), insists)
                self.server.faults()
                self.server.status_path.unlink()
                self.start()
                self.assertEqual([self.drain(queue) for queue in ('busy', 'emptied', 'rotated', 'asked')],
                                 [[b'2'], [], [], [b'1', b'2']])
                self.server.stop()
