"""The HTTP routes that stand beside the dashboard: the API, and the address that hosts ask for health."""

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from engine.api.app import api
from engine.api.health import ready

__all__ = ["ROUTES", "health"]


def health(request: Request) -> JSONResponse:
    """Says the same as /api/v1/health/ready."""
    return ready()


ROUTES = [Route("/health", health, methods=["GET"]), Mount("/api", api)]
