#!/usr/bin/env python3
"""Build the Debian package, twice, and live with it: make test-package. Needs root, and the packages of .ci/packages.

    test/package/run.py [step ...]

The steps, in their order; without words all of them:

    build      make deb and make deb-src; lintian has nothing to say
    again      a second build in another folder, time zone and umask is the same, bit by bit
    life       a container is booted: install, serve, reload, crash, upgrade, remove, purge (life.py); autopkgtest
    sysv       the init script, in a system without systemd: by itself, and under OpenRC
    piuparts   installs and purges leave nothing
    ways       sdist, wheel, pip, make install, the steps of the Dockerfile, compose.yaml
    trixie     the next release: the package is built, with its unit tests, installed, and started; the unit tests in
               pure Python
    speed      only when it is named, or with KESTREL_LONG=1: is the service as fast as make run? (7 minutes, on a
               machine that does nothing else); KESTREL_STARTS, 30, is how often both are started

Root file systems are kept under build/roots and made anew when their list of packages changes. Where a container
cannot be booted this fails, unless KESTREL_NO_BOOT=1 says that it is known: then life is left out, and said to be.
"""

import contextlib
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import service_speed
import ways
from container import PATH, Booted, CannotBoot, overlay, run_in_chroot

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent
HERE = CHECKOUT / 'test' / 'package'
BUILD = CHECKOUT / 'build'
ROOTS = BUILD / 'roots'
DEB = CHECKOUT / 'kestrel.deb'

# make run takes the Python that the caller has.
CALLED_WITH = dict(os.environ)

# What kestrel depends on and what the tests need: the container has no network to fetch it.
LIBRARIES = ['python3-configobj', 'python3-daemon', 'python3-dpkt', 'python3-gevent', 'python3-hypothesis',
             'python3-nose2', 'python3-prometheus-client', 'python3-pymemcache', 'python3-setproctitle', 'python3-thrift']
BOOKWORM = ['adduser', 'autopkgtest', 'bash-completion', 'dbus', 'dpkg-dev', 'logrotate', 'man-db', 'systemd',
            'systemd-sysv', *LIBRARIES]
TRIXIE = ['adduser', 'bash-completion', 'build-essential', 'cython3', 'debhelper', 'dh-python',
          'pybuild-plugin-pyproject', 'python3-all-dev', 'python3-setuptools', *LIBRARIES]
# In the system without systemd; it is in the way of nothing until it is installed.
OPENRC = ['openrc']
# Whatever it says is too much: --fail-on would count what an override explains.
LINTIAN = ['lintian', '--allow-root', '-EIL', '+pedantic']


class Failed(Exception):
    """str() says what."""


def main():
    if os.geteuid() != 0:
        sys.exit('test/package/run.py: needs root: it makes root file systems and boots one')
    # a pyenv in front of Debian's Python is in the way of Debian's tools
    os.environ['PATH'] = PATH
    chosen = sys.argv[1:] or [name for name in STEPS if name != 'speed' or os.environ.get('KESTREL_LONG') == '1']
    for name in chosen:
        if name not in STEPS:
            sys.exit(f'{name}: no step; one of {" ".join(STEPS)}')
    failed = []
    for name in chosen:
        began = time.monotonic()
        try:
            STEPS[name]()
            said = 'ok'
        except (Failed, ways.Wrong, service_speed.BenchError) as error:
            failed.append(name)
            said = f'FAILED: {error}'
        except CannotBoot as error:
            if os.environ.get('KESTREL_NO_BOOT') == '1':
                said = f'LEFT OUT, NOT TESTED (KESTREL_NO_BOOT=1): {error}'
            else:
                failed.append(name)
                said = f'FAILED: nothing can be booted here: {error}\nKESTREL_NO_BOOT=1 leaves it out'
        print(f'== package {name}: {said} ({time.monotonic() - began:.0f} s)', flush=True)
    sys.exit(1 if failed else 0)


def run(*words, **options):
    """Run a command; Failed with all it said unless it ends well."""
    ended = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                           **options)
    return said_by(ended, ' '.join(map(str, words)))


def said_by(ended, what):
    if ended.returncode:
        raise Failed(f'{what}: exit code {ended.returncode}\n{ended.stdout[-20000:]}')
    return ended.stdout


