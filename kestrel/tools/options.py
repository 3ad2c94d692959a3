"""A command line whose mistakes end the process with exit code 1, as the original's commands do."""

import argparse
import ipaddress
import re

SERVER = re.compile(r'(?:\[([^\]]+)\]|([^:\[\]\s]+))((?::[0-9]{1,5})*)')


class Options(argparse.ArgumentParser):
    """An ArgumentParser; ``-h`` is free, ``--help`` ends with 0.

    place  where the words are from, for messages: ``file: ``, or nothing
    """

    place = ''

    def __init__(self, **more):
        super().__init__(add_help=False, formatter_class=argparse.RawDescriptionHelpFormatter, **more)
        self.add_argument('--help', action='help', help='this text')

    def error(self, message):
        self.exit(1, '%sERROR: %s%s\n' % (self.format_usage(), self.place, message))


def at_least(smallest):
    """A type of values: an integer from ``smallest`` on."""
    def integer(text):
        number = int(text) if text.isascii() and text.isdigit() else -1
        if number < smallest:
            raise argparse.ArgumentTypeError('%r is not an integer of at least %d' % (text, smallest))
        return number
    return integer


def server(text, most=1):
    """``HOST`` or ``[ADDRESS]``, up to ``most`` ports behind it, each after a colon -> (host, list of int).

    An address of IPv6 without a port may stand without brackets. Raises argparse.ArgumentTypeError.
    """
    try:
        return str(ipaddress.IPv6Address(text)), []
    except ValueError:
        found = SERVER.fullmatch(text)
    ports = [int(word) for word in found[3].split(':')[1:]] if found and found[3] else []
    if not found or len(ports) > most or not all(1 <= one <= 65535 for one in ports):
        raise argparse.ArgumentTypeError('HOST or [ADDRESS]%s, not %r' % (
            ', with %s behind it' % ('a port' if most == 1 else 'up to %d ports' % most), text))
    return found[1] or found[2], ports


def port(text):
    """A type of values: a TCP port."""
    number = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= number <= 65535:
        raise argparse.ArgumentTypeError('%r is not a port from 1 to 65535' % text)
    return number
