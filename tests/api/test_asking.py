"""Files are sent in parts, runs are asked for, watched, stopped, deleted and taken back."""

import hashlib
import json
import re
import time
from pathlib import Path

import pytest

from engine import visitors
from engine.run import jobs

V1 = "/api/v1"
ASKED = {"model": "digits/pytorch/small", "dataset": "digits", "device": "raspberry_pi_4"}


@pytest.fixture
def no_worker(monkeypatch):
    """Runs stay in the queue."""
    monkeypatch.setattr(jobs, "tick", lambda home: None)


def test_a_run_is_asked_for_stopped_watched_deleted_and_taken_back(client, home, no_worker):
    answer = client.post(f"{V1}/runs", json=ASKED | {"techniques": ["ptq_int8"], "seed": 3})
    assert answer.status_code == 201, answer.text
    run = answer.json()["id"]
    assert home.experiment(run).seed == 3 and home.state(run) == "queued"
    assert answer.json()["experiment"]["model"]["path"] == "digits/pytorch/small"
    assert client.post(f"{V1}/runs/{run}/stop").json()["state"] == "cancelled"
    told = client.get(f"{V1}/runs/{run}/events").text
    assert [json.loads(line[6:])["state"] for line in told.splitlines() if line.startswith("data: ")] == [
        "queued",
        "cancelled",
    ]
    later = client.get(f"{V1}/runs/{run}/events", headers={"Last-Event-ID": "0"}).text
    assert later.startswith("id: 1\n")
    assert client.post(f"{V1}/runs/{run}/resume").json()["state"] == "queued"
    assert client.delete(f"{V1}/runs/{run}").status_code == 204
    assert client.get(f"{V1}/runs/{run}").status_code == 404
    assert client.get(f"{V1}/runs/deleted").json()[0]["id"] == run
    assert client.post(f"{V1}/runs/{run}/restore").json()["id"] == run


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"device": "toaster"}, 400),
        ({"model": "/etc/passwd"}, 400),
        ({"model": "a" * 64}, 400),
        ({"dataset": "/etc"}, 400),
        ({"techniques": []}, 400),
        ({"constraints": {"max_size_mb": -1}}, 422),
        ({"goal": "luck"}, 422),
        ({"misspelt": 1}, 422),
    ],
)
def test_what_can_not_run_is_refused_in_one_sentence(client, home, no_worker, changed, status):
    answer = client.post(f"{V1}/runs", json=ASKED | changed)
    assert (answer.status_code, list(answer.json())) == (status, ["error"]), answer.text
    assert home.runs() == []


def test_a_file_sent_in_parts_goes_on_where_it_broke_off(client, home):
    data = bytes(range(256)) * 5
    name = hashlib.sha256(data).hexdigest()
    address = f"{V1}/uploads/model/{name}?total={len(data)}"
    assert client.put(address, content=data[:700]).json()["received_bytes"] == 700
    assert client.put(f"{address}&offset=600", content=data[600:]).status_code == 400
    assert client.get(f"{V1}/uploads/model/{name}").json() == {
        "sha256": name,
        "received_bytes": 700,
        "complete": False,
    }
    assert client.put(f"{address}&offset=700", content=data[700:]).json()["complete"] is True
    assert (home.home / "uploads" / name / "model").read_bytes() == data


def test_uploads_are_listed_but_not_to_strangers(client, home, monkeypatch):
    assert client.get(f"{V1}/uploads").json() == []
    sent = hashlib.sha256(b"abcdef").hexdigest()
    client.put(f"{V1}/uploads/dataset/{sent}?total=6", content=b"abc")
    (found,) = client.get(f"{V1}/uploads").json()
    assert found.pop("last_used") > 0
    told = {"kind": "dataset", "sha256": sent, "received_bytes": 3, "complete": False}
    assert found == told | {"title": "", "in_use": False}
    monkeypatch.setenv("EDGEWISE_PUBLIC", "1")
    assert client.get(f"{V1}/uploads").status_code == 403


