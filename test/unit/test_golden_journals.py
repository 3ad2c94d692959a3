"""Spools written by the original replay and drain as it did itself (test/data/golden/README.md).

What the original answered is changed where docs/differences.md departs:

    D12  the file that is broken is cut, not the current one; a negative size does not prevent the start
    D39  op 3 opens under the item's own or the next xid, not all under 0
    D65  of two items opened under one xid neither is lost
    D41  ``total_items`` is not looked at: it starts at 0
"""

import json
import os
import re
import shutil

from kestrel.journal import recovery
from support.environment import CHECKOUT, DATA
from support.spool import SpoolTest, readable

GOLDEN = DATA / 'golden'

# A moment after every expiry in the hand-written files but that of "old exp".
LEGACY_NOW = 1795468000000

# {queue of legacy_opcodes: (items in order, its files)}
LEGACY_DIFFERENCES = {
    # D39
    'ax_t3': (['1', '2', '3'], {'ax_t3': 'S8 AX7[1] T AX8[2] T A[3] U8 U7'}),
    'ax_t3_c7': (['2', '3'], {'ax_t3_c7': 'S8 AX7[1] T AX8[2] T A[3] C7 U8'}),
    's_t3_c6': (['2'], {'s_t3_c6': 'S5 A[1] A[2] T C6'}),
    's_t3_unremove6': (['1', '2'], {'s_t3_unremove6': 'S5 A[1] A[2] T U6'}),
    't3_confirm0': (['1', '2'], {'t3_confirm0': 'A[1] A[2] T C0 U1'}),
    't3_confirm1': (['2'], {'t3_confirm1': 'A[1] A[2] T C1'}),
    't3_one': (['1', '2'], {'t3_one': 'A[1] A[2] T U1'}),
    't3_two': (['1', '2', '3'], {'t3_two': 'A[1] A[2] A[3] T T U2 U1'}),
    't3_two_c1': (['2', '3'], {'t3_two_c1': 'A[1] A[2] A[3] T T C1 U2'}),
    # D12
    'rotbad': (['r1', 'r3', 'r4', 'r4', 'r4', 'r4', 'r4'],
               {'rotbad.100': 'A[r1]', 'rotbad.200': 'A[r3]', 'rotbad': 'A[r4] A[r4] A[r4] A[r4] A[r4]'}),
    # D65
    't9_same_xid': (['1', '2'], {'t9_same_xid': 'A[1] A[2] T1 T1 U1 U2'}),
}


def case(name):
    return json.loads((GOLDEN / name / 'case.json').read_text())


