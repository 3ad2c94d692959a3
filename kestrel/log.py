"""The server's log: a logger tree of its own, on standard error or in a file (spec config 4, ``[logging]``).

Queue names and requests are foreign bytes, so whatever a record says stays on its line: control characters
are escaped, and the lines of a traceback are indented.
"""

import datetime
import json
import logging
import os
import stat

from kestrel.errors import StartError
from kestrel.shown import queue_of

# The levels of the original that the logging module has no number for.
TRACE = 5
FATAL = 60

LEVELS = {
    'OFF': 100, 'FATAL': FATAL, 'CRITICAL': logging.CRITICAL, 'ERROR': logging.ERROR,
    'WARNING': logging.WARNING, 'INFO': logging.INFO, 'DEBUG': logging.DEBUG, 'TRACE': TRACE,
    # Not 0: that would ask the parent logger.
    'ALL': 1,
}
_NAMES = {number: name for name, number in LEVELS.items()}

# How the name of a rolled file tells its period, as in the original: kestrel-20260131-23.log.
_PERIODS = {'hourly': '%Y%m%d-%H', 'daily': '%Y%m%d'}

_CONTROLS = {char: f'\\x{char:02x}' for char in [*range(0x20), *range(0x7f, 0xa0)]}
_CONTROLS.update({ord('\t'): '\\t', ord('\n'): '\\n', ord('\r'): '\\r', 0x2028: '\\u2028', 0x2029: '\\u2029'})


def one_line(text):
    """The text with everything escaped that could end a line or steer a terminal."""
    return text.translate(_CONTROLS)


def peer(address):
    """A client's address, as the socket module has it, as it stands in the log: 127.0.0.1:40312, [::1]:40312."""
    host, port = address[:2]
    return f'[{host}]:{port}' if ':' in host else f'{host}:{port}'


def setup(settings, stderr, suffix=''):
    """Begins logging -> ``Log``; raises ``StartError`` if the file cannot be opened.

    settings  the ``[logging]`` section of a configuration
    stderr    text stream for the log without a file, and for complaints about the file
    suffix    str, tells the loggers of several servers in one process apart
    """
    log = Log(logging.getLogger('kestrel' + suffix), stderr)
    log.apply(settings)
    return log


class Log:
    """A server's log. ``logger`` is its ``logging.Logger``; loggers for parts of it are its children."""

    def __init__(self, logger, stderr):
        self.logger = logger
        # Neither the handlers of a program we run in nor those of another server get our records.
        logger.propagate = False
        self._stderr = stderr
        self._handler = None

    def apply(self, settings):
        """Applies other settings; ``StartError``, and nothing changed, if their file does not open."""
        self.end(self.exchange(settings))

    def exchange(self, settings):
        """``apply`` that can be taken back: -> what was in use, its file still open, for ``put_back`` or ``end``."""
        handler = _handler(settings, self._stderr)
        handler.setFormatter(_JsonFormatter() if settings.format == 'json' else _TextFormatter())
        return self._use(handler, LEVELS[settings.level])

    def put_back(self, before):
        """Takes an ``exchange`` back; that cannot fail, because no file is opened for it."""
        self.end(self._use(*before))

    @staticmethod
    def end(before):
        """Closes what was in use before an ``exchange``."""
        handler, _ = before
        if handler is not None:
            handler.close()

    def reopen(self):
        """What SIGHUP asks for: with ``roll = sighup`` the file is opened anew under its name.

        If that fails, standard error says so and the old file stays in use.
        """
        self._handler.reopen()

    def close(self):
        self.end(self._use(None, self.logger.level))

    def _use(self, handler, level):
        """-> (handler, level) that were in use."""
        before = self._handler, self.logger.level
        self._handler = handler
        if handler is not None:
            self.logger.addHandler(handler)
        if before[0] is not None:
            self.logger.removeHandler(before[0])
        self.logger.setLevel(level)
        return before


def _handler(settings, stderr):
    if settings.filename is None:
        return _StreamHandler(stderr)
    try:
        if settings.roll in _PERIODS:
            return _RollingHandler(settings.filename, stderr, _PERIODS[settings.roll])
        handler = _ReopeningHandler if settings.roll == 'sighup' else _FileHandler
        return handler(settings.filename, stderr)
    except OSError as error:
        why = f'cannot open the log file {settings.filename}: {error.strerror}'
        remedy = ('make its directory and let the user that kestrel runs as write there, or write'
                  ' filename = none in [logging] for standard error')
        raise StartError(one_line(f'{why}; {remedy}')) from None


