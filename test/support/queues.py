"""A real queue, with its journal and its compactor, beside a plain model of it.

``Trial`` does one random operation after the other, on a system that fails now and then and with the jobs of
threads done at any moment. After each it compares the queue with the model, and with what a start on a copy
of the spool would make of it: the process may be killed then or between two system calls, or the power lost.
"""

import errno
import logging
import os
import pathlib
import random
import shutil
import tempfile

from kestrel.compactor import Compactor
from kestrel.disk import Disk
from kestrel.errors import JournalError
from kestrel.journal import names, recovery
from kestrel.journal.journal import Journal
from kestrel.journal.sync import Syncer
from kestrel.persistent_queue import PersistentQueue
from kestrel.stats import QueueStats
from kestrel.waiters import Waiters
from support.clock import MovedClock
from support.fakes import queue_settings
from support.power import Durable
from support.spool import FaultySystem, KillableSystem, LogLines, MovedHub

NAME = b'q'
UNLIMITED = 1 << 40
# A file system in memory, if there is one: a trial makes thousands of files.
MEMORY = '/dev/shm'
# After how many of the operations the power is lost, to see what is left.
POWER_LOSSES = 0.3
# How many of the moments between two system calls are looked at.
BETWEEN = 0.1


class FlakySystem(KillableSystem):
    """Fails by chance. ``odds`` {name of a call: how likely it fails}; ``reason``: errno of all that fail so.

    changes  how many calls have changed the spool
    changed  called after each of them, or None
    durable  power.Durable
    """

    CHANGING = ('write', 'writev', 'ftruncate', 'rename', 'unlink', 'open')

    def __init__(self, chance, durable):
        self.chance = chance
        self.durable = durable
        self.odds = {}
        self.reason = errno.EIO
        self.changes = 0
        self.changed = None
        super().__init__()

    def _watched(self, name):
        certain = super()._watched(name)

        def call(*arguments):
            if not self.killed and name in self.odds and self.chance.random() < self.odds[name]:
                self.calls.append((name, *arguments))
                if name == 'fsync':
                    self.durable.not_synced(*arguments)
                raise OSError(self.reason, os.strerror(self.reason))
            answer = certain(*arguments)
            if name == 'fsync':
                self.durable.synced(*arguments)
            elif name == 'open' and arguments[1] & os.O_CREAT:
                self.durable.created(answer)
            if name in self.CHANGING:
                self.changes += 1
                if self.changed is not None:
                    self.changed()
            return answer
        return call


class StartingSystem(FaultySystem):
    """For a start on a copy of a spool: nobody waits for its disk."""


class SteppedHub(MovedHub):
    """A hub whose threads end their jobs in any order, and hear of it later."""

    def __init__(self, clock):
        super().__init__(clock)
        self.results = []

    def work(self, chance):
        """A thread does one job, or the hub hears of one; -> false if there was nothing to do."""
        self.turn()
        if self.results and (not self.jobs or chance.random() < 0.5):
            done, result, error = self.results.pop(0)
            done(result, error)
        elif self.jobs:
            job, done = self.jobs.pop(chance.randrange(len(self.jobs)))
            try:
                self.results.append((done, job(), None))
            except Exception as failure:
                self.results.append((done, None, failure))
        else:
            return False
        self.turn()
        return True

    def finish(self):
        while self.results:
            done, result, error = self.results.pop(0)
            done(result, error)
        return super().finish()


def entry_of(item):
    """What must not get lost of an item."""
    return item.data, item.flags, item.add_time, item.expiry


