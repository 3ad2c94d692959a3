"""Time and waiting for the model of the queues (``model``): what happens when, who goes on in which order."""

from support.model_parts import Wait


class Lines:
    """``timers`` [(when, turn, function, arguments)], ``lines`` {name: [Wait]}, ``ready`` clients that may look again.

    Times are ms: ``now`` never goes back, ``wall`` may.
    """

    def at(self, when, function, *arguments):
        self.timers.append((when, next(self.turns), function, arguments))

    def advance(self, ms):
        end = self.now + ms
        while True:
            due = min((timer for timer in self.timers if timer[0] <= end), default=None)
            if due is None:
                break
            self.timers.remove(due)
            self.move_to(due[0])
            due[2](*due[3])
            self.settle()
        self.move_to(end)

    def move_to(self, when):
        self.wall += when - self.now
        self.now = when

    def run(self, client, task):
        client.task = task
        self.go_on(client)
        self.settle()

    def settle(self):
        while self.ready:
            self.go_on(self.ready.pop(0))

    def go_on(self, client):
        if client.open and next(client.task, 'done') == 'done':
            client.task = None
            if client.closing or client.leaving:
                self.disconnect(client)

    def stand_in_line(self, client, name, deadline):
        wait = client.wait = Wait(client, name)
        self.lines.setdefault(name, []).append(wait)
        self.at(deadline, self.time_is_over, wait)
        return wait

    def leave_line(self, wait):
        """-> false if it has left before."""
        line = self.lines.get(wait.name, [])
        if wait not in line:
            return False
        line.remove(wait)
        if not line:
            del self.lines[wait.name]
        return True

    def time_is_over(self, wait):
        if self.leave_line(wait):
            self.go_on(wait.client)

    def wake(self, name, count=1):
        for wait in self.lines.get(name, [])[:count]:
            self.leave_line(wait)
            wait.woken = True
            self.ready.append(wait.client)

    def dismiss(self, name):
        for wait in self.lines.pop(name, []):
            self.ready.append(wait.client)
