"""Damaged spools: a start always succeeds, or fails with one line; what stands before the damage and in all later files
is there; what was cut off is kept (D11, D12, D65).

Each round writes a spool, damages it and compares a start with a model, which reads the bytes by itself
(crash/damage.py). KESTREL_DAMAGE_SEED: the seed that a failure names, to have that round alone.
"""

import os
import pathlib
import random
import shutil
import tempfile

from crash import damage
from kestrel.errors import StartError
from support.clock import THEN
from support.started import StartTest

ROUNDS = 10000 if os.environ.get('KESTREL_LONG') else 250
SEED = os.environ.get('KESTREL_DAMAGE_SEED')
# Of a queue: nothing of it, a part of it, and all of it is read back from disk while it is drained.
MEMORY = (1 << 30, 600, 1)


class DamageTest(StartTest):

    def drained(self, collection):
        """{name: ([item as the model has it, but for its xid], last xid)}; the spool is not as before then."""
        found = {}
        for name, queue in collection.queues.items():
            counter = queue.xid
            found[name] = [(item.data, item.add_time, item.expiry, item.flags, item.deliveries)
                           for item in self.drain(queue, expired=True)], counter
        self.stop(collection)
        return found

    def restart(self, max_memory_size):
        """What a start on a copy of the spool finds; the spool stays as it is."""
        copy = pathlib.Path(tempfile.mkdtemp(dir=self.folder.parent))
        self.addCleanup(shutil.rmtree, copy, ignore_errors=True)
        for path in self.folder.iterdir():
            if path.is_file() and not path.is_symlink():
                shutil.copy(path, copy)
        self.spool, spool = os.fsencode(copy), self.spool
        try:
            return self.drained(self.start(max_memory_size=max_memory_size))
        finally:
            self.spool = spool
            shutil.rmtree(copy)

    # --- what is compared

    def plain_files(self):
        """{name, bytes: content} of the files in the spool."""
        found = {}
        for name in os.listdir(self.spool):
            path = os.path.join(self.spool, name)
            if os.path.isfile(path):
                with open(path, 'rb') as file:
                    found[name] = file.read()
        return found

    def corrupt(self):
        """[(file name, offset, bytes)] of what was cut off, sorted."""
        folder = self.folder / '.corrupt'
        found = []
        for path in folder.iterdir() if folder.is_dir() else ():
            name, offset, ms = os.fsencode(path.name).rsplit(b'.', 2)
            self.assertTrue(ms.isdigit())
            found.append((name, int(offset), path.read_bytes()))
        return sorted(found)

    def logged(self, level):
        return [line for line in self.log.lines if line.startswith(level)]

    def compare(self, model, strays, max_memory_size):
        """The spool and the log after a first start."""
        self.assertEqual(self.plain_files(), {**model.files, **strays})
        self.assertEqual(self.corrupt(), sorted(cut[:3] for cut in model.cuts))
        errors = self.logged('ERROR')
        self.assertEqual(len(errors), len(model.cuts), errors)
        for file_name, offset, lost, is_torn, is_current in model.cuts:
            shown = file_name.decode()
            line, = [line for line in errors if f'/{shown}: ' in line]
            self.assertIn(f'offset {offset}', line)
            self.assertIn(f'{len(lost)} bytes', line)
            self.assertIn(f'.corrupt/{shown}.{offset}.', line)
            self.assertEqual('later files' in line, not is_current, line)
            self.assertEqual('newer' in line, lost[0] > 10, line)
        self.assertEqual(len(self.logged('WARNING')), len(model.foreign), self.log.lines)
        expected = {name: ([item[:5] for item in items], counter) for name, (items, counter) in model.queues.items()}
        self.assertEqual(self.restart(max_memory_size), expected)

    def check(self, max_memory_size=1 << 30):
        """A first start as the model has it, and a second one that changes nothing."""
        model = damage.Model(self.folder)
        strays = {name: data for name, data in self.plain_files().items() if name in model.foreign}
        self.log.lines.clear()
        self.start_and_stop(max_memory_size=max_memory_size)
        self.compare(model, strays, max_memory_size)
        before = self.plain_files(), self.corrupt()
        self.log.lines.clear()
        self.start_and_stop(max_memory_size=max_memory_size)
        self.assertEqual((self.plain_files(), self.corrupt()), before)
        self.assertEqual(self.logged('ERROR'), [])
        return model


class RandomDamageTest(DamageTest):

    def test_random_damage(self):
        rounds = [SEED] if SEED else [random.randrange(10 ** 9) for _ in range(ROUNDS)]
        queues = cuts = items = 0
        for seed in rounds:
            for path in self.folder.iterdir():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            choice = random.Random(int(seed))
            damage.write_spool(choice, self.folder)
            done = damage.damage(choice, self.folder)
            damage.add_foreign(choice, self.folder)
            with self.subTest(seed=seed, done=done):
                model = self.check(choice.choice(MEMORY))
                queues += len(model.queues)
                cuts += len(model.cuts)
                items += sum(len(found) for found, _ in model.queues.values())
        if not SEED:
            self.assertGreater(queues, ROUNDS, 'there was next to nothing to start on')
            self.assertGreater(items, 10 * ROUNDS)
            self.assertGreater(cuts, ROUNDS / 2, 'hardly any damage was done')


