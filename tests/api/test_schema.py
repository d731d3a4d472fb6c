"""schemathesis walks the described API: no defect, and no answer that the description does not know."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import checks
from schemathesis.specs.openapi import checks as conformance
from starlette.applications import Starlette

from engine.http import ROUTES
from engine.run import jobs

CHECKS = [
    checks.not_a_server_error,
    conformance.status_code_conformance,
    conformance.content_type_conformance,
    conformance.response_schema_conformance,
]


@pytest.mark.slow
def test_every_answer_is_a_described_one(home, done, monkeypatch):
    monkeypatch.setattr(jobs, "tick", lambda home: None)  # what is asked for stays in the queue
    found = schemathesis.openapi.from_asgi("/api/openapi.json", Starlette(routes=ROUTES))
    walked = 0
    # a stream ends with its run, and a queued one never does
    for operation in found.exclude(path="/v1/runs/{run}/events").get_all_operations():

        @settings(max_examples=15, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(case=operation.ok().as_strategy())
        def holds(case):
            if "run" in (case.path_parameters or {}) and case.method == "GET":
                case.path_parameters["run"] = done
            case.call_and_validate(checks=CHECKS)

        holds()
        walked += 1
    assert walked > 20
