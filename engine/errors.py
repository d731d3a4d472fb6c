"""The one root of errors that a user may read: the message is shown as it is, so it is a sentence that
helps.
"""


class EdgewiseError(Exception):
    """Something went wrong; the message says what, why, and what to do. Exit code 2."""


class BadInput(EdgewiseError):
    """What was given can't be used; the message says what to give instead. Exit code 1."""
