"""The one root of errors that a user may read: the message is shown as it is, a sentence that helps."""

import re
import traceback


class EdgewiseError(Exception):
    """Something went wrong; the message says what, why, and what to do. Exit code 2."""


class BadInput(EdgewiseError):
    """What was given can't be used; the message says what to give instead. Exit code 1."""


class TooMuch(BadInput):
    """A limit of this host is met, until about `wait_s` seconds later."""

    def __init__(self, sentence: str, wait_s: float):
        super().__init__(sentence)
        self.wait_s = wait_s


def reason_of(error: Exception) -> str:
    """Returns the reason that ends a piece of work: an error's own sentence, or what a defect of ours
    was. The traceback of a defect goes to the log of the process.
    """
    if isinstance(error, EdgewiseError):
        return str(error)
    traceback.print_exception(error)
    return f"An internal error: {type(error).__name__}: {error}. The log has more."


def shortened(text: object, most: int) -> str:
    """Returns at most so many letters of a text as one line, cut between words where it can be, with "…"
    where something is left out.
    """
    line = one_line(text).strip()
    if len(line) <= most:
        return line
    whole = line[: most - 1]
    at_word = whole if line[most - 1] == " " else whole.rpartition(" ")[0]
    return (at_word or whole).rstrip(" ,;:") + "…"


def one_line(text: object) -> str:
    """Returns text that someone else chose as one line: what breaks lines becomes a space, what steers a
    terminal or turns the reading direction goes. Where it is markup, the place that shows it escapes it.
    """
    return re.sub(r"\s+", " ", "".join(c for c in str(text) if c.isprintable() or c.isspace()))
