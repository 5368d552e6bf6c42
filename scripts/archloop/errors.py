"""The one kind of error that a user can mend."""


class InputError(Exception):
    """Bad input: one line that says what is wrong, where, and how to mend it. Scripts print it without a traceback."""