def read_all(recovered):
    """-> entries of all items of a recovery.Recovered, those on disk too. Checks its numbers."""
    entries = [entry_of(item) for item in recovered.items]
    held = sum(len(entry[0]) for entry in entries)
    if recovered.mem_bytes != held:
        raise AssertionError('mem_bytes %d, not %d' % (recovered.mem_bytes, held))
    left = recovered.behind
    if (recovered.reader is None) != (left == 0) and recovered.reader is None:
        raise AssertionError('%d items behind, but no reader' % left)
    while recovered.reader is not None:
        item = recovered.reader.next()
        if item is not None:
            left -= 1
            entries.append(entry_of(item))
        elif recovered.reader.left is None and not recovered.reader.busy:
            break
    if left:
        raise AssertionError('%d items more than on disk' % left)
    if recovered.count != len(entries):
        raise AssertionError('count %d, not %d' % (recovered.count, len(entries)))
    if recovered.bytes != sum(len(entry[0]) for entry in entries):
        raise AssertionError('bytes %d' % recovered.bytes)
    return entries


class Model:
    """What a queue must hold: entries (data, flags, add time, expiry), whose data are all different.

    waiting   in the queue, head first
    tail      [(entry, Commit or None)], not in the queue yet
    opened    {xid: entry}
    refused   entries of refused puts that reached the journal: nobody gets them, but a restart may bring them
              back
    promised  set of the entries whose puts waited for an fsync that succeeded
    on_disk   the states that the journal may hold, oldest first: more than one while records find no room
    """

    def __init__(self, promised):
        self.promised = promised
        self.waiting = []
        self.tail = []
        self.opened = {}
        self.refused = set()
        self.on_disk = [()]

    def state(self, leaving=0):
        """What a restart now would bring; ``leaving``: without so many at the head."""
        opened = [self.opened[xid] for xid in sorted(self.opened)]
        return tuple(opened + self.waiting[leaving:] + [entry for entry, _ in self.tail])

    def note(self):
        """A record was written, or should have been."""
        self.on_disk.append(self.state())

    def settle(self):
        """Let in what has been fsynced."""
        while self.tail:
            entry, commit = self.tail[0]
            if commit is not None and not commit.done:
                return
            self.tail.pop(0)
            if commit is None or commit.error is None:
                self.waiting.append(entry)
                if commit is not None:
                    self.promised.add(entry)
            else:
                self.refused.add(entry)
                for place, state in enumerate(self.on_disk):
                    self.on_disk[place] = tuple(known for known in state if known != entry)


