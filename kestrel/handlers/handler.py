"""What runs the requests of one connection, whatever the protocol."""

from kestrel.errors import HangUp, Refusal, RequestError
from kestrel.protocol.parser import ForeignProtocol
from kestrel.shown import shown_request

LARGE_BLOCK = 65536         # bytes: blocks above must wait for room (D6)
TURN = 64                   # pipelined requests, or items of one, after which others get their turn


class Handler:
    """Runs the requests of one connection, strictly one after the other. A protocol adds what is below ``receive``."""

    def __init__(self, session, connection, services, parser):
        self.session = session
        self.connection = connection
        self.services = services
        self.parser = parser
        self.failed = 0             # internal errors of this receive
        self.block = 0              # number of the last block that has come in pieces and is whole

    def serve(self):
        """Run the client's requests until it leaves or is to be closed."""
        parser = self.parser
        connection = self.connection
        while True:
            wanted = parser.wants()
            large = parser.size > LARGE_BLOCK
            if wanted:
                connection.hold(parser.block, parser.held, large)
            data = connection.read(wanted, large)
            if not data or not self.receive(data):
                return
            # an idle connection keeps nothing of its last receive alive
            data = None

    def receive(self, data):
        """Run every complete request of what has arrived. -> false when the connection is to be closed."""
        parser = self.parser
        connection = self.connection
        ran = 0
        pause_at = TURN
        try:
            parser.feed(data)
            while True:
                runs = False
                try:
                    while parser.next():
                        if parser.block != self.block:
                            self._note_block()
                        ran += 1
                        if ran >= pause_at:
                            pause_at = ran + TURN
                            connection.pause()
                        if connection.gone:
                            return False
                        runs = True
                        reply = self.run()
                        runs = False
                        ran += parser.together
                        if reply is not None:
                            connection.write(reply)
                    return not connection.gone
                except Refusal as error:
                    self.refuse(error)
                except HangUp:
                    raise
                except RequestError as error:
                    # of a block that was thrown away, too
                    self._note_block()
                    if not runs:
                        # whole, but refused by the parser
                        ran += 1
                    self.tell(error.line)
        except ForeignProtocol as error:
            self.services.control.note_foreign(connection.address, error.protocol)
        except HangUp as error:
            if error.line:
                connection.lingers = self.tell_last(error.line)
        except Exception:
            self.services.log.exception('request failed: %s',
                                        shown_request(parser.words, self.services.collection.queues))
            self.failed += 1
            connection.lingers = self.tell_last(b'')
        finally:
            connection.count_requests(ran, self.failed)
            self.failed = 0
        return False

    def _note_block(self):
        """The block that has come in pieces is whole."""
        if self.parser.block != self.block:
            self.block = self.parser.block
            self.connection.block_is_whole()

    # -- of each protocol ------------------------------------------------------------------------------------------

    def run(self):
        """Run the request that the parser holds. -> its reply, bytes, or None when there is none. Raises Refusal,
        RequestError, HangUp."""
        raise NotImplementedError

    def tell(self, line):
        """Answer a request with an error line (bytes without its end), after which the connection goes on."""
        raise NotImplementedError

    def refuse(self, error):
        """Answer a request with a Refusal, in the words of the protocol; raise HangUp if that closes."""
        raise NotImplementedError

    def tell_last(self, line):
        """The last line before the connection is closed; empty: that of an internal error. -> false if nothing is sent.
        """
        raise NotImplementedError
