"""``ksniff``: captures what clients send to a memcache port and counts it (spec tools 3)."""
