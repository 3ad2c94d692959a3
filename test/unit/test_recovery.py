"""What a start makes of the spool (spec journal 6 and 7, D11, D12, D64)."""

import errno
import os
import random

from kestrel.errors import StartError
from kestrel.item import Item
from kestrel.journal import recovery
from kestrel.journal.record import CONFIRM_REMOVE, UNREMOVE, addition, addx_header, xid_record
from support.clock import THEN
from support.spool import SpoolTest

EXAMPLE = bytes.fromhex("""
    02 11 00 00 00 80 35 af 70 42 01 00 00 00 00 00 00 00 00 00 00 61
    02 12 00 00 00 81 35 af 70 42 01 00 00 00 00 00 00 00 00 00 00 62 62
    09 01 00 00 00
    09 02 00 00 00
    06 02 00 00 00
    02 13 00 00 00 82 35 af 70 42 01 00 00 00 00 00 00 00 00 00 00 63 63 63
    01
    02 11 00 00 00 83 35 af 70 42 01 00 00 00 00 00 00 00 00 00 00 64
""")
BACK_OUT = bytes.fromhex('05 01 00 00 00')


def add(text):
    return addx_header(Item(text, THEN)) + text


def open_(xid):
    return xid_record(9, xid)


class RecoveryTest(SpoolTest):

    def scan(self):
        return recovery.scan(self.disk, self.spool, self.logger)

    def recover(self, name=b'q', max_memory_size=1 << 27):
        return recovery.recover(self.disk, self.clock, self.logger, self.scan()[name], max_memory_size)

    def items(self, recovered):
        data = [item.data for item in recovered.items]
        self.assertEqual((recovered.count, recovered.bytes), (len(data), sum(map(len, data))))
        self.assertEqual((recovered.mem_bytes, recovered.behind), (recovered.bytes, 0))
        self.assertIsNone(recovered.reader)
        return data

    def sizes(self, recovered):
        """{name: its length as the server knows it} of all files, the current one last."""
        return {os.path.basename(file.path).decode(): file.size for file in recovered.files}

    def start_fails(self, *parts):
        with self.assertRaises(StartError) as caught:
            self.recover()
        for part in parts:
            self.assertIn(part, str(caught.exception))
        self.assertNotIn('\n', str(caught.exception))


class ScanTest(RecoveryTest):

    def test_what_cannot_be_looked_at_is_a_stray(self):
        self.write('q', b'')
        (self.folder / 'loop').symlink_to('loop')
        self.assertEqual(list(self.scan()), [b'q'])
        self.assertEqual(self.log.lines, [
            'WARNING %s/loop is not a journal file, it is left alone' % self.folder])

    def test_strays_are_left_alone_with_one_warning_each(self):
        for name in ('q', 'q.bak', '.status', 'q.12x'):
            self.write(name, b'keep')
        (self.folder / 'lost+found').mkdir()
        (self.folder / '.corrupt').mkdir()
        before = self.files()
        self.assertEqual(list(self.scan()), [b'q'])
        self.assertEqual(self.files(), before)
        self.assertEqual(sorted(self.log.lines), [
            'WARNING %s/%s is not a journal file, it is left alone' % (self.folder, name)
            for name in ('.status', 'lost+found', 'q.12x', 'q.bak')])

    def test_a_name_that_is_no_utf8(self):
        self.write(os.fsdecode(b'\xe9'), b'')
        self.assertEqual(self.scan(), {})
        self.assertEqual(self.log.lines, [
            'WARNING %s/\\xe9 is not a journal file, it is left alone' % self.folder])

    def test_names_in_utf8_whatever_the_locale(self):
        (self.folder / os.fsdecode(b'\xc3\xa9')).write_bytes(add(b'1'))
        self.assertEqual(self.items(self.recover(b'\xe9')), [b'1'])

    def test_temporary_files_are_deleted(self):
        for name in ('q', 'q~~123', 'other~~5'):
            self.write(name, b'')
        self.assertEqual(list(self.scan()), [b'q'])
        self.assertEqual(self.files(), ['q'])

    def test_the_names_are_made_durable(self):
        self.scan()
        self.assertEqual(self.system.count('fsync'), 1)

    def test_failures(self):
        self.system.faults['fsync'] = errno.EIO
        with self.assertRaisesRegex(StartError, r'^cannot read the spool .*: Input/output error: check the'):
            self.scan()
        self.system.faults.clear()
        self.write('q~~1', b'')
        self.system.faults['unlink'] = errno.EROFS
        with self.assertRaisesRegex(StartError, 'Read-only file system: mount .* read-write'):
            self.scan()


