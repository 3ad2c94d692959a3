"""Spools written by the original replay and drain as it did itself (test/data/golden/README.md).

What the original answered is changed where docs/differences.md departs:

    D12, D39, D65  see support/golden.py; a negative size does not prevent the start
    D13, D43  what is rewritten meanwhile comes to the same; only the sizes afterwards are compared, in
              test_live_golden
    D41  ``total_items`` is not looked at: it starts at 0
"""

import re
import shutil

from support.environment import CHECKOUT
from support.golden import ENDS, GOLDEN, LEGACY_DIFFERENCES, LEGACY_NOW, RECORDED, case, settings, torn_files
from support.spool import readable
from support.started import StartTest

# Whose files change by draining alone: nothing is compacted.
PLAIN = ('add', 'fanout', 'monitor_confirm', 'open_abort', 'open_at_end', 'open_confirm', 'rotation')
# What the configuration of the original means here, in bytes and microseconds.
NUMBERS = {'max_memory_size': 1, 'max_journal_size': 1, 'default_journal_size': 1, 'min_journal_compact_delay': 1000}


def in_numbers(texts):
    """Settings as words of the configuration file -> as in config.QueueSettings."""
    return {name: int(text.removesuffix('ms')) * NUMBERS[name] for name, text in texts.items()}


class GoldenTest(StartTest):

    def spool_of(self, source):
        """Make the spool a copy of ``source``: a folder, or {name: content}."""
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if not isinstance(source, dict):
            source = {path.name: path.read_bytes() for path in source.iterdir()}
        for name, data in source.items():
            self.write(name, data)

    def contents(self):
        return {path.name: path.read_bytes() for path in self.folder.iterdir() if path.is_file()}

    def check_queue(self, name, queue, after):
        found = self.numbers(queue)
        for key, value in after['stats'][name].items():
            if key not in ('total_items', 'expired_items'):
                self.assertEqual(found[key], value, f'{name} {key}')
        self.check_drain(queue, after['drain'][name])

    def check_drain(self, queue, items):
        self.assertEqual([item.data.decode('latin-1') for item in self.drain(queue)], items)

    def check_records(self, files):
        """``files``: {name: {'size', 'records'}}."""
        found = self.contents()
        self.assertEqual(sorted(found), sorted(files))
        for name, entry in files.items():
            data = found[name]
            self.assertEqual(len(data), entry['size'], name)
            # The recorded line shows every long item by its length, where short is less than 40 bytes here.
            self.assertEqual(readable(data), entry['records'], name)

    def check_recorded(self, name, end, folder):
        whole = case(name)
        after = whole[end]['after_restart']
        self.spool_of(GOLDEN / name / end / folder)
        collection = self.start(**in_numbers(settings(whole)))
        self.assertEqual(sorted(queue.decode() for queue in collection.queues),
                         sorted(after['stats']))
        theirs = GOLDEN / name / end / 'journal_after_restart'
        self.assertEqual(self.contents(),
                         {path.name: path.read_bytes() for path in theirs.iterdir()})
        self.check_records(after['files'])
        for queue in after['stats']:
            self.check_queue(queue, collection.queues[queue.encode()], after)
        if name in PLAIN:
            self.check_records(after['files_after_drain'])
        self.stop(collection)

    def test_recorded(self):
        for name in RECORDED:
            for end in ENDS:
                for folder in ('journal', 'journal_after_restart'):
                    with self.subTest(name, end=end, folder=folder):
                        self.check_recorded(name, end, folder)
        self.assertEqual(self.log.lines, [])

    def test_negative_size(self):
        self.assertEqual(case('given_neg_size')['after_restart'], {'error': 'the start fails'})
        original = (GOLDEN / 'given_neg_size' / 'journal' / 'q').read_bytes()
        self.spool_of(GOLDEN / 'given_neg_size' / 'journal')
        collection = self.start()
        self.assertEqual(self.read(), original[:22])
        copies = list((self.folder / '.corrupt').iterdir())
        self.assertEqual([path.read_bytes() for path in copies], [original[22:]])
        self.check_drain(collection.queues[b'q'], ['1'])

    def test_torn_at_every_byte(self):
        after = case('torn_every_byte')['after_restart']
        torn = torn_files()
        self.assertEqual(sorted(torn), sorted(after['stats']))
        self.spool_of(torn)
        collection = self.start()
        self.check_records(after['files'])
        for queue in torn:
            self.check_queue(queue, collection.queues[queue.encode()], after)
        self.check_records(after['files_after_drain'])
        saved = [data for data in torn.values() if readable(data).endswith('torn')]
        self.assertEqual(len(list((self.folder / '.corrupt').iterdir())), len(saved))

    def test_legacy_opcodes(self):
        self.clock.ms = LEGACY_NOW
        after = case('legacy_opcodes')['after_restart']
        self.spool_of(GOLDEN / 'legacy_opcodes' / 'journal')
        collection = self.start()
        # The original answered stats for a name it was only asked for.
        queues = set(after['stats']) - {'t9'}
        self.assertEqual({name.decode() for name in collection.queues}, queues)
        files = {name: entry for name, entry in after['files'].items()
                 if name.partition('.')[0] not in LEGACY_DIFFERENCES}
        for _, _, changed in LEGACY_DIFFERENCES.values():
            for name, records in changed.items():
                files[name] = {'size': len(self.contents()[name]), 'records': records}
        self.check_records(files)
        for name in queues:
            with self.subTest(name):
                queue = collection.queues[name.encode()]
                if name in LEGACY_DIFFERENCES:
                    number, expected, _ = LEGACY_DIFFERENCES[name]
                    self.assertNotEqual((after['drain'][name], after['files'][name]['records']),
                                        (expected, files[name]['records']), f'no difference {number} any more')
                    self.check_drain(queue, expected)
                else:
                    self.check_queue(name, queue, after)

    def test_legacy_opcodes_start_a_second_time(self):
        self.clock.ms = LEGACY_NOW
        self.spool_of(GOLDEN / 'legacy_opcodes' / 'journal')
        collection = self.start()
        first = {name: self.numbers(queue) for name, queue in collection.queues.items()}
        self.stop(collection)
        before = self.contents()
        collection = self.start()
        self.assertEqual({name: self.numbers(queue) for name, queue in collection.queues.items()}, first)
        self.assertEqual(self.contents(), before)


class DocumentTest(StartTest):
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
        queue = self.start().queues[b'q']
        self.assertEqual(self.read(), b''.join(records))
        self.assertEqual(queue.xid + 1, 3)
        self.assertEqual([item.data for item in self.drain(queue)], [b'a', b'd'])