class EachDamageTest(DamageTest):
    """What chance must not be left to find."""

    def setUp(self):
        super().setUp()
        self.texts = [b'%d' % number for number in range(9)]
        for name, texts in (('q.5', self.texts[:3]), ('q.70', self.texts[3:6]), ('q', self.texts[6:])):
            self.write(name, b''.join(map(self.add, texts)))

    @staticmethod
    def add(text):
        return b'\x02' + (16 + len(text)).to_bytes(4, 'little') + THEN.to_bytes(8, 'little') + bytes(8) + text

    def found(self, model, name=b'q'):
        return [item[0] for item in model.queues[name][0]]

    def start_fails(self, *parts):
        """The start says why in one line."""
        with self.assertRaises(StartError) as raised:
            self.start()
        line = str(raised.exception)
        self.assertNotIn('\n', line)
        for part in parts:
            self.assertIn(part, line)

    def test_nothing_is_broken(self):
        self.assertEqual(self.found(self.check()), self.texts)

    def test_every_unknown_op_after_valid_records_may_be_newer(self):
        for op in range(11, 256):
            with self.subTest(op):
                self.write('q.70', b''.join(map(self.add, self.texts[3:5])) + bytes([op]) + b'what is that')
                model = self.check()
                self.assertEqual(self.found(model), self.texts[:5] + self.texts[6:])
                self.assertEqual(model.cuts, [(b'q.70', 44, bytes([op]) + b'what is that', False, False)])
                shutil.rmtree(self.folder / '.corrupt')

    def test_zeros_where_a_record_was_to_be(self):
        for count in (1, 4, 5, 9, 4096):
            with self.subTest(count):
                self.write('q', self.add(b'6') + bytes(count))
                self.assertEqual(self.found(self.check()), self.texts[:7])
                shutil.rmtree(self.folder / '.corrupt')

    def test_each_file_cut_at_each_byte(self):
        for name in ('q.5', 'q.70', 'q'):
            whole = self.read(name)
            for length in range(len(whole)):
                self.write(name, whole[:length])
                with self.subTest(name, length=length):
                    self.assertEqual(len(self.found(self.check())), 6 + length // 22)
                shutil.rmtree(self.folder / '.corrupt', ignore_errors=True)
            self.write(name, whole)

    def test_folders_pipes_and_links_named_as_journal_files(self):
        for place, make in (('q.6', os.mkdir), ('q.7', os.mkfifo), ('q.8', lambda path: os.symlink('/no/such', path)),
                            ('q.9', lambda path: os.symlink(os.path.basename(path), path)),
                            ('q.80.pack', os.mkdir), ('other', os.mkdir), ('pipe', os.mkfifo), ('q~~5', os.mkdir)):
            make(self.folder / place)
        self.assertEqual(self.found(self.check()), self.texts)
        self.assertEqual(len(list(self.folder.iterdir())), 11)

    def test_something_else_in_the_place_of_the_current_file(self):
        for make in (os.mkdir, os.mkfifo, lambda path: os.symlink('/no/such/folder/q', path)):
            current = self.folder / 'q'
            current.unlink()
            make(current)
            self.start_fails('cannot write to', f'{current}: ')
            current.rmdir() if current.is_dir() else current.unlink()
            self.write('q', b''.join(map(self.add, self.texts[6:])))
            self.assertEqual(self.found(self.check()), self.texts)

    def test_something_else_in_the_place_of_a_pack(self):
        self.write('q.6.pack', self.add(b'packed'))
        (self.folder / 'q.6').mkdir()
        self.start_fails('cannot put in place the packed file', f'{self.folder}/q.6.pack: ')
        (self.folder / 'q.6').rmdir()
        self.assertEqual(self.found(self.check()), [b'packed', *self.texts[3:]])

    def test_something_else_in_the_place_of_the_saved_ends(self):
        self.write('.corrupt', b'a file')
        self.assertEqual(self.found(self.check()), self.texts, 'nobody needs it')
        whole = self.read('q.5')
        self.write('q.5', whole + b'\xff')
        self.start_fails('cannot save the broken end of', '.corrupt: Not a directory')
        self.assertEqual(self.read('q.5'), whole + b'\xff')
        (self.folder / '.corrupt').unlink()
        self.assertEqual(self.found(self.check()), self.texts)

    def test_files_that_lie_elsewhere(self):
        elsewhere = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, elsewhere)
        for name in ('q.5', 'q'):
            (self.folder / name).rename(elsewhere / name)
            (self.folder / name).symlink_to(elsewhere / name)
        (elsewhere / 'q').write_bytes(b''.join(map(self.add, self.texts[6:])) + b'\x02\x11')
        model = damage.Model(self.folder)
        self.assertEqual(self.found(model), self.texts)
        drained = self.drained(self.start())
        self.assertEqual([item[0] for item in drained[b'q'][0]], self.texts)
        self.assertTrue((self.folder / 'q').is_symlink())
        self.assertEqual(self.corrupt(), [(b'q', 66, b'\x02\x11')])

    def test_names_in_other_encodings(self):
        for name in (b'caf\xe9', '\u20ac'.encode(), 'caf\u00e9'.encode()):
            with open(self.spool + b'/' + name, 'wb') as file:
                file.write(self.add(name))
        model = self.check()
        self.assertEqual(sorted(model.queues), [b'caf\xe9', b'q'])
        self.assertEqual(model.foreign, [b'caf\xe9', '\u20ac'.encode()])
