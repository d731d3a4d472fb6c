"""The vocabulary: to JSON and back without loss, and every wrong value is one sentence."""

import json
import math

import pytest
from pydantic import BaseModel

from engine.errors import BadInput
from engine.judge.limits import LIMITS
from engine.vocabulary import (
    Artifact,
    Constraints,
    Estimate,
    Experiment,
    Flip,
    Host,
    Latency,
    LayerSensitivity,
    Recommendation,
    Run,
    Step,
    Variant,
    parse,
    variant_seed,
)


@pytest.fixture
def run(asked) -> Run:
    """A run with every field filled in."""
    estimate = Estimate(
        device="raspberry_pi_4",
        runtime="onnxruntime",
        precision="int8",
        threads=4,
        latency_ms=2.5,
        low_ms=2,
        high_ms=3,
        why="Because.",
    )
    variant = Variant(
        id="ptq_int4@mixed",
        technique="ptq_int4",
        status="done",
        seconds=1.5,
        accuracy=0.99,
        accuracy_low=0.98,
        accuracy_high=1.0,
        accuracy_drop_pp=0.1,
        p_value=0.5,
        worst_class_recall=0.9,
        per_class_recall=[0.9, 1.0],
        confusion=[[9, 1], [0, 10]],
        test_images=20,
        validation_accuracy=0.98,
        size_bytes=10,
        compressed_bytes=9,
        sparse_bytes=8,
        parameters=7,
        nonzero_parameters=6,
        macs=5,
        sparsity=0.1,
        host=Host(
            runtime="onnxruntime",
            runtime_version="1",
            threads=1,
            latency_ms=Latency(p50=1, p95=2, p99=3),
            throughput_per_s=10.0,
            peak_memory_bytes=4,
            interleaved=True,
        ),
        estimates={"raspberry_pi_4": estimate},
        artifacts=[
            Artifact(path="a/m.ewz", format="ewz", bytes=10, sha256="0" * 64, decoded_path="a/m.onnx")
        ],
        steps=[Step(what="round", parameters={"bits": 4, "layers": ["ü", "b"]}, why="Because.")],
        notes=["A note."],
        versions={"numpy": "2"},
        seed=3,
        admissible="no",
        misses={"max_size_mb": 0.5},
    )
    choice = Recommendation(
        winner="baseline",
        ranking=["baseline"],
        reasons=["Because."],
        binding="max_size_mb",
        flips=[Flip(constraint="max_size_mb", to=1.5, winner="fp16", text="Allow it.")],
        picks={"quality": "baseline"},
        nearest=None,
    )
    return Run(
        id="x",
        state="done",
        reason="",
        experiment=asked(constraints=Constraints(max_size_mb=0.5)),
        created=1.25,
        seconds=3,
        peak_memory_bytes=9,
        variants=[variant],
        sensitivity=[LayerSensitivity(layer="conv1", change="int4", accuracy_drop_pp=1, loss_increase=0.1)],
        recommendation=choice,
    )


def test_json_both_ways(run):
    text = run.model_dump_json()
    assert Run.model_validate_json(text) == run
    assert Run.model_validate(json.loads(json.dumps(run.model_dump(mode="json")))) == run
    assert json.loads(text)["experiment"]["schema_version"] == 1


def test_an_experiment_reads_back_as_itself(run):
    assert parse(Experiment, json.loads(run.experiment.model_dump_json())) == run.experiment


@pytest.mark.parametrize("name", list(LIMITS))
@pytest.mark.parametrize("value", [-1, -1e-9, math.nan, math.inf, -math.inf, "much", [], "true"])
def test_a_limit_is_a_number_of_0_or_more(name, value):
    with pytest.raises(BadInput) as caught:
        parse(Constraints, {name: value})
    assert name in str(caught.value)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_a_limit_of_0_and_no_limit_are_limits():
    assert parse(Constraints, {"max_size_mb": 0}).set_limits() == {"max_size_mb": 0}
    assert parse(Constraints, {}).set_limits() == {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"goal": "beauty"}, "goal"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**31}, "seed"),
        ({"seed": 0.5}, "seed"),
        ({"time_budget_s": 9}, "time_budget_s"),
        ({"time_budget_s": 86_401}, "time_budget_s"),
        ({"time_budget_s": "soon"}, "time_budget_s"),
        ({"max_size_mb": 1}, "max_size_mb"),  # a limit at the wrong place is never silently ignored
        ({"model": {"name": "x"}}, "model"),
        ({"constraints": {"max_sise_mb": 1}}, "max_sise_mb"),
    ],
)
def test_what_is_wrong_with_an_experiment_is_named(run, change, words):
    with pytest.raises(BadInput) as caught:
        parse(Experiment, run.experiment.model_dump(mode="json") | change)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_of_what_is_stored_unknown_fields_are_dropped_at_every_depth(run):
    plain = run.model_dump(mode="json")
    plain["later"] = plain["experiment"]["later"] = plain["variants"][0]["host"]["later"] = 1
    with pytest.raises(BadInput, match="later"):
        parse(Run, plain)
    assert parse(Run, plain, stored=True) == run


def test_every_model_refuses_what_it_does_not_know():
    from engine import vocabulary as experiment

    for kind in vars(experiment).values():
        if isinstance(kind, type) and issubclass(kind, BaseModel) and kind is not BaseModel:
            assert kind.model_config.get("extra") == "forbid", kind


def test_seeds_differ_by_run_and_by_variant_and_stay():
    assert variant_seed(0, "qat_int8") == variant_seed(0, "qat_int8")
    seeds = {variant_seed(run, variant) for run in range(20) for variant in ("qat_int8", "hybrid", "fp16")}
    assert len(seeds) == 60 and all(0 <= seed < 2**31 for seed in seeds)
    assert variant_seed(0, "qat_int8") == 1_320_827_311
