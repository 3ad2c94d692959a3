"""What it costs to be watched: `stats`, the admin port's statistics, Prometheus, an open dashboard."""
import contextlib
import socket
import threading
import time

from figures import median, paired_ratios
from load import new_seed
from neighbours import SECOND, Probe
from policies import crowd
from servers import ANSWER_SECONDS, BenchError
from size import finding, put_and_get

STATS_TARGET = 0.95         # of the puts and gets without
STALL_MS = 20               # the longest wait of another client
WATCHED_SECONDS = 10
ACTIVE = 100                # queues of those that are there have traffic
PAGE_MS = 500
SCRAPED_TARGET = 0.97
SCRAPE_EVERY = 5            # seconds, as of Prometheus
STATISTICS = ('/stats.json', '/metrics')
# What an open dashboard asks for, and how often.
DASHBOARD = ('/api/overview', '/api/queues?sort=items&limit=100')
DASHBOARD_EVERY = 2


class Poller(threading.Thread):
    """Calls `fetch` every so many seconds, `first` after that many; `with` runs it. `asked`: when, ns; `took`: how long,
    ms."""

    def __init__(self, fetch, every, first=0):
        super().__init__(daemon=True)
        self.asked = []
        self.took = []
        self._fetch = fetch
        self._every = every
        self._first = first
        self._ended = threading.Event()
        self._failure = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, *_):
        self._ended.set()
        self.join()
        if kind is None and self._failure:
            raise self._failure

    def run(self):
        try:
            self._ended.wait(self._first)
            while not self._ended.is_set():
                began = time.monotonic_ns()
                self._fetch()
                spent = time.monotonic_ns() - began
                self.asked.append(began)
                self.took.append(spent / 1e6)
                self._ended.wait(max(0, self._every - spent / SECOND))
        except (BenchError, OSError) as error:
            self._failure = error


def fetch(server, port, request, begin=b'', end=b''):
    """Reads the reply and looks at its begin and end only: the processor is for the server and the load generator."""
    first = last = b''
    with socket.create_connection(('127.0.0.1', port), timeout=ANSWER_SECONDS) as connection:
        connection.sendall(request)
        while not end or not last.endswith(end):
            more = connection.recv(1 << 20)
            if not more:
                break
            first = first or more[:100]
            last = (last + more)[-20:]
    if not first.startswith(begin) or not last.endswith(end):
        raise BenchError(f'{server.name}: {request!r} was answered {first!r} ... {last!r}')


def stats_of(server):
    return lambda: fetch(server, server.port, b'stats\r\n', b'STAT ', b'\r\nEND\r\n')


def pages_of(server, paths):
    def fetch_all():
        for path in paths:
            request = f'GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'
            fetch(server, server.admin_port, request.encode(), b'HTTP/1.1 200 ')
    return fetch_all


def polled(generator, new_server, scale):
    """Throughput of others while `stats` of many queues is asked for each second, and how long they wait for it."""
    server = crowd(generator, new_server, scale, {})
    what = f'stats of {scale.queues:,} queues are asked for each second'
    findings = with_and_without(generator, server, scale, [(stats_of(server), 1)], what, STATS_TARGET)
    findings.append(longest_wait(generator, server, stats_of(server), f'stats of {scale.queues:,} queues'))
    return findings


def scraped(generator, new_server, scale):
    """The statistics of the admin port with many queues, some of them active; throughput of others meanwhile."""
    server = crowd(generator, new_server, scale, {}, admin=True)
    put_and_get(generator, server, scale.work, 'many', ACTIVE)
    findings = []
    for path in STATISTICS:
        ask = pages_of(server, [path])
        with Poller(ask, 0.1) as poller:
            time.sleep(WATCHED_SECONDS / 2)
        findings.append(finding(f'{path} of {scale.queues:,} queues, {ACTIVE} active', round(median(poller.took), 1),
                                'ms', at_most=PAGE_MS, shown=f'longest of {len(poller.took)}: {max(poller.took):.0f}'))
        findings.append(longest_wait(generator, server, ask, path))
    watchers = [(pages_of(server, ['/metrics']), SCRAPE_EVERY), (pages_of(server, DASHBOARD), DASHBOARD_EVERY)]
    what = f'an open dashboard and Prometheus every {SCRAPE_EVERY} s watch {scale.queues:,} queues'
    return findings + with_and_without(generator, server, scale, watchers, what, SCRAPED_TARGET)


def with_and_without(generator, server, scale, watchers, what, target):
    """Puts and gets while these are asked, in turns with while they are not; `watchers`: pairs of fetch, every."""
    without, beside = [], []
    # A pair lasts for twice the longest interval, and each watcher begins in the midst of its own: so it is asked for as
    # often as it says, not once at the begin of each piece of work.
    longest = max(every for _, every in watchers)
    rates = put_and_get(generator, server, scale.work)
    count = int(2 * longest / sum(1 / rate for rate in rates))
    for number in range(max(scale.rounds, 3) * 2):
        for is_watched in (False, True) if number % 2 else (True, False):
            with contextlib.ExitStack() as stack:
                for ask, every in watchers if is_watched else ():
                    stack.enter_context(Poller(ask, every, every / 2))
                (beside if is_watched else without).append(put_and_get(generator, server, count))
    findings = []
    for index, kind in enumerate(('put', 'get')):
        ratios = paired_ratios([pair[index] for pair in beside], [pair[index] for pair in without])
        findings.append(finding(f'{kind} while {what} / while not', round(median(ratios), 3), 'x', at_least=target,
                                ratios=ratios))
    return findings


def longest_wait(generator, server, ask, what):
    """Of another client, in the seconds in which `ask` is called."""
    with Probe(generator, server) as probe:
        time.sleep(1)
        quiet = time.monotonic_ns()
        time.sleep(WATCHED_SECONDS)
        with Poller(ask, 1) as poller:
            time.sleep(WATCHED_SECONDS)
    longest = [max(probe.latencies(asked, asked + SECOND)) for asked in poller.asked[:WATCHED_SECONDS - 1]]
    before = [max(probe.latencies(quiet + number * SECOND, quiet + (number + 1) * SECOND))
              for number in range(WATCHED_SECONDS - 1)]
    return finding(f'longest wait of another client in a second with {what}, median',
                   round(median(longest), 2), 'ms', at_most=STALL_MS,
                   shown=f'{median(before):.1f} without; longest of all {max(longest):.1f} and {max(before):.1f}')


MEASUREMENTS = {'polled': polled, 'scraped': scraped}
