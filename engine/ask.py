"""Are there enough images for the techniques that are chosen? Said before a run, from the data set's counts
alone.
"""

from engine.techniques import TECHNIQUES

A_CLASS_TO_TRAIN = 50
TO_CALIBRATE = 32
TO_CHOOSE = 50
CALIBRATED = ("ptq_int8", "qat_int8", "hybrid")
SEARCHING = ("ptq_int4", "hybrid")


def too_few(meta: dict, techniques: list[str]) -> list[str]:
    """Returns what is too little in a data set (its `meta.json`) for these techniques, a sentence each."""
    sizes = {part: stop - start for part, (start, stop) in meta["parts"].items()}
    fewest = min(meta["class_counts"]["train"])
    found = []
    if fewest < A_CLASS_TO_TRAIN and (
        named := _titles(techniques, [t for t in techniques if TECHNIQUES[t].trains])
    ):
        found.append(
            f"The smallest class has {_counted(fewest, 'training image')}, fewer than {A_CLASS_TO_TRAIN}:"
            f" fine-tuning learns them by heart, so expect losses from {named}."
        )
    if sizes["calibration"] < TO_CALIBRATE and (named := _titles(techniques, CALIBRATED)):
        found.append(
            f"Only {_counted(sizes['calibration'], 'calibration image')} set the ranges of activations, fewer"
            f" than {TO_CALIBRATE}: {named} may lose accuracy."
        )
    if sizes["validation"] < TO_CHOOSE and (named := _titles(techniques, SEARCHING)):
        found.append(
            f"Only {_counted(sizes['validation'], 'validation image')} choose among settings, fewer than"
            f" {TO_CHOOSE}: the search of {named} can't see small losses."
        )
    return found


def _titles(techniques: list[str], wanted) -> str:
    return ", ".join(TECHNIQUES[name].title for name in techniques if name in wanted)


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