class RecoverTest(RecoveryTest):

    def test_example(self):
        self.assertEqual(len(EXAMPLE), 107)
        self.write('q', EXAMPLE)
        recovered = self.recover()
        self.assertEqual(self.read(), EXAMPLE + BACK_OUT)
        self.assertEqual(self.items(recovered), [b'a', b'd'])
        self.assertEqual((recovered.bytes, recovered.counter, recovered.pending), (2, 2, b''))
        self.assertEqual((self.sizes(recovered), recovered.last_ms), ({'q': 112}, 0))
        self.assertEqual(self.files(), ['q'])
        self.assertEqual(self.log.lines, [])

    def test_a_second_start_changes_nothing(self):
        self.write('q', EXAMPLE)
        self.recover()
        self.assertEqual(self.items(self.recover()), [b'a', b'd'])
        self.assertEqual(self.read(), EXAMPLE + BACK_OUT)

    def test_open_reads_come_back_in_the_order_of_their_xids(self):
        self.write('q', add(b'a') + add(b'b') + add(b'c') + open_(1) + open_(2))
        self.assertEqual(self.items(self.recover()), [b'a', b'b', b'c'])
        self.assertEqual(self.records(), 'A[a] A[b] A[c] T1 T2 U2 U1')

    def test_what_was_put_back_too_often_stays_open(self):
        # D18; each UNREMOVE counts, and an op 10 brings its count with it
        old = Item(b'b', THEN, 0, 0, 2)
        data = (add(b'a') + addition(old, True) + add(b'c') + open_(1) + xid_record(5, 1) + open_(2) + open_(3)
                + open_(4))
        self.write('q', data)
        files = self.scan()[b'q']
        recovered = recovery.recover(self.disk, self.clock, self.logger, files, 1 << 27, 3)
        self.assertEqual(self.items(recovered), [b'a', b'c'])
        self.assertEqual([(xid, item.data) for xid, item in recovered.opened.items()], [(3, b'b')])
        self.assertEqual(self.read(), data + xid_record(5, 4) + xid_record(5, 2))
        self.assertEqual([item.deliveries for item in recovered.items], [2, 1])
        recovered = self.recover()
        self.assertEqual((self.items(recovered), recovered.opened), ([b'b', b'a', b'c'], {}))

    def test_several_files_in_order_of_their_numbers(self):
        self.write('q.100', add(b'c') + b'\x01')
        self.write('q.9', add(b'a') + add(b'b') + open_(1))
        self.write('q', add(b'd'))
        recovered = self.recover()
        self.assertEqual(self.items(recovered), [b'a', b'c', b'd'])
        self.assertEqual(list(self.sizes(recovered).items()), [('q.9', 49), ('q.100', 23), ('q', 27)])
        self.assertEqual([file.archived for file in recovered.files], [True, True, False])
        self.assertEqual(recovered.last_ms, 100)
        self.assertEqual(self.records('q'), 'A[d] U1')
        self.assertEqual(self.records('q.9'), 'A[a] A[b] T1')

    def test_a_missing_current_file_is_created(self):
        self.write('q.100', add(b'a'))
        recovered = self.recover()
        self.assertEqual((self.items(recovered), self.sizes(recovered)), ([b'a'], {'q.100': 22, 'q': 0}))
        self.assertEqual(self.files(), ['q', 'q.100'])

    def test_packs(self):
        for name, data in [('q.100', add(b'p1')), ('q.150', add(b'never')), ('q.150.pack', add(b'p2')),
                           ('q', add(b'p3')), ('q.200', add(b'late'))]:
            self.write(name, data)
        self.assertEqual(self.items(self.recover()), [b'p2', b'late', b'p3'])
        self.assertEqual(self.files(), ['q', 'q.150', 'q.200'])

    def test_the_folder_is_synced_after_each_change_of_names(self):
        for name in ('q', 'q.100', 'q.150.pack', 'q.200.pack'):
            self.write(name, b'')
        files = self.scan()[b'q']
        self.system.calls.clear()
        recovery.recover(self.disk, self.clock, self.logger, files, 1 << 27)
        steps = [call[0] for call in self.system.calls if call[0] in ('unlink', 'rename', 'fsync')]
        self.assertEqual(steps, ['unlink', 'fsync', 'rename', 'fsync'] * 2)

    def test_a_crash_between_the_steps_of_a_pack(self):
        for step in range(4):
            for name, data in [('q.100', add(b'old')), ('q.150', add(b'old2')), ('q.150.pack', add(b'new')),
                               ('q', add(b'now'))]:
                self.write(name, data)
            unlink, done = self.system.unlink, []

            def failing(path):
                if len(done) >= step:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                done.append(path)
                unlink(path)
            self.system.unlink = failing
            if step < 2:
                self.start_fails('cannot put in place the packed file', 'q.150.pack')
            elif step == 2:
                self.system.faults['rename'] = errno.EIO
                self.start_fails('q.150.pack')
                del self.system.faults['rename']
            self.system.unlink = unlink
            self.assertEqual(self.items(self.recover()), [b'new', b'now'])

    def test_starling(self):
        self.write('q.1384870000',
                   bytes.fromhex('00 05 00 00 00 00 00 00 00 61  00 05 00 00 00 00 00 00 00 62'))
        self.write('q', bytes.fromhex('01 00 05 00 00 00 80 7e 8b 52 63'))
        recovered = self.recover()
        self.assertEqual([(item.data, item.add_time, item.expiry) for item in recovered.items],
                         [(b'b', THEN, 0), (b'c', THEN, 1384873600000)])
        journal = self.journal(recovered=recovered)
        journal.remove_tentative(1)
        journal.add(Item(b'd', THEN))
        self.assertEqual(self.records(), 'R a[c] T1 A[d]')
        self.assertEqual(self.files(), ['q', 'q.1384870000'])

    def test_no_room_for_the_back_out(self):
        self.write('q', EXAMPLE + open_(-7))
        self.system.room = 8
        recovered = self.recover()
        self.assertEqual(self.items(recovered), [b'd', b'a'])
        self.assertEqual(self.sizes(recovered), {'q': 112})
        self.assertEqual(recovered.pending, BACK_OUT + xid_record(5, -7))
        self.assertEqual(self.read(), EXAMPLE + open_(-7))
        journal = self.journal(recovered=recovered)
        journal.remove()
        self.system.room = None
        self.hub.advance(1)
        self.assertTrue(self.records().endswith(' T-7 U1 U-7 R'))

    def test_no_room_for_a_missing_current_file(self):
        self.write('q.100', add(b'a') + open_(1))
        real = self.system.open

        def full(path, flags, *mode):
            if flags & os.O_CREAT:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(path, flags, *mode)
        self.system.open = full
        recovered = self.recover()
        self.assertEqual((self.items(recovered), recovered.pending), ([b'a'], BACK_OUT))
        self.assertEqual(self.sizes(recovered), {'q.100': 27, 'q': 0})
        self.system.open = real
        journal = self.journal(recovered=recovered)
        journal.add(Item(b'b', THEN))
        self.assertEqual(self.records(), 'U1 A[b]')

    def test_io_errors_end_the_start(self):
        self.write('q', EXAMPLE)
        self.system.faults['write'] = errno.EIO
        self.start_fails('cannot write to', 'q: Input/output error: check')
        self.system.faults = {'pread': errno.EIO}
        self.start_fails('cannot read', 'q: Input/output error: check')
        self.system.faults = {'open': errno.EACCES}
        with self.assertRaises(StartError):
            self.recover()

    def test_a_current_file_that_cannot_be_written_ends_the_start(self):
        self.write('q', b'\x01')
        real = self.system.open

        def read_only(path, flags, *mode):
            if flags & (os.O_WRONLY | os.O_RDWR):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            return real(path, flags, *mode)
        self.system.open = read_only
        self.start_fails('q: Read-only file system: mount the file system of the spool read-write')


