"""Why a command of kestrelctl ends with something else than 0. str() is the message, one line."""

DONE = 0
REFUSED = 1         # the server said no, a command it was given to failed, or a part was not done
WRONG_USE = 2
NO_SERVER = 3       # absent, refusing, silent, closing in the middle, talking something else, or too old
NOTHING_THERE = 4   # no item, no such queue; not ready in time
INTERRUPTED = 130   # as shells have it; 128 + the signal for others


class Failed(Exception):
    """The command ends here with ``code``."""

    code = REFUSED


class Refused(Failed):
    """The server answered an error. ``line``: its reply, bytes."""

    def __init__(self, line, message):
        super().__init__(message)
        self.line = line


class WrongUse(Failed):
    """What was asked for makes no sense; nothing was done."""

    code = WRONG_USE


class NoServer(Failed):
    """There is no kestrel that answers as one."""

    code = NO_SERVER


class TooOld(NoServer):
    """The server does not have what the command needs."""


class NothingThere(Failed):
    """There is nothing to work on."""

    code = NOTHING_THERE


class Ended(KeyboardInterrupt):
    """A signal other than Ctrl-C asked the command to end; ``number`` is that of the signal."""

    def __init__(self, number):
        super().__init__(number)
        self.number = number
