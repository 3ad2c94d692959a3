"""Crash points: what real recoveries make of the spools of a Machine, compared with what was promised."""

import logging
import os
import shutil

from crash.damage import Model
from crash.process import pause
from crash.promises import Queue
from crash.rebuild import NAMES, Machine, split
from crash.recorder import Recorder, Rename, read_spool, write_spool
from crash.tiny import DEFAULTS, settings_of
from kestrel.disk import Disk
from kestrel.queue_collection import QueueCollection
from kestrel.stats import ServerStats
from support.clock import THEN, MovedClock
from support.fakes import FakeConfig
from support.queues import read_all
from support.spool import LogLines, MovedHub

LATER = 10 ** 7         # ms: recoveries are done so long after the workload
NEAR = 2                # places on each side of a changed name that are always looked at


def cuts(folder):
    """What a start has to cut off the files in a folder."""
    return {lost for _, _, lost, _, _ in Model(folder).cuts}


class Unsynced:
    """The module os without fsyncs."""

    def __getattr__(self, name):
        return getattr(os, name)

    @staticmethod
    def fsync(descriptor):
        os.fstat(descriptor)


class Start:
    """A start of the real server on a spool that holds files of one queue.

    items  keys of what is in the queue then, head first
    """

    def __init__(self, queue, spool, system):
        logger = logging.Logger('start')
        log = LogLines()
        logger.addHandler(log)
        clock = MovedClock(THEN + LATER)
        self.collection = QueueCollection(
            Disk(logger, system), MovedHub(clock), None, clock, ServerStats(),
            FakeConfig(**{**DEFAULTS, **vars(settings_of(queue))}), logger)
        self.collection.load(spool)
        self.items = []
        for name, found in self.collection.queues.items():
            if name != queue:
                raise AssertionError('%r has become the queue %r' % (queue, name))
            self.items = [(data, flags) for data, flags, _, _ in read_all(found)]
            for file in found.journal.files.all():
                file.close()


