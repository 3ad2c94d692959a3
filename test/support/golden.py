"""The spools that the original wrote, and what it made of them (test/data/golden/README.md)."""

import json

from support.environment import DATA

GOLDEN = DATA / 'golden'
# Recorded: requests, what they left behind, and how that drained after a restart.
RECORDED = ('add', 'fanout', 'monitor_confirm', 'open_abort', 'open_at_end', 'open_confirm', 'pack', 'rewrite_compact',
            'rotation')
ENDS = ('clean', 'kill9')

# When the original read the hand-written files, ms: after every expiry in them but that of "old exp".
LEGACY_NOW = 1795468000000

# Where docs/differences.md departs, {queue of legacy_opcodes: (its D-number, items in order, its files then)}.
LEGACY_DIFFERENCES = {
    'ax_t3': ('D39', ['1', '2', '3'], {'ax_t3': 'S8 AX7[1] T AX8[2] T A[3] U8 U7'}),
    'ax_t3_c7': ('D39', ['2', '3'], {'ax_t3_c7': 'S8 AX7[1] T AX8[2] T A[3] C7 U8'}),
    's_t3_c6': ('D39', ['2'], {'s_t3_c6': 'S5 A[1] A[2] T C6'}),
    's_t3_unremove6': ('D39', ['1', '2'], {'s_t3_unremove6': 'S5 A[1] A[2] T U6'}),
    't3_confirm0': ('D39', ['1', '2'], {'t3_confirm0': 'A[1] A[2] T C0 U1'}),
    't3_confirm1': ('D39', ['2'], {'t3_confirm1': 'A[1] A[2] T C1'}),
    't3_one': ('D39', ['1', '2'], {'t3_one': 'A[1] A[2] T U1'}),
    't3_two': ('D39', ['1', '2', '3'], {'t3_two': 'A[1] A[2] A[3] T T U2 U1'}),
    't3_two_c1': ('D39', ['2', '3'], {'t3_two_c1': 'A[1] A[2] A[3] T T C1 U2'}),
    'rotbad': ('D12', ['r1', 'r3', 'r4', 'r4', 'r4', 'r4', 'r4'],
               {'rotbad.100': 'A[r1]', 'rotbad.200': 'A[r3]', 'rotbad': 'A[r4] A[r4] A[r4] A[r4] A[r4]'}),
    't9_same_xid': ('D65', ['1', '2'], {'t9_same_xid': 'A[1] A[2] T1 T1 U1 U2'}),
}

# Settings of the original: its name -> (ours, in words of our configuration file)
_SETTINGS = {
    'maxMemorySize': ('max_memory_size', '%d'),
    'maxJournalSize': ('max_journal_size', '%d'),
    'defaultJournalSize': ('default_journal_size', '%d'),
    'minJournalCompactDelay': ('min_journal_compact_delay', '%dms'),
}


def case(name):
    """What is recorded of a case; strings are bytes as Latin-1."""
    return json.loads((GOLDEN / name / 'case.json').read_text())


def settings(recorded):
    """The settings that hold for all queues of a case, {name: text}."""
    return {ours: form % recorded['config']['default'][theirs] for theirs, (ours, form) in _SETTINGS.items()
            if theirs in recorded['config'].get('default', {})}


def own_settings(recorded):
    """The settings of single queues of a case, {queue: {name: value}}."""
    return {queue: {'fanout_only': settings['fanoutOnly']}
            for queue, settings in recorded['config'].get('queues', {}).items()}


def torn_files():
    """{queue of torn_every_byte: its file}: a journal cut to its first N bytes, for each N."""
    whole = (GOLDEN / 'open_abort' / 'kill9' / 'journal' / 'q').read_bytes()
    return {f't{length:04}': whole[:length] for length in range(len(whole) + 1)}
