"""What lies in the spool before a start and after it: restarts, other versions' files, strays, broken records."""

import os
import re
import unittest

from functional.records import REMOVE, add, opened, records, starling_add, unremoved
from functional.waiting import files, stats
from support.environment import run_kestrel
from support.server import Server, start_server


class SpoolTest(unittest.TestCase):
    """A server that is not started yet, with a spool to put files in."""

    config = None

    def setUp(self):
        self.server = Server(self.config)
        self.addCleanup(self.server.close)
        self.spool = self.server.spool
        self.spool.mkdir()

    def write(self, name, data):
        (self.spool / name).write_bytes(data)

    def read(self, name):
        return (self.spool / name).read_bytes()

    def drain(self, queue):
        """All items of a queue, bytes each."""
        items = []
        with self.server.client() as client:
            while True:
                client.send(b'get %s\r\n' % queue)
                line = client.recv_until(b'\r\n')
                if line == b'END\r\n':
                    return items
                size = int(line.split(b' ')[3])
                items.append(client.recv_exactly(size))
                client.recv_until(b'END\r\n')

    def warnings(self, name):
        return [line for line in self.server.log().splitlines() if name in line]


class RestartTest(unittest.TestCase):

    def test_order_flags_and_binary_data(self):
        server = start_server(self)
        items = [(0, b''), (4294967295, b'\r\nEND\r\n'), (16, bytes(range(256))), (0, b'x' * 100000), (1, b'last')]
        with server.client() as client:
            for flags, data in items:
                client.expect(b'set q %d 0 %d\r\n%s\r\n' % (flags, len(data), data), b'STORED\r\n')
        for way in server.kill9, server.stop:
            way()
            server.start()
        with server.client() as client:
            for flags, data in items:
                client.expect(b'get q\r\n', b'VALUE q %d %d\r\n%s\r\nEND\r\n' % (flags, len(data), data))
            client.expect(b'get q\r\n', b'END\r\n')

    def test_only_items_with_flags_use_our_record(self):
        server = start_server(self)
        with server.client() as client:
            client.expect(b'set q 0 0 1\r\na\r\nset q 7 0 1\r\nb\r\n', b'STORED\r\nSTORED\r\n')
        data = (server.spool / 'q').read_bytes()
        self.assertEqual(records(data), ['add a', 'add b flags 7'])
        self.assertEqual((data[0], data[22]), (2, 10))

    def test_empty_queue_is_there_after_a_restart(self):
        server = start_server(self)
        with server.client() as client:
            client.expect(b'set q 0 0 1\r\na\r\nget q\r\n', b'STORED\r\nVALUE q 0 1\r\na\r\nEND\r\n')
        server.kill9()
        server.start()
        with server.client() as client:
            found = stats(client)
        self.assertEqual(found['queue_q_items'], '0')
        self.assertEqual(found['queue_creates'], '1')
        self.assertEqual(found['queue_q_total_items'], '0')         # D41
        self.assertEqual(found['total_items'], '0')

    def test_deleted_queue_stays_away(self):
        server = start_server(self)
        with server.client() as client:
            client.expect(b'set q 0 0 1\r\na\r\ndelete q\r\n', b'STORED\r\nDELETED\r\n')
        self.assertEqual(files(server.spool), {})
        server.kill9()
        server.start()
        with server.client() as client:
            self.assertNotIn('queue_q_items', stats(client))

    def test_queue_without_journal(self):
        server = start_server(self, {'queues': {'quick': {'keep_journal': False}}})
        with server.client() as client:
            client.expect(b'set quick 0 0 1\r\na\r\n', b'STORED\r\n')
        self.assertEqual(files(server.spool), {})
        server.restart()
        with server.client() as client:
            client.expect(b'get quick\r\n', b'END\r\n')

    def test_pollers_leave_no_files(self):
        server = start_server(self)
        with server.client() as client:
            client.expect(b'get a\r\nget b/peek\r\nget c/open\r\nmonitor d 0\r\nget e/t=1\r\n', b'END\r\n' * 5)
            self.assertEqual(stats(client)['queue_creates'], '0')       # D14
        self.assertEqual(files(server.spool), {})

    def test_name_is_a_utf8_file_name(self):
        for locale in 'C', 'C.UTF-8':
            with self.subTest(locale), Server(env={'LC_ALL': locale, 'PYTHONUTF8': '0'}) as server:
                with server.client() as client:
                    client.expect(b'set caf\xe9:x 0 0 1\r\na\r\n', b'STORED\r\n')
                self.assertEqual(os.listdir(os.fsencode(server.spool)), [b'caf\xc3\xa9:x'])     # D70
                server.restart()
                with server.client() as client:
                    client.expect(b'get caf\xe9:x\r\n', b'VALUE caf\xe9:x 0 1\r\na\r\nEND\r\n')


