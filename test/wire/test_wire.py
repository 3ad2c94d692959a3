"""The cases of *.wire, each against a real server in all ways in which its bytes can arrive (see README.md).

One class per file, one test per mode. In the environment ``WIRE_CASE`` chooses cases by a part of their title
and ``WIRE_SEED`` repeats the random cuts of a failed run.
"""

import concurrent.futures
import os
import pathlib
import random
import unittest

import wire_case
import wire_player
from support.server import Server

HERE = pathlib.Path(__file__).resolve().parent

AT_ONCE = 16  # plays; most of their time they wait
SERVERS_AT_ONCE = 3

CHOSEN = os.environ.get('WIRE_CASE', '')

# In the long form split3 cuts another way in each run.
SEED = os.environ.get('WIRE_SEED') or (
    str(random.SystemRandom().randrange(10 ** 6)) if os.environ.get('KESTREL_LONG') == '1' else '3')


def queue_name(path, case, mode):
    """What {q} stands for: a name of letters and digits that no other case, mode or file uses."""
    return f'{path.stem}{case.line}{mode}'.replace('_', '')


def seed_of(mode):
    return SEED if mode == 'split3' else '0'


class WireTest:
    """What the classes have in common; ``cases`` is a CaseFile."""

    cases = None

    @classmethod
    def setUpClass(cls):
        plays = [(case, mode) for case in cls.cases.cases if CHOSEN in case.title for mode in case.modes]
        if cls.cases.own_servers or not plays:
            cls.failures = cls._play_all(plays, SERVERS_AT_ONCE, cls._play_on_own_server)
        else:
            with cls._server(plays) as server:
                cls.failures = cls._play_all(plays, 1 if cls.cases.serial else AT_ONCE,
                                             lambda *play: cls._play(server, *play))

    @classmethod
    def _server(cls, plays):
        return Server(cls._config(plays), protocols={cls.cases.protocol, *cls.cases.others.values()} - {'memcache'})

    @classmethod
    def _config(cls, plays):
        """The configuration of the file, with a section for each queue and alias that a play configures."""
        config = {section: dict(settings) for section, settings in cls.cases.config.items()}
        config['queues'], config['aliases'] = {}, {}
        for case, mode in plays:
            def expanded(text, name=queue_name(cls.cases.path, case, mode)):
                return wire_case.expand(text, name).decode('latin-1')
            config['queues'].update({expanded(queue): settings for queue, settings in case.queues.items()})
            config['aliases'].update({expanded(alias): {'destination_queues': expanded(queues)}
                                      for alias, queues in case.aliases.items()})
        return config

    @classmethod
    def _play_all(cls, plays, at_once, play):
        """Run play(case, mode) for all; the failures as a dict mode -> list of texts."""
        failures = {}
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            for (case, mode), text in zip(plays, pool.map(lambda words: play(*words), plays)):
                if text:
                    where = f'{cls.cases.path.name}:{case.line}: {case.title}'
                    failures.setdefault(mode, []).append(f'{where}\n  seed {SEED}, {text}')
        return failures

    @classmethod
    def _play_on_own_server(cls, case, mode):
        with cls._server([(case, mode)]) as server:
            return cls._play(server, case, mode)

    @classmethod
    def _play(cls, server, case, mode):
        """None, or what went wrong."""
        queue = queue_name(cls.cases.path, case, mode)
        try:
            wire_player.Play(case, mode, server, queue, seed_of(mode), cls.cases.protocol_of).run()
        except (wire_player.Mismatch, AssertionError) as mismatch:
            return str(mismatch)
        return None

    def report(self, mode):
        failures = self.failures.get(mode, [])
        if failures:
            self.fail(f'{len(failures)} cases failed\n' + '\n'.join(failures))


def _test_of(mode):
    def test(self):
        self.report(mode)
    test.__doc__ = f'mode {mode}'
    return test


def _test_class(path):
    cases = wire_case.read(path)
    name = path.stem.title().replace('_', '') + 'Wire'
    tests = {f'test_{mode}': _test_of(mode) for mode in cases.modes}
    return type(name, (WireTest, unittest.TestCase), {'cases': cases, '__module__': __name__, **tests})


for _path in sorted(HERE.glob('*.wire')):
    _class = _test_class(_path)
    globals()[_class.__name__] = _class
del _class

if __name__ == '__main__':
    unittest.main()
