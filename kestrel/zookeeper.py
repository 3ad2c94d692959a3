"""The only door to ZooKeeper, and to kazoo, the library that speaks to it. Imported where ``[zookeeper]`` has a host.

kazoo runs in greenlets by its own handler for gevent, nothing is patched. What it would do in a blocking way is done
here: it looks names up with the socket module, so it only gets addresses.
"""

import logging

import gevent
import gevent.socket
from kazoo.client import KazooClient
from kazoo.exceptions import (
    AuthFailedError, ConnectionLoss, InvalidACLError, KazooException, NewConfigNoQuorumError, NoAuthError,
    NoChildrenForEphemeralsError, NoNodeError, OperationTimeoutError, SessionExpiredError, SessionMovedError)
from kazoo.handlers.gevent import SequentialGeventHandler
from kazoo.protocol.states import KeeperState
from kazoo.retry import KazooRetry
from kazoo.security import CREATOR_ALL_ACL, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE

from kestrel.server_sets import ANSWER_MAY_TAKE, Refused, Unreachable

MEMBER = 'member_'
CONNECT_EVERY = 0.7         # seconds, the longest pause between two tries, give or take 40 %
LEAST_TIMEOUT = 1.0         # seconds of a session: kazoo waits as long for a connection. ZooKeeper's least is 4 usually
ACLS = {'open_unsafe': OPEN_ACL_UNSAFE, 'everyone_read_creator_all': READ_ACL_UNSAFE + CREATOR_ALL_ACL}

# What says nothing about the question: it may be asked again.
NO_ANSWER = (ConnectionLoss, OperationTimeoutError, SessionExpiredError, SessionMovedError, NewConfigNoQuorumError)
REASONS = {
    NoAuthError: 'this server has no right to do that: correct username, password or acl, or the rights on these nodes',
    AuthFailedError: 'the credentials are wrong: correct username and password',
    InvalidACLError: 'nobody is logged in whose rights could be set: correct username, password or acl',
    NoChildrenForEphemeralsError: 'a node of that path is an ephemeral one: set path_prefix to another path',
}


class ZooKeeperClient:
    """One client, which connects again by itself, if need be with a new session. See ``close``.

    ended  bool: it does not try any more
    why    str: what went wrong with the connection last, None if nothing since it was there
    """

    def __init__(self, settings, changed):
        """settings  the ``[zookeeper]`` section

        changed  called when the state of the connection has changed; must not wait
        Raises Unreachable if the host has no address; waits for that.
        """
        self.why = None
        self._host, self._port = settings.host, settings.port
        self._acl = ACLS[settings.acl]
        self._changed = changed
        self._lookup = None
        handler = SequentialGeventHandler()
        credentials = ([] if settings.username is None
                       else [('digest', '%s:%s' % (settings.username, settings.password))])
        self._client = KazooClient(
            hosts=self._look_up(), timeout=max(LEAST_TIMEOUT, settings.session_timeout / 1000000), handler=handler,
            auth_data=credentials,
            connection_retry=KazooRetry(max_tries=-1, max_delay=CONNECT_EVERY, sleep_func=handler.sleep_func),
            logger=self._listener())
        self._client.add_listener(self._note)
        self._client.start_async()
        gevent.sleep(0)         # its greenlet begins: from now on CLOSED means that it has ended

    def _listener(self):
        """-> logging.Logger for kazoo, whose warnings are the only place that tells why it cannot connect."""
        logger = logging.Logger('kazoo', logging.WARNING)
        logger.addHandler(_Reasons(self))
        return logger

    def _note(self, _):
        """kazoo's greenlet tells a change."""
        if self._client.connected:
            self.why = None
        self._changed()

    def complain(self, why):
        """kazoo says so before it tells the change."""
        self.why = why
        self._changed()

    def _look_up(self):
        """-> the addresses of the host as kazoo takes them. Raises Unreachable."""
        try:
            found = gevent.socket.getaddrinfo(self._host, self._port, 0, gevent.socket.SOCK_STREAM)
        except OSError as error:
            raise Unreachable('%s: %s' % (self._host, error.strerror or error)) from error
        hosts = [where[0] for *_, where in found]
        return ','.join([('[%s]:%d' if ':' in host else '%s:%d') % (host, self._port) for host in hosts])

    def look_up_again(self):
        """Its host may have another address now. Does not wait."""
        if self._lookup is None or self._lookup.dead:
            self._lookup = gevent.spawn(self._set_hosts)

    def _set_hosts(self):
        try:
            self._client.set_hosts(self._look_up())
        except Unreachable as error:
            self.complain(str(error))

    @property
    def session(self):
        """Number of the session, None without a connection."""
        found = self._client.client_id
        return found and found[0]

    @property
    def ended(self):
        return self._client.client_state in (KeeperState.CLOSED, KeeperState.AUTH_FAILED)

    def create_member(self, folder, data):
        """Create a node that goes with the session, below ``folder``, which is created if need be. -> its path

        Raises Refused. Raises Unreachable, and then it may be there.
        """
        client = self._client
        self._ask('create %s' % folder, client.ensure_path_async(folder, acl=self._acl))
        return self._ask('create a member of %s' % folder, client.create_async(
            '%s/%s' % (folder, MEMBER), data, acl=self._acl, ephemeral=True, sequence=True))

    def delete(self, path):
        """Raises Unreachable, Refused; not if it is not there."""
        try:
            self._ask('delete %s' % path, self._client.delete_async(path))
        except _NoNode:
            pass

    def exists(self, path):
        """Raises Unreachable, Refused."""
        return self._ask('look at %s' % path, self._client.exists_async(path)) is not None

    def own_members(self, folder):
        """Paths of the members that this session created. Raises Unreachable, Refused."""
        client = self._client
        try:
            names = self._ask('list %s' % folder, client.get_children_async(folder))
        except _NoNode:
            return []
        found = []
        for name in sorted(names):
            path = '%s/%s' % (folder, name)
            stat = self._ask('look at %s' % path, client.exists_async(path))
            if stat is not None and stat.ephemeralOwner == self.session:
                found.append(path)
        return found

    @staticmethod
    def _ask(what, answer):
        """Wait for an answer of kazoo; it is told when the connection is lost, but not what waits to be sent."""
        try:
            return answer.get(timeout=ANSWER_MAY_TAKE)
        except NO_ANSWER as error:
            raise Unreachable(type(error).__name__) from error
        except gevent.Timeout as error:
            raise Unreachable('no answer') from error
        except KazooException as error:
            why = REASONS.get(type(error), type(error).__name__)
            kind = _NoNode if isinstance(error, NoNodeError) else Refused
            raise kind('ZooKeeper refuses to %s: %s' % (what, why)) from error

    def close(self):
        """End the session, with which its nodes go at once, if ZooKeeper can be reached."""
        if self._lookup is not None:
            self._lookup.kill(block=False)
        try:
            self._client.stop()
            self._client.close()
        except (KazooException, OSError) as error:
            # nothing that could be done about it: the session ends by itself
            self.complain(str(error))


class _NoNode(Refused):
    """There is no such node."""


class _Reasons(logging.Handler):

    def __init__(self, client):
        super().__init__()
        self._client = client

    def emit(self, record):
        self._client.complain(record.getMessage())
