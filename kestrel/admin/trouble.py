"""What an operator should look at: in words, the worst first."""

from kestrel.admin import open_reads, rates

# (word, how bad), the worst first. From SERIOUS on something is lost, refused or stuck.
DISK = 'disk'               # its journal cannot be written
FULL = 'full'               # it refuses puts
STUCK = 'stuck reads'       # reads are open for so long that their client has probably forgotten them
DEAD = 'dead letters'       # items that nobody could process wait in it
UNREAD = 'no reader'        # items wait, and nobody has come for them
GROWING = 'growing'         # more is put than taken
OLD = 'old'                 # the first item has waited for long
WEIGHTS = {DISK: 64, FULL: 32, STUCK: 16, DEAD: 8, UNREAD: 4, GROWING: 2, OLD: 1}
SERIOUS = 8

STUCK_FROM = 600.0          # seconds
OLD_FROM = 600000           # ms
UNREAD_FROM = 60000         # ms that the first item has waited
GROWN = 1000                # items
FASTER = 1.1                # so many times more is put than taken


def of_queue(queue, now_ms, now, is_target):
    """-> list of the words above that are true of a queue, the worst first.

    now_ms, now  ms since 1970; monotonic seconds
    is_target    it is the dead_letter_queue of another one
    """
    journal = queue.journal
    found = []
    if journal is not None and journal.is_pending():
        found.append(DISK)
    count = queue.count
    if not queue.discards and (count >= queue.max_items or queue.bytes >= queue.max_size):
        found.append(FULL)
    open_reads.note(queue, now)
    if queue.opened and open_reads.oldest_open_for(queue, now) >= STUCK_FROM:
        found.append(STUCK)
    if not count:
        return found
    if is_target:
        found.append(DEAD)
    head = queue.head()
    age = 0 if head is None else now_ms - head.add_time
    if age >= UNREAD_FROM and not queue.opened and not len(queue.waiters) and rates.untouched(queue):
        found.append(UNREAD)
    if count >= GROWN:
        speed = rates.rates(queue, now)
        if speed is not None and speed[0] > FASTER * speed[1]:
            found.append(GROWING)
    if age >= OLD_FROM:
        found.append(OLD)
    return found


def weight(found):
    """How bad these words are together."""
    return sum([WEIGHTS[word] for word in found])

