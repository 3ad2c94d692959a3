"""What a recovered queue may hold after a crash, by what its clients had been told.

Each queue of the workload has operations with two places in the log: where the client was about to send the request
(``begin``) and where it had the whole answer (``end``). Looking back from the end of the log, each item has one life:

    not there | [its put] | there | [what consumed it: get, close, flush, delete] | gone

In the brackets both are right. A recovered queue must be the queue of one moment T: what had ended before T has
happened, what began after T has not. An open read counts as there, it comes back.

* After a process crash T is the crash: nothing answered is lost, nothing that was consumed comes again.
* After a power loss T may lie before the crash (consumed items come again, later puts are missing), but not before
  anything that was promised:
      sync_journal = 0         every answered put, close and confirm (D9, D63)
      set q/sync               every answered one (D22)
      sync_journal = a period  all that had ended when the workload saw that everything was fsynced ('settled')
      any                      all that had ended when the server had stopped ('stopped': closing fsyncs, D63)
  And it is one T for the whole queue: the order of the queue is the order of its journal (D9), so a put that is there
  has all before it there. Only a power loss that leaves a gap (rebuild.py) weakens this: the fsync of a rotated file
  follows in the background (D63), so that its last records may be missing while the system has already written some
  of the next file; positional removals then hit others. It does so only until something behind the gap was promised:
  a durable answer makes all files before it durable.
  A queue that was deleted is an exception: of its files any may be back, and without the oldest an open read of the
  others is one of another item, and a put-back brings back what was consumed.
* Whenever: no item twice, none that nobody put (the empty placeholders of packed files are such), and the order:
  what was open at T, in the order in which it was opened; what had been put back, the last first; what never was
  open, in the order of its puts. Of requests that overlapped any order will do.
"""

import dataclasses
import math

NEVER = math.inf
CONSUMING = ('get', 'close')
WIPING = ('flush', 'delete')


@dataclasses.dataclass(eq=False)
class Operation:
    """One request. ``items``: what it put, handed out, or was about; keys of a recovered queue (see ``Queue``).

    kind     put get open close abort flush delete; abort is also what a hang-up does
    durable  a put by q/sync, or anything that is fsynced before it is answered
    """

    kind: str
    queue: bytes
    items: list = dataclasses.field(default_factory=list)
    durable: bool = False
    begin: float = NEVER
    end: float = NEVER


class _Life:
    """Of one item: (begin, end) of what made it and of what ended it, and what opened it and put it back between."""

    def __init__(self, item, put):
        self.item = item
        self.put = put
        self.gone = None
        self.opens = []
        self.aborts = []

    @property
    def gone_begin(self):
        return self.gone.begin if self.gone else NEVER

    @property
    def gone_end(self):
        return self.gone.end if self.gone else NEVER

    def waits_at(self, place):
        """Is it in the queue and surely not open?"""
        opened = sum(1 for operation in self.opens if operation.begin < place)
        return opened <= sum(1 for operation in self.aborts if operation.end < place)


