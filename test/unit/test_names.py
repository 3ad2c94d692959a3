"""Which file belongs to which queue (spec journal 5 and 6, D11, D34, D70), and the xid after another."""

import unittest

from kestrel.journal.names import Spool, current, queue_of
from kestrel.journal.xids import next_xid


def spool(*files, folders=()):
    return Spool(b'/spool', [(name, True) for name in files] + [(name, False) for name in folders])


class NameTest(unittest.TestCase):

    def test_latin1_in_utf8(self):
        for name, encoded in [(b'q', b'q'), (b'\xe9t\xe9', b'\xc3\xa9t\xc3\xa9'), (b'a+b+c', b'a+b+c'),
                              (b'ns:jobs', b'ns:jobs'), (b'\xff', b'\xc3\xbf'), (b'\x01\t', b'\x01\t'),
                              (b'\xc3\xa9', b'\xc3\x83\xc2\xa9')]:
            self.assertEqual(current(name), encoded)
            self.assertEqual(queue_of(encoded), name)

    def test_every_byte_comes_back(self):
        for byte in set(range(1, 256)) - set(b'./~+ \r\n'):
            self.assertEqual(queue_of(current(bytes([byte]))), bytes([byte]))

    def test_names_no_queue_can_have(self):
        for encoded in [b'', b'+', b'+a', b'a+', b'a b', b'a\nb', b'a\rb', b'\xe9', b'\xc4\x80',
                        b'\xf0\x9f\x98\x80', b'x' * 237, b'\xc3\xa9' * 119]:
            self.assertIsNone(queue_of(encoded), encoded)

    def test_longest_name(self):
        self.assertEqual(queue_of(b'x' * 236), b'x' * 236)
        self.assertEqual(queue_of(b'\xc3\xa9' * 118), b'\xe9' * 118)


class SpoolTest(unittest.TestCase):

    def test_forms(self):
        found = spool(b'q', b'q.200', b'q.100', b'q.150.pack', b'q~~7', b'orders+audit',
                      b'only.1384870000000')
        self.assertEqual(sorted(found.queues), [b'only', b'orders+audit', b'q'])
        files = found.queues[b'q']
        self.assertTrue(files.has_current)
        self.assertEqual(files.current, b'q')
        self.assertEqual(files.archived, [(100, b'q.100'), (200, b'q.200')])
        self.assertEqual(files.packs, [(150, b'q.150.pack')])
        self.assertEqual(files.all(), [b'q.150.pack', b'q.100', b'q.200', b'q'])
        self.assertFalse(found.queues[b'only'].has_current)
        self.assertEqual(found.queues[b'only'].all(), [b'only.1384870000000'])
        self.assertEqual(found.temporary, [b'q~~7'])
        self.assertEqual(found.strays, [])

    def test_strays(self):
        strays = [b'.status', b'.123', b'q.', b'q.bak', b'q.1x', b'q.12.packed', b'q.12.pack.1', b'q.12.13',
                  b'q~', b'q~~', b'q~~x', b'~~1', b'q~1', b'q.1~~2', b'q~~1.pack', b'q.pack', b'a b', b'\xff',
                  b'q.+1', b'q.\xc2\xb2', b'q.-1', b'+a.12', b'q.1\n', b'q\n']
        found = spool(*strays)
        self.assertEqual(found.strays, sorted(strays))
        self.assertEqual((found.queues, found.temporary), ({}, []))

    def test_folders_are_strays_but_for_corrupt(self):
        found = spool(b'q', folders=[b'.corrupt', b'lost+found', b'q.100'])
        self.assertEqual(found.strays, [b'lost+found', b'q.100'])
        self.assertEqual(list(found.queues), [b'q'])

    def test_a_file_called_corrupt_is_a_stray(self):
        self.assertEqual(spool(b'.corrupt').strays, [b'.corrupt'])

    def test_temporary_of_any_queue(self):
        self.assertEqual(spool(b'none~~123').temporary, [b'none~~123'])

    def test_order_is_by_number(self):
        found = spool(b'q.9', b'q.10', b'q.0100', b'q.99999999999999999999999')
        self.assertEqual([name for _, name in found.queues[b'q'].archived],
                         [b'q.9', b'q.10', b'q.0100', b'q.99999999999999999999999'])


class PackTest(unittest.TestCase):

    def test_replaces_what_is_not_later(self):
        files = spool(b'q', b'q.100', b'q.150', b'q.151', b'q.150.pack').queues[b'q']
        self.assertEqual(files.put_pack_in_place(), ([b'q.100', b'q.150'], b'q.150.pack', b'q.150'))
        self.assertEqual(files.archived, [(150, b'q.150'), (151, b'q.151')])
        self.assertEqual(files.packs, [])

    def test_the_lowest_first_and_it_is_replaced_by_the_next(self):
        files = spool(b'q.100', b'q.200.pack', b'q.150.pack', b'q.160', b'q.300').queues[b'q']
        self.assertEqual(files.put_pack_in_place(), ([b'q.100'], b'q.150.pack', b'q.150'))
        self.assertEqual(files.put_pack_in_place(), ([b'q.150', b'q.160'], b'q.200.pack', b'q.200'))
        self.assertEqual(files.archived, [(200, b'q.200'), (300, b'q.300')])

    def test_a_pack_alone(self):
        files = spool(b'q.5.pack').queues[b'q']
        self.assertEqual(files.put_pack_in_place(), ([], b'q.5.pack', b'q.5'))
        self.assertEqual(files.archived, [(5, b'q.5')])


class XidTest(unittest.TestCase):

    def test_plus_one(self):
        self.assertEqual(next_xid(0, {}), 1)
        self.assertEqual(next_xid(41, {}), 42)

    def test_skips_zero_and_what_is_open(self):
        self.assertEqual(next_xid(-1, {}), 1)
        self.assertEqual(next_xid(-1, {1: None, 2: None, 4: None}), 3)

    def test_wraps(self):
        self.assertEqual(next_xid(0x7fffffff, {}), -0x80000000)
        self.assertEqual(next_xid(0x7ffffffe, {0x7fffffff: None, -0x80000000: None}), -0x7fffffff)
