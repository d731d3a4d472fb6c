"""How a run's time budget is split, and how long each stage is expected to take; the page and the run ask the
same.
"""

from pathlib import Path

from engine.backends import Facts
from engine.techniques import TECHNIQUES

TRAINING_SHARE = 0.7  # of the time budget; the rest is for exports, measuring and sensitivity
SENSITIVITY_SHARE = 0.05
# what answering all training images ahead may take: where it takes more, no technique comes to see that many
TEACHER_SHARE = 0.1
BASELINE_S = 8.0
CONVERSION_S = 15.0  # of a converter that is imported and run once
TECHNIQUE_S, VARIANT_S, TIMING_S = (
    6.0,
    2.0,
    5.0,
)  # a child's start, an export with its measurement, the last timing
GRACE_S = 120.0  # what a variant of a small network may take beyond its share before it counts as hanging
MANY_LAYERS, MANY_PARAMETERS = 100, 20_000_000  # so many more and it may take as long again


def training_seconds(trained: list[str], budget_s: float) -> dict[str, float]:
    """Returns the seconds of training that each technique gets, by its weight among those that really
    train.
    """
    total = sum(TECHNIQUES[name].weight for name in trained) or 1
    return {name: TRAINING_SHARE * budget_s * TECHNIQUES[name].weight / total for name in trained}


def pace_path(folder: Path) -> Path:
    """Returns where a run keeps its pace, by which it can be repeated, given the run's folder."""
    return folder / "cache" / "pace.json"


def needs_sensitivity(techniques: list[str]) -> bool:
    """Tells whether any of these techniques uses the sensitivity of each layer, computed once a run."""
    return any("sensitivity" in TECHNIQUES[name].needs for name in techniques if name in TECHNIQUES)


def sensitivity_seconds(budget_s: float) -> float:
    """Returns the seconds that the sensitivity of each layer may take."""
    return SENSITIVITY_SHARE * budget_s


def teacher_seconds(training: dict[str, float], budget_s: float) -> float:
    """Returns the seconds that the baseline may take to answer all training images, for the techniques that
    train after them.
    """
    return TEACHER_SHARE * budget_s if any(training.values()) else 0.0


def expected_seconds(
    chosen: list[str], training: dict[str, float], budget_s: float, converts: bool = False
) -> dict[str, float]:
    """Returns what each line of the run page is expected to take: `baseline`, `sensitivity` where something
    needs it, the techniques, `timing`. converts: whether the files come from a converter.
    """
    variants = {name: len(TECHNIQUES[name].variants) for name in chosen}
    shared = {"sensitivity": TECHNIQUE_S + sensitivity_seconds(budget_s)} if needs_sensitivity(chosen) else {}
    lines = {
        name: TECHNIQUE_S + VARIANT_S * count + training.get(name, 0.0) for name, count in variants.items()
    }
    return {
        "baseline": BASELINE_S + (CONVERSION_S if converts else 0.0),
        **shared,
        **lines,
        "timing": TIMING_S + VARIANT_S * sum(variants.values()),
    }


def grace_s(facts: Facts) -> float:
    """Returns what a variant may take beyond its share: a deep network's channels are removed slowly, a large
    one is trained, written and coded slowly however few the steps are."""
    return GRACE_S * (1 + len(facts.layers) / MANY_LAYERS + facts.parameters / MANY_PARAMETERS)
