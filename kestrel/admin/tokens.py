"""Tokens that bind an action to a page of this server (D62)."""

import hashlib
import hmac
import os

# Seconds after which a page has to be loaded again.
VALID_FOR = 12 * 3600
CLIENT = 'x-kestrel-client'
# What a browser says of itself, one or the other, with every POST.
BROWSER = ('origin', 'referer', 'sec-fetch-site', 'sec-fetch-mode', 'sec-fetch-dest')
EXPIRED = 'the page is too old, or older than the server: load it again'


class Tokens:
    """Those of one server: after a restart none of the old ones counts.

    A token is ``<when, hex>.<random, hex>.<mac, hex>``; the mac covers the Host that the page was asked from, too.
    """

    def __init__(self, clock):
        self._clock = clock
        self._secret = os.urandom(32)

    def issue(self, host):
        """-> str, a token for a page that was asked for with this Host header."""
        return self._signed('%x.%s' % (int(self._clock.monotonic()), os.urandom(8).hex()), host)

    def _signed(self, text, host):
        whole = '%s %s' % (text, host)
        return '%s.%s' % (text, hmac.new(self._secret, whole.encode('utf-8'), hashlib.sha256).hexdigest())

    def why_refused(self, token, header):
        """-> None if that token, a str or None, lets this request act, else one line that says why not.

        header  see answers.Request

        No browser sends X-Kestrel-Client for a page of another site without asking first, which nobody here answers: so
        a program that names itself there, and sends nothing of what browsers send, needs no token.
        """
        if token is None:
            if header(CLIENT) and not any([header(name) for name in BROWSER]):
                return None
            return 'there is no token: an action needs that of a page of the dashboard, or the header X-Kestrel-Client'
        text, _, _ = token.rpartition('.')
        when, _, _ = text.partition('.')
        if not token.isascii() or not hmac.compare_digest(token, self._signed(text, header('host') or '')):
            return EXPIRED
        return EXPIRED if self._clock.monotonic() - int(when, 16) > VALID_FOR else None
