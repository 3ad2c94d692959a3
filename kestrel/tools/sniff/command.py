"""``ksniff``: the command."""

import getpass
import ipaddress
import os
import socket

from kestrel.clock import Clock
from kestrel.tools.console import run_command
from kestrel.tools.parallel import ask_all
from kestrel.tools.sniff.capture import NOT_RUN, Failed, Tcpdump
from kestrel.tools.sniff.counts import Counts
from kestrel.tools.sniff.options import options_of
from kestrel.tools.sniff.packets import Capture, Unreadable, missing_library, segments
from kestrel.tools.sniff.report import report

UNREADABLE = 10     # exit code; 1 is for the command line, 3 and 4 see capture
NAME_SECONDS = 5    # for the name of an address


def main():
    """The command line; ends the process with 0, 1 (options), 3 (no tcpdump, no ssh), 4 (copying) or 10 (capture)."""
    run_command(run, has_peers=True)


def run(arguments, console, clock=None, home=None, ask_password=getpass.getpass):
    """Do what the words of the command line say; -> exit code, that of the first host with which something was wrong.

    ``home``: the folder of ``.ksniffrc``; ``ask_password(prompt)`` -> str.
    """
    clock = clock or Clock()
    home = home or os.environ.get('HOME')
    return _Sniffer(options_of(arguments, clock.now_ms(), home), console, clock, ask_password).run()


class _Sniffer:

    def __init__(self, options, console, clock, ask_password):
        self.options = options
        self.console = console
        self.clock = clock
        self.tcpdump = Tcpdump(options, console, ask_password)

    def run(self):
        options = self.options
        missing = missing_library()
        if missing and not options.dry_run:
            return self._fail(NOT_RUN, missing)
        if options.reprocess_file is not None:
            return self._process(options.reprocess_file, ', '.join(options.hosts) or options.reprocess_file)
        try:
            self.tcpdump.check()
        except Failed as failed:
            return self._fail(failed.code, failed)
        codes = [self._sniff(host) for host in options.hosts]
        return next((code for code in codes if code), 0)

    def _sniff(self, host):
        try:
            self.tcpdump.capture(host)
        except Failed as failed:
            return self._fail(failed.code, failed)
        return self._process(self.options.local_file, host)

    def _process(self, path, title):
        """Report about one capture; all of it or, if it cannot be read to its end, nothing."""
        options = self.options
        if options.dry_run:
            self.console.line('skipped: processing of ' + path)
            return 0
        if options.verbose:
            self.console.error('processing ' + path)
        try:
            capture = Capture(path)
            try:
                counts = Counts(segments(capture), options.filter, options.percentiles is not None,
                                self._show if options.verbose > 1 else None)
            finally:
                capture.close()
        except Unreadable as error:
            return self._fail(UNREADABLE, error)
        for line in report(title, counts, options, self._names):
            self.console.line(line)
        return 0

    def _fail(self, code, message):
        self.console.error('ERROR: %s' % message)
        return code

    def _show(self, data, addresses, frame, tcp):
        half = len(addresses) // 2
        source, target = ipaddress.ip_address(addresses[:half]), ipaddress.ip_address(addresses[half:])
        self.console.error('%s:%d->%s:%d' % (source, int.from_bytes(frame[tcp:tcp + 2], 'big'),
                                             target, int.from_bytes(frame[tcp + 2:tcp + 4], 'big')))
        if self.options.verbose > 2:
            self.console.error(' %d: %s' % (len(data), repr(data)[2:-1]))

    def _names(self, addresses):
        """{address: name} of those that have one."""
        def name(address):
            return socket.gethostbyaddr(address)[0]
        answers = ask_all(addresses, name, NAME_SECONDS, self.clock)
        return {address: answer for address, answer in answers if not isinstance(answer, Exception)}
