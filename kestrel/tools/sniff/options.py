"""The command line of ksniff, and ``$HOME/.ksniffrc``, whose options come before those of the command line."""

import argparse
import datetime
import os
import re
import shlex

from kestrel.tools.options import Options, at_least, port

RC_FILE = '.ksniffrc'
HOST = re.compile(r'(?:[A-Za-z0-9_.][-A-Za-z0-9_.]*@)?[A-Za-z0-9_.:][-A-Za-z0-9_.:%]*')
# an option and its value in one line, without =
PAIR = re.compile(r'(--[a-z-]+|-[A-Za-z])\s+(.+)')


def options_of(arguments, now_ms, home):
    """-> Namespace. ``home``: the folder with the file of options, None for none. Mistakes end the process (1).

    Its attributes are those of the options, and percentiles: list of numbers, or None without that table.
    """
    parser = make_parser(datetime.datetime.fromtimestamp(now_ms // 1000).strftime('/tmp/ksniff.%Y%m%d-%H%M%S'))
    options = argparse.Namespace()
    path = home and os.path.join(home, RC_FILE)
    words = []
    if path:
        try:
            with open(path, encoding='utf-8', errors='surrogateescape') as file:
                words = _words(file.read())
        except FileNotFoundError:
            pass
        except OSError as error:
            parser.error('%s: %s' % (path, error.strerror))
    parser.place = '%s: ' % path
    parser.parse_args(words, options)
    parser.place = ''
    parser.parse_args(arguments, options)
    _check(parser, options)
    return options


def _words(text):
    """The words in the file: a line is one, or an option and the rest."""
    words = []
    for line in text.splitlines():
        line = line.strip()
        if line and not line.startswith('#'):
            pair = PAIR.fullmatch(line)
            words += pair.groups() if pair else [line]
    return words


def _check(parser, options):
    if options.quiet:
        options.verbose = 0
    if not options.hosts and options.reprocess_file is None:
        parser.error('at least one host must be specified')
    for host in options.hosts:
        if not HOST.fullmatch(host) or '@' in host and not options.ssh:
            parser.error('%r is not the name or address of a host' % host)
    for path in (options.remote_file, options.local_file):
        if path.startswith('-') or not path:
            parser.error('%r cannot be the name of a capture file' % path)
    if options.ssh and shlex.quote(options.remote_file) != options.remote_file:
        parser.error('%r: only letters, digits and @%%_-+=:,./ can be in the name of a remote file'
                     % options.remote_file)


def _hosts(text):
    hosts = [host for host in re.split(r'[,\s]+', text) if host]
    if not hosts:
        raise argparse.ArgumentTypeError('no host in %r' % text)
    return hosts


def _pattern(text):
    try:
        return re.compile(os.fsencode(text), re.MULTILINE)
    except re.error as error:
        raise argparse.ArgumentTypeError('invalid regular expression %r: %s' % (text, error)) from error


def _percentiles(text):
    percentiles = []
    for word in text.split(','):
        if not re.fullmatch(r'\d{1,3}(\.\d{1,6})?', word) or float(word) > 100:
            raise argparse.ArgumentTypeError('%r is not a percentile from 0 to 100' % word)
        percentiles.append(float(word))
    return percentiles


def make_parser(stamp):
    parser = Options(prog='ksniff', usage='%(prog)s [options] -h HOST',
                     description='Capture what clients send to memcache ports, and count the operations by client and '
                     'by queue.',
                     epilog='Options can stand in $HOME/%s, one on a line.\n\nExample: ksniff -h 10.0.0.1' % RC_FILE)
    switch = argparse.BooleanOptionalAction

    def add(*names, **more):
        parser.add_argument(*names, **more)

    add('-h', '--host', dest='hosts', metavar='HOST', type=_hosts, action='extend', default=[],
        help='whose incoming packets to capture; several with commas or spaces, or the option again')
    add('--ssh', action=switch, default=False, help='run tcpdump on the host by ssh, copy the file back by scp')
    add('-S', '--sudo', action=switch, default=False, help='run tcpdump with sudo; asks for the password once')
    add('-i', '--iface', metavar='NAME', help='the interface to capture on, as tcpdump -D lists them')
    add('-p', '--port', type=port, default=22133, help='the memcache port (22133)')
    add('-c', '--count', metavar='N', type=at_least(1), default=1000, help='how many packets (1000)')
    add('-f', '--filter', metavar='REGEX', type=_pattern, help='count only packets whose data this matches')
    add('-s', '--snap-len', metavar='N', type=at_least(0), default=132, help='bytes of a packet to keep (132)')
    add('-r', '--remote-file', metavar='F', default=stamp, help='where the capture is on the host with --ssh')
    add('-l', '--local-file', metavar='F', default=stamp, help='where the capture is here')
    add('--reprocess-file', metavar='F', help='capture nothing, read an old file')
    add('-t', '--tcpdump', metavar='PATH', default='tcpdump', help='the program')
    add('-d', '--reverse-dns', action=switch, default=False, help='names instead of addresses')
    add('--skip-summary', action=switch, default=False, help='leave the first table out')
    add('--skip-host-stats', action=switch, default=False, help='leave the table of clients out')
    add('--skip-queue-stats', action=switch, default=False, help='leave the table of queues out')
    add('--report-enqueue-size-metrics', dest='percentiles', metavar='P,...', nargs='?', type=_percentiles,
        const=[50, 90, 99], help='also the sizes of items of sets per queue, at these percentiles (50,90,99); '
        '0 is the smallest, 100 the largest')
    add('-v', '--verbose', action='count', default=0, help='say what is done; twice: each packet that matches; '
        'three times: its data')
    add('-q', '--quiet', action='store_true', help='without what tcpdump says')
    add('-n', '--dry-run', action='store_true', help='say what would be done, and do nothing')
    return parser
