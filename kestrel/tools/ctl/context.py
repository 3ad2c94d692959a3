"""What every command of kestrelctl is given."""

from kestrel.tools.ctl.admin_port import AdminPort
from kestrel.tools.ctl.failures import Failed, WrongUse
from kestrel.tools.ctl.wire import Wire, server_stats


class Context:
    """One server, the screen and the clock.

    options  of the command line: host, port, admin_port, timeout (seconds), yes
    """

    def __init__(self, options, screen, clock):
        self.options = options
        self.screen = screen
        self.clock = clock
        self._wires = []

    def wire(self, host=None, port=None):
        """-> a new connection to the memcache port, of this server if no other is named."""
        wire = Wire(host or self.options.host, port or self.options.port, self.options.timeout)
        self._wires.append(wire)
        return wire

    def admin(self):
        return AdminPort(self.options.host, self.options.admin_port, self.options.timeout)

    def api(self):
        """-> AdminPort of the very server that has the memcache port. NoServer if it has none that is new enough."""
        admin = self.admin()
        overview = admin.get('/api/overview')
        wire = self.wire()
        if str(overview.get('pid')) != server_stats(wire).get('pid'):
            raise WrongUse('%s is the admin port of another server than %s: say --admin-port' % (
                admin.where, wire.where))
        return admin

    def close(self):
        """Close all connections: what they hold open goes back."""
        for wire in self._wires:
            wire.close()

    def confirm(self, what):
        """What cannot be undone: go on only if somebody, or ``--yes``, says so."""
        if self.options.yes:
            return
        answer = self.screen.sure(what + '?')
        if answer is None:
            raise WrongUse('%s? There is no terminal to ask on: say --yes' % what)
        if not answer:
            raise Failed('not done')
