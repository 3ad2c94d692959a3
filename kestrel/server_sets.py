"""The server sets in ZooKeeper, by which clients find this server (spec queues 15, D47).

It knows no ZooKeeper library: whoever speaks to ZooKeeper (zookeeper.ZooKeeperClient) is handed in.
"""

import json

import gevent
from gevent.event import AsyncResult, Event

from kestrel.status import DOWN, QUIESCENT, READONLY, UP, WRITEAVOID

# In the order of joining; they are left in the other one.
SETS = ('read', 'write')
MEMBER_OF = {UP: SETS, WRITEAVOID: ('read',), READONLY: ('read',), QUIESCENT: (), DOWN: ()}

# Seconds.
ANSWER_MAY_TAKE = 2.0       # ... that a change of status waits for ZooKeeper
LEAVE_MAY_TAKE = 2.0        # ... that a stop does (D47)
LOOK_EVERY = 5.0            # are the nodes still there? Did what was refused become possible?
CONNECT_AGAIN = 1.0


class Unreachable(Exception):
    """ZooKeeper gave no answer: what was asked for may have been done, or not. str() says why."""


class Refused(Exception):
    """ZooKeeper said no. str() is one line that says to what, and what can be done about it."""


def member_data(host, ports):
    """What a member says of its server. -> bytes

    host   str, an address
    ports  {protocol: port}, at least one
    """
    names = [name for name in ('memcache', 'thrift', 'text') if name in ports]
    points = {name: {'host': host, 'port': ports[name]} for name in names}
    member = {'serviceEndpoint': points[names[0]], 'additionalEndpoints': points, 'status': 'ALIVE'}
    return json.dumps(member, separators=(',', ':')).encode('utf-8')


class Membership:
    """The nodes that stand for this server. They belong to a session with ZooKeeper and end with it.

    prefix  str, the node below which the sets are
    data    bytes of each of them
    nodes   {set: its path}
    """

    def __init__(self, prefix, data, log):
        self.nodes = {}
        self._prefix = prefix
        self._data = data
        self._log = log
        self._session = None
        self._doubtful = set()      # sets where a node may have been made whose name did not reach us

    def look(self, client):
        """Learn which nodes there are. Raises Unreachable, Refused."""
        session = client.session
        if session is None:
            raise Unreachable('no connection')
        if session != self._session:
            self.nodes.clear()
            self._session = session
        for name in list(self._doubtful):
            for path in client.own_members(self._path(name)):
                if name in self.nodes:
                    client.delete(path)
                else:
                    self.nodes[name] = path
            self._doubtful.discard(name)
        for name, path in list(self.nodes.items()):
            if not client.exists(path):
                del self.nodes[name]
                self._log.warning('%s was taken away: somebody else did that', path)

    def give_up(self, client, wanted):
        """Leave all sets that are not ``wanted``, write first. Raises Unreachable, Refused."""
        for name in reversed(SETS):
            if name in self.nodes and name not in wanted:
                path = self.nodes[name]
                client.delete(path)
                del self.nodes[name]
                self._log.info('left %s', path)

    def join(self, client, wanted):
        """Join those that are, read first. Raises Unreachable; Refused, and then no set was joined."""
        missing = [name for name in SETS if name in wanted and name not in self.nodes]
        before = tuple(self.nodes)
        try:
            for name in missing:
                self._join(client, name)
        except Refused:
            self.give_up(client, before)
            raise

    def _join(self, client, name):
        self._doubtful.add(name)
        try:
            path = client.create_member(self._path(name), self._data)
        except Refused:
            self._doubtful.discard(name)
            raise
        if client.session != self._session:
            raise Unreachable('the session ended')
        self._doubtful.discard(name)
        self.nodes[name] = path
        self._log.info('joined %s', path)

    def _path(self, name):
        return '%s/%s' % (self._prefix, name)