class Trial:
    """One queue on a spool of its own. ``seed`` decides everything; ``settings`` as ``fakes.queue_settings``.

    Use it as a context manager.
    """

    def __init__(self, seed, odds=None, reason=errno.EIO, **settings):
        self.seed = seed
        self.chance = random.Random(seed)
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=MEMORY if os.access(MEMORY, os.W_OK) else None))
        self.spool = os.fsencode(self.folder / 'spool')
        os.mkdir(self.spool)
        self.clock = MovedClock()
        self.log = LogLines()
        self.logger = logging.Logger('trial')
        self.logger.addHandler(self.log)
        self.durable = Durable(self.spool)
        # Entries whose puts, and whose confirms, were answered after an fsync; [(entry, Commit)] of confirms.
        self.promised = set()
        self.gone = set()
        self.confirms = []
        self.odds = odds or {}
        self.reason = reason
        if 'ftruncate' in self.odds:
            # A discarded head is gone at a start if the put that it made room for failed and was not cut off.
            settings['discard_old_when_full'] = False
        self.settings = queue_settings(keep_journal=True, **settings)
        self.numbers = 0
        self.steps = []
        self.commits = []
        self.model = Model(self.promised)
        self.queue = None
        # What starts between two system calls of this step found; spool and model at the last comparison.
        self.found_between = []
        self.on_the_way = []
        self.compared = None
        self.begin_process()
        self.set_up(None)

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.system.kill()
        shutil.rmtree(self.folder)

    # --- the process

    def begin_process(self):
        self.system = FlakySystem(self.chance, self.durable)
        self.system.reason = self.reason
        self.hub = SteppedHub(self.clock)
        self.disk = Disk(self.logger, self.system)
        ignore = [].append
        self.syncer = Syncer(self.clock, self.logger, ignore, ignore, ignore, self.hub)

    def set_up(self, recovered):
        """Make the queue of now, new or as found in the spool."""
        odds, self.system.odds = self.system.odds, {}
        journal = Journal(self.disk, self.clock, self.hub, self.syncer, self.spool, NAME,
                          self.settings.sync_journal, recovered)
        self.queue = PersistentQueue(NAME, self.settings, journal, recovered, self.clock, Waiters(),
                                     QueueStats())
        self.queue.compactor = Compactor(self.queue, journal, self.clock)
        self.system.odds = odds

    def recover(self, spool, disk):
        """-> Recovered of what is in a spool, None if there is nothing."""
        files = recovery.scan(disk, spool, self.logger).get(NAME)
        if files is None:
            return None
        return recovery.recover(disk, self.clock, self.logger, files, self.settings.max_memory_size)

    def other_folder(self):
        """-> an empty folder, bytes."""
        copy = self.folder / 'copy'
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        return os.fsencode(copy)

    def copy_spool(self):
        copy = self.other_folder()
        for path in (self.folder / 'spool').iterdir():
            if path.is_file():
                (self.folder / 'copy' / path.name).write_bytes(path.read_bytes())
        return copy

    def journal_files(self):
        """Their names, sorted; not the folder of what a start has cut off."""
        return sorted(name for name in os.listdir(self.spool) if name != names.CORRUPT_FOLDER)

    def after_a_crash(self):
        """-> the entries that a start would find if the process ended now."""
        return self.found_in(self.copy_spool())

    def found_in(self, spool):
        """-> the entries that a start finds there."""
        recovered = self.recover(spool, Disk(self.logger, StartingSystem()))
        if recovered is None:
            return []
        try:
            return read_all(recovered)
        finally:
            for file in recovered.files:
                file.close()

    # --- operations; each says what it did in ``steps``

    def step(self):
        """One random operation, and something of what the hub and the threads have to do."""
        operations = [self.put, self.take, self.open, self.confirm, self.put_back, self.flush, self.sweep,
                      self.pass_time, self.work, self.fail, self.reload, self.set_clock_back, self.delete,
                      self.restart, self.stop]
        weights = [32, 14, 12, 7, 6, 1, 2, 5, 16, 4, 1, 0.5, 0.3, 0.7, 0.5]
        operation = self.chance.choices(operations, weights)[0]
        self.found_between.clear()
        self.on_the_way = []
        if operation not in (self.delete, self.restart, self.stop):
            self.system.changed = self.look_between
        try:
            operation()
            if self.chance.random() < 0.5:
                self.hub.turn()
        finally:
            self.system.changed = None
        self.check()

    def look_between(self):
        """The process may be killed between any two system calls."""
        if self.chance.random() < BETWEEN:
            self.found_between.append(self.after_a_crash())

    def told(self, *words):
        self.steps.append(' '.join(str(word) for word in words))

    def put(self):
        chance = self.chance
        queue = self.queue
        self.numbers += 1
        size = chance.choice((0, 8, 40, 100, 100, 300))
        data = b'%d.' % self.numbers + b'x' * size
        flags = chance.choice((0, 0, 0, 32))
        expiry = self.clock.now_ms() + chance.choice((50, 2000)) if chance.random() < 0.15 else 0
        durable = chance.random() < 0.1
        self.told('put', self.numbers, size, 'expires' if expiry else '', 'durable' if durable else '')
        expired, discarded = queue.stats.expired_items, queue.stats.discarded
        entry = data, flags, self.clock.now_ms(), expiry
        full = self._is_full()
        if full and self.settings.discard_old_when_full:
            # A write that was cut short may have discarded the head for an item that did not get in.
            self.on_the_way = [self.model.state(leaving) for leaving in (1, 2)]
        try:
            answer = queue.put(data, flags, expiry, durable)
        except JournalError as error:
            self.told('  failed:', error.why)
            answer = None
        self.model.settle()
        self._dropped(queue.stats.expired_items - expired, True)
        discarded = queue.stats.discarded - discarded
        self._dropped(discarded, False)
        if discarded and not self.settings.discard_old_when_full:
            raise AssertionError('discarded without being asked to')
        if answer is False:
            if not full:
                raise AssertionError('refused without being full')
            return
        if answer is None:
            return
        if answer is True and not self.model.tail:
            self.model.waiting.append(entry)
        else:
            commit = None if answer is True else answer
            self.model.tail.append((entry, commit))
            if commit is not None:
                self.commits.append(commit)
                self.told('  waits')
        self.model.note()
        count = len(self.model.waiting) + len(self.model.tail)
        if not self.model.refused and count > self.settings.max_items:
            raise AssertionError('more than max_items')

    def _is_full(self):
        return len(self.model.waiting) + len(self.model.tail) >= self.settings.max_items

    def _dropped(self, count, expired):
        for _ in range(count):
            entry = self.model.waiting.pop(0)
            if expired and not 0 < entry[3] < self.clock.now_ms():
                raise AssertionError('not expired: %r' % entry[0])
            self.model.note()

    def take(self, opening=False):
        queue = self.queue
        self.told('open' if opening else 'take')
        now = self.clock.now_ms()
        while queue.stale(now):
            self._dropped(queue.sweep(1000), True)
        item = queue.take(opening, now)
        if item is None:
            self.told('  nothing')
            if self.model.waiting and (queue.items or queue.reader is None):
                raise AssertionError('nothing taken, but %d wait' % len(self.model.waiting))
            return
        entry = self.model.waiting.pop(0)
        if entry_of(item) != entry:
            raise AssertionError('took %r instead of %r' % (item.data, entry[0]))
        if opening:
            if item.xid in self.model.opened:
                raise AssertionError('xid %d is open' % item.xid)
            self.model.opened[item.xid] = entry
            self.told('  xid', item.xid)
        else:
            self.told('  ', entry[0].split(b'.')[0].decode())
        self.model.note()

    def open(self):
        self.take(True)

    def _some_xid(self):
        return self.chance.choice(sorted(self.model.opened))

    def confirm(self):
        if self.model.opened:
            xid = self._some_xid()
            self.told('confirm', xid)
            commit = self.queue.confirm(xid)
            self.model.settle()
            entry = self.model.opened.pop(xid)
            self.model.note()
            if commit is not None:
                self.commits.append(commit)
                self.confirms.append((entry, commit))

    def put_back(self):
        if self.model.opened:
            xid = self._some_xid()
            self.told('put back', xid)
            if not self.queue.unremove(xid):
                raise AssertionError('xid %d is not open' % xid)
            self.model.settle()
            self.model.waiting.insert(0, self.model.opened.pop(xid))
            self.model.note()

    def flush(self):
        self.told('flush')
        self.queue.flush()
        while self.model.waiting:
            self.model.waiting.pop(0)
            self.model.note()

    def sweep(self):
        limit = self.chance.choice((1, 1000))
        self.told('sweep', limit)
        self._dropped(self.queue.sweep(limit), True)

    def pass_time(self):
        seconds = self.chance.choice((0.001, 0.06, 0.2, 1.1))
        self.told('time', seconds)
        self.hub.advance(seconds)

    def work(self):
        many = self.chance.choice((1, 1, 2, 3, 20))
        self.told('work', many)
        for _ in range(many):
            self.hub.work(self.chance)

    def fail(self):
        """The system begins to fail, or recovers."""
        if self.system.odds or not self.odds:
            self.system.odds = {}
            self.system.most = None
            self.told('all works')
            return
        self.system.odds = {name: self.chance.choice((0.2, 1)) for name, likely in sorted(self.odds.items())
                            if self.chance.random() < likely}
        self.system.most = self.chance.choice((None, None, 7))
        self.told('fails', self.system.odds)

    def reload(self):
        """Other sizes count from now on."""
        self.settings = self.settings.replaced(
            max_memory_size=self.chance.choice((1, 300, 2000)),
            max_journal_size=self.chance.choice((500, 3000)),
            default_journal_size=self.chance.choice((100, 1000)))
        self.told('reload', self.settings.max_memory_size, self.settings.max_journal_size,
                  self.settings.default_journal_size)
        self.queue.configure(self.settings)

    def set_clock_back(self):
        """The time of day, not that of timers."""
        self.told('clock back')
        self.clock.ms -= 5000

    def delete(self):
        self.told('delete')
        odds, self.system.odds = self.system.odds, {}
        self.queue.delete()
        # The new file of a rewrite that was given up is left to its thread.
        left = [name for name in self.journal_files() if b'~~' not in name]
        if left and 'unlink' not in self.odds:
            raise AssertionError('left of a deleted queue: %r' % left)
        self.model = Model(self.promised)
        self.promised.clear()
        self.gone.clear()
        self.confirms.clear()
        self.queue = None
        self.system.odds = odds
        self.set_up(None)

    def restart(self):
        """The process is killed, and another one goes on."""
        self.told('restart')
        expected = self.after_a_crash()
        self.system.kill()
        self.durable.write_back()
        self.begin_process()
        recovered = self.recover(self.spool, self.disk)
        self.set_up(recovered)
        # a void item of the last process waits like all others
        self.model = Model(self.promised)
        self.model.waiting = expected
        self.confirms.clear()
        self.model.on_disk = [self.model.state()]
        self.commits.clear()
        self.compared = None

    def stop(self):
        """The process ends as it should, but for what fails, and another one goes on."""
        self.told('stop')
        while self.queue.compactor.stop() is None:
            if not self.hub.work(self.chance):
                raise AssertionError('a job does not end')
        self.model.settle()
        pending = self.queue.journal.is_pending()
        self.queue.close()
        if not pending or not self.system.odds:
            self.model.on_disk = [self.model.state()]
        self._check_found(self.after_a_crash(), 'after a stop')
        self.restart()

    # --- comparing

    def check(self):
        """The queue is what the model says, and so is what a start would find."""
        try:
            self.model.settle()
            self._check_memory()
            self._check_disk()
            if self.chance.random() < POWER_LOSSES:
                self._check_power_loss()
        except AssertionError as error:
            raise AssertionError(self.report(error)) from None

    def report(self, error):
        return 'seed %r: %s\n%s\nlog:\n%s\nfiles: %s\n%s' % (
            self.seed, error, '\n'.join(self.steps[-45:]), '\n'.join(self.log.lines[-12:]),
            sorted(os.listdir(self.spool)), vars(self.settings))

    def _check_memory(self):
        queue = self.queue
        model = self.model
        items = [entry_of(item) for item in queue.items if item.data is not None]
        _same('items in memory', items, model.waiting[:len(items)])
        if queue.reader is None:
            _same('items', items, model.waiting)
        _same('count', queue.count, len(model.waiting))
        _same('bytes', queue.bytes, sum(len(entry[0]) for entry in model.waiting))
        _same('mem_bytes', queue.mem_bytes, sum(len(entry[0]) for entry in items))
        _same('open reads', {xid: entry_of(item) for xid, item in queue.opened.items()}, model.opened)
        _same('puts that wait', len(queue.tail), len(model.tail))
        _same('tail_bytes', queue.tail_bytes, sum(len(entry[0]) for entry, _ in model.tail))
        if queue.items and queue.items[0].data is None:
            raise AssertionError('a void item stands at the head')

    def _check_disk(self):
        model = self.model
        while self.found_between:
            self._check_found(self.found_between.pop(), 'between two calls', self.on_the_way)
        if not self.queue.journal.is_pending():
            model.on_disk = [model.state()]
        moment = self.system.changes, list(model.on_disk)
        if moment == self.compared:
            return
        self.compared = moment
        before = len(self.log.lines)
        self._check_found(self.after_a_crash(), 'after a crash')
        if 'ftruncate' not in self.odds:
            broken = [line for line in self.log.lines[before:] if 'broken' in line]
            if broken:
                raise AssertionError('broken record: %s' % broken)

    def _check_power_loss(self):
        """What was promised is there, what is gone stays away, whatever had not reached the disk."""
        for entry, commit in self.confirms:
            if commit.done and commit.error is None:
                self.gone.add(entry)
        self.confirms = [(entry, commit) for entry, commit in self.confirms if not commit.done]
        journal = self.queue.journal
        if journal.suspect is not None or self.durable.is_doubtful() and journal.files.all()[0].name_is_new():
            # Removals may be lost, and those behind them hit other items: hence the rewrite (D9), which ends that
            # when the name of its file is durable.
            return
        kept = [*self.model.opened.values(), *self.model.waiting]
        for all_names in (False, True):
            copy = self.other_folder()
            self.durable.leave(copy, all_names)
            found = set(self.found_in(copy))
            lost = [entry for entry in kept if entry in self.promised and entry not in found]
            if lost:
                raise AssertionError('lost with the power: %s' % _shown(lost))
            again = [entry for entry in found if entry in self.gone]
            if again:
                raise AssertionError('confirmed, but back with the power: %s' % _shown(again))

    def _check_found(self, found, when, others=()):
        model = self.model
        found = _without_placeholders(entry for entry in found if entry not in model.refused)
        if not any(found == _without_placeholders(state) for state in [*model.on_disk, *others]):
            raise AssertionError('%s: %s\ninstead of: %s' % (
                when, _shown(found), ' or '.join(_shown(state) for state in model.on_disk[-3:])))

    # --- the end

    def settle(self):
        """Everything works again, and all threads end what they do."""
        self.system.odds = {}
        self.system.most = None
        self.system.room = None
        self.told('settle')
        for _ in range(6):
            while self.hub.work(self.chance):
                pass
            self.hub.advance(1.1)
        self.check()
        queue = self.queue
        if queue.journal.is_pending():
            raise AssertionError(self.report('records are still pending'))
        if self.model.tail:
            raise AssertionError(self.report('puts still wait'))
        for commit in self.commits:
            if not commit.done:
                raise AssertionError(self.report('a commit is not done'))
        sizes = {name: os.path.getsize(self.spool + b'/' + name) for name in self.journal_files()
                 if 'unlink' not in self.odds or b'~~' not in name}
        files = {os.path.basename(file.path): file.size for file in queue.journal.files.all()}
        if 'ftruncate' in self.odds:
            return      # what could not be cut off is cut off before the next write
        if files != sizes:
            raise AssertionError(self.report('files %r are %r' % (files, sizes)))
        if queue.journal.total() != sum(sizes.values()):
            raise AssertionError(self.report('total %d, files %r' % (queue.journal.total(), sizes)))

    def drain(self):
        """Take everything out, in order; nothing may be left."""
        self.settle()
        try:
            while self.model.waiting:
                left = len(self.model.waiting)
                self.take()
                self.hub.advance(0)
                self.model.settle()
                if len(self.model.waiting) == left:
                    raise AssertionError('%d items cannot be taken' % left)
            self.take()
        except AssertionError as error:
            raise AssertionError(self.report(error)) from None
        self.check()

    def end(self):
        """Delete the queue: no file and no descriptor may be left."""
        self.told('the end')
        self.queue.delete()
        while self.hub.work(self.chance):
            pass
        left = self.journal_files()
        if left and 'unlink' not in self.odds:
            raise AssertionError(self.report('left of a deleted queue: %r' % left))
        if self.system.held:
            raise AssertionError(self.report('%d descriptors are still open' % len(self.system.held)))


def _without_placeholders(entries):
    """A packed file holds an expired empty item in the place of a void one."""
    return tuple(entry for entry in entries if entry[0] or not 0 < entry[3] < entry[2])


def _same(what, found, expected):
    if found != expected:
        raise AssertionError('%s: %s instead of %s' % (what, _shown(found), _shown(expected)))


def _shown(value):
    if isinstance(value, (list, tuple)) and all(isinstance(entry, tuple) for entry in value):
        return '[%s]' % ' '.join(entry[0].split(b'.')[0].decode() for entry in value)
    return repr(value)
