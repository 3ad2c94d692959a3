"""``--daemon``: the server leaves the terminal, for people without a service manager (spec config 4)."""

import grp
import os
import pwd
import sys
from multiprocessing import Pipe

from kestrel.errors import StartError
from kestrel.pid_file import PidFile

READY = b'ready'


class Daemon:
    """A process that is detached from the terminal, and the one that waits until it is ready.

    pid_path     str
    user, group  names (str) to run as, or None: as who starts it; the group of ``user`` unless it is named
    umask        int

    Until ``ready`` standard error is still that of who started it, so that errors reach them.
    """

    def __init__(self, pid_path, user, group, umask):
        self.user = user
        self.uid, self.gid = _ids(user, group)
        self.umask = umask
        self.pid_file = PidFile(os.path.abspath(pid_path))
        self._pipe = None

    def detach(self):
        """Go on in a process of its own: -> None there.

        In the process that called it: -> its exit code, 0 once the other has called ``ready``, 1 if it ended
        before; it has said why. Raises StartError, with nothing done. Call it before there is a hub or a thread.
        """
        self.pid_file.take()
        waiting, self._pipe = Pipe(duplex=False)
        sys.stderr.flush()
        if os.fork():
            self._pipe.close()
            self.pid_file.leave()
            try:
                waiting.recv_bytes()
            except EOFError:
                sys.stderr.write('kestrel: the daemon ended before it was ready\n')
                return 1
            return 0
        waiting.close()
        context = self._context()
        self._change_user()
        context.open()
        self.pid_file.write(os.getpid())
        return None

    def _change_user(self):
        """Not left to python-daemon alone: where it sets the further groups, 2.3.2 leaves the first one as it was."""
        if os.geteuid() != 0:
            return      # it is that user already, see _ids
        if self.gid is not None:
            os.setgroups([])
            os.setgid(self.gid)
        if self.uid is not None:
            os.initgroups(self.user, self.gid)
            os.setuid(self.uid)

    def _context(self):
        from daemon import DaemonContext        # nobody else needs it
        return DaemonContext(
            detach_process=True, umask=self.umask, uid=self.uid, gid=self.gid,
            # relative paths count from where kestrel is started
            working_directory=os.getcwd(), stderr=sys.stderr,
            files_preserve=[self._pipe.fileno(), self.pid_file.descriptor],
            # its SIGTERM would end the process where the server stops in order
            signal_map={})

    def ready(self):
        """Let go of who started it."""
        from daemon.daemon import redirect_stream
        redirect_stream(sys.stderr, None)
        self._pipe.send_bytes(READY)
        self._pipe.close()

    def end(self):
        """The server has stopped, or could not start."""
        self.pid_file.remove()


def _ids(user, group):
    """-> (uid, gid), None where nothing is to be changed. Raises StartError."""
    uid = gid = None
    try:
        if user is not None:
            found = pwd.getpwnam(user)
            uid, gid = found.pw_uid, found.pw_gid
    except KeyError:
        raise StartError('--user %s: there is no such user: create it, or name another one' % user) from None
    try:
        if group is not None:
            gid = grp.getgrnam(group).gr_gid
    except KeyError:
        raise StartError('--group %s: there is no such group: create it, or name another one' % group) from None
    if os.geteuid() != 0 and (uid not in (None, os.geteuid()) or gid not in (None, os.getegid())):
        raise StartError('--user and --group need root: start kestrel as root, or as that user without them')
    return uid, gid
