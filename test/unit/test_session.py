"""One client and the queues: waits, open reads, limits, figures (spec memcache 3, 4.6, 5, queues 4)."""

import unittest

from kestrel.errors import AdminDisabled, BadName, Blocked, JournalError
from kestrel.journal.sync import Commit
from support.clock import THEN
from support.fakes import FakeConfig, LineJournal, World, queue_settings

DAYS = 86400


class SessionTest(unittest.TestCase):

    def world_of(self, config=None, **server):
        self.world = World(config, **server)
        self.addCleanup(self.world.hub.close)
        self.stats = self.world.stats
        self.clock = self.world.clock
        return self.world

    def setUp(self):
        self.world_of()
        self.producer = self.world.client()

    def put(self, *data, name=b'q', expiry=0):
        for word in data:
            self.assertTrue(self.producer.put(word, name, expiry=expiry))

    def clients(self, count):
        return [self.world.client() for _ in range(count)]

    def turn(self):
        self.world.hub.turn()

    def got(self, *results):
        """Of gets: their data, None if there was no item, '...' while they wait."""
        answers = []
        for result in results:
            item = result[0] if result else None
            answers.append('...' if not result else None if item is None else item.data)
        return answers

    def waiting_line(self, name=b'q'):
        return len(self.world.collection.line_for(name))


