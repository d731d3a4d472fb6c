"""What the API tells, to whom, and how it refuses."""

import os

import pytest
import seed
from prometheus_client.parser import text_string_to_metric_families

from engine import watch

V1 = "/api/v1"


def test_health_answers_at_both_addresses_and_tells_no_secret(client, home, monkeypatch):
    for address in ("/health", f"{V1}/health/ready", f"{V1}/health/live"):
        answer = client.get(address)
        assert answer.status_code == 200 and answer.json()["status"] == "ok"
        assert str(home.home) not in answer.text
    monkeypatch.setenv("EDGEWISE_HOME", "/proc/nowhere")
    for address in ("/health", f"{V1}/health/ready"):
        answer = client.get(address)
        assert answer.status_code == 503 and "/proc" not in answer.text


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("/devices", "raspberry_pi_4"),
        ("/devices/raspberry_pi_4", "Raspberry Pi 4"),
        ("/models", "digits/pytorch/small"),
        ("/datasets", "digits"),
        ("/techniques", "ptq_int8"),
        ("/runs?search=raspberry digits&state=done", "digits/pytorch/small"),
        ("/runs/{run}", "digits/pytorch/small"),
        ("/runs/{run}/variants", "ptq_int8"),
        ("/runs/{run}/recommendation", "winner"),
        ("/runs/{run}/report", "<html"),
        ("/runs/{run}/report?format=md", "digits/pytorch/small"),
        ("/runs/compare?first={run}&second={run}", "recommended"),
    ],
)
def test_what_is_known_is_told(client, done, home, address, expected):
    answer = client.get(V1 + address.format(run=done))
    assert answer.status_code == 200 and expected in answer.text, answer.text
    assert str(home.home) not in answer.text


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/runs/none", 404),
        ("/runs/..%2f..%2fetc/variants", 404),
        ("/runs/compare?first=none&second={run}", 404),
        ("/devices/toaster", 404),
        ("/runs?limit=0", 422),
        ("/runs?state=lost", 422),
        ("/runs/{run}/variants/none/package", 400),
        ("/nothing", 404),
    ],
)
def test_a_refusal_is_one_sentence(client, done, address, status):
    answer = client.get(V1 + address.format(run=done))
    assert answer.status_code == status
    assert list(answer.json()) == ["error"] and answer.json()["error"].endswith(".")


def test_the_key_is_asked_of_every_call_but_health(client, monkeypatch):
    monkeypatch.setenv("EDGEWISE_API_KEY", "schlüssel")
    key = "schlüssel".encode()
    assert client.get(f"{V1}/health/live").status_code == 200
    for headers in ({}, {"X-API-Key": "other"}, {"Authorization": "Basic x"}, {"X-API-Key": ""}):
        assert client.get(f"{V1}/devices", headers=headers).status_code == 401
    for headers in ({"X-API-Key": key}, {"Authorization": b"Bearer " + key}):
        assert client.get(f"{V1}/devices", headers=headers).status_code == 200


def test_strangers_see_only_runs_whose_id_they_have(client, done, monkeypatch):
    monkeypatch.setenv("EDGEWISE_PUBLIC", "1")
    assert client.get(f"{V1}/runs").status_code == client.get(f"{V1}/runs/deleted").status_code == 403
    assert client.get(f"{V1}/runs/{done}").status_code == 200
    monkeypatch.setenv("EDGEWISE_API_KEY", "k")
    assert client.get(f"{V1}/runs", headers={"X-API-Key": "k"}).json()[0]["id"] == done


def test_prometheus_reads_what_there_is_to_watch(client, home, done, monkeypatch):
    seed.begun(home, os.getpid())
    client.put(f"{V1}/uploads/model/{'0' * 64}?total=9", content=b"abc")
    refused = watch.REFUSED["other_sum"]
    client.put(f"{V1}/uploads/model/{'1' * 64}?total=3", content=b"abc")
    told = client.get(f"{V1}/metrics").text
    found = {
        (sample.name.removeprefix("edgewise_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(told)
        for sample in family.samples
    }
    assert (found["runs", "done"], found["runs", "running"], found["runs", "queued"]) == (1, 1, 0)
    assert found["refused_uploads_total", "other_sum"] == refused + 1
    assert found["technique_seconds", "ptq_int8"] == 12.5 and found["upload_bytes", "model"] == 3
    assert found["memory_bytes", "web"] > 1e6 < found["memory_bytes", "runs"]
    assert done not in told and str(home.home) not in told
    monkeypatch.setenv("EDGEWISE_PUBLIC", "1")
    assert client.get(f"{V1}/metrics").status_code == 403


def test_the_documentation_takes_nothing_from_another_host(client):
    described = client.get("/api/openapi.json").json()
    assert described["servers"] == [{"url": "/api"}] and "/v1/runs/{run}" in described["paths"]
    for page in ("/api/docs", "/api/redoc"):
        text = client.get(page).text
        assert "/api/static-offline-docs/" in text and "https://" not in text
    assert client.get("/api/static-offline-docs/redoc.standalone.js").status_code == 200
