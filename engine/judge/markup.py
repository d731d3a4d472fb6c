"""Names of classes, files and models are data that someone else chose: made harmless where they are shown."""

import re

from engine.errors import one_line

FORMULA = ("=", "+", "-", "@", "|", "%")


def plain(text: object) -> str:
    """Returns text for markdown in which nothing is markup: every sign is escaped, line breaks become
    spaces.
    """
    # the thin joiner keeps `:name:` from becoming an icon, which Streamlit replaces after escapes are
    # resolved
    return re.sub(r"([\\`*_{}\[\]()#+\-!|<>~$^&.=])", r"\\\1", one_line(text)).replace(":", ":\u2060")


def code(text: object) -> str:
    """Returns text as a markdown code span that no backtick in it can end."""
    flat = one_line(text) or " "
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", flat)), default=0))
    pad = " " if flat.startswith("`") or flat.endswith("`") else ""
    return f"{fence}{pad}{flat}{pad}{fence}"


def cell(value: object) -> object:
    """Returns a table's cell that no spreadsheet takes for a formula; numbers stay numbers."""
    if isinstance(value, str) and (value.lstrip()[:1] in FORMULA or value[:1].isspace()):
        return "'" + value
    return value