class WaitingTest(SessionTest):

    def test_no_wait_without_a_timeout(self):
        a, = self.clients(1)
        for timeout in (0, -1, -2147483648):
            self.assertEqual(self.got(a.get(timeout=timeout)), [None])

    def test_no_wait_with_an_item(self):
        self.put(b'1')
        a, = self.clients(1)
        self.assertEqual(self.got(a.get(timeout=1000)), [b'1'])

    def test_served_in_the_order_in_which_they_began_to_wait(self):
        a, b, c = self.clients(3)
        results = [client.get(timeout=1000) for client in (b, a, c)]
        self.put(b'1', b'2', b'3')
        self.turn()
        self.assertEqual(self.got(*results), [b'1', b'2', b'3'])

    def test_one_item_is_for_one(self):
        a, b = self.clients(2)
        results = [a.get(timeout=1000), b.get(timeout=1000)]
        self.put(b'1')
        self.turn()
        self.assertEqual(self.got(*results), [b'1', '...'])
        self.assertEqual(self.waiting_line(), 1)

    def test_time_is_over(self):
        a, b = self.clients(2)
        results = [a.get(timeout=500), b.get(timeout=1000)]
        self.world.hub.advance(0.499)
        self.assertEqual(self.got(*results), ['...', '...'])
        self.world.hub.advance(0.002)
        self.assertEqual(self.got(*results), [None, '...'])
        self.assertEqual(self.waiting_line(), 1)
        self.put(b'1')
        self.turn()
        self.assertEqual(self.got(*results), [None, b'1'])

    def test_longest_timeout_there_is(self):
        a, = self.clients(1)
        result = a.get(timeout=2147483647)
        self.world.hub.advance(24 * DAYS)
        self.assertEqual(self.got(result), ['...'])
        self.world.hub.advance(DAYS)
        self.assertEqual(self.got(result), [None])

    def test_who_finds_nothing_waits_at_the_end_with_the_old_deadline(self):
        a, b, thief = self.clients(3)
        first, second = a.get(timeout=1000), b.get(timeout=3000)
        self.world.hub.advance(0.5)
        self.put(b'1')
        self.assertEqual(self.got(thief.get()), [b'1'])
        self.turn()
        self.assertEqual(self.got(first, second), ['...', '...'])
        self.put(b'2')
        self.turn()
        self.assertEqual(self.got(first, second), ['...', b'2'])
        self.world.hub.advance(0.499)
        self.assertEqual(self.got(first), ['...'])
        self.world.hub.advance(0.002)
        self.assertEqual(self.got(first), [None])

    def test_put_back_wakes_one(self):
        self.put(b'1')
        holder, a, b = self.clients(3)
        holder.get(opening=True)
        results = [a.get(timeout=1000), b.get(timeout=1000)]
        holder.session.abort(b'q')
        self.turn()
        self.assertEqual(self.got(*results), [b'1', '...'])

    def test_put_back_of_a_closed_connection_wakes_one_each_in_the_old_order(self):
        self.world_of(max_open_transactions=5)
        self.producer = self.world.client()
        self.put(b'1', b'2', b'3')
        holder, a, b = self.clients(3)
        for _ in range(3):
            holder.get(opening=True)
        results = [a.get(timeout=1000), b.get(timeout=1000)]
        holder.session.close()
        self.turn()
        self.assertEqual(self.got(*results), [b'1', b'2'])
        self.assertEqual(self.world.items(), [b'3'])
        self.assertEqual(self.stats.cmd_get_open_dropped, 3)

    def test_waits_for_a_queue_that_is_not_there_yet(self):
        a, = self.clients(1)
        result = a.get(timeout=1000)
        self.assertIsNone(self.world.queue())
        self.put(b'1')
        self.turn()
        self.assertEqual(self.got(result), [b'1'])

    def test_nothing_is_left_of_a_wait_for_a_queue_that_never_came(self):
        a, = self.clients(1)
        line = self.world.collection.line_for(b'q')
        result = a.get(timeout=1000)
        self.world.hub.advance(2)
        self.assertEqual(self.got(result), [None])
        self.assertIsNot(self.world.collection.line_for(b'q'), line)
        self.assertEqual(self.world.collection.queues, {})

    def test_delete_ends_waits(self):
        self.put(b'1', name=b'there')
        a, b, thief = self.clients(3)
        thief.get(b'there')
        results = [a.get(b'there', 1000), b.get(b'unknown', 1000)]
        thief.session.delete(b'there')
        thief.session.delete(b'unknown')
        self.turn()
        self.assertEqual(self.got(*results), [None, None])

    def test_delete_ends_the_wait_of_who_was_woken_and_has_not_looked_yet(self):
        # memcache 4.3: "its waiters get END"; it is a waiter until it has looked
        a, other = self.clients(2)
        result = a.get(timeout=1000)
        self.put(b'1')
        self.assertEqual(self.got(other.get()), [b'1'])
        other.session.delete(b'q')
        self.turn()
        self.assertEqual(self.got(result), [None])

    def test_delete_ends_a_get_that_has_not_begun_to_wait_yet(self):
        # the reader is slow: its replies go out first
        self.put(b'0')
        a, other = self.clients(2)
        a.get()

        def flush():
            other.session.delete(b'q')
            return True
        a.connection.flush = flush
        self.assertEqual(self.got(a.get(timeout=1000)), [None])
        self.assertEqual((self.stats.get_misses, sum(self.stats.get_timeout_msec.counts())), (1, 0))

    def begin_another(self, request, taken=b''):
        """One who waits, and another that sends all of these in one receive, behind the request that takes ``taken``.
        -> the replies to the first, to the other"""
        a, other = self.clients(2)
        if taken:
            other.ask(taken)
        other.connection.on_pause = self.world.hub.give_turn
        ended = [a.begin(b'get q/t=8000\r\n'), other.begin(request)]
        self.turn()
        self.assertEqual(ended, [[True], [True]])
        return a.connection.replies(), other.connection.replies()

    def test_what_comes_is_for_who_waits_not_for_the_next_request_of_who_put_it(self):
        # queues 4
        self.assertEqual(self.begin_another(b'set q 0 0 1\r\nx\r\nget q\r\n'),
                         (b'VALUE q 0 1\r\nx\r\nEND\r\n', b'STORED\r\nEND\r\n'))
        self.put(b'y')
        self.assertEqual(self.begin_another(b'get q/abort\r\nget q\r\n', b'get q/open\r\n'),
                         (b'VALUE q 0 1\r\ny\r\nEND\r\n', b'END\r\nEND\r\n'))

    def test_put_and_delete_in_one_receive(self):
        # memcache 4.3: a miss, and no time-out
        self.assertEqual(self.begin_another(b'set q 0 0 1\r\nx\r\ndelete q\r\n'),
                         (b'END\r\n', b'STORED\r\nDELETED\r\n'))
        self.assertEqual((self.stats.get_misses, sum(self.stats.get_timeout_msec.counts())), (1, 0))

    def test_server_stops(self):
        a, b = self.clients(2)
        result = a.get(timeout=1000)
        self.world.services.stopping = True
        self.world.collection.dismiss_waiters()
        self.turn()
        self.assertEqual(self.got(result, b.get(timeout=1000)), [None, None])
        self.assertFalse(self.producer.put(b'1'))

    def test_expired_item_wakes_nobody_for_long(self):
        a, = self.clients(1)
        result = a.get(timeout=1000)
        self.put(b'dead', expiry=1)
        self.turn()
        self.assertEqual(self.got(result), ['...'])
        self.put(b'live')
        self.turn()
        self.assertEqual(self.got(result), [b'live'])

    def test_wall_clock_does_not_count(self):
        # D69
        a, = self.clients(1)
        result = a.get(timeout=1000)
        self.clock.ms += 3600000
        self.world.hub.advance(0.9)
        self.clock.ms -= 7200000
        self.world.hub.advance(0.05)
        self.assertEqual(self.got(result), ['...'])
        self.world.hub.advance(0.06)
        self.assertEqual(self.got(result), [None])


