"""The log: levels, files, rolling, formats (spec config 4, [logging])."""

import datetime
import io
import json
import logging
import os
import tempfile
import types
import unittest

from kestrel import log, shown
from kestrel.errors import StartError

# 2026-01-31 23:30:00 in whatever the machine's time zone is, and an hour later: another day as well.
LATE = 1769902200
HOUR = 3600

# time level logger: message
LINE = r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d %s %s: %s\n$'


def settings(level='INFO', filename=None, roll='never', format='text'):
    return types.SimpleNamespace(level=level, filename=filename, roll=roll, format=format)


class LogTestCase(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.path = os.path.join(folder.name, 'kestrel.log')
        self.stderr = io.StringIO()

    def begin(self, suffix='', **more):
        handle = log.setup(settings(**more), self.stderr, f'.test{suffix}')
        self.addCleanup(handle.close)
        return handle

    def written(self, name='kestrel.log'):
        with open(os.path.join(self.folder, name), encoding='utf-8') as file:
            return file.read()

    def messages(self, name='kestrel.log'):
        return [line.partition('kestrel.test: ')[2] for line in self.written(name).splitlines()]

    def at(self, handle, seconds, message):
        """Logs a record that was made at the given time."""
        record = handle.logger.makeRecord(handle.logger.name, logging.INFO, __file__, 0, message, (), None)
        record.created = seconds
        handle.logger.handle(record)


class LevelTest(LogTestCase):

    def test_each_level_lets_itself_and_what_is_worse_through(self):
        levels = ['ALL', 'TRACE', 'DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL', 'FATAL', 'OFF']
        handle = self.begin()
        for place, level in enumerate(levels):
            self.stderr.truncate(0)
            handle.apply(settings(level=level))
            for number in (log.TRACE, 10, 20, 30, 40, 50, log.FATAL):
                handle.logger.log(number, 'x')
            shown = [line.split(' ')[1] for line in self.stderr.getvalue().replace('\0', '').splitlines()]
            self.assertEqual(shown, levels[max(place, 1):-1], level)

    def test_line(self):
        handle = self.begin()
        handle.logger.info('%d queues', 3)
        self.assertRegex(self.stderr.getvalue(), LINE % ('INFO', r'kestrel\.test', '3 queues'))

    def test_parts_of_the_server(self):
        handle = self.begin(level='DEBUG')
        handle.logger.getChild('journal').debug('x')
        self.assertRegex(self.stderr.getvalue(), LINE % ('DEBUG', r'kestrel\.test\.journal', 'x'))

    def test_nobody_else_gets_the_records(self):
        handle, root = self.begin(), logging.getLogger()
        theirs = logging.StreamHandler(io.StringIO())
        root.addHandler(theirs)
        self.addCleanup(root.removeHandler, theirs)
        handle.logger.error('x')
        self.assertEqual(theirs.stream.getvalue(), '')

    def test_two_servers(self):
        one, two = self.begin('1'), self.begin('2', filename=self.path)
        one.logger.info('first')
        two.logger.info('second')
        self.assertIn('first', self.stderr.getvalue())
        self.assertNotIn('second', self.stderr.getvalue())
        self.assertIn('second', self.written())
        self.assertNotIn('first', self.written())

    def test_close(self):
        handle = self.begin(filename=self.path)
        handle.close()
        self.assertEqual(handle.logger.handlers, [])
        self.assertFalse(self.stderr.closed)


class FormatTest(LogTestCase):

    def test_foreign_text_forges_nothing(self):
        handle = self.begin()
        handle.logger.info('queue %s', 'a\nb\r\x1b[2J\x00\t\x7f\x9b\u2028\u2029\x85é')
        self.assertRegex(self.stderr.getvalue(), LINE % (
            'INFO', r'kestrel\.test', r'queue a\\nb\\r\\x1b\[2J\\x00\\t\\x7f\\x9b\\u2028\\u2029\\x85é'))

    def test_the_address_of_a_client(self):
        self.assertEqual(log.peer(('127.0.0.1', 40312)), '127.0.0.1:40312')
        self.assertEqual(log.peer(('::1', 40312, 0, 0)), '[::1]:40312')

    def test_traceback(self):
        handle = self.begin()
        try:
            raise ValueError('one\n2026-01-01T00:00:00.000+00:00 INFO kestrel: forged')
        except ValueError:
            handle.logger.exception('failed')
        lines = self.stderr.getvalue().splitlines()
        self.assertRegex(lines[0], 'ERROR kestrel.test: failed$')
        self.assertGreater(len(lines), 3)
        self.assertEqual([line for line in lines[1:] if not line.startswith('    ')], [])

    def test_json(self):
        handle = self.begin(format='json')
        handle.logger.warning('queue %s', 'a\n"é"')
        try:
            raise ValueError('why')
        except ValueError:
            handle.logger.exception('failed')
        first, second = (json.loads(line) for line in self.stderr.getvalue().splitlines())
        self.assertRegex(first.pop('time'), r'^\d{4}-\d\d-\d\dT.*[+-]\d\d:\d\d$')
        self.assertEqual(first, {'level': 'WARNING', 'logger': 'kestrel.test', 'message': 'queue a\n"é"'})
        self.assertRegex(second['exception'], r'(?s)^Traceback.*ValueError: why$')

    def test_the_queue_that_a_line_is_about(self):
        handle = self.begin(format='json')
        handle.logger.warning('queue %s: %d items', shown.shown_queue(b'caf\xe9"\n\x1b'), 3)
        handle.logger.warning('%d bytes of %s, %s', 3, shown.shown_path(b'/spool/caf\xc3\xa9.123.pack'),
                              shown.shown_queue(b'other'))
        handle.logger.error('request failed: %s', shown.shown_request([b'get', b'q/open'], {b'q': 1}))
        handle.logger.error('request failed: %s', shown.shown_request([b'status', b'up'], {b'q': 1}))
        handle.logger.error('request failed: %s', shown.shown_request(None, {b'q': 1}))
        handle.logger.warning('%s is a stray file', shown.shown_path(b'/spool/q.bak'))
        handle.logger.warning('no arguments')
        lines = [json.loads(line) for line in self.stderr.getvalue().splitlines()]
        self.assertEqual([line.get('queue', None) for line in lines], ['caf\xe9"\n\x1b', 'caf\xe9', 'q', None, None, None, None])
        self.assertEqual(lines[1]['message'], '3 bytes of /spool/caf\xe9.123.pack, other')
        self.assertEqual(lines[2]['message'], "request failed: [b'get', b'q/open']")

    def test_text_that_is_no_unicode(self):
        handle = self.begin(filename=self.path)
        handle.logger.info(b'\xff'.decode('utf-8', 'surrogateescape'))
        self.assertEqual(self.messages(), ['\\udcff'])


class FileTest(LogTestCase):

    def test_appends(self):
        with open(self.path, 'w') as file:
            file.write('before\n')
        self.begin(filename=self.path).logger.info('after')
        self.assertRegex(self.written(), r'^before\n.*after\n$')
        self.assertEqual(self.stderr.getvalue(), '')

    def test_that_cannot_be_opened(self):
        for path, why in ((os.path.join(self.folder, 'no', 'log'), 'No such file or directory'),
                          (self.folder, 'Is a directory')):
            for roll in ('never', 'sighup', 'hourly', 'daily'):
                with self.subTest(why=why, roll=roll), self.assertRaises(StartError) as caught:
                    self.begin(filename=path, roll=roll)
                self.assertEqual(
                    str(caught.exception),
                    f'cannot open the log file {path}: {why}; make its directory and let the user that'
                    ' kestrel runs as write there, or write filename = none in [logging] for standard error')

    def test_apply(self):
        handle = self.begin()
        handle.apply(settings(filename=self.path, level='DEBUG', format='json'))
        handle.logger.debug('to the file')
        self.assertEqual(json.loads(self.written())['message'], 'to the file')
        handle.apply(settings())
        handle.logger.debug('nowhere')
        handle.logger.info('back')
        self.assertRegex(self.stderr.getvalue(), LINE % ('INFO', r'kestrel\.test', 'back'))

    def test_apply_that_fails_changes_nothing(self):
        handle = self.begin(filename=self.path)
        with self.assertRaises(StartError):
            handle.apply(settings('OFF', os.path.join(self.folder, 'no', 'log'), format='json'))
        handle.logger.info('still here')
        self.assertEqual(self.messages(), ['still here'])

    def test_a_full_disk_is_told_once_and_disturbs_nobody(self):
        handle = self.begin(filename='/dev/full')
        handle.logger.info('one')
        handle.logger.info('two')
        self.assertRegex(self.stderr.getvalue(), LINE % (
            'ERROR', 'kestrel',
            'cannot write the log file /dev/full: No space left on device; make room for it, or let kestrel'
            ' write it'))


class RollTest(LogTestCase):

    def move(self, name='moved'):
        os.rename(self.path, os.path.join(self.folder, name))

    def test_never(self):
        handle = self.begin(filename=self.path)
        handle.logger.info('one')
        self.move()
        handle.reopen()
        handle.logger.info('two')
        self.assertEqual(self.messages('moved'), ['one', 'two'])
        self.assertFalse(os.path.exists(self.path))

    def test_sighup(self):
        handle = self.begin(filename=self.path, roll='sighup')
        handle.logger.info('one')
        self.move()
        handle.reopen()
        self.assertEqual(self.written(), '')
        handle.logger.info('two')
        self.assertEqual((self.messages('moved'), self.messages()), (['one'], ['two']))

    def test_sighup_notices_a_moved_file(self):
        handle = self.begin(filename=self.path, roll='sighup')
        handle.logger.info('one')
        self.move()
        handle.logger.info('two')
        self.move('moved2')
        with open(self.path, 'w'):
            handle.logger.info('three')
        self.assertEqual([self.messages(name) for name in ('moved', 'moved2', 'kestrel.log')],
                         [['one'], ['two'], ['three']])

    def test_sighup_that_fails_keeps_the_file(self):
        inner = os.path.join(self.folder, 'inner')
        os.mkdir(inner)
        handle = self.begin(filename=os.path.join(inner, 'kestrel.log'), roll='sighup')
        os.rename(inner, os.path.join(self.folder, 'away'))
        handle.reopen()
        self.assertRegex(self.stderr.getvalue(), 'cannot write the log file .*: No such file or directory')
        os.rename(os.path.join(self.folder, 'away'), inner)
        handle.logger.info('one')
        self.assertEqual(self.messages('inner/kestrel.log'), ['one'])

    def test_reopen_without_a_file(self):
        handle = self.begin()
        handle.reopen()
        handle.logger.info('one')
        self.assertIn('one', self.stderr.getvalue())

    def _names(self):
        return sorted(os.listdir(self.folder))

    def _suffix(self, seconds, form):
        return datetime.datetime.fromtimestamp(seconds).strftime(form)

    def test_hourly(self):
        handle = self.begin(filename=self.path, roll='hourly')
        for number in range(3):
            self.at(handle, LATE + number * HOUR, f'{number}a')
            self.at(handle, LATE + number * HOUR + 60, f'{number}b')
        rolled = [f'kestrel-{self._suffix(LATE + number * HOUR, "%Y%m%d-%H")}.log' for number in range(2)]
        self.assertEqual(self._names(), rolled + ['kestrel.log'])
        self.assertEqual([self.messages(name) for name in self._names()],
                         [['0a', '0b'], ['1a', '1b'], ['2a', '2b']])

    def test_daily(self):
        handle = self.begin(filename=self.path, roll='daily')
        self.at(handle, LATE, 'one')
        self.at(handle, LATE + 24 * HOUR, 'two')
        rolled = f'kestrel-{self._suffix(LATE, "%Y%m%d")}.log'
        self.assertEqual(self._names(), [rolled, 'kestrel.log'])
        self.assertEqual((self.messages(rolled), self.messages()), (['one'], ['two']))

    def test_a_file_of_yesterday_is_rolled_after_a_restart(self):
        with open(self.path, 'w') as file:
            file.write('yesterday\n')
        os.utime(self.path, (LATE, LATE))
        handle = self.begin(filename=self.path, roll='daily')
        self.at(handle, LATE + 24 * HOUR, 'today')
        self.assertEqual(self.written(f'kestrel-{self._suffix(LATE, "%Y%m%d")}.log'), 'yesterday\n')
        self.assertEqual(self.messages(), ['today'])

    def test_a_clock_that_is_set_back_does_not_roll(self):
        handle = self.begin(filename=self.path, roll='hourly')
        self.at(handle, LATE, 'one')
        self.at(handle, LATE - 2 * HOUR, 'two')
        self.assertEqual(self.messages(), ['one', 'two'])

    def test_nothing_is_overwritten(self):
        rolled = f'kestrel-{self._suffix(LATE, "%Y%m%d")}.log'
        with open(os.path.join(self.folder, rolled), 'w') as file:
            file.write('kept\n')
        handle = self.begin(filename=self.path, roll='daily')
        self.at(handle, LATE, 'one')
        self.at(handle, LATE + 24 * HOUR, 'two')
        self.assertEqual(self.written(rolled), 'kept\n')
        self.assertEqual(self.messages(rolled + '.1'), ['one'])

    def test_only_plain_files_are_renamed(self):
        os.mkfifo(self.path)
        reader = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        handle = self.begin(filename=self.path, roll='hourly')
        self.at(handle, LATE, 'one')
        self.at(handle, LATE + HOUR, 'two')
        self.assertRegex(os.read(reader, 1000), b'one\n.*two\n')
        self.assertEqual(self._names(), ['kestrel.log'])


if __name__ == '__main__':
    unittest.main()
