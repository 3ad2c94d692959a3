"""Spools for the damage test: what is written, how it is damaged, and what a start must make of it.

The model reads the damaged bytes once more, with code of its own, by the rules of spec journal 3, 6, 7 and D11, D12,
D39, D65.
"""

import os
import re
import struct

THEN = 1384870000000
NEVER = 0
FAR = THEN + 10 ** 9
XIDS = (1, 2, 3, 4, 7, -5)
NAMES = ('q', 'Q', 'a-b:c', 'caf\xe9', 'long' * 25)
LEAST = {0: 4, 2: 16, 7: 16, 8: 16, 10: 24}
KNOWN = range(11)

ENTRY = re.compile(rb'([^./~]+)(?:\.([0-9]+)(\.pack)?|(~~)[0-9]+)?')


# --- writing

def record(choice, text):
    """A random record that may stand in a journal."""
    expiry = choice.choice((NEVER, NEVER, FAR))
    body = struct.pack('<qq', THEN - choice.randrange(1000), expiry) + text
    xid = struct.pack('<i', choice.choice(XIDS))
    size = struct.pack('<i', len(body))
    return choice.choice((
        *[b'\x02' + size + body] * 10,
        *[b'\x01'] * 3, *[b'\x09' + xid] * 4, *[b'\x06' + xid] * 2, *[b'\x05' + xid] * 2,
        b'\x03', b'\x04' + xid, b'\x07' + xid + size + body, b'\x08' + xid + size + body,
        b'\x00' + struct.pack('<ii', 4 + len(text), expiry // 1000) + text,
        b'\x0a' + struct.pack('<iIi', 8 + len(body), choice.randrange(2 ** 32), choice.randrange(3)) + body,
    ))


def journal(choice, label):
    """Random records; every item in them has a text of its own."""
    return b''.join([record(choice, b'%b %d%b' % (label, number, b'.' * choice.choice((0, 3, 40, 300))))
                     for number in range(choice.choice((0, 1, 5, 20, 60)))])


def write_spool(choice, folder):
    """Several queues, each of several files."""
    for name in choice.sample(NAMES, choice.randrange(1, len(NAMES))):
        numbers = sorted(choice.sample(range(1, 2000), choice.randrange(5)))
        names = [f'{name}.{number}' for number in numbers]
        if not names or choice.random() < 0.9:
            names.append(name)
        if choice.random() < 0.3:
            names.append(f'{name}.{choice.choice(numbers or [5])}.pack')
        if choice.random() < 0.2:
            names.append(f'{name}~~{choice.randrange(1000)}')
        for file_name in names:
            (folder / file_name).write_bytes(journal(choice, file_name.encode()))


# --- damage

def boundaries(data):
    """Where records begin, and the end of the last whole one."""
    found, position = [0], 0
    for _, _, position in parse(data):
        found.append(position)
    return found


def flip(choice, data):
    data = bytearray(data)
    for _ in range(choice.randrange(1, 4)):
        data[choice.randrange(len(data))] ^= 1 << choice.randrange(8)
    return bytes(data)


def cut(choice, data):
    return data[:choice.randrange(len(data))]


def zero(choice, data):
    begin = choice.randrange(len(data) + 1)
    length = choice.choice((1, 16, 512))
    return data[:begin] + bytes(length) + data[begin + length:]


def insert(choice, data):
    begin = choice.randrange(len(data) + 1)
    return data[:begin] + choice.randbytes(choice.randrange(1, 40)) + data[begin:]


def take_out(choice, data):
    begin = choice.randrange(len(data))
    return data[:begin] + data[begin + choice.randrange(1, 100):]


def foreign_record(choice, data):
    """A record of a kind that is not known yet, between two records."""
    begin = choice.choice(boundaries(data))
    return data[:begin] + bytes([choice.randrange(11, 256)]) + choice.randbytes(choice.randrange(30)) + data[begin:]


def wrong_size(choice, data):
    begin = choice.choice(boundaries(data))
    op = choice.choice(tuple(LEAST))
    size = choice.choice((-1, -2 ** 31, 0, LEAST[op] - 1, 2 ** 31 - 1, len(data) + 1))
    xid = bytes(4) if op in (7, 8) else b''
    return data[:begin] + bytes([op]) + xid + struct.pack('<i', size) + data[begin:]


DAMAGES = (flip, cut, zero, insert, take_out, foreign_record, wrong_size)


def damage(choice, folder):
    """Damage some of the files; -> what was done."""
    done = []
    for _ in range(choice.randrange(4)):
        path = choice.choice(sorted(path for path in folder.iterdir() if path.is_file()))
        if choice.random() < 0.05 and len(list(folder.iterdir())) > 1:
            path.unlink()
            done.append(f'{path.name} vanishes')
        elif path.stat().st_size:
            kind = choice.choice(DAMAGES)
            path.write_bytes(kind(choice, path.read_bytes()))
            done.append(f'{path.name}: {kind.__name__}')
    return done


FOREIGN_FILES = (b'q.bak', b'.status', b'q.12x', b'q.', b'q.5.bak', b'q.7.pack.old', b'q~x', b'q~~7x', b'~~5',
                 'q.\u0663'.encode(), b'two words', b'\xff\xfe', '\u20ac'.encode(), b'+x', b'x+', b'a.b.c', b'n' * 237,
                 b'line\nbreak', b'q.-5', b'q.5 ')
FOREIGN_FOLDERS = (b'lost+found', b'folder', b'Q.77', b'q.78.pack', b'q~~5', b'.hidden')


def add_foreign(choice, folder):
    """What no journal file is."""
    for name in choice.sample(FOREIGN_FILES, choice.randrange(4)):
        with open(os.fsencode(folder) + b'/' + name, 'wb') as file:
            file.write(b'\x01 keep')
    if choice.random() < 0.4:
        _make(os.mkdir, os.fsencode(folder) + b'/' + choice.choice(FOREIGN_FOLDERS))
    if choice.random() < 0.2:
        _make(os.mkfifo, os.fsencode(folder) + b'/' + choice.choice((b'pipe', b'Q.79')))
    if choice.random() < 0.2:
        _make(lambda path: os.symlink(b'/nowhere/at/all', path), os.fsencode(folder) + b'/dangling')


def _make(make, path):
    """Unless there is a journal file of that name."""
    if not os.path.lexists(path):
        make(path)


# --- the model

class Model:
    """What a start must find and leave.

    queues    {name, bytes: (items as tuples, last xid)}
    files     {file name, bytes: content} of the journal files afterwards
    cuts      [(file name, offset, bytes cut off, is it torn, is it the current file)]
    foreign   [file name]: what is left alone
    """

    def __init__(self, folder):
        self.queues, self.files, self.cuts, self.foreign = {}, {}, [], []
        numbered = {}
        for entry in sorted(os.scandir(os.fsencode(folder)), key=lambda entry: entry.name):
            form = ENTRY.fullmatch(entry.name) if os.path.isfile(entry.path) else None
            name = form and _queue_name(form[1])
            if entry.name == b'.corrupt' and os.path.isdir(entry.path):
                continue
            if not name:
                self.foreign.append(entry.name)
            elif not form[4]:
                with open(entry.path, 'rb') as file:
                    numbered.setdefault(name, []).append(
                        (float('inf') if form[2] is None else int(form[2]), bool(form[3]), entry.name, file.read()))
        for name, files in numbered.items():
            self._queue(name, files)

    def _queue(self, name, files):
        packs = sorted([entry for entry in files if entry[1]])
        plain = sorted([entry for entry in files if not entry[1]])
        for number, _, file_name, data in packs:
            plain = [(number, False, file_name[:-5], data), *[entry for entry in plain if entry[0] > number]]
        state = State()
        current = name.decode('latin-1').encode()
        self.files[current] = b''
        for _, _, file_name, data in plain:
            self.files[file_name] = data[:self._replay(state, file_name, data, file_name == current)]
        for xid in sorted(state.open, reverse=True):
            self.files[current] += b'\x05' + struct.pack('<i', xid)
            state.unremove(xid)
        self.queues[name] = ([tuple(item) for item in state.items], state.counter)

    def _replay(self, state, file_name, data, is_current):
        """-> how many bytes of the file are good."""
        end = 0
        for op, fields, end in parse(data):
            state.do(op, *fields)
        if end < len(data):
            self.cuts.append((file_name, end, data[end:], _is_torn(data[end:]), is_current))
        return end


def _queue_name(encoded):
    try:
        name = encoded.decode('utf-8').encode('latin-1')
    except UnicodeError:
        return None
    if name[:1] == b'+' or name[-1:] == b'+' or len(encoded) > 236 or set(name) & set(b' \r\n\0'):
        return None
    return name


class State:
    """A queue during its replay: ``items`` [[data, add time, expiry, flags, deliveries, xid]], the head first;
    ``open`` {xid: (item, was it pushed aside by another one of that xid)}."""

    def __init__(self):
        self.items = []
        self.open = {}
        self.counter = 0

    def do(self, op, xid=None, item=None):
        if op == 8:
            self.confirm(xid)
        if item is not None:
            self.items.append([*item, xid if op == 7 else 0])
        elif op == 1:
            del self.items[:1]
        elif op == 4:
            self.counter = xid
        elif op == 5:
            self.unremove(xid)
        elif op == 6:
            self.confirm(xid)
        elif op == 9:
            self.counter = xid
            if self.items:
                self.begin(xid)
        elif op == 3 and self.items:
            own = self.items[0][5]
            if not own:
                self.counter = own = self.free()
            self.begin(own)

    def free(self):
        xid = self.counter
        while True:
            xid = xid + 1 if xid < 2 ** 31 - 1 else -2 ** 31
            if xid and xid not in self.open:
                return xid

    def begin(self, xid):
        earlier = self.open.get(xid)
        self.open[xid] = self.items.pop(0), False
        if earlier:
            self.open[self.free()] = earlier[0], True

    def confirm(self, xid):
        # What was pushed aside has its xid from the replay: no confirm in a file can mean it.
        if xid in self.open and not self.open[xid][1]:
            del self.open[xid]

    def unremove(self, xid):
        if xid in self.open:
            item, _ = self.open.pop(xid)
            item[4] += 1
            self.items.insert(0, item)


def parse(data):
    """Yields (op, its fields, where the record ends) up to the first broken one."""
    position = 0
    while position < len(data):
        op = data[position]
        if op in (1, 3):
            end, fields = position + 1, ()
        elif op in (4, 5, 6, 9):
            end = position + 5
            fields = struct.unpack_from('<i', data, position + 1) if end <= len(data) else ()
        elif op in LEAST:
            before = position + (9 if op in (7, 8) else 5)
            if before > len(data):
                return
            size, = struct.unpack_from('<i', data, before - 4)
            end = before + size
            if size < LEAST[op] or end > len(data):
                return
            fields = _addition(op, data[position + 1:before - 4], data[before:end])
        else:
            return
        if end > len(data):
            return
        yield op, fields, end
        position = end


def _addition(op, xid, body):
    """-> (xid or None, (data, add time, expiry, flags, deliveries))."""
    if op == 0:
        expiry, = struct.unpack_from('<i', body)
        return None, (body[4:], THEN, expiry * 1000, 0, 0)
    if op == 10:
        flags, deliveries, added, expiry = struct.unpack_from('<Iiqq', body)
        return None, (body[24:], added, expiry, flags, deliveries)
    added, expiry = struct.unpack_from('<qq', body)
    return struct.unpack('<i', xid)[0] if xid else None, (body[16:], added, expiry, 0, 0)


def _is_torn(rest):
    """Is what begins with a broken record the first part of a possible one?"""
    op = rest[0]
    before = 9 if op in (7, 8) else 5
    if op not in LEAST or len(rest) < before:
        return op in KNOWN
    return struct.unpack_from('<i', rest, before - 4)[0] >= LEAST[op]
