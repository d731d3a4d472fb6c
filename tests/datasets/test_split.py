"""Parts are disjoint, stratified, whole and always the same."""

import numpy as np
import pytest

from engine.datasets.split import split_four_ways, split_training_part, stratified_order

LABELS = np.repeat(np.arange(4), [400, 300, 200, 100])[np.random.default_rng(5).permutation(1000)]


def shares(labels):
    return np.bincount(labels, minlength=4) / len(labels)


def test_every_beginning_of_the_order_is_stratified():
    order = stratified_order(LABELS)
    assert sorted(order) == list(range(1000))
    for n in (50, 100, 333, 1000):
        assert np.abs(np.bincount(LABELS[order[:n]], minlength=4) - n * shares(LABELS)).max() <= 2


def test_four_ways_are_disjoint_whole_and_stratified():
    parts = split_four_ways(LABELS)
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 600,
        "validation": 100,
        "calibration": 100,
        "test": 200,
    }
    assert sorted(np.concatenate(list(parts.values()))) == list(range(1000))
    for part in parts.values():
        assert np.abs(shares(LABELS[part]) - shares(LABELS)).max() < 0.02


@pytest.mark.parametrize("last", [False, True])
def test_parts_drawn_from_a_training_part(last):
    parts = split_training_part(LABELS, validation=200, calibration=50, validation_is_last=last)
    assert [len(parts[name]) for name in ("train", "validation", "calibration")] == [750, 200, 50]
    assert sorted(np.concatenate(list(parts.values()))) == list(range(1000))
    assert (sorted(parts["validation"]) == list(range(800, 1000))) == last


def test_the_order_does_not_depend_on_global_randomness():
    np.random.seed(1)
    first = stratified_order(LABELS)
    np.random.seed(2)
    assert (first == stratified_order(LABELS)).all()
