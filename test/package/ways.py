"""The other ways to install: sdist, wheel, make install, and the container without a container engine."""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import tarfile
import tempfile
import zipfile

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent
PYTHON = '/usr/bin/python3'
# The pure Python parts are enough here; what is compiled is tested with the Debian package.
PURE = {**os.environ, 'CC': 'no-compiler'}


class Wrong(Exception):
    """str() says what."""


def run(*words, **options):
    ended = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                           **options)
    if ended.returncode:
        raise Wrong(f'{" ".join(map(str, words))}: exit code {ended.returncode}\n{ended.stdout[-5000:]}')
    return ended.stdout


def sources(folder):
    """A copy of the sources: building leaves something beside them."""
    copy = pathlib.Path(folder) / 'source'
    shutil.copytree(CHECKOUT, copy, symlinks=True, ignore=shutil.ignore_patterns(
        'build', 'dist', '.git', '*.deb', '__pycache__', '*.egg-info', '.pybuild'))
    return copy


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob('*') if not path.is_dir() or path.is_symlink()}


def compare(found, wanted, what):
    if found != wanted:
        raise Wrong(f'{what}: missing {sorted(wanted - found)}, too much {sorted(found - wanted)}')


def check_runs(*command, **options):
    said = run(*command, '--version', **options)
    if not re.fullmatch(r'kestrel \d+\.\d+\.\d+\n', said):
        raise Wrong(f'{command}: {said}')


def distributions():
    """sdist and wheel contain what they must and nothing else, and the wheel made of the sdist runs."""
    with tempfile.TemporaryDirectory() as folder:
        source = sources(folder)
        before = files(source)
        run(PYTHON, 'setup.py', '-q', 'sdist', cwd=source, env=PURE)
        archive, = (source / 'dist').glob('*.tar.gz')
        with tarfile.open(archive) as tar:
            tar.extractall(folder)
        unpacked = pathlib.Path(folder, archive.name.removesuffix('.tar.gz'))
        made = {name for name in files(unpacked) if name.startswith('kestrel.egg-info/')} | {'PKG-INFO', 'setup.cfg'}
        # links in debian/ come as the files they name
        compare(files(unpacked) - made, before, 'sdist')

        run(PYTHON, 'setup.py', '-q', 'bdist_wheel', cwd=unpacked, env=PURE)
        wheel, = (unpacked / 'dist').glob('*.whl')
        installed = pathlib.Path(folder, 'installed')
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(installed)
        wanted = {name for name in before if re.fullmatch(r'kestrel/.*\.(py|configspec|thrift|html|css|js|svg)', name)}
        compare({name for name in files(installed) if '.dist-info/' not in name}, wanted, 'wheel')
        check_runs(PYTHON, '-P', '-m', 'kestrel', env={**os.environ, 'PYTHONPATH': str(installed)}, cwd='/')


def make_install():
    """make install DESTDIR= prefix=: every file below both, and the commands run."""
    with tempfile.TemporaryDirectory() as folder:
        source = sources(folder)
        command = ['make', '-C', source, 'install', f'DESTDIR={folder}/image', 'prefix=/opt/kestrel', f'PYTHON={PYTHON}']
        run(*command, env=PURE)
        image = pathlib.Path(folder, 'image')
        found = files(image)
        for name in ('etc/kestrel/kestrel.conf', 'opt/kestrel/bin/kestrel', 'opt/kestrel/bin/qdump',
                     'opt/kestrel/share/man/man5/kestrel.conf.5', 'opt/kestrel/lib/systemd/system/kestrel@.service',
                     'opt/kestrel/lib/kestrel/kestrel/kestrel.configspec'):
            if name not in found:
                raise Wrong(f'make install: {name} is missing')
        strange = [name for name in found if not name.startswith(('etc/kestrel/', 'opt/kestrel/'))]
        unit = (image / 'opt/kestrel/lib/systemd/system/kestrel.service').read_text()
        if strange or 'ExecStart=/opt/kestrel/bin/kestrel ' not in unit:
            raise Wrong(f'make install: {strange}\n{unit}')
        # where it is going to be, for the time of a look: the paths in the commands are those
        script = (image / 'opt/kestrel/bin/kestrel').read_text()
        (image / 'try').write_text(script.replace('/opt/kestrel', f'{image}/opt/kestrel'))
        check_runs(PYTHON, '-P', image / 'try', cwd='/')
        conf = image / 'etc/kestrel/kestrel.conf'
        conf.write_text('# mine\n')
        run(*command, env=PURE)
        if conf.read_text() != '# mine\n':
            raise Wrong('make install wrote over a configuration')


def instructions(text):
    """The (word, rest) of a Dockerfile, lines joined."""
    text = re.sub(r'\\\n', ' ', re.sub(r'^#.*\n', '', text, flags=re.MULTILINE))
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def container(stage, enter):
    """Do the Dockerfile: ``stage()`` -> the path of an empty Debian system, ``enter(system, *words)`` runs a command in
    it. -> (path of the last system, {word: rest} of its last instructions)."""
    stages, system, settings = {}, None, {}
    for word, rest in instructions((CHECKOUT / 'Dockerfile').read_text()):
        if word == 'FROM':
            image, *name = rest.split(' AS ')
            if image != 'debian:bookworm-slim':
                raise Wrong(f'FROM {image}: the test has a bookworm only')
            system, settings = stage(), {}
            if name:
                stages[name[0]] = system
        elif word == 'RUN':
            enter(system, 'sh', '-c', rest)
        elif word == 'COPY':
            source, target = rest.split()[-2:]
            origin = re.match(r'--from=(\w+) ', rest)
            base = stages[origin[1]] if origin else CHECKOUT
            copy(base / source.lstrip('/'), system / target.lstrip('/'))
        else:
            settings[word] = rest
    return system, settings


def copy(source, target):
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns(
            'build', 'dist', '.git', '*.deb', '__pycache__') if source == CHECKOUT else None)
    else:
        shutil.copy(source, target)


# Start as the container does, ask as the health check does, stop as it stops.
LIVE = r'''
set -eu
python3 /t/lo.py
setpriv --reuid={user} --regid={user} --clear-groups env -i PATH=/usr/bin:/bin {command} & server=$!
for i in $(seq 100); do {check} 2>/dev/null && break; sleep 0.1; done
{check}
[ "$(stat -c %U /proc/$server)" = {user} ]
kill -TERM $server
wait $server
'''


def live(settings):
    """The script for a system that the Dockerfile made."""
    check = re.search(r'CMD (\[.*\])', settings['HEALTHCHECK'])[1]
    if settings['STOPSIGNAL'] != 'SIGTERM':
        raise Wrong('STOPSIGNAL')
    words = [*eval(settings['ENTRYPOINT']), *eval(settings['CMD'])]
    return LIVE.format(user=settings['USER'], command=shlex.join(words), check=shlex.join(eval(check)))