class OtherVersionsTest(SpoolTest):

    def test_journal_of_the_specification(self):
        before = (add(b'a') + add(b'bb') + opened(1) + opened(2) + b'\x06\x02\0\0\0' + add(b'ccc') + REMOVE + add(b'd'))
        self.write('q', before)
        self.server.start()
        self.assertEqual(self.read('q'), before + unremoved(1))
        self.assertEqual(self.drain(b'q'), [b'a', b'd'])
        self.assertEqual(self.read('q'), before + unremoved(1) + REMOVE * 2)

    def test_open_reads_come_back_lowest_xid_first(self):
        before = add(b'a') + add(b'b') + add(b'c') + opened(5) + opened(3)
        self.write('q', before)
        self.server.start()
        self.assertEqual(self.read('q'), before + unremoved(5) + unremoved(3))
        self.assertEqual(self.drain(b'q'), [b'b', b'a', b'c'])

    def test_starling_spool(self):
        before = (starling_add(b'gone') + starling_add(b'one') + REMOVE + starling_add(b'', 1)
                  + starling_add(b'two', 2 ** 31 - 1))
        self.write('work', before)
        self.write('work.1384870000', starling_add(b'first'))     # left by a crash of starling
        self.server.start()
        with self.server.client() as client:
            self.assertEqual(stats(client)['queue_work_items'], '4')
        # the REMOVE takes the head of the series of files; the expired one is dropped at first use
        self.assertEqual(self.drain(b'work'), [b'gone', b'one', b'two'])
        self.assertEqual(self.read('work'), before + REMOVE * 4)
        self.assertEqual(self.read('work.1384870000'), starling_add(b'first'))

    def test_rotated_files_come_first_and_in_order(self):
        self.write('q.200', add(b'2'))
        self.write('q.1000', add(b'3'))
        self.write('q.100', add(b'0') + add(b'1') + REMOVE)
        self.write('q', add(b'4'))
        self.write('only.77', add(b'rotated'))
        self.server.start()
        self.assertEqual(self.drain(b'q'), [b'1', b'2', b'3', b'4'])
        self.assertEqual(self.drain(b'only'), [b'rotated'])
        self.assertEqual(self.read('only'), REMOVE)

    def test_old_records(self):
        item = (16 + 3).to_bytes(4, 'little') + bytes(16)
        xid = (7).to_bytes(4, 'little')
        before = (b'\x07' + xid + item + b'cat' + b'\x03'                   # ADD_XID, opened under its own xid (D39)
                  + b'\x08' + xid + item + b'dog' + b'\x04' + xid)          # CONTINUE, SAVE_XID
        self.write('q', before)
        self.server.start()
        self.assertEqual(self.read('q'), before)
        with self.server.client() as client:
            client.expect(b'get q/open\r\n', b'VALUE q 0 3\r\ndog\r\nEND\r\n')
            self.assertEqual(self.read('q'), before + opened(8))


class StrayTest(SpoolTest):

    def test_strays_are_left_alone_with_a_warning_each(self):
        strays = {'work.bak': b'keep', '.status': b'Up\n', 'tail.': b'', 'other.12x': add(b'no'), 'third.12.tmp': b'',
                  '.hidden': b''}
        for name, data in strays.items():
            self.write(name, data)
        (self.spool / 'folder').mkdir()
        (self.spool / 'folder' / 'inside').write_bytes(add(b'no'))
        latin = os.fsencode(self.spool) + b'/caf\xe9'
        with open(latin, 'wb') as file:
            file.write(add(b'no'))
        self.write('q', add(b'yes'))
        self.server.start()
        self.assertEqual(self.drain(b'q'), [b'yes'])
        with self.server.client() as client:
            self.assertEqual(stats(client)['queue_creates'], '1')
        for name, data in strays.items():
            self.assertEqual(self.read(name), data)
            self.assertEqual(len(self.warnings(name)), 1, f'about {name} in:\n{self.server.log()}')
        self.assertEqual((self.spool / 'folder' / 'inside').read_bytes(), add(b'no'))
        self.assertTrue(os.path.exists(latin))
        self.assertEqual(len(self.warnings('folder')), 1)
        self.assertEqual(len(self.warnings('caf')), 1)

    def test_temporary_files_are_deleted(self):
        self.write('q', add(b'a'))
        self.write('q~~1384870000000', add(b'half'))
        self.write('gone~~5', b'')
        self.server.start()
        self.assertEqual(list(files(self.spool)), ['q'])
        self.assertEqual(self.drain(b'q'), [b'a'])

    def test_no_warning_for_saved_records(self):
        (self.spool / '.corrupt').mkdir()
        self.write('q', add(b'a'))
        self.server.start()
        self.assertEqual(self.warnings('.corrupt'), [])