def root(name, suite, packages, later=()):
    """-> the path of a minimal system of that release with the packages in it; those of ``later``, and what they
    depend on, only as files in /later."""
    wanted = hashlib.sha256(' '.join([suite, *packages, *later]).encode()).hexdigest()[:12]
    path = ROOTS / f'{name}-{wanted}'
    if not path.exists():
        ROOTS.mkdir(parents=True, exist_ok=True)
        for old in ROOTS.glob(f'{name}-*'):
            shutil.rmtree(old)
        half = ROOTS / 'half'
        shutil.rmtree(half, ignore_errors=True)
        fetch = f"""--customize-hook=[ -z '{' '.join(later)}' ] || chroot "$1" sh -c 'mkdir -p /later/partial;
            apt-get install -qq -d -y --no-install-recommends -o Dir::Cache::archives=/later {' '.join(later)}'"""
        run('mmdebstrap', '--variant=minbase', '--quiet', f'--include={",".join(packages)}', fetch, suite, half)
        half.rename(path)
    return path


def packages_in(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob('*.deb'))}


def build():
    run('make', '-C', CHECKOUT, 'deb', 'deb-src')
    for changes in [*(BUILD / 'deb').glob('*.changes'), *(BUILD / 'deb-src').glob('*.dsc')]:
        said = run(*LINTIAN, changes)
        if said:
            raise Failed(f'lintian: {said}')


def again():
    first = packages_in(BUILD / 'deb')
    if not first:
        raise Failed('there is no first build; the step build makes it')
    with tempfile.TemporaryDirectory(prefix='another-', dir='/var/tmp') as folder:
        copy = pathlib.Path(folder, 'checkout')
        shutil.copytree(CHECKOUT, copy, symlinks=True, ignore=shutil.ignore_patterns('build', '.git', '*.deb'))
        # with its time zone, its umask, without the tests, and on a checkout of another date
        run('bash', '-c', f'umask 077; find {copy} -exec touch -h {{}} +; chmod -R go= {copy}; '
            f'cd {copy} && debian/make-deb binary {copy}/build/deb', env={
                **os.environ, 'TZ': 'Pacific/Kiritimati', 'DEB_BUILD_OPTIONS': 'nocheck parallel=2', 'LC_ALL': 'C'})
        second = packages_in(copy / 'build' / 'deb')
    different = [name for name in first.keys() | second.keys() if first.get(name) != second.get(name)]
    if different:
        raise Failed(f'not the same in two builds: {" ".join(sorted(different))}')


def first_package():
    """-> the path of the first package that this project had, of pure Python, or None where its history is not there."""
    git = ['git', '-c', 'safe.directory=*', '-C', CHECKOUT]
    if not (CHECKOUT / '.git').exists():
        print('== package life: no git history here: the upgrade from the first package is NOT TESTED', flush=True)
        return None
    # of a shallow clone the oldest commit that is there
    commit = run(*git, 'log', '--diff-filter=A', '--format=%H', '--', 'debian/make-deb').split()[-1]
    package = BUILD / f'first-{commit[:12]}.deb'
    if not package.exists():
        with tempfile.TemporaryDirectory(prefix='first-', dir='/var/tmp') as folder:
            archive = pathlib.Path(folder, 'archive.tar')
            run(*git, 'archive', f'--output={archive}', commit)
            tree = pathlib.Path(folder, 'tree')
            tree.mkdir()
            run('tar', '-x', '-f', archive, '-C', tree)
            for path in (tree / 'kestrel').rglob('*.pxd'):
                path.unlink()       # nothing is compiled then, which would take minutes
            run('debian/make-deb', 'binary', f'{folder}/deb', cwd=tree, env={**os.environ, 'DEB_BUILD_OPTIONS': 'nocheck'})
            built, = pathlib.Path(folder, 'deb').glob('kestrel_*.deb')
            shutil.copy(built, package)
    return package


def bookworm():
    return root('bookworm', 'bookworm', BOOKWORM, OPENRC)


@contextlib.contextmanager
def system_with_package():
    """-> an overlay of bookworm with the package in /t."""
    with overlay(bookworm()) as system:
        folder = system / 't'
        folder.mkdir()
        shutil.copy(DEB, folder / 'new.deb')
        yield system


