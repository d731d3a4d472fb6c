"""Makes VARIANT_OF_MODEL again: python recipe.py [MODEL] [--data DATA]

This runs where models are made, not on the device: it needs Edgewise, best in the versions below. It ends
with code 0 where the same file comes out, byte for byte, or, where a library or a processor computes
otherwise, one whose accuracy lies within the interval that was measured; it says which.
"""

import argparse
import hashlib
import sys
from typing import Any

import engine
from engine.errors import EdgewiseError

VARIANT: str = ""
FILE_SHA256: str = ""
# the ends of the 95 % interval, and between them what was measured, on test images
ACCURACY: tuple[float, float, float] | None = None
# a shipped model and data set have a name; your own are given on the command line
MODEL: str | None = None
MODEL_SHA256: str = ""
DATA: str | None = None
NEEDS_DATA: bool = False
# of the labels and a sample of the pictures, as they were brought to the model's size
DATA_SHA256: str = ""
VERSIONS: dict[str, str] = {}

# How the model was opened, and how pictures are fed to it.
OPENED: dict[str, Any] = {}
FED: dict[str, Any] = {}

# What was asked for. Each variant's own seed follows from this one. The pace is that of the machine that made
# the file: seconds of training become steps by it, so that another machine takes as many.
ASKED: dict[str, Any] = {}

# What was done, and why. Nothing here is executed: what is made again is held against it.
STEPS: list[tuple[str, dict[str, Any]]] = []


def main() -> None:
    """Makes the variant again and says what came out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "model", nargs="?" if MODEL else None, default=MODEL, help="the original model's file"
    )
    parser.add_argument("--data", default=DATA, help="a ZIP or folder of class folders, or a preset's name")
    parser.add_argument("--workspace", help="where Edgewise keeps its runs")
    given = parser.parse_args()
    if NEEDS_DATA and not given.data:
        sys.exit("The variant was made with a data set of your own: name it with --data.")
    try:
        run = made(given.model, given.data, given.workspace)
        print(compared(run))
    except EdgewiseError as error:
        sys.exit(str(error))


def made(model: str, data: str | None, workspace: str | None) -> engine.Run:
    """Returns the run that made it again. Raises EdgewiseError."""
    found = engine.inspect(model, data, workspace=workspace, **OPENED)
    if found.sha256 != MODEL_SHA256:
        sys.exit(f"{model} is another model than the one that the variant was made of.")
    fed = found.preprocessing.model_copy(update=FED["preprocessing"])
    found = found.model_copy(update={**FED, "preprocessing": fed})
    return engine.optimize(found, dataset=data, workspace=workspace, **ASKED)


def compared(run: engine.Run) -> str:
    """Returns what came out, as a sentence; ends with code 1 where it is another model."""
    variant = run.variant(VARIANT)
    if variant.status != "done":
        sys.exit(f"{VARIANT} {variant.status} here: {variant.reason}.")
    made_now = {artifact.sha256 for artifact in variant.artifacts}
    made_now.add(hashlib.sha256(run.path_of(VARIANT).read_bytes()).hexdigest())
    if FILE_SHA256 in made_now:
        return f"{VARIANT} came out the same, byte for byte."
    told = "; ".join([f"{VARIANT} came out as another file", *differences(run, variant)])
    if ACCURACY is None or variant.accuracy is None:
        sys.exit(f"{told}; there is no accuracy to hold it against.")
    low, before, high = ACCURACY
    figures = f"{variant.accuracy:.2%} of the test images are right, then {before:.2%}"
    figures += f" (95 % interval {low:.2%} to {high:.2%})"
    if not low <= variant.accuracy <= high:
        sys.exit(f"{told}; {figures}: it is another model.")
    return f"{told}; {figures}: the same within what so few images can tell."


def differences(run: engine.Run, variant: engine.Variant) -> list[str]:
    """Returns what else is not as it was then."""
    found = []
    for name, version in {"edgewise": engine.__version__, **variant.versions}.items():
        if VERSIONS.get(name) != version:
            found.append(f"{name} is {version}, then {VERSIONS.get(name)}")
    if run.data_sha256() != DATA_SHA256:
        found.append("the data set is not the same")
    now = [(step.what, step.parameters) for step in variant.steps]
    for number, (here, then) in enumerate(zip(now, STEPS, strict=False), start=1):
        if here != then:
            found.append(f"step {number} is {here}, then {then}")
            break
    return found


if __name__ == "__main__":
    main()
