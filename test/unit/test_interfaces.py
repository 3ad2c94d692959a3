"""The address that others are told (spec queues 15)."""

import ipaddress
import unittest

from kestrel import interfaces
from kestrel.errors import StartError


def address(text, **flags):
    return interfaces.Address(ipaddress.ip_address(text), **flags)


LOOPBACK = [address('127.0.0.1', loopback=True), address('::1', loopback=True)]
ETH = [address('10.0.0.5'), address('fe80::5'), address('2001:db8::5')]


class AnnouncedHostTest(unittest.TestCase):

    def refused(self, bound, found=LOOPBACK):
        with self.assertRaises(StartError) as caught:
            interfaces.announced_host(bound, found)
        return str(caught.exception)

    def test_an_address_is_announced_as_it_is(self):
        for text in '10.0.0.5', '2001:db8::5', '192.0.2.1', 'fe80::5%eth0':
            self.assertEqual(interfaces.announced_host(text, LOOPBACK + ETH), text.partition('%')[0])

    def test_wildcards(self):
        for found, v4, any_version in (
                (LOOPBACK + ETH, '10.0.0.5', '10.0.0.5'),
                (LOOPBACK + ETH[2:] + ETH[:1], '10.0.0.5', '2001:db8::5'),
                ([address('169.254.1.1'), address('fe80::1'), address('10.0.0.6')], '10.0.0.6', '10.0.0.6'),
                ([address('169.254.1.1', point_to_point=True), *ETH], '169.254.1.1', '169.254.1.1'),
                ([address('fe80::1', point_to_point=True), *ETH], '10.0.0.5', 'fe80::1'),
                ([address('192.0.2.7', loopback=True), address('192.0.2.8')], '192.0.2.8', '192.0.2.8')):
            with self.subTest(str([str(one.ip) for one in found])):
                self.assertEqual(interfaces.announced_host('0.0.0.0', found), v4)
                self.assertEqual(interfaces.announced_host('::', found), any_version)

    def test_nothing_to_announce(self):
        for bound, found in (('0.0.0.0', []), ('0.0.0.0', LOOPBACK), ('::', LOOPBACK), ('0.0.0.0', ETH[1:]),
                             ('::', ETH[1:2])):
            with self.subTest(bound):
                self.assertRegex(self.refused(bound, found),
                                 rf'^listen_address {bound}: this machine has no address that could be announced .*: set')

    def test_loopback(self):
        for bound in '127.0.0.1', '127.1.2.3', '::1':
            self.assertRegex(self.refused(bound), rf'^listen_address {bound}: a loopback address cannot .*: set it to')
        # others do not reach what the loopback interface has besides
        self.assertIn('loopback', self.refused('192.0.2.7', [address('192.0.2.7', loopback=True)]))
        # tests hand in a machine of their own
        self.assertEqual(interfaces.announced_host('127.0.0.1', [address('127.0.0.1')]), '127.0.0.1')

    def test_this_machine(self):
        found = interfaces.addresses()
        self.assertIn('127.0.0.1', [str(one.ip) for one in found])
        for one in found:
            self.assertEqual(one.loopback, one.ip.is_loopback, one.ip)
