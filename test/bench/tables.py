"""What a run found, for people."""
import itertools


def verdict(met):
    return {None: '', True: 'met', False: 'NOT MET'}[met]


# Processors that other processes may use before the figures are called doubtful.
QUIET = 0.10


def warn_if_disturbed(disturbance, say):
    if disturbance > QUIET:
        say(f'*** OTHER PROCESSES USED {disturbance:.2f} PROCESSORS MEANWHILE: REPEAT ON A QUIET MACHINE ***')


def print_speed(speed, say):
    say('\nSpeed: medians; processor time of the server for each item; ratio against memcached, or where it is '
        'said against its own plain gets, in the same run (least..most of the rounds)')
    for work, lines in itertools.groupby(speed['summary'], lambda line: line['work']):
        lines = list(lines)
        own = f' / {lines[0]["base"]}' if not lines[0]['base'].endswith('memcached') else ''
        say(work + own)
        for line in lines:
            sign = '<=' if line['smaller_is_better'] else '>='
            target = f'{sign} {line["target"]:.2f}' if line['target'] else ''
            ratios = f'{line["ratio"]:.2f} ({min(line["ratios"]):.2f}..{max(line["ratios"]):.2f})'
            say(f'  {line["server"]:<17}{line["median"]:>9,.0f} {line["unit"]:<3} '
                f'{line["server_us"]:>6.2f} us  {ratios:<20}{target:<8} {verdict(line["met"])}'.rstrip())
    warn_if_disturbed(speed['disturbance'], say)


def print_size(findings, say):
    say('\nBeyond speed')
    names = list(dict.fromkeys(line['name'] for line in findings))
    for name in names:
        say(name)
        for line in findings:
            if line['name'] == name:
                shown = f'({line["shown"]})' if 'shown' in line else ''
                say(f'  {line["server"]:<17}{line["value"]:>9,} {line["unit"]:<9}{line["target"] or "":<9} '
                    f'{verdict(line["met"]):<8} {shown}'.rstrip())


def print_comparison(comparison, say):
    say('\nnew / base: geometric mean of the pairs and its 95 % interval')
    for line in comparison['summary']:
        says = '' if line['low'] <= 1 <= line['high'] else '  they differ'
        say(f'  {line["work"]:<40} {line["base"]:>9,.0f} -> {line["new"]:>9,.0f} {line["unit"]:<3} '
            f'{line["ratio"]:.3f} ({line["low"]:.3f}..{line["high"]:.3f}){says}')
    warn_if_disturbed(comparison['disturbance'], say)


def print_report(report, say):
    """All that was measured, also of a run that failed later."""
    if 'summary' in report.get('speed', {}):
        print_speed(report['speed'], say)
    if report.get('size', {}).get('findings'):
        print_size(report['size']['findings'], say)
    if 'comparison' in report:
        print_comparison(report['comparison'], say)
    for failure in report.get('failures', ()):
        say(f'\n*** {failure["row"]}, {failure["server"]}: NOT MEASURED: {failure["error"]} ***')
