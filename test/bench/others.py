"""What kestrel is compared with: memcached, redis, beanstalkd, and a program of our own that only appends."""
import os
import resource
import socket

from servers import ANSWER_SECONDS, BenchError, Server

# Larger than every item that is measured.
LARGEST_ITEM = 16 * 1024 * 1024


def most_clients():
    """Clients that memcached and redis are told to admit: more than any measurement needs, if files allow."""
    return max(min(15000, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 100), 1)


class Memcached(Server):
    protocol = 'memcached'

    def command(self):
        command = ['memcached', '-t', '1', '-m', '2048', '-I', '4m', '-U', '0', '-l', '127.0.0.1', '-p',
                   str(self.port), '-c', str(most_clients())]
        return command + ['-u', 'root'] if os.geteuid() == 0 else command


class Redis(Server):
    """`appendfsync` is redis's own setting."""

    protocol = 'redis'
    hello = b'PING\r\n'
    hello_reply = b'+PONG'
    # An fsync for each answer of a single client, thousands of times, is what the row durable measures.
    groups = ('clients', 'flood', 'pipelined', 'single')

    def __init__(self, name, folder, appendfsync='everysec'):
        super().__init__(name, folder)
        self.appendfsync = appendfsync
        if appendfsync == 'always':
            self.groups = ('clients',)

    def command(self):
        # Its protection is against clients that are not 127.0.0.1, as loadgen with thousands of connections.
        # No rewriting of the append-only file: another process would do it while others are measured.
        return ['redis-server', '--port', str(self.port), '--bind', '127.0.0.1', '--protected-mode', 'no', '--dir', self.folder,
                '--appendonly', 'yes', '--appendfsync', self.appendfsync, '--save', '',
                '--auto-aof-rewrite-percentage', '0', '--maxclients', str(most_clients())]

    def forget(self, queue):
        self.ask(f'DEL {queue}\r\n'.encode())


class Beanstalkd(Server):
    """With its binlog, and its own default of an fsync every 50 ms."""

    protocol = 'beanstalkd'
    hello = b'list-tube-used\r\n'
    hello_reply = b'USING '
    groups = ('clients', 'flood', 'pipelined', 'single')

    def command(self):
        return ['beanstalkd', '-l', '127.0.0.1', '-p', str(self.port), '-b', self.folder, '-z', str(LARGEST_ITEM)]

    def forget(self, queue):
        """Deletes what each client had reserved last: nothing has confirmed it."""
        with socket.create_connection(('127.0.0.1', self.port), timeout=ANSWER_SECONDS) as connection:
            replies = connection.makefile('rb')
            while True:
                connection.sendall(b'reserve-with-timeout 0\r\n')
                words = replies.readline().split()
                if words == [b'TIMED_OUT']:
                    return
                if len(words) != 3 or words[0] != b'RESERVED':
                    raise BenchError(f'{self.name}: wrong reply {words!r} to reserve-with-timeout')
                replies.read(int(words[2]) + 2)
                connection.sendall(b'delete ' + words[1] + b'\r\n')
                if replies.readline() != b'DELETED\r\n':
                    raise BenchError(f'{self.name}: job {words[1]!r} cannot be deleted')


class Sink(Server):
    """sink.c: receives items and appends them to a file. It speaks what it needs of kestrel's protocol."""

    protocol = 'kestrel'
    groups = ()

    def __init__(self, name, folder, binary):
        super().__init__(name, folder)
        self._binary = binary

    def command(self):
        return [self._binary, str(self.port), os.path.join(self.folder, 'items')]

    def forget(self, queue):
        reply = self.ask(b'delete\r\n')
        if reply != b'DELETED\r\n':
            raise BenchError(f'{self.name}: wrong reply {reply!r} to delete')
