"""Running tcpdump, here or on the host by ssh, so that afterwards the capture is a file here (spec tools 3)."""

import os
import shlex
import shutil
import subprocess

NOT_RUN, NOT_COPIED = 3, 4      # exit codes


class Failed(Exception):
    """str() says what; ``code`` is the exit code."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Tcpdump:
    """Captures host by host, as the options say (see options.py).

    ``ask_password(prompt)`` -> str, asked once whatever the number of hosts; raises EOFError.
    """

    def __init__(self, options, console, ask_password):
        self._options = options
        self._console = console
        self._ask = ask_password
        self._password = None

    def check(self):
        """Raises Failed if a program is missing here."""
        options = self._options
        if options.dry_run:
            return
        if options.ssh:
            if not shutil.which('ssh') or not shutil.which('scp'):
                raise Failed(NOT_RUN, 'cannot find ssh and/or scp: is ssh installed?')
        elif not shutil.which(options.tcpdump):
            raise Failed(NOT_RUN, 'cannot find %s: is tcpdump installed?' % options.tcpdump)
        if options.sudo and not options.ssh and not shutil.which('sudo'):
            raise Failed(NOT_RUN, 'cannot find sudo')

    def capture(self, host):
        """Fill the local file with packets to ``host``. Raises Failed."""
        if self._options.ssh:
            self._capture_there(host)
        elif self._run([*self._sudo(), *self._command(host, self._options.local_file)], self._options.sudo):
            raise Failed(NOT_RUN, 'failed to capture packets for %s' % host)

    def _capture_there(self, host):
        options = self._options
        if self._run(['ssh', host, shlex.join([*self._sudo(), *self._command(host, options.remote_file)])],
                     options.sudo):
            raise Failed(NOT_RUN, 'failed to execute %s on %s: is tcpdump installed?' % (options.tcpdump, host))
        user, at, name = host.rpartition('@')
        source = '%s:%s' % (user + at + '[%s]' % name if ':' in name else host, options.remote_file)
        if self._run(['scp', '-q', source, os.path.abspath(options.local_file)]) \
                or not options.dry_run and not os.path.exists(options.local_file):
            raise Failed(NOT_COPIED, 'failed to copy %s to %s; it is still there' % (source, options.local_file))
        if self._run(['ssh', host, shlex.join([*self._sudo(), 'rm', options.remote_file])], options.sudo):
            self._console.error('WARNING: failed to remove %s' % source)

    def _command(self, host, path):
        options = self._options
        interface = ['-i', options.iface] if options.iface else []
        return [options.tcpdump, *interface, '-s', str(options.snap_len), '-c', str(options.count), '-w', path,
                'dst', 'host', host.rpartition('@')[2], 'and', 'dst', 'port', str(options.port)]

    def _sudo(self):
        # the password comes from standard input, and nobody is asked for it a second time
        return ['sudo', '-S', '-p', ''] if self._options.sudo else []

    def _run(self, command, with_password=False):
        """-> exit code; 0 for what is only shown."""
        if with_password and self._password is None:
            self._password = self._get_password()
        if self._options.dry_run:
            self._console.line('skipped: ' + shlex.join(command))
            return 0
        if self._options.verbose:
            self._console.error('command: ' + shlex.join(command))
        self._console.flush()
        silent = subprocess.DEVNULL if self._options.quiet else None
        try:
            if with_password:
                return subprocess.run(command, input=self._password.encode() + b'\n', stderr=silent).returncode
            return subprocess.run(command, stdin=subprocess.DEVNULL, stderr=silent).returncode
        except OSError as error:
            raise Failed(NOT_RUN, '%s: %s' % (command[0], error.strerror)) from error

    def _get_password(self):
        if self._options.dry_run:
            self._console.line('skipped: sudo password request')
            return ''
        where = ' (for %d hosts)' % len(self._options.hosts) if self._options.ssh else ''
        try:
            return self._ask('sudo password%s:' % where)
        except EOFError:
            raise Failed(NOT_RUN, 'no sudo password was given') from None
