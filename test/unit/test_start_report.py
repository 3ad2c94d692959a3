"""What the log says of a start."""

import logging
import types
import unittest

from kestrel.start_report import StartReport

from support.clock import MovedClock
from support.spool import LogLines


class Port:

    def __init__(self, protocol, host):
        self.protocol = protocol
        self.address = (host, 22133)

    def __str__(self):
        return self.protocol


class StartReportTest(unittest.TestCase):

    def setUp(self):
        self.clock = MovedClock()
        self.log = LogLines()
        logger = logging.Logger('test')
        logger.addHandler(self.log)
        self.report = StartReport(logger, self.clock)
        self.report.begins('/etc/kestrel.conf')
        self.log.lines.clear()

    def test_progress_of_a_long_replay(self):
        for number in range(1, 13):
            self.clock.advance(1)
            self.report.replaying(number, 12, b'caf\xe9', 1 << 20)
        self.assertEqual(self.log.lines, [
            'INFO replaying queue café, 5 of 12, 5.0 MB read in 5 s',
            'INFO replaying queue café, 10 of 12, 10.0 MB read in 10 s'])

    def test_a_short_one_has_no_progress(self):
        self.clock.advance(4.9)
        self.report.replaying(1, 1, b'q', 1 << 20)
        self.assertEqual(self.log.lines, [])

    def test_the_sum_of_all_queues(self):
        journal = types.SimpleNamespace(total=lambda: 3 << 20)
        queues = [types.SimpleNamespace(count=1000, bytes=1 << 20, journal=journal),
                  types.SimpleNamespace(count=234, bytes=1 << 19, journal=None)]
        self.clock.advance(2.25)
        self.report.replayed('/spool', queues)
        self.assertEqual(self.log.lines, [
            'INFO spool /spool: 2 queues, 1 234 items of 1.5 MB, journals of 3.0 MB, replayed in 2.2 s'])

    def ready(self, *hosts):
        self.log.lines.clear()
        self.report.ready('/spool', {}, [Port(host, host) for host in hosts])
        *warnings, ready = self.log.lines
        self.assertRegex(ready, r'^INFO kestrel \S+ ready: 0 queues in /spool, %s$' % (', '.join(hosts) or 'no port open'))
        return warnings

    def test_ports_on_every_interface_are_warned_of(self):
        self.assertEqual(self.ready('127.0.0.1', '0.0.0.0', '::1', '::'), [
            'WARNING 0.0.0.0, :: listen on every interface, and there are no passwords: let a firewall say who may'
            ' connect, or set listen_address'])
        self.assertEqual(self.ready('127.0.0.1', '::1', '192.0.2.7'), [])
        self.assertEqual(self.ready(), [])
