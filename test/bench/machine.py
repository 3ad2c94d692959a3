"""What was measured, where, and with which versions: kept with the figures."""
import os
import platform
import subprocess

from load import compiler


def first_line(command, cwd=None):
    """First line that a command prints, or None if it cannot be run."""
    try:
        done = subprocess.run(command, cwd=cwd, text=True, capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.splitlines()
    return lines[0] if done.returncode == 0 and lines else None


def processor():
    with open('/proc/cpuinfo') as lines:
        names = (line.partition(':')[2].strip() for line in lines if line.startswith('model name'))
        return next(names, 'unknown')


def memory_bytes():
    return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')


def describe_machine():
    return {'processor': processor(), 'processors': os.cpu_count(), 'memory_bytes': memory_bytes(),
            'kernel': platform.release(), 'system': platform.platform(), 'load_before': os.getloadavg()}


def python_versions(python):
    code = ('import platform, gevent, greenlet, configobj; '
            'print(platform.python_version(), gevent.__version__, greenlet.__version__, '
            'configobj.__version__)')
    found = first_line([python, '-c', code])
    names = ('python', 'gevent', 'greenlet', 'configobj')
    return dict(zip(names, found.split())) if found else None


def describe_versions(python):
    return {'libraries': python_versions(python), 'memcached': first_line(['memcached', '--version']),
            'redis': first_line(['redis-server', '--version']),
            'beanstalkd': first_line(['beanstalkd', '-v']),
            'compiler': first_line([*compiler(), '--version'])}


def git_state(folder):
    """Commit of a checkout and whether files differ from it; None outside of one."""
    commit = first_line(['git', 'rev-parse', 'HEAD'], cwd=folder)
    if commit is None:
        return None
    return {'commit': commit, 'changed': first_line(['git', 'status', '--porcelain'], cwd=folder) is not None}
