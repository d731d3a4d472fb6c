"""Which runtime a run's files are for, and the sentence where it is not the one that was wanted."""

import pytest

from engine import ask, frameworks, runtimes
from engine.errors import BadInput
from engine.formats.inspect import inspect_model

PYTORCH, KERAS = "digits/pytorch/small", "digits/keras/small"


@pytest.fixture(params=[True, False], ids=["converter", "no converter"])
def installed(request, monkeypatch) -> bool:
    """Whether the converter from PyTorch to TFLite is installed."""
    monkeypatch.setattr(frameworks, "find_spec", lambda name: object() if request.param else None)
    return request.param


@pytest.mark.parametrize(
    ("model", "device", "asked", "runtime", "says"),
    [
        (PYTORCH, "raspberry_pi_4", None, "onnxruntime", ""),
        (PYTORCH, "jetson_nano", None, "onnxruntime", ""),
        (PYTORCH, "coral_usb", "onnxruntime", "onnxruntime", ""),
        (KERAS, "raspberry_pi_4", None, "litert", ""),
        (KERAS, "coral_dev_board", None, "litert", ""),
        (
            KERAS,
            "jetson_nano",
            None,
            "litert",
            "Keras models can't be written as ONNX, for ONNX Runtime: this",
        ),
        (KERAS, "raspberry_pi_4", "onnxruntime", "litert", "this run's files are TFLite, for LiteRT."),
    ],
)
def test_the_one_asked_for_else_the_devices_own(installed, model, device, asked, runtime, says):
    made = ask.build(inspect_model(model), device=device, runtime=asked)
    assert made.runtime == runtime and says in made.runtime_note and bool(says) == bool(made.runtime_note)


@pytest.mark.parametrize("asked", [None, "litert"])
def test_without_the_converter_it_is_onnx_and_says_what_to_install(installed, asked):
    made = ask.build(inspect_model(PYTORCH), device="coral_dev_board", runtime=asked)
    assert made.runtime == ("litert" if installed else "onnxruntime")
    assert installed or "litert-torch, which is not installed (`pip install -r" in made.runtime_note
    assert runtimes.format_of(made.model, made.runtime) == ("tflite" if installed else "onnx")


def test_what_can_not_be_trained_keeps_the_files_of_its_own_framework():
    model = inspect_model(PYTORCH).model_copy(update={"reach": "post_training"})
    assert runtimes.offered(model) == ["onnxruntime"]
    assert "ONNX models can't be written as TFLite" in runtimes.settled(model, "coral_usb")[1]
    assert runtimes.format_of(model, "litert") == "onnx"


def test_an_unknown_runtime_is_one_sentence(asked):
    for ask_for in (
        lambda: ask.build(inspect_model(PYTORCH), device="coral_usb", runtime="ncnn"),
        lambda: ask.check(asked(runtime="ncnn")),
    ):
        with pytest.raises(BadInput, match="No runtime is called 'ncnn': choose one of onnxruntime, litert."):
            ask_for()


@pytest.mark.parametrize(
    ("model", "file", "layout"), [(PYTORCH, "a/model.tflite", "NHWC"), (PYTORCH, "model.onnx", "NCHW")]
)
def test_pictures_go_into_a_file_as_its_format_wants(model, file, layout):
    assert inspect_model(model).preprocessing.as_fed(file).layout == layout