class PeekTest(SessionTest):
    """D54."""

    def test_woken_peek_passes_the_wake_up_on(self):
        a, b, c = self.clients(3)
        results = [a.peek(timeout=1000), b.peek(timeout=1000), c.get(timeout=1000)]
        self.put(b'1')
        self.turn()
        self.assertEqual(self.got(*results), [b'1', b'1', b'1'])
        self.assertEqual(self.world.items(), [])

    def test_passed_on_to_one_get_only(self):
        a, b, c = self.clients(3)
        results = [a.peek(timeout=1000), b.get(timeout=1000), c.get(timeout=1000)]
        self.put(b'1')
        self.turn()
        self.assertEqual(self.got(*results), [b'1', b'1', '...'])

    def test_peek_behind_a_get(self):
        a, b = self.clients(2)
        results = [a.get(timeout=1000), b.peek(timeout=1000)]
        self.put(b'1')
        self.turn()
        self.assertEqual(self.got(*results), [b'1', '...'])
        self.put(b'2')
        self.turn()
        self.assertEqual(self.got(*results), [b'1', b'2'])
        self.assertEqual(self.world.items(), [b'2'])

    def test_peek_that_finds_nothing_waits_on(self):
        a, thief = self.clients(2)
        result = a.peek(timeout=1000)
        self.put(b'1')
        thief.get()
        self.turn()
        self.assertEqual(self.got(result), ['...'])
        self.world.hub.advance(1.001)
        self.assertEqual(self.got(result), [None])

    def test_peeks_that_find_nothing_do_not_wake_each_other(self):
        a, b, thief = self.clients(3)
        results = [a.peek(timeout=1000), b.peek(timeout=1000)]
        self.put(b'1')
        thief.get()
        self.put(b'expired', expiry=1)
        for turns in range(4):
            if self.world.hub.ready:
                self.world.hub.ready.pop(0).resume()
        self.assertEqual((self.world.hub.ready, self.got(*results), self.waiting_line()), ([], ['...', '...'], 2))

    def test_peek_leaves_the_item(self):
        self.put(b'1')
        a, = self.clients(1)
        self.assertEqual(self.got(a.peek(), a.peek(timeout=5)), [b'1', b'1'])
        self.assertEqual(self.world.items(), [b'1'])

    def test_peek_of_nothing(self):
        a, = self.clients(1)
        self.assertEqual(self.got(a.peek()), [None])
        self.assertIsNone(self.world.queue())


class LeavingTest(SessionTest):
    """D32, D61: the end of a client that waits."""

    def test_item_goes_to_the_next(self):
        a, b = self.clients(2)
        results = [a.get(timeout=1000), b.get(timeout=1000)]
        self.put(b'1')                  # wakes a
        a.connection.leaving = True     # and in the same instant its FIN is known
        self.turn()
        self.assertEqual(self.got(*results), [None, b'1'])

    def test_item_handed_over_in_the_same_instant_stays_if_nobody_else_waits(self):
        a, = self.clients(1)
        result = a.get(timeout=1000, opening=True)
        self.put(b'1')
        a.connection.leaving = a.connection.gone = True
        self.turn()
        a.session.close()
        self.assertEqual((self.got(result), self.world.items()), ([None], [b'1']))
        self.assertEqual(len(self.world.queue().opened), 0)

    def test_fin_counts_as_timed_out(self):
        self.put(b'0')
        a, = self.clients(1)
        a.get()
        result = a.get(timeout=1000)
        self.world.hub.advance(0.25)
        a.connection.leave()
        self.assertEqual(self.got(result), [None])
        queue = self.world.queue().stats
        self.assertEqual((self.stats.get_misses, self.stats.get_timeout_msec.sum, self.stats.waiters_aborted),
                         (1, 250, 0))
        self.assertEqual((queue.get_items_miss, queue.get_timeout_msec.sum), (1, 250))

    def test_rst_is_a_dropped_waiter(self):
        self.put(b'0')
        a, = self.clients(1)
        a.get()
        result = a.get(timeout=1000)
        a.connection.leave(gone=True)
        self.assertEqual(self.got(result), [None])
        self.assertEqual((self.stats.waiters_aborted, self.stats.get_misses), (1, 0))
        self.assertEqual(sum(self.stats.get_timeout_msec.counts()), 0)
        self.assertEqual(self.waiting_line(), 0)

    def test_rst_before_it_begins_to_wait(self):
        # the reader is slow: its replies go out first, and meanwhile an item comes
        a, = self.clients(1)

        def flush():
            self.put(b'1')
            a.connection.leaving = a.connection.gone = True
            return True
        a.connection.flush = flush
        self.assertEqual((self.got(a.get(timeout=1000)), self.world.items()), ([None], [b'1']))
        self.assertEqual((self.stats.waiters_aborted, self.stats.get_hits, self.stats.get_misses), (1, 0, 0))
        self.assertEqual(self.waiting_line(), 0)

    def test_would_have_to_wait_when_the_fin_is_known(self):
        self.put(b'1')
        a, = self.clients(1)
        a.connection.leaving = True
        self.assertEqual(self.got(a.get(timeout=1000), a.get(timeout=1000)), [b'1', None])
        self.assertEqual((self.stats.get_misses, self.stats.get_timeout_msec.sum), (1, 0))
        self.assertEqual(sum(self.stats.get_timeout_msec.counts()), 1)

    def test_open_reads_go_back(self):
        self.put(b'1', b'2')
        a, b = self.clients(2)
        a.get(opening=True)
        b.get(opening=True)
        a.session.close()
        self.assertEqual(self.world.items(), [b'1'])
        a.session.close()
        self.assertEqual(self.stats.cmd_get_open_dropped, 1)

    def test_session_that_did_nothing(self):
        a, = self.clients(1)
        a.session.close()
        self.assertEqual(self.stats.cmd_get_open_dropped, 0)


