"""Reads nodes of ZooKeeper, for ``--cluster zk:``. Imported where that is asked for: it needs the library kazoo."""

import contextlib
import logging
import threading

from kazoo.client import KazooClient
from kazoo.exceptions import ConnectionLoss, KazooException, NoAuthError, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError, SequentialThreadingHandler
from kazoo.retry import KazooRetry

from kestrel.tools.ctl.failures import Failed, NoServer, NothingThere, WrongUse

HERE = '127.0.0.1:2181'


@contextlib.contextmanager
def reading(hosts, seconds):
    """With a connection to the first of the hosts that answers. -> Ensemble

    hosts    HOST[:PORT], several with commas; nothing for the one on this machine
    seconds  that an answer may take
    Raises NoServer, WrongUse.
    """
    hosts = hosts or HERE
    handler, said = _Handler(), _Said()
    logger = logging.Logger('kazoo', logging.WARNING)
    logger.addHandler(said)
    try:
        # one that is silent must not use up the time of the others
        client = KazooClient(
            hosts, timeout=seconds / (hosts.count(',') + 1), handler=handler, logger=logger,
            connection_retry=KazooRetry(max_tries=-1, sleep_func=handler.sleep_func))
    except ValueError as error:
        raise WrongUse('--cluster zk:%s: %s: write zk:HOST:PORT/PATH' % (hosts, error)) from None
    client.add_listener(lambda state: handler.settled.set())
    try:
        client.start_async()
        handler.settled.wait(seconds)
        if not client.connected:
            raise NoServer('ZooKeeper %s does not answer: %s' % (hosts, said.last or 'not within %g s' % seconds))
        yield Ensemble(client, hosts, seconds)
    finally:
        handler.ended.set()
        client.stop()
        client.close()


class Ensemble:
    """Its nodes. What it is asked raises NoServer, and Failed if ZooKeeper refuses."""

    def __init__(self, client, hosts, seconds):
        self._client = client
        self._hosts = hosts
        self._seconds = seconds

    def children(self, path):
        """-> [name]. Raises NothingThere."""
        try:
            return self._ask(path, self._client.get_children_async)
        except NoNodeError:
            raise NothingThere('ZooKeeper %s has no node %s' % (self._hosts, path)) from None

    def data(self, path):
        """-> bytes, None if there is no such node."""
        try:
            return self._ask(path, self._client.get_async)[0]
        except NoNodeError:
            return None

    def _ask(self, path, question):
        try:
            return question(path).get(timeout=self._seconds)
        except NoNodeError:
            raise
        except KazooTimeoutError:
            raise NoServer('ZooKeeper %s does not answer within %g s' % (self._hosts, self._seconds)) from None
        except ConnectionLoss:
            raise NoServer('ZooKeeper %s: the connection is lost' % self._hosts) from None
        except NoAuthError:
            raise Failed('ZooKeeper %s does not show %s to everybody: name the servers in a FILE' % (
                self._hosts, path)) from None
        except (KazooException, ValueError) as error:
            raise Failed('ZooKeeper %s, %s: %s' % (self._hosts, path, str(error) or type(error).__name__)) from None


class _Handler(SequentialThreadingHandler):
    """Tells when none of the hosts could be reached: then kazoo sleeps.

    settled  Event: there is a connection, or no hope for one
    ended    Event: nobody waits for that any more
    """

    def __init__(self):
        super().__init__()
        self.settled = threading.Event()
        self.ended = threading.Event()

    def sleep_func(self, seconds):
        self.settled.set()
        self.ended.wait(seconds)


class _Said(logging.Handler):
    """The warnings of kazoo: the only place that tells why it cannot connect. ``last``: str, None without."""

    last = None

    def emit(self, record):
        self.last = record.getMessage()
