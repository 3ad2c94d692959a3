"""What the tests share. The folder above this one is put on sys.path by the runner (test/run.py)."""
