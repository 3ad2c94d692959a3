"""A test case that puts and gets, and looks at the files of the queue behind the server's back."""

import re
import shutil
import time
import unittest

from functional.waiting import eventually, stats
from functional.watched import WatchedServer

STORED = b'STORED\r\n'
END = b'END\r\n'
REFUSED = b'SERVER_ERROR journal write failed: '
FULL = b'SERVER_ERROR out of disk space\r\n'
# Settings with which nothing is compacted.
LARGE = {'default_journal_size': '10MB', 'max_journal_size': '10MB', 'max_memory_size': '10MB'}
ADDX = 21       # bytes of the record of an item besides its data (spec journal 1)
TEMPORARY = re.compile(r'~~|\.pack$')


def items_of(count, size, first=1):
    """Data of so many items, all different, each of ``size`` bytes: the number, then dots."""
    return [b'%d' % number + b'.' * (size - len(str(number))) for number in range(first, first + count)]


class JournaledTest(unittest.TestCase):
    """``begin`` starts a server; ``server`` and ``client`` are this one and a connection to it."""

    _log_before = 0

    def begin(self, config=None, **more):
        """Start a WatchedServer that lives as long as the test."""
        self.prepare(config, **more)
        self.start()
        return self.server

    def prepare(self, config=None, **more):
        """As ``begin``, but without the start: files can be put into the spool."""
        self.server = WatchedServer(config, **more)
        self.addCleanup(self.server.close)
        self.server.spool.mkdir()

    def start(self):
        self.server.start()
        self.client = self.another()

    def another(self):
        """A further connection."""
        client = self.server.client()
        self.addCleanup(client.close)
        return client

    def crash_and_start(self):
        self.server.kill9()
        self.start()

    def log(self):
        """What the server has logged since ``begin``."""
        return self.server.log()[self._log_before:]

    # --- requests

    def put(self, queue, *items, reply=STORED, words='0 0'):
        """Put items, one request behind the other; ``words``: flags and exptime."""
        for data in items:
            self.client.expect(request(queue, data, words), reply)

    def answer(self, queue, data):
        """The reply to one put."""
        self.client.send(request(queue, data))
        return self.client.recv_until(b'\r\n')

    def until_stored(self, queue, data, refusal):
        """Producers come back: the same put again and again until it is accepted."""
        began = time.monotonic()
        while (reply := self.answer(queue, data)) != STORED:
            self.assertEqual(reply, refusal)
            self.assertLess(time.monotonic() - began, 5, 'still refused')
            time.sleep(0.01)

    def take(self, name, client=None):
        """One get; ``name`` may have options. -> the data, None if there was nothing."""
        client = client or self.client
        client.send(b'get %s\r\n' % name.encode())
        line = client.recv_until(b'\r\n')
        if line == END:
            return None
        self.assertTrue(line.startswith(b'VALUE '), line)
        data = client.recv_exactly(int(line.split()[3]))
        client.expect(b'', b'\r\nEND\r\n')
        return data

    def take_many(self, queue, count):
        return [self.take(queue) for _ in range(count)]

    def drain(self, queue):
        """All waiting items, in order."""
        return list(iter(lambda: self.take(queue), None))

    def numbers(self, queue, *keys):
        """Values out of ``stats``, int: ``numbers('q', 'items', 'bytes')``."""
        found = stats(self.client)
        return [int(found[f'queue_{queue}_{key}']) for key in keys]

    def assert_numbers(self, queue, **expected):
        self.assertEqual(dict(zip(expected, self.numbers(queue, *expected))), expected)

    def pause(self, ms=60):
        """Time in which something that must not happen would have happened."""
        self.client.expect(b'get nothing-here/t=%d\r\n' % ms, END)

    # --- what lies in the spool

    def sizes(self, queue):
        """The files of a queue: dict of name to bytes, the oldest first, the current one last."""
        found = {}
        for path in self.server.spool.iterdir():
            if re.fullmatch(re.escape(queue) + r'(\.[^/]*|~~.*)?', path.name):
                try:
                    found[path.name] = path.stat().st_size
                except FileNotFoundError:
                    continue        # it was just taken away
        return dict(sorted(found.items(), key=lambda one: _age(one[0])))

    def read(self, name):
        return (self.server.spool / name).read_bytes()

    def settled_sizes(self, queue):
        """As ``sizes``, once no rewrite or pack is under way any more."""
        def look():
            found = self.sizes(queue)
            # while a name changes a listing may have neither the old nor the new one
            return queue in found and not any(map(TEMPORARY.search, found)) and [found]
        return eventually(self, f'no temporary files of {queue}', look)[0]

    def assert_rewritten(self, queue, times, size=None):
        """So many rewrites were made, not more; then the current file is all there is, of ``size`` bytes."""
        eventually(self, f'{times} rewrites of {queue}',
                   lambda: self.numbers(queue, 'journal_rewrites')[0] >= times)
        self.assert_numbers(queue, journal_rewrites=times)
        found = self.settled_sizes(queue)
        if size is not None:
            self.assertEqual(found, {queue: size})
            self.assert_numbers(queue, logsize=size)

    def is_replacing(self):
        """Has the fsync of a temporary file begun that will replace others (with ``all_calls``)?"""
        return any(re.match(r'fsyncing [^.]*~~', line) for line in self.server.noted_so_far())

    def noted_at_the_end(self):
        """All calls since the last look, once the last change of a name is followed by an fsync of the folder."""
        def is_done():
            for line in reversed(self.server.noted_so_far()):
                if line == 'fsync .':
                    return True
                if line.startswith(('rename ', 'unlink ')):
                    return False
            return False
        eventually(self, 'an fsync of the folder behind the last change of a name', is_done)
        return self.server.noted()

    def assert_synced_between(self, noted):
        """Names are made durable after each step; several removals are one."""
        before = None
        for line in noted:
            if line == 'fsync .':
                before = None
            elif line.startswith(('rename ', 'unlink ')):
                call = line.split()[0]
                if before is not None and (before, call) != ('unlink', 'unlink'):
                    self.fail(f'no fsync of the folder between {before} and {line}')
                before = call
        self.assertIsNone(before, 'no fsync after the last step')


