"""Long work in steps: what takes time runs in a thread, what touches the queue runs on the hub between the steps."""


class Job:
    """Runs a generator. What it yields is a callable, called in a thread, whose result or exception comes back to it,
    or a number of seconds to wait. Between two yields it is on the hub and nothing else runs.

    hub    hub.Hub
    work   has ``steps()``, the generator, ``cancelled``, which its threads look at, and ``only_reads``: it takes long, and
           nobody waits for it
    ended  called on the hub with None, or with the exception that ended the steps
    """

    def __init__(self, hub, work, ended):
        self.work = work
        self._hub = hub
        self._steps = work.steps()
        self._ended = ended
        self._stepping = False

    def start(self):
        """Run it to its first pause; ``ended`` may be called before this returns."""
        self._go(None, None)

    def cancel(self):
        """End it after the step that is running; the generator is closed then, and ``ended`` not called.

        -> true if a thread is still at it.
        """
        self.work.cancelled = True
        if not self._stepping:
            self._steps.close()
        return self._stepping

    def _go(self, result, error):
        self._stepping = False
        if self.work.cancelled:
            self._steps.close()
            return
        try:
            step = self._steps.send(result) if error is None else self._steps.throw(error)
            self._begin(step)
        except StopIteration:
            self._ended(None)
        except Exception as failure:
            # A full disk, a file that vanished, a thread that cannot be had: whoever began the job decides.
            self._ended(failure)

    def _begin(self, step):
        while True:
            try:
                if callable(step):
                    run = self._hub.run_reading if self.work.only_reads else self._hub.run_job
                    run(step, self._go)
                    self._stepping = True
                else:
                    self._hub.call_later(step, self._go, None, None)
                return
            except RuntimeError as error:
                step = self._steps.throw(error)
