"""The child of the full matrix: looks into many files in one process behind the wall, so that frameworks
start once.
"""

import time
import traceback

from engine.errors import BadInput
from engine.formats import behind_wall
from engine.wall.child import serve


def look_at_all(request: dict, send) -> dict:
    """Answers {"id": [accepted, message, seconds]} for each of request["files"] ({"id": path})."""
    found = {}
    for name, path in request["files"].items():
        began = time.monotonic()
        try:
            behind_wall.look(
                {"path": path, "name": name, "dataset": None, "home": None, "architecture": None}, send
            )
            outcome = [True, ""]
        except BadInput as error:
            outcome = [False, str(error)]
        except Exception:
            outcome = [None, traceback.format_exc()]
        found[name] = [*outcome, time.monotonic() - began]
    return found


if __name__ == "__main__":
    serve(look_at_all)
