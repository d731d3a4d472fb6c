"""How many children this process has at once look at what visitors ask about: each may take 1.5 GB, and fifty
visitors would ask for fifty.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from engine.errors import TooMuch

MOST_AT_ONCE = 4
PATIENCE_S = 60.0

_places = threading.BoundedSemaphore(MOST_AT_ONCE)


@contextmanager
def turn() -> Iterator[None]:
    """Waits for a place and holds it; raises TooMuch where none became free."""
    if not _places.acquire(timeout=PATIENCE_S):
        raise TooMuch(
            f"{MOST_AT_ONCE} files are being looked at here, and others wait: try again in a minute.",
            PATIENCE_S,
        )
    try:
        yield
    finally:
        _places.release()
