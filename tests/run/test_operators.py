"""Time by operator: measured on a real file, kept, in one sentence, refused where there is no profiler."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from engine.errors import BadInput
from engine.judge.operators import OperatorTime, shares, why
from engine.run import operators, profiler
from engine.vocabulary import Artifact
from engine.wall import sandbox
from engine.wall.sandbox import Failed

ROWS = [{"name": "Conv", "kind": "float", "calls": 1, "ms": 1.0}]


def row(name: str, kind: str, ms: float) -> OperatorTime:
    return OperatorTime(name=name, kind=kind, calls=1, ms=ms)


@pytest.fixture
def file(tmp_path) -> Path:
    """A float file of two Adds and a cast, which the optimizer can't join."""
    one = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    nodes = [
        helper.make_node("Erf", ["x"], ["a"]),
        helper.make_node("Erf", ["a"], ["b"]),
        helper.make_node("Cast", ["b"], ["y"], to=TensorProto.DOUBLE),
    ]
    graph = helper.make_graph(
        nodes, "g", [one], [helper.make_tensor_value_info("y", TensorProto.DOUBLE, [1, 4])]
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def test_each_operator_is_timed_once_with_what_it_does(file):
    rows = profiler.timed(file, np.zeros((1, 4), np.float32), False, 1)
    assert {(r["name"], r["kind"], r["calls"]) for r in rows} == {
        ("Erf", "float", 2),
        ("Cast", "conversion", 1),
    }
    assert all(r["ms"] >= 0 for r in rows) and rows == sorted(rows, key=lambda r: -r["ms"])


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("QLinearConv", "uint8", "int8"),
        ("NhwcMaxPool", "int8", "int8"),
        ("Conv", "float", "float"),
        ("ConvInteger", "uint8", "int8"),
        ("DynamicQuantizeMatMul", "float", "int8"),
        ("QuantizeLinear", "float", "conversion"),
        ("ReorderInput", "float", "layout"),
    ],
)
def test_what_an_operator_does_follows_from_its_name_and_input(name, kind, expected):
    assert profiler.kind_of({"op_name": name, "input_type_shape": [{kind: [1]}]}) == expected


def test_the_sentence_says_where_the_time_goes():
    float_ = [row("Conv", "float", 1.0)]
    fast = [row("QLinearConv", "int8", 0.4), row("QuantizeLinear", "conversion", 0.1)]
    assert why(fast, float_) == (
        "On this machine, one thread, it is 2 times as fast as your model; its time is 80 % INT8 arithmetic,"
        " 20 % converting between the two."
    )
    slow = [row("Transpose", "layout", 0.9), row("QLinearConv", "int8", 0.6)]
    assert "1.5 times as slow" in why(slow, float_) and why(slow, float_).endswith("is spent in Transpose.")
    assert why([], float_) == why(float_, []) == "" and shares([]) == {}


def test_what_was_measured_is_kept_and_not_measured_again(recorded, workspace):
    asked = recorded(operators, "paths", ROWS)
    first = operators.time_operators("recorded", workspace, ["ptq_int4@mixed"])
    assert asked == [["baseline", "ptq_int4@mixed"]]
    assert operators.time_operators("recorded", workspace, ["ptq_int4@mixed"]) == first and len(asked) == 1
    assert operators.operators_of("recorded", workspace) == first


def test_an_unknown_variant_and_another_runtime_are_one_sentence(recorded, workspace, monkeypatch):
    recorded(operators, "paths", ROWS)
    with pytest.raises(BadInput, match="no finished variant 'nope'"):
        operators.time_operators("recorded", workspace, ["nope"])
    monkeypatch.setattr(Artifact, "opened", "artifacts/x/model.tflite")
    with pytest.raises(BadInput, match="LiteRT's Python package"):
        operators.time_operators("recorded", workspace, ["ptq_int4@mixed"])


def test_an_answer_that_leaves_a_variant_out_is_not_kept(recorded, workspace, monkeypatch):
    recorded(operators, "paths", ROWS)
    monkeypatch.setattr(sandbox, "run", lambda *asked: {"baseline": ROWS})
    with pytest.raises(Failed, match="something else"):
        operators.time_operators("recorded", workspace, ["ptq_int4@mixed"])
    assert operators.operators_of("recorded", workspace) == {}
