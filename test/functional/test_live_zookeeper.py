"""Server sets in a real ZooKeeper (spec queues 15, D46, D47): what others see of a server, whatever happens to either."""

import io
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import unittest

from kestrel.clock import Clock

from functional import zookeepers
from functional.waiting import eventually
from functional.zookeepers import SESSION, AnnouncedServer, Ensemble, ZooKeeper
from support.environment import process_environment, run_kestrel
from support.scripted import Run
from support.server import Server

LONG = os.environ.get('KESTREL_LONG') == '1'
END = b'END\r\n'
MEMBERS = {'up': (1, 1), 'writeavoid': (1, 0), 'readonly': (1, 0), 'quiescent': (0, 0)}
# Seconds. No request waits for ZooKeeper; that would take a connection's 2 s. One of a hundred may be slower because the
# machine does other things.
REQUEST_MAY_TAKE = 0.02
REQUEST_NEVER_TAKES = 1.5
HOLDS_THE_HUB = 20          # ms, at most, what is done for ZooKeeper: so long everybody waits
LONGEST_SESSION = 10        # seconds that a ZooKeeper of a test's own grants
CLEANUP = 4 * SESSION       # a session that nobody keeps has ended


class Traffic:
    """Puts and gets, one after the other, as long as the block lasts. ``took``: list of seconds of a pair of them."""

    def __init__(self, server):
        self._client = server.client()
        self._thread = threading.Thread(target=self._run)
        self._on = True
        self.took = []
        self.failure = None

    def _run(self):
        try:
            while self._on:
                began = time.monotonic()
                self._client.expect(b'set q 0 0 1\r\nx\r\nget q\r\n', b'STORED\r\nVALUE q 0 1\r\nx\r\nEND\r\n')
                self.took.append(time.monotonic() - began)
                time.sleep(0.002)
        except Exception as error:
            self.failure = error

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, error, trace):
        self._on = False
        self._thread.join()
        self._client.close()
        if kind is None and self.failure is not None:
            raise self.failure


