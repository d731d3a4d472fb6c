"""Whose machine this is."""

import os

PRIVATE = ("", "0", "false", "no", "off")


def is_public() -> bool:
    """Tells whether strangers share this host (EDGEWISE_PUBLIC), so that a run's id is the key to it and no
    uploaded program is run.
    """
    return os.environ.get("EDGEWISE_PUBLIC", "").strip().lower() not in PRIVATE