class MemoryTest(RecoveryTest):
    """What does not fit into memory is left on disk (spec journal 9)."""

    def drained(self, recovered):
        """All that waits, in order: what is in memory, then what is read back."""
        data = [item.data for item in recovered.items]
        self.assertEqual(recovered.mem_bytes, sum(map(len, data)))
        self.assertEqual(len(data) + recovered.behind, recovered.count)
        if recovered.reader is None:
            self.assertEqual(recovered.behind, 0)
        while len(data) < recovered.count:
            item = recovered.reader.next()
            if item is None:
                self.assertIsNotNone(recovered.reader.left, 'the end, and not all was there')
            else:
                data.append(item.data)
        self.assertEqual(recovered.bytes, sum(map(len, data)))
        return data

    def test_memory_holds_as_much_as_it_may(self):
        self.write('q.5', add(b'aaa') + add(b'bbb'))
        self.write('q', add(b'ccc') + add(b'ddd') + b'\x01')
        for most, in_memory in ((1, 1), (3, 1), (4, 2), (6, 2), (7, 3), (100, 3)):
            recovered = self.recover(max_memory_size=most)
            self.assertEqual((len(recovered.items), recovered.count, recovered.bytes), (in_memory, 3, 9),
                             most)
            self.assertEqual(self.drained(recovered), [b'bbb', b'ccc', b'ddd'])

    def test_what_moves_up_comes_from_where_it_is(self):
        self.write('q.5', add(b'1') + add(b'2') + add(b'3'))
        self.write('q.6', b'')
        self.write('q.7', b'\x01\x01' + add(b'4'))
        self.write('q', open_(1) + add(b'5') + b'\x01')
        recovered = self.recover(max_memory_size=1)
        self.assertEqual((self.drained(recovered), self.records()), ([b'3', b'5'], 'T1 A[5] R U1'))

    def history(self, generator):
        """Random records that a server could have written, in a few files."""
        waiting, opened, xid = 0, [], 0
        files = [bytearray() for _ in range(generator.randrange(1, 5))]
        for file in files:
            for _ in range(generator.randrange(60)):
                step = generator.random()
                if step < 0.5 or not waiting and not opened:
                    item = Item(b'%d' % generator.randrange(10 ** generator.randrange(1, 9)), THEN)
                    item.flags = generator.choice((0, 0, 0, 7))
                    file += addition(item, False)
                    waiting += 1
                elif step < 0.65 and waiting:
                    file += b'\x01'
                    waiting -= 1
                elif step < 0.85 and waiting:
                    xid += 1
                    file += open_(xid)
                    opened.append(xid)
                    waiting -= 1
                elif opened:
                    op = generator.choice((UNREMOVE, CONFIRM_REMOVE))
                    file += xid_record(op, opened.pop(generator.randrange(len(opened))))
                    waiting += op == UNREMOVE
        return [bytes(file) for file in files]

    def test_a_little_memory_comes_to_the_same_as_much(self):
        generator = random.Random(11)
        behind = 0
        for _ in range(150):
            files = self.history(generator)
            results = []
            for most in (1 << 27, 1, 20, 100):
                for number, data in enumerate(files[:-1], 1):
                    self.write('q.%d' % number, data)
                self.write('q', files[-1])
                recovered = self.recover(max_memory_size=most)
                behind += recovered.behind
                results.append((self.drained(recovered), recovered.counter, self.sizes(recovered),
                                self.read()))
                for path in self.folder.iterdir():
                    path.unlink()
            self.assertEqual(results[1:], results[:1] * 3)
        self.assertGreater(behind, 1000)


