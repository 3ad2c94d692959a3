"""Questions to many hosts at once, in a time that does not depend on the worst of them."""

import queue
import threading

AT_A_TIME = 64
LATE = TimeoutError('no answer in time')


def ask_all(things, ask, seconds, clock):
    """Yield (thing, ``ask(thing)`` or the exception that it raised), each once, in the order of ``things``.

    Each comes as soon as it and those before it are known. ``seconds``: how long one may take before LATE stands for
    its answer; nobody waits for it then, not even the end of the process. There are as many threads as things, but
    at most AT_A_TIME.
    """
    todo, answers = queue.SimpleQueue(), {thing: queue.SimpleQueue() for thing in things}
    for thing in answers:
        todo.put(thing)

    def work():
        while True:
            try:
                thing = todo.get_nowait()
            except queue.Empty:
                return
            try:
                answers[thing].put(ask(thing))
            except Exception as error:      # handed to the caller, who knows which there may be
                answers[thing].put(error)

    rounds = -(-len(answers) // AT_A_TIME)
    end = clock.monotonic() + seconds * rounds
    for _ in range(min(len(answers), AT_A_TIME)):
        threading.Thread(target=work, daemon=True).start()
    for thing, answer in answers.items():
        try:
            yield thing, answer.get(timeout=max(end - clock.monotonic(), 0))
        except queue.Empty:
            yield thing, LATE
