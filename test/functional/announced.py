"""kestrel's command line on a machine whose loopback addresses count as others: for tests of server sets, which no
loopback address can be a member of.

ZOOKEEPER_ADDRESSES   where the host of [zookeeper] leads to, with commas; else it is looked up
SLICES                a file that is told what held the hub for how long (slices.py)
"""

import functools
import ipaddress
import os

from kestrel import interfaces, main, zookeeper

from slices import Slices


def addresses():
    return [interfaces.Address(ipaddress.ip_address('127.0.0.1'))]


if __name__ == '__main__':
    found = os.environ.get('ZOOKEEPER_ADDRESSES')
    if found:
        zookeeper.ZooKeeperClient._look_up = lambda self: ','.join(
            [f'{address}:{self._port}' for address in found.split(',')])
    if 'SLICES' in os.environ:
        Slices(os.environ['SLICES']).start()
    main.KestrelServer = functools.partial(main.KestrelServer, addresses=addresses)
    main.main()