class MonitorTest(SessionTest):
    """Memcache 4.4: what happens while others have their turn, after 64 items."""

    def setUp(self):
        self.world_of(max_open_transactions=100)
        self.producer = self.world.client()
        self.put(*[b'x'] * 80)

    def monitored(self, on_pause):
        """-> list that gets the number of items, once the monitor has ended."""
        a, = self.clients(1)
        a.connection.on_pause = on_pause
        return self.world.hub.run(lambda: len(list(a.session.monitor(b'q', 1000, -1))))

    def test_ends_when_the_queue_is_deleted(self):
        self.assertEqual(self.monitored(lambda: self.producer.session.delete(b'q')), [64])

    def test_ends_when_the_server_stops(self):
        def stop():
            self.world.services.stopping = True
        self.assertEqual(self.monitored(stop), [64])
        self.assertEqual(len(self.world.items()), 16)


class OpenReadsTest(SessionTest):

    def setUp(self):
        self.world_of(max_open_transactions=100)
        self.producer = self.world.client()

    def test_oldest_first(self):
        self.put(b'1', b'2', b'3')
        a, = self.clients(1)
        for _ in range(3):
            a.get(opening=True)
        self.assertEqual(a.session.open_count(b'q'), 3)
        a.session.confirm(b'q', 1)
        a.session.abort(b'q')
        self.assertEqual((self.world.items(), a.session.open_count(b'q')), ([b'2'], 1))

    def test_waiting_open_read(self):
        a, = self.clients(1)
        result = a.get(timeout=1000, opening=True)
        self.put(b'1')
        self.turn()
        self.assertEqual((self.got(result), a.session.open_count(b'q')), ([b'1'], 1))
        self.assertEqual(self.world.queue().stats.transactions, 1)

    def test_of_each_queue_and_session_its_own(self):
        self.put(b'1', b'2')
        self.put(b'x', name=b'other')
        a, b = self.clients(2)
        a.get(opening=True)
        b.get(opening=True)
        b.get(b'other', opening=True)
        self.assertEqual([client.session.open_count(name) for client in (a, b) for name in (b'q', b'other')],
                         [1, 0, 1, 1])

    def test_nothing_open(self):
        a, = self.clients(1)
        a.session.confirm(b'q', 1)
        a.session.abort(b'q')
        self.assertEqual((a.session.open_count(b'q'), self.world.queue()), (0, None))

    def test_of_a_deleted_queue(self):
        self.put(b'1')
        a, b = self.clients(2)
        a.get(opening=True)
        b.session.delete(b'q')
        self.put(b'new')
        self.assertEqual(b.get(opening=True)[0].xid, 1)
        a.session.confirm(b'q', 1)
        self.assertEqual(list(self.world.queue().opened), [1])
        a.session.close()
        self.assertEqual((self.world.items(), self.stats.cmd_get_open_dropped), ([], 0))

    def test_largest_limit_there_is(self):
        # config 2: max_open_transactions is an integer; ours go up to 2**63-1
        self.world_of(max_open_transactions=2 ** 63 - 1)
        self.assertEqual(self.world.client().session.max_open, 2 ** 63 - 1)


