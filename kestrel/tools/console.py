"""What the commands say, and where: results on standard output, errors and progress on standard error."""

import signal
import sys

_UNITS = ((1 << 30, 'G'), (1 << 20, 'M'), (1 << 10, 'K'))


def human(count):
    """A number of bytes for people: ``0``, ``0.5K``, ``1.0M``, ``150M`` (spec tools 1)."""
    if count == 0:
        return '0'
    # the next unit begins at 95 % of itself; there is none below K
    divisor, unit = next((entry for entry in _UNITS if count >= entry[0] * 0.95), _UNITS[-1])
    value = count / divisor
    return ('%.1f%s' if value < 100 else '%.0f%s') % (value, unit)


def printable(path):
    """A path, bytes, as one piece of text that moves no cursor: what is not printable is escaped."""
    text = path.decode('utf-8', 'backslashreplace')
    return ''.join([c if c.isprintable() else c.encode('unicode_escape').decode('ascii') for c in text])


class Console:
    """Where a command writes. ``out`` is a stream of bytes, ``err`` one of text."""

    def __init__(self, out, err):
        self._out = out
        self._err = err
        self._watched = err.isatty()

    def write(self, data):
        """Bytes of the result."""
        self._out.write(data)

    def line(self, text):
        """A line of the result, str. Surrogates are the bytes of a file name that is no UTF-8."""
        self._out.write(text.encode('utf-8', 'surrogateescape') + b'\n')

    def error(self, text):
        self._out.flush()
        self._err.write(text.encode('utf-8', 'surrogateescape').decode('utf-8', 'backslashreplace') + '\n')

    def progress(self, text):
        """Written over what stands in the line, if somebody watches: on a terminal only (D59)."""
        if self._watched:
            self._out.flush()
            self._err.write('\r' + text)
            self._err.flush()

    def flush(self):
        self._out.flush()


class Progress:
    """A progress line, written anew for each further MiB. ``text`` % human sizes is what it says."""

    EVERY = 1 << 20

    def __init__(self, console, text):
        self._console = console
        self._text = text
        self._next = self.EVERY

    def show(self, position, *more):
        """``position``: bytes done so far; ``more`` functions of further numbers of bytes."""
        if position >= self._next:
            self._next = position + self.EVERY
            self._console.progress(self._text % (human(position), *[human(number()) for number in more]))

    def was_shown(self):
        return self._next > self.EVERY


def run_command(command, has_peers=False):
    """End the process with what ``command(arguments, console)`` answers.

    ``has_peers``: it also writes to sockets and pipes, where a peer that is gone is an error and not the end.
    """
    # whoever reads no more (`qdump file | head`) ends the command without a word, as with other tools
    if not has_peers:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    console = Console(sys.stdout.buffer, sys.stderr)
    try:
        code = command(sys.argv[1:], console)
        console.flush()
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.raise_signal(signal.SIGPIPE)
    sys.exit(code)
