"""Settings -> the text of a kestrel.conf that the server accepts, each with where it came from."""

import re

from kestrel import config
from kestrel.log import one_line
from kestrel.tools.migrate.scala import Problem

SECTIONS = ('server', 'default', 'queues', 'aliases', 'zookeeper', 'admin', 'logging')
# What the original does without a setting, and somebody should know.
NOTES = {
    'server': ['The status is kept in status_file, which is /var/lib/kestrel/status unless it is set here.'],
    'admin': ["The original's admin port listened on all interfaces; here it is listen_address of [server],",
              'unless [admin] has one of its own.'],
}
_LINE = re.compile(r': line ([0-9]+): ')


def conf(mapping, source, original):
    """-> (text of a kestrel.conf, [Problem]): all that could not be carried over is named in both.

    mapping   settings_table.Mapping
    source    str, the name of the original's file
    original  its text

    What the checks of the server refuse as a whole (a queue that expires into itself, an alias that leads back) is
    taken out until the rest is accepted.
    """
    settings = list(mapping.settings)
    problems = list(mapping.problems)
    while True:
        text, settings_at = _Writer(settings, problems, source, original).text()
        try:
            config.loads(text, source, {})
        except config.ConfigError as error:
            refused = _refused(settings_at, error)
            settings.remove(refused)
            why = str(error)[_LINE.search(str(error)).end():]
            place = refused.place
            problems.append(Problem(place.line if place else 1, place.column if place else 1, why))
        else:
            return text, sorted(problems)


def _refused(settings_at, error):
    """The Setting that an error is about. Raises the error if it is about none."""
    line = _LINE.search(str(error))
    if line is None or int(line[1]) not in settings_at:
        raise error
    return settings_at[int(line[1])]


class _Writer:

    def __init__(self, settings, problems, source, original):
        self.settings = settings
        self.problems = sorted(problems)
        self.source = source
        self.original = original.split('\n')
        self.lines = []
        self.at = {}        # {line of the text: Setting}

    def text(self):
        """-> (text, {line: Setting})"""
        self._head()
        for section in SECTIONS:
            self._section(section, [setting for setting in self.settings if setting.section == section])
        return '\n'.join(self.lines) + '\n', self.at

    def _comment(self, text):
        self.lines.append(('# ' + one_line(text)).rstrip())

    def _head(self):
        self._comment('kestrel.conf, made by kestrel-migrate from %s.' % self.source)
        self._comment('')
        self._comment('Above each setting stands where it comes from. What is not here has its default, which is that')
        self._comment("of the original's code; etc/kestrel/kestrel.conf and kestrel.conf(5) explain all settings.")
        if self.problems:
            self._comment('')
            self._comment('NOT carried over; look at each, then delete these lines:')
            for line, column, why in self.problems:
                self._comment('  line %d, column %d: %s' % (line, column, why))

    def _section(self, section, settings):
        if not settings and section not in ('queues', 'aliases'):
            return
        self.lines += ['', '', '[%s]' % section]
        for line in NOTES.get(section, ()):
            self._comment(line)
        if section not in ('queues', 'aliases'):
            for setting in settings:
                self._setting(setting)
            return
        for name in dict.fromkeys([setting.name for setting in settings]):
            own = [setting for setting in settings if setting.name == name]
            for setting in sorted(own, key=lambda one: one.key is not None):
                self._setting(setting)

    def _setting(self, setting):
        self.lines.append('')
        for line in setting.comments:
            self._comment(line)
        if setting.key is None:
            self._comment('%s:%d' % (self.source, setting.place.line))
            self.lines.append('[[%s]]' % _section_name(setting.name))
        else:
            self._comment("%s, the original's default" % setting.theirs if setting.place is None else '%s:%d: %s' % (
                self.source, setting.place.line, self._shown(setting)))
            self.lines.append('%s = %s' % (setting.key, setting.raw))
        self.at[len(self.lines)] = setting

    def _shown(self, setting):
        """The line of the original; but nothing with a password, which stands here once already."""
        line = self.original[setting.place.line - 1].strip()
        return setting.theirs if setting.theirs == 'credentials' or 'credentials' in line else line


def _section_name(name):
    """A queue's name as the head of its section."""
    if not re.search(r'''[#\]\['"]''', name):
        return name
    return "'%s'" % name if '"' in name else '"%s"' % name
