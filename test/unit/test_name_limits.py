"""Names at each limit of D34, in each place where a name may stand: the configuration and every command."""

import os
import tempfile
import unittest

from kestrel import config
from kestrel.journal.names import current
from support.fakes import World

BAD = 'bad queue name'
LONG = 'queue name too long'

# Names as Latin-1 text that are good everywhere, at the limit and beside what is bad.
GOOD = [
    'q', 'q' * 236, '\u00e9' * 118, 'q' * 234 + '\u00e9', 'q' * 117 + '+' + 'q' * 118, 'a+b', 'a+b+c', 'a++',
    'a++b', 'ns:queue', '-', '_', '!$%&()*', 'noreply', 'None', 'a\u00a0b', '\u00ff', 'a\u0080',
]
# Bad everywhere where a queue would have to be. {what is wrong: (name, why)}
NEVER = {
    'a dot': ('a.b', BAD), 'a dot at the beginning': ('.a', BAD), 'a tilde': ('a~b', BAD), 'a slash': ('a/b', BAD),
    'NUL': ('a\0b', BAD), 'CR': ('a\rb', BAD), 'a plus alone': ('+', BAD), 'no parent': ('+x', BAD),
    'no child': ('a+', BAD), 'pluses alone': ('++', BAD),
    'a byte too long': ('q' * 237, LONG), 'a byte too long in UTF-8': ('q' * 235 + '\u00e9', LONG),
    'much too long': ('q' * 5000, LONG), 'a child too long': ('q' * 118 + '+' + 'q' * 118, LONG),
}
# Bad in the configuration, because they would forge lines of stats; the memcache port takes them (or cannot see them).
CONFIGURED = {
    'a space': 'a b', 'a space at the end': 'ab ', 'a tab': 'a\tb', 'a control character': 'a\x1fb', '0x01': '\x01',
    'DEL': 'a\x7fb', 'a character above U+00FF': 'a\u0100b', 'one far above': '\U0001f600',
}

NEEDED = [b'set %b 0 0 1\r\nx\r\n', b'set %b/sync 0 0 1\r\nx\r\n', b'get %b\r\n', b'gets %b\r\n',
          b'get %b/open\r\n', b'get %b/peek\r\n', b'get %b/t=0\r\n', b'get other %b\r\n',
          b'gets %b other\r\n', b'monitor %b 0\r\n']
# Where a slash begins an option.
WITH_OPTIONS = [b'get', b'gets']
# The queue need not be there, so any name will do, but for one with CR.
UNNEEDED = [b'delete %b\r\n', b'flush %b\r\n', b'flush_expired %b\r\n', b'confirm %b 1\r\n', b'get %b/close\r\n',
            b'get %b/abort\r\n', b'dump_stats %b\r\n', b'dump_config other %b\r\n']


