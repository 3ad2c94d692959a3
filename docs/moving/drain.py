#!/usr/bin/env python3
"""Move the items of queues from one server to another, both speaking the memcache protocol.

    drain.py [--plain] FROM:PORT TO:PORT QUEUE...

Each item is opened on FROM, put on TO, and confirmed on FROM when TO has said STORED: if this is interrupted, nothing is
lost, and one item may be there twice. --plain, for servers without open reads (starling): then one item can be lost.
Flags stay; expiry times do not. It ends when the queues are empty.
"""

import argparse
import socket
import sys


class Server:

    def __init__(self, name):
        host, _, port = name.rpartition(':')
        self.name = name
        self.socket = socket.create_connection((host, int(port)), timeout=60)
        self.file = self.socket.makefile('rb')

    def line(self, request):
        self.socket.sendall(request)
        return self.file.readline()

    def get(self, key):
        """-> (flags, data), None if there is nothing."""
        answer = self.line(b'get %s\r\n' % key)
        if answer == b'END\r\n':
            return None
        words = answer.split()
        if len(words) < 4 or words[0] != b'VALUE':
            sys.exit('%s: %s' % (self.name, answer.decode('latin-1').strip() or 'closed the connection'))
        data = self.file.read(int(words[3]) + 2)[:-2]
        self.file.readline()
        return words[2], data

    def put(self, queue, flags, data):
        answer = self.line(b'set %s %s 0 %d\r\n%s\r\n' % (queue, flags, len(data), data))
        if answer != b'STORED\r\n':
            sys.exit('%s: %s: %s' % (self.name, queue.decode('latin-1'), answer.decode('latin-1').strip()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--plain', action='store_true')
    parser.add_argument('source', metavar='FROM:PORT')
    parser.add_argument('target', metavar='TO:PORT')
    parser.add_argument('queues', metavar='QUEUE', nargs='+')
    options = parser.parse_args()
    source, target = Server(options.source), Server(options.target)
    for queue in options.queues:
        name, count = queue.encode('latin-1'), 0
        key = name if options.plain else name + b'/open'
        item = source.get(key)
        while item is not None:
            target.put(name, *item)
            if not options.plain:
                source.get(name + b'/close')
            count += 1
            item = source.get(key)
        print('%s: %d items' % (queue, count))


if __name__ == '__main__':
    main()
