"""System calls of a server for each item, counted by perf while the load runs: the kernel's part of the cost."""
import os
import subprocess
import tempfile

from load import new_seed
from servers import BenchError
from size import finding, warm_up
from speed import CLIENTS, FLOOD_WAIT, ITEM, PIPELINE, PIPELINED_CLIENTS

ALL = 'raw_syscalls:sys_enter'
# Shown by name if they are at least this share of an item's calls.
SHOWN = 0.02
NAMES = ('recvfrom', 'sendto', 'sendmsg', 'read', 'readv', 'write', 'writev', 'pwrite64', 'epoll_wait', 'epoll_pwait',
         'epoll_ctl', 'fdatasync', 'fsync', 'futex', 'getpid', 'clock_gettime')


def event(name):
    return 'syscalls:sys_enter_' + name


def usable_events():
    """Those that this kernel has; BenchError with the remedy if perf cannot count system calls at all."""
    remedy = ('; on Debian: apt-get install linux-perf, and be root or set kernel.perf_event_paranoid to -1 '
              '(both need /sys/kernel/tracing)')

    def counts(events):
        try:
            return subprocess.run(['perf', 'stat', '-e', ','.join(events), 'true'], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=30)
        except OSError as error:
            raise BenchError(f'no perf: {error}{remedy}') from error
    done = counts([ALL])
    if done.returncode:
        raise BenchError(f'perf cannot count system calls: {done.stderr.strip()}{remedy}')
    return [ALL] + [event(name) for name in NAMES if counts([event(name)]).returncode == 0]


def read_counts(text):
    """{event: times} of what `perf stat -x,` has written."""
    counts = {}
    for line in text.splitlines():
        fields = line.split(',')
        if len(fields) > 2 and fields[0].isdigit():
            counts[fields[2]] = int(fields[0])
    if ALL not in counts:
        raise BenchError(f'perf counted no system calls: {text!r}')
    return counts


def count_calls(generator, server, events, **work):
    """{event: times for each item}; those of the connections' set-up are among them."""
    descriptor, path = tempfile.mkstemp(dir=server.folder)
    os.close(descriptor)
    under = ('perf', 'stat', '-x', ',', '-o', path, '-e', ','.join(events), '-p', str(server.process.pid), '--')
    result = generator.run(server, under=under, seed=work.pop('seed', None) or new_seed(), **work)
    with open(path) as file:
        return {name: times / result['items'] for name, times in read_counts(file.read()).items()}


def system_calls(generator, new_server, scale):
    """Each kind of work once: the counts hardly change from run to run."""
    server = new_server()
    events = usable_events()
    warm_up(generator, server)
    clients = {'connections': CLIENTS, 'count': scale.work, 'size': ITEM}
    seeds = [new_seed(), new_seed()]
    works = [('put', f'{CLIENTS} clients', {'mode': 'put', 'seed': seeds[0], **clients}),
             ('get', f'{CLIENTS} clients', {'mode': 'get', 'seed': seeds[0], **clients}),
             ('put', f'{PIPELINE} deep', {**clients, 'mode': 'put', 'seed': seeds[1], 'pipeline': PIPELINE,
                                          'connections': PIPELINED_CLIENTS})]
    if server.protocol != 'memcached':
        works += [('get', 'one client', {**clients, 'mode': 'get', 'seed': seeds[1], 'connections': 1}),
                  ('item', 'put and get at once', {'mode': 'flood', 'count': scale.work, 'size': ITEM,
                                                   'producers': CLIENTS // 2, 'consumers': CLIENTS // 2,
                                                   'block': FLOOD_WAIT})]
    findings = []
    for what, how, work in works:
        counts = count_calls(generator, server, events, **work)
        if work['mode'] != 'put':
            server.forget('bench')
        total = counts.pop(ALL)
        names = sorted(((times, name.removeprefix(event(''))) for name, times in counts.items()), reverse=True)
        shown = ', '.join(f'{name} {times:.2f}' for times, name in names if times >= SHOWN)
        findings.append(finding(f'system calls for each {what}, {how}', round(total, 3), 'calls', shown=shown))
    return findings


MEASUREMENTS = {'syscalls': system_calls}
