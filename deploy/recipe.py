"""A package's recipe: a script that makes its variant again from the original model, by Edgewise's public
face, and says whether the same file came out.
"""

import re
from pathlib import Path
from pprint import pformat
from textwrap import indent, wrap
from typing import Any

from deploy.readme import plain
from engine.datasets import DATASETS
from engine.errors import one_line
from engine.run.plan import pace_path
from engine.run.prepare import data_sha256
from engine.store.files import read_json
from engine.techniques import TECHNIQUES
from engine.version import VERSION
from engine.vocabulary import Artifact, Run, Step, Variant
from models.catalog import CATALOG

WIDTH = 100
QUICK = "fp16"  # what a run is asked for whose baseline alone is wanted
TEMPLATE = (Path(__file__).parent / "recipe_template.py").read_text()


def recipe(run: Run, variant: Variant, stored: Artifact, folder: Path) -> str:
    """Returns recipe.py for one variant. stored: its file that travels. folder: the run's."""
    asked, model = run.experiment, run.experiment.model
    values = {
        "VARIANT": variant.id,
        "FILE_SHA256": stored.sha256,
        "ACCURACY": _accuracy(variant),
        "MODEL": model.name if model.name in CATALOG else None,
        "MODEL_SHA256": model.sha256,
        "DATA": asked.dataset if asked.dataset in DATASETS else None,
        "DATA_SHA256": data_sha256(asked, folder.parent.parent),
        "NEEDS_DATA": asked.dataset is not None,
        "VERSIONS": {"edgewise": VERSION, **variant.versions},
        "OPENED": {
            "architecture": None if model.name in CATALOG else model.architecture,
            "input_size": model.input_shape[:2],
        },
        "FED": {
            "preprocessing": model.preprocessing.model_dump(),
            "classes": model.classes,
            "outputs": model.outputs,
        },
        "ASKED": {
            "device": asked.device,
            "runtime": asked.runtime,
            "techniques": techniques(run, variant),
            "seed": asked.seed,
            "cautious": asked.cautious,
            **asked.constraints.model_dump(exclude_none=True, exclude={"recall_index"}),
            "pace": read_json(pace_path(folder)),
        },
    }
    text = TEMPLATE.replace("VARIANT_OF_MODEL", f"{plain(variant.id)} of {plain(model.name)}")
    written = {name: _literal(value) for name, value in values.items()} | {"STEPS": steps(variant.steps)}
    for name, literal in written.items():
        before, declared, _, after = _parted(text, name)
        text = f"{before}{declared}{literal}\n{after}"
    return text


def techniques(run: Run, variant: Variant) -> list[str]:
    """Returns what must run for this variant to come out as it did: one that trains goes on from what those
    before it left (a teacher's answers, a narrower network).
    """
    if variant.technique not in TECHNIQUES:
        return [QUICK]
    if not TECHNIQUES[variant.technique].trains:
        return [variant.technique]
    chosen = run.experiment.techniques
    before = chosen[: chosen.index(variant.technique) + 1]
    return [name for name in before if name in TECHNIQUES and TECHNIQUES[name].trains]


def steps(done: list[Step]) -> str:
    """Returns the steps as Python, the why of each before it."""
    lines = ["["]
    for step in done:
        lines += [f"    # {line}" for line in wrap(one_line(step.why), WIDTH - 6)]
        lines += [indent(pformat((step.what, step.parameters), width=WIDTH - 6), "    ") + ","]
    return "\n".join([*lines, "]"])


def _parted(text: str, name: str) -> list[str]:
    """Returns what is before a constant's line, its name and type, its value, and what is after it."""
    return re.split(rf"^({name}: .* = )(.*)\n", text, maxsplit=1, flags=re.M)


def _accuracy(variant: Variant) -> tuple[float, float, float] | None:
    low, middle, high = variant.accuracy_low, variant.accuracy, variant.accuracy_high
    return None if low is None or middle is None or high is None else (low, middle, high)


def _literal(value: Any) -> str:
    text = pformat(value, width=WIDTH, sort_dicts=False)
    return text if "\n" not in text else text.replace("\n", "\n" + " " * 4)
