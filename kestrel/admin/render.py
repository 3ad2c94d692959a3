"""Values as JSON and as the indented text of the admin port (spec admin 1, 4).

Queue names and parameters are foreign text: in JSON everything beyond printable ASCII and the characters that mean
something in HTML are escapes (D62), in text control characters are.
"""

import json

from kestrel.log import one_line


# json.dumps makes one of these at each call, which takes four times as long for a name
_ENCODE = json.JSONEncoder(separators=(',', ':'), sort_keys=True).encode


def json_text(value):
    """-> str without spaces, keys sorted."""
    text = _ENCODE(value)
    return text.replace('<', '\\u003c').replace('>', '\\u003e').replace('&', '\\u0026')


def number(value):
    """A gauge with an integral value is shown without a fraction."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def text_lines(value):
    """-> list of str: an object has an entry a line, sorted, lists have an element a line.

    An entry whose value comes to one line without ': ' is ``key: value``, any other ``key:`` and its lines indented.
    """
    if isinstance(value, dict):
        lines = []
        for key, inner in sorted(value.items()):
            key = one_line(key)
            below = text_lines(inner)
            if len(below) == 1 and ': ' not in below[0]:
                lines.append('%s: %s' % (key, below[0]))
            else:
                lines.append(key + ':')
                lines += ['  ' + line for line in below]
        return lines
    if isinstance(value, (list, tuple)):
        return [line for element in value for line in text_lines(element)]
    if isinstance(value, bool):
        return [str(value).lower()]
    return [one_line(line) for line in str(value).split('\n')]
