"""Numbers in request lines (spec memcache 1, D1, D4, D16)."""

import unittest

from kestrel.protocol.numbers import I32_MAX, I32_MIN, I64_MAX, I64_MIN, parse_bounded, parse_integer

GOOD = [
    (b'0', 0), (b'7', 7), (b'0010', 10), (b'-1', -1), (b'-0', 0), (b'+5', 5), (b'2147483648', 2147483648),
    (b'-9223372036854775808', I64_MIN), (b'9223372036854775807', I64_MAX),
    (b'9223372036854775808', I64_MAX + 1),
    (b'0' * 8000 + b'7', 7), (b'-' + b'0' * 8000 + b'7', -7), (b'0' * 8000, 0),
]
BAD = [b'', b'-', b'+', b' ', b'1 ', b' 1', b'1_0', b'1e3', b'1.0', b'0x10', b'--1', b'+-1', b'1-', b'a',
       b'1a', b'\t1', b'1\r', b'\xb2', b'\xd9\xa1', b'1\0']


class IntegerTest(unittest.TestCase):

    def test_decimal_words(self):
        for word, value in GOOD:
            with self.subTest(word[:30]):
                self.assertEqual(parse_integer(word), value)

    def test_what_is_none(self):
        for word in BAD:
            with self.subTest(word):
                self.assertIsNone(parse_integer(word))

    def test_thousands_of_digits_are_only_out_of_range(self):
        for word in (b'9' * 8000, b'-' + b'9' * 8000, b'+1' + b'0' * 8000):
            with self.subTest(word[:10]):
                self.assertGreater(abs(parse_integer(word)), I64_MAX)
        self.assertLess(parse_integer(b'-' + b'9' * 8000), I64_MIN)


class BoundedTest(unittest.TestCase):

    def test_i32(self):
        for word, value in [(b'2147483647', I32_MAX), (b'-2147483648', I32_MIN), (b'2147483648', None),
                            (b'-2147483649', None), (b'9' * 5000, None), (b'', None), (b'x', None)]:
            with self.subTest(word[:20]):
                self.assertEqual(parse_bounded(word, I32_MIN, I32_MAX), value)

    def test_i64(self):
        for word, value in [(b'9223372036854775807', I64_MAX), (b'9223372036854775808', None),
                            (b'-9223372036854775808', I64_MIN), (b'-9223372036854775809', None)]:
            with self.subTest(word):
                self.assertEqual(parse_bounded(word, I64_MIN, I64_MAX), value)

    def test_zero_is_a_value_and_not_none(self):
        self.assertEqual(parse_bounded(b'0', 0, 0), 0)
