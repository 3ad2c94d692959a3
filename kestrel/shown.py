"""Names as they stand in the log: with them a line knows which queue it is about, for ``format = json`` too."""

import os

from kestrel.journal import names


class Shown(str):
    """A text among the arguments of a line of the log; ``queue``: the name of the queue it is about, str, or None."""

    __slots__ = ('queue',)

    def __new__(cls, text, queue):
        shown = super().__new__(cls, text)
        shown.queue = queue
        return shown


def shown_queue(name):
    """A queue's name, bytes -> Shown."""
    text = name.decode('latin-1')
    return Shown(text, text)


def shown_path(path):
    """The path of a file in the spool, bytes -> Shown; ``queue``: whose it is, if it is a queue's."""
    name = names.owner(os.path.basename(path))
    return Shown(path.decode('utf-8', 'backslashreplace'), None if name is None else name.decode('latin-1'))


def shown_request(words, queues):
    """The words of a request, list of bytes -> Shown; the second is a queue's name if there is one in ``queues``. None: it
    failed before there were any."""
    name = words[1].partition(b'/')[0] if words and len(words) > 1 else b''
    return Shown(repr(words), name.decode('latin-1') if name in queues else None)


def queue_of(arguments):
    """The queue that a line with these arguments is about, str: the first that is named. None without one."""
    for argument in arguments:
        if isinstance(argument, Shown) and argument.queue is not None:
            return argument.queue
    return None