def test_a_file_of_another_hash_or_size_is_not_kept(client, home):
    other = "0" * 64
    assert client.put(f"{V1}/uploads/dataset/{other}?total=3", content=b"abc").status_code == 400
    assert client.put(f"{V1}/uploads/dataset/{other}?total=3", content=b"abcd").status_code == 400
    assert client.get(f"{V1}/uploads/dataset/{other}").json()["received_bytes"] == 0
    assert client.put(f"{V1}/uploads/dataset/..?total=3", content=b"abc").status_code in (404, 405, 422)


def test_strangers_and_pages_of_other_sites_write_nothing(client, home, monkeypatch):
    foreign = client.post(f"{V1}/runs", json=ASKED, headers={"Origin": "https://elsewhere.example"})
    assert foreign.status_code == 403
    monkeypatch.setenv("EDGEWISE_PUBLIC", "1")
    assert client.post(f"{V1}/runs", json=ASKED).status_code == 403
    assert home.runs() == []


def test_visitors_with_keys_have_their_own_runs_and_so_many_of_them(client, no_worker, monkeypatch):
    monkeypatch.setenv("EDGEWISE_PUBLIC", "1")
    monkeypatch.setenv("EDGEWISE_VISITOR_KEYS", "ann, ben")
    monkeypatch.setenv("EDGEWISE_API_KEY", "owner")
    monkeypatch.setenv("EDGEWISE_MOST_AN_HOUR", "2")  # each run counts once
    monkeypatch.setattr("engine.visitors.PACE", visitors.Pace())

    def asks(who: str, method: str, address: str, **more):
        return client.request(method, f"{V1}/{address}", headers={"X-API-Key": who}, **more)

    run = asks("ann", "POST", "runs", json=ASKED).json()["id"]
    listed = {who: [row["id"] for row in asks(who, "GET", "runs").json()] for who in ("ann", "ben", "owner")}
    assert listed == {"ann": [run], "ben": [], "owner": [run]}
    assert asks("ann", "GET", "runs").json()[0]["kept_until"] > time.time()
    assert asks("ben", "GET", f"runs/{run}").status_code == 200  # whoever has its id may look at it
    assert asks("ben", "DELETE", f"runs/{run}").status_code == 403
    assert asks("ben", "GET", "metrics").status_code == 403 != asks("owner", "GET", "metrics").status_code
    assert asks("ann", "POST", "runs", json=ASKED).status_code == 201
    refused = asks("ann", "POST", "runs", json=ASKED)
    assert refused.status_code == 429 and int(refused.headers["Retry-After"]) > 0
    assert "2 runs" in refused.json()["error"]
    assert asks("ann", "POST", f"runs/{run}/stop").status_code == 200
    assert asks("ann", "DELETE", f"runs/{run}").status_code == 204
    assert asks("ben", "POST", f"runs/{run}/restore").status_code == 403
    assert asks("ann", "POST", f"runs/{run}/restore").status_code == 200
    monkeypatch.setenv("EDGEWISE_MOST_CALLS_A_MINUTE", "0")
    assert asks("ben", "GET", "devices").status_code == 429 != asks("owner", "GET", "devices").status_code


def test_a_body_that_is_too_large_is_not_held_in_memory(client, monkeypatch):
    monkeypatch.setattr("engine.api.guard.MOST_BODY_BYTES", 100)
    answer = client.post(f"{V1}/estimates", json={"model": "m" * 200, "device": "all"})
    assert answer.status_code == 413 and "more than" in answer.json()["error"]


def test_a_question_that_is_no_text_is_refused_in_one_sentence(client):
    answer = client.post(f"{V1}/runs", content=b'{"\\ud800": 1, "model": "m", "device": "d"}')
    assert answer.status_code == 422 and answer.json()["error"]


def test_the_calls_that_the_guide_names_are_there(client):
    guide = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text()
    called = {
        re.sub("RUN|SHA|ptq_int8", "X", path) for path in re.findall(r"\$SERVER/([\w/$]+(?:\.py)?)", guide)
    }
    paths = client.get("/api/openapi.json").json()["paths"]
    known = {re.sub(r"\{\w+\}", "X", path.removeprefix("/v1/")) for path in paths}
    assert len(called) > 5
    assert {path.replace("uploads/model/$X", "uploads/X/X") for path in called} <= known
