"""The user's own device: what its token lets it do, what it may send, and what becomes of that."""

import copy
import json
import re
import time

import pytest
import seed

from engine.store import boards
from engine.store.calibrations import calibration_of
from engine.vocabulary import Artifact
from estimator.predict import by_hand

V1, JSON = "/api/v1", {"Content-Type": "application/json"}
PI_4 = {"architecture": "aarch64", "board": "Raspberry Pi 4 Model B Rev 1.4"}
RIGHT = {"pictures": 36, "same_answers": 36, "agrees": True, "to_blame": "", "worst_difference": 1e-4}
ROUND = {
    "runtime": "onnxruntime",
    "runtime_version": "1.23",
    "threads": 4,
    "precision": "float32",
    "latency_ms": {"p50": 9.0, "p95": 9.5, "p99": 9.9, "runs": 20},
    "memory_mb": 41.0,
    "machine": PI_4 | {"before": {"temperature_c": 51.0, "power_w": None}},
}
ARTIFACT = Artifact(path="artifacts/baseline/model.onnx", format="onnx", bytes=9, sha256="b" * 64)
FOUND = {"answers": RIGHT, "rounds": [ROUND], "reason": ""}


@pytest.fixture
def let(client, done):
    """The header of a device that has a token for the finished run."""
    return {"Authorization": f"Bearer {client.post(f'{V1}/runs/{done}/board').json()['token']}"}


def test_a_token_lets_one_device_measure_one_run_and_nothing_else(client, done, home, let, monkeypatch):
    monkeypatch.setenv("EDGEWISE_API_KEY", "key")
    monkeypatch.setenv("EDGEWISE_PUBLIC", "1")
    job = client.get(f"{V1}/board", headers=let).json()
    assert job["device"] == "Raspberry Pi 4" and {"id": "hybrid", "threads": 4} in job["variants"]
    assert client.post(f"{V1}/board/results/hybrid", json=FOUND, headers=let).status_code == 204
    for address in ("/runs", f"/runs/{done}", f"/runs/{done}/board", "/uploads", "/devices"):
        assert client.get(V1 + address, headers=let).status_code == 401
    assert client.post(f"{V1}/runs/{done}/board", headers=let).status_code == 401
    assert client.get(f"{V1}/board/agent.py").text.startswith("#!/usr/bin/env python3")
    token = let["Authorization"].split()[1]
    assert re.fullmatch("[0-9a-f]{48}", token)
    kept = [path.read_bytes() for path in home.home.rglob("*") if path.is_file()]
    assert not [data for data in kept if token.encode() in data]


def test_a_token_ends_by_time_by_another_by_its_use_and_with_its_run(client, done, home, let, monkeypatch):
    def is_let_in() -> bool:
        answer = client.get(f"{V1}/board", headers=let)
        assert answer.status_code in (200, 401) and (answer.status_code == 200 or answer.json()["error"])
        return answer.status_code == 200

    assert is_let_in()
    now = time.time()
    with monkeypatch.context() as later:
        later.setattr(time, "time", lambda: now + boards.LASTS_S + 1)
        assert not is_let_in()
    boards.give(done, home)
    assert not is_let_in() and len(list((home.home / "boards").iterdir())) == 1
    let["Authorization"] = f"Bearer {boards.give(done, home)}"
    assert client.post(f"{V1}/board/end", headers=let).status_code == 200 and not is_let_in()
    let["Authorization"] = f"Bearer {boards.give(done, home)}"
    home.delete(done)
    assert not is_let_in()
    for other in ("", "Bearer", "Bearer x", "Bearer ../../runs", "Basic eDp5"):
        let["Authorization"] = other
        assert not is_let_in()


def changed(path: str, value) -> str:
    """Returns what a device sends, with one thing in it changed."""
    found = copy.deepcopy(FOUND)
    *way, last = path.split(".")
    inner = found
    for part in way:
        inner = inner[int(part) if part.isdigit() else part]
    inner[last] = value
    return json.dumps(found)


