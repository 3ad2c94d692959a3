"""Memory for unfinished blocks (D6)."""

import unittest

from kestrel.block_budget import BlockBudget
from support.clock import MovedClock
from support.fakes import FakeConnection, Hub

LARGE = 65537
LIMIT = 1000000


class BudgetTest(unittest.TestCase):

    def setUp(self):
        self.hub = Hub(MovedClock())
        self.addCleanup(self.hub.close)
        self.budget = BlockBudget(LIMIT)
        self.a, self.b, self.c = [FakeConnection(self.hub, number) for number in range(3)]

    def wait(self, connection, wanted=LARGE):
        """-> list that is not empty once the connection may read on."""
        went = self.hub.run(self.budget.wait_for_room, connection, wanted)
        self.hub.turn()
        return went

    def test_under_the_limit_nobody_waits(self):
        self.budget.hold(self.a, LIMIT // 2)
        self.budget.hold(self.b, LIMIT // 2 - LARGE)
        for connection in (self.a, self.b, self.c):
            self.assertTrue(self.wait(connection))

    def test_at_the_limit_only_the_oldest_goes_on(self):
        self.budget.hold(self.a, 10)
        self.budget.hold(self.b, LIMIT - 10)
        self.assertTrue(self.wait(self.a))
        self.assertFalse(self.wait(self.b))
        self.assertFalse(self.wait(self.c))

    def test_oldest_is_who_began_first_however_much_it_holds(self):
        self.budget.hold(self.a, 10)
        self.budget.hold(self.b, LIMIT)
        self.budget.hold(self.a, LIMIT)
        self.assertTrue(self.wait(self.a))
        self.assertFalse(self.wait(self.b))

    def test_oldest_is_one_of_the_large_ones(self):
        # a small one may idle as long as it likes
        self.budget.hold(self.a, 3, False)
        self.budget.hold(self.b, LIMIT // 2)
        self.budget.hold(self.c, LIMIT // 2)
        self.assertEqual([self.budget.admits(connection, LARGE) for connection in (self.a, self.b, self.c)],
                         [False, True, False])
        self.budget.hold(self.b, 0)
        self.budget.hold(self.b, LIMIT)
        self.assertEqual([self.budget.admits(connection, LARGE) for connection in (self.b, self.c)], [False, True])

    def test_who_is_admitted(self):
        self.assertTrue(self.budget.admits(self.a, LIMIT + 1))      # nobody holds anything: it is the oldest
        self.budget.hold(self.a, LIMIT - 10)
        self.assertEqual([self.budget.admits(self.b, size) for size in (10, 11)], [True, False])
        self.assertTrue(self.budget.admits(self.a, LIMIT))

    def test_what_is_to_be_read_must_fit(self):
        self.budget.hold(self.a, LIMIT - 100)
        self.assertTrue(self.wait(self.b, 100))
        self.assertFalse(self.wait(self.b, 101))

    def test_room_lets_all_look_again(self):
        self.budget.hold(self.a, LIMIT)
        waits = [self.wait(self.b), self.wait(self.c)]
        self.assertEqual(waits, [[], []])
        self.budget.hold(self.a, 0)
        self.hub.turn()
        self.assertEqual(waits, [[None], [None]])

    def test_too_little_room(self):
        self.budget.hold(self.a, LIMIT)
        self.budget.hold(self.b, 100)
        waits = self.wait(self.c)
        self.budget.hold(self.b, 0)
        self.hub.turn()
        self.assertFalse(waits)
        self.budget.hold(self.a, LIMIT - LARGE)
        self.hub.turn()
        self.assertTrue(waits)

    def test_who_is_the_oldest_now_goes_on(self):
        self.budget.hold(self.a, 10)
        self.budget.hold(self.b, LIMIT)
        self.budget.hold(self.c, LIMIT)
        second, third = self.wait(self.b), self.wait(self.c)
        self.budget.hold(self.a, 0)
        self.hub.turn()
        self.assertEqual((bool(second), bool(third)), (True, False))

    def test_next_block_of_a_connection_is_a_young_one(self):
        self.budget.hold(self.a, 10)
        self.budget.hold(self.b, LIMIT)
        self.budget.hold(self.a, 0)
        self.budget.hold(self.a, 10)
        self.assertTrue(self.wait(self.b))
        self.assertFalse(self.wait(self.a))

    def test_growing_wakes_nobody(self):
        self.budget.hold(self.a, LIMIT)
        self.wait(self.b)
        self.budget.hold(self.a, LIMIT + 5)
        self.assertEqual(self.hub.ready, [])

    def test_client_that_leaves_does_not_wait_on(self):
        self.budget.hold(self.a, LIMIT)
        waits = self.wait(self.b)
        self.b.leave()
        self.assertTrue(waits)
        self.assertEqual(self.wait(self.b), [None])

    def test_waits_without_a_deadline(self):
        self.hub.connections.append(self.b)
        self.budget.hold(self.a, LIMIT)
        waits = self.wait(self.b)
        self.hub.advance(10 ** 9)
        self.assertFalse(waits)

    def test_total_is_that_of_all(self):
        self.budget.hold(self.a, 5)
        self.budget.hold(self.b, 7)
        self.budget.hold(self.a, 9)
        self.assertEqual(self.budget.total, 16)
        self.budget.hold(self.a, 0)
        self.budget.hold(self.a, 0)
        self.budget.hold(self.c, 0)
        self.assertEqual(self.budget.total, 7)
        self.budget.hold(self.b, 0)
        self.assertEqual((self.budget.total, len(self.budget.held)), (0, 0))
