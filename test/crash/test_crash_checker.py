"""The check of the crash test sees what it is there for: invented histories with one fault each."""

import unittest

from crash.history import History, Item, pack, unpack


class Invented:
    """A history whose clock goes on by one with each request and each answer."""

    def __init__(self):
        self._time = 0
        self.history = History(self._tick)

    def _tick(self):
        self._time += 1
        return self._time

    def begin(self, kind, *items, client=1, unknown=0):
        return self.history.begin(kind, 'q', client, items, unknown)

    def end(self, operation, *items, refused=False):
        self.history.finish(operation, items or None, refused)

    def do(self, kind, *items, client=1):
        """A request that is answered at once."""
        operation = self.begin(kind, *items, client=client)
        self.end(operation, *items)
        return operation

    def complaints(self, *drained):
        return self.history.complaints({'q': list(drained)})


A, B, C, D = (Item(7, 1, number) for number in range(4))
OTHER = Item(7, 2, 0)


class CheckerTest(unittest.TestCase):

    def setUp(self):
        self.clients = Invented()

    def put(self, *items):
        for item in items:
            self.clients.do('put', item)

    def assert_fine(self, *drained):
        self.assertEqual(self.clients.complaints(*drained), [])

    def assert_complaint(self, words, *drained):
        complaints = self.clients.complaints(*drained)
        self.assertTrue(any(words in text for text in complaints), f'{words!r} not in {complaints}')

    # lost

    def test_all_there(self):
        self.put(A, B, C)
        self.assert_fine(A, B, C)

    def test_lost(self):
        self.put(A, B, C)
        self.assert_complaint('1 answered puts are lost', A, C)

    def test_put_in_flight_may_come_or_not(self):
        self.put(A)
        self.clients.begin('put', B)
        self.assert_fine(A)
        self.assert_fine(A, B)

    def test_get_in_flight_may_take_one(self):
        self.put(A, B, C)
        self.clients.begin('get')
        self.assert_fine(B, C)
        self.assert_complaint('2 answered puts are lost', C)

    def test_get_in_flight_takes_the_head(self):
        self.put(A, B, C)
        self.clients.begin('get')
        self.assert_complaint('is lost, though', A, C)

    def test_open_in_flight_takes_nothing(self):
        self.put(A, B)
        self.clients.begin('open', unknown=1)
        self.assert_complaint('1 answered puts are lost', B)

    def test_open_read_comes_back(self):
        self.put(A, B)
        self.clients.do('open', A)
        self.assert_fine(A, B)
        self.assert_complaint('1 answered puts are lost', B)

    def test_confirm_in_flight_may_take_its_item(self):
        self.put(A, B)
        self.clients.do('open', A)
        self.clients.begin('close', A)
        self.assert_fine(A, B)
        self.assert_fine(B)
        self.assert_complaint('lost', A)

    def test_abort_in_flight_takes_nothing(self):
        self.put(A, B)
        self.clients.do('open', A)
        self.clients.begin('abort', A)
        self.assert_complaint('lost', B)

    def test_refused_put(self):
        self.put(A)
        operation = self.clients.begin('put', B)
        self.clients.end(operation, refused=True)
        self.assert_fine(A)
        self.assert_complaint('its put was refused', A, B)

    # doubled

    def test_drained_twice(self):
        self.put(A, B)
        self.assert_complaint('drained 2 times', A, A, B)

    def test_comes_again_after_a_get(self):
        self.put(A, B)
        self.clients.do('get', A)
        self.assert_fine(B)
        self.assert_complaint('came again after an answered get', A, B)

    def test_comes_again_after_a_confirm(self):
        self.put(A, B)
        self.clients.do('open', A)
        self.clients.do('close', A)
        self.assert_fine(B)
        self.assert_complaint('came again after an answered close', A, B)

    def test_two_gets_of_one_item(self):
        self.put(A)
        self.clients.do('get', A)
        self.clients.do('get', A, client=2)
        self.assert_complaint('consumed 2 times')

    def test_handed_out_after_a_confirm(self):
        self.put(A)
        self.clients.do('open', A)
        self.clients.do('close', A)
        self.clients.do('open', A, client=2)
        self.assert_complaint('handed out after an answered close')

    def test_open_at_two_clients(self):
        self.put(A)
        self.clients.do('open', A)
        self.clients.do('open', A, client=2)
        self.assert_complaint('handed out while it was open at client 1', A)

    def test_open_again_after_an_abort_or_a_disconnect(self):
        self.put(A)
        self.clients.do('open', A)
        self.clients.do('abort', A)
        self.clients.do('open', A, client=2)
        self.clients.begin('disconnect', A, client=2)
        self.clients.do('open', A, client=3)
        self.assert_fine(A)

    def test_item_of_a_former_round(self):
        self.put(A)
        self.assert_complaint('not put here', A, Item(6, 1, 0))

    # wiped

    def test_flush(self):
        self.put(A, B)
        self.clients.do('flush')
        self.put(C)
        self.assert_fine(C)
        self.assert_complaint('came again after an answered flush', B, C)
        self.assert_complaint('lost')

    def test_flush_leaves_open_reads(self):
        self.put(A, B)
        self.clients.do('open', A)
        self.clients.do('flush')
        self.assert_fine(A)
        self.assert_complaint('lost')

    def test_open_in_flight_may_save_one_from_a_flush(self):
        self.put(A, B)
        self.clients.begin('open', client=2, unknown=1)
        self.clients.do('flush')
        self.assert_fine(A)
        self.assert_complaint('came again after an answered flush', A, B)

    def test_flush_in_flight(self):
        self.put(A, B)
        self.clients.begin('flush')
        self.assert_fine()
        self.assert_fine(B)

    def test_put_beside_a_flush(self):
        flush = self.clients.begin('flush', client=2)
        self.put(A)
        self.clients.end(flush)
        self.assert_fine()
        self.assert_fine(A)

    def test_delete_takes_open_reads_along(self):
        self.put(A, B)
        self.clients.do('open', A)
        self.clients.do('delete')
        self.assert_fine()
        self.assert_complaint('came again after an answered delete', A)

    # reordered

    def test_order_of_a_producer(self):
        self.put(A, B, C)
        self.clients.do('put', OTHER)
        self.assert_fine(A, B, C, OTHER)
        self.assert_fine(OTHER, A, B, C)
        self.assert_complaint('drained after', A, C, B, OTHER)

    def test_open_items_go_to_the_head(self):
        self.put(A, B, C, D)
        self.clients.do('open', A)
        self.clients.do('open', B)
        self.assert_fine(A, B, C, D)
        self.assert_complaint('went back to the head', A, C, B, D)

    def test_what_a_client_held_comes_in_its_order(self):
        self.put(A, B, C)
        self.clients.do('open', A)
        self.clients.do('open', B, client=2)
        self.clients.do('open', C)
        self.assert_fine(A, B, C)
        self.assert_fine(A, C, B)       # which client goes first is free
        self.assert_complaint('client 1 held', C, B, A)

    def test_what_was_put_back_before_is_not_held(self):
        self.put(A, B)
        self.clients.do('open', A)
        self.clients.do('open', B)
        self.clients.do('abort', A)
        self.assert_fine(B, A)

    def test_open_in_flight_may_put_one_at_the_head(self):
        self.put(A, B, C, D)
        self.clients.do('open', A)
        self.clients.do('abort', A)
        self.clients.do('open', B)
        self.clients.begin('open', client=2, unknown=1)
        self.assert_fine(A, C, B, D)

    def test_order_of_gets(self):
        self.put(A, B, C)
        self.clients.do('get', B)
        self.clients.do('get', A)
        self.assert_complaint('client 1 got', C)


class DataTest(unittest.TestCase):

    def test_round_trip(self):
        for size in (0, 12, 20, 1000):
            self.assertEqual(unpack(pack(Item(1, 2, 345), size)), Item(1, 2, 345))
        self.assertEqual(len(pack(Item(1, 2, 345), 1000)), 1000)

    def test_damage(self):
        data = pack(Item(1, 2, 3), 100)
        for bad in (data[:-1], data + b'x', data[:50] + b'?' + data[51:], b'', b'1 2 3', data[1:]):
            with self.subTest(data=bad), self.assertRaises(ValueError):
                unpack(bad)
