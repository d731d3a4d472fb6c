"""What a variant's figures mean, in words: said once, for the recommendation and for the pages."""

from collections.abc import Iterable

from engine.judge.limits import LIMITS
from engine.vocabulary import Variant
from estimator.devices import all_devices

# as people call what runs a file on a device
RUNTIMES = {
    "onnxruntime": "ONNX Runtime",
    "litert": "LiteRT",
    "tensorrt": "TensorRT",
    "edgetpu": "Edge TPU",
    "rknn": "RKNN",
    "hailort": "HailoRT",
    "qnn": "Qualcomm QNN",
    "tflm": "TensorFlow Lite Micro",
    "ncnn": "ncnn",
}
SIGNIFICANT = 0.05
ENOUGH = 5  # test images of a class
NAMED = 5  # classes that are named in one sentence
UNLIKELY_PP = 5.0  # a larger gain is not of compression
SAME_PP = 0.005  # rounded to two decimals it is nothing


def device_name(device: str) -> str:
    """Returns a device's name for people; one that is not described (any more) keeps its id."""
    return all_devices()[device].name if device in all_devices() else device


def holds_words(texts: Iterable[object], wanted: str) -> bool:
    """Tells whether texts together hold every word that is searched for, in any case."""
    text = " ".join(map(str, texts)).casefold()
    return all(word in text for word in wanted.casefold().split())


def dataset_name(dataset: str) -> str:
    """Returns what a data set is called: a preset's id, or the name of its file or folder."""
    return dataset.replace("\\", "/").rsplit("/", 1)[-1]


def is_noise(variant: Variant) -> bool:
    """Tells whether the test images can't tell the variant's accuracy from the baseline's."""
    return variant.p_value is not None and variant.p_value >= SIGNIFICANT


def accuracy(variant: Variant) -> str:
    """Returns how accurate a variant is beside the baseline, and whether that is more than noise:
    "at 0.28 pp less accuracy, a difference that 359 test images can't tell from zero (p = 1.00)".
    """
    drop, images = variant.accuracy_drop_pp, variant.test_images
    if drop is None:
        return "at an accuracy that was not measured, because the run had no labelled images"
    if abs(drop) < SAME_PP:
        return "at the same accuracy" + (f" on {images:,} test images" if images else "")
    words = f"at {abs(drop):.2f} pp {'less' if drop > 0 else 'more'} accuracy"
    if variant.p_value is None or not images:
        return words
    if is_noise(variant):
        return (
            f"{words}, a difference that {images:,} test images can't tell from zero (p ="
            f" {variant.p_value:.2f})"
        )
    p = "< 0.001" if variant.p_value < 0.001 else f"= {variant.p_value:.3f}"
    return f"{words}, a real difference (p {p})"


def doubts(variant: Variant, classes: list[str]) -> list[str]:
    """Returns what an accuracy alone hides, a sentence each: classes that are never named, and a gain that
    making a network smaller can't give.
    """
    found = []
    table, never = variant.confusion, never_named(variant)
    if never:
        names = ", ".join(f"'{classes[i][:40]}' ({sum(table[i]):,} test images)" for i in never[:NAMED])
        more = f" and {len(never) - NAMED} more" if len(never) > NAMED else ""
        found.append(f"It never names {names}{more}: its accuracy comes from the other classes.")
    drop = variant.accuracy_drop_pp
    if drop is not None and drop <= -UNLIKELY_PP and not is_noise(variant):
        found.append(
            f"It is {-drop:.1f} pp more accurate than your model, which making a network smaller can't give:"
            + (
                " the fine-tuning did, so your model was not trained to its end for these pictures, or was"
                " trained with another preprocessing than the one that was found."
                if any(step.what == "fine_tune" for step in variant.steps)
                else " the preprocessing that was found for your model may not be its own."
            )
        )
    return found


def never_named(variant: Variant, fewest: int = 1) -> list[int]:
    """Returns the classes with `fewest` test images or more that no image was called."""
    table = variant.confusion
    return [i for i, row in enumerate(table) if sum(row) >= fewest and not any(other[i] for other in table)]


def has_forgotten(variant: Variant, baseline: Variant) -> bool:
    """Tells whether a variant never names a class any more that the baseline names, and that has enough test
    images to say so.
    """
    return not set(never_named(variant, ENOUGH)) <= set(never_named(baseline))


def misses(variant: Variant) -> str:
    """Returns what makes a variant no answer at all, by how much it misses its limits, or an empty string."""
    if not variant.usable:
        return "never names a class" if never_named(variant, ENOUGH) else "fell to chance"
    found = [
        f"{LIMITS[name].label} by {LIMITS[name].with_unit(f'{value:.3g}')}"
        for name, value in variant.misses.items()
        if name in LIMITS
    ]
    return "misses " + " and ".join(found) if found else ""
