"""What kestrelctl says: tables or JSON on standard output, all else on standard error."""

import datetime
import json
import os

from kestrel.tools.console import Console, human, printable

BAR = 24
KILO = 1024


class Screen(Console):
    """``out`` a stream of bytes, ``err`` one of text, ``source`` one of bytes (standard input).

    as_json  results are JSON. A byte of a name or an item is the character of that number, as qdump has it
    """

    def __init__(self, out, err, source):
        super().__init__(out, err)
        self.source = source
        self.as_json = False
        self.terminal = out.isatty()
        self._server = None
        self.watched = err.isatty()

    def begin(self, server):
        """What follows is of this server, one of several."""
        self._server = server
        if not self.as_json:
            self.line('== %s' % printable(os.fsencode(server)))
            self.flush()

    def _object(self, found):
        """A line of JSON."""
        self.line(json.dumps(found if self._server is None else {'server': self._server, 'result': found}))

    def result(self, found, *lines):
        """What a command has found: an object, and how people see it."""
        if self.as_json:
            self._object(found)
        else:
            for line in lines:
                self.line(line)
        self.flush()

    def done(self, found, text):
        """What was done. On a terminal, or in JSON; scripts look at the exit code."""
        self.result(found, *([text] if self.terminal else []))

    def item(self, queue, item, more=None):
        """An item on a line of its own. Into a file or pipe goes what it holds, on a terminal what is harmless.

        more  dict of what else is known of it, for JSON
        """
        if self.as_json:
            self._object({'queue': latin(queue), 'flags': item.flags, 'data': latin(item.data), **(more or {})})
        elif self.terminal:
            self.line(harmless(item.data))
        else:
            self.write(item.data + b'\n')
        self.flush()

    def say(self, text):
        """A remark, as an error is written."""
        self.clear()
        self.error(text)

    def clear(self):
        """Take the progress bar away."""
        self.progress(' ' * 78 + '\r')

    def bar(self, text, done, total):
        """A progress bar, on a terminal."""
        if self.watched:
            part = min(1, done / total) if total else 1
            marks = '#' * int(part * BAR)
            self.progress('%-30s [%-*s] %3d %%  %d items'[:78] % (text[:30], BAR, marks, part * 100, done))

    def sure(self, question):
        """Ask on the terminal; -> was the answer yes. None if there is no terminal to ask on."""
        if not (self.watched and self.source.isatty()):
            return None
        self.flush()
        self.progress(question + ' [y/N] ')
        return self.source.readline().strip().lower() in (b'y', b'yes')


def latin(data):
    return data.decode('latin-1')


def harmless(data):
    """An item on a terminal: its line ends and tabs stay, what else is not printable is escaped."""
    return '\n'.join(['\t'.join([printable(cell) for cell in line.split(b'\t')]) for line in data.split(b'\n')])


def table(heads, rows):
    """-> lines. A head that begins with ``-`` is that of a column of text, the others stand to the right."""
    texts = [[head.lstrip('-') for head in heads], *[[str(cell) for cell in row] for row in rows]]
    widths = [max(map(len, column)) for column in zip(*texts)]
    return ['  '.join([text.ljust(width) if head.startswith('-') else text.rjust(width)
                       for head, text, width in zip(heads, row, widths)]).rstrip() for row in texts]


def pairs(rows):
    """-> lines of names and what belongs to them."""
    width = max([len(name) for name, _ in rows], default=0)
    return ['%-*s  %s' % (width, name, text) for name, text in rows]


def size(count):
    """Bytes for people: ``17``, ``1.5K``, ``3.0G``."""
    return str(count) if count < KILO else human(count)


def span(ms):
    """A time for people: ``0``, ``250ms``, ``12s``, ``3m 20s``, ``5h 12m``, ``3d 4h``."""
    seconds = ms // 1000
    if ms <= 0:
        return '0'
    if seconds == 0:
        return '%dms' % ms
    if seconds < 60:
        return '%ds' % seconds
    for unit, name, smaller, part in ((86400, 'd', 3600, 'h'), (3600, 'h', 60, 'm'), (60, 'm', 1, 's')):
        if seconds >= unit:
            return '%d%s %d%s' % (seconds // unit, name, seconds % unit // smaller, part)


def clock_time(ms):
    """A moment, in local time."""
    return datetime.datetime.fromtimestamp(ms // 1000).strftime('%H:%M:%S')
