"""The commands of the admin port that are no statistics: what they do and say (spec admin 2)."""

import datetime
import gc
import re
import sys
import threading

import gevent

from kestrel import __version__
from kestrel.admin.turns import Turns
from kestrel.log import LEVELS, one_line

LONGEST_PATTERN = 100       # characters of a regular expression that comes from outside


def server_info(services):
    began = datetime.datetime.fromtimestamp(services.began_ms / 1000, datetime.timezone.utc)
    return {
        'build': __version__, 'build_branch_name': 'unknown', 'build_last_few_commits': [],
        'build_revision': 'unknown', 'name': 'kestrel', 'start_time': began.strftime('%a %b %d %H:%M:%S UTC %Y'),
        'uptime': int((services.clock.monotonic() - services.began) * 1000), 'version': __version__,
    }


def collect(services):
    """A full garbage collection. It cannot be done in pieces: nobody is answered meanwhile, so the log says how long."""
    began = services.clock.monotonic()
    found = gc.collect()
    services.log.info('/gc: %d objects were garbage; for %.3f s nothing else ran', found,
                      services.clock.monotonic() - began)


def set_level(logger, pattern, level):
    """Set the level of the loggers whose whole name matches; -> what to say of it.

    logger          logging.Logger of the server; those of its parts are its children
    pattern, level  str or None, as they came
    """
    loggers = {name: found for name, found in logger.manager.loggerDict.items()
               if (name + '.').startswith(logger.name + '.') and hasattr(found, 'setLevel')}
    supported = 'Supported Levels:\n%s\nValid Loggers:%s' % ('\n'.join(LEVELS), '\n'.join(sorted(loggers)))
    if pattern is None or level is None:
        return 'Specify a logger name and level\n\n' + supported
    known = LEVELS.get(level.upper())
    matching = [] if known is None else _matching(pattern, loggers)
    if not matching:
        return 'Logging level change failed for %s to %s\n\n%s' % (one_line(pattern), one_line(level), supported)
    for name in matching:
        loggers[name].setLevel(known)
    return 'Successfully changed the level of the following logger(s) to %s\n%s' % (
        level.upper(), ''.join(['\t%s\n' % name for name in matching]))


def _matching(pattern, loggers):
    if len(pattern) > LONGEST_PATTERN:
        return []
    try:
        # a name of its own is no pattern: most are asked for so
        found = re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return []
    return sorted([name for name in loggers if found.fullmatch(name)])


def threads(services):
    """The stacks of all threads and greenlets. -> dict by their numbers"""
    turns = Turns(services.clock)
    found = {}
    frames = sys._current_frames()
    for thread in threading.enumerate():
        frame = frames.get(thread.ident)
        if frame is not None:
            found[str(thread.ident)] = _thread(thread.name, frame, 'RUNNABLE')
    for name, greenlet in services.control.greenlets():
        frame = greenlet.gr_frame
        if frame is not None:
            found[str(id(greenlet))] = _thread(name, frame, 'WAITING')
        turns.next()
    hub = gevent.get_hub()
    for name, greenlet in (('hub', hub), ('main', hub.parent)):
        if greenlet is not None and greenlet.gr_frame is not None:
            found[str(id(greenlet))] = _thread(name, greenlet.gr_frame, 'WAITING')
    return {'threads': found}


def _thread(name, frame, state):
    stack = []
    while frame is not None:
        code = frame.f_code
        stack.append('%s(%s:%d)' % (code.co_name, code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return {'daemon': True, 'priority': 5, 'stack': stack, 'state': state, 'thread': name}
