"""What the user's own device measured: in words, and as what a limit on energy is held against."""

import pytest

from engine.face import check
from engine.judge.limits import judge
from engine.run.on_board import OnBoard, judged, read
from engine.store import boards
from engine.store.boards import Measured
from engine.store.workspace import Workspace
from engine.vocabulary import (
    Constraints,
    Estimate,
    Experiment,
    ModelFile,
    Preprocessing,
    Recommendation,
    Run,
    Variant,
)
from estimator.calibrate import Machine

DEVICE = "raspberry_pi_4"


def measured(mj: float | None) -> Measured:
    watts = {"sensor": "INA3221", "covers": "the board", "idle_w": 2, "load_w": 4, "runs": 99}
    one = {"runtime": "onnxruntime", "threads": 4, "precision": "float32", "latency_ms": {"p50": 1.5}}
    one |= {"machine": {}, "energy": None if mj is None else watts | {"mj": mj, "mj_above_idle": 1}}
    return Measured(rounds=[one])


def variant(name: str, size: int) -> Variant:
    estimate = Estimate(
        device=DEVICE,
        runtime="onnxruntime",
        precision="float32",
        threads=4,
        latency_ms=2,
        energy_mj=10,
        why="",
    )
    return Variant(id=name, technique=name, status="done", size_bytes=size, estimates={DEVICE: estimate})


def run(limit: float | None) -> Run:
    model = ModelFile(
        name="m",
        path="m",
        sha256="0",
        size_bytes=1,
        format="onnx",
        framework="onnx",
        input_shape=(8, 8, 1),
        classes=["a", "b"],
        layers=1,
        parameters=1,
        preprocessing=Preprocessing(height=8, width=8, color="grey", layout="NCHW", mean=[0], std=[1]),
    )
    asked = Experiment(
        model=model, device=DEVICE, techniques=["fp16"], constraints=Constraints(max_energy_mj=limit)
    )
    found = [judge(v, asked) for v in (variant("baseline", 900), variant("fp16", 500))]
    kept = Recommendation(winner="fp16", ranking=["fp16", "baseline"], reasons=["It is smaller."])
    return Run(id="r", state="done", experiment=asked, created=0, variants=found, recommendation=kept)


@pytest.mark.parametrize(
    ("limit", "other", "winner", "said"),
    [
        (12.0, "", "baseline", "against what a Pi measured, for 1 of 2 variants"),
        (12.0, "it has another processor", "fp16", ""),
        (None, "", "fp16", ""),
    ],
)
def test_a_limit_on_energy_is_held_against_what_the_run_s_device_measured(limit, other, winner, said):
    board = OnBoard({"fp16": measured(14.0), "baseline": measured(None)}, "a Pi", other)
    found = judged(run(limit), board)
    assert found.recommendation.winner == winner and said in " ".join(found.recommendation.reasons)
    fp16 = found.variants[1]
    assert fp16.misses == ({"max_energy_mj": 2.0} if said else {})
    assert fp16.measured_energy_mj == (None if other else 14.0)
    assert ("not the run's device" in board.how()) == bool(other)


def test_a_run_is_read_as_its_board_judges_it(tmp_path):
    home = Workspace(tmp_path)
    asked = run(12.0)
    run_id = home.create(asked.experiment)
    file = {"path": "artifacts/fp16/model.onnx", "format": "onnx", "bytes": 500, "sha256": "a"}
    home.write_variant(run_id, asked.variants[0])
    home.write_variant(run_id, Variant(**asked.variants[1].model_dump() | {"artifacts": [file]}))
    boards.meet(run_id, Machine(board="Raspberry Pi 4 Model B Rev 1.4"), home)
    boards.keep(run_id, "fp16", measured(14.0), home)
    assert {v.id: v.admissible for v in read(run_id, home).variants} == {"baseline": "yes", "fp16": "no"}
    assert check(run_id, variant="fp16", max_energy_mj=12.0, workspace=tmp_path)[1]
    elsewhere = check(run_id, "raspberry_pi_5", variant="fp16", max_size_mb=1.0, workspace=tmp_path)
    assert not elsewhere[1]
    boards.meet(run_id, Machine(board="Some other board"), home)
    assert all(v.admissible == "yes" for v in read(run_id, home).variants)
