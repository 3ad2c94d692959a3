"""The five load programs: they drive a running server, and check what comes back (spec tools 5)."""
