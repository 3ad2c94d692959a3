"""One client's greenlet: the only door to the sockets of clients.

The read watcher stays active as long as the connection lives, so that a request costs no epoll_ctl: its callback
either switches to the greenlet that waits for input or, while that is busy waiting for an item or for a slow
reader, takes in what arrives and notices the end of the input (D32).
"""

import socket

import gevent
from gevent import get_hub
from greenlet import greenlet

from kestrel.hub import ONE_TURN
from kestrel.stats import TransportStats

RECEIVE = 65536             # bytes asked of one recv
LARGEST_RECEIVE = 1048576   # ... inside a large block
SEND_AT = 262144            # collected replies are sent from here on (D6)
KEPT_MEANWHILE = 65536      # bytes taken in while a request waits (D32)
LINGER = 2.0                # seconds a closing connection goes on reading what it will not answer
LINGER_BYTES = 67108864
LONGEST_TIMER = 86400.0     # seconds
NEVER = float('inf')
LOOK_FOR_END = 0.05         # seconds
TCP_CLOSE = 7               # states in TCP_INFO
TCP_CLOSE_WAIT = 8

# what the greenlet waits for
RUNNING = 0
READING = 1                 # input
PARKED = 2                  # an item, room in the block budget
WRITING = 3                 # room in the socket's send buffer
COMMITTING = 4              # an fsync

READ = 1
WRITE = 2

# The compiled module has these from socket_calls.pxd, where a channel is a descriptor; written like this, Cython sees no
# second definition (gevent does the same).
globals()['channel_of'] = lambda sock: sock
globals()['receive'] = socket.socket.recv
globals()['send'] = socket.socket.send


