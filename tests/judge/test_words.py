"""What an accuracy alone hides is said."""

import pytest

from engine.judge import words
from engine.vocabulary import Experiment, Run, Step, Variant


def variant(**figures) -> Variant:
    return Variant(id="distill@0.5", technique="distill", status="done", **figures)


def test_a_class_that_is_never_named_is_said():
    rare = variant(accuracy=0.95, confusion=[[95, 0], [5, 0]], accuracy_drop_pp=3.0, p_value=0.01)
    (sentence,) = words.doubts(rare, ["common", "rare"])
    assert "never names 'rare' (5 test images)" in sentence


@pytest.mark.parametrize("confusion", [[[90, 5], [4, 1]], [[95, 0], [0, 0]], []])
def test_a_class_that_is_named_or_has_no_images_is_not(confusion):
    assert words.doubts(variant(confusion=confusion), ["common", "rare"]) == []


def test_many_such_classes_are_counted():
    table = [[10] + [0] * 8 for _ in range(9)]
    (sentence,) = words.doubts(variant(confusion=table), [f"c{i}" for i in range(9)])
    assert "and 3 more" in sentence and "'c5'" in sentence


@pytest.mark.parametrize(
    "steps, told", [([Step(what="fine_tune", why="")], "fine-tuning did"), ([], "preprocessing")]
)
def test_a_gain_that_pruning_cannot_give_is_doubted(steps, told):
    (sentence,) = words.doubts(variant(accuracy_drop_pp=-16.0, p_value=0.0001, steps=steps), [])
    assert "16.0 pp more accurate" in sentence and told in sentence


def test_a_small_gain_or_a_noisy_one_is_not():
    assert words.doubts(variant(accuracy_drop_pp=-1.0, p_value=0.001), []) == []
    assert words.doubts(variant(accuracy_drop_pp=-16.0, p_value=0.2), []) == []


def test_the_command_line_s_table_says_it(asked):
    from engine.judge.printed import table

    experiment: Experiment = asked()
    names = len(experiment.model.classes)
    confusion = [[7 if j == 0 else 0 for j in range(names)] for _ in range(names)]
    rare = variant(confusion=confusion, parameters=10, size_bytes=10, compressed_bytes=9, macs=100)
    run = Run(id="x", state="done", experiment=experiment, created=0.0, variants=[rare])
    assert "  ! It never names" in table(run)


def test_a_class_that_is_never_named_any_more_is_forgotten():
    """Not where the model as it was given never named it either, or where it has hardly any images."""
    whole, rare_lost = variant(confusion=[[95, 0], [1, 9]]), variant(confusion=[[95, 0], [10, 0]])
    assert words.has_forgotten(rare_lost, whole) and not words.has_forgotten(whole, whole)
    assert not words.has_forgotten(rare_lost, rare_lost)
    assert not words.has_forgotten(variant(confusion=[[95, 0], [3, 0]]), whole)
    assert words.misses(rare_lost.model_copy(update={"usable": False})) == "never names a class"
    assert words.misses(whole.model_copy(update={"usable": False})) == "fell to chance"
