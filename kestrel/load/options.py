"""The command lines of the load programs: what each option means, and what makes no sense (spec tools 5)."""

import argparse

from kestrel.tools.options import server

MEMCACHE_PORT = 22133
THRIFT_PORT = 2229
LARGEST = 2 ** 31 - 1
# They end a name, or begin the options of a get.
NOT_IN_NAMES = './~'


class Usage(Exception):
    """The command line was --help, ``reason`` None, or makes no sense; ``text`` is the usage."""

    def __init__(self, text, reason=None):
        super().__init__(reason)
        self.text = text
        self.reason = reason


class Parser(argparse.ArgumentParser):
    """argparse without its exits, and with -h for the host."""

    def __init__(self, name, about, queue, protocols=('memcache',)):
        super().__init__(prog=name, usage='%(prog)s [options]', description=about, add_help=False, allow_abbrev=False)
        self.add_argument('--help', action='store_true', help='print this, and end')
        self.add_argument('-h', dest='hosts', metavar='HOST', action='append',
                          help='server (localhost), HOST or HOST:PORT; several, with commas between or with a -h for '
                          'each: each gets all of this')
        ports = {'memcache': MEMCACHE_PORT, 'thrift': THRIFT_PORT}
        defaults = str(ports[protocols[0]])
        if len(protocols) > 1:
            defaults += '; with --thrift %d' % THRIFT_PORT
            self.add_argument('--thrift', action='store_true', help='use the thrift service')
        self.add_argument('-p', dest='port', metavar='PORT', type=number(1, 65535), help='port (%s)' % defaults)
        self.add_argument('-q', dest='queue', metavar='NAME', type=queue_name, default=queue,
                          help='queue (%(default)s)')
        self.add_argument('-F', dest='flush', action='store_false', help='do not flush the queue first')
        self.set_defaults(thrift=protocols == ('thrift',), monitor=False)

    def number(self, letter, name, least, default, text):
        """An option with a number of at least ``least``."""
        self.add_argument('-' + letter, dest=name, metavar=name.upper(), type=number(least), default=default,
                          help=text + ' (%(default)s)')

    def switch(self, letter, name, text):
        self.add_argument('-' + letter, dest=name, action='store_true', help=text)

    def parse(self, arguments):
        """-> the options; ``servers``: list of (host, port). Raises Usage."""
        if '--help' in arguments:
            raise Usage(self.format_help())
        options = self.parse_args(arguments)
        if options.port is None:
            options.port = THRIFT_PORT if options.thrift else MEMCACHE_PORT
        words = [word for words in options.hosts or ['localhost'] for word in words.split(',')]
        options.host = ', '.join(words)
        options.servers = [self._server(word, options.port) for word in words]
        if len({*options.servers}) < len(options.servers):
            self.error('-h %s: the same server twice' % options.host)
        if options.monitor and options.thrift and len({host for host, _ in options.servers}) < len(options.servers):
            self.error('-M asks port %d of each host, which is one server of several here' % MEMCACHE_PORT)
        return options

    def _server(self, word, port):
        try:
            host, ports = server(word)
        except argparse.ArgumentTypeError as error:
            self.error('-h: %s' % error)
        return host, (ports or [port])[0]

    def error(self, message):
        raise Usage(self.format_help(), message)


def number(least, most=LARGEST):
    """-> a type of argparse: an int of at least ``least``."""
    def whole(text):
        if not text.isascii() or not text.isdigit():
            raise argparse.ArgumentTypeError('%s is no whole number; write one from %d on' % (text, least))
        value = int(text) if len(text) < 20 else most + 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError('%s is out of range; write a number from %d to %d' % (text, least, most))
        return value
    return whole


def share(text):
    """A type of argparse: a float from 0 to less than 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError('%s: write a share from 0 to less than 1, for example 0.01' % text)
    return value


def queue_name(text):
    """A type of argparse: a name that every protocol takes; the words stay str."""
    if not text or not text.isprintable() or ' ' in text or set(text) & set(NOT_IN_NAMES):
        raise argparse.ArgumentTypeError('%r is no name of a queue: spaces, control characters and . / ~ may not be in '
                                         'it' % text)
    return text
