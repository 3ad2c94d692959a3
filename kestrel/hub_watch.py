"""Notices that the hub is blocked, and by what: while one request or one piece of work runs, all others wait.

It costs nothing where time is counted. A hub that has little to do sets an alarm clock of the kernel when it wakes up and
takes that back before it sleeps; one that has much to do sets it anew every BEAT seconds. Only if it goes off, because the
hub did not come round in time, a thread wakes up and looks at what the hub's thread is doing.
"""

import ctypes
import os
import sys
import threading

from kestrel.log import peer
from kestrel.ration import Ration
from kestrel.shown import Shown

BLOCKED = 0.1           # seconds: what takes the hub longer is told
BEAT = 0.05
QUICK = 20
STILL = 5.0             # seconds after which it is told that the hub is blocked still
MOST = 10               # lines a minute
FRAMES = 5              # functions of a line
LONGEST_WORD = 250      # bytes of a request's first words

_CLOCK_MONOTONIC = 1
_HUB = os.path.join('gevent', 'hub.py')
_OURS = os.path.dirname(__file__) + os.sep
_TELLING = {'connection', 'queue', 'journal'}


class _Timespec(ctypes.Structure):
    _fields_ = [('seconds', ctypes.c_long), ('nanoseconds', ctypes.c_long)]


class _Itimerspec(ctypes.Structure):
    _fields_ = [('interval', _Timespec), ('value', _Timespec)]