class ExpiryTest(SessionTest):
    """D37."""

    def dead(self, count, *live):
        self.put(*[b'dead'] * count, expiry=THEN)
        self.put(*live)
        self.clock.advance(1)

    def test_expired_heads_are_dropped_in_slices_with_pauses(self):
        self.dead(2500, b'live')
        a, = self.clients(1)
        self.assertEqual(self.got(a.get()), [b'live'])
        self.assertGreaterEqual(a.connection.pauses, 2)
        self.assertEqual(self.world.queue().stats.expired_items, 2500)

    def test_peek_too(self):
        self.dead(1001, b'live')
        a, = self.clients(1)
        self.assertEqual(self.got(a.peek()), [b'live'])
        self.assertGreaterEqual(a.connection.pauses, 1)

    def test_slices_of_max_expire_sweep_if_that_is_less(self):
        self.world_of(FakeConfig(max_expire_sweep=10))
        self.producer = self.world.client()
        for _ in range(35):
            self.world.collection.need(b'q').put(b'dead', 0, THEN, False)
        self.put(b'live')
        self.clock.advance(1)
        a, = self.clients(1)
        self.assertEqual(self.got(a.get()), [b'live'])
        self.assertGreaterEqual(a.connection.pauses, 3)

    def check_put(self, count, swept, **settings):
        """A put sweeps so many of the expired items (queues 5); -> how often it paused."""
        self.world_of(FakeConfig({b'q': settings}))
        self.producer = self.world.client()
        queue = self.world.collection.need(b'q')
        for _ in range(count):
            queue.put(b'dead', 0, THEN + 10, False)
        self.clock.advance(1)
        self.put(b'live')
        self.assertEqual((queue.stats.expired_items, queue.count), (swept, count - swept + 1))
        return self.producer.connection.pauses

    def test_a_put_sweeps_in_slices_with_pauses(self):
        self.assertGreaterEqual(self.check_put(1500, 1500), 1)
        self.assertGreaterEqual(self.check_put(1500, 1200, max_expire_sweep=1200), 1)
        self.assertGreaterEqual(self.check_put(150, 150, expire_to_queue=b't'), 1)
        self.assertEqual(len(self.world.items(b't')), 150)

    def test_all_expired(self):
        self.dead(3)
        a, = self.clients(1)
        self.assertEqual(self.got(a.get()), [None])
        self.assertEqual((self.world.items(), self.stats.get_misses), ([], 1))

    def test_others_may_delete_the_queue_meanwhile(self):
        self.dead(2500, b'live')
        a, other = self.clients(2)
        a.connection.on_pause = lambda: other.session.delete(b'q')
        self.assertEqual(self.got(a.get()), [None])

    def test_delete_meanwhile_ends_a_get_that_would_wait(self):
        # memcache 4.1 row 16: END when the queue is deleted
        self.dead(2500, b'live')
        a, other = self.clients(2)
        a.connection.on_pause = lambda: other.session.delete(b'q')
        self.assertEqual(self.got(a.get(timeout=60000)), [None])

    def test_a_put_that_discards_many_lets_others_run(self):
        # D38
        self.put(*[b'old'] * 2500)
        self.world.queue().configure(queue_settings(max_items=10, discard_old_when_full=True))
        a, other = self.clients(2)
        seen = []
        a.connection.on_pause = lambda: seen.append(self.world.queue().count)
        self.assertTrue(a.put(b'new'))
        self.assertEqual((seen, self.world.queue().count, self.stats.cmd_set), ([1500, 500], 10, 2501))
        self.world.collection.need(b'q+c')
        self.put(*[b'old'] * 1500, name=b'q+c')
        self.world.queue(b'q+c').configure(queue_settings(max_items=10, discard_old_when_full=True))
        self.assertTrue(a.put(b'new'))
        self.assertEqual((len(seen), self.world.queue(b'q+c').count), (3, 10))

    def test_many_puts_that_discard_let_others_run_too(self):
        for put in (lambda session: session.put_many(b'q', [b'1', b'2'], 0),
                    lambda session: session.put_until_refused(b'q', [b'1', b'2'], 0, [])):
            self.put(*[b'old'] * 2500)
            self.world.queue().configure(queue_settings(max_items=10, discard_old_when_full=True))
            a, = self.clients(1)
            seen = []
            a.connection.on_pause = lambda: seen.append(self.world.queue().count)
            self.assertEqual(put(a.session), 2)
            self.assertEqual((seen, self.world.queue().count), ([1500, 500], 10))
            self.world.queue().configure(queue_settings())
            self.world.queue().flush()

    def test_client_that_is_lost_meanwhile_takes_nothing(self):
        self.dead(1001, b'live')
        a, = self.clients(1)
        a.connection.on_pause = lambda: a.connection.leave(gone=True)
        self.assertEqual(self.got(a.get()), [None])
        self.assertEqual(self.world.items()[-1], b'live')

    def test_what_expires_during_the_pauses_is_not_handed_out(self):
        self.put(*[b'dead'] * 1001, expiry=THEN)
        self.put(*[b'short'] * 1500, expiry=THEN + 1005)
        self.put(b'live')
        self.clock.advance(1)
        a, = self.clients(1)
        a.connection.on_pause = lambda: self.clock.advance(0.010)
        self.assertEqual(self.got(a.get()), [b'live'])

    def test_clock_that_is_set_back_during_a_pause_holds_up_nobody(self):
        # D69; what was expired is live again
        self.put(*[b'again'] * 1500, expiry=THEN)
        self.clock.advance(1)
        a, = self.clients(1)

        def set_back():
            if a.connection.pauses > 10:
                raise AssertionError('the get goes round and round')
            self.clock.ms = THEN - 1000
        a.connection.on_pause = set_back
        self.assertEqual(self.got(a.get()), [b'again'])

    def test_flush_expired_keeps_the_limit(self):
        self.world_of(FakeConfig({b'q': {'max_expire_sweep': 1500}}))
        self.producer = self.world.client()
        self.world.collection.need(b'q')
        for _ in range(1600):
            self.put(b'x', expiry=THEN)
        self.clock.advance(1)
        a, = self.clients(1)
        session = a.session
        self.assertEqual([session.flush_expired(b'q') for _ in range(3)], [1500, 100, 0])
        self.assertGreater(a.connection.pauses, 0)
        self.assertEqual(session.flush_expired(b'unknown'), 0)

    def test_flush_all_expired_is_the_sum(self):
        self.put(b'1', b'2', expiry=THEN)
        self.put(b'3', name=b'other', expiry=THEN)
        self.put(b'4', name=b'live')
        self.clock.advance(1)
        self.assertEqual(self.producer.session.flush_all_expired(), 3)


