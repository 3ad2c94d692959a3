"""Made by the thrift compiler from kestrel.thrift: ``make thrift``. Its version stands at the head of each file."""