class ServerSets:
    """Keeps the membership as the status says, in a greenlet of its own: nobody else waits for ZooKeeper, but for
    ``announce`` and ``leave``, which wait for a limited time.

    connect  called with a function to be called whenever something about the connection changes, and the log;
             -> client, as zookeeper.ZooKeeperClient. Raises Unreachable
    where    str, how ZooKeeper is shown

    reachable   bool: there is a session
    refusal     str: what ZooKeeper refuses, None if nothing
    """

    def __init__(self, membership, connect, log, where):
        self.where = where
        self.reachable = False
        self.refusal = None
        self.greenlet = None
        self._membership = membership
        self._connect = connect
        self._log = log
        self._wanted = ()
        self._asked = None          # AsyncResult of the ``announce`` that waits
        self._joining = False       # does it wait for joining, too?
        self._leaving = False
        self._changed = Event()
        self._why = 'not connected yet'
        self._told = None           # bool: what the log said last of ``reachable``

    @property
    def joined(self):
        """The sets that this server is known to be in, tuple of str."""
        return tuple([name for name in SETS if name in self._membership.nodes]) if self.reachable else ()

    @property
    def state(self):
        """One sentence for people."""
        if not self.reachable:
            return 'ZooKeeper %s: %s' % (self.where, self._why)
        if self.refusal is not None:
            return self.refusal
        return 'member of %s' % ' and '.join(self.joined) if self.joined else 'not a member'

    def start(self, status):
        self._wanted = MEMBER_OF[status]
        self.greenlet = gevent.spawn(self._run)

    def announce(self, status, joining):
        """Be in the sets of ``status``, from now on.

        Waits until it is so: until the others are left, and if ``joining``, until these are joined. Not while ZooKeeper
        cannot be reached, and never longer than 2 s. Raises Refused, and then nothing has changed.
        """
        if self.greenlet is None or self._leaving:
            return
        before = self._wanted
        self._wanted = MEMBER_OF[status]
        asked = self._asked = AsyncResult()
        self._joining = joining
        self._changed.set()
        if self.reachable:
            asked.wait(ANSWER_MAY_TAKE)
        self._asked = None
        if asked.exception is not None:
            self._wanted = before
            self._changed.set()
            raise asked.exception

    def leave(self):
        """Leave all sets and end the session, at the stop: at most 2 s."""
        self._leaving = True
        if self.greenlet is None:
            return
        self._wanted = ()
        self._changed.set()
        self.greenlet.join(LEAVE_MAY_TAKE)
        self.greenlet.kill(block=False)
        if self._membership.nodes:
            self._log.warning('ZooKeeper %s does not answer: the server is taken off when its session ends', self.where)

    # -- the greenlet ----------------------------------------------------------------------------------------------

    def _run(self):
        while not self._leaving:
            try:
                client = self._connect(self._changed.set)
                try:
                    self._keep(client)
                finally:
                    client.close()
            except Unreachable as error:
                self._lose(str(error))
            except Exception:
                self._log.exception('ZooKeeper %s: a new connection is made in %g s', self.where, CONNECT_AGAIN)
                self._lose('an error, see the log')
            if not self._leaving:
                gevent.sleep(CONNECT_AGAIN)

    def _keep(self, client):
        """As long as the client tries."""
        while not client.ended:
            self._changed.clear()
            if client.session is None:
                # why None: it has just begun
                if client.why is not None or self.reachable:
                    self._lose(client.why or 'the connection is lost')
            else:
                self._agree(client)
            if self._leaving:
                return
            if not self._changed.wait(LOOK_EVERY) and client.session is None:
                client.look_up_again()
        self._lose(client.why or 'the connection ended')

    def _agree(self, client):
        """Make the nodes what they should be."""
        asked, joining, wanted = self._asked, self._joining, () if self._leaving else self._wanted
        try:
            self._membership.look(client)
            self._find()
            self._membership.give_up(client, wanted)
            if asked is not None and not joining:
                # what cannot be joined is no reason to refuse less
                asked.set(None)
            self._membership.join(client, wanted)
        except Unreachable as error:
            self._lose(client.why or str(error))
        except Refused as error:
            if asked is not None and asked is self._asked and not asked.ready():
                asked.set_exception(error)
            elif str(error) != self.refusal:
                self._log.error('%s', error)
            self.refusal = str(error)
            return
        else:
            self.refusal = None
        if asked is not None and not asked.ready():
            asked.set(None)

    def _find(self):
        self.reachable = True
        if not self._told:
            self._told = True
            self._log.info('ZooKeeper %s is reached', self.where)

    def _lose(self, why):
        self._why = why
        self.reachable = False
        if self._asked is not None and not self._asked.ready():
            self._asked.set(None)
        if self._told is not False and not self._leaving:
            self._told = False
            self._log.warning('ZooKeeper %s cannot be reached: %s: kestrel serves without it and keeps trying',
                              self.where, why)
