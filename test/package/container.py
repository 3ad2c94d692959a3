"""A Debian system of its own to install the package into: booted with systemd, or a chroot without.

Needs root. The system is an overlay over a root file system that stays as it is.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

PATH = '/usr/sbin:/usr/bin:/sbin:/bin'
BOOT_SECONDS = 60


class CannotBoot(Exception):
    """This machine cannot run such a system; str() says why."""


@contextlib.contextmanager
def overlay(root):
    """-> the path of a system whose changes are thrown away at the end."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix='kestrel-package-', dir='/var/tmp'))
    system = folder / 'system'
    for name in 'changes', 'work', 'system':
        (folder / name).mkdir()
    mount = ['mount', '-t', 'overlay', 'overlay', '-o',
             f'lowerdir={root},upperdir={folder}/changes,workdir={folder}/work', system]
    try:
        ended = subprocess.run(mount, capture_output=True, text=True)
        if ended.returncode:
            raise CannotBoot(f'no overlay file system: {ended.stderr.strip()}')
        # a minimal system has none, and localhost would not be found
        (system / 'etc/hosts').write_text('127.0.0.1 localhost\n::1 localhost\n')
        try:
            yield system
        finally:
            subprocess.run(['umount', system], check=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Booted:
    """The system, running under systemd, with no network but its own loopback: ``with Booted(system) as machine``."""

    def __init__(self, system):
        self.system = system
        self.log = tempfile.TemporaryFile()
        self.leader = None

    def __enter__(self):
        if not os.path.ismount('/run/systemd'):
            # systemd-nspawn wants it where the machine itself does not run systemd
            os.makedirs('/run/systemd', exist_ok=True)
            if not os.listdir('/run/systemd'):
                subprocess.run(['mount', '-t', 'tmpfs', 'tmpfs', '/run/systemd'], check=True)
        command = ['systemd-nspawn', '--quiet', f'--directory={self.system}', f'--machine=kestrel-{os.getpid()}',
                   '--boot', '--console=pipe', '--register=no', '--keep-unit', '--private-network']
        try:
            self.nspawn = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        except FileNotFoundError:
            raise CannotBoot('systemd-nspawn is missing: apt install systemd-container') from None
        deadline = time.monotonic() + BOOT_SECONDS
        while not self._is_up():
            if self.nspawn.poll() is not None or time.monotonic() > deadline:
                self.nspawn.kill()
                self.nspawn.wait()
                self.log.seek(0)
                raise CannotBoot('systemd-nspawn: ' + self.log.read().decode(errors='replace')[-2000:])
            time.sleep(0.1)
        return self

    def _is_up(self):
        if self.leader is None:
            children = pathlib.Path(f'/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children').read_text().split()
            self.leader = children[0] if children else None
        return self.leader and self.run('systemctl', 'is-system-running', capture_output=True,
                                        text=True).stdout.strip() in ('running', 'degraded')

    def run(self, *words, **options):
        """Run a command inside; -> CompletedProcess."""
        inside = ['nsenter', f'--target={self.leader}', '--all', 'env', '-i', f'PATH={PATH}', 'HOME=/root',
                  'LANG=C.UTF-8', 'DEBIAN_FRONTEND=noninteractive', *words]
        return subprocess.run(inside, stdin=subprocess.DEVNULL, **options)

    def __exit__(self, *_):
        self.run('systemctl', 'poweroff', capture_output=True)
        try:
            self.nspawn.wait(30)
        except subprocess.TimeoutExpired:
            self.nspawn.send_signal(signal.SIGTERM)
            self.nspawn.wait(30)
        self.log.close()


def run_in_chroot(system, *words, **options):
    """Run a command in a system that nobody has booted, with processes and network of its own."""
    inside = ['unshare', '--net', '--pid', '--fork', '--mount', '--mount-proc=' + str(system / 'proc'), 'chroot', system,
              'env', '-i', f'PATH={PATH}', 'HOME=/root', 'LANG=C.UTF-8', 'DEBIAN_FRONTEND=noninteractive', *words]
    return subprocess.run(inside, stdin=subprocess.DEVNULL, **options)
