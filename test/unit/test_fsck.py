"""kestrel-fsck: what a start would do, said without doing it (spec journal 6 and 7, D11, D12)."""

import os

from kestrel.tools import fsck
from test_qdump import EXAMPLE, ToolTest, add


class FsckTest(ToolTest):

    tool = fsck

    def contents(self):
        return {path.name: path.read_bytes() for path in self.folder.rglob('*') if path.is_file()}

    def check(self, code):
        """-> the lines; the spool is as it was."""
        before = self.contents()
        self.assertEqual(self.run_tool(str(self.folder)), code)
        self.assertEqual(self.contents(), before)
        self.assertEqual(self.err.getvalue(), '')
        return self.out.getvalue().decode().splitlines()

    def test_clean(self):
        self.write('work.5', add(b'a'))
        self.write('work', b'\x01' + add(b'bb'))
        self.write('notes.bak', b'')
        self.assertEqual(self.check(0), [
            'notes.bak: not a journal file, left alone', 'work.5: 22 bytes, 1 records, good',
            'work: 24 bytes, 2 records, good', 'queue work: 1 items, 2 bytes', 'clean'])

    def test_empty_spool(self):
        self.assertEqual(self.check(0), ['clean'])

    def test_open_reads(self):
        self.write('work', EXAMPLE)
        self.assertEqual(self.check(1), [
            'work: 107 bytes, 8 records, good', 'queue work: 2 items, 2 bytes; 1 open reads would be put back',
            'a start would change something: 1 findings'])

    def test_broken_files(self):
        self.write('work.5', add(b'a') + b'\x0bxyz')
        self.write('work', add(b'b') + b'\x02\x11')
        self.assertEqual(self.check(1)[:2], [
            'work.5: 26 bytes, 1 records, broken record (op 11: from a newer kestrel?) at offset 22: 4 bytes would '
            'be cut off and saved as .corrupt/work.5.22.<time>; removals in later files may hit the wrong items then',
            'work: 24 bytes, 1 records, incomplete last record at offset 22: 2 bytes would be cut off and saved as '
            '.corrupt/work.22.<time>'])

    def test_packs_temporary_and_missing_files(self):
        self.write('work.5', add(b'a'))
        self.write('work.7.pack', add(b'p'))
        self.write('work.9', add(b'c'))
        self.write('work~~3', b'x')
        self.assertEqual(self.check(1), [
            'work~~3: temporary file, would be deleted', 'work.5: would be deleted, work.7.pack replaces it',
            'work.7.pack: packed file, would become work.7', 'work.7.pack: 22 bytes, 1 records, good',
            'work.9: 22 bytes, 1 records, good', 'work: the current file is missing, would be created',
            'queue work: 2 items, 2 bytes', 'a start would change something: 4 findings'])

    def test_clean_after_a_start(self):
        self.test_packs_temporary_and_missing_files()
        self.write('q', EXAMPLE + b'\x0b')
        self.start_and_stop()
        self.assertEqual(self.check(0)[-1], 'clean')

    def test_it_changes_nothing_exactly_when_a_start_does(self):
        for name, data in (('q', add(b'a')), ('q', EXAMPLE), ('q', b'\x02'), ('q.5', b''), ('q~~5', b''), ('q', b'')):
            with self.subTest(name=name, data=data):
                for path in self.folder.iterdir():
                    path.unlink() if path.is_file() else [*map(os.unlink, path.iterdir()), path.rmdir()]
                self.write(name, data)
                code = self.run_tool(str(self.folder))
                before = self.contents()
                self.start_and_stop()
                self.assertEqual(code, 0 if self.contents() == before else 1)

    def test_what_cannot_be_used(self):
        self.assertEqual(self.run_tool(self.path('no')), 2)
        self.assertEqual(self.err.getvalue(), 'kestrel-fsck: %s: No such file or directory\n' % self.path('no'))
        self.assertEqual(self.files(), [], 'it is not created')
        self.write('file', b'')
        self.assertEqual(self.run_tool(self.path('file')), 2)

    def test_names_forge_no_lines(self):
        self.write('evil\nclean', b'')
        self.assertEqual(self.check(0)[0], 'evil\\nclean: not a journal file, left alone')

    def test_running_server(self):
        self.disk.lock_spool(self.spool)
        self.addCleanup(self.disk.unlock_spool)
        self.assertIn('in use by a running server (pid %d)' % os.getpid(), self.check(0)[0])
