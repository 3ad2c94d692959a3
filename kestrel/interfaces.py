"""The addresses of this machine, and which of them others are told (spec queues 15)."""

import fcntl
import ipaddress
import socket
import struct

from kestrel.errors import StartError

# linux/sockios.h, linux/if.h
SIOCGIFFLAGS = 0x8913
SIOCGIFADDR = 0x8915
IFF_LOOPBACK = 0x8
IFF_POINTOPOINT = 0x10


class Address:
    """Of an interface. ``ip``: an address as the ipaddress module has it; ``loopback``, ``point_to_point``: bool."""

    def __init__(self, ip, loopback=False, point_to_point=False):
        self.ip = ip
        self.loopback = loopback
        self.point_to_point = point_to_point


def addresses():
    """-> list of Address, in the order of the interfaces, of each the IPv4 address first."""
    found = []
    version_6 = _version_6()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            try:
                flags, = struct.unpack_from('H', _ask(sock, SIOCGIFFLAGS, name), 16)
            except OSError:
                continue        # it has just been taken away
            try:
                ips = [ipaddress.ip_address(_ask(sock, SIOCGIFADDR, name)[20:24])]
            except OSError:
                ips = []        # no IPv4 here
            found += [Address(ip, ip.is_loopback or bool(flags & IFF_LOOPBACK), bool(flags & IFF_POINTOPOINT))
                      for ip in ips + version_6.get(name, [])]
    return found


def _ask(sock, request, name):
    """-> bytes: a struct ifreq, the name in the first 16."""
    return fcntl.ioctl(sock, request, struct.pack('16s24x', name.encode()))


def _version_6():
    """{name of an interface: list of its IPv6 addresses}; empty where the system knows none."""
    found = {}
    try:
        with open('/proc/self/net/if_inet6') as lines:
            for line in lines:
                digits, *_, name = line.split()
                found.setdefault(name, []).append(ipaddress.ip_address(bytes.fromhex(digits)))
    except FileNotFoundError:
        pass
    return found


def announced_host(bound, found):
    """The address under which others reach what is bound to ``bound`` (str), an address of one's own or a wildcard.

    found  list of Address, of this machine
    -> str. Raises StartError if others cannot reach it.
    """
    ip = ipaddress.ip_address(bound.partition('%')[0])
    if not ip.is_unspecified:
        known = [one.loopback for one in found if one.ip == ip]
        if known[0] if known else ip.is_loopback:
            raise StartError('listen_address %s: a loopback address cannot be announced in ZooKeeper: set it to an address'
                             ' that clients reach, or [zookeeper] host to none' % bound)
        return str(ip)
    for one in found:
        # what is bound to 0.0.0.0 is not there on IPv6
        if (one.loopback or one.ip.is_link_local and not one.point_to_point
                or ip.version == 4 and one.ip.version == 6):
            continue
        return str(one.ip)
    raise StartError('listen_address %s: this machine has no address that could be announced in ZooKeeper: set it to the'
                     ' one that clients reach, or [zookeeper] host to none' % bound)
