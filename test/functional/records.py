"""A journal file as readable words, and bytes of records (spec journal 1). Knows nothing of kestrel's own code."""

import struct

FIXED = {3: 'open-head', 1: 'remove'}
WITH_XID = {4: 'xid', 5: 'unremove', 6: 'confirm', 9: 'open'}


def records(data):
    """The records of a journal file: ``['add a', 'open 1', ...]``. ValueError at anything else."""
    found = []
    position = 0
    while position < len(data):
        op = data[position]
        position += 1
        if op in FIXED:
            found.append(FIXED[op])
        elif op in WITH_XID:
            found.append(f'{WITH_XID[op]} {struct.unpack_from("<i", data, position)[0]}')
            position += 4
        elif op in (2, 10):
            size, = struct.unpack_from('<i', data, position)
            position += 4
            body = data[position:position + size]
            if len(body) < size:
                raise ValueError(f'torn record in {found}')
            position += size
            found.append(_add(op, body))
        else:
            raise ValueError(f'op {op} at {position - 1} behind {found}')
    return found


def _add(op, body):
    if op == 2:
        return f'add {body[16:].decode("latin-1")}'
    flags, = struct.unpack_from('<I', body)
    return f'add {body[24:].decode("latin-1")} flags {flags}'


def add(data, added=1384870000000, expiry=0):
    """ADDX: times in ms, expiry 0 = never."""
    return b'\x02' + struct.pack('<iqq', 16 + len(data), added, expiry) + data


def starling_add(data, expiry=0):
    """ADD as starling wrote it: expiry in seconds, 0 = never."""
    return b'\x00' + struct.pack('<ii', 4 + len(data), expiry) + data


def opened(xid):
    """REMOVE_TENTATIVE_XID."""
    return b'\x09' + struct.pack('<i', xid)


def confirmed(xid):
    """CONFIRM_REMOVE."""
    return b'\x06' + struct.pack('<i', xid)


def unremoved(xid):
    """UNREMOVE."""
    return b'\x05' + struct.pack('<i', xid)


REMOVE = b'\x01'
