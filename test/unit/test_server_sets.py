"""The server sets (spec queues 15, D47), with a ZooKeeper that does what the test says."""

import itertools
import json
import logging
import unittest

import gevent

from kestrel import server_sets
from kestrel.server_sets import MEMBER_OF, Membership, Refused, ServerSets, Unreachable, member_data
from kestrel.status import DOWN, QUIESCENT, READONLY, UP, WRITEAVOID
from support.spool import LogLines

ORDER = [UP, WRITEAVOID, READONLY, QUIESCENT]
PREFIX = '/kestrel/production'


class FakeZooKeeper:
    """The client and the server at once.

    nodes   {path: number of the session that made it}
    calls   what was asked for
    fails   {first word of a call, or the whole: exception}, of a call that is not done
    late    likewise, of one that is done
    """

    def __init__(self):
        self.nodes = {}
        self.calls = []
        self.fails = {}
        self.late = {}
        self.session = 1
        self.ended = False
        self.why = None
        self.changed = lambda: None
        self.numbers = itertools.count()
        self.pause = lambda: None
        self.looked_up = 0

    def _call(self, call, do):
        self.pause()
        self.calls.append(call)
        for table, done in (self.fails, False), (self.late, True):
            for key in call, call.partition(' ')[0]:
                if key in table:
                    if done:
                        do()
                    raise table[key]
        return do()

    def create_member(self, folder, data):
        def do():
            path = '%s/member_%010d' % (folder, next(self.numbers))
            self.nodes[path] = self.session
            return path
        return self._call('create ' + folder.rpartition('/')[2], do)

    def delete(self, path):
        self._call('delete ' + path.split('/')[-2], lambda: self.nodes.pop(path, None))

    def exists(self, path):
        self.pause()
        return path in self.nodes

    def own_members(self, folder):
        return [path for path, session in self.nodes.items()
                if path.startswith(folder + '/') and session == self.session]

    def end_session(self):
        """It is over; there is a new one."""
        self.nodes = {path: session for path, session in self.nodes.items() if session != self.session}
        self.session += 1

    def look_up_again(self):
        self.looked_up += 1

    def close(self):
        self.calls.append('close')
        self.end_session()
        self.session = None

    def sets(self):
        return sorted(path.split('/')[-2] for path in self.nodes)


class DataTest(unittest.TestCase):

    def test_bytes(self):
        self.assertEqual(
            member_data('10.0.0.5', {'text': 2222, 'memcache': 22133, 'thrift': 2229}),
            b'{"serviceEndpoint":{"host":"10.0.0.5","port":22133},"additionalEndpoints":{"memcache":{"host":"10.0.0.5",'
            b'"port":22133},"thrift":{"host":"10.0.0.5","port":2229},"text":{"host":"10.0.0.5","port":2222}},'
            b'"status":"ALIVE"}')

    def test_the_main_port(self):
        for ports, main in (({'text': 3, 'thrift': 2}, 2), ({'text': 3}, 3), ({'text': 3, 'memcache': 1}, 1)):
            member = json.loads(member_data('::5', ports))
            self.assertEqual(member['serviceEndpoint'], {'host': '::5', 'port': main})
            self.assertEqual({name: point['port'] for name, point in member['additionalEndpoints'].items()}, ports)


class SetsTest(unittest.TestCase):

    def setUp(self):
        self.log = LogLines()
        self.logger = logging.Logger('test', logging.INFO)
        self.logger.addHandler(self.log)
        self.zookeeper = FakeZooKeeper()
        self.membership = Membership(PREFIX, b'{}', self.logger)


