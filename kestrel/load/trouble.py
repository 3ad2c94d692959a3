"""What ends a client, or a whole program, before its time; str() is what people read."""


class Trouble(Exception):
    """One client cannot go on: a reply that is wrong, or none, or a lost connection."""


class NoServer(Exception):
    """No connection could be made for so long that the program gives up."""
