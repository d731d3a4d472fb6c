"""A package is tried before it is offered: unpacked in a clean folder and run there, behind the wall, as the
model in it came with an upload.
"""

import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.errors import EdgewiseError, shortened
from engine.memory import needed_bytes
from engine.vocabulary import ModelFile
from engine.wall import sandbox
from engine.wall.child import serve
from engine.wall.sandbox import Limits

TIMEOUT_S = 120
START_S = 30  # what the process that starts infer.py may take beside it
# a package that asks a person shows its answer all the same
INFER = ("infer.py", "sample.png", "--json", "--threads", "1", "--min-confidence", "0")
MOST_SAID = 10_000  # characters of its output that are looked at


def verify(
    package: Path, model: ModelFile, answers: bool = True, emulated: dict[str, Any] | None = None
) -> str:
    """Unpacks the zip in a clean folder, runs its infer.py on its sample and returns the class it names.

    answers: whether its verify.py must find the answers that were measured; not where this processor can't
    give them. emulated: what starts an emulated board's Python (`deploy.emulator`), on which its verify.py
    must find them too. Raises EdgewiseError when it does not run, answers otherwise than was measured, or
    names a class that the model does not have.
    """
    limits = Limits(memory_bytes=needed_bytes(model), seconds=(3 if emulated else 2) * TIMEOUT_S + START_S)
    request = {
        "package": str(package.resolve()),
        "seconds": TIMEOUT_S,
        "answers": answers,
        "emulated": emulated,
    }
    try:
        said = sandbox.run("deploy.verify", request, limits)
    except EdgewiseError as error:
        raise EdgewiseError(
            f"The package was built, but its trial failed, because {error}, so it is not offered."
        ) from None
    if said.get("late"):
        raise EdgewiseError(
            f"The package was built, but its infer.py did not answer within {TIMEOUT_S} s, so it is not"
            " offered."
        )
    try:
        named = json.loads(said["output"].strip().splitlines()[-1])["class"]
    except (IndexError, ValueError, KeyError, TypeError, AttributeError):
        last = shortened((str(said.get("errors", "")).strip().splitlines() or ["no output"])[-1], 200)
        raise EdgewiseError(
            f"The package was built, but its infer.py does not run ({last}), so it is not offered."
        ) from None
    if named not in model.classes:
        raise EdgewiseError(
            "The package was built, but its infer.py names a class that the model does not have, so it is not"
            " offered."
        )
    if (differs := said.get("differs")) is not None:
        raise EdgewiseError(
            "The package was built, but it does not answer as its file was measured"
            f" ({shortened(str(differs).strip(), 300)}), so it is not offered."
        )
    return str(named)


def answer(request: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Behind the wall: unpacks and runs the package with nothing of this project in reach."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(request["package"]) as archive:
            archive.extractall(folder)
        try:
            ran = _run(folder, request["seconds"], *INFER)
            found = {"output": ran.stdout[-MOST_SAID:], "errors": ran.stderr[-MOST_SAID:]}
            if request["answers"] and ran.returncode == 0:
                ran = _run(folder, request["seconds"], "verify.py", "--threads", "1")
                if ran.returncode != 0:
                    found["differs"] = (ran.stdout + ran.stderr)[-MOST_SAID:]
            if request["emulated"] and ran.returncode == 0:
                start = request["emulated"]
                ran = _run(folder, request["seconds"], "verify.py", "--threads", "1", start=start)
                if ran.returncode != 0:
                    found["differs"] = "on an emulated board: " + (ran.stdout + ran.stderr)[-MOST_SAID:]
        except subprocess.TimeoutExpired:
            return {"late": True}
    return found


def _run(
    folder: str, seconds: float, *words: str, start: dict[str, Any] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a script of the package, by this Python or what else is to `start` it; raises TimeoutExpired."""
    return subprocess.run(
        [*(start["words"] if start else [sys.executable]), *words],
        cwd=folder,
        env={"HOME": folder, "PYTHONDONTWRITEBYTECODE": "1"} | (start["environment"] if start else {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds,
    )


if __name__ == "__main__":
    serve(answer)
