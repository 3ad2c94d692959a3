"""Since when reads are open, and whose they are.

Nothing notes on the way of a request when a read was opened. But xids are given in order: a read whose xid is not above
the newest one of some moment was open at that moment. So now and then that newest xid is noted.
"""

from kestrel.admin.turns import Turns
from kestrel.log import peer

KEY = 'open_reads'          # in QueueStats.kept: list of (monotonic time, newest xid), ascending
NOTED_EVERY = 10.0          # seconds between two notes
XIDS = 1 << 32             # so many there are
MOST = 120                  # notes of a queue; then every second one of them goes


def note(queue, now):
    """Note the newest xid. ``now``: monotonic, seconds."""
    kept = queue.stats.kept
    if not queue.opened:
        if kept is not None:
            kept.pop(KEY, None)
        return
    if kept is None:
        kept = queue.stats.kept = {}
    notes = kept.get(KEY)
    if notes is None:
        notes = kept[KEY] = []
    if not notes or now - notes[-1][0] >= NOTED_EVERY:
        notes.append((now, queue.xid))
        if len(notes) > MOST:
            del notes[1::2]


def open_for(queue, xid, now):
    """For how many seconds, at least, that read has been open."""
    kept = queue.stats.kept
    for at, newest in (kept or {}).get(KEY, ()):
        # xids begin anew when they are used up
        if (newest - xid) % XIDS < XIDS // 2:
            return now - at
    return 0.0


def oldest_open_for(queue, now):
    """Likewise of the oldest open read; 0 if none is open."""
    return open_for(queue, next(iter(queue.opened)), now) if queue.opened else 0.0


def owners(services, queue):
    """-> {xid: (protocol, address as text)} of the open reads of a queue whose client is still there."""
    turns = Turns(services.clock)
    found = {}
    for session, protocol, _ in list(services.control.sessions.values()):
        if session.reads is not None:
            xids = session.reads.held(queue)
            if xids:
                found.update(dict.fromkeys(xids, (protocol, peer(session.connection.address))))
        turns.next()
    return found
