"""Texts of programs: one layout for all, and what cannot be seen made visible."""

import pytest

from archloop.texts import line_feeds, one_layout, parsed, visible


def test_every_end_of_a_line_is_a_line_feed():
    assert line_feeds("a\r\nb\rc\n\r\n") == "a\nb\nc\n\n"


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("if x:\r\n\ty = 1\r", "if x:\n    y = 1\n"),
        ("if x:\n\tif y:\n\t\tz = 1\n", "if x:\n    if y:\n        z = 1\n"),
        ("if x:\n  \ty = 1\n", "if x:\n    y = 1\n"),  # to the next stop
        ("x = 1\t# two\n", "x = 1\t# two\n"),  # no margin
        ("if x:\n\t(\n", "if x:\n\t(\n"),  # does not parse
        ("\ufeffif x:\r\n\ty = 1\n", "if x:\n    y = 1\n"),  # as some editors write files
        ("if x:\n    if y:\n\ta = 1\n", "if x:\n    if y:\n\ta = 1\n"),  # four spaces would be another depth
    ],
)
def test_margins_are_spaces_where_that_changes_nothing(program, expected):
    assert one_layout(program) == expected


def test_text_inside_strings_keeps_its_tabs():
    program = 'def f():\n\tx = """a\n\tb"""\n\treturn x\n'
    before, after = {}, {}
    exec(program, before)
    exec(one_layout(program), after)
    assert before["f"]() == after["f"]() == "a\n\tb"
    assert one_layout(program).endswith("\n    return x\n")


@pytest.mark.parametrize("text", ["return 1", "x = (", "x = '\0'", "(" * 10_000, "def f(a, a): pass", "\ud800"])
def test_what_does_not_compile_has_no_tree(text):
    assert parsed(text) is None


def test_what_compiles_has_a_tree_and_its_warnings_are_not_told(recwarn):
    assert [type(node).__name__ for node in parsed("x = '\\d'\nx is 1\n").body] == ["Assign", "Expr"]
    assert not recwarn.list


def test_what_cannot_be_seen_is_written_as_escapes():
    assert visible("a\u202eb\x1b[2J\té\n\0") == "a\\u202eb\\x1b[2J\té\n\\x00"
