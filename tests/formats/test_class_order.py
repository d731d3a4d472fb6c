"""A class order that the pictures point to can be taken, and is what is measured and shipped."""

import json
import zipfile

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from engine import cli, face
from engine.errors import BadInput
from engine.formats.class_order import accepted

ORDER = ["green", "blue", "red"]  # of the outputs; the folders' is blue, green, red
COLORS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Returns the paths of a network that tells three colours apart, of a ZIP of them, and a workspace."""
    folder, rng = tmp_path_factory.mktemp("order"), np.random.default_rng(0)
    with zipfile.ZipFile(folder / "mine.zip", "w") as archive:
        for kind, color in COLORS.items():
            for i in range(60):
                noisy = (rng.integers(-25, 26, (24, 24, 3)) + np.array(color)).clip(0, 255).astype(np.uint8)
                with archive.open(f"{kind}/{i}.png", "w") as file:
                    Image.fromarray(noisy).save(file, "PNG")
    weights = np.array([[0, 5, 0], [0, 0, 5], [5, 0, 0]], np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
            helper.make_node("Conv", ["mean", "w"], ["c"]),
            helper.make_node("Flatten", ["c"], ["scores"]),
        ],
        "colors",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(weights.reshape(3, 3, 1, 1), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(folder / "colors.onnx"))
    return folder / "colors.onnx", folder / "mine.zip", folder / "home"


@pytest.mark.slow
def test_the_order_is_found_taken_and_measured_and_is_in_the_package(made, tmp_path):
    model, source, home = made
    found = face.inspect(model, source, workspace=home)
    assert found.classes == sorted(COLORS) and found.class_order == ORDER
    assert "100.0%" in found.warnings[0] and "--class-order found" in found.warnings[0]
    run = face.optimize(
        model,
        device="raspberry_pi_4",
        dataset=source,
        techniques=["fp16"],
        class_order="found",
        workspace=home,
    )
    assert run.variant("baseline").accuracy == 1.0 and run.experiment.model.classes == ORDER
    with zipfile.ZipFile(face.package(run, "baseline", tmp_path / "package.zip")) as package:
        name = next(name for name in package.namelist() if name.endswith("metadata.json"))
        assert json.loads(package.read(name))["classes"] == ORDER


def test_the_command_line_takes_an_order_and_a_size(made, monkeypatch):
    model, source, home = made
    monkeypatch.setenv("EDGEWISE_HOME", str(home))
    asked = ["--dataset", str(source), "--class-order", "green, blue,red", "--input-size", "20", "28"]
    result = CliRunner().invoke(cli.cli, ["inspect", str(model), *asked, "--json"])
    told = json.loads(result.output)
    assert told["classes"] == ORDER and not told["warnings"] and told["class_order"] == []
    assert told["input_shape"] == [20, 28, 3]


@pytest.fixture(scope="module")
def found(made):
    model, source, home = made
    return face.inspect(model, source, workspace=home)


@pytest.mark.parametrize("wanted", ["green,blue", "green,blue,blue", "green,blue,mauve", ["red"], ""])
def test_an_order_of_other_names_is_refused(found, wanted):
    with pytest.raises(BadInput, match="name each of the 3 classes once"):
        accepted(found, wanted)
    with pytest.raises(BadInput, match="No other order of the classes was found"):
        accepted(found.model_copy(update={"class_order": []}), "found")