class SharedServerTest(JournaledTest):
    """As a JournaledTest, but with one server for all tests of the class, because a start takes its time.

    ``begin`` then deletes all queues, ends all faults and reloads the configuration; its [server] section is
    that of the class, ``server_settings``.
    """

    server_settings = {'max_open_transactions': 20}

    @classmethod
    def setUpClass(cls):
        cls.server = cls.make_server()
        cls.addClassCleanup(cls.server.close)

    @classmethod
    def make_server(cls):
        return WatchedServer(all_calls=True)

    def begin(self, config=None):
        self.server.faults()
        if not self.server.running:
            self.prepare(config)
            self.start()
            return self.server
        self.client = self.another()
        for queue in re.findall(r'queue_(\S+)_mem_items', ' '.join(stats(self.client))):
            self.client.expect(b'delete %s\r\n' % queue.encode('latin-1'), b'DELETED\r\n')
        eventually(self, 'all journals are gone', self._wipe)
        self.server.reload_config(self._whole(config))
        self.server.noted()
        self._log_before = len(self.server.log())
        return self.server

    def prepare(self, config=None):
        self.server.faults()
        if self.server.running:
            self.server.kill9()
        self.server.spool.mkdir(exist_ok=True)
        self._wipe()
        self.server.write_config(self._whole(config))
        self.server.noted()
        self._log_before = len(self.server.log())

    def _whole(self, config):
        return {**(config or {}), 'server': self.server_settings}

    def _wipe(self):
        """Remove what lies in the spool of a server that has no queues; -> was nothing there but strays?"""
        found = list(self.server.spool.iterdir())
        for path in found:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        return not any(re.fullmatch(r'[^.]+(\.\d+)?(\.pack)?', path.name) for path in found)


def request(queue, data, words='0 0'):
    """The bytes of a set."""
    return b'set %s %s %d\r\n%s\r\n' % (queue.encode(), words.encode(), len(data), data)


def _age(name):
    stamp = re.search(r'[.~](\d+)', name)
    return (stamp is None, int(stamp[1]) if stamp else 0, name)


def name_changes(noted):
    """What was renamed and removed: ``['rename q q.MS', 'unlink q.MS', ...]``, times replaced by MS."""
    return [re.sub(r'\d{2,}', 'MS', line) for line in noted if line.startswith(('rename ', 'unlink '))]
