"""The one door: what is asked is checked, made canonical and told in one sentence, before anything runs."""

from pathlib import Path

import pytest
from PIL import Image

from engine import ask, memory
from engine.errors import BadInput
from engine.formats.inspect import inspect_model
from engine.techniques import TECHNIQUES
from estimator.devices import all_devices

SMALL = "digits/pytorch/small"


def build(**changes):
    """Builds an experiment on the small digits network; a field that is `...` is left out."""
    asked = {"dataset": "digits", "device": "raspberry_pi_4", "techniques": ["fp16"]} | changes
    return ask.build(inspect_model(SMALL), **{k: v for k, v in asked.items() if v is not ...})


@pytest.fixture
def pictures(tmp_path) -> Path:
    """A folder of class folders."""
    for name in ("cat", "dog"):
        (tmp_path / "mine" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "mine" / name / "1.png")
    return tmp_path / "mine"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"device": "toaster"}, "No device is called 'toaster': choose one of raspberry_pi_3b"),
        ({"device": ...}, "No device is called ''"),
        ({"goal": "beauty"}, "No goal is called 'beauty': choose one of balanced"),
        ({"techniques": []}, "choose at least one"),
        ({"techniques": ["magic"]}, "No technique is called 'magic': choose from ptq_int8"),
        ({"time_budget_s": 9}, "give 10 to 86400 seconds"),
        ({"time_budget_s": 86_401}, "give 10 to 86400 seconds"),
        ({"dataset": "dogs"}, "No data set is called 'dogs'"),
        ({"dataset": ""}, "No data set is called ''"),
        ({"seed": -1}, "seed"),
        ({"constraints": {"max_size_mb": -1}}, "max_size_mb"),
        ({"constraints": {"max_sise_mb": 1}}, "max_sise_mb"),
        ({"max_size_mb": 1}, "max_size_mb"),
    ],
)
def test_what_is_wrong_is_one_sentence(change, words):
    with pytest.raises(BadInput) as caught:
        build(**change)
    assert words in str(caught.value) and "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_cheap_questions_come_before_the_model_is_opened():
    with pytest.raises(BadInput, match="toaster"):
        ask.build(lambda dataset: pytest.fail("it was opened"), device="toaster")


def test_techniques_run_in_their_own_order_once_each():
    asked = build(techniques=["hybrid", "fp16", "hybrid", "ptq_int8"])
    assert asked.techniques == ["ptq_int8", "fp16", "hybrid"]
    assert build(techniques=list(TECHNIQUES)[::-1]).techniques == list(TECHNIQUES)
    assert build(techniques=...).techniques == build(techniques=None).techniques == list(TECHNIQUES)


@pytest.mark.parametrize("device", all_devices())
def test_every_described_device_can_be_a_target(device):
    assert build(device=device).device == device


def test_what_was_made_by_hand_is_checked_before_it_starts(asked):
    made = asked(techniques=["hybrid", "fp16"], dataset="digits")
    assert ask.check(made).techniques == ["fp16", "hybrid"]
    for change in ({"device": "toaster"}, {"techniques": ["magic"]}, {"dataset": "dogs"}):
        with pytest.raises(BadInput, match="is called"):
            ask.check(made.model_copy(update=change))


def test_a_model_to_look_at_only_is_refused_with_its_reason(asked):
    model = asked().model.model_copy(update={"reach": "inspect", "warnings": ["It is compiled."]})
    with pytest.raises(BadInput, match=r"can be inspected and estimated only\. It is compiled\.$"):
        ask.check(asked().model_copy(update={"model": model}))


def test_too_little_memory_is_said_when_it_is_to_start(asked, monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda: 1)
    with pytest.raises(BadInput, match="MB of memory"):
        ask.check(asked())


def test_a_relative_data_set_is_found_from_any_folder(pictures, monkeypatch):
    monkeypatch.chdir(pictures.parent)
    assert build(dataset="mine").dataset == str(pictures)
    assert build(dataset="./mine/../mine").dataset == str(pictures)
    assert build(dataset="digits").dataset == "digits"


def test_what_a_technique_lacks_is_said_once_for_all(asked):
    model, trains = asked().model, TECHNIQUES["distill"]
    assert ask.lacks(trains, model, "digits") == "" == ask.lacks(TECHNIQUES["fp16"], model, None)
    assert "no labelled images" in ask.lacks(trains, model, None)
    bare = model.model_copy(update={"reach": "post_training", "warnings": ["It is ONNX."]})
    assert ask.lacks(trains, bare, "digits").endswith("can't be trained: It is ONNX.")
    assert ask.lacks(TECHNIQUES["fp16"], model.model_copy(update={"reach": "inspect"}), "digits")