class Queue:
    """The promises to the clients of one queue. Items are what a drain shows: (data, flags).

    entries  [(place, Note)] of its sub-log, and everything else, which is left out
    """

    def __init__(self, entries):
        self.lives = {}
        self._settled = []
        operations = []
        for place, entry in entries:
            what = getattr(entry, 'what', None)
            if what in ('settled', 'stopped'):
                self._settled.append(place)
            elif what == 'begin':
                entry.operation.begin, entry.operation.end = place, NEVER
                operations.append(entry.operation)
            elif what == 'end':
                entry.operation.end = place
        operations = [operation for operation in operations if operation.items or operation.kind in WIPING]
        for operation in sorted(operations, key=_is_no_put):
            self._live(operation)
        for operation in operations:
            if operation.kind in WIPING:
                self._wipe(operation)
        self._places = sorted({edge for operation in operations
                               for edge in (operation.begin, operation.begin + 1, operation.end, operation.end + 1)
                               if edge < NEVER})

    def _live(self, operation):
        for item in operation.items:
            if operation.kind == 'put':
                if item in self.lives:
                    raise AssertionError('the workload put %r twice' % (item,))
                self.lives[item] = _Life(item, operation)
                continue
            life = self.lives[item]
            if operation.kind in CONSUMING:
                if life.gone:
                    raise AssertionError('%s was handed out or confirmed again after it was consumed' % shown(item))
                life.gone = operation
            elif operation.kind == 'open':
                life.opens.append(operation)
            elif operation.kind == 'abort':
                life.aborts.append(operation)

    def _wipe(self, wipe):
        """The workload has no other request under way in the queue while it flushes or deletes it."""
        for life in self.lives.values():
            if life.put.begin < wipe.begin and life.gone_begin > wipe.begin:
                if wipe.kind == 'delete' or life.waits_at(wipe.begin):
                    life.gone = wipe

    def complaints(self, crash, found, power_loss, gap=None):
        """What is wrong with a recovered queue, list of str.

        crash       place in the log before which it happened
        found       its items, head first
        power_loss  else only the process crashed
        gap         the place of what is missing in the middle (see above), or None
        """
        wrong = ['%s came twice' % shown(item) for item in {item for item in found if found.count(item) > 1}]
        begun = {item for item, life in self.lives.items() if life.put.begin < crash}
        wrong += ['%s: nobody had put that' % shown(item) for item in found if item not in begun]
        if wrong or gap is not None and not self._is_promised(gap, crash):
            return wrong
        present = set(found)
        lowest, bad = self._lowest(crash, present) if power_loss else (crash, [])
        highest = crash
        for life in self.lives.values():
            if life.put.begin >= crash:
                continue
            if life.item in present:
                lowest = max(lowest, life.put.begin + 1)
                highest = min(highest, life.gone_end)
            else:
                bad.append((life.put.end + 1, life.gone_begin))
        moments = self._moments(lowest, highest, bad)
        if not moments:
            if power_loss and self._is_being_deleted(crash, present):
                return []
            return self._explained(crash, present, power_loss)
        for moment in moments:
            wrong = self._disorder(found, moment)
            if not wrong:
                break
        return wrong

    def _is_promised(self, place, crash):
        """Was anything promised before ``crash`` that made durable what was written at ``place``?"""
        return any(place < settled < crash for settled in self._settled) or any(
            operation is not None and operation.durable and place < operation.begin and operation.end < crash
            for life in self.lives.values() for operation in (life.put, life.gone))

    def _is_being_deleted(self, crash, present):
        """Can some files be gone by a deletion and others not?"""
        begun = max([life.gone.begin for life in self.lives.values()
                     if life.gone and life.gone.kind == 'delete' and life.gone.begin < crash], default=None)
        if begun is None or any(begun < settled < crash for settled in self._settled):
            return False
        return not any(life.put.begin > begun and (life.item in present or life.put.durable and life.put.end < crash)
                       for life in self.lives.values())

    def _lowest(self, crash, present):
        """-> (the earliest T after a power loss; [(from, to)] where T cannot be for what was promised)."""
        lowest = max([place + 1 for place in self._settled if place < crash], default=0)
        bad = []
        for life in self.lives.values():
            if life.put.durable and life.put.end < crash:
                lowest = max(lowest, life.put.begin + 1)
                if life.item not in present:
                    bad.append((life.put.begin, life.gone_begin))
            if life.gone and life.gone.durable and life.gone.end < crash:
                lowest = max(lowest, life.gone.begin + 1)
                if life.item in present:
                    bad.append((life.gone.begin, NEVER))
        return lowest, bad

    def _moments(self, lowest, highest, bad):
        """Representatives of all T that explain who is there, the latest first."""
        if lowest > highest:
            return []
        edges = [highest, lowest] + [place for place in self._places if lowest < place < highest]
        return sorted((edge for edge in edges if not any(begin <= edge <= end for begin, end in bad)), reverse=True)

    def _explained(self, crash, present, power_loss):
        """Why no moment fits: what would have to be otherwise at the crash; and for a power loss what was promised."""
        wrong = []
        for life in self.lives.values():
            if life.put.begin >= crash:
                continue
            put = '%s (put %s)' % (shown(life.item), _span(life.put))
            if life.item in present:
                if life.gone_end < crash and (not power_loss or life.gone.durable):
                    wrong.append('%s came again after an answered %s %s' % (put, life.gone.kind, _span(life.gone)))
            elif life.put.end < crash and life.gone_begin >= crash and (not power_loss or life.put.durable):
                wrong.append('%s is lost' % put)
        if not wrong:
            wrong = ['it is the queue of no moment: %s' % self._contradiction(crash, present)]
        return wrong

    def _contradiction(self, crash, present):
        lives = [life for life in self.lives.values() if life.put.begin < crash]
        settled = max([place for place in self._settled if place < crash], default=None)
        there = max((life for life in lives if life.item in present), key=lambda life: life.put.begin, default=None)
        lost = [life for life in lives if life.item not in present and life.put.end < crash and life.gone_begin >= crash]
        again = [life for life in lives if life.item in present and life.gone_end < crash]
        first = min(again, key=lambda life: life.gone_end, default=None)
        return '; '.join([
            'latest item there: %s' % ('none' if there is None else shown(there.item) + ' ' + _span(there.put)),
            '%d answered and missing: %s' % (len(lost), ', '.join(shown(life.item) + ' ' + _span(life.put) for life in lost[:5])),
            '%d consumed and there%s' % (len(again), '' if first is None else ': first %s by %s %s' % (
                shown(first.item), first.gone.kind, _span(first.gone))),
            'settled at %s' % settled])

    def _disorder(self, found, moment):
        """What is wrong with the order if the queue is that of ``moment``."""
        place = {item: number for number, item in enumerate(found)}
        held, back, fresh, others = [], [], [], []
        for item in found:
            life = self.lives[item]
            if life.gone is not None and life.gone.kind in WIPING and life.gone_begin < moment:
                continue
            opens = [operation for operation in life.opens if operation.begin < moment]
            aborts = [operation for operation in life.aborts if operation.begin < moment]
            if not opens:
                fresh.append(life)
            elif opens[-1].end >= moment:
                if len(opens) > 1:
                    others.append(life)
            elif len(aborts) == len(opens) and aborts[-1].end >= moment:
                others.append(life)
            elif len(aborts) < len(opens):
                held.append((opens[-1], life))
            else:
                back.append((aborts[-1], life))
        wrong = []
        wrong += _descents([(operation, life.item) for operation, life in held], place, 'opened')
        wrong += _descents([(operation, life.item) for operation, life in reversed(back)], place, 'put back', True)
        wrong += _descents([(life.put, life.item) for life in fresh], place, 'put')
        groups = [[life.item for _, life in held], [life.item for _, life in back], [life.item for life in fresh]]
        wrong += _mixed(groups[0], groups[1], place, 'open', 'put back')
        wrong += _mixed(groups[0] + groups[1] + [life.item for life in others], groups[2], place, 'once open', 'never open')
        return wrong


def _is_no_put(operation):
    return operation.kind != 'put'


def _descents(pairs, place, word, reverse=False):
    """Complaints about items whose operations did not overlap and that came in another order than those."""
    wrong = []
    earliest_later = (NEVER, None)
    for operation, item in sorted(pairs, key=lambda pair: place[pair[1]], reverse=not reverse):
        # from the tail to the head: nothing behind may have ended before this one began
        if earliest_later[0] < operation.begin:
            wrong.append('%s came %s %s, which was %s before it' % (
                shown(item), 'behind' if reverse else 'before', shown(earliest_later[1]), word))
        if operation.end < earliest_later[0]:
            earliest_later = (operation.end, item)
    return wrong


def _mixed(front, rear, place, front_word, rear_word):
    if not front or not rear:
        return []
    last, first = max(front, key=place.get), min(rear, key=place.get)
    if place[last] < place[first]:
        return []
    return ['%s (%s) came before %s (%s)' % (shown(first), rear_word, shown(last), front_word)]


def shown(item):
    data, flags = item
    return '%r%s' % (data[:16].decode('latin-1'), ' flags %d' % flags if flags else '')


def _span(operation):
    return '%s..%s' % (operation.begin, 'open end' if operation.end == NEVER else operation.end)
