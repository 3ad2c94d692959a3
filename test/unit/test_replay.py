"""What records do to a queue (spec journal 3 and 4, D39, D65)."""

import unittest

from kestrel.item import Item
from kestrel.journal import record
from kestrel.journal.record import RecordReader, addx_header, flags_header, xid_record
from kestrel.journal.replay import Replay
from support.clock import THEN
from support.spool import Bytes

NOW = THEN + 60000


def add(text):
    return addx_header(Item(text, THEN)) + text


def with_xid(op, xid, text):
    return bytes([op]) + xid.to_bytes(4, 'little', signed=True) + add(text)[1:]


def open_(xid):
    return xid_record(record.REMOVE_TENTATIVE_XID, xid)


def unremove(xid):
    return xid_record(record.UNREMOVE, xid)


def confirm(xid):
    return xid_record(record.CONFIRM_REMOVE, xid)


def save(xid):
    return xid_record(record.SAVE_XID, xid)


FOUR = add(b'a') + add(b'b') + add(b'c') + add(b'd')
R = b'\x01'
T = b'\x03'


def replayed(*files):
    """All of it fits into memory: there is no file to go back to."""
    replay = Replay(1 << 20, None)
    for data in files:
        answer = replay.run(RecordReader(Bytes(data), NOW), [], NOW)
    return replay, answer


class ReplayCase(unittest.TestCase):

    def check(self, data, items, opened=None, counter=None):
        replay, answer = replayed(*data) if isinstance(data, tuple) else replayed(data)
        self.assertEqual(answer, record.END)
        self.assertEqual([item.data for item in replay.items], items)
        self.assertEqual((replay.count, replay.bytes), (len(items), sum(map(len, items))))
        self.assertEqual((replay.mem_bytes, replay.behind, replay.reader), (replay.bytes, 0, None))
        if opened is not None:
            self.assertEqual({xid: item.data for xid, item in replay.opened.items()}, opened)
        if counter is not None:
            self.assertEqual(replay.counter, counter)
        return replay


class ReplayTest(ReplayCase):

    def test_nothing(self):
        self.check(b'', [], {}, 0)

    def test_add_of_starling(self):
        data = bytes.fromhex('00 07 00 00 00  80 7e 8b 52  63 61 74')
        item = self.check(data, [b'cat']).items[0]
        self.assertEqual((item.add_time, item.expiry), (NOW, 1384873600000))

    def test_additions_go_to_the_tail(self):
        flagged = Item(b'c', THEN, 0, 32, 2)
        replay = self.check(add(b'a') + with_xid(7, 5, b'bb') + flags_header(flagged) + b'c' + add(b''),
                            [b'a', b'bb', b'c', b''], {}, 0)
        self.assertEqual([item.xid for item in replay.items], [0, 5, 0, 0])
        self.assertEqual((replay.items[2].flags, replay.items[2].deliveries), (32, 2))

    def test_expired_items_stay(self):
        expired = Item(b'x', 1000, 2000)
        self.check(addx_header(expired) + b'x' + add(b'y') + R, [b'y'])

    def test_remove(self):
        self.check(add(b'a') + add(b'b') + R, [b'b'])

    def test_remove_from_an_empty_queue_does_nothing(self):
        self.check(R + add(b'x') + R + R + add(b'y'), [b'y'])

    def test_open(self):
        self.check(add(b'a') + add(b'b') + open_(1), [b'b'], {1: b'a'}, 1)

    def test_open_on_an_empty_queue_sets_the_counter_alone(self):
        self.check(open_(9) + add(b'a'), [b'a'], {}, 9)

    def test_save_xid(self):
        self.check(open_(9) + save(-4), [], {}, -4)

    def test_unremove_goes_to_the_head_and_counts(self):
        replay = self.check(add(b'a') + add(b'b') + open_(1) + unremove(1), [b'a', b'b'], {}, 1)
        self.assertEqual([item.deliveries for item in replay.items], [1, 0])

    def test_unknown_xids(self):
        self.check(add(b'a') + add(b'b') + open_(1) + unremove(2) + confirm(3), [b'b'], {1: b'a'}, 1)

    def test_confirm(self):
        self.check(add(b'a') + add(b'b') + open_(1) + confirm(1), [b'b'], {}, 1)

    def test_continue(self):
        self.check(add(b'a') + add(b'b') + open_(1) + with_xid(8, 1, b'a2'), [b'b', b'a2'], {}, 1)

    def test_continue_of_an_unknown_xid_adds(self):
        self.check(add(b'a') + with_xid(8, 5, b'n'), [b'a', b'n'], {}, 0)

    def test_files_are_one_continuous_state(self):
        self.check((add(b'a') + add(b'b') + open_(1), R + add(b'c'), confirm(1) + add(b'd')),
                   [b'c', b'd'], {}, 1)

    def test_answers_to_what_is_broken(self):
        self.assertEqual(replayed(add(b'a') + add(b'b')[:-1])[1], record.TORN)
        self.assertEqual(replayed(add(b'a') + b'\xff')[1], record.IMPOSSIBLE)


