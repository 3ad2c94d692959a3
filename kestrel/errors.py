"""What can go wrong with a request, and with a start."""


class RequestError(Exception):
    """A request that is answered with an error line; the connection stays open.

    ``line`` is the whole reply without its line end, bytes, for example ``b'CLIENT_ERROR bad flags'`` (D1).
    """

    def __init__(self, line):
        super().__init__(line)
        self.line = line


class HangUp(RequestError):
    """A request that is answered with an error line (none if it is empty), after which the server closes."""


class Refusal(Exception):
    """What a client asked for is not done, whichever protocol it speaks. The handler of each protocol words it, and
    decides what becomes of the connection (D1).

    line    bytes: the text of D1, as the memcache port sends it
    reason  bytes: the same without its first word
    """

    def __init__(self, line):
        super().__init__(line)
        self.line = line

    @property
    def reason(self):
        return self.line.partition(b' ')[2]


class BadName(Refusal):
    """No queue can have such a name (spec queues 1, D34)."""


class Blocked(Refusal):
    """The status in force, or a limit of connections, forbids to read or to write (spec memcache 3)."""


class ClientIdRequired(Refusal):
    """The queue ``name`` is for one client id only, and the client has not that one (spec queues 9)."""

    def __init__(self, name):
        super().__init__(b'SERVER_ERROR client id required for queue ' + name)
        self.name = name


class AdminDisabled(Refusal):
    """Clients of this server may not administrate it (D30)."""

    def __init__(self):
        super().__init__(b'CLIENT_ERROR admin commands are disabled')


class JournalError(Refusal):
    """A record could not be made as durable as was asked; the queue is as it was before.

    ``why`` is the reason for people, str; ``full`` is true when there is no room on the disk (D9, D10).
    """

    def __init__(self, why, full=False):
        super().__init__(b'SERVER_ERROR out of disk space' if full else
                         b'SERVER_ERROR journal write failed: ' + why.encode('ascii', 'replace'))
        self.why = why
        self.full = full

    def __str__(self):
        return self.why


class StartError(Exception):
    """The server cannot start (or a setting cannot be used); str() is one line that names the remedy."""
