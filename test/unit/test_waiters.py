"""The line of clients that wait (spec queues 4)."""

import unittest

from kestrel.waiters import Waiter, Waiters
from support.fakes import Owner


class WaitersTest(unittest.TestCase):

    def setUp(self):
        self.told = []
        self.line = Waiters()
        self.a, self.b, self.c = [Waiter(Owner(name, self.told)) for name in 'abc']

    def join(self, *waiters):
        for waiter in waiters:
            self.line.join(waiter)

    def test_woken_in_the_order_in_which_they_came(self):
        self.join(self.b, self.a, self.c)
        for _ in range(3):
            self.line.wake_one()
        self.assertEqual(self.told, ['b', 'a', 'c'])
        self.assertEqual(len(self.line), 0)

    def test_one_is_woken_and_leaves_the_line(self):
        self.join(self.a, self.b)
        self.line.wake_one()
        self.assertEqual((self.a.woken, self.b.woken), (True, False))
        self.assertEqual((self.a.dismissed, self.told, len(self.line)), (False, ['a'], 1))

    def test_nobody_to_wake(self):
        self.line.wake_one()
        self.line.dismiss_all()
        self.assertEqual((self.told, len(self.line)), ([], 0))

    def test_who_left_is_not_woken(self):
        self.join(self.a, self.b, self.c)
        self.line.leave(self.a)
        self.assertEqual(len(self.line), 2)
        self.line.wake_one()
        self.assertEqual((self.a.woken, self.told), (False, ['b']))

    def test_leaving_twice_or_after_being_woken(self):
        self.join(self.a, self.b)
        self.line.wake_one()
        self.line.leave(self.a)
        self.line.leave(self.b)
        self.line.leave(self.b)
        self.assertEqual(len(self.line), 0)

    def test_joining_again_is_the_end_of_the_line(self):
        self.join(self.a, self.b)
        self.line.wake_one()
        self.join(self.a)
        self.line.wake_one()
        self.line.wake_one()
        self.assertEqual(self.told, ['a', 'b', 'a'])

    def test_all_are_dismissed_without_being_woken(self):
        self.join(self.a, self.b)
        self.line.dismiss_all()
        self.assertEqual(self.told, ['a', 'b'])
        for waiter in (self.a, self.b):
            self.assertEqual((waiter.dismissed, waiter.woken), (True, False))
        self.assertEqual(len(self.line), 0)
        self.assertFalse(self.c.dismissed)

    def test_two_waiters_of_one_owner(self):
        owner = Owner('x', self.told)
        first, second = Waiter(owner), Waiter(owner)
        self.join(first, second)
        self.line.wake_one()
        self.assertEqual((first.woken, second.woken), (True, False))