class GoldenTest(SpoolTest):

    def start(self, spool):
        """Recover a copy of a spool; -> {queue, str: Recovered}."""
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in spool.iterdir():
            shutil.copy(path, self.folder)
        found = recovery.scan(self.disk, self.spool, self.logger)
        return {os.fsdecode(name): recovery.recover(self.disk, self.clock, self.logger, files)
                for name, files in found.items()}

    def contents(self):
        return {path.name: path.read_bytes() for path in self.folder.iterdir() if path.is_file()}

    def drained(self, queue, recovered):
        """Take everything out as the server would; -> what a client gets."""
        journal = self.journal(queue.encode(), recovered=recovered)
        given = []
        for item in recovered.items:
            if item.expiry == 0 or item.expiry >= self.clock.now_ms():
                given.append(item.data.decode('latin-1'))
            journal.remove()
        journal.close()
        return given

    def check_queue(self, queue, recovered, after):
        stats = after['stats'][queue]
        self.assertEqual(len(recovered.items), int(stats['items']))
        self.assertEqual(recovered.bytes, int(stats['bytes']))
        self.assertEqual(recovered.bytes, sum(len(item.data) for item in recovered.items))
        self.assertEqual(recovered.size, int(stats['logsize']))
        self.assertEqual(self.drained(queue, recovered), after['drain'][queue])

    def check_records(self, files):
        """``files``: {name: {'size', 'records'}}."""
        found = self.contents()
        self.assertEqual(sorted(found), sorted(files))
        for name, data in found.items():
            self.assertEqual(len(data), files[name]['size'], name)
            # The recorded line shows every long item by its length, where short is less than 40 bytes here.
            self.assertEqual(readable(data), files[name]['records'], name)

    def check_case(self, name, drain_is_plain):
        whole = case(name)
        for way in ('clean', 'kill9'):
            with self.subTest(name, way=way):
                after = whole[way]['after_restart']
                recovered = self.start(GOLDEN / name / way / 'journal')
                self.assertEqual(sorted(recovered), sorted(after['stats']))
                theirs = GOLDEN / name / way / 'journal_after_restart'
                self.assertEqual(self.contents(), {path.name: path.read_bytes() for path in theirs.iterdir()})
                self.check_records(after['files'])
                for queue in recovered:
                    self.check_queue(queue, recovered[queue], after)
                if drain_is_plain:
                    self.check_records(after['files_after_drain'])
        self.assertEqual(self.log.lines, [])

    def test_one_file_each(self):
        for name in ('add', 'open_confirm', 'open_abort', 'open_at_end', 'monitor_confirm', 'fanout'):
            self.check_case(name, True)

    def test_rewritten_rotated_and_packed(self):
        # What the original compacts while it drains belongs to the tests of compaction.
        for name in ('rewrite_compact', 'rotation', 'pack'):
            self.check_case(name, False)

    def test_negative_size(self):
        self.assertEqual(case('given_neg_size')['after_restart'], {'error': 'the start fails'})
        original = (GOLDEN / 'given_neg_size' / 'journal' / 'q').read_bytes()
        recovered = self.start(GOLDEN / 'given_neg_size' / 'journal')['q']
        self.assertEqual([item.data for item in recovered.items], [b'1'])
        self.assertEqual(self.read(), original[:22])
        copies = list((self.folder / '.corrupt').iterdir())
        self.assertEqual([path.read_bytes() for path in copies], [original[22:]])

    def test_torn_at_every_byte(self):
        whole = (GOLDEN / 'open_abort' / 'kill9' / 'journal' / 'q').read_bytes()
        after = case('torn_every_byte')['after_restart']
        self.assertEqual(len(after['stats']), len(whole) + 1)
        source = self.folder.parent / (self.folder.name + '.source')
        source.mkdir()
        self.addCleanup(shutil.rmtree, source)
        for length in range(len(whole) + 1):
            (source / ('t%04d' % length)).write_bytes(whole[:length])
        recovered = self.start(source)
        self.check_records(after['files'])
        for queue in after['stats']:
            self.check_queue(queue, recovered[queue], after)
        self.check_records(after['files_after_drain'])
        torn = [length for length in range(len(whole) + 1)
                if len(readable(whole[:length]).split()) and readable(whole[:length]).endswith('torn')]
        self.assertEqual(len(list((self.folder / '.corrupt').iterdir())), len(torn))

    def test_legacy_opcodes(self):
        self.clock.ms = LEGACY_NOW
        after = case('legacy_opcodes')['after_restart']
        recovered = self.start(GOLDEN / 'legacy_opcodes' / 'journal')
        # The original answered stats for a name it was only asked for.
        self.assertEqual(sorted(recovered), sorted(set(after['stats']) - {'t9'}))
        files = {name: entry for name, entry in after['files'].items()
                 if name.partition('.')[0] not in LEGACY_DIFFERENCES}
        for _, changed in LEGACY_DIFFERENCES.values():
            for name, records in changed.items():
                files[name] = {'size': len(self.contents()[name]), 'records': records}
        self.check_records(files)
        for queue in recovered:
            with self.subTest(queue):
                if queue in LEGACY_DIFFERENCES:
                    expected = LEGACY_DIFFERENCES[queue][0]
                    self.assertNotEqual((after['drain'][queue], after['files'][queue]['records']),
                                        (expected, files[queue]['records']), 'no difference any more')
                    self.assertEqual(self.drained(queue, recovered[queue]), expected)
                else:
                    self.check_queue(queue, recovered[queue], after)

    def test_legacy_opcodes_start_a_second_time(self):
        self.clock.ms = LEGACY_NOW
        first = self.start(GOLDEN / 'legacy_opcodes' / 'journal')
        before = self.contents()
        found = recovery.scan(self.disk, self.spool, self.logger)
        for name, files in found.items():
            again = recovery.recover(self.disk, self.clock, self.logger, files)
            self.assertEqual([item.data for item in again.items],
                             [item.data for item in first[os.fsdecode(name)].items], name)
        self.assertEqual(self.contents(), before)


class DocumentTest(SpoolTest):
    """The examples of docs/journal-format.md."""

    def examples(self):
        """[[(bytes of a record, the record in short)] for each block]."""
        text = (CHECKOUT / 'docs' / 'journal-format.md').read_text()
        blocks = re.findall(r'^```records\n(.*?)^```$', text, re.MULTILINE | re.DOTALL)
        return [[(bytes.fromhex(line.partition('#')[0]), line.partition('#')[2].strip())
                 for line in block.splitlines()] for block in blocks]

    def test_each_record_is_what_is_said_beside_it(self):
        for block in self.examples():
            for data, short in block:
                self.assertEqual(readable(data), short)

    def test_every_op_is_shown(self):
        ops, _ = self.examples()
        self.assertEqual([data[0] for data, _ in ops if data != ops[3][0]], list(range(11)))

    def test_the_start(self):
        _, lines = self.examples()
        records = [data for data, _ in lines]
        self.write('q', b''.join(records[:-1]))
        found = recovery.scan(self.disk, self.spool, self.logger)
        recovered = recovery.recover(self.disk, self.clock, self.logger, found[b'q'])
        self.assertEqual(self.read(), b''.join(records))
        self.assertEqual([item.data for item in recovered.items], [b'a', b'd'])
        self.assertEqual(recovered.counter + 1, 3)
