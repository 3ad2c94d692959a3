"""Who may change something through the admin port (D62): no web page of elsewhere, whatever a browser runs."""

import ipaddress
from urllib.parse import urlsplit


def _split(host):
    """'name:port' -> (name in lower case, port or None); None if it is neither."""
    try:
        parts = urlsplit('//' + host)
        if parts.path or parts.query or parts.fragment or parts.username is not None or not parts.hostname:
            return None
        return parts.hostname, parts.port
    except ValueError:
        return None


def _is_address(name):
    try:
        ipaddress.ip_address(name.partition('%')[0])
    except ValueError:
        return False
    return True


def why_refused(header, allowed_hosts):
    """-> None if a request may change something, else one line that says why not.

    header         function: name of a header in lower case -> its value, or None
    allowed_hosts  collection of str in lower case: names that the server may be called by, besides localhost
    """
    host = header('host')
    here = None
    if host is not None:
        here = _split(host)
        if here is None:
            return 'the Host header is not a host'
        name = here[0].rstrip('.')
        if not _is_address(name) and name != 'localhost' and name not in allowed_hosts:
            return 'this server is not called %s: call it by its address, or add the name to allowed_hosts in [admin]' % name
    for known in ('origin', 'referer'):
        value = header(known)
        if value is None:
            continue
        there = _authority(value)
        if there is None or here is None or there != (here[0], here[1] or _default_port(value)):
            return 'the request comes from a page of another site (%s)' % known.capitalize()
    site = header('sec-fetch-site')
    if site is not None and site.lower() not in ('same-origin', 'none'):
        return 'the request comes from a page of another site (Sec-Fetch-Site)'
    return None


def _authority(url):
    """(host, port) of an Origin or Referer, None for ``null`` and what is no URL."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in ('http', 'https') or not parts.hostname:
            return None
        return parts.hostname, parts.port or _default_port(url)
    except ValueError:
        return None


def _default_port(url):
    return 443 if url.lower().startswith('https:') else 80