@pytest.mark.parametrize(
    ("variant", "body", "status"),
    [
        ("hybrid", "{", 422),
        ("hybrid", "[]", 422),
        ("hybrid", changed("unknown", 1), 422),
        ("hybrid", changed("rounds", [ROUND] * 11), 422),
        ("hybrid", changed("reason", "x" * 2001), 422),
        ("hybrid", changed("answers.to_blame", "<script>"), 422),
        ("hybrid", changed("answers.worst_difference", float("nan")), 422),
        ("hybrid", changed("rounds.0.latency_ms.p50", 0), 422),
        ("hybrid", changed("rounds.0.latency_ms.p50", float("inf")), 422),
        ("hybrid", changed("rounds.0.machine.board", "b" * 201), 422),
        ("hybrid", changed("rounds.0.profile", {}), 422),
        ("hybrid", changed("reason", "x" * 300_000), 413),
        ("none", json.dumps(FOUND), 400),
        ("distill", json.dumps(FOUND), 400),
        ("..%2f..%2flabel", json.dumps(FOUND), 404),
    ],
)
def test_what_a_device_may_not_send_is_one_sentence_and_not_kept(
    client, done, home, let, variant, body, status
):
    answer = client.post(f"{V1}/board/results/{variant}", content=body, headers=let | JSON)
    assert (answer.status_code, list(answer.json())) == (status, ["error"]), answer.text
    assert boards.measured(done, home) == {} and home.label_of(done).title == ""


def test_what_was_sent_is_told_and_corrects_predictions_of_this_device_alone(
    client, done, home, let, monkeypatch
):
    profile = by_hand(6_700_000, 240_000, "float32").model_dump_json()
    for name in ("hybrid", "ptq_int8", "baseline"):
        folder = home.folder(done) / "artifacts" / name
        folder.mkdir(parents=True)
        (folder / "model.profile.json").write_text(profile)
    wrong = RIGHT | {"same_answers": 30, "agrees": False, "to_blame": "the runtime"}
    slower = ROUND | {"latency_ms": ROUND["latency_ms"] | {"p50": 30.0}}
    client.post(f"{V1}/board/results/ptq_int8", json=FOUND | {"answers": wrong}, headers=let)
    client.post(f"{V1}/board/results/baseline", json=FOUND, headers=let)
    client.post(f"{V1}/board/results/baseline", json=FOUND | {"rounds": [ROUND, slower, ROUND]}, headers=let)
    said = client.post(f"{V1}/board/machine", json=PI_4 | {"board": "", "cpu": "x"}, headers=let).json()[
        "text"
    ]
    assert "not the run's Raspberry Pi 4" in said
    assert "run's device" in client.post(f"{V1}/board/machine", json=PI_4, headers=let).json()["text"]
    told = client.get(f"{V1}/runs/{done}/board").json()
    assert len(told["baseline"]["rounds"]) == 3 and told["ptq_int8"]["answers"]["same_answers"] == 30
    found = boards.measured(done, home)
    assert found["baseline"].middle.latency_ms.p50 == 9.0 and found["ptq_int8"].is_wrong
    monkeypatch.setenv("EDGEWISE_PUBLIC", "1")
    assert "strangers" in boards.calibrate(done, home) and calibration_of(seed.DEVICE, home) is None
    monkeypatch.delenv("EDGEWISE_PUBLIC")
    assert "1 of your measurements" in client.post(f"{V1}/board/end", headers=let).json()["text"]
    elsewhere = boards.Measured(rounds=[ROUND | {"machine": {"architecture": "x86_64", "cpu": "AMD"}}])
    for name in ("baseline", "ptq_int8"):
        boards.keep(done, name, elsewhere, home)
    assert "which is no Raspberry Pi 4" in boards.calibrate(done, home)
    assert calibration_of(seed.DEVICE, home).corrections[0].measurements == 1
    anew = seed.variant(*seed.FIGURES[0])
    home.write_variant(done, anew.model_copy(update={"artifacts": [ARTIFACT]}))
    assert set(boards.measured(done, home)) == {"ptq_int8"}  # the times were another file's
