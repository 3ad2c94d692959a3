"""Waiting for what a process does in its own time, and looking at that process from outside."""

import time
from unittest import mock

from support.environment import kestrel_command
from support.server import Server

SECONDS = 10
PAUSE = 0.01


def eventually(test, what, look):
    """Look until something true comes, and return it; fail with ``what`` after ten seconds."""
    deadline = time.monotonic() + SECONDS
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            test.fail(f'not within {SECONDS} s: {what}')
        time.sleep(PAUSE)


def stats(client):
    """The answer to ``stats`` as a dict of str; a value is what stands behind the key, spaces included."""
    client.send(b'stats\r\n')
    lines = client.recv_until(b'END\r\n').decode('latin-1').split('\r\n')
    return dict(line.split(' ', 2)[1:] for line in lines[:-2])


def memory_peak(pid):
    """Bytes: the most memory the process ever had resident."""
    with open(f'/proc/{pid}/status') as lines:
        for line in lines:
            if line.startswith('VmHWM:'):
                return int(line.split()[1]) * 1024
    raise AssertionError('no VmHWM')


def files(folder):
    """Everything below a folder: dict of path below it (str) to content (bytes), None for a folder."""
    found = {}
    for path in sorted(folder.rglob('*')):
        try:
            found[str(path.relative_to(folder))] = None if path.is_dir() else path.read_bytes()
        except FileNotFoundError:
            continue        # it was just taken away
    return found


class WrappedServer(Server):
    """A kestrel that is started by another command, such as a shell that lowers its limits and then execs it."""

    def __init__(self, wrapper, config=None):
        self._wrapper = wrapper
        super().__init__(config)

    def start(self):
        def wrapped(*words):
            return [*self._wrapper, *kestrel_command(*words)]
        with mock.patch('support.server.kestrel_command', wrapped):
            return super().start()