class MembershipTest(SetsTest):

    def agree(self, status):
        self.zookeeper.calls.clear()
        self.membership.look(self.zookeeper)
        self.membership.give_up(self.zookeeper, MEMBER_OF[status])
        self.membership.join(self.zookeeper, MEMBER_OF[status])
        self.assertEqual(self.zookeeper.sets(), sorted(MEMBER_OF[status]))

    def test_table(self):
        self.assertEqual(MEMBER_OF, {UP: ('read', 'write'), WRITEAVOID: ('read',), READONLY: ('read',),
                                     QUIESCENT: (), DOWN: ()})

    def test_every_change(self):
        calls = {(2, 1): ['delete write'], (2, 0): ['delete write', 'delete read'], (1, 0): ['delete read'],
                 (0, 1): ['create read'], (0, 2): ['create read', 'create write'], (1, 2): ['create write']}
        for old, new in itertools.product(ORDER, ORDER):
            with self.subTest(f'{old.name} {new.name}'):
                self.agree(old)
                self.agree(new)
                self.assertEqual(self.zookeeper.calls, calls.get((len(MEMBER_OF[old]), len(MEMBER_OF[new])), []))

    def test_by_a_new_node(self):
        self.agree(UP)
        before = dict(self.membership.nodes)
        self.agree(READONLY)
        self.agree(UP)
        self.assertEqual(self.membership.nodes['read'], before['read'])
        self.assertNotEqual(self.membership.nodes['write'], before['write'])

    def test_a_new_session(self):
        self.agree(UP)
        self.zookeeper.end_session()
        self.agree(UP)
        self.assertEqual(self.zookeeper.calls, ['create read', 'create write'])

    def test_a_node_that_somebody_deleted(self):
        self.agree(UP)
        del self.zookeeper.nodes[self.membership.nodes['read']]
        self.agree(UP)
        self.assertEqual(self.zookeeper.calls, ['create read'])
        self.assertIn('WARNING', self.log.lines[2])

    def test_the_answer_to_a_create_is_lost(self):
        self.zookeeper.late = {'create': Unreachable('lost')}
        with self.assertRaises(Unreachable):
            self.agree(UP)
        self.assertEqual(self.zookeeper.sets(), ['read'])
        self.zookeeper.late = {}
        self.zookeeper.nodes['/kestrel/production/read/member_9999999999'] = 77       # another server's
        with self.assertRaises(AssertionError):
            self.agree(UP)
        self.assertEqual(self.zookeeper.calls, ['create write'])
        del self.zookeeper.nodes['/kestrel/production/read/member_9999999999']
        self.agree(QUIESCENT)

    def test_of_several_nodes_of_ours_one_stays(self):
        self.zookeeper.late = {'create': Unreachable('lost')}
        with self.assertRaises(Unreachable):
            self.agree(UP)
        self.zookeeper.late = {}
        self.zookeeper.create_member(PREFIX + '/read', b'')
        self.assertEqual(self.zookeeper.sets(), ['read', 'read'])
        self.agree(UP)
        self.assertEqual(self.zookeeper.calls, ['delete read', 'create write'])

    def test_the_session_ends_while_a_node_is_made(self):
        self.agree(READONLY)
        self.zookeeper.pause = self.zookeeper.end_session
        with self.assertRaises(Unreachable):
            self.membership.join(self.zookeeper, ('read', 'write'))
        self.zookeeper.pause = lambda: None
        self.agree(UP)
        self.assertEqual(self.zookeeper.calls, ['create read'])

    def test_the_answer_to_a_delete_is_lost(self):
        self.agree(UP)
        self.zookeeper.late = {'delete': Unreachable('lost')}
        with self.assertRaises(Unreachable):
            self.agree(QUIESCENT)
        self.zookeeper.late = {}
        self.agree(QUIESCENT)
        self.assertEqual(self.membership.nodes, {})

    def test_nothing_half_done(self):
        self.zookeeper.fails = {'create write': Refused('no right')}
        for before in QUIESCENT, READONLY:
            self.agree(before)
            with self.assertRaises(Refused):
                self.agree(UP)
            self.assertEqual(self.zookeeper.sets(), sorted(MEMBER_OF[before]))

    def test_no_session(self):
        self.zookeeper.session = None
        with self.assertRaises(Unreachable):
            self.agree(UP)


