"""What is this model? Bytes in, facts out (`ModelFile`); the bytes are only ever opened behind the wall.

Imports no framework, so every front may call it.
"""

import json
import zipfile
from pathlib import Path

from engine import watch
from engine.datasets import MOST_SIDE_PX
from engine.errors import BadInput, TooMuch, one_line
from engine.formats import FORMATS, accepted
from engine.formats.torch import safetensors
from engine.vocabulary import ModelFile, Preprocessing, parse
from engine.wall import sandbox
from engine.wall.turns import turn
from models.catalog import CATALOG, ShippedModel, sha256_of

LIMITS = sandbox.Limits(
    memory_bytes=1_500_000_000, seconds=90, file_bytes=700_000_000, threads=2, programs=False
)
MOST_NAME = 200  # letters of a file's name that are shown


def models() -> list[ModelFile]:
    """Returns the shipped models. Raises BadInput when the weights of one are missing or changed."""
    return [_shipped(entry) for entry in CATALOG.values()]


def architectures() -> list[str]:
    """Returns the names that may be chosen by hand for bare weights, besides chains
    (`chain:28:p0s1m2,p0s1m2:max:relu:flat`).
    """
    table = json.loads(
        (Path(__file__).parent / "torch" / "torchvision_keys.json").read_text(encoding="utf-8")
    )
    resnets = [f"cifar_resnet{depth}{shortcut}" for shortcut in ("", "_b") for depth in (20, 32, 44, 56, 110)]
    shipped = sorted({entry.architecture for entry in CATALOG.values() if entry.framework == "pytorch"})
    return list(
        dict.fromkeys(
            [*shipped, *resnets, *sorted(f"torchvision/{name}" for names in table.values() for name in names)]
        )
    )


def inspect_model(
    path: str | Path,
    name: str | None = None,
    *,
    dataset: str | None = None,
    architecture: str | None = None,
    input_size: tuple[int, int] | None = None,
    home: str | Path | None = None,
) -> ModelFile:
    """Recognises, checks and opens a model behind the wall and returns the facts about it.

    Args:
        path: A file, or the id of a shipped model such as "digits/pytorch/small".
        name: What to call it; the file's name by default.
        dataset: A data set prepared under `home`; its labelled validation images settle the preprocessing and
            what
            bare weights leave open.
        architecture: The network that bare weights belong to, when the user chose it.
        input_size: Height and width of its images, when the user set them.
        home: The workspace.

    Raises BadInput with one sentence: what is wrong, why, what to do.
    """
    if str(path) in CATALOG:
        model = _shipped(CATALOG[str(path)])
        if input_size not in (None, tuple(model.input_shape[:2])):
            raise BadInput(f"{model.name} takes images of one size: leave the input size out.")
        return model
    file = Path(path)
    name = one_line(name or file.name)[:MOST_NAME] or "model"
    if input_size is not None and not all(1 <= side <= MOST_SIDE_PX for side in input_size):
        raise BadInput(f"An image has 1 to {MOST_SIDE_PX:,} pixels a side: give another input size.")
    if not file.is_file():
        raise BadInput(
            f"There is no file '{one_line(file.name)[:MOST_NAME]}' and no shipped model of that id: give the"
            f" path of a model file, or one of {', '.join(CATALOG)}."
        )
    request = {
        "path": str(file.resolve()),
        "name": name,
        "dataset": dataset,
        "architecture": architecture,
        "input_size": list(input_size) if input_size else None,
        "home": str(home) if home else None,
    }
    try:
        with turn():
            answer = sandbox.run("engine.formats.behind_wall", request, LIMITS)
    except TooMuch:
        raise
    except BadInput:
        watch.count("model_refused")
        raise
    except sandbox.Failed as failed:
        raise watch.refused(
            "model_refused",
            f"'{name}' could not be opened, because {failed}: check that it is a whole, "
            "unaltered image classifier.",
        ) from None
    return parse(ModelFile, answer)


def titles() -> dict[str, str]:
    """Returns what to call each kind of file that is taken, by `ModelFile.format`."""
    return {id: kind.title for id, kind in accepted().items()}


def taken() -> str:
    """Returns the formats that are taken, as one line for people."""
    return ", ".join(format.title for format in FORMATS)


def _shipped(entry: ShippedModel) -> ModelFile:
    path = entry.weights_path
    if not path.exists() or sha256_of(path) != entry.sha256:
        raise BadInput(f"The weights of {entry.id} are missing or changed: get them again from the project.")
    return ModelFile(
        name=entry.id,
        path=str(path),
        sha256=entry.sha256,
        size_bytes=path.stat().st_size,
        format="keras_v3" if entry.framework == "keras" else "safetensors",
        framework=entry.framework,
        architecture=entry.architecture,
        input_shape=entry.input_shape,
        classes=list(entry.classes),
        layers=_layers(path),
        parameters=entry.parameters,
        preprocessing=parse(Preprocessing, entry.preprocessing),
    )


def _layers(path: Path) -> int:
    """Counts the layers with weights of a shipped file."""
    if path.suffix == ".safetensors":
        return sum(len(shape) in (2, 4) for shape in safetensors.check(path).values())
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    return sum(
        layer["class_name"] in ("Conv2D", "DepthwiseConv2D", "Dense") for layer in config["config"]["layers"]
    )
