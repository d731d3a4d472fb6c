"""What holds for removing channels in every framework."""

from engine.errors import EdgewiseError

ROUND_TO = 4  # channels are kept in multiples of a SIMD register's four floats …
WIDE = 32  # … in layers at least this wide


class Unprunable(EdgewiseError):
    """Channels of this network can't be removed; the message says why."""
