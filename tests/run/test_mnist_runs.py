"""Every technique on shipped MNIST networks of both frameworks, as a user runs them, checked by reading the
files.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from engine.formats.inspect import inspect_model
from engine.run import jobs
from engine.store.workspace import Workspace
from engine.techniques import TECHNIQUES
from engine.vocabulary import Experiment, Run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not os.environ.get("EDGEWISE_DATA"), reason="the real MNIST is needed: EDGEWISE_DATA is not set"
    ),
]

MODELS = ("mnist/pytorch/medium", "mnist/keras/large")
MOST_MEMORY = {"pytorch": 1_500_000_000, "keras": 1_600_000_000}
RUNTIME = {"pytorch": "onnxruntime", "keras": "litert"}


@dataclass
class Finished:
    """A finished run and where its files are."""

    framework: str
    folder: Path
    run: Run

    def layers(self, variant_id: str) -> list[tuple[str, int, np.ndarray]]:
        """Returns each layer's stored weight of a variant's file: type, bytes it takes, values as integers or
        floats.
        """
        artifact = next(v for v in self.run.variants if v.id == variant_id).artifacts[0]
        path = self.folder / (artifact.decoded_path or artifact.path)
        return onnx_layers(path) if path.suffix == ".onnx" else tflite_layers(path)


def onnx_layers(path: Path) -> list[tuple[str, int, np.ndarray]]:
    kinds = {value: name for name, value in TensorProto.DataType.items()}
    return [
        (kinds[t.data_type], len(t.raw_data), numpy_helper.to_array(t))
        for t in onnx.load(str(path)).graph.initializer
        if len(t.dims) >= 2
    ]


def tflite_layers(path: Path) -> list[tuple[str, int, np.ndarray]]:
    from engine.backends.tflite.file import FLOAT, HALF, INT4, INT8, TFLite

    names = {FLOAT: "FLOAT", HALF: "FLOAT16", INT4: "INT4", INT8: "INT8"}
    file, found = TFLite.read(path), []
    for tensor in file.graph.tensors:
        data = file.model.buffers[tensor.buffer].data
        if data is None or tensor.type not in names or tensor.shape is None or len(tensor.shape) < 2:
            continue
        found.append((names[tensor.type], len(data), np.empty(tuple(tensor.shape))))
    return found


@pytest.fixture(scope="module", params=MODELS)
def finished(request, tmp_path_factory) -> Finished:
    workspace = Workspace(tmp_path_factory.mktemp("mnist-run"))
    model = inspect_model(request.param)
    run_id = jobs.start(
        Experiment(
            model=model,
            dataset="mnist",
            device="raspberry_pi_4",
            techniques=list(TECHNIQUES),
            time_budget_s=30,
        ),
        workspace,
    )
    jobs.wait(run_id, workspace)
    return Finished(model.framework, workspace.folder(run_id), workspace.run(run_id))


def test_every_variant_is_done(finished):
    assert finished.run.state == "done", finished.run.reason
    assert {v.id: v.reason for v in finished.run.variants if v.status != "done"} == {}
    assert [v.id for v in finished.run.variants] == [
        "baseline",
        *(v for t in TECHNIQUES.values() for v in t.variants),
    ]
    assert {v.host.runtime for v in finished.run.variants} == {RUNTIME[finished.framework]}
    assert finished.run.peak_memory_bytes <= MOST_MEMORY[finished.framework]


@pytest.mark.parametrize("name", ["ptq_int8", "qat_int8", "hybrid@0.5", "hybrid@0.7"])
def test_int8_files_hold_int8(finished, name):
    layers = finished.layers(name)
    assert layers and {kind for kind, _, _ in layers} == {"INT8"}
    assert (
        finished.run.variants[0].size_bytes
        / next(v for v in finished.run.variants if v.id == name).size_bytes
        >= 3.4
    )


@pytest.mark.parametrize("name", ["ptq_int4", "qat_int8@int4"])
def test_int4_files_hold_packed_halves(finished, name):
    layers = finished.layers(name)
    assert layers and {kind for kind, _, _ in layers} == {"INT4"}
    weights = sum(values.size for _, _, values in layers)
    assert sum(size for _, size, _ in layers) <= 4 * weights / 6.5
    assert all(size == -(-values.size // 2) for _, size, values in layers)


@pytest.mark.parametrize("name", TECHNIQUES["prune_structured"].variants)
def test_structured_pruning_shrinks_shapes(finished, name):
    before, after = (sorted(values.shape for _, _, values in finished.layers(v)) for v in ("baseline", name))
    assert len(before) == len(after) and sum(map(np.prod, after)) < sum(map(np.prod, before))
    baseline, pruned = (
        next(v for v in finished.run.variants if v.id == wanted) for wanted in ("baseline", name)
    )
    assert pruned.parameters < baseline.parameters and pruned.macs < baseline.macs and pruned.sparsity < 0.02


@pytest.mark.parametrize("name", TECHNIQUES["prune_unstructured"].variants)
def test_zeros_equal_the_stated_sparsity(finished, name):
    variant = next(v for v in finished.run.variants if v.id == name)
    target = float(name.split("@")[1].split(",")[0])
    assert variant.sparsity == pytest.approx(target, abs=1e-3)
    if finished.framework == "pytorch":
        arrays = [values for _, _, values in finished.layers(name)]
        zeros, total = sum(int((a == 0).sum()) for a in arrays), sum(a.size for a in arrays)
        assert zeros / total == pytest.approx(target, abs=1e-3)
    assert variant.compressed_bytes < (1.0 - 0.8 * target) * finished.run.variants[0].size_bytes


def test_what_is_free_costs_no_accuracy(finished):
    drops = {v.id: v.accuracy_drop_pp for v in finished.run.variants}
    assert all(drops[name] <= 0.3 for name in ("ptq_int8", "dynamic_int8", "fp16", "ptq_int4@mixed"))
    assert drops["qat_int8"] <= 0.5
