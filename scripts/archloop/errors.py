"""The one kind of error that a user can fix, and any error as one line. Standard library only."""

LONGEST_LINE = 300


class InputError(Exception):
    """Bad input: one line that says what is wrong, where, and how to fix it.

    Scripts print it without a traceback.
    """


def one_line(error: object) -> str:
    """Return what an error says, or a text, with one space for each run of white space.

    >>> one_line("a\\n\\n b\\tc ")
    'a b c'
    """
    return " ".join(str(error).split())


def kind_and_line(error: BaseException) -> str:
    """Return an error as `Kind: what it says`: one line, 300 characters at most.

    >>> kind_and_line(ValueError("no\\nnumber"))
    'ValueError: no number'
    """
    kind = type(error).__name__
    return one_line(f"{kind}: {error}")[:LONGEST_LINE]
