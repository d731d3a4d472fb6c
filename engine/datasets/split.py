"""Which image goes into which part: stratified, disjoint, and the same in every run.

The seed is a constant of the house, not the run's seed: two runs are only comparable on the same parts.
"""

from __future__ import annotations

import numpy as np

SPLIT_SEED = 20_240_229


def stratified_order(labels: np.ndarray, seed: int = SPLIT_SEED) -> np.ndarray:
    """Return a shuffled order of `labels` (int [n]) in which every beginning holds the classes in proportion.

    Returns int64 [n], a permutation. Each image gets a place in 0..1 evenly spread within its class;
    sorting by place interleaves the classes.
    """
    labels = np.asarray(labels)
    random = np.random.default_rng(seed)
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        place[members] = (np.arange(len(members)) + random.random(len(members))) / len(members)
    return np.argsort(place, kind="stable")


def split_four_ways(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Split a set without parts of its own 60/10/10/20 into train, validation, calibration and test.

    Returns the images' indices (int64) by part; each part in stratified order.
    """
    order = stratified_order(labels)
    n = len(order)
    test, validation, calibration = round(0.2 * n), round(0.1 * n), round(0.1 * n)
    ends = np.cumsum([test, validation, calibration])
    return dict(zip(("test", "validation", "calibration", "train"), np.split(order, ends), strict=True))


def split_training_part(
    labels: np.ndarray, validation: int, calibration: int, validation_is_last: bool = False
) -> dict[str, np.ndarray]:
    """Draw validation and calibration images from a training part that has its own test part beside it.

    `labels` is int [n]; `validation` and `calibration` are numbers of images. With `validation_is_last`
    the last images of the file validate (CIFAR-10's custom), else they are drawn stratified.
    Returns indices (int64) for "train", "validation", "calibration"; each part in stratified order.
    """
    labels = np.asarray(labels)
    if validation_is_last:
        first = len(labels) - validation
        held_out = first + stratified_order(labels[first:])
        rest = stratified_order(labels[:first])
    else:
        held_out, rest = np.split(stratified_order(labels), [validation])
    return {"train": rest[calibration:], "validation": held_out, "calibration": rest[:calibration]}
