"""``kcluster``: one look at many servers, one command for all of them (spec tools 4)."""
