"""``kestrel-migrate``: the command line."""

import argparse
import os

from kestrel import config
from kestrel.clock import Clock
from kestrel.disk import Disk
from kestrel.errors import StartError
from kestrel.tools.console import printable, run_command
from kestrel.tools.migrate import back, conf_writer, scala, settings_table, spool_check, takeover
from kestrel.tools.migrate.spool_check import CannotMigrate
from kestrel.tools.migrate.tokens import ScalaError
from kestrel.tools.walk import SILENT

DONE, FINDINGS, IMPOSSIBLE = 0, 1, 2


def main():
    """Ends the process with DONE, FINDINGS (something is left out, or would be changed) or IMPOSSIBLE."""
    run_command(run)


def run(arguments, console, clock=None, disk=None):
    """Do what the words of the command line say; -> exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if (options.config is None) == (options.spool is None):
        parser.error('name either a SPOOL or, behind --config, a configuration')
    if options.output and not options.config or (options.copy_to or options.back or options.apply) and options.config:
        parser.error('--output belongs to --config; --copy-to, --back and --apply belong to a SPOOL')
    if options.back and options.copy_to:
        parser.error('--back works in place: copy the folder first, for example with cp -a')
    disk = disk or Disk(SILENT)
    try:
        if options.config:
            return _config(options, console, disk)
        return _Spool(os.fsencode(options.spool), console, clock or Clock(), disk).run(options)
    except (CannotMigrate, StartError) as error:
        console.error('kestrel-migrate: %s' % error)
    except OSError as error:
        console.error('kestrel-migrate: %s: %s' % (printable(os.fsencode(error.filename or options.spool or
                                                                         options.config)), error.strerror))
    return IMPOSSIBLE


def _parser():
    parser = argparse.ArgumentParser(
        prog='kestrel-migrate', description='Move from Kestrel 2.4 (and starling) to kestrel, and back. A spool is only '
        'looked at unless --apply is given. Exit code 0: done, or nothing to do; 1: something was left out of the '
        'configuration, or --apply would change something; 2: not possible: nothing was changed, or nothing but what a '
        'start of the server would do.')
    parser.add_argument('spool', metavar='SPOOL', nargs='?', help='the folder with the journals')
    parser.add_argument('--config', metavar='FILE', help="the original's configuration, Scala")
    parser.add_argument('--output', metavar='FILE', help='where to write kestrel.conf, which must not be there '
                                                         '(default: standard output)')
    parser.add_argument('--copy-to', metavar='FOLDER', help='take over a copy, in this new or empty folder, and leave '
                                                            'SPOOL as it is')
    parser.add_argument('--back', action='store_true', help='make SPOOL one that Kestrel 2.4 reads')
    parser.add_argument('--apply', action='store_true', help='do what is announced without it')
    return parser


def _config(options, console, disk):
    with open(options.config, 'rb') as file:
        data = file.read()
    source = os.path.basename(options.config)
    try:
        original = data.decode('utf-8-sig').replace('\r\n', '\n')
        statements, problems = scala.read(original)
    except UnicodeDecodeError as error:
        raise CannotMigrate('%s: line %d: not UTF-8: save it in UTF-8' % (
            options.config, data.count(b'\n', 0, error.start) + 1)) from None
    except ScalaError as error:
        raise CannotMigrate('%s: %s' % (options.config, error)) from None
    except RecursionError:
        raise CannotMigrate('%s: brackets in brackets, more than can be read' % options.config) from None
    mapping = settings_table.Mapping(config.table(), statements, problems)
    text, problems = conf_writer.conf(mapping, source, original)
    if not options.output:
        console.write(text.encode())
    elif os.path.lexists(options.output):
        raise CannotMigrate('%s: it is there already: name another file, or remove it' % options.output)
    else:
        disk.replace(os.fsencode(os.path.abspath(options.output)), text.encode())
    for line, column, why in problems:
        console.error('%s: line %d, column %d: %s' % (options.config, line, column, why))
    if problems:
        console.error('%d things were left out, see above and in the new file' % len(problems))
    return FINDINGS if problems else DONE


class _Spool:

    def __init__(self, path, console, clock, disk):
        self.path = os.path.abspath(path)
        self.console = console
        self.clock = clock
        self.disk = disk

    def run(self, options):
        os.stat(self.path)
        spool_check.refuse_if_in_use(self.path)
        target = os.fsencode(os.path.abspath(options.copy_to)) if options.copy_to else None
        if options.apply:
            self._lock(target or self.path)
        try:
            state = spool_check.check(self.path, self.clock, self.console)
            for line in spool_check.lines(state):
                self.console.line(line)
            if options.back:
                return self._back(state, options.apply)
            if not options.apply:
                return self._announce(state, target)
            if target:
                takeover.copy(state, target, self.disk, self.console)
                state.path = target
            takeover.in_place(state, self.disk, self.clock, SILENT)
            self.console.line('taken over: %s is ready for kestrel' % printable(state.path))
            return DONE
        finally:
            self.disk.unlock_spool()

    def _lock(self, path):
        if path == self.path or not path.startswith(self.path + b'/'):
            self.disk.lock_spool(path)
        else:
            raise CannotMigrate('%s lies in the spool itself: name a folder outside' % printable(path))

    def _announce(self, state, target):
        if target:
            takeover.refuse_target(state, target, self.disk)
        changes = state.findings or state.differences
        self.console.line('nothing was changed; --apply takes the spool over')
        return FINDINGS if changes else DONE

    def _back(self, state, apply):
        losses = back.losses(state, self.clock)
        said = back.lines(state, losses)
        for line in said:
            self.console.line('back: ' + line)
        if not apply:
            changes = said or any([queue.is_changed() for queue in state.queues]) or state.spool.temporary
            self.console.line('nothing was changed; --apply makes it one of Kestrel 2.4' if changes else
                              'Kestrel 2.4 can have it as it is')
            return FINDINGS if changes else DONE
        takeover.in_place(state, self.disk, self.clock, SILENT)
        aside = back.give_back(state, self.disk, self.clock)
        if aside is not None:
            self.console.line('moved aside: what was in the way is in %s' % printable(aside))
        self.console.line('given back: %s is ready for Kestrel 2.4' % printable(self.path))
        return DONE
