"""GET /health."""

import json

from engine.http import ROUTES, health


def test_health_answers_and_tells_no_secret(home):
    answer = health(None)
    assert answer.status_code == 200 and json.loads(answer.body)["status"] == "ok"
    assert str(home.home) not in answer.body.decode()


def test_health_says_when_nothing_can_be_kept(home, monkeypatch):
    monkeypatch.setenv("EDGEWISE_HOME", "/proc/nowhere")
    answer = health(None)
    assert answer.status_code == 503 and "/proc" not in answer.body.decode()


def test_health_is_a_route():
    assert next((route.path, "GET" in route.methods) for route in ROUTES) == ("/health", True)
