"""How cases and documents write the bytes of a binary protocol: ``0b 0001 ["work"]``."""

import re

TOKEN = re.compile(r'\s*(?:([0-9a-f]{2})|"([^"]*)"|([\[\]]))')


def binary(text, quoted=str.encode):
    """Hex digits, text in quotes, and brackets for a length of four bytes before what is in them. -> bytes

    quoted  what makes bytes of a text in quotes
    """
    parts = [b'']
    position = 0
    text = text.rstrip()
    while position < len(text):
        match = TOKEN.match(text, position)
        if not match:
            raise ValueError(f'neither hex digits, nor text in quotes, nor a bracket: {text[position:]}')
        position = match.end()
        digits, words, bracket = match.groups()
        if bracket == '[':
            parts.append(b'')
        elif bracket == ']':
            inner = parts.pop()
            parts[-1] += len(inner).to_bytes(4, 'big') + inner
        else:
            parts[-1] += bytes.fromhex(digits) if digits else quoted(words)
    if len(parts) > 1:
        raise ValueError('a bracket is not closed')
    return parts[0]
