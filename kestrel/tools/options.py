"""A command line whose mistakes end the process with exit code 1, as the original's commands do."""

import argparse


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


def port(text):
    """A type of values: a TCP port."""
    number = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= number <= 65535:
        raise argparse.ArgumentTypeError('%r is not a port from 1 to 65535' % text)
    return number
