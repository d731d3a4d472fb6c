"""What crosses the wall between a run and its children: typed on both sides."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from engine.backends import Facts, LayerInfo
from engine.errors import BadInput
from engine.run import tasks
from engine.run.prepare import prepare, wanted
from engine.run.requests import FACTS, MakeVariants
from engine.vocabulary import LayerSensitivity
from engine.wall import sandbox


def test_every_task_is_named_in_its_request():
    assert {name: kind.model_fields["task"].default for name, (kind, _) in tasks.TASKS.items()} == {
        name: name for name in tasks.TASKS
    }


@pytest.fixture
def made(asked, tmp_path) -> MakeVariants:
    facts = Facts("pytorch", (LayerInfo("conv1", "conv", (8, 1, 3, 3), 1000),), 152, 1080)
    return MakeVariants(
        folder=tmp_path,
        home=tmp_path,
        dataset="digits",
        model=asked().model,
        technique="fp16",
        facts=facts,
        sensitivity=(LayerSensitivity(layer="conv1", change="int8", accuracy_drop_pp=1, loss_increase=0.1),),
        seed=0,
        seconds=1.0,
        tolerance=0.005,
        dot_product=False,
        channel_multiple=8,
        device="raspberry_pi_4",
    )


def test_a_request_comes_out_as_it_went_in(made):
    assert MakeVariants.model_validate(made.sent()) == made
    assert FACTS.validate_python(FACTS.dump_python(made.facts, mode="json")) == made.facts


@pytest.mark.parametrize("change", [{"seconds": None}, {"colour": "blue"}, {"facts": {"layers": 7}}])
def test_a_request_with_something_wrong_is_refused_before_any_work(made, change):
    with pytest.raises(ValidationError):
        tasks.answer(made.sent() | change, lambda message: None)


def test_images_are_brought_to_the_model_s_size_but_for_a_preset_of_that_size(made):
    def of(shape):
        return made.model.model_copy(update={"input_shape": shape})

    assert wanted("digits", of((28, 28, 1))) == {} and wanted("mine.zip", None) == {}
    assert wanted("digits", of((32, 32, 3)))["image_shape"] == (32, 32, 3)
    assert wanted("mine.zip", of((28, 28, 1))) == {
        "image_shape": (28, 28, 1),
        "fit": "stretch",
        "upright": True,
    }


def test_whoever_makes_a_data_set_ready_asks_with_the_same_limits(monkeypatch, tmp_path, made):
    asked = []
    monkeypatch.setattr(
        sandbox, "run", lambda module, request, limits, *rest: asked.append((request, limits))
    )
    prepare("digits", tmp_path)
    of_a_model = made.model.model_copy(update={"input_shape": (32, 32, 3)})
    prepare("digits", tmp_path, of_a_model, sandbox.Watch(), tmp_path / "log")
    assert [request["image_shape"] for request, _ in asked] == [None, [32, 32, 3]]
    assert len({limits for _, limits in asked}) == 1 and asked[0][1].network


def test_a_wrong_data_set_is_a_sentence_of_whoever_asked(tmp_path):
    with pytest.raises(BadInput, match="There is no data set"):
        prepare(str(Path(tmp_path, "none.zip")), tmp_path)
