"""Which kestrel is under test, and how to start a process of it."""

import os
import pathlib
import subprocess
import sys

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent
DATA = CHECKOUT / 'test' / 'data'

# The folder that holds the package under test: the checkout (pure Python) or a compiled copy under build/.
TREE = pathlib.Path(os.environ.get('KESTREL_TREE') or CHECKOUT).resolve()


def process_environment(more=None):
    """The environment of a process of the tree under test; ``more`` is a dict of str added to it."""
    environment = dict(os.environ)
    environment['PYTHONPATH'] = str(TREE)
    environment['PYTHONNOUSERSITE'] = '1'
    environment['PYTHONUNBUFFERED'] = '1'
    environment.update(more or {})
    return environment


def kestrel_command(*words):
    """The argument list that starts kestrel of the tree under test with this test's interpreter.

    ``python -m`` looks into the current folder first: start it elsewhere than in the checkout.
    """
    return [sys.executable, '-m', 'kestrel', *map(str, words)]


def run_kestrel(*words, cwd='/', env=None, timeout=20):
    """Run kestrel until it ends by itself, for example with ``--validate``.

    Returns a CompletedProcess whose stdout and stderr are str. Raises subprocess.TimeoutExpired.
    """
    return subprocess.run(kestrel_command(*words), cwd=cwd, env=process_environment(env), timeout=timeout,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
