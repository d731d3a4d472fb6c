"""What a variant's figures mean, in words: said once, for the recommendation and for the pages."""

from engine.judge.limits import LIMITS
from engine.vocabulary import Variant
from estimator.devices import all_devices

SIGNIFICANT = 0.05
SAME_PP = 0.005  # rounded to two decimals it is nothing


def device_name(device: str) -> str:
    """Returns a device's name for people; one that is not described (any more) keeps its id."""
    return all_devices()[device].name if device in all_devices() else device


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


def misses(variant: Variant) -> str:
    """Returns by how much a variant misses its limits, or an empty string."""
    found = [
        f"{LIMITS[name].label} by {LIMITS[name].with_unit(f'{value:.3g}')}"
        for name, value in variant.misses.items()
        if name in LIMITS
    ]
    return "misses " + " and ".join(found) if found else ""
