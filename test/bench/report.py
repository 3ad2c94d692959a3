#!/usr/bin/env python3
"""Makes docs/benchmarks.md and its plots from the JSON of runs of make bench and make soak.

    python3 test/bench/report.py build/bench/20261127-101500.json docs/benchmarks.md docs/benchmarks/
    python3 test/bench/report.py build/bench/20261127-101500.json build/bench/soak-20261127-120000.json ... (the same)

The facts of the first run are at the head, those of each other one at the head of its part.
"""
import argparse
import itertools
import json
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
if HERE not in sys.path:        # python -P leaves it out
    sys.path.insert(0, HERE)

import charts  # noqa: E402
from tables import QUIET, verdict  # noqa: E402


def row(*cells):
    return '| ' + ' | '.join(str(cell).replace('|', '\\|') for cell in cells) + ' |'


def table(head, rows):
    return [row(*head), '|' + '---|' * len(head), *(row(*cells) for cells in rows), '']


def slug(title):
    return re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-')


class Plots:
    """Writes the SVG files and knows the way to them from the document."""

    def __init__(self, folder, document):
        self._folder = folder
        self._way = os.path.relpath(folder, os.path.dirname(os.path.abspath(document)))
        os.makedirs(folder, exist_ok=True)
        self.names = []

    def add(self, name, chart):
        """Lines of markdown that show the plot."""
        stem = slug(name)
        name = stem + '.svg'
        while name in self.names:       # another run has the same row
            stem += '-again'
            name = stem + '.svg'
        with open(os.path.join(self._folder, name), 'w') as file:
            file.write(charts.draw(chart))
        self.names.append(name)
        return [f'![{chart["title"]}]({self._way}/{name})', '']


def command_of(report):
    return report.get('command', 'make bench')


def facts_of(report):
    machine, versions, git = report['machine'], report['versions'], report['git'] or {}
    libraries = versions['libraries'] or {}
    return [('run', report['started'] + (f', ended early: {report["failed"]}' if 'failed' in report else '')),
            ('commit', f'{git.get("commit", "unknown")}{", with changes" if git.get("changed") else ""}'),
            ('machine', f'{machine["processor"]}, {machine["processors"]} processors, '
                        f'{machine["memory_bytes"] / 2 ** 30:.1f} GiB, {machine["system"]}'),
            ('load before', ', '.join(f'{load:.2f}' for load in machine['load_before'])),
            ('python', ', '.join(f'{name} {version}' for name, version in libraries.items())),
            ('others', '; '.join(versions[name] for name in ('memcached', 'redis', 'beanstalkd', 'compiler')
                                 if versions.get(name))),
            ('rounds', report['options']['rounds'])]


def head(runs):
    """`runs`: pairs of a report and the name of its file."""
    sources = ' '.join(f'build/bench/{source}' for _, source in runs)
    lines = ['# Benchmarks', '', 'Made by', '',
             *dict.fromkeys('    ' + command_of(report) for report, _ in runs),
             f'    python3 test/bench/report.py {sources} docs/benchmarks.md docs/benchmarks/', '',
             'and not written by hand. What the rows are, how they are measured and how to read them:',
             '[test/bench/README.md](../test/bench/README.md). A target that is missed is shown as missed.', '']
    return lines + about(runs[0][0])


def about(report):
    quick = '**This was a short run (`--quick`, or a short soak): it shows that everything runs, not how fast.**'
    return ([quick, ''] if report['options']['quick'] else []) + table(('', ''), facts_of(report))


def warning(disturbance):
    if disturbance <= QUIET:
        return []
    return [f'**Other processes used {disturbance:.2f} processors meanwhile: the figures are doubtful.**', '']


