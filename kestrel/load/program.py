"""What the five load programs have in common: options, flushing, running, interruption, and what is said at the end."""

import os
import resource
import signal
import sys

from kestrel.clock import Clock
from kestrel.load.clients import Caller
from kestrel.load.dial import Dial
from kestrel.load.engine import REPLY_SECONDS, Engine
from kestrel.load.figures import distribution, usec_each
from kestrel.load.memcache import Memcache
from kestrel.load.monitor import Monitor
from kestrel.load.options import MEMCACHE_PORT, Usage
from kestrel.load.targets import Target, total
from kestrel.load.thrift import Thrift
from kestrel.load.trouble import NoServer
from kestrel.tools.console import Console

SPARE_FILES = 50        # open besides the connections
PROGRESS_SECONDS = 0.25
WIDTH = 70              # of a progress line


class Program:
    """A load program; a subclass has ``name``, ``parser()``, ``check()`` and ``work()``.

    options  of the command line    console  tools.console.Console
    targets  list of Target: the servers
    """

    name = ''
    client_id = None

    def __init__(self, console, clock=None, reply_seconds=REPLY_SECONDS):
        self.console = console
        self.clock = clock or Clock()
        self.engine = Engine(self.clock, reply_seconds)
        self.options = None
        self.targets = []
        self._monitors = []
        self._signal = 0
        self._failed = False
        self._parser = None
        self._began = 0.0

    # -- for subclasses ------------------------------------------------------------------------------------------------

    def parser(self):
        """-> options.Parser"""
        raise NotImplementedError

    def check(self):
        """Options that make no sense together end in ``refuse``."""

    def work(self):
        """Do it. May raise NoServer."""
        raise NotImplementedError

    def refuse(self, reason):
        self._parser.error(reason)

    def dialect(self):
        """-> a Dialect for a new connection."""
        return Thrift(self.client_id) if self.options.thrift else Memcache()

    @property
    def queue(self):
        return os.fsencode(self.options.queue)

    def say(self, line):
        """A line of the result, now."""
        self.console.line(line)
        self.console.flush()

    def complain(self, line):
        """A line on standard error; the exit code will not be 0."""
        self._failed = True
        self.console.error('%s: %s' % (self.name, line))

    def flush(self, queues):
        """Empty the queues, unless -F."""
        if not self.options.flush:
            return
        self.say('Flushing queues first.')
        clients = []
        for target in self.targets:
            clients += target.drive([self.flusher(target.begin(), queues)])
        self.engine.run(clients)
        for target in self.targets:
            if target.tally.troubles:
                raise NoServer('%sthe queue was not flushed: %s' % (target.label, next(iter(target.tally.troubles))))

    def flusher(self, tally, queues):
        """-> a client that empties them."""
        dialect = self.dialect()
        return Caller(tally, dialect, [lambda queue=queue: dialect.flush(queue) for queue in queues])

    def go(self, clients, progress):
        """Run clients until they have ended. ``progress()``: a text. -> msec, int."""
        began = self._began = self.clock.monotonic()
        for target in self.targets:
            target.tally.last_at = began

        def show():
            if not self._monitors:
                self.console.progress(('%s, %d s' % (progress(), self.clock.monotonic() - began)).ljust(WIDTH))
            self.engine.call_later(PROGRESS_SECONDS, show)

        show()
        try:
            self.engine.run([*clients, *self._monitors])
        finally:
            self.console.progress(' ' * WIDTH + '\r')
        return int((self.clock.monotonic() - began) * 1000)

    def pause(self, seconds):
        """Let time pass; the monitors go on."""
        self.engine.run(self._monitors, seconds)

    @property
    def stopped(self):
        """Nothing is to be begun any more."""
        return self._failed or self.engine.stopping

    @property
    def where(self):
        """The servers, for people."""
        names = [target.dial.name for target in self.targets]
        return names[0] if len(names) == 1 else 'each of %s' % ', '.join(names)

    def sum(self, figure):
        """-> of the tallies of all servers"""
        return total(self.targets, figure)

    def msec_until(self, seconds):
        """-> int, from the begin of this run until then, s of the monotonic clock; 0 if that was before."""
        return int(max(seconds - self._began, 0) * 1000)

    def told_troubles(self):
        """Say which clients ended early, if any did."""
        for target in self.targets:
            for text, count in target.tally.troubles.items():
                self.complain('%s%d of %d clients ended early: %s' % (target.label, count, target.clients, text))

    def told_each(self, figure):
        """If there are several servers, a line of each: how far it came, and when it had its last item."""
        if len(self.targets) > 1:
            for target in self.targets:
                tally = target.tally
                done, msec = getattr(tally, figure), self.msec_until(tally.got_at if figure == 'got' else tally.last_at)
                each = ' (%s usec/put throughput)' % usec_each(msec, done) if done else ''
                self.say('%s%d items in %d msec%s.' % (target.label, done, msec, each))

    def finished(self, msec, divisor, done, total):
        """The line at the end of a run, of gets too (spec tools 5); that of an interrupted one says how far it came."""
        if done == total and divisor:
            self.say('Finished in %d msec (%s usec/put throughput).' % (msec, usec_each(msec, divisor)))
            return
        each = ' (%s usec/put throughput)' % usec_each(msec, done) if done else ''
        self.say('Ended early: %d of %d items in %d msec%s.' % (done, total, msec, each))

    def told_distribution(self):
        times = [one for target in self.targets for one in target.tally.times]
        if times:
            self.say(distribution(times))

    def check_items(self, lost):
        """Complain about what is wrong in what came back. ``lost(ledger)``: how many are missing, if nobody has
        interrupted it."""
        for target in self.targets:
            ledger = target.ledger
            if ledger is None:
                continue
            missing = 0 if self.engine.stopping else lost(ledger)
            if missing or ledger.doubled or ledger.reordered or ledger.foreign:
                self.complain('%s%d items lost, %d doubled, %d out of order, %d that were not put' % (
                    target.label, missing, ledger.doubled, ledger.reordered, ledger.foreign))

    # -- the frame -----------------------------------------------------------------------------------------------------

    def run(self, arguments):
        """-> exit code: 0, 1 after an error or for bad options, 128 + the number of a signal."""
        self._parser = self.parser()
        try:
            self.options = self._parser.parse(arguments)
            self.check()
        except Usage as usage:
            return self._show_usage(usage)
        servers = self.options.servers
        self.targets = [Target(self._dial(host, port), len(servers) == 1) for host, port in servers]
        if self.options.monitor:
            self._monitors = [self._monitor(target, host, port) for target, (host, port) in zip(self.targets, servers)]
        before = {number: signal.signal(number, self._interrupted) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            self._raise_file_limit()
            self.work()
        except NoServer as error:
            self.complain(str(error))
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        self.console.flush()
        if self._signal:
            return 128 + self._signal
        return 1 if self._failed else 0

    def _show_usage(self, usage):
        if usage.reason is None:
            self.console.write(usage.text.encode())
            self.console.flush()
            return 0
        self.console.error('%s\n%s: %s' % (usage.text, self.name, usage.reason))
        return 1

    def _dial(self, host, port, **more):
        return Dial(host, port, self.clock, self.console.error, lambda: self.engine.stopping, **more)

    def _monitor(self, target, host, port):
        monitor = Monitor(self.engine, self.options.queue, lambda line: self.say(target.label + line),
                          lambda line: self.console.error(target.label + line))
        # ``stats`` is a command of the memcache port alone
        monitor.dial = self._dial(host, MEMCACHE_PORT if self.options.thrift else port, give_up=0)
        return monitor

    def _interrupted(self, number, frame):
        self._signal = number
        self.engine.stop()
        signal.signal(number, signal.SIG_DFL)   # the second one ends it at once

    def connections(self):
        """How many the program opens at most to a server."""
        return 1

    def _raise_file_limit(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        connections = self.connections() * len(self.targets)
        wanted = connections + SPARE_FILES
        if soft == resource.RLIM_INFINITY or soft >= wanted:
            return
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise NoServer('%d connections need %d open files, and the limit is %d: raise it with ulimit -Hn %d'
                           % (connections, wanted, hard, wanted))
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main(program):
    """The command line of a Program; ends the process."""
    console = Console(sys.stdout.buffer, sys.stderr)
    try:
        code = program(console).run(sys.argv[1:])
    except BrokenPipeError:
        # nobody reads any more (flood | head), and the interpreter must not try to write the rest at its end
        sys.stderr.flush()
        os._exit(1)
    sys.exit(code)
