"""The check of the crash points sees what it is there for: logs and queues with one fault each."""

import os
import random
import struct
import tempfile
import unittest

from crash.points import Points
from crash.promises import Operation, Queue
from crash.rebuild import Machine, record_starts, split, torn_inside
from crash.recorder import Create, Cut, FolderSynced, Note, Recorder, Rename, Synced, Unlink, Write
from crash.workload import Workload

A, B, C, D = ((data, 0) for data in (b'A', b'B', b'C', b'D'))


class Log:
    """What clients did and learnt, each at the next place."""

    def __init__(self):
        self.entries = []

    def note(self, what, operation=None):
        self.entries.append((len(self.entries), Note(what, operation)))

    def begin(self, kind, *items, durable=False):
        operation = Operation(kind, b'q', list(items), durable)
        self.note('begin', operation)
        return operation

    def do(self, kind, *items, durable=False):
        self.note('end', self.begin(kind, *items, durable=durable))

    def complaints(self, *found, power_loss=False, gap=None, crash=None):
        crash = len(self.entries) if crash is None else crash
        return Queue(self.entries).complaints(crash, list(found), power_loss, gap)


class PromisesTest(unittest.TestCase):

    def setUp(self):
        self.log = Log()

    def put(self, *items, durable=False):
        for item in items:
            self.log.do('put', item, durable=durable)

    def fine(self, *found, **how):
        self.assertEqual(self.log.complaints(*found, **how), [])

    def wrong(self, words, *found, **how):
        complaints = self.log.complaints(*found, **how)
        self.assertTrue(any(words in text for text in complaints), '%r not in %r' % (words, complaints))

    # after a process crash

    def test_answered_puts(self):
        self.put(A, B)
        self.fine(A, B)
        self.wrong("'A' (put 0..1) is lost", B)
        self.wrong("'B' (put 2..3) is lost", A)

    def test_an_unanswered_put_may_be_there_or_not(self):
        self.put(A)
        self.log.begin('put', B)
        self.fine(A, B)
        self.fine(A)

    def test_a_put_that_had_not_begun(self):
        self.put(A, B)
        self.fine(A, crash=2)
        self.wrong('nobody had put that', A, B, crash=2)

    def test_twice_and_unknown(self):
        self.put(A)
        self.wrong('came twice', A, A)
        self.wrong('nobody had put that', A, (b'', 0))
        self.wrong('nobody had put that', (b'A', 32))

    def test_consumed(self):
        for kind in ('get', 'close'):
            self.log = Log()
            self.put(A, B)
            if kind == 'close':
                self.log.do('open', A)
            self.log.do(kind, A)
            self.fine(B)
            self.wrong("'A' (put 0..1) came again after an answered %s" % kind, A, B)

    def test_an_unanswered_get_may_have_happened(self):
        self.put(A, B)
        self.log.begin('get', A)
        self.fine(B)
        self.fine(A, B)
        self.wrong('is lost', A)

    def test_order_of_puts(self):
        self.put(A, B, C)
        self.wrong("was put before it", A, C, B)

    def test_overlapping_puts_may_come_in_any_order(self):
        first, second = self.log.begin('put', A), self.log.begin('put', B)
        self.log.note('end', first)
        self.log.note('end', second)
        self.fine(A, B)
        self.fine(B, A)

    def test_what_is_open_comes_first_in_the_order_in_which_it_was_opened(self):
        self.put(A, B, C)
        self.log.do('open', A)
        self.log.do('open', B)
        self.fine(A, B, C)
        self.wrong('which was opened before it', B, A, C)
        self.wrong('never open', A, C, B)

    def test_what_was_put_back_last_comes_first(self):
        self.put(A, B, C)
        for kind, item in (('open', A), ('open', B), ('abort', A), ('abort', B)):
            self.log.do(kind, item)
        self.fine(B, A, C)
        self.wrong('which was put back before it', A, B, C)

    def test_an_open_under_way(self):
        self.put(A, B)
        self.log.begin('open', A)
        self.fine(A, B)
        self.wrong('is lost', B)

    def test_flushed_and_deleted(self):
        for kind in ('flush', 'delete'):
            self.log = Log()
            self.put(A)
            self.log.do(kind)
            self.put(B)
            self.fine(B)
            self.wrong('came again after an answered %s' % kind, A, B)

    def test_a_flush_leaves_what_is_open(self):
        self.put(A, B)
        self.log.do('open', A)
        self.log.do('flush')
        self.fine(A)
        self.wrong('is lost')

    # after a power loss

    def test_a_former_moment(self):
        self.put(A, B)
        self.log.do('get', A)
        self.put(C)
        for found in ((), (A,), (A, B), (B,), (B, C)):
            self.fine(*found, power_loss=True)
        for found in ((A, B, C), (A, C), (C,)):
            self.wrong('no moment', *found, power_loss=True)

    def test_durable_answers(self):
        self.put(A)
        self.put(B, durable=True)
        self.put(C)
        self.fine(A, B, power_loss=True)
        self.wrong("'B' (put 2..3) is lost", A, power_loss=True)
        self.wrong("no moment", B, power_loss=True)
        self.log.do('close', A, durable=True)
        self.wrong("'A' (put 0..1) came again after an answered close", A, B, C, power_loss=True)

    def test_settled_and_stopped(self):
        for what in ('settled', 'stopped'):
            self.log = Log()
            self.put(A)
            self.log.note(what)
            self.put(B)
            self.fine(A, power_loss=True)
            self.wrong('no moment', power_loss=True)

    def test_a_gap_is_excused_until_something_behind_it_was_promised(self):
        self.put(A, B, C, durable=True)
        self.fine(B, C, power_loss=True, gap=5)
        self.wrong('came twice', B, B, power_loss=True, gap=5)
        self.wrong("'A' (put 0..1) is lost", B, C, power_loss=True, gap=3)

    def test_the_files_of_a_deleted_queue_go_one_after_the_other(self):
        self.put(A, B, C)
        self.log.do('get', B)
        self.log.begin('delete')
        self.fine(A, C)
        self.fine()
        self.wrong('came again after an answered get', A, B, C)
        self.fine(B, C, power_loss=True)
        self.wrong('nobody had put that', D)
        self.log.note('end', self.log.entries[-1][1].operation)
        self.wrong('came again after an answered delete', C)
        self.fine(B, C, power_loss=True)
        self.put(D, durable=True)
        self.fine(D, power_loss=True)
        self.wrong('no moment', C, D, power_loss=True)
        self.wrong("'D'", C, power_loss=True)


