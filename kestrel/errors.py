"""What can go wrong with a request, and what becomes of its connection."""


class RequestError(Exception):
    """A request that is answered with an error line; the connection stays open.

    ``line`` is the whole reply without its line end, bytes, for example ``b'CLIENT_ERROR bad flags'`` (D1).
    """

    def __init__(self, line):
        super().__init__(line)
        self.line = line


class HangUp(RequestError):
    """A request that is answered with an error line (none if it is empty), after which the server closes."""


class JournalError(Exception):
    """A record could not be made as durable as was asked; the queue is as it was before.

    ``why`` is the reason for people, str; ``full`` is true when there is no room on the disk (D9, D10).
    """

    def __init__(self, why, full=False):
        super().__init__(why)
        self.why = why
        self.full = full


class StartError(Exception):
    """The server cannot start (or a setting cannot be used); str() is one line that names the remedy."""
