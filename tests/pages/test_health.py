"""GET /health."""

from starlette.applications import Starlette
from starlette.testclient import TestClient

from engine.api import ROUTES


def test_health_answers_and_tells_no_secret(home):
    answer = TestClient(Starlette(routes=ROUTES)).get("/health")
    assert answer.status_code == 200 and answer.json()["status"] == "ok"
    assert str(home.home) not in answer.text


def test_health_says_when_nothing_can_be_kept(home, monkeypatch):
    monkeypatch.setenv("EDGEWISE_HOME", "/proc/nowhere")
    answer = TestClient(Starlette(routes=ROUTES)).get("/health")
    assert answer.status_code == 503 and "/proc" not in answer.text