def write(file, offset, data):
    return Write(file, offset, data)


class MachineTest(unittest.TestCase):

    def spools(self, *calls, files=None):
        """The spools of power losses after these calls; the file 1 was there as q."""
        machine = Machine({b'q': 1}, {1: b'old'})
        for place, call in enumerate(calls):
            machine.apply(place, call)
        return [spool for _, spool, _ in machine.power_losses(random.Random(1))]

    def test_unsynced_contents_may_be_there_missing_or_torn(self):
        found = self.spools(write(1, 3, b'\x06abcd'))
        self.assertIn({b'q': b'old'}, found)
        self.assertIn({b'q': b'old\x06abcd'}, found)
        self.assertIn({b'q': b'old\x06'}, found)

    def test_an_fsync_covers_what_stood_before_it_began(self):
        calls = write(1, 3, b'\x01'), write(1, 4, b'\x01'), Synced(1, 1)
        self.assertEqual(self.spools(*calls), [{b'q': b'old\x01\x01'}, {b'q': b'old\x01'}])

    def test_names_keep_their_order(self):
        found = self.spools(Rename(b'q', b'q.5'), Create(b'q', 2))
        self.assertEqual(found, [{b'q': b'old'}, {b'q.5': b'old'}, {b'q.5': b'old', b'q': b''}])

    def test_an_fsync_of_the_folder(self):
        self.assertEqual(self.spools(Rename(b'q', b'q.5'), Create(b'q', 2), FolderSynced(b'', 1)),
                         [{b'q.5': b'old'}, {b'q.5': b'old', b'q': b''}])

    def test_an_fsync_of_a_file_does_nothing_for_its_name(self):
        found = self.spools(Create(b'r', 2), write(2, 0, b'\x01'), Synced(2, 2))
        self.assertEqual(found, [{b'q': b'old'}, {b'q': b'old', b'r': b'\x01'}])

    def test_deletions_for_a_pack_know_no_order(self):
        found = self.spools(Create(b'q~~5', 2), Rename(b'q~~5', b'q.5.pack'), Unlink(b'q'),
                            Rename(b'q.5.pack', b'q.5'))
        for expected in ({}, {b'q': b'old'}, {b'q': b'old', b'q.5': b''}, {b'q.5': b''}):
            self.assertIn(expected, found)

    def test_a_cut(self):
        self.assertEqual(self.spools(Cut(1, 1)), [{b'q': b'o'}, {b'q': b'old'}])

    def test_a_process_crash_tears_the_last_write_only(self):
        machine = Machine({b'q': 1}, {1: b''})
        for place, call in enumerate((write(1, 0, b'\x01'), write(1, 1, b'\x06abcd'))):
            machine.apply(place, call)
        found = [spool[b'q'] for _, spool, _ in machine.process_crashes()]
        self.assertEqual(found[0], b'\x01\x06abcd')
        self.assertEqual(set(found[1:]), {b'\x01\x06' + b'abcd'[:size] for size in (0, 2, 3)})

    def test_a_gap(self):
        machine = Machine({b'q': 1}, {1: b''})
        calls = (write(1, 0, b'\x01'), Rename(b'q', b'q.5'), Create(b'q', 2), write(2, 0, b'\x02'),
                 FolderSynced(b'', 3))
        for place, call in enumerate(calls):
            machine.apply(place, call)
        gaps = {spool[b'q.5'] + spool[b'q']: gap for _, spool, gap in machine.power_losses(random.Random(1))}
        self.assertEqual(gaps, {b'': None, b'\x02': 0, b'\x01': None, b'\x01\x02': None})

    def test_interesting_bytes_of_a_write(self):
        add = b'\x02' + struct.pack('<iqq', 20, 1, 0) + b'data'
        self.assertEqual(record_starts(add + b'\x01' + add), [0, len(add), len(add) + 1])
        self.assertTrue({1, 5, 21, 24, 25, 26} <= set(torn_inside(add + b'\x01' + add)))


