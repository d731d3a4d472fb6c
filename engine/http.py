"""The HTTP routes that stand beside the dashboard: the API, and the address that hosts ask for health."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from engine.api.readiness import ready

__all__ = ["ROUTES", "health"]


def health(request: Request) -> JSONResponse:
    """Says the same as /api/v1/health/ready."""
    return ready()


async def api(scope: Scope, receive: Receive, send: Send) -> None:
    """The API, loaded when first asked: it takes memory and a moment that a dashboard does without."""
    app = await run_in_threadpool(_load)
    await app(scope, receive, send)


def _load() -> ASGIApp:
    from engine.api.app import api

    return api


ROUTES = [Route("/health", health, methods=["GET"]), Mount("/api", api)]
