"""Commands for people beside the server: each module is one, ``main`` its entry point (spec tools)."""
