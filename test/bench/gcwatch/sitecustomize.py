"""Loaded by Python at its start when this folder is on PYTHONPATH: times the garbage collector of a server.

The longest collection so far, in milliseconds of the thread's processor time (other processes do not count),
is kept in the file that BENCH_GC_FILE names. If somebody removes the file, the search begins anew.
"""
import gc
import os
import time


def watch(path):
    longest = -1.0
    began = 0.0

    def note(phase, info):
        nonlocal longest, began
        if phase == 'start':
            began = time.thread_time()
            return
        took = (time.thread_time() - began) * 1000
        if took > longest or not os.path.exists(path):
            longest = took
            with open(path, 'w') as file:
                file.write(f'{took:.3f}')

    gc.callbacks.append(note)


if 'BENCH_GC_FILE' in os.environ:
    watch(os.environ['BENCH_GC_FILE'])
