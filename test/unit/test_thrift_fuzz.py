"""Damaged and random frames: whatever comes, each is answered or the connection ends, and others go on (D55)."""

import os
import random
import struct
import unittest

from support.fakes import World
from support.thrift_calls import UPGRADE, Failure, call, framed, header, message, result, split

CASES = 20000 if os.environ.get('KESTREL_LONG') else 500
LONG_SEED = os.environ.get('FUZZ_SEED') or str(random.SystemRandom().randrange(10 ** 9))
SEED = LONG_SEED if os.environ.get('KESTREL_LONG') else '1'
# The log's line about an id that nobody has.
UNKNOWN = '%s: %s of id %d,'
CODES = (0, 1, 2, 3, 4, 6, 8, 10, 11, 12, 13, 14, 15, 16, 127, 128, 255)


def requests(dice):
    """Messages as clients send them."""
    name = dice.choice(('q', 'r', 'p+c', 'a.b', '', 'caf\u00e9'))
    numbers = (0, 1, 2, 100, -1, 2147483647, -2147483648)
    return dice.choice((
        lambda: message('put', queue_name=name, items=[bytes(dice.randrange(40)) for _ in range(dice.randrange(6))],
                        expiration_msec=dice.choice(numbers)),
        lambda: message('get', queue_name=name, max_items=dice.choice(numbers), timeout_msec=dice.choice(numbers),
                        auto_abort_msec=dice.choice(numbers)),
        lambda: message('confirm', queue_name=name, ids=set(range(dice.randrange(5)))),
        lambda: message('abort', queue_name=name, ids={dice.randrange(50)}),
        lambda: message('peek', queue_name=name, strict=False),
        lambda: message('flush_queue', queue_name=name),
        lambda: message('set_status', status=dice.randrange(5)),
        lambda: message(dice.choice(('get_version', 'current_status', 'flush_all_queues')), seqid=dice.choice(numbers)),
        lambda: message(UPGRADE, body=b'\0'),
    ))()


def damaged(dice, data):
    """The bytes with something done to them."""
    data = bytearray(data)
    for _ in range(dice.choice((0, 1, 1, 1, 2, 5))):
        place = dice.randrange(len(data) + 1)
        what = dice.randrange(5)
        if what == 0:
            del data[place:place + dice.choice((1, 2, 4, 1000))]
        elif what == 1:
            data[place:place] = bytes(dice.choice(CODES) for _ in range(dice.choice((1, 3, 4, 40))))
        elif what == 2:
            data[place:place + 1] = bytes((dice.choice(CODES),))
        elif what == 3:
            data[place:place + 4] = struct.pack('>i', dice.choice((0, -1, 2147483647, 65536, 1000)))
        else:
            data[place:place] = dice.choice((b'\x0c\0\1', b'\x0f\0\1\x0f\0\0\0\1')) * dice.choice((1, 70, 5000))
    return bytes(data)


class FuzzTest(unittest.TestCase):

    def setUp(self):
        self.world = World(max_open_transactions=10, max_request_size=100000)
        self.addCleanup(self.world.hub.close)
        self.logged = []
        self.world.logger.handle = self.logged.append
        self.bystander = self.world.thrift_client()

    def send(self, client, data, dice):
        """Hand the bytes over in pieces, as long as the client is there and does not wait. -> did the last one end?"""
        while data and client.open:
            size = dice.choice((len(data), len(data), dice.randrange(1, len(data) + 1)))
            piece, data = data[:size], data[size:]
            if not client.begin(piece):
                return False
        return True

    def check_replies(self, client):
        upgraded = False
        for content in split(client.connection.replies()):
            seqid = struct.unpack('>i', content[upgraded + 8 + struct.unpack('>I', content[upgraded + 4:upgraded + 8])[0]:][:4])[0]
            if content[upgraded + 8:].startswith(UPGRADE.encode()) and content[upgraded + 3] == 2:
                upgraded = True
                continue
            try:
                result(content[upgraded:], None, seqid)
            except Failure as failure:
                self.assertIn(failure.kind, (1, 6, 7))

    def play(self, number, make):
        dice = random.Random('%s %s %d' % (SEED, make.__name__, number))
        client = self.world.thrift_client()
        ended = self.send(client, make(dice), dice)
        if not ended:
            client.connection.leave(gone=True)
        self.check_replies(client)
        self.world.hub.turn()
        client.session.close()
        self.world.hub.connections.remove(client.connection)
        self.world.hub.greenlets = [task for task in self.world.hub.greenlets if not task.dead]
        self.assertEqual(self.world.hub.greenlets, [], 'a request is stuck')
        reply, = split(self.bystander.ask(call('get_version')))
        result(reply, 'get_version')
        told = [record.getMessage() for record in self.logged if not record.msg.startswith(UNKNOWN)]
        self.assertEqual(told, [], 'a traceback')

    def several(self, make):
        for number in range(CASES // 3 + 1):
            try:
                self.play(number, make)
            except BaseException as error:
                error.add_note('FUZZ_SEED=%s KESTREL_LONG=1, case %d of %s' % (SEED, number, make.__name__))
                raise

    def test_damaged_messages_in_whole_frames(self):
        def one(dice):
            return b''.join(framed(damaged(dice, requests(dice))) for _ in range(dice.randrange(1, 4)))
        self.several(one)

    def test_damaged_streams(self):
        def stream(dice):
            return damaged(dice, b''.join(framed(requests(dice)) for _ in range(dice.randrange(1, 4))))
        self.several(stream)

    def test_upgraded_connections(self):
        def upgraded(dice):
            return call(UPGRADE, body=b'\0') + b''.join(
                framed(damaged(dice, header(dice.choice((None, 'x'))) + requests(dice))) for _ in range(2))
        self.several(upgraded)


if __name__ == '__main__':
    unittest.main()