class Points:
    """Checks crash points of one log.

    folder   a path, bytes: where spools are rebuilt; it is made and emptied
    chance   random.Random, for the choice
    recorder the Recorder of a workload
    share    of the places that are looked at, 0..1; of those near changed names ``near``, of those where a
             packed or rewritten file is put in place ``placing``
    most     spools that are looked at there, None: all
    deep     how likely it is that crashes of the recovery after a process crash are looked at, too; of one
             after a power loss a fifth of that

    places, spools, deeper  how many were looked at: places, spools, spools of crashed recoveries
    complaints  [str]
    """

    def __init__(self, folder, chance, recorder, share=1.0, near=1.0, placing=1.0, most=None, deep=0.0):
        self.folder = folder
        self.chance = chance
        self.share = share
        self.near = near
        self.placing = placing
        self.most = most
        self.deep = deep
        self.places = self.spools = self.deeper = 0
        self.complaints = []
        self.logs = split(recorder)

    def check_all(self):
        for queue, log in sorted(self.logs.items()):
            self.check_queue(queue, *log)

    def check_queue(self, queue, names, files, entries):
        promised = Queue(entries)
        machine = Machine(names, files)
        shares = {}
        for number, (_, entry) in enumerate(entries):
            if isinstance(entry, NAMES):
                placing = isinstance(entry, Rename) and (b'~' in entry.old or entry.old.endswith(b'.pack'))
                share = self.placing if placing else self.near
                for beside in range(number - NEAR, number + NEAR + 1):
                    shares[beside] = max(share, shares.get(beside, 0))
        for number, (place, entry) in enumerate(entries):
            machine.apply(place, entry)
            if self.chance.random() < shares.get(number, self.share):
                self.check_place(queue, promised, machine, place + 1)

    def check_place(self, queue, promised, machine, crash):
        self.places += 1
        crashes = [(*found, False) for found in machine.process_crashes()]
        losses = [(*found, True) for found in machine.power_losses(self.chance)]
        if self.most is not None:
            crashes = crashes[:1] + self.chance.sample(crashes[1:], min(self.most // 4, len(crashes) - 1))
            losses = self.chance.sample(losses, min(self.most, len(losses)))
        for what, spool, gap, power_loss in crashes + losses:
            self.check_spool(queue, promised, crash, what, spool, power_loss, gap)
            if self.chance.random() < self.deep * (0.2 if power_loss else 1):
                self.check_recovery(queue, promised, machine, crash, what, spool, power_loss, gap)

    def check_spool(self, queue, promised, crash, what, spool, power_loss, gap, saved=()):
        """``saved``: what must be in .corrupt, besides what is cut off now."""
        self.spools += 1
        if os.path.exists(self.folder):
            shutil.rmtree(self.folder)
        write_spool(self.folder, spool)
        try:
            saved = {*saved, *cuts(self.folder)}
            start = Start(queue, self.folder, Unsynced())
            files = read_spool(self.folder)
            wrong = promised.complaints(crash, start.items, power_loss, gap)
            if not saved <= {content for name, content in files.items() if b'/' in name}:
                wrong.append('what was cut off is not in .corrupt')
            again = Start(queue, self.folder, Unsynced())
            if again.items != start.items:
                wrong.append('a second recovery finds %r instead of %r' % (again.items, start.items))
            if read_spool(self.folder) != files:
                wrong.append('a second recovery changes the files')
        except Exception as error:
            wrong = ['the recovery fails: %r' % error]
        self.tell(queue, crash, what, wrong)

    def tell(self, queue, crash, what, wrong):
        if wrong:
            self.complaints.append('queue %s, before %d, %s: %s' % (
                queue.decode(), crash, what, '; '.join(wrong[:3])))

    def check_recovery(self, queue, promised, machine, crash, what, spool, power_loss, gap):
        """The recovery crashes, too."""
        shutil.rmtree(self.folder)
        write_spool(self.folder, spool)
        saved = cuts(self.folder)
        recorder = Recorder(self.folder, pause)
        try:
            Start(queue, self.folder, recorder)
        except Exception as error:
            self.tell(queue, crash, what, ['the recorded recovery fails: %r' % error])
            return
        machine, numbers = _after(machine, what, recorder)
        for number, entry in enumerate(recorder.log):
            place = crash + number
            machine.apply(place, _moved(entry, numbers, crash))
            found = [(*kind, power_loss) for kind in machine.process_crashes()]
            found += [(*kind, True) for kind in machine.power_losses(self.chance)]
            if self.most is not None:
                found = self.chance.sample(found, min(4, len(found)))
            for then, spool, more_gap, is_loss in found:
                self.deeper += 1
                told = '%s, then after %d calls of its recovery %s' % (what, number + 1, then)
                # what was cut off is durable elsewhere before it goes, unless it was not durable itself
                kept = () if is_loss and not power_loss else saved
                more_gap = more_gap if gap is None else gap
                self.check_spool(queue, promised, crash, told, spool, is_loss, more_gap, kept)


def _after(machine, what, recorder):
    """-> (a Machine on which a recovery runs; {file of its log: file of the machine}).

    After a process crash what was not durable is not durable now; a power loss has left nothing else.
    """
    if what != 'process crash':
        return Machine(recorder.names, recorder.files), {file: file for file in recorder.files}
    now = machine.files()
    return machine.copy(), {file: now[name] for name, file in recorder.names.items()}


def _moved(entry, files, offset):
    """An entry of the log of a recovery behind ``offset`` others. New files get new numbers in ``files``."""
    changes = {}
    if hasattr(entry, 'file'):
        changes['file'] = files.setdefault(entry.file, (offset, entry.file))
    if hasattr(entry, 'covers'):
        changes['covers'] = entry.covers + offset
    return entry._replace(**changes) if changes else entry