class FlushTest(SessionTest):

    def test_items_that_come_in_the_pauses_stay(self):
        self.put(*[b'x'] * 2500)
        a, = self.clients(1)
        a.connection.on_pause = lambda: self.put(b'later')
        a.session.flush(b'q')
        self.assertEqual((self.world.items(), a.connection.pauses), ([b'later', b'later'], 2))
        self.assertEqual(self.world.queue().stats.total_flushes, 1)

    def test_unknown(self):
        self.producer.session.flush(b'q')
        self.assertIsNone(self.world.queue())

    def test_queue_deleted_in_a_pause(self):
        self.put(*[b'x'] * 1500)
        a, other = self.clients(2)

        def replace():
            other.session.delete(b'q')
            self.put(b'new')
        a.connection.on_pause = replace
        a.session.flush(b'q')
        self.assertEqual(self.world.items(), [b'new'])

    def test_all(self):
        self.put(b'1')
        self.put(b'2', name=b'other')
        self.producer.session.flush_all()
        self.assertEqual([self.world.items(name) for name in (b'q', b'other')], [[], []])
        self.assertEqual(self.world.queue(b'other').stats.total_flushes, 1)

    def test_get_statistics_are_not_touched(self):
        self.put(b'1')
        self.producer.session.flush_all()
        self.assertEqual((self.stats.cmd_get, self.stats.get_hits, self.stats.get_misses), (0, 0, 0))

    def test_deleting_many_items_gives_way(self):
        self.put(*[b'x'] * 2500)
        self.producer.session.delete(b'q')
        self.assertEqual(self.producer.connection.pauses, 2)


class LimitsTest(SessionTest):
    """spec memcache 3: connection number N is refused if N > limit, for its whole life."""

    def refused(self, check, name=b'q'):
        try:
            check(name)
        except Blocked as error:
            return error.line
        return None

    def test_reads(self):
        self.world_of(connection_limit_refuse_reads=2)
        answers = [self.refused(client.session.check_reads) for client in self.clients(3)]
        self.assertEqual(answers, [None, None, b'SERVER_ERROR too many connections (limit 2)'])

    def test_writes(self):
        self.world_of(connection_limit_refuse_writes=0)
        a, = self.clients(1)
        self.assertEqual(self.refused(a.session.check_writes), b'SERVER_ERROR too many connections (limit 0)')
        self.assertIsNone(self.refused(a.session.check_reads))

    def test_none(self):
        a, = self.clients(1)
        self.assertIsNone(self.refused(a.session.check_reads))
        self.assertIsNone(self.refused(a.session.check_writes))

    def test_status(self):
        # D1, spec queues 11
        a, = self.clients(1)
        services = self.world.services
        for reads, writes, what in ((False, True, b'read-only'), (True, True, b'not available')):
            with self.subTest(what):
                services.reads_blocked, services.writes_blocked = reads, writes
                self.assertEqual(self.refused(a.session.check_writes), b'SERVER_ERROR queue q is ' + what)
                self.assertEqual(self.refused(a.session.check_writes, None),
                                 b'SERVER_ERROR server is ' + what)
                self.assertEqual(self.refused(a.session.check_reads), b'SERVER_ERROR queue q is ' + what
                                 if reads else None)

    def test_status_comes_before_the_connection_limits(self):
        # memcache 3 names it first
        self.world_of(connection_limit_refuse_reads=0, connection_limit_refuse_writes=0)
        a, = self.clients(1)
        self.world.services.reads_blocked = self.world.services.writes_blocked = True
        for check in a.session.check_reads, a.session.check_writes:
            self.assertEqual(self.refused(check), b'SERVER_ERROR queue q is not available')

    def test_admin(self):
        self.producer.session.check_admin()
        self.world_of(remote_admin=False)
        a, = self.clients(1)
        with self.assertRaises(AdminDisabled) as raised:
            a.session.check_admin()
        self.assertEqual(raised.exception.line, b'CLIENT_ERROR admin commands are disabled')

    def test_size_of_a_queue_and_of_one_to_come(self):
        self.world_of(FakeConfig({b'small': {'max_item_size': 5}, b'any': {'max_item_size': None}},
                                 max_item_size=100))
        session = self.world.client().session
        self.world.collection.need(b'there')
        for name, largest in ((b'small', 5), (b'new', 100), (b'there', 100)):
            self.assertEqual((session.refuses_size(name, largest), session.refuses_size(name, largest + 1)),
                             (False, True))
        self.assertFalse(session.refuses_size(b'any', 10 ** 9))
        self.assertFalse(session.refuses_size(b'', 1))

    def test_bad_name(self):
        session = self.producer.session
        for call in (lambda: session.put(b'a.b', b'1', 0, 0, False), lambda: session.get(b'a.b', 0, False),
                     lambda: session.get(b'a.b', 1000, True), lambda: session.peek(b'a.b', 0),
                     lambda: session.monitor_step(b'a.b', 5)):
            with self.assertRaises(BadName):
                call()
        self.assertEqual(self.world.collection.queues, {})