class Watching(unittest.TestCase):
    """Looks at ZooKeeper with a client of its own: ``self.eye``."""

    numbers = iter(range(1000))

    def look_at(self, zookeeper, hosts=None, **more):
        self.eye = self.client(hosts or f'127.0.0.1:{zookeeper.port}', **more)

    def client(self, hosts, **more):
        from kazoo.client import KazooClient
        # by itself it waits for up to a minute between its tries
        more = {'connection_retry': {'max_tries': -1, 'max_delay': 0.2, 'max_jitter': 0.1}, **more}
        client = KazooClient(hosts, timeout=10, logger=logging.Logger('quiet', logging.CRITICAL), **more)
        client.start()
        self.addCleanup(client.close)
        self.addCleanup(client.stop)
        return client

    def prefix(self):
        return f'/test/{next(self.numbers)}'

    def announce(self, zookeeper, prefix, **more):
        """A server there, not started."""
        server = AnnouncedServer(zookeeper, prefix, **more)
        self.addCleanup(server.close)
        return server

    def members(self, prefix):
        """([names in read], [names in write])"""
        return tuple(sorted(self.eye.get_children(f'{prefix}/{name}')) if self.eye.exists(f'{prefix}/{name}') else []
                     for name in ('read', 'write'))

    def counts(self, prefix):
        return tuple(map(len, self.members(prefix)))

    def wait_for(self, prefix, counts, seconds=20):
        """... until there are so many members."""
        from kazoo.exceptions import KazooException
        deadline = time.monotonic() + seconds
        found = None
        while found != counts:
            try:
                found = self.counts(prefix)
            except KazooException:
                pass        # our own client has not connected again yet
            if time.monotonic() > deadline:
                self.fail(f'not within {seconds} s: {counts}; it is {found}')
            time.sleep(0.02)

    def change(self, server, name, reply=END):
        with server.client() as client:
            client.expect(b'status %s\r\n' % name.encode(), reply)

    def check_traffic(self, traffic):
        slowest = sorted(traffic.took)
        if LONG:
            print(f'{self.id()}: slowest of {len(slowest)} pairs of requests: {slowest[-1] * 1000:.1f} ms',
                  file=sys.stderr)
        self.assertGreater(len(slowest), 100)
        self.assertLess(slowest[-len(slowest) // 100], REQUEST_MAY_TAKE)
        self.assertLess(slowest[-1], REQUEST_NEVER_TAKES)


    def check_held(self, server):
        """Of a server that has stopped."""
        held = server.held()
        if LONG:
            print(f'{self.id()}: the hub was held for {held[0]}', file=sys.stderr)
        self.assertEqual({what.partition('.')[0] for _, _, what in held}, {'kazoo', 'kestrel'})
        self.assertLess(held[0][0], HOLDS_THE_HUB, held[:3])


class ZooKeeperTest(Watching):

    @classmethod
    def setUpClass(cls):
        zookeepers.skip_without()
        cls.zookeeper = ZooKeeper()
        cls.addClassCleanup(cls.zookeeper.close)
        cls.zookeeper.start()

    def setUp(self):
        self.look_at(self.zookeeper)
        self.path = self.prefix()

    def begin(self, **more):
        self.server = self.announce(self.zookeeper, self.path, **more)
        self.server.start()
        return self.server

    def test_what_a_member_says(self):
        from kazoo.security import OPEN_ACL_UNSAFE
        server = self.begin(protocols=('text',))
        self.wait_for(self.path, (1, 1))
        for name, (member,) in zip(('read', 'write'), self.members(self.path)):
            self.assertRegex(member, r'^member_\d{10}$')
            data, stat = self.eye.get(f'{self.path}/{name}/{member}')
            self.assertEqual(data.decode(), (
                '{"serviceEndpoint":{"host":"127.0.0.1","port":%d},"additionalEndpoints":{"memcache":{"host":"127.0.0.1",'
                '"port":%d},"text":{"host":"127.0.0.1","port":%d}},"status":"ALIVE"}'
                % (server.port, server.port, server.ports['text'])))
            self.assertNotEqual(stat.ephemeralOwner, 0)
            for path in f'{self.path}/{name}/{member}', f'{self.path}/{name}', self.path:
                acl, stat = self.eye.get_acls(path)
                self.assertEqual(acl, OPEN_ACL_UNSAFE)
                self.assertEqual(stat.ephemeralOwner != 0, path.endswith(member))
        server.stop()
        self.assertEqual(self.counts(self.path), (0, 0), 'gone at once')

    def test_every_status(self):
        server = self.begin()
        self.wait_for(self.path, (1, 1))
        seen = set()
        for name in ('writeavoid', 'up', 'readonly', 'writeavoid', 'quiescent', 'readonly', 'quiescent', 'up', 'up',
                     'quiescent', 'writeavoid', 'readonly', 'up'):
            before = self.members(self.path)
            self.change(server, name)
            # at once: who asks for a change is answered when it is done
            self.assertEqual(self.counts(self.path), MEMBERS[name], name)
            for kind, old, new in zip(('read', 'write'), before, self.members(self.path)):
                self.assertLessEqual({(kind, one) for one in new if one not in old} & seen, set(), 'a new node')
                seen |= {(kind, one) for one in new}

    def test_order(self):
        # clients are sent away before less is allowed: write first, and the grace period begins after that
        server = self.begin(config={'server': {'status_change_grace_period': '1h'}, 'admin': {}})
        self.wait_for(self.path, (1, 1))
        self.change(server, 'quiescent')
        lines = server.log().split('joined ')[-1].split('\n')[1:]
        self.assertEqual([line.split(' kestrel: ')[1].rpartition('/')[0] or line.split(' kestrel: ')[1] for line in lines if line],
                         [f'left {self.path}/write', f'left {self.path}/read', 'status Quiescent, before it Up'])
        with server.client() as client:
            client.expect(b'set q 0 0 1\r\nx\r\n', b'STORED\r\n')
        self.change(server, 'up')
        lines = server.log().split('before it Up\n')[-1].split('\n')
        self.assertEqual([line.split(' kestrel: ')[1].rpartition('/')[0] or line.split(' kestrel: ')[1] for line in lines if line],
                         [f'joined {self.path}/read', f'joined {self.path}/write', 'status Up, before it Quiescent'])

    def test_started_quiescent(self):
        server = self.begin(config={'server': {'default_status': 'Quiescent'}})
        eventually(self, 'it is reached', lambda: 'is reached' in server.log())
        time.sleep(0.2)
        self.assertEqual(self.counts(self.path), (0, 0))
        self.change(server, 'readonly')
        self.assertEqual(self.counts(self.path), (1, 0))
        server.restart()
        self.wait_for(self.path, (1, 0))

    def test_the_shortest_session(self):
        """There is time to connect all the same."""
        server = self.begin(session_timeout='1ms')
        self.wait_for(self.path, (1, 1))
        self.assertNotIn('cannot be reached', server.log())

    def test_reload(self):
        server = self.begin()
        self.wait_for(self.path, (1, 1))
        before = self.members(self.path)
        server.given['zookeeper']['path_prefix'] = '/elsewhere'
        server.reload_config(server.given)
        self.assertIn('[zookeeper] is read at the start only: restart kestrel to apply path_prefix', server.log())
        self.change(server, 'readonly')
        self.assertEqual(self.members(self.path), (before[0], []))
        self.assertIsNone(self.eye.exists('/elsewhere'))

    def test_killed_and_frozen(self):
        server = self.begin()
        self.wait_for(self.path, (1, 1))
        before = self.members(self.path)
        # its session expires; it does not know
        server.freeze()
        self.wait_for(self.path, (0, 0), CLEANUP)
        server.thaw()
        self.wait_for(self.path, (1, 1))
        self.assertNotEqual(self.members(self.path), before)
        with server.client() as client:
            client.expect(b'version\r\n', b'VERSION 3.0.0\r\n')
        server.kill9()
        self.assertEqual(self.counts(self.path), (1, 1), 'nobody has noticed yet')
        self.wait_for(self.path, (0, 0), CLEANUP)
        server.start()
        self.wait_for(self.path, (1, 1))

    def test_a_node_that_was_deleted(self):
        server = self.begin()
        self.wait_for(self.path, (1, 1))
        self.eye.delete(f'{self.path}/read/{self.members(self.path)[0][0]}')
        self.change(server, 'up')
        self.assertEqual(self.counts(self.path), (1, 1))

    def test_members_of_others(self):
        self.eye.ensure_path(f'{self.path}/read')
        self.eye.set(self.path, b'\x00data of the prefix')
        for name, data in ('member_0000000007', b'\xff\x00'), ('member_x', b''), ('\xe9', b'{"status":'), ('m', b'{}' * 9999):
            self.eye.create(f'{self.path}/read/{name}', data)
        others = self.members(self.path)[0]
        server = self.begin()
        self.wait_for(self.path, (5, 1))
        for name, counts in ('quiescent', (4, 0)), ('up', (5, 1)):
            self.change(server, name)
            self.assertEqual(self.counts(self.path), counts)
        server.stop()
        self.assertEqual(self.members(self.path), (others, []))

    def test_rights(self):
        from kazoo.security import OPEN_ACL_UNSAFE, make_digest_acl_credential
        acl = {'acl': 'everyone_read_creator_all'}
        owner = self.begin(username='owner', password='se:cret \xe9', **acl)
        self.wait_for(self.path, (1, 1))
        # others only learn that there is somebody
        privy = self.client(f'127.0.0.1:{self.zookeeper.port}', auth_data=[('digest', 'owner:se:cret \xe9')])
        for path in self.path, f'{self.path}/write', f'{self.path}/write/{self.members(self.path)[1][0]}':
            found = {(one.id.scheme, one.id.id, one.perms) for one in privy.get_acls(path)[0]}
            self.assertEqual({(scheme, perms) for scheme, _, perms in found}, {('world', 1), ('digest', 31)})
            self.assertIn(('digest', make_digest_acl_credential('owner', 'se:cret \xe9'), 31), found)
        with self.assertRaises(Exception) as caught:
            self.eye.delete(f'{self.path}/write/{self.members(self.path)[1][0]}')
        self.assertEqual(type(caught.exception).__name__, 'NoAuthError')
        # somebody else
        other = self.announce(self.zookeeper, self.path, username='other', password='wrong', **acl)
        other.start()
        why = (f'ZooKeeper refuses to create a member of {self.path}/%s: this server has no right to do that: correct'
               ' username, password or acl, or the rights on these nodes')
        eventually(self, 'it says why', lambda: why % 'read' in other.log())
        self.assertEqual(self.counts(self.path), (1, 1))
        self.assertEqual(other.log().count('ERROR'), 1)
        with other.client() as client:
            client.expect(b'set q 0 0 1\r\nx\r\n', b'STORED\r\n')
        self.change(other, 'readonly')          # less can be done without ZooKeeper
        failed = f'CLIENT_ERROR status change failed: {why % "read"}\r\n'.encode()
        with other.client() as client:
            client.expect_close(b'status up\r\n', failed)
        with other.client() as client:
            client.expect(b'status\r\n', b'READONLY\r\n')
            client.expect_close(b'set q 0 0 1\r\nx\r\n', b'SERVER_ERROR queue q is read-only\r\n')
        self.assertEqual(other.status_path.read_text(), 'ReadOnly\n')
        # nothing half done: one set can be joined, the other cannot
        privy.set_acls(f'{self.path}/read', OPEN_ACL_UNSAFE)
        self.change(other, 'readonly')
        self.change(other, 'quiescent')
        self.assertEqual(self.counts(self.path), (1, 1))
        with other.client() as client:
            client.expect_close(b'status up\r\n', failed.replace(b'/read:', b'/write:'))
        self.wait_for(self.path, (1, 1))
        for server in owner, other:
            server.stop()

    def test_a_prefix_that_can_have_no_sets(self):
        self.eye.ensure_path('/test')
        self.eye.create(self.path, b'', ephemeral=True)
        server = self.begin(config={'server': {'default_status': 'Quiescent'}})
        eventually(self, 'it is reached', lambda: 'is reached' in server.log())
        with server.client() as client:
            client.expect_close(b'status up\r\n', (
                f'CLIENT_ERROR status change failed: ZooKeeper refuses to create {self.path}/read: a node of that path is'
                ' an ephemeral one: set path_prefix to another path\r\n').encode())
        self.assertEqual(self.eye.get_children(self.path), [])

    def test_kestrelctl_asks_all_of_a_set(self):
        def ctl(path, command='queues', port=self.zookeeper.port):
            ran = Run('--timeout', 5, '--cluster', f'zk:127.0.0.1:{port}{path}', '--json', command, clock=Clock())
            return ran.code, [json.loads(line)['server'] for line in ran.out.splitlines()], ran.err
        servers = [self.begin(), self.begin(), self.begin(protocols=('text',))]
        self.wait_for(self.path, (3, 3))
        self.change(servers[1], 'readonly')
        names = sorted([f'127.0.0.1:{server.port}' for server in servers])
        for path, found in (self.path, names), (f'{self.path}/read', names), (f'{self.path}/write/', [
                name for name in names if name != f'127.0.0.1:{servers[1].port}']):
            code, shown, err = ctl(path)
            self.assertEqual((code, sorted(shown), err), (0, found, ''), path)
        # members of others
        for name, data in (('member_0000000099', b'\x0c\x00\x01'), ('x', b''), ('member_0000000098', b'{}')):
            self.eye.create(f'{self.path}/read/{name}', data)
        code, shown, err = ctl(self.path)
        self.assertEqual((code, sorted(shown)), (1, names))
        self.assertEqual(err.splitlines(), [
            f'kestrelctl: {self.path}/read/member_0000000098: it does not name its server as kestrel does: name that in a FILE',
            f'kestrelctl: {self.path}/read/member_0000000099: not JSON: older servers wrote that, name them in a FILE'])
        for server in servers:
            server.stop()
        self.assertEqual(ctl(self.path)[:2], (1, []))
        where = f'zk:127.0.0.1:{self.zookeeper.port}'
        self.assertEqual(ctl(f'{self.path}/write'), (4, [], f'kestrelctl: --cluster {where}{self.path}/write: it has no members\n'))
        self.assertEqual(ctl('/no/such')[::2], (4, f'kestrelctl: ZooKeeper {where[3:]} has no node /no/such\n'))
        lease = zookeepers.PortLease()
        self.addCleanup(lease.release)
        began = time.monotonic()
        code, _, err = ctl('/k', port=lease.port)
        self.assertEqual(code, 3)
        self.assertRegex(err, rf'^kestrelctl: ZooKeeper 127.0.0.1:{lease.port} does not answer: .*refused.*\n$')
        self.assertLess(time.monotonic() - began, 4)
        for path, code in ('/k//x', 4), ('/../k', 1), ('/k/./x', 1):
            self.assertEqual(ctl(path)[0], code, path)

    def test_where_the_state_is_shown(self):
        lease = zookeepers.PortLease()
        self.addCleanup(lease.release)
        server = self.begin(config={'admin': {'http_port': lease.port}})
        self.wait_for(self.path, (1, 1))

        def shown():
            """What /metrics and kestrelctl status say."""
            with socket.create_connection(('127.0.0.1', lease.port), 10) as sock:
                sock.sendall(b'GET /metrics HTTP/1.0\r\n\r\n')
                text = b''.join(iter(lambda: sock.recv(65536), b'')).decode()
            status = Run('--port', server.port, '--admin-port', lease.port, 'status', '--json', clock=Clock()).json()
            return [*[f'kestrel_{name} {value}\n' in text for name, value in (
                ('zookeeper_connected', 1), ('read_set_member', 1), ('write_set_member', 1))], status['server_sets']]
        told = {'state': 'member of read and write', 'reachable': True, 'refusal': None, 'joined': ['read', 'write']}
        eventually(self, 'it says so', lambda: shown() == [True, True, True, told])
        self.change(server, 'readonly')
        self.assertEqual(shown(), [True, True, False, {**told, 'state': 'member of read', 'joined': ['read']}])
        self.change(server, 'quiescent')
        self.assertEqual(shown(), [True, False, False, {**told, 'state': 'not a member', 'joined': []}])


class OwnZooKeeperTest(Watching):

    @classmethod
    def setUpClass(cls):
        zookeepers.skip_without()

    def setUp(self):
        self.zookeeper = ZooKeeper(f'maxSessionTimeout={LONGEST_SESSION * 1000}\n')
        self.addCleanup(self.zookeeper.close)


class OutageTest(OwnZooKeeperTest):
    """It comes and goes."""

    def test_it_comes_and_goes(self):
        # not there when we start. The session is long: ZooKeeper counts from its own start, and four lanes of tests may
        # take seconds of it until the server is connected again
        server = self.announce(self.zookeeper, '/k', session_timeout=f'{LONGEST_SESSION}s')
        began = time.monotonic()
        server.start()
        self.assertLess(time.monotonic() - began, 10)
        with Traffic(server) as traffic:
            eventually(self, 'it says so', lambda: 'cannot be reached: ' in server.log())
            self.change(server, 'writeavoid')
            self.change(server, 'up')
            self.zookeeper.start()
            self.look_at(self.zookeeper)
            self.wait_for('/k', (1, 1))
            # started again: the session goes on
            before = self.members('/k')
            self.zookeeper.kill9()
            eventually(self, 'it says so', lambda: server.log().count('cannot be reached') == 2)
            self.zookeeper.start()
            self.wait_for('/k', (1, 1))
            eventually(self, 'it is reached', lambda: server.log().count('is reached') == 2)
            self.assertEqual(self.members('/k'), before)
            # changed meanwhile
            self.zookeeper.kill9()
            eventually(self, 'it says so', lambda: server.log().count('cannot be reached') == 3)
            began = time.monotonic()
            self.change(server, 'writeavoid')
            self.assertLess(time.monotonic() - began, 1)
            self.zookeeper.start()
            self.wait_for('/k', (1, 0))
        self.check_traffic(traffic)
        server.stop()
        self.assertEqual(self.counts('/k'), (0, 0))
        self.check_held(server)

    def test_it_hangs(self):
        server = self.announce(self.zookeeper.start(), '/k')
        server.start()
        self.look_at(self.zookeeper)
        self.wait_for('/k', (1, 1))
        with Traffic(server) as traffic:
            self.zookeeper.hang()
            began = time.monotonic()
            self.change(server, 'writeavoid')   # accepted
            self.assertLess(time.monotonic() - began, 3)
            self.zookeeper.go_on()
            self.wait_for('/k', (1, 0))
        self.check_traffic(traffic)
        self.zookeeper.hang()
        began = time.monotonic()
        server.stop()
        self.assertLess(time.monotonic() - began, 4)
        self.assertIn('does not answer: the server is taken off when its session ends', server.log())
        self.zookeeper.go_on()
        self.wait_for('/k', (0, 0), CLEANUP)
        self.check_held(server)

    def test_stopped_without_it(self):
        server = self.announce(self.zookeeper, '/k')
        server.start()
        began = time.monotonic()
        server.stop()
        self.assertLess(time.monotonic() - began, 3)
        self.check_held(server)


class StartTest(unittest.TestCase):
    """What a start says. None of it needs a ZooKeeper."""

    SECTION = {'zookeeper': {'host': '127.0.0.1', 'port': 1, 'path_prefix': '/k'}}

    def setUp(self):
        self.server = Server(self.SECTION)
        self.addCleanup(self.server.close)

    def test_loopback(self):
        zookeepers.skip_without()
        ended = run_kestrel('-f', self.server.config_path)
        self.assertEqual((ended.returncode, ended.stderr), (1, (
            'kestrel: listen_address 127.0.0.1: a loopback address cannot be announced in ZooKeeper: set it to an address'
            ' that clients reach, or [zookeeper] host to none\n')))
        self.assertFalse(self.server.spool.exists())

    def load(self, addresses, **settings):
        """-> a server within this process that has its ports and its spool, not open; what it logged."""
        from kestrel import config, log
        from kestrel.server import KestrelServer
        loaded = config.load(str(self.server.config_path))
        for key, value in {'memcache_listen_port': 0, **settings}.items():
            setattr(loaded.server, key, value)
        said = io.StringIO()
        handle = log.setup(loaded.logging, said, '.announced')
        self.addCleanup(handle.close)
        server = KestrelServer(loaded, handle, addresses=lambda: addresses)
        server.load()
        self.addCleanup(server.stop)
        return server, said

    def test_no_port(self):
        zookeepers.skip_without()
        server, said = self.load([], memcache_listen_port=None)
        self.assertIsNone(server.server_sets)
        self.assertRegex(said.getvalue(), r'ERROR .*: \[zookeeper\] host: no client port is configured: there is nothing to')

    def test_a_name_of_the_loopback_interface(self):
        zookeepers.skip_without()
        from kestrel.errors import StartError
        with self.assertRaisesRegex(StartError, 'a loopback address cannot be announced'):
            self.load([], listen_address='localhost')
        self.assertFalse(self.server.spool.exists())

    def test_without_kazoo(self):
        code = 'import sys; sys.modules["kazoo"] = None; from kestrel.main import main; main()'
        for words in ((), ('--validate',)):
            ended = subprocess.run([sys.executable, '-c', code, *words, '-f', self.server.config_path], cwd='/', timeout=20,
                                   env=process_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True)
            self.assertEqual((ended.returncode, ended.stdout), (1, ''))
            self.assertRegex(ended.stderr, r'^kestrel: \[zookeeper\] host: .*kazoo.*: apt install python3-kazoo, or pip'
                             r' install kazoo, or write none\n$')


if LONG:
    class LongOutageTest(OwnZooKeeperTest):

        def test_down_for_long(self):
            server = self.announce(self.zookeeper.start(), '/k')
            server.start()
            self.look_at(self.zookeeper)
            self.wait_for('/k', (1, 1))
            with Traffic(server) as traffic:
                for name in 'writeavoid', 'up':
                    self.zookeeper.kill9()
                    time.sleep(45)
                    self.change(server, name)
                    self.zookeeper.start()
                    self.look_at(self.zookeeper)        # the old client waits for long between its tries
                    self.wait_for('/k', MEMBERS[name], 5)
                self.zookeeper.hang()
                time.sleep(30)
                self.zookeeper.go_on()
                time.sleep(CLEANUP)
                self.look_at(self.zookeeper)
                self.wait_for('/k', (1, 1))
            self.check_traffic(traffic)
            self.assertEqual(server.log().count('cannot be reached'), 3)
            server.stop()
            self.check_held(server)

        def test_the_leader_of_an_ensemble_is_killed(self):
            ensemble = Ensemble()
            self.addCleanup(ensemble.close)
            ensemble.start()
            server = self.announce(ensemble, '/k', env={'ZOOKEEPER_ADDRESSES': ensemble.addresses})
            server.start()
            hosts = ','.join(f'{address}:{ensemble.port}' for address in ensemble.addresses.split(','))
            self.look_at(None, hosts, command_retry={'max_tries': -1})
            self.wait_for('/k', (1, 1), 30)
            with Traffic(server) as traffic:
                for name in 'writeavoid', 'up':
                    leader = next(one for one in ensemble.servers if self.leads(one))
                    leader.kill9()
                    eventually(self, 'another leads', lambda: any(self.leads(one) for one in ensemble.servers))
                    self.change(server, name)
                    eventually(self, 'it is known', lambda: self.eye.retry(self.counts, '/k') == MEMBERS[name])
                    leader.start()
                    time.sleep(3)
            self.check_traffic(traffic)
            server.stop()
            self.assertEqual(self.eye.retry(self.counts, '/k'), (0, 0))
            self.check_held(server)

        @staticmethod
        def leads(zookeeper):
            try:
                with socket.create_connection((zookeeper.address, zookeeper.port), 1) as sock:
                    sock.sendall(b'srvr')
                    return b'Mode: leader' in b''.join(iter(lambda: sock.recv(65536), b''))
            except OSError:
                return False


if __name__ == '__main__':
    unittest.main()
