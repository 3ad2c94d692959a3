"""Items from one queue into another by the memcache protocol: opened here, put there, confirmed here.

So nothing is lost, whatever dies when. What was put there and not confirmed here when something died is in both:
one batch at most. Flags go along. The protocol does not show what else an item has: its expiry, its age and its count
of deliveries begin anew.
"""

import signal

from kestrel.tools.console import printable
from kestrel.tools.ctl.failures import Ended, Failed, NoServer, NothingThere
from kestrel.tools.ctl.screen import latin
from kestrel.tools.ctl.wire import figures, number, set_request

BATCH = 100
SECONDS = 1                 # for what somebody else takes meanwhile: a monitor waits for it that long
IDLE_BATCHES = 3
STORED, NOT_STORED = b'STORED', b'NOT_STORED'


def check_there(groups, name):
    """-> the figures of a queue; NothingThere if there is none of that name."""
    found = groups.get(name)
    if not found or 'put_items' in found:
        raise NothingThere('there is no queue %s%s' % (printable(name), ', it is an alias' if found else ''))
    return found


class Stop:
    """The first Ctrl-C (or SIGTERM) lets the batch end that is under way, the second one does not."""

    def __init__(self):
        self.asked = None       # the number of the signal
        self._before = {}

    def __enter__(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *error):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number, frame):
        if self.asked:
            raise Ended(number)
        self.asked = number

    def check(self):
        if self.asked:
            raise Ended(self.asked)


class Transfer:
    """Two connections.

    moved    items that are there and no more here
    doubled  items that may be in both, because something broke
    """

    def __init__(self, source, target, stop):
        self.source = source
        self.target = target
        self.moved = 0
        self.doubled = 0
        self._stop = stop
        self._sent = 0          # of this batch, not confirmed yet
        self._sound = True      # is nothing on the way from the source

    def run(self, source, target, show):
        """Until the queue is empty; NothingThere if it is none. ``show(moved, total)`` is called now and then.

        -> items moved. A failure is raised after all that is known to have arrived has been confirmed.
        """
        before = self.moved
        idle = 0
        while True:
            self._stop.check()
            moved = self.moved - before
            waiting = number(check_there(figures(self.source, source), source), 'items')
            show(moved, moved + waiting)
            if not waiting:
                return moved
            try:
                idle = 0 if self._batch(source, target, min(waiting, BATCH)) else idle + 1
            finally:
                self.doubled += self._sent
                self._sent = 0
            if idle == IDLE_BATCHES:
                raise Failed('it says that %d items wait, and hands out none' % waiting)

    def close(self):
        """Close both connections. When this returns, what was open here is back, unless this server is what broke."""
        try:
            if self._sound:
                self.source.send(b'quit\r\n')
                self.source.ended()
        except Failed:
            # it has ended, or will: then they go back as well
            pass
        finally:
            self.source.close()
            self.target.close()

    def _batch(self, source, target, wanted):
        """-> items that were opened"""
        self.source.send(b'monitor %b %d %d\r\n' % (source, SECONDS, wanted))
        opened, broken = 0, None
        self._sound = False
        while True:
            item = self.source.item(patience=SECONDS)
            if item is None:
                break
            opened += 1
            if broken is None:
                # what was not sent whole has no effect, but who knows
                self._sent += 1
                try:
                    self.target.send(b''.join(set_request(target, item)))
                except NoServer as error:
                    broken = error
        answers = []
        try:
            while len(answers) < self._sent:
                answers.append(self.target.line())
        except NoServer as error:
            broken = broken or error
        why = self._settle(source, answers)
        self._sound = True
        if broken is not None:
            raise broken
        if why:
            raise Failed('%s, queue %s: %s' % (self.target.where, latin(target), latin(why)))
        return opened

    def _settle(self, source, answers):
        """Confirm what was stored; -> why something was not, bytes, or None.

        That goes back to its place when the connection is closed, or by an abort if something behind it was stored:
        reads are confirmed in their order.
        """
        refused = [answer for answer in answers if answer != STORED]
        while answers and answers[-1] != STORED:
            answers.pop()
            self._sent -= 1
        stored = 0
        for answer in answers:
            if answer == STORED:
                stored += 1
                continue
            self._confirm(source, stored)
            stored = 0
            self.source.expect(b'get %b/abort' % source, b'END')
            self._sent -= 1
        self._confirm(source, stored)
        if not refused:
            return None
        return b'NOT_STORED: it is full, or the item too large for it' if refused[0] == NOT_STORED else refused[0]

    def _confirm(self, source, count):
        if count:
            self.source.expect(b'confirm %b %d' % (source, count), b'END')
            self.moved += count
            self._sent -= count
