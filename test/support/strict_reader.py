"""What Kestrel 2.4 makes of a spool, or why it could not read it: a second reading of the format (spec journal 1, 3,
5, 6) that shares no code with kestrel, for the tests of what kestrel writes.

Strict: the first byte that is not as the format has it is an error, where a server would cut the file and go on. Our
own record 10 is such a byte (D4). Nothing in the folder is changed.
"""

import os
import struct

# op -> (what stands behind the op byte up to the data, how many bytes of that ``size`` counts)
ADDITIONS = {
    0: (struct.Struct('<ii'), 4),               # size, expiry in seconds
    2: (struct.Struct('<iqq'), 16),             # size, add time, expiry
    7: (struct.Struct('<iiqq'), 16),            # xid, size, add time, expiry
    8: (struct.Struct('<iiqq'), 16),            # likewise
}
WITH_XID = {4: 'SAVE_XID', 5: 'UNREMOVE', 6: 'CONFIRM_REMOVE', 9: 'REMOVE_TENTATIVE_XID'}
LONGEST_NUMBER = 2 ** 63 - 1                    # of a file: an i64 for the original


class Unreadable(Exception):
    """The original would stop here, or lose something: a line that names the file, the byte and the reason."""


class Item:
    """``data``, bytes; ``add_time``, ms, None if the record has none (op 0); ``expiry``, ms, 0 = never."""

    def __init__(self, data, add_time, expiry):
        self.data = data
        self.add_time = add_time
        self.expiry = expiry

    def __repr__(self):
        return f'Item({self.data!r}, {self.add_time}, {self.expiry})'


class Queue:
    """What the files of a queue come to.

    files    their names in the order of their reading, str
    waiting  [Item], head first
    open     {xid: Item}
    counter  the last xid used
    size     bytes in all files
    odd      lines about what can be read and yet no server writes: a removal where nothing is to be removed, an xid
             that is not open or is open already
    """

    def __init__(self):
        self.files = []
        self.waiting = []
        self.open = {}
        self.counter = 0
        self.size = 0
        self.odd = []

    def after_start(self):
        """[Item]: what waits once a start has put the open reads back, the highest xid first."""
        return [self.open[xid] for xid in sorted(self.open)] + self.waiting

    def read(self, file_name, data):
        """Do all records of one file. Raises Unreadable."""
        self.files.append(file_name)
        self.size += len(data)
        for offset, op, xid, item in records(file_name, data):
            complaint = self._do(op, xid, item)
            if complaint:
                self.odd.append(f'{file_name}: byte {offset}: {complaint}')

    def _do(self, op, xid, item):
        if op in (0, 2, 7):
            self.waiting.append(item)
        elif op == 1:
            return self._remove()
        elif op == 3:
            return self._open(0)
        elif op == 4:
            self.counter = xid
        elif op == 5:
            return self._unremove(xid)
        elif op == 6:
            return self._confirm(xid)
        elif op == 8:
            complaint = self._confirm(xid)
            self.waiting.append(item)
            return complaint
        elif op == 9:
            return self._open(xid)
        return None

    def _remove(self):
        if not self.waiting:
            return 'removal from an empty queue'
        del self.waiting[0]
        return None

    def _open(self, xid):
        self.counter = xid
        if not self.waiting:
            return f'open read {xid} of an empty queue'
        complaint = f'open read {xid} takes the place of another one' if xid in self.open else None
        self.open[xid] = self.waiting.pop(0)
        return complaint

    def _unremove(self, xid):
        if xid not in self.open:
            return f'nothing is open as {xid} to be put back'
        self.waiting.insert(0, self.open.pop(xid))
        return None

    def _confirm(self, xid):
        if xid not in self.open:
            return f'nothing is open as {xid} to be confirmed'
        del self.open[xid]
        return None


def records(file_name, data):
    """Yields (offset, op, xid or None, Item or None) of each record of a file. Raises Unreadable."""
    position = 0
    while position < len(data):
        offset, op = position, data[position]
        position += 1
        xid = item = None
        if op in ADDITIONS:
            position, xid, item = _addition(file_name, data, offset, op)
        elif op in WITH_XID:
            if len(data) - position < 4:
                raise _torn(file_name, offset)
            xid, = struct.unpack_from('<i', data, position)
            position += 4
        elif op not in (1, 3):
            raise Unreadable(f'{file_name}: byte {offset}: op {op} is unknown')
        yield offset, op, xid, item


def _addition(file_name, data, offset, op):
    """-> (where the record ends, xid or None, Item)."""
    header, counted = ADDITIONS[op]
    before = header.size - counted              # up to and with the size
    position = offset + 1
    if len(data) - position < before:
        raise _torn(file_name, offset)
    size, = struct.unpack_from('<i', data, position + before - 4)
    if size < counted:
        raise Unreadable(f'{file_name}: byte {offset}: op {op} of size {size}, less than {counted}')
    end = position + before + size
    if end > len(data):
        raise _torn(file_name, offset)
    fields = header.unpack_from(data, position)
    body = data[position + header.size:end]
    if op == 0:
        return end, None, Item(body, None, fields[1] * 1000)
    xid = fields[0] if op != 2 else None
    return end, xid, Item(body, *fields[-2:])


def _torn(file_name, offset):
    return Unreadable(f'{file_name}: byte {offset}: the file ends inside the record')


def read_spool(folder):
    """-> {name of a queue, bytes: Queue}. Raises Unreadable."""
    numbered = {}
    for entry in os.scandir(folder):
        if entry.is_file() and '~~' not in entry.name:
            name, number, is_pack = _take_apart(entry.name)
            numbered.setdefault(name, []).append((number, is_pack, entry.name))
    queues = {}
    for name, files in numbered.items():
        queue = queues[_latin1(name)] = Queue()
        for file_name in _in_order(files):
            with open(os.path.join(folder, file_name), 'rb') as file:
                queue.read(file_name, file.read())
    return queues


def _take_apart(file_name):
    """-> (name of the queue, number or infinity for the current file, is it a pack)."""
    name, dot, rest = file_name.partition('.')
    if not dot:
        return name, float('inf'), False
    digits, dot, ending = rest.partition('.')
    if not (digits.isascii() and digits.isdigit() and int(digits) <= LONGEST_NUMBER):
        raise Unreadable(f'{file_name}: {digits!r} is not a number')
    if dot and ending != 'pack':
        raise Unreadable(f'{file_name}: {ending!r} is no ending of a journal file')
    return name, int(digits), bool(dot)


def _latin1(name):
    try:
        return name.encode('latin-1')
    except UnicodeEncodeError:
        raise Unreadable(f'{name!r}: not Latin-1 characters in UTF-8') from None


def _in_order(files):
    """The names of the files that are read: the highest pack, once in place, has replaced all others up to it."""
    highest = max((number for number, is_pack, _ in files if is_pack), default=-1)
    return [file_name for number, is_pack, file_name in sorted(files)
            if number > highest or is_pack and number == highest]
