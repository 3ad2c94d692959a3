"""One line for each run in build/bench/history.jsonl: what to look up when a figure has become worse."""
import json
import os


def entry(report, kept_as):
    """A run's figures with its commit and machine, without the rounds."""
    speed = {}
    for line in report.get('speed', {}).get('summary', ()):
        speed.setdefault(line['row'], {})[line['server']] = {
            'median': line['median'], 'unit': line['unit'], 'ratio': round(line['ratio'], 4), 'met': line['met']}
    beyond = {}
    for line in report.get('size', {}).get('findings', ()):
        beyond.setdefault(line['name'], {})[line['server']] = {
            'value': line['value'], 'unit': line['unit'], 'met': line['met']}
    compared = {line['row']: [round(line[key], 4) for key in ('ratio', 'low', 'high')]
                for line in report.get('comparison', {}).get('summary', ())}
    return {'started': report['started'], 'git': report['git'], 'processor': report['machine']['processor'],
            'kernel': report['machine']['kernel'], 'load_before': report['machine']['load_before'],
            'versions': report['versions'], 'quick': report['options']['quick'],
            'rounds': report['options']['rounds'], 'report': kept_as, 'failed': report.get('failed'),
            'speed': speed, 'beyond': beyond, 'compared': compared}


def append(folder, report, kept_as):
    """One write of a whole line, so that two runs at once do not mix theirs."""
    line = json.dumps(entry(report, kept_as)) + '\n'
    descriptor = os.open(os.path.join(folder, 'history.jsonl'), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)
