"""Build kestrel; every module with a .pxd beside it is compiled where Cython and a C compiler are there.

``python setup.py build --build-base=B --build-lib=L`` makes a whole tree in L: all .py, and beside those with
a .pxd a .so, which Python prefers. Without Cython or a compiler L is a pure Python tree that does the same,
and one line says why. An error in a module that should compile is an error, never a reason to go without it.
"""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sysconfig
import zlib
from fnmatch import fnmatch

from setuptools import Extension, find_packages, setup
from setuptools.command.build_py import build_py

try:
    from Cython import __version__ as CYTHON
    from Cython.Build import cythonize
except ImportError:
    CYTHON = None

# Compiled and pure Python must do the same, so nothing here changes what a line means: no bounds checks are
# left out, division is Python's. Cython 0.29 and 3 are made alike: annotations declare no types (the .pxd
# does), and a method of one argument may be called by keyword.
DIRECTIVES = {
    'language_level': 3,
    'annotation_typing': False,
    'always_allow_keywords': True,
    # Methods that bind like Python's functions cost two tuples a call under Cython 0.29, 4 % of a get's instructions, and
    # 300 KB of the package
    'binding': False,
    # nothing is pickled, and what could would be a sixth of a module
    'auto_pickle': False,
}


# Measured: -O3 is not faster than -O2, -Os is slower; without debugging information compiling takes two thirds of the
# time. The lines of C that tracebacks would name are nowhere to be seen.
COMPILE_ARGUMENTS = ['-O2', '-g0', '-DCYTHON_CLINE_IN_TRACEBACK=0']


# Compiled for size, a quarter less: what no request of the memcache port runs through, what reads items back from the disk,
# and two modules of which a request needs a few lines. All modules with -Os: pipelined puts cost a fifth more user time.
SMALL = ('kestrel/load/*.py', 'kestrel/*/thrift.py', 'kestrel/*/text.py', 'kestrel/admin/*.py', 'kestrel/access.py',
         'kestrel/append_file.py', 'kestrel/batches.py', 'kestrel/compactor.py', 'kestrel/queue_collection.py',
         'kestrel/queue_items.py', 'kestrel/read_ids.py', 'kestrel/reads.py', 'kestrel/services.py',
         'kestrel/journal/compaction.py', 'kestrel/journal/read_behind.py', 'kestrel/journal/series.py')


def version():
    """Read, not imported: what kestrel imports need not be installed yet."""
    text = pathlib.Path('kestrel/__init__.py').read_text()
    return re.search(r"^__version__ = '([^']+)'$", text, re.MULTILINE).group(1)


def typed_modules():
    """Paths of the modules to compile, for example ``kestrel/item.py``: those with a .pxd beside them."""
    return sorted(str(path) for path in pathlib.Path('kestrel').glob('**/*.py')
                  if path.with_suffix('.pxd').exists())


def why_not_compiled():
    """What is missing for compiling and how to install it, or None."""
    if CYTHON is None:
        return 'Cython is not installed; apt install cython3, or pip install Cython'
    compiler = shlex.split(os.environ.get('CC') or sysconfig.get_config_var('CC') or 'cc')[0]
    if shutil.which(compiler) is None:
        return f'there is no C compiler ({compiler}); apt install gcc libc6-dev python3-dev'
    if not pathlib.Path(sysconfig.get_path('include'), 'Python.h').exists():
        return 'the headers of Python are not installed; apt install libc6-dev python3-dev'
    preprocess = [compiler, '-E', '-x', 'c', '-']
    if subprocess.run(preprocess, input=b'#include <stdlib.h>\n', capture_output=True).returncode != 0:
        return 'the headers of C are not installed; apt install libc6-dev'
    return None


def extensions():
    """The extension modules, their .c files under build/; none, and a line, if they cannot be compiled."""
    why = why_not_compiled()
    if why:
        print(f'kestrel: pure Python only: {why}', flush=True)
        return []
    modules = [Extension(path[:-len('.py')].replace('/', '.'), [path],
                         extra_compile_args=COMPILE_ARGUMENTS + ['-Os'] * any(fnmatch(path, small) for small in SMALL))
               for path in typed_modules()]
    # An older .c file may have been made with other directives, or with another .pxd of a module it calls:
    # Cython does not see the first and 0.29 not the second, so the sum of both is in the folder's name.
    declarations = [path.read_text() for path in sorted(pathlib.Path('kestrel').glob('**/*.pxd'))]
    made_with = repr(DIRECTIVES) + ''.join(declarations)
    c_files = f'build/cython-{CYTHON}-{zlib.crc32(made_with.encode()):08x}'
    return cythonize(modules, build_dir=c_files, compiler_directives=DIRECTIVES, quiet=True)


class build_py_alone(build_py):
    """build_py that leaves nothing in the tree of what the sources no longer have."""

    def run(self):
        self.remove_leftovers(pathlib.Path(self.build_lib, 'kestrel'))
        super().run()

    def remove_leftovers(self, tree):
        build_ext = self.get_finalized_command('build_ext')
        outputs = {pathlib.Path(path) for path in self.get_outputs(include_bytecode=False)}
        outputs |= {pathlib.Path(self.build_lib, build_ext.get_ext_filename(module.name))
                    for module in self.distribution.ext_modules or ()}
        for path in tree.glob('**/*'):
            if path.suffix in ('.py', '.so') and path not in outputs:
                path.unlink()


setup(
    name='kestrel',
    version=version(),
    description="Message queue server that takes the place of Twitter's Kestrel 2.4",
    long_description=pathlib.Path('README.md').read_text() if pathlib.Path('README.md').exists() else '',
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.11',
    packages=find_packages(include=['kestrel', 'kestrel.*']),
    package_data={'kestrel': ['*.configspec', '*.thrift'], 'kestrel.admin': ['assets/*']},
    install_requires=['gevent>=22.10', 'configobj>=5.0.8', 'python-daemon>=2.3', 'setproctitle>=1.3',
                      'thrift>=0.17'],
    extras_require={'tools': ['dpkt>=1.9.8', 'rich>=13'], 'zookeeper': ['kazoo>=2.8']},
    entry_points={'console_scripts': [
        'kestrel = kestrel.main:main', 'kestrelctl = kestrel.tools.ctl.main:main',
        'qdump = kestrel.tools.qdump:main', 'qpack = kestrel.tools.qpack:main',
        'kestrel-fsck = kestrel.tools.fsck:main', 'ksniff = kestrel.tools.sniff.command:main',
        'kcluster = kestrel.tools.cluster.command:main', 'kestrel-migrate = kestrel.tools.migrate.main:main',
        'kestrel-put-many = kestrel.load.put_many:main', 'kestrel-many-clients = kestrel.load.many_clients:main',
        'kestrel-flood = kestrel.load.flood:main', 'kestrel-packing = kestrel.load.packing:main',
        'kestrel-leaky-reader = kestrel.load.leaky_reader:main']},
    ext_modules=extensions(),
    cmdclass={'build_py': build_py_alone},
    zip_safe=False,
)
