"""Records that found no room on the disk (D10, D64)."""

import errno
import os
import unittest

from kestrel.journal import pending
from kestrel.journal.pending import Pending
from kestrel.journal.record import CONFIRM_REMOVE, REMOVE_RECORD, REMOVE_TENTATIVE_XID, xid_record
from support.clock import MovedClock
from support.fakes import make_queue
from support.spool import SpoolTest, readable


class Tail:
    """The end of a file. ``room``: how many bytes it still takes; a piece fits whole or not at all."""

    def __init__(self, room=None):
        self.room = room
        self.pieces = []

    def append(self, records):
        if self.room is not None:
            if len(records) > self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.room -= len(records)
        self.pieces.append(bytes(records))

    def shown(self):
        return readable(b''.join(self.pieces))


def opened(xid):
    return xid_record(REMOVE_TENTATIVE_XID, xid)


class PendingTest(unittest.TestCase):

    def kept(self, *records):
        kept = Pending(b'')
        for record in records:
            kept.keep(record)
        return kept

    def test_all_at_once_in_order(self):
        kept = self.kept(opened(1), REMOVE_RECORD, xid_record(CONFIRM_REMOVE, 1))
        self.assertEqual(kept.size, 11)
        tail = Tail()
        kept.write(tail.append)
        self.assertEqual((tail.shown(), len(tail.pieces), kept.size), ('T1 R C1', 1, 0))

    def test_what_a_start_could_not_write(self):
        kept = Pending(xid_record(CONFIRM_REMOVE, 3))
        kept.keep(REMOVE_RECORD)
        tail = Tail()
        kept.write(tail.append)
        self.assertEqual(tail.shown(), 'C3 R')

    def test_as_many_whole_records_as_there_is_room_for(self):
        for room in range(0, 27):
            kept = self.kept(*[opened(xid) for xid in range(1, 6)], REMOVE_RECORD)
            tail = Tail(room)
            if room == 26:
                kept.write(tail.append)
            else:
                with self.assertRaises(OSError):
                    kept.write(tail.append)
            written = len(b''.join(tail.pieces))
            self.assertEqual(written, 26 if room == 26 else room // 5 * 5, 'room %d' % room)
            tail.room = None
            kept.write(tail.append)
            self.assertEqual(tail.shown(), 'T1 T2 T3 T4 T5 R')

    def test_in_pieces_that_end_with_a_record(self):
        kept = self.kept(*[opened(xid) for xid in range(1, 20001)])
        tail = Tail()
        kept.write(tail.append)
        self.assertEqual([len(piece) for piece in tail.pieces], [65535, 34465])
        self.assertEqual(tail.shown(), ' '.join('T%d' % xid for xid in range(1, 20001)))

    def test_held(self):
        kept = self.kept(REMOVE_RECORD)
        kept.held += 1
        tail = Tail()
        with self.assertRaises(OSError) as raised:
            kept.write(tail.append)
        self.assertEqual((raised.exception.errno, tail.pieces), (errno.ENOSPC, []))
        kept.held -= 1
        kept.write(tail.append)
        self.assertEqual(tail.shown(), 'R')

    def test_the_first_ones_become_void(self):
        kept = self.kept(opened(1), REMOVE_RECORD, opened(2))
        kept.drop(6)
        tail = Tail()
        kept.write(tail.append)
        self.assertEqual(tail.shown(), 'T2')

    def test_all_become_void(self):
        kept = self.kept(opened(1))
        kept.clear()
        tail = Tail()
        kept.write(tail.append)
        self.assertEqual((kept.size, tail.pieces), (0, []))

    def test_full(self):
        kept = Pending(bytes([REMOVE_RECORD[0]]) * (pending.LIMIT - 1))
        self.assertFalse(kept.is_full())
        kept.keep(REMOVE_RECORD)
        self.assertTrue(kept.is_full())


class HeldTest(SpoolTest):
    """A rewrite of an emptied queue holds them, because it makes them void."""

    def test_two_rewrites_at_a_time(self):
        """One that was given up may end after the next has begun: what that one holds stays held."""
        journal = self.journal()
        make_queue(MovedClock(), journal)
        self.system.room = 0
        journal.remove()
        self.system.room = None
        first = journal.hold_pending()
        second = journal.hold_pending()
        self.assertEqual((first, second), (1, 1))
        journal.release_pending(0)
        self.hub.advance(1)
        self.assertEqual((journal.is_pending(), self.read()), (True, b''))
        journal.release_pending(second)
        self.assertFalse(journal.is_pending())
        self.hub.advance(1)
        self.assertEqual(self.read(), b'')