def life():
    first = first_package()
    with system_with_package() as system, Booted(system) as machine:
        run(HERE / 'previous.sh', DEB, system / 't/old.deb')
        if first is not None:
            run(HERE / 'previous.sh', first, system / 't/first.deb')
        shutil.copy(HERE / 'life.py', system / 't')
        shutil.copytree(CHECKOUT, system / 't' / 'source', symlinks=True,
                        ignore=shutil.ignore_patterns('build', '.git', '*.deb', '__pycache__'))
        life_in(machine, ['/t/old.deb', '/t/new.deb'] + ([] if first is None else ['/t/first.deb']))


def life_in(machine, packages):
    def inside(*words):
        return said_by(machine.run(*words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True), ' '.join(words))
    inside('sh', '-c', 'mount -o remount,rw / 2>/dev/null; cd / && chmod 755 /t')
    said = inside('python3', '/t/life.py', *packages)
    print(said, flush=True)
    if not re.search(r'^OK$', said, re.MULTILINE):
        raise Failed('a test was skipped')
    inside('sh', '-c', 'cd /t && autopkgtest -B --ignore-restrictions=isolation-container new.deb source/ -- null')


SYSV = r'''
set -eux
mount -t proc proc /proc; ip link set lo up 2>/dev/null || python3 /t/lo.py
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d
apt-get install -y --no-install-recommends /t/new.deb
rc() { code=0; "$@" || code=$?; echo; echo "$code"; }
ask() { python3 -c "
from pymemcache.client.base import Client
client = Client(('127.0.0.1', 22133))
$1"; }
[ "$(rc /etc/init.d/kestrel status | tail -1)" = 3 ]
/etc/init.d/kestrel start
/etc/init.d/kestrel status
[ "$(stat -c %U /run/kestrel/kestrel.pid)" = root ]
pid=$(cat /run/kestrel/kestrel.pid)
[ "$(stat -c %U /proc/$pid)" = kestrel ]
grep -q "^Gid:.$(id -g kestrel).$(id -g kestrel).$(id -g kestrel)" /proc/$pid/status
ask 'assert client.set("q", b"x", noreply=False)'
/etc/init.d/kestrel start           # runs already: fine
[ "$(cat /run/kestrel/kestrel.pid)" = "$pid" ]
/etc/init.d/kestrel reload
cp /etc/kestrel/kestrel.conf /t/good.conf
echo 'queue_pth = x' >>/etc/kestrel/kestrel.conf
[ "$(rc /etc/init.d/kestrel reload | tail -1)" = 1 ]
cp /t/good.conf /etc/kestrel/kestrel.conf
/etc/init.d/kestrel restart
kill -9 "$(cat /run/kestrel/kestrel.pid)"
for i in 1 2 3 4 5 6 7 8 9 10; do flock -n /run/kestrel/kestrel.pid true && break; sleep 0.2; done
[ "$(rc /etc/init.d/kestrel status | tail -1)" = 1 ]
sleep 1000 & stranger=$!
echo $stranger >/run/kestrel/kestrel.pid
/etc/init.d/kestrel stop            # does not run; and no stranger is killed
kill -0 $stranger; kill $stranger
/etc/init.d/kestrel start
ask 'assert client.get("q") == b"x"'
/etc/init.d/kestrel stop
/etc/init.d/kestrel stop
[ "$(rc /etc/init.d/kestrel status | tail -1)" = 3 ]
printf '[server]\nqueue_pth = x\n' >/etc/kestrel/kestrel.conf
[ "$(rc /etc/init.d/kestrel start | tail -1)" = 1 ]
cp /t/good.conf /etc/kestrel/kestrel.conf
apt-get purge -y kestrel

# the same under OpenRC
apt-get install -y --no-install-recommends /later/*.deb
mkdir -p /run/openrc; touch /run/openrc/softlevel       # as if it had booted
apt-get install -y --no-install-recommends /t/new.deb
rc-update show default | grep -w kestrel
[ "$(rc rc-service kestrel status | tail -1)" = 3 ]
rc-service kestrel start
rc-service kestrel status
ask 'assert client.set("q", b"x", noreply=False)'
rc-service kestrel reload
rc-service kestrel restart
ask 'assert client.get("q") == b"x"'
rc-service kestrel stop
[ "$(rc rc-service kestrel status | tail -1)" = 3 ]
apt-get purge -y kestrel
rc-update show | grep -w kestrel && exit 1
[ ! -e /etc/init.d/kestrel ]
'''
# A minimal system has no ip(8).
LOOPBACK_UP = r'''
import fcntl, socket, struct
with socket.socket() as sock:
    fcntl.ioctl(sock, 0x8914, struct.pack('16sh14x', b'lo', 1))     # SIOCSIFFLAGS, IFF_UP
'''


