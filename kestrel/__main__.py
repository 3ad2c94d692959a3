"""``python -m kestrel``."""

from kestrel.main import main

main()