class KeeperTest(SetsTest):

    def setUp(self):
        super().setUp()
        self.connects = 0
        self.failure = None
        for name, seconds in ('CONNECT_AGAIN', 0.001), ('LOOK_EVERY', 0.002), ('ANSWER_MAY_TAKE', 0.02), (
                'LEAVE_MAY_TAKE', 0.02):
            before = getattr(server_sets, name)
            setattr(server_sets, name, seconds)
            self.addCleanup(setattr, server_sets, name, before)
        self.sets = ServerSets(self.membership, self.connect, self.logger, 'zk:2181/k')
        self.addCleanup(self.end)

    def end(self):
        self.zookeeper.pause = lambda: None
        self.sets.leave()

    def connect(self, changed):
        self.connects += 1
        if self.failure is not None:
            raise self.failure
        self.zookeeper.changed = changed
        return self.zookeeper

    def wait(self, look):
        for _ in range(2000):
            if look():
                return
            gevent.sleep(0.001)
        self.fail('it does not happen: %s, %s' % (self.sets.state, self.log.lines))

    def start(self, status=UP):
        self.sets.start(status)
        self.wait(lambda: self.sets.reachable and self.sets.joined == MEMBER_OF[status])

    def lose(self, why='connection refused'):
        self.zookeeper.session, self.zookeeper.why = None, why
        self.zookeeper.changed()
        self.wait(lambda: not self.sets.reachable)

    def find(self, session=1):
        self.zookeeper.session, self.zookeeper.why = session, None
        self.zookeeper.changed()

    def test_start_and_leave(self):
        self.start()
        self.assertEqual(self.sets.state, 'member of read and write')
        self.zookeeper.calls.clear()
        self.sets.leave()
        self.assertEqual(self.zookeeper.calls, ['delete write', 'delete read', 'close'])
        self.sets.announce(UP, True)
        gevent.sleep(0.01)
        self.assertEqual(self.zookeeper.nodes, {})

    def test_every_status(self):
        self.start(QUIESCENT)
        self.assertEqual(self.sets.state, 'not a member')
        for status in *ORDER, *reversed(ORDER):
            self.sets.announce(status, True)
            self.assertEqual(self.zookeeper.sets(), sorted(MEMBER_OF[status]))

    def test_before_the_start_nothing_is_announced(self):
        self.sets.announce(UP, True)
        self.assertEqual((self.zookeeper.calls, self.connects), ([], 0))

    def test_not_reached_at_the_start(self):
        self.failure = Unreachable('zk: Name or service not known')
        self.sets.start(UP)
        self.wait(lambda: self.connects > 3)
        line = ('WARNING ZooKeeper zk:2181/k cannot be reached: zk: Name or service not known: kestrel serves without it'
                ' and keeps trying')
        self.assertEqual(self.log.lines, [line])
        self.assertEqual(self.sets.state, 'ZooKeeper zk:2181/k: zk: Name or service not known')
        self.sets.announce(READONLY, False)     # accepted, nobody waits
        self.failure = None
        self.wait(lambda: self.sets.joined == ('read',))
        self.assertEqual(self.log.lines[1:], ['INFO ZooKeeper zk:2181/k is reached',
                                              'INFO joined /kestrel/production/read/member_0000000000'])

    def test_out_of_reach_in_between(self):
        self.start()
        self.lose()
        self.assertEqual((self.sets.joined, self.zookeeper.sets()), ((), ['read', 'write']))
        self.sets.announce(QUIESCENT, False)
        self.sets.announce(READONLY, True)      # the last one counts
        self.wait(lambda: self.zookeeper.looked_up > 1)
        self.find()
        self.wait(lambda: self.zookeeper.sets() == ['read'])
        self.assertEqual(len([line for line in self.log.lines if 'WARNING' in line]), 1)

    def test_the_session_expired(self):
        self.start()
        self.lose()
        self.zookeeper.nodes.clear()
        self.find(2)
        self.wait(lambda: self.zookeeper.sets() == ['read', 'write'])

    def test_the_client_ends(self):
        self.start()
        self.zookeeper.ended = True
        self.zookeeper.changed()
        self.wait(lambda: 'close' in self.zookeeper.calls)
        self.zookeeper.ended, self.zookeeper.session = False, 5
        self.wait(lambda: self.zookeeper.sets() == ['read', 'write'])
        self.assertGreater(self.connects, 1)

    def test_a_fault_of_ours(self):
        self.failure = ZeroDivisionError()
        self.sets.start(UP)
        self.wait(lambda: self.connects > 1)
        self.failure = None
        self.wait(lambda: self.sets.joined)
        self.assertIn('a new connection is made', self.log.lines[0])

    def test_refused(self):
        self.start(READONLY)
        self.zookeeper.fails = {'create write': Refused('no right')}
        with self.assertRaisesRegex(Refused, 'no right'):
            self.sets.announce(UP, True)
        self.wait(lambda: self.sets.refusal is None)
        self.assertEqual(self.zookeeper.sets(), ['read'])
        self.assertFalse([line for line in self.log.lines if 'ERROR' in line], 'the client is told')

    def test_refused_at_the_start(self):
        self.zookeeper.fails = {'create': Refused('no right')}
        self.sets.start(UP)
        self.wait(lambda: len(self.zookeeper.calls) > 3)
        self.assertEqual([line for line in self.log.lines if 'ERROR' in line], ['ERROR no right'])
        self.assertEqual((self.sets.state, self.sets.joined), ('no right', ()))
        # less is possible all the same, more is not
        self.sets.announce(READONLY, False)
        with self.assertRaises(Refused):
            self.sets.announce(UP, True)
        self.zookeeper.fails = {}
        self.wait(lambda: self.sets.joined == ('read',))

    def test_leaving_is_refused(self):
        self.start()
        self.zookeeper.fails = {'delete read': Refused('no right')}
        with self.assertRaises(Refused):
            self.sets.announce(QUIESCENT, False)
        self.wait(lambda: self.sets.joined == ('read', 'write'))

    def test_no_answer(self):
        self.start()
        self.zookeeper.pause = lambda: gevent.sleep(0.1)
        began = gevent.get_hub().loop.now()
        self.sets.announce(READONLY, False)     # accepted
        self.sets.leave()
        gevent.sleep(0)
        self.assertLess(gevent.get_hub().loop.now() - began, 0.09)
        self.assertIn('does not answer', self.log.lines[-1])

    def test_it_is_lost_while_a_change_waits(self):
        self.start()

        def break_off():
            self.zookeeper.session = None
            raise Unreachable('gone')
        self.zookeeper.pause = break_off
        self.sets.announce(READONLY, False)
        self.assertFalse(self.sets.reachable)
