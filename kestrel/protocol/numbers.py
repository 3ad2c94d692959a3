"""Numbers in request lines."""

I32_MIN = -2147483648
I32_MAX = 2147483647
I64_MIN = -9223372036854775808
I64_MAX = 9223372036854775807


def parse_integer(word):
    """The value of a decimal word (an optional sign, then digits), or None if it is not one.

    Stricter than int(), which also takes underscores and white space. Values beyond 64 bits come back as
    plain large ints; leading zeros are fine.
    """
    if not word.isdigit():
        if word[:1] not in (b'-', b'+') or not word[1:].isdigit():
            return None
    if len(word) > 20:
        sign = word[:1] if word[:1] in (b'-', b'+') else b''
        digits = word[len(sign):].lstrip(b'0') or b'0'
        # Python refuses to convert thousands of digits; any that long are out of every range
        word = sign + digits[:40]
    return int(word)


def parse_bounded(word, low, high):
    """The value of a decimal word if low <= value <= high, else None."""
    value = parse_integer(word)
    if value is None or value < low or value > high:
        return None
    return value
