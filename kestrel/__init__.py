"""kestrel: a message queue server that takes the place of Twitter's Kestrel 2.4."""

# One word of three numbers: a widely used client ends its process on anything else (D66).
__version__ = '3.0.0'
