"""Plots as SVG, from the dicts that the measurements leave in their findings; no library is needed for so little.

A chart of lines: `title`, `x`, `y`, `ticks` (texts below the axis), `log` and `lines`: {name: [[tick, value]]}.
A chart of bars: `title`, `y` and `bars`: {name: value}, with `targets` {name: value} drawn across them.
"""
import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 380
LEFT, RIGHT, TOP, BOTTOM = 80, 190, 40, 50
BAR, BAR_LEFT = 22, 330
# Told apart by most who do not see all colours (Okabe and Ito).
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#555555')


def text(x, y, words, anchor='start', extra=''):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{escape(str(words))}</text>'


def line(x1, y1, x2, y2, colour='#dddddd', extra=''):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{extra}/>'


def document(width, height, title, parts):
    return '\n'.join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<title>{escape(title)}</title>', f'<rect width="{width}" height="{height}" fill="white"/>',
        text(10, 22, title, extra=' font-size="15"'), *parts, '</svg>', ''])


def number(value):
    return f'{value:,.0f}' if value >= 10 else f'{value:.3g}'


def steps(low, high, log):
    """Round values from below the lowest to above the highest."""
    if log:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        return [10.0 ** power for power in range(first, max(last, first + 1) + 1)]
    step = 10.0 ** math.floor(math.log10(high)) if high > 0 else 1.0
    return [step * index for index in range(math.ceil(high / step) + 1)]


def lines(chart):
    """The SVG of a chart of lines. Values of 0 and below have no place on a logarithmic axis and are left out."""
    log = chart.get('log', False)
    series = {name: [(at, value) for at, value in points if value > 0 or not log]
              for name, points in chart['lines'].items()}
    values = [value for points in series.values() for _, value in points]
    marks = steps(min(values), max(values), log)
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def place(value):
        first, last, value = (math.log10(v) for v in (marks[0], marks[-1], value)) if log else \
            (marks[0], marks[-1], value)
        return bottom - (value - first) / (last - first) * (bottom - TOP)

    def across(at):
        return LEFT + at * (right - LEFT) / max(len(chart['ticks']) - 1, 1)

    parts = []
    for mark in marks:
        parts += [line(LEFT, place(mark), right, place(mark)), text(LEFT - 6, place(mark) + 4, number(mark), 'end')]
    parts += [text(across(at), bottom + 18, tick, 'middle') for at, tick in enumerate(chart['ticks'])]
    parts += [text((LEFT + right) / 2, HEIGHT - 12, chart['x'], 'middle'),
              text(16, (TOP + bottom) / 2, chart['y'], 'middle', f' transform="rotate(-90 16 {(TOP + bottom) / 2})"')]
    for index, (name, points) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        path = ' '.join(f'{across(at):.1f},{place(value):.1f}' for at, value in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{across(at):.1f}" cy="{place(value):.1f}" r="3" fill="{colour}"/>'
                  for at, value in points]
        parts += [line(right + 16, TOP + 20 * index + 10, right + 40, TOP + 20 * index + 10, colour,
                       ' stroke-width="3"'), text(right + 46, TOP + 20 * index + 14, name)]
    return document(WIDTH, HEIGHT, chart['title'], parts)


def bars(chart):
    """The SVG of a chart of bars, one below the other, each with its value, and its target as a line across."""
    targets = chart.get('targets', {})
    most = max([*chart['bars'].values(), *targets.values()]) or 1
    height = TOP + BAR * len(chart['bars']) + 34
    room = WIDTH - BAR_LEFT - 80
    parts = []
    for index, (name, value) in enumerate(chart['bars'].items()):
        top, long = TOP + BAR * index, value / most * room
        parts += [text(BAR_LEFT - 8, top + 15, name, 'end'),
                  f'<rect x="{BAR_LEFT}" y="{top + 3}" width="{long:.1f}" height="{BAR - 6}" fill="{COLOURS[0]}"/>']
        if name in targets:
            at = BAR_LEFT + targets[name] / most * room
            parts.append(line(at, top, at, top + BAR, COLOURS[1], ' stroke-width="3"'))
        parts.append(text(BAR_LEFT + max(long, targets.get(name, 0) / most * room) + 6, top + 15, number(value)))
    parts.append(text(BAR_LEFT, height - 12, chart['y'] + (' (the line across: the target)' if targets else '')))
    return document(WIDTH, height, chart['title'], parts)


def draw(chart):
    return bars(chart) if 'bars' in chart else lines(chart)
