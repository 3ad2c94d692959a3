#!/usr/bin/env python3
"""Print the manual page kestrel.conf(5), made of the table of settings, kestrel/kestrel.configspec.

    docs/conf_page.py >kestrel.conf.5

The texts are those of the table, so page and server cannot disagree.
"""

import pathlib
import re
import sys

SPEC = pathlib.Path(__file__).resolve().parent.parent / 'kestrel' / 'kestrel.configspec'

# What an operator writes for each kind of value; the kinds are explained in kestrel/settings.py.
KINDS = {
    'address': 'address', 'port': 'port', 'path': 'path', 'integer': 'integer', 'size': 'size',
    'duration': 'duration', 'boolean': 'true or false', 'sync': 'never, 0 or a duration', 'text': 'text',
    'queue_name': 'queue', 'list_of_queue_names': 'list of queues', 'list_of_patterns': 'list of regular expressions',
    'list_of_periods': 'list of durations of whole seconds', 'list_of_addresses': 'list of host names', 'node_path': 'path of a node',
}

INTRODUCTION = r'''.TH KESTREL.CONF 5 "" "kestrel" "kestrel"
.SH NAME
kestrel.conf \- configuration of the message queue server kestrel
.SH DESCRIPTION
The file consists of sections, whose names stand in brackets, and of settings below them:
.PP
.nf
.RS
[server]
listen_address = 127.0.0.1
[default]
max_memory_size = 128MB
[queues]
[[orders]]
max_items = 1500000
.RE
.fi
.PP
What is left out has its default. What is unknown, of the wrong form or impossible is an error, which names line and
key; the server does not start with it, and a reload changes nothing. Check a file with
.B kestrel \-\-validate \-f
.IR file .
.PP
The file that comes with kestrel,
.IR /etc/kestrel/kestrel.conf ,
explains each setting at more length and tells what it costs.
.SS Values
.TP
.I size
An integer with KB, MB, GB or TB, of 1024 each; without a unit bytes.
.TP
.I duration
An integer with us, ms, s, m, h or d; 0 needs no unit, any other number does.
.TP
.I list
Values separated by commas.
.TP
.B none
Not set; it overrides a value that would be inherited.
.TP
.B # text
A comment. A value with a # in it, and a name of a section with #, ] or quotes, is written in quotes.
.SS Reload
The command
.B reload
on the memcache port, or SIGHUP, has the file read again. The sections [default], [queues], [aliases] and [logging]
take effect then, but for
.BR keep_journal " and " sync_journal ;
the others wait for the next start.
'''

SECTIONS = {
    'server': 'The server as a whole.',
    'default': 'What holds for each queue that does not say otherwise. The same settings may stand in a section\n'
               '.BI [[ queue ]]\nbelow [queues], for that queue. A fanout child,\n.BI [[ queue + child ]]\\fR,\n'
               'inherits what its queue has, a queue what [default] has.',
    'aliases': 'Below it, in a section\n.BI [[ alias ]]\nfor each alias:',
    'zookeeper': 'Server sets.',
    'admin': 'The port for statistics and control over HTTP.',
    'logging': 'The log.',
}

END = r'''.SH FILES
.I /etc/kestrel/kestrel.conf
.SH SEE ALSO
.BR kestrel (1)
'''


def table(text):
    """-> list of (section, key, kind, default, comment), str, in the order of the table."""
    found, section, comment = [], None, []
    for line in text.splitlines():
        header, setting = re.fullmatch(r'\[(\w+)\]', line), re.fullmatch(r'(\w+) = (\w+)\((.*)\)', line)
        if line.startswith('#'):
            comment.append(line[1:].strip())
            continue
        if header:
            section = header[1]
        elif setting:
            key, kind, words = setting.groups()
            default = re.search(r'default=(.*)$', words)[1]
            choices = re.sub(r',?\s*default=.*$', '', words)
            found.append((section, key, described(kind, choices), default, ' '.join(comment)))
        comment = []
    return found


def described(kind, words):
    """The values of a kind, for people."""
    if kind == 'option':
        return words.replace(', ', ' | ')
    plain = kind.removesuffix('_or_none')
    limits = dict(re.findall(r'(at_least|at_most)=(\w+)', words))
    text = KINDS[plain]
    text += ''.join(f', at {word[3:]} {limits[word]}' for word in ('at_least', 'at_most') if word in limits)
    return text + (', or none' if plain != kind else '')


def escaped(text):
    """Plain text as roff takes it. What refers to the list of differences says nothing to an operator."""
    text = re.sub(r' ?\((?:D\d+|spec [^)]*)(?:, (?:D\d+|spec [^)]*))*\)', '', text)
    text = text.replace('\\', r'\e').replace('-', r'\-')
    return re.sub(r"^(['.])", r'\\&\1', text)


def page(text):
    """The whole page for the text of the table."""
    parts, seen = [INTRODUCTION.rstrip('\n')], None
    parts.append('.SH SETTINGS')
    for section, key, kind, default, comment in table(text):
        if section != seen:
            seen = section
            parts.append(f'.SS [{section}]\n{SECTIONS[section]}')
        parts.append(f'.TP\n.B {escaped(key)}\n.RI ( "{escaped(kind)}" "; default " "{escaped(default)}" )\n'
                     f'.br\n{escaped(comment)}')
    return '\n'.join(parts) + '\n' + END


if __name__ == '__main__':
    sys.stdout.write(page(SPEC.read_text()))