class CountersTest(SessionTest):

    def counters(self):
        stats = self.stats
        return {name: value for name, value in [
            (name, getattr(stats, name)) for name in (
                'cmd_get', 'cmd_set', 'cmd_peek', 'cmd_monitor', 'cmd_monitor_get', 'get_hits', 'get_misses',
                'total_items')] if value}

    def metrics(self, stats):
        """{name: how many values} of those that have any."""
        found = {}
        for name in ('set_latency_usec', 'get_hit_latency_usec', 'get_miss_latency_usec', 'get_timeout_msec',
                     'delivery_latency_msec'):
            count = sum(getattr(stats, name).counts())
            if count:
                found[name] = count
        return found

    def queue(self):
        return self.world.queue().stats

    def test_put(self):
        self.put(b'1')
        self.assertEqual(self.counters(), {'cmd_set': 1, 'total_items': 1})
        self.assertEqual(self.metrics(self.stats), {'set_latency_usec': 1})
        self.assertEqual(self.metrics(self.queue()), {'set_latency_usec': 1})

    def test_refused_put(self):
        self.world_of(FakeConfig(max_item_size=1))
        a, = self.clients(1)
        self.assertFalse(a.put(b'22'))
        self.assertFalse(a.put(None))
        self.assertEqual(self.counters(), {'cmd_set': 2})
        self.assertEqual(self.queue().put_items, 0)

    def test_hit_and_miss(self):
        self.put(b'1')
        self.clock.advance(0.5)
        self.producer.get()
        self.producer.get()
        self.assertEqual(self.counters(), {'cmd_set': 1, 'total_items': 1, 'cmd_get': 2, 'get_hits': 1,
                                           'get_misses': 1})
        expected = {'set_latency_usec': 1, 'get_hit_latency_usec': 1, 'get_miss_latency_usec': 1,
                    'delivery_latency_msec': 1}
        self.assertEqual(self.metrics(self.stats), expected)
        self.assertEqual(self.metrics(self.queue()), expected)
        self.assertEqual(self.stats.delivery_latency_msec.sum, 500)
        self.assertEqual(self.queue().delivery_latency_msec.sum, 500)
        self.assertEqual((self.queue().get_items_hit, self.queue().get_items_miss), (1, 1))

    def test_confirm_and_open_of_the_next_by_one_write_count_as_both_do(self):
        results = []
        for by_one_write in (True, False):
            self.setUp()
            self.put(b'1', b'2', b'3')
            a, = self.clients(1)
            session = a.session
            self.assertIsNone(session.get_next(b'q'))
            session.get(b'q', 0, True)
            self.clock.advance(0.5)
            if by_one_write:
                item = session.get_next(b'q')
            else:
                session.confirm(b'q', 1)
                item = session.get(b'q', 0, True)
            results.append((item.data, session.open_count(b'q'), self.counters(), self.metrics(self.stats),
                            self.metrics(self.queue()), self.stats.delivery_latency_msec.sum,
                            (self.queue().get_items_hit, self.queue().transactions)))
        self.assertEqual(results[0], results[1])

    def test_miss_of_an_unknown_queue(self):
        self.producer.get()
        self.assertEqual(self.counters(), {'cmd_get': 1, 'get_misses': 1})
        self.assertEqual(self.metrics(self.stats), {'get_miss_latency_usec': 1})

    def test_peek_has_no_latency(self):
        self.put(b'1')
        self.producer.peek()
        self.producer.peek(b'unknown')
        self.assertEqual(self.counters(), {'cmd_set': 1, 'total_items': 1, 'cmd_peek': 2, 'get_hits': 1,
                                           'get_misses': 1})
        self.assertEqual(self.metrics(self.stats), {'set_latency_usec': 1})
        self.assertEqual((self.queue().get_items_hit, self.queue().get_items_miss), (1, 0))

    def test_wait_with_an_item_has_no_latency(self):
        a, = self.clients(1)
        a.get(timeout=1000)
        self.world.hub.advance(0.5)
        self.put(b'1')
        self.turn()
        self.assertEqual(self.counters(), {'cmd_set': 1, 'total_items': 1, 'cmd_get': 1, 'get_hits': 1})
        self.assertEqual(self.metrics(self.queue()), {'set_latency_usec': 1, 'delivery_latency_msec': 1})

    def test_wait_without_an_item(self):
        self.put(b'1')
        a, b = self.clients(2)
        a.get()
        a.get(timeout=250)
        b.peek(timeout=750)
        self.world.hub.advance(1)
        self.assertEqual((self.stats.get_misses, self.queue().get_items_miss), (2, 2))
        for stats in (self.stats, self.queue()):
            self.assertEqual((stats.get_timeout_msec.sum, sum(stats.get_timeout_msec.counts())), (1000, 2))
            self.assertNotIn('get_miss_latency_usec', self.metrics(stats))

    def test_woken_in_vain_counts_once(self):
        a, thief = self.clients(2)
        a.get(timeout=1000)
        self.put(b'1')
        thief.get()
        self.turn()
        self.assertEqual((self.stats.cmd_get, self.stats.get_hits, self.stats.get_misses), (2, 1, 0))
        self.world.hub.advance(2)
        self.assertEqual((self.stats.get_hits, self.stats.get_misses), (1, 1))

    def test_monitor_step(self):
        self.put(b'1')
        session = self.producer.session
        item = session.monitor_step(b'q', 0)
        self.assertIsNone(session.monitor_step(b'q', 0))
        self.assertEqual((item.data, session.open_count(b'q')), (b'1', 1))
        self.assertEqual(self.counters(), {'cmd_set': 1, 'total_items': 1, 'cmd_monitor_get': 2,
                                           'get_hits': 1, 'get_misses': 1})
        self.assertNotIn('get_hit_latency_usec', self.metrics(self.stats))
        self.assertNotIn('get_miss_latency_usec', self.metrics(self.stats))

    def test_latency_is_in_microseconds(self):
        self.world.collection.need(b'q').journal = SlowJournal(self.clock)
        self.put(b'1')
        self.producer.get()
        self.assertEqual((self.stats.set_latency_usec.sum, self.queue().set_latency_usec.sum), (3906, 3906))
        self.assertEqual(self.stats.get_hit_latency_usec.sum, 488)


