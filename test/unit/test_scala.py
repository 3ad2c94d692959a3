"""The reader of the original's configurations: forms people write, and the places of what it cannot read."""

import unittest

from kestrel.tools.migrate.scala import FOREVER, Call, Name, Problem, Quantity, read
from kestrel.tools.migrate.tokens import ScalaError, tokens

MB, S = 1 << 20, 10 ** 6


def body(text):
    """-> ({path: value} of a configuration with this body, [problems])"""
    statements, problems = read('new KestrelConfig {\n%s\n}\n' % text)
    return {statement.path: statement.value for statement in statements}, problems


class ValuesTest(unittest.TestCase):

    def test_values(self):
        for text, value in (
                ('22133', 22133), ('0x10', 16), ('10L', 10), ('-5', -5), ('true', True), ('false', False), ('None', None),
                ('"a b"', 'a b'), (r'"a\"\\\n\u00e9"', 'a"\\\né'), ('"""raw \\n "x"."""', 'raw \\n "x".'), ('""', ''),
                ('"a" + "b"', 'ab'), ('"^q/.*".r', '^q/.*'),
                ('Some(5)', 5), ('Some(30.seconds)', Quantity('duration', 30 * S)), ('Some(None)', None),
                ('30.seconds', Quantity('duration', 30 * S)), ('30 seconds', Quantity('duration', 30 * S)),
                ('1.second', Quantity('duration', S)), ('1.hour', Quantity('duration', 3600 * S)),
                ('2.days', Quantity('duration', 172800 * S)), ('5.minutes', Quantity('duration', 300 * S)),
                ('100.milliseconds', Quantity('duration', 100000)), ('7.millis', Quantity('duration', 7000)),
                ('9.microseconds', Quantity('duration', 9)), ('0.seconds', Quantity('duration', 0)),
                ('Duration.MaxValue', Quantity('duration', FOREVER)),
                ('com.twitter.util.Duration.Top', Quantity('duration', FOREVER)),
                ('16.megabytes', Quantity('size', 16 * MB)), ('1.gigabyte', Quantity('size', 1024 * MB)),
                ('8.kilobytes', Quantity('size', 8192)), ('100.bytes', Quantity('size', 100)),
                ('1.terabyte', Quantity('size', 1 << 40)), ('Long.MaxValue.bytes', Quantity('size', 2 ** 63 - 1)),
                ('Int.MaxValue', 2 ** 31 - 1), ('Long.MaxValue', 2 ** 63 - 1),
                ('128 * 1024 * 1024', 128 * MB), ('(64 * 1024).kilobytes', Quantity('size', 64 * MB)),
                ('2 + 3 * 4 - 10 / 3', 11), ('(2 + 3) * 4', 20), ('-7 / 2', -3), ('4L * 1024 * 1024 * 1024', 4 << 30),
                ('8.megabytes * 2', Quantity('size', 16 * MB)), ('1.minute + 30.seconds', Quantity('duration', 90 * S)),
                ('Nil', []), ('List()', []), ('List("a", "b")', ['a', 'b']), ('Seq(1)', [1]),
                ('"a" :: "b" :: Nil', ['a', 'b']), ('"a" :: "b"', ['a', 'b']), ('1 :: List(2, 3)', [1, 2, 3]),
                ('List(\n  "a",\n  "b"\n)', ['a', 'b']), ('"a" ::\n  "b" ::\n  Nil', ['a', 'b']),
                ('("u", "p")', ('u', 'p')), ('"u" -> "p"', ('u', 'p')), ('Some(("u", "p"))', ('u', 'p')),
                ('Level.INFO', Name('Level.INFO')), ('Up', Name('Up')), ('Policy.Weekly(1)', Call('Policy.Weekly', [1])),
                ('1 // why', 1), ('/* a /* nested */ one */ 2', 2), ('`3`', Name('3'))):
            with self.subTest(text):
                self.assertEqual(body('a.b = ' + text), ({'a.b': value}, []))

    def test_builders(self):
        statements, problems = read('new KestrelConfig {\n'
                                    '  // all of them\n'
                                    '  queues = new QueueBuilder {\n    // the first\n    name = "x"; maxItems = 10\n'
                                    '  } :: new QueueBuilder() { name = "y" } :: Nil\n'
                                    '  z = new a.b.Empty\n}')
        self.assertEqual(problems, [])
        queues, empty = statements
        self.assertEqual((queues.line, queues.column, queues.comments), (3, 3, ['all of them']))
        self.assertEqual([[(one.path, one.value, one.comments) for one in queue.body] for queue in queues.value],
                         [[('name', 'x', ['the first']), ('maxItems', 10, [])], [('name', 'y', [])]])
        self.assertEqual([(queue.name, queue.line, queue.column) for queue in queues.value],
                         [('QueueBuilder', 3, 12), ('QueueBuilder', 6, 8)])
        self.assertEqual(empty.value[:2], ('Empty', []))

    def test_where_a_statement_ends(self):
        for text, values in (('a = 1; b = 2', {'a': 1, 'b': 2}), ('a =\n  1\nb = 2', {'a': 1, 'b': 2}),
                             ('a = 1 ::\n 2 :: Nil\n\n\nb = 2', {'a': [1, 2], 'b': 2}), ('', {}), (';;', {}),
                             ('a = 5 // \n seconds = 1', {'a': 5, 'seconds': 1})):
            with self.subTest(text):
                self.assertEqual(body(text), (values, []))

    def test_comments_belong_to_what_follows(self):
        statements, _ = read('new KestrelConfig {\n a = 1 // about a\n /* about\n  * b */\n b = 2\n}')
        self.assertEqual([one.comments for one in statements], [[], ['about', 'b']])


