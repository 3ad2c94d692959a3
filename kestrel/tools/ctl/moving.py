"""move and drain: whole queues to somewhere else."""

from kestrel.tools.console import printable
from kestrel.tools.ctl import jobs
from kestrel.tools.ctl.failures import Failed, NoServer, WrongUse
from kestrel.tools.ctl.screen import latin
from kestrel.tools.ctl.transfer import Stop, Transfer, check_there
from kestrel.tools.ctl.wire import address, figures, number, server_stats

CLOCK_DRIFT = 2             # seconds by which two answers about one start may differ


def move(context, options):
    """Within a server by the server itself, where it can; else, and to another one, by reliable reads."""
    if options.to is None:
        if options.source == options.target:
            raise WrongUse('FROM and TO are the same queue')
        try:
            admin = context.api()
        except NoServer as error:
            context.screen.say('kestrelctl: %s; moving by reliable reads, which keep no expiry' % error)
        else:
            check_there(figures(context.wire(), options.source), options.source)
            jobs.run(context, admin, options.source, action='move', names=[latin(options.source)],
                     to=latin(options.target))
            return
    here, there = context.wire(), context.wire(*(options.to or ()))
    if options.source == options.target and same_server(here, there):
        raise WrongUse('FROM and TO are the same queue')
    with Stop() as stop:
        transfer = Transfer(here, there, stop)
        try:
            transfer.run(options.source, options.target, _bar(context, options.source))
        finally:
            context.screen.clear()
            transfer.close()
            _report(context, transfer)


def _bar(context, name):
    text = printable(name)
    return lambda moved, total: context.screen.bar(text, moved, total)


def _report(context, transfer):
    found = {'moved': transfer.moved, 'doubled': transfer.doubled}
    context.screen.done(found, '%d items moved' % transfer.moved)
    if transfer.doubled:
        context.screen.say('kestrelctl: up to %d items may be in both queues: what broke did not say'
                           % transfer.doubled)


def drain(context, options):
    """All queues, parents before their fanout children; each until it was empty once."""
    work = _Drain(context, options)
    with Stop() as stop:
        work.run(stop)


class _Drain:

    def __init__(self, context, options):
        self.context = context
        self.screen = context.screen
        self.to = options.to
        self.where = address(*options.to)
        self.moved = {}         # queue, bytes: items
        self.failed = {}        # queue: why
        self.doubled = 0

    def run(self, stop):
        here = self.context.wire()
        there = self.context.wire(*self.to)
        if same_server(here, there):
            raise WrongUse('%s is the server that is to be emptied' % self.where)
        waiting = _holding(figures(here))
        taken = figures(there)
        self.context.confirm('move %d items of %d queues of %s to %s' % (
            sum(items for items, _ in waiting.values()), len(waiting), here.where, self.where))
        try:
            # a put to a parent is copied to the children that are there: those come later
            for name in sorted(waiting, key=lambda name: (b'+' in name, name)):
                why = _unwanted(name, taken)
                if why:
                    self._fail(name, why)
                elif waiting[name][0]:
                    self._queue(name, stop)
        finally:
            self.screen.clear()
            left = self._left()
            self._report(left)
        if self.failed or left:
            raise Failed('not empty')

    def _queue(self, name, stop):
        """With connections of its own: an error may have ended those before."""
        transfer = Transfer(self.context.wire(), self.context.wire(*self.to), stop)
        try:
            transfer.run(name, name, _bar(self.context, name))
        except NoServer:
            raise
        except Failed as error:
            self._fail(name, str(error))
        finally:
            transfer.close()
            self.moved[name] = transfer.moved
            self.doubled += transfer.doubled

    def _fail(self, name, why):
        self.failed[name] = why
        self.screen.say('kestrelctl: queue %s: %s' % (printable(name), why))

    def _left(self):
        """{queue: (items, open reads)} of what is still here; empty too if the server does not say."""
        try:
            return _holding(figures(self.context.wire()))
        except Failed:
            return {}

    def _report(self, left):
        total = sum(self.moved.values())
        self.screen.done({
            'moved': {latin(name): count for name, count in self.moved.items()}, 'doubled': self.doubled,
            'failed': {latin(name): why for name, why in self.failed.items()},
            'left': {latin(name): {'items': items, 'open': lent} for name, (items, lent) in left.items()},
        }, '%d items of %d queues moved' % (total, len(self.moved)))
        for name, (items, lent) in left.items():
            self.screen.say('kestrelctl: queue %s still has %d items and %d open reads' % (
                printable(name), items, lent))
        if self.doubled:
            self.screen.say('kestrelctl: up to %d items may be on both servers: what broke did not say' % self.doubled)


def _holding(groups):
    """{queue: (items, open reads)} of the queues that hold something."""
    found = {}
    for name, values in groups.items():
        held = number(values, 'items'), number(values, 'open_transactions')
        if any(held):
            found[name] = held
    return found


def _unwanted(name, there):
    """Why a queue cannot be put there without changing what it means; None if it can."""
    if 'put_items' in there.get(name, {}):
        return 'that name is an alias there'
    children = [other for other in there if other.startswith(name + b'+')]
    if children and b'+' not in name:
        return 'it has fanout children there, which would get copies: %s' % printable(b' '.join(sorted(children)))
    return None


def same_server(here, there):
    """By address, and by process: a server may have several addresses."""
    if here.peer() == there.peer():
        return True
    one, other = server_stats(here), server_stats(there)
    starts = [number(stats, 'time') - number(stats, 'uptime') for stats in (one, other)]
    return 'pid' in one and one['pid'] == other.get('pid') and abs(starts[0] - starts[1]) <= CLOCK_DRIFT
