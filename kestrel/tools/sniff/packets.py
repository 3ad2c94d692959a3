"""A capture file -> its packets, and of each the data that TCP carries.

The container is read by dpkt. The headers in a packet are read here, by their offsets: dpkt makes an object of each,
which is ten times slower.
"""

import errno
import os

try:
    from dpkt import pcap
    from dpkt.dpkt import Error as DpktError
except ImportError:
    pcap = None

IPV4, IPV6 = 0x0800, 0x86dd
TAGS = frozenset((0x8100, 0x88a8, 0x9100))      # VLAN: 802.1Q, 802.1ad and its forerunner
TCP = 6
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION = 0, 43, 44, 51, 60

# By link type (tcpdump.org/linktypes.html): where the number of the network protocol is, None where there is none and
# the first four bits of the network header say which it is; where that header begins.
LINKS = {
    0: (None, 4), 108: (None, 4),                                           # BSD loopback
    1: (12, 14),                                                            # Ethernet
    12: (None, 0), 14: (None, 0), 101: (None, 0), 228: (None, 0), 229: (None, 0),     # raw IP
    113: (14, 16), 276: (0, 20),                                            # Linux cooked, versions 1 and 2
}
LINK_BITS = 0x3ffffff   # the rest of the field is about checksums
LARGEST = 1 << 18       # bytes of a packet; libpcap takes no more either
PCAPNG = b'\n\r\r\n'


class Unreadable(Exception):
    """A capture file that cannot be read whole; str() says which and why."""


def missing_library():
    """What to install before a capture can be read, or None."""
    return None if pcap else 'dpkt is missing: apt install python3-dpkt, or pip install "kestrel[tools]"'


class Capture:
    """A file that tcpdump wrote. Raises Unreadable.

    frames  iterate over it once: (epoch s, bytes as captured) of each packet; raises Unreadable, too
    link    a key of LINKS
    """

    def __init__(self, path):
        self._path = path
        try:
            self._file = open(path, 'rb')
        except OSError as error:
            raise self._unreadable(error.strerror) from error
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self):
        try:
            begin = self._file.peek(len(PCAPNG))[:len(PCAPNG)]
        except OSError as error:
            raise self._unreadable(error.strerror) from error
        if begin == PCAPNG:
            raise self._unreadable('it is in the pcapng format; convert it: tcpdump -r %s -w NEW' % self._path)
        try:
            reader = pcap.Reader(_Whole(self._file))
        except (DpktError, ValueError, EOFError) as error:
            raise self._unreadable('this is no capture file of tcpdump') from error
        self.link = reader.datalink() & LINK_BITS
        if self.link not in LINKS:
            raise self._unreadable('its packets are of link type %d, of which ksniff knows nothing (it knows '
                                   'Ethernet, Linux cooked, BSD loopback and raw IP)' % self.link)
        self.frames = self._frames(reader)

    def _frames(self, reader):
        number = 0
        try:
            for entry in reader:
                if not entry[1]:
                    raise EOFError      # the file ends behind the header of a packet
                number += 1
                yield entry
        except (DpktError, ValueError, EOFError) as error:
            raise self._unreadable('it is cut off or damaged after %d whole packets; tcpdump -r %s -w NEW saves those'
                                   % (number, self._path)) from error
        except OSError as error:
            raise self._unreadable(error.strerror or os.strerror(errno.EIO)) from error

    def _unreadable(self, why):
        return Unreadable('%s: %s' % (self._path, why))

    def close(self):
        self._file.close()


def segments(capture):
    """Yield (time, data, addresses, frame, tcp) of each packet.

    time       epoch s
    data       the TCP data as far as it was captured, bytes; None if the packet carries none
    addresses  source and destination behind one another, 8 or 32 bytes
    tcp        offset of the TCP header in the frame

    Of a packet without data only the time means something.
    """
    kind_at, start = LINKS[capture.link]
    for when, frame in capture.frames:
        try:
            ip = start
            if kind_at is None:
                kind = IPV6 if frame[ip] >> 4 == 6 else IPV4
            else:
                kind = frame[kind_at] << 8 | frame[kind_at + 1]
                while kind in TAGS:
                    kind = frame[ip + 2] << 8 | frame[ip + 3]
                    ip += 4
            if kind == IPV4:
                first = frame[ip]
                # a later fragment has no TCP header
                if frame[ip + 9] != TCP or first < 0x45 or first > 0x4f or frame[ip + 6] & 0x1f or frame[ip + 7]:
                    yield when, None, None, frame, 0
                    continue
                size = frame[ip + 2] << 8 | frame[ip + 3]
                tcp = ip + (first & 15) * 4
                addresses = frame[ip + 12:ip + 20]
            elif kind == IPV6:
                size = frame[ip + 4] << 8 | frame[ip + 5]
                if size:
                    size += 40
                tcp = _behind_extensions(frame, ip)
                addresses = frame[ip + 8:ip + 40]
            else:
                tcp = 0
            if not tcp:
                yield when, None, None, frame, 0
                continue
            # Ethernet fills short packets up, so the end is where IP says; 0: a segment that the card was to cut up
            end = ip + size if size else len(frame)
            header = frame[tcp + 12] >> 2 & 0x3c
            data = tcp + header
            yield when, frame[data:end] if data < end and header >= 20 else None, addresses, frame, tcp
        except IndexError:      # the snap length ends within the headers
            yield when, None, None, frame, 0


def _behind_extensions(frame, ip):
    """Offset of the TCP header behind an IPv6 header and its extensions, 0 if there is none."""
    kind, at = frame[ip + 6], ip + 40
    while kind != TCP:
        if kind in (HOP_BY_HOP, ROUTING, DESTINATION):
            size = frame[at + 1] * 8 + 8
        elif kind == AUTHENTICATION:
            size = frame[at + 1] * 4 + 8
        elif kind == FRAGMENT and not (frame[at + 2] or frame[at + 3] & 0xf8):
            size = 8
        else:
            return 0
        kind, at = frame[at], at + size
    return at if frame[ip] >> 4 == 6 else 0


class _Whole:
    """A file of which each read gives what was asked for or raises EOFError; nothing only between two packets.

    dpkt takes what there is of a packet that was cut off for the whole of it.
    """

    name = ''

    def __init__(self, file):
        self._read = file.read

    def read(self, size):
        if size > LARGEST:
            raise EOFError
        data = self._read(size)
        if len(data) != size and data:
            raise EOFError
        return data