class OldRemovalsTest(ReplayCase):
    """Op 3 (D39)."""

    def test_takes_the_next_xid(self):
        self.check(add(b'a') + add(b'b') + add(b'c') + T + T, [b'c'], {1: b'a', 2: b'b'}, 2)

    def test_next_after_the_saved_one_that_is_not_open(self):
        self.check(save(5) + add(b'a') + T + save(5) + add(b'b') + T, [], {6: b'a', 7: b'b'}, 7)

    def test_own_xid_of_the_item(self):
        self.check(save(8) + with_xid(7, 3, b'a') + T + add(b'b') + T, [], {3: b'a', 9: b'b'}, 9)

    def test_on_an_empty_queue(self):
        self.check(save(5) + T + add(b'a') + T, [], {6: b'a'}, 6)

    def test_confirmed_and_put_back(self):
        self.check(add(b'a') + add(b'b') + T + T + confirm(1) + unremove(2), [b'b'], {})


class BackOutTest(ReplayCase):

    def test_highest_xid_first(self):
        replay = self.check(FOUR + open_(2) + open_(-7) + open_(1), [b'd'])
        self.assertEqual(replay.back_out(), [2, 1, -7])
        self.assertEqual([item.data for item in replay.items], [b'b', b'c', b'a', b'd'])
        self.assertEqual(replay.bytes, 4)
        self.assertEqual([item.deliveries for item in replay.items], [1, 1, 1, 0])
        self.assertEqual((replay.opened, replay.counter), ({}, 1))

    def test_nothing_open(self):
        self.assertEqual(replayed(add(b'a'))[0].back_out(), [])

    def check_nothing_lost(self, data, items):
        """Backed out once, and again with the records written then."""
        replay, _ = replayed(data)
        xids = replay.back_out()
        self.assertEqual(sorted(item.data for item in replay.items), items)
        again, _ = replayed(data + b''.join(map(unremove, xids)))
        self.assertEqual([item.data for item in again.items], [item.data for item in replay.items])
        self.assertEqual(again.back_out(), [])

    def test_the_same_xid_twice(self):
        self.check_nothing_lost(add(b'a') + add(b'b') + open_(1) + open_(1) + unremove(1), [b'a', b'b'])
        self.check_nothing_lost(add(b'a') + add(b'b') + open_(1) + open_(1), [b'a', b'b'])

    def test_the_same_xid_twice_and_its_free_one_is_used_and_confirmed(self):
        self.check_nothing_lost(FOUR + open_(1) + open_(1) + open_(2) + confirm(2), [b'a', b'b', b'd'])

    def test_the_same_xid_twice_and_a_stray_confirm_of_its_free_one(self):
        self.check_nothing_lost(add(b'a') + add(b'b') + open_(1) + open_(1) + confirm(2), [b'a', b'b'])

    def test_the_same_xid_many_times(self):
        self.check_nothing_lost(FOUR + open_(1) * 4, [b'a', b'b', b'c', b'd'])

    def test_the_same_own_xid_twice(self):
        self.check_nothing_lost(with_xid(7, 3, b'a') + with_xid(7, 3, b'b') + T + T, [b'a', b'b'])