class CommitTest(SessionTest):
    """D9, D63: who waits for an fsync."""

    def setUp(self):
        super().setUp()
        self.put(b'1')
        self.journal = self.world.journaled()

    def will_wait(self):
        commit = self.journal.next_commit = Commit()
        return commit

    def start_put(self, client, data=b'2', durable=True):
        return self.world.hub.run(client.put, data, b'q', 0, 0, durable)

    def test_a_put_is_answered_when_its_fsync_has_succeeded(self):
        self.will_wait()
        a, b = self.clients(2)
        results = [self.start_put(a), self.start_put(b, b'3')]
        self.clock.advance(0.25)
        self.assertEqual((results, self.world.items(), self.stats.total_items), ([[], []], [b'1'], 1))
        self.assertEqual(self.journal.line(), 'add(1:0:2)/sync, add(1:0:3)/sync')
        self.journal.end_commit()
        self.assertEqual((results, self.world.items()), ([[True], [True]], [b'1', b'2', b'3']))
        self.assertEqual((self.stats.total_items, self.stats.cmd_set), (3, 3))
        for stats in (self.stats, self.world.queue().stats):
            self.assertEqual(stats.set_latency_usec.sum, 500000)

    def test_its_waiter_gets_the_item_only_then(self):
        self.will_wait()
        a, b, c = self.clients(3)
        b.get()
        waiting = c.get(timeout=1000)
        result = self.start_put(a)
        self.turn()
        self.assertEqual(self.got(waiting), ['...'])
        self.journal.end_commit()
        self.turn()
        self.assertEqual((self.got(waiting), result), ([b'2'], [True]))

    def test_a_put_that_is_refused(self):
        for why, full in (('Input/output error', False), ('No space left on device', True)):
            self.will_wait()
            seen = []

            def put():
                with self.assertRaises(JournalError) as caught:
                    self.producer.put(b'2', durable=True)
                seen.append((caught.exception.why, caught.exception.full))
            self.world.hub.run(put)
            self.assertEqual(seen, [])
            self.journal.end_commit(JournalError(why, full))
            self.assertEqual((seen, self.world.items()), ([(why, full)], [b'1']))
        self.assertEqual((self.stats.total_items, self.stats.cmd_set), (1, 3))
        self.assertEqual(sum(self.stats.set_latency_usec.counts()), 1)

    def test_each_has_an_exception_of_its_own(self):
        # one object raised in several greenlets would collect all their tracebacks
        self.will_wait()
        seen = []

        def put(client):
            try:
                client.put(b'2', durable=True)
            except JournalError as error:
                seen.append(error)
        for client in self.clients(2):
            self.world.hub.run(put, client)
        self.journal.end_commit(JournalError('it broke'))
        self.assertEqual((len(seen), len(set(map(id, seen)))), (2, 2))

    def test_who_puts_behind_it_without_waiting_is_answered_at_once(self):
        self.will_wait()
        result = self.start_put(self.producer)
        self.journal.next_commit, commit = None, self.journal.next_commit
        self.assertTrue(self.producer.put(b'3'))
        self.assertEqual((self.world.items(), result), ([b'1'], []))
        self.journal.next_commit = commit
        self.journal.end_commit()
        self.assertEqual((self.world.items(), result), ([b'1', b'2', b'3'], [True]))

    def test_a_client_that_is_gone_meanwhile_ends_when_the_fsync_does(self):
        self.will_wait()
        result = self.start_put(self.producer)
        self.producer.connection.leave(gone=True)
        self.assertEqual(result, [])
        self.journal.end_commit()
        self.assertEqual((result, self.world.items()), ([True], [b'1', b'2']))

    def test_a_confirm_waits(self):
        a, = self.clients(1)
        a.get(opening=True)
        self.will_wait()
        result = self.world.hub.run(a.session.confirm, b'q', 1)
        self.assertEqual((result, list(self.world.queue().opened)), ([], []))
        self.journal.end_commit()
        self.assertEqual(result, [None])

    def test_a_confirm_whose_fsync_fails_is_answered_as_usual(self):
        a, = self.clients(1)
        a.get(opening=True)
        self.will_wait()
        result = self.world.hub.run(a.session.confirm, b'q', 1)
        self.journal.end_commit(JournalError('it broke'))
        self.assertEqual(result, [None])

    def test_gets_opens_and_aborts_wait_for_nothing(self):
        a, = self.clients(1)
        self.will_wait()
        a.get(opening=True)
        a.session.abort(b'q')
        self.assertEqual(self.got(a.get()), [b'1'])


class SlowJournal(LineJournal):
    """A put takes 1/256 s, a remove 1/2048 s."""

    def __init__(self, clock):
        super().__init__()
        self.moved = clock

    def add(self, item, durable=False, discarded=0):
        self.moved.seconds += 2 ** -8

    def remove(self, count=1):
        self.moved.seconds += 2 ** -11
