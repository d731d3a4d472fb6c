"""Every technique on digits, checked by reading its files: an artifact is what it claims to be."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from engine import datasets
from engine.device.decoder import decode
from engine.device.preprocessing import preprocess
from engine.judge import measure
from engine.run import jobs
from engine.store.files import read_json
from engine.techniques import TECHNIQUES

FLOAT_WEIGHT_BYTES = 242_218 * 4
EVERY_VARIANT = ["baseline", *(v for t in TECHNIQUES.values() for v in t.variants)]
UNSTRUCTURED = TECHNIQUES["prune_unstructured"].variants
STRUCTURED = TECHNIQUES["prune_structured"].variants
CODED = ("hybrid@smallest",)


def weights_of(path: Path) -> dict[str, onnx.TensorProto]:
    """Returns the stored tensors of two or more dimensions: the weights of layers."""
    return {t.name: t for t in onnx.load(str(path)).graph.initializer if len(t.dims) >= 2}


def shapes(path: Path) -> list[tuple[int, ...]]:
    return sorted(tuple(t.dims) for t in weights_of(path).values())


def zeros(path: Path) -> tuple[int, int]:
    """Returns how many weights are zero, and how many there are."""
    arrays = [numpy_helper.to_array(t) for t in weights_of(path).values()]
    return sum(int((a == 0).sum()) for a in arrays), sum(a.size for a in arrays)


def answers(path: Path, images: np.ndarray, spec: dict, int4: bool = False) -> np.ndarray:
    """Returns the classes that a file answers with, by onnxruntime alone."""
    options = onnxruntime.SessionOptions()
    if int4:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate(
        [
            session.run(None, {name: preprocess(images[i : i + 64], spec)})[0].argmax(1)
            for i in range(0, len(images), 64)
        ]
    )


@pytest.fixture(scope="module")
def test_part(digits_run):
    return datasets.load("digits", digits_run.workspace.home, ("test",))["test"]


def test_every_variant_is_done(digits_run):
    assert {v.id: v.reason for v in digits_run.run.variants if v.status != "done"} == {}
    assert [v.id for v in digits_run.run.variants] == EVERY_VARIANT


def test_no_technique_sees_the_test_part(digits_run):
    """The fixture takes the test files away while any task but the final measurement is at work, and all went
    well.
    """
    assert {"baseline", "sensitivity", "facts", *TECHNIQUES} <= set(digits_run.blind)


@pytest.mark.parametrize("name", EVERY_VARIANT)
def test_the_file_is_the_one_that_was_measured(digits_run, test_part, name):
    variant = digits_run.variant(name)
    stored = (digits_run.folder / variant.artifacts[0].path).read_bytes()
    assert (len(stored), hashlib.sha256(stored).hexdigest()) == (
        variant.artifacts[0].bytes,
        variant.artifacts[0].sha256,
    )
    assert variant.size_bytes == len(stored)
    int4 = any(t.data_type == TensorProto.INT4 for t in weights_of(digits_run.file(name)).values())
    predicted = answers(
        digits_run.file(name),
        test_part.images,
        digits_run.run.experiment.model.preprocessing.model_dump(),
        int4,
    )
    # an INT8 sum may round otherwise in other batches; one image in 359 may change sides
    assert abs(measure.accuracy(predicted, test_part.labels) - variant.accuracy) <= 1.01 / len(
        test_part.labels
    )
    assert variant.test_images == len(test_part.labels) == 359
    assert variant.accuracy_low <= variant.accuracy <= variant.accuracy_high
    assert variant.accuracy_drop_pp == pytest.approx(
        100 * (digits_run.variant("baseline").accuracy - variant.accuracy), abs=1e-3
    )


@pytest.mark.parametrize("name", EVERY_VARIANT)
def test_every_variant_is_measured_in_full(digits_run, name):
    variant = digits_run.variant(name)
    host = variant.host
    assert (
        host.runtime == "onnxruntime"
        and host.runtime_version == onnxruntime.__version__
        and host.threads >= 1
        and host.interleaved
    )
    assert 0 < host.latency_ms.p50 <= host.latency_ms.p95 <= host.latency_ms.p99
    assert host.peak_memory_bytes > 20_000_000 and host.throughput_per_s > 0
    assert variant.steps and all(step.why for step in variant.steps) and variant.seed is not None
    assert (
        variant.compressed_bytes > 0
        and variant.validation_accuracy > 0.5
        and len(variant.per_class_recall) == 10
    )
    if name != "distill@0.5,alone":
        # ten seconds of training on a busy machine are few steps for a third of the channels
        assert variant.accuracy > (0.8 if "0.7,iterative" in name else 0.9) or variant.technique == "distill"


@pytest.mark.parametrize("name", ["ptq_int8", "qat_int8", "hybrid@0.5", "hybrid@0.7"])
def test_int8_graphs_hold_int8(digits_run, name):
    model = onnx.load(str(digits_run.file(name)))
    kinds = {t.name: t.data_type for t in model.graph.initializer}
    assert all(kinds[t] == TensorProto.INT8 for t in weights_of(digits_run.file(name)))
    operators = [node.op_type for node in model.graph.node]
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    made_by = {output: node for node in model.graph.node for output in node.output}
    # activations too: each layer's input and weight come out of a DequantizeLinear
    assert all(made_by[source].op_type == "DequantizeLinear" for node in layers for source in node.input[:2])
    assert operators.count("QuantizeLinear") >= len(layers) > 0


def test_int8_is_as_small_as_promised_at_no_loss(digits_run):
    baseline, int8 = digits_run.variant("baseline"), digits_run.variant("ptq_int8")
    assert baseline.size_bytes / int8.size_bytes >= 3.4
    assert int8.accuracy_drop_pp <= 1.0
    assert int8.parameters == baseline.parameters and int8.macs == baseline.macs


def test_dynamic_int8_holds_8_bits(digits_run):
    assert {t.data_type for t in weights_of(digits_run.file("dynamic_int8")).values()} == {TensorProto.UINT8}
    assert any(
        "DynamicQuantize" in n.op_type for n in onnx.load(str(digits_run.file("dynamic_int8"))).graph.node
    )


def test_fp16_holds_halves_of_the_very_weights(digits_run):
    half, full = weights_of(digits_run.file("fp16")), weights_of(digits_run.file("baseline"))
    assert {t.data_type for t in half.values()} == {TensorProto.FLOAT16}
    for name, tensor in full.items():
        found = next(t for n, t in half.items() if n.startswith(name))
        np.testing.assert_allclose(
            numpy_helper.to_array(found).astype(np.float32),
            numpy_helper.to_array(tensor),
            rtol=1e-3,
            atol=1e-6,
        )


@pytest.mark.parametrize("name", ["ptq_int4", "qat_int8@int4"])
def test_pure_int4_is_packed_two_to_a_byte(digits_run, name):
    tensors = weights_of(digits_run.file(name)).values()
    assert {t.data_type for t in tensors} == {TensorProto.INT4}
    assert all(len(t.raw_data) == -(-int(np.prod(t.dims)) // 2) for t in tensors)
    # scales count too
    model = onnx.load(str(digits_run.file(name)))
    scales = sum(len(t.raw_data) for t in model.graph.initializer if t.name.endswith("scales"))
    assert scales > 0 and sum(len(t.raw_data) for t in tensors) + scales <= FLOAT_WEIGHT_BYTES / 6.5
    assert digits_run.variant("baseline").size_bytes / digits_run.variant(name).size_bytes >= 6.5
    assert digits_run.variant(name).accuracy_drop_pp <= 2
    assert any("float speed" in note for note in digits_run.variant(name).notes)


def test_mixed_int4_keeps_what_it_says_in_int8(digits_run):
    variant = digits_run.variant("ptq_int4@mixed")
    kept = next(s for s in variant.steps if s.what == "keep_fragile_layers").parameters["int8_layers"]
    kinds = {
        n.removesuffix("_codes").removesuffix(".weight"): t.data_type
        for n, t in weights_of(digits_run.file("ptq_int4@mixed")).items()
    }
    assert kept and {n for n, kind in kinds.items() if kind == TensorProto.INT8} == set(kept)
    assert {kind for n, kind in kinds.items() if n not in kept} == {TensorProto.INT4}


@pytest.mark.parametrize("name", STRUCTURED)
def test_structured_pruning_shrinks_shapes(digits_run, name):
    baseline, pruned = digits_run.variant("baseline"), digits_run.variant(name)
    before, after = shapes(digits_run.file("baseline")), shapes(digits_run.file(name))
    assert len(before) == len(after)
    assert sum(np.prod(s) for s in after) < sum(np.prod(s) for s in before)
    ratio = float(name.split("@")[1].split(",")[0])
    assert (
        pruned.parameters < (1 - 0.7 * ratio) * baseline.parameters
        and pruned.macs < (1 - 0.6 * ratio) * baseline.macs
    )
    assert pruned.sparsity < 0.01  # channels are gone, not zero
    assert {s[0] for s in shapes(digits_run.file(name)) if len(s) == 2} >= {10}  # the classes stay


def test_half_of_the_channels_is_a_third_of_the_file_and_faster(digits_run):
    baseline, half = digits_run.variant("baseline"), digits_run.variant("prune_structured@0.5")
    assert baseline.size_bytes / half.size_bytes >= 3
    assert half.macs < baseline.macs / 2
    assert half.host.latency_ms.p50 < baseline.host.latency_ms.p50


@pytest.mark.parametrize("name", UNSTRUCTURED)
def test_zeros_are_as_many_as_stated_and_survive_fine_tuning(digits_run, name):
    variant = digits_run.variant(name)
    target = float(name.split("@")[1].split(",")[0])
    none, total = zeros(digits_run.file(name))
    assert abs(none / total - target) <= 0.001
    assert abs(variant.sparsity - none / total) <= 1e-4
    made = [s.what for s in variant.steps if s.what in ("prune_weights", "reconstruct", "fine_tune")]
    stages = 2 if "iterative" in name else 1
    assert made == ["prune_weights", "reconstruct", "fine_tune"] * stages  # trained once the masks were set
    assert shapes(digits_run.file(name)) == shapes(digits_run.file("baseline"))
    assert variant.nonzero_parameters < (1 - target + 0.01) * variant.parameters


def test_zeros_count_in_compressed_and_sparse_bytes_only(digits_run):
    baseline = digits_run.variant("baseline")
    found = [digits_run.variant(f"prune_unstructured@{t}") for t in (0.3, 0.5, 0.7, 0.9)]
    assert {v.size_bytes for v in found} == {baseline.size_bytes}
    assert [v.compressed_bytes for v in found] == sorted((v.compressed_bytes for v in found), reverse=True)
    assert found[-1].compressed_bytes < 0.25 * baseline.compressed_bytes
    assert [v.sparse_bytes for v in found] == sorted((v.sparse_bytes for v in found), reverse=True)
    assert found[-1].sparse_bytes == pytest.approx(6 * 0.1 * zeros(digits_run.file("baseline"))[1], rel=0.02)
    assert all(any("no speed" in note for note in v.notes) for v in found)


@pytest.mark.parametrize("name", UNSTRUCTURED)
def test_the_coded_file_of_a_sparse_network_decodes_to_its_dense_one(digits_run, name):
    variant = digits_run.variant(name)
    dense, coded = variant.artifacts
    stored = (digits_run.folder / coded.path).read_bytes()
    assert coded.decoded_path == dense.path and decode(stored) == digits_run.file(name).read_bytes()
    assert variant.compressed_bytes == len(stored) == coded.bytes
    bits = 1 + 27.5 * (
        1 - variant.sparsity
    )  # which ones are zero, and for the rest 24 bits, the sign and the exponent
    assert 8 * len(stored) < bits * variant.parameters + 8 * 8_000


def test_the_coded_file_decodes_to_the_model_that_was_measured(digits_run):
    variant = digits_run.variant("hybrid@smallest")
    artifact = variant.artifacts[0]
    coded = (digits_run.folder / artifact.path).read_bytes()
    model = decode(coded)
    assert artifact.path.endswith(".ewz") and len(coded) < len(model)
    assert model == (digits_run.folder / artifact.decoded_path).read_bytes()
    tensors = weights_of(digits_run.file("hybrid@smallest")).values()
    assert {t.data_type for t in tensors} == {TensorProto.INT4}
    none, total = zeros(digits_run.file("hybrid@smallest"))
    stated = next(s for s in variant.steps if s.what == "prune_weights").parameters["sparsity"]
    assert none / total >= stated - 0.001  # rounding onto codes makes more zeros, never fewer
    assert digits_run.variant("baseline").size_bytes / len(coded) > 20


def test_distillation_halves_the_widths_and_shows_what_the_teacher_gave(digits_run):
    taught, alone = digits_run.variant("distill@0.5"), digits_run.variant("distill@0.5,alone")
    assert shapes(digits_run.file("distill@0.5")) == shapes(digits_run.file("distill@0.5,alone"))
    assert taught.parameters < 0.3 * digits_run.variant("baseline").parameters
    tuned = {v.id: next(s for s in v.steps if s.what == "fine_tune").parameters for v in (taught, alone)}
    assert tuned["distill@0.5"]["distilled"] and not tuned["distill@0.5,alone"]["distilled"]
    assert tuned["distill@0.5"]["temperature"] == 4.0 and 0 < tuned["distill@0.5"]["mix"] < 1
    assert any("without the teacher" in note for note in alone.notes)
    slim = [next(s for s in v.steps if s.what == "slim").parameters for v in (taught, alone)]
    assert slim[0] == slim[1]  # the same network with the same first weights


def test_sensitivity_names_every_layer_once_for_each_change(digits_run):
    rows = digits_run.run.sensitivity
    layers = {layer["name"] for layer in read_json(digits_run.folder / "cache" / "facts.json")["layers"]}
    for change in ("int8", "int4", "prune"):
        assert sorted(r.layer for r in rows if r.change == change) == sorted(layers)
        losses = [r.loss_increase for r in rows if r.change == change]
        assert losses == sorted(losses, reverse=True)
    total = {
        change: sum(abs(r.loss_increase) for r in rows if r.change == change)
        for change in ("int8", "int4", "prune")
    }
    assert total["int8"] < total["int4"] < total["prune"]


def test_a_fragile_layer_loses_fewer_channels(digits_run):
    rows = [r for r in digits_run.run.sensitivity if r.change == "prune"]
    cut = next(
        s for s in digits_run.variant("prune_structured@0.5").steps if s.what == "remove_channels"
    ).parameters["layer_ratios"]
    order = [r.layer for r in rows if r.layer in cut]
    assert cut[order[0]] < cut[order[-1]] and cut[order[0]] == min(cut.values())


def test_one_export_for_all_that_only_changes_values(digits_run):
    graphs = list((digits_run.folder / "cache").glob("graph-*.onnx"))
    assert 0 < len(graphs) < len(EVERY_VARIANT) / 1.5


def test_nothing_that_was_kept_is_a_pickle(digits_run):
    for path in (digits_run.folder / "cache").rglob("*"):
        assert path.suffix in (".onnx", ".json", ".npy", ".npz", ".safetensors", ".keras"), path
        assert path.read_bytes()[:2] != b"\x80\x02", path


def test_the_recommendation_follows_from_the_variants(digits_run):
    run = digits_run.run
    by_id = {v.id: v for v in run.variants}
    assert run.recommendation.winner == run.recommendation.ranking[0]
    assert set(run.recommendation.ranking) == {v.id for v in run.variants if v.admissible != "no"}
    assert by_id[run.recommendation.winner].size_bytes < by_id["baseline"].size_bytes
    assert by_id[run.recommendation.picks["compact"]].size_bytes == min(
        v.size_bytes
        for v in run.variants
        if by_id["baseline"].validation_accuracy - v.validation_accuracy <= 0.02
    )


@pytest.mark.slow
def test_without_a_data_set_only_what_needs_none_runs(workspace, asked):
    run_id = jobs.start(
        asked(dataset=None, techniques=["ptq_int8", "ptq_int4", "prune_structured", "distill"]), workspace
    )
    jobs.wait(run_id, workspace)
    run = workspace.run(run_id)
    assert run.state == "done", run.reason
    found = {v.id: v for v in run.variants}
    assert found["ptq_int8"].status == found["ptq_int4"].status == found["ptq_int4@mixed"].status == "done"
    for name in (*STRUCTURED, "distill@0.5"):
        assert found[name].status == "skipped" and "no labelled images" in found[name].reason
    assert all(v.accuracy is None and v.validation_accuracy is None for v in run.variants)
    assert found["ptq_int8"].size_bytes < found["baseline"].size_bytes / 3
    assert run.recommendation.winner and "accuracy that was not measured" in run.recommendation.reasons[0]