def of_speed(speed, plots):
    lines = ['## Speed', '', 'Medians of the rounds; processor time of the server for each item; the ratio is the '
             'median of the ratios of the rounds, least and most in brackets.', '', *warning(speed['disturbance'])]
    for work, group in itertools.groupby(speed['summary'], lambda line: line['work']):
        group = list(group)
        lines += [f'### {work}', '']
        rows = []
        for line in group:
            sign = '<=' if line['smaller_is_better'] else '>='
            rows.append((line['server'], f'{line["median"]:,.0f} {line["unit"]}', f'{line["server_us"]:.1f} us',
                         f'{line["ratio"]:.2f} ({min(line["ratios"]):.2f} to {max(line["ratios"]):.2f})',
                         f'{sign} {line["target"]:.2f}' if line['target'] else '', verdict(line['met'])))
        base = group[0].get('base', 'memcached')
        lines += table(('server', 'median', 'CPU', f'ratio to {base}', 'target', ''), rows)
    for server in dict.fromkeys(line['server'] for line in speed['summary'] if line['target']):
        shown = [line for line in speed['summary'] if line['server'] == server and not line['smaller_is_better']]
        if shown:
            lines += plots.add(f'speed {server}', {
                'title': f'{server}: rates against memcached with one thread, or its own gets', 'y': 'ratio',
                'bars': {line['work']: line['ratio'] for line in shown},
                'targets': {line['work']: line['target'] for line in shown if line['target']}})
    works = [('put', 'puts'), ('get', 'gets')]
    for name, title in works:
        rates = {line['server']: line['median'] for line in speed['summary'] if line['row'] == name}
        if rates:
            lines += plots.add(f'rates {name}', {'title': f'{title} of 1 KB, 100 clients', 'y': 'a second',
                                                 'bars': rates})
    return lines


def of_findings(findings, plots):
    lines = []
    for name, group in itertools.groupby(findings, lambda line: line['row']):
        group = list(group)
        lines += [f'### {name}', '']
        lines += table(('', 'server', 'value', 'target', '', 'shown'), [
            (line['name'], line['server'], f'{line["value"]:,} {line["unit"]}', line['target'] or '',
             verdict(line['met']), line.get('shown', '')) for line in group])
        for line in group:
            if 'chart' in line:
                lines += plots.add(f'{name} {line["server"]} {line["name"].split()[0]}', line['chart'])
    return lines


def of_comparison(comparison):
    return ['## Two builds', '', 'new / base: geometric mean of the pairs and its 95 % interval.', '',
            *warning(comparison['disturbance']),
            *table(('', 'base', 'new', 'new / base', 'interval', ''), [
                (line['work'], f'{line["base"]:,.0f} {line["unit"]}', f'{line["new"]:,.0f} {line["unit"]}',
                 f'{line["ratio"]:.3f}', f'{line["low"]:.3f} to {line["high"]:.3f}',
                 '' if line['low'] <= 1 <= line['high'] else 'they differ') for line in comparison['summary']])]


def render(runs, plots):
    """The whole document of some (report, name of its file); what a run has not measured is left out."""
    lines = head(runs)
    for number, (report, _) in enumerate(runs):
        if number:
            lines += [f'## {command_of(report)}, {report["started"]}', '', *about(report)]
        lines += of_run(report, plots, titled=number == 0)
    return '\n'.join(lines).rstrip() + '\n'


def of_run(report, plots, titled):
    lines = []
    if report.get('speed', {}).get('summary'):
        lines += of_speed(report['speed'], plots)
    if report.get('size', {}).get('findings'):
        lines += ['## Beyond speed', ''] if titled else []
        lines += of_findings(report['size']['findings'], plots)
    if 'summary' in report.get('comparison', {}):
        lines += of_comparison(report['comparison'])
    if report.get('failures'):
        lines += ['## Not measured', '', *table(('row', 'server', 'why'), [
            (one['row'], one['server'], one['error'].splitlines()[0]) for one in report['failures']])]
    return lines


def main(arguments=None):
    parser = argparse.ArgumentParser(prog='report.py', description=__doc__.splitlines()[0])
    parser.add_argument('json', nargs='+', help='of runs: build/bench/<time>.json, build/bench/soak-<time>.json')
    parser.add_argument('document', help='the file to write, docs/benchmarks.md')
    parser.add_argument('plots', help='the folder for its plots, docs/benchmarks/')
    options = parser.parse_args(arguments)
    runs = []
    try:
        for path in options.json:
            with open(path) as file:
                runs.append((json.load(file), os.path.basename(path)))
        path = ' '.join(options.json)
        plots = Plots(options.plots, options.document)
        text = render(runs, plots)
        with open(options.document, 'w') as file:
            file.write(text)
    except OSError as error:
        parser.error(str(error))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        parser.error(f'{path} is not what bench.py keeps of a run: {type(error).__name__} {error}')
    print(f'{options.document}, {len(plots.names)} plots in {options.plots}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
