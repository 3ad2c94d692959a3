"""A real ZooKeeper on loopback, or three of them, and kestrels that announce themselves there."""

import importlib.util
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from unittest import mock

from support.server import PortLease, Server, listens

JAR = pathlib.Path('/usr/share/java/zookeeper.jar')
LOGGING = pathlib.Path('/usr/share/java/slf4j-simple.jar')
DRIVER = pathlib.Path(__file__).resolve().parent / 'announced.py'
TICK = 200                  # ms; sessions last 2 to 20 of them
SESSION = 2                 # seconds
START_SECONDS = 30
JAVA = ['-Xmx64m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-Xshare:auto',
        '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn']


def skip_without():
    """SkipTest that says what to install."""
    if not shutil.which('java') or not JAR.exists() or not LOGGING.exists():
        raise unittest.SkipTest('no ZooKeeper: apt install libzookeeper-java default-jre-headless')
    if importlib.util.find_spec('kazoo') is None:
        raise unittest.SkipTest('no kazoo: apt install python3-kazoo, or pip install kazoo')


class ZooKeeper:
    """One server, with a folder and a port that stay when it is started again. ``more``: lines of its configuration."""

    def __init__(self, more='', lease=None, address='127.0.0.1', number=None):
        self._own_lease = lease is None
        self._lease = lease or PortLease()
        self.port = self._lease.port
        self.address = address
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix='kestrel-test-zookeeper-'))
        (self.dir / 'data').mkdir()
        if number is not None:
            (self.dir / 'data' / 'myid').write_text(f'{number}\n')
        (self.dir / 'zoo.cfg').write_text(
            f'tickTime={TICK}\ndataDir={self.dir}/data\nclientPort={self.port}\nclientPortAddress={address}\n'
            f'admin.enableServer=false\n4lw.commands.whitelist=srvr\nforceSync=no\n{more}')
        self._process = None

    def begin(self):
        """Start it without waiting."""
        with open(self.dir / 'log', 'ab') as log:
            self._process = subprocess.Popen(
                ['java', *JAVA, '-cp', f'{JAR}:{LOGGING}', 'org.apache.zookeeper.server.quorum.QuorumPeerMain',
                 self.dir / 'zoo.cfg'], cwd=self.dir, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def start(self):
        self.begin()
        deadline = time.monotonic() + START_SECONDS
        while not listens(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError('ZooKeeper did not start:\n' + (self.dir / 'log').read_text()[-4000:])
            time.sleep(0.02)
        return self

    def kill9(self):
        self._process.kill()
        self._process.wait()
        self._process = None

    def hang(self):
        """It keeps its connections and answers nobody, until ``go_on``."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self._process.send_signal(signal.SIGCONT)

    def close(self):
        if self._process is not None:
            self.kill9()
        shutil.rmtree(self.dir, ignore_errors=True)
        if self._own_lease:
            self._lease.release()


class Ensemble:
    """Three servers with one port on three addresses: a host name with three addresses stands for them."""

    def __init__(self):
        self._leases = [PortLease() for _ in range(7)]
        client, *others = [lease.port for lease in self._leases]
        peers = ''.join([f'server.{number}=127.0.0.{number}:{others[2 * number - 2]}:{others[2 * number - 1]}\n'
                         for number in (1, 2, 3)])
        self.servers = [ZooKeeper(f'initLimit=20\nsyncLimit=10\n{peers}', self._leases[0], f'127.0.0.{number}', number)
                        for number in (1, 2, 3)]
        self.port = client
        self.addresses = ','.join([server.address for server in self.servers])

    def start(self):
        for server in self.servers:
            server.begin()
        return self

    def close(self):
        for server in self.servers:
            server.close()
        for lease in self._leases:
            lease.release()


class AnnouncedServer(Server):
    """A kestrel that announces itself in that ZooKeeper below ``prefix``; more settings of [zookeeper] as words."""

    def __init__(self, zookeeper, prefix, config=None, env=None, protocols=(), **settings):
        config = dict(config or {})
        config['zookeeper'] = {'host': '127.0.0.1', 'port': zookeeper.port, 'path_prefix': prefix,
                               'session_timeout': f'{SESSION}s', **settings}
        self.given = config
        super().__init__(config, env=env, protocols=protocols)
        self._slices = self.dir / 'slices'
        self._env = {'SLICES': str(self._slices), **(env or {})}

    def held(self):
        """-> [(ms, of which blocked, what)] of the server that has stopped: what of ZooKeeper's held its hub (slices.py)"""
        return json.loads(self._slices.read_text())

    def start(self):
        def driven(*words):
            return [sys.executable, str(DRIVER), *map(str, words)]
        with mock.patch('support.server.kestrel_command', driven):
            return super().start()

    def freeze(self):
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self):
        os.kill(self.pid, signal.SIGCONT)