class PlantedTest(unittest.TestCase):
    """Faults in the log of a real workload: as if the server had done less than it did."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        workload = Workload(random.Random(1))
        try:
            workload.do_all(600)
        finally:
            workload.close()
        self.recorder = workload.recorder
        self.queues = workload.queues

    def complaints(self, forget=lambda entry: False, lie=lambda entry: entry):
        """... when some entries are forgotten and others replaced."""
        recorder = self.recorder
        recorder.log = [Note('nothing', None) if forget(entry) else lie(entry) for entry in recorder.log]
        folder = os.fsencode(self.folder.name) + b'/spool'
        points = Points(folder, random.Random(1), recorder, 0.02, 0.02, 0.1, 4)
        points.check_all()
        self.assertGreater(points.spools, 100)
        return points.complaints

    def test_nothing(self):
        self.assertEqual(self.complaints(), [])

    def test_fsyncs_of_files(self):
        self.assertGreater(len(self.complaints(lambda entry: isinstance(entry, Synced))), 3)

    def test_fsyncs_of_names(self):
        self.assertGreater(len(self.complaints(lambda entry: isinstance(entry, FolderSynced))), 3)

    def test_removals(self):
        def shorten(entry):
            return entry._replace(data=b'') if isinstance(entry, Write) and entry.data == b'\x01' else entry
        self.assertGreater(len(self.complaints(lie=shorten)), 3)

    def test_every_queue_has_a_log(self):
        logs = split(self.recorder)
        self.assertEqual(sorted(logs), sorted(self.queues))
        for names, files, entries in logs.values():
            self.assertTrue(any(isinstance(entry, Write) for _, entry in entries))
            self.assertEqual((names, files), ({}, {}))


class RecorderTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.recorder = Recorder(os.fsencode(folder.name), os.fstat)
        self.path = os.fsencode(folder.name) + b'/q'

    def test_what_is_noted(self):
        recorder = self.recorder
        file = recorder.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        recorder.writev(file, (b'ab', b'c'))
        copy = recorder.dup(file)
        recorder.close(file)
        recorder.write(copy, b'd')
        recorder.rename(self.path, self.path + b'.1')
        recorder.fsync(copy)
        recorder.ftruncate(copy, 2)
        recorder.close_all()
        with self.assertRaises(OSError):
            os.fstat(copy)
        recorder.unlink(self.path + b'.1')
        self.assertEqual(recorder.log, [
            Create(b'q', 1), Write(1, 0, b'abc'), Write(1, 3, b'd'), Rename(b'q', b'q.1'), Synced(1, 4),
            Cut(1, 2), Unlink(b'q.1')])

    def test_what_others_do_during_an_fsync_is_not_covered(self):
        file = self.recorder.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        self.recorder.write(file, b'before')
        self.recorder._fsync = lambda descriptor: self.recorder.write(file, b'meanwhile')
        self.recorder.fsync(file)
        self.assertEqual(self.recorder.log[-2:], [Write(1, 6, b'meanwhile'), Synced(1, 2)])
        self.recorder.close_all()

    def test_calls_that_it_does_not_know(self):
        with self.assertRaises(AssertionError):
            self.recorder.link