class BrokenTest(RecoveryTest):

    def corrupt(self):
        folder = self.folder / '.corrupt'
        return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}

    def test_torn_at_every_byte(self):
        whole = add(b'one') + open_(1) + xid_record(6, 1) + add(b'hello') + b'\x01' + add(b'two') + open_(2)
        ends = {0, 24, 29, 34, 60, 61, 85, 90}
        self.assertEqual(max(ends), len(whole))
        for length in range(len(whole) + 1):
            with self.subTest(length=length):
                self.log.lines.clear()
                name = 't%d' % length
                self.write(name, whole[:length])
                recovered = self.recover(name.encode())
                good = max(end for end in ends if end <= length)
                back_out = {29: xid_record(5, 1), 90: xid_record(5, 2)}.get(good, b'')
                self.assertEqual(self.read(name), whole[:good] + back_out)
                self.assertEqual(self.sizes(recovered), {name: good + len(back_out)})
                if good == length:
                    self.assertEqual(self.log.lines, [])
                else:
                    copy = '%s.%d.%d' % (name, good, THEN)
                    self.assertEqual(self.corrupt()[copy], whole[good:length])
                    self.assertEqual(self.log.lines, [
                        'ERROR %s/%s: broken record at offset %d, %d bytes cut off, saved to %s/.corrupt/%s' %
                        (self.folder, name, good, length - good, self.folder, copy)])

    def test_the_torn_tail_of_the_specification(self):
        torn = bytes.fromhex('02 15 00 00 00 80 35 af 70 42 01 00')
        self.write('q', add(b'x') + torn)
        self.assertEqual(self.items(self.recover()), [b'x'])
        self.assertEqual(self.corrupt(), {'q.22.%d' % THEN: torn})
        journal = self.journal(recovered=self.recover())
        journal.add(Item(b'y', THEN))
        self.assertEqual(self.records(), 'A[x] A[y]')

    def test_impossible_sizes(self):
        for number, bad in enumerate(['02 ff ff ff ff', '02 00 00 00 80', '02 0f 00 00 00', '00 03 00 00 00',
                                      '07 01 00 00 00 0f 00 00 00', '08 01 00 00 00 00 00 00 00',
                                      '0a 17 00 00 00', '02 ff ff ff 7f', '0b', 'ff', '63']):
            name = 'bad%d' % number
            tail = bytes.fromhex(bad) + add(b'lost') * 2
            self.write(name, add(b'x') + tail)
            self.assertEqual(self.items(self.recover(name.encode())), [b'x'], bad)
            self.assertEqual(self.corrupt()['%s.22.%d' % (name, THEN)], tail)
            self.assertEqual(self.records(name), 'A[x]')

    def test_an_archived_file(self):
        self.write('q.100', add(b'r1') + b'\xff' + b'junk')
        self.write('q.200', add(b'r3'))
        self.write('q', add(b'r4') * 2)
        recovered = self.recover()
        self.assertEqual(self.items(recovered), [b'r1', b'r3', b'r4', b'r4'])
        self.assertEqual(self.sizes(recovered), {'q.100': 23, 'q.200': 23, 'q': 46})
        self.assertEqual([self.records(name) for name in ('q.100', 'q.200', 'q')],
                         ['A[r1]', 'A[r3]', 'A[r4] A[r4]'])
        self.assertEqual(self.corrupt(), {'q.100.23.%d' % THEN: b'\xffjunk'})
        self.assertEqual(len(self.log.lines), 1)
        self.assertRegex(self.log.lines[0], r'^ERROR \S+/q\.100: broken record at offset 23 \(op 255, which'
                         r' this version does not know: was it written by a newer one\?\), 5 bytes cut off,'
                         r' saved to \S+/\.corrupt/q\.100\.23\.%d; later files are replayed, but their'
                         ' removals may hit the wrong items now$' % THEN)

    def test_only_an_unknown_op_may_come_from_a_newer_version(self):
        for tail, newer in ((b'\x0b1234', True), (b'\x02\x0f\x00\x00\x00', False), (b'\x02\x01', False)):
            self.log.lines.clear()
            self.write('q', add(b'x') + tail)
            self.recover()
            self.assertEqual('offset 22 (op 11, which' in self.log.lines[0], newer, self.log.lines)

    def test_a_copy_of_the_same_name_is_kept(self):
        for text in (b'\xffone', b'\xfftwo'):
            self.write('q', text)
            self.recover()
        self.assertEqual(self.corrupt(), {'q.0.%d' % THEN: b'\xffone', 'q.0.%d' % (THEN + 1): b'\xfftwo'})

    def test_the_copy_is_durable_before_the_file_is_cut(self):
        self.write('q', b'\xff')
        files = self.scan()[b'q']
        self.system.calls.clear()
        recovery.recover(self.disk, self.clock, self.logger, files, 1 << 27)
        steps = [call[0] for call in self.system.calls if call[0] in ('write', 'fsync', 'ftruncate')]
        self.assertEqual(steps, ['write', 'fsync', 'fsync', 'fsync', 'ftruncate', 'fsync'])

    def test_no_copy_no_start(self):
        for name, data in [('q', add(b'x') + b'\xff'), ('q', add(b'x') + b'\x02\xff\xff\xff\xff'),
                           ('q', b'\x02\xff\xff\xff\x7f' + bytes((1 << 20) - 4)), ('q.100', b'\x02')]:
            self.write('q', b'')
            self.write(name, data)
            self.system.room = 0
            self.start_fails('cannot save the broken end of', '.corrupt: No space left on device')
            self.assertTrue(self.read(name) == data)
            self.assertEqual(self.corrupt(), {})

    def test_an_incomplete_last_record_needs_no_copy(self):
        for lost in (1, 4, 5, 30, 1 << 20):
            self.log.lines.clear()
            torn = (b'\x02\xff\xff\xff\x7f' + bytes(1 << 20))[:lost]
            self.write('q', add(b'x') + torn)
            self.system.room = 0
            self.assertEqual(self.items(self.recover()), [b'x'])
            self.assertEqual(self.records(), 'A[x]')
            self.assertEqual(self.log.lines, [
                'ERROR %s/q: broken record at offset 22, %d bytes cut off without a copy (No space left on'
                ' device): an incomplete last record, never acknowledged' % (self.folder, lost)])

    def test_the_file_cannot_be_cut(self):
        self.write('q', b'\xff')
        self.system.faults['ftruncate'] = errno.EIO
        self.start_fails('cannot cut', 'q: Input/output error')