class _StreamHandler(logging.Handler):
    """Writes to a text stream that somebody else opened and closes."""

    def __init__(self, stream):
        super().__init__()
        self._stream = stream

    def emit(self, record):
        try:
            self._stream.write(self.format(record) + '\n')
            self._stream.flush()
        except Exception:
            # As in the library: what is wrong with a record or with its reader must not fail the request that
            # it tells of.
            self.handleError(record)

    def reopen(self):
        """Nothing: the stream has no name."""


class _FileHandler(logging.Handler):
    """Appends to a file, unbuffered, so that a crash loses no line."""

    def __init__(self, path, stderr):
        self._path = path
        # Before the library knows of the handler, and would close it at the end of the process.
        self._file = self._open()
        super().__init__()
        self._stderr = _StreamHandler(stderr)
        self._stderr.setFormatter(_TextFormatter())
        self._complained = False

    def _open(self):
        return open(self._path, 'ab', buffering=0)

    def emit(self, record):
        try:
            line = (self.format(record) + '\n').encode('utf-8', 'backslashreplace')
            self._prepare(record)
            while line:
                line = line[self._file.write(line):]
            self._complained = False
        except OSError as error:
            self._complain(error)
        except Exception:
            self.handleError(record)

    def _prepare(self, record):
        """Makes ``_file`` the file that the record belongs to."""

    def _complain(self, error):
        """Says once on standard error what keeps the log from being written, and again after it went well."""
        if not self._complained:
            self._complained = True
            why = f'cannot write the log file {self._path}: {error.strerror}'
            self._stderr.handle(logging.LogRecord(
                'kestrel', logging.ERROR, __file__, 0,
                f'{why}; make room for it, or let kestrel write it', None, None))

    def _reopen(self):
        """Opens the path anew; the old file stays in use if that fails."""
        file, self._file = self._file, self._open()
        file.close()

    def reopen(self):
        """Nothing: a file that is never rolled stays what it is."""

    def close(self):
        with self.lock:
            self._file.close()
        super().close()


class _ReopeningHandler(_FileHandler):
    """Leaves the rolling to others: opens the file anew at SIGHUP, or when it finds it moved away."""

    def _prepare(self, record):
        ours = os.fstat(self._file.fileno())
        try:
            named = os.stat(self._path)
        except FileNotFoundError:
            self._reopen()
            return
        if not os.path.samestat(ours, named):
            self._reopen()

    def reopen(self):
        with self.lock:
            try:
                self._reopen()
            except OSError as error:
                self._complain(error)


class _RollingHandler(_FileHandler):
    """Renames the file after its hour or day when the first record of a later one comes."""

    def __init__(self, path, stderr, name_format):
        self._format = name_format
        self._period = None
        super().__init__(path, stderr)
        status = os.fstat(self._file.fileno())
        # A device such as /dev/stdout is not renamed.
        self._rolls = stat.S_ISREG(status.st_mode)
        if status.st_size:
            self._period = self._period_of(status.st_mtime)

    def _period_of(self, seconds):
        return datetime.datetime.fromtimestamp(seconds).strftime(self._format)

    def _prepare(self, record):
        period = self._period_of(record.created)
        if self._period is None:
            self._period = period
        # A clock that was set back does not roll.
        if self._rolls and period > self._period:
            os.rename(self._path, self._rolled_path())
            self._period = period
            self._reopen()

    def _rolled_path(self):
        stem, extension = os.path.splitext(self._path)
        path = rolled = f'{stem}-{self._period}{extension}'
        count = 0
        while os.path.lexists(path):
            count += 1
            path = f'{rolled}.{count}'
        return path


class _TextFormatter(logging.Formatter):
    """``<local time with offset> <LEVEL> <logger>: <message>``, a traceback indented below."""

    def format(self, record):
        line = f'{_time(record)} {_level(record)} {record.name}: {one_line(record.getMessage())}'
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            line += ''.join('\n    ' + one_line(part) for part in trace.split('\n'))
        return line


class _JsonFormatter(logging.Formatter):
    """One object a line: time, level, logger, message; queue if it is about one; exception if there is one."""

    def format(self, record):
        fields = {'time': _time(record), 'level': _level(record), 'logger': record.name,
                  'message': record.getMessage()}
        queue = queue_of(record.args or ())
        if queue is not None:
            fields['queue'] = queue
        if record.exc_info:
            fields['exception'] = self.formatException(record.exc_info)
        return json.dumps(fields)


def _time(record):
    return datetime.datetime.fromtimestamp(record.created).astimezone().isoformat(timespec='milliseconds')


def _level(record):
    return _NAMES.get(record.levelno, str(record.levelno))
