"""peek, put, get and tail: items, one by one."""

import os
import subprocess

from kestrel.tools.console import printable
from kestrel.tools.ctl.admin_port import shown
from kestrel.tools.ctl.failures import Failed, NoServer, NothingThere, Refused, WrongUse
from kestrel.tools.ctl.wire import LONGEST_ITEM, Item, figures, set_request

READ_AT_ONCE = 1 << 16
SENT_AT_ONCE = 1000         # items; their answers have to fit into what the system buffers
STAY_AWAKE = 5              # seconds; the server closes connections that are idle for client_timeout
TAIL_SECONDS = 1
TAIL_ITEMS = 100
SHOWN_LINES = 10


def put(context, options):
    """Standard input, a line an item, in the order of the lines."""
    work = _Put(context, options)
    try:
        work.run()
    except (Failed, KeyboardInterrupt):
        work.report(ended=False)
        raise
    work.report(ended=True)
    if work.refused:
        raise Failed('refused: %s' % printable(work.why))


class _Put:
    """What is read at once goes out at once, so that a slow producer is not held up, nor a fast one."""

    def __init__(self, context, options):
        self.options = options
        self.screen = context.screen
        self.wire = context.wire()
        self.key = options.name + (b'/sync' if options.sync else b'')
        self.put = 0
        self.refused = []       # numbers of the lines
        self.why = b''
        self.unanswered = 0     # sent, and no reply yet

    def run(self):
        rest = bytearray()      # a line that is not whole
        while not self.refused:
            data = self.screen.source.read1(READ_AT_ONCE)
            if not data:
                break
            lines = [data] if self.options.whole else data.split(b'\n')
            rest += lines[0]
            if len(rest) > LONGEST_ITEM:
                raise WrongUse('an item cannot have more than %d bytes' % LONGEST_ITEM)
            if len(lines) > 1:
                lines[0] = bytes(rest)
                rest = bytearray(lines.pop())
                self._send_all(lines)
        if not self.refused and (self.options.whole or rest):
            self._send([bytes(rest)])

    def _send_all(self, lines):
        for first in range(0, len(lines), SENT_AT_ONCE):
            if self.refused:
                break
            self._send(lines[first:first + SENT_AT_ONCE])

    def _send(self, lines):
        pieces = []
        for line in lines:
            pieces += set_request(self.key, Item(self.options.flags, line), self.options.expires)
        self.unanswered = len(lines)
        self.wire.send(b''.join(pieces))
        for _ in lines:
            line = self.wire.line()
            self.unanswered -= 1
            if line == b'STORED':
                self.put += 1
            elif line == b'NOT_STORED':
                self._refuse(b'NOT_STORED: it is full, or the item too large for it')
            elif line.startswith((b'ERROR', b'CLIENT_ERROR', b'SERVER_ERROR')):
                self._refuse(line)
            else:
                raise self.wire.nonsense(line)

    def _refuse(self, why):
        self.refused.append(self.put + len(self.refused) + 1)
        self.why = self.why or why

    def report(self, ended):
        found = {'put': self.put, 'refused': len(self.refused)}
        if self.unanswered:
            found['unknown'] = self.unanswered
        text = '%d put' % self.put
        if self.refused:
            numbers = [str(number) for number in self.refused]
            text += ', %d refused: line %s' % (len(numbers), ' '.join(numbers[:SHOWN_LINES]))
            if len(numbers) > SHOWN_LINES:
                text += ' ...'
        if self.unanswered:
            text += ', %d sent without an answer: they may be in the queue or not' % self.unanswered
        if self.screen.as_json:
            self.screen.result(found)
        elif self.screen.terminal or self.refused or not ended:
            self.screen.say('kestrelctl: ' + text)


def get(context, options):
    """Reliable reads: each item is confirmed when it has been written, or when the command has succeeded."""
    wire = context.wire()
    request = b'get %b/open' % options.name
    if options.wait:
        request += b'/t=%d' % (options.wait * 1000)
    for number in range(options.count):
        wire.send(request + b'\r\n')
        item = wire.item(patience=options.wait)
        if item is None:
            if number == 0:
                raise NothingThere('')
            break
        if options.exec:
            _run(options, item, wire)
        else:
            context.screen.item(options.name, item)
        _confirm(wire, options)


def _confirm(wire, options):
    try:
        wire.expect(b'get %b/close' % options.name, b'END')
    except NoServer as error:
        raise NoServer('%s; the last item is confirmed or not: it may come again' % error) from None


def _run(options, item, wire):
    """Give an item to the command; Refused, and the item is back at the head of the queue, if it fails."""
    environment = {**os.environb, b'KESTREL_QUEUE': options.name, b'KESTREL_FLAGS': b'%d' % item.flags}
    child = subprocess.Popen(options.exec, shell=True, stdin=subprocess.PIPE, env=environment)
    data = item.data
    alive = True
    try:
        while True:
            try:
                child.communicate(data, timeout=STAY_AWAKE)
                break
            except subprocess.TimeoutExpired:
                data = None
                alive = alive and _stay_awake(wire)
    finally:
        if child.poll() is None:
            child.terminate()
            child.wait()
    if not alive:
        raise NoServer('%s was gone while the command ran (it ended with %d): the item is in the queue again'
                       % (wire.where, child.returncode))
    if child.returncode != 0:
        wire.expect(b'get %b/abort' % options.name, b'END')
        raise Failed('the command ended with %d: the item is back at the head of the queue' % child.returncode)


def _stay_awake(wire):
    try:
        wire.ask(b'version')
    except NoServer:
        return False
    return True


def tail(context, options):
    """A fanout child of its own gets a copy of what is put, as long as this runs."""
    if b'+' in options.name:
        raise WrongUse('the queue is a fanout child itself: tail the queue before its +')
    wire = context.wire()
    known = figures(wire, options.name).get(options.name, {})
    if 'put_items' in known:
        raise WrongUse('an alias holds nothing: tail where it puts: %s' % shown(known.get('children', '')))
    child = b'%b+kestrelctl-tail-%d-%d' % (options.name, context.clock.now_ms(), os.getpid())
    # what could not be deleted at the end would get copies for ever
    wire.expect(b'delete ' + child, b'DELETED')
    if wire.ask(b'get %b' % child) != b'END':
        raise Failed('%s is in use' % child.decode('latin-1'))
    try:
        _follow(context, options, wire, child)
    finally:
        # the connection may be in the middle of an answer
        wire.close()
        _remove(context, child)


def _follow(context, options, wire, child):
    left = options.count
    while left is None or left:
        limit = TAIL_ITEMS if left is None else min(left, TAIL_ITEMS)
        wire.send(b'monitor %b %d %d\r\n' % (child, TAIL_SECONDS, limit))
        count = 0
        while True:
            item = wire.item(patience=TAIL_SECONDS)
            if item is None:
                break
            count += 1
            context.screen.item(options.name, item)
        if count:
            wire.expect(b'confirm %b %d' % (child, count), b'END')
        if left is not None:
            left -= count


def _remove(context, child):
    try:
        context.wire().expect(b'delete ' + child, b'DELETED')
    except Failed as error:
        context.screen.say('kestrelctl: %s; delete the queue %s, it gets copies until then'
                           % (error, child.decode('latin-1')))