class AlarmClock:
    """timerfd(2): unlike every timer of the standard library it is set back without waking who waits for it.

    Raises OSError where there is none.
    """

    def __init__(self):
        library = ctypes.CDLL(None, use_errno=True)
        self._set = library.timerfd_settime
        self._descriptor = library.timerfd_create(_CLOCK_MONOTONIC, os.O_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self._times = {}

    def set(self, seconds):
        """Go off in so many seconds (float), 0: not at all. What was set before is void."""
        time = self._times.get(seconds)
        if time is None:
            whole = int(seconds)
            value = _Timespec(whole, int((seconds - whole) * 1000000000))
            time = self._times[seconds] = ctypes.byref(_Itimerspec(_Timespec(0, 0), value))
        self._set(self._descriptor, 0, time, None)

    def wait(self):
        """In a thread: until it goes off."""
        os.read(self._descriptor, 8)

    def close(self):
        """Once nobody waits any more."""
        os.close(self._descriptor)


class HubWatch:
    """Watches the hub of the thread that calls ``start``.

    loop   gevent's
    log    logging.Logger
    clock  clock.Clock
    """

    def __init__(self, loop, log, clock):
        self._loop = loop
        self._log = log
        self._lines = Ration(log, clock, MOST)
        self._clock = clock
        self._alarm = None
        self._check = loop.check(ref=False)
        # behind that of gevent, in which greenlets run
        self._prepare = loop.prepare(ref=False, priority=loop.MINPRI)
        self._timer = loop.timer(BEAT, BEAT, ref=False)
        self._thread = threading.get_ident()
        self._ended = False
        self._quick = 0         # how many turns in a row have followed each other quickly
        self._turn = 0          # the loop's number of the turn in which the hub was heard of last, when that was
        self._heard = 0.0       # (monotonic), and what it had computed until then, seconds
        self._computed = 0.0
        self._seen = None       # what the thread saw of a blocked hub: (when that began, who, functions)

    def start(self):
        """Raises OSError, RuntimeError: the system gives no alarm clock, or no thread."""
        self._alarm = AlarmClock()
        threading.Thread(target=self._watch, daemon=True, name='hub watch').start()
        self._hear()
        self._rest()

    def stop(self):
        self._ended = True
        self._check.close()
        self._prepare.close()
        self._timer.close()
        # its thread closes the alarm clock
        self._alarm.set(0.000001)

    # -- on the hub ------------------------------------------------------------------------------------------------

    def _rest(self):
        """The hub has little to do: the alarm clock is set when it wakes up and void when it goes to sleep."""
        self._timer.stop()
        self._quick = 0
        self._check.start(self._wake)
        self._prepare.start(self._sleep)

    def _wake(self):
        before = self._heard
        self._hear()
        self._quick = self._quick + 1 if self._heard - before < BEAT else 0
        if self._quick >= QUICK:
            # it has much to do
            self._check.stop()
            self._prepare.stop()
            self._timer.again(self._beat)

    def _sleep(self):
        self._alarm.set(0)
        self._tell(self._heard, self._heard, self._computed)

    def _beat(self):
        turn, heard, computed = self._turn, self._heard, self._computed
        self._hear()
        # nobody knows when, since the last beat, this turn began
        self._tell(heard, max(heard, min(heard + BEAT, self._heard - BLOCKED)), computed)
        if self._turn - turn <= 1:
            # the beat alone takes one turn
            self._rest()

    def _hear(self):
        """The hub is not blocked now."""
        self._alarm.set(BLOCKED)
        self._turn = self._loop.iteration
        self._computed = self._clock.thread_cpu()
        self._heard = self._clock.monotonic()

    def _tell(self, heard, began, computed):
        """Say so if the hub was blocked since it was heard of (monotonic), having computed so many seconds by then.

        began  when that began, unless the thread has seen it
        """
        now = self._clock.monotonic()
        if now - heard < BLOCKED:
            return
        computed = self._clock.thread_cpu() - computed
        seen, self._seen = self._seen, None
        if seen is not None:
            began, who, functions = seen
        elif now - began < BLOCKED:
            return
        elif computed >= (now - began) / 2:
            who, functions = 'something that never let go of the interpreter', 'nobody could look'
        else:
            who, functions = 'the system: the process did not run', 'the machine is busy, or was suspended'
        self._lines.warning('hub blocked for %.2f s (%.2f s of it computing) by %s: %s', now - began,
                            min(computed, now - began), who, functions)

    # -- in the thread ---------------------------------------------------------------------------------------------

    def _watch(self):
        while not self._ended:
            self._alarm.wait()
            if not self._ended:
                try:
                    self._look()
                except Exception:
                    # what it looks at goes on meanwhile; the next look must come
                    self._log.exception('the look at a blocked hub failed')
        self._alarm.close()

    def _look(self):
        """The hub should have been heard of by now."""
        turn = self._loop.iteration
        began = self._began()
        said = False
        while self._loop.iteration == turn and not self._ended:
            blocked = self._clock.monotonic() - began
            if blocked < BLOCKED:
                self._clock.rest(max(0.001, BLOCKED - blocked))
                continue
            if self._seen is None:
                self._seen = self._see(began)
                if self._seen is None:
                    return
            if blocked >= STILL and not said:
                said = True
                _, who, functions = self._seen
                self._lines.warning('hub blocked for %.2f s, and still is, by %s: %s', blocked, who, functions)
            self._clock.rest(0.01 if blocked < 1 else 0.1)

    def _began(self):
        """When the present turn began (monotonic), as the loop itself noted it by the wall clock."""
        now = self._clock.monotonic()
        since = self._clock.now_ms() / 1000 - self._loop.now()
        return now - min(max(since, 0.0), now - self._heard)

    def _see(self, began):
        """-> what ``_seen`` is; None if the hub sleeps."""
        frame = sys._current_frames().get(self._thread)
        frames = []
        while frame is not None:
            frames.append(frame)
            frame = frame.f_back
        if not frames or frames[0].f_code.co_name == 'run' and frames[0].f_code.co_filename.endswith(_HUB):
            return None
        shown = [_shown(frame) for frame in frames if frame.f_code.co_filename.startswith(_OURS)] or \
            [_shown(frame) for frame in frames]
        return began, whose(frames), ' < '.join(shown[:FRAMES])


def whose(frames):
    """Whom these frames work for, innermost first. -> Shown

    Compiled functions have none, so it is told by what those have that are never compiled: ``KestrelServer._serve`` of a
    client, and what runs in the background.
    """
    who, queue = 'the server itself', None
    for frame in frames:
        if not frame.f_code.co_filename.startswith(_OURS) or _TELLING.isdisjoint(frame.f_code.co_varnames):
            continue
        known = frame.f_locals
        connection, protocol = known.get('connection'), known.get('protocol')
        if connection is not None and protocol is not None:
            who = '%s client %s' % (protocol, peer(connection.address))
            words = getattr(getattr(known.get('handler'), 'parser', None), 'words', None) or []
            words = [_text(word) for word in words[:2]]
            if words:
                who += ', ' + ' '.join(words)
            queue = queue or (words[1].partition('/')[0] if len(words) > 1 else None)
        about = known.get('queue') or known.get('journal')
        if queue is None and isinstance(getattr(about, 'name', None), bytes):
            queue = _text(about.name)
    return Shown(who, queue)


def _text(word):
    return word[:LONGEST_WORD].decode('latin-1')


def _shown(frame):
    path = frame.f_code.co_filename
    path = path[len(_OURS):] if path.startswith(_OURS) else os.path.basename(path)
    # a frame that is just ending has no line
    return '%s (%s:%s)' % (frame.f_code.co_name, path, frame.f_lineno)