class WireTest(unittest.TestCase):

    def setUp(self):
        self.world = World()
        self.addCleanup(self.world.hub.close)

    def ask(self, request, name):
        """-> (the reply, is the connection still open); whatever was created is gone again."""
        client = self.world.client()
        reply = client.ask(request % name.encode('latin-1'))
        found = reply, client.open
        for queue in self.world.collection.names():
            self.created = queue
            self.world.collection.delete(queue)
        return found

    def test_good_names(self):
        for name in GOOD:
            for request in NEEDED + UNNEEDED:
                reply, is_open = self.ask(request, name)
                with self.subTest(request=request, name=name):
                    self.assertTrue(is_open)
                    self.assertNotIn(b'CLIENT_ERROR', reply)
            self.ask(b'set %b 0 0 1\r\nx\r\n', name)
            self.assertEqual(self.created, name.encode('latin-1'))
            # as a file it fits with all that is ever put behind it
            self.assertLessEqual(len(current(self.created) + b'.1384870000000.pack'), 255)

    def test_names_that_no_queue_can_have(self):
        for what, (name, why) in NEVER.items():
            for request in NEEDED:
                if '/' in name and request.split()[0] in WITH_OPTIONS:
                    continue
                with self.subTest(what, request=request):
                    reply, is_open = self.ask(request, name)
                    # other keys of the same get have their answer; the error is the last line, and the only one
                    self.assertEqual(reply, f'CLIENT_ERROR {why}\r\n'.encode())
                    self.assertTrue(is_open)
        self.assertFalse(hasattr(self, 'created'))

    def test_the_empty_name(self):
        for request, reply, stays in ((b'set %b 0 0 1\r\nx\r\n', BAD, True), (b'set %b/sync 0 0 1\r\nx\r\n', BAD, True),
                                      (b'monitor %b 0\r\n', BAD, True),
                                      (b'get %b/open\r\n', 'queue name required', False),
                                      (b'get %b other\r\n', 'queue name required', False),
                                      (b'delete %b\r\n', 'queue name required', True)):
            with self.subTest(request):
                self.assertEqual(self.ask(request, ''), (f'CLIENT_ERROR {reply}\r\n'.encode(), stays))

    def test_where_the_queue_need_not_be_there(self):
        for what, (name, _) in NEVER.items():
            for request in UNNEEDED:
                if '/' in name and request.split()[0] in WITH_OPTIONS:
                    continue
                with self.subTest(what, request=request):
                    reply, is_open = self.ask(request, name)
                    self.assertTrue(is_open)
                    if '\r' in name:
                        self.assertEqual(reply, b'CLIENT_ERROR bad queue name\r\n')
                    else:
                        self.assertNotIn(b'CLIENT_ERROR', reply)

    def test_a_name_with_cr_is_bad_before_anything_else_is(self):
        self.world.services.writes_blocked = True
        for request in (b'set %b 0 0 1\r\nx\r\n', b'set %b/sync 0 0 1\r\nx\r\n', b'delete %b\r\n', b'flush %b\r\n'):
            with self.subTest(request):
                self.assertEqual(self.ask(request, 'a\rb'), (b'CLIENT_ERROR bad queue name\r\n', True))


class ConfiguredTest(unittest.TestCase):

    # a place for a name -> (its text, line, words of the place, where the name is found)
    PLACES = {
        'a queue': ('[queues]\n[["%s"]]\n', 2, lambda loaded: loaded.queues[0]),
        'an alias': ('[aliases]\n[["%s"]]\n', 2, lambda loaded: next(iter(loaded.aliases))),
        'a destination': ('[aliases]\n[[zzz]]\ndestination_queues = zz, "%s"\n', 3,
                          lambda loaded: loaded.aliases[b'zzz'][1]),
        'expire_to_queue': ('[queues]\n[[zzz]]\nexpire_to_queue = "%s"\n', 3,
                            lambda loaded: loaded.queue(b'zzz').expire_to_queue),
        'dead_letter_queue': ('[queues]\n[[zzz]]\ndead_letter_queue = "%s"\n', 3,
                              lambda loaded: loaded.queue(b'zzz').dead_letter_queue),
        'expire_to_queue of all': ('[default]\nexpire_to_queue = "%s"\n[queues]\n[["%s"]]\nexpire_to_queue = none\n', 2,
                                   lambda loaded: loaded.queue(b'zzz').expire_to_queue),
    }

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, 'kestrel.conf')

    def load(self, text):
        with open(self.path, 'wb') as file:
            file.write(text.encode())
        return config.load(self.path, {})

    def test_good_names(self):
        for place, (text, _, find) in self.PLACES.items():
            for name in GOOD:
                with self.subTest(place, name=name):
                    self.assertEqual(find(self.load(text.replace('%s', name))), name.encode('latin-1'))

    def test_bad_names(self):
        cases = {**NEVER, **{what: (name, BAD) for what, name in CONFIGURED.items()}}
        for place, (text, line, _) in self.PLACES.items():
            for what, (name, why) in cases.items():
                with self.subTest(place, what=what), self.assertRaises(config.ConfigError) as caught:
                    self.load(text.replace('%s', name))
                message = str(caught.exception)
                self.assertTrue(message.startswith(f'{self.path}: line {line}: ['), message)
                self.assertTrue(message.isprintable())
                if what not in ('NUL', 'CR', 'a tab', 'a control character', '0x01', 'DEL'):
                    # of those the value as a whole is refused, before anybody looks at it as a name
                    self.assertIn(why, message)

    def test_the_empty_name(self):
        for place, (text, line, _) in self.PLACES.items():
            with self.subTest(place), self.assertRaises(config.ConfigError) as caught:
                self.load(text.replace('%s', '', 1).replace('%s', 'other'))
            self.assertTrue(str(caught.exception).startswith(f'{self.path}: line {line}: '), caught.exception)


if __name__ == '__main__':
    unittest.main()
