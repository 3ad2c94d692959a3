"""Packets and capture files, byte by byte, for the tests of ksniff."""

import ipaddress
import struct

CLIENT, SERVER = '10.0.0.7', '10.0.0.1'
THEN = 1384870000


def tcp(data, offset=5, source=40000):
    """A TCP segment; ``offset``: 32-bit words of its header."""
    return struct.pack('>HHIIBBHHH', source, 22133, 1, 1, offset << 4, 0x18, 512, 0, 0) + bytes((offset - 5) * 4) + data


def ipv4(body, source=CLIENT, protocol=6, words=5, fragment=0, size=None):
    """``size``: the total length that the header says, if it is another; ``fragment``: flags and offset."""
    header = struct.pack('>BBHHHBBH4s4s', 0x40 | words, 0, words * 4 + len(body) if size is None else size, 1, fragment,
                         64, protocol, 0, ipaddress.ip_address(source).packed, ipaddress.ip_address(SERVER).packed)
    return header + bytes((words - 5) * 4) + body


def ipv6(body, source='fd00::7', following=6, extensions=b''):
    """``extensions`` stand in front of the body; ``following``: the number of the first of them."""
    return struct.pack('>IHBB16s16s', 6 << 28, len(extensions + body), following, 64,
                       ipaddress.ip_address(source).packed, ipaddress.ip_address('fd00::1').packed) + extensions + body


def ethernet(packet, tags=(), kind=None):
    """``tags``: numbers of VLAN protocols in front of it. Padded to 60 bytes, as a network card does."""
    head = bytes(12) + b''.join([struct.pack('>HH', tag, 5) for tag in tags])
    return (head + struct.pack('>H', kind or kind_of(packet)) + packet).ljust(60, b'\0')


def cooked(packet):
    """Linux cooked, as tcpdump -i any has it (link type 113)."""
    return struct.pack('>HHH8sH', 0, 1, 6, bytes(8), kind_of(packet)) + packet


def cooked2(packet):
    """Linux cooked version 2 (276)."""
    return struct.pack('>HHIHBB8s', kind_of(packet), 0, 1, 1, 0, 6, bytes(8)) + packet


def kind_of(packet):
    return 0x86dd if packet[0] >> 4 == 6 else 0x0800


def capture(*frames, link=1, order='<', nanoseconds=False, snap=262144, step=0.25):
    """A capture file: the frames ``step`` seconds apart, cut to ``snap`` bytes each."""
    per_second = 10 ** 9 if nanoseconds else 10 ** 6
    parts = [struct.pack(order + 'IHHIIII', 0xa1b23c4d if nanoseconds else 0xa1b2c3d4, 2, 4, 0, 0, snap, link)]
    for number, frame in enumerate(frames):
        when = THEN * per_second + round(number * step * per_second)
        parts.append(struct.pack(order + 'IIII', *divmod(when, per_second), len(frame[:snap]), len(frame)))
        parts.append(frame[:snap])
    return b''.join(parts)


def request(data, **more):
    """A request in an Ethernet frame."""
    return ethernet(ipv4(tcp(data), **more))
