"""``kestrelctl``: one command for a running server, whatever there is to look at, to move or to change."""
