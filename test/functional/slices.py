"""What ZooKeeper costs the others: how long its greenlets hold the hub before they let others run. In the process itself.

On a machine that does other things everything takes longer. So of each slice counts what the process did in it: the time
that its thread computed, and the time that it was blocked in a system call; not the time that it waited for a processor.
A kernel that does not tell the last (CONFIG_SCHED_INFO) leaves the first alone.
"""

import atexit
import json
import os
import time

import greenlet

SCHEDULE = '/proc/thread-self/schedstat'
OWNERS = 'kazoo.', 'kestrel.server_sets', 'kestrel.zookeeper'
MOST = 10


class Slices:
    """The longest slices of the greenlets of OWNERS since ``start``: at the end of the process written into the file
    ``path``, JSON, a list of (ms, of which blocked, what), the longest first.
    """

    def __init__(self, path):
        self._path = path
        self._longest = []
        self._schedule = os.open(SCHEDULE, os.O_RDONLY) if os.path.exists(SCHEDULE) else None
        self._before = self._now()

    def start(self):
        greenlet.settrace(self._switched)
        atexit.register(self._write)

    def _write(self):
        greenlet.settrace(None)
        with open(self._path, 'w') as file:
            json.dump(self._longest, file)

    def _now(self):
        """(computed, not computed and not waited for a processor), ns"""
        now, computed = time.monotonic_ns(), time.thread_time_ns()
        if self._schedule is None:
            return computed, 0
        return computed, now - computed - int(os.pread(self._schedule, 100, 0).split()[1])

    def _switched(self, event, arguments):
        origin, _ = arguments
        # that of a greenlet that has just ended is not known any more
        owner = getattr(getattr(origin, '_run', None), '__module__', '')
        if owner.startswith(OWNERS):
            computed, blocked = [max(0, after - before) for before, after in zip(self._before, self._now())]
            held = (computed + blocked) / 1e6
            if len(self._longest) < MOST or held > self._longest[-1][0]:
                self._longest.append((held, blocked / 1e6, f'{owner}, until {functions(origin.gr_frame)}'))
                self._longest.sort(reverse=True)
                del self._longest[MOST:]
        self._before = self._now()


def functions(frame):
    """-> the innermost, and what called them"""
    found = []
    while frame is not None and len(found) < 8:
        found.append(f'{frame.f_code.co_name}:{frame.f_lineno}')
        frame = frame.f_back
    return ' < '.join(found)
