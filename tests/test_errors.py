"""What an error says, as one line."""

from archloop.errors import kind_and_line, one_line


def test_what_an_error_says_is_one_line():
    assert one_line(ValueError("a\n\n b\tc ")) == "a b c"
    assert one_line(MemoryError()) == ""
    assert one_line(" no\r\nerror ") == "no error"


def test_an_error_is_named_with_its_kind_in_300_characters():
    assert kind_and_line(ValueError("a\n\n b\tc ")) == "ValueError: a b c"
    assert kind_and_line(MemoryError()) == "MemoryError:"
    assert kind_and_line(ValueError("x" * 400)) == "ValueError: " + "x" * 288
