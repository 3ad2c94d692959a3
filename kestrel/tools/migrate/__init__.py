"""``kestrel-migrate``: the configuration and the spool of Kestrel 2.4, taken over and given back."""
