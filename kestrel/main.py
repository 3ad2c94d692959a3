"""The command line: argv -> Config -> KestrelServer. The only place that ends the process."""

import argparse
import gc
import os
import resource
import signal
import sys

import gevent

from kestrel import __version__, config, log
from kestrel.errors import StartError
from kestrel.server import KestrelServer

DEFAULT_CONFIG = '/etc/kestrel/kestrel.conf'
STALLED_AFTER = 30          # seconds without progress that end a stop (D46)


def main(argv=None):
    """Run the command; ends the process with 0, or 1 after one line on standard error, or 2 for a wrong usage."""
    options = _parse(sys.argv[1:] if argv is None else argv)
    try:
        configuration = config.load(options.config)
        if not options.validate:
            run(configuration)
    except StartError as error:
        sys.exit('kestrel: %s' % error)
    except KeyboardInterrupt:
        sys.exit('kestrel: interrupted before it was ready')
    if options.validate:
        print('%s: the configuration is valid' % options.config)
    sys.exit(0)


def _parse(argv):
    parser = argparse.ArgumentParser(prog='kestrel', description='A message queue server: Kestrel 2.4, again.')
    parser.add_argument('-f', '--config', metavar='FILE', default=DEFAULT_CONFIG,
                        help='configuration file (default %(default)s)')
    parser.add_argument('--validate', action='store_true', help='read the configuration file, say whether it is good')
    parser.add_argument('--version', action='version', version='kestrel %s' % __version__)
    return parser.parse_args(argv)


def run(configuration):
    """Serve in the foreground until a signal or a client stops the server. Raises StartError."""
    _raise_file_limit()
    handle = log.setup(configuration.logging, sys.stderr)
    server = KestrelServer(configuration, handle, on_stop_step=_expect_progress)
    # replay makes millions of objects and no garbage: collecting meanwhile takes two thirds of its time uncompiled
    gc.disable()
    # during the replay a signal ends the process at once: nothing has been acknowledged yet
    server.load()
    signals = _Signals(server, handle)
    server.listen()
    _settle_garbage_collection()
    server.wait()
    signals.cancel()
    handle.close()


def _expect_progress():
    """End the process unless this is called again, or the process ends, in time. Works with a blocked hub, too."""
    signal.alarm(STALLED_AFTER)


class _Signals:
    """SIGTERM, SIGINT: stop; a second one ends the process at once. SIGHUP: reopen the log, reload."""

    def __init__(self, server, handle):
        self.server = server
        self.handle = handle
        self.stop_asked = False
        self.handlers = [gevent.signal_handler(signal.SIGTERM, self._stop),
                         gevent.signal_handler(signal.SIGINT, self._stop),
                         gevent.signal_handler(signal.SIGHUP, self._hang_up)]

    def _stop(self):
        if self.stop_asked:
            os._exit(1)
        self.stop_asked = True
        self.server.stop()

    def _hang_up(self):
        self.handle.reopen()
        self.server.reload()

    def cancel(self):
        for handler in self.handlers:
            handler.cancel()


def _raise_file_limit():
    """The soft limit of open files becomes the hard one (D68)."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _settle_garbage_collection():
    """What is there after the start stays for ever, and full collections are not run.

    A full collection walks every waiting item: 1 000 000 of them cost a pause of 100 ms and more. The young
    generations catch the cycles that requests leave behind (tracebacks); connections break their own.
    """
    gc.freeze()
    gc.set_threshold(2000, 10, 1000000000)
    gc.enable()
