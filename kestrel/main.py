"""The command line: argv -> Config -> KestrelServer. The only place that ends the process."""

import argparse
import gc
import os
import resource
import signal
import sys

import gevent

from kestrel import __version__, config, log
from kestrel.clock import Clock
from kestrel.daemonize import Daemon
from kestrel.errors import StartError
from kestrel.heartbeat import Heartbeat
from kestrel.hub_watch import HubWatch
from kestrel.notify import Notifier
from kestrel.passed_sockets import PassedSockets
from kestrel.server import KestrelServer, zookeeper_client

DEFAULT_CONFIG = '/etc/kestrel/kestrel.conf'
DEFAULT_PID_FILE = '/run/kestrel/kestrel.pid'
DEFAULT_UMASK = 0o027
STALLED_AFTER = 30          # seconds without progress that end a stop (D46)


def main(argv=None):
    """Run the command; ends the process with 0, or 1 after one line on standard error, or 2 for a wrong usage."""
    options = _parse(sys.argv[1:] if argv is None else argv)
    try:
        configuration = config.load(options.config)
        if options.daemon and not options.validate:
            sys.exit(_run_detached(configuration, options))
        if not options.validate:
            run(configuration)
        elif configuration.zookeeper.host is not None:
            # a start would fail, too
            zookeeper_client()
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
    parser.add_argument('--daemon', action='store_true',
                        help='leave the terminal; returns when the ports are open, or with an error')
    parser.add_argument('--pid-file', metavar='FILE', help='with --daemon (default %s)' % DEFAULT_PID_FILE)
    parser.add_argument('--user', metavar='NAME', help='with --daemon: the user to run as')
    parser.add_argument('--group', metavar='NAME', help='with --daemon: the group (default: that of --user)')
    parser.add_argument('--umask', metavar='MODE', type=_umask, help='with --daemon, octal (default %03o)' % DEFAULT_UMASK)
    parser.add_argument('--version', action='version', version='kestrel %s' % __version__)
    options = parser.parse_args(argv)
    for name in 'pid_file', 'user', 'group', 'umask':
        if getattr(options, name) is not None and not options.daemon:
            parser.error('--%s: only with --daemon' % name.replace('_', '-'))
    return options


def _umask(text):
    try:
        mask = int(text, 8)
    except ValueError:
        mask = -1
    if not 0 <= mask <= 0o777:
        raise argparse.ArgumentTypeError('%r is no octal number from 0 to 777' % text)
    return mask


def _run_detached(configuration, options):
    """``run`` in a process of its own; -> the exit code. Raises StartError."""
    if configuration.logging.filename is None:
        raise StartError('%s: [logging] filename: a daemon has no standard error to log to; name a file'
                         % configuration.path)
    umask = DEFAULT_UMASK if options.umask is None else options.umask
    daemon = Daemon(options.pid_file or DEFAULT_PID_FILE, options.user, options.group, umask)
    code = daemon.detach()
    if code is None:
        try:
            run(configuration, daemon.ready)
            code = 0
        except StartError as error:
            # here, not where the process ends: who waits for it speaks next
            print('kestrel: %s' % error, file=sys.stderr, flush=True)
            code = 1
        finally:
            daemon.end()
    return code


def run(configuration, on_ready=lambda: None):
    """Serve until a signal or a client stops the server. Raises StartError.

    on_ready  called when the ports are open
    """
    _raise_file_limit()
    handle = log.setup(configuration.logging, sys.stderr)
    notifier = Notifier(os.environ, Clock())

    def on_stop_step():
        _expect_progress()
        notifier.stopping()

    server = KestrelServer(configuration, handle, on_stop_step=on_stop_step, passed=PassedSockets(os.environ))
    heartbeat = Heartbeat(server, notifier)
    # replay makes millions of objects and no garbage: collecting meanwhile takes two thirds of its time uncompiled
    gc.disable()
    # during the replay a signal to stop ends the process at once: nothing has been acknowledged yet. There is no log to be
    # opened anew, and the configuration has just been read.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    server.load(notifier.replaying)
    signals = _Signals(server, handle, heartbeat)
    server.listen()
    _settle_garbage_collection()
    on_ready()
    heartbeat.begin()
    watch = _watch_hub(server.log)
    server.wait()
    heartbeat.end()
    if watch is not None:
        watch.stop()
    signals.cancel()
    handle.close()


def _watch_hub(logger):
    """-> HubWatch, None where the system has not what it needs."""
    watch = HubWatch(gevent.get_hub().loop, logger, Clock())
    try:
        watch.start()
    except (OSError, RuntimeError) as error:
        logger.warning('nobody watches whether the hub is blocked: %s', error)
        return None
    return watch


def _expect_progress():
    """End the process unless this is called again, or the process ends, in time. Works with a blocked hub, too."""
    signal.alarm(STALLED_AFTER)


class _Signals:
    """SIGTERM, SIGINT: stop; a second one ends the process at once. SIGHUP: reopen the log, reload."""

    def __init__(self, server, handle, heartbeat):
        self.server = server
        self.handle = handle
        self.heartbeat = heartbeat
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
        self.heartbeat.reload()

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