class BrokenRecordTest(SpoolTest):

    def saved(self):
        """What lies in .corrupt: dict of name without its time to bytes."""
        found = {}
        for path in (self.spool / '.corrupt').iterdir():
            self.assertRegex(path.name, r'\.\d+\.\d{13}$')
            found[path.name.rpartition('.')[0]] = path.read_bytes()
        return found

    def test_kinds_of_broken_records(self):
        good = add(b'good')
        bad = {
            'torn': add(b'torn')[:12],
            'torn_xid': b'\x09\x01\x00',
            'unknown': b'\x0b' + add(b'lost'),
            'negative': b'\x02\xff\xff\xff\xff' + bytes(40),
            'huge': b'\x02\xff\xff\xff\x7f' + bytes(40),
            'small': b'\x02' + (15).to_bytes(4, 'little') + bytes(60),
            'small_old': b'\x00' + (3).to_bytes(4, 'little') + bytes(60),
            'small_ours': b'\x0a' + (23).to_bytes(4, 'little') + bytes(60),
        }
        for queue, tail in bad.items():
            self.write(queue, good + tail)
        self.server.start()
        self.assertEqual(self.saved(), {f'{queue}.{len(good)}': tail for queue, tail in bad.items()})
        log = self.server.log().splitlines()
        for queue, tail in bad.items():
            with self.subTest(queue):
                self.assertEqual(self.read(queue), good)
                self.assertEqual(self.drain(queue.encode()), [b'good'])
                said = [line for line in log if 'ERROR' in line and re.search(rf'\b{queue}\b', line)]
                self.assertEqual(len(said), 1, log)
                self.assertRegex(said[0], rf'\b{len(good)}\b')
                self.assertRegex(said[0], rf'\b{len(tail)}\b')

    def test_queue_goes_on_behind_the_cut(self):
        self.write('q', add(b'a') + b'\x02\x15\0\0\0')
        self.server.start()
        with self.server.client() as client:
            client.expect(b'set q 0 0 1\r\nb\r\n', b'STORED\r\n')
        self.server.kill9()
        self.server.start()
        self.assertEqual(self.drain(b'q'), [b'a', b'b'])

    def test_broken_rotated_file_is_cut_itself_and_later_ones_count(self):
        self.write('q.100', add(b'a') + b'\xff' + add(b'lost'))
        self.write('q.200', add(b'b'))
        self.write('q', add(b'c'))
        self.server.start()
        self.assertEqual(self.read('q.100'), add(b'a'))
        self.assertEqual(self.saved(), {f'q.100.{len(add(b"a"))}': b'\xff' + add(b'lost')})
        self.assertEqual(self.drain(b'q'), [b'a', b'b', b'c'])

    def test_second_start_finds_nothing_wrong(self):
        self.write('q', add(b'a') + b'\xff')
        self.server.start()
        self.server.restart()
        self.assertEqual(len(self.saved()), 1)
        self.assertEqual(self.drain(b'q'), [b'a'])


class UnsavedRecordTest(SpoolTest):
    """D12: what cannot be saved stops the start, unless it can never have been answered."""

    def setUp(self):
        super().setUp()
        self.write('.corrupt', b'a file, so that nothing can be saved below it')

    def test_start_fails(self):
        self.write('q', add(b'a') + b'\xff' + add(b'b'))
        before = files(self.spool)
        ended = run_kestrel('-f', self.server.config_path)
        self.assertGreater(ended.returncode, 0)
        self.assertIn('.corrupt', ended.stderr.splitlines()[-1])
        self.assertEqual(files(self.spool), before)

    def test_torn_record_at_the_end_is_cut_off_all_the_same(self):
        self.write('q', add(b'a') + add(b'torn')[:12])
        self.server.start()
        self.assertEqual(self.read('q'), add(b'a'))
        said = [line for line in self.server.log().splitlines() if 'ERROR' in line]
        self.assertEqual(len(said), 1, self.server.log())
        self.assertRegex(said[0], rf'\b{len(add(b"a"))}\b')
        self.assertEqual(self.drain(b'q'), [b'a'])

    def test_torn_record_of_a_rotated_file_is_not(self):
        self.write('q.100', add(b'a') + add(b'torn')[:12])
        self.write('q', add(b'b'))
        before = files(self.spool)
        self.assertGreater(run_kestrel('-f', self.server.config_path).returncode, 0)
        self.assertEqual(files(self.spool), before)