class ProblemsTest(unittest.TestCase):

    def test_what_is_no_value_is_named_and_left_out(self):
        for text, column, why in (
                ('val x = 1', 1, 'code (val ...), not a setting'), ('def f() = { a = 5 }', 1, 'code (def ...), not a setting'),
                ('if (x) { a = 5 } else { a = 6 }', 1, 'code (if ...), not a setting'),
                ('println("a")', 1, 'not a setting: println ( ...'), ('queues ++= Nil', 1, 'not a setting: queues ++= ...'),
                ('a = foo.bar(1).baz', 16, 'code (.baz), not a value'), ('a = 0.5.seconds', 5, '0.5 is a number with a fraction'),
                ('a = 5.fortnights', 7, 'code (.fortnights), not a value'), ('a = 3000000000', 5,
                 '3000000000 does not fit into an Int; Scala wants an L behind it'),
                ('a = 128 * 1024 * 1024 * 1024', 23,
                 'the result does not fit into 32 bits: Scala would make another number of it'),
                ('a = 9.megabytes + 1.second', 17, 'a calculation (+) with something else than numbers'),
                ('a = home + "/x"', 10, 'a calculation (+) with something else than numbers'),
                ('a = s"x$y"', 5, 'a string that is made by code (s"...")'), ('a = 1 / 0', 7, 'a division by 0'),
                ('a = if (b) 1 else 2', 5, 'if cannot be read here'), ('a = 1 2', 7, '2 cannot be read here'),
                ('a = new X(1) { b = 2 }', 5, 'new X(...): only new X { ... } can be read'),
                ('a = new X with Y { b = 2 }', 5, 'new X with ...: mixed with code'),
                ('a = List("x").map { b => b }', 15, 'code (.map), not a value'), ('a = -"x"', 5,
                 'a minus before something that is no number'), ('a = 99999999999L.terabytes', 18,
                                                                 '99999999999 terabytes does not fit into 64 bits')):
            with self.subTest(text):
                values, problems = body('first = 1\n%s\nlast = 2' % text)
                self.assertEqual(values, {'first': 1, 'last': 2})
                self.assertEqual(problems, [Problem(3, column, why)])

    def test_code_in_a_builder_spoils_its_statement_only(self):
        values, problems = body('q = new B {\n name = f(x) { y }\n n = 1\n}')
        self.assertEqual([(one.path, one.value) for one in values['q'].body], [('n', 1)])
        self.assertEqual(problems, [Problem(3, 14, '{ cannot be read here')])

    def test_code_around_the_configuration(self):
        statements, problems = read('package x\nimport a.{b, c}\nobject O { val a = "}" }\nnew KestrelConfig { a = 1 }\nfoo()\n')
        self.assertEqual([one.path for one in statements], ['a'])
        self.assertEqual([(one.line, one.why) for one in problems],
                         [(3, 'code outside of new KestrelConfig { ... }'), (5, 'code outside of new KestrelConfig { ... }')])

    def test_what_cannot_be_read_at_all(self):
        for text, line, column, why in (
                ('', 1, 1, 'there is no new KestrelConfig'), ('new Other { a = 1 }', 1, 1, 'there is no new KestrelConfig'),
                ('new KestrelConfig {\n a = "x\n}', 2, 6, 'a string that does not end'),
                ('new KestrelConfig {\n a = """x\n}', 2, 6, 'a string that does not end'),
                ('new KestrelConfig { /* /* */\n}', 1, 21, 'a comment that does not end'),
                ('new KestrelConfig {\n a = (1\n}', 3, 1, 'this } closes nothing'),
                ('new KestrelConfig {\n a = 1\n', 1, 19, 'this { is not closed'), ('}', 1, 1, 'this } closes nothing'),
                ('new KestrelConfig { a = \u00a7 }', 1, 25, "'\u00a7' has no meaning"),
                (r'new KestrelConfig { a = "\q" }', 1, 25, r'a string with the unknown escape \q')):
            with self.subTest(text), self.assertRaises(ScalaError) as caught:
                read(text)
            self.assertEqual((caught.exception.line, caught.exception.column), (line, column))
            self.assertIn(why, caught.exception.why)

    def test_every_beginning_of_a_file_ends_well(self):
        from support.environment import DATA
        text = (DATA / 'scala' / 'broken.scala').read_text()
        for end in range(0, len(text), 7):
            try:
                read(text[:end])
            except ScalaError as error:
                self.assertLessEqual(error.line, text.count('\n') + 1)

    def test_places(self):
        self.assertEqual([(one.value, one.line, one.column, one.first) for one in tokens('a = 1 /* x\n y */ b\n\n"c"')],
                         [('a', 1, 1, True), ('=', 1, 3, False), (1, 1, 5, False), ('b', 2, 7, True), ('c', 4, 1, True)])


if __name__ == '__main__':
    unittest.main()
