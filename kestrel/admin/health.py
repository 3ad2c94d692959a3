"""Is the server alive, and can it be used? (D28, D62)"""


def why_not_ready(control):
    """-> None while reads and writes are served, else one line that says why not."""
    if control.stopping:
        return 'the server is stopping'
    if not control.loaded:
        return 'the journals are being replayed'
    if not control.listening:
        return 'the client ports are not open yet'
    announced, in_force = control.server_status.announced, control.server_status.in_force
    for status, what in ((announced, 'announced'), (in_force, 'in force')):
        if status.blocks_reads or status.blocks_writes:
            blocked = 'reads and writes' if status.blocks_reads and status.blocks_writes else 'writes'
            return 'status %s is %s: it blocks %s' % (status.name, what, blocked)
    return None