class Connection:
    """A client's socket, its replies not yet sent and its greenlet's waits.

    leaving      bool: the client's FIN is known, or the server stops: no wait goes on (D61)
    gone         bool: the client cannot be answered any more (RST, or cut off)
    lingers      bool: closed because of an error that the client must get to read
    received_bytes, sent_bytes   so far; ``transport``: stats.TransportStats that counts them, too
    """

    def __init__(self, sock, address, traffic, clock, budget, idle_limit, transport=None):
        self.sock = sock
        self.channel = channel_of(sock)
        self.address = address
        self.traffic = traffic          # stats.Traffic
        self.transport = transport or TransportStats()
        self.received_bytes = 0
        self.sent_bytes = 0
        self.clock = clock
        self.budget = budget            # block_budget.BlockBudget
        self.idle_limit = idle_limit    # seconds, 0 = none (client_timeout)
        self.hub = get_hub()
        self.loop = self.hub.loop
        self.greenlet = gevent.getcurrent()
        # plain greenlet switches: gevent's own first look for a hook that its greenlets do not have
        self.to_hub = greenlet.switch.__get__(self.hub)
        self.to_client = greenlet.switch.__get__(self.greenlet)
        self.state = RUNNING
        self.input_ended = False        # everything that comes has been received
        self.leaving = False
        self.gone = False
        self.lingers = False
        self.kept = b''
        self.began = 0.0                # when the last input was taken in
        self.block = 0                  # number of the last one, see ``hold``
        self.reply = None               # the first of the replies that are collected
        self.out = []                   # the others
        self.out_size = 0
        self.reader = self.loop.io(sock.fileno(), READ)
        self.reading = True
        self.reader.start(self._readable)
        self.alarm = None               # wakes a parked greenlet
        self.alarm_at = NEVER
        self.idle_timer = None
        self.idle_since = 0.0
        if idle_limit:
            self._start_idle_timer(idle_limit)

    # -- unfinished blocks -----------------------------------------------------------------------------------------

    def hold(self, block, held, large):
        """So many bytes are kept of a block that has not ended, that of this number. ``large``: as for ``read``."""
        if block != self.block:
            # a new one: its place is behind those of the others
            self.block = block
            self.budget.hold(self, 0)
        self.budget.hold(self, held, large)

    def block_is_whole(self):
        """The request that the last block belongs to is about to run: the block is unfinished no more."""
        self.budget.hold(self, 0)

    # -- input -----------------------------------------------------------------------------------------------------

    def read(self, wanted, large):
        """Send what is collected, then wait for input. -> bytes, empty at the end of it.

        wanted  bytes still missing of a block, 0 outside one; ``large``: it is one that must wait for room (D6)
        """
        self.flush()
        if self.gone:
            return b''
        if self.kept:
            return self._take_kept()
        size = RECEIVE
        if wanted > RECEIVE:
            size = wanted if wanted < LARGEST_RECEIVE else LARGEST_RECEIVE
        if self.idle_limit:
            self.idle_since = self.clock.monotonic()
        while not self.input_ended:
            self.state = READING
            self.to_hub()
            self.state = RUNNING
            if self.input_ended:
                break
            # Who leaves is read to its end: that is no more than the kernel holds of it, and no wait helps.
            if wanted and large and not self.leaving and not self.budget.admits(self, size):
                self.budget.wait_for_room(self, size)
                if self.kept:
                    return self._take_kept()
                continue
            data = self._receive(size)
            if data is not None:
                self.began = self.clock.monotonic()
                return data
        return b''

    def _take_kept(self):
        kept, self.kept = self.kept, b''
        self.began = self.clock.monotonic()
        self._start_reader()
        return kept

    def _receive(self, size):
        """One recv. -> bytes, empty at the end of the input; None if there is nothing yet."""
        try:
            data = receive(self.channel, size)
        except BlockingIOError:
            return None
        except OSError:
            self._lose()
            return b''
        if not data:
            self._end_input()
        self._count_received(len(data))
        return data

    def _count_received(self, size):
        self.received_bytes += size
        self.transport.received_bytes += size
        self.traffic.bytes_read += size

    def _count_sent(self, size):
        self.sent_bytes += size
        self.transport.sent_bytes += size
        self.traffic.bytes_written += size

    def count_requests(self, count, failed):
        """So many requests of the last input were run, of which so many ended in an internal error."""
        self.transport.requests += count
        self.transport.success += count - failed
        if count:
            latency = int((self.clock.monotonic() - self.began) * 1000)
            for _ in range(count):
                self.transport.request_latency_ms.add(latency)

    def _readable(self):
        """The read watcher's callback, on the hub."""
        if self.state == READING:
            self.to_client()
            return
        room = KEPT_MEANWHILE - len(self.kept)
        if room <= 0:
            self._stop_reader()
            # from now on the parked greenlet looks for the end itself
            self._resume()
            return
        data = self._receive(room)
        if data:
            self.kept += data
        elif data is not None:
            self._resume()

    def _end_input(self):
        self.input_ended = True
        self.leaving = True
        self._stop_reader()

    def _lose(self):
        self.gone = True
        self._end_input()

    def _start_reader(self):
        if not self.reading and not self.input_ended:
            self.reading = True
            self.reader.start(self._readable)

    def _stop_reader(self):
        if self.reading:
            self.reading = False
            self.reader.stop()

    # -- waits -----------------------------------------------------------------------------------------------------

    def park(self, waiter, deadline):
        """Wait until ``waiter`` is woken or dismissed, the monotonic clock shows ``deadline``, or the input ends."""
        while not (waiter.woken or waiter.dismissed or self.leaving):
            now = self.clock.monotonic()
            if now >= deadline:
                return
            until = deadline
            if not self.reading:
                # so much has arrived meanwhile that the watcher is off: the end of the input must be looked for
                self.look_for_end()
                until = min(until, now + LOOK_FOR_END)
            if until < self.alarm_at:
                self._set_alarm(until, now)
            self.state = PARKED
            self.to_hub()
            self.state = RUNNING
        if self.kept and not self.leaving:
            # behind input that is not taken in yet there may be an end
            self.look_for_end()

    def wait_for(self, commit):
        """Wait until an fsync (sync.Commit) has ended, whether the client is still there or not."""
        self.flush()
        if commit.done:
            return
        commit.join(self)
        while not commit.done:
            self.state = COMMITTING
            self.to_hub()
            self.state = RUNNING

    def committed(self):
        """The fsync has ended. Called on the hub."""
        if self.state == COMMITTING:
            self.to_client()

    def _set_alarm(self, until, now):
        """Have the parked greenlet look again at ``until``, at the latest in a day.

        The alarm stays set when a wait ends before it. A consumer that waits again and again, always for the same
        time, costs one timer in all that time instead of one a request.
        """
        if self.alarm is not None:
            self.alarm.close()
        until = min(until, now + LONGEST_TIMER)
        self.alarm_at = until
        self.alarm = self.loop.timer(until - now)
        self.alarm.start(self._alarmed)

    def _alarmed(self):
        self.alarm_at = NEVER
        self._resume()

    def look_for_end(self):
        """Learn from the kernel what the read watcher cannot tell while there is unread input (D32)."""
        state = self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        if state == TCP_CLOSE_WAIT:
            self.leaving = True
        elif state == TCP_CLOSE:
            self._lose()

    def pause(self):
        """Let others run."""
        gevent.sleep(ONE_TURN)

    def resume_soon(self):
        """Let a parked greenlet look again, in this turn of the hub or the next. Never switches."""
        self.loop.run_callback(self._resume)

    def _resume(self):
        if self.state == PARKED or (self.state == WRITING and self.gone):
            self.to_client()

    # -- output ----------------------------------------------------------------------------------------------------

    def write(self, data):
        """Collect a reply; it goes out with the others of its batch, at the latest before the next wait."""
        if self.reply is None:
            self.reply = data
        else:
            self.out.append(data)
        self.out_size += len(data)
        if self.out_size >= SEND_AT:
            self.flush()

    def flush(self):
        """Send everything collected, waiting while the client does not read. What cannot be sent is dropped.

        -> true if it had to wait, so that others have run meanwhile.
        """
        data = self.reply
        if data is None:
            return False
        if self.out:
            data = b''.join([data, *self.out])
            self.out = []
        self.reply = None
        self.out_size = 0
        if self.gone:
            return False
        try:
            sent = send(self.channel, data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._lose()
            return False
        self._count_sent(sent)
        if sent == len(data):
            return False
        self._flush_slowly(memoryview(data)[sent:])
        return True

    def _flush_slowly(self, rest):
        writer = self.loop.io(self.sock.fileno(), WRITE)
        writer.start(self._writable)
        try:
            while rest and not self.gone:
                self.state = WRITING
                self.to_hub()
                self.state = RUNNING
                if self.gone:
                    break
                try:
                    sent = send(self.channel, rest)
                except BlockingIOError:
                    continue
                except OSError:
                    self._lose()
                    break
                self._count_sent(sent)
                rest = rest[sent:]
        finally:
            self.state = RUNNING
            writer.stop()
            writer.close()

    def _writable(self):
        if self.state == WRITING:
            self.to_client()

    # -- the end ---------------------------------------------------------------------------------------------------

    def _start_idle_timer(self, seconds):
        self.idle_timer = self.loop.timer(seconds)
        self.idle_timer.start(self._check_idle)

    def _check_idle(self):
        """client_timeout: counts from the last reply, and only while the next request is waited for (D17).

        The timer is set again for what is left instead of at every request.
        """
        self.idle_timer.close()
        self.idle_timer = None
        left = self.idle_limit
        if self.state == READING:
            left = self.idle_since + self.idle_limit - self.clock.monotonic()
            if left <= 0:
                self._end_input()
                self.to_client()
                return
        self._start_idle_timer(max(left, 0.001))

    def stop(self):
        """The server stops: no further request is read. Call from another greenlet."""
        self._end_input()
        self.loop.run_callback(self._stop_reading)

    def _stop_reading(self):
        if self.state == READING or self.state == PARKED:
            self.to_client()

    def cut(self):
        """Give up on a client that does not take its replies. Call from another greenlet."""
        self._lose()
        self.loop.run_callback(self._resume)

    def close(self):
        """Close the socket; if it ``lingers``, read on for a while first: a client that is still sending must get to
        read why it is closed, but closing with unread input makes the kernel send an RST that destroys the reply.
        """
        self.flush()
        try:
            if self.lingers and not self.input_ended:
                self._linger()
        finally:
            self._stop_reader()
            self.reader.close()
            if self.idle_timer is not None:
                self.idle_timer.close()
            if self.alarm is not None:
                self.alarm.close()
            self.sock.close()
            # whose number may be another client's from now on
            self.gone = self.input_ended = True
            # The callbacks of the watchers are bound to this object, which is bound to the greenlet. No cycle may
            # be left: the collector does not look at what has grown old.
            self.greenlet = self.to_client = self.reader = self.alarm = self.idle_timer = None

    def _linger(self):
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            return
        deadline = self.clock.monotonic() + LINGER
        timer = self.loop.timer(LINGER)
        timer.start(self.stop)
        self.kept = b''
        self._start_reader()
        dropped = 0
        try:
            while dropped < LINGER_BYTES and self.clock.monotonic() < deadline:
                data = self.read(0, False)
                if not data:
                    return
                dropped += len(data)
        finally:
            timer.close()