def sysv():
    with system_with_package() as system:
        (system / 't/lo.py').write_text(LOOPBACK_UP)
        (system / 't/sysv.sh').write_text(SYSV)
        said_by(run_in_chroot(system, 'sh', '/t/sysv.sh', stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True),
                'the init script')


def piuparts():
    path = bookworm()
    # not kestrel's: piuparts runs logrotate, and apt debconf
    others = ['--ignore=/var/lib/logrotate/status', '--ignore-regex=/var/cache/debconf/tmp.ci.*']
    run('piuparts', '--no-eatmydata', '--existing-chroot', path, '--distribution', 'bookworm', *others, DEB, cwd='/var/tmp')


def other_ways():
    ways.distributions()
    ways.pip_install()
    ways.make_install()
    ways.compose()
    with contextlib.ExitStack() as stack:
        def stage():
            system = stack.enter_context(overlay(root('plain', 'bookworm', ['ca-certificates'])))
            (system / 't').mkdir()
            (system / 't/lo.py').write_text(LOOPBACK_UP)
            return system

        def enter(system, *words):
            said_by(subprocess.run(['chroot', system, 'env', '-i', f'PATH={PATH}', 'DEBIAN_FRONTEND=noninteractive',
                                    *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True), f'Dockerfile: {words[-1]}')
        system, settings = ways.container(stage, enter)
        (system / 't/live.sh').write_text(ways.live(settings))
        said_by(run_in_chroot(system, 'sh', '/t/live.sh', stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True),
                'the container')


TRIXIE_TESTS = r'''
set -eu
mount -t proc proc /proc; python3 /t/lo.py
cp -r /t/source /srv/kestrel && cd /srv/kestrel
# with the unit tests, on what was compiled
DEB_BUILD_OPTIONS=parallel=2 debian/make-deb binary /srv/deb >/srv/log 2>&1 || { tail -n 200 /srv/log; exit 1; }

cd test/unit
KESTREL_LANE=debian-pure KESTREL_TREE=/srv/kestrel PYTHONPATH=/srv/kestrel:/srv/kestrel/test \
    PYTHONPYCACHEPREFIX=/srv/cache python3 -P -m nose2 -s . -t .

printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d
apt-get install -y --no-install-recommends /srv/deb/kestrel_*.deb
cd /
python3 -c 'import kestrel.item as item; assert item.__file__.endswith(".so"), item.__file__'
/etc/init.d/kestrel start
python3 -c '
from pymemcache.client.base import Client
client = Client(("127.0.0.1", 22133))
assert client.set("q", b"x", noreply=False)
assert client.get("q") == b"x"'
/etc/init.d/kestrel stop
apt-get purge -y kestrel
[ ! -e /var/spool/kestrel ]
'''


def trixie():
    with overlay(root('trixie', 'trixie', TRIXIE)) as system:
        shutil.copytree(CHECKOUT, system / 't/source', symlinks=True,
                        ignore=shutil.ignore_patterns('build', '.git', '*.deb', '__pycache__'))
        (system / 't/tests.sh').write_text(TRIXIE_TESTS)
        (system / 't/lo.py').write_text(LOOPBACK_UP)
        said_by(run_in_chroot(system, 'sh', '/t/tests.sh', stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True),
                'trixie')


def as_fast_as_make_run():
    run('make', '-C', CHECKOUT, 'build', env=CALLED_WITH)
    with system_with_package() as system, Booted(system) as machine:
        said_by(machine.run('sh', '-c', 'mount -o remount,rw / 2>/dev/null; apt-get install -y /t/new.deb',
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True), 'the installation')
        lines, met = service_speed.measure(machine, CALLED_WITH, int(os.environ.get('KESTREL_STARTS', service_speed.STARTS)))
    print(*lines, sep='\n', flush=True)
    if not met:
        raise Failed('the service is slower than make run, or the interval is too wide to tell')


STEPS = {'build': build, 'again': again, 'life': life, 'sysv': sysv, 'piuparts': piuparts,
         'ways': other_ways, 'trixie': trixie, 'speed': as_fast_as_make_run}

if __name__ == '__main__':
    main()
