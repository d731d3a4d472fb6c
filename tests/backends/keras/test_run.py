"""Every technique on digits/keras/small as a real run, checked by reading its TFLite files."""

from pathlib import Path

import numpy as np
import pytest

from engine.formats.inspect import inspect_model
from engine.run import jobs
from engine.store.workspace import Workspace
from engine.techniques import TECHNIQUES
from engine.vocabulary import Experiment

pytestmark = pytest.mark.slow
MOST_MEMORY = 1_600_000_000


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(folder, run) of a finished run with all techniques."""
    workspace = Workspace(tmp_path_factory.mktemp("keras-run"))
    # in a worker of its own, as a user's run: what these tests hold in memory must not count
    run_id = jobs.start(
        Experiment(
            model=inspect_model("digits/keras/small"),
            dataset="digits",
            device="raspberry_pi_4",
            techniques=list(TECHNIQUES),
            time_budget_s=10,
        ),
        workspace,
    )
    jobs.wait(run_id, workspace)
    return workspace.folder(run_id), workspace.run(run_id)


def file_of(finished, variant_id: str):
    """Returns the primary file of a variant as it is run, parsed."""
    from engine.backends.tflite.file import TFLite

    folder, run = finished
    artifact = next(v for v in run.variants if v.id == variant_id).artifacts[0]
    return TFLite.read(Path(folder, artifact.decoded_path or artifact.path))


def weights(file) -> list[np.ndarray]:
    """Returns the float weights that layers compute with."""
    return [
        file.values(int(o.inputs[1]))
        for o in file.graph.operators
        if file.op(o) in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
        and file.is_constant(int(o.inputs[1]))
    ]


def test_every_variant_is_done(finished):
    _, run = finished
    assert run.state == "done", run.reason
    assert {v.id: v.reason for v in run.variants if v.status != "done"} == {}
    assert [v.id for v in run.variants] == ["baseline", *(v for t in TECHNIQUES.values() for v in t.variants)]
    assert all(
        v.artifacts[0].path.endswith((".tflite", ".ewz")) and v.host.runtime == "litert" for v in run.variants
    )


@pytest.mark.parametrize("variant", ["ptq_int8", "qat_int8", "hybrid@0.5", "hybrid@0.7"])
def test_int8_variants_hold_no_float(finished, variant):
    from engine.backends.tflite.file import INT8, INT32

    assert {t.type for t in file_of(finished, variant).graph.tensors} <= {INT8, INT32}


@pytest.mark.parametrize("variant", ["ptq_int4", "qat_int8@int4"])
def test_int4_variants_hold_int4(finished, variant):
    from engine.backends.tflite.file import INT4

    file = file_of(finished, variant)
    stored = [t for t in file.graph.tensors if t.type == INT4]
    assert len(stored) == 5
    assert sum(len(file.model.buffers[t.buffer].data) for t in stored) <= 4 * 242_218 / 6.5


@pytest.mark.parametrize("variant", TECHNIQUES["prune_structured"].variants)
def test_structured_pruning_shrinks_shapes(finished, variant):
    before, after = weights(file_of(finished, "baseline")), weights(file_of(finished, variant))
    assert len(before) == len(after)
    assert all(b.size > a.size for b, a in zip(before, after, strict=True))


@pytest.mark.parametrize("target", [0.3, 0.5, 0.7, 0.9])
def test_unstructured_pruning_leaves_the_stated_zeros(finished, target):
    _, run = finished
    for variant in (v for v in run.variants if v.id.startswith(f"prune_unstructured@{target}")):
        # zeros are left out of a sparse file, which its profile counts
        assert variant.sparsity == pytest.approx(target, abs=1e-3)
        assert variant.nonzero_parameters <= (1 - target) * 242_218 + 1_000
        assert target < 0.5 or variant.size_bytes < 0.75 * run.variants[0].size_bytes


def test_memory_stays_within_bounds(finished):
    _, run = finished
    assert run.peak_memory_bytes <= MOST_MEMORY
